//! [`UnetDecoder`]: back up from the deepest map, meeting every map of an encoder on the way.

use alloc::{format, vec, vec::Vec};

use burn::config::Config;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::encoder::check_widths;
use crate::fuse::fit::{Fit, Target};
use crate::fuse::gate::GateConfig;
use crate::fuse::merge::Order;
use crate::fuse::{UpsampleConcat, UpsampleConcatConfig};
use crate::graph::{Map, Planner};
use crate::layers::block::{ConvStyle, DoubleConv, DoubleConvConfig};
use crate::layers::conv::Parts;
use crate::layers::layer::Layer;
use crate::layers::up::{Up, UpConfig};
use crate::plan::{Plan, Trace};
use crate::setters::setters;
use crate::shape::{ShapeError, expect};

const NAME: &str = "UnetDecoder";

/// Configuration of [`UnetDecoder`]. The channels of the maps come from the encoder.
///
/// # Example
/// ```
/// use burn_skip::net::UnetDecoderConfig;
///
/// // Of three maps, two widths lead to the size of the finest, and three to that of the image.
/// let maps = [[1, 8, 17, 11], [1, 16, 9, 6], [1, 32, 5, 3]];
/// let config = UnetDecoderConfig::new(vec![4, 8]);
/// assert_eq!(config.output_shape(&maps, &[33, 22]).unwrap(), [1, 4, 17, 11]);
/// let config = UnetDecoderConfig::new(vec![2, 4, 8]);
/// assert_eq!(config.output_shape(&maps, &[33, 22]).unwrap(), [1, 2, 33, 22]);
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct UnetDecoderConfig {
    /// The channels after each step, the finest first. Of `n` maps there are `n - 1` steps to the size
    /// of the finest map; with `n` widths one more leads to the size of the image, where no skip is.
    pub widths: Vec<usize>,
    /// The channels that the up layers give, one a step of [`widths`](Self::widths), if they change
    /// them: a resize without projection does not, and refuses any other number. Default: those of
    /// the skips, and the width where there is no skip.
    pub up_channels: Option<Vec<usize>>,
    /// The convolutions of all blocks. Default: `same` padding, batch norm, ReLU.
    pub style: ConvStyle,
    /// What leads back up. Default: nearest, to the size of the skip, so that every size works.
    pub up: UpConfig,
    /// How maps that still differ in size are brought together. Default: [`Fit::Exact`].
    pub fit: Fit,
    /// The size that the maps of a level meet at. Default: [`Target::Skip`].
    pub target: Target,
    /// Which map comes first in the concatenations. Default: the deep one.
    pub order: Order,
    /// What weighs the skips, or nothing. Default: nothing.
    pub gate: Option<GateConfig>,
}

setters!(
    UnetDecoderConfig:
    with_up_channels(up_channels: impl Into<Option<Vec<usize>>>),
    with_style(style: ConvStyle),
    with_up(up: UpConfig),
    with_fit(fit: Fit),
    with_target(target: Target),
    with_order(order: Order),
    with_gate(gate: impl Into<Option<GateConfig>>),
);

impl Config for UnetDecoderConfig {}

impl UnetDecoderConfig {
    /// A decoder with nearest upsampling to the sizes of the skips.
    pub fn new(widths: Vec<usize>) -> Self {
        Self {
            widths,
            up_channels: None,
            style: ConvStyle::new(),
            up: UpConfig::nearest(),
            fit: Fit::Exact,
            target: Target::Skip,
            order: Order::DeepFirst,
            gate: None,
        }
    }

    /// The channels of the map that goes into the step of width `index`: those of the step before it.
    fn deep_channels(&self, channels: &[usize], index: usize) -> usize {
        let before = self.widths.get(index + 1);
        before.or(channels.last()).copied().unwrap_or(0)
    }

    /// Whether a last step leads to the size of the image.
    fn has_last_step(&self, channels: &[usize]) -> bool {
        self.widths.len() == channels.len()
    }

    /// The position in [`widths`](Self::widths) of the step that meets the map `index`.
    fn width_index(&self, channels: &[usize], index: usize) -> usize {
        index + usize::from(self.has_last_step(channels))
    }

    /// The step that meets the map `index` of an encoder.
    fn step(&self, channels: &[usize], index: usize) -> UpsampleConcatConfig {
        let width = self.width_index(channels, index);
        let deep = self.deep_channels(channels, width);
        let up_channels = self.up_channels.as_ref().map(|all| all[width]);
        UpsampleConcatConfig::new(deep, channels[index], self.widths[width])
            .with_up_channels(up_channels)
            .with_up(self.up.clone())
            .with_fit(self.fit.clone())
            .with_target(self.target.clone())
            .with_order(self.order)
            .with_gate(self.gate.clone())
            .with_style(self.style.clone())
    }

    /// The channels that the last step's up layer takes and is asked for, and the block after it.
    fn last_step(&self, channels: &[usize]) -> ([usize; 2], DoubleConvConfig) {
        let deep = self.deep_channels(channels, 0);
        let wanted = match &self.up_channels {
            Some(all) => all[0],
            None => self.widths[0],
        };
        let enlarged = self.up.out_channels(deep, wanted);
        let block = DoubleConvConfig::new([enlarged, self.widths[0]]);
        ([deep, wanted], block.with_style(self.style.clone()))
    }

    /// Checks the options for the maps of an encoder, of rank `R` and with `channels` channels.
    ///
    /// # Errors
    /// When there are too few or too many widths, a number is zero, or a part is invalid.
    pub fn validate<const R: usize>(&self, channels: &[usize]) -> Result<(), ShapeError> {
        let maps = channels.len();
        let steps = self.widths.len();
        if steps > 0 || maps > 1 {
            check_widths(NAME, &self.widths)?;
        }
        if maps == 0 || (steps != maps && steps + 1 != maps) {
            return Err(ShapeError::new(
                NAME,
                format!("{steps} widths {:?} for {maps} maps", self.widths),
                format!(
                    "Give {} widths to end at the size of the finest map, {maps} to end at that of the image",
                    maps.saturating_sub(1)
                ),
            ));
        }
        if let Some(all) = self.up_channels.as_ref().filter(|all| all.len() != steps) {
            return Err(ShapeError::new(
                NAME,
                format!(
                    "up_channels {all:?} are {} numbers for {steps} steps",
                    all.len()
                ),
                "Give one number for each width",
            ));
        }
        for index in 0..maps - 1 {
            self.step(channels, index)
                .validate::<R>()
                .map_err(|e| e.within(format!("steps.{index}")))?;
        }
        if self.has_last_step(channels) {
            let (up_channels, block) = self.last_step(channels);
            let asked = self.up_channels.as_ref().map(|all| all[0]);
            let checked = self
                .up
                .validate_channels::<R>(up_channels)
                .and_then(|()| self.up.check_asked(up_channels[0], asked))
                .and_then(|()| block.validate::<R>());
            checked.map_err(|e| e.within("last"))?;
        }
        Ok(())
    }

    /// The shape of the output for maps of shapes `maps`, the finest first, of an image of the
    /// spatial size `image`.
    ///
    /// # Errors
    /// When the maps of a level cannot be brought to one size, or the configuration is invalid.
    pub fn output_shape<const R: usize>(
        &self,
        maps: &[[usize; R]],
        image: &[usize],
    ) -> Result<[usize; R], ShapeError> {
        let channels: Vec<usize> = maps.iter().map(|map| map[1]).collect();
        self.validate::<R>(&channels)?;
        let mut deep = maps[maps.len() - 1];
        for index in (0..maps.len() - 1).rev() {
            let merged = self.step(&channels, index).output_shape(deep, maps[index]);
            deep = merged.map_err(|e| e.within(format!("steps.{index}")))?;
        }
        if !self.has_last_step(&channels) {
            return Ok(deep);
        }
        let (up_channels, block) = self.last_step(&channels);
        let enlarged = self.up.output_shape_to(up_channels, deep, image);
        let refined = enlarged.and_then(|enlarged| block.output_shape(enlarged));
        refined.map_err(|e| e.within("last"))
    }

    /// Tells the planner of every step, for an image of the spatial size `image`.
    ///
    /// # Errors
    /// As [`output_shape`](Self::output_shape).
    pub fn trace<const R: usize>(
        &self,
        planner: &mut Planner,
        maps: &[Map<R>],
        image: &[usize],
    ) -> Result<Map<R>, ShapeError> {
        let inputs: Vec<&Map<R>> = maps.iter().collect();
        planner.node(NAME, &inputs, |planner| {
            let channels: Vec<usize> = maps.iter().map(|map| map.shape[1]).collect();
            self.validate::<R>(&channels)?;
            let mut deep = maps[maps.len() - 1].clone();
            for index in (0..maps.len() - 1).rev() {
                let step = self.step(&channels, index);
                deep = step.trace(planner.at(format!("steps.{index}")), &deep, &maps[index])?;
            }
            if !self.has_last_step(&channels) {
                return Ok(deep);
            }
            let (up_channels, block) = self.last_step(&channels);
            planner.at("last").node("Sequence", &[&deep], |planner| {
                let up = self
                    .up
                    .trace_to(planner.at(0), up_channels, &deep, Some(image))?;
                block.trace(planner.at(1), &up)
            })
        })
    }

    /// Builds the decoder for the maps of an encoder, with `channels` channels.
    ///
    /// # Panics
    /// When [`validate`](Self::validate) returns an error, with its message.
    pub fn init<const R: usize>(&self, channels: &[usize], device: &Device) -> UnetDecoder<R> {
        expect(self.validate::<R>(channels));
        let steps = 0..channels.len() - 1;
        let last = self.has_last_step(channels).then(|| {
            let (up_channels, block) = self.last_step(channels);
            (self.up.init(up_channels, device), block.init(device))
        });
        UnetDecoder {
            steps: steps
                .map(|index| self.step(channels, index).init(device))
                .collect(),
            last,
            config: self.clone(),
            channels: channels.to_vec(),
        }
    }
}

/// The decoder of the U-Net (arXiv:1505.04597): an [`UpsampleConcat`] for every map of an encoder but the
/// deepest; and, for encoders whose finest map is smaller than the image, a last step without a skip
/// (as segmentation_models.pytorch).
///
/// # Shapes
/// - input: the maps of an encoder, the finest first
/// - output: `[batch, widths[0], spatial...]`, of the size of the finest map or of the image
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::net::{UnetDecoder, UnetDecoderConfig};
///
/// let device = Device::flex();
/// let decoder: UnetDecoder = UnetDecoderConfig::new(vec![4, 8]).init(&[8, 16], &device);
/// let maps = vec![Tensor::zeros([1, 8, 17, 11], &device), Tensor::zeros([1, 16, 9, 6], &device)];
/// assert_eq!(decoder.forward(maps, &[33, 22]).dims(), [1, 4, 33, 22]);
/// ```
#[derive(Module, Debug)]
pub struct UnetDecoder<const R: usize = 4> {
    /// What merges each map with what comes up to it, the finest first.
    pub steps: Vec<UpsampleConcat<R>>,
    /// From the finest map to the size of the image.
    pub last: Option<(Up<R>, DoubleConv<R>)>,
    /// The options that the decoder was built with.
    #[module(skip)]
    pub config: UnetDecoderConfig,
    /// The channels of the maps that it was built for, the finest first.
    #[module(skip)]
    pub channels: Vec<usize>,
}

impl<const R: usize> UnetDecoder<R> {
    /// The shape of the output for maps of shapes `maps`, of an image of the spatial size `image`.
    ///
    /// # Errors
    /// When these are not as many maps, or not of the channels, that the decoder was built for, or they
    /// cannot be brought to one size.
    pub fn output_shape(
        &self,
        maps: &[[usize; R]],
        image: &[usize],
    ) -> Result<[usize; R], ShapeError> {
        let channels: Vec<usize> = maps.iter().map(|map| map[1]).collect();
        if channels == self.channels {
            return self.config.output_shape(maps, image);
        }
        Err(ShapeError::new(
            NAME,
            format!(
                "maps of {channels:?} channels came, and it was built for {:?}",
                self.channels
            ),
            "Give the maps of the encoder that it was built for, the finest first",
        ))
    }

    /// The [plan](crate::plan) for maps of shapes `maps`, of an image of the spatial size `image`.
    pub fn plan(&self, maps: &[[usize; R]], image: &[usize]) -> Plan {
        Plan::of_maps(maps, |planner, maps| {
            let shapes: Vec<_> = maps.iter().map(|map| map.shape).collect();
            // (That these are the maps that it was built for, its configuration does not know.)
            self.output_shape(&shapes, image)?;
            self.config.trace(planner, maps, image).map(|map| vec![map])
        })
    }

    /// Decodes the maps of an image of the spatial size `image`.
    ///
    /// # Panics
    /// When [`output_shape`](Self::output_shape) returns an error, with its message.
    pub fn forward(&self, maps: Vec<Tensor<R>>, image: &[usize]) -> Tensor<R> {
        self.forward_parts(maps, image).into_tensor()
    }

    /// As [`forward`](Self::forward), to a map that need not be written.
    ///
    /// # Panics
    /// As [`forward`](Self::forward).
    pub fn forward_parts(&self, mut maps: Vec<Tensor<R>>, image: &[usize]) -> Parts<R> {
        let shapes: Vec<_> = maps.iter().map(Tensor::dims).collect();
        expect(self.output_shape(&shapes, image));
        let Some(deepest) = maps.pop() else {
            unreachable!("without maps there is no output shape")
        };
        let steps = self.steps.iter().zip(maps).rev();
        let deep = steps.fold(deepest.into(), |deep, (step, skip)| {
            step.forward_parts(deep, skip)
        });
        match &self.last {
            Some((up, block)) => block.forward_parts(up.forward_parts_to(deep, image)),
            None => deep,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn widths_must_match_the_maps() {
        let error = UnetDecoderConfig::new(vec![4]).validate::<4>(&[8, 16, 32]);
        assert_eq!(
            error.unwrap_err().to_string(),
            "UnetDecoder: 1 widths [4] for 3 maps. Give 2 widths to end at the size of the finest map, \
             3 to end at that of the image."
        );
        let config = UnetDecoderConfig::new(vec![4, 8]).with_up_channels(vec![4]);
        assert_eq!(
            config.validate::<4>(&[8, 16, 32]).unwrap_err().to_string(),
            "UnetDecoder: up_channels [4] are 1 numbers for 2 steps. Give one number for each width."
        );
    }

    #[test]
    fn other_maps_than_it_was_built_for_are_refused() {
        let decoder: UnetDecoder =
            UnetDecoderConfig::new(vec![4, 8]).init(&[8, 8], &Device::flex());
        let maps = [[1, 8, 32, 32], [1, 8, 16, 16], [1, 8, 8, 8]];
        assert_eq!(
            decoder
                .output_shape(&maps, &[64, 64])
                .unwrap_err()
                .to_string(),
            "UnetDecoder: maps of [8, 8, 8] channels came, and it was built for [8, 8]. Give the maps of \
             the encoder that it was built for, the finest first."
        );
    }

    #[test]
    fn a_last_step_reaches_the_image() {
        let config = UnetDecoderConfig::new(vec![2, 4, 8]);
        let maps = [[1, 8, 17, 11], [1, 16, 9, 6], [1, 32, 5, 3]];
        assert_eq!(config.output_shape(&maps, &[33, 22]), Ok([1, 2, 33, 22]));
        let without = UnetDecoderConfig::new(vec![4, 8]);
        assert_eq!(without.output_shape(&maps, &[33, 22]), Ok([1, 4, 17, 11]));
    }
}
