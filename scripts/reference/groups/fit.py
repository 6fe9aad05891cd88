"""Giving a map a size: by resizing, padding, cutting and adaptive pooling."""

from functools import partial
from itertools import product
from typing import Any

from ..case import Case, run_torch
from ..configs import RESIZE_MODES
from ..draw import Draw, text
from ..functional import fit
from ..writer import Recipe

PAD_MODES = ("Zero", "Edge", "Reflect")
ANCHORS = ("Start", "Center", "End")
RANKS = (3, 4, 5)


def draw_target(draw: Draw, kind: str, anchor: str, mode: str, size: list[int]) -> list[int]:
    """A size that the fit can give."""
    target = []
    for length in size:
        # A reflected map can grow by one less than its size at an end.
        most = length - 1 if mode == "Reflect" else 5
        if mode == "Reflect" and anchor == "Center":
            most = 2 * (length - 1)
        larger = length + draw.integer(0, min(most, 6))
        smaller = draw.integer(1, length)
        grows = {"Pad": True, "Crop": False, "Pool": False}.get(kind, draw.chance())
        target.append(larger if grows else smaller)
    return target


def case_with(
    draw: Draw, name: str, rank: int, config: Any, anchor: str = "Start", mode: str = "Zero"
) -> Case:
    """A case of this fit."""
    size = draw.size(rank)
    target = draw_target(draw, next(iter(config)), anchor, mode, size)
    if target == size:
        target[-1] += 1 if next(iter(config)) not in ("Crop", "Pool") else -1
    case = Case(
        f"{name}-r{rank}-{text(size)}-to-{text(target)}",
        rank,
        {"Fit": {"fit": config, "size": target}},
    )
    x = draw.map(draw.integer(1, 3), size)
    return run_torch(draw, case, lambda x: fit(x, target, config), [x])


def of_resize(draw: Draw, mode: str, rank: int) -> Case:
    """`Fit::Resize`"""
    return case_with(draw, f"resize-{mode}", rank, {"Resize": RESIZE_MODES[mode]})


def of_pad(draw: Draw, kind: str, mode: str, anchor: str, rank: int) -> Case:
    """`Fit::Pad` and `Fit::PadOrCrop`"""
    name = {"Pad": "pad", "PadOrCrop": "pad_or_crop"}[kind]
    name = f"{name}-{mode.lower()}-{anchor.lower()}"
    config = {kind: {"mode": mode, "anchor": anchor}}
    return case_with(draw, name, rank, config, anchor, mode)


def of_crop(draw: Draw, anchor: str, rank: int) -> Case:
    """`Fit::Crop`"""
    config = {"Crop": {"anchor": anchor}}
    return case_with(draw, f"crop-{anchor.lower()}", rank, config, anchor)


def of_pool(draw: Draw, kind: str, rank: int) -> Case:
    """`Fit::Pool`"""
    return case_with(draw, f"pool-{kind.lower()}", rank, {"Pool": kind})


def recipes() -> list[Recipe]:
    """All fits, in alternating ranks."""
    found: list[Recipe] = [
        partial(of_resize, mode=mode, rank=rank)
        for mode, rank in (
            ("nearest", 3),
            ("linear-half_pixel", 4),
            ("linear-align_corners", 5),
            ("cubic-half_pixel", 4),
            ("area", 4),
        )
    ]
    for n, (mode, anchor) in enumerate(product(PAD_MODES, ANCHORS)):
        for rank in (RANKS[n % 3], RANKS[(n + n // 3 + 1) % 3]):
            found.append(partial(of_pad, kind="Pad", mode=mode, anchor=anchor, rank=rank))
        rank = RANKS[(n + 1 + n // 3) % 3]
        found.append(partial(of_pad, kind="PadOrCrop", mode=mode, anchor=anchor, rank=rank))
    for anchor, rank in product(ANCHORS, RANKS):
        found.append(partial(of_crop, anchor=anchor, rank=rank))
    for kind, rank in product(("Max", "Avg"), RANKS):
        found.append(partial(of_pool, kind=kind, rank=rank))
    return found
