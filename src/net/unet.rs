//! [`Unet`]: the segmentation model of this crate's encoders and the decoder of the U-Net.

use alloc::{vec, vec::Vec};

use burn::config::Config;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::segmentation::{MODEL, trace_parts};
use super::{
    AnyEncoder, EncoderConfig, PlainEncoderConfig, SegmentationModel, UnetDecoder,
    UnetDecoderConfig,
};
use crate::fuse::fit::{Anchor, Fit, PadMode, Target};
use crate::fuse::gate::GateConfig;
use crate::fuse::merge::Order;
use crate::graph::{Map, Planner};
use crate::layers::activation::ActivationConfig;
use crate::layers::block::ConvStyle;
use crate::layers::conv::ConvConfig;
use crate::layers::norm::NormConfig;
use crate::layers::up::UpConfig;
use crate::plan::Trace;
use crate::setters::setters;
use crate::shape::{PerAxis, ShapeError, check_positive, expect};

const NAME: &str = "Unet";

/// Configuration of [`Unet`].
///
/// # Example
/// ```
/// use burn_skip::{Trace, fit::Fit, net::UnetConfig, up::UpConfig};
///
/// let config = UnetConfig::new(3, 2, vec![16, 32]).with_up(UpConfig::pixel_shuffle());
/// let error = config.output_shape([1, 3, 45, 60]).unwrap_err();
/// assert_eq!(error.problem, "a pixel shuffle takes height 22 to 44, and 45 is wanted");
/// let config = config.with_fit(Fit::pad()); // the last row
/// assert_eq!(config.output_shape([1, 3, 45, 60]).unwrap(), [1, 2, 45, 60]);
/// ```
///
/// In a file, `in_channels` and `widths` may stand for a plain encoder and its decoder:
/// ```
/// use burn_skip::{Trace, net::UnetConfig};
///
/// let short = r#"{"in_channels": 1, "widths": [16, 32, 64], "out_channels": 1}"#;
/// let config: UnetConfig = serde_json::from_str(short).unwrap();
/// assert_eq!(config.decoder.widths, [16, 32]);
/// assert_eq!(config.output_shape([1, 1, 96, 96]).unwrap(), [1, 1, 96, 96]);
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "super::unet_file::UnetFile")]
#[cfg_attr(feature = "schema", schemars(with = "super::unet_file::UnetFile"))]
pub struct UnetConfig {
    /// The encoder.
    pub encoder: EncoderConfig,
    /// The decoder.
    pub decoder: UnetDecoderConfig,
    /// The channels of the output: one a class.
    pub out_channels: usize,
    /// The kernel of the last convolution. Default: 1. segmentation_models.pytorch: 3.
    pub head_kernel_size: PerAxis,
}

setters!(
    UnetConfig:
    with_head_kernel_size(head_kernel_size: impl Into<PerAxis>),
);

impl Config for UnetConfig {}

impl UnetConfig {
    /// A U-Net from `in_channels` to `out_channels` channels, with `widths.len()` levels, the finest
    /// first.
    pub fn new(in_channels: usize, out_channels: usize, widths: Vec<usize>) -> Self {
        let steps = widths.len().saturating_sub(1);
        Self::on(
            EncoderConfig::Plain(PlainEncoderConfig::new(in_channels, widths.clone())),
            UnetDecoderConfig::new(widths[..steps].to_vec()),
            out_channels,
        )
    }

    /// The U-Net of this encoder and this decoder.
    pub fn on(encoder: EncoderConfig, decoder: UnetDecoderConfig, out_channels: usize) -> Self {
        Self {
            encoder,
            decoder,
            out_channels,
            head_kernel_size: 1.into(),
        }
    }

    /// The U-Net of the paper: unpadded convolutions without norm, transposed convolutions, and
    /// skips cropped to the size of the upsampled maps.
    pub fn unpadded(in_channels: usize, out_channels: usize, widths: Vec<usize>) -> Self {
        let style = ConvStyle::new()
            .with_padding(crate::Padding::Valid)
            .with_norm(None);
        Self::new(in_channels, out_channels, widths)
            .with_style(style)
            .with_up(UpConfig::conv_transpose())
            .with_fit(Fit::crop())
            .with_target(Target::Deep)
            .with_order(Order::SkipFirst)
    }

    /// segmentation_models.pytorch's `Unet` with its default decoder, on an encoder of five maps down to
    /// 1/32 (its `encoder_depth=5`), such as ResNet.
    pub fn smp(encoder: EncoderConfig, out_channels: usize) -> Self {
        let decoder = UnetDecoderConfig::new(vec![16, 32, 64, 128, 256]);
        Self::on(encoder, decoder, out_channels).with_head_kernel_size(3)
    }

    /// MONAI's `BasicUNet` with its defaults: convolutions with bias, instance norm and leaky ReLU;
    /// transposed convolutions, which halve the channels except in the last step; maps that are too small
    /// by one position are padded with their edge. `features` are MONAI's: five levels, the finest
    /// first, and the channels before the head; its default is `[32, 32, 64, 128, 256, 32]`.
    pub fn monai_basic(in_channels: usize, out_channels: usize, features: [usize; 6]) -> Self {
        let [f0, f1, f2, f3, f4, last] = features;
        let norm = NormConfig::Instance {
            epsilon: 1e-5,
            affine: true,
        };
        let activation = ActivationConfig::LeakyRelu {
            negative_slope: 0.1,
        };
        let style = ConvStyle::new()
            .with_norm(norm)
            .with_activation(activation)
            .with_bias(true);
        let encoder = PlainEncoderConfig::new(in_channels, vec![f0, f1, f2, f3, f4]);
        let decoder = UnetDecoderConfig::new(vec![last, f1, f2, f3]).with_up_channels(vec![
            f1,
            f2 / 2,
            f3 / 2,
            f4 / 2,
        ]);
        Self::on(EncoderConfig::Plain(encoder), decoder, out_channels)
            .with_style(style)
            .with_up(UpConfig::conv_transpose())
            .with_fit(Fit::Pad {
                mode: PadMode::Edge,
                anchor: Anchor::Start,
            })
            .with_target(Target::Largest)
            .with_order(Order::SkipFirst)
    }

    /// Sets the convolutions of the decoder and of the encoder, which must be a plain one.
    ///
    /// # Panics
    /// When the encoder is a ResNet or a DenseNet, whose convolutions have options of their own: use
    /// [`with_decoder_style`](Self::with_decoder_style).
    pub fn with_style(self, style: ConvStyle) -> Self {
        let encoder = expect(self.encoder.with_style(style.clone()));
        Self { encoder, ..self }.with_decoder_style(style)
    }

    /// Sets the convolutions of the decoder.
    pub fn with_decoder_style(mut self, style: ConvStyle) -> Self {
        self.decoder.style = style;
        self
    }

    /// Sets the encoder.
    pub fn with_encoder(mut self, encoder: EncoderConfig) -> Self {
        self.encoder = encoder;
        self
    }

    /// Sets how the decoder upsamples.
    pub fn with_up(mut self, up: UpConfig) -> Self {
        self.decoder.up = up;
        self
    }

    /// Sets how the decoder fits maps that still differ in size.
    pub fn with_fit(mut self, fit: Fit) -> Self {
        self.decoder.fit = fit;
        self
    }

    /// Sets the size to which the decoder fits the maps of a level.
    pub fn with_target(mut self, target: Target) -> Self {
        self.decoder.target = target;
        self
    }

    /// Sets which map comes first in the concatenations of the decoder.
    pub fn with_order(mut self, order: Order) -> Self {
        self.decoder.order = order;
        self
    }

    /// Sets the gate of the skips in the decoder.
    pub fn with_gate(mut self, gate: impl Into<Option<GateConfig>>) -> Self {
        self.decoder.gate = gate.into();
        self
    }

    fn head(&self) -> ConvConfig {
        let features = self.encoder.feature_channels();
        let width = self.decoder.widths.first().or(features.first());
        let channels = [width.copied().unwrap_or(0), self.out_channels];
        ConvConfig::new(channels, self.head_kernel_size.clone())
    }

    /// Checks the options for maps of rank `R`.
    ///
    /// # Errors
    /// When there is no level, a number is zero, or a part is invalid.
    pub fn validate<const R: usize>(&self) -> Result<(), ShapeError> {
        Planner::check_options(&[self.encoder.in_channels()], |planner, maps: &[Map<R>]| {
            self.trace(planner, &maps[0])
        })
    }

    /// Builds the network.
    ///
    /// # Panics
    /// When [`validate`](Self::validate) returns an error, with its message.
    pub fn init<const R: usize>(&self, device: &Device) -> Unet<R> {
        expect(self.validate::<R>());
        let channels = self.encoder.feature_channels();
        SegmentationModel::new(
            self.encoder.init(device),
            self.decoder.init(&channels, device),
            self.head().init(device),
        )
    }
}

impl<const R: usize> Trace<R> for UnetConfig {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        planner.node(MODEL, &[x], |planner| {
            check_positive(NAME, "out_channels", self.out_channels)?;
            let encoder = |planner: &mut Planner, x: &Map<R>| self.encoder.trace(planner, x);
            let decoder = |planner: &mut Planner, maps: &[Map<R>], image: &[usize]| {
                self.decoder.trace(planner, maps, image)
            };
            trace_parts(planner, x, encoder, decoder, (&self.head(), None))
        })
    }
}

/// The U-Net (arXiv:1505.04597): one of this crate's encoders, a [`UnetDecoder`] that merges in each of its
/// feature maps, and a convolution as the head. For one, two or three spatial axes.
///
/// # Shapes
/// - input: `[batch, in_channels, spatial...]`, large enough for the levels
/// - output: `[batch, out_channels, spatial...]`; smaller when the convolutions are not padded
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::{Layer, Trace, net::{Unet, UnetConfig}};
///
/// let device = Device::flex();
/// let config = UnetConfig::new(3, 2, vec![8, 16, 32]);
/// assert_eq!(config.output_shape([1, 3, 45, 61]).unwrap(), [1, 2, 45, 61]);
/// let net: Unet = config.init(&device);
/// assert_eq!(net.forward(Tensor::zeros([1, 3, 45, 61], &device)).dims(), [1, 2, 45, 61]);
///
/// // The network of the paper, on its 572x572 images.
/// let paper = UnetConfig::unpadded(1, 2, vec![64, 128, 256, 512, 1024]);
/// assert_eq!(paper.output_shape([1, 1, 572, 572]).unwrap(), [1, 2, 388, 388]);
/// ```
pub type Unet<const R: usize = 4> = SegmentationModel<AnyEncoder<R>, UnetDecoder<R>, R>;

impl<const R: usize> Unet<R> {
    /// The options of the network, without extra heads, which a [`SegmentationConfig`](super::SegmentationConfig) has.
    pub fn config(&self) -> UnetConfig {
        let ConvConfig {
            channels,
            kernel_size,
            ..
        } = self.head.config.clone();
        UnetConfig {
            encoder: self.encoder.config(),
            decoder: self.decoder.config.clone(),
            out_channels: channels[1],
            head_kernel_size: kernel_size,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::down::DownConfig;
    use crate::net::{DenseNetEncoderConfig, ResNetBlock, ResNetEncoderConfig};
    use alloc::string::ToString;
    use burn::module::Module;
    use burn::tensor::Tensor;

    #[test]
    fn the_network_of_the_paper() {
        let paper = UnetConfig::unpadded(1, 2, vec![64, 128, 256, 512, 1024]);
        assert_eq!(paper.output_shape([1, 1, 572, 572]), Ok([1, 2, 388, 388]));
        let error = paper.output_shape([1, 1, 100, 572]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "encoder.levels.3.block.first.conv.Conv: height 2 with padding 0 + 0 is smaller than the window of 3 \
             (kernel 3, dilation 1). Use a smaller kernel, more padding, or a map of height 3 or more."
        );
    }

    #[test]
    fn parameters_of_a_small_network() {
        // As the PyTorch network with nearest upsampling and concatenation:
        // sum(p.numel()) over 3x3 convolutions without bias, batch norms and the head, counted by hand.
        let net: Unet = UnetConfig::new(1, 1, vec![4, 8]).init(&Device::flex());
        let convs = 9 * (4 + 4 * 4 + 4 * 8 + 8 * 8 + 12 * 4 + 4 * 4);
        let norms = 4 * (4 + 4 + 8 + 8 + 4 + 4); // scale, shift and two statistics
        assert_eq!(net.num_params(), convs + norms + 4 + 1);
    }

    #[test]
    fn every_way_up_and_down_takes_odd_sizes() {
        for up in [
            UpConfig::nearest(),
            UpConfig::linear(),
            UpConfig::conv_transpose(),
            UpConfig::pixel_shuffle(),
        ] {
            for down in [
                DownConfig::max(),
                DownConfig::avg(),
                DownConfig::conv(),
                DownConfig::blur(),
            ] {
                let config = UnetConfig::new(1, 2, vec![2, 3, 4])
                    .with_fit(Fit::pad_or_crop())
                    .with_up(up.clone())
                    .with_encoder(EncoderConfig::Plain(
                        PlainEncoderConfig::new(1, vec![2, 3, 4]).with_down(down),
                    ));
                assert_eq!(config.output_shape([1, 1, 37, 46]), Ok([1, 2, 37, 46]));
            }
        }
    }

    #[test]
    fn invalid_configurations_are_refused() {
        let text = |config: UnetConfig| config.validate::<4>().unwrap_err().to_string();
        assert_eq!(
            text(UnetConfig::new(1, 1, vec![])),
            "encoder.PlainEncoder: widths are []. Give one number of channels, 1 or more, for each level."
        );
        assert_eq!(
            text(UnetConfig::new(1, 0, vec![4])),
            "Unet: out_channels is 0. Set out_channels to 1 or more."
        );
        assert_eq!(
            text(UnetConfig::new(1, 1, vec![4, 8]).with_gate(GateConfig::scse(8))),
            "decoder.steps.0.gate.Gate: reduction 8 leaves none of 4 channels. Choose a reduction of 4 or less."
        );
    }

    #[test]
    fn the_maps_of_all_levels() {
        let device = Device::flex();
        let net: Unet<3> = UnetConfig::new(1, 1, vec![2, 3, 4]).init(&device);
        let maps = net.features(Tensor::zeros([1, 1, 9], &device));
        let shapes: Vec<_> = maps.iter().map(Tensor::dims).collect();
        assert_eq!(shapes, [[1, 2, 9], [1, 3, 4], [1, 4, 2]]);
    }

    #[test]
    fn a_network_knows_its_options() {
        let config = UnetConfig::unpadded(1, 2, vec![4, 8]).with_head_kernel_size([3, 1]);
        let net: Unet = config.init(&Device::flex());
        let text = burn::config::config_to_json(&net.config());
        assert_eq!(text, burn::config::config_to_json(&config));
    }

    #[test]
    fn a_style_is_refused_where_there_is_none() {
        let encoder = EncoderConfig::ResNet(ResNetEncoderConfig::resnet18());
        let error = encoder.clone().with_style(ConvStyle::new()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "EncoderConfig: a ResNet has no ConvStyle. Set the norm and the activation of its own configuration, \
             ResNetEncoderConfig."
        );
        let style = ConvStyle::new().with_norm(None);
        let config = UnetConfig::smp(encoder, 2).with_decoder_style(style);
        assert!(config.decoder.style.norm.is_none());
    }

    #[test]
    fn numbers_that_overflow_are_refused() {
        for number in [usize::MAX, usize::MAX / 2, 1 << 40] {
            for config in [
                UnetConfig::new(number, 2, vec![4, 8]),
                UnetConfig::new(1, number, vec![4, 8]),
                UnetConfig::new(1, 2, vec![4, number]),
                UnetConfig::new(1, 2, vec![number, number]).with_up(UpConfig::pixel_shuffle()),
                UnetConfig::smp(
                    EncoderConfig::ResNet(ResNetEncoderConfig::new(
                        ResNetBlock::Bottleneck,
                        vec![number; 5],
                    )),
                    2,
                ),
                UnetConfig::smp(
                    EncoderConfig::DenseNet(
                        DenseNetEncoderConfig::new(vec![number; 4]).with_growth(number),
                    ),
                    2,
                ),
            ] {
                assert!(config.validate::<4>().is_err(), "{config:?}");
                assert!(config.output_shape([1, 1, 64, 64]).is_err(), "{config:?}");
            }
            let input = [number, 1, number, 64];
            let _ = UnetConfig::new(1, 2, vec![4, 8]).plan(input);
            let _ = UnetConfig::new(1, 2, vec![4, 8]).output_shape(input);
        }
    }

    #[test]
    fn a_config_survives_its_file() {
        let config = UnetConfig::unpadded(1, 2, vec![4, 8]).with_gate(GateConfig::attention(3));
        let text = burn::config::config_to_json(&config);
        let back = UnetConfig::load_binary(text.as_bytes()).unwrap();
        assert_eq!(burn::config::config_to_json(&back), text);
    }
}
