//! Where the rank of a tensor picks the operation of Burn.

use alloc::boxed::Box;
use core::any::Any;

use burn::tensor::{
    Tensor,
    module::{conv_transpose1d, conv_transpose2d, conv_transpose3d, conv1d, conv2d, conv3d},
    ops::{ConvOptions, ConvTransposeOptions, PadMode},
};

use super::solve::TransposedWindow;
use crate::window::Window;

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
    if pads.iter().any(|(start, end)| start != end) {
        // Burn pads asymmetrically by a copy as well, and not at all for three axes.
        let padded = x.pad(pads, PadMode::Constant(0.0));
        let none = alloc::vec![(0, 0); R - 2];
        return conv(padded, weight, bias, window, &none, groups);
    }
    let (x, w) = (x, weight);
    match R {
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

fn unsupported(rank: usize) -> ! {
    panic!("A feature map has rank 3, 4 or 5 (1 to 3 spatial axes), not {rank}")
}
