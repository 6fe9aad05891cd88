"""Sums of maps with learned weights."""

from functools import partial
from itertools import product

import torch

from .. import configs
from ..case import Case, record_torch
from ..draw import Draw, Redraw, text
from ..torch_fusions import WeightedSum
from ..writer import Recipe

RANKS = (3, 4, 5)
WEIGHTINGS = {"unbounded": "Unbounded", "softmax": "Softmax", "fast": {"Fast": {"epsilon": 1e-4}}}
# How near to zero, where its ReLU bends, a weight may come.
KINK = 0.05


def of_weights(draw: Draw, weighting: str, per_channel: bool, rank: int) -> Case:
    """effdet's `FpnCombine` with its `weight_method`, and the same with weights of channels"""
    count, channels = draw.integer(2, 3), draw.integer(1, 3)
    size = draw.size(rank, high=6 if rank == 4 else None)
    config = configs.weighted_sum(count, channels if per_channel else None, WEIGHTINGS[weighting])
    module = WeightedSum(config)
    weights = draw.uniform(-0.5, 1.5, *module.weights.shape)
    if abs(weights).min() < KINK:
        raise Redraw("a weight lies on the kink of its ReLU")
    if weights.reshape(count, -1).max(axis=0).min() < KINK:
        raise Redraw("all weights of a channel are negative")
    module.weights.data = torch.from_numpy(weights)
    parts = [weighting] + (["per_channel"] if per_channel else [])
    case = Case("-".join([*parts, f"r{rank}", text(size)]), rank, {"WeightedSum": config})
    batch = draw.batch()
    return record_torch(case, module, [draw.map(channels, size, batch) for _ in range(count)])


def recipes() -> list[Recipe]:
    """All weightings in all ranks."""
    return [
        partial(of_weights, weighting=weighting, per_channel=per_channel, rank=rank)
        for weighting, per_channel, rank in product(WEIGHTINGS, (False, True), RANKS)
    ]
