//! [`DenseNet`] and [`DenseNetEncoder`]: blocks of [`SkipConcat`].

use alloc::{format, vec, vec::Vec};

use burn::config::Config;
use burn::module::Module;
use burn::nn::activation::{Activation, ActivationConfig};
use burn::nn::norm::Normalization;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::encoder::{check_depths, stem_pool};
use super::{Classifier, Encoder};
use crate::fuse::merge::Order;
use crate::fuse::{SkipConcat, SkipConcatConfig};
use crate::graph::window::Padding;
use crate::graph::{Map, Planner};
use crate::layers::block::{ConvNormAct, ConvNormActConfig, LayerOrder};
use crate::layers::layer::Layer;
use crate::layers::norm::NormConfig;
use crate::layers::pool::{Pool, PoolConfig, PoolKind};
use crate::plan::Trace;
use crate::setters::setters;
use crate::shape::{ShapeError, check_not_huge, check_positive, expect};

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
    pub in_channels: usize,
    /// The channels of the stem. Default: 64.
    pub width: usize,
    /// How many channels each layer adds. Default: 32.
    pub growth: usize,
    /// The channels between the two convolutions of a layer, as a multiple of the growth. Default: 4.
    pub bottleneck: usize,
    /// The number of layers of each block.
    pub depths: Vec<usize>,
    /// The norm. Default: [`NormConfig::batch`].
    pub norm: NormConfig,
    /// The activation. Default: ReLU.
    #[cfg_attr(feature = "schema", schemars(with = "crate::net::schema::Activation"))]
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
            .with_activation(self.activation.clone())
            .with_order(LayerOrder::NormActConv)
            .with_bias(false)
    }

    /// The two convolutions of a layer.
    fn layer(&self, channels: usize) -> [ConvNormActConfig; 2] {
        let mid = self.growth * self.bottleneck;
        [
            self.conv([channels, mid], 1),
            self.conv([mid, self.growth], 3),
        ]
    }

    /// The connection over a layer: what came in stands before what the layer adds.
    fn connection(&self) -> SkipConcatConfig {
        SkipConcatConfig::new().with_order(Order::SkipFirst)
    }

    /// Half the channels, and then half the size.
    fn transition(&self, channels: usize) -> (ConvNormActConfig, PoolConfig) {
        (
            self.conv([channels, channels / 2], 1),
            PoolConfig::new(PoolKind::Avg, 2),
        )
    }

    /// The channels at the start and at the end of each block.
    fn block_channels(&self) -> Vec<[usize; 2]> {
        let mut input = self.width;
        let block = |&depth: &usize| {
            let output = input + depth * self.growth;
            let channels = [input, output];
            input = output / 2;
            channels
        };
        self.depths.iter().map(block).collect()
    }

    /// The channels of the features: the stem, and each block.
    pub fn feature_channels(&self) -> Vec<usize> {
        let blocks = self.block_channels();
        let ends = blocks.iter().map(|&[_, output]| output);
        core::iter::once(self.width).chain(ends).collect()
    }

    /// Checks the options for maps of rank `R`.
    ///
    /// # Errors
    /// When there is no block or one without layers, a number is zero, or a part is invalid.
    pub fn validate<const R: usize>(&self) -> Result<(), ShapeError> {
        check_positive(NAME, "in_channels", self.in_channels)?;
        for (what, number) in [
            ("width", self.width),
            ("growth", self.growth),
            ("bottleneck", self.bottleneck),
        ] {
            check_positive(NAME, what, number)?;
            check_not_huge(NAME, what, number)?;
        }
        check_depths(NAME, &self.depths)?;
        self.stem().validate::<R>().map_err(|e| e.within("stem"))?;
        for (block, [input, output]) in self.block_channels().into_iter().enumerate() {
            for (index, channels) in (input..output).step_by(self.growth).enumerate() {
                let [first, second] = self.layer(channels);
                let layer = first.validate::<R>().and_then(|()| second.validate::<R>());
                layer.map_err(|e| e.within(format!("blocks.{block}.{index}")))?;
            }
            if block + 1 < self.depths.len() {
                let (conv, _) = self.transition(output);
                conv.validate::<R>()
                    .map_err(|e| e.within(format!("transitions.{block}")))?;
            } else {
                self.norm.validate(output).map_err(|e| e.within("norm"))?;
            }
        }
        Ok(())
    }

    /// The shapes of the features: the stem (half the size), and each block, the finest first.
    ///
    /// # Errors
    /// When the channels differ, the image is too small for the transitions, or the configuration
    /// is invalid.
    pub fn feature_shapes<const R: usize>(
        &self,
        input: [usize; R],
    ) -> Result<Vec<[usize; R]>, ShapeError> {
        self.validate::<R>()?;
        let stem = self.stem().output_shape(input);
        let stem = stem.map_err(|e| e.within("stem"))?;
        let pooled = stem_pool().output_shape(stem);
        let mut shape = pooled.map_err(|e| e.within("pool"))?;
        let mut maps = vec![stem];
        for (block, &depth) in self.depths.iter().enumerate() {
            if block > 0 {
                let (conv, pool) = self.transition(shape[1]);
                let halved = conv.output_shape(shape).map_err(|e| e.within(0));
                let pooled = |s| pool.output_shape(s).map_err(|e| e.within(1));
                let smaller = halved.and_then(pooled);
                shape = smaller.map_err(|e| e.within(format!("transitions.{}", block - 1)))?;
            }
            for index in 0..depth {
                let [first, second] = self.layer(shape[1]);
                let added = first
                    .output_shape(shape)
                    .and_then(|s| second.output_shape(s));
                let merged = added.and_then(|added| self.connection().output_shape(shape, added));
                shape = merged.map_err(|e| e.within(format!("blocks.{block}.{index}")))?;
            }
            maps.push(shape);
        }
        self.norm
            .output_shape(shape)
            .map_err(|e| e.within("norm"))?;
        Ok(maps)
    }

    /// Tells the planner of every part, and gives the maps.
    ///
    /// # Errors
    /// As [`feature_shapes`](Self::feature_shapes).
    pub fn trace<const R: usize>(
        &self,
        planner: &mut Planner,
        x: &Map<R>,
    ) -> Result<Vec<Map<R>>, ShapeError> {
        planner.nodes(NAME, &[x], |planner| {
            self.validate::<R>()?;
            let stem = self.stem().trace(planner.at("stem"), x)?;
            let mut x = stem_pool().trace(planner.at("pool"), &stem)?;
            let mut maps = vec![stem];
            for (block, &depth) in self.depths.iter().enumerate() {
                if block > 0 {
                    let (conv, pool) = self.transition(x.shape[1]);
                    let name = format!("transitions.{}", block - 1);
                    x = planner.at(name).node("Sequence", &[&x], |planner| {
                        let halved = conv.trace(planner.at(0), &x)?;
                        pool.trace(planner.at(1), &halved)
                    })?;
                }
                let name = format!("blocks.{block}");
                x = planner.at(name).sequence(0..depth, &x, |_, planner, x| {
                    let convs = self.layer(x.shape[1]);
                    self.connection().trace_over(planner, x, |planner, x| {
                        planner.sequence(&convs, x, ConvNormActConfig::trace)
                    })
                })?;
                maps.push(x.clone());
            }
            let normed = self.norm.trace(planner.at("norm"), &x)?;
            let last = maps.len() - 1;
            maps[last] = self.activation.trace(planner.at("activation"), &normed)?;
            Ok(maps)
        })
    }

    /// Builds the encoder.
    ///
    /// # Panics
    /// When [`validate`](Self::validate) returns an error, with its message.
    pub fn init<const R: usize>(&self, device: &Device) -> DenseNetEncoder<R> {
        expect(self.validate::<R>());
        let layer = |channels| {
            let [first, second] = self.layer(channels);
            self.connection()
                .init((first.init(device), second.init(device)))
        };
        let channels = self.block_channels();
        let blocks = channels
            .iter()
            .zip(&self.depths)
            .map(|([input, _], &depth)| {
                let inputs = (0..depth).map(|index| input + index * self.growth);
                inputs.map(layer).collect()
            });
        let transition = |&[_, output]: &[usize; 2]| {
            let (conv, pool) = self.transition(output);
            (conv.init(device), pool.init())
        };
        let last = channels[channels.len() - 1][1];
        DenseNetEncoder {
            stem: self.stem().init(device),
            pool: stem_pool().init(),
            blocks: blocks.collect(),
            transitions: channels[..channels.len() - 1]
                .iter()
                .map(transition)
                .collect(),
            norm: self.norm.init(last, device),
            activation: self.activation.init(device),
            config: self.clone(),
        }
    }
}

/// A layer of a dense block: two convolutions, whose output stands behind their input.
pub type DenseLayer<const R: usize = 4> = SkipConcat<(ConvNormAct<R>, ConvNormAct<R>)>;

/// A DenseNet without its head (arXiv:1608.06993): a strided 7x7 convolution, a max pool, and blocks in
/// which each layer reads what all before it have made, with transitions that halve channels and size.
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
    /// What follows it.
    pub pool: Pool,
    /// The blocks, the finest first.
    pub blocks: Vec<Vec<DenseLayer<R>>>,
    /// What leads from each block to the next.
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

    fn feature_shapes(&self, input: [usize; R]) -> Result<Vec<[usize; R]>, ShapeError> {
        self.config.feature_shapes(input)
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
            "blocks.0.1.norm.GroupNorm: groups (=8) do not divide the channels (=20). Choose groups that do."
        );
    }
}
