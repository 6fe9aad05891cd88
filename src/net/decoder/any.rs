//! [`DecoderConfig`] and [`AnyDecoder`]: the decoders of this crate, as data and as modules.
//!
//! A new decoder is a file of its own that implements [`DecoderSpec`] and [`BuiltDecoder`], and here a variant in each
//! enum and a row of `list_decoders`.

use alloc::vec::Vec;

use burn::config::Config;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::frame::{Built, BuiltDecoder, DecoderSpec, check_decoder};
use super::{
    DeepLabDecoder, DeepLabDecoderConfig, FpnDecoder, FpnDecoderConfig, LinknetDecoder,
    LinknetDecoderConfig, ManetDecoder, ManetDecoderConfig, PanDecoder, PanDecoderConfig,
    PspDecoder, PspDecoderConfig, SegformerDecoder, SegformerDecoderConfig, StagedDecoder,
    StagedDecoderConfig, UnetDecoder, UnetDecoderConfig, UnetPlusPlusDecoder,
    UnetPlusPlusDecoderConfig, UperNetDecoder, UperNetDecoderConfig,
};
use crate::graph::{Map, Planner};
use crate::layers::conv::LazyConcat;
use crate::plan::Plan;
use crate::shape::ShapeError;

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

/// What there is of every decoder: a configuration that becomes its variant, and the choices by variant.
macro_rules! list_decoders {
    ($($variant:ident: $config:ident),+ $(,)?) => {
        $(
            impl From<$config> for DecoderConfig {
                fn from(config: $config) -> Self {
                    Self::$variant(config)
                }
            }
        )+

        impl DecoderConfig {
            /// The configuration of whichever decoder it is.
            fn spec<const R: usize>(&self) -> &dyn DecoderSpec<R> {
                match self {
                    $(Self::$variant(config) => config,)+
                }
            }

            /// Builds the decoder for the feature maps of an encoder, with `channels` channels.
            ///
            /// # Panics
            /// When [`validate`](Self::validate) returns an error, with its message.
            pub fn init<const R: usize>(&self, channels: &[usize], device: &Device) -> AnyDecoder<R> {
                match self {
                    $(Self::$variant(config) => AnyDecoder::$variant(config.init(channels, device)),)+
                }
            }
        }

        impl<const R: usize> AnyDecoder<R> {
            /// Whichever decoder it is.
            fn inner(&self) -> &dyn BuiltDecoder<R> {
                match self {
                    $(Self::$variant(decoder) => decoder,)+
                }
            }

            /// The options that it was built with.
            pub fn config(&self) -> DecoderConfig {
                match self {
                    $(Self::$variant(decoder) => decoder.config.clone().into(),)+
                }
            }
        }
    };
}

list_decoders!(
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

impl DecoderConfig {
    /// The channels of the output, for the feature maps of an encoder with `channels` channels.
    pub fn out_channels(&self, channels: &[usize]) -> usize {
        self.spec::<4>().out_channels(channels)
    }

    /// Checks the options for the feature maps of an encoder, of rank `R` and with `channels` channels.
    ///
    /// # Errors
    /// When there are too few or too many maps, a number is zero, or a part is invalid.
    pub fn validate<const R: usize>(&self, channels: &[usize]) -> Result<(), ShapeError> {
        self.step_channels::<R>(channels).map(|_| ())
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

    /// As [`trace`](Self::trace), with the maps of [`Decoder::forward_steps`](super::Decoder::forward_steps).
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

    /// The channels of the maps of [`Decoder::forward_steps`](super::Decoder::forward_steps), for the feature maps of an
    /// encoder with `channels` channels: those of the output, and of the coarser steps that heads of deep supervision can
    /// read.
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
        check_decoder(self.spec::<R>(), channels)
    }

    /// The [plan](crate::plan) for feature maps of shapes `maps`, the finest first.
    pub fn plan<const R: usize>(&self, maps: &[[usize; R]], image: &[usize]) -> Plan {
        Plan::of_maps(maps, |planner, maps| {
            let output = self.trace(planner, maps, image)?;
            Ok(Vec::from([output]))
        })
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

impl<const R: usize> BuiltDecoder<R> for AnyDecoder<R> {
    fn built(&self) -> Built<'_, R> {
        self.inner().built()
    }

    fn run(&self, maps: Vec<Tensor<R>>, image: &[usize]) -> LazyConcat<R> {
        self.inner().run(maps, image)
    }

    fn run_steps(&self, maps: Vec<Tensor<R>>, image: &[usize]) -> Vec<Tensor<R>> {
        self.inner().run_steps(maps, image)
    }
}
