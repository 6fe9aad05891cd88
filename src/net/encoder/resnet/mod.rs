//! [`ResNet`] and [`ResNetEncoder`]: stages of [`SkipAdd`].

mod block;
mod config;

pub use block::{ResNetBlock, ResNetLayer};
pub use config::ResNetEncoderConfig;

use alloc::{vec, vec::Vec};

use burn::module::Module;
use burn::tensor::Tensor;

use super::Encoder;
use crate::fuse::SkipAdd;
use crate::graph::{Map, Planner};
use crate::layers::block::ConvNormAct;
use crate::layers::layer::Layer;
use crate::layers::pool::Pool;
use crate::net::Classifier;
use crate::shape::{ShapeError, expect};

/// A residual block: convolutions, and the connection over them.
pub type Residual<const R: usize = 4> = SkipAdd<Vec<ResNetLayer<R>>, R>;

/// A ResNet without its head (arXiv:1512.03385): a strided 7x7 convolution, a max pool, and stages of
/// residual blocks, each of half the size of the one before it.
///
/// # Shapes
/// - input: `[batch, in_channels, spatial...]`
/// - features: the stem `[batch, width, spatial / 2...]`, and the stages at 1/4, 1/8, 1/16, 1/32,
///   sizes rounded up
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::net::{Encoder, ResNetEncoder, ResNetEncoderConfig};
///
/// let device = Device::flex();
/// let encoder: ResNetEncoder = ResNetEncoderConfig::resnet18().with_width(8).init(&device);
/// let maps = encoder.features(Tensor::zeros([1, 3, 65, 64], &device));
/// assert_eq!(maps.len(), 5);
/// assert_eq!(maps[4].dims(), [1, 64, 3, 2]);
/// ```
#[derive(Module, Debug)]
pub struct ResNetEncoder<const R: usize = 4> {
    /// The first convolution.
    pub stem: ConvNormAct<R>,
    /// The max pool after it.
    pub pool: Pool,
    /// The stages, the finest first.
    pub stages: Vec<Vec<Residual<R>>>,
    /// The options that the encoder was built with.
    #[module(skip)]
    pub config: ResNetEncoderConfig,
}

impl<const R: usize> Encoder<R> for ResNetEncoder<R> {
    fn features(&self, x: Tensor<R>) -> Vec<Tensor<R>> {
        expect(self.feature_shapes(x.dims()));
        let stem = self.stem.forward(x);
        let mut x = self.pool.forward(stem.clone());
        let mut maps = vec![stem];
        for stage in &self.stages {
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

/// ResNet (arXiv:1512.03385), as torchvision's `resnet18` to `resnet101`, for one, two or three
/// spatial axes: a [`ResNetEncoder`] and a [`Classifier`] on it.
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::net::{ResNet, ResNetEncoderConfig};
///
/// let device = Device::flex();
/// let config = ResNetEncoderConfig::resnet18().with_width(8);
/// let net: ResNet = ResNet::new(config.init(&device), 10, &device);
/// assert_eq!(net.forward(Tensor::<4>::zeros([2, 3, 65, 64], &device)).dims(), [2, 10]);
/// ```
pub type ResNet<const R: usize = 4> = Classifier<ResNetEncoder<R>>;

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use burn::tensor::Device;

    /// `sum(p.numel())` of parameters and of running statistics.
    #[test]
    fn as_many_parameters_as_torchvision() {
        let device = Device::flex();
        let count = |config: ResNetEncoderConfig| {
            let net: ResNet = ResNet::new(config.init(&device), 1000, &device);
            net.num_params()
        };
        assert_eq!(count(ResNetEncoderConfig::resnet18()), 11_689_512 + 9_600);
        assert_eq!(count(ResNetEncoderConfig::resnet50()), 25_557_032 + 53_120);
    }

    #[test]
    fn groups_and_widths_of_bottlenecks() {
        let device = Device::flex();
        let count = |config: ResNetEncoderConfig| {
            let net: ResNet = ResNet::new(config.init(&device), 1000, &device);
            net.num_params()
        };
        // torchvision's resnext50_32x4d and wide_resnet50_2, and their running statistics.
        assert_eq!(count(ResNetEncoderConfig::resnext50()), 25_028_904 + 68_224);
        assert_eq!(
            count(ResNetEncoderConfig::wide_resnet50()),
            68_883_240 + 68_224
        );
    }

    #[test]
    fn as_many_parameters_as_timm() {
        let count = |config: ResNetEncoderConfig| {
            let encoder = crate::net::EncoderConfig::ResNet(config);
            let plan = crate::net::ClassifierConfig::new(encoder, 1000).plan([1, 3, 64, 64]);
            plan.root.total_parameters()
        };
        assert_eq!(count(ResNetEncoderConfig::seresnet18()), 11_779_624);
        assert_eq!(count(ResNetEncoderConfig::seresnet50()), 28_088_024);
        assert_eq!(count(ResNetEncoderConfig::res2net50()), 25_699_120);
        let res2next = ResNetEncoderConfig::res2net50()
            .with_groups(8)
            .with_group_width(4);
        assert_eq!(count(res2next), 24_671_464);
    }

    #[test]
    fn dilations_take_the_place_of_strides() {
        let size = |stride| {
            let config = ResNetEncoderConfig::resnet18().with_output_stride(stride);
            let shapes = config.feature_shapes([1, 3, 64, 64]).unwrap();
            shapes.iter().map(|shape| shape[2]).collect::<Vec<_>>()
        };
        assert_eq!(size(32), [32, 16, 8, 4, 2]);
        assert_eq!(size(16), [32, 16, 8, 4, 4]);
        assert_eq!(size(8), [32, 16, 8, 8, 8]);
        let res2net = ResNetEncoderConfig::res2net50().with_output_stride(16);
        let shapes = res2net.feature_shapes([1, 3, 64, 64]).unwrap();
        assert_eq!(shapes[4], [1, 2048, 4, 4]);
    }

    #[test]
    fn sizes_are_rounded_up() {
        let shapes = ResNetEncoderConfig::resnet50().feature_shapes([2, 3, 193, 161]);
        assert_eq!(
            shapes.unwrap(),
            [
                [2, 64, 97, 81],
                [2, 256, 49, 41],
                [2, 512, 25, 21],
                [2, 1024, 13, 11],
                [2, 2048, 7, 6]
            ]
        );
    }

    #[test]
    fn what_cannot_be_built_is_refused() {
        let text = |config: ResNetEncoderConfig| config.validate::<4>().unwrap_err().to_string();
        assert_eq!(
            text(ResNetEncoderConfig::new(ResNetBlock::Basic, vec![2, 0])),
            "ResNetEncoder: depths are [2, 0]. Give one number of blocks, 1 or more, for each of 1 to 16 stages."
        );
        assert_eq!(
            text(ResNetEncoderConfig::resnet18().with_drop_path(1.2)),
            "drop_path.DropPath: the probability is 1.2. Choose one in [0, 1)."
        );
        assert_eq!(
            text(ResNetEncoderConfig::resnet18().with_output_stride(12)),
            "ResNetEncoder: output_stride is 12. Choose 4, 8, 16 or 32."
        );
        assert_eq!(
            text(ResNetEncoderConfig::resnet18().with_groups(32)),
            "ResNetEncoder: basic blocks have no groups, and there are 32 of 64 channels. Choose \
             ResNetBlock::Bottleneck, or groups 1 and group_width 64."
        );
        assert_eq!(
            text(ResNetEncoderConfig::new(
                ResNetBlock::Res2 { scale: 1 },
                vec![1]
            )),
            "stages.0.0.block.1.Res2Conv: scale is 1. Set scale to 2 or more, or use one convolution."
        );
        assert!(text(ResNetEncoderConfig::resnet18().with_width(usize::MAX)).contains("width"));
        assert_eq!(
            text(ResNetEncoderConfig::resnet18().with_width(0)),
            "ResNetEncoder: width is 0. Set width to 1 or more."
        );
        let shapes = ResNetEncoderConfig::resnet18().feature_shapes([1, 1, 64, 64]);
        assert_eq!(
            shapes.unwrap_err().to_string(),
            "stem.conv.Conv: channels differ: expected 3, got 1. Build the layer for 1 input channels, \
             or project the map to 3 with a 1x1 convolution."
        );
    }
}
