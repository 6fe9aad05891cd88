//! [`MobileNetV2Encoder`]: stages of inverted bottlenecks (arXiv:1801.04381).

use alloc::{vec, vec::Vec};

use super::inverted::{InvertedEncoder, InvertedEncoderConfig, InvertedFamily, InvertedStage};
use crate::layers::activation::ActivationConfig;

/// MobileNetV2 (arXiv:1801.04381, table 2) as an [`InvertedFamily`]: seven stages, ReLU6, and a last convolution whose 1280
/// channels have no factor below 1.
///
/// # Example
/// ```
/// use burn_skip::net::{InvertedFamily, MobileNetV2};
///
/// assert_eq!(MobileNetV2::stages().len(), 7);
/// assert_eq!(MobileNetV2::last_multiplier(0.5), 1.0);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MobileNetV2;

/// MobileNetV2 without its head (arXiv:1801.04381), as torchvision's `mobilenet_v2` without its classifier, and
/// segmentation_models.pytorch's encoder `mobilenet_v2`: a strided 3x3 convolution, stages of
/// [`InvertedResidual`](super::InvertedResidual), and a 1x1 convolution, which is part of the deepest map.
///
/// # Shapes
/// - input: `[batch, in_channels, spatial...]`
/// - features: the last map of each size, at 1/2, 1/4, 1/8, 1/16 and 1/32, sizes rounded up
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::net::{Encoder, MobileNetV2Encoder, MobileNetV2EncoderConfig};
///
/// let device = Device::flex();
/// let config = MobileNetV2EncoderConfig::new().with_width_multiplier(0.25);
/// let encoder: MobileNetV2Encoder = config.init(&device);
/// let maps = encoder.features(Tensor::zeros([1, 3, 65, 64], &device));
/// assert_eq!(maps.len(), 5);
/// assert_eq!(maps[3].dims(), [1, 24, 5, 4]);
/// ```
pub type MobileNetV2Encoder<const R: usize = 4> = InvertedEncoder<MobileNetV2, R>;

/// Configuration of [`MobileNetV2Encoder`].
///
/// # Example
/// ```
/// use burn_skip::net::MobileNetV2EncoderConfig;
///
/// let config = MobileNetV2EncoderConfig::new();
/// assert_eq!(config.feature_channels(), [16, 24, 32, 96, 1280]);
/// // 1.4 times as wide, rounded to multiples of 8.
/// let wide = config.clone().with_width_multiplier(1.4);
/// assert_eq!(wide.feature_channels(), [24, 32, 48, 136, 1792]);
/// // Dilations take the place of the last stride.
/// let dilated = config.with_output_stride(16);
/// assert_eq!(dilated.feature_shapes([1, 3, 64, 64]).unwrap()[4], [1, 1280, 4, 4]);
/// ```
pub type MobileNetV2EncoderConfig = InvertedEncoderConfig<MobileNetV2>;

impl InvertedFamily for MobileNetV2 {
    const NAME: &'static str = "MobileNetV2Encoder";

    fn width() -> usize {
        32
    }

    fn stages() -> Vec<InvertedStage> {
        vec![
            InvertedStage::new(1, 16, 1, 1),
            InvertedStage::new(6, 24, 2, 2),
            InvertedStage::new(6, 32, 3, 2),
            InvertedStage::new(6, 64, 4, 2),
            InvertedStage::new(6, 96, 3, 1),
            InvertedStage::new(6, 160, 3, 2),
            InvertedStage::new(6, 320, 1, 1),
        ]
    }

    fn last_channels() -> Option<usize> {
        Some(1280)
    }

    fn activation() -> ActivationConfig {
        ActivationConfig::Relu6
    }

    fn last_multiplier(width_multiplier: f64) -> f64 {
        width_multiplier.max(1.0)
    }
}

impl MobileNetV2EncoderConfig {
    /// The network of the paper, for images of three channels: torchvision's `mobilenet_v2`.
    pub fn new() -> Self {
        Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::inverted::assert_empty_file_is;
    use super::*;
    use crate::net::{ClassifierConfig, EncoderConfig};
    use alloc::string::ToString;

    #[test]
    fn as_many_parameters_as_torchvision() {
        let encoder = EncoderConfig::MobileNetV2(MobileNetV2EncoderConfig::new());
        let plan = ClassifierConfig::new(encoder, 1000).plan([1, 3, 224, 224]);
        assert_eq!(plan.root.total_parameters(), 3_504_872);
    }

    #[test]
    fn the_maps_are_those_of_segmentation_models() {
        let sizes = |stride: usize| {
            let config = MobileNetV2EncoderConfig::new().with_output_stride(stride);
            let shapes = config.feature_shapes([2, 3, 65, 64]).unwrap();
            shapes
                .iter()
                .map(|&[_, c, h, w]| [c, h, w])
                .collect::<Vec<_>>()
        };
        let mut expected = [
            [16, 33, 32],
            [24, 17, 16],
            [32, 9, 8],
            [96, 5, 4],
            [1280, 3, 2],
        ];
        assert_eq!(sizes(32), expected);
        expected[4] = [1280, 5, 4];
        assert_eq!(sizes(16), expected);
        [expected[3], expected[4]] = [[96, 9, 8], [1280, 9, 8]];
        assert_eq!(sizes(8), expected);
    }

    #[test]
    fn an_empty_file_is_the_network_of_the_paper() {
        assert_empty_file_is(&MobileNetV2EncoderConfig::new());
    }

    #[test]
    fn what_cannot_be_built_is_refused() {
        let new = MobileNetV2EncoderConfig::new;
        let text =
            |config: MobileNetV2EncoderConfig| config.validate::<4>().unwrap_err().to_string();
        assert_eq!(
            text(new().with_width_multiplier(-1.0)),
            "MobileNetV2Encoder: width_multiplier is -1. Choose a positive number, such as 1."
        );
        assert_eq!(
            text(new().with_stages(Vec::new())),
            "MobileNetV2Encoder: depths are []. Give one number of blocks, 1 or more, for each of 1 to 16 stages."
        );
        assert_eq!(
            text(new().with_stages(vec![InvertedStage::new(6, 24, 2, 3)])),
            "stages.0.MobileNetV2Encoder: stride is 3. Choose 1 or 2."
        );
        assert_eq!(
            text(new().with_output_stride(12)),
            "MobileNetV2Encoder: output_stride is 12. Choose 4, 8, 16 or 32."
        );
        let error = new().feature_shapes([1, 1, 64, 64]).unwrap_err();
        assert_eq!(error.problem, "channels differ: expected 3, got 1");
    }
}
