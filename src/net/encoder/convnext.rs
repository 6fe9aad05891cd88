//! [`ConvNextEncoder`]: stages of depthwise 7x7 convolutions, layer norms and pointwise convolutions.

use alloc::{format, vec::Vec};

use burn::config::Config;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::any::{EncoderSpec, check_encoder};
use super::{Encoder, check_depths, check_widths};
use crate::fuse::{SkipAdd, SkipAddConfig};
use crate::graph::window::Padding;
use crate::graph::{Map, Planner};
use crate::layers::DropPath;
use crate::layers::activation::ActivationConfig;
use crate::layers::block::{ConvNormAct, ConvNormActConfig, ConvStyle};
use crate::layers::layer::Layer;
use crate::layers::norm::{LayerNorm, LayerNormConfig};
use crate::plan::Trace;
use crate::setters::setters;
use crate::shape::{ShapeError, check_not_huge, check_positive, expect};

const NAME: &str = "ConvNextEncoder";

/// The epsilon of all norms.
const EPSILON: f64 = 1e-6;

/// Configuration of [`ConvNextEncoder`].
///
/// # Example
/// ```
/// use burn_skip::net::ConvNextEncoderConfig;
///
/// let config = ConvNextEncoderConfig::tiny();
/// assert_eq!(config.feature_channels(), [96, 192, 384, 768]);
/// assert_eq!(config.feature_shapes([1, 3, 224, 224]).unwrap()[3], [1, 768, 7, 7]);
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ConvNextEncoderConfig {
    /// The channels of the image. Default: 3.
    #[serde(default = "crate::defaults::image_channels")]
    pub in_channels: usize,
    /// The channels of each stage.
    pub widths: Vec<usize>,
    /// The number of blocks of each stage.
    pub depths: Vec<usize>,
    /// The factor of each channel of a block's output to begin with (arXiv:2103.17239), or none. Default: 1e-6.
    #[serde(default = "some_layer_scale")]
    pub layer_scale: Option<f64>,
    /// The probability with which the last block is left out in training; it rises from 0 at the first block
    /// (arXiv:1603.09382). Default: 0.
    #[serde(default)]
    pub drop_path: f64,
}

const fn some_layer_scale() -> Option<f64> {
    Some(1e-6)
}

setters!(
    ConvNextEncoderConfig:
    with_in_channels(in_channels: usize),
    with_layer_scale(layer_scale: impl Into<Option<f64>>),
    with_drop_path(drop_path: f64),
);

impl Config for ConvNextEncoderConfig {}

/// The convolutions and the norm of a block: depthwise, norm, to four times the channels, back.
type BlockConfig = (
    ConvNormActConfig,
    LayerNormConfig,
    ConvNormActConfig,
    ConvNormActConfig,
);

impl ConvNextEncoderConfig {
    /// Stages of `widths` channels and `depths` blocks, for images of three channels.
    pub fn new(widths: Vec<usize>, depths: Vec<usize>) -> Self {
        Self {
            in_channels: 3,
            widths,
            depths,
            layer_scale: some_layer_scale(),
            drop_path: 0.0,
        }
    }

    /// ConvNeXt-T.
    pub fn tiny() -> Self {
        Self::new([96, 192, 384, 768].into(), [3, 3, 9, 3].into())
    }

    /// ConvNeXt-S.
    pub fn small() -> Self {
        Self::new([96, 192, 384, 768].into(), [3, 3, 27, 3].into())
    }

    /// ConvNeXt-B.
    pub fn base() -> Self {
        Self::new([128, 256, 512, 1024].into(), [3, 3, 27, 3].into())
    }

    fn norm(channels: usize) -> LayerNormConfig {
        LayerNormConfig::new(channels).with_epsilon(EPSILON)
    }

    /// A convolution whose windows lie side by side.
    fn patches(channels: [usize; 2], size: usize) -> ConvNormActConfig {
        let style = ConvStyle::bare().with_padding(Padding::Valid);
        ConvNormActConfig::new(channels, size)
            .with_stride(size)
            .with_style(style)
    }

    /// Patches of 4 positions, and a norm.
    fn stem(&self) -> (ConvNormActConfig, LayerNormConfig) {
        let width = self.widths[0];
        (
            Self::patches([self.in_channels, width], 4),
            Self::norm(width),
        )
    }

    /// A norm, and patches of 2 positions: what is before the stage `index`.
    fn down(&self, index: usize) -> (LayerNormConfig, ConvNormActConfig) {
        let channels = [self.widths[index - 1], self.widths[index]];
        (Self::norm(channels[0]), Self::patches(channels, 2))
    }

    fn block(&self, width: usize) -> BlockConfig {
        let conv = |channels, kernel| {
            ConvNormActConfig::new(channels, kernel).with_style(ConvStyle::bare())
        };
        let wide = width.saturating_mul(4);
        (
            conv([width, width], 7).with_groups(width),
            Self::norm(width),
            conv([width, wide], 1).with_activation(ActivationConfig::Gelu),
            conv([wide, width], 1),
        )
    }

    /// The connection over the block `index` of a stage.
    fn connection(&self, stage: usize, index: usize) -> SkipAddConfig {
        let before: usize = self.depths[..stage].iter().sum();
        let last = self.depths.iter().sum::<usize>().saturating_sub(1).max(1);
        SkipAddConfig::new([self.widths[stage]; 2])
            .with_activation(None)
            .with_layer_scale(self.layer_scale)
            .with_drop_path(self.drop_path * (before + index) as f64 / last as f64)
    }

    /// The channels of the feature maps: those of the stages.
    pub fn feature_channels(&self) -> Vec<usize> {
        self.widths.clone()
    }

    /// Checks the options for maps of rank `R`.
    ///
    /// # Errors
    /// When there are not as many widths as depths, a number is zero, or a part is invalid.
    pub fn validate<const R: usize>(&self) -> Result<(), ShapeError> {
        check_encoder(self.in_channels, |planner, x: &Map<R>| {
            self.trace(planner, x)
        })
    }

    /// Checks what no part checks.
    fn check_numbers(&self) -> Result<(), ShapeError> {
        check_positive(NAME, "in_channels", self.in_channels)?;
        check_widths(NAME, &self.widths)?;
        check_depths(NAME, &self.depths)?;
        for &width in &self.widths {
            check_not_huge(NAME, "widths", width)?;
        }
        DropPath::validate(self.drop_path).map_err(|e| e.within("drop_path"))?;
        if self.widths.len() == self.depths.len() {
            return Ok(());
        }
        Err(ShapeError::new(
            NAME,
            format!(
                "there are {} widths and {} depths",
                self.widths.len(),
                self.depths.len()
            ),
            "Give one of each for every stage",
        ))
    }

    /// The shapes of the feature maps for an image of shape `input`, the finest first.
    ///
    /// # Errors
    /// When the channels differ, the image is too small, or the configuration is invalid.
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
        planner.nodes(NAME, &[x], |planner| {
            self.check_numbers()?;
            let mut x = self.stem().trace(planner.at("stem"), x)?;
            let mut maps = Vec::with_capacity(self.widths.len());
            for (stage, &depth) in self.depths.iter().enumerate() {
                if stage > 0 {
                    x = self
                        .down(stage)
                        .trace(planner.at(format!("downs.{}", stage - 1)), &x)?;
                }
                let block = self.block(self.widths[stage]);
                let blocks = planner.at(format!("stages.{stage}"));
                x = blocks.sequence(0..depth, &x, |index, planner, x| {
                    let connection = self.connection(stage, index);
                    connection.trace_over(planner, x, |planner, x| block.trace(planner, x))
                })?;
                maps.push(x.clone());
            }
            Ok(maps)
        })
    }

    /// Builds the encoder.
    ///
    /// # Panics
    /// When [`validate`](Self::validate) returns an error, with its message.
    pub fn init<const R: usize>(&self, device: &Device) -> ConvNextEncoder<R> {
        expect(self.validate::<R>());
        let (patches, norm) = self.stem();
        let down = |stage: usize| {
            let (norm, patches) = self.down(stage);
            (norm.init(device), patches.init(device))
        };
        let block = |stage: usize, index: usize| {
            let (depthwise, norm, wide, back) = self.block(self.widths[stage]);
            let block = (
                depthwise.init(device),
                norm.init(device),
                wide.init(device),
                back.init(device),
            );
            self.connection(stage, index).init(block, device)
        };
        let stages = self.depths.iter().enumerate();
        ConvNextEncoder {
            stem: (patches.init(device), norm.init(device)),
            downs: (1..self.widths.len()).map(down).collect(),
            stages: stages
                .map(|(stage, &depth)| (0..depth).map(|index| block(stage, index)).collect())
                .collect(),
            config: self.clone(),
        }
    }
}

impl<const R: usize> EncoderSpec<R> for ConvNextEncoderConfig {
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

/// A block of ConvNeXt: `x + scale * conv(gelu(conv(norm(depthwise(x)))))`.
pub type ConvNextBlock<const R: usize = 4> =
    SkipAdd<(ConvNormAct<R>, LayerNorm, ConvNormAct<R>, ConvNormAct<R>), R>;

/// ConvNeXt without its head (arXiv:2201.03545): patches of 4x4, and stages of [blocks](ConvNextBlock), each of half the
/// size of the one before it; as torchvision's and timm's `convnext_tiny` to `convnext_base`.
///
/// # Shapes
/// - input: `[batch, in_channels, spatial...]`
/// - features: the stages at 1/4, 1/8, 1/16 and 1/32, sizes rounded down
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::net::{ConvNextEncoder, ConvNextEncoderConfig, Encoder};
///
/// let device = Device::flex();
/// let config = ConvNextEncoderConfig::new(vec![8, 16], vec![1, 2]);
/// let encoder: ConvNextEncoder = config.init(&device);
/// let maps = encoder.features(Tensor::zeros([1, 3, 33, 20], &device));
/// assert_eq!((maps[0].dims(), maps[1].dims()), ([1, 8, 8, 5], [1, 16, 4, 2]));
/// ```
#[derive(Module, Debug)]
pub struct ConvNextEncoder<const R: usize = 4> {
    /// The patches of the image, and their norm.
    pub stem: (ConvNormAct<R>, LayerNorm),
    /// The norm and the patches before each stage but the first.
    pub downs: Vec<(LayerNorm, ConvNormAct<R>)>,
    /// The stages, the finest first.
    pub stages: Vec<Vec<ConvNextBlock<R>>>,
    /// The options that the encoder was built with.
    #[module(skip)]
    pub config: ConvNextEncoderConfig,
}

impl<const R: usize> Encoder<R> for ConvNextEncoder<R> {
    fn features(&self, x: Tensor<R>) -> Vec<Tensor<R>> {
        expect(self.feature_shapes(x.dims()));
        let mut x = self.stem.forward(x);
        let mut maps = Vec::with_capacity(self.stages.len());
        for (index, stage) in self.stages.iter().enumerate() {
            if let Some(down) = index.checked_sub(1).map(|before| &self.downs[before]) {
                x = down.forward(x);
            }
            x = stage.forward(x);
            maps.push(x.clone());
        }
        maps
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
    use crate::net::Classifier;
    use alloc::{string::ToString, vec};

    #[test]
    fn as_many_parameters_as_torchvision() {
        // 28,589,128 of `convnext_tiny`, of which 2 x 768 are those of the norm before its head.
        let config = ConvNextEncoderConfig::tiny();
        let net = Classifier::new(config.init::<4>(&Device::flex()), 1000, &Device::flex());
        assert_eq!(net.num_params(), 28_589_128 - 2 * 768);
    }

    #[test]
    fn its_plan_is_that_of_its_configuration() {
        let config = ConvNextEncoderConfig::new(vec![4, 8], vec![1, 2]).with_drop_path(0.1);
        let encoder: ConvNextEncoder<3> = config.init(&Device::flex());
        let plan = Encoder::plan(&encoder, [2, 3, 37]);
        assert!(plan.error().is_none());
        assert_eq!(plan.root.outputs[1].shape, [2, 8, 4]);
        assert_eq!(plan.root.total_parameters() as usize, encoder.num_params());
    }

    #[test]
    fn what_cannot_be_built_is_refused() {
        let text = |config: ConvNextEncoderConfig| config.validate::<4>().unwrap_err().to_string();
        assert_eq!(
            text(ConvNextEncoderConfig::new(vec![4, 8], vec![1])),
            "ConvNextEncoder: there are 2 widths and 1 depths. Give one of each for every stage."
        );
    }
}
