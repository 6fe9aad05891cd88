"""The groups of cases by the names of their files: their recipes, and how many there must be."""

from collections.abc import Callable

from ..writer import Recipe
from . import (
    batch_norm,
    content_aware,
    conv,
    conv_norm_act,
    conv_transpose,
    fit,
    flatten_pad_reshape,
    gate,
    merge,
    necks,
    pool,
    resize,
    skip_add,
    skip_concat,
    up_down,
    upsample_concat,
    weighted_sum,
)

GROUPS: dict[str, tuple[Callable[[], list[Recipe]], int]] = {
    "resize": (resize.recipes, 110),
    "fit": (fit.recipes, 40),
    "pool": (pool.recipes, 30),
    "merge": (merge.recipes, 25),
    "conv": (conv.recipes, 20),
    "conv_transpose": (conv_transpose.recipes, 40),
    "up_down": (up_down.recipes, 35),
    "conv_norm_act": (conv_norm_act.recipes, 40),
    "skip_add": (skip_add.recipes, 30),
    "skip_add_options": (skip_add.option_recipes, 18),
    "skip_concat": (skip_concat.recipes, 15),
    "upsample_concat": (upsample_concat.recipes, 40),
    "batch_norm": (batch_norm.recipes, 12),
    "flatten_pad_reshape": (flatten_pad_reshape.recipes, 5),
    "gate": (gate.recipes, 31),
    "content_aware": (content_aware.recipes, 12),
    "necks": (necks.recipes, 20),
    "weighted_sum": (weighted_sum.recipes, 18),
}
