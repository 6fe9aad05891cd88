"""Writes the outputs and losses of whole PyTorch networks, for the tests of burn-skip.

The weights are not stored: both sides compute them by the formula in formula.py. `losses_error` is
what rounding does to the losses: their distance from the same steps in float64.
Run: python scripts/generate_networks.py [--seed N] [--out DIR] [--only NAME]
"""

import argparse
import json
from collections import OrderedDict
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

import formula
from architectures import NETWORKS, Network

PACKAGES = ("torch", "torchvision", "timm", "segmentation-models-pytorch", "monai")
STEPS = 3
EVERY = 61  # of a segmentation's logits, one in so many is stored
NAMES_LIMIT = 64_000  # bytes of a file; above it the list of names is left out


def set_weights(model: nn.Module, seed: int, damped: str) -> dict[str, Tensor]:
    """Fills the model by the formula; returns its state dict without the batch counters.

    A tensor with several names has the values of the first.
    """
    state = {k: v for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}
    second = copies(state)
    for name, tensor in state.items():
        if name not in second:
            tensor.copy_(torch.from_numpy(formula.weight(name, tuple(tensor.shape), seed, damped)))
    return state


def copies(state: dict[str, Tensor]) -> dict[str, str]:
    """The first name of each tensor, by its other names: MONAI's DynUNet holds its blocks at two places."""
    first = {}
    for name, tensor in state.items():
        first.setdefault(tensor.data_ptr(), name)
    pairs = {name: first[tensor.data_ptr()] for name, tensor in state.items()}
    return {name: original for name, original in pairs.items() if name != original}


def data(name: str, shape: tuple[int, ...], seed: int) -> Tensor:
    """An input or a target by the formula."""
    return torch.from_numpy(formula.data(name, shape, seed))


def train(network: Network, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """The losses before each of three steps of plain SGD, and after the last."""
    model = network.build()
    set_weights(model, seed, network.damped)
    model.to(dtype).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=network.lr)
    x = data("train", network.train_shape, seed).to(dtype)
    labels = (7 * torch.arange(len(x)) + 3) % network.classes
    losses = []
    for step in range(STEPS + 1):
        y = model(x)
        if network.classifier:
            loss = functional.cross_entropy(y, labels)
        else:
            loss = (y - data("target", tuple(y.shape), seed)).square().mean()
        losses.append(loss.item())
        if step < STEPS:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return torch.tensor(losses, dtype=torch.float64)


def reference(network: Network, seed: int) -> tuple[dict[str, Tensor], list, dict[str, str]]:
    """The tensors of one network's file, the names and shapes of its weights, and their second names."""
    model = network.build()
    state = set_weights(model, seed, network.damped)
    names = sorted([name, list(tensor.shape)] for name, tensor in state.items())
    tensors = {}
    model.eval()
    for index, shape in enumerate(network.shapes):
        with torch.no_grad():
            logits = model(data("input", shape, seed))
        if not torch.isfinite(logits).all():
            raise SystemExit(f"the logits at {shape} are not finite")
        tensors[f"logits{index}"] = logits if network.classifier else logits.flatten()[::EVERY]
        tensors[f"logits{index}_max"] = logits.abs().max().reshape(1)
    losses = train(network, seed)
    if not (losses < 1e3).all():
        raise SystemExit(f"losses {losses.tolist()}: lower the learning rate")
    tensors["losses"] = losses.float()
    tensors["losses_error"] = (losses - train(network, seed, torch.float64)).abs().float()
    return {name: tensor.contiguous() for name, tensor in tensors.items()}, names, copies(state)


def write(network: Network, name: str, seed: int, path: Path) -> str:
    """Writes the file of one network; returns a line that says what is in it."""
    tensors, names, second = reference(network, seed)
    metadata = {
        "network": name,
        "shapes": json.dumps(network.shapes),
        "train_shape": json.dumps(network.train_shape),
        "lr": str(network.lr),
        "damped": network.damped,
        "seed": str(seed),
        "made_with": ", ".join(f"{package} {version(package)}" for package in PACKAGES),
        "names": json.dumps(names, separators=(",", ":")),
    }
    if second:
        metadata["copies"] = json.dumps(second, separators=(",", ":"))
    save_file(tensors, path, metadata)
    if path.stat().st_size > NAMES_LIMIT:
        del metadata["names"]
        save_file(tensors, path, metadata)
    largest = [f"{v.item():.4g}" for k, v in tensors.items() if k.endswith("_max")]
    losses = [f"{loss:.6g}" for loss in tensors["losses"].tolist()]
    return (
        f"{path}: {path.stat().st_size} bytes, max |logit| {' '.join(largest)}, "
        f"losses {' '.join(losses)} +- {tensors['losses_error'].max():.1g}"
        f"{'' if 'names' in metadata else ', without names'}"
    )


def write_tiny(seed: int, folder: Path) -> None:
    """One convolution and one norm, in each kind of file that the loader reads."""
    conv = nn.Conv2d(2, 3, 3, bias=False)
    model = nn.Sequential(OrderedDict(conv=conv, norm=nn.BatchNorm2d(3)))
    set_weights(model, seed, "")
    state = model.state_dict()
    torch.save(state, folder / "tiny.pth")
    torch.save({"epoch": 3, "state_dict": state}, folder / "tiny_checkpoint.pth")
    save_file(state, folder / "tiny.safetensors", {"seed": str(seed)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("tests/golden"))
    parser.add_argument("--only", choices=[*NETWORKS, "tiny"], help="one of them")
    options = parser.parse_args()
    folder = options.out / "networks"
    folder.mkdir(parents=True, exist_ok=True)
    for name, network in NETWORKS.items():
        if options.only in (None, name):
            path = folder / f"{name}.safetensors"
            print(write(network, name, options.seed, path), flush=True)
    if options.only in (None, "tiny"):
        write_tiny(options.seed, folder)
        print(f"{folder}: tiny.pth, tiny_checkpoint.pth, tiny.safetensors")


if __name__ == "__main__":
    main()
