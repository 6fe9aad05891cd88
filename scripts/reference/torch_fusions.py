"""PyTorch modules of fusions and necks, built from configurations; their keys are the crate's paths."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from . import configs
from .functional import MAX_POOL, resize
from .torch_layers import CONV, ConvNormAct, meet


def broadcast(weights: torch.Tensor, rank: int) -> torch.Tensor:
    """Numbers of channels, to multiply a map of this rank with."""
    return weights.view(-1, *[1] * (rank - 2))


class WeightedSum(nn.Module):
    """`WeightedSum`: the `sum`, `attn` and `fastattn` of effdet's `FpnCombine`"""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.weighting = config["weighting"]
        self.shape = (config["maps"], config["channels"] or 1)
        self.weights = nn.Parameter(torch.ones(self.shape[0] * self.shape[1]))

    def factors(self) -> torch.Tensor:
        """What the maps are multiplied with, a row for each."""
        weights = self.weights.view(self.shape)
        if self.weighting == "Unbounded":
            return weights
        if self.weighting == "Softmax":
            return torch.softmax(weights, dim=0)
        positive = torch.relu(weights)
        return positive / (positive.sum(dim=0) + self.weighting["Fast"]["epsilon"])

    def forward(self, *maps: torch.Tensor) -> torch.Tensor:
        """The sum of the maps, each times its factor."""
        pairs = zip(maps, self.factors(), strict=True)
        return torch.stack([x * broadcast(factor, x.dim()) for x, factor in pairs]).sum(0)


class Asff(nn.Module):
    """`Asff`: adaptively spatial feature fusion of maps with equal channels"""

    def __init__(self, config: dict[str, Any], rank: int) -> None:
        super().__init__()
        self.config = config
        maps, hidden = config["maps"], config["hidden_channels"]
        squeeze = configs.conv_norm_act([config["channels"], hidden], 1, config["style"])
        self.squeezes = nn.ModuleList(ConvNormAct(squeeze, rank) for _ in range(maps))
        self.weigh = CONV[rank](maps * hidden, maps, 1)

    def forward(self, *maps: torch.Tensor) -> torch.Tensor:
        """Maps of one size, by the softmax of what is computed of all at a position."""
        maps = meet(maps, self.config["fit"], self.config["target"])
        hidden = [squeeze(x) for squeeze, x in zip(self.squeezes, maps, strict=True)]
        weights = self.weigh(torch.cat(hidden, dim=1)).softmax(dim=1)
        return sum(x * weights[:, n : n + 1] for n, x in enumerate(maps))


def fitted(x: torch.Tensor, like: torch.Tensor, mode: Any = "Nearest") -> torch.Tensor:
    """A map at the size of another."""
    return x if x.shape[2:] == like.shape[2:] else resize(x, like.shape[2:], mode)


def as_one_row(maps: Sequence[torch.Tensor]) -> torch.Tensor:
    """All values of several maps, as a map of one row."""
    row = torch.cat([x.flatten() for x in maps])
    return row.view(*[1] * (maps[0].dim() - 1), -1)


class Extra(nn.ModuleList):
    """`ExtraLevels`: torchvision's `LastLevelMaxPool` and `LastLevelP6P7`"""

    def __init__(self, kind: str | None, coarsest: int, channels: int, rank: int) -> None:
        super().__init__()
        self.kind = kind
        if kind in ("OfInput", "OfOutput"):
            first = coarsest if kind == "OfInput" else channels
            style = configs.style(configs.explicit(1), activation=None)
            for inputs in (first, channels):
                halved = configs.conv_norm_act([inputs, channels], 3, style, 2)
                self.append(ConvNormAct(halved, rank))

    def forward(self, coarsest: torch.Tensor, output: torch.Tensor) -> list[torch.Tensor]:
        """The levels below the coarsest input and output."""
        if self.kind is None:
            return []
        if self.kind == "MaxPool":
            return [MAX_POOL[output.dim()](output, 1, stride=2)]
        first = self[0](coarsest if self.kind == "OfInput" else output)
        return [first, self[1](torch.relu(first))]


class Fpn(nn.Module):
    """`Fpn`: torchvision's `FeaturePyramidNetwork`, without its extra levels"""

    def __init__(self, config: dict[str, Any], channels: Sequence[int], rank: int) -> None:
        super().__init__()
        self.resize = config["resize"]
        wide = config["channels"]
        self.laterals = nn.ModuleList(
            ConvNormAct(configs.conv_norm_act([n, wide], 1, config["lateral"]), rank)
            for n in channels
        )
        output = config["output"]
        self.outputs = nn.ModuleList(
            ConvNormAct(configs.conv_norm_act([wide, wide], 3, output), rank)
            for _ in channels
            if output is not None
        )

    def forward(self, *maps: torch.Tensor) -> list[torch.Tensor]:
        """From the coarsest level up."""
        levels = [lateral(x) for lateral, x in zip(self.laterals, maps, strict=True)]
        for n in range(len(levels) - 1, 0, -1):
            levels[n - 1] = levels[n - 1] + fitted(levels[n], levels[n - 1], self.resize)
        if not self.outputs:
            return levels
        return [output(x) for output, x in zip(self.outputs, levels, strict=True)]


class PaFpn(nn.Module):
    """`PaFpn`: mmdetection's `PAFPN`"""

    def __init__(self, config: dict[str, Any], channels: Sequence[int], rank: int) -> None:
        super().__init__()
        pyramid = config["pyramid"]
        wide = pyramid["channels"]
        self.pyramid = Fpn(pyramid, channels, rank)
        halved = config["style"] | {"padding": configs.explicit(1)}
        self.downs = nn.ModuleList(
            ConvNormAct(configs.conv_norm_act([wide, wide], 3, halved, 2), rank)
            for _ in channels[1:]
        )
        self.outputs = nn.ModuleList(
            ConvNormAct(configs.conv_norm_act([wide, wide], 3, config["style"]), rank)
            for _ in channels[1:]
        )
        self.extra = Extra(pyramid["extra"], channels[-1], wide, rank)

    def forward(self, *maps: torch.Tensor) -> torch.Tensor:
        """From the coarsest level up, and from the finest down."""
        levels = self.pyramid(*maps)
        for n, down in enumerate(self.downs):
            levels[n + 1] = levels[n + 1] + fitted(down(levels[n]), levels[n + 1])
        refined = [output(x) for output, x in zip(self.outputs, levels[1:], strict=True)]
        outputs = [levels[0], *refined]
        return as_one_row(outputs + self.extra(maps[-1], outputs[-1]))


class HrFuse(nn.Module):
    """`HrFuse`: the fuse layers of HRNet's modules"""

    def __init__(self, config: dict[str, Any], channels: Sequence[int], rank: int) -> None:
        super().__init__()
        self.resize = config["resize"]
        self.paths = nn.ModuleList(
            nn.ModuleList(
                self.path(config, channels, (start, end), rank) for start in range(len(channels))
            )
            for end in range(len(channels))
        )
        self.activation = nn.ReLU()

    @staticmethod
    def path(
        config: dict[str, Any], channels: Sequence[int], ends: tuple[int, int], rank: int
    ) -> nn.Sequential:
        """The convolutions from one resolution to another."""
        start, end = ends
        inputs, outputs = channels[start], channels[end]
        bare = configs.style(norm=config["norm"], activation=None)
        if start == end:
            return nn.Sequential()
        if start > end:
            return nn.Sequential(
                ConvNormAct(configs.conv_norm_act([inputs, outputs], 1, bare), rank)
            )
        halved = bare | {"padding": configs.explicit(1)}
        between = configs.conv_norm_act([inputs, inputs], 3, halved | {"activation": "Relu"}, 2)
        last = configs.conv_norm_act([inputs, outputs], 3, halved, 2)
        steps = [between] * (end - start - 1) + [last]
        return nn.Sequential(*(ConvNormAct(step, rank) for step in steps))

    def forward(self, *maps: torch.Tensor) -> torch.Tensor:
        """Each resolution gets the sum of all."""
        outputs = []
        for end, (paths, like) in enumerate(zip(self.paths, maps, strict=True)):
            modes = ["Nearest" if start < end else self.resize for start in range(len(maps))]
            both = zip(paths, maps, modes, strict=True)
            fit = [fitted(path(x), like, mode) for path, x, mode in both]
            outputs.append(self.activation(torch.stack(fit).sum(0)))
        return as_one_row(outputs)


class BiFpnNode(nn.Module):
    """A node of `BiFpn`: effdet's `FpnCombine` and what follows it"""

    def __init__(self, config: dict[str, Any], inputs: Sequence[int], rank: int) -> None:
        super().__init__()
        wide, style = config["channels"], config["style"]
        # (An absent projection has no parameters, and its place no name.)
        self.projections = nn.ModuleList(
            nn.Identity()
            if n == wide
            else ConvNormAct(configs.conv_norm_act([n, wide], 1, style), rank)
            for n in inputs
        )
        self.sum = WeightedSum(
            configs.weighted_sum(len(inputs), None, config["weighting"])
        )
        self.activation = nn.SiLU()
        bare = configs.style(bias=False, activation=None)
        depthwise = configs.conv_norm_act([wide, wide], 3, bare, groups=wide)
        pointwise = configs.conv_norm_act([wide, wide], 1, style)
        self.conv = nn.Sequential(ConvNormAct(depthwise, rank), ConvNormAct(pointwise, rank))

    def forward(
        self, maps: Sequence[torch.Tensor], levels: Sequence[int], level: int, like: torch.Tensor
    ) -> torch.Tensor:
        """Projects the maps, brings them to one size, adds and convolves."""
        found = []
        for project, x, start in zip(self.projections, maps, levels, strict=True):
            x = project(x)
            for _ in range(level - start):
                x = halved(x)
            found.append(fitted(x, like))
        return self.conv(self.activation(self.sum(*found)))


def halved(x: torch.Tensor) -> torch.Tensor:
    """Half the size by a max pool of 3."""
    return MAX_POOL[x.dim()](x, 3, stride=2, padding=1)


class BiFpn(nn.Module):
    """`BiFpn`: effdet's, with the nodes of its `bifpn_config` or given ones"""

    def __init__(self, config: dict[str, Any], channels: Sequence[int], rank: int) -> None:
        super().__init__()
        self.config = config
        wide = config["channels"]
        count = len(channels) + config["extra"]
        self.nodes = config["nodes"] or bidirectional(count)
        self.extra = None
        if config["extra"] > 0 and channels[-1] != wide:
            project = configs.conv_norm_act([channels[-1], wide], 1, config["style"])
            self.extra = ConvNormAct(project, rank)
        first = list(channels) + [wide] * config["extra"]
        self.cells = nn.ModuleList()
        for repeat in range(config["repeats"]):
            read = (first if repeat == 0 else [wide] * count) + [wide] * len(self.nodes)
            self.cells.append(
                nn.ModuleList(
                    BiFpnNode(config, [read[n] for n in node["inputs"]], rank)
                    for node in self.nodes
                )
            )

    def forward(self, *maps: torch.Tensor) -> torch.Tensor:
        """Extra levels, and cell after cell."""
        maps = list(maps)
        for n in range(self.config["extra"]):
            x = maps[-1]
            maps.append(halved(self.extra(x) if n == 0 and self.extra is not None else x))
        for cell in self.cells:
            found, levels = list(maps), list(range(len(maps)))
            for node, layer in zip(self.nodes, cell, strict=True):
                read, level = node["inputs"], node["level"]
                inputs = [found[n] for n in read]
                found.append(layer(inputs, [levels[n] for n in read], level, maps[level]))
                levels.append(level)
            last = {level: x for level, x in zip(levels, found, strict=True)}
            maps = [last[level] for level in range(len(maps))]
        return as_one_row(maps)


def bidirectional(levels: int) -> list[dict[str, Any]]:
    """effdet's `bifpn_config`: up to the finest level, and down again."""
    of_level = {level: [level] for level in range(levels)}
    nodes = []

    def add(level: int, inputs: list[int]) -> None:
        of_level[level].append(levels + len(nodes))
        nodes.append({"level": level, "inputs": inputs})

    for level in range(levels - 2, -1, -1):
        add(level, [of_level[level][-1], of_level[level + 1][-1]])
    for level in range(1, levels):
        add(level, [*of_level[level], of_level[level - 1][-1]])
    return nodes
