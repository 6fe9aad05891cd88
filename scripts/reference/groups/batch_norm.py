"""Batch norm over three steps of training."""

from functools import partial

import keras
import numpy as np
import tensorflow as tf

from .. import configs
from ..case import Case, biased, draw_weights, record_torch, state_of
from ..draw import Draw
from ..keras_layers import KerasRun, channels_last
from ..torch_layers import BATCH_NORM
from ..writer import Recipe

RANKS = (3, 4, 5)
STEPS = 3


def draw_maps(draw: Draw, rank: int, channels: int) -> list[np.ndarray]:
    """One map a step, each of a mean and a spread of its own."""
    maps = []
    for _ in range(STEPS):
        x = draw.map(channels, draw.size(rank, high=7 if rank == 4 else None), 2)
        maps.append(x * draw.uniform(0.7, 1.5) + draw.uniform(-1, 1))
    return [x.astype(np.float32) for x in maps]


def finish(case: Case, last: Case, maps: list[np.ndarray]) -> Case:
    """The case of the last step as that of all: its input and gradient are the third."""
    case.add_inputs(maps)
    for name in ("y", "grad/weight", "grad/bias"):
        case.tensors[name] = last.tensors[name]
    case.tensors[f"grad/x{STEPS - 1}"] = last.tensors["grad/x0"]
    return case


def named(framework: str, rank: int, channels: int, epsilon: float, momentum: float) -> Case:
    """The case without its tensors."""
    name = f"{framework}-momentum{momentum}-epsilon{epsilon}-c{channels}-r{rank}"
    norm = configs.batch(epsilon, momentum)
    return Case(name, rank, {"BatchNorm": {"norm": norm, "channels": channels}}, train=True)


def of_torch(draw: Draw, default: bool, rank: int) -> Case:
    """`torch.nn.BatchNorm1d` to `BatchNorm3d`"""
    momentum = 0.1 if default else draw.choice([0.01, 0.05, 0.3, 0.5])
    epsilon = 1e-5 if default else draw.choice([1e-5, 1e-3, 1e-2])
    channels = draw.integer(1, 3)
    case = named("torch", rank, channels, epsilon, momentum)
    module = BATCH_NORM[rank](channels, eps=epsilon, momentum=momentum)
    draw_weights(draw, module)
    tensors = case.tensors
    before = state_of(module, lambda key: key)
    tensors |= {f"param/{path}": values for path, values in before.items()}
    maps = draw_maps(draw, rank, channels)
    variance = before["running_var"]
    for x in maps:
        step = record_torch(Case("", rank, {}, train=True), module, [x])
        module.zero_grad()
        torch_before, torch_after = (
            step.tensors[key] for key in ("param/running_var", "after_torch/running_var")
        )
        # What this step adds to PyTorch's variance, added to Burn's.
        added = biased(torch_before, torch_after, momentum, x[:, 0].size)
        variance = added + (1 - momentum) * (variance - torch_before)
        for leaf in ("running_mean", "running_var"):
            tensors[f"after_torch/{leaf}"] = step.tensors[f"after_torch/{leaf}"]
    tensors["after/running_mean"] = tensors["after_torch/running_mean"]
    tensors["after/running_var"] = variance
    return finish(case, step, maps)


def of_keras(draw: Draw, default: bool, rank: int) -> Case:
    """`keras.layers.BatchNormalization`: its momentum is the weight of the old statistics"""
    momentum = 0.01 if default else draw.choice([0.1, 0.3, 0.05])
    epsilon = 1e-3 if default else draw.choice([1e-5, 1e-2])
    channels = draw.integer(1, 3)
    case = named("keras", rank, channels, epsilon, momentum)
    layer = keras.layers.BatchNormalization(momentum=1 - momentum, epsilon=epsilon)

    def call(x: tf.Tensor) -> tf.Tensor:
        run.check_spread(x)
        return layer(x, training=True)

    run = KerasRun(draw, call, {"": layer})
    maps = draw_maps(draw, rank, channels)
    first = run.record(Case("", rank, {}, train=True), maps[:1])
    case.tensors |= {k: v for k, v in first.tensors.items() if k.startswith("param/")}
    for x in maps[1:]:
        step = run.step(Case("", rank, {}, train=True), [tf.Variable(channels_last(x))])
    case.tensors |= {k: v for k, v in step.tensors.items() if k.startswith("after/")}
    return finish(case, step, maps)


def recipes() -> list[Recipe]:
    """The defaults and drawn numbers of both frameworks in all ranks."""
    return [
        partial(of, default=default, rank=rank)
        for rank in RANKS
        for of in (of_torch, of_keras)
        for default in (True, False, False)
    ]
