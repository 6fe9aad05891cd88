"""Weights and inputs by a formula, so that two programs have the same ones without a file.

    u(name, i) = (mix(fnv1a64(name) + seed * C + (i + 1) * G) >> 40) / 2^23 - 1     in [-1, 1)

is exact in float32; `name` is the tensor's name in the state dict and `i` its flat index.
"""

import math

import numpy as np

_MASK = (1 << 64) - 1
_SEED_STEP = 0xD1B54A32D192ED03
_INDEX_STEP = np.uint64(0x9E3779B97F4A7C15)


def fnv1a64(data: bytes) -> int:
    """The 64-bit FNV-1a hash."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = ((value ^ byte) * 0x100000001B3) & _MASK
    return value


def _mix(z: np.ndarray) -> np.ndarray:
    """The output function of SplitMix64, modulo 2^64."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def uniform(name: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """u(name, i) for every index of `shape`, in float64."""
    start = np.uint64((fnv1a64(name.encode()) + seed * _SEED_STEP) & _MASK)
    index = np.arange(1, math.prod(shape) + 1, dtype=np.uint64)
    bits = _mix(index * _INDEX_STEP + start) >> np.uint64(40)
    return (bits.astype(np.float64) / 2.0**23 - 1.0).reshape(shape)


def data(name: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """An input or a target: u(name, i) as float32."""
    return uniform(name, shape, seed).astype(np.float32)


def weight(name: str, shape: tuple[int, ...], seed: int, damped: str = "") -> np.ndarray:
    """The float32 tensor of the state dict with this name and shape, in PyTorch's layout.

    The scale of a norm whose name ends with `damped` is a quarter: the last norm of a residual
    block, so that a deep network does not grow. The factors of channels of ConvNeXt's blocks are as large.
    """
    u = uniform(name, shape, seed)
    if name.endswith("running_var"):
        value = 1.0 + 0.5 * u
    elif name.endswith("running_mean"):
        value = 0.1 * u
    elif name.endswith(("layer_scale", "gamma")):
        value = 0.25 * (1.0 + 0.25 * u)
    elif len(shape) >= 2:
        value = u * math.sqrt(6.0 / math.prod(shape[1:]))
    elif name.endswith("weight"):
        value = (1.0 + 0.25 * u) * (0.25 if damped and name.endswith(damped) else 1.0)
    elif name.endswith("bias"):
        value = 0.1 * u
    else:
        raise ValueError(f"no formula for a tensor named {name} of shape {shape}")
    return value.astype(np.float32)
