//! Convolutions of any rank: one module for one, two and three spatial axes.
//!
//! The rank of the tensor picks Burn's `conv1d`, `conv2d` or `conv3d` in `ops.rs`, in one place.

mod convolution;
#[cfg(all(test, feature = "flex"))]
mod kernel_tests;
pub(crate) mod ops;
mod transposed;

pub use crate::cpu::{LazyConcat, Part};
pub use crate::graph::TransposedPadding;
pub use convolution::{Conv, ConvConfig};
pub use transposed::{ConvTranspose, ConvTransposeConfig};

/// The former name of [`LazyConcat`].
pub type Parts<const R: usize = 4> = LazyConcat<R>;

use alloc::vec::Vec;

use burn::module::Param;
use burn::nn::Initializer;
use burn::tensor::{Device, Tensor};

/// PyTorch's and Burn's default: uniform within `±1 / sqrt(fan_in)`.
pub(crate) fn default_initializer() -> Initializer {
    Initializer::KaimingUniform {
        gain: 0.577_350_269_189_625_8, // 1 / sqrt(3)
        fan_out_only: false,
    }
}

/// A weight `[first, second, kernel...]` and, if wanted, a bias, as Burn's convolutions make them.
fn init_weights<const R: usize>(
    initializer: &Initializer,
    [first, second]: [usize; 2],
    kernel_size: &[usize],
    bias: Option<usize>,
    device: &Device,
) -> (Param<Tensor<R>>, Option<Param<Tensor<1>>>) {
    let taps: usize = kernel_size.iter().product();
    let (fan_in, fan_out) = (Some(second * taps), Some(first * taps));
    let shape: Vec<usize> = [first, second].iter().chain(kernel_size).copied().collect();
    let weight = initializer.init_with(shape, fan_in, fan_out, device);
    let bias = bias.map(|channels| initializer.init_with([channels], fan_in, fan_out, device));
    (weight, bias)
}
