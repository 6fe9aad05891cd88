//! [`PspDecoder`]: pyramid pooling of the coarsest map.

use alloc::{format, vec, vec::Vec};

use burn::config::Config;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::check_levels;
use super::frame::{Built, BuiltDecoder, DecoderSpec, check_decoder, pop_deepest};
use crate::fuse::{PyramidPooling, PyramidPoolingConfig};
use crate::graph::{Map, Planner};
use crate::layers::ChannelDropout;
use crate::layers::block::{ConvNormAct, ConvNormActConfig, ConvStyle};
use crate::layers::conv::LazyConcat;
use crate::layers::layer::Layer;
use crate::plan::Trace;
use crate::setters::setters;
use crate::shape::{ShapeError, expect};

const NAME: &str = "PspDecoder";

/// Configuration of [`PspDecoder`]. The channels of the maps come from the encoder.
///
/// # Example
/// ```
/// use burn_skip::net::{DecoderConfig, PspDecoderConfig};
///
/// let maps = [[1, 16, 32, 24], [1, 32, 16, 12]];
/// let decoder = DecoderConfig::from(PspDecoderConfig::new());
/// assert_eq!(decoder.output_shape(&maps, &[64, 48]).unwrap(), [1, 512, 16, 12]);
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct PspDecoderConfig {
    /// The channels of the output. Default: 512.
    pub width: usize,
    /// The number of bins of each mean along every axis; each has as many of the map's channels. Default: 1, 2, 3 and 6.
    pub bins: Vec<usize>,
    /// Norm and activation of all convolutions.
    pub style: ConvStyle,
    /// The probability that a channel of the output is dropped in training. Default: 0.2.
    pub dropout: f64,
}

setters!(
    PspDecoderConfig:
    with_width(width: usize),
    with_bins(bins: Vec<usize>),
    with_style(style: ConvStyle),
    with_dropout(dropout: f64),
);

impl Config for PspDecoderConfig {}

impl Default for PspDecoderConfig {
    fn default() -> Self {
        Self::new()
    }
}

impl PspDecoderConfig {
    /// segmentation_models.pytorch's decoder with its defaults.
    pub fn new() -> Self {
        Self {
            width: 512,
            bins: vec![1, 2, 3, 6],
            style: ConvStyle::new(),
            dropout: crate::defaults::decoder_dropout(),
        }
    }

    fn pooling(&self, channels: usize) -> PyramidPoolingConfig {
        let branch_channels = channels / self.bins.len().max(1);
        PyramidPoolingConfig::new(channels, branch_channels)
            .with_bins(self.bins.clone())
            .with_style(self.style.clone())
    }

    fn conv(&self, channels: usize) -> ConvNormActConfig {
        let pooled = self.pooling(channels).out_channels();
        ConvNormActConfig::new([pooled, self.width], 1).with_style(self.style.clone())
    }

    /// Builds the decoder for the feature maps of an encoder, with `channels` channels.
    ///
    /// # Panics
    /// When an option is invalid, or the coarsest map has fewer channels than there are bins.
    pub fn init<const R: usize>(&self, channels: &[usize], device: &Device) -> PspDecoder<R> {
        expect(check_decoder::<R>(self, channels));
        let deepest = channels[channels.len() - 1];
        PspDecoder {
            pooling: self.pooling(deepest).init(device),
            conv: self.conv(deepest).init(device),
            dropout: ChannelDropout::new(self.dropout),
            config: self.clone(),
            channels: channels.to_vec(),
        }
    }
}

impl<const R: usize> DecoderSpec<R> for PspDecoderConfig {
    fn name(&self) -> &'static str {
        NAME
    }

    fn out_channels(&self, _channels: &[usize]) -> usize {
        self.width
    }

    fn trace_parts(
        &self,
        planner: &mut Planner,
        maps: &[Map<R>],
        _image: &[usize],
    ) -> Result<Vec<Map<R>>, ShapeError> {
        check_levels(NAME, 1, maps.len())?;
        let deepest = &maps[maps.len() - 1];
        let channels = deepest.shape[1];
        if channels < self.bins.len() {
            let bins = self.bins.len();
            return Err(ShapeError::new(
                NAME,
                format!("the coarsest map has {channels} channels for {bins} means"),
                "Choose fewer bins, or a wider encoder",
            ));
        }
        let pooled = self
            .pooling(channels)
            .trace(planner.at("pooling"), deepest)?;
        let y = self.conv(channels).trace(planner.at("conv"), &pooled)?;
        let y = ChannelDropout::trace_with(self.dropout, planner.at("dropout"), &y)?;
        Ok(vec![y])
    }
}

/// The decoder of PSPNet (arXiv:1612.01105): `y = dropout(conv(pooling(deepest)))` with [`PyramidPooling`], as
/// segmentation_models.pytorch's `PSPNet`, whose encoder ends at 1/8 of the size of the image.
///
/// # Shapes
/// - input: the maps of an encoder, the finest first; only the coarsest is read
/// - output: `[batch, width, spatial...]`, of the size of the coarsest map
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::net::{Decoder, PspDecoder, PspDecoderConfig};
///
/// let device = Device::flex();
/// let decoder: PspDecoder = PspDecoderConfig::new().with_width(32).init(&[8, 16], &device);
/// let maps = vec![Tensor::zeros([2, 8, 33, 24], &device), Tensor::zeros([2, 16, 17, 12], &device)];
/// assert_eq!(decoder.forward(maps, &[65, 48]).dims(), [2, 32, 17, 12]);
/// ```
#[derive(Module, Debug)]
pub struct PspDecoder<const R: usize = 4> {
    /// The coarsest map and its means.
    pub pooling: PyramidPooling<R>,
    /// The 1x1 convolution of both.
    pub conv: ConvNormAct<R>,
    /// The dropout of the output.
    pub dropout: ChannelDropout,
    /// The options that the decoder was built with.
    #[module(skip)]
    pub config: PspDecoderConfig,
    /// The channels of the maps that it was built for, the finest first.
    #[module(skip)]
    pub channels: Vec<usize>,
}

impl<const R: usize> BuiltDecoder<R> for PspDecoder<R> {
    fn built(&self) -> Built<'_, R> {
        Built::new(&self.config, &self.channels)
    }

    fn run(&self, mut maps: Vec<Tensor<R>>, _image: &[usize]) -> LazyConcat<R> {
        let deepest = pop_deepest(&mut maps);
        drop(maps); // (The others are not read.)
        let pooled = self.pooling.forward_parts(deepest.into());
        let y = self.conv.forward_parts(pooled).into_tensor();
        self.dropout.forward(y).into()
    }
}
