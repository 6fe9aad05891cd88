"""Keras's way to concatenate maps of different sizes: as lists of positions."""

import keras
import tensorflow as tf

from ..case import Case
from ..draw import Draw, text
from ..keras_layers import KerasRun
from ..writer import Recipe


def of_keras(draw: Draw) -> Case:
    """`Reshape`, `ZeroPadding1D`, `Concatenate(axis=1)`, `Reshape`"""
    channels, batch = draw.integer(1, 4), draw.batch()
    first, second = draw.size(4, 2, 7), draw.size(4, 2, 5)
    positions = [h * w for h, w in (first, second)]
    height = draw.integer(3, 9)
    size = [height, -(-sum(positions) // height) + draw.integer(0, 2)]
    zeros = size[0] * size[1] - sum(positions)
    name = f"{text(first)}-and-{text(second)}-to-{text(size)}-zeros{zeros}"
    case = Case(name, 4, {"FlattenPadReshape": {"size": size}})
    flatten = [keras.layers.Reshape((count, channels)) for count in positions]
    pad = keras.layers.ZeroPadding1D((0, zeros))
    concatenate = keras.layers.Concatenate(axis=1)
    fold = keras.layers.Reshape((*size, channels))

    def call(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        a, b = tf.convert_to_tensor(a), tf.convert_to_tensor(b)
        return fold(concatenate([flatten[0](a), pad(flatten[1](b))]))

    maps = [draw.map(channels, first, batch), draw.map(channels, second, batch)]
    return KerasRun(draw, call).record(case, maps)


def recipes() -> list[Recipe]:
    """Drawn sizes."""
    return [of_keras] * 6
