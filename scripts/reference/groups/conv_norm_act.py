"""Convolution, norm and activation in their three orders."""

from functools import partial
from itertools import product

import keras
import tensorflow as tf

from .. import configs
from ..case import Case, run_torch
from ..draw import SIZES, Draw, each, text
from ..keras_layers import CONV, KerasRun
from ..torch_layers import ConvNormAct
from ..writer import Recipe
from .conv import PADDINGS, draw_padding

RANKS = (3, 4, 5)
NORMS = ("batch-train", "batch-eval", "group", "instance", "instance_plain", "no_norm")
KERAS_EPSILON = 1e-3
KERAS_MOMENTUM = 0.99


def draw_norm(draw: Draw, kind: str, groups: int) -> configs.Config | None:
    """A norm of this kind; a group norm's `groups` divide the channels."""
    epsilon = draw.choice([1e-5, 1e-3])
    if kind == "no_norm":
        return None
    if kind == "group":
        return configs.group(groups, epsilon)
    if kind.startswith("instance"):
        return configs.instance(kind == "instance", epsilon)
    return configs.batch(epsilon, draw.choice([0.1, 0.01, 0.3]))


def of_torch(draw: Draw, order: str, norm_kind: str, rank: int) -> Case:
    """`torch.nn.Conv2d`, a norm and an activation, or in another order"""
    groups = draw.choice([1, 1, 2])
    channels = [2 * groups, 2 * draw.integer(1, 2)]
    norm = draw_norm(draw, norm_kind, draw.choice([1, 2]))
    act_name = draw.choice(list(configs.ACTIVATIONS))
    padding_kind = draw.choice(PADDINGS)
    style = configs.style(
        draw_padding(draw, padding_kind, rank),
        norm,
        configs.ACTIVATIONS[act_name],
        configs.ORDERS[order],
        draw.choice([None, True, False]),
    )
    bias = configs.bias_name(style["bias"])
    kernel = draw.per_axis(rank, 2 if rank < 5 else 1, 3)
    stride = draw.per_axis(rank, 1, 2)
    dilation = draw.per_axis(rank, 1, 2) if rank < 5 and draw.chance() else 1
    config = configs.conv_norm_act(channels, kernel, style, stride, dilation, groups)
    low, high = SIZES[rank]
    extents = zip(each(kernel, rank), each(dilation, rank), strict=True)
    size = [draw.integer(max(low, d * (k - 1) + 2), high) for k, d in extents]
    train = norm_kind == "batch-train"
    parts = [
        order,
        norm_kind,
        act_name,
        bias,
        padding_kind,
        f"s{text(stride)}",
        f"d{text(dilation)}",
    ]
    parts += [f"g{groups}", f"k{text(kernel)}", f"r{rank}", text(size)]
    case = Case("-".join(parts), rank, {"ConvNormAct": config}, train)
    x = draw.map(channels[0], size, 2 if train or rank == 3 else None)
    return run_torch(draw, case, ConvNormAct(config, rank), [x])


def of_keras(draw: Draw, train: bool, rank: int) -> Case:
    """`Conv2D`, `BatchNormalization` and `ReLU` of Keras"""
    kernel, stride = draw.integer(2, 3), draw.integer(1, 2)
    channels = [draw.integer(1, 3), draw.integer(1, 3)]
    norm = configs.batch(KERAS_EPSILON, 0.01)
    act_name = draw.choice(["relu", "sigmoid"])
    act = keras.layers.Activation(act_name)
    style = configs.style("Same", norm, configs.ACTIVATIONS[act_name], bias=True)
    config = configs.conv_norm_act(channels, kernel, style, stride)
    size = draw.size(rank)
    mode = "train" if train else "eval"
    name = f"keras-batch-{mode}-{act_name}-same-s{stride}-k{kernel}-r{rank}-{text(size)}"
    case = Case(name, rank, {"ConvNormAct": config}, train)
    conv = CONV[rank](channels[1], kernel, strides=stride, padding="same")
    bn = keras.layers.BatchNormalization(momentum=KERAS_MOMENTUM, epsilon=KERAS_EPSILON)

    def call(x: tf.Tensor) -> tf.Tensor:
        convolved = conv(x)
        if train:
            run.check_spread(convolved)
        normed = bn(convolved, training=train)
        if act_name == "relu":
            run.check_kink(normed)
        return act(normed)

    run = KerasRun(draw, call, {"conv": conv, "norm": bn})
    return run.record(case, [draw.map(channels[0], size, 2)])


def recipes() -> list[Recipe]:
    """All orders and norms, twice, in alternating ranks; Keras's in all ranks."""
    found: list[Recipe] = []
    for n, (order, norm) in enumerate(product(configs.ORDERS, NORMS)):
        for repeat in range(3 if norm == "batch-train" else 2):
            rank = RANKS[(n + n // 3 + repeat) % 3]
            found.append(partial(of_torch, order=order, norm_kind=norm, rank=rank))
    for rank, train in product(RANKS, (False, True)):
        found.append(partial(of_keras, train=train, rank=rank))
    return found
