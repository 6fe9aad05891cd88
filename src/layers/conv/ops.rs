//! Where the rank of a tensor picks the operation of Burn.

use alloc::{boxed::Box, vec::Vec};
use core::any::Any;

use burn::tensor::{
    Tensor,
    module::{conv_transpose1d, conv_transpose2d, conv_transpose3d, conv1d, conv2d, conv3d},
    ops::{ConvOptions, ConvTransposeOptions, PadMode},
};

use crate::cpu::select;
use crate::graph::TransposedWindow;
use crate::graph::window::Window;
use crate::shape::with_channels;

/// The same tensor under another name of its rank. `A` and `B` are equal wherever this is called:
/// each call stands in the arm of a `match` on the rank.
pub(crate) fn reinterpret<const A: usize, const B: usize>(x: Tensor<A>) -> Tensor<B> {
    let any: Box<dyn Any> = Box::new(x);
    match any.downcast::<Tensor<B>>() {
        Ok(x) => *x,
        Err(_) => unreachable!("a tensor of rank {A} was taken for one of rank {B}"),
    }
}

/// The first `N` numbers; the callers have checked that there are as many.
fn array<const N: usize, T: Copy + Default>(values: &[T]) -> [T; N] {
    core::array::from_fn(|n| values[n])
}

fn options<const N: usize>(
    window: &Window,
    pads: &[(usize, usize)],
    groups: usize,
) -> ConvOptions<N> {
    ConvOptions::new_with_padding(
        array(&window.stride),
        array(pads),
        array(&window.dilation),
        groups,
    )
}

/// Convolution of any rank with any padding.
pub(crate) fn conv<const R: usize>(
    x: Tensor<R>,
    weight: Tensor<R>,
    bias: Option<Tensor<1>>,
    window: &Window,
    pads: &[(usize, usize)],
    groups: usize,
) -> Tensor<R> {
    // Where a kernel of one tap steps over positions, these need not be there. (For three axes only: the
    // others are Burn's own business, and right.)
    if R == 5
        && let Some(n) = (0..R - 2)
            .find(|&n| (window.kernel_size[n], pads[n]) == (1, (0, 0)) && window.stride[n] > 1)
    {
        let seen: Vec<usize> = (0..x.dims()[2 + n]).step_by(window.stride[n]).collect();
        let mut every = window.clone();
        every.stride[n] = 1;
        return conv(select(x, 2 + n, &seen), weight, bias, &every, pads, groups);
    }
    if let Some(more) = too_short(&window.kernel_size, &window.dilation, &window.stride) {
        // The kernel sees as much more at the end, and weighs it with zero.
        let seen = (0..R - 2).map(|n| (pads[n].0, pads[n].1 + more[n] * window.dilation[n]));
        let seen: Vec<_> = seen.collect();
        let mut longer = window.clone();
        longer.lengthen(&more);
        return conv(x, lengthened(weight, &more), bias, &longer, &seen, groups);
    }
    let is_one = |numbers: &[usize]| numbers.iter().all(|&number| number == 1);
    if is_one(&window.kernel_size)
        && is_one(&window.stride)
        && groups == 1
        && pads.iter().all(|&pads| pads == (0, 0))
    {
        let outputs = weight.dims()[0];
        let output = with_channels(x.dims(), outputs);
        return pointwise(x, weight, bias).reshape(output);
    }
    if pads.iter().any(|(start, end)| start != end) {
        // Burn pads asymmetrically by a copy as well, and not at all for three axes.
        let padded = x.pad(pads, PadMode::Constant(0.0));
        let none = alloc::vec![(0, 0); R - 2];
        return conv(padded, weight, bias, window, &none, groups);
    }
    let (x, w) = (x, weight);
    match R {
        // The gradient of a grouped weight is wrong in Burn 0.22's conv1d where the stride leaves
        // positions over, and right in conv2d.
        3 if groups > 1 => {
            let window = window.with_axis_of_one();
            let pads = [pads[0], (0, 0)];
            let (x, w) = (with_axis_of_one(x), with_axis_of_one(w));
            let y: Tensor<4> = conv2d(x, w, bias, options(&window, &pads, groups));
            let [batch, channels, length, _] = y.dims();
            reinterpret(y.reshape([batch, channels, length]))
        }
        3 => reinterpret(conv1d(
            reinterpret(x),
            reinterpret(w),
            bias,
            options(window, pads, groups),
        )),
        4 => reinterpret(conv2d(
            reinterpret(x),
            reinterpret(w),
            bias,
            options(window, pads, groups),
        )),
        5 => reinterpret(conv3d(
            reinterpret(x),
            reinterpret(w),
            bias,
            options(window, pads, groups),
        )),
        _ => unsupported(R),
    }
}

/// A convolution of each position by itself, as a product of matrices, `[batch, outputs, positions]`: on the GPU backends
/// several times faster than Burn's convolution.
fn pointwise<const R: usize>(
    x: Tensor<R>,
    weight: Tensor<R>,
    bias: Option<Tensor<1>>,
) -> Tensor<3> {
    let [batch, inputs] = [x.dims()[0], x.dims()[1]];
    let positions = x.dims()[2..].iter().product();
    let outputs = weight.dims()[0];
    let weight = weight.reshape([1, outputs, inputs]);
    let x = x.reshape([batch, inputs, positions]);
    // The gradient of the weight is a product for each map of the batch, and then their sum. Where these are larger than
    // the maps, the batch is laid out as one map.
    let y = match batch > 1 && inputs > positions && x.device().is_autodiff() {
        true => {
            let x = x.swap_dims(0, 1).reshape([1, inputs, batch * positions]);
            let y = weight.matmul(x).reshape([outputs, batch, positions]);
            y.swap_dims(0, 1)
        }
        false => weight.matmul(x),
    };
    match bias {
        Some(bias) => y + bias.reshape([1, outputs, 1]),
        None => y,
    }
}

/// A map or a weight of one spatial axis, with a second axis of one position.
fn with_axis_of_one<const R: usize>(x: Tensor<R>) -> Tensor<4> {
    let shape = x.dims();
    x.reshape([shape[0], shape[1], shape[2], 1])
}

fn transposed_options<const N: usize>(window: &TransposedWindow) -> ConvTransposeOptions<N> {
    ConvTransposeOptions::new(
        array(&window.stride),
        array(&window.padding),
        array(&window.output_padding),
        array(&window.dilation),
        1,
    )
}

/// Transposed convolution of any rank.
pub(crate) fn conv_transpose<const R: usize>(
    x: Tensor<R>,
    weight: Tensor<R>,
    bias: Option<Tensor<1>>,
    window: &TransposedWindow,
) -> Tensor<R> {
    if let Some(more) = too_short(&window.kernel_size, &window.dilation, &window.stride) {
        let shape = x.dims();
        let mut longer = window.clone();
        longer.lengthen(&more);
        let y = conv_transpose(x, lengthened(weight, &more), bias, &longer);
        return (0..R - 2).fold(y, |y, n| {
            let size = window.size(shape[2 + n], n);
            y.narrow(2 + n, 0, size)
        });
    }
    if is_by_blocks(window) {
        return by_blocks(x, weight, bias, &window.kernel_size);
    }
    let (x, w) = (x, weight);
    match R {
        3 => reinterpret(conv_transpose1d(
            reinterpret(x),
            reinterpret(w),
            bias,
            transposed_options(window),
        )),
        4 => reinterpret(conv_transpose2d(
            reinterpret(x),
            reinterpret(w),
            bias,
            transposed_options(window),
        )),
        5 => reinterpret(conv_transpose3d(
            reinterpret(x),
            reinterpret(w),
            bias,
            transposed_options(window),
        )),
        _ => unsupported(R),
    }
}

/// Whether each position of the input makes a block of the output that no other reaches.
fn is_by_blocks(window: &TransposedWindow) -> bool {
    let is = |numbers: &[usize], wanted: usize| numbers.iter().all(|&number| number == wanted);
    window.kernel_size == window.stride
        && is(&window.dilation, 1)
        && is(&window.padding, 0)
        && is(&window.output_padding, 0)
}

/// A transposed convolution whose kernel is its stride: a pointwise convolution to all positions of a block, and a copy
/// that puts them side by side. (Burn's transposed convolution on the GPU backends takes 6 times as long over two axes,
/// and 50 times over three.)
fn by_blocks<const R: usize>(
    x: Tensor<R>,
    weight: Tensor<R>,
    bias: Option<Tensor<1>>,
    kernel: &[usize],
) -> Tensor<R> {
    let mut shape = x.dims();
    let [batch, inputs, outputs] = [shape[0], shape[1], weight.dims()[1]];
    let taps: usize = kernel.iter().product();
    let mut rows = [1; R];
    [rows[0], rows[1]] = [outputs * taps, inputs];
    let weight = weight.reshape([inputs, outputs * taps]).transpose();
    let y = pointwise(x, weight.reshape(rows), None);
    // Depth, rows and columns; axes that are not there have one position.
    let (mut size, mut block) = ([1; 3], [1; 3]);
    size[5 - R..].copy_from_slice(&shape[2..]);
    block[5 - R..].copy_from_slice(kernel);
    let ([d, h, w], [kd, kh, kw]) = (size, block);
    shape[1] = outputs;
    for (size, kernel) in shape[2..].iter_mut().zip(kernel) {
        *size *= kernel;
    }
    // (Two steps: tensors of ndarray have at most six axes.)
    let y = y.reshape([batch * outputs, kd, kh * kw, d, h * w]);
    let slices = match d {
        1 => y,
        _ => y.permute([0, 3, 1, 2, 4]),
    };
    let y = slices.reshape([batch * outputs * d * kd, kh, kw, h, w]);
    let y = y.permute([0, 3, 1, 4, 2]).reshape(shape);
    match bias {
        Some(bias) => {
            let mut channels = [1; R];
            channels[1] = outputs;
            y + bias.reshape(channels)
        }
        None => y,
    }
}

/// How many taps a kernel over three axes lacks, if it is too short for its stride on one of them.
///
/// Burn 0.22's `conv_transpose3d` is wrong there on the GPU backends (its `kernel * dilation - stride`
/// is unsigned), and so is the gradient of `conv3d`.
fn too_short(kernel_size: &[usize], dilation: &[usize], stride: &[usize]) -> Option<Vec<usize>> {
    let taps = kernel_size.iter().zip(dilation).zip(stride);
    let lacking = |((&kernel, &dilation), &stride): ((&usize, &usize), &usize)| {
        stride.div_ceil(dilation).saturating_sub(kernel)
    };
    let lacking: Vec<usize> = taps.map(lacking).collect();
    (lacking.len() == 3 && lacking.iter().any(|&n| n > 0)).then_some(lacking)
}

/// A weight with so many zeros at the end of each axis of its kernel.
fn lengthened<const R: usize>(weight: Tensor<R>, more: &[usize]) -> Tensor<R> {
    let pads: Vec<_> = more.iter().map(|&n| (0, n)).collect();
    weight.pad(&pads[..], PadMode::Constant(0.0))
}

fn unsupported(rank: usize) -> ! {
    panic!("A feature map has rank 3, 4 or 5 (1 to 3 spatial axes), not {rank}")
}

#[cfg(test)]
mod tests;
