"""A network of burn-skip in PyTorch: the operations of its plan, with its weights."""

import functools
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

Node = dict[str, Any]
# What may change its input in place, where nobody else reads it; as PyTorch's own networks do.
IN_PLACE = {
    "Relu": nn.ReLU,
    "Relu6": nn.ReLU6,
}
ACTIVATIONS = IN_PLACE | {
    "Gelu": nn.GELU,
    "HardSwish": nn.Hardswish,
    "Silu": nn.SiLU,
    "Sigmoid": nn.Sigmoid,
    "Tanh": nn.Tanh,
}
RESIZES = {1: "linear", 2: "bilinear", 3: "trilinear"}


class Elementwise(nn.Module):
    """Maps that become one, value by value."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.function = {"Sum": torch.add, "Product": torch.mul, "Max": torch.maximum}[kind]

    def forward(self, *maps: torch.Tensor) -> torch.Tensor:
        """The sum, product or maximum."""
        return functools.reduce(self.function, maps)


class Concat(nn.Module):
    """Channels one after the other."""

    def __init__(self, reversed_inputs: bool) -> None:
        super().__init__()
        self.reversed_inputs = reversed_inputs

    def forward(self, *maps: torch.Tensor) -> torch.Tensor:
        """The joined map."""
        return torch.cat(maps[::-1] if self.reversed_inputs else maps, dim=1)


class Resize(nn.Module):
    """A resize to a size."""

    def __init__(self, mode: Any, size: list[int]) -> None:
        super().__init__()
        self.size = size
        if mode in ("Nearest", "Area"):
            self.options: dict[str, Any] = {"mode": mode.lower()}
        elif mode in ({"Linear": "HalfPixel"}, {"Linear": "AlignCorners"}):
            corners = mode["Linear"] == "AlignCorners"
            self.options = {"mode": RESIZES[len(size)], "align_corners": corners}
        else:
            raise NotImplementedError(f"resize {mode}")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The resized map."""
        return F.interpolate(x, self.size, **self.options)


class GlobalMean(nn.Module):
    """The mean over all positions."""

    def __init__(self, axes: int, keep: bool) -> None:
        super().__init__()
        self.axes, self.keep = tuple(range(2, axes)), keep

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """A number for each channel."""
        return x.mean(self.axes, keepdim=self.keep)


class PositionAttention(nn.Module):
    """All positions, weighed for each by the softmax over all pairs."""

    def forward(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
    ) -> torch.Tensor:
        """The product, read as a map."""
        pairs = query.flatten(2).transpose(1, 2) @ key.flatten(2)
        weights = pairs.flatten(1).softmax(1).view_as(pairs)
        return (weights @ value.flatten(2).transpose(1, 2)).reshape(value.shape)


class LayerNorm(nn.LayerNorm):
    """A layer norm over the channels, which come first."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The normalised map, in the same layout."""
        # (By positions: ONNX knows no negative ones.)
        last = x.dim() - 1
        return super().forward(x.permute(0, *range(2, last + 1), 1)).permute(0, last, *range(1, last))


class Attention(nn.Module):
    """Attention with the queries of one map, and the keys and values of another."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads

    def forward(self, query: torch.Tensor, key_value: torch.Tensor) -> torch.Tensor:
        """What each position of the first map reads of the second."""
        maps = (query, *key_value.chunk(2, dim=1))
        by_heads = (
            map_.flatten(2).unflatten(1, (self.heads, -1)).transpose(2, 3) for map_ in maps
        )
        attended = F.scaled_dot_product_attention(*by_heads)
        return attended.transpose(2, 3).reshape(query.shape)


class Scale(nn.Module):
    """A factor for each channel."""

    def __init__(self, channels: int, axes: int) -> None:
        super().__init__()
        self.layer_scale = nn.Parameter(torch.ones(channels))
        self.shape = [channels] + [1] * (axes - 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The scaled map."""
        return x * self.layer_scale.reshape(self.shape)


def symmetric(padding: list[dict[str, int]]) -> list[int]:
    """The padding of a module of PyTorch, which is equal on both sides."""
    if any(axis["start"] != axis["end"] for axis in padding):
        raise NotImplementedError(f"padding {padding}")
    return [axis["start"] for axis in padding]


def _conv(numbers: Node, node: Node) -> nn.Module:
    axes = len(numbers["kernel_size"])
    build = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[axes]
    return build(
        *numbers["channels"],
        numbers["kernel_size"],
        numbers["stride"],
        symmetric(numbers["padding"]),
        numbers["dilation"],
        numbers["groups"],
        numbers["bias"],
    )


def _conv_transpose(numbers: Node, node: Node) -> nn.Module:
    axes = len(numbers["kernel_size"])
    build = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}[axes]
    if any(dilation != 1 for dilation in numbers["dilation"]):
        raise NotImplementedError(f"transposed convolution {numbers}")
    # What is cut less at the end than at the start is PyTorch's output padding.
    cuts = [(axis["start"], axis["end"]) for axis in numbers["padding"]]
    return build(
        *numbers["channels"],
        numbers["kernel_size"],
        numbers["stride"],
        [start for start, _ in cuts],
        [start - end for start, end in cuts],
        groups=numbers["groups"],
        bias=numbers["bias"],
    )


def _norm(kind: Any, node: Node) -> nn.Module:
    channels, axes = node["inputs"][0]["shape"][1], len(node["inputs"][0]["shape"]) - 2
    ((name, numbers),) = kind.items()
    eps = numbers["epsilon"]
    if name == "Batch":
        build = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}[axes]
        return build(channels, eps=eps)
    if name == "Instance":
        build = {1: nn.InstanceNorm1d, 2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}[axes]
        return build(channels, eps=eps, affine=bool(node["parameters"]))
    if name == "Layer":
        return LayerNorm(channels, eps=eps)
    return nn.GroupNorm(numbers["groups"], channels, eps=eps)


def _activation(kind: Any, node: Node, in_place: bool) -> nn.Module:
    if isinstance(kind, dict):
        (name, numbers), *_ = kind.items()
        if name == "HardSigmoid":
            return nn.Hardsigmoid()  # as MobileNetV3's; it has no options
        if name == "PRelu":
            return nn.PReLU(numbers["num_parameters"], numbers["alpha"])
        if name != "LeakyRelu":
            raise NotImplementedError(f"activation {kind}")
        return nn.LeakyReLU(*numbers.values(), inplace=in_place)
    return ACTIVATIONS[kind](**({"inplace": in_place} if kind in IN_PLACE else {}))


def _pool(numbers: Node, node: Node) -> nn.Module:
    window, axes = numbers["window"], len(numbers["window"]["kernel_size"])
    if numbers["kind"] != "Max":
        build = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}[axes]
        return build(
            window["kernel_size"],
            window["stride"],
            symmetric(window["padding"]),
            window["ceil_mode"],
            count_include_pad=numbers["kind"] == "AvgWithPadding",
        )
    return {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}[axes](
        window["kernel_size"],
        window["stride"],
        symmetric(window["padding"]),
        window["dilation"],
        ceil_mode=window["ceil_mode"],
    )


def module(node: Node, in_place: bool) -> nn.Module:
    """The module of PyTorch for an operation."""
    name, numbers = node["op"], None
    if isinstance(name, dict):
        ((name, numbers),) = name.items()
    shape = node["outputs"][0]["shape"]
    match name:
        case "Conv":
            return _conv(numbers, node)
        case "ConvTranspose":
            return _conv_transpose(numbers, node)
        case "Norm":
            return _norm(numbers, node)
        case "Activation":
            return _activation(numbers, node, in_place)
        case "Linear":
            return nn.Linear(*numbers["features"], bias=numbers["bias"])
        case "Attention":
            return Attention(numbers["heads"])
        case "Pool":
            return _pool(numbers, node)
        case "Resize":
            return Resize(numbers, shape[2:])
        case "Scale":
            return Scale(shape[1], len(shape))
        case "Dropout" | "ChannelDropout":
            return nn.Identity()  # the rows have a probability of 0
        case "Concat":
            return Concat(numbers["reversed"])
        case "Elementwise":
            return Elementwise(numbers)
        case "GlobalMean":
            return GlobalMean(len(node["inputs"][0]["shape"]), len(shape) > 2)
        case "PositionAttention":
            return PositionAttention()
    raise NotImplementedError(f"operation {node['op']}")


def leaves(node: Node, path: str = "") -> Iterator[tuple[str, Node]]:
    """The operations with their paths, each after what it reads."""
    if not node["children"]:
        yield path, node
    for child in node["children"]:
        yield from leaves(child, ".".join(name for name in (path, child["name"]) if name))


class Network(nn.Module):
    """A network of burn-skip, as `suite write` describes it."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        graph = json.loads((folder / "graph.json").read_text())
        root = graph["plan"]
        self.input_gradients = graph["input_gradients"]
        self.shapes = [map_["shape"][1:] for map_ in root["inputs"]]
        self.input_ids = [map_["id"] for map_ in root["inputs"]]
        self.output_id = root["outputs"][0]["id"]
        operations = list(leaves(root))
        reads = Counter(map_["id"] for _, node in operations for map_ in node["inputs"])
        reads[self.output_id] += 1
        given = set(self.input_ids)

        def alone(node: Node) -> bool:
            """Nobody else reads the input."""
            read = node["inputs"][0]["id"]
            return reads[read] == 1 and read not in given

        self.modules_in_order = nn.ModuleList(module(node, alone(node)) for _, node in operations)
        self.maps = [
            ([map_["id"] for map_ in node["inputs"]], node["outputs"][0]["id"])
            for _, node in operations
        ]
        last_read = {read: step for step, (ids, _) in enumerate(self.maps) for read in ids}
        self.dropped = [
            [read for read, last in last_read.items() if last == step and read != self.output_id]
            for step in range(len(self.maps))
        ]
        self._load([path for path, _ in operations], load_file(folder / "weights.safetensors"))

    def _load(self, paths: list[str], weights: dict[str, torch.Tensor]) -> None:
        for path, part in zip(paths, self.modules_in_order, strict=True):
            own = part.state_dict()
            own.pop("num_batches_tracked", None)
            found = {name: weights.pop(f"{path}.{name}".lstrip(".")) for name in own}
            part.load_state_dict(found, strict=False)
        if weights:
            raise ValueError(f"weights of no operation: {sorted(weights)}")

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """The output of the network."""
        found = dict(zip(self.input_ids, inputs, strict=True))
        steps = zip(self.modules_in_order, self.maps, self.dropped, strict=True)
        for part, (read, written), dropped in steps:
            y = part(*(found[id_] for id_ in read))
            for id_ in dropped:
                del found[id_]
            found[written] = y
            del y
        return found[self.output_id]
