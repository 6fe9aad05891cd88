//! [`UnetDecoderConfig`]: the options of the decoder of the U-Net, and its steps.

use alloc::{format, vec::Vec};

use burn::config::Config;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::{NAME, UnetDecoder};
use crate::fuse::UpsampleConcatConfig;
use crate::fuse::fit::{Fit, Target};
use crate::fuse::gate::GateConfig;
use crate::fuse::merge::Order;
use crate::graph::{Map, Planner};
use crate::layers::block::{ConvStyle, DoubleConvConfig};
use crate::layers::up::UpConfig;
use crate::net::decoder::frame::{DecoderSpec, check_decoder};
use crate::net::encoder::check_widths;
use crate::plan::Trace;
use crate::setters::setters;
use crate::shape::{ShapeError, expect};

/// Configuration of [`UnetDecoder`]. The channels of the maps come from the encoder.
///
/// # Example
/// ```
/// use burn_skip::net::UnetDecoderConfig;
///
/// // For three maps: two widths end at the size of the finest map, three at that of the image.
/// let maps = [[1, 8, 17, 11], [1, 16, 9, 6], [1, 32, 5, 3]];
/// let config = UnetDecoderConfig::new(vec![4, 8]);
/// assert_eq!(config.output_shape(&maps, &[33, 22]).unwrap(), [1, 4, 17, 11]);
/// let config = UnetDecoderConfig::new(vec![2, 4, 8]);
/// assert_eq!(config.output_shape(&maps, &[33, 22]).unwrap(), [1, 2, 33, 22]);
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct UnetDecoderConfig {
    /// The channels after each step, the finest first. `n` maps take `n - 1` steps to the size of the finest
    /// map; with `n` widths a last step without a skip ends at the size of the image.
    pub widths: Vec<usize>,
    /// The channels that the up layers give, one a step of [`widths`](Self::widths), if they change
    /// them: a resize without projection does not, and refuses any other number. Default: those of
    /// the skips, and the width where there is no skip.
    pub up_channels: Option<Vec<usize>>,
    /// The convolutions of all blocks. Default: `same` padding, batch norm, ReLU.
    pub style: ConvStyle,
    /// How each step upsamples. Default: nearest, to the size of the skip, so that every size works.
    pub up: UpConfig,
    /// How maps that still differ in size are fitted. Default: [`Fit::Exact`].
    pub fit: Fit,
    /// The size to which the maps of a level are fitted. Default: [`Target::Skip`].
    pub target: Target,
    /// Which map comes first in the concatenations. Default: the deep one.
    pub order: Order,
    /// The gate of the skips, or none. Default: none.
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

/// Without widths, for the file of a network whose encoder has them.
impl Default for UnetDecoderConfig {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

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

    /// The channels of the deep map of the step with the width `index`: those of the step before it.
    fn deep_channels(&self, channels: &[usize], index: usize) -> usize {
        let before = self.widths.get(index + 1);
        before.or(channels.last()).copied().unwrap_or(0)
    }

    /// Whether a last step ends at the size of the image.
    fn has_last_step(&self, channels: &[usize]) -> bool {
        self.widths.len() == channels.len()
    }

    /// The position in [`widths`](Self::widths) of the step that merges the map `index`.
    fn width_index(&self, channels: &[usize], index: usize) -> usize {
        index + usize::from(self.has_last_step(channels))
    }

    /// The step that merges the map `index` of an encoder.
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

    /// The step from the finest map to the size of the image, if there is one.
    fn last_step(&self, channels: &[usize]) -> Option<LastStep> {
        if !self.has_last_step(channels) {
            return None;
        }
        let deep = self.deep_channels(channels, 0);
        let asked = self.up_channels.as_ref().map(|all| all[0]);
        let up_channels = [deep, asked.unwrap_or(self.widths[0])];
        let enlarged = self.up.out_channels(deep, up_channels[1]);
        let block = DoubleConvConfig::new([enlarged, self.widths[0]]);
        Some(LastStep {
            up: self.up.clone(),
            up_channels,
            asked,
            block: block.with_style(self.style.clone()),
        })
    }

    /// Checks the options for the feature maps of an encoder, of rank `R` and with `channels` channels.
    ///
    /// # Errors
    /// When there are too few or too many widths, a number is zero, or a part is invalid.
    pub fn validate<const R: usize>(&self, channels: &[usize]) -> Result<(), ShapeError> {
        check_decoder::<R>(self, channels).map(|_| ())
    }

    /// Checks that there is a number for each step.
    fn check_steps(&self, channels: &[usize]) -> Result<(), ShapeError> {
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
        match self.up_channels.as_ref().filter(|all| all.len() != steps) {
            Some(all) => Err(ShapeError::new(
                NAME,
                format!(
                    "up_channels {all:?} are {} numbers for {steps} steps",
                    all.len()
                ),
                "Give one number for each width",
            )),
            None => Ok(()),
        }
    }

    /// The shape of the output for feature maps of shapes `maps`, the finest first, of an image of the
    /// spatial size `image`.
    ///
    /// # Errors
    /// When the maps of a level cannot be fitted to one size, or the configuration is invalid.
    pub fn output_shape<const R: usize>(
        &self,
        maps: &[[usize; R]],
        image: &[usize],
    ) -> Result<[usize; R], ShapeError> {
        Planner::output_shape_of_maps(maps, |planner, maps| self.trace(planner, maps, image))
    }

    /// Records every step, for an image of the spatial size `image`.
    ///
    /// # Errors
    /// As [`output_shape`](Self::output_shape).
    pub fn trace<const R: usize>(
        &self,
        planner: &mut Planner,
        maps: &[Map<R>],
        image: &[usize],
    ) -> Result<Map<R>, ShapeError> {
        DecoderSpec::trace(self, planner, maps, image)
    }

    /// Builds the decoder for the feature maps of an encoder, with `channels` channels.
    ///
    /// # Panics
    /// When [`validate`](Self::validate) returns an error, with its message.
    pub fn init<const R: usize>(&self, channels: &[usize], device: &Device) -> UnetDecoder<R> {
        expect(self.validate::<R>(channels));
        let steps = 0..channels.len() - 1;
        let last = self.last_step(channels);
        UnetDecoder {
            steps: steps
                .map(|index| self.step(channels, index).init(device))
                .collect(),
            last: last.map(|last| {
                (
                    last.up.init(last.up_channels, device),
                    last.block.init(device),
                )
            }),
            config: self.clone(),
            channels: channels.to_vec(),
        }
    }
}

impl<const R: usize> DecoderSpec<R> for UnetDecoderConfig {
    fn name(&self) -> &'static str {
        NAME
    }

    fn out_channels(&self, channels: &[usize]) -> usize {
        let width = self.widths.first().or(channels.first());
        width.copied().unwrap_or(0)
    }

    fn trace_parts(
        &self,
        planner: &mut Planner,
        maps: &[Map<R>],
        image: &[usize],
    ) -> Result<Vec<Map<R>>, ShapeError> {
        let channels: Vec<usize> = maps.iter().map(|map| map.shape[1]).collect();
        self.check_steps(&channels)?;
        let mut deep = maps[maps.len() - 1].clone();
        let mut steps = Vec::new();
        for index in (0..maps.len() - 1).rev() {
            let step = self.step(&channels, index);
            deep = step.trace(planner.at(format!("steps.{index}")), &deep, &maps[index])?;
            steps.push(deep.clone());
        }
        if let Some(last) = self.last_step(&channels) {
            steps.push(last.trace(planner.at("last"), &deep, image)?);
        }
        if steps.is_empty() {
            steps.push(deep); // the only map of the encoder
        }
        steps.reverse();
        Ok(steps)
    }
}

/// The step from the finest map to the size of the image.
struct LastStep {
    up: UpConfig,
    /// The channels of the finest map, and those that the up layer is to give.
    up_channels: [usize; 2],
    /// The channels that the options ask of the up layer, if they do.
    asked: Option<usize>,
    block: DoubleConvConfig,
}

impl LastStep {
    fn trace<const R: usize>(
        &self,
        planner: &mut Planner,
        x: &Map<R>,
        image: &[usize],
    ) -> Result<Map<R>, ShapeError> {
        planner.node("Sequence", &[x], |planner| {
            self.up.check_asked(self.up_channels[0], self.asked)?;
            let up = self
                .up
                .trace_parts_to(planner.at(0), self.up_channels, x, image)?;
            self.block.trace(planner.at(1), &up)
        })
    }
}
