"""Bare convolutions."""

from functools import partial
from itertools import product

from .. import configs
from ..case import Case, run_torch
from ..draw import SIZES, Draw, each, text
from ..keras_layers import CONV, KerasRun
from ..torch_layers import conv
from ..writer import Recipe

RANKS = (3, 4, 5)
PADDINGS = ("same", "valid", "explicit", "explicit_uneven")


def draw_padding(draw: Draw, kind: str, rank: int) -> configs.Config | str:
    """A padding of this kind."""
    if kind in ("same", "valid"):
        return kind.capitalize()
    start = draw.per_axis(rank, 0, 2)
    if kind == "explicit":
        return configs.explicit(start)
    end = [
        n + (draw.integer(1, 2) if axis == 0 else draw.integer(0, 1))
        for axis, n in enumerate(each(start, rank))
    ]
    return configs.explicit(start, end)


def draw_size(draw: Draw, rank: int, extents: list[int]) -> list[int]:
    """A size at least as long as the window."""
    low, high = SIZES[rank]
    return [draw.integer(max(low, e), max(high, e + 2)) for e in extents]


def of_torch(draw: Draw, padding_kind: str, stride: int, rank: int) -> Case:
    """`torch.nn.Conv1d` to `Conv3d`"""
    kernel = draw.per_axis(rank, 1, 4 if rank < 5 else 3)
    dilation = draw.per_axis(rank, 1, 2) if draw.chance() else 1
    strides = stride if draw.chance() else [stride] + [draw.integer(1, 3) for _ in range(rank - 3)]
    groups = draw.choice([1, 1, 2])
    channels = [groups * draw.integer(1, 2), groups * draw.integer(1, 2)]
    padding = draw_padding(draw, padding_kind, rank)
    bias = draw.chance(0.7)
    config = configs.conv(channels, kernel, strides, dilation, groups, padding, bias)
    axes = zip(each(kernel, rank), each(dilation, rank), strict=True)
    size = draw_size(draw, rank, [d * (k - 1) + 1 for k, d in axes])
    parts = [padding_kind, f"s{text(strides)}", f"d{text(dilation)}", f"g{groups}"]
    parts += [f"k{text(kernel)}", f"r{rank}", text(size)]
    case = Case("-".join(parts), rank, {"Conv": config})
    return run_torch(draw, case, conv(config, rank), [draw.map(channels[0], size)])


def of_keras(draw: Draw, padding: str, rank: int) -> Case:
    """`keras.layers.Conv1D` to `Conv3D`"""
    kernel = [draw.integer(2, 4 if rank < 5 else 3) for _ in range(rank - 2)]
    stride = draw.integer(2, 3)
    channels = [draw.integer(1, 3), draw.integer(1, 3)]
    config = configs.conv(channels, draw.written(kernel), stride, padding=padding.capitalize())
    size = draw_size(draw, rank, kernel)
    parts = ["keras", padding, f"s{stride}", f"k{text(kernel)}", f"r{rank}", text(size)]
    case = Case("-".join(parts), rank, {"Conv": config})
    layer = CONV[rank](channels[1], tuple(kernel), strides=stride, padding=padding)
    return KerasRun(draw, layer, {"": layer}).record(case, [draw.map(channels[0], size)])


def recipes() -> list[Recipe]:
    """All paddings in all ranks, at small and large steps."""
    found: list[Recipe] = []
    for rank, padding, stride in product(RANKS, PADDINGS, (1, 2)):
        found.append(partial(of_torch, padding_kind=padding, stride=stride, rank=rank))
    for rank in RANKS:
        found.append(partial(of_torch, padding_kind="same", stride=3, rank=rank))
        found += [partial(of_keras, padding="same", rank=rank)] * 2
        found.append(partial(of_keras, padding="valid", rank=rank))
    return found
