//! [`DenseNet`] and [`DenseNetEncoder`]: blocks of [`SkipConcat`].

mod config;

pub use config::{DenseNetEncoderConfig, DenseNetMaps};

use alloc::{vec, vec::Vec};

use burn::module::Module;
use burn::nn::norm::Normalization;
use burn::tensor::Tensor;

use super::Encoder;
use crate::fuse::SkipConcat;
use crate::graph::{Map, Planner};
use crate::layers::activation::Activation;
use crate::layers::block::ConvNormAct;
use crate::layers::layer::Layer;
use crate::layers::pool::Pool;
use crate::net::Classifier;
use crate::shape::{ShapeError, expect};

/// A layer of a dense block: two convolutions, whose output is appended to their input.
pub type DenseLayer<const R: usize = 4> = SkipConcat<(ConvNormAct<R>, ConvNormAct<R>)>;

/// A DenseNet without its head (arXiv:1608.06993): a strided 7x7 convolution, a max pool, and blocks in
/// which each layer reads the outputs of all layers before it, with transitions that halve channels and size.
///
/// # Shapes
/// - input: `[batch, in_channels, spatial...]`
/// - features: the stem `[batch, width, spatial / 2...]`, and the blocks, before their transitions, at
///   1/4, 1/8, 1/16, 1/32; the last after its norm and activation. [`DenseNetMaps`] chooses others
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
    pub activation: Option<Activation>,
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
                Some((conv, pool)) if self.config.maps.is_normed() => {
                    x = conv.activation.forward(conv.norm.forward(x));
                    maps.push(x.clone());
                    x = pool.forward(conv.conv.forward(x));
                }
                Some(transition) => {
                    maps.push(x.clone());
                    x = transition.forward(x);
                }
                None => x = self.activation.forward(Layer::forward(&self.norm, x)),
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
    use crate::layers::norm::NormConfig;
    use alloc::string::ToString;
    use burn::tensor::Device;

    #[test]
    fn the_deeper_ones_have_as_many_parameters_as_torchvision() {
        for (config, parameters) in [
            (DenseNetEncoderConfig::densenet161(), 28_681_000),
            (DenseNetEncoderConfig::densenet169(), 14_149_480),
            (DenseNetEncoderConfig::densenet201(), 20_013_928),
        ] {
            let encoder = crate::net::EncoderConfig::DenseNet(config);
            let plan = crate::net::ClassifierConfig::new(encoder, 1000).plan([1, 3, 64, 64]);
            assert_eq!(plan.root.total_parameters(), parameters);
        }
    }

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
