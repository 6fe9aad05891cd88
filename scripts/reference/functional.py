"""The parameter-free operations of the crate in PyTorch."""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from .draw import PerAxis, each

LINEAR = {3: "linear", 4: "bilinear", 5: "trilinear"}
PAD_MODES = {"Zero": "constant", "Edge": "replicate", "Reflect": "reflect"}
MAX_POOL = {3: F.max_pool1d, 4: F.max_pool2d, 5: F.max_pool3d}
AVG_POOL = {3: F.avg_pool1d, 4: F.avg_pool2d, 5: F.avg_pool3d}
ADAPTIVE_POOL = {
    ("Max", 3): F.adaptive_max_pool1d,
    ("Max", 4): F.adaptive_max_pool2d,
    ("Max", 5): F.adaptive_max_pool3d,
    ("Avg", 3): F.adaptive_avg_pool1d,
    ("Avg", 4): F.adaptive_avg_pool2d,
    ("Avg", 5): F.adaptive_avg_pool3d,
}


def nearest_exact(x: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """`nearest-exact` axis by axis: PyTorch's kernels over two axes round otherwise than the one
    over a single axis for a few pairs of sizes, and the crate takes the one over a single axis."""
    for axis, length in enumerate(size, start=2):
        rows = x.movedim(axis, -1)
        flat = rows.reshape(1, -1, rows.shape[-1])
        flat = F.interpolate(flat, size=length, mode="nearest-exact")
        x = flat.reshape(*rows.shape[:-1], length).movedim(-1, axis)
    return x


def resize(x: torch.Tensor, size: Sequence[int], mode: Any) -> torch.Tensor:
    """`torch.nn.functional.interpolate` with the crate's names of the modes."""
    size = list(size)
    if mode == "NearestExact":
        return nearest_exact(x, size)
    if isinstance(mode, str):
        return F.interpolate(x, size=size, mode=mode.lower())
    ((kind, sampling),) = mode.items()
    return F.interpolate(
        x,
        size=size,
        mode=LINEAR[x.dim()] if kind == "Linear" else "bicubic",
        align_corners=sampling == "AlignCorners",
        antialias=sampling == "Antialias",
    )


def pad(x: torch.Tensor, pads: Sequence[tuple[int, int]], mode: str = "Zero") -> torch.Tensor:
    """Adds `(start, end)` positions to each spatial axis."""
    if not any(map(any, pads)):
        return x
    flat = [n for pair in reversed(pads) for n in pair]  # PyTorch lists the last axis first
    return F.pad(x, flat, mode=PAD_MODES[mode])


def split(total: int, anchor: str) -> tuple[int, int]:
    """How many positions are added or cut at the start and at the end."""
    start = {"Start": 0, "Center": total // 2, "End": total}[anchor]
    return start, total - start


def crop(x: torch.Tensor, size: Sequence[int], anchor: str) -> torch.Tensor:
    """Cuts the axes that are longer than wanted."""
    for axis, length in enumerate(size, start=2):
        if x.shape[axis] > length:
            start, _ = split(x.shape[axis] - length, anchor)
            x = x.narrow(axis, start, length)
    return x


def fit(x: torch.Tensor, size: Sequence[int], config: Any) -> torch.Tensor:
    """`Fit::forward`"""
    if config == "Exact":
        assert list(x.shape[2:]) == list(size), "Fit::Exact changes nothing"
        return x
    ((kind, options),) = config.items()
    if kind == "Resize":
        return resize(x, size, options)
    if kind == "Pool":
        return ADAPTIVE_POOL[options, x.dim()](x, list(size))
    if kind in ("Crop", "PadOrCrop"):
        x = crop(x, size, options["anchor"])
    if kind in ("Pad", "PadOrCrop"):
        lengths = zip(x.shape[2:], size, strict=True)
        pads = [split(to - length, options["anchor"]) for length, to in lengths]
        x = pad(x, pads, options["mode"])
    return x


def target_size(target: Any, shapes: Sequence[Sequence[int]]) -> list[int]:
    """`Target::resolve`: the size that maps of these spatial sizes meet at."""
    if isinstance(target, dict):
        return target["Size"]
    axes = list(zip(*shapes, strict=True))
    return {
        "Deep": list(shapes[0]),
        "Skip": list(shapes[-1]),
        "Largest": [max(sizes) for sizes in axes],
        "Smallest": [min(sizes) for sizes in axes],
    }[target]


def pool(x: torch.Tensor, config: Any) -> torch.Tensor:
    """PyTorch's pools; the padding is the same at both ends."""
    rank, padding = x.dim(), config["padding"]
    pads = 0 if padding == "Valid" else each(padding["Explicit"]["start"], rank)
    window = {
        "kernel_size": each(config["kernel_size"], rank),
        "stride": each(config["stride"], rank),
        "padding": pads,
        "ceil_mode": config["ceil_mode"],
    }
    if config["kind"] == "Max":
        return MAX_POOL[rank](x, **window)
    counted = config["kind"] == "AvgWithPadding"
    return AVG_POOL[rank](x, **window, count_include_pad=counted)


def merge(maps: Sequence[torch.Tensor], config: Any) -> torch.Tensor:
    """`Merge::forward`"""
    if isinstance(config, dict):
        axis, order = config["Concat"]["axis"], config["Concat"]["order"]
        axis = 1 if axis == "Channels" else 2 + axis["Spatial"]
        return torch.cat(list(maps if order == "DeepFirst" else reversed(maps)), dim=axis)
    stacked = torch.stack(list(maps))
    return {
        "Add": lambda: stacked.sum(0),
        "Mean": lambda: stacked.mean(0),
        "Mul": lambda: stacked.prod(0),
        "Max": lambda: stacked.amax(0),
        "Min": lambda: stacked.amin(0),
        "Sub": lambda: maps[0] - stacked[1:].sum(0),
    }[config]()


def pixel_shuffle(x: torch.Tensor, scale: PerAxis, order: str) -> torch.Tensor:
    """Channels to space: PyTorch's order of the channels, or TensorFlow's, for any rank."""
    rank = x.dim()
    scales = each(scale, rank)
    if rank == 4 and order == "ChannelMajor" and len(set(scales)) == 1:
        return F.pixel_shuffle(x, scales[0])
    batch, size = x.shape[0], x.shape[2:]
    channels = x.shape[1] // math.prod(scales)
    axes = range(rank - 2)
    if order == "ChannelMajor":
        cells = x.reshape(batch, channels, *scales, *size)
        moved = [0, 1] + [n for a in axes for n in (rank + a, 2 + a)]
    else:
        cells = x.reshape(batch, *scales, channels, *size)
        moved = [0, rank - 1] + [n for a in axes for n in (rank + a, 1 + a)]
    longer = [length * s for length, s in zip(size, scales, strict=True)]
    return cells.permute(moved).reshape(batch, channels, *longer)


def pixel_unshuffle(x: torch.Tensor, scale: PerAxis, order: str) -> torch.Tensor:
    """Space to channels, the inverse of `pixel_shuffle`."""
    rank = x.dim()
    scales = each(scale, rank)
    if rank == 4 and order == "ChannelMajor" and len(set(scales)) == 1:
        return F.pixel_unshuffle(x, scales[0])
    shorter = [length // s for length, s in zip(x.shape[2:], scales, strict=True)]
    pairs = [n for pair in zip(shorter, scales, strict=True) for n in pair]
    cells = x.reshape(*x.shape[:2], *pairs)
    positions = [2 + 2 * a for a in range(rank - 2)]
    offsets = [3 + 2 * a for a in range(rank - 2)]
    moved = [0, 1, *offsets] if order == "ChannelMajor" else [0, *offsets, 1]
    return cells.permute(*moved, *positions).reshape(x.shape[0], -1, *shorter)


def blur(x: torch.Tensor) -> torch.Tensor:
    """The mean of two neighbours on each axis, the edge repeated at the start."""
    padded = pad(x, [(1, 0)] * (x.dim() - 2), "Edge")
    return AVG_POOL[x.dim()](padded, 2, stride=1)
