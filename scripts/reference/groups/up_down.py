"""Enlarging and shrinking layers."""

from functools import partial
from itertools import product

import keras
import tensorflow as tf
import torch
from timm.layers import BlurPool2d

from .. import configs
from ..case import Case, run_torch
from ..draw import Draw, PerAxis, each, text
from ..functional import pixel_unshuffle, pool
from ..keras_layers import CONV, KerasRun
from ..torch_layers import Up
from ..writer import Recipe

RANKS = (3, 4, 5)
SMALL = {3: 7, 4: 5, 5: 3}
BLOCK_ORDERS = {"channel_major": "ChannelMajor", "block_major": "BlockMajor"}


def up_case(
    draw: Draw, name: str, rank: int, up: configs.Config, size: list[int], to: list[int] | None
) -> Case:
    """A case of `Up` in PyTorch."""
    channels = [draw.integer(1, 3), draw.integer(1, 2)]
    parts = [name, f"r{rank}", text(size)] + ([] if to is None else ["to", text(to)])
    layer = {"Up": {"up": up, "channels": channels, "size": to}}
    module = Up(up, channels, rank)
    inputs = [draw.map(channels[0], size)]
    case = Case("-".join(parts), rank, layer)
    if to is None:
        return run_torch(draw, case, module, inputs)
    module.forward = partial(module.forward, target=to)
    return run_torch(draw, case, module, inputs)


def of_resize(draw: Draw, mode: str, project: bool, sized: bool, rank: int) -> Case:
    """Interpolation, with and without a 1x1 convolution before it."""
    size = draw.size(rank, 2, SMALL[rank])
    scale = draw.per_axis(rank, 2, 3 if rank < 5 else 2)
    to = [n + draw.integer(0, 5) for n in size] if sized else None
    up = configs.up_resize(configs.RESIZE_MODES[mode], scale, project)
    name = f"up-resize-{mode}" + ("-project" if project else "")
    return up_case(draw, name, rank, up, size, to)


def of_conv_transpose(draw: Draw, padding: str, sized: bool, rank: int) -> Case:
    """A transposed convolution, to its natural size or solved for another."""
    size = draw.size(rank, 2, SMALL[rank])
    stride = draw.integer(2, 3 if rank < 5 else 2)
    kernel = draw.integer(stride, stride + 2)
    to = [n * stride + draw.integer(-1, 1) for n in size] if sized else None
    up = configs.up_conv_transpose(kernel, stride, padding)
    name = f"up-conv_transpose-{padding.lower()}-k{kernel}-s{stride}"
    return up_case(draw, name, rank, up, size, to)


def shuffle_name(scale: PerAxis, blur: bool, order: str) -> str:
    """The name of a pixel shuffle."""
    return f"up-pixel_shuffle-{order}-s{text(scale)}" + ("-blur" if blur else "")


def of_shuffle(draw: Draw, order: str, blur: bool, rank: int) -> Case:
    """A 1x1 convolution and `torch.nn.functional.pixel_shuffle`"""
    scale = draw.per_axis(rank, 2, 3 if rank < 5 else 2)
    size = draw.size(rank, 2, SMALL[rank] - 1)
    up = configs.up_pixel_shuffle(scale, blur, BLOCK_ORDERS[order])
    return up_case(draw, shuffle_name(scale, blur, order), rank, up, size, None)


def of_depth_to_space(draw: Draw, scale: int, blur: bool) -> Case:
    """A 1x1 convolution of Keras and `tf.nn.depth_to_space`"""
    size = draw.size(4, 2, 4)
    channels = [draw.integer(1, 3), draw.integer(1, 2)]
    up = configs.up_pixel_shuffle(scale, blur, "BlockMajor")
    name = f"keras-{shuffle_name(scale, blur, 'block_major')}-r4-{text(size)}"
    case = Case(name, 4, {"Up": {"up": up, "channels": channels, "size": None}})
    layer = keras.layers.Conv2D(channels[1] * scale**2, 1)

    def call(x: tf.Tensor) -> tf.Tensor:
        y = tf.nn.depth_to_space(layer(x), scale)
        if not blur:
            return y
        # TensorFlow's SYMMETRIC repeats the edge.
        padded = tf.pad(y, [[0, 0], [1, 0], [1, 0], [0, 0]], mode="SYMMETRIC")
        return tf.nn.avg_pool2d(padded, 2, 1, "VALID")

    return KerasRun(draw, call, {"layer": layer}).record(case, [draw.map(channels[0], size)])


def down_case(name: str, rank: int, down: configs.Config, channels: int, size: list[int]) -> Case:
    """A case of `Down` without its tensors."""
    layer = {"Down": {"down": down, "channels": channels}}
    return Case(f"down-{name}-r{rank}-{text(size)}", rank, layer)


def of_pool(draw: Draw, kind: str, rank: int) -> Case:
    """A pool by 2."""
    size, channels = draw.size(rank), draw.integer(1, 2)
    config = configs.pool(kind, 2)
    case = down_case(f"pool-{kind.lower()}", rank, {"Pool": config}, channels, size)
    return run_torch(draw, case, lambda x: pool(x, config), [draw.map(channels, size)])


def of_conv(draw: Draw, rank: int) -> Case:
    """`keras.layers.Conv2D(channels, 3, strides=2, padding="same")`"""
    kernel, stride = draw.choice([(3, 2), (3, 2), (2, 2), (4, 2), (3, 3)])
    size, channels = draw.size(rank), draw.integer(1, 2)
    down = {"Conv": {"kernel_size": kernel, "stride": stride}}
    case = down_case(f"conv-k{kernel}-s{stride}", rank, down, channels, size)
    case.name = f"keras-{case.name}"
    layer = CONV[rank](channels, kernel, strides=stride, padding="same")
    return KerasRun(draw, layer, {"conv": layer}).record(case, [draw.map(channels, size)])


def of_blur(draw: Draw, taps: int, stride: int) -> Case:
    """`timm.layers.BlurPool2d`"""
    padding = (stride - 1 + taps - 1) // 2
    size, channels = draw.size(4, max(3, padding + 1)), draw.integer(1, 2)
    down = {"Blur": {"taps": taps, "stride": stride}}
    case = down_case(f"blur-taps{taps}-s{stride}", 4, down, channels, size)
    layer = BlurPool2d(channels, filt_size=taps, stride=stride)
    return run_torch(draw, case, layer, [draw.map(channels, size)])


def of_unshuffle(draw: Draw, order: str, rank: int) -> Case:
    """`torch.nn.functional.pixel_unshuffle`"""
    scale = draw.per_axis(rank, 2, 3 if rank < 5 else 2)
    size = [draw.integer(1, 3 if rank < 5 else 2) * s for s in each(scale, rank)]
    channels = draw.integer(1, 2)
    down = {"PixelUnshuffle": {"scale": scale, "order": BLOCK_ORDERS[order]}}
    case = down_case(f"pixel_unshuffle-{order}-s{text(scale)}", rank, down, channels, size)

    def call(x: torch.Tensor) -> torch.Tensor:
        return pixel_unshuffle(x, scale, BLOCK_ORDERS[order])

    return run_torch(draw, case, call, [draw.map(channels, size)])


def of_space_to_depth(draw: Draw, scale: int) -> Case:
    """`tf.nn.space_to_depth`"""
    size, channels = [draw.integer(1, 3) * scale for _ in range(2)], draw.integer(1, 2)
    down = {"PixelUnshuffle": {"scale": scale, "order": "BlockMajor"}}
    case = down_case(f"pixel_unshuffle-block_major-s{scale}", 4, down, channels, size)
    case.name = f"keras-{case.name}"
    run = KerasRun(draw, lambda x: tf.nn.space_to_depth(x, scale))
    return run.record(case, [draw.map(channels, size)])


def recipes() -> list[Recipe]:
    """All layers."""
    found: list[Recipe] = []
    for rank, project, sized in product(RANKS, (False, True), (False, True)):
        mode = ("nearest", "linear-half_pixel")[(rank + project + sized) % 2]
        found.append(partial(of_resize, mode=mode, project=project, sized=sized, rank=rank))
    found.append(partial(of_resize, mode="cubic-half_pixel", project=True, sized=True, rank=4))
    for rank, padding in product(RANKS, ("Solved", "Same", "Valid")):
        found.append(partial(of_conv_transpose, padding=padding, sized=False, rank=rank))
    for rank in RANKS:
        found.append(partial(of_conv_transpose, padding="Solved", sized=True, rank=rank))
    for rank, order in product(RANKS, BLOCK_ORDERS):
        found += [partial(of_shuffle, order=order, blur=blur, rank=rank) for blur in (False, True)]
        found.append(partial(of_unshuffle, order=order, rank=rank))
    for scale in (2, 3):
        found += [partial(of_depth_to_space, scale=scale, blur=blur) for blur in (False, True)]
        found.append(partial(of_space_to_depth, scale=scale))
    for kind, rank in (("Max", 3), ("Max", 5), ("Avg", 4)):
        found.append(partial(of_pool, kind=kind, rank=rank))
    found += [partial(of_conv, rank=rank) for rank in RANKS]
    for taps, stride in ((3, 2), (3, 1), (2, 2), (4, 2), (5, 2), (3, 3), (4, 3)):
        found.append(partial(of_blur, taps=taps, stride=stride))
    return found
