//! [`EfficientNetEncoder`]: stages of inverted bottlenecks with squeeze-and-excitation.

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

const NAME: &str = "EfficientNetEncoder";

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
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct EfficientNetEncoderConfig {
    /// The channels of the image. Default: 3.
    #[serde(default = "crate::defaults::image_channels")]
    pub in_channels: usize,
    /// The channels of the first convolution, before they are multiplied. Default: 32.
    #[serde(default = "width")]
    pub width: usize,
    /// The stages, before their numbers are multiplied. Default: the seven of B0 (table 1 of the paper).
    #[serde(default = "stages")]
    pub stages: Vec<InvertedStage>,
    /// The factor of all channels, which are rounded to multiples of 8. Default: 1, and no rounding.
    #[serde(default = "crate::defaults::activations::one")]
    pub width_multiplier: f64,
    /// The factor of the number of blocks of each stage, rounded up. Default: 1.
    #[serde(default = "crate::defaults::activations::one")]
    pub depth_multiplier: f64,
    /// The channels of a 1x1 convolution after the last stage, before they are multiplied; or none. Default: 1280.
    #[serde(default = "last_channels")]
    pub last_channels: Option<usize>,
    /// By how much the input channels of a block are divided in its squeeze-and-excitation, or none. Default: 4.
    #[serde(default = "squeeze")]
    pub squeeze: Option<usize>,
    /// The norm after every convolution, or none. Default: [`NormConfig::batch`].
    #[serde(default = "NormConfig::default_norm")]
    pub norm: Option<NormConfig>,
    /// The activation of all convolutions but the last of each block. Default: SiLU.
    #[serde(default = "activation")]
    pub activation: ActivationConfig,
    /// The block `i` of `n`, from 0, is left out in training with the probability `drop_path i / n`, where it has a
    /// residual connection (arXiv:1603.09382). Default: 0. torchvision: 0.2.
    #[serde(default)]
    pub drop_path: f64,
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
        InvertedStage::new(6, 40, 2, 2).with_kernel_size(5),
        InvertedStage::new(6, 80, 3, 2),
        InvertedStage::new(6, 112, 3, 1).with_kernel_size(5),
        InvertedStage::new(6, 192, 4, 2).with_kernel_size(5),
        InvertedStage::new(6, 320, 1, 1),
    ]
}

const fn last_channels() -> Option<usize> {
    Some(1280)
}

const fn squeeze() -> Option<usize> {
    Some(4)
}

const fn activation() -> ActivationConfig {
    ActivationConfig::Silu
}

setters!(
    EfficientNetEncoderConfig:
    with_in_channels(in_channels: usize),
    with_width(width: usize),
    with_stages(stages: Vec<InvertedStage>),
    with_width_multiplier(width_multiplier: f64),
    with_depth_multiplier(depth_multiplier: f64),
    with_last_channels(last_channels: impl Into<Option<usize>>),
    with_squeeze(squeeze: impl Into<Option<usize>>),
    with_norm(norm: impl Into<Option<NormConfig>>),
    with_activation(activation: ActivationConfig),
    with_drop_path(drop_path: f64),
    with_output_stride(output_stride: impl Into<Option<usize>>),
);

impl Config for EfficientNetEncoderConfig {}

impl EfficientNetEncoderConfig {
    /// B0 with so many times its channels and blocks, for images of three channels.
    pub fn new(width_multiplier: f64, depth_multiplier: f64) -> Self {
        Self {
            in_channels: 3,
            width: width(),
            stages: stages(),
            width_multiplier,
            depth_multiplier,
            last_channels: last_channels(),
            squeeze: squeeze(),
            norm: Some(NormConfig::batch()),
            activation: activation(),
            drop_path: 0.0,
            output_stride: None,
        }
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

    /// The stages, their channels and blocks multiplied.
    pub fn scaled_stages(&self) -> Vec<InvertedStage> {
        let scaled = |stage: &InvertedStage| InvertedStage {
            channels: scaled_channels(stage.channels, self.width_multiplier),
            depth: rounded_up(stage.depth as f64 * self.depth_multiplier),
            ..*stage
        };
        self.stages.iter().map(scaled).collect()
    }

    fn net(&self) -> InvertedNet {
        let scaled = |channels| scaled_channels(channels, self.width_multiplier);
        InvertedNet {
            in_channels: self.in_channels,
            width: scaled(self.width),
            stages: self.scaled_stages(),
            last_channels: self.last_channels.map(scaled),
            squeeze: self.squeeze,
            norm: self.norm.clone(),
            activation: self.activation,
            drop_path: self.drop_path,
            output_stride: self.output_stride,
            stem_is_map: true,
        }
    }

    /// The channels of the feature maps: the first convolution, and the last map of each size below.
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

    /// The shapes of the feature maps: the first convolution, half the size of the image, and the last map of each
    /// size below.
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
        check_multiplier(NAME, "depth_multiplier", self.depth_multiplier)?;
        self.net().trace(NAME, planner, x)
    }

    /// Builds the encoder.
    ///
    /// # Panics
    /// When [`validate`](Self::validate) returns an error, with its message.
    pub fn init<const R: usize>(&self, device: &Device) -> EfficientNetEncoder<R> {
        expect(self.validate::<R>());
        let InvertedParts { stem, stages, last } = self.net().init(device);
        EfficientNetEncoder {
            stem,
            stages,
            last,
            config: self.clone(),
        }
    }
}

/// The least whole number that is not less than `value`. (`f64::ceil` is in `std` only.)
fn rounded_up(value: f64) -> usize {
    let whole = value as usize;
    whole.saturating_add(usize::from((whole as f64) < value))
}

impl<const R: usize> EncoderSpec<R> for EfficientNetEncoderConfig {
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

/// EfficientNet without its head (arXiv:1905.11946): a strided 3x3 convolution, stages of [`InvertedResidual`] with
/// squeeze-and-excitation, and a 1x1 convolution, which is part of the deepest map.
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
#[derive(Module, Debug)]
pub struct EfficientNetEncoder<const R: usize = 4> {
    /// The first convolution.
    pub stem: ConvNormAct<R>,
    /// The stages, the finest first.
    pub stages: Vec<Vec<InvertedResidual<R>>>,
    /// The convolution after them.
    pub last: Option<ConvNormAct<R>>,
    /// The options that the encoder was built with.
    #[module(skip)]
    pub config: EfficientNetEncoderConfig,
}

impl<const R: usize> Encoder<R> for EfficientNetEncoder<R> {
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
    fn a_short_file_is_b0() {
        let read: EfficientNetEncoderConfig = serde_json::from_str("{}").unwrap();
        let [read, new] = [read, EfficientNetEncoderConfig::b0()]
            .map(|config| serde_json::to_value(config).unwrap());
        assert_eq!(read, new);
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
