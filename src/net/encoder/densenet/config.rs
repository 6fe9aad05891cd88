//! [`DenseNetEncoderConfig`]: the options of a DenseNet, and its blocks.

use alloc::{format, vec, vec::Vec};

use burn::config::Config;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::DenseNetEncoder;
use crate::fuse::SkipConcatConfig;
use crate::fuse::merge::Order;
use crate::graph::window::Padding;
use crate::graph::{Map, Planner};
use crate::layers::activation::ActivationConfig;
use crate::layers::block::{ConvNormActConfig, LayerOrder};
use crate::layers::norm::NormConfig;
use crate::layers::pool::{PoolConfig, PoolKind};
use crate::net::encoder::any::{EncoderSpec, check_encoder};
use crate::net::encoder::{check_depths, stem_pool};
use crate::plan::Trace;
use crate::setters::setters;
use crate::shape::{ShapeError, check_positive, expect};

const NAME: &str = "DenseNetEncoder";

/// Which maps of a DenseNet are its feature maps, below the first convolution's.
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::net::{DenseNetEncoder, DenseNetEncoderConfig, DenseNetMaps, Encoder};
///
/// let config = DenseNetEncoderConfig::new(vec![1, 1]).with_width(4).with_growth(2);
/// let config = config.with_maps(DenseNetMaps::smp());
/// let encoder: DenseNetEncoder = config.init(&Device::flex());
/// let maps = encoder.features(Tensor::ones([1, 3, 16, 16], &Device::flex()));
/// assert!(maps[1].clone().min().into_scalar::<f32>() >= 0.0); // after a ReLU
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum DenseNetMaps {
    /// The outputs of the blocks; of the last one after the last norm and the activation.
    #[default]
    Blocks,
    /// The outputs of the blocks after the norm and the activation of the transition that follows; of the last one after
    /// the last norm.
    Normed {
        /// Whether the activation follows the last norm. segmentation_models.pytorch: where that is the norm of a
        /// transition, in an encoder of fewer blocks. Default: false.
        #[serde(default)]
        last_activation: bool,
    },
}

impl DenseNetMaps {
    /// Those of segmentation_models.pytorch's encoders `densenet121` to `densenet201`.
    pub const fn smp() -> Self {
        Self::Normed {
            last_activation: false,
        }
    }

    /// Whether the activation follows the last norm.
    const fn has_last_activation(self) -> bool {
        match self {
            Self::Blocks => true,
            Self::Normed { last_activation } => last_activation,
        }
    }

    /// Whether a map is taken within a transition.
    pub(super) const fn is_normed(self) -> bool {
        matches!(self, Self::Normed { .. })
    }
}

/// Configuration of [`DenseNetEncoder`].
///
/// # Example
/// ```
/// use burn_skip::net::DenseNetEncoderConfig;
///
/// let config = DenseNetEncoderConfig::densenet121();
/// assert_eq!(config.feature_channels(), [64, 256, 512, 1024, 1024]);
/// let narrow = config.with_growth(16);
/// assert_eq!(narrow.feature_channels(), [64, 160, 272, 520, 516]);
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct DenseNetEncoderConfig {
    /// The channels of the image. Default: 3.
    #[serde(default = "crate::defaults::image_channels")]
    pub in_channels: usize,
    /// The channels of the stem. Default: 64.
    #[serde(default = "crate::defaults::width")]
    pub width: usize,
    /// How many channels each layer adds. Default: 32.
    #[serde(default = "crate::defaults::growth")]
    pub growth: usize,
    /// The channels between the two convolutions of a layer, as a multiple of the growth. Default: 4.
    #[serde(default = "crate::defaults::bottleneck")]
    pub bottleneck: usize,
    /// The number of layers of each block.
    pub depths: Vec<usize>,
    /// The norm. Default: [`NormConfig::batch`].
    #[serde(default = "NormConfig::batch")]
    pub norm: NormConfig,
    /// The activation. Default: ReLU.
    #[serde(default = "ActivationConfig::default_activation")]
    pub activation: ActivationConfig,
    /// Which maps are the feature maps. Default: [`DenseNetMaps::Blocks`].
    #[serde(default)]
    pub maps: DenseNetMaps,
}

setters!(
    DenseNetEncoderConfig:
    with_in_channels(in_channels: usize),
    with_width(width: usize),
    with_growth(growth: usize),
    with_bottleneck(bottleneck: usize),
    with_norm(norm: NormConfig),
    with_activation(activation: ActivationConfig),
    with_maps(maps: DenseNetMaps),
);

impl Config for DenseNetEncoderConfig {}

impl DenseNetEncoderConfig {
    /// Blocks of `depths` layers, for images of three channels.
    pub fn new(depths: Vec<usize>) -> Self {
        Self {
            in_channels: 3,
            width: 64,
            growth: 32,
            bottleneck: 4,
            depths,
            norm: NormConfig::batch(),
            activation: ActivationConfig::Relu,
            maps: DenseNetMaps::Blocks,
        }
    }

    /// DenseNet-121.
    pub fn densenet121() -> Self {
        Self::new(vec![6, 12, 24, 16])
    }

    /// DenseNet-161: 96 channels in the stem, and 48 more a layer.
    pub fn densenet161() -> Self {
        Self::new(vec![6, 12, 36, 24])
            .with_width(96)
            .with_growth(48)
    }

    /// DenseNet-169.
    pub fn densenet169() -> Self {
        Self::new(vec![6, 12, 32, 32])
    }

    /// DenseNet-201.
    pub fn densenet201() -> Self {
        Self::new(vec![6, 12, 48, 32])
    }

    fn stem(&self) -> ConvNormActConfig {
        self.conv([self.in_channels, self.width], 7)
            .with_stride(2)
            .with_order(LayerOrder::ConvNormAct)
    }

    /// A convolution after its norm and activation.
    fn conv(&self, channels: [usize; 2], kernel: usize) -> ConvNormActConfig {
        ConvNormActConfig::new(channels, kernel)
            .with_padding(Padding::explicit(kernel / 2))
            .with_norm(self.norm.clone())
            .with_activation(self.activation)
            .with_order(LayerOrder::NormActConv)
            .with_bias(false)
    }

    /// The two convolutions of a layer.
    fn layer(&self, channels: usize) -> [ConvNormActConfig; 2] {
        let mid = self.growth.saturating_mul(self.bottleneck);
        [
            self.conv([channels, mid], 1),
            self.conv([mid, self.growth], 3),
        ]
    }

    /// The connection over a layer: its input comes before the channels that the layer adds.
    fn connection(&self) -> SkipConcatConfig {
        SkipConcatConfig::new().with_order(Order::SkipFirst)
    }

    /// The numbers of each block.
    fn stages(&self) -> Vec<Stage> {
        let mut input = self.width;
        let blocks = self.depths.len();
        let stage = |(index, &depth): (usize, &usize)| {
            let stage = Stage {
                input,
                growth: self.growth,
                depth,
                is_last: index + 1 == blocks,
            };
            input = stage.output() / 2;
            stage
        };
        self.depths.iter().enumerate().map(stage).collect()
    }

    /// The transition to the next block, if there is one: halves the channels, then the size.
    fn transition(&self, stage: &Stage) -> Option<Transition> {
        let output = stage.output();
        (!stage.is_last).then(|| Transition {
            conv: self.conv([output, output / 2], 1),
            pool: PoolConfig::new(PoolKind::Avg, 2),
        })
    }

    /// The activation after the last norm.
    fn last_activation(&self) -> Option<ActivationConfig> {
        self.maps.has_last_activation().then_some(self.activation)
    }

    /// Leaves the blocks of the first `depth` feature maps, the last of which is then that of a transition, if the maps
    /// are.
    pub(in crate::net::encoder) fn truncate(&mut self, depth: usize) {
        self.depths.truncate(depth - 1);
        if let DenseNetMaps::Normed { last_activation } = &mut self.maps {
            *last_activation = true;
        }
    }

    /// The channels of the feature maps: the stem, and each block.
    pub fn feature_channels(&self) -> Vec<usize> {
        let stages = self.stages();
        let ends = stages.iter().map(Stage::output);
        core::iter::once(self.width).chain(ends).collect()
    }

    /// Checks the options for maps of rank `R`.
    ///
    /// # Errors
    /// When there is no block or one without layers, a number is zero, or a part is invalid.
    pub fn validate<const R: usize>(&self) -> Result<(), ShapeError> {
        check_encoder(self.in_channels, |planner, x: &Map<R>| {
            self.trace(planner, x)
        })
    }

    /// Checks what no part checks.
    fn check_numbers(&self) -> Result<(), ShapeError> {
        for (what, number) in [
            ("in_channels", self.in_channels),
            ("width", self.width),
            ("growth", self.growth),
            ("bottleneck", self.bottleneck),
        ] {
            check_positive(NAME, what, number)?;
        }
        check_depths(NAME, &self.depths)
    }

    /// The shapes of the feature maps: the stem (half the size), and each block, the finest first.
    ///
    /// # Errors
    /// When the channels differ, the image is too small for the transitions, or the configuration
    /// is invalid.
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
            let stem = self.stem().trace(planner.at("stem"), x)?;
            let mut x = stem_pool().trace(planner.at("pool"), &stem)?;
            let mut maps = vec![stem];
            for (index, stage) in self.stages().iter().enumerate() {
                x = self.trace_block(planner.at(format!("blocks.{index}")), stage, &x)?;
                match self.transition(stage) {
                    Some(transition) if self.maps.is_normed() => {
                        let path = format!("transitions.{index}");
                        let at = |part: &str| format!("{path}.0.{part}");
                        x = self.norm.trace(planner.at(at("norm")), &x)?;
                        x = self.activation.trace(planner.at(at("activation")), &x)?;
                        maps.push(x.clone());
                        x = transition.without_norm().trace(planner.at(path), &x)?;
                    }
                    Some(transition) => {
                        maps.push(x.clone());
                        x = transition.trace(planner.at(format!("transitions.{index}")), &x)?;
                    }
                    None => {
                        x = self.norm.trace(planner.at("norm"), &x)?;
                        let activation = self.last_activation();
                        x = activation.trace(planner.at("activation"), &x)?;
                        maps.push(x.clone());
                    }
                }
            }
            Ok(maps)
        })
    }

    /// Records the layers of one block.
    fn trace_block<const R: usize>(
        &self,
        planner: &mut Planner,
        stage: &Stage,
        x: &Map<R>,
    ) -> Result<Map<R>, ShapeError> {
        let layers = stage.inputs().map(|channels| self.layer(channels));
        planner.sequence(layers, x, |convs, planner, x| {
            self.connection().trace_over(planner, x, |planner, x| {
                planner.sequence(&convs, x, ConvNormActConfig::trace)
            })
        })
    }

    /// Builds the encoder.
    ///
    /// # Panics
    /// When [`validate`](Self::validate) returns an error, with its message.
    pub fn init<const R: usize>(&self, device: &Device) -> DenseNetEncoder<R> {
        expect(self.validate::<R>());
        let stages = self.stages();
        let layer = |channels| {
            let [first, second] = self.layer(channels);
            self.connection()
                .init((first.init(device), second.init(device)))
        };
        let transitions = stages.iter().filter_map(|stage| self.transition(stage));
        let last = stages.last().map_or(0, Stage::output);
        DenseNetEncoder {
            stem: self.stem().init(device),
            pool: stem_pool().init(),
            blocks: stages
                .iter()
                .map(|stage| stage.inputs().map(layer).collect())
                .collect(),
            transitions: transitions
                .map(|transition| (transition.conv.init(device), transition.pool.init()))
                .collect(),
            norm: self.norm.init(last, device),
            activation: self.last_activation().map(|last| last.init(device)),
            config: self.clone(),
        }
    }
}

/// The numbers of one dense block.
struct Stage {
    /// The input channels.
    input: usize,
    /// How many channels each layer adds.
    growth: usize,
    /// How many layers there are.
    depth: usize,
    /// Whether no transition follows.
    is_last: bool,
}

impl Stage {
    /// The channels that the layer `index` reads.
    fn channels(&self, index: usize) -> usize {
        self.input.saturating_add(index.saturating_mul(self.growth))
    }

    /// The channels that each layer reads.
    fn inputs(&self) -> impl Iterator<Item = usize> {
        (0..self.depth).map(|index| self.channels(index))
    }

    /// The output channels.
    fn output(&self) -> usize {
        self.channels(self.depth)
    }
}

/// The transition between two blocks.
struct Transition {
    conv: ConvNormActConfig,
    pool: PoolConfig,
}

impl Transition {
    /// The transition after its norm and activation.
    fn without_norm(self) -> Self {
        let conv = self.conv.with_norm(None).with_activation(None);
        Self { conv, ..self }
    }
}

impl<const R: usize> Trace<R> for Transition {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        planner.node("Sequence", &[x], |planner| {
            let halved = self.conv.trace(planner.at(0), x)?;
            self.pool.trace(planner.at(1), &halved)
        })
    }
}

impl<const R: usize> EncoderSpec<R> for DenseNetEncoderConfig {
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
