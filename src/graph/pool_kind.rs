//! [`PoolKind`] and [`AdaptiveKind`]: what a pool takes of each window.

use serde::{Deserialize, Serialize};

/// What a pool makes of the positions in its window.
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::{Layer, Padding, pool::{PoolConfig, PoolKind}};
///
/// let pooled = |kind| { // the first window has one position of padding
///     let x = Tensor::<3>::from_floats([[[2.0, 4.0, 6.0]]], &Device::flex());
///     let pool = PoolConfig::new(kind, 2).with_padding(Padding::explicit(1)).init();
///     pool.forward(x).to_data().try_to_vec::<f32>().unwrap()
/// };
/// assert_eq!(pooled(PoolKind::Max), [2.0, 6.0]);
/// assert_eq!(pooled(PoolKind::Avg), [2.0, 5.0]);
/// assert_eq!(pooled(PoolKind::AvgWithPadding), [1.0, 5.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum PoolKind {
    /// The largest value.
    Max,
    /// The mean over the positions that lie on the map. Keras's rule, and PyTorch's
    /// `count_include_pad=False`.
    Avg,
    /// The mean over the window, zeros of the padding included: PyTorch's default.
    AvgWithPadding,
}

/// What an adaptive pool makes of the positions in a bin.
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::{fit::Fit, pool::AdaptiveKind};
///
/// let pooled = |kind| {
///     let x = Tensor::<3>::from_floats([[[1.0, 3.0, -2.0, 4.0]]], &Device::flex());
///     Fit::Pool(kind).forward(x, &[2]).to_data().try_to_vec::<f32>().unwrap()
/// };
/// assert_eq!(pooled(AdaptiveKind::Max), [3.0, 4.0]);
/// assert_eq!(pooled(AdaptiveKind::Avg), [2.0, 1.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum AdaptiveKind {
    /// The largest value.
    Max,
    /// The mean.
    Avg,
}
