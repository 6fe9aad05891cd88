"""Transposed convolutions: PyTorch's, whose paddings the crate solves for, and Keras's."""

from functools import partial
from itertools import product

from .. import configs
from ..case import Case, run_torch
from ..draw import SIZES, Draw, text
from ..keras_layers import CONV_TRANSPOSE as KERAS_CONV_TRANSPOSE
from ..keras_layers import KerasRun
from ..torch_layers import CONV_TRANSPOSE
from ..writer import Recipe

RANKS = (3, 4, 5)
LARGEST_INPUT = {3: 8, 4: 5, 5: 3}
# How kernel and stride of the Keras cases are drawn, by what is special about them.
KERAS_WINDOWS = {
    "kernel_below_stride": [(1, 2), (1, 3), (2, 3)],
    "multiple": [(2, 2), (4, 2), (3, 3)],
    "odd_cut": [(3, 2), (4, 3), (5, 2)],
    "stride1": [(2, 1), (3, 1)],
}


def draw_axis(draw: Draw, cut: str) -> tuple[int, int, int, int]:
    """Kernel, stride, padding and output padding of one axis, such that the crate solves for them.

    Of `2 padding - output_padding` positions to cut, `padding` is the larger half.
    """
    if cut == "grown":  # nothing is cut, and the output is lengthened
        stride = draw.integer(2, 3)
        return draw.integer(1, 4), stride, 0, draw.integer(1, stride - 1)
    stride = draw.integer(1 if cut == "even_cut" else 2, 3)
    kernel = draw.integer(max(stride, 2), 2 * stride + 1)
    if cut == "odd_cut":
        return kernel + 1, stride, draw.integer(1, max(kernel // 2, 1)), 1
    return kernel, stride, draw.integer(0, (kernel - 1) // 2), 0


def torch_case(
    draw: Draw, name: str, rank: int, size: list[int], axes: list[tuple[int, int, int, int]]
) -> Case:
    """A case of `torch.nn.ConvTranspose1d` to `ConvTranspose3d` with these numbers."""
    kernel, stride, padding, output_padding = (list(numbers) for numbers in zip(*axes, strict=True))
    channels = [draw.integer(1, 3), draw.integer(1, 3)]
    config = configs.conv_transpose(
        channels, draw.written(kernel), draw.written(stride), bias=draw.chance(0.8)
    )
    layer = CONV_TRANSPOSE[rank](
        *channels,
        tuple(kernel),
        stride=tuple(stride),
        padding=tuple(padding),
        output_padding=tuple(output_padding),
        bias=config["bias"],
    )
    target = [
        (n - 1) * s - 2 * p + k + extra for n, (k, s, p, extra) in zip(size, axes, strict=True)
    ]
    natural = target == [n * s for n, s in zip(size, stride, strict=True)]
    wanted = None if natural and draw.chance(0.8) else target
    parts = [name, f"k{text(kernel)}", f"s{text(stride)}", f"p{text(padding)}"]
    parts += [f"op{text(output_padding)}", f"r{rank}", f"{text(size)}-to-{text(target)}"]
    if wanted is None:
        parts.append("natural")
    case = Case("-".join(parts), rank, {"ConvTranspose": {"config": config, "size": wanted}})
    return run_torch(draw, case, layer, [draw.map(channels[0], size)])


def draw_size(draw: Draw, rank: int) -> list[int]:
    """A small size: the output is larger."""
    return draw.size(rank, min(SIZES[rank][0], 2), LARGEST_INPUT[rank])


def of_torch(draw: Draw, cut: str, rank: int) -> Case:
    """The paddings of each axis are drawn; each axis is cut as `cut` says."""
    axes = [draw_axis(draw, cut) for _ in range(rank - 2)]
    return torch_case(draw, f"solved-{cut}", rank, draw_size(draw, rank), axes)


def of_torch_between(draw: Draw, kernel: int, stride: int, cut: int, rank: int) -> Case:
    """6 to 15 positions on each axis, with a kernel that is a multiple of the stride."""
    padding, output_padding = (cut // 2, 0) if cut > 0 else (0, -cut)
    axes = [(kernel, stride, padding, output_padding)] * (rank - 2)
    return torch_case(draw, "solved-between", rank, [6] * (rank - 2), axes)


def of_torch_natural(draw: Draw, rank: int) -> Case:
    """Kernel and stride whose natural size PyTorch gives with `padding=(kernel - stride) / 2`."""
    axes = []
    for _ in range(rank - 2):
        stride = draw.integer(1, 3)
        padding = draw.integer(0, 1)
        axes.append((stride + 2 * padding, stride, padding, 0))
    return torch_case(draw, "solved-natural", rank, draw_size(draw, rank), axes)


def of_torch_natural_odd(draw: Draw, rank: int) -> Case:
    """`ConvTranspose(3, stride=2, padding=1, output_padding=1)`, a common doubling."""
    axes = [(3, 2, 1, 1)] * (rank - 2)
    return torch_case(draw, "solved-natural_odd", rank, draw_size(draw, rank), axes)


def of_keras(draw: Draw, padding: str, window: str, rank: int) -> Case:
    """`keras.layers.Conv1DTranspose` to `Conv3DTranspose`"""
    windows = KERAS_WINDOWS[window]
    if rank == 5:
        # The gradient is a convolution, and TensorFlow's over three axes starts before the map
        # where the stride is larger than the kernel by 2 or more.
        windows = [(kernel, stride) for kernel, stride in windows if stride < kernel + 2]
    pairs = [draw.choice(windows) for _ in range(rank - 2)]
    if draw.chance():
        pairs = pairs[:1] * (rank - 2)
    kernel, stride = (list(numbers) for numbers in zip(*pairs, strict=True))
    channels = [draw.integer(1, 3), draw.integer(1, 3)]
    config = configs.conv_transpose(
        channels, draw.written(kernel), draw.written(stride), padding.capitalize()
    )
    size = draw_size(draw, rank)
    parts = ["keras", padding, window, f"k{text(kernel)}", f"s{text(stride)}"]
    parts += [f"r{rank}", text(size)]
    case = Case("-".join(parts), rank, {"ConvTranspose": {"config": config, "size": None}})
    layer = KERAS_CONV_TRANSPOSE[rank](
        channels[1], tuple(kernel), strides=tuple(stride), padding=padding
    )
    return KerasRun(draw, layer, {"": layer}).record(case, [draw.map(channels[0], size)])


def recipes() -> list[Recipe]:
    """All ways to cut and to lengthen, in all ranks; all of Keras's windows and paddings."""
    found: list[Recipe] = []
    for rank, cut in product(RANKS, ("even_cut", "odd_cut", "grown")):
        found += [partial(of_torch, cut=cut, rank=rank)] * 2
    for rank in RANKS:
        found.append(partial(of_torch_natural, rank=rank))
        found.append(partial(of_torch_natural_odd, rank=rank))
    for rank, kernel, stride, cut in ((3, 6, 3, 6), (4, 6, 3, 6), (3, 4, 2, -1), (4, 4, 2, -1)):
        found.append(partial(of_torch_between, kernel=kernel, stride=stride, cut=cut, rank=rank))
    for rank, padding, window in product(RANKS, ("same", "valid"), KERAS_WINDOWS):
        found.append(partial(of_keras, padding=padding, window=window, rank=rank))
    return found
