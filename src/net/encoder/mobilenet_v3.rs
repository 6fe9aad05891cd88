//! [`MobileNetV3Encoder`]: stages of inverted bottlenecks, some with squeeze-and-excitation, with hard-swish
//! (arXiv:1905.02244).

use alloc::{vec, vec::Vec};

use super::inverted::{InvertedEncoder, InvertedEncoderConfig, InvertedFamily, InvertedStage};
use crate::fuse::gate::{GateConfig, SeConfig};
use crate::layers::activation::ActivationConfig;
use crate::layers::norm::NormConfig;

/// MobileNetV3 (arXiv:1905.02244, tables 1 and 2) as an [`InvertedFamily`]: by default the large one, with hard-swish, ReLU
/// in the stages at 1/2 to 1/8, and torchvision's batch norm.
///
/// # Example
/// ```
/// use burn_skip::activation::ActivationConfig;
/// use burn_skip::net::{InvertedFamily, MobileNetV3};
///
/// let stages = MobileNetV3::stages();
/// assert_eq!((stages[0].channels, stages[0].activation), (16, Some(ActivationConfig::Relu)));
/// assert!(stages[8].gate.is_some());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MobileNetV3;

/// MobileNetV3 without its head (arXiv:1905.02244), as torchvision's `mobilenet_v3_large` and `mobilenet_v3_small` without
/// their classifiers, and segmentation_models.pytorch's encoder `tu-mobilenetv3_large_100` of timm's network: a strided 3x3
/// convolution, stages of [`InvertedResidual`](super::InvertedResidual), some with squeeze-and-excitation by a hard
/// sigmoid, and a 1x1 convolution, which is part of the deepest map.
///
/// # Shapes
/// - input: `[batch, in_channels, spatial...]`
/// - features: the last map of each size, at 1/2, 1/4, 1/8, 1/16 and 1/32, sizes rounded up
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::net::{Encoder, MobileNetV3Encoder, MobileNetV3EncoderConfig};
///
/// let device = Device::flex();
/// let encoder: MobileNetV3Encoder = MobileNetV3EncoderConfig::small().init(&device);
/// let maps = encoder.features(Tensor::zeros([1, 3, 65, 64], &device));
/// assert_eq!(maps.len(), 5);
/// assert_eq!(maps[4].dims(), [1, 576, 3, 2]);
/// ```
pub type MobileNetV3Encoder<const R: usize = 4> = InvertedEncoder<MobileNetV3, R>;

/// Configuration of [`MobileNetV3Encoder`].
///
/// # Example
/// ```
/// use burn_skip::net::MobileNetV3EncoderConfig;
///
/// let large = MobileNetV3EncoderConfig::large();
/// assert_eq!(large.feature_channels(), [16, 24, 40, 112, 960]);
/// assert_eq!(MobileNetV3EncoderConfig::small().feature_channels(), [16, 16, 24, 48, 576]);
/// assert_eq!(large.feature_shapes([1, 3, 65, 64]).unwrap()[4], [1, 960, 3, 2]);
/// ```
pub type MobileNetV3EncoderConfig = InvertedEncoderConfig<MobileNetV3>;

/// The paper's squeeze-and-excitation of a quarter of the channels inside, rounded to a multiple of 8.
fn squeeze_excitation() -> GateConfig {
    let config = SeConfig::new(4).with_divisor(8);
    GateConfig::Se(config.with_scale_activation(SeConfig::hard_sigmoid()))
}

/// The stage with squeeze-and-excitation.
fn gated(stage: InvertedStage) -> InvertedStage {
    stage.with_gate(squeeze_excitation())
}

/// The stage with ReLU in place of hard-swish.
fn relu(stage: InvertedStage) -> InvertedStage {
    stage.with_activation(ActivationConfig::Relu)
}

impl InvertedFamily for MobileNetV3 {
    const NAME: &'static str = "MobileNetV3Encoder";

    fn width() -> usize {
        16
    }

    fn stages() -> Vec<InvertedStage> {
        vec![
            relu(InvertedStage::new(1, 16, 1, 1)),
            relu(InvertedStage::new(4, 24, 1, 2)),
            relu(InvertedStage::new(3, 24, 1, 1)),
            relu(gated(InvertedStage::new(3, 40, 3, 2).with_kernel_size(5))),
            InvertedStage::new(6, 80, 1, 2),
            InvertedStage::new(2.5, 80, 1, 1),
            InvertedStage::new(2.3, 80, 2, 1),
            gated(InvertedStage::new(6, 112, 2, 1)),
            gated(InvertedStage::new(6, 160, 3, 2).with_kernel_size(5)),
        ]
    }

    fn last_channels() -> Option<usize> {
        Some(960)
    }

    fn activation() -> ActivationConfig {
        ActivationConfig::HardSwish
    }

    fn norm() -> Option<NormConfig> {
        Some(NormConfig::Batch {
            epsilon: 1e-3,
            momentum: 0.01,
        })
    }
}

impl MobileNetV3EncoderConfig {
    /// MobileNetV3-Large, for images of three channels.
    pub fn large() -> Self {
        Self::default()
    }

    /// MobileNetV3-Small, for images of three channels.
    pub fn small() -> Self {
        let of_5x5 = |stage: InvertedStage| gated(stage.with_kernel_size(5));
        let stages = vec![
            relu(gated(InvertedStage::new(1, 16, 1, 2))),
            relu(InvertedStage::new(4.5, 24, 1, 2)),
            relu(InvertedStage::new(3.67, 24, 1, 1)),
            of_5x5(InvertedStage::new(4, 40, 1, 2)),
            of_5x5(InvertedStage::new(6, 40, 2, 1)),
            of_5x5(InvertedStage::new(3, 48, 2, 1)),
            of_5x5(InvertedStage::new(6, 96, 3, 2)),
        ];
        Self::default().with_stages(stages).with_last_channels(576)
    }
}

#[cfg(test)]
mod tests {
    use super::super::inverted::assert_empty_file_is;
    use super::*;
    use crate::net::{ClassifierConfig, EncoderConfig, HiddenConfig};
    use alloc::string::ToString;

    #[test]
    fn as_many_parameters_as_torchvision() {
        for (config, hidden, parameters) in [
            (MobileNetV3EncoderConfig::large(), 1280, 5_483_032),
            (MobileNetV3EncoderConfig::small(), 1024, 2_542_856),
        ] {
            let hidden = HiddenConfig::new(hidden, ActivationConfig::HardSwish);
            let encoder = EncoderConfig::MobileNetV3(config);
            let classifier = ClassifierConfig::new(encoder, 1000).with_hidden(hidden);
            let plan = classifier.plan([1, 3, 224, 224]);
            assert_eq!(plan.root.total_parameters(), parameters);
        }
    }

    #[test]
    fn dilations_take_the_place_of_strides() {
        let sizes = |stride: usize| {
            let config = MobileNetV3EncoderConfig::large().with_output_stride(stride);
            let shapes = config.feature_shapes([2, 3, 65, 64]).unwrap();
            shapes.iter().map(|shape| shape[2]).collect::<Vec<_>>()
        };
        assert_eq!(sizes(32), [33, 17, 9, 5, 3]);
        assert_eq!(sizes(8), [33, 17, 9, 9, 9]);
    }

    #[test]
    fn an_empty_file_is_the_large_one() {
        assert_empty_file_is(&MobileNetV3EncoderConfig::large());
    }

    #[test]
    fn a_gate_of_the_stage_and_one_of_the_network_are_refused() {
        let error = MobileNetV3EncoderConfig::large()
            .with_squeeze(4)
            .validate::<4>();
        assert_eq!(
            error.unwrap_err().to_string(),
            "stages.3.MobileNetV3Encoder: the stage has a gate, and squeeze is 4. Leave out one of them."
        );
        let stage = InvertedStage::new(f64::NAN, 16, 1, 1);
        let error = MobileNetV3EncoderConfig::large().with_stages(vec![stage]);
        assert_eq!(
            error.validate::<4>().unwrap_err().to_string(),
            "stages.0.MobileNetV3Encoder: expansion is NaN. Choose a positive number, such as 1."
        );
    }
}
