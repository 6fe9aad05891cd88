//! Convolution, batch norm and max pool on the CPU, on slices of f32.
//!
//! A convolution reads several sources that are never concatenated nor upsampled. Every thread takes some tiles of
//! the output. It packs the rows that their windows see (`packing`), so that a tap of the kernel is one offset,
//! multiplies (`raw::simd`) in an order that keeps values in the first-level cache (`direct`, `winograd`), and
//! writes the result once (`output_tiles`), with norm, residual and activation applied. The gradient of the sources is
//! such a convolution of the gradient (`input_gradient`); the gradient of the weight is a product of both maps
//! (`direct_gradient`, `winograd_gradient`).
//!
//! Maps of one spatial axis are maps of one row.

pub mod activation;
mod channelwise;
mod channelwise_gradient;
mod components;
mod conv_forward;
mod dilated;
mod direct;
mod direct_gradient;
mod enlarged;
mod epilogue;
mod input_gradient;
mod lanes;
pub mod layer_norm;
pub mod max_pool;
pub mod norm;
mod output_tiles;
mod outputs_in_lanes;
mod packed_weights;
mod packing;
mod raw;
mod reach;
pub mod resample;
mod shares;
mod source;
mod tap_patterns;
mod tap_sums;
mod threads;
mod tiling;
mod weight_gradient;
mod weight_rows;
mod winograd;
mod winograd_gradient;
mod workers;

#[cfg(test)]
mod tests;

pub use conv_forward::{bias_gradient, forward};
pub use epilogue::EpilogueValues;
pub use input_gradient::{GradientTarget, TransposedConv, input_gradient, transposed_conv};
pub use packed_weights::{CacheSlot, Weight, WeightCache};
pub use source::{ChannelAffine, Prologue, Source};
pub use threads::limit_vectors;
pub use weight_gradient::weight_gradient;
