"""The round trip of weights: PyTorch, `burn-skip convert`, and PyTorch again.

For each network: random weights in a .pth and a .safetensors file, and two random pictures. The
example must give PyTorch's logits, and save a file that PyTorch loads with the same tensors.
Run: python scripts/check_weights.py [--seed N] [--only NAME] [--device D] [--binary PATH]
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from architectures import NETWORKS, Network

NAMES = [name for name in NETWORKS if name not in ("monai_basic_unet_3d", "monai_basic_unet_wide")]
SIZES = ((224, 224), (193, 161))  # height, width
TOLERANCE = 1e-4  # of the largest logit
ROOT = Path(__file__).resolve().parent.parent
CARGO = ["cargo", "run", "--quiet", "--bin", "burn-skip", "--", "convert"]
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def random_model(network: Network) -> nn.Module:
    """PyTorch's own initial weights, with running statistics of a few batches."""
    model = network.build()
    model.train()
    with torch.no_grad():
        for _ in range(4):
            model(torch.randn(4, network.channels, 64, 64))
    return model.eval()


def random_picture(path: Path, size: tuple[int, int], channels: int) -> Tensor:
    """Writes a picture, gray for one channel; returns it as the network's input."""
    shape = size if channels == 1 else (*size, 3)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8)
    Image.fromarray(pixels.numpy()).save(path)
    x = pixels.float() / 255
    if channels == 1:
        return x[None, None]
    return ((x - torch.tensor(MEAN)) / torch.tensor(DEVIATION)).permute(2, 0, 1)[None]


def weights(model: nn.Module) -> dict[str, Tensor]:
    """The state dict without the counters of batches, which only training uses."""
    state = model.state_dict()
    return {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}


def save(model: nn.Module, path: Path) -> None:
    """The state dict as a .pth or .safetensors file."""
    if path.suffix == ".pth":
        torch.save(model.state_dict(), path)
    else:
        save_file(model.state_dict(), path)


def one_line(text: str) -> str:
    """The text with spaces for line breaks."""
    return " ".join(text.split())


def check(
    command: list[str],
    device: list[str],
    network: Network,
    model: nn.Module,
    file: Path,
    size: tuple[int, int],
) -> tuple[str, str | None]:
    """Runs the example on one file and one picture: what was measured, and what is wrong."""
    names = ("image.png", "picture.png", "logits.safetensors", "back.safetensors")
    image, picture, logits, back = (file.with_name(name) for name in names)
    for path in (picture, logits, back):
        path.unlink(missing_ok=True)
    x = random_picture(image, size, network.channels)
    with torch.no_grad():
        expected = model(x)
    options = ["--image", image, "--out", picture, "--logits", logits, "--save", back]
    line = [*command, file, *options, *device]
    run = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
    if run.returncode != 0:
        return "", f"exit code {run.returncode}: {one_line(run.stderr)[-300:]}"
    missing = [path.name for path in (picture, logits, back) if not path.exists()]
    if missing:
        return "", f"not written: {', '.join(missing)}"

    found = load_file(logits)["logits"]
    if found.shape != expected.shape:
        return "", f"logits of shape {list(found.shape)}, PyTorch's are {list(expected.shape)}"
    largest = expected.abs().max().item()
    error = (found - expected).abs().max().item()
    measured = f"error {error:.1e} of {largest:.3g}"
    if not error <= TOLERANCE * largest:
        return measured, f"the logits differ by {error / largest:.1e} of the largest"

    fresh = network.build()
    try:
        fresh.load_state_dict(load_file(back), strict=True)
    except RuntimeError as reason:
        return measured, f"the saved file does not load: {one_line(str(reason))[:300]}"
    expected_weights = weights(model)
    changed = [k for k, v in weights(fresh).items() if not torch.equal(v, expected_weights[k])]
    if changed:
        return measured, f"{len(changed)} tensors came back changed, the first is {changed[0]}"
    with torch.no_grad():
        again = fresh.eval()(x)
    return measured, None if torch.equal(again, expected) else "PyTorch's logits changed"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=NAMES, help="one of them")
    parser.add_argument("--device", help="given to the example")
    parser.add_argument("--binary", type=Path, help="burn-skip, built; else cargo runs it")
    options = parser.parse_args()
    command = [str(options.binary.resolve()), "convert"] if options.binary else CARGO
    device = ["--device", options.device] if options.device else []
    failures = 0
    for name in [options.only] if options.only else NAMES:
        torch.manual_seed(options.seed)
        network = NETWORKS[name]
        model = random_model(network)
        with tempfile.TemporaryDirectory() as folder:
            for suffix in (".pth", ".safetensors"):
                file = Path(folder) / f"{name}{suffix}"
                save(model, file)
                for size in SIZES:
                    case = f"{file.name} at {size[0]}x{size[1]}"
                    measured, wrong = check(command, device, network, model, file, size)
                    failures += wrong is not None
                    print(f"{'FAILED' if wrong else 'ok'} {case}: {wrong or measured}", flush=True)
    print(f"{failures} failed" if failures else "all agree")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
