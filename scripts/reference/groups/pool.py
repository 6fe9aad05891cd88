"""Pooling by a sliding window."""

from functools import partial
from itertools import product

from .. import configs
from ..case import Case, run_torch
from ..draw import Draw, each, text
from ..functional import pool
from ..keras_layers import POOL, KerasRun
from ..writer import Recipe

KINDS = {"Max": "max", "Avg": "avg", "AvgWithPadding": "avg_with_padding"}
RANKS = (3, 4, 5)


def of_torch(draw: Draw, kind: str, padded: bool, ceil_mode: bool, rank: int) -> Case:
    """`torch.nn.MaxPool1d` to `MaxPool3d`, `torch.nn.AvgPool1d` to `AvgPool3d`"""
    kernel = draw.per_axis(rank, 2, 3)
    stride = draw.per_axis(rank, 1, 3)
    halves = [k // 2 for k in each(kernel, rank)]
    padding = configs.explicit(draw.written(halves)) if padded else "Valid"
    config = configs.pool(kind, kernel, stride, padding, ceil_mode)
    size = draw.size(rank)
    parts = [KINDS[kind], "padded" if padded else "valid", "ceil" if ceil_mode else "floor"]
    parts += [f"r{rank}", f"k{text(kernel)}", f"s{text(stride)}", text(size)]
    case = Case("-".join(parts), rank, {"Pool": config})
    x = draw.map(draw.integer(1, 2), size)
    return run_torch(draw, case, lambda x: pool(x, config), [x])


def of_keras(draw: Draw, kind: str, rank: int) -> Case:
    """Keras's pools with `padding="same"`"""
    kernel = [draw.integer(2, 3) for _ in range(rank - 2)]
    stride = [draw.integer(1, k) for k in kernel]
    if rank == 4 and kind == "Max" and draw.chance():
        kernel[-1] = kernel[0] + 1
    config = configs.pool(kind, draw.written(kernel), draw.written(stride), "Same")
    size = draw.size(rank)
    parts = ["keras", KINDS[kind], "same", f"r{rank}"]
    parts += [f"k{text(kernel)}", f"s{text(stride)}", text(size)]
    case = Case("-".join(parts), rank, {"Pool": config})
    layer = POOL[kind, rank](pool_size=tuple(kernel), strides=tuple(stride), padding="same")
    return KerasRun(draw, layer).record(case, [draw.map(draw.integer(1, 2), size)])


def recipes() -> list[Recipe]:
    """All kinds, paddings, roundings and ranks."""
    found: list[Recipe] = []
    for rank, kind, padded, ceil in product(RANKS, KINDS, (False, True), (False, True)):
        found.append(partial(of_torch, kind=kind, padded=padded, ceil_mode=ceil, rank=rank))
    for rank, kind in product(RANKS, ("Max", "Avg")):
        found += [partial(of_keras, kind=kind, rank=rank)] * 2
    return found
