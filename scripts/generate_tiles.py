#!/usr/bin/env python3
"""Writes tests/golden/tiles.json: what MONAI makes of an image by tiles.

    python scripts/generate_tiles.py --seed 5    # needs torch and monai

An image of 11x13 in a batch of two, a 3x3 convolution without bias that pads by 1, and what
`sliding_window_inference` makes of them for several sizes of tiles, overlaps and weights.
"""

import argparse
import json
from pathlib import Path

import monai
import torch
from monai.inferers import sliding_window_inference

OUT = Path(__file__).resolve().parent.parent / "tests" / "golden" / "tiles.json"
CASES = [
    ((6, 7), 0.25, "gaussian"),
    ((4, 5), 0.5, "constant"),
    ((11, 5), 0.6, "gaussian"),
    ((8, 8), 0.0, "gaussian"),
]


def numbers(tensor):
    """The values, with the digits that f32 has."""
    return [float(f"{value:.7g}") for value in tensor.flatten().tolist()]


def main():
    """Writes all cases."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=5)
    generator = torch.Generator().manual_seed(parser.parse_args().seed)
    image = torch.randn(2, 2, 11, 13, generator=generator)
    weight = torch.randn(3, 2, 3, 3, generator=generator)

    def network(tile):
        return torch.nn.functional.conv2d(tile, weight, padding=1)

    cases = [
        {
            "size": size,
            "overlap": overlap,
            "blend": blend,
            "output": numbers(
                sliding_window_inference(image, size, 3, network, overlap=overlap, mode=blend)
            ),
        }
        for size, overlap, blend in CASES
    ]
    golden = {"image": numbers(image), "weight": numbers(weight), "cases": cases}
    OUT.write_text(json.dumps(golden, separators=(",", ":")) + "\n")
    print(f"{OUT}: {len(cases)} cases, MONAI {monai.__version__}")


if __name__ == "__main__":
    main()
