"""Seeded draws of options, sizes and values."""

from collections.abc import Sequence
from typing import Any
from zlib import crc32

import numpy as np

PerAxis = int | list[int]

# The smallest and the largest size of an axis, by rank: the files stay small.
SIZES = {3: (3, 13), 4: (3, 10), 5: (3, 5)}


class Redraw(Exception):
    """The drawn values are too near to a point where rounding decides: draw again."""


class Draw:
    """All random choices of one attempt at one case."""

    def __init__(self, seed: int, group: str, index: int, attempt: int) -> None:
        self.random = np.random.default_rng([seed, crc32(group.encode()), index, attempt])

    def integer(self, low: int, high: int) -> int:
        """A whole number in `low..=high`."""
        return int(self.random.integers(low, high + 1))

    def chance(self, probability: float = 0.5) -> bool:
        """True with this probability."""
        return bool(self.random.random() < probability)

    def choice(self, options: Sequence[Any]) -> Any:
        """One of the options."""
        return options[self.integer(0, len(options) - 1)]

    def per_axis(self, rank: int, low: int, high: int) -> PerAxis:
        """One number for all spatial axes, or a list with one for each."""
        if self.chance():
            return self.integer(low, high)
        return [self.integer(low, high) for _ in range(rank - 2)]

    def written(self, values: Sequence[int]) -> PerAxis:
        """The numbers as a list, or as one number where they agree and the dice say so."""
        if len(set(values)) == 1 and self.chance():
            return values[0]
        return list(values)

    def size(self, rank: int, low: int | None = None, high: int | None = None) -> list[int]:
        """A spatial size, each axis on its own."""
        smallest, largest = SIZES[rank]
        low = smallest if low is None else low
        high = max(largest if high is None else high, low)
        return [self.integer(low, high) for _ in range(rank - 2)]

    def batch(self) -> int:
        """The number of samples: mostly one."""
        return 2 if self.chance(0.3) else 1

    def normal(self, *shape: int) -> np.ndarray:
        """Standard normal values."""
        return self.random.standard_normal(shape).astype(np.float32)

    def uniform(self, low: float, high: float, *shape: int) -> np.ndarray:
        """Values that are uniform in `low..high`."""
        return self.random.uniform(low, high, shape).astype(np.float32)

    def map(self, channels: int, size: Sequence[int], batch: int | None = None) -> np.ndarray:
        """A feature map of standard normal values."""
        return self.normal(self.batch() if batch is None else batch, channels, *size)


def each(value: PerAxis, rank: int) -> tuple[int, ...]:
    """One number for each spatial axis."""
    return (value,) * (rank - 2) if isinstance(value, int) else tuple(value)


def text(numbers: PerAxis) -> str:
    """The numbers in a case's name: `9x7`."""
    return str(numbers) if isinstance(numbers, int) else "x".join(map(str, numbers))
