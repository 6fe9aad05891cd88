"""Trains MONAI's BasicUNet on the nuclei, and writes the weights that `burn-skip convert` shows.

Columns from 384 on are never seen in training; the result is judged there.
Run: python scripts/train_basic_unet.py [--seed N] [--steps N] [--out FILE]
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from monai.networks.nets import BasicUNet
from PIL import Image
from torch import Tensor
from torch.nn import functional

DATA = Path(__file__).resolve().parent.parent / "examples/data/nuclei"
FEATURES = (8, 8, 16, 32, 64, 8)
TRAIN_COLUMNS = 384
CROP, BATCH = 128, 8


def load() -> tuple[Tensor, Tensor]:
    """The image from 0 to 1 and the mask of the foreground, [1, 1, height, width]."""
    image = np.asarray(Image.open(DATA / "image.png").convert("L"), dtype=np.float32) / 255
    labels = np.asarray(Image.open(DATA / "labels.png")) > 0
    return torch.from_numpy(image)[None, None], torch.from_numpy(labels)[None, None].float()


def crops(image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """A batch of turned and mirrored crops of the training columns."""
    batch = []
    for _ in range(BATCH):
        y = int(torch.randint(image.shape[2] - CROP + 1, ()))
        x = int(torch.randint(TRAIN_COLUMNS - CROP + 1, ()))
        pair = torch.cat([image, mask], dim=1)[..., y : y + CROP, x : x + CROP]
        pair = torch.rot90(pair, int(torch.randint(4, ())), (2, 3))
        batch.append(pair.flip(3) if torch.rand(()) < 0.5 else pair)
    both = torch.cat(batch)
    return both[:, :1], both[:, 1:]


def iou(model: torch.nn.Module, image: Tensor, mask: Tensor) -> float:
    """Intersection over union of the foreground in the columns that training has not seen."""
    model.eval()
    with torch.no_grad():
        found = model(image).argmax(1, keepdim=True)[..., TRAIN_COLUMNS:] == 1
    truth = mask[..., TRAIN_COLUMNS:] == 1
    return float((found & truth).sum() / (found | truth).sum())


def main() -> None:
    """Trains, prints how well it does, and writes the state dict."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--out", type=Path, default=DATA / "monai_basic_unet.pth")
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    image, mask = load()
    model = BasicUNet(2, in_channels=1, out_channels=2, features=FEATURES)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.steps)
    for step in range(1, args.steps + 1):
        model.train()
        x, truth = crops(image, mask)
        logits = model(x)
        foreground = logits.softmax(1)[:, 1:]
        overlap = 2 * (foreground * truth).sum() / (foreground.sum() + truth.sum())
        loss = functional.cross_entropy(logits, truth[:, 0].long()) + 1 - overlap
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            print(f"step {step}: loss {loss:.3f}, IoU {iou(model, image, mask):.4f}", flush=True)
    torch.save(model.eval().state_dict(), args.out)
    print(f"{args.out}: {sum(p.numel() for p in model.parameters())} parameters")


if __name__ == "__main__":
    main()
