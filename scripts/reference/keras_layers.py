"""How Keras runs a case: maps and weights are turned to PyTorch's layouts and back."""

from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf
import torch

from . import watch
from .case import Case, loss_weights
from .draw import Draw

tf.config.threading.set_inter_op_parallelism_threads(1)
tf.config.threading.set_intra_op_parallelism_threads(1)

CONV = {3: keras.layers.Conv1D, 4: keras.layers.Conv2D, 5: keras.layers.Conv3D}
CONV_TRANSPOSE = {
    3: keras.layers.Conv1DTranspose,
    4: keras.layers.Conv2DTranspose,
    5: keras.layers.Conv3DTranspose,
}
POOL = {
    ("Max", 3): keras.layers.MaxPooling1D,
    ("Max", 4): keras.layers.MaxPooling2D,
    ("Max", 5): keras.layers.MaxPooling3D,
    ("Avg", 3): keras.layers.AveragePooling1D,
    ("Avg", 4): keras.layers.AveragePooling2D,
    ("Avg", 5): keras.layers.AveragePooling3D,
}

# Keras's names of the weights, and the leaves of the crate's paths.
LEAVES = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def channels_last(x: np.ndarray) -> np.ndarray:
    """A map as Keras wants it."""
    return np.ascontiguousarray(np.moveaxis(x, 1, -1))


def channels_first(x: np.ndarray) -> np.ndarray:
    """A map of Keras in the layout of the crate."""
    return np.ascontiguousarray(np.moveaxis(x, -1, 1))


def weight_to_torch(weight: np.ndarray) -> np.ndarray:
    """`[kernel..., a, b]` to `[b, a, kernel...]`, for both convolutions; a vector as it is."""
    if weight.ndim == 1:
        return weight
    return np.ascontiguousarray(np.moveaxis(weight, (-1, -2), (0, 1)))


def weight_to_keras(weight: np.ndarray) -> np.ndarray:
    """The inverse of `weight_to_torch`."""
    if weight.ndim == 1:
        return weight
    return np.ascontiguousarray(np.moveaxis(weight, (0, 1), (-1, -2)))


def values_for(draw: Draw, name: str, shape: Sequence[int]) -> np.ndarray:
    """Values for a weight of Keras, in Keras's layout."""
    if len(shape) > 1:
        return draw.normal(*shape) / np.sqrt(np.prod(shape[:-1])).astype(np.float32)
    if name in ("gamma", "moving_variance"):
        return draw.uniform(0.5, 1.5, *shape)
    return draw.uniform(-0.3, 0.3, *shape)


class KerasRun:
    """Runs a function of Keras layers; `layers` are named by their paths in the crate."""

    def __init__(
        self,
        draw: Draw,
        call: Callable[..., tf.Tensor],
        layers: dict[str, keras.layers.Layer] | None = None,
    ) -> None:
        self.draw = draw
        self.call = call
        self.layers = layers or {}
        self.built = False

    def variables(self, kind: str) -> dict[str, keras.Variable]:
        """The `weights` or `trainable_weights` of all layers by their paths in the crate."""
        found = {}
        for path, layer in self.layers.items():
            for variable in getattr(layer, kind):
                leaf = LEAVES[variable.path.rsplit("/", 1)[-1]]
                found[f"{path}.{leaf}" if path else leaf] = variable
        return found

    def state(self) -> dict[str, np.ndarray]:
        """Weights and running statistics by their paths, in the crate's layouts."""
        weights = self.variables("weights").items()
        return {path: weight_to_torch(np.array(variable)) for path, variable in weights}

    def draw_weights(self) -> None:
        """Gives all weights values worth comparing."""
        for variable in self.variables("weights").values():
            name = variable.path.rsplit("/", 1)[-1]
            variable.assign(values_for(self.draw, name, variable.shape))

    def check_kink(self, x: tf.Tensor) -> None:
        """Refuses inputs of a ReLU near its kink."""
        if self.built:
            watch.check_kink(torch.from_numpy(x.numpy()))

    def check_spread(self, x: tf.Tensor) -> None:
        """Refuses batches with too small a variance for a batch norm."""
        if self.built:
            channels = torch.from_numpy(channels_first(x.numpy())).transpose(0, 1).flatten(1)
            watch.check_spread(channels, watch.FEWEST_BATCH_VALUES)

    def record(self, case: Case, inputs: Sequence[np.ndarray]) -> Case:
        """Draws weights, runs forward and backward, and records it all in the case."""
        leaves = [tf.Variable(channels_last(x)) for x in inputs]
        self.call(*leaves)  # builds the layers
        self.built = True
        self.draw_weights()
        case.tensors |= {f"param/{path}": values for path, values in self.state().items()}
        case.add_inputs(inputs)
        return self.step(case, leaves)

    def step(self, case: Case, leaves: Sequence[tf.Variable]) -> Case:
        """Runs the function with the weights that there are."""
        variables = self.variables("trainable_weights")
        with tf.GradientTape() as tape:
            y = self.call(*leaves)
            shape = channels_first(y.numpy()).shape
            loss = tf.reduce_sum(y * channels_last(loss_weights(shape)))
        watched = [variable.value for variable in variables.values()]
        of_inputs, of_weights = tape.gradient(loss, [list(leaves), watched])
        tensors = case.tensors
        tensors["y"] = channels_first(y.numpy())
        for n, gradient in enumerate(of_inputs):
            tensors[f"grad/x{n}"] = channels_first(gradient.numpy())
        for path, gradient in zip(variables, of_weights, strict=True):
            tensors[f"grad/{path}"] = weight_to_torch(gradient.numpy())
        if case.train:
            for path, values in self.state().items():
                if path.rsplit(".", 1)[-1] in ("running_mean", "running_var"):
                    tensors[f"after/{path}"] = values
        return case
