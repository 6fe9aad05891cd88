"""Several maps of one size into one."""

from functools import partial
from itertools import product

from ..case import Case, run_torch
from ..configs import MERGE_ORDERS
from ..draw import Draw, text
from ..functional import merge
from ..writer import Recipe

RANKS = (3, 4, 5)


def of_concat(draw: Draw, axis: int | None, order: str, rank: int) -> Case:
    """`torch.cat` on the channels (`None`) or on a spatial axis; there the maps differ."""
    count = draw.integer(2, 4)
    batch, channels = draw.batch(), draw.integer(1, 3)
    size = draw.size(rank, high=6 if rank == 4 else None)
    maps = []
    for _ in range(count):
        own, own_channels = list(size), channels
        if axis is None:
            own_channels = draw.integer(1, 3)
        else:
            own[axis] = draw.integer(1, 6)
        maps.append(draw.map(own_channels, own, batch))
    config = {
        "Concat": {
            "axis": "Channels" if axis is None else {"Spatial": axis},
            "order": MERGE_ORDERS[order],
        }
    }
    along = "channels" if axis is None else f"spatial{axis}"
    case = Case(f"concat-{along}-{order}-r{rank}-of{count}", rank, {"Merge": config})
    return run_torch(draw, case, lambda *xs: merge(xs, config), maps)


def of_elements(draw: Draw, kind: str, rank: int) -> Case:
    """A merge value by value."""
    count = draw.integer(2, 4)
    size = draw.size(rank, high=7 if rank == 4 else None)
    batch, channels = draw.batch(), draw.integer(1, 2)
    maps = [draw.map(channels, size, batch) for _ in range(count)]
    name = f"{kind.lower()}-r{rank}-{text(size)}-of{count}"
    case = Case(name, rank, {"Merge": kind})
    return run_torch(draw, case, lambda *xs: merge(xs, kind), maps)


def recipes() -> list[Recipe]:
    """All merges in all ranks."""
    found: list[Recipe] = []
    for rank, order in product(RANKS, MERGE_ORDERS):
        for axis in (None, *range(rank - 2)):
            found.append(partial(of_concat, axis=axis, order=order, rank=rank))
    for kind, rank in product(("Add", "Mean", "Mul", "Max", "Min", "Sub"), RANKS):
        found.append(partial(of_elements, kind=kind, rank=rank))
    return found
