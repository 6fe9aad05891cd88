"""Writes two Keras models, exported, with their outputs and losses, for the tests of burn-skip.

The weights are those of the formula in formula.py, in the exported layout and by the exported name.
Run: python scripts/generate_keras.py [--seed N] [--out DIR]
"""

import argparse
import json
import os
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from keras import layers  # noqa: E402
from safetensors.numpy import save_file  # noqa: E402

import formula  # noqa: E402
from export_keras import convert, export  # noqa: E402

STEPS = 3
LEARNING_RATE = 0.01


def pipeline() -> keras.Model:
    """Two convolutions with pools; the coarse map goes up, meets the fine one, and is merged."""
    inputs = x = keras.Input((32, 32, 3), name="input")
    maps = []
    for name in ("first", "second"):
        x = layers.Conv2D(32, 3, name=f"{name}_conv")(x)
        x = layers.BatchNormalization(name=f"{name}_norm")(x)
        x = layers.ReLU(name=f"{name}_relu")(x)
        x = layers.MaxPooling2D(2, name=f"{name}_pool")(x)
        maps.append(x)
    first, second = maps
    up = layers.Conv2DTranspose(32, 5, strides=2, padding="valid", name="up")(second)
    merged = layers.Concatenate(name="concatenate")([first, up])
    output = layers.Conv2D(32, 3, padding="same", activation="relu", name="merged_conv")(merged)
    return keras.Model(inputs, {"after_first": first, "after_second": second, "output": output})


def unet() -> keras.Model:
    """A U-Net of three levels, with batch norm; transposed convolutions give the size back."""
    widths = (4, 8, 16)

    def level(x: keras.KerasTensor, name: str, width: int) -> keras.KerasTensor:
        for j in range(2):
            x = layers.Conv2D(width, 3, padding="same", name=f"{name}_conv_{j}")(x)
            x = layers.BatchNormalization(name=f"{name}_norm_{j}")(x)
            x = layers.ReLU(name=f"{name}_relu_{j}")(x)
        return x

    inputs = x = keras.Input((48, 64, 1), name="input")
    skips = []
    for i, width in enumerate(widths):
        x = level(x, f"encoder_{i}", width)
        if i + 1 < len(widths):
            skips.append(x)
            x = layers.MaxPooling2D(2, name=f"encoder_{i}_pool")(x)
    for i in reversed(range(len(skips))):
        name = f"decoder_{i}"
        up = layers.Conv2DTranspose(widths[i], 3, strides=2, padding="same", name=f"{name}_up")(x)
        x = layers.Concatenate(name=f"{name}_concatenate")([up, skips[i]])
        x = level(x, name, widths[i])
    return keras.Model(inputs, {"output": layers.Conv2D(2, 1, name="head")(x)})


def set_weights(model: keras.Model, seed: int) -> None:
    """Fills the model by the formula: in PyTorch's layout, and turned back to Keras's."""
    for exported in convert(model):
        layer = model.get_layer(exported.name)
        value = {
            leaf: formula.weight(f"{exported.name}.{leaf}", tensor.shape, seed)
            for leaf, tensor in exported.tensors.items()
        }
        if isinstance(layer, layers.BatchNormalization):
            layer.gamma.assign(value["weight"])
            layer.beta.assign(value["bias"])
            layer.moving_mean.assign(value["running_mean"])
            layer.moving_variance.assign(value["running_var"])
        else:
            layer.kernel.assign(np.moveaxis(value["weight"], (0, 1), (-1, -2)))
            layer.bias.assign(value["bias"])


def channels_first(value: tf.Tensor) -> np.ndarray:
    """(batch, spatial.., channels) -> (batch, channels, spatial..)"""
    return np.ascontiguousarray(np.moveaxis(np.asarray(value), -1, 1))


def channels_last(value: np.ndarray) -> tf.Tensor:
    """(batch, channels, spatial..) -> (batch, spatial.., channels)"""
    return tf.constant(np.moveaxis(value, 1, -1))


def train(model: keras.Model, batch: int, seed: int) -> np.ndarray:
    """The losses before each of three steps of plain SGD, and after the last."""
    channels, *size = model.input_shape[-1:] + model.input_shape[1:-1]
    x = channels_last(formula.data("train", (batch, channels, *size), seed))
    losses = []
    for step in range(STEPS + 1):
        # The statistics are those after three steps: the last loss must not move them.
        before = [weight.numpy() for weight in model.non_trainable_variables]
        with tf.GradientTape() as tape:
            y = model(x, training=True)["output"]
            shape = (y.shape[0], y.shape[-1], *y.shape[1:-1])
            target = channels_last(formula.data("target", shape, seed))
            loss = tf.reduce_mean(tf.square(y - target))
        losses.append(float(loss))
        if step == STEPS:
            for weight, value in zip(model.non_trainable_variables, before):
                weight.assign(value)
            break
        weights = model.trainable_variables
        for weight, gradient in zip(weights, tape.gradient(loss, weights)):
            weight.assign_sub(LEARNING_RATE * gradient)
    return np.array(losses, dtype=np.float32)


def write(model: keras.Model, name: str, seed: int, batch: int, folder: Path) -> str:
    """Writes the two files of one model; returns a line that says what is in them."""
    set_weights(model, seed)
    export(model, folder / f"{name}.safetensors")
    size = (model.input_shape[-1], *model.input_shape[1:-1])
    tensors = {"input": formula.data("input", (1, *size), seed)}
    outputs = model(channels_last(tensors["input"]), training=False)
    tensors |= {key: channels_first(value) for key, value in outputs.items()}
    tensors["losses"] = train(model, batch, seed)
    for exported in convert(model):
        for leaf in ("running_mean", "running_var"):
            if leaf in exported.tensors:
                tensors[f"after/{exported.name}.{leaf}"] = exported.tensors[leaf]
    metadata = {
        "network": name,
        "train_shape": json.dumps([batch, *size]),
        "lr": str(LEARNING_RATE),
        "seed": str(seed),
        "made_with": f"tensorflow {tf.__version__}, keras {version('keras')}",
    }
    path = folder / f"{name}_reference.safetensors"
    save_file(tensors, path, metadata)
    sizes = [p.stat().st_size for p in (folder / f"{name}.safetensors", path)]
    losses = " ".join(f"{loss:.6g}" for loss in tensors["losses"])
    return f"{path}: {sizes[0]} + {sizes[1]} bytes, losses {losses}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("tests/golden"))
    options = parser.parse_args()
    folder = options.out / "keras"
    folder.mkdir(parents=True, exist_ok=True)
    print(write(pipeline(), "pipeline", options.seed, 2, folder))
    print(write(unet(), "unet", options.seed, 2, folder))


if __name__ == "__main__":
    main()
