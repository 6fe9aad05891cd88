"""Draws the cases of a group and writes them to one safetensors file."""

import json
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .case import Case
from .draw import Draw, Redraw

# A case with its options fixed, and the rest to draw.
Recipe = Callable[[Draw], Case]

ATTEMPTS = 400
MADE_WITH = (
    "torch",
    "torchvision",
    "timm",
    "segmentation-models-pytorch",
    "monai",
    "keras",
    "tensorflow-cpu",
)


def made_with() -> str:
    """The versions of the frameworks."""
    return ", ".join(f"{name} {version(name)}" for name in MADE_WITH)


def draw_case(recipe: Recipe, seed: int, group: str, index: int) -> Case:
    """The first draw of the recipe that does not hang on rounding."""
    for attempt in range(ATTEMPTS):
        draw = Draw(seed, group, index, attempt)
        torch.manual_seed(draw.integer(0, 2**31))
        try:
            case = recipe(draw)
        except Redraw:
            continue
        case.name = f"{group}/{case.name}-{index:04}"
        return case
    raise RuntimeError(f"{group}, recipe {index}: no draw in {ATTEMPTS} was fit to compare")


def save(path: Path, tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    """Writes a safetensors file whose bytes follow from its content alone.

    The library's own writer puts the metadata in an order that changes with each run.
    """
    header: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for name in sorted(tensors):
        values = tensors[name]
        start, end = end, end + values.nbytes
        header[name] = {"dtype": "F32", "shape": values.shape, "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in sorted(tensors):
            file.write(tensors[name].astype("<f4").tobytes())


def write_group(group: str, recipes: Sequence[Recipe], seed: int, folder: Path) -> list[str]:
    """Writes `folder/group.safetensors`; returns the names of its cases."""
    cases = [draw_case(recipe, seed, group, n) for n, recipe in enumerate(recipes)]
    listed = [
        {"name": case.name, "rank": case.rank, "train": case.train, "layer": case.layer}
        for case in cases
    ]
    tensors = {
        f"{case.name}/{path}": np.ascontiguousarray(values, np.float32)
        for case in cases
        for path, values in case.tensors.items()
    }
    for name, values in tensors.items():
        if not np.isfinite(values).all():
            raise RuntimeError(f"{name} is not finite")
    metadata = {"cases": json.dumps(listed), "made_with": made_with(), "seed": str(seed)}
    save(folder / f"{group}.safetensors", tensors, metadata)
    return [case.name for case in cases]
