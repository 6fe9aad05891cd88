"""Turns the weights of a Keras model into a safetensors file in PyTorch's layout, for burn-skip.

Run: python scripts/export_keras.py MODEL.keras OUT.safetensors

Layers keep their names: `<layer>.weight`, `.bias`, `.running_mean`, `.running_var`; those of a
model inside the model are `<model>.<layer>.weight`. The metadata `keras` says, for each layer, what
the port must set to get the same numbers.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # it says a line on stderr that it is on

import keras  # noqa: E402
import numpy as np  # noqa: E402
from keras import layers  # noqa: E402
from safetensors.numpy import save  # noqa: E402

from keras_order import Order, OrderError, Place, input_order, places  # noqa: E402

Tensors = dict[str, np.ndarray]


class ExportError(Exception):
    """Why a model cannot be exported, in one line."""


@dataclass
class Exported:
    """One layer in PyTorch's layout."""

    name: str
    kind: str  # the class of the Keras layer
    tensors: Tensors  # by leaf: "weight", "bias", "running_mean", "depthwise.weight"...
    settings: dict  # what the port must set
    rust: str  # the same in the words of burn-skip


@dataclass
class Found:
    """A layer with weights, where it is in the model."""

    name: str
    layer: keras.layers.Layer
    model: keras.Model  # the innermost model around it
    where: list[Place | None]  # the calls of that model
    channels_first: bool


def export(model: keras.Model, path: str | os.PathLike) -> list[Exported]:
    """Writes the weights of `model` to `path`; returns the layers that have any."""
    exported = convert(model)
    tensors = {
        f"{layer.name}.{leaf}": np.ascontiguousarray(value, dtype=np.float32)
        for layer in exported
        for leaf, value in layer.tensors.items()
    }
    metadata = {
        "keras": json.dumps({x.name: {"class": x.kind, **x.settings} for x in exported}),
        "made_with": f"keras {version('keras')}",
    }
    _write(Path(path), save(tensors, metadata))
    return exported


def convert(model: keras.Model) -> list[Exported]:
    """All layers of a model, and of the models in it, that have weights."""
    exported: dict[str, Exported] = {}
    for found in _find(model, "", [None], _channels_first(model)):
        if found.name in exported:
            raise ExportError(f"two layers are named {found.name}: rename one of them")
        exported[found.name] = _convert(found)
    if not exported:
        raise ExportError("the model has no weights: build it first, by calling it on an input")
    return list(exported.values())


def _write(path: Path, content: bytes) -> None:
    """Writes beside `path` and renames, so that there is never half a file."""
    if not path.parent.is_dir():
        raise ExportError(f"{path.parent}: no such folder")
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


# Finding the layers


def _find(
    model: keras.Model, prefix: str, where: list[Place | None], channels_first: bool
) -> Iterator[Found]:
    """The layers of a model that have weights, with the names of the models around them."""
    own = {id(weight) for layer in model.layers for weight in layer.weights}
    if any(id(weight) not in own for weight in model.weights):
        raise ExportError(f"{model.name} ({type(model).__name__}) has weights outside its layers")
    for layer in model.layers:
        name = f"{prefix}{layer.name}"
        if isinstance(layer, keras.Model):
            yield from _find(layer, f"{name}.", places(model, layer, where), channels_first)
        elif layer.weights:
            yield Found(name, layer, model, where, channels_first)


def _channels_first(model: keras.Model) -> bool:
    """Whether the layers of a model have their channels first; they must agree."""
    formats = {
        layer.data_format
        for layer in model._flatten_layers()
        if getattr(layer, "data_format", None)
    }
    if len(formats) > 1:
        raise ExportError("layers with channels_first and with channels_last in one model")
    return (formats or {keras.config.image_data_format()}) == {"channels_first"}


# Words about the settings


def _plain(value: object) -> object:
    """A setting of a layer as JSON: numbers, lists, and names of functions."""
    if callable(value):
        return getattr(value, "__name__", None) or type(value).__name__
    return list(value) if isinstance(value, tuple) else value


def _number(value: float) -> str:
    """A short number that is a float in Rust."""
    if value and abs(value) < 1e-2:
        return np.format_float_scientific(value, trim="-", exp_digits=1)
    return repr(float(value))


def _axes(values: tuple[int, ...]) -> str:
    """Numbers an axis, one where they are all the same."""
    return str(values[0]) if len(set(values)) == 1 else str(list(values))


def _activation(layer: keras.layers.Layer) -> list[str]:
    name = _plain(layer.activation)
    return [] if name in (None, "linear") else [f"activation: {name}"]


def _window(found: Found, enum: str, groups: int = 1) -> tuple[dict, list[str]]:
    """The settings of a convolution."""
    layer = found.layer
    if layer.padding not in ("same", "valid"):
        raise ExportError(f"{found.name}: padding {layer.padding!r}, only same and valid are known")
    settings = {
        "kernel_size": list(layer.kernel_size),
        "strides": list(layer.strides),
        "padding": layer.padding,
        "dilation": list(layer.dilation_rate),
        "groups": groups,
        "activation": _plain(layer.activation),
    }
    words = [f"{enum}::{layer.padding.capitalize()}", f"kernel_size: {_axes(layer.kernel_size)}"]
    if any(stride != 1 for stride in layer.strides):
        words.append(f"stride: {_axes(layer.strides)}")
    if any(rate != 1 for rate in layer.dilation_rate):
        words.append(f"dilation: {_axes(layer.dilation_rate)}")
    if groups != 1:
        words.append(f"groups: {groups}")
    return settings, words + _activation(layer)


# One function a kind of layer: its tensors, its settings, and the words


def _bias(layer: keras.layers.Layer, leaf: str = "bias") -> Tensors:
    return {leaf: layer.bias.numpy()} if layer.use_bias else {}


def _swapped(kernel: np.ndarray) -> np.ndarray:
    """(spatial.., a, b) -> (b, a, spatial..). Keras keeps kernels so in both data formats."""
    return np.moveaxis(kernel, (-1, -2), (0, 1))


def _one_channel_groups(kernel: np.ndarray) -> np.ndarray:
    """(spatial.., c, m) -> (c m, 1, spatial..): output c * m + j is the j-th of input channel c."""
    *spatial, channels, multiplier = kernel.shape
    return np.moveaxis(kernel.reshape(*spatial, channels * multiplier), -1, 0)[:, np.newaxis]


def _convolution(found: Found) -> tuple[Tensors, dict, list[str]]:
    layer = found.layer
    settings, words = _window(found, "Padding", layer.groups)
    return {"weight": _swapped(layer.kernel.numpy())} | _bias(layer), settings, words


def _transposed(found: Found) -> tuple[Tensors, dict, list[str]]:
    layer = found.layer
    settings, words = _window(found, "TransposedPadding")
    if any(rate != 1 for rate in layer.dilation_rate):
        raise ExportError(f"{found.name}: a transposed convolution with dilation")
    if layer.output_padding is not None:
        raise ExportError(f"{found.name}: a transposed convolution with output_padding")
    return {"weight": _swapped(layer.kernel.numpy())} | _bias(layer), settings, words


def _depthwise(found: Found) -> tuple[Tensors, dict, list[str]]:
    layer = found.layer
    kernel = layer.kernel.numpy()
    settings, words = _window(found, "Padding", kernel.shape[-2])
    return {"weight": _one_channel_groups(kernel)} | _bias(layer), settings, words


def _separable(found: Found) -> tuple[Tensors, dict, list[str]]:
    layer = found.layer
    depthwise = layer.depthwise_kernel.numpy()
    settings, words = _window(found, "Padding", depthwise.shape[-2])
    tensors = {
        "depthwise.weight": _one_channel_groups(depthwise),
        "pointwise.weight": _swapped(layer.pointwise_kernel.numpy()),
    }
    words.append("all but the activation for the depthwise, which has no bias")
    return tensors | _bias(layer, "pointwise.bias"), settings, words


def _check_over_channels(found: Found) -> None:
    """A norm must be over the channels."""
    axis, rank = found.layer.axis, len(_input_shape(found))
    axis = axis[0] if isinstance(axis, (list, tuple)) and len(axis) == 1 else axis
    channels = 1 if found.channels_first else rank - 1
    if axis not in (channels, channels - rank):
        raise ExportError(f"{found.name}: a norm over axis {axis}, only the channels are known")


def _scale_and_shift(layer: keras.layers.Layer, channels: int) -> Tensors:
    """gamma and beta; ones and zeros where the layer has none."""
    return {
        "weight": layer.gamma.numpy() if layer.scale else np.ones(channels),
        "bias": layer.beta.numpy() if layer.center else np.zeros(channels),
    }


def _batch_norm(found: Found) -> tuple[Tensors, dict, list[str]]:
    layer = found.layer
    _check_over_channels(found)
    if getattr(layer, "renorm", False):
        raise ExportError(f"{found.name}: batch renormalisation is not known")
    order = _order(found)
    mean = layer.moving_mean.numpy()
    tensors = _scale_and_shift(layer, len(mean))
    tensors |= {"running_mean": mean, "running_var": layer.moving_variance.numpy()}
    if order is not None:
        tensors = {leaf: value[order] for leaf, value in tensors.items()}
    momentum = round(1.0 - layer.momentum, 12)
    settings = {
        "epsilon": layer.epsilon,
        "momentum": layer.momentum,
        "burn_momentum": momentum,
    }
    epsilon = _number(layer.epsilon)
    words = [f"NormConfig::Batch {{ epsilon: {epsilon}, momentum: {_number(momentum)} }}"]
    return tensors, settings, words


def _group_norm(found: Found) -> tuple[Tensors, dict, list[str]]:
    layer = found.layer
    _check_over_channels(found)
    if _order(found) is not None:
        raise ExportError(f"{found.name}: a GroupNormalization of a flattened map is not known")
    channels = _input_shape(found)[layer.axis]
    settings = {"groups": layer.groups, "epsilon": layer.epsilon}
    epsilon = _number(layer.epsilon)
    words = [f"NormConfig::Group {{ groups: {layer.groups}, epsilon: {epsilon} }}"]
    return _scale_and_shift(layer, channels), settings, words


def _layer_norm(found: Found) -> tuple[Tensors, dict, list[str]]:
    layer = found.layer
    _check_over_channels(found)
    order = _order(found)
    tensors = _scale_and_shift(layer, _input_shape(found)[1 if found.channels_first else -1])
    if order is not None:
        tensors = {leaf: value[order] for leaf, value in tensors.items()}
    words = [f"a LayerNorm over the channels, epsilon: {_number(layer.epsilon)}"]
    return tensors, {"epsilon": layer.epsilon}, words


def _dense(found: Found) -> tuple[Tensors, dict, list[str]]:
    layer = found.layer
    if found.channels_first and len(_input_shape(found)) > 2:
        raise ExportError(f"{found.name}: a Dense over the last axis of a channels_first map")
    if getattr(layer, "quantization_mode", None) is not None:
        raise ExportError(f"{found.name}: a quantised Dense is not known")
    order = _order(found)
    weight = layer.kernel.numpy().T
    words = _activation(layer)
    if order is not None:
        weight = weight[:, order]
        words.append("inputs reordered to channels, spatial..")
    settings = {"activation": _plain(layer.activation), "reordered": order is not None}
    return {"weight": weight} | _bias(layer), settings, words


def _prelu(found: Found) -> tuple[Tensors, dict, list[str]]:
    alpha = np.moveaxis(found.layer.alpha.numpy(), 0 if found.channels_first else -1, 0)
    if any(length != 1 for length in alpha.shape[1:]):
        spatial = list(range(1, alpha.ndim))
        raise ExportError(
            f"{found.name}: a PReLU with a slope for each position: set shared_axes={spatial}"
        )
    slopes, order = alpha.reshape(len(alpha)), _order(found)
    if order is not None and len(slopes) > 1:
        slopes = slopes[order]
    return {"weight": slopes}, {}, [f"a PReLU with {len(slopes)} slopes"]


KINDS = {
    layers.Conv1D: _convolution,
    layers.Conv2D: _convolution,
    layers.Conv3D: _convolution,
    layers.Conv1DTranspose: _transposed,
    layers.Conv2DTranspose: _transposed,
    layers.Conv3DTranspose: _transposed,
    layers.DepthwiseConv1D: _depthwise,
    layers.DepthwiseConv2D: _depthwise,
    layers.SeparableConv1D: _separable,
    layers.SeparableConv2D: _separable,
    layers.BatchNormalization: _batch_norm,
    layers.GroupNormalization: _group_norm,
    layers.LayerNormalization: _layer_norm,
    layers.Dense: _dense,
    layers.PReLU: _prelu,
}


def _input_shape(found: Found) -> tuple[int | None, ...]:
    """The shape that the layer was built for."""
    shapes = [s for s in (found.layer._build_shapes_dict or {}).values() if s is not None]
    if len(shapes) != 1:
        raise ExportError(f"{found.name}: the shape of its input is not known")
    return shapes[0]


def _order(found: Found) -> Order:
    """The order in which the layer finds the values of a flattened map; None for a map."""
    if len(_input_shape(found)) > 2:
        return None
    try:
        return input_order(found.model, found.layer, found.where, found.channels_first)
    except OrderError as error:
        raise ExportError(f"{found.name}: the order of its inputs is unclear: {error}") from error


def _convert(found: Found) -> Exported:
    """One layer. A subclass may compute something else, and counts as another class."""
    kind = type(found.layer)
    if kind not in KINDS:
        raise ExportError(f"{found.name}: a layer of class {kind.__name__} cannot be exported")
    tensors, settings, words = KINDS[kind](found)
    return Exported(found.name, kind.__name__, tensors, settings, ", ".join(words))


# The command


def table(exported: list[Exported]) -> str:
    """The layers, their tensors, and what to set, in columns."""
    rows = [("layer", "class", "tensors", "set")]
    for layer in exported:
        shapes = [f"{leaf} {list(value.shape)}" for leaf, value in layer.tensors.items()]
        rows.append((layer.name, layer.kind, ", ".join(shapes), layer.rust))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = ["  ".join([*map(str.ljust, row[:3], widths), row[3]]).rstrip() for row in rows]
    return "\n".join(lines)


def load(path: Path) -> keras.Model:
    """A Keras model from a file."""
    if not path.exists():
        raise ExportError(f"{path}: no such file")
    try:
        model = keras.models.load_model(path, compile=False)
    except Exception as error:  # Keras raises whatever its parsers raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ExportError(f"{path} is not a Keras model that can be loaded: {reason}") from error
    if not isinstance(model, keras.Model):
        raise ExportError(f"{path} holds a {type(model).__name__}, not a Keras model")
    return model


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="a .keras or .h5 file")
    parser.add_argument("out", type=Path, help="the .safetensors file to write")
    options = parser.parse_args()
    try:
        if options.out.suffix != ".safetensors":
            raise ExportError(f"{options.out}: let the name of the file to write end in .safetensors")
        print(table(export(load(options.model), options.out)))
    except (ExportError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
