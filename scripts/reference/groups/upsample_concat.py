"""Decoder steps of U-Nets: drawn ones, and those of segmentation_models.pytorch and MONAI."""

from functools import partial
from itertools import product
from typing import Any

import torch
from monai.networks.nets.basic_unet import UpCat
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoderBlock

from .. import configs
from ..case import Case, run_torch
from ..draw import Draw, text
from ..torch_layers import UpsampleConcat
from ..writer import Recipe

RANKS = (3, 4, 5)
NORMS = ("batch-train", "batch-eval", "instance", "no_norm")
UPS = (
    "nearest",
    "linear",
    "linear_project",
    "conv_transpose",
    "conv_transpose_keras",
    "pixel_shuffle",
    "pixel_shuffle_blocks",
)
# The deep map is this long; the skip about twice.
DEEP = {3: (4, 6), 4: (2, 4), 5: (2, 2)}


def up_of(draw: Draw, kind: str) -> tuple[configs.Config, list[Any]]:
    """The enlargement, and the fits that bring what it cannot reach to the size of the skip."""
    pad_or_crop = {
        "PadOrCrop": {
            "mode": draw.choice(["Zero", "Edge"]),
            "anchor": draw.choice(["Start", "Center", "End"]),
        }
    }
    any_fit = ["Exact", {"Resize": {"Linear": "HalfPixel"}}, pad_or_crop]
    kernel = draw.integer(2, 4)
    return {
        "nearest": (configs.up_resize("Nearest"), any_fit),
        "linear": (configs.up_resize({"Linear": "HalfPixel"}), any_fit),
        "linear_project": (
            configs.up_resize({"Linear": "AlignCorners"}, project=True),
            any_fit,
        ),
        "conv_transpose": (configs.up_conv_transpose(kernel, 2), any_fit),
        "conv_transpose_keras": (configs.up_conv_transpose(kernel, 2, "Same"), any_fit),
        "pixel_shuffle": (configs.up_pixel_shuffle(2, draw.chance(0.3)), any_fit[1:]),
        "pixel_shuffle_blocks": (
            configs.up_pixel_shuffle(2, draw.chance(0.3), "BlockMajor"),
            any_fit[1:],
        ),
    }[kind]


def norm_of(kind: str) -> configs.Config | None:
    """The norm of both convolutions."""
    return {"instance": configs.instance(True), "no_norm": None}.get(kind, configs.batch())


def fit_name(fit: Any) -> str:
    """The readable name of a fit."""
    return fit.lower() if isinstance(fit, str) else next(iter(fit)).lower()


def draw_sizes(draw: Draw, rank: int) -> tuple[list[int], list[int]]:
    """The sizes of the deep map and of the skip: twice as long, or one more."""
    deep = draw.size(rank, *DEEP[rank])
    return deep, [2 * n + draw.integer(0, 1) for n in deep]


def of_drawn(
    draw: Draw, order: str, up_kind: str, norm_kind: str, rank: int, gate: bool = False
) -> Case:
    """`block(concat([up(deep), skip]))` in PyTorch"""
    up, fits = up_of(draw, up_kind)
    fit = draw.choice(fits)
    target = "Skip"
    if fit != "Exact" and draw.chance(0.3):
        target = draw.choice(["Deep", "Largest", "Smallest"])
    channels = [draw.integer(1, 3), draw.integer(1, 2), draw.integer(1, 2)]
    act_name = draw.choice(["relu", "leaky_relu", "gelu"])
    style = configs.style(
        draw.choice(["Same", configs.explicit(1)]),
        norm_of(norm_kind),
        configs.ACTIVATIONS[act_name],
    )
    up_channels = draw.choice([None, None, 1, 2])
    if "Resize" in up and not up["Resize"]["project"]:
        up_channels = None  # it keeps the channels, and refuses others
    config = configs.upsample_concat(
        channels,
        up,
        style,
        up_channels,
        fit,
        target,
        configs.MERGE_ORDERS[order],
        {"Attention": {"hidden_channels": 2}} if gate else None,
    )
    deep, skip = draw_sizes(draw, rank)
    train = norm_kind == "batch-train"
    parts = [order, up_kind, fit_name(fit), f"to_{target.lower()}", norm_kind, act_name]
    parts += [configs.padding_name(style["padding"])]
    parts += ["up_skip" if up_channels is None else f"up{up_channels}"]
    parts += (["attention"] if gate else []) + [f"r{rank}", text(deep), "and", text(skip)]
    case = Case("-".join(parts), rank, {"UpsampleConcat": config}, train)
    batch = 2 if train else draw.batch()
    maps = [draw.map(channels[0], deep, batch), draw.map(channels[1], skip, batch)]
    return run_torch(draw, case, UpsampleConcat(config, rank), maps)


def smp_path(key: str) -> str:
    """From `conv1.0.weight` to `block.first.conv.weight`."""
    conv, part, leaf = key.split(".")
    half = {"conv1": "first", "conv2": "second"}[conv]
    return f"block.{half}.{('conv', 'norm')[int(part)]}.{leaf}"


class SmpBlock(torch.nn.Module):
    """A decoder block that is told the size of its skip."""

    def __init__(self, block: UnetDecoderBlock) -> None:
        super().__init__()
        self.block = block

    def forward(self, deep: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        """`[deep, skip]`, the deep map at the size of the skip"""
        return self.block(deep, skip.shape[2], skip.shape[3], skip_connection=skip)


def of_smp(draw: Draw, train: bool) -> Case:
    """`UnetDecoderBlock` of segmentation_models.pytorch"""
    channels = [draw.integer(1, 3), draw.integer(1, 3), draw.integer(1, 3)]
    style = configs.style(configs.explicit(1), configs.batch())
    config = configs.upsample_concat(channels, configs.up_resize("Nearest"), style)
    deep, skip = draw_sizes(draw, 4)
    if draw.chance():
        skip = [2 * n + draw.integer(-1, 2) for n in deep]
    mode = "train" if train else "eval"
    name = f"smp-unet_decoder_block-deep_first-{mode}-r4-{text(deep)}-and-{text(skip)}"
    case = Case(name, 4, {"UpsampleConcat": config}, train)
    batch = 2 if train else draw.batch()
    maps = [draw.map(channels[0], deep, batch), draw.map(channels[1], skip, batch)]
    module = SmpBlock(UnetDecoderBlock(*channels))
    return run_torch(draw, case, module, maps, lambda key: smp_path(key.removeprefix("block.")))


def monai_path(key: str) -> str:
    """From `convs.conv_0.adn.N.weight` to `block.first.norm.weight`."""
    if key.startswith("upsample.deconv."):
        return key.replace("upsample.deconv", "up.layer")
    _, conv, *part, leaf = key.split(".")
    half = {"conv_0": "first", "conv_1": "second"}[conv]
    return f"block.{half}.{'conv' if part == ['conv'] else 'norm'}.{leaf}"


def of_monai(draw: Draw, norm_kind: str, rank: int) -> Case:
    """`UpCat` of MONAI's BasicUNet

    It enlarges by 2 and then repeats the edge at the end where the skip is one longer. The crate
    does so where the maps meet at the largest size; to the size of the skip its transposed
    convolution would reach by itself.
    """
    deep_channels = 2 * draw.integer(1, 2)
    channels = [deep_channels, draw.integer(1, 2), draw.integer(1, 2)]
    norm = {"instance": configs.instance(True)}.get(norm_kind, configs.batch())
    style = configs.style("Same", norm, configs.ACTIVATIONS["leaky_relu"], bias=True)
    config = configs.upsample_concat(
        channels,
        configs.up_conv_transpose(2, 2, draw.choice(["Solved", "Same", "Valid"])),
        style,
        deep_channels // 2,
        {"Pad": {"mode": "Edge", "anchor": "Start"}},
        "Largest",
        "SkipFirst",
    )
    module = UpCat(
        rank - 2,
        *channels,
        act=("LeakyReLU", {"negative_slope": 0.1}),
        norm=("instance", {"affine": True}) if norm_kind == "instance" else "batch",
        bias=True,
    )
    deep, skip = draw_sizes(draw, rank)
    train = norm_kind == "batch-train"
    name = f"monai-up_cat-skip_first-pad-{norm_kind}-r{rank}-{text(deep)}-and-{text(skip)}"
    case = Case(name, rank, {"UpsampleConcat": config}, train)
    batch = 2 if train else draw.batch()
    maps = [draw.map(channels[0], deep, batch), draw.map(channels[1], skip, batch)]
    return run_torch(draw, case, module, maps, monai_path)


def recipes() -> list[Recipe]:
    """All orders, enlargements and norms in alternating ranks; the blocks of other libraries."""
    found: list[Recipe] = []
    for n, (norm, order, up) in enumerate(product(NORMS, configs.MERGE_ORDERS, UPS)):
        rank = RANKS[(n + n // 7) % 3]
        found.append(partial(of_drawn, order=order, up_kind=up, norm_kind=norm, rank=rank))
    for norm, order in (("batch-eval", "deep_first"), ("batch-train", "skip_first")):
        found.append(
            partial(of_drawn, order=order, up_kind="linear", norm_kind=norm, rank=4, gate=True)
        )
    found += [partial(of_smp, train=train) for train in (False, True)] * 3
    for norm, rank in product(("instance", "batch-train"), RANKS):
        found.append(partial(of_monai, norm_kind=norm, rank=rank))
    return found
