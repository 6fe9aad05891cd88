//! [`SegmentationConfig`]: any encoder with any decoder, as data.

use alloc::{format, vec, vec::Vec};

use burn::config::Config;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::segmentation::{MODEL, trace_parts};
use super::supervision::{Heads, Supervised, TraceSupervised, check_steps, trace_supervised_parts};
use super::{
    AnyDecoder, AnyEncoder, ClassificationHeadConfig, DecoderConfig, DeepLabDecoderConfig,
    EncoderConfig, FpnDecoderConfig, LinknetDecoderConfig, ManetDecoderConfig, PanDecoderConfig,
    PspDecoderConfig, SegformerDecoderConfig, SegmentationModel, UnetConfig, UnetDecoderConfig,
    UnetPlusPlusDecoderConfig, UperNetDecoderConfig,
};
use crate::graph::{Map, Planner};
use crate::layers::conv::{Conv, ConvConfig};
use crate::layers::resize::ResizeMode;
use crate::plan::Trace;
use crate::setters::setters;
use crate::shape::{PerAxis, ShapeError, check_positive, expect, spatial};

/// Any of this crate's encoders with any of its decoders.
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::{Layer, Trace};
/// use burn_skip::net::{AnySegmentationModel, EncoderConfig, ResNetEncoderConfig, SegmentationConfig};
///
/// let device = Device::flex();
/// let encoder = EncoderConfig::ResNet(ResNetEncoderConfig::resnet18().with_width(8));
/// let net: AnySegmentationModel = SegmentationConfig::smp_fpn(encoder, 2).init(&device);
/// assert_eq!(net.forward(Tensor::zeros([1, 3, 75, 60], &device)).dims(), [1, 2, 75, 60]);
/// ```
pub type AnySegmentationModel<const R: usize = 4> =
    SegmentationModel<AnyEncoder<R>, AnyDecoder<R>, R, Option<Conv<R>>>;

/// Configuration of [`AnySegmentationModel`]: an encoder, a decoder and a head.
///
/// The constructors are the networks of segmentation_models.pytorch with their defaults; their encoders give five maps
/// down to 1/32 (its `encoder_depth=5`), such as ResNet.
///
/// # Example
/// ```
/// use burn_skip::Trace;
/// use burn_skip::net::{EncoderConfig, ResNetEncoderConfig, SegmentationConfig};
///
/// let encoder = || EncoderConfig::ResNet(ResNetEncoderConfig::resnet18());
/// let nets = [
///     SegmentationConfig::smp_unet_plus_plus(encoder(), 2),
///     SegmentationConfig::smp_linknet(encoder(), 2),
///     SegmentationConfig::smp_fpn(encoder(), 2),
///     SegmentationConfig::smp_deeplab_v3_plus(encoder(), 2),
///     SegmentationConfig::smp_upernet(encoder(), 2),
///     SegmentationConfig::smp_segformer(encoder(), 2),
/// ];
/// for net in nets {
///     // Of the size of the image, whichever it is.
///     assert_eq!(net.output_shape([1, 3, 65, 97]).unwrap(), [1, 2, 65, 97]);
/// }
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SegmentationConfig {
    /// The encoder.
    pub encoder: EncoderConfig,
    /// The decoder.
    pub decoder: DecoderConfig,
    /// The channels of the output: one a class.
    pub out_channels: usize,
    /// The kernel of the last convolution; `null` where there is none, since the decoder gives the classes. Default: 1.
    #[serde(default = "some_one")]
    pub head_kernel_size: Option<PerAxis>,
    /// How the output is resized to the size of the image; `null` where it has the size that the decoder gives. Default:
    /// linear, corners aligned.
    #[serde(default = "some_aligned")]
    pub resize: Option<ResizeMode>,
    /// How many coarser [steps](super::Decoder::forward_steps) of the decoder have a head of their own, a 1x1 convolution:
    /// deep supervision. They cost nothing outside of [training](SegmentationModel::forward_supervised). Default: none.
    #[serde(default)]
    pub supervised_steps: usize,
    /// The head on the encoder's coarsest map, which tells classes of the image. Default: none.
    #[serde(default)]
    pub classification_head: Option<ClassificationHeadConfig>,
}

fn some_one() -> Option<PerAxis> {
    Some(1.into())
}

fn some_aligned() -> Option<ResizeMode> {
    Some(ResizeMode::aligned_linear())
}

/// The channels of the steps of segmentation_models.pytorch's U-Nets, the finest first: of as many steps as the encoder
/// has maps, the coarsest.
fn smp_widths(encoder: &EncoderConfig) -> Vec<usize> {
    const WIDTHS: [usize; 5] = [16, 32, 64, 128, 256];
    let maps = encoder.feature_channels().len();
    WIDTHS[WIDTHS.len().saturating_sub(maps)..].into()
}

setters!(
    SegmentationConfig:
    with_resize(resize: impl Into<Option<ResizeMode>>),
    with_supervised_steps(supervised_steps: usize),
    with_classification_head(classification_head: impl Into<Option<ClassificationHeadConfig>>),
);

impl Config for SegmentationConfig {}

impl From<UnetConfig> for SegmentationConfig {
    fn from(unet: UnetConfig) -> Self {
        Self {
            encoder: unet.encoder,
            decoder: unet.decoder.into(),
            out_channels: unet.out_channels,
            head_kernel_size: Some(unet.head_kernel_size),
            resize: None,
            supervised_steps: 0,
            classification_head: None,
        }
    }
}

impl SegmentationConfig {
    /// This encoder with this decoder, a 1x1 convolution as the head, and an output of the size of the image.
    pub fn new(
        encoder: EncoderConfig,
        decoder: impl Into<DecoderConfig>,
        out_channels: usize,
    ) -> Self {
        Self {
            encoder,
            decoder: decoder.into(),
            out_channels,
            head_kernel_size: some_one(),
            resize: some_aligned(),
            supervised_steps: 0,
            classification_head: None,
        }
    }

    /// segmentation_models.pytorch's `Unet`, as [`UnetConfig::smp`]; on an encoder of fewer maps with fewer steps.
    pub fn smp_unet(encoder: EncoderConfig, out_channels: usize) -> Self {
        let decoder = UnetDecoderConfig::new(smp_widths(&encoder));
        Self::new(encoder, decoder, out_channels).with_head_kernel_size(3)
    }

    /// segmentation_models.pytorch's `UnetPlusPlus`.
    pub fn smp_unet_plus_plus(encoder: EncoderConfig, out_channels: usize) -> Self {
        let decoder = UnetPlusPlusDecoderConfig::new(smp_widths(&encoder));
        Self::new(encoder, decoder, out_channels).with_head_kernel_size(3)
    }

    /// segmentation_models.pytorch's `Linknet`.
    pub fn smp_linknet(encoder: EncoderConfig, out_channels: usize) -> Self {
        Self::new(encoder, LinknetDecoderConfig::new(), out_channels)
    }

    /// segmentation_models.pytorch's `FPN`.
    pub fn smp_fpn(encoder: EncoderConfig, out_channels: usize) -> Self {
        Self::new(encoder, FpnDecoderConfig::new(), out_channels)
    }

    /// segmentation_models.pytorch's `PSPNet`, whose encoder ends at 1/8 of the size of the image (its
    /// `encoder_depth=3`): a ResNet of two stages, say.
    pub fn smp_psp(encoder: EncoderConfig, out_channels: usize) -> Self {
        Self::new(encoder, PspDecoderConfig::new(), out_channels).with_head_kernel_size(3)
    }

    /// segmentation_models.pytorch's `DeepLabV3`, whose encoder has an [output
    /// stride](EncoderConfig::with_output_stride) of 8.
    pub fn smp_deeplab_v3(encoder: EncoderConfig, out_channels: usize) -> Self {
        Self::new(encoder, DeepLabDecoderConfig::v3(), out_channels)
    }

    /// segmentation_models.pytorch's `DeepLabV3Plus`, whose encoder has an [output
    /// stride](EncoderConfig::with_output_stride) of 16.
    pub fn smp_deeplab_v3_plus(encoder: EncoderConfig, out_channels: usize) -> Self {
        Self::new(encoder, DeepLabDecoderConfig::v3_plus(), out_channels)
    }

    /// segmentation_models.pytorch's `PAN`, whose encoder has an [output
    /// stride](EncoderConfig::with_output_stride) of 16.
    pub fn smp_pan(encoder: EncoderConfig, out_channels: usize) -> Self {
        Self::new(encoder, PanDecoderConfig::new(), out_channels).with_head_kernel_size(3)
    }

    /// segmentation_models.pytorch's `MAnet`.
    pub fn smp_manet(encoder: EncoderConfig, out_channels: usize) -> Self {
        let decoder = ManetDecoderConfig::new(smp_widths(&encoder));
        Self::new(encoder, decoder, out_channels).with_head_kernel_size(3)
    }

    /// segmentation_models.pytorch's `UPerNet`, which reads the four coarsest maps: of an encoder with fewer, set
    /// [`levels`](UperNetDecoderConfig::levels).
    pub fn smp_upernet(encoder: EncoderConfig, out_channels: usize) -> Self {
        Self::new(encoder, UperNetDecoderConfig::new(), out_channels)
    }

    /// segmentation_models.pytorch's `Segformer`.
    pub fn smp_segformer(encoder: EncoderConfig, out_channels: usize) -> Self {
        Self::new(encoder, SegformerDecoderConfig::new(), out_channels)
    }

    /// Sets the kernel of the last convolution.
    pub fn with_head_kernel_size(mut self, head_kernel_size: impl Into<PerAxis>) -> Self {
        self.head_kernel_size = Some(head_kernel_size.into());
        self
    }

    /// Removes the last convolution: the decoder gives the classes.
    pub fn without_head(mut self) -> Self {
        self.head_kernel_size = None;
        self
    }

    fn head(&self) -> Option<ConvConfig> {
        let kernel_size = self.head_kernel_size.clone()?;
        let width = self.decoder.out_channels(&self.encoder.feature_channels());
        Some(ConvConfig::new([width, self.out_channels], kernel_size))
    }

    /// Refuses a decoder that does not give the classes, where nothing follows it.
    fn check_classes(&self, decoded: usize) -> Result<(), ShapeError> {
        if self.head_kernel_size.is_some() || decoded == self.out_channels {
            return Ok(());
        }
        let classes = self.out_channels;
        Err(ShapeError::new(
            MODEL,
            format!(
                "the decoder gives {decoded} channels, out_channels is {classes}, and there is no head"
            ),
            format!("Set head_kernel_size, or let the decoder give {classes} channels"),
        ))
    }

    /// The convolutions of the extra heads.
    fn supervision_heads<const R: usize>(&self) -> Result<Vec<ConvConfig>, ShapeError> {
        if self.supervised_steps == 0 {
            return Ok(Vec::new());
        }
        let features = self.encoder.feature_channels();
        let channels = self.decoder.step_channels::<R>(&features)?;
        check_steps(self.supervised_steps, channels.len())?;
        let steps = channels[1..].iter().take(self.supervised_steps);
        Ok(steps.map(|&step| self.extra_head(step)).collect())
    }

    /// A head on a step with so many channels.
    fn extra_head(&self, channels: usize) -> ConvConfig {
        ConvConfig::new([channels, self.out_channels], 1)
    }

    /// Checks the options for maps of rank `R`.
    ///
    /// # Errors
    /// When a number is zero, a part is invalid, the decoder takes another number of maps than the encoder gives, or it
    /// has not so many steps for extra heads.
    pub fn validate<const R: usize>(&self) -> Result<(), ShapeError> {
        Planner::check_options(&[self.encoder.in_channels()], |planner, maps: &[Map<R>]| {
            self.trace_supervised(planner, &maps[0])
        })
    }

    /// Builds the network.
    ///
    /// # Panics
    /// When [`validate`](Self::validate) returns an error, with its message.
    pub fn init<const R: usize>(&self, device: &Device) -> AnySegmentationModel<R> {
        expect(self.validate::<R>());
        let channels = self.encoder.feature_channels();
        let decoder = self.decoder.init(&channels, device);
        let encoder = self.encoder.init(device);
        let coarsest = channels.last().copied().unwrap_or(0);
        let classes = self.classification_head.as_ref();
        let extra = expect(self.supervision_heads::<R>());
        SegmentationModel {
            encoder,
            decoder,
            head: self.head().map(|head| head.init(device)),
            supervision_heads: extra.iter().map(|head| head.init(device)).collect(),
            classification_head: classes.map(|head| head.init(coarsest, device)),
            resize: self.resize,
        }
    }
}

impl<const R: usize> Trace<R> for SegmentationConfig {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        planner.node(MODEL, &[x], |planner| {
            check_positive(MODEL, "out_channels", self.out_channels)?;
            let encoder = |planner: &mut Planner, x: &Map<R>| self.encoder.trace(planner, x);
            let decoder = |planner: &mut Planner, maps: &[Map<R>], image: &[usize]| {
                let decoded = self.decoder.trace(planner, maps, image)?;
                self.check_classes(decoded.shape[1])?;
                Ok(decoded)
            };
            trace_parts(planner, x, encoder, decoder, (&self.head(), self.resize))
        })
    }
}

impl<const R: usize> TraceSupervised<R> for SegmentationConfig {
    fn trace_supervised(
        &self,
        planner: &mut Planner,
        x: &Map<R>,
    ) -> Result<Supervised<Map<R>, Map<2>>, ShapeError> {
        let encoder = |planner: &mut Planner, x: &Map<R>| self.encoder.trace(planner, x);
        let image = spatial(&x.shape);
        let decoder = |planner: &mut Planner, maps: &[Map<R>], has_steps: bool| {
            let decoded = match has_steps {
                true => self.decoder.trace_steps(planner, maps, image)?,
                false => vec![self.decoder.trace(planner, maps, image)?],
            };
            self.check_classes(decoded[0].shape[1])?;
            Ok(decoded)
        };
        let heads = Heads {
            head: &self.head(),
            resize: self.resize,
            steps: self.supervised_steps,
            extra: |planner: &mut Planner, _index: usize, map: &Map<R>| {
                self.extra_head(map.shape[1]).trace(planner, map)
            },
            classes: |planner: &mut Planner, map: &Map<R>| {
                let head = self.classification_head.as_ref();
                head.map(|head| head.trace(planner, map)).transpose()
            },
        };
        let body = |planner: &mut Planner| {
            check_positive(MODEL, "out_channels", self.out_channels)?;
            trace_supervised_parts(planner, x, encoder, decoder, heads)
        };
        planner.node_of(MODEL, &[x], body, Supervised::plans)
    }
}

impl<const R: usize> AnySegmentationModel<R> {
    /// The options of the network.
    pub fn config(&self) -> SegmentationConfig {
        let encoder = self.encoder.config();
        let decoder = self.decoder.config();
        let head = self.head.as_ref().map(|head| &head.config);
        SegmentationConfig {
            out_channels: match head {
                Some(head) => head.channels[1],
                None => decoder.out_channels(&encoder.feature_channels()),
            },
            head_kernel_size: head.map(|head| head.kernel_size.clone()),
            encoder,
            decoder,
            resize: self.resize,
            supervised_steps: self.supervision_heads.len(),
            classification_head: self
                .classification_head
                .as_ref()
                .map(|head| head.config.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::ResNetEncoderConfig;
    use alloc::string::ToString;

    fn resnet() -> EncoderConfig {
        EncoderConfig::ResNet(ResNetEncoderConfig::resnet18().with_width(8))
    }

    #[test]
    fn a_config_survives_its_file() {
        let config = SegmentationConfig::smp_deeplab_v3_plus(resnet(), 2);
        let net: AnySegmentationModel = config.init(&Device::flex());
        let text = burn::config::config_to_json(&net.config());
        assert_eq!(text, burn::config::config_to_json(&config));
        let back = SegmentationConfig::load_binary(text.as_bytes()).unwrap();
        assert_eq!(burn::config::config_to_json(&back), text);
    }

    #[test]
    fn a_unet_is_one_of_them() {
        let unet = UnetConfig::smp(resnet(), 2);
        let shape = [1, 3, 65, 97];
        let segmentation = SegmentationConfig::from(unet.clone());
        assert_eq!(unet.plan(shape).root, segmentation.plan(shape).root);
    }

    #[test]
    fn what_cannot_be_built_is_refused() {
        let text = |config: SegmentationConfig| config.validate::<4>().unwrap_err().to_string();
        assert_eq!(
            text(SegmentationConfig::smp_fpn(resnet(), 0)),
            "SegmentationModel: out_channels is 0. Set out_channels to 1 or more."
        );
        assert_eq!(
            text(SegmentationConfig::smp_unet(resnet(), 2).without_head()),
            "SegmentationModel: the decoder gives 16 channels, out_channels is 2, and there is no head. Set \
             head_kernel_size, or let the decoder give 2 channels."
        );
        let two = ResNetEncoderConfig::new(crate::net::ResNetBlock::Basic, [1, 1].into());
        assert_eq!(
            text(SegmentationConfig::smp_fpn(EncoderConfig::ResNet(two), 1)),
            "decoder.FpnDecoder: levels is 4, and the encoder has 3 maps. Set levels to 1 to 3, or give the encoder more \
             stages."
        );
    }
}
