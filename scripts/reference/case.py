"""One golden case, and how PyTorch runs it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from .draw import Draw
from .watch import Watch

STATISTICS = ("running_mean", "running_var")

# From a key of a foreign module to the path in the crate; None leaves the tensor out.
Paths = Callable[[str], str | None]


@dataclass
class Case:
    """What the file holds of a case; the group and the index are put around the name later."""

    name: str
    rank: int
    layer: dict[str, Any]
    train: bool = False
    tensors: dict[str, np.ndarray] = field(default_factory=dict)

    def add_inputs(self, inputs: Sequence[np.ndarray]) -> None:
        """The inputs, in their order."""
        self.tensors |= {f"x{n}": x for n, x in enumerate(inputs)}


def loss_weights(shape: Sequence[int]) -> np.ndarray:
    """The `g` of `loss = sum(y * g)`: what each value of the output counts."""
    count = int(np.prod(shape))
    return ((((np.arange(count) * 37) % 17) - 8) / 8).astype(np.float32).reshape(shape)


class Function(nn.Module):
    """A function without weights."""

    def __init__(self, function: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Applies the function."""
        return self.function(*inputs)


@torch.no_grad()
def draw_weights(draw: Draw, module: nn.Module) -> None:
    """Gives all weights and running statistics of the module values worth comparing."""
    for key, tensor in module.state_dict().items():
        leaf = key.rsplit(".", 1)[-1]
        if leaf == "num_batches_tracked":
            continue
        shape = tuple(tensor.shape)
        if tensor.dim() > 1:
            values = draw.normal(*shape) / np.sqrt(np.prod(shape[1:]))
        elif leaf in ("weight", "running_var", "layer_scale", "weights"):
            values = draw.uniform(0.5, 1.5, *shape)
        else:
            values = draw.uniform(-0.3, 0.3, *shape)
        tensor.copy_(torch.from_numpy(np.asarray(values, np.float32)))


def state_of(module: nn.Module, paths: Paths) -> dict[str, np.ndarray]:
    """Weights and running statistics by their paths in the crate."""
    state = {}
    for key, tensor in module.state_dict().items():
        path = None if key.endswith("num_batches_tracked") else paths(key)
        if path is not None:
            state[path] = tensor.detach().numpy().copy()
    return state


def biased(before: np.ndarray, after: np.ndarray, momentum: float, count: int) -> np.ndarray:
    """The running variance as Burn and Keras keep it, from PyTorch's.

    PyTorch adds the unbiased variance of the batch, `n / (n - 1)` times the population's.
    """
    kept = (1 - momentum) * before.astype(np.float64)
    return (kept + (after - kept) * (count - 1) / count).astype(np.float32)


def run_torch(
    draw: Draw,
    case: Case,
    module: nn.Module | Callable[..., torch.Tensor],
    inputs: Sequence[np.ndarray],
    paths: Paths = lambda key: key,
) -> Case:
    """Draws weights, runs the module forward and backward, and records it all in the case."""
    if not isinstance(module, nn.Module):
        module = Function(module)
    draw_weights(draw, module)
    return record_torch(case, module, inputs, paths)


def record_torch(
    case: Case, module: nn.Module, inputs: Sequence[np.ndarray], paths: Paths = lambda key: key
) -> Case:
    """As `run_torch`, with the weights that the module has."""
    module.train(case.train)
    before = state_of(module, paths)
    leaves = [torch.from_numpy(x.copy()).requires_grad_() for x in inputs]
    with Watch(module) as watch:
        y = module(*leaves)
    (y * torch.from_numpy(loss_weights(y.shape))).sum().backward()
    case.add_inputs(inputs)
    tensors = case.tensors
    tensors |= {f"param/{path}": values for path, values in before.items()}
    tensors["y"] = y.detach().numpy()
    for n, leaf in enumerate(leaves):
        if leaf.grad is not None:
            tensors[f"grad/x{n}"] = leaf.grad.numpy()
    for key, parameter in module.named_parameters():
        path = paths(key)
        if path is not None:
            tensors[f"grad/{path}"] = parameter.grad.numpy()
    if case.train:
        after = state_of(module, paths)
        for key, (momentum, count) in watch.batch_norms.items():
            prefix = f"{key}." if key else ""
            mean, variance = (paths(prefix + leaf) for leaf in STATISTICS)
            tensors[f"after_torch/{mean}"] = tensors[f"after/{mean}"] = after[mean]
            tensors[f"after_torch/{variance}"] = after[variance]
            tensors[f"after/{variance}"] = biased(
                before[variance], after[variance], momentum, count
            )
    return case
