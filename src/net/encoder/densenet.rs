//! [`DenseNet`] and [`DenseNetEncoder`]: blocks of [`SkipConcat`].

use alloc::{format, vec, vec::Vec};

use burn::config::Config;
use burn::module::Module;
use burn::nn::norm::Normalization;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::any::{EncoderSpec, check_encoder};
use super::{AnyEncoder, Encoder, check_depths, stem_pool};
use crate::fuse::merge::Order;
use crate::fuse::{SkipConcat, SkipConcatConfig};
use crate::graph::window::Padding;
use crate::graph::{Map, Planner};
use crate::layers::activation::{Activation, ActivationConfig};
use crate::layers::block::{ConvNormAct, ConvNormActConfig, LayerOrder};
use crate::layers::layer::Layer;
use crate::layers::norm::NormConfig;
use crate::layers::pool::{Pool, PoolConfig, PoolKind};
use crate::net::Classifier;
use crate::plan::Trace;
use crate::setters::setters;
use crate::shape::{ShapeError, check_positive, expect};

const NAME: &str = "DenseNetEncoder";

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
}

setters!(
    DenseNetEncoderConfig:
    with_in_channels(in_channels: usize),
    with_width(width: usize),
    with_growth(growth: usize),
    with_bottleneck(bottleneck: usize),
    with_norm(norm: NormConfig),
    with_activation(activation: ActivationConfig),
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
        }
    }

    /// DenseNet-121.
    pub fn densenet121() -> Self {
        Self::new(vec![6, 12, 24, 16])
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

    /// What leads from a block to the next: half the channels, and then half the size.
    fn transition(&self, stage: &Stage) -> Option<Transition> {
        let output = stage.output();
        (!stage.is_last).then(|| Transition {
            conv: self.conv([output, output / 2], 1),
            pool: PoolConfig::new(PoolKind::Avg, 2),
        })
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
                    Some(transition) => {
                        maps.push(x.clone());
                        x = transition.trace(planner.at(format!("transitions.{index}")), &x)?;
                    }
                    None => {
                        let normed = self.norm.trace(planner.at("norm"), &x)?;
                        maps.push(self.activation.trace(planner.at("activation"), &normed)?);
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
            activation: self.activation.init(device),
            config: self.clone(),
        }
    }
}

/// The numbers of one dense block.
struct Stage {
    /// The channels that come in.
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

    /// The channels that go out.
    fn output(&self) -> usize {
        self.channels(self.depth)
    }
}

/// What leads from a block to the next.
struct Transition {
    conv: ConvNormActConfig,
    pool: PoolConfig,
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

    fn init(&self, device: &Device) -> AnyEncoder<R> {
        AnyEncoder::DenseNet(self.init(device))
    }
}

/// A layer of a dense block: two convolutions, whose output is appended to their input.
pub type DenseLayer<const R: usize = 4> = SkipConcat<(ConvNormAct<R>, ConvNormAct<R>)>;

/// A DenseNet without its head (arXiv:1608.06993): a strided 7x7 convolution, a max pool, and blocks in
/// which each layer reads the outputs of all layers before it, with transitions that halve channels and size.
///
/// # Shapes
/// - input: `[batch, in_channels, spatial...]`
/// - features: the stem `[batch, width, spatial / 2...]`, and the blocks, before their transitions, at
///   1/4, 1/8, 1/16, 1/32; the last after its norm and activation
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::net::{DenseNetEncoder, DenseNetEncoderConfig, Encoder};
///
/// let device = Device::flex();
/// let config = DenseNetEncoderConfig::new(vec![2, 2]).with_width(8).with_growth(4);
/// let encoder: DenseNetEncoder = config.init(&device);
/// let maps = encoder.features(Tensor::zeros([1, 3, 64, 48], &device));
/// assert_eq!(maps[1].dims(), [1, 16, 16, 12]);
/// assert_eq!(maps[2].dims(), [1, 16, 8, 6]);
/// ```
#[derive(Module, Debug)]
pub struct DenseNetEncoder<const R: usize = 4> {
    /// The first convolution.
    pub stem: ConvNormAct<R>,
    /// The max pool after it.
    pub pool: Pool,
    /// The blocks, the finest first.
    pub blocks: Vec<Vec<DenseLayer<R>>>,
    /// The convolution and the pool from each block to the next.
    pub transitions: Vec<(ConvNormAct<R>, Pool)>,
    /// The norm of the last block.
    pub norm: Normalization,
    /// The activation after it.
    pub activation: Activation,
    /// The options that the encoder was built with.
    #[module(skip)]
    pub config: DenseNetEncoderConfig,
}

impl<const R: usize> Encoder<R> for DenseNetEncoder<R> {
    fn features(&self, x: Tensor<R>) -> Vec<Tensor<R>> {
        expect(self.feature_shapes(x.dims()));
        let stem = self.stem.forward(x);
        let mut x = self.pool.forward(stem.clone());
        let mut maps = vec![stem];
        for (index, block) in self.blocks.iter().enumerate() {
            x = block.forward(x);
            match self.transitions.get(index) {
                Some(transition) => {
                    maps.push(x.clone());
                    x = transition.forward(x);
                }
                None => x = Layer::forward(&self.activation, Layer::forward(&self.norm, x)),
            }
        }
        maps.push(x);
        maps
    }

    fn feature_channels(&self) -> Vec<usize> {
        self.config.feature_channels()
    }

    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Vec<Map<R>>, ShapeError> {
        self.config.trace(planner, x)
    }
}

/// DenseNet (arXiv:1608.06993), as torchvision's `densenet121`, for one, two or three spatial axes: a
/// [`DenseNetEncoder`] and a [`Classifier`] on it.
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::net::{DenseNet, DenseNetEncoderConfig};
///
/// let device = Device::flex();
/// let config = DenseNetEncoderConfig::new(vec![2, 2]).with_width(8).with_growth(4);
/// let net: DenseNet = DenseNet::new(config.init(&device), 10, &device);
/// assert_eq!(net.forward(Tensor::<4>::zeros([2, 3, 64, 48], &device)).dims(), [2, 10]);
/// ```
pub type DenseNet<const R: usize = 4> = Classifier<DenseNetEncoder<R>>;

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn as_many_parameters_as_torchvision() {
        let device = Device::flex();
        let config = DenseNetEncoderConfig::densenet121();
        let net: DenseNet = DenseNet::new(config.init(&device), 1000, &device);
        // `sum(p.numel())` of parameters and of running statistics.
        assert_eq!(net.num_params(), 7_978_856 + 83_648);
    }

    #[test]
    fn the_features_of_densenet121() {
        let shapes = DenseNetEncoderConfig::densenet121().feature_shapes([1, 3, 193, 161]);
        assert_eq!(
            shapes.unwrap(),
            [
                [1, 64, 97, 81],
                [1, 256, 49, 41],
                [1, 512, 24, 20],
                [1, 1024, 12, 10],
                [1, 1024, 6, 5]
            ]
        );
    }

    #[test]
    fn every_layer_is_checked() {
        let config = DenseNetEncoderConfig::new(vec![4, 4])
            .with_width(16)
            .with_growth(4)
            .with_norm(NormConfig::group(8));
        assert_eq!(
            config.validate::<4>().unwrap_err().to_string(),
            "blocks.0.1.block.0.norm.GroupNorm: groups (=8) do not divide the channels (=20). Choose groups that do."
        );
    }
}
