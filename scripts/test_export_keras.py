"""Compares exported Keras layers with PyTorch, number by number. Needs tensorflow and torch.

Run: python scripts/test_export_keras.py
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from export_keras import ExportError, export, keras, layers  # isort: skip  (quiets tensorflow)
import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

Weights = dict[str, Tensor]
FOLDER = Path(tempfile.mkdtemp())
CONV = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}
TRANSPOSED = {3: F.conv_transpose1d, 4: F.conv_transpose2d, 5: F.conv_transpose3d}
SIZES = {3: (9, 4), 4: (9, 8, 4), 5: (5, 6, 7, 4)}


def same(x: Tensor, kernel: int, stride: int, dilation: int = 1) -> Tensor:
    """Keras's padding "same": the odd zero at the end."""
    pads = []
    for size in reversed(x.shape[2:]):
        total = max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads)


def conv(kernel: int, stride: int = 1, dilation: int = 1, groups: int = 1, pad: bool = True):
    def run(x: Tensor, w: Weights) -> Tensor:
        x = same(x, kernel, stride, dilation) if pad else x
        weight, bias = w["layer.weight"], w["layer.bias"]
        return CONV[x.ndim](x, weight, bias, stride, 0, dilation, groups)

    return run


def transposed(kernel: int, stride: int, pad: bool):
    """The full output; "same" cuts it to size * stride, the odd one at the end."""

    def run(x: Tensor, w: Weights) -> Tensor:
        y = TRANSPOSED[x.ndim](x, w["layer.weight"], None, stride)
        for axis in range(2, x.ndim):
            n = x.shape[axis]
            wanted = n * stride if pad else (n - 1) * stride + max(kernel, stride)
            cut = y.shape[axis] - wanted
            if cut >= 0:
                y = y.narrow(axis, cut // 2, wanted)
            else:
                y = F.pad(y, [0, 0] * (x.ndim - 1 - axis) + [0, -cut])
        return y + w["layer.bias"].reshape(-1, *[1] * (x.ndim - 2))

    return run


def separable(x: Tensor, w: Weights) -> Tensor:
    x = F.conv2d(same(x, 3, 2), w["layer.depthwise.weight"], None, 2, groups=x.shape[1])
    return F.conv2d(x, w["layer.pointwise.weight"], w["layer.pointwise.bias"])


def batch_norm(x: Tensor, w: Weights) -> Tensor:
    mean, variance = w["layer.running_mean"], w["layer.running_var"]
    return F.batch_norm(x, mean, variance, w["layer.weight"], w["layer.bias"], eps=1e-3)


def group_norm(x: Tensor, w: Weights) -> Tensor:
    return F.group_norm(x, 2, w["layer.weight"], w["layer.bias"], 1e-3)


def layer_norm(x: Tensor, w: Weights) -> Tensor:
    x = x.movedim(1, -1)
    y = F.layer_norm(x, x.shape[-1:], w["layer.weight"], w["layer.bias"], 1e-3)
    return y.movedim(-1, 1)


def prelu(x: Tensor, w: Weights) -> Tensor:
    return F.prelu(x, w["layer.weight"])


def dense(x: Tensor, w: Weights) -> Tensor:
    return F.linear(x.movedim(1, -1), w["layer.weight"], w["layer.bias"]).movedim(-1, 1)


def flat_dense(x: Tensor, w: Weights) -> Tensor:
    return F.linear(x.flatten(1), w["layer.weight"], w["layer.bias"])


def model_of(*parts: keras.layers.Layer, size: tuple[int, ...] = SIZES[4]) -> keras.Model:
    """The layers one after the other, with random weights."""
    model = keras.Sequential([keras.Input(size), *parts])
    return randomised(model)


def randomised(model: keras.Model) -> keras.Model:
    generator = np.random.default_rng(1)
    for weight in model.weights:
        value = generator.normal(size=weight.shape)
        weight.assign(np.abs(value) + 0.5 if "variance" in weight.path else value)
    return model


def nested_flatten() -> keras.Model:
    """Flatten in one model, dropout outside, norm and Dense in another, beside a second vector."""
    flatten = keras.Sequential([keras.Input((3, 5, 2)), layers.Flatten()], name="flatten")
    vector = keras.Input((34,))
    norm = layers.BatchNormalization(name="norm")(vector)
    head = keras.Model(vector, layers.Dense(4, name="layer")(norm), name="head")
    inputs = keras.Input((3, 5, 2))
    mean = layers.GlobalAveragePooling2D()(inputs)
    top = layers.GlobalMaxPooling2D()(inputs)
    x = layers.Dropout(0.5)(flatten(inputs))
    return randomised(keras.Model(inputs, head(layers.Concatenate()([mean, x, top]))))


def nested_reference(x: Tensor, w: Weights) -> Tensor:
    y = torch.cat([x.mean((2, 3)), x.flatten(1), x.amax((2, 3))], 1)
    w = {name.removeprefix("head."): value for name, value in w.items()}
    y = batch_norm(y, {name.replace("norm", "layer"): v for name, v in w.items() if "norm" in name})
    return F.linear(y, w["layer.weight"], w["layer.bias"])


def cases() -> dict[str, tuple[keras.Model, Callable[[Tensor, Weights], Tensor]]]:
    """A Keras model, and what it computes in PyTorch with the exported tensors."""
    found = {}

    def add(name: str, run: Callable, *parts: keras.layers.Layer, **options) -> None:
        found[name] = (model_of(*parts, **options), run)

    dimensions = {3: "1D", 4: "2D", 5: "3D"}
    for rank, size in SIZES.items():
        kind = getattr(layers, f"Conv{dimensions[rank]}")
        for stride, padding in ((1, "same"), (2, "same"), (2, "valid")):
            part = kind(6, 3, strides=stride, padding=padding, name="layer")
            name = f"conv {dimensions[rank]} stride {stride} {padding}"
            add(name, conv(3, stride, pad=padding == "same"), part, size=size)
        kind = getattr(layers, f"Conv{dimensions[rank]}Transpose")
        for kernel, stride in ((3, 2), (2, 2), (5, 2), (4, 3), (3, 1), (2, 3)):
            for padding in ("same", "valid"):
                part = kind(6, kernel, strides=stride, padding=padding, name="layer")
                name = f"transposed {dimensions[rank]} kernel {kernel} stride {stride} {padding}"
                add(name, transposed(kernel, stride, padding == "same"), part, size=size)
    grouped = layers.Conv2D(6, 3, padding="same", dilation_rate=2, groups=2, name="layer")
    add("conv groups dilation", conv(3, dilation=2, groups=2), grouped)
    depthwise = layers.DepthwiseConv2D(3, 2, "same", depth_multiplier=3, name="layer")
    add("depthwise", conv(3, 2, groups=4), depthwise)
    depthwise = layers.DepthwiseConv1D(3, padding="same", depth_multiplier=2, name="layer")
    add("depthwise 1D", conv(3, groups=4), depthwise, size=SIZES[3])
    parts = layers.SeparableConv2D(5, 3, 2, "same", depth_multiplier=2, name="layer")
    add("separable", separable, parts)
    for scale, center in ((True, True), (False, True), (True, False)):
        words = f"scale {scale} center {center}"
        switches = {"scale": scale, "center": center, "name": "layer"}
        add(f"batch norm {words}", batch_norm, layers.BatchNormalization(**switches))
        add(f"group norm {words}", group_norm, layers.GroupNormalization(2, **switches))
        add(f"layer norm {words}", layer_norm, layers.LayerNormalization(**switches))
    add("prelu", prelu, layers.PReLU(shared_axes=[1, 2], name="layer"))
    add("prelu of one slope", prelu, layers.PReLU(shared_axes=[1, 2, 3], name="layer"))
    add("dense", flat_dense, layers.Dense(5, name="layer"), size=(7,))
    add("dense of a map", dense, layers.Dense(5, name="layer"))
    for size in SIZES.values():
        parts = (layers.Flatten(), layers.Dropout(0.5), layers.Dense(5, name="layer"))
        add(f"flatten of {size}, dense", flat_dense, *parts, size=size)
    add("reshape, dense", flat_dense, layers.Reshape((288,)), layers.Dense(5, name="layer"))
    first = {"data_format": "channels_first"}
    parts = (layers.Flatten(**first), layers.Dense(5, name="layer"))
    add("channels_first: flatten, dense", flat_dense, *parts)
    parts = (layers.Conv2D(6, 3, 2, "same", groups=2, name="layer", **first),)
    add("channels_first: conv", conv(3, 2, groups=2), *parts, size=(4, 9, 8))
    parts = (layers.ZeroPadding2D(0, **first), layers.BatchNormalization(1, name="layer"))
    add("channels_first: batch norm", batch_norm, *parts)
    found["flatten and dense in models"] = (nested_flatten(), nested_reference)
    return found


def refused() -> dict[str, Callable[[], keras.Model]]:
    """Models that must not be exported, by a part of the reason."""
    causal = layers.Conv1D(3, 3, padding="causal")
    rows = (layers.Conv2D(3, 3), layers.BatchNormalization(axis=1))
    shuffled = (layers.Flatten(), layers.Reshape((288,)), layers.Dense(3))
    mixed = (layers.Conv2D(3, 3), layers.MaxPooling2D(data_format="channels_first"))
    return {
        "a layer of class LSTM": lambda: model_of(layers.LSTM(3), size=(5, 2)),
        "a slope for each position": lambda: model_of(layers.PReLU()),
        "'causal'": lambda: model_of(causal, size=SIZES[3]),
        "a norm over axis 1": lambda: model_of(*rows),
        "may change the order": lambda: model_of(*shuffled),
        "channels_first and with channels_last": lambda: model_of(*mixed),
        "no weights": lambda: model_of(layers.Flatten()),
    }


def check_command() -> list[str]:
    """What is wrong with the command: a good model, and its errors."""
    script, out = Path(__file__).with_name("export_keras.py"), FOLDER / "out.safetensors"
    good, text, bad = FOLDER / "good.keras", FOLDER / "text.keras", FOLDER / "bad.keras"
    weights, old = FOLDER / "only.weights.h5", FOLDER / "old.h5"
    model_of(layers.Conv2D(3, 3)).save(good)
    model_of(layers.Conv2D(3, 3)).save_weights(weights)
    model_of(layers.Conv2D(3, 3)).save(old)
    model_of(layers.LSTM(3), size=(5, 2)).save(bad)
    text.write_text("no model")
    wrong = []
    expected = (
        (FOLDER / "none.keras", "no such file"),
        (text, "not a Keras model"),
        (weights, "not a Keras model"),
        (bad, "LSTM"),
        (good, None),
        (old, None),
    )
    for path, reason in expected:
        run = subprocess.run([sys.executable, script, path, out], capture_output=True, text=True)
        lines = run.stderr.strip().splitlines()
        if reason is None and (run.returncode, lines, out.exists()) != (0, [], True):
            wrong.append(f"{path.name}: {run.returncode} {run.stderr}")
        if reason and (run.returncode != 1 or len(lines) != 1 or reason not in lines[0]):
            wrong.append(f"{path.name}: {run.returncode} {run.stderr}")
        if reason and any("out.safetensors" in file.name for file in FOLDER.iterdir()):
            wrong.append(f"{path.name}: a file is left behind")
    return wrong


def main() -> int:
    wrong = []
    for name, (model, run) in cases().items():
        path = FOLDER / "case.safetensors"
        export(model, path)
        shape = model.input_shape[1:]
        x = np.random.default_rng(2).normal(size=(2, *shape)).astype(np.float32)
        last = 1 if "channels_first" in name else -1
        expected = torch.tensor(np.moveaxis(np.asarray(model(x)), last, 1))
        found = run(torch.tensor(np.moveaxis(x, last, 1)), load_file(path))
        if found.shape != expected.shape:
            wrong.append(f"{name}: shape {list(found.shape)}, expected {list(expected.shape)}")
        elif (error := (found - expected).abs().max() / expected.abs().max()) > 1e-5:
            wrong.append(f"{name}: relative error {error:.1e}")
        else:
            print(f"{name}: {error:.0e}")
    for reason, build in refused().items():
        try:
            export(build(), FOLDER / "refused.safetensors")
            wrong.append(f"not refused: {reason}")
        except ExportError as error:
            print(f"refused: {error}")
            if reason not in str(error):
                wrong.append(f"{error}: does not say {reason}")
    wrong += check_command()
    print("\n".join(["", *wrong]) if wrong else "all agree")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
