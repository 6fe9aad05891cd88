//! [`StagedStep`]: enlarges the deep map and merges it with the skip, or the other way round, and refines the result.

use alloc::vec;

use burn::config::Config;
use burn::module::Module;
use burn::nn::norm::Normalization;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::config::StepOrder;
use crate::fuse::gate::{AnyGate, Gate, GateConfig};
use crate::fuse::merge::{Merge, Order};
use crate::graph::{Map, Planner};
use crate::layers::activation::{Activation, ActivationConfig};
use crate::layers::conv::{Conv, ConvConfig, LazyConcat};
use crate::layers::layer::Layer;
use crate::layers::norm::NormConfig;
use crate::layers::up::{Up, UpConfig};
use crate::net::stage::{Stage, StageConfig};
use crate::plan::Trace;
use crate::setters::setters;
use crate::shape::{Axis, ShapeError, check_positive};

const NAME: &str = "StagedStep";

/// A step of a [`StagedDecoderConfig`](super::StagedDecoderConfig). The channels of the deep map and of the skip come
/// from the decoder.
///
/// # Example
/// ```
/// use burn_skip::merge::Merge;
/// use burn_skip::net::{DecoderConfig, StagedDecoderConfig, StagedStepConfig};
/// use burn_skip::up::UpConfig;
///
/// // SegResNet's: a 1x1 convolution, a linear enlargement, a sum.
/// let step = StagedStepConfig::new(8).with_project(true).with_up(UpConfig::linear()).with_merge(Merge::Add);
/// let decoder = DecoderConfig::from(StagedDecoderConfig::new(vec![step]));
/// let maps = [[1, 8, 17, 11], [1, 16, 9, 6]];
/// assert_eq!(decoder.output_shape(&maps, &[17, 11]).unwrap(), [1, 8, 17, 11]);
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct StagedStepConfig {
    /// The channels that the projection and the up layer give. (A resize without projection keeps those that it gets.)
    pub width: usize,
    /// Whether a 1x1 convolution without bias to [`width`](Self::width) channels precedes the up layer. Default: false.
    #[serde(default)]
    pub project: bool,
    /// How the map is enlarged. Default: a transposed convolution with kernel 2 and stride 2.
    #[serde(default = "UpConfig::conv_transpose")]
    pub up: UpConfig,
    /// The norm after the up layer, or none. Default: none.
    #[serde(default)]
    pub norm: Option<NormConfig>,
    /// The activation after that, or none. Default: none.
    #[serde(default)]
    pub activation: Option<ActivationConfig>,
    /// What weighs the skip, guided by the deep map that it is merged with, or none. Default: none.
    #[serde(default)]
    pub gate: Option<GateConfig>,
    /// How the deep map and the skip become one. Default: a concatenation, the deep map first.
    #[serde(default = "Merge::concat")]
    pub merge: Merge,
    /// What refines the result, or nothing. Default: nothing.
    #[serde(default)]
    pub stage: Option<StageConfig>,
}

setters!(
    StagedStepConfig:
    with_project(project: bool),
    with_up(up: UpConfig),
    with_norm(norm: impl Into<Option<NormConfig>>),
    with_activation(activation: impl Into<Option<ActivationConfig>>),
    with_gate(gate: impl Into<Option<GateConfig>>),
    with_merge(merge: Merge),
    with_stage(stage: impl Into<Option<StageConfig>>),
);

impl Config for StagedStepConfig {}

/// The order of a concatenation along the channels, if the merge is one: it need not be written.
fn lazy_order(merge: Merge) -> Option<Order> {
    match merge {
        Merge::Concat {
            axis: Axis::Channels,
            order,
        } => Some(order),
        _ => None,
    }
}

impl StagedStepConfig {
    /// A step with a transposed convolution to `width` channels and a concatenation.
    pub fn new(width: usize) -> Self {
        Self {
            width,
            project: false,
            up: UpConfig::conv_transpose(),
            norm: None,
            activation: None,
            gate: None,
            merge: Merge::concat(),
            stage: None,
        }
    }

    /// The channels of the merged map.
    fn merged(&self, [deep, skip]: [usize; 2]) -> usize {
        match lazy_order(self.merge) {
            Some(_) => deep.saturating_add(skip),
            None => deep,
        }
    }

    /// The channels after the up layer, of a map with `input` channels.
    fn enlarged(&self, input: usize) -> usize {
        match self.project {
            true => self.width,
            false => self.up.out_channels(input, self.width),
        }
    }

    /// The channels of the map that is enlarged, and of the one that is refined.
    fn inner_channels(&self, order: StepOrder, [deep, skip]: [usize; 2]) -> [usize; 2] {
        match order {
            StepOrder::UpFirst => [deep, self.merged([self.enlarged(deep), skip])],
            StepOrder::MergeFirst => {
                let merged = self.merged([deep, skip]);
                [merged, self.enlarged(merged)]
            }
        }
    }

    /// The channels of the output, for a deep map and a skip with these channels.
    pub(super) fn out_channels(&self, order: StepOrder, channels: [usize; 2]) -> usize {
        match &self.stage {
            Some(stage) => stage.width,
            None => self.inner_channels(order, channels)[1],
        }
    }

    fn projection(&self, input: usize) -> Option<ConvConfig> {
        let conv = ConvConfig::new([input, self.width], 1).with_bias(false);
        self.project.then_some(conv)
    }

    /// The channels of the input of the up layer, and those that it is asked for.
    fn channels_of_up(&self, input: usize) -> [usize; 2] {
        let input = if self.project { self.width } else { input };
        [input, self.width]
    }

    /// Whether the enlarged map is read by the next convolution where it is.
    fn is_lazy(&self, order: StepOrder) -> bool {
        let is_plain = self.norm.is_none() && self.activation.is_none() && self.gate.is_none();
        order == StepOrder::UpFirst && is_plain && lazy_order(self.merge).is_some()
    }

    /// Records the projection, the up layer to the size `target`, the norm and the activation.
    fn trace_enlarge<const R: usize>(
        &self,
        planner: &mut Planner,
        order: StepOrder,
        x: &Map<R>,
        target: &[usize],
    ) -> Result<Map<R>, ShapeError> {
        let channels = self.channels_of_up(x.shape[1]);
        let projected = self
            .projection(x.shape[1])
            .trace(planner.at("project"), x)?;
        let up = |planner: &mut Planner| {
            self.up
                .trace_to(planner.at("up"), channels, &projected, Some(target))
        };
        let y = match self.is_lazy(order) {
            true => planner.dispatched(up)?,
            false => up(planner)?,
        };
        let y = self.norm.trace(planner.at("norm"), &y)?;
        self.activation.trace(planner.at("activation"), &y)
    }

    /// Records the gate and the merge.
    fn trace_merge<const R: usize>(
        &self,
        planner: &mut Planner,
        deep: &Map<R>,
        skip: &Map<R>,
    ) -> Result<Map<R>, ShapeError> {
        let merged = self.merge.output_shape(&[deep.shape, skip.shape]);
        merged.map_err(|e| e.with_layer(NAME))?;
        let skip = match &self.gate {
            Some(gate) => &gate.trace(planner.at("gate"), skip, deep)?,
            None => skip,
        };
        let merge = |planner: &mut Planner| {
            let names = ["deep", "skip"];
            self.merge
                .trace(planner.at(""), NAME, &[deep, skip], &names)
        };
        match lazy_order(self.merge) {
            Some(_) => planner.dispatched(merge),
            None => merge(planner),
        }
    }

    /// Records the step of a deep map and a skip, which ends at the size `target`.
    pub(super) fn trace<const R: usize>(
        &self,
        planner: &mut Planner,
        order: StepOrder,
        [deep, skip]: [&Map<R>; 2],
        target: &[usize],
    ) -> Result<Map<R>, ShapeError> {
        planner.node(NAME, &[deep, skip], |planner| {
            check_positive(NAME, "width", self.width)?;
            let y = match order {
                StepOrder::UpFirst => {
                    let deep = self.trace_enlarge(planner, order, deep, target)?;
                    self.trace_merge(planner, &deep, skip)?
                }
                StepOrder::MergeFirst => {
                    let merged = self.trace_merge(planner, deep, skip)?;
                    self.trace_enlarge(planner, order, &merged, target)?
                }
            };
            self.stage.trace(planner.at("stage"), &y)
        })
    }

    /// Builds the step for a deep map and a skip with these channels. They have been checked.
    pub(super) fn init<const R: usize>(
        &self,
        order: StepOrder,
        channels: [usize; 2],
        device: &Device,
    ) -> StagedStep<R> {
        let [input, refined] = self.inner_channels(order, channels);
        let enlarged = self.enlarged(input);
        let guide = match order {
            StepOrder::UpFirst => enlarged,
            StepOrder::MergeFirst => channels[0],
        };
        let gate = |gate: &GateConfig| gate.init(channels[1], guide, device);
        StagedStep {
            project: self.projection(input).map(|conv| conv.init(device)),
            up: self.up.init(self.channels_of_up(input), device),
            norm: self.norm.as_ref().map(|norm| norm.init(enlarged, device)),
            activation: self.activation.as_ref().map(|act| act.init(device)),
            gate: self.gate.as_ref().map(gate),
            stage: self.stage.as_ref().map(|stage| stage.init(refined, device)),
            merge: self.merge,
        }
    }
}

/// A step of a [`StagedDecoder`](super::StagedDecoder).
///
/// # Example
/// ```
/// use burn::tensor::Device;
/// use burn_skip::net::{StageConfig, StagedDecoder, StagedDecoderConfig, StagedStepConfig};
///
/// let step = StagedStepConfig::new(8).with_stage(StageConfig::new(6));
/// let decoder: StagedDecoder = StagedDecoderConfig::new(vec![step]).init(&[4, 16], &Device::flex());
/// let stage = decoder.steps[0].stage.as_ref().unwrap();
/// assert_eq!(stage.convs[0].conv.config.channels, [8 + 4, 6]); // the enlarged map and the skip
/// ```
#[derive(Module, Debug)]
pub struct StagedStep<const R: usize = 4> {
    /// The 1x1 convolution before the up layer.
    pub project: Option<Conv<R>>,
    /// The up layer.
    pub up: Up<R>,
    /// The norm after it.
    pub norm: Option<Normalization>,
    /// The activation after that.
    pub activation: Option<Activation>,
    /// What weighs the skip.
    pub gate: Option<AnyGate<R>>,
    /// What refines the result.
    pub stage: Option<Stage<R>>,
    /// How the deep map and the skip become one.
    #[module(skip)]
    pub merge: Merge,
}

impl<const R: usize> StagedStep<R> {
    fn enlarge(&self, x: LazyConcat<R>, target: &[usize]) -> LazyConcat<R> {
        let x = self.project.forward_parts(x);
        let y = self.up.forward_parts_to(x, target);
        let y = self.norm.forward_parts(y);
        self.activation.forward_parts(y)
    }

    fn merge(&self, deep: LazyConcat<R>, skip: Tensor<R>) -> LazyConcat<R> {
        let (deep, skip) = match &self.gate {
            Some(gate) => {
                let deep = deep.into_tensor();
                (deep.clone().into(), gate.forward(skip, deep))
            }
            None => (deep, skip),
        };
        match lazy_order(self.merge) {
            Some(Order::DeepFirst) => deep.then(skip.into()),
            Some(Order::SkipFirst) => LazyConcat::from(skip).then(deep),
            None => self.merge.forward(vec![deep.into_tensor(), skip]).into(),
        }
    }

    /// The step to the size `target`. The shapes have been checked.
    pub(super) fn forward_parts(
        &self,
        order: StepOrder,
        deep: LazyConcat<R>,
        skip: Tensor<R>,
        target: &[usize],
    ) -> LazyConcat<R> {
        let y = match order {
            StepOrder::UpFirst => self.merge(self.enlarge(deep, target), skip),
            StepOrder::MergeFirst => self.enlarge(self.merge(deep, skip), target),
        };
        self.stage.forward_parts(y)
    }
}
