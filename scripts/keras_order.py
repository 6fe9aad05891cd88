"""In which order a Keras layer finds the values of a flattened map.

Keras flattens a map to (spatial.., channels), PyTorch and burn-skip to (channels, spatial..). A
layer that follows a Flatten must have its inputs reordered; this module follows the graph of the
model back to the Flatten, through models inside the model too. The other way, a Reshape of a vector
to a map, is left to the port: it must reshape to (spatial.., channels), and then move the channels.
"""

from dataclasses import dataclass

import keras
import numpy as np
from keras import layers

# Layers that take each value, or each position of a vector, by itself.
POINTWISE = (
    layers.Activation,
    layers.ActivityRegularization,
    layers.AlphaDropout,
    layers.BatchNormalization,
    layers.Dropout,
    layers.ELU,
    layers.GaussianDropout,
    layers.GaussianNoise,
    layers.Identity,
    layers.LayerNormalization,
    layers.LeakyReLU,
    layers.PReLU,
    layers.ReLU,
    layers.Softmax,
)
# Layers that leave no positions to be reordered.
FRESH = (
    layers.Dense,
    layers.Embedding,
    layers.GlobalAveragePooling1D,
    layers.GlobalAveragePooling2D,
    layers.GlobalAveragePooling3D,
    layers.GlobalMaxPooling1D,
    layers.GlobalMaxPooling2D,
    layers.GlobalMaxPooling3D,
)
MERGES = (layers.Add, layers.Average, layers.Maximum, layers.Minimum, layers.Multiply)

# For each position in PyTorch's order, the position in Keras's; None where they are the same.
Order = np.ndarray | None


class OrderError(Exception):
    """The order cannot be told."""


@dataclass
class Place:
    """One call of a model inside another: what its inputs are out there."""

    inputs: dict[int, keras.KerasTensor]  # by the id of the model's own input
    outside: "Place | None"


def graph(model: keras.Model) -> keras.Model | None:
    """The model as a graph of layers; None for a model written as a class."""
    if isinstance(model, keras.Sequential):
        return model._functional
    return model if hasattr(model, "_nodes") else None


def calls(model: keras.Model, layer: keras.layers.Layer) -> list:
    """The nodes at which `model` calls `layer`."""
    inside = graph(model)
    if inside is None:
        return []
    nodes = [node for depth in inside._nodes_by_depth.values() for node in depth]
    return [node for node in nodes if node.operation is layer]


def places(
    model: keras.Model, inner: keras.Model, outside: list[Place | None]
) -> list[Place | None]:
    """The calls of the model `inner` in `model`, which is itself called at `outside`."""
    inside = graph(inner)
    if inside is None:
        return []
    return [
        Place({id(own): given for own, given in zip(inside.inputs, node.input_tensors)}, place)
        for node in calls(model, inner)
        for place in outside
    ]


def input_order(
    model: keras.Model,
    layer: keras.layers.Layer,
    where: list[Place | None],
    channels_first: bool,
) -> Order:
    """The order of the inputs of a layer, the same wherever it is called."""
    orders = [
        _order(tensor, place, channels_first)
        for node in calls(model, layer)
        for place in where
        for tensor in node.input_tensors
    ]
    if not orders:
        raise OrderError("the graph of the model is not known")
    return _same(orders)


def _same(orders: list[Order]) -> Order:
    first = orders[0]
    for other in orders[1:]:
        if (first is None) != (other is None) or not np.array_equal(first, other):
            raise OrderError("maps that are flattened in different ways meet here")
    return first


def _order(tensor: keras.KerasTensor, place: Place | None, channels_first: bool) -> Order:
    """The order of a tensor's values. That of a map is always None: it has channels."""
    if len(tensor.shape) > 2:
        return None
    operation, node_index, tensor_index = tensor._keras_history
    if place is not None and id(tensor) in place.inputs:
        return _order(place.inputs[id(tensor)], place.outside, channels_first)
    if isinstance(operation, layers.InputLayer):
        return None
    node = operation._inbound_nodes[node_index]
    sources = node.input_tensors
    if isinstance(operation, keras.Model):
        inside = graph(operation)
        if inside is None:
            raise OrderError(f"the graph of {operation.name} is not known")
        inner = Place({id(own): given for own, given in zip(inside.inputs, sources)}, place)
        return _order(inside.outputs[tensor_index], inner, channels_first)
    kind = type(operation)
    if kind in FRESH:
        return None
    if kind in (layers.Flatten, layers.Reshape) and len(sources[0].shape) > 2:
        return _flattened(operation, sources[0].shape[1:], channels_first)
    orders = [_order(source, place, channels_first) for source in sources]
    if kind is layers.Concatenate:
        return _concatenated(orders, [source.shape[-1] for source in sources])
    if kind in (*POINTWISE, *MERGES, layers.Flatten):
        return _same(orders)
    if any(order is not None or len(s.shape) > 2 for order, s in zip(orders, sources)):
        raise OrderError(f"{operation.name} ({kind.__name__}) may change the order of a map")
    return None


def _flattened(
    layer: keras.layers.Layer, shape: tuple[int | None, ...], channels_first: bool
) -> Order:
    """The order after a Flatten, or a Reshape, of a map of this shape."""
    if None in shape:
        raise OrderError(f"{layer.name} flattens a map of unknown size {shape}")
    if getattr(layer, "data_format", None) == "channels_first":
        # Keras moves the first axis to the end before it flattens.
        order = np.moveaxis(np.arange(np.prod(shape)).reshape(*shape[1:], shape[0]), -1, 0)
    else:
        order = np.arange(np.prod(shape)).reshape(shape)
    order = (order if channels_first else np.moveaxis(order, -1, 0)).ravel()
    return None if np.array_equal(order, np.arange(order.size)) else order


def _concatenated(orders: list[Order], lengths: list[int]) -> Order:
    """The order of vectors one after the other."""
    if all(order is None for order in orders):
        return None
    starts = np.cumsum([0, *lengths[:-1]])
    parts = [
        start + (np.arange(length) if order is None else order)
        for start, length, order in zip(starts, lengths, orders)
    ]
    return np.concatenate(parts)
