#!/usr/bin/env python3
"""Trains a U-Net in PyTorch as `burn-skip train` trains it: the same network, crops, loss, optimizer and steps, for a
comparison of time and IoU.

    python scripts/train_unet.py examples/data/nuclei --crop 96 --batch 8
    python scripts/train_unet.py VOLUMES --validation OTHER_VOLUMES --crop 16 48 48 --batch 4

The folders are those of `burn-skip train`, of PNG or TIFF. The network is that of
{"Unet": {"in_channels": 1, "widths": [16, 32, 64], "out_channels": 1}}: two convolutions of 3, batch norms and ReLUs a
level, max pooling, nearest enlargement. What is random is not the same.
"""

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


class Unet(nn.Module):
    def __init__(self, axes: int, widths: list[int]) -> None:
        super().__init__()
        conv, norm, pool = {
            2: (nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d),
            3: (nn.Conv3d, nn.BatchNorm3d, nn.MaxPool3d),
        }[axes]

        def block(inputs: int, outputs: int) -> nn.Sequential:
            layers = []
            for channels in (inputs, outputs):
                layers += [conv(channels, outputs, 3, padding=1, bias=False), norm(outputs), nn.ReLU()]
            return nn.Sequential(*layers)

        self.down = nn.ModuleList(
            block(a, b) for a, b in zip([1, *widths], widths, strict=False)
        )
        pairs = list(zip(widths, widths[1:], strict=False))
        self.up = nn.ModuleList(block(a + b, a) for a, b in reversed(pairs))
        self.pool = pool(2)
        self.head = conv(widths[0], 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = []
        for level, block in enumerate(self.down):
            x = block(self.pool(x) if level else x)
            maps.append(x)
        for block, skip in zip(self.up, reversed(maps[:-1]), strict=True):
            x = block(torch.cat([F.interpolate(x, skip.shape[2:]), skip], 1))
        return self.head(x)


def read(path: Path) -> np.ndarray:
    if path.suffix == ".png":
        from PIL import Image

        return np.asarray(Image.open(path))
    import tifffile

    return tifffile.imread(path)


def pairs(folder: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Each image by its logarithm, the percentiles 1 and 99.8 at 0 and 1, and where its mask is not 0."""
    if (folder / "images").is_dir():
        images = sorted((folder / "images").iterdir())
        masks = [folder / "masks" / image.name for image in images]
    else:
        images, masks = list(folder.glob("image.*")), list(folder.glob("labels.*"))
    found = []
    for image, mask in zip(images, masks, strict=True):
        x = np.log1p(read(image).astype(np.float32))
        low, high = np.percentile(x, [1, 99.8]).tolist()
        found.append(((x - low) / (high - low), (read(mask) > 0).astype(np.float32)))
    return found


def crop(data: list, size: list[int], random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A random place of a random image, mirrored and turned by quarters in the last two axes."""
    image, mask = data[random.integers(len(data))]
    start = [random.integers(n - s + 1) for n, s in zip(image.shape, size, strict=True)]
    place = tuple(slice(a, a + s) for a, s in zip(start, size, strict=True))
    axes = [axis for axis in range(image.ndim) if random.random() < 0.5]
    turns = random.integers(4) if size[-1] == size[-2] else 0
    both = (np.rot90(np.flip(x[place], axes), turns, (-2, -1)) for x in (image, mask))
    return tuple(x.copy()[None] for x in both)


def loss_of(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    p = logits.sigmoid()
    dice = 1 - (2 * (p * masks).sum() + 1) / (p.sum() + masks.sum() + 1)
    return F.binary_cross_entropy_with_logits(logits, masks) + dice


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--validation", type=Path, help="a folder, else the last quarter of the columns")
    parser.add_argument("--crop", type=int, nargs="+", default=[96])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--learning-rate", type=float, default=4e-3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    torch.manual_seed(asked.seed)
    random = np.random.default_rng(asked.seed)

    data = pairs(asked.data)
    if asked.validation:
        valid = pairs(asked.validation)
    else:
        columns = [image.shape[-1] - image.shape[-1] // 4 for image, _ in data]
        valid = [tuple(x[..., c:] for x in pair) for pair, c in zip(data, columns, strict=True)]
        data = [tuple(x[..., :c] for x in pair) for pair, c in zip(data, columns, strict=True)]
    axes = data[0][0].ndim
    size = asked.crop * axes if len(asked.crop) == 1 else asked.crop
    net = Unet(axes, [16, 32, 64])
    optimizer = torch.optim.Adam(net.parameters(), asked.learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * step / asked.steps))
    )
    started = time.perf_counter()
    for _ in range(asked.steps):
        crops = [crop(data, size, random) for _ in range(asked.batch)]
        images, masks = (torch.from_numpy(np.stack(x)) for x in zip(*crops, strict=True))
        loss = loss_of(net(images), masks)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    seconds = time.perf_counter() - started
    net.eval()
    both = either = 0
    with torch.no_grad():
        for image, mask in valid:
            found = net(torch.from_numpy(image.astype(np.float32))[None, None])[0, 0].numpy() > 0
            both += (found & (mask > 0)).sum()
            either += (found | (mask > 0)).sum()
    print(f"IoU {both / either:.3f} after {asked.steps} steps in {seconds:.1f} s, the last loss {loss.item():.3f}")


if __name__ == "__main__":
    main()
