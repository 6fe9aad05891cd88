//! [`ManetDecoder`]: position-wise attention of the coarsest map, and steps that weigh channels by both of their maps.

use alloc::{format, vec, vec::Vec};

use burn::config::Config;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::check_widths_for;
use super::frame::{Built, BuiltDecoder, DecoderSpec, check_decoder, pop_deepest};
use crate::fuse::{Mfab, MfabConfig, Pab, PabConfig};
use crate::graph::{Map, Planner};
use crate::layers::block::{ConvStyle, DoubleConv, DoubleConvConfig};
use crate::layers::conv::LazyConcat;
use crate::layers::layer::Layer;
use crate::layers::resize::ResizeMode;
use crate::layers::up::{Up, UpConfig};
use crate::plan::Trace;
use crate::setters::setters;
use crate::shape::{ShapeError, expect};

const NAME: &str = "ManetDecoder";

/// Configuration of [`ManetDecoder`]. The channels of the maps come from the encoder.
///
/// # Example
/// ```
/// use burn_skip::net::{DecoderConfig, ManetDecoderConfig};
///
/// let maps = [[1, 8, 17, 11], [1, 16, 9, 6], [1, 32, 5, 3]];
/// let decoder = DecoderConfig::from(ManetDecoderConfig::new(vec![2, 4, 8]));
/// assert_eq!(decoder.output_shape(&maps, &[33, 22]).unwrap(), [1, 2, 33, 22]);
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ManetDecoderConfig {
    /// The channels after each step: one for each map, the finest (of the size of the image) first.
    pub widths: Vec<usize>,
    /// The channels of the queries and the keys of the attention. Default: 64.
    #[serde(default = "crate::fuse::pab::attention_channels")]
    pub attention_channels: usize,
    /// The factor by which the channels are reduced for the weights of each step. Default: 16.
    #[serde(default = "crate::fuse::mfab::reduction")]
    pub reduction: usize,
    /// How each step enlarges its map. Default: nearest.
    #[serde(default = "crate::fuse::mfab::nearest")]
    pub resize: ResizeMode,
    /// The convolutions of the steps.
    #[serde(default = "ConvStyle::new")]
    pub style: ConvStyle,
}

setters!(
    ManetDecoderConfig:
    with_attention_channels(attention_channels: usize),
    with_reduction(reduction: usize),
    with_resize(resize: ResizeMode),
    with_style(style: ConvStyle),
);

impl Config for ManetDecoderConfig {}

impl ManetDecoderConfig {
    /// Steps of `widths` channels, the finest first; segmentation_models.pytorch's are 16, 32, 64, 128 and 256.
    pub fn new(widths: Vec<usize>) -> Self {
        Self {
            widths,
            attention_channels: crate::fuse::pab::attention_channels(),
            reduction: crate::fuse::mfab::reduction(),
            resize: crate::fuse::mfab::nearest(),
            style: ConvStyle::new(),
        }
    }

    fn center(&self, channels: usize) -> PabConfig {
        PabConfig::new(channels).with_attention_channels(self.attention_channels)
    }

    /// The channels of the deep map of the step with the width `index`: those of the step before it.
    fn deep_channels(&self, channels: &[usize], index: usize) -> usize {
        let before = self.widths.get(index + 1).or(channels.last());
        before.copied().unwrap_or(0)
    }

    /// The step that merges the map `index`.
    fn step(&self, channels: &[usize], index: usize) -> MfabConfig {
        let deep = self.deep_channels(channels, index + 1);
        MfabConfig::new(deep, channels[index], self.widths[index + 1])
            .with_reduction(self.reduction)
            .with_resize(self.resize)
            .with_style(self.style.clone())
    }

    /// The enlargement to the size of the image.
    fn up(&self) -> UpConfig {
        UpConfig::Resize {
            mode: self.resize,
            scale: 2.into(),
            project: false,
        }
    }

    /// The block at the size of the image.
    fn last(&self, channels: &[usize]) -> DoubleConvConfig {
        let deep = self.deep_channels(channels, 0);
        DoubleConvConfig::new([deep, self.widths[0]]).with_style(self.style.clone())
    }

    /// Builds the decoder for the feature maps of an encoder, with `channels` channels.
    ///
    /// # Panics
    /// When an option is invalid, or there are not as many widths as maps.
    pub fn init<const R: usize>(&self, channels: &[usize], device: &Device) -> ManetDecoder<R> {
        expect(check_decoder::<R>(self, channels));
        let steps = 0..channels.len() - 1;
        let finest = [self.deep_channels(channels, 0); 2];
        ManetDecoder {
            center: self.center(channels[channels.len() - 1]).init(device),
            steps: steps
                .map(|index| self.step(channels, index).init(device))
                .collect(),
            last: (
                self.up().init(finest, device),
                self.last(channels).init(device),
            ),
            config: self.clone(),
            channels: channels.to_vec(),
        }
    }
}

impl<const R: usize> DecoderSpec<R> for ManetDecoderConfig {
    fn name(&self) -> &'static str {
        NAME
    }

    fn out_channels(&self, _channels: &[usize]) -> usize {
        self.widths.first().copied().unwrap_or(0)
    }

    fn trace_parts(
        &self,
        planner: &mut Planner,
        maps: &[Map<R>],
        image: &[usize],
    ) -> Result<Vec<Map<R>>, ShapeError> {
        check_widths_for(NAME, &self.widths, maps.len())?;
        let channels: Vec<usize> = maps.iter().map(|map| map.shape[1]).collect();
        let (deepest, skips) = (&maps[maps.len() - 1], &maps[..maps.len() - 1]);
        let center = self.center(deepest.shape[1]);
        let mut y = center.trace(planner.at("center"), deepest)?;
        for (index, skip) in skips.iter().enumerate().rev() {
            let step = self.step(&channels, index);
            y = step.trace(planner.at(format!("steps.{index}")), &y, skip)?;
        }
        let deep = [y.shape[1]; 2];
        let y = planner.at("last").node("Sequence", &[&y], |planner| {
            let up = self.up().trace_parts_to(planner.at(0), deep, &y, image)?;
            self.last(&channels).trace(planner.at(1), &up)
        })?;
        Ok(vec![y])
    }
}

/// The decoder of MA-Net (doi:10.1109/ACCESS.2020.3025372): [`Pab`] of the coarsest map, a [`Mfab`] for each finer one, and a
/// step without a skip to the size of the image; as segmentation_models.pytorch's `MAnet`.
///
/// # Shapes
/// - input: the maps of an encoder, the finest first
/// - output: `[batch, widths[0], spatial...]`, of the size of the image
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::net::{Decoder, ManetDecoder, ManetDecoderConfig};
///
/// let device = Device::flex();
/// let decoder: ManetDecoder = ManetDecoderConfig::new(vec![4, 8]).init(&[8, 16], &device);
/// let maps = vec![Tensor::zeros([1, 8, 17, 11], &device), Tensor::zeros([1, 16, 9, 6], &device)];
/// assert_eq!(decoder.forward(maps, &[33, 22]).dims(), [1, 4, 33, 22]);
/// ```
#[derive(Module, Debug)]
pub struct ManetDecoder<const R: usize = 4> {
    /// The attention of the coarsest map.
    pub center: Pab<R>,
    /// The step that merges each finer map, the finest first.
    pub steps: Vec<Mfab<R>>,
    /// From the finest map to the size of the image.
    pub last: (Up<R>, DoubleConv<R>),
    /// The options that the decoder was built with.
    #[module(skip)]
    pub config: ManetDecoderConfig,
    /// The channels of the maps that it was built for, the finest first.
    #[module(skip)]
    pub channels: Vec<usize>,
}

impl<const R: usize> BuiltDecoder<R> for ManetDecoder<R> {
    fn built(&self) -> Built<'_, R> {
        Built::new(&self.config, &self.channels)
    }

    fn run(&self, mut maps: Vec<Tensor<R>>, image: &[usize]) -> LazyConcat<R> {
        let deepest = self.center.forward(pop_deepest(&mut maps));
        let steps = self.steps.iter().zip(maps).rev();
        let y = steps.fold(deepest, |y, (step, skip)| step.forward(y, skip));
        let (up, block) = &self.last;
        block.forward_parts(up.forward_parts_to(y.into(), image))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::decoder::frame::testing::{dims, refused};

    #[test]
    fn every_rank_at_odd_sizes() {
        let config = ManetDecoderConfig::new(vec![2, 3, 4]).with_attention_channels(2);
        let signal = [[2, 2, 19], [2, 3, 10], [2, 4, 5]];
        assert_eq!(dims(config.clone(), &signal, &[37]), [2, 2, 37]);
        let volume = [[1, 2, 5, 6, 7], [1, 3, 3, 3, 4], [1, 4, 2, 2, 2]];
        assert_eq!(dims(config, &volume, &[9, 11, 13]), [1, 2, 9, 11, 13]);
    }

    #[test]
    fn other_widths_than_maps_are_refused() {
        assert_eq!(
            refused(ManetDecoderConfig::new(vec![4, 8]), &[8, 16, 32]),
            "ManetDecoder: 2 widths [4, 8] for 3 maps. Give 3, the first for the size of the image."
        );
    }
}
