//! [`PanDecoder`]: feature pyramid attention of the coarsest map, into which the finer ones are merged.

use alloc::{format, vec::Vec};

use burn::config::Config;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::any::DecoderSpec;
use super::{Decoder, check_decoder, check_levels};
use crate::fuse::{Fpa, FpaConfig, Gau, GauConfig};
use crate::graph::{Map, Planner, check_maps};
use crate::layers::block::ConvStyle;
use crate::layers::layer::Layer;
use crate::layers::resize::ResizeMode;
use crate::plan::Trace;
use crate::setters::setters;
use crate::shape::{ShapeError, check_positive, expect};

const NAME: &str = "PanDecoder";

/// Configuration of [`PanDecoder`]. The channels of the maps come from the encoder.
///
/// # Example
/// ```
/// use burn_skip::net::{DecoderConfig, PanDecoderConfig};
///
/// // The two coarsest of three maps.
/// let maps = [[1, 8, 32, 24], [1, 16, 16, 12], [1, 32, 8, 6]];
/// let decoder = DecoderConfig::from(PanDecoderConfig::new().with_levels(2));
/// assert_eq!(decoder.output_shape(&maps, &[64, 48]).unwrap(), [1, 32, 16, 12]);
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PanDecoderConfig {
    /// How many maps are used, the coarsest. Default: 4, from 1/4 of the size of the image on for a ResNet.
    #[serde(default = "levels")]
    pub levels: usize,
    /// The channels of the output, and of all steps. Default: 32.
    #[serde(default = "width")]
    pub width: usize,
    /// How a map is enlarged. Default: linear, corners aligned.
    #[serde(default = "ResizeMode::aligned_linear")]
    pub resize: ResizeMode,
    /// Norm and activation of all convolutions. Default: batch norm, ReLU, and a bias beside the norm.
    #[serde(default = "crate::defaults::biased_style")]
    pub style: ConvStyle,
}

const fn levels() -> usize {
    4
}

const fn width() -> usize {
    32
}

setters!(
    PanDecoderConfig:
    with_levels(levels: usize),
    with_width(width: usize),
    with_resize(resize: ResizeMode),
    with_style(style: ConvStyle),
);

impl Config for PanDecoderConfig {}

impl Default for PanDecoderConfig {
    fn default() -> Self {
        Self::new()
    }
}

impl PanDecoderConfig {
    /// segmentation_models.pytorch's decoder with its defaults.
    pub fn new() -> Self {
        Self {
            levels: levels(),
            width: width(),
            resize: ResizeMode::aligned_linear(),
            style: crate::defaults::biased_style(),
        }
    }

    fn fpa(&self, channels: usize) -> FpaConfig {
        FpaConfig::new([channels, self.width])
            .with_resize(self.resize)
            .with_style(self.style.clone())
    }

    /// The step that merges a map with `channels` channels.
    fn step(&self, channels: usize) -> GauConfig {
        GauConfig::new(channels, self.width)
            .with_resize(self.resize)
            .with_style(self.style.clone())
    }

    fn trace_parts<const R: usize>(
        &self,
        planner: &mut Planner,
        maps: &[Map<R>],
    ) -> Result<Map<R>, ShapeError> {
        check_levels(NAME, self.levels, maps.len())?;
        check_positive(NAME, "width", self.width)?;
        let used = &maps[maps.len() - self.levels..];
        let (deepest, skips) = (&used[self.levels - 1], &used[..self.levels - 1]);
        let mut y = self
            .fpa(deepest.shape[1])
            .trace(planner.at("fpa"), deepest)?;
        for (index, skip) in skips.iter().enumerate().rev() {
            let step = self.step(skip.shape[1]);
            y = step.trace(planner.at(format!("steps.{index}")), &y, skip)?;
        }
        Ok(y)
    }

    /// Builds the decoder for the feature maps of an encoder, with `channels` channels.
    ///
    /// # Panics
    /// When an option is invalid, or there are fewer maps than [`levels`](Self::levels).
    pub fn init<const R: usize>(&self, channels: &[usize], device: &Device) -> PanDecoder<R> {
        expect(check_decoder::<R>(self, channels));
        let used = &channels[channels.len() - self.levels..];
        let (deepest, skips) = (used[self.levels - 1], &used[..self.levels - 1]);
        let steps = skips.iter().map(|&skip| self.step(skip).init(device));
        PanDecoder {
            fpa: self.fpa(deepest).init(device),
            steps: steps.collect(),
            config: self.clone(),
            channels: channels.to_vec(),
        }
    }
}

impl<const R: usize> DecoderSpec<R> for PanDecoderConfig {
    fn out_channels(&self, _channels: &[usize]) -> usize {
        self.width
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

/// The decoder of the pyramid attention network (arXiv:1805.10180): [`Fpa`] of the coarsest map, and a [`Gau`] for each finer
/// one, `y = gau(y, skip)`; as segmentation_models.pytorch's `PAN`, whose encoder ends at 1/16 of the size of the image.
///
/// # Shapes
/// - input: the maps of an encoder, the finest first
/// - output: `[batch, width, spatial...]`, of the size of the finest map that is used
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::net::{Decoder, PanDecoder, PanDecoderConfig};
///
/// let device = Device::flex();
/// let decoder: PanDecoder = PanDecoderConfig::new().with_levels(2).init(&[8, 16, 32], &device);
/// let maps = [[1, 8, 32, 24], [1, 16, 16, 12], [1, 32, 8, 6]].map(|shape| Tensor::zeros(shape, &device));
/// assert_eq!(decoder.forward(maps.into(), &[64, 48]).dims(), [1, 32, 16, 12]);
/// ```
#[derive(Module, Debug)]
pub struct PanDecoder<const R: usize = 4> {
    /// The attention of the coarsest map.
    pub fpa: Fpa<R>,
    /// The step that merges each finer map, the finest first.
    pub steps: Vec<Gau<R>>,
    /// The options that the decoder was built with.
    #[module(skip)]
    pub config: PanDecoderConfig,
    /// The channels of the maps that it was built for, the finest first.
    #[module(skip)]
    pub channels: Vec<usize>,
}

impl<const R: usize> Decoder<R> for PanDecoder<R> {
    fn forward(&self, mut maps: Vec<Tensor<R>>, image: &[usize]) -> Tensor<R> {
        let shapes: Vec<_> = maps.iter().map(Tensor::dims).collect();
        expect(self.output_shape(&shapes, image));
        let mut used = maps.split_off(maps.len() - self.config.levels);
        drop(maps); // (The finer ones are not read.)
        let Some(deepest) = used.pop() else {
            unreachable!("there is one level at least")
        };
        let steps = self.steps.iter().zip(used).rev();
        steps.fold(self.fpa.forward(deepest), |y, (step, skip)| {
            step.forward(y, skip)
        })
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
        let config = PanDecoderConfig::new().with_levels(3).with_width(4);
        let decoder: PanDecoder<3> = config.init(&[2, 3, 4], &device);
        let maps = [[2, 2, 19], [2, 3, 10], [2, 4, 5]].map(|shape| Tensor::zeros(shape, &device));
        assert_eq!(decoder.forward(maps.into(), &[37]).dims(), [2, 4, 19]);
        let decoder: PanDecoder<5> = config.init(&[2, 3, 4], &device);
        let maps = [[1, 2, 5, 6, 7], [1, 3, 3, 3, 4], [1, 4, 2, 2, 2]];
        let maps = maps.map(|shape| Tensor::zeros(shape, &device));
        let y = decoder.forward(maps.into(), &[9, 11, 13]);
        assert_eq!(y.dims(), [1, 4, 5, 6, 7]);
    }

    #[test]
    fn too_few_maps_are_refused() {
        let error = check_decoder::<4>(&PanDecoderConfig::new(), &[8, 16, 32]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "PanDecoder: levels is 4, and the encoder has 3 maps. Set levels to 1 to 3, or give the encoder more stages."
        );
    }
}
