#!/usr/bin/env python3
"""Writes the golden cases: what PyTorch and Keras make of drawn inputs, weights and options.

    python scripts/generate_reference.py [--seed N] [--out DIR] [GROUP ...]

Needs the packages of `scripts/requirements.txt`. Every seed gives other options, sizes and values;
the crate agrees with the cases of each.
"""

import argparse
from pathlib import Path

from reference.groups import GROUPS
from reference.writer import write_group

LARGEST_BYTES = 4_900_000


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("tests/golden"))
    parser.add_argument("groups", nargs="*", metavar="GROUP", help="default: all")
    return parser.parse_args()


def main() -> None:
    """Writes the groups, and checks what they amount to."""
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    names: list[str] = []
    for group, (recipes, fewest) in GROUPS.items():
        if options.groups and group not in options.groups:
            continue
        written = write_group(group, recipes(), options.seed, options.out)
        assert len(written) >= fewest, f"{group}: {len(written)} cases, {fewest} are wanted"
        names += written
        size = (options.out / f"{group}.safetensors").stat().st_size
        print(f"{group:20} {len(written):4} cases {size:9} bytes")
    assert len(set(names)) == len(names), "two cases have one name"
    total = sum(file.stat().st_size for file in options.out.glob("*.safetensors"))
    print(f"{'all':20} {len(names):4} cases {total:9} bytes")
    assert total < LARGEST_BYTES, "the files are too large"


if __name__ == "__main__":
    main()
