//! [`DecoderConfig`] and [`AnyDecoder`]: the decoders of this crate, as data and as modules.
//!
//! A new decoder is a file of its own that implements [`DecoderSpec`] and [`Decoder`], and a variant in each enum here.

use alloc::{vec, vec::Vec};

use burn::config::Config;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::{
    Decoder, DeepLabDecoder, DeepLabDecoderConfig, FpnDecoder, FpnDecoderConfig, LinknetDecoder,
    LinknetDecoderConfig, ManetDecoder, ManetDecoderConfig, PanDecoder, PanDecoderConfig,
    PspDecoder, PspDecoderConfig, SegformerDecoder, SegformerDecoderConfig, StagedDecoder,
    StagedDecoderConfig, UnetDecoder, UnetDecoderConfig, UnetPlusPlusDecoder,
    UnetPlusPlusDecoderConfig, UperNetDecoder, UperNetDecoderConfig,
};
use crate::graph::{Map, Planner};
use crate::layers::conv::LazyConcat;
use crate::plan::Plan;
use crate::shape::{ShapeError, spatial};

/// A decoder of this crate and its options.
///
/// # Example
/// ```
/// use burn_skip::net::{DecoderConfig, FpnDecoderConfig, UnetDecoderConfig};
///
/// let channels = [64, 64, 128, 256, 512]; // of ResNet-18
/// let unet = DecoderConfig::from(UnetDecoderConfig::new(vec![16, 32, 64, 128, 256]));
/// assert_eq!(unet.out_channels(&channels), 16);
/// let fpn = DecoderConfig::from(FpnDecoderConfig::new());
/// assert_eq!(fpn.out_channels(&channels), 128);
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[allow(clippy::large_enum_variant)] // a program holds few
pub enum DecoderConfig {
    /// The decoder of the U-Net.
    Unet(UnetDecoderConfig),
    /// The decoder of U-Net++.
    UnetPlusPlus(UnetPlusPlusDecoderConfig),
    /// The decoder of LinkNet.
    Linknet(LinknetDecoderConfig),
    /// A feature pyramid.
    Fpn(FpnDecoderConfig),
    /// The decoder of PSPNet.
    Psp(PspDecoderConfig),
    /// The decoders of DeepLabV3 and DeepLabV3+.
    DeepLab(DeepLabDecoderConfig),
    /// The decoder of the pyramid attention network.
    Pan(PanDecoderConfig),
    /// The decoder of MA-Net.
    Manet(ManetDecoderConfig),
    /// The decoder of UPerNet.
    UperNet(UperNetDecoderConfig),
    /// The decoder of SegFormer.
    Segformer(SegformerDecoderConfig),
    /// Steps that are given one by one.
    Staged(StagedDecoderConfig),
}

impl Config for DecoderConfig {}

/// A configuration becomes its variant.
macro_rules! from_configs {
    ($($variant:ident: $config:ident),+ $(,)?) => {$(
        impl From<$config> for DecoderConfig {
            fn from(config: $config) -> Self {
                Self::$variant(config)
            }
        }
    )+};
}

from_configs!(
    Unet: UnetDecoderConfig,
    UnetPlusPlus: UnetPlusPlusDecoderConfig,
    Linknet: LinknetDecoderConfig,
    Fpn: FpnDecoderConfig,
    Psp: PspDecoderConfig,
    DeepLab: DeepLabDecoderConfig,
    Pan: PanDecoderConfig,
    Manet: ManetDecoderConfig,
    UperNet: UperNetDecoderConfig,
    Segformer: SegformerDecoderConfig,
    Staged: StagedDecoderConfig,
);

/// What each configuration of a decoder provides. (Not its construction: a plan of any rank would compile that, too.)
pub(super) trait DecoderSpec<const R: usize> {
    /// The channels of the output, for maps with `channels` channels.
    fn out_channels(&self, channels: &[usize]) -> usize;
    /// Records the decoder.
    fn trace(
        &self,
        planner: &mut Planner,
        maps: &[Map<R>],
        image: &[usize],
    ) -> Result<Map<R>, ShapeError>;
    /// Records the decoder, with the maps of [`Decoder::forward_steps`].
    fn trace_steps(
        &self,
        planner: &mut Planner,
        maps: &[Map<R>],
        image: &[usize],
    ) -> Result<Vec<Map<R>>, ShapeError> {
        Ok(vec![self.trace(planner, maps, image)?])
    }
}

/// Checks the options of a decoder for maps with `channels` channels and of any size.
pub(super) fn check_decoder<const R: usize>(
    decoder: &(impl DecoderSpec<R> + ?Sized),
    channels: &[usize],
) -> Result<(), ShapeError> {
    Planner::check_options::<R, _>(channels, |planner, maps| {
        decoder.trace(planner, maps, any_image(maps))
    })
}

/// The size of the image where options are checked without one: that of the maps.
fn any_image<const R: usize>(maps: &[Map<R>]) -> &[usize] {
    maps.first().map_or(&[][..], |map| spatial(&map.shape))
}

impl DecoderConfig {
    /// The configuration of whichever decoder it is.
    fn spec<const R: usize>(&self) -> &dyn DecoderSpec<R> {
        match self {
            Self::Unet(config) => config,
            Self::UnetPlusPlus(config) => config,
            Self::Linknet(config) => config,
            Self::Fpn(config) => config,
            Self::Psp(config) => config,
            Self::DeepLab(config) => config,
            Self::Pan(config) => config,
            Self::Manet(config) => config,
            Self::UperNet(config) => config,
            Self::Segformer(config) => config,
            Self::Staged(config) => config,
        }
    }

    /// The channels of the output, for the feature maps of an encoder with `channels` channels.
    pub fn out_channels(&self, channels: &[usize]) -> usize {
        self.spec::<4>().out_channels(channels)
    }

    /// Checks the options for the feature maps of an encoder, of rank `R` and with `channels` channels.
    ///
    /// # Errors
    /// When there are too few or too many maps, a number is zero, or a part is invalid.
    pub fn validate<const R: usize>(&self, channels: &[usize]) -> Result<(), ShapeError> {
        check_decoder(self.spec::<R>(), channels)
    }

    /// The shape of the output for feature maps of shapes `maps`, the finest first, of an image of the spatial size
    /// `image`.
    ///
    /// # Errors
    /// As [`validate`](Self::validate), and when the maps do not fit each other.
    pub fn output_shape<const R: usize>(
        &self,
        maps: &[[usize; R]],
        image: &[usize],
    ) -> Result<[usize; R], ShapeError> {
        Planner::output_shape_of_maps(maps, |planner, maps| self.trace(planner, maps, image))
    }

    /// Records every part, and returns the output.
    ///
    /// # Errors
    /// As [`output_shape`](Self::output_shape).
    pub fn trace<const R: usize>(
        &self,
        planner: &mut Planner,
        maps: &[Map<R>],
        image: &[usize],
    ) -> Result<Map<R>, ShapeError> {
        self.spec::<R>().trace(planner, maps, image)
    }

    /// As [`trace`](Self::trace), with the maps of [`Decoder::forward_steps`].
    ///
    /// # Errors
    /// As [`output_shape`](Self::output_shape).
    pub fn trace_steps<const R: usize>(
        &self,
        planner: &mut Planner,
        maps: &[Map<R>],
        image: &[usize],
    ) -> Result<Vec<Map<R>>, ShapeError> {
        self.spec::<R>().trace_steps(planner, maps, image)
    }

    /// The channels of the maps of [`Decoder::forward_steps`], for the feature maps of an encoder with `channels`
    /// channels: those of the output, and of the coarser steps that heads of deep supervision can read.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    ///
    /// # Example
    /// ```
    /// use burn_skip::net::{DecoderConfig, FpnDecoderConfig, UnetDecoderConfig};
    ///
    /// let unet = DecoderConfig::from(UnetDecoderConfig::new(vec![4, 8, 12]));
    /// assert_eq!(unet.step_channels::<4>(&[16, 32, 64]).unwrap(), [4, 8, 12]);
    /// let fpn = DecoderConfig::from(FpnDecoderConfig::new());
    /// assert_eq!(fpn.step_channels::<4>(&[16, 32, 64, 128]).unwrap(), [128]);
    /// ```
    pub fn step_channels<const R: usize>(
        &self,
        channels: &[usize],
    ) -> Result<Vec<usize>, ShapeError> {
        let mut found = Vec::new();
        Planner::check_options::<R, _>(channels, |planner, maps| {
            let steps = self.trace_steps(planner, maps, any_image(maps))?;
            found = steps.iter().map(|map| map.shape[1]).collect();
            Ok(())
        })?;
        Ok(found)
    }

    /// The [plan](crate::plan) for feature maps of shapes `maps`, the finest first.
    pub fn plan<const R: usize>(&self, maps: &[[usize; R]], image: &[usize]) -> Plan {
        Plan::of_maps(maps, |planner, maps| {
            let output = self.trace(planner, maps, image)?;
            Ok(Vec::from([output]))
        })
    }

    /// Builds the decoder for the feature maps of an encoder, with `channels` channels.
    ///
    /// # Panics
    /// When [`validate`](Self::validate) returns an error, with its message.
    pub fn init<const R: usize>(&self, channels: &[usize], device: &Device) -> AnyDecoder<R> {
        match self {
            Self::Unet(config) => AnyDecoder::Unet(config.init(channels, device)),
            Self::UnetPlusPlus(config) => AnyDecoder::UnetPlusPlus(config.init(channels, device)),
            Self::Linknet(config) => AnyDecoder::Linknet(config.init(channels, device)),
            Self::Fpn(config) => AnyDecoder::Fpn(config.init(channels, device)),
            Self::Psp(config) => AnyDecoder::Psp(config.init(channels, device)),
            Self::DeepLab(config) => AnyDecoder::DeepLab(config.init(channels, device)),
            Self::Pan(config) => AnyDecoder::Pan(config.init(channels, device)),
            Self::Manet(config) => AnyDecoder::Manet(config.init(channels, device)),
            Self::UperNet(config) => AnyDecoder::UperNet(config.init(channels, device)),
            Self::Segformer(config) => AnyDecoder::Segformer(config.init(channels, device)),
            Self::Staged(config) => AnyDecoder::Staged(config.init(channels, device)),
        }
    }
}

/// A decoder of this crate, chosen at run time by its [`DecoderConfig`].
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::net::{AnyDecoder, Decoder, DecoderConfig, UnetDecoderConfig};
///
/// let device = Device::flex();
/// let config = DecoderConfig::from(UnetDecoderConfig::new(vec![4, 8]));
/// let decoder: AnyDecoder = config.init(&[8, 16], &device);
/// let maps = vec![Tensor::zeros([1, 8, 17, 11], &device), Tensor::zeros([1, 16, 9, 6], &device)];
/// assert_eq!(decoder.forward(maps, &[33, 22]).dims(), [1, 4, 33, 22]);
/// ```
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)] // a network holds one
pub enum AnyDecoder<const R: usize = 4> {
    /// The decoder of the U-Net.
    Unet(UnetDecoder<R>),
    /// The decoder of U-Net++.
    UnetPlusPlus(UnetPlusPlusDecoder<R>),
    /// The decoder of LinkNet.
    Linknet(LinknetDecoder<R>),
    /// A feature pyramid.
    Fpn(FpnDecoder<R>),
    /// The decoder of PSPNet.
    Psp(PspDecoder<R>),
    /// The decoders of DeepLabV3 and DeepLabV3+.
    DeepLab(DeepLabDecoder<R>),
    /// The decoder of the pyramid attention network.
    Pan(PanDecoder<R>),
    /// The decoder of MA-Net.
    Manet(ManetDecoder<R>),
    /// The decoder of UPerNet.
    UperNet(UperNetDecoder<R>),
    /// The decoder of SegFormer.
    Segformer(SegformerDecoder<R>),
    /// Steps that are given one by one.
    Staged(StagedDecoder<R>),
}

/// The methods of [`Decoder`], callable without knowing the type. (A module has none such.)
trait DynDecoder<const R: usize> {
    fn forward_parts(&self, maps: Vec<Tensor<R>>, image: &[usize]) -> LazyConcat<R>;
    fn forward_steps(&self, maps: Vec<Tensor<R>>, image: &[usize]) -> Vec<Tensor<R>>;
    fn trace(
        &self,
        planner: &mut Planner,
        maps: &[Map<R>],
        image: &[usize],
    ) -> Result<Map<R>, ShapeError>;
    fn trace_steps(
        &self,
        planner: &mut Planner,
        maps: &[Map<R>],
        image: &[usize],
    ) -> Result<Vec<Map<R>>, ShapeError>;
}

impl<const R: usize, D: Decoder<R>> DynDecoder<R> for D {
    fn forward_parts(&self, maps: Vec<Tensor<R>>, image: &[usize]) -> LazyConcat<R> {
        Decoder::forward_parts(self, maps, image)
    }

    fn trace(
        &self,
        planner: &mut Planner,
        maps: &[Map<R>],
        image: &[usize],
    ) -> Result<Map<R>, ShapeError> {
        Decoder::trace(self, planner, maps, image)
    }

    fn forward_steps(&self, maps: Vec<Tensor<R>>, image: &[usize]) -> Vec<Tensor<R>> {
        Decoder::forward_steps(self, maps, image)
    }

    fn trace_steps(
        &self,
        planner: &mut Planner,
        maps: &[Map<R>],
        image: &[usize],
    ) -> Result<Vec<Map<R>>, ShapeError> {
        Decoder::trace_steps(self, planner, maps, image)
    }
}

impl<const R: usize> AnyDecoder<R> {
    /// Whichever decoder it is.
    fn inner(&self) -> &dyn DynDecoder<R> {
        match self {
            Self::Unet(decoder) => decoder,
            Self::UnetPlusPlus(decoder) => decoder,
            Self::Linknet(decoder) => decoder,
            Self::Fpn(decoder) => decoder,
            Self::Psp(decoder) => decoder,
            Self::DeepLab(decoder) => decoder,
            Self::Pan(decoder) => decoder,
            Self::Manet(decoder) => decoder,
            Self::UperNet(decoder) => decoder,
            Self::Segformer(decoder) => decoder,
            Self::Staged(decoder) => decoder,
        }
    }

    /// The options that it was built with.
    pub fn config(&self) -> DecoderConfig {
        match self {
            Self::Unet(decoder) => decoder.config.clone().into(),
            Self::UnetPlusPlus(decoder) => decoder.config.clone().into(),
            Self::Linknet(decoder) => decoder.config.clone().into(),
            Self::Fpn(decoder) => decoder.config.clone().into(),
            Self::Psp(decoder) => decoder.config.clone().into(),
            Self::DeepLab(decoder) => decoder.config.clone().into(),
            Self::Pan(decoder) => decoder.config.clone().into(),
            Self::Manet(decoder) => decoder.config.clone().into(),
            Self::UperNet(decoder) => decoder.config.clone().into(),
            Self::Segformer(decoder) => decoder.config.clone().into(),
            Self::Staged(decoder) => decoder.config.clone().into(),
        }
    }
}

impl<const R: usize> Decoder<R> for AnyDecoder<R> {
    fn forward(&self, maps: Vec<Tensor<R>>, image: &[usize]) -> Tensor<R> {
        self.inner().forward_parts(maps, image).into_tensor()
    }

    fn forward_parts(&self, maps: Vec<Tensor<R>>, image: &[usize]) -> LazyConcat<R> {
        self.inner().forward_parts(maps, image)
    }

    fn trace(
        &self,
        planner: &mut Planner,
        maps: &[Map<R>],
        image: &[usize],
    ) -> Result<Map<R>, ShapeError> {
        self.inner().trace(planner, maps, image)
    }

    fn forward_steps(&self, maps: Vec<Tensor<R>>, image: &[usize]) -> Vec<Tensor<R>> {
        self.inner().forward_steps(maps, image)
    }

    fn trace_steps(
        &self,
        planner: &mut Planner,
        maps: &[Map<R>],
        image: &[usize],
    ) -> Result<Vec<Map<R>>, ShapeError> {
        self.inner().trace_steps(planner, maps, image)
    }
}
