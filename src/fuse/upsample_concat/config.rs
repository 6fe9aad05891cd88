//! [`UpsampleConcatConfig`]: the options of a decoder step, and its trace.

use alloc::vec::Vec;

use burn::config::Config;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::UpsampleConcat;
use crate::fuse::align::{Alignment, deep_and_skip};
use crate::fuse::deep_and_skip::deep_and_skip_methods;
use crate::fuse::fit::{Fit, Target};
use crate::fuse::gate::{self, GateConfig, TraceGate};
use crate::fuse::merge::Order;
use crate::graph::{Map, Planner};
use crate::layers::block::{ConvStyle, DoubleConvConfig};
use crate::layers::layer::Layer;
use crate::layers::up::UpConfig;
use crate::plan::{Plan, Trace};
use crate::setters::setters;
use crate::shape::{ShapeError, check_channels, check_positive, expect, spatial};

const NAME: &str = "UpsampleConcat";

/// Configuration of [`UpsampleConcat`].
///
/// # Example
/// ```
/// use burn_skip::{UpsampleConcatConfig, up::UpConfig};
///
/// let config = UpsampleConcatConfig::new(128, 64, 32);
/// assert_eq!(config.output_shape([1, 128, 7, 7], [1, 64, 15, 15]).unwrap(), [1, 32, 15, 15]);
/// // A resize keeps the channels of the deep map; a transposed convolution outputs those of the skip.
/// assert_eq!(config.merged_channels(), 128 + 64);
/// assert_eq!(config.with_up(UpConfig::conv_transpose()).merged_channels(), 64 + 64);
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct UpsampleConcatConfig {
    /// The channels of the deep map.
    pub deep_channels: usize,
    /// The channels of the skip.
    pub skip_channels: usize,
    /// The channels of the output.
    pub out_channels: usize,
    /// The output channels of the up layer, if it changes them: a resize without projection keeps the
    /// channels, and any other number is an error. Default: those of the skip, if the layer changes them.
    #[serde(default)]
    pub up_channels: Option<usize>,
    /// How the deep map is upsampled. Default: nearest, to the size of the skip.
    #[serde(default = "UpConfig::nearest")]
    pub up: UpConfig,
    /// How sizes that still differ after the up layer are made equal. The up layer comes as near to the
    /// skip as it can: a transposed convolution by 2 takes 7 to 15 by its output padding. MONAI leaves
    /// it at 14 and pads: `Fit::Pad` with [`Target::Largest`]. Default: [`Fit::Exact`].
    #[serde(default)]
    pub fit: Fit,
    /// The size that both maps are fitted to. Default: [`Target::Skip`]. With any other target the deep
    /// map is first upsampled by the scale of the up layer.
    #[serde(default = "Target::skip")]
    pub target: Target,
    /// Which map comes first in the concatenation. Default: the deep one.
    #[serde(default)]
    pub order: Order,
    /// What weighs the skip, guided by the upsampled deep map, or none. Default: none.
    #[serde(default)]
    pub gate: Option<GateConfig>,
    /// The convolutions of the block.
    #[serde(default = "ConvStyle::new")]
    pub style: ConvStyle,
}

setters!(
    UpsampleConcatConfig:
    with_up_channels(up_channels: impl Into<Option<usize>>),
    with_up(up: UpConfig),
    with_fit(fit: Fit),
    with_target(target: Target),
    with_order(order: Order),
    with_gate(gate: impl Into<Option<GateConfig>>),
    with_style(style: ConvStyle),
);

impl Config for UpsampleConcatConfig {}

deep_and_skip_methods!(UpsampleConcatConfig: [deep_channels, skip_channels]);

impl UpsampleConcatConfig {
    /// A decoder step with nearest upsampling to the size of the skip.
    pub fn new(deep_channels: usize, skip_channels: usize, out_channels: usize) -> Self {
        Self {
            deep_channels,
            skip_channels,
            out_channels,
            up_channels: None,
            up: UpConfig::nearest(),
            fit: Fit::Exact,
            target: Target::Skip,
            order: Order::DeepFirst,
            gate: None,
            style: ConvStyle::new(),
        }
    }

    pub(super) fn alignment(&self) -> Alignment<'_> {
        Alignment::of_deep_and_skip(&self.fit, &self.target, self.order)
    }

    /// The channels of the deep map, and those that the up layer is asked for.
    fn channels_of_up(&self) -> [usize; 2] {
        let wanted = self.up_channels.unwrap_or(self.skip_channels);
        [self.deep_channels, wanted]
    }

    /// The channels of the upsampled deep map.
    fn upsampled_channels(&self) -> usize {
        let [deep, wanted] = self.channels_of_up();
        self.up.out_channels(deep, wanted)
    }

    /// The channels of the concatenation, which are the input channels of a block of your own.
    pub fn merged_channels(&self) -> usize {
        self.upsampled_channels().saturating_add(self.skip_channels)
    }

    fn block(&self) -> DoubleConvConfig {
        DoubleConvConfig::new([self.merged_channels(), self.out_channels])
            .with_style(self.style.clone())
    }

    /// Checks all options but those of the block.
    fn validate_merge<const R: usize>(&self) -> Result<(), ShapeError> {
        let channels = [self.deep_channels, self.skip_channels];
        Planner::check_options(&channels, |planner, maps: &[Map<R>]| {
            self.trace_merge(planner, &maps[0], &maps[1])
        })
    }

    /// Checks the numbers that no part of the layer checks.
    fn check_numbers(&self) -> Result<(), ShapeError> {
        check_positive(NAME, "deep_channels", self.deep_channels)?;
        check_positive(NAME, "skip_channels", self.skip_channels)?;
        check_positive(NAME, "up_channels", self.channels_of_up()[1])?;
        self.up
            .check_asked(self.deep_channels, self.up_channels)
            .map_err(|e| e.within("up"))
    }

    /// The spatial size that the up layer is asked for, or none: then it upsamples by its scale.
    pub(super) fn up_target<const R: usize>(
        &self,
        deep: [usize; R],
        skip: [usize; R],
    ) -> Result<Option<Vec<usize>>, ShapeError> {
        match (&self.target, &self.fit) {
            (Target::Skip, Fit::Exact) => Ok(Some(spatial(&skip).to_vec())),
            (Target::Skip, _) => self
                .up
                .reach(self.channels_of_up(), deep, spatial(&skip))
                .map(Some)
                .map_err(|e| e.within("up")),
            _ => Ok(None),
        }
    }

    /// The shape of the concatenation, before the block.
    ///
    /// # Errors
    /// When channels differ, an axis is empty, or the maps cannot be brought to one size.
    pub fn merged_shape<const R: usize>(
        &self,
        deep: [usize; R],
        skip: [usize; R],
    ) -> Result<[usize; R], ShapeError> {
        Planner::output_shape_of_maps(&[deep, skip], |planner, maps| {
            self.trace_merge(planner, &maps[0], &maps[1])
        })
    }

    /// Records the step from `deep` to the size of `skip`: the up layer, the fits, the gate, the concatenation, and
    /// `block`.
    pub(super) fn trace_with<const R: usize>(
        &self,
        planner: &mut Planner,
        deep: &Map<R>,
        skip: &Map<R>,
        gate: Option<&impl TraceGate<R>>,
        block: impl FnOnce(&mut Planner, &Map<R>) -> Result<Map<R>, ShapeError>,
    ) -> Result<Map<R>, ShapeError> {
        planner.node(NAME, &[deep, skip], |planner| {
            self.check_numbers()?;
            check_channels(NAME, skip.shape, self.skip_channels).map_err(|e| e.within("skip"))?;
            check_channels(NAME, deep.shape, self.deep_channels).map_err(|e| e.within("deep"))?;
            let deep = self.trace_up(planner, deep, skip, gate.is_some())?;
            let alignment = self.alignment();
            let fitted = alignment.trace_fits(planner, &[&deep, skip], deep_and_skip)?;
            let [deep, skip] = [&fitted[0], &fitted[1]];
            // (What does not fit the concatenation does not fit the gate either, which knows no fits.)
            let merged = alignment.merge.output_shape(&[deep.shape, skip.shape]);
            merged.map_err(|e| e.with_layer(NAME))?;
            let skip = match gate {
                Some(gate) => &gate::trace_part(planner, "gate".into(), gate, skip, deep)?,
                None => skip,
            };
            let merged = alignment.trace_merge(planner, NAME, &[deep, skip], &["deep", "skip"])?;
            block(planner.at("block"), &merged)
        })
    }

    /// Records the up layer. Its output stays lazy where the convolution after it reads it directly: without a gate,
    /// and where no fit follows.
    fn trace_up<const R: usize>(
        &self,
        planner: &mut Planner,
        deep: &Map<R>,
        skip: &Map<R>,
        is_gated: bool,
    ) -> Result<Map<R>, ShapeError> {
        let target = match planner.is_any_size() {
            true => None,
            false => self.up_target(deep.shape, skip.shape)?,
        };
        let is_lazy = !is_gated && target.as_deref() == Some(spatial(&skip.shape));
        let up = |planner: &mut Planner| {
            let channels = self.channels_of_up();
            self.up
                .trace_to(planner.at("up"), channels, deep, target.as_deref())
        };
        match is_lazy {
            true => planner.dispatched(up),
            false => up(planner),
        }
    }

    /// Records all but the block.
    fn trace_merge<const R: usize>(
        &self,
        planner: &mut Planner,
        deep: &Map<R>,
        skip: &Map<R>,
    ) -> Result<Map<R>, ShapeError> {
        self.trace_with(
            planner,
            deep,
            skip,
            self.gate.as_ref(),
            |_, x| Ok(x.clone()),
        )
    }

    /// Records the step from `deep` to the size of `skip`.
    ///
    /// # Errors
    /// As [`output_shape`](Self::output_shape).
    pub fn trace<const R: usize>(
        &self,
        planner: &mut Planner,
        deep: &Map<R>,
        skip: &Map<R>,
    ) -> Result<Map<R>, ShapeError> {
        let block = |planner: &mut Planner, x: &Map<R>| self.block().trace(planner, x);
        self.trace_with(planner, deep, skip, self.gate.as_ref(), block)
    }

    /// Builds the layer with a [`DoubleConv`](crate::block::DoubleConv).
    ///
    /// # Panics
    /// When [`validate`](Self::validate) returns an error, with its message.
    pub fn init<const R: usize>(&self, device: &Device) -> UpsampleConcat<R> {
        expect(self.validate::<R>());
        self.init_with(self.block().init(device), device)
    }

    /// Builds the layer with a block of your own, which takes
    /// [`merged_channels`](Self::merged_channels) input channels. `out_channels` and `style` describe the
    /// default block and are ignored here.
    ///
    /// # Panics
    /// When another option is invalid, with the message of [`validate`](Self::validate).
    pub fn init_with<const R: usize, M: Layer<R>>(
        &self,
        block: M,
        device: &Device,
    ) -> UpsampleConcat<R, M> {
        expect(self.validate_merge::<R>());
        let init_gate =
            |gate: &GateConfig| gate.init(self.skip_channels, self.upsampled_channels(), device);
        UpsampleConcat {
            up: self.up.init(self.channels_of_up(), device),
            gate: self.gate.as_ref().map(init_gate),
            block,
            config: self.clone(),
        }
    }
}
