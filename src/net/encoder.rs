//! [`Encoder`]: one map in, and maps of several sizes out. [`AnyEncoder`]: one of those here, as data.

use alloc::{format, vec::Vec};

use burn::config::Config;
use burn::module::{Module, ModuleDisplay};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::{
    DenseNetEncoder, DenseNetEncoderConfig, PlainEncoder, PlainEncoderConfig, ResNetEncoder,
    ResNetEncoderConfig,
};
use crate::graph::window::Padding;
use crate::graph::{Cost, Map, Planner};
use crate::layers::pool::{PoolConfig, PoolKind};
use crate::plan::Plan;
use crate::shape::{ShapeError, check_not_huge};

/// A module that makes feature maps of several sizes of an image: what a decoder or a classifier
/// stands on.
///
/// # The law
/// `feature_shapes(x.dims())` are the dims of `features(x)`, or `features` panics with the text of
/// the error.
///
/// # Example
/// ```
/// use burn::tensor::Device;
/// use burn_skip::net::{Encoder, PlainEncoderConfig, ResNetEncoderConfig};
///
/// fn deepest(encoder: &impl Encoder) -> Option<[usize; 4]> {
///     encoder.feature_shapes([1, 3, 64, 64]).unwrap().pop()
/// }
/// let plain = PlainEncoderConfig::new(3, vec![8, 16]).init::<4>(&Device::flex());
/// assert_eq!(deepest(&plain), Some([1, 16, 32, 32]));
/// let resnet = ResNetEncoderConfig::resnet18().with_width(8).init::<4>(&Device::flex());
/// assert_eq!(deepest(&resnet), Some([1, 64, 2, 2]));
/// ```
pub trait Encoder<const R: usize = 4>: Module + ModuleDisplay {
    /// The maps, the finest first.
    ///
    /// # Panics
    /// When [`feature_shapes`](Self::feature_shapes) returns an error, with its message.
    fn features(&self, x: Tensor<R>) -> Vec<Tensor<R>>;

    /// The shapes of the maps for an image of shape `input`.
    ///
    /// # Errors
    /// When such an image does not fit.
    fn feature_shapes(&self, input: [usize; R]) -> Result<Vec<[usize; R]>, ShapeError>;

    /// The channels of the maps.
    fn feature_channels(&self) -> Vec<usize>;

    /// Tells the planner of every part, and gives the maps. By default of the whole as one part.
    ///
    /// # Errors
    /// As [`feature_shapes`](Self::feature_shapes).
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Vec<Map<R>>, ShapeError> {
        planner.nodes("Encoder", &[x], |planner| {
            planner.pay(Cost {
                parameters: Module::num_params(self),
                mult_adds: 0,
            });
            let shapes = self.feature_shapes(x.shape)?;
            Ok(shapes
                .into_iter()
                .map(|shape| planner.map(shape, None))
                .collect())
        })
    }

    /// The [plan](crate::plan) for an image of shape `input`.
    fn plan(&self, input: [usize; R]) -> Plan {
        Plan::new(input, |planner, x| self.trace(planner, x))
    }
}

/// Which encoder, and its options.
///
/// # Example
/// ```
/// use burn_skip::net::{EncoderConfig, PlainEncoderConfig, ResNetEncoderConfig};
///
/// let plain = EncoderConfig::Plain(PlainEncoderConfig::new(3, vec![16, 32, 64]));
/// assert_eq!(plain.feature_channels(), [16, 32, 64]);
/// let resnet = EncoderConfig::ResNet(ResNetEncoderConfig::resnet50());
/// assert_eq!(resnet.feature_channels(), [64, 256, 512, 1024, 2048]);
/// // The finest map has the size of the image, or half of it.
/// assert_eq!(plain.feature_shapes([1, 3, 64, 64]).unwrap()[0], [1, 16, 64, 64]);
/// assert_eq!(resnet.feature_shapes([1, 3, 64, 64]).unwrap()[0], [1, 64, 32, 32]);
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum EncoderConfig {
    /// That of the U-Net paper.
    Plain(PlainEncoderConfig),
    /// ResNet.
    ResNet(ResNetEncoderConfig),
    /// DenseNet.
    DenseNet(DenseNetEncoderConfig),
}

impl Config for EncoderConfig {}

impl EncoderConfig {
    /// The channels of the image.
    pub fn in_channels(&self) -> usize {
        match self {
            Self::Plain(config) => config.in_channels,
            Self::ResNet(config) => config.in_channels,
            Self::DenseNet(config) => config.in_channels,
        }
    }

    /// The channels of the maps, the finest first.
    pub fn feature_channels(&self) -> Vec<usize> {
        match self {
            Self::Plain(config) => config.widths.clone(),
            Self::ResNet(config) => config.feature_channels(),
            Self::DenseNet(config) => config.feature_channels(),
        }
    }

    /// Checks the options for maps of rank `R`.
    ///
    /// # Errors
    /// When the encoder's own check fails.
    pub fn validate<const R: usize>(&self) -> Result<(), ShapeError> {
        match self {
            Self::Plain(config) => config.validate::<R>(),
            Self::ResNet(config) => config.validate::<R>(),
            Self::DenseNet(config) => config.validate::<R>(),
        }
    }

    /// The shapes of the maps for an image of shape `input`, the finest first.
    ///
    /// # Errors
    /// When the channels differ, the image is too small, or the configuration is invalid.
    pub fn feature_shapes<const R: usize>(
        &self,
        input: [usize; R],
    ) -> Result<Vec<[usize; R]>, ShapeError> {
        match self {
            Self::Plain(config) => config.feature_shapes(input),
            Self::ResNet(config) => config.feature_shapes(input),
            Self::DenseNet(config) => config.feature_shapes(input),
        }
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
        match self {
            Self::Plain(config) => config.trace(planner, x),
            Self::ResNet(config) => config.trace(planner, x),
            Self::DenseNet(config) => config.trace(planner, x),
        }
    }

    /// The [plan](crate::plan) for an image of shape `input`.
    pub fn plan<const R: usize>(&self, input: [usize; R]) -> Plan {
        Plan::new(input, |planner, x| self.trace(planner, x))
    }

    /// Builds the encoder.
    ///
    /// # Panics
    /// When [`validate`](Self::validate) returns an error, with its message.
    pub fn init<const R: usize>(&self, device: &Device) -> AnyEncoder<R> {
        match self {
            Self::Plain(config) => AnyEncoder::Plain(config.init(device)),
            Self::ResNet(config) => AnyEncoder::ResNet(config.init(device)),
            Self::DenseNet(config) => AnyEncoder::DenseNet(config.init(device)),
        }
    }
}

/// One of the encoders of this crate, chosen at run time by its [`EncoderConfig`].
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::net::{AnyEncoder, Encoder, EncoderConfig, PlainEncoderConfig};
///
/// let device = Device::flex();
/// let config = EncoderConfig::Plain(PlainEncoderConfig::new(3, vec![8, 16]));
/// let encoder: AnyEncoder = config.init(&device);
/// assert!(matches!(encoder, AnyEncoder::Plain(_)));
/// let maps = encoder.features(Tensor::zeros([1, 3, 33, 20], &device));
/// assert_eq!(maps[1].dims(), [1, 16, 16, 10]);
/// ```
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)] // a network holds one
pub enum AnyEncoder<const R: usize = 4> {
    /// That of the U-Net paper.
    Plain(PlainEncoder<R>),
    /// ResNet.
    ResNet(ResNetEncoder<R>),
    /// DenseNet.
    DenseNet(DenseNetEncoder<R>),
}

impl<const R: usize> Encoder<R> for AnyEncoder<R> {
    fn features(&self, x: Tensor<R>) -> Vec<Tensor<R>> {
        match self {
            Self::Plain(encoder) => encoder.features(x),
            Self::ResNet(encoder) => encoder.features(x),
            Self::DenseNet(encoder) => encoder.features(x),
        }
    }

    fn feature_shapes(&self, input: [usize; R]) -> Result<Vec<[usize; R]>, ShapeError> {
        match self {
            Self::Plain(encoder) => encoder.feature_shapes(input),
            Self::ResNet(encoder) => encoder.feature_shapes(input),
            Self::DenseNet(encoder) => encoder.feature_shapes(input),
        }
    }

    fn feature_channels(&self) -> Vec<usize> {
        match self {
            Self::Plain(encoder) => encoder.feature_channels(),
            Self::ResNet(encoder) => Encoder::<R>::feature_channels(encoder),
            Self::DenseNet(encoder) => Encoder::<R>::feature_channels(encoder),
        }
    }

    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Vec<Map<R>>, ShapeError> {
        match self {
            Self::Plain(encoder) => encoder.trace(planner, x),
            Self::ResNet(encoder) => encoder.trace(planner, x),
            Self::DenseNet(encoder) => encoder.trace(planner, x),
        }
    }
}

/// The max pool that follows the first convolution of ResNet and DenseNet.
pub(super) fn stem_pool() -> PoolConfig {
    PoolConfig::new(PoolKind::Max, 3)
        .with_stride(2)
        .with_padding(Padding::explicit(1))
}

/// Refuses a list of widths that is empty or has a zero.
pub(super) fn check_widths(layer: &str, widths: &[usize]) -> Result<(), ShapeError> {
    if widths.is_empty() || widths.contains(&0) {
        return Err(ShapeError::new(
            layer,
            format!("widths are {widths:?}"),
            "Give one number of channels, 1 or more, for each level",
        ));
    }
    Ok(())
}

/// Refuses a network without stages, or with a stage without blocks.
pub(super) fn check_depths(layer: &str, depths: &[usize]) -> Result<(), ShapeError> {
    if depths.is_empty() || depths.contains(&0) || depths.len() > 16 {
        return Err(ShapeError::new(
            layer,
            format!("depths are {depths:?}"),
            "Give one number of blocks, 1 or more, for each of 1 to 16 stages",
        ));
    }
    for &depth in depths {
        check_not_huge(layer, "depths", depth)?;
    }
    Ok(())
}
