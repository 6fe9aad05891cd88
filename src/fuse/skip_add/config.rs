//! [`SkipAddConfig`]: the options of a residual connection, and its trace.

use alloc::{format, vec::Vec};

use burn::config::Config;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::layer_scale::LayerScale;
use super::pre_activation::PreActivationConfig;
use super::shortcut::{Path, Shortcut, trace_repeat};
use super::{NAME, SkipAdd};
use crate::fuse::gate::{GateConfig, trace_part};
use crate::fuse::merge::{Side, disagreement};
use crate::graph::{Elementwise, Map, Op, Planner, Record};
use crate::layers::DropPath;
use crate::layers::activation::ActivationConfig;
use crate::layers::block::ConvNormActConfig;
use crate::layers::layer::Layer;
use crate::layers::norm::NormConfig;
use crate::layers::param::zero_last_norm;
use crate::layers::pool::Pool;
use crate::plan::Trace;
use crate::setters::setters;
use crate::shape::{
    PerAxis, ShapeError, axis_name, check_channels, check_positive, expect, with_channels,
};

/// Configuration of [`SkipAdd`].
///
/// # Example
/// ```
/// use burn_skip::SkipAddConfig;
///
/// // The shapes of the input and of the block's output.
/// let (input, block_output) = ([1, 16, 15, 15], [1, 32, 8, 8]);
/// let error = SkipAddConfig::new([16, 32]).output_shape(input, block_output).unwrap_err();
/// assert_eq!(error.problem, "height differs: block 8, shortcut 15");
/// let config = SkipAddConfig::new([16, 32]).with_stride(2);
/// assert_eq!(config.output_shape(input, block_output).unwrap(), [1, 32, 8, 8]);
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SkipAddConfig {
    /// Input and output channels of the block.
    pub channels: [usize; 2],
    /// The stride of the block. Default: 1.
    #[serde(default = "crate::defaults::one")]
    pub stride: PerAxis,
    /// What the input goes through where channels or stride require it. Default: [`Shortcut::Conv`].
    #[serde(default)]
    pub shortcut: Shortcut,
    /// The norm of the projection, or none. Default: [`NormConfig::batch`]. Without it the projection has a bias,
    /// unless there is a pre-activation.
    #[serde(default = "NormConfig::default_norm")]
    pub norm: Option<NormConfig>,
    /// The activation of the sum, or none. Default: ReLU.
    #[serde(default = "ActivationConfig::some_default")]
    pub activation: Option<ActivationConfig>,
    /// A norm and an activation before the block, or none. Default: none.
    #[serde(default)]
    pub pre_activation: Option<PreActivationConfig>,
    /// A gate of the block's output, or none; its guide is that output too. Squeeze-and-excitation makes an SE-ResNet
    /// (arXiv:1709.01507, section 3.3). Default: none.
    #[serde(default)]
    pub gate: Option<GateConfig>,
    /// A learned factor of the block's output, or none. Default: none.
    #[serde(default)]
    pub layer_scale: Option<LayerScale>,
    /// The probability that a sample takes the shortcut alone during training. Default: 0.
    #[serde(default)]
    pub drop_path: f64,
    /// Whether the scale of the block's last norm, in the order of its fields, starts at zero. Where that norm is
    /// the block's last operation, the layer starts as its shortcut. A block without a norm that has a scale is
    /// refused. Default: false.
    #[serde(default)]
    pub zero_init_last_norm: bool,
}

setters!(
    SkipAddConfig:
    with_stride(stride: impl Into<PerAxis>),
    with_shortcut(shortcut: Shortcut),
    with_norm(norm: impl Into<Option<NormConfig>>),
    with_activation(activation: impl Into<Option<ActivationConfig>>),
    with_pre_activation(pre_activation: impl Into<Option<PreActivationConfig>>),
    with_gate(gate: impl Into<Option<GateConfig>>),
    with_drop_path(drop_path: f64),
    with_zero_init_last_norm(zero_init_last_norm: bool),
);

impl Config for SkipAddConfig {}

impl SkipAddConfig {
    /// A residual connection around a block from `channels[0]` to `channels[1]` channels.
    pub fn new(channels: [usize; 2]) -> Self {
        Self {
            channels,
            stride: 1.into(),
            shortcut: Shortcut::Conv,
            norm: Some(NormConfig::batch()),
            activation: Some(ActivationConfig::Relu),
            pre_activation: None,
            gate: None,
            layer_scale: None,
            drop_path: 0.0,
            zero_init_last_norm: false,
        }
    }

    /// As [`new`](Self::new), with batch norm and ReLU before the block, and neither after the projection nor after
    /// the sum: the residual unit of arXiv:1603.05027. The block ends with a convolution, as of
    /// [`LayerOrder::NormActConv`](crate::block::LayerOrder::NormActConv).
    pub fn pre_activated(channels: [usize; 2]) -> Self {
        Self::new(channels)
            .with_norm(None)
            .with_activation(None)
            .with_pre_activation(PreActivationConfig::new())
    }

    /// Sets a [factor of each channel](LayerScale::Channels) that starts as `start`, or none.
    pub fn with_layer_scale(mut self, start: impl Into<Option<f64>>) -> Self {
        self.layer_scale = start.into().map(LayerScale::Channels);
        self
    }

    /// Sets [one factor](LayerScale::Scalar) that starts at zero: the layer starts as its shortcut.
    pub fn with_skip_init(mut self) -> Self {
        self.layer_scale = Some(LayerScale::Scalar { scalar: 0.0 });
        self
    }

    /// What the shortcut is for maps of rank `R`.
    pub(super) fn path<const R: usize>(&self) -> Result<Path, ShapeError> {
        let strides = self.stride.resolve_positive(R, NAME, "stride")?;
        let bias = self.pre_activation.is_some().then_some(false);
        let conv = || {
            ConvNormActConfig::new(self.channels, 1)
                .with_norm(self.norm.clone())
                .with_activation(None)
                .with_bias(bias)
        };
        let stride = (&self.stride, &strides[..]);
        Path::new(self.shortcut, self.channels, stride, conv)
    }

    /// Checks the options for maps of rank `R`.
    ///
    /// # Errors
    /// When a number is zero, the probability is not in `[0, 1)`, or the projection is invalid.
    pub fn validate<const R: usize>(&self) -> Result<(), ShapeError> {
        Planner::check_options(&[self.channels[0]], |planner, maps: &[Map<R>]| {
            self.trace_over(planner, &maps[0], |planner, x| {
                Ok(planner.map(with_channels(x.shape, self.channels[1]), None))
            })
        })
    }

    /// Checks the numbers that no part of the layer checks.
    fn check_numbers(&self) -> Result<(), ShapeError> {
        check_positive(NAME, "in_channels", self.channels[0])?;
        check_positive(NAME, "out_channels", self.channels[1])?;
        DropPath::validate(self.drop_path).map_err(|e| e.within("drop_path"))?;
        match self.layer_scale {
            Some(scale) => scale.check(),
            None => Ok(()),
        }
    }

    /// The shape of the output for an input of shape `input`, of which the block makes a map of shape
    /// `block_output`.
    ///
    /// # Errors
    /// When the channels differ, the block gives another shape than the shortcut, or the
    /// configuration is invalid.
    pub fn output_shape<const R: usize>(
        &self,
        input: [usize; R],
        block_output: [usize; R],
    ) -> Result<[usize; R], ShapeError> {
        Planner::output_shape_of_maps(&[input, block_output], |planner, maps| {
            self.trace_over(planner, &maps[0], |_, _| Ok(maps[1].clone()))
        })
    }

    /// Refuses a block whose output has another shape than the shortcut.
    fn check_same_shape<const R: usize>(
        input: [usize; R],
        block: [usize; R],
        shortcut: [usize; R],
    ) -> Result<[usize; R], ShapeError> {
        let Some(axis) = (0..R).find(|&axis| block[axis] != shortcut[axis]) else {
            return Ok(block);
        };
        let remedy = if axis == 1 {
            format!("Set the channels to [{}, {}]", input[1], block[1])
        } else {
            let strides: Vec<_> = (2..R).map(|n| input[n].div_ceil(block[n].max(1))).collect();
            format!("Set the stride to {strides:?}, and let the block pad with Padding::Same")
        };
        let [block, shortcut] =
            [("block", block), ("shortcut", shortcut)].map(|(name, shape)| Side {
                name,
                size: shape[axis],
            });
        let problem = disagreement(axis_name(axis, R), block, shortcut);
        Err(ShapeError::new(NAME, problem, remedy))
    }

    /// Records the shortcut, the block, by `block`, and their sum, in the order in which they run.
    pub(crate) fn trace_over<const R: usize>(
        &self,
        planner: &mut Planner,
        x: &Map<R>,
        block: impl FnOnce(&mut Planner, &Map<R>) -> Result<Map<R>, ShapeError>,
    ) -> Result<Map<R>, ShapeError> {
        planner.node(NAME, &[x], |planner| {
            self.check_numbers()?;
            check_channels(NAME, x.shape, self.channels[0])?;
            let before =
                |planner: &mut Planner| self.pre_activation.trace(planner.at("pre_activation"), x);
            let (shortcut, before) = match self.path::<R>()? {
                Path::Identity => (x.clone(), before(planner)?),
                Path::Pad(pad) => (pad.trace(planner, x)?, before(planner)?),
                Path::Repeat(repeats) => {
                    let repeated = trace_repeat(planner.at("shortcut"), x, repeats)?;
                    (repeated, before(planner)?)
                }
                Path::Project(pool, conv) => {
                    let before = before(planner)?;
                    let projected = (pool, conv).trace(planner.at("shortcut"), &before)?;
                    (projected, before)
                }
            };
            let y = block(planner.at("block"), &before)?;
            let output = Self::check_same_shape(x.shape, y.shape, shortcut.shape)?;
            let sum = |planner: &mut Planner, y: &Map<R>| {
                let names = ["block", "shortcut"];
                let sum = planner.at("").elementwise(
                    Elementwise::Sum,
                    &names,
                    &[y, &shortcut],
                    Ok(output),
                )?;
                self.activation.trace(planner.at("activation"), &sum)
            };
            if self.adds_in_block() {
                return planner.dispatched(|planner| sum(planner, &y));
            }
            let y = self.trace_gate(planner, &y)?;
            let y = self.trace_scale(planner, &y)?;
            sum(planner, &y)
        })
    }

    /// Whether nothing lies between the block and the sum, so that the block adds the shortcut itself, by
    /// [`Layer::forward_add`].
    fn adds_in_block(&self) -> bool {
        self.gate.is_none() && self.layer_scale.is_none() && self.drop_path == 0.0
    }

    /// Records the gate of the block's output `y`.
    fn trace_gate<const R: usize>(
        &self,
        planner: &mut Planner,
        y: &Map<R>,
    ) -> Result<Map<R>, ShapeError> {
        match &self.gate {
            Some(gate) => trace_part(planner, "gate".into(), gate, y, y),
            None => Ok(y.clone()),
        }
    }

    /// Records the layer scale and the drop path of the block's output `y`.
    fn trace_scale<const R: usize>(
        &self,
        planner: &mut Planner,
        y: &Map<R>,
    ) -> Result<Map<R>, ShapeError> {
        let mut y = y.clone();
        if let Some(scale) = self.layer_scale {
            y = scale.trace(planner.at(""), &y)?;
        }
        if self.drop_path > 0.0 {
            y = planner.at("drop_path").leaf("DropPath", &[&y], || {
                Ok(Record::new(Op::DropPath, y.shape).on_grid_of(&y))
            })?;
        }
        Ok(y)
    }

    /// Wraps `block`.
    ///
    /// # Panics
    /// When [`validate`](Self::validate) returns an error, with its message, or
    /// [`zero_init_last_norm`](Self::zero_init_last_norm) is set and the block has no norm.
    pub fn init<const R: usize, M: Layer<R>>(&self, block: M, device: &Device) -> SkipAdd<M, R> {
        expect(self.validate::<R>());
        let shortcut = match expect(self.path::<R>()) {
            Path::Project(pool, conv) => Some((pool.map(Pool::new), conv.init(device))),
            Path::Identity | Path::Pad(_) | Path::Repeat(_) => None,
        };
        let before = self.pre_activation.as_ref();
        let (gate, scale) = (self.gate.as_ref(), self.layer_scale);
        let channels = self.channels[1];
        let block = match self.zero_init_last_norm {
            true => expect(zero_last_norm(block).map_err(|e| e.within("block"))),
            false => block,
        };
        SkipAdd {
            pre_activation: before.map(|before| before.init(self.channels[0], device)),
            block,
            shortcut,
            gate: gate.map(|gate| gate.init(channels, channels, device)),
            layer_scale: scale.map(|scale| scale.init(channels, device)),
            drop_path: (self.drop_path > 0.0).then(|| DropPath::new(self.drop_path)),
            activation: self.activation.as_ref().map(|act| act.init(device)),
            config: self.clone(),
        }
    }
}
