//! [`EncoderConfig`] and [`AnyEncoder`]: the encoders of this crate, as data and as modules.

use alloc::{format, vec::Vec};

use burn::config::Config;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::{
    ConvNextEncoder, ConvNextEncoderConfig, DenseNetEncoder, DenseNetEncoderConfig,
    EfficientNetEncoder, EfficientNetEncoderConfig, Encoder, MitEncoder, MitEncoderConfig,
    MobileNetV2Encoder, MobileNetV2EncoderConfig, MobileNetV3Encoder, MobileNetV3EncoderConfig,
    PlainEncoder, PlainEncoderConfig, ResNetEncoder, ResNetEncoderConfig, StagedEncoder,
    StagedEncoderConfig, VggEncoder, VggEncoderConfig,
};
use crate::graph::{Map, Planner};
use crate::layers::block::ConvStyle;
use crate::plan::Plan;
use crate::shape::ShapeError;

/// An encoder of this crate and its options.
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
    /// The encoder of the U-Net paper.
    Plain(PlainEncoderConfig),
    /// ResNet.
    ResNet(ResNetEncoderConfig),
    /// DenseNet.
    DenseNet(DenseNetEncoderConfig),
    /// ConvNeXt.
    ConvNext(ConvNextEncoderConfig),
    /// VGG.
    Vgg(VggEncoderConfig),
    /// MobileNetV2.
    MobileNetV2(MobileNetV2EncoderConfig),
    /// MobileNetV3.
    MobileNetV3(MobileNetV3EncoderConfig),
    /// EfficientNet.
    EfficientNet(EfficientNetEncoderConfig),
    /// The Mix Transformer of SegFormer.
    Mit(MitEncoderConfig),
    /// Levels that are given one by one.
    Staged(StagedEncoderConfig),
}

impl Config for EncoderConfig {}

/// What each configuration of an encoder provides. (Not its construction: a plan of any rank would compile that, too.)
pub(super) trait EncoderSpec<const R: usize> {
    /// The channels of the image.
    fn in_channels(&self) -> usize;
    /// The channels of the feature maps.
    fn feature_channels(&self) -> Vec<usize>;
    /// Records the encoder.
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Vec<Map<R>>, ShapeError>;
}

/// Checks the options of an encoder for images of `in_channels` channels and of any size.
pub(super) fn check_encoder<const R: usize>(
    in_channels: usize,
    trace: impl FnOnce(&mut Planner, &Map<R>) -> Result<Vec<Map<R>>, ShapeError>,
) -> Result<(), ShapeError> {
    Planner::check_options(&[in_channels], |planner, maps| trace(planner, &maps[0]))
}

impl EncoderConfig {
    /// The configuration of whichever encoder it is.
    fn spec<const R: usize>(&self) -> &dyn EncoderSpec<R> {
        match self {
            Self::Plain(config) => config,
            Self::ResNet(config) => config,
            Self::DenseNet(config) => config,
            Self::ConvNext(config) => config,
            Self::Vgg(config) => config,
            Self::MobileNetV2(config) => config,
            Self::MobileNetV3(config) => config,
            Self::EfficientNet(config) => config,
            Self::Mit(config) => config,
            Self::Staged(config) => config,
        }
    }

    /// The channels of the image.
    pub fn in_channels(&self) -> usize {
        self.spec::<4>().in_channels()
    }

    /// The channels of the feature maps, the finest first.
    pub fn feature_channels(&self) -> Vec<usize> {
        self.spec::<4>().feature_channels()
    }

    /// Sets the convolutions of a plain encoder.
    ///
    /// # Errors
    /// For the other encoders, whose convolutions have options of their own.
    pub fn with_style(self, style: ConvStyle) -> Result<Self, ShapeError> {
        let encoder = match self {
            Self::Plain(config) => return Ok(Self::Plain(config.with_style(style))),
            Self::ResNet(_) => "ResNet",
            Self::DenseNet(_) => "DenseNet",
            Self::ConvNext(_) => "ConvNext",
            Self::Vgg(_) => "Vgg",
            Self::MobileNetV2(_) => "MobileNetV2",
            Self::MobileNetV3(_) => "MobileNetV3",
            Self::EfficientNet(_) => "EfficientNet",
            Self::Mit(_) => "Mit",
            Self::Staged(_) => "Staged",
        };
        let article = if encoder.starts_with('E') { "an" } else { "a" };
        Err(ShapeError::new(
            "EncoderConfig",
            format!("{article} {encoder} has no ConvStyle"),
            format!(
                "Set the norm and the activation of its own configuration, {encoder}EncoderConfig"
            ),
        ))
    }

    /// Sets by how much the coarsest map is smaller than the image, at most: dilations take the place of strides.
    ///
    /// # Errors
    /// For encoders other than ResNet, the MobileNets and EfficientNet.
    pub fn with_output_stride(self, stride: usize) -> Result<Self, ShapeError> {
        match self {
            Self::ResNet(config) => Ok(Self::ResNet(config.with_output_stride(stride))),
            Self::MobileNetV2(config) => Ok(Self::MobileNetV2(config.with_output_stride(stride))),
            Self::MobileNetV3(config) => Ok(Self::MobileNetV3(config.with_output_stride(stride))),
            Self::EfficientNet(config) => Ok(Self::EfficientNet(config.with_output_stride(stride))),
            Self::Plain(_)
            | Self::DenseNet(_)
            | Self::ConvNext(_)
            | Self::Vgg(_)
            | Self::Mit(_)
            | Self::Staged(_) => Err(ShapeError::new(
                "EncoderConfig",
                "the encoder has no dilations to take the place of its strides",
                "Choose a ResNet, a MobileNet or an EfficientNet",
            )),
        }
    }

    /// Checks the options for maps of rank `R`.
    ///
    /// # Errors
    /// When an option is invalid.
    pub fn validate<const R: usize>(&self) -> Result<(), ShapeError> {
        check_encoder(self.in_channels(), |planner, x: &Map<R>| {
            self.trace(planner, x)
        })
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
        self.spec::<R>().trace(planner, x)
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
            Self::ConvNext(config) => AnyEncoder::ConvNext(config.init(device)),
            Self::Vgg(config) => AnyEncoder::Vgg(config.init(device)),
            Self::MobileNetV2(config) => AnyEncoder::MobileNetV2(config.init(device)),
            Self::MobileNetV3(config) => AnyEncoder::MobileNetV3(config.init(device)),
            Self::EfficientNet(config) => AnyEncoder::EfficientNet(config.init(device)),
            Self::Mit(config) => AnyEncoder::Mit(config.init(device)),
            Self::Staged(config) => AnyEncoder::Staged(config.init(device)),
        }
    }
}

/// An encoder of this crate, chosen at run time by its [`EncoderConfig`].
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
    /// The encoder of the U-Net paper.
    Plain(PlainEncoder<R>),
    /// ResNet.
    ResNet(ResNetEncoder<R>),
    /// DenseNet.
    DenseNet(DenseNetEncoder<R>),
    /// ConvNeXt.
    ConvNext(ConvNextEncoder<R>),
    /// VGG.
    Vgg(VggEncoder<R>),
    /// MobileNetV2.
    MobileNetV2(MobileNetV2Encoder<R>),
    /// MobileNetV3.
    MobileNetV3(MobileNetV3Encoder<R>),
    /// EfficientNet.
    EfficientNet(EfficientNetEncoder<R>),
    /// The Mix Transformer of SegFormer.
    Mit(MitEncoder<R>),
    /// Levels that are given one by one.
    Staged(StagedEncoder<R>),
}

/// The methods of [`Encoder`], callable without knowing the type. (A module has none such.)
trait DynEncoder<const R: usize> {
    fn features(&self, x: Tensor<R>) -> Vec<Tensor<R>>;
    fn feature_channels(&self) -> Vec<usize>;
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Vec<Map<R>>, ShapeError>;
}

impl<const R: usize, E: Encoder<R>> DynEncoder<R> for E {
    fn features(&self, x: Tensor<R>) -> Vec<Tensor<R>> {
        Encoder::features(self, x)
    }

    fn feature_channels(&self) -> Vec<usize> {
        Encoder::feature_channels(self)
    }

    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Vec<Map<R>>, ShapeError> {
        Encoder::trace(self, planner, x)
    }
}

impl<const R: usize> AnyEncoder<R> {
    /// Whichever encoder it is.
    fn inner(&self) -> &dyn DynEncoder<R> {
        match self {
            Self::Plain(encoder) => encoder,
            Self::ResNet(encoder) => encoder,
            Self::DenseNet(encoder) => encoder,
            Self::ConvNext(encoder) => encoder,
            Self::Vgg(encoder) => encoder,
            Self::MobileNetV2(encoder) => encoder,
            Self::MobileNetV3(encoder) => encoder,
            Self::EfficientNet(encoder) => encoder,
            Self::Mit(encoder) => encoder,
            Self::Staged(encoder) => encoder,
        }
    }

    /// The options that it was built with.
    pub fn config(&self) -> EncoderConfig {
        match self {
            Self::Plain(encoder) => EncoderConfig::Plain(encoder.config.clone()),
            Self::ResNet(encoder) => EncoderConfig::ResNet(encoder.config.clone()),
            Self::DenseNet(encoder) => EncoderConfig::DenseNet(encoder.config.clone()),
            Self::ConvNext(encoder) => EncoderConfig::ConvNext(encoder.config.clone()),
            Self::Vgg(encoder) => EncoderConfig::Vgg(encoder.config.clone()),
            Self::MobileNetV2(encoder) => EncoderConfig::MobileNetV2(encoder.config.clone()),
            Self::MobileNetV3(encoder) => EncoderConfig::MobileNetV3(encoder.config.clone()),
            Self::EfficientNet(encoder) => EncoderConfig::EfficientNet(encoder.config.clone()),
            Self::Mit(encoder) => EncoderConfig::Mit(encoder.config.clone()),
            Self::Staged(encoder) => EncoderConfig::Staged(encoder.config.clone()),
        }
    }
}

impl<const R: usize> Encoder<R> for AnyEncoder<R> {
    fn features(&self, x: Tensor<R>) -> Vec<Tensor<R>> {
        self.inner().features(x)
    }

    fn feature_channels(&self) -> Vec<usize> {
        self.inner().feature_channels()
    }

    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Vec<Map<R>>, ShapeError> {
        self.inner().trace(planner, x)
    }
}
