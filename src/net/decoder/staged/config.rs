//! [`StagedDecoderConfig`]: the options of a decoder whose steps are given one by one.

use alloc::{format, vec::Vec};

use burn::config::Config;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::step::StagedStepConfig;
use super::{NAME, StagedDecoder};
use crate::graph::{Map, Planner};
use crate::net::decoder::frame::{DecoderSpec, check_decoder};
use crate::net::stage::StageConfig;
use crate::plan::Trace;
use crate::setters::setters;
use crate::shape::{ShapeError, expect, spatial};

/// Configuration of [`StagedDecoder`]. The channels of the maps come from the encoder.
///
/// # Example
/// ```
/// use burn_skip::net::{DecoderConfig, StageConfig, StagedDecoderConfig, StagedStepConfig, StepOrder};
///
/// let step = |width| StagedStepConfig::new(width).with_stage(StageConfig::new(width));
/// let maps = [[1, 8, 17, 11], [1, 16, 9, 6], [1, 32, 9, 6]];
/// let config = StagedDecoderConfig::new(vec![step(8), step(16)]);
/// let decoder = DecoderConfig::from(config.clone());
/// assert_eq!(decoder.output_shape(&maps, &[33, 22]).unwrap(), [1, 8, 17, 11]);
/// // The maps are merged first, and then enlarged: the last step ends at the size of the image.
/// let decoder = DecoderConfig::from(config.with_order(StepOrder::MergeFirst));
/// assert_eq!(decoder.output_shape(&maps, &[33, 22]).unwrap(), [1, 8, 33, 22]);
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct StagedDecoderConfig {
    /// The steps, the finest first: one for each map but the deepest.
    pub steps: Vec<StagedStepConfig>,
    /// Whether a step enlarges before it merges. Default: it does.
    #[serde(default)]
    pub order: StepOrder,
    /// What follows the finest step, or nothing. Default: nothing.
    #[serde(default)]
    pub last: Option<StageConfig>,
}

setters!(
    StagedDecoderConfig:
    with_order(order: StepOrder),
    with_last(last: impl Into<Option<StageConfig>>),
);

impl Config for StagedDecoderConfig {}

/// What a step of a [`StagedDecoder`] does first.
///
/// See [`StagedDecoderConfig`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum StepOrder {
    /// The deep map is enlarged to the size of the skip, and merged with it. The decoder ends at the size of the finest
    /// map.
    #[default]
    UpFirst,
    /// The deep map and the skip, which have one size, are merged, and the merged map is enlarged to the size of the next
    /// finer skip, at last to that of the image: MONAI's `UNet`, whose deepest level has the stride 1.
    MergeFirst,
}

impl StagedDecoderConfig {
    /// A decoder of these steps, the finest first.
    pub fn new(steps: Vec<StagedStepConfig>) -> Self {
        Self {
            steps,
            order: StepOrder::UpFirst,
            last: None,
        }
    }

    /// Refuses maps for which there are no steps, or too many.
    fn check_maps(&self, maps: usize) -> Result<(), ShapeError> {
        let steps = self.steps.len();
        if maps > 0 && steps + 1 == maps {
            return Ok(());
        }
        Err(ShapeError::new(
            NAME,
            format!("{steps} steps for {maps} maps"),
            format!("Give {} steps, the finest first", maps.saturating_sub(1)),
        ))
    }

    /// The channels of the output of the step `index`, whose deep map is that of the step before.
    fn step_channels(&self, channels: &[usize], index: usize) -> usize {
        let deep = self.deep_channels(channels, index);
        let skip = channels.get(index).copied().unwrap_or(0);
        self.steps[index].out_channels(self.order, [deep, skip])
    }

    /// The channels of the deep map of the step `index`.
    fn deep_channels(&self, channels: &[usize], index: usize) -> usize {
        match index + 1 < self.steps.len() {
            true => self.step_channels(channels, index + 1),
            false => channels.last().copied().unwrap_or(0),
        }
    }

    /// The channels after the finest step.
    fn merged_channels(&self, channels: &[usize]) -> usize {
        match self.steps.is_empty() {
            true => channels.first().copied().unwrap_or(0),
            false => self.step_channels(channels, 0),
        }
    }

    /// The size that the step `index` ends at.
    pub(super) fn target<'a, const R: usize>(
        &self,
        sizes: &'a [[usize; R]],
        image: &'a [usize],
        index: usize,
    ) -> &'a [usize] {
        match (self.order, index.checked_sub(1)) {
            (StepOrder::UpFirst, _) => spatial(&sizes[index]),
            (StepOrder::MergeFirst, Some(finer)) => spatial(&sizes[finer]),
            (StepOrder::MergeFirst, None) => image,
        }
    }

    /// Builds the decoder for the feature maps of an encoder, with `channels` channels.
    ///
    /// # Panics
    /// When an option is invalid, with the message of
    /// [`DecoderConfig::validate`](super::super::DecoderConfig::validate).
    pub fn init<const R: usize>(&self, channels: &[usize], device: &Device) -> StagedDecoder<R> {
        expect(check_decoder::<R>(self, channels));
        let steps = self.steps.iter().enumerate().map(|(index, step)| {
            let deep = self.deep_channels(channels, index);
            step.init(self.order, [deep, channels[index]], device)
        });
        let merged = self.merged_channels(channels);
        StagedDecoder {
            steps: steps.collect(),
            last: self.last.as_ref().map(|last| last.init(merged, device)),
            config: self.clone(),
            channels: channels.to_vec(),
        }
    }
}

impl<const R: usize> DecoderSpec<R> for StagedDecoderConfig {
    fn name(&self) -> &'static str {
        NAME
    }

    fn out_channels(&self, channels: &[usize]) -> usize {
        match &self.last {
            Some(last) => last.width,
            None => self.merged_channels(channels),
        }
    }

    fn trace_parts(
        &self,
        planner: &mut Planner,
        maps: &[Map<R>],
        image: &[usize],
    ) -> Result<Vec<Map<R>>, ShapeError> {
        self.check_maps(maps.len())?;
        let sizes: Vec<_> = maps.iter().map(|map| map.shape).collect();
        let mut deep = maps[maps.len() - 1].clone();
        let mut coarser = Vec::new();
        for (index, step) in self.steps.iter().enumerate().rev() {
            let target = self.target(&sizes, image, index);
            let planner = planner.at(format!("steps.{index}"));
            deep = step.trace(planner, self.order, [&deep, &maps[index]], target)?;
            if index > 0 {
                coarser.push(deep.clone());
            }
        }
        coarser.push(self.last.trace(planner.at("last"), &deep)?);
        coarser.reverse();
        Ok(coarser)
    }
}
