//! [`FpnDecoder`]: a feature pyramid whose levels are merged into one map.

use alloc::{format, vec::Vec};

use burn::config::Config;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::any::DecoderSpec;
use super::{Decoder, check_decoder, check_levels};
use crate::fuse::fit::Fit;
use crate::fuse::merge::Merge;
use crate::graph::{Map, Planner, check_maps};
use crate::layers::ChannelDropout;
use crate::layers::block::{ConvNormAct, ConvNormActConfig, ConvStyle};
use crate::layers::layer::Layer;
use crate::layers::norm::NormConfig;
use crate::layers::resize::ResizeMode;
use crate::neck::{Fpn, FpnConfig, Neck};
use crate::plan::Trace;
use crate::setters::setters;
use crate::shape::{Axis, ShapeError, check_positive, expect, spatial};

const NAME: &str = "FpnDecoder";

/// Configuration of [`FpnDecoder`]. The channels of the maps come from the encoder.
///
/// # Example
/// ```
/// use burn_skip::net::{DecoderConfig, FpnDecoderConfig};
///
/// // The two coarsest of three maps.
/// let maps = [[1, 8, 32, 24], [1, 16, 16, 12], [1, 32, 8, 6]];
/// let decoder = DecoderConfig::from(FpnDecoderConfig::new().with_levels(2));
/// assert_eq!(decoder.output_shape(&maps, &[64, 48]).unwrap(), [1, 128, 16, 12]);
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct FpnDecoderConfig {
    /// How many maps are used, the coarsest. Default: 4, from 1/4 of the size of the image on for a ResNet.
    #[serde(default = "levels")]
    pub levels: usize,
    /// The pyramid. Default: 256 channels, without convolutions of its outputs.
    #[serde(default = "pyramid")]
    pub pyramid: FpnConfig,
    /// The channels of each level before the merge. Default: 128.
    #[serde(default = "width")]
    pub width: usize,
    /// The 3x3 convolutions of each level. Default: group norm of 32 groups, ReLU.
    #[serde(default = "style")]
    pub style: ConvStyle,
    /// How a level is enlarged after each of its convolutions. Default: linear, corners aligned.
    #[serde(default = "ResizeMode::aligned_linear")]
    pub resize: ResizeMode,
    /// How the levels become one map. Default: [`Merge::Add`].
    #[serde(default = "sum")]
    pub merge: Merge,
    /// The probability that a channel of the output is dropped in training. Default: 0.2.
    #[serde(default = "crate::defaults::decoder_dropout")]
    pub dropout: f64,
}

const fn levels() -> usize {
    4
}

fn pyramid() -> FpnConfig {
    FpnConfig::new(crate::defaults::pyramid_channels()).with_output(None)
}

const fn width() -> usize {
    128
}

fn style() -> ConvStyle {
    ConvStyle::new().with_norm(NormConfig::group(32))
}

const fn sum() -> Merge {
    Merge::Add
}

setters!(
    FpnDecoderConfig:
    with_levels(levels: usize),
    with_pyramid(pyramid: FpnConfig),
    with_width(width: usize),
    with_style(style: ConvStyle),
    with_resize(resize: ResizeMode),
    with_merge(merge: Merge),
    with_dropout(dropout: f64),
);

impl Config for FpnDecoderConfig {}

impl Default for FpnDecoderConfig {
    fn default() -> Self {
        Self::new()
    }
}

impl FpnDecoderConfig {
    /// segmentation_models.pytorch's decoder with its defaults.
    pub fn new() -> Self {
        Self {
            levels: levels(),
            pyramid: pyramid(),
            width: width(),
            style: style(),
            resize: ResizeMode::aligned_linear(),
            merge: Merge::Add,
            dropout: crate::defaults::decoder_dropout(),
        }
    }

    /// The convolutions of a level: one for each finer level, and one where there is none.
    fn branch(&self, level: usize) -> Vec<ConvNormActConfig> {
        let conv = |index: usize| {
            let input = if index == 0 {
                self.pyramid.channels
            } else {
                self.width
            };
            ConvNormActConfig::new([input, self.width], 3).with_style(self.style.clone())
        };
        (0..level.max(1)).map(conv).collect()
    }

    /// The index of the finest map that is used.
    fn first(&self, maps: usize) -> usize {
        maps - self.levels
    }

    fn trace_parts<const R: usize>(
        &self,
        planner: &mut Planner,
        maps: &[Map<R>],
    ) -> Result<Map<R>, ShapeError> {
        check_levels(NAME, self.levels, maps.len())?;
        check_positive(NAME, "width", self.width)?;
        if let Some(extra) = self.pyramid.extra {
            let problem = format!("the pyramid has extra levels, {extra:?}, which are not read");
            return Err(ShapeError::new(NAME, problem, "Leave extra out"));
        }
        if let Merge::Concat {
            axis: Axis::Spatial(_),
            ..
        } = self.merge
        {
            let problem = "the levels cannot be merged along a spatial axis";
            return Err(ShapeError::new(
                NAME,
                problem,
                "Choose Merge::Add or Merge::concat()",
            ));
        }
        let used = &maps[self.first(maps.len())..];
        let pyramid = self.pyramid.trace(planner.at("pyramid"), used)?;
        let mut levels = Vec::with_capacity(used.len());
        for (level, map) in pyramid.iter().take(self.levels).enumerate() {
            let mut y = map.clone();
            for (index, conv) in self.branch(level).iter().enumerate() {
                y = conv.trace(planner.at(format!("branches.{level}.{index}")), &y)?;
                if let Some(finer) = level.checked_sub(index + 1) {
                    let size = spatial(&pyramid[finer].shape);
                    y = Fit::Resize(self.resize).trace(planner.at(""), &y, size)?;
                }
            }
            levels.push(y);
        }
        let names: Vec<_> = (0..levels.len()).map(|n| format!("level {n}")).collect();
        let names: Vec<&str> = names.iter().map(|name| &name[..]).collect();
        let levels: Vec<&Map<R>> = levels.iter().collect();
        let merged = self.merge.trace(planner.at(""), NAME, &levels, &names)?;
        ChannelDropout::trace_with(self.dropout, planner.at("dropout"), &merged)
    }

    /// Builds the decoder for the feature maps of an encoder, with `channels` channels.
    ///
    /// # Panics
    /// When an option is invalid, or there are fewer maps than [`levels`](Self::levels).
    pub fn init<const R: usize>(&self, channels: &[usize], device: &Device) -> FpnDecoder<R> {
        expect(check_decoder::<R>(self, channels));
        let branch = |level| {
            let convs = self.branch(level);
            convs.iter().map(|conv| conv.init(device)).collect()
        };
        FpnDecoder {
            pyramid: self
                .pyramid
                .init(&channels[self.first(channels.len())..], device),
            branches: (0..self.levels).map(branch).collect(),
            dropout: ChannelDropout::new(self.dropout),
            config: self.clone(),
            channels: channels.to_vec(),
        }
    }
}

impl<const R: usize> DecoderSpec<R> for FpnDecoderConfig {
    fn out_channels(&self, _channels: &[usize]) -> usize {
        match self.merge {
            Merge::Concat {
                axis: Axis::Channels,
                ..
            } => self.width.saturating_mul(self.levels),
            _ => self.width,
        }
    }

    fn trace(
        &self,
        planner: &mut Planner,
        maps: &[Map<R>],
        _image: &[usize],
    ) -> Result<Map<R>, ShapeError> {
        let inputs: Vec<&Map<R>> = maps.iter().collect();
        planner.node(NAME, &inputs, |planner| self.trace_parts(planner, maps))
    }
}

/// The decoder of the panoptic feature pyramid network (arXiv:1901.02446, figure 3): each level of an [`Fpn`] is
/// convolved and enlarged until it has the size of the finest, and the levels are added; as
/// segmentation_models.pytorch's `FPN`.
///
/// # Shapes
/// - input: the maps of an encoder, the finest first
/// - output: `[batch, width, spatial...]`, of the size of the finest map that is used; `width * levels` channels for a
///   concat
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::net::{Decoder, FpnDecoder, FpnDecoderConfig};
///
/// let device = Device::flex();
/// let decoder: FpnDecoder = FpnDecoderConfig::new().with_levels(2).init(&[8, 16, 32], &device);
/// let maps = [[1, 8, 32, 24], [1, 16, 16, 12], [1, 32, 8, 6]].map(|shape| Tensor::zeros(shape, &device));
/// assert_eq!(decoder.forward(maps.into(), &[64, 48]).dims(), [1, 128, 16, 12]);
/// ```
#[derive(Module, Debug)]
pub struct FpnDecoder<const R: usize = 4> {
    /// The pyramid of the maps that are used.
    pub pyramid: Fpn<R>,
    /// The convolutions of each level, the finest first.
    pub branches: Vec<Vec<ConvNormAct<R>>>,
    /// The dropout of the output.
    pub dropout: ChannelDropout,
    /// The options that the decoder was built with.
    #[module(skip)]
    pub config: FpnDecoderConfig,
    /// The channels of the maps that it was built for, the finest first.
    #[module(skip)]
    pub channels: Vec<usize>,
}

impl<const R: usize> Decoder<R> for FpnDecoder<R> {
    fn forward(&self, mut maps: Vec<Tensor<R>>, image: &[usize]) -> Tensor<R> {
        let shapes: Vec<_> = maps.iter().map(Tensor::dims).collect();
        expect(self.output_shape(&shapes, image));
        let used = maps.split_off(self.config.first(maps.len()));
        drop(maps); // (The finer ones are not read.)
        let sizes: Vec<_> = used.iter().map(Tensor::dims).collect();
        let fit = Fit::Resize(self.config.resize);
        let branch = |(level, (convs, map)): (usize, (&Vec<ConvNormAct<R>>, Tensor<R>))| {
            convs.iter().enumerate().fold(map, |y, (index, conv)| {
                let y = conv.forward(y);
                match level.checked_sub(index + 1) {
                    Some(finer) => fit.forward(y, spatial(&sizes[finer])),
                    None => y,
                }
            })
        };
        let pyramid = self.pyramid.forward(used);
        let levels = self.branches.iter().zip(pyramid).enumerate().map(branch);
        let merged = self.config.merge.forward(levels.collect());
        self.dropout.forward(merged)
    }

    fn trace(
        &self,
        planner: &mut Planner,
        maps: &[Map<R>],
        _image: &[usize],
    ) -> Result<Map<R>, ShapeError> {
        let inputs: Vec<&Map<R>> = maps.iter().collect();
        planner.node(NAME, &inputs, |planner| {
            check_maps(NAME, maps, &self.channels)?;
            self.config.trace_parts(planner, maps)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn every_rank_at_odd_sizes() {
        let device = Device::flex();
        let style = ConvStyle::new().with_norm(NormConfig::group(2));
        let config = FpnDecoderConfig::new()
            .with_levels(3)
            .with_width(4)
            .with_style(style);
        let config = config.with_merge(Merge::concat());
        let decoder: FpnDecoder<3> = config.init(&[2, 3, 4], &device);
        let maps = [[2, 2, 19], [2, 3, 10], [2, 4, 5]].map(|shape| Tensor::zeros(shape, &device));
        assert_eq!(decoder.forward(maps.into(), &[37]).dims(), [2, 12, 19]);
        let decoder: FpnDecoder<5> = config.init(&[2, 3, 4], &device);
        let maps = [[1, 2, 5, 6, 7], [1, 3, 3, 3, 4], [1, 4, 2, 2, 2]];
        let maps = maps.map(|shape| Tensor::zeros(shape, &device));
        assert_eq!(
            decoder.forward(maps.into(), &[9, 11, 13]).dims(),
            [1, 12, 5, 6, 7]
        );
    }

    #[test]
    fn too_few_maps_are_refused() {
        let error = check_decoder::<4>(&FpnDecoderConfig::new(), &[8, 16, 32]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "FpnDecoder: levels is 4, and the encoder has 3 maps. Set levels to 1 to 3, or give the encoder more stages."
        );
    }
}
