"""Residual connections: drawn ones, and the blocks of torchvision and timm."""

from functools import partial
from itertools import product
from typing import Any

from timm.layers import BatchNormAct2d, create_conv2d
from timm.models import resnet as timm_resnet
from timm.models import resnetv2 as timm_resnetv2
from torch import nn
from torchvision.models import resnet

from .. import configs
from ..case import Case, Paths, run_torch
from ..draw import Draw, PerAxis, text
from ..torch_layers import SkipAdd
from ..writer import Recipe

RANKS = (3, 4, 5)
NORMS = ("batch-train", "batch-eval", "group", "instance", "no_norm")
SHORTCUTS = {"identity": "Conv", "conv": "Conv", "pooled_conv": "PooledConv"}


def norm_of(kind: str) -> configs.Config | None:
    """The norm of block and projection."""
    return {
        "batch-train": configs.batch(),
        "batch-eval": configs.batch(),
        "group": configs.group(2),
        "instance": configs.instance(True),
        "no_norm": None,
    }[kind]


def block_of(
    kind: str,
    channels: list[int],
    stride: PerAxis,
    norm: configs.Config | None,
    padding: Any = "Same",
    middle: int | None = None,
) -> list[configs.Config]:
    """Two 3x3 convolutions, or one between two of 1x1; the last without activation."""
    inputs, outputs = channels
    middle = outputs if middle is None else middle
    shaped = configs.style(padding, norm)
    if kind == "basic":
        return [
            configs.conv_norm_act([inputs, middle], 3, shaped, stride),
            configs.conv_norm_act([middle, outputs], 3, shaped | {"activation": None}),
        ]
    point = configs.style("Valid", norm)
    return [
        configs.conv_norm_act([inputs, middle], 1, point),
        configs.conv_norm_act([middle, middle], 3, shaped, stride),
        configs.conv_norm_act([middle, outputs], 1, point | {"activation": None}),
    ]


def draw_map_size(draw: Draw, rank: int) -> list[int]:
    """A size at which a batch of two has enough values after a stride of 2."""
    return draw.size(rank, 8 if rank == 3 else 4, 13 if rank == 3 else 9 if rank == 4 else 5)


def of_drawn(draw: Draw, shortcut: str, block: str, norm_kind: str, rank: int) -> Case:
    """`y = act(scale * block(x) + shortcut(x))` in PyTorch"""
    inputs = 2
    outputs, stride = inputs, 1
    if shortcut != "identity":
        outputs = draw.choice([2, 4])
        stride = draw.choice([2, [2] + [draw.integer(1, 2) for _ in range(rank - 3)]])
        if shortcut == "conv" and outputs != inputs and draw.chance(0.3):
            stride = 1
    norm = norm_of(norm_kind)
    act_name = draw.choice(["relu", "relu", "linear", "leaky_relu"])
    scale = draw.choice([None, 0.5])
    config = configs.skip_add(
        [inputs, outputs],
        stride,
        SHORTCUTS[shortcut],
        norm,
        configs.ACTIVATIONS[act_name],
        scale,
    )
    layers = block_of(block, [inputs, outputs], stride, norm, middle=2)
    size = draw_map_size(draw, rank)
    parts = [shortcut, block, norm_kind, act_name] + (["layer_scale"] if scale else [])
    parts += [f"s{text(stride)}", f"r{rank}", text(size)]
    train = norm_kind == "batch-train"
    layer = {"SkipAdd": {"config": config, "block": layers}}
    case = Case("-".join(parts), rank, layer, train)
    x = draw.map(inputs, size, 2 if train else None)
    return run_torch(draw, case, SkipAdd(config, layers, rank), [x])


def of_options(
    draw: Draw, shortcut: str, scale: str, norm_kind: str, rank: int, pre_activated: bool
) -> Case:
    """Zero channels, one factor for all channels, and a norm and an activation before the block"""
    inputs = 2
    outputs, stride = inputs, 1
    if shortcut != "identity":
        outputs = draw.choice([2, 4])
        stride = draw.choice([2, [2] + [draw.integer(1, 2) for _ in range(rank - 3)]])
        if outputs != inputs and draw.chance(0.3):
            stride = 1
    norm = norm_of(norm_kind)
    act_name = "linear" if pre_activated else draw.choice(["relu", "linear"])
    config = configs.skip_add(
        [inputs, outputs],
        stride,
        {"pad": "Pad"}.get(shortcut) or SHORTCUTS[shortcut],
        None if pre_activated else norm,
        configs.ACTIVATIONS[act_name],
        {"none": None, "layer_scale": 0.5, "skip_init": {"scalar": 0.0}}[scale],
        {"norm": norm, "activation": "Relu"} if pre_activated else None,
    )
    layers = block_of("basic", [inputs, outputs], stride, norm, middle=2)
    if pre_activated:
        plain = configs.style(bias=False, activation=None)
        after = configs.style(norm=norm, order="NormActConv", bias=False)
        layers = [
            configs.conv_norm_act([inputs, 2], 3, plain, stride),
            configs.conv_norm_act([2, outputs], 3, after),
        ]
    size = draw_map_size(draw, rank)
    parts = [shortcut, norm_kind, act_name] + ([] if scale == "none" else [scale])
    parts += ["pre_activated"] if pre_activated else []
    parts += [f"s{text(stride)}", f"r{rank}", text(size)]
    train = norm_kind == "batch-train"
    layer = {"SkipAdd": {"config": config, "block": layers}}
    case = Case("-".join(parts), rank, layer, train)
    x = draw.map(inputs, size, 2 if train else None)
    return run_torch(draw, case, SkipAdd(config, layers, rank), [x])


def pre_activated_path(key: str) -> str:
    """From the keys of timm's `PreActBasic` and `PreActBottleneck` to the crate's paths."""
    part, leaf = key.rsplit(".", 1)
    if part == "norm1":
        return f"pre_activation.norm.{leaf}"
    if part.startswith("downsample"):
        return f"shortcut.1.{part.split('.')[1]}.{leaf}"
    return f"block.{int(part[-1]) - 1}.{part[:-1]}.{leaf}"


def of_timm_pre_activated(draw: Draw, block: str, stride: int, train: bool) -> Case:
    """timm's `PreActBasic` and `PreActBottleneck`, with batch norm and plain convolutions"""
    kind = {"basic": timm_resnetv2.PreActBasic, "bottleneck": timm_resnetv2.PreActBottleneck}[block]
    outputs = 8 if block == "bottleneck" else draw.integer(2, 3)
    inputs = outputs if stride == 1 and draw.chance() else draw.integer(1, 3)
    is_projected = stride > 1 or inputs != outputs
    module = kind(
        inputs,
        outputs,
        stride=stride,
        bottle_ratio=1.0 if block == "basic" else 0.25,
        conv_layer=create_conv2d,
        norm_layer=BatchNormAct2d,
        proj_layer=timm_resnetv2.DownsampleConv if is_projected else None,
    )
    middle = module.conv1.out_channels
    config = configs.skip_add(
        [inputs, outputs],
        stride,
        activation=None,
        pre_activation={"norm": configs.batch(), "activation": "Relu"},
    )
    point = configs.style("Valid", configs.batch(), order="NormActConv", bias=False)
    shaped = point | {"padding": configs.explicit(1)}
    bare = {"norm": None, "activation": None}
    if block == "basic":
        layers = [
            configs.conv_norm_act([inputs, middle], 3, shaped | bare, stride),
            configs.conv_norm_act([middle, outputs], 3, shaped),
        ]
    else:
        layers = [
            configs.conv_norm_act([inputs, middle], 1, point | bare),
            configs.conv_norm_act([middle, middle], 3, shaped, stride),
            configs.conv_norm_act([middle, outputs], 1, point),
        ]
    size = draw_map_size(draw, 4)
    mode = "train" if train else "eval"
    layer = {"SkipAdd": {"config": config, "block": layers}}
    case = Case(f"timm-{block}-pre_activated-s{stride}-{mode}-r4-{text(size)}", 4, layer, train)
    x = draw.map(inputs, size, 2 if train else None)
    return run_torch(draw, case, module, [x], pre_activated_path)


def resnet_paths(pooled: bool) -> Paths:
    """From the keys of a ResNet block to the crate's paths."""

    def path(key: str) -> str:
        part, leaf = key.rsplit(".", 1)
        if part.startswith("downsample"):
            index = int(part.removeprefix("downsample.")) - pooled
            return f"shortcut.1.{('conv', 'norm')[index]}.{leaf}"
        kind = {"conv": "conv", "bn": "norm"}[part[:-1]]
        return f"block.{int(part[-1]) - 1}.{kind}.{leaf}"

    return path


def resnet_case(
    draw: Draw,
    name: str,
    module: nn.Module,
    block: str,
    channels: list[int],
    stride: int,
    train: bool,
    pooled: bool = False,
) -> Case:
    """A block of a ResNet, which pads by 1 at each end."""
    shortcut = "PooledConv" if pooled else "Conv"
    config = configs.skip_add(channels, stride, shortcut, configs.batch())
    middle = channels[1] if block == "basic" else channels[1] // 4
    padding = configs.explicit(1)
    layers = block_of(block, channels, stride, configs.batch(), padding, middle)
    size = draw_map_size(draw, 4)
    mode = "train" if train else "eval"
    layer = {"SkipAdd": {"config": config, "block": layers}}
    case = Case(f"{name}-s{stride}-{mode}-r4-{text(size)}", 4, layer, train)
    x = draw.map(channels[0], size, 2 if train else None)
    return run_torch(draw, case, module, [x], resnet_paths(pooled))


def of_torchvision(draw: Draw, block: str, stride: int, train: bool) -> Case:
    """`torchvision.models.resnet.BasicBlock` and `Bottleneck`"""
    kind = {"basic": resnet.BasicBlock, "bottleneck": resnet.Bottleneck}[block]
    planes = draw.integer(1, 2) if block == "bottleneck" else draw.integer(2, 3)
    outputs = planes * kind.expansion
    inputs = outputs if stride == 1 and draw.chance() else draw.integer(1, 3)
    downsample = None
    if stride > 1 or inputs != outputs:
        downsample = nn.Sequential(resnet.conv1x1(inputs, outputs, stride), nn.BatchNorm2d(outputs))
    module = kind(inputs, planes, stride, downsample)
    name = f"torchvision-{block}"
    return resnet_case(draw, name, module, block, [inputs, outputs], stride, train)


def of_timm(draw: Draw, block: str, train: bool) -> Case:
    """`timm.models.resnet.BasicBlock` and `Bottleneck` with `downsample_avg`"""
    kind = {"basic": timm_resnet.BasicBlock, "bottleneck": timm_resnet.Bottleneck}[block]
    planes = draw.integer(1, 2) if block == "bottleneck" else draw.integer(2, 3)
    inputs, outputs = draw.integer(1, 3), planes * kind.expansion
    downsample = timm_resnet.downsample_avg(inputs, outputs, kernel_size=1, stride=2)
    module = kind(inputs, planes, 2, downsample)
    name = f"timm-{block}-pooled_conv"
    return resnet_case(draw, name, module, block, [inputs, outputs], 2, train, pooled=True)


def recipes() -> list[Recipe]:
    """All shortcuts, blocks and norms, in alternating ranks; the blocks of ResNets."""
    found: list[Recipe] = []
    for n, (shortcut, block, norm) in enumerate(product(SHORTCUTS, ("basic", "bottleneck"), NORMS)):
        rank = RANKS[(n + n // 5) % 3]
        found.append(partial(of_drawn, shortcut=shortcut, block=block, norm_kind=norm, rank=rank))
    for block, train in product(("basic", "bottleneck"), (False, True)):
        found += [
            partial(of_torchvision, block=block, stride=stride, train=train) for stride in (1, 2)
        ]
        found.append(partial(of_timm, block=block, train=train))
    return found


def option_recipes() -> list[Recipe]:
    """Zero channels, one factor, pre-activation; the pre-activated blocks of timm."""
    found: list[Recipe] = []
    options = (
        ("pad", "none", "batch-train", False),
        ("pad", "layer_scale", "no_norm", False),
        ("pad", "skip_init", "batch-eval", True),
        ("identity", "skip_init", "batch-train", False),
        ("identity", "none", "batch-train", True),
        ("identity", "skip_init", "group", True),
        ("conv", "skip_init", "batch-eval", False),
        ("conv", "none", "batch-train", True),
        ("conv", "layer_scale", "instance", True),
        ("pooled_conv", "none", "batch-eval", True),
    )
    names = ("shortcut", "scale", "norm_kind", "pre_activated")
    for n, values in enumerate(options):
        chosen = dict(zip(names, values, strict=True))
        found.append(partial(of_options, rank=RANKS[n % 3], **chosen))
    for block, stride, train in product(("basic", "bottleneck"), (1, 2), (False, True)):
        found.append(partial(of_timm_pre_activated, block=block, stride=stride, train=train))
    return found
