"""PyTorch modules built from the crate's configurations; their keys are the crate's paths."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from . import configs
from .draw import PerAxis, each
from .functional import blur, fit, merge, pad, pixel_shuffle, resize, target_size

CONV = {3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}
CONV_TRANSPOSE = {3: nn.ConvTranspose1d, 4: nn.ConvTranspose2d, 5: nn.ConvTranspose3d}
BATCH_NORM = {3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
INSTANCE_NORM = {3: nn.InstanceNorm1d, 4: nn.InstanceNorm2d, 5: nn.InstanceNorm3d}


def same_pads(size: int, extent: int, stride: int) -> tuple[int, int]:
    """Keras's `same`: `ceil(size / stride)` positions, the odd one padded at the end."""
    total = max((math.ceil(size / stride) - 1) * stride + extent - size, 0)
    return total // 2, total - total // 2


def conv(config: dict[str, Any], rank: int) -> nn.Module:
    """A convolution: padded by PyTorch where it has that padding, else before the convolution."""
    kernel, stride, dilation = (
        each(config[key], rank) for key in ("kernel_size", "stride", "dilation")
    )
    padding: Any = 0
    pads = None
    if config["padding"] == "Same":
        if max(stride) == 1:
            padding = "same"
        else:

            def pads(size: Sequence[int]) -> list[tuple[int, int]]:
                axes = zip(size, kernel, stride, dilation, strict=True)
                return [same_pads(n, d * (k - 1) + 1, s) for n, k, s, d in axes]

    elif config["padding"] != "Valid":
        start, end = (each(config["padding"]["Explicit"][key], rank) for key in ("start", "end"))
        if start == end:
            padding = start
        else:

            def pads(_: Sequence[int]) -> list[tuple[int, int]]:
                return list(zip(start, end, strict=True))

    layer = CONV[rank](
        *config["channels"],
        kernel,
        stride=stride,
        dilation=dilation,
        groups=config["groups"],
        padding=padding,
        bias=config["bias"],
    )
    if pads is not None:
        layer.register_forward_pre_hook(lambda _, xs: pad(xs[0], pads(xs[0].shape[2:])))
    return layer


class ConvTranspose(nn.Module):
    """A transposed convolution whose full output is cut, or lengthened, to a size.

    What is missing is PyTorch's output padding, less than the stride. Of an odd number to cut, the
    larger half is cut at the start by PyTorch's rule (`Solved`), and at the end by Keras's.
    """

    def __init__(self, config: dict[str, Any], rank: int) -> None:
        super().__init__()
        self.rule = config["padding"]
        self.kernel, self.stride = (each(config[key], rank) for key in ("kernel_size", "stride"))
        layer = CONV_TRANSPOSE[rank](
            *config["channels"], self.kernel, stride=self.stride, bias=config["bias"]
        )
        self.weight, self.bias = layer.weight, layer.bias
        self.apply_to = {
            3: nn.functional.conv_transpose1d,
            4: nn.functional.conv_transpose2d,
            5: nn.functional.conv_transpose3d,
        }[rank]

    def natural(self, size: Sequence[int]) -> list[int]:
        """The size that is given where none is asked for."""
        axes = zip(size, self.kernel, self.stride, strict=True)
        if self.rule == "Valid":
            return [(n - 1) * s + max(k, s) for n, k, s in axes]
        return [n * s for n, _, s in axes]

    def reaches(self, axis: int, size: int, target: int) -> bool:
        """Whether the axis can be brought to the target."""
        kernel, stride = self.kernel[axis], self.stride[axis]
        return target - ((size - 1) * stride + kernel) < stride

    def forward(self, x: torch.Tensor, target: Sequence[int] | None = None) -> torch.Tensor:
        """The transposed convolution, to the target or to the natural size."""
        target = self.natural(x.shape[2:]) if target is None else target
        axes = list(zip(x.shape[2:], target, self.kernel, self.stride, strict=True))
        added = [max(to - (n - 1) * s - k, 0) for n, to, k, s in axes]
        cut = [max((n - 1) * s + k - to, 0) for n, to, k, s in axes]
        y = self.apply_to(x, self.weight, self.bias, self.stride, 0, tuple(added))
        for axis, (length, total) in enumerate(zip(target, cut, strict=True), start=2):
            start = math.ceil(total / 2) if self.rule == "Solved" else total // 2
            y = y.narrow(axis, start, length)
        return y


def norm(config: dict[str, Any] | None, channels: int, rank: int) -> nn.Module | None:
    """PyTorch's norm."""
    if config is None:
        return None
    ((kind, options),) = config.items()
    epsilon = options["epsilon"]
    if kind == "Batch":
        return BATCH_NORM[rank](channels, eps=epsilon, momentum=options["momentum"])
    if kind == "Group":
        return nn.GroupNorm(options["groups"], channels, eps=epsilon)
    return INSTANCE_NORM[rank](channels, eps=epsilon, affine=options["affine"])


def activation(config: Any) -> nn.Module:
    """PyTorch's activation."""
    if isinstance(config, dict):
        return nn.LeakyReLU(config["LeakyRelu"]["negative_slope"])
    kinds = {None: nn.Identity, "Relu": nn.ReLU, "Sigmoid": nn.Sigmoid, "Tanh": nn.Tanh}
    return (kinds | {"Gelu": nn.GELU})[config]()


class ConvNormAct(nn.Module):
    """`ConvNormAct`"""

    def __init__(self, config: dict[str, Any], rank: int) -> None:
        super().__init__()
        style = config["style"]
        self.order = style["order"]
        bias = style["norm"] is None if style["bias"] is None else style["bias"]
        shared = ("channels", "kernel_size", "stride", "dilation", "groups")
        self.conv = conv(
            {key: config[key] for key in shared} | {"padding": style["padding"], "bias": bias},
            rank,
        )
        channels = config["channels"][0 if self.order == "NormActConv" else 1]
        self.norm = norm(style["norm"], channels, rank)
        self.activation = activation(style["activation"])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The three in their order."""
        norm = self.norm or nn.Identity()
        steps = {
            "ConvNormAct": (self.conv, norm, self.activation),
            "ConvActNorm": (self.conv, self.activation, norm),
            "NormActConv": (norm, self.activation, self.conv),
        }[self.order]
        for step in steps:
            x = step(x)
        return x


class DoubleConv(nn.Module):
    """`DoubleConv` with kernels of 3."""

    def __init__(self, channels: list[int], style: dict[str, Any], rank: int) -> None:
        super().__init__()
        inputs, outputs = channels
        self.first = ConvNormAct(configs.conv_norm_act([inputs, outputs], 3, style), rank)
        self.second = ConvNormAct(configs.conv_norm_act([outputs, outputs], 3, style), rank)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """One after the other."""
        return self.second(self.first(x))


class Up(nn.Module):
    """`Up`"""

    def __init__(self, config: dict[str, Any], channels: Sequence[int], rank: int) -> None:
        super().__init__()
        ((self.kind, self.options),) = config.items()
        inputs, wanted = channels
        self.layer: nn.Module | None = None
        self.out_channels = wanted
        if self.kind == "ConvTranspose":
            self.scale = each(self.options["stride"], rank)
            self.layer = ConvTranspose(
                configs.conv_transpose([inputs, wanted], **self.options), rank
            )
            return
        self.scale = each(self.options["scale"], rank)
        if self.kind == "Carafe":
            self.layer = Carafe(self.options, inputs, rank)
            self.out_channels = inputs
            return
        if self.kind == "PixelShuffle":
            self.layer = CONV[rank](inputs, wanted * math.prod(self.scale), 1)
        elif self.options["project"]:
            self.layer = CONV[rank](inputs, wanted, 1)
        else:
            self.out_channels = inputs

    def natural(self, size: Sequence[int]) -> list[int]:
        """The size that is given where none is asked for."""
        if self.kind == "ConvTranspose":
            return self.layer.natural(size)
        return [n * s for n, s in zip(size, self.scale, strict=True)]

    def reach(self, size: Sequence[int], target: Sequence[int]) -> list[int]:
        """On each axis the target where it can be hit, else the natural size."""
        if self.kind == "Resize":
            return list(target)
        natural = self.natural(size)
        if self.kind == "PixelShuffle":
            return natural
        return [
            to if self.layer.reaches(axis, length, to) else natural[axis]
            for axis, (length, to) in enumerate(zip(size, target, strict=True))
        ]

    def forward(self, x: torch.Tensor, target: Sequence[int] | None = None) -> torch.Tensor:
        """Enlarges to the target, or by the scale."""
        target = self.natural(x.shape[2:]) if target is None else target
        if self.kind == "ConvTranspose":
            return self.layer(x, target)
        if self.kind == "Carafe":
            return self.layer(x)
        if self.layer is not None:
            x = self.layer(x)
        if self.kind == "Resize":
            return resize(x, target, self.options["mode"])
        x = pixel_shuffle(x, self.options["scale"], self.options["order"])
        return blur(x) if self.options["blur"] else x


class Carafe(nn.Module):
    """`Carafe`: mmcv's `CARAFEPack` with one group, by its formula"""

    def __init__(self, options: dict[str, Any], channels: int, rank: int) -> None:
        super().__init__()
        self.scale = each(options["scale"], rank)
        self.kernel = each(options["kernel_size"], rank)
        compressed = options["compressed_channels"]
        encoded = math.prod(self.kernel) * math.prod(self.scale)
        encoder = each(options["encoder_kernel_size"], rank)
        self.compress = CONV[rank](channels, compressed, 1)
        self.encode = CONV[rank](compressed, encoded, encoder, padding="same")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Sums the neighbours of the old position, by the softmax of what is computed for each."""
        logits = self.encode(self.compress(x))
        weights = pixel_shuffle(logits, list(self.scale), "ChannelMajor").softmax(dim=1)
        padded = pad(x, [(size // 2, size // 2) for size in self.kernel])
        y = torch.zeros(())
        for n, offsets in enumerate(itertools.product(*map(range, self.kernel))):
            shifted = padded
            both = zip(offsets, self.scale, strict=True)
            for axis, (offset, scale) in enumerate(both, start=2):
                shifted = shifted.narrow(axis, offset, x.shape[axis])
                shifted = shifted.repeat_interleave(scale, dim=axis)
            y = y + shifted * weights[:, n : n + 1]
        return y


class AttentionGate(nn.Module):
    """`AttentionGate`"""

    def __init__(self, channels: int, guide: int, hidden: int, rank: int) -> None:
        super().__init__()

        def pointwise(channels: list[int], activation: Any) -> ConvNormAct:
            style = configs.style(norm=configs.batch(), activation=activation)
            return ConvNormAct(configs.conv_norm_act(channels, 1, style), rank)

        self.of_map = pointwise([channels, hidden], None)
        self.of_guide = pointwise([guide, hidden], None)
        self.weight = pointwise([hidden, 1], "Sigmoid")
        self.relu = nn.ReLU()

    def forward(self, x: torch.Tensor, guide: torch.Tensor) -> torch.Tensor:
        """Weighs `x`."""
        return x * self.weight(self.relu(self.of_map(x) + self.of_guide(guide)))


class UpsampleConcat(nn.Module):
    """`UpsampleConcat`"""

    def __init__(self, config: dict[str, Any], rank: int) -> None:
        super().__init__()
        self.config = config
        skip_channels = config["skip_channels"]
        wanted = config["up_channels"] or skip_channels
        self.up = Up(config["up"], [config["deep_channels"], wanted], rank)
        deep_channels = self.up.out_channels
        self.gate = None
        if config["gate"] is not None:
            hidden = config["gate"]["Attention"]["hidden_channels"]
            self.gate = AttentionGate(skip_channels, deep_channels, hidden, rank)
        channels = [deep_channels + skip_channels, config["out_channels"]]
        self.block = DoubleConv(channels, config["style"], rank)

    def forward(self, deep: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        """Enlarges the deep map, fits both, concatenates and refines."""
        fitting, target = self.config["fit"], self.config["target"]
        size = list(skip.shape[2:])
        if target != "Skip":
            up_size = self.up.natural(deep.shape[2:])
        elif fitting == "Exact":
            up_size = size
        else:
            up_size = self.up.reach(deep.shape[2:], size)
        deep = self.up(deep, up_size)
        deep, skip = meet([deep, skip], fitting, target)
        if self.gate is not None:
            skip = self.gate(skip, deep)
        return self.block(concat([deep, skip], self.config["order"]))


class Block(nn.Sequential):
    """The `ConvNormAct`s of a list, one after the other."""

    def __init__(self, layers: Sequence[dict[str, Any]], rank: int) -> None:
        super().__init__(*(ConvNormAct(layer, rank) for layer in layers))


class SkipAdd(nn.Module):
    """`SkipAdd`"""

    def __init__(self, config: dict[str, Any], block: Sequence[dict[str, Any]], rank: int) -> None:
        super().__init__()
        self.block = Block(block, rank)
        inputs, outputs = config["channels"]
        stride = each(config["stride"], rank)
        self.pre_activation: nn.Module = nn.Identity()
        if config.get("pre_activation") is not None:
            self.pre_activation = PreActivation(config["pre_activation"], inputs, rank)
        self.shortcut: nn.Module = nn.Identity()
        self.is_projected = False
        if inputs != outputs or max(stride) > 1:
            self.is_projected = config["shortcut"] != "Pad"
            self.shortcut = (
                projection(config, stride, rank)
                if self.is_projected
                else ZeroChannels(outputs - inputs, stride)
            )
        self.layer_scale = None
        if config["layer_scale"] is not None:
            is_scalar = isinstance(config["layer_scale"], dict)
            self.layer_scale = nn.Parameter(torch.ones(1 if is_scalar else outputs))
        self.activation = activation(config["activation"])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The block, beside its shortcut."""
        before = self.pre_activation(x)
        y = self.block(before)
        if self.layer_scale is not None:
            y = y * self.layer_scale.view(-1, *[1] * (x.dim() - 2))
        return self.activation(y + self.shortcut(before if self.is_projected else x))


class PreActivation(nn.Module):
    """`PreActivation`"""

    def __init__(self, config: dict[str, Any], channels: int, rank: int) -> None:
        super().__init__()
        self.norm = norm(config["norm"], channels, rank)
        self.activation = activation(config["activation"])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The norm, and the activation."""
        return self.activation(x if self.norm is None else self.norm(x))


class ZeroChannels(nn.Module):
    """`Shortcut::Pad`: the positions that the stride meets, and channels of zeros behind the others"""

    def __init__(self, channels: int, stride: Sequence[int]) -> None:
        super().__init__()
        self.channels, self.stride = channels, stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Leaves positions out, and appends channels."""
        x = x[(..., *(slice(None, None, step) for step in self.stride))]
        return nn.functional.pad(x, [0, 0] * len(self.stride) + [0, self.channels])


def projection(config: dict[str, Any], stride: PerAxis, rank: int) -> nn.Module:
    """The shortcut of a block that changes channels or size."""
    pooled = config["shortcut"] == "PooledConv" and max(stride) > 1
    pool: nn.Module = nn.Identity()
    if pooled:
        kinds = {3: nn.AvgPool1d, 4: nn.AvgPool2d, 5: nn.AvgPool3d}
        pool = kinds[rank](stride, stride, ceil_mode=True, count_include_pad=False)
    pointwise = configs.conv_norm_act(
        config["channels"],
        1,
        configs.style(
            norm=config["norm"],
            activation=None,
            bias=None if config.get("pre_activation") is None else False,
        ),
        stride=1 if pooled else list(stride),
    )
    return nn.Sequential(pool, ConvNormAct(pointwise, rank))


class SkipConcat(nn.Module):
    """`SkipConcat`"""

    def __init__(self, config: dict[str, Any], block: Sequence[dict[str, Any]], rank: int) -> None:
        super().__init__()
        self.block = Block(block, rank)
        self.config = config

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """What the block makes of the map, beside the map."""
        maps = meet([self.block(x), x], self.config["fit"], self.config["target"])
        return concat(maps, self.config["order"])


def meet(maps: Sequence[torch.Tensor], fitting: Any, target: Any) -> list[torch.Tensor]:
    """The maps at one size."""
    size = target_size(target, [list(x.shape[2:]) for x in maps])
    return [fit(x, size, fitting) for x in maps]


def concat(maps: Sequence[torch.Tensor], order: str) -> torch.Tensor:
    """The maps one after the other, on the channels."""
    return merge(maps, {"Concat": {"axis": "Channels", "order": order}})
