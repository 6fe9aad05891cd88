"""The networks of torchvision, segmentation-models-pytorch and MONAI that burn-skip rebuilds."""

from collections.abc import Callable
from dataclasses import dataclass

import segmentation_models_pytorch as smp
import torchvision
from monai.networks.nets import BasicUNet
from torch import nn


@dataclass(frozen=True)
class Network:
    """How a network is built, and the maps it is tried with.

    `damped` ends the name of the last norm of a residual block. `lr` is the rate of three steps of
    SGD: lower where batch norms over few values make the third loss a matter of rounding.
    """

    build: Callable[[], nn.Module]
    classes: int
    shapes: tuple[tuple[int, ...], ...]
    damped: str = ""
    train_shape: tuple[int, ...] = (2, 3, 64, 64)
    lr: float = 0.01
    classifier: bool = False

    @property
    def channels(self) -> int:
        """Channels of the input."""
        return self.train_shape[1]


def _classifier(name: str, damped: str, lr: float, side: int = 64) -> Network:
    return Network(
        build=lambda: getattr(torchvision.models, name)(weights=None, num_classes=1000),
        classes=1000,
        shapes=((1, 3, 224, 224), (1, 3, 193, 161)),
        damped=damped,
        train_shape=(2, 3, side, side),
        lr=lr,
        classifier=True,
    )


def _smp_unet(encoder: str, damped: str) -> Network:
    return Network(
        build=lambda: smp.Unet(encoder, encoder_weights=None, classes=2),
        classes=2,
        shapes=((1, 3, 224, 224), (1, 3, 161, 193)),
        damped=damped,
        lr=1e-3,
    )


def _basic_unet(
    *shapes: tuple[int, ...],
    dims: int = 2,
    features: tuple[int, ...] = (32, 32, 64, 128, 256, 32),
) -> Network:
    return Network(
        build=lambda: BasicUNet(dims, in_channels=1, out_channels=2, features=features),
        classes=2,
        shapes=shapes,
        train_shape=(2, 1, 64, 64) if dims == 2 else (2, 1, 32, 32, 32),
    )


NETWORKS: dict[str, Network] = {
    "resnet18": _classifier("resnet18", "bn2.weight", 1e-2),
    "resnet34": _classifier("resnet34", "bn2.weight", 1e-2),
    "resnet50": _classifier("resnet50", "bn3.weight", 1e-4),
    "resnet101": _classifier("resnet101", "bn3.weight", 1e-5),
    "densenet121": _classifier("densenet121", "", 1e-4, side=128),
    "smp_unet_resnet18": _smp_unet("resnet18", "bn2.weight"),
    "smp_unet_resnet34": _smp_unet("resnet34", "bn2.weight"),
    "smp_unet_resnet50": _smp_unet("resnet50", "bn3.weight"),
    "monai_basic_unet": _basic_unet((1, 1, 224, 224), (1, 1, 97, 131)),
    "monai_basic_unet_3d": _basic_unet((1, 1, 32, 40, 33), dims=3, features=(4, 4, 8, 16, 32, 6)),
    "monai_basic_unet_wide": _basic_unet((1, 1, 64, 80), features=(8, 16, 24, 32, 40, 12)),
}
