//! [`EfficientNetEncoder`]: stages of inverted bottlenecks with squeeze-and-excitation (arXiv:1905.11946).

use alloc::{vec, vec::Vec};

use super::inverted::{InvertedEncoder, InvertedEncoderConfig, InvertedFamily, InvertedStage};
use crate::layers::activation::ActivationConfig;

/// EfficientNet (arXiv:1905.11946, table 1) as an [`InvertedFamily`]: by default the seven stages of B0, with
/// squeeze-and-excitation to a quarter of the input channels of each block, and SiLU; the finest map is the first
/// convolution's.
///
/// # Example
/// ```
/// use burn_skip::net::{EfficientNet, InvertedFamily};
///
/// assert_eq!(EfficientNet::stages().len(), 7);
/// assert_eq!(EfficientNet::squeeze(), Some(4));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct EfficientNet;

/// EfficientNet without its head (arXiv:1905.11946): a strided 3x3 convolution, stages of
/// [`InvertedResidual`](super::InvertedResidual) with squeeze-and-excitation, and a 1x1 convolution, which is part of the
/// deepest map.
///
/// It is torchvision's `efficientnet_b0` to `efficientnet_b4` without the classifier and, without the last convolution,
/// segmentation_models.pytorch's encoders `timm-efficientnet-b0` to `timm-efficientnet-b4`. Its `efficientnet-b0` and
/// the like are other networks: they are padded by the size of the image and have other numbers in their norms.
///
/// # Shapes
/// - input: `[batch, in_channels, spatial...]`
/// - features: the first convolution at 1/2, and the last maps at 1/4, 1/8, 1/16 and 1/32, sizes rounded up
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::net::{EfficientNetEncoder, EfficientNetEncoderConfig, Encoder};
///
/// let device = Device::flex();
/// let config = EfficientNetEncoderConfig::b0().with_width_multiplier(0.25);
/// let encoder: EfficientNetEncoder = config.init(&device);
/// let maps = encoder.features(Tensor::zeros([1, 3, 65, 64], &device));
/// assert_eq!(maps.len(), 5);
/// assert_eq!(maps[4].dims(), [1, 320, 3, 2]);
/// ```
pub type EfficientNetEncoder<const R: usize = 4> = InvertedEncoder<EfficientNet, R>;

/// Configuration of [`EfficientNetEncoder`].
///
/// # Example
/// ```
/// use burn_skip::net::EfficientNetEncoderConfig;
///
/// let b0 = EfficientNetEncoderConfig::b0();
/// assert_eq!(b0.feature_channels(), [32, 24, 40, 112, 1280]);
/// // As segmentation_models.pytorch, whose encoders end with the last stage.
/// let b2 = EfficientNetEncoderConfig::b2().with_last_channels(None);
/// assert_eq!(b2.feature_channels(), [32, 24, 48, 120, 352]);
/// // In a file:
/// let b4: EfficientNetEncoderConfig =
///     serde_json::from_str(r#"{"width_multiplier": 1.4, "depth_multiplier": 1.8}"#).unwrap();
/// assert_eq!(b4.feature_channels(), EfficientNetEncoderConfig::b4().feature_channels());
/// ```
pub type EfficientNetEncoderConfig = InvertedEncoderConfig<EfficientNet>;

impl InvertedFamily for EfficientNet {
    const NAME: &'static str = "EfficientNetEncoder";

    const STEM_IS_MAP: bool = true;

    fn width() -> usize {
        32
    }

    fn stages() -> Vec<InvertedStage> {
        vec![
            InvertedStage::new(1, 16, 1, 1),
            InvertedStage::new(6, 24, 2, 2),
            InvertedStage::new(6, 40, 2, 2).with_kernel_size(5),
            InvertedStage::new(6, 80, 3, 2),
            InvertedStage::new(6, 112, 3, 1).with_kernel_size(5),
            InvertedStage::new(6, 192, 4, 2).with_kernel_size(5),
            InvertedStage::new(6, 320, 1, 1),
        ]
    }

    fn last_channels() -> Option<usize> {
        Some(1280)
    }

    fn squeeze() -> Option<usize> {
        Some(4)
    }

    fn activation() -> ActivationConfig {
        ActivationConfig::Silu
    }
}

impl EfficientNetEncoderConfig {
    /// B0 with so many times its channels and blocks, for images of three channels.
    pub fn new(width_multiplier: f64, depth_multiplier: f64) -> Self {
        Self::default()
            .with_width_multiplier(width_multiplier)
            .with_depth_multiplier(depth_multiplier)
    }

    /// EfficientNet-B0.
    pub fn b0() -> Self {
        Self::new(1.0, 1.0)
    }

    /// EfficientNet-B1.
    pub fn b1() -> Self {
        Self::new(1.0, 1.1)
    }

    /// EfficientNet-B2.
    pub fn b2() -> Self {
        Self::new(1.1, 1.2)
    }

    /// EfficientNet-B3.
    pub fn b3() -> Self {
        Self::new(1.2, 1.4)
    }

    /// EfficientNet-B4.
    pub fn b4() -> Self {
        Self::new(1.4, 1.8)
    }
}

#[cfg(test)]
mod tests {
    use super::super::InvertedResidual;
    use super::super::inverted::assert_empty_file_is;
    use super::*;
    use crate::net::{ClassifierConfig, EncoderConfig};
    use alloc::string::ToString;
    use burn::tensor::Device;

    #[test]
    fn as_many_parameters_as_torchvision() {
        let b = EfficientNetEncoderConfig::b0;
        for (config, parameters) in [
            (b(), 5_288_548),
            (EfficientNetEncoderConfig::b1(), 7_794_184),
            (EfficientNetEncoderConfig::b2(), 9_109_994),
            (EfficientNetEncoderConfig::b3(), 12_233_232),
            (EfficientNetEncoderConfig::b4(), 19_341_616),
        ] {
            let classifier = ClassifierConfig::new(EncoderConfig::EfficientNet(config), 1000);
            let plan = classifier.plan([1, 3, 224, 224]);
            assert_eq!(plan.root.total_parameters(), parameters);
        }
    }

    #[test]
    fn the_maps_are_those_of_segmentation_models() {
        let channels =
            |config: EfficientNetEncoderConfig| config.with_last_channels(None).feature_channels();
        assert_eq!(
            channels(EfficientNetEncoderConfig::b1()),
            [32, 24, 40, 112, 320]
        );
        assert_eq!(
            channels(EfficientNetEncoderConfig::b3()),
            [40, 32, 48, 136, 384]
        );
        assert_eq!(
            channels(EfficientNetEncoderConfig::b4()),
            [48, 32, 56, 160, 448]
        );
        let sizes = |stride: usize| {
            let config = EfficientNetEncoderConfig::b0().with_output_stride(stride);
            let shapes = config.feature_shapes([2, 3, 65, 64]).unwrap();
            shapes.iter().map(|shape| shape[2]).collect::<Vec<_>>()
        };
        assert_eq!(sizes(32), [33, 17, 9, 5, 3]);
        assert_eq!(sizes(8), [33, 17, 9, 9, 9]);
    }

    #[test]
    fn gates_divide_the_input_channels_of_a_block() {
        let device = Device::flex();
        let encoder: EfficientNetEncoder = EfficientNetEncoderConfig::b0().init(&device);
        let squeezed = |stage: usize, block: usize| {
            let block = match &encoder.stages[stage][block] {
                InvertedResidual::Plain(block) => block,
                InvertedResidual::Add(connection) => &connection.block,
            };
            let Some(crate::gate::AnyGate::Se(gate)) = &block.gate else {
                unreachable!()
            };
            gate.squeeze.conv.config.channels
        };
        assert_eq!(squeezed(0, 0), [32, 8]);
        assert_eq!(squeezed(1, 0), [96, 4]);
        assert_eq!(squeezed(1, 1), [144, 6]);
    }

    #[test]
    fn blocks_are_dropped_as_torchvision_drops_them() {
        let config = EfficientNetEncoderConfig::b0().with_drop_path(0.2);
        let encoder: EfficientNetEncoder = config.init(&Device::flex());
        let InvertedResidual::Add(connection) = &encoder.stages[5][3] else {
            unreachable!()
        };
        // The block 14 of 16.
        let prob = connection.drop_path.as_ref().unwrap().prob;
        assert!((prob - 0.2 * 14.0 / 16.0).abs() < 1e-12, "{prob}");
    }

    #[test]
    fn an_empty_file_is_b0() {
        assert_empty_file_is(&EfficientNetEncoderConfig::b0());
    }

    #[test]
    fn what_cannot_be_built_is_refused() {
        let b0 = EfficientNetEncoderConfig::b0;
        let text =
            |config: EfficientNetEncoderConfig| config.validate::<4>().unwrap_err().to_string();
        assert_eq!(
            text(b0().with_depth_multiplier(f64::NAN)),
            "EfficientNetEncoder: depth_multiplier is NaN. Choose a positive number, such as 1."
        );
        assert_eq!(
            text(b0().with_squeeze(0)),
            "EfficientNetEncoder: squeeze is 0. Set squeeze to 1 or more."
        );
        assert_eq!(
            text(b0().with_drop_path(1.0)),
            "drop_path.DropPath: the probability is 1. Choose one in [0, 1)."
        );
        assert!(text(b0().with_width_multiplier(1e9)).contains("width is 32000000000"));
        let even = vec![InvertedStage::new(1, 32, 1, 1).with_kernel_size(4)];
        assert_eq!(
            b0().with_stages(even)
                .feature_shapes([1, 3, 64, 64])
                .unwrap_err()
                .problem,
            "height differs: block 33, shortcut 32"
        );
    }
}
