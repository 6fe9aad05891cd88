"""The networks of the workloads, and the peers that run them. Imports of a peer are its own."""

import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

THREADS = 2
SEED = 1
# How far a peer may be from eager PyTorch, relative to the largest value; bf16 is far outside.
TOLERANCE = 1e-4

Run = Callable[[], object]


class UpBlock(nn.Module):
    """Nearest x2, concat with the skip, two convolutions with norm and ReLU."""

    def __init__(self, deep: int, skip: int, out: int) -> None:
        super().__init__()
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.refine = nn.Sequential(
            nn.Conv2d(deep + skip, out, 3, padding=1, bias=False),
            nn.BatchNorm2d(out),
            nn.ReLU(inplace=True),
            nn.Conv2d(out, out, 3, padding=1, bias=False),
            nn.BatchNorm2d(out),
            nn.ReLU(inplace=True),
        )

    def forward(self, deep: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        """The refined map, at the size of the skip."""
        return self.refine(torch.cat([self.up(deep), skip], dim=1))


def _dense() -> nn.Module:
    from torchvision.models.densenet import _DenseBlock

    return _DenseBlock(12, num_input_features=64, bn_size=4, growth_rate=32, drop_rate=0.0)


def _unet() -> nn.Module:
    import segmentation_models_pytorch as smp

    return smp.Unet(
        "resnet18",
        encoder_weights=None,
        in_channels=3,
        classes=1,
        decoder_channels=(256, 128, 64, 32, 16),
    )


@dataclass(frozen=True)
class Network:
    """How it is built, the shapes of its inputs without the batch, and the batch in training."""

    build: Callable[[], nn.Module]
    shapes: tuple[tuple[int, ...], ...]
    train_batch: int
    input_gradients: bool = True


NETWORKS = {
    "up_block": Network(lambda: UpBlock(64, 32, 32), ((64, 64, 64), (32, 128, 128)), 4),
    "dense": Network(_dense, ((64, 64, 64),), 2),
    "unet_r18": Network(_unet, ((3, 256, 256),), 2, input_gradients=False),
}


@dataclass
class Work:
    """A workload with its weights and inputs."""

    model: nn.Module
    inputs: list[torch.Tensor]
    train: bool

    def channels_last(self) -> "Work":
        """The same in the layout NHWC."""
        for x in self.inputs:
            x.data = x.data.contiguous(memory_format=torch.channels_last)
        self.model.to(memory_format=torch.channels_last)
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


def work(workload: str) -> Work:
    """Builds the workload `network/infer` or `network/train`."""
    name, mode = workload.split("/")
    network, train = NETWORKS[name], mode == "train"
    torch.manual_seed(SEED)
    batch = network.train_batch if train else 1
    gradients = train and network.input_gradients
    inputs = [torch.randn(batch, *shape, requires_grad=gradients) for shape in network.shapes]
    return Work(network.build().train(train), inputs, train)


def _compiled(given: Work) -> Run:
    """torch.compile; in inference the weights are constants, so norms fold into convolutions."""
    import torch._inductor.config as inductor

    inductor.freezing = not given.train
    return given.runner(torch.compile(given.model))


def _onnx_runtime(given: Work) -> Run:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = THREADS
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
        "INFERENCE_NUM_THREADS": THREADS,
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


ENGINES: dict[str, Callable[[Work], Run]] = {
    "PyTorch": Work.eager,
    "PyTorch channels_last": lambda given: given.channels_last().eager(),
    "PyTorch compile": _compiled,
    "ONNX Runtime": _onnx_runtime,
    "OpenVINO": _openvino,
}


def build(workload: str, peer: str) -> Run:
    """What the peer does once for the workload. In inference its answer is compared first."""
    given = work(workload)
    expected = None if given.train else given.eager()()
    run = ENGINES[peer](given)
    if expected is not None:
        error = float((torch.as_tensor(run()) - expected).abs().max() / expected.abs().max())
        if not error < TOLERANCE:
            raise ValueError(f"{peer} differs from eager PyTorch by {error:.1e} in {workload}")
    return run
