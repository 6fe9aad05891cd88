//! [`Unet`]: an encoder, a decoder that meets its maps again, and a head.

use alloc::{vec, vec::Vec};

use burn::config::Config;
use burn::module::Module;
use burn::nn::LeakyReluConfig;
use burn::nn::activation::ActivationConfig;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::{
    AnyEncoder, Encoder, EncoderConfig, PlainEncoderConfig, UnetDecoder, UnetDecoderConfig,
};
use crate::fuse::fit::{Anchor, Fit, PadMode, Target};
use crate::fuse::gate::GateConfig;
use crate::fuse::merge::Order;
use crate::graph::{Map, Planner};
use crate::layers::block::ConvStyle;
use crate::layers::conv::{Conv, ConvConfig};
use crate::layers::layer::Layer;
use crate::layers::norm::NormConfig;
use crate::layers::up::UpConfig;
use crate::plan::Trace;
use crate::setters::setters;
use crate::shape::{PerAxis, ShapeError, check_positive, expect, spatial};

const NAME: &str = "Unet";

/// Configuration of [`Unet`].
///
/// # Example
/// ```
/// use burn_skip::{fit::Fit, net::UnetConfig, up::UpConfig};
///
/// let config = UnetConfig::new(3, 2, vec![16, 32]).with_up(UpConfig::pixel_shuffle());
/// let error = config.output_shape([1, 3, 45, 60]).unwrap_err();
/// assert_eq!(error.problem, "a pixel shuffle takes height 22 to 44, and 45 is wanted");
/// let config = config.with_fit(Fit::pad()); // the last row
/// assert_eq!(config.output_shape([1, 3, 45, 60]).unwrap(), [1, 2, 45, 60]);
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct UnetConfig {
    /// What makes the maps.
    pub encoder: EncoderConfig,
    /// What leads back up.
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

    /// The U-Net of an encoder and a decoder of one's own choice.
    pub fn on(encoder: EncoderConfig, decoder: UnetDecoderConfig, out_channels: usize) -> Self {
        Self {
            encoder,
            decoder,
            out_channels,
            head_kernel_size: 1.into(),
        }
    }

    /// The U-Net of the paper: unpadded convolutions without norm, transposed convolutions, and
    /// skips that are cropped to what comes up.
    pub fn valid(in_channels: usize, out_channels: usize, widths: Vec<usize>) -> Self {
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
    /// transposed convolutions, which halve the channels but for the last; maps that are too small
    /// by one position are padded with their edge. `features` are MONAI's: five levels, the finest
    /// first, and the channels before the head; its default is `[32, 32, 64, 128, 256, 32]`.
    pub fn monai_basic(in_channels: usize, out_channels: usize, features: [usize; 6]) -> Self {
        let [f0, f1, f2, f3, f4, last] = features;
        let norm = NormConfig::Instance {
            epsilon: 1e-5,
            affine: true,
        };
        let activation = LeakyReluConfig::new().with_negative_slope(0.1);
        let style = ConvStyle::new()
            .with_norm(norm)
            .with_activation(ActivationConfig::LeakyRelu(activation))
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

    /// Sets the convolutions of the decoder, and of a plain encoder.
    pub fn with_style(mut self, style: ConvStyle) -> Self {
        if let EncoderConfig::Plain(encoder) = &mut self.encoder {
            encoder.style = style.clone();
        }
        self.decoder.style = style;
        self
    }

    /// Sets the encoder.
    pub fn with_encoder(mut self, encoder: EncoderConfig) -> Self {
        self.encoder = encoder;
        self
    }

    /// Sets what leads back up, in the decoder.
    pub fn with_up(mut self, up: UpConfig) -> Self {
        self.decoder.up = up;
        self
    }

    /// Sets how maps that still differ in size are brought together, in the decoder.
    pub fn with_fit(mut self, fit: Fit) -> Self {
        self.decoder.fit = fit;
        self
    }

    /// Sets the size that the maps of a level meet at, in the decoder.
    pub fn with_target(mut self, target: Target) -> Self {
        self.decoder.target = target;
        self
    }

    /// Sets which map comes first in the concatenations, in the decoder.
    pub fn with_order(mut self, order: Order) -> Self {
        self.decoder.order = order;
        self
    }

    /// Sets what weighs the skips, in the decoder.
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
        check_positive(NAME, "out_channels", self.out_channels)?;
        self.encoder
            .validate::<R>()
            .map_err(|e| e.within("encoder"))?;
        self.decoder
            .validate::<R>(&self.encoder.feature_channels())
            .map_err(|e| e.within("decoder"))?;
        self.head().validate::<R>().map_err(|e| e.within("head"))
    }

    /// The shapes of the maps of the encoder, the finest first, for an image of shape `input`.
    ///
    /// # Errors
    /// When the channels differ, the image is too small for the levels, or the configuration is
    /// invalid.
    pub fn feature_shapes<const R: usize>(
        &self,
        input: [usize; R],
    ) -> Result<Vec<[usize; R]>, ShapeError> {
        self.validate::<R>()?;
        let maps = self.encoder.feature_shapes(input);
        maps.map_err(|e| e.within("encoder"))
    }

    /// The shape of the output for an image of shape `input`.
    ///
    /// # Errors
    /// When the channels differ, the image is too small for the levels, the maps of a level cannot
    /// be brought to one size, or the configuration is invalid.
    pub fn output_shape<const R: usize>(
        &self,
        input: [usize; R],
    ) -> Result<[usize; R], ShapeError> {
        let maps = self.feature_shapes(input)?;
        let decoded = self.decoder.output_shape(&maps, spatial(&input));
        let decoded = decoded.map_err(|e| e.within("decoder"))?;
        self.head()
            .output_shape(decoded)
            .map_err(|e| e.within("head"))
    }

    /// Builds the network.
    ///
    /// # Panics
    /// When [`validate`](Self::validate) returns an error, with its message.
    pub fn init<const R: usize>(&self, device: &Device) -> Unet<R> {
        expect(self.validate::<R>());
        let channels = self.encoder.feature_channels();
        Unet {
            encoder: self.encoder.init(device),
            decoder: self.decoder.init(&channels, device),
            head: self.head().init(device),
            config: self.clone(),
        }
    }
}

impl<const R: usize> Trace<R> for UnetConfig {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        planner.node(NAME, &[x], |planner| {
            self.validate::<R>()?;
            let maps = self.encoder.trace(planner.at("encoder"), x)?;
            let image = spatial(&x.shape);
            let decoded = self.decoder.trace(planner.at("decoder"), &maps, image)?;
            self.head().trace(planner.at("head"), &decoded)
        })
    }
}

/// The U-Net (arXiv:1505.04597): an [`Encoder`], a [`UnetDecoder`] that meets each of its maps again, and
/// a convolution as the head. For one, two or three spatial axes.
///
/// # Shapes
/// - input: `[batch, in_channels, spatial...]`, of any size that the levels leave something of
/// - output: `[batch, out_channels, spatial...]`; smaller when the convolutions are not padded
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::{Layer, net::{Unet, UnetConfig}};
///
/// let device = Device::flex();
/// let config = UnetConfig::new(3, 2, vec![8, 16, 32]);
/// assert_eq!(config.output_shape([1, 3, 45, 61]).unwrap(), [1, 2, 45, 61]);
/// let net: Unet = config.init(&device);
/// assert_eq!(net.forward(Tensor::zeros([1, 3, 45, 61], &device)).dims(), [1, 2, 45, 61]);
///
/// // The network of the paper, on its 572x572 images.
/// let paper = UnetConfig::valid(1, 2, vec![64, 128, 256, 512, 1024]);
/// assert_eq!(paper.output_shape([1, 1, 572, 572]).unwrap(), [1, 2, 388, 388]);
/// ```
#[derive(Module, Debug)]
pub struct Unet<const R: usize = 4> {
    /// What makes the maps.
    pub encoder: AnyEncoder<R>,
    /// What leads back up.
    pub decoder: UnetDecoder<R>,
    /// From the channels of the finest level to those of the output.
    pub head: Conv<R>,
    /// The options that the network was built with.
    #[module(skip)]
    pub config: UnetConfig,
}

impl<const R: usize> Unet<R> {
    /// The maps of the encoder, the finest first.
    ///
    /// # Panics
    /// When [`UnetConfig::feature_shapes`] returns an error, with its message.
    pub fn features(&self, x: Tensor<R>) -> Vec<Tensor<R>> {
        expect(self.config.feature_shapes(x.dims()));
        self.encoder.features(x)
    }
}

impl<const R: usize> Layer<R> for Unet<R> {
    fn forward(&self, x: Tensor<R>) -> Tensor<R> {
        let input = x.dims();
        expect(self.output_shape(input));
        let maps = self.features(x);
        let decoded = self.decoder.forward_parts(maps, spatial(&input));
        self.head.forward_parts(decoded).into_tensor()
    }

    fn output_shape(&self, input: [usize; R]) -> Result<[usize; R], ShapeError> {
        self.config.output_shape(input)
    }

    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        self.config.trace(planner, x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::down::DownConfig;
    use alloc::{string::ToString, vec};

    #[test]
    fn the_network_of_the_paper() {
        let paper = UnetConfig::valid(1, 2, vec![64, 128, 256, 512, 1024]);
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
            text(UnetConfig::new(1, 1, vec![4, 8]).with_gate(GateConfig::Scse { reduction: 8 })),
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
    fn a_norm_that_a_file_leaves_out_is_missed() {
        let text = burn::config::config_to_json(&UnetConfig::new(1, 2, vec![4]));
        let start = text.find("\"norm\"").unwrap();
        let end = text.find("\"activation\"").unwrap();
        let without = [&text[..start], &text[end..]].concat();
        let error = UnetConfig::load_binary(without.as_bytes()).unwrap_err();
        assert!(
            error.to_string().contains("missing field `norm`"),
            "{error}"
        );
    }

    #[test]
    fn a_config_survives_its_file() {
        let config = UnetConfig::valid(1, 2, vec![4, 8])
            .with_gate(GateConfig::Attention { hidden_channels: 3 });
        let text = burn::config::config_to_json(&config);
        let back = UnetConfig::load_binary(text.as_bytes()).unwrap();
        assert_eq!(burn::config::config_to_json(&back), text);
    }
}
