"""What computes its weights of the maps: CARAFE and ASFF."""

from functools import partial

from .. import configs
from ..case import Case, run_torch
from ..draw import Draw, text
from ..torch_fusions import Asff
from ..torch_layers import Up
from ..writer import Recipe

RANKS = (3, 4, 5)
LARGEST = {3: 9, 4: 6, 5: 3}


def of_carafe(draw: Draw, uneven: bool, rank: int) -> Case:
    """mmcv's `CARAFEPack`"""
    size = draw.size(rank, 2, LARGEST[rank])
    scale = draw.integer(2, 3 if rank < 5 else 2)
    kernel = draw.choice([1, 3, 5] if rank < 5 else [3])
    if uneven:
        scale = [draw.integer(1, 2) for _ in size]
        kernel = [draw.choice([1, 3]) for _ in size]
    encoder = draw.choice([1, 3])
    up = configs.up_carafe(scale, kernel, encoder, draw.integer(1, 2))
    channels = draw.integer(1, 2)
    layer = {"Up": {"up": up, "channels": [channels, channels], "size": None}}
    name = f"carafe-k{text(kernel)}-s{text(scale)}-e{encoder}-r{rank}-{text(size)}"
    module = Up(up, [channels, channels], rank)
    return run_torch(draw, Case(name, rank, layer), module, [draw.map(channels, size)])


def of_asff(draw: Draw, target: str, train: bool, rank: int) -> Case:
    """Maps of several sizes, with weights of each position"""
    maps, channels = draw.integer(2, 3), draw.integer(1, 3)
    norm = configs.batch() if train else draw.choice([None, configs.batch()])
    style = configs.style(norm=norm, activation={"LeakyRelu": {"negative_slope": 0.1}})
    fit = {"Resize": configs.RESIZE_MODES[draw.choice(["nearest", "linear-half_pixel"])]}
    if rank == 5:
        fit = {"Resize": "Nearest"}
    config = configs.asff(maps, channels, draw.integer(1, 2), fit, target, style)
    parts = ["asff", target.lower()] + (["train"] if train else [])
    case = Case("-".join([*parts, f"r{rank}", f"of{maps}"]), rank, {"Asff": config}, train)
    batch = 2 if train else 1
    inputs = [
        draw.map(channels, draw.size(rank, 3, LARGEST[rank]), batch) for _ in range(maps)
    ]
    return run_torch(draw, case, Asff(config, rank), inputs)


def recipes() -> list[Recipe]:
    """Both in all ranks."""
    found: list[Recipe] = []
    for rank in RANKS:
        found += [partial(of_carafe, uneven=uneven, rank=rank) for uneven in (False, True)]
        found.append(partial(of_asff, target="Skip", train=False, rank=rank))
        found.append(partial(of_asff, target="Largest", train=True, rank=rank))
    return found
