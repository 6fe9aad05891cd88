//! [`PanDecoder`]: feature pyramid attention of the coarsest map, into which the finer ones are merged.

use alloc::{format, vec, vec::Vec};

use burn::config::Config;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::check_levels;
use super::frame::{Built, BuiltDecoder, DecoderSpec, check_decoder, pop_deepest};
use crate::fuse::{Fpa, FpaConfig, Gau, GauConfig};
use crate::graph::{Map, Planner};
use crate::layers::block::ConvStyle;
use crate::layers::conv::LazyConcat;
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
#[serde(default, deny_unknown_fields)]
pub struct PanDecoderConfig {
    /// How many maps are used, the coarsest. Default: 4, from 1/4 of the size of the image on for a ResNet.
    pub levels: usize,
    /// The channels of the output, and of all steps. Default: 32.
    pub width: usize,
    /// How a map is enlarged. Default: linear, corners aligned.
    pub resize: ResizeMode,
    /// Norm and activation of all convolutions. Default: batch norm, ReLU, and a bias beside the norm.
    pub style: ConvStyle,
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
            levels: 4,
            width: 32,
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
        let used = &maps[maps.len() - self.levels..];
        let (deepest, skips) = (&used[self.levels - 1], &used[..self.levels - 1]);
        let mut y = self
            .fpa(deepest.shape[1])
            .trace(planner.at("fpa"), deepest)?;
        for (index, skip) in skips.iter().enumerate().rev() {
            let step = self.step(skip.shape[1]);
            y = step.trace(planner.at(format!("steps.{index}")), &y, skip)?;
        }
        Ok(vec![y])
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

impl<const R: usize> BuiltDecoder<R> for PanDecoder<R> {
    fn built(&self) -> Built<'_, R> {
        Built::new(&self.config, &self.channels)
    }

    fn run(&self, mut maps: Vec<Tensor<R>>, _image: &[usize]) -> LazyConcat<R> {
        maps.drain(..maps.len() - self.config.levels);
        let deepest = self.fpa.forward(pop_deepest(&mut maps));
        let steps = self.steps.iter().zip(maps).rev();
        let y = steps.fold(deepest, |y, (step, skip)| step.forward(y, skip));
        y.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::decoder::frame::testing::{dims, refused};

    #[test]
    fn every_rank_at_odd_sizes() {
        let config = PanDecoderConfig::new().with_levels(3).with_width(4);
        let signal = [[2, 2, 19], [2, 3, 10], [2, 4, 5]];
        assert_eq!(dims(config.clone(), &signal, &[37]), [2, 4, 19]);
        let volume = [[1, 2, 5, 6, 7], [1, 3, 3, 3, 4], [1, 4, 2, 2, 2]];
        assert_eq!(dims(config, &volume, &[9, 11, 13]), [1, 4, 5, 6, 7]);
    }

    #[test]
    fn too_few_maps_are_refused() {
        assert_eq!(
            refused(PanDecoderConfig::new(), &[8, 16, 32]),
            "PanDecoder: levels is 4, and the encoder has 3 maps. Set levels to 1 to 3, or give the encoder more stages."
        );
    }
}
