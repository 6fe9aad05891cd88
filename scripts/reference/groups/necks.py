"""Necks: several maps to several, compared as one row of all values."""

from functools import partial
from itertools import product
from typing import Any

import torch
from timm.models.hrnet import HighResolutionModule
from timm.models.resnet import BasicBlock
from torch import nn

from .. import configs
from ..case import Case, draw_weights, record_torch
from ..draw import Draw, text
from ..torch_fusions import BiFpn, HrFuse, PaFpn, as_one_row
from ..writer import Recipe

RANKS = (3, 4, 5)
FINEST = {3: (9, 15), 4: (7, 9), 5: (4, 5)}
# Of the weights of convolutions, so that the norms divide by no small number.
SPREAD = 3
# At which a batch of two has values enough on the coarsest level.
FINEST_OF_BATCHES = {3: (17, 22), 4: (8, 9), 5: (4, 5)}


def draw_sizes(draw: Draw, rank: int, levels: int, train: bool) -> list[list[int]]:
    """Halves, rounded up or down."""
    sizes = [draw.size(rank, *(FINEST_OF_BATCHES if train else FINEST)[rank])]
    while len(sizes) < levels:
        sizes.append([max((n + draw.integer(0, 1)) // 2, 1) for n in sizes[-1]])
    return sizes


def neck_case(
    draw: Draw,
    name: str,
    rank: int,
    layer: dict[str, Any],
    module: nn.Module,
    channels: list[int],
    train: bool = False,
) -> Case:
    """A case of a neck, of maps that halve."""
    sizes = draw_sizes(draw, rank, len(channels), train)
    case = Case(f"{name}-r{rank}-{text(sizes[0])}", rank, layer, train)
    batch = 2 if train else 1
    maps = [draw.map(n, size, batch) for n, size in zip(channels, sizes, strict=True)]
    draw_weights(draw, module)
    with torch.no_grad():
        for weight in module.parameters():
            if weight.dim() > 1:
                weight *= SPREAD
    return record_torch(case, module, maps)


def of_pafpn(draw: Draw, norm: str, extra: str | None, rank: int) -> Case:
    """mmdetection's `PAFPN`"""
    channels = [draw.integer(1, 3) for _ in range(2 if rank == 5 else 3)]
    bare = configs.style(activation=None)
    style = configs.style(norm=configs.batch()) if norm == "batch" else bare
    config = configs.pafpn(2, bare, style, extra)
    layer = {"PaFpn": {"config": config, "channels": channels}}
    name = f"pafpn-{norm}" + ("" if extra is None else f"-{extra.lower()}")
    return neck_case(draw, name, rank, layer, PaFpn(config, channels, rank), channels)


def of_bifpn(draw: Draw, weighting: str, extra: int, rank: int, train: bool) -> Case:
    """effdet's `BiFpn`"""
    wide = 3
    channels = [draw.choice([2, wide]) for _ in range(2 if rank == 5 else 3)]
    norm = configs.batch(1e-3, 0.01)
    style = configs.style(norm=norm, activation=None, bias=True)
    weightings = {"fast": {"Fast": {"epsilon": 1e-4}}, "softmax": "Softmax"}
    config = configs.bifpn(wide, 1 if train else 2, extra, style, weightings[weighting])
    if rank == 4 and not train:
        # Down alone, where the last node reads over two levels.
        last = len(channels) + extra - 1
        nodes = [{"level": 0, "inputs": [0, last]}]
        for level in range(1, last + 1):
            nodes.append({"level": level, "inputs": [level, last + level]})
        nodes.append({"level": last, "inputs": [last, 0, last + 1 + last]})
        config["nodes"] = nodes
    layer = {"BiFpn": {"config": config, "channels": channels}}
    name = f"bifpn-{weighting}-extra{extra}" + ("-train" if train else "")
    return neck_case(draw, name, rank, layer, BiFpn(config, channels, rank), channels, train)


def of_hr_fuse(draw: Draw, resize: str, rank: int, train: bool) -> Case:
    """The fuse layers of HRNet"""
    channels = [draw.integer(1, 3) for _ in range(2 if rank == 5 else 3)]
    config = configs.hr_fuse(configs.batch(), configs.RESIZE_MODES[resize])
    layer = {"HrFuse": {"config": config, "channels": channels}}
    name = f"hr_fuse-{resize}" + ("-train" if train else "")
    return neck_case(draw, name, rank, layer, HrFuse(config, channels, rank), channels, train)


class TimmFuse(nn.Module):
    """timm's `HighResolutionModule` without its branches"""

    def __init__(self, channels: list[int]) -> None:
        super().__init__()
        count = len(channels)
        ones, method = [1] * count, "SUM"
        module = HighResolutionModule(count, BasicBlock, ones, list(channels), channels, method)
        module.branches = nn.ModuleList(nn.Identity() for _ in channels)
        self.module = module

    def forward(self, *maps: torch.Tensor) -> torch.Tensor:
        """Each resolution gets the sum of all."""
        return as_one_row(self.module(list(maps)))


def timm_path(key: str) -> str:
    """From timm's key of a part to the crate's path."""
    end, start, *steps, index, leaf = key.removeprefix("module.fuse_layers.").split(".")
    kind = ("conv", "norm")[int(index)]
    return f"paths.{end}.{start}.{steps[0] if steps else 0}.{kind}.{leaf}"


def of_timm_hr_fuse(draw: Draw, train: bool) -> Case:
    """The fuse layers of timm's `HighResolutionModule`; sizes halve exactly there"""
    channels = [draw.integer(1, 3) for _ in range(3)]
    config = configs.hr_fuse(configs.batch(), "Nearest")
    layer = {"HrFuse": {"config": config, "channels": channels}}
    name = "timm-hr_fuse" + ("-train" if train else "")
    case = Case(f"{name}-r4-8x12", 4, layer, train)
    maps = [draw.map(n, [8 >> level, 12 >> level], 2) for level, n in enumerate(channels)]
    module = TimmFuse(channels)
    draw_weights(draw, module)
    return record_torch(case, module, maps, timm_path)


def recipes() -> list[Recipe]:
    """All necks in all ranks."""
    extras = (None, "MaxPool", "OfOutput")
    found: list[Recipe] = [
        partial(of_pafpn, norm=norm, extra=extras[(n + m) % 3], rank=rank)
        for m, norm in enumerate(("no_norm", "batch"))
        for n, rank in enumerate(RANKS)
    ]
    for n, (rank, train) in enumerate(product(RANKS, (False, True))):
        weighting = ("fast", "softmax")[n % 2]
        extra = 0 if train else n % 3
        found.append(partial(of_bifpn, weighting=weighting, extra=extra, rank=rank, train=train))
        resize = ("nearest", "linear-half_pixel")[(n + n // 2) % 2]
        found.append(partial(of_hr_fuse, resize=resize, rank=rank, train=train))
    found += [partial(of_timm_hr_fuse, train=train) for train in (False, True)]
    return found
