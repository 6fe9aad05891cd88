//! [`InvertedStage`]: the numbers of a stage of [inverted bottlenecks](super::InvertedBottleneck).

use alloc::format;

use serde::{Deserialize, Serialize};

use crate::fuse::gate::GateConfig;
use crate::layers::activation::ActivationConfig;
use crate::setters::setters;
use crate::shape::{ShapeError, check_not_huge, check_positive, nearest_multiple};

/// One stage of inverted bottlenecks.
///
/// # Example
/// ```
/// use burn_skip::net::{InvertedStage, MobileNetV2EncoderConfig};
///
/// // Two blocks of 24 channels with 6 times as many inside, the first of which halves the map.
/// let stages = vec![InvertedStage::new(1, 16, 1, 1), InvertedStage::new(6, 24, 2, 2)];
/// let config = MobileNetV2EncoderConfig::new().with_stages(stages).with_last_channels(None);
/// assert_eq!(config.feature_shapes([1, 3, 64, 64]).unwrap(), [[1, 16, 32, 32], [1, 24, 16, 16]]);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct InvertedStage {
    /// The size of the kernels of the depthwise convolutions. Default: 3.
    #[serde(default = "three")]
    pub kernel_size: usize,
    /// The channels inside a block, as a multiple of those of its input, rounded to a multiple of 8 where the product is
    /// no whole number; blocks of 1 have no first convolution.
    pub expansion: f64,
    /// The output channels.
    pub channels: usize,
    /// The number of blocks.
    pub depth: usize,
    /// The stride of the first block: 1 or 2.
    pub stride: usize,
    /// The activation within the blocks, in place of the encoder's. Default: the encoder's.
    #[serde(default)]
    pub activation: Option<ActivationConfig>,
    /// A gate of the channels inside, before the last convolution of each block; its guide is the map itself. Default:
    /// none.
    #[serde(default)]
    pub gate: Option<GateConfig>,
}

const fn three() -> usize {
    3
}

setters!(
    InvertedStage:
    with_kernel_size(kernel_size: usize),
    with_activation(activation: impl Into<Option<ActivationConfig>>),
    with_gate(gate: impl Into<Option<GateConfig>>),
);

impl InvertedStage {
    /// A stage of 3x3 kernels, without a gate.
    pub fn new(expansion: impl Into<f64>, channels: usize, depth: usize, stride: usize) -> Self {
        Self {
            kernel_size: 3,
            expansion: expansion.into(),
            channels,
            depth,
            stride,
            activation: None,
            gate: None,
        }
    }

    /// Whether the blocks have a first convolution, to the channels inside.
    pub(crate) fn expands(&self) -> bool {
        self.expansion != 1.0
    }

    /// The channels inside a block whose input has `input`.
    pub(super) fn inner(&self, input: usize) -> usize {
        let exact = input as f64 * self.expansion;
        let whole = exact as usize;
        match whole as f64 == exact {
            true => whole,
            false => nearest_multiple(exact, 8),
        }
    }

    /// Checks the numbers.
    pub(super) fn check(&self, layer: &str) -> Result<(), ShapeError> {
        check_positive(layer, "kernel_size", self.kernel_size)?;
        check_multiplier(layer, "expansion", self.expansion)?;
        check_positive(layer, "channels", self.channels)?;
        let inner = self.inner(self.channels);
        check_not_huge(layer, "channels times expansion", inner)?;
        match self.stride {
            1 | 2 => Ok(()),
            stride => {
                let problem = format!("stride is {stride}");
                Err(ShapeError::new(layer, problem, "Choose 1 or 2"))
            }
        }
    }
}

/// `channels` times `multiplier`, to a multiple of 8 that is no less than 9/10 of it, as torchvision's
/// `_make_divisible`; as they are where the multiplier is 1.
pub(super) fn scaled_channels(channels: usize, multiplier: f64) -> usize {
    match multiplier == 1.0 {
        true => channels,
        false => nearest_multiple(channels as f64 * multiplier, 8),
    }
}

/// Refuses a multiplier that leaves nothing.
pub(super) fn check_multiplier(layer: &str, what: &str, value: f64) -> Result<(), ShapeError> {
    if value.is_finite() && value > 0.0 {
        return Ok(());
    }
    Err(ShapeError::new(
        layer,
        format!("{what} is {value}"),
        "Choose a positive number, such as 1",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_rounded_as_torchvision_rounds_them() {
        // `_make_divisible(channels * multiplier, 8)`
        for (channels, multiplier, expected) in [
            (32, 1.4, 48),
            (16, 1.1, 16),
            (24, 1.1, 24),
            (40, 1.1, 48),  // 44
            (24, 1.2, 32),  // 28.8
            (44, 0.25, 16), // 11; 8 would be less than 9/10
            (16, 0.25, 8),
            (24, 0.35, 8),
            (1280, 1.2, 1536),
            (20, 1.0, 20),
        ] {
            let found = scaled_channels(channels, multiplier);
            assert_eq!(found, expected, "{channels} times {multiplier}");
        }
    }

    #[test]
    fn channels_inside_are_a_whole_multiple_or_rounded() {
        let inner = |expansion: f64, input| InvertedStage::new(expansion, 8, 1, 1).inner(input);
        assert_eq!(inner(3.0, 7), 21);
        assert_eq!(inner(2.5, 80), 200);
        assert_eq!(inner(2.3, 80), 184);
        assert_eq!(inner(3.67, 24), 88); // 88.08
    }

    #[test]
    fn a_stage_with_whole_numbers_is_read() {
        let short = r#"{"expansion": 6, "channels": 24, "depth": 2, "stride": 2}"#;
        let read: InvertedStage = serde_json::from_str(short).unwrap();
        assert_eq!(read, InvertedStage::new(6, 24, 2, 2));
    }
}
