//! [`MobileNetV2Encoder`]: stages of inverted bottlenecks.

use alloc::{vec, vec::Vec};

use burn::config::Config;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::Encoder;
use super::any::{EncoderSpec, check_encoder};
use super::inverted::{
    InvertedNet, InvertedParts, InvertedStage, check_multiplier, scaled_channels,
};
use super::inverted_block::InvertedResidual;
use crate::graph::{Map, Planner};
use crate::layers::activation::ActivationConfig;
use crate::layers::block::ConvNormAct;
use crate::layers::norm::NormConfig;
use crate::setters::setters;
use crate::shape::{ShapeError, expect};

const NAME: &str = "MobileNetV2Encoder";

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
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct MobileNetV2EncoderConfig {
    /// The channels of the image. Default: 3.
    #[serde(default = "crate::defaults::image_channels")]
    pub in_channels: usize,
    /// The channels of the first convolution, before they are multiplied. Default: 32.
    #[serde(default = "width")]
    pub width: usize,
    /// The stages, their channels before they are multiplied. Default: the paper's seven (table 2).
    #[serde(default = "stages")]
    pub stages: Vec<InvertedStage>,
    /// The factor of all channels, which are rounded to multiples of 8; those of the last convolution have no factor below
    /// 1. Default: 1, and no rounding.
    #[serde(default = "crate::defaults::activations::one")]
    pub width_multiplier: f64,
    /// The channels of a 1x1 convolution after the last stage, before they are multiplied; or none. Default: 1280.
    #[serde(default = "last_channels")]
    pub last_channels: Option<usize>,
    /// The norm after every convolution, or none. Default: [`NormConfig::batch`].
    #[serde(default = "NormConfig::default_norm")]
    pub norm: Option<NormConfig>,
    /// The activation of all convolutions but the last of each block. Default: ReLU6.
    #[serde(default = "activation")]
    pub activation: ActivationConfig,
    /// By how much the coarsest map is smaller than the image, at most: as
    /// [`ResNetEncoderConfig::output_stride`](super::ResNetEncoderConfig::output_stride). Default: none.
    #[serde(default)]
    pub output_stride: Option<usize>,
}

const fn width() -> usize {
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

const fn last_channels() -> Option<usize> {
    Some(1280)
}

const fn activation() -> ActivationConfig {
    ActivationConfig::Relu6
}

setters!(
    MobileNetV2EncoderConfig:
    with_in_channels(in_channels: usize),
    with_width(width: usize),
    with_stages(stages: Vec<InvertedStage>),
    with_width_multiplier(width_multiplier: f64),
    with_last_channels(last_channels: impl Into<Option<usize>>),
    with_norm(norm: impl Into<Option<NormConfig>>),
    with_activation(activation: ActivationConfig),
    with_output_stride(output_stride: impl Into<Option<usize>>),
);

impl Config for MobileNetV2EncoderConfig {}

impl Default for MobileNetV2EncoderConfig {
    fn default() -> Self {
        Self::new()
    }
}

impl MobileNetV2EncoderConfig {
    /// The network of the paper, for images of three channels: torchvision's `mobilenet_v2`.
    pub fn new() -> Self {
        Self {
            in_channels: 3,
            width: width(),
            stages: stages(),
            width_multiplier: 1.0,
            last_channels: last_channels(),
            norm: Some(NormConfig::batch()),
            activation: activation(),
            output_stride: None,
        }
    }

    /// The stages, their channels multiplied.
    pub fn scaled_stages(&self) -> Vec<InvertedStage> {
        let scaled = |stage: &InvertedStage| InvertedStage {
            channels: scaled_channels(stage.channels, self.width_multiplier),
            ..*stage
        };
        self.stages.iter().map(scaled).collect()
    }

    fn net(&self) -> InvertedNet {
        let last = |channels| scaled_channels(channels, self.width_multiplier.max(1.0));
        InvertedNet {
            in_channels: self.in_channels,
            width: scaled_channels(self.width, self.width_multiplier),
            stages: self.scaled_stages(),
            last_channels: self.last_channels.map(last),
            squeeze: None,
            norm: self.norm.clone(),
            activation: self.activation,
            drop_path: 0.0,
            output_stride: self.output_stride,
            stem_is_map: false,
        }
    }

    /// The channels of the feature maps: the last map of each size.
    pub fn feature_channels(&self) -> Vec<usize> {
        self.net().feature_channels()
    }

    /// Checks the options for maps of rank `R`.
    ///
    /// # Errors
    /// When there is no stage or one without blocks, a number is zero, or a part is invalid.
    pub fn validate<const R: usize>(&self) -> Result<(), ShapeError> {
        check_encoder(self.in_channels, |planner, x: &Map<R>| {
            self.trace(planner, x)
        })
    }

    /// The shapes of the feature maps: the last map of each size, the finest, half the size of the image, first.
    ///
    /// # Errors
    /// When the channels differ, or the configuration is invalid.
    pub fn feature_shapes<const R: usize>(
        &self,
        input: [usize; R],
    ) -> Result<Vec<[usize; R]>, ShapeError> {
        Planner::output_shapes(input, |planner, x| self.trace(planner, x))
    }

    /// Records every part, and returns the feature maps.
    ///
    /// # Errors
    /// As [`feature_shapes`](Self::feature_shapes).
    pub fn trace<const R: usize>(
        &self,
        planner: &mut Planner,
        x: &Map<R>,
    ) -> Result<Vec<Map<R>>, ShapeError> {
        check_multiplier(NAME, "width_multiplier", self.width_multiplier)?;
        self.net().trace(NAME, planner, x)
    }

    /// Builds the encoder.
    ///
    /// # Panics
    /// When [`validate`](Self::validate) returns an error, with its message.
    pub fn init<const R: usize>(&self, device: &Device) -> MobileNetV2Encoder<R> {
        expect(self.validate::<R>());
        let InvertedParts { stem, stages, last } = self.net().init(device);
        MobileNetV2Encoder {
            stem,
            stages,
            last,
            config: self.clone(),
        }
    }
}

impl<const R: usize> EncoderSpec<R> for MobileNetV2EncoderConfig {
    fn in_channels(&self) -> usize {
        self.in_channels
    }

    fn feature_channels(&self) -> Vec<usize> {
        self.feature_channels()
    }

    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Vec<Map<R>>, ShapeError> {
        self.trace(planner, x)
    }
}

/// MobileNetV2 without its head (arXiv:1801.04381), as torchvision's `mobilenet_v2` without its classifier, and
/// segmentation_models.pytorch's encoder `mobilenet_v2`: a strided 3x3 convolution, stages of
/// [`InvertedResidual`], and a 1x1 convolution, which is part of the deepest map.
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
#[derive(Module, Debug)]
pub struct MobileNetV2Encoder<const R: usize = 4> {
    /// The first convolution.
    pub stem: ConvNormAct<R>,
    /// The stages, the finest first.
    pub stages: Vec<Vec<InvertedResidual<R>>>,
    /// The convolution after them.
    pub last: Option<ConvNormAct<R>>,
    /// The options that the encoder was built with.
    #[module(skip)]
    pub config: MobileNetV2EncoderConfig,
}

impl<const R: usize> Encoder<R> for MobileNetV2Encoder<R> {
    fn features(&self, x: Tensor<R>) -> Vec<Tensor<R>> {
        expect(self.feature_shapes(x.dims()));
        let net = self.config.net();
        net.features(&self.stem, &self.stages, &self.last, x)
    }

    fn feature_channels(&self) -> Vec<usize> {
        self.config.feature_channels()
    }

    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Vec<Map<R>>, ShapeError> {
        self.config.trace(planner, x)
    }
}

#[cfg(test)]
mod tests {
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
    fn a_short_file_is_the_network_of_the_paper() {
        let read: MobileNetV2EncoderConfig = serde_json::from_str("{}").unwrap();
        let [read, new] = [read, MobileNetV2EncoderConfig::new()]
            .map(|config| serde_json::to_value(config).unwrap());
        assert_eq!(read, new);
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
