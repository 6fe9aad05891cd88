"""Refuses draws whose result hangs on the last bit: then both sides are right and disagree."""

from types import TracebackType

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from .draw import Redraw

# How near to its kink, relative to the largest value, the input of a ReLU may come.
KINK = 3e-5
# What a norm divides by the root of.
SMALLEST_VARIANCE = 0.05
FEWEST_BATCH_VALUES = 8
FEWEST_GROUP_VALUES = 3


def check_kink(x: torch.Tensor) -> None:
    """Refuses values so near to 0 that their sign is a matter of rounding."""
    size = x.detach().abs()
    if size.min() < KINK * max(1.0, float(size.max())):
        raise Redraw("a value lies on the kink of a ReLU")


def check_spread(groups: torch.Tensor, fewest: int) -> None:
    """Refuses groups (rows) of too few values, or with too small a variance."""
    if groups.shape[1] < fewest:
        raise Redraw("too few values to normalise")
    if groups.detach().var(dim=1, correction=0).min() < SMALLEST_VARIANCE:
        raise Redraw("too small a variance to divide by")


class Watch:
    """Looks at the inputs of the activations and norms of a module while it runs."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        # Momentum and number of values of each batch norm that ran in training.
        self.batch_norms: dict[str, tuple[float, int]] = {}
        self.handles: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> "Watch":
        for name, part in self.module.named_modules():
            self.handles.append(part.register_forward_pre_hook(self.hook(name)))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for handle in self.handles:
            handle.remove()

    def hook(self, name: str):
        """What is looked at before the part `name` runs."""

        def look(part: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            x = inputs[0]
            if isinstance(part, nn.ReLU | nn.LeakyReLU):
                check_kink(x)
            elif isinstance(part, _BatchNorm) and part.training:
                groups = x.transpose(0, 1).flatten(1)
                check_spread(groups, FEWEST_BATCH_VALUES)
                self.batch_norms[name] = (part.momentum, groups.shape[1])
            elif isinstance(part, _InstanceNorm):
                check_spread(x.flatten(0, 1).flatten(1), FEWEST_GROUP_VALUES)
            elif isinstance(part, nn.GroupNorm):
                groups = x.reshape(x.shape[0] * part.num_groups, -1)
                check_spread(groups, FEWEST_GROUP_VALUES)

        return look
