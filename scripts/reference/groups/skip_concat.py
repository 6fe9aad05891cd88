"""What a block makes of a map beside the map: drawn ones, and torchvision's dense layer."""

from functools import partial
from itertools import product
from typing import Any

from torchvision.models.densenet import _DenseBlock

from .. import configs
from ..case import Case, run_torch
from ..draw import Draw, text
from ..torch_layers import SkipConcat
from ..writer import Recipe

LINEAR = {"Resize": {"Linear": "HalfPixel"}}
# The fit, the size that the maps meet at, and the stride of the block.
MEETINGS: dict[str, tuple[Any, Any, int]] = {
    "exact": ("Exact", "Deep", 1),
    "crop-deep": ({"Crop": {"anchor": "Center"}}, "Deep", 2),
    "pool_avg-deep": ({"Pool": "Avg"}, "Deep", 2),
    "pool_max-deep": ({"Pool": "Max"}, "Deep", 2),
    "resize-deep": (LINEAR, "Deep", 2),
    "resize-skip": (LINEAR, "Skip", 2),
    "resize-smallest": ({"Resize": "Area"}, "Smallest", 2),
    "resize-size": (LINEAR, "Size", 2),
    "pad-largest": ({"Pad": {"mode": "Edge", "anchor": "Start"}}, "Largest", 2),
    "pad_or_crop-size": ({"PadOrCrop": {"mode": "Zero", "anchor": "End"}}, "Size", 2),
}


def of_drawn(draw: Draw, meeting: str, order: str, rank: int) -> Case:
    """A block of one or two convolutions in PyTorch"""
    fit, target, stride = MEETINGS[meeting]
    size = draw.size(rank, 8 if rank == 3 else 4, 13 if rank == 3 else 9 if rank == 4 else 5)
    if target == "Size":
        target = {"Size": [max(2, n + draw.integer(-3, 2)) for n in size]}
    norm_name, norm = draw.choice(
        [("batch", configs.batch()), ("instance", configs.instance(True)), ("no_norm", None)]
    )
    train = norm_name == "batch" and draw.chance()
    act_name = draw.choice(["relu", "leaky_relu", "gelu"])
    style = configs.style(norm=norm, activation=configs.ACTIVATIONS[act_name])
    channels, growth = draw.integer(1, 3), draw.integer(1, 2)
    block = [configs.conv_norm_act([channels, growth], 3, style, stride)]
    if draw.chance():
        block.append(configs.conv_norm_act([growth, growth], 3, style))
    config = configs.skip_concat(fit, target, configs.MERGE_ORDERS[order])
    mode = "train" if train else "eval"
    name = f"{order}-{meeting}-{norm_name}-{mode}-{act_name}-of{len(block)}-r{rank}-{text(size)}"
    case = Case(name, rank, {"SkipConcat": {"config": config, "block": block}}, train)
    x = draw.map(channels, size, 2 if train else None)
    return run_torch(draw, case, SkipConcat(config, block, rank), [x])


def dense_path(key: str) -> str:
    """From `denselayer1.norm2.weight` to `block.1.norm.weight`."""
    _, part, leaf = key.split(".")
    return f"block.{int(part[-1]) - 1}.{part[:-1]}.{leaf}"


def of_torchvision(draw: Draw, train: bool) -> Case:
    """`torchvision.models.densenet._DenseBlock` of one layer: `[x, new]`"""
    channels, growth, bottleneck = draw.integer(1, 3), draw.integer(1, 2), 2
    middle = bottleneck * growth
    style = configs.style("Same", configs.batch(), order="NormActConv")
    block = [
        configs.conv_norm_act([channels, middle], 1, style),
        configs.conv_norm_act([middle, growth], 3, style),
    ]
    config = configs.skip_concat(order="SkipFirst")
    size = draw.size(4, 4)
    mode = "train" if train else "eval"
    name = f"torchvision-dense_layer-skip_first-norm_act_conv-{mode}-r4-{text(size)}"
    case = Case(name, 4, {"SkipConcat": {"config": config, "block": block}}, train)
    module = _DenseBlock(1, channels, bottleneck, growth, drop_rate=0.0)
    x = draw.map(channels, size, 2 if train else None)
    return run_torch(draw, case, module, [x], dense_path)


def recipes() -> list[Recipe]:
    """All meetings in both orders and in alternating ranks."""
    found: list[Recipe] = []
    for n, (meeting, order) in enumerate(product(MEETINGS, configs.MERGE_ORDERS)):
        rank = (3, 4, 5)[(n + n // 3) % 3]
        found.append(partial(of_drawn, meeting=meeting, order=order, rank=rank))
    found += [partial(of_torchvision, train=train) for train in (False, True)] * 2
    return found
