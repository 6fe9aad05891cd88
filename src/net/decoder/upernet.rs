//! [`UperNetDecoder`]: pyramid pooling of the coarsest map, a feature pyramid on it, and all levels fused.

use alloc::{format, vec, vec::Vec};

use burn::config::Config;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::check_levels;
use super::frame::{Built, BuiltDecoder, DecoderSpec, check_decoder, pop_deepest};
use crate::fuse::fit::Fit;
use crate::fuse::merge::Merge;
use crate::fuse::{PyramidPooling, PyramidPoolingConfig};
use crate::graph::{Map, Planner};
use crate::layers::block::{ConvNormAct, ConvNormActConfig, ConvStyle};
use crate::layers::conv::{LazyConcat, Part};
use crate::layers::layer::Layer;
use crate::layers::norm::{LayerNorm, LayerNormConfig};
use crate::layers::resize::ResizeMode;
use crate::plan::Trace;
use crate::setters::setters;
use crate::shape::{ShapeError, check_positive, expect, spatial};

const NAME: &str = "UperNetDecoder";

/// Configuration of [`UperNetDecoder`]. The channels of the maps come from the encoder.
///
/// # Example
/// ```
/// use burn_skip::net::{DecoderConfig, UperNetDecoderConfig};
///
/// // The two coarsest of three maps.
/// let maps = [[1, 8, 32, 24], [1, 16, 16, 12], [1, 32, 8, 6]];
/// let decoder = DecoderConfig::from(UperNetDecoderConfig::new().with_levels(2));
/// assert_eq!(decoder.output_shape(&maps, &[64, 48]).unwrap(), [1, 256, 16, 12]);
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct UperNetDecoderConfig {
    /// How many maps are used, the coarsest. Default: 4, from 1/4 of the size of the image on for a ResNet.
    pub levels: usize,
    /// The channels of each level and of the output. Default: 256.
    pub width: usize,
    /// The number of bins of each mean of the coarsest map, along every axis. Default: 1, 2, 3 and 6.
    pub bins: Vec<usize>,
    /// The epsilon of a layer norm of each map, or none, as in the paper. Default: 1e-6.
    pub map_norm: Option<f64>,
    /// Norm and activation of all convolutions. Default: batch norm, ReLU.
    pub style: ConvStyle,
    /// How means and levels are enlarged. Default: linear.
    pub resize: ResizeMode,
}

setters!(
    UperNetDecoderConfig:
    with_levels(levels: usize),
    with_width(width: usize),
    with_bins(bins: Vec<usize>),
    with_map_norm(map_norm: impl Into<Option<f64>>),
    with_style(style: ConvStyle),
    with_resize(resize: ResizeMode),
);

impl Config for UperNetDecoderConfig {}

impl Default for UperNetDecoderConfig {
    fn default() -> Self {
        Self::new()
    }
}

impl UperNetDecoderConfig {
    /// segmentation_models.pytorch's decoder with its defaults.
    pub fn new() -> Self {
        Self {
            levels: 4,
            width: crate::defaults::pyramid_channels(),
            bins: vec![1, 2, 3, 6],
            map_norm: Some(1e-6),
            style: ConvStyle::new(),
            resize: ResizeMode::linear(),
        }
    }

    fn norm(&self, channels: usize) -> Option<LayerNormConfig> {
        let epsilon = self.map_norm?;
        Some(LayerNormConfig::new(channels).with_epsilon(epsilon))
    }

    fn pooling(&self, channels: usize) -> PyramidPoolingConfig {
        PyramidPoolingConfig::new(channels, self.width)
            .with_bins(self.bins.clone())
            .with_style(self.style.clone())
            .with_single_bin_norm(true)
            .with_map_first(true)
            .with_resize(self.resize)
    }

    /// A convolution from `channels` channels to the width.
    fn conv(&self, channels: usize, kernel: usize) -> ConvNormActConfig {
        ConvNormActConfig::new([channels, self.width], kernel).with_style(self.style.clone())
    }

    /// The 3x3 convolution of all levels.
    fn fusion(&self) -> ConvNormActConfig {
        self.conv(self.width.saturating_mul(self.levels), 3)
    }

    /// Builds the decoder for the feature maps of an encoder, with `channels` channels.
    ///
    /// # Panics
    /// When an option is invalid, or there are fewer maps than [`levels`](Self::levels).
    pub fn init<const R: usize>(&self, channels: &[usize], device: &Device) -> UperNetDecoder<R> {
        expect(check_decoder::<R>(self, channels));
        let used = &channels[channels.len() - self.levels..];
        let finer = &used[..self.levels - 1];
        let pooling = self.pooling(used[self.levels - 1]);
        let norms = used.iter().filter_map(|&channels| self.norm(channels));
        UperNetDecoder {
            norms: norms.map(|norm| norm.init(device)).collect(),
            pooled: self.conv(pooling.out_channels(), 3).init(device),
            pooling: pooling.init(device),
            laterals: finer
                .iter()
                .map(|&channels| self.conv(channels, 1).init(device))
                .collect(),
            outputs: finer
                .iter()
                .map(|_| self.conv(self.width, 3).init(device))
                .collect(),
            fusion: self.fusion().init(device),
            config: self.clone(),
            channels: channels.to_vec(),
        }
    }
}

impl<const R: usize> DecoderSpec<R> for UperNetDecoderConfig {
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
        check_levels(NAME, self.levels, maps.len())?;
        check_positive(NAME, "width", self.width)?;
        let mut used = Vec::with_capacity(self.levels);
        for (index, map) in maps[maps.len() - self.levels..].iter().enumerate() {
            used.push(match self.norm(map.shape[1]) {
                Some(norm) => norm.trace(planner.at(format!("norms.{index}")), map)?,
                None => map.clone(),
            });
        }
        let coarsest = &used[self.levels - 1];
        let pooling = self.pooling(coarsest.shape[1]);
        let pooled = pooling.trace(planner.at("pooling"), coarsest)?;
        let conv = self.conv(pooling.out_channels(), 3);
        // The levels, the coarsest first.
        let mut levels = Vec::from([conv.trace(planner.at("pooled"), &pooled)?]);
        let fit = Fit::Resize(self.resize);
        for (index, map) in used.iter().enumerate().rev().skip(1) {
            let deep = &levels[levels.len() - 1];
            let deep = fit.trace(planner.at(""), deep, spatial(&map.shape))?;
            let lateral = self.conv(map.shape[1], 1);
            let skip = lateral.trace(planner.at(format!("laterals.{index}")), map)?;
            let names = ["deep", "skip"];
            let level = Merge::Add.trace(planner.at(""), NAME, &[&deep, &skip], &names)?;
            levels.push(level);
        }
        levels.reverse();
        let finest = levels[0].clone();
        let mut fitted = Vec::with_capacity(levels.len());
        for (index, level) in levels.into_iter().enumerate() {
            let level = match index + 1 < self.levels {
                true => {
                    let output = self.conv(self.width, 3);
                    output.trace(planner.at(format!("outputs.{index}")), &level)?
                }
                false => level,
            };
            fitted.push(match index {
                0 => level,
                _ => fit.trace(planner.at(""), &level, spatial(&finest.shape))?,
            });
        }
        let y = planner.dispatched(|planner| {
            let name = |n| format!("level {n}");
            let merged = Merge::concat().trace_named(planner.at(""), NAME, &fitted, name)?;
            self.fusion().trace(planner.at("fusion"), &merged)
        })?;
        Ok(vec![y])
    }
}

/// The decoder of UPerNet (arXiv:1807.10221, section 3.2 and figure 4), as segmentation_models.pytorch's `UPerNet`.
///
/// The maps `c_1 ... c_n` are normalised (where there are [norms](UperNetDecoderConfig::map_norm)). The coarsest level
/// is `p_n = conv(pooling(c_n))` with [`PyramidPooling`], the others are `p_i = lateral_i(c_i) + resize(p_(i+1))`, and
/// `y = fusion(concat([output_1(p_1), resize(output_2(p_2)), ..., resize(p_n)]))`.
///
/// # Shapes
/// - input: the maps of an encoder, the finest first
/// - output: `[batch, width, spatial...]`, of the size of the finest map that is used
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::net::{Decoder, UperNetDecoder, UperNetDecoderConfig};
///
/// let device = Device::flex();
/// let config = UperNetDecoderConfig::new().with_levels(2).with_width(8);
/// let decoder: UperNetDecoder = config.init(&[8, 16, 32], &device);
/// let maps = [[1, 8, 32, 24], [1, 16, 16, 12], [1, 32, 8, 6]].map(|shape| Tensor::zeros(shape, &device));
/// assert_eq!(decoder.forward(maps.into(), &[64, 48]).dims(), [1, 8, 16, 12]);
/// ```
#[derive(Module, Debug)]
pub struct UperNetDecoder<const R: usize = 4> {
    /// The norm of each map, the finest first; none where there are none.
    pub norms: Vec<LayerNorm>,
    /// The coarsest map and its means.
    pub pooling: PyramidPooling<R>,
    /// The 3x3 convolution of both.
    pub pooled: ConvNormAct<R>,
    /// The 1x1 convolution of each map but the coarsest, the finest first.
    pub laterals: Vec<ConvNormAct<R>>,
    /// The 3x3 convolution of each level but the coarsest, the finest first.
    pub outputs: Vec<ConvNormAct<R>>,
    /// The 3x3 convolution of all levels.
    pub fusion: ConvNormAct<R>,
    /// The options that the decoder was built with.
    #[module(skip)]
    pub config: UperNetDecoderConfig,
    /// The channels of the maps that it was built for, the finest first.
    #[module(skip)]
    pub channels: Vec<usize>,
}

impl<const R: usize> UperNetDecoder<R> {
    /// The levels of these maps, the finest first, before their own convolutions.
    fn levels(&self, mut maps: Vec<Tensor<R>>) -> Vec<Tensor<R>> {
        let coarsest = pop_deepest(&mut maps);
        let pooled = self.pooling.forward_parts(coarsest.into());
        let mut levels = Vec::from([self.pooled.forward_parts(pooled).into_tensor()]);
        let fit = Fit::Resize(self.config.resize);
        for (map, lateral) in maps.into_iter().zip(&self.laterals).rev() {
            let deep = levels[levels.len() - 1].clone();
            let deep = fit.forward(deep, spatial(&map.dims()));
            levels.push(Merge::Add.forward(Vec::from([deep, lateral.forward(map)])));
        }
        levels.reverse();
        levels
    }
}

impl<const R: usize> BuiltDecoder<R> for UperNetDecoder<R> {
    fn built(&self) -> Built<'_, R> {
        Built::new(&self.config, &self.channels)
    }

    fn run(&self, mut maps: Vec<Tensor<R>>, _image: &[usize]) -> LazyConcat<R> {
        maps.drain(..maps.len() - self.config.levels);
        if !self.norms.is_empty() {
            let both = maps.into_iter().zip(&self.norms);
            maps = both.map(|(map, norm)| norm.forward(map)).collect();
        }
        let finest = maps[0].dims();
        let fit = Fit::Resize(self.config.resize);
        let part = |(index, level): (usize, Tensor<R>)| {
            let level = match self.outputs.get(index) {
                Some(conv) => conv.forward(level),
                None => level,
            };
            Part::new(match index {
                0 => level,
                _ => fit.forward(level, spatial(&finest)),
            })
        };
        let parts = self.levels(maps).into_iter().enumerate().map(part);
        let merged = LazyConcat::new(parts.collect());
        self.fusion.forward_parts(merged).into_tensor().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::decoder::frame::testing::{dims, refused};

    #[test]
    fn every_rank_at_odd_sizes() {
        let config = UperNetDecoderConfig::new().with_levels(3).with_width(4);
        let signal = [[2, 2, 19], [2, 3, 10], [2, 4, 5]];
        assert_eq!(dims(config.clone(), &signal, &[37]), [2, 4, 19]);
        let volume = [[1, 2, 5, 6, 7], [1, 3, 3, 3, 4], [1, 4, 2, 2, 2]];
        let config = config.with_map_norm(None);
        assert_eq!(dims(config, &volume, &[9, 11, 13]), [1, 4, 5, 6, 7]);
    }

    #[test]
    fn one_level_is_the_pooled_map() {
        let config = UperNetDecoderConfig::new().with_levels(1).with_width(4);
        let maps = [[1, 2, 9, 8], [1, 3, 5, 4]];
        assert_eq!(dims(config, &maps, &[9, 8]), [1, 4, 5, 4]);
    }

    #[test]
    fn what_cannot_be_built_is_refused() {
        let text = |config: UperNetDecoderConfig| refused(config, &[8, 16, 32]);
        assert_eq!(
            text(UperNetDecoderConfig::new()),
            "UperNetDecoder: levels is 4, and the encoder has 3 maps. Set levels to 1 to 3, or give the encoder more \
             stages."
        );
        let three = || UperNetDecoderConfig::new().with_levels(3);
        assert_eq!(
            text(three().with_width(0)),
            "UperNetDecoder: width is 0. Set width to 1 or more."
        );
        assert_eq!(
            text(three().with_map_norm(-1.0)),
            "norms.0.LayerNorm: epsilon is -1. Choose a positive number, such as 1e-5."
        );
    }
}
