"""The configurations of the crate as they stand in JSON: all fields, serde's spelling."""

from typing import Any

from .draw import PerAxis

Config = dict[str, Any]

ZEROS = "Zeros"  # the weights are loaded, so that their start counts for nothing

RESIZE_MODES: dict[str, Any] = {
    "nearest": "Nearest",
    "nearest_exact": "NearestExact",
    "linear-half_pixel": {"Linear": "HalfPixel"},
    "linear-align_corners": {"Linear": "AlignCorners"},
    "linear-antialias": {"Linear": "Antialias"},
    "cubic-half_pixel": {"Cubic": "HalfPixel"},
    "cubic-align_corners": {"Cubic": "AlignCorners"},
    "cubic-antialias": {"Cubic": "Antialias"},
    "area": "Area",
}

ACTIVATIONS: dict[str, Any] = {
    "relu": "Relu",
    "leaky_relu": {"LeakyRelu": {"negative_slope": 0.1}},
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "gelu": "Gelu",
    "linear": None,
}

ORDERS = {
    "conv_norm_act": "ConvNormAct",
    "conv_act_norm": "ConvActNorm",
    "norm_act_conv": "NormActConv",
}

MERGE_ORDERS = {"deep_first": "DeepFirst", "skip_first": "SkipFirst"}


def explicit(start: PerAxis, end: PerAxis | None = None) -> Config:
    """Padding by given numbers."""
    return {"Explicit": {"start": start, "end": start if end is None else end}}


def batch(epsilon: float = 1e-5, momentum: float = 0.1) -> Config:
    """Batch norm."""
    return {"Batch": {"epsilon": epsilon, "momentum": momentum}}


def group(groups: int, epsilon: float = 1e-5) -> Config:
    """Group norm."""
    return {"Group": {"groups": groups, "epsilon": epsilon}}


def instance(affine: bool, epsilon: float = 1e-5) -> Config:
    """Instance norm."""
    return {"Instance": {"epsilon": epsilon, "affine": affine}}


def conv(
    channels: list[int],
    kernel_size: PerAxis,
    stride: PerAxis = 1,
    dilation: PerAxis = 1,
    groups: int = 1,
    padding: Any = "Same",
    bias: bool = True,
) -> Config:
    """`ConvConfig`"""
    return {
        "channels": channels,
        "kernel_size": kernel_size,
        "stride": stride,
        "dilation": dilation,
        "groups": groups,
        "padding": padding,
        "bias": bias,
        "initializer": ZEROS,
    }


def conv_transpose(
    channels: list[int],
    kernel_size: PerAxis,
    stride: PerAxis,
    padding: str = "Solved",
    bias: bool = True,
) -> Config:
    """`ConvTransposeConfig`"""
    return {
        "channels": channels,
        "kernel_size": kernel_size,
        "stride": stride,
        "padding": padding,
        "bias": bias,
        "initializer": ZEROS,
    }


def pool(
    kind: str,
    kernel_size: PerAxis,
    stride: PerAxis | None = None,
    padding: Any = "Valid",
    ceil_mode: bool = False,
) -> Config:
    """`PoolConfig`"""
    return {
        "kind": kind,
        "kernel_size": kernel_size,
        "stride": kernel_size if stride is None else stride,
        "padding": padding,
        "ceil_mode": ceil_mode,
    }


def style(
    padding: Any = "Same",
    norm: Config | None = None,
    activation: Any = "Relu",
    order: str = "ConvNormAct",
    bias: bool | None = None,
) -> Config:
    """`ConvStyle`"""
    return {
        "padding": padding,
        "norm": norm,
        "activation": activation,
        "order": order,
        "bias": bias,
        "initializer": ZEROS,
    }


def conv_norm_act(
    channels: list[int],
    kernel_size: PerAxis,
    style: Config,
    stride: PerAxis = 1,
    dilation: PerAxis = 1,
    groups: int = 1,
) -> Config:
    """`ConvNormActConfig`"""
    return {
        "channels": channels,
        "kernel_size": kernel_size,
        "stride": stride,
        "dilation": dilation,
        "groups": groups,
        "style": style,
    }


def skip_add(
    channels: list[int],
    stride: PerAxis = 1,
    shortcut: str = "Conv",
    norm: Config | None = None,
    activation: Any = "Relu",
    layer_scale: float | Config | None = None,
    pre_activation: Config | None = None,
) -> Config:
    """`SkipAddConfig`"""
    before = {} if pre_activation is None else {"pre_activation": pre_activation}
    return before | {
        "channels": channels,
        "stride": stride,
        "shortcut": shortcut,
        "norm": norm,
        "activation": activation,
        "layer_scale": layer_scale,
        "drop_path": 0.0,
        "zero_init_last_norm": False,
    }


def weighted_sum(maps: int, channels: int | None, weighting: Any) -> Config:
    """`WeightedSumConfig`"""
    return {"maps": maps, "channels": channels, "weighting": weighting}


def asff(maps: int, channels: int, hidden: int, fit: Any, target: Any, style: Config) -> Config:
    """`AsffConfig`"""
    return {
        "maps": maps,
        "channels": channels,
        "hidden_channels": hidden,
        "fit": fit,
        "target": target,
        "style": style,
    }


def pafpn(channels: int, lateral: Config, style: Config, extra: str | None) -> Config:
    """`PaFpnConfig`"""
    pyramid = {
        "channels": channels,
        "resize": "Nearest",
        "merge": "Add",
        "lateral": lateral,
        "output": style,
        "extra": extra,
    }
    return {"pyramid": pyramid, "style": style}


def bifpn(channels: int, repeats: int, extra: int, style: Config, weighting: Any) -> Config:
    """`BiFpnConfig`"""
    return {
        "channels": channels,
        "repeats": repeats,
        "extra": extra,
        "nodes": None,
        "weighting": weighting,
        "activation": "Silu",
        "style": style,
        "pool": pool("Max", 3, 2, explicit(1)),
    }


def hr_fuse(norm: Config | None, resize: Any) -> Config:
    """`HrFuseConfig`"""
    return {"norm": norm, "activation": "Relu", "resize": resize}


def skip_concat(fit: Any = "Exact", target: Any = "Deep", order: str = "DeepFirst") -> Config:
    """`SkipConcatConfig`"""
    return {"fit": fit, "target": target, "order": order}


def up_resize(mode: Any, scale: PerAxis = 2, project: bool = False) -> Config:
    """`UpConfig::Resize`"""
    return {"Resize": {"mode": mode, "scale": scale, "project": project}}


def up_conv_transpose(
    kernel_size: PerAxis = 2, stride: PerAxis = 2, padding: str = "Solved"
) -> Config:
    """`UpConfig::ConvTranspose`"""
    fields = {"kernel_size": kernel_size, "stride": stride, "padding": padding}
    return {"ConvTranspose": fields}


def up_pixel_shuffle(scale: PerAxis = 2, blur: bool = False, order: str = "ChannelMajor") -> Config:
    """`UpConfig::PixelShuffle`"""
    return {"PixelShuffle": {"scale": scale, "blur": blur, "order": order}}


def up_carafe(
    scale: PerAxis, kernel_size: PerAxis, encoder_kernel_size: PerAxis, compressed_channels: int
) -> Config:
    """`UpConfig::Carafe`"""
    fields = {
        "scale": scale,
        "kernel_size": kernel_size,
        "encoder_kernel_size": encoder_kernel_size,
        "compressed_channels": compressed_channels,
    }
    return {"Carafe": fields}


def upsample_concat(
    channels: list[int],
    up: Config,
    style: Config,
    up_channels: int | None = None,
    fit: Any = "Exact",
    target: Any = "Skip",
    order: str = "DeepFirst",
    gate: Config | None = None,
) -> Config:
    """`UpsampleConcatConfig`; the channels are those of the deep map, the skip and the output."""
    return {
        "deep_channels": channels[0],
        "skip_channels": channels[1],
        "out_channels": channels[2],
        "up_channels": up_channels,
        "up": up,
        "fit": fit,
        "target": target,
        "order": order,
        "gate": gate,
        "style": style,
    }


def bias_name(bias: bool | None) -> str:
    """The readable name of whether there is a bias."""
    return {None: "bias_auto", True: "bias", False: "no_bias"}[bias]


def padding_name(padding: Any) -> str:
    """The readable name of a padding."""
    if isinstance(padding, str):
        return padding.lower()
    fields = padding["Explicit"]
    return "explicit" if fields["start"] == fields["end"] else "explicit_uneven"
