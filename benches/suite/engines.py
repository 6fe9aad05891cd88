"""The peers that run a network. Imports of a peer are its own."""

import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from graph import Network

# How far a peer may be from what it is compared with, relative to the largest value; bf16 is far outside.
TOLERANCE = 1e-4
# The same of the output in training, which is normalised by statistics of the batch.
TRAINING_TOLERANCE = 1e-3
# Of the whole gradient, by its Euclidean norm: where rounding moves a value past the kink of a ReLU or to another
# place of a max pool, a few of its values differ by a lot. (PyTorch's own in f32 and f64 differ by 4e-3 for ResNet-18, ours and PyTorch by 3e-2 for ResNet-50.)
GRADIENT_TOLERANCE = 5e-2

Run = Callable[[], object]


class Differs(ValueError):
    """A peer computes something else."""


def compare(what: str, found: torch.Tensor, expected: torch.Tensor, tolerance: float) -> None:
    """Both must agree.

    Raises:
        Differs: when they do not.
    """
    found = found.detach().reshape(expected.shape)
    error = float((found - expected).abs().max() / expected.abs().max())
    if not error < tolerance:
        raise Differs(f"{what} differs by {error:.1e} of the largest value")


def compare_gradient(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Both must agree but for a few values.

    Raises:
        Differs: when they do not.
    """
    error = float((found - expected).norm() / expected.norm())
    if not error < GRADIENT_TOLERANCE:
        raise Differs(f"the gradient of an input differs by {error:.1e} of its norm")


def check(folder: Path) -> None:
    """Compares PyTorch's output, its output in training, and the gradients of the inputs with ours."""
    values = load_file(folder / "values.safetensors")
    network = Network(folder)
    inputs = [values[f"input.{index}"] for index in range(len(network.shapes))]
    with torch.inference_mode():
        compare("the output", network.eval()(*inputs), values["output"], TOLERANCE)
    inputs = [x.requires_grad_() for x in inputs]
    output = network.train()(*inputs).flatten(1)
    compare("the output in training", output, values["train.output"], TRAINING_TOLERANCE)
    (output * values["train.weight"]).sum().backward()
    for index, x in enumerate(inputs):
        compare_gradient(x.grad, values[f"train.input_gradient.{index}"])


@dataclass
class Work:
    """A network with its inputs."""

    model: Network
    inputs: list[torch.Tensor]
    train: bool
    threads: int

    @classmethod
    def load(cls, folder: Path, batch: int, train: bool, threads: int) -> "Work":
        """Builds the network."""
        torch.set_num_threads(threads)
        torch.manual_seed(1)
        model = Network(folder).train(train)
        gradients = train and model.input_gradients
        inputs = [torch.randn(batch, *shape, requires_grad=gradients) for shape in model.shapes]
        return cls(model, inputs, train, threads)

    def channels_last(self) -> "Work":
        """The same with the channels last."""
        formats = {4: torch.channels_last, 5: torch.channels_last_3d}
        for x in self.inputs:
            x.data = x.data.contiguous(memory_format=formats[x.ndim])
        self.model.to(memory_format=formats[self.inputs[0].ndim])
        return self

    def eager(self) -> Run:
        """The forward pass, or the step of training."""
        return self.runner(self.model)

    def runner(self, model: nn.Module) -> Run:
        """The same by a form of the model."""
        trained = [*self.model.parameters(), *self.inputs]

        def infer() -> torch.Tensor:
            with torch.inference_mode():
                return model(*self.inputs)

        def step() -> None:
            for tensor in trained:
                tensor.grad = None
            model(*self.inputs).mean().backward()

        return step if self.train else infer

    def feeds(self) -> dict[str, np.ndarray]:
        """The inputs by name, for the peers that read ONNX."""
        return {f"x{i}": x.numpy() for i, x in enumerate(self.inputs)}

    def export(self, path: Path) -> None:
        """Writes the ONNX model."""
        names = list(self.feeds())
        inputs = tuple(self.inputs)
        with warnings.catch_warnings(action="ignore"):  # the exporter is deprecated
            torch.onnx.export(
                self.model, inputs, path, input_names=names, opset_version=17, dynamo=False
            )


def _compiled(given: Work) -> Run:
    """torch.compile; in inference the weights are constants, so norms fold into convolutions."""
    import torch._inductor.config as inductor

    inductor.freezing = not given.train
    return given.runner(torch.compile(given.model))


def _onnx_runtime(given: Work) -> Run:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = given.threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        given.export(path)
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feeds = given.feeds()
    return lambda: session.run(None, feeds)[0]


def _openvino(given: Work) -> Run:
    import openvino as ov

    config = {
        "INFERENCE_NUM_THREADS": given.threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        given.export(path)
        core = ov.Core()
        request = core.compile_model(core.read_model(path), "CPU", config).create_infer_request()
    feeds = given.feeds()
    return lambda: request.infer(feeds, share_inputs=True, share_outputs=True)[0]


@dataclass(frozen=True)
class Peer:
    """How it runs a network, the package it comes with, and what it can do."""

    build: Callable[[Work], Run]
    package: str
    trains: bool = False
    # Of the others the peak is the exporter's or the compiler's.
    peak: bool = False
    least_axes: int = 3


PEERS = {
    "PyTorch": Peer(Work.eager, "torch", trains=True, peak=True),
    "PyTorch channels_last": Peer(
        lambda given: given.channels_last().eager(), "torch", trains=True, peak=True, least_axes=4
    ),
    "PyTorch compile": Peer(_compiled, "torch", trains=True),
    "ONNX Runtime": Peer(_onnx_runtime, "onnxruntime"),
    "OpenVINO": Peer(_openvino, "openvino"),
}


def build(name: str, given: Work) -> Run:
    """What the peer does once. In inference its answer is compared with PyTorch's first."""
    expected = None if given.train else given.eager()()
    run = PEERS[name].build(given)
    if expected is not None:
        compare(name, torch.as_tensor(run()), expected, TOLERANCE)
    return run
