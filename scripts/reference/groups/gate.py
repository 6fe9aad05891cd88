"""Gates: segmentation_models.pytorch's SCSE and MONAI's attention."""

from functools import partial
from itertools import product

import torch
from monai.networks.nets.attentionunet import AttentionBlock
from segmentation_models_pytorch.base.modules import SCSEModule

from ..case import Case, draw_weights, record_torch, run_torch
from ..draw import Draw, text
from ..writer import Recipe

RANKS = (3, 4, 5)
SCSE_PARTS = {"cSE.1": "squeeze.conv", "cSE.3": "excite.conv", "sSE.0": "spatial.conv"}
ATTENTION_PARTS = {"W_x": "of_map", "W_g": "of_guide", "psi": "weight"}


def scse_path(key: str) -> str:
    """From `cSE.1.weight` to `squeeze.conv.weight`."""
    part, leaf = key.rsplit(".", 1)
    return f"{SCSE_PARTS[part]}.{leaf}"


def of_scse(draw: Draw, reduction: int) -> Case:
    """`SCSEModule` of segmentation_models.pytorch; it looks at no guide"""
    channels = reduction * draw.integer(1, 2) + draw.integer(0, reduction - 1)
    guide = draw.integer(1, 2)
    size, batch = draw.size(4, high=7), draw.batch()
    layer = {
        "Gate": {
            "gate": {"Scse": {"reduction": reduction}},
            "channels": channels,
            "guide_channels": guide,
        }
    }
    case = Case(f"smp-scse-c{channels}-by{reduction}-r4-{text(size)}", 4, layer)
    module = SCSEModule(channels, reduction)
    case = run_torch(draw, case, module, [draw.map(channels, size, batch)], scse_path)
    case.tensors["x1"] = draw.map(guide, size, batch)
    return case


def attention_path(key: str) -> str | None:
    """From `W_x.0.conv.weight` to `of_map.conv.weight`. The biases, which are 0, are left out."""
    part, index, *_, leaf = key.split(".")
    if index == "0":
        return None if leaf == "bias" else f"{ATTENTION_PARTS[part]}.conv.{leaf}"
    return f"{ATTENTION_PARTS[part]}.norm.{leaf}"


class Attention(torch.nn.Module):
    """MONAI's block with the map before its guide."""

    def __init__(self, block: AttentionBlock) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: torch.Tensor, guide: torch.Tensor) -> torch.Tensor:
        """Weighs `x`."""
        return self.block(guide, x)


def of_attention(draw: Draw, train: bool, rank: int) -> Case:
    """`AttentionBlock` of MONAI without the biases before its norms"""
    channels, guide, hidden = (draw.integer(1, 3) for _ in range(3))
    size, batch = draw.size(rank), 2 if train else draw.batch()
    layer = {
        "Gate": {
            "gate": {"Attention": {"hidden_channels": hidden}},
            "channels": channels,
            "guide_channels": guide,
        }
    }
    mode = "train" if train else "eval"
    case = Case(f"monai-attention-{mode}-r{rank}-{text(size)}", rank, layer, train)
    module = Attention(AttentionBlock(rank - 2, f_int=hidden, f_g=guide, f_l=channels))
    draw_weights(draw, module)
    for key, parameter in module.named_parameters():
        if attention_path(key.removeprefix("block.")) is None:
            torch.nn.init.zeros_(parameter)
    maps = [draw.map(channels, size, batch), draw.map(guide, size, batch)]
    return record_torch(case, module, maps, lambda key: attention_path(key.removeprefix("block.")))


def recipes() -> list[Recipe]:
    """Both gates; attention in all ranks, in training and not."""
    found: list[Recipe] = [partial(of_scse, reduction=reduction) for reduction in (1, 2, 2, 4)]
    for rank, train in product(RANKS, (False, True)):
        found.append(partial(of_attention, train=train, rank=rank))
    return found
