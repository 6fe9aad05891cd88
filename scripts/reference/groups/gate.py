"""Gates: of segmentation_models.pytorch, MONAI, torchvision and timm."""

from functools import partial
from itertools import product

import torch
from monai.networks.nets.attentionunet import AttentionBlock
from segmentation_models_pytorch.base.modules import SCSEModule
from timm.layers import EcaModule
from timm.layers.cbam import CbamModule
from torchvision.ops import SqueezeExcitation

from ..case import Case, draw_weights, record_torch, run_torch
from ..draw import Draw, text
from ..torch_layers import CONV
from ..writer import Recipe

RANKS = (3, 4, 5)
SCSE_PARTS = {"cSE.1": "squeeze.conv", "cSE.3": "excite.conv", "sSE.0": "spatial.conv"}
SE_PARTS = {"fc1": "squeeze.conv", "fc2": "excite.conv"}
CBAM_PARTS = {
    "channel.fc1": "squeeze.conv",
    "channel.fc2": "excite.conv",
    "spatial.conv.conv": "spatial.conv",
    "spatial.conv.bn": "spatial.norm",
}
ATTENTION_PARTS = {"W_x": "of_map", "W_g": "of_guide", "psi": "weight"}


def renamed(key: str, parts: dict[str, str]) -> str:
    """From `cSE.1.weight` to `squeeze.conv.weight`."""
    part, leaf = key.rsplit(".", 1)
    return f"{parts[part]}.{leaf}"


def of_channels(draw: Draw, kind: str, reduction: int) -> Case:
    """A gate that looks at no guide"""
    channels = reduction * draw.integer(1, 2) + draw.integer(0, reduction - 1)
    guide = draw.integer(1, 2)
    size, batch = draw.size(4, high=7), draw.batch()
    layer = {
        "Gate": {
            "gate": {kind: {"reduction": reduction}},
            "channels": channels,
            "guide_channels": guide,
        }
    }
    if kind == "Scse":
        source, parts, module = "smp-scse", SCSE_PARTS, SCSEModule(channels, reduction)
    else:
        source, parts = "torchvision-se", SE_PARTS
        module = SqueezeExcitation(channels, channels // reduction)
    case = Case(f"{source}-c{channels}-by{reduction}-r4-{text(size)}", 4, layer)
    maps = [draw.map(channels, size, batch)]
    case = run_torch(draw, case, module, maps, partial(renamed, parts=parts))
    case.tensors["x1"] = draw.map(guide, size, batch)
    return case


def of_eca(draw: Draw, by_rule: bool) -> Case:
    """`EcaModule` of timm, whose kernel follows from the channels or is given"""
    channels = draw.choice([3, 16, 130]) if by_rule else draw.integer(2, 7)
    kernel_size = None if by_rule else draw.choice([1, 3, 5, 7])
    guide = draw.integer(1, 2)
    size, batch = draw.size(4, high=4 if by_rule else 7), draw.batch()
    layer = {
        "Gate": {
            "gate": {"Eca": {} if by_rule else {"kernel_size": kernel_size}},
            "channels": channels,
            "guide_channels": guide,
        }
    }
    name = f"timm-eca-c{channels}-k{'rule' if by_rule else kernel_size}-r4-{text(size)}"
    module = EcaModule(channels) if by_rule else EcaModule(kernel_size=kernel_size)
    maps = [draw.map(channels, size, batch)]
    paths = {"conv.weight": "conv.conv.weight"}
    case = run_torch(draw, Case(name, 4, layer), module, maps, paths.__getitem__)
    case.tensors["x1"] = draw.map(guide, size, batch)
    return case


def of_cbam(draw: Draw, train: bool, bias: bool) -> Case:
    """`CbamModule` of timm"""
    reduction = draw.choice([2, 4])
    channels = reduction * draw.integer(1, 3)
    kernel_size = draw.choice([3, 7])
    guide = draw.integer(1, 2)
    size, batch = draw.size(4, high=7), 2 if train else draw.batch()
    options = {"reduction": reduction, "bias": bias, "kernel_size": kernel_size}
    layer = {"Gate": {"gate": {"Cbam": options}, "channels": channels, "guide_channels": guide}}
    mode = "train" if train else "eval"
    name = f"timm-cbam-{mode}-c{channels}-by{reduction}-k{kernel_size}-r4-{text(size)}"
    module = CbamModule(
        channels, rd_ratio=1 / reduction, spatial_kernel_size=kernel_size, mlp_bias=bias
    )
    maps = [draw.map(channels, size, batch)]
    paths = partial(renamed, parts=CBAM_PARTS)
    case = run_torch(draw, Case(name, 4, layer, train), module, maps, paths)
    case.tensors["x1"] = draw.map(guide, size, batch)
    return case


def attention_path(key: str, bias: bool) -> str | None:
    """From `W_x.0.conv.weight` to `of_map.conv.weight`. Biases that are 0 are left out."""
    part, index, *_, leaf = key.split(".")
    if index == "0":
        return None if leaf == "bias" and not bias else f"{ATTENTION_PARTS[part]}.conv.{leaf}"
    return f"{ATTENTION_PARTS[part]}.norm.{leaf}"


class Attention(torch.nn.Module):
    """MONAI's block with the map before its guide."""

    def __init__(self, block: AttentionBlock) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: torch.Tensor, guide: torch.Tensor) -> torch.Tensor:
        """Weighs `x`."""
        return self.block(guide, x)


class ResizedAttention(Attention):
    """The same, with a guide of another size: both are added at the size of the projected map."""

    def forward(self, x: torch.Tensor, guide: torch.Tensor) -> torch.Tensor:
        """Weighs `x`."""
        of_map = self.block.W_x(x)
        of_guide = linear(self.block.W_g(guide), of_map.shape[2:])
        weight = self.block.psi(self.block.relu(of_map + of_guide))
        return x * linear(weight, x.shape[2:])


def linear(x: torch.Tensor, size: torch.Size) -> torch.Tensor:
    """A map of another size."""
    mode = {3: "linear", 4: "bilinear", 5: "trilinear"}[x.dim()]
    return torch.nn.functional.interpolate(x, size, mode=mode)


class Padded(torch.nn.Module):
    """Zeros around a map."""

    def __init__(self, pads: list[int]) -> None:
        super().__init__()
        self.pads = pads

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The larger map."""
        return torch.nn.functional.pad(x, self.pads)


def of_attention_size(draw: Draw, stride: int | None, rank: int) -> Case:
    """The parts of MONAI's block, with a guide of another size"""
    channels, guide, hidden = (draw.integer(1, 3) for _ in range(3))
    size, batch = draw.size(rank, low=4), draw.batch()
    guide_size = [n // 2 for n in size]
    asked = {"OfMap": {}} if stride is None else {"OfGuide": {"stride": stride}}
    options = {"hidden_channels": hidden, "bias": True, "size": asked}
    gate = {"Attention": options}
    layer = {"Gate": {"gate": gate, "channels": channels, "guide_channels": guide}}
    how = "of-map" if stride is None else f"of-guide-s{stride}"
    case = Case(f"monai-attention-{how}-r{rank}-{text(size)}", rank, layer)
    block = AttentionBlock(rank - 2, f_int=hidden, f_g=guide, f_l=channels)
    if stride is not None:
        # (`same` padding of this crate: what lacks is added at the end.)
        lacking = [-n % stride for n in size]
        pads = [pad for n in reversed(lacking) for pad in (n // 2, n - n // 2)]
        conv = CONV[rank](channels, hidden, stride, stride)
        block.W_x[0].conv = torch.nn.Sequential(Padded(pads), conv)
    maps = [draw.map(channels, size, batch), draw.map(guide, guide_size, batch)]
    module = ResizedAttention(block)

    def path(key: str) -> str | None:
        return attention_path(key.removeprefix("block."), bias=True)

    return run_torch(draw, case, module, maps, path)


def of_attention(draw: Draw, train: bool, rank: int, bias: bool = False) -> Case:
    """`AttentionBlock` of MONAI, with or without the biases before its norms"""
    channels, guide, hidden = (draw.integer(1, 3) for _ in range(3))
    size, batch = draw.size(rank), 2 if train else draw.batch()
    layer = {
        "Gate": {
            "gate": {"Attention": {"hidden_channels": hidden} | ({"bias": True} if bias else {})},
            "channels": channels,
            "guide_channels": guide,
        }
    }
    mode = "train" if train else "eval"
    case = Case(f"monai-attention-{'bias-' * bias}{mode}-r{rank}-{text(size)}", rank, layer, train)
    module = Attention(AttentionBlock(rank - 2, f_int=hidden, f_g=guide, f_l=channels))

    def path(key: str) -> str | None:
        return attention_path(key.removeprefix("block."), bias)

    draw_weights(draw, module)
    for key, parameter in module.named_parameters():
        if path(key) is None:
            torch.nn.init.zeros_(parameter)
    maps = [draw.map(channels, size, batch), draw.map(guide, size, batch)]
    return record_torch(case, module, maps, path)


def recipes() -> list[Recipe]:
    """All gates; attention in all ranks, in training and not."""
    reductions = (1, 2, 2, 4)
    found: list[Recipe] = [partial(of_channels, kind="Scse", reduction=r) for r in reductions]
    for rank, train in product(RANKS, (False, True)):
        found.append(partial(of_attention, train=train, rank=rank))
    # (What is new comes last: the draws follow from the place.)
    found += [partial(of_channels, kind="Se", reduction=r) for r in reductions]
    found += [partial(of_eca, by_rule=by_rule) for by_rule in (True, True, False, False)]
    found += [partial(of_cbam, train=t, bias=b) for t, b in product((False, True), repeat=2)]
    for rank in RANKS:
        found.append(partial(of_attention, train=rank == 4, rank=rank, bias=True))
        found.append(partial(of_attention_size, stride=None, rank=rank))
        found.append(partial(of_attention_size, stride=2, rank=rank))
    return found
