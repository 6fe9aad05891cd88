#!/usr/bin/env python3
"""Writes tests/golden/plans.json: what torchinfo says of whole networks.

    python scripts/generate_plans.py    # needs torch, torchvision, segmentation_models_pytorch, torchinfo

Of each network: the shape of the input, parameters, multiply-adds, and the output shape, the parameters and
the multiply-adds of every convolution, norm, pool and linear layer in the order in which they are called.
"""

import json
from pathlib import Path

import segmentation_models_pytorch as smp
import torchinfo
import torchvision

OUT = Path(__file__).resolve().parent.parent / "tests" / "golden" / "plans.json"
KINDS = ("Conv2d", "BatchNorm2d", "MaxPool2d", "AvgPool2d", "Linear")


def describe(name, model, size):
    """What torchinfo says of one network at one size of input."""
    info = torchinfo.summary(model, input_size=size, verbose=0, cache_forward_pass=False)
    layers = [
        {
            "kind": layer.class_name,
            "output": list(layer.output_size),
            "parameters": layer.num_params,
            "mult_adds": layer.macs,
        }
        for layer in info.summary_list
        if layer.class_name in KINDS
    ]
    return {
        "network": name,
        "input": list(size),
        "parameters": info.total_params,
        "mult_adds": info.total_mult_adds,
        "layers": layers,
    }


def main():
    """Describes all networks."""
    unet = smp.Unet("resnet18", encoder_weights=None, in_channels=3, classes=1)
    plans = [
        describe("resnet18", torchvision.models.resnet18(), (1, 3, 224, 224)),
        describe("resnet50", torchvision.models.resnet50(), (2, 3, 193, 161)),
        describe("densenet121", torchvision.models.densenet121(), (1, 3, 224, 192)),
        describe("smp_unet_resnet18", unet, (2, 3, 256, 224)),
    ]
    rows = ",\n".join(json.dumps(plan, separators=(",", ":")) for plan in plans)
    OUT.write_text(f"[\n{rows}\n]\n")
    print(f"{OUT}: {len(plans)} networks, torchinfo {torchinfo.__version__}")


if __name__ == "__main__":
    main()
