//! [`FpnDecoder`]: a feature pyramid whose levels are merged into one map.

use alloc::{format, vec, vec::Vec};

use burn::config::Config;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::check_levels;
use super::frame::{Built, BuiltDecoder, DecoderSpec, check_decoder};
use crate::fuse::fit::Fit;
use crate::fuse::merge::Merge;
use crate::graph::{Map, Planner};
use crate::layers::ChannelDropout;
use crate::layers::block::{ConvNormAct, ConvNormActConfig, ConvStyle};
use crate::layers::conv::LazyConcat;
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
#[serde(default, deny_unknown_fields)]
pub struct FpnDecoderConfig {
    /// How many maps are used, the coarsest. Default: 4, from 1/4 of the size of the image on for a ResNet.
    pub levels: usize,
    /// The pyramid. Default: 256 channels, without convolutions of its outputs.
    pub pyramid: FpnConfig,
    /// The channels of each level before the merge. Default: 128.
    pub width: usize,
    /// The 3x3 convolutions of each level. Default: group norm of 32 groups, ReLU.
    pub style: ConvStyle,
    /// How a level is enlarged after each of its convolutions. Default: linear, corners aligned.
    pub resize: ResizeMode,
    /// How the levels become one map. Default: [`Merge::Add`].
    pub merge: Merge,
    /// The probability that a channel of the output is dropped in training. Default: 0.2.
    pub dropout: f64,
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
            levels: 4,
            pyramid: FpnConfig::new(crate::defaults::pyramid_channels()).with_output(None),
            width: 128,
            style: ConvStyle::new().with_norm(NormConfig::group(32)),
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

    /// Builds the decoder for the feature maps of an encoder, with `channels` channels.
    ///
    /// # Panics
    /// When an option is invalid, or there are fewer maps than [`levels`](Self::levels).
    pub fn init<const R: usize>(&self, channels: &[usize], device: &Device) -> FpnDecoder<R> {
        expect(check_decoder::<R>(self, channels));
        let used = &channels[channels.len() - self.levels..];
        let branch = |level| {
            let convs = self.branch(level);
            convs.iter().map(|conv| conv.init(device)).collect()
        };
        FpnDecoder {
            pyramid: self.pyramid.init(used, device),
            branches: (0..self.levels).map(branch).collect(),
            dropout: ChannelDropout::new(self.dropout),
            config: self.clone(),
            channels: channels.to_vec(),
        }
    }
}

impl<const R: usize> DecoderSpec<R> for FpnDecoderConfig {
    fn name(&self) -> &'static str {
        NAME
    }

    fn out_channels(&self, _channels: &[usize]) -> usize {
        match self.merge {
            Merge::Concat {
                axis: Axis::Channels,
                ..
            } => self.width.saturating_mul(self.levels),
            _ => self.width,
        }
    }

    fn trace_parts(
        &self,
        planner: &mut Planner,
        maps: &[Map<R>],
        _image: &[usize],
    ) -> Result<Vec<Map<R>>, ShapeError> {
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
        let used = &maps[maps.len() - self.levels..];
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
        let name = |n| format!("level {n}");
        let merged = self
            .merge
            .trace_named(planner.at(""), NAME, &levels, name)?;
        let y = ChannelDropout::trace_with(self.dropout, planner.at("dropout"), &merged)?;
        Ok(vec![y])
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

impl<const R: usize> BuiltDecoder<R> for FpnDecoder<R> {
    fn built(&self) -> Built<'_, R> {
        Built::new(&self.config, &self.channels)
    }

    fn run(&self, mut maps: Vec<Tensor<R>>, _image: &[usize]) -> LazyConcat<R> {
        maps.drain(..maps.len() - self.config.levels);
        let sizes: Vec<_> = maps.iter().map(Tensor::dims).collect();
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
        let pyramid = self.pyramid.forward(maps);
        let levels = self.branches.iter().zip(pyramid).enumerate().map(branch);
        let merged = self.config.merge.forward(levels.collect());
        self.dropout.forward(merged).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::decoder::frame::testing::{dims, refused};

    #[test]
    fn every_rank_at_odd_sizes() {
        let style = ConvStyle::new().with_norm(NormConfig::group(2));
        let config = FpnDecoderConfig::new()
            .with_levels(3)
            .with_width(4)
            .with_style(style)
            .with_merge(Merge::concat());
        let signal = [[2, 2, 19], [2, 3, 10], [2, 4, 5]];
        assert_eq!(dims(config.clone(), &signal, &[37]), [2, 12, 19]);
        let volume = [[1, 2, 5, 6, 7], [1, 3, 3, 3, 4], [1, 4, 2, 2, 2]];
        assert_eq!(dims(config, &volume, &[9, 11, 13]), [1, 12, 5, 6, 7]);
    }

    #[test]
    fn too_few_maps_are_refused() {
        assert_eq!(
            refused(FpnDecoderConfig::new(), &[8, 16, 32]),
            "FpnDecoder: levels is 4, and the encoder has 3 maps. Set levels to 1 to 3, or give the encoder more stages."
        );
    }
}
