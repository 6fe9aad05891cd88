"""Resizing by every mode, up and down, in every rank that the frameworks have it for."""

from functools import partial

import keras

from ..case import Case, run_torch
from ..configs import RESIZE_MODES
from ..draw import SIZES, Draw, text
from ..functional import resize
from ..keras_layers import KerasRun
from ..writer import Recipe

DIRECTIONS = ("up", "down", "mixed", "one")
REPEATS = 2
KERAS_MODES = {"nearest": "nearest_exact", "bilinear": "linear-half_pixel"}


def ranks_of(mode: str) -> tuple[int, ...]:
    """PyTorch has cubic and antialiased interpolation for two spatial axes only."""
    return (4,) if mode.startswith("cubic") or mode.endswith("antialias") else (3, 4, 5)


def draw_sizes(
    draw: Draw, rank: int, direction: str, antialias: bool = False
) -> tuple[list[int], list[int]]:
    """The size before and after."""
    _, high = SIZES[rank]
    before = draw.size(rank)
    after = []
    for axis, length in enumerate(before):
        up = direction == "up" or (direction == "mixed" and (axis + length) % 2 == 0)
        if up:
            after.append(draw.integer(length + 1, min(2 * length + 3, high + 5)))
        else:
            after.append(draw.integer(2, length - 1))
    if direction == "one":
        # PyTorch's antialiasing is at fault where the width becomes 1 and the height changes.
        after[0 if antialias else draw.integer(0, rank - 3)] = 1
        if antialias and rank == 3:
            raise ValueError("PyTorch has no antialiasing for one axis")
    if direction == "mixed" and draw.chance(0.3):
        after[0] = before[0]
    return before, after


def case_of(mode: str, rank: int, direction: str, before: list[int], after: list[int]) -> Case:
    """The case without its tensors."""
    name = f"{mode}-{direction}-r{rank}-{text(before)}-to-{text(after)}"
    layer = {"Resize": {"mode": RESIZE_MODES[mode], "size": after}}
    return Case(name, rank, layer)


def of_torch(draw: Draw, mode: str, rank: int, direction: str) -> Case:
    """`torch.nn.functional.interpolate`"""
    before, after = draw_sizes(draw, rank, direction, mode.endswith("antialias"))
    case = case_of(mode, rank, direction, before, after)
    x = draw.map(draw.integer(1, 2), before)
    return run_torch(draw, case, lambda x: resize(x, after, RESIZE_MODES[mode]), [x])


def of_keras(draw: Draw, keras_mode: str, direction: str) -> Case:
    """`keras.layers.Resizing`"""
    before, after = draw_sizes(draw, 4, direction)
    mode = KERAS_MODES[keras_mode]
    case = case_of(mode, 4, direction, before, after)
    case.name = f"keras-{case.name}"
    layer = keras.layers.Resizing(*after, interpolation=keras_mode)
    return KerasRun(draw, layer).record(case, [draw.map(draw.integer(1, 2), before)])


def recipes() -> list[Recipe]:
    """All modes, ranks and directions."""
    found: list[Recipe] = []
    for mode in RESIZE_MODES:
        for rank in ranks_of(mode):
            for direction in DIRECTIONS:
                if direction == "mixed" and rank == 3:
                    continue
                repeats = 1 if direction == "one" else REPEATS
                found += [partial(of_torch, mode=mode, rank=rank, direction=direction)] * repeats
    for keras_mode in KERAS_MODES:
        for direction in ("up", "down", "mixed"):
            found += [partial(of_keras, keras_mode=keras_mode, direction=direction)] * 2
    return found
