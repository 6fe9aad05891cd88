//! [`PadMode`]: what the positions hold that padding adds.

use serde::{Deserialize, Serialize};

/// What the positions that padding adds hold.
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::fit::{Anchor, Fit, PadMode};
///
/// let padded = |mode| {
///     let x = Tensor::<3>::from_floats([[[1.0, 2.0, 4.0]]], &Device::flex());
///     let y = Fit::Pad { mode, anchor: Anchor::Center }.forward(x, &[5]);
///     y.to_data().try_to_vec::<f32>().unwrap()
/// };
/// assert_eq!(padded(PadMode::Zero), [0.0, 1.0, 2.0, 4.0, 0.0]);
/// assert_eq!(padded(PadMode::Edge), [1.0, 1.0, 2.0, 4.0, 4.0]);
/// assert_eq!(padded(PadMode::Reflect), [2.0, 1.0, 2.0, 4.0, 2.0]);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum PadMode {
    /// Zeros.
    #[default]
    Zero,
    /// The value at the edge (PyTorch's `replicate`).
    Edge,
    /// The map mirrored at the edge, the edge itself not repeated (PyTorch's `reflect`). It can add
    /// at most `size - 1` positions at an end.
    Reflect,
}
