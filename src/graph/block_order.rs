//! [`BlockOrder`]: which channels a pixel shuffle makes the positions of a cell of.

use serde::{Deserialize, Serialize};

/// Which channels become one cell of `s0 x s1` positions. Weights trained with one order do not fit
/// the other.
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::{BlockOrder, Layer, down::DownConfig};
///
/// let channels = |order| { // of a map of two channels and two positions
///     let x = Tensor::from_floats([[[1.0, 2.0], [3.0, 4.0]]], &Device::flex());
///     let down = DownConfig::PixelUnshuffle { scale: 2.into(), order }.init::<3>(2, &Device::flex());
///     down.forward(x).to_data().try_to_vec::<f32>().unwrap()
/// };
/// assert_eq!(channels(BlockOrder::ChannelMajor), [1.0, 2.0, 3.0, 4.0]);
/// assert_eq!(channels(BlockOrder::BlockMajor), [1.0, 3.0, 2.0, 4.0]);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum BlockOrder {
    /// The channel `(c s0 + i0) s1 + i1` holds the offset `(i0, i1)` of the output channel `c`:
    /// `torch.nn.PixelShuffle`.
    #[default]
    ChannelMajor,
    /// The channel `(i0 s1 + i1) channels + c` does: TensorFlow's `depth_to_space`.
    BlockMajor,
}
