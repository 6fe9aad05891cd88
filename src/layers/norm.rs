//! [`NormConfig`]: the norms over the channels of a map, as data.

use alloc::format;

use burn::nn::{BatchNormConfig, GroupNormConfig, InstanceNormConfig, norm::Normalization};
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

pub use super::layer_norm::{LayerNorm, LayerNormConfig};
use crate::graph::{Map, NormKind, Op, Planner, Record};
use crate::plan::Trace;
use crate::shape::{ShapeError, check_not_empty, expect};

/// A norm over the channels of a map. The number of channels comes from the layer that it follows.
///
/// # Example
/// ```
/// use burn_skip::{norm::NormConfig, Trace};
///
/// let learned = |norm: NormConfig| norm.plan([1, 16, 8, 8]).root.total_parameters();
/// assert_eq!(learned(NormConfig::batch()), 32); // a scale and a shift of each channel
/// assert_eq!(learned(NormConfig::instance()), 0);
/// let error = NormConfig::group(4).validate(6).unwrap_err();
/// assert_eq!(error.problem, "groups (=4) do not divide the channels (=6)");
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub enum NormConfig {
    /// Batch norm (arXiv:1502.03167). In training Burn keeps the biased variance of the batch in the
    /// running variance, as Keras does; PyTorch keeps the unbiased one.
    Batch {
        /// Added to the variance. PyTorch 1e-5, Keras 1e-3.
        #[serde(default = "crate::defaults::epsilon")]
        epsilon: f64,
        /// The weight of the new statistics. PyTorch 0.1, Keras 0.01 (its momentum is 1 minus this).
        #[serde(default = "crate::defaults::momentum")]
        momentum: f64,
    },
    /// Group norm (arXiv:1803.08494).
    Group {
        /// How many groups the channels are split into.
        groups: usize,
        /// Added to the variance.
        #[serde(default = "crate::defaults::epsilon")]
        epsilon: f64,
    },
    /// Instance norm (arXiv:1607.08022).
    Instance {
        /// Added to the variance.
        #[serde(default = "crate::defaults::epsilon")]
        epsilon: f64,
        /// Whether scale and shift are learned. PyTorch's default is no.
        #[serde(default)]
        affine: bool,
    },
}

impl<const R: usize> Trace<R> for NormConfig {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        let layer = self.name();
        let leaf = |planner: &mut Planner| {
            planner.leaf(layer, &[x], || {
                self.validate(x.shape[1])?;
                match *self {
                    Self::Batch { epsilon, .. } => {
                        Ok(norm_record(NormKind::Batch { epsilon }, x, true))
                    }
                    Self::Group { groups, epsilon } => {
                        check_enough_values(layer, x.shape)?;
                        Ok(norm_record(NormKind::Group { groups, epsilon }, x, true))
                    }
                    Self::Instance { affine, epsilon } => {
                        check_enough_values(layer, x.shape)?;
                        Ok(norm_record(NormKind::Instance { epsilon }, x, affine))
                    }
                }
            })
        };
        planner.standalone(leaf)
    }
}

/// The record of a norm, with a scale and a shift of each channel if it is `affine`.
pub(crate) fn norm_record<const R: usize>(kind: NormKind, x: &Map<R>, affine: bool) -> Record<R> {
    let channels = x.shape[1];
    let learned = if affine { channels } else { 0 };
    let record = Record::new(Op::Norm(kind), x.shape)
        .on_grid_of(x)
        .with_parameter("gamma", learned)
        .with_parameter("beta", learned);
    match kind {
        NormKind::Batch { .. } => record
            .with_buffer("running_mean", channels)
            .with_buffer("running_var", channels),
        _ => record,
    }
}

impl NormConfig {
    /// The norm of a block in which none is named.
    pub(crate) const fn default_norm() -> Option<Self> {
        Some(Self::batch())
    }

    /// Batch norm with PyTorch's defaults.
    pub const fn batch() -> Self {
        Self::Batch {
            epsilon: 1e-5,
            momentum: 0.1,
        }
    }

    /// Batch norm with Keras's defaults, epsilon 1e-3 and momentum 0.99 (here 0.01).
    pub const fn keras_batch() -> Self {
        Self::Batch {
            epsilon: 1e-3,
            momentum: 0.01,
        }
    }

    /// Group norm with PyTorch's defaults.
    pub const fn group(groups: usize) -> Self {
        Self::Group {
            groups,
            epsilon: 1e-5,
        }
    }

    /// Instance norm with PyTorch's defaults.
    pub const fn instance() -> Self {
        Self::Instance {
            epsilon: 1e-5,
            affine: false,
        }
    }

    /// Checks the options for maps with `channels` channels.
    ///
    /// # Errors
    /// When epsilon is not positive, the momentum is not in `[0, 1]`, or the groups do not divide
    /// the channels.
    pub fn validate(&self, channels: usize) -> Result<(), ShapeError> {
        let (Self::Batch { epsilon, .. }
        | Self::Group { epsilon, .. }
        | Self::Instance { epsilon, .. }) = *self;
        if !(epsilon.is_finite() && epsilon > 0.0) {
            return Err(ShapeError::new(
                self.name(),
                format!("epsilon is {epsilon}"),
                "Choose a positive number, such as 1e-5",
            ));
        }
        match *self {
            Self::Batch { momentum, .. } if !(0.0..=1.0).contains(&momentum) => {
                Err(ShapeError::new(
                    self.name(),
                    format!("momentum is {momentum}"),
                    "Choose the weight of the new statistics, in [0, 1]",
                ))
            }
            Self::Group { groups, .. } if groups == 0 || !channels.is_multiple_of(groups) => {
                Err(ShapeError::new(
                    self.name(),
                    format!("groups (={groups}) do not divide the channels (={channels})"),
                    "Choose groups that do",
                ))
            }
            _ => Ok(()),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Batch { .. } => "BatchNorm",
            Self::Group { .. } => "GroupNorm",
            Self::Instance { .. } => "InstanceNorm",
        }
    }

    /// Builds the norm for maps with `channels` channels.
    ///
    /// # Panics
    /// When [`validate`](Self::validate) returns an error, with its message.
    pub fn init(&self, channels: usize, device: &Device) -> Normalization {
        expect(self.validate(channels));
        match *self {
            Self::Batch { epsilon, momentum } => BatchNormConfig::new(channels)
                .with_epsilon(epsilon)
                .with_momentum(momentum)
                .init(device)
                .into(),
            Self::Group { groups, epsilon } => GroupNormConfig::new(groups, channels)
                .with_epsilon(epsilon)
                .init(device)
                .into(),
            Self::Instance { epsilon, affine } => InstanceNormConfig::new(channels)
                .with_epsilon(epsilon)
                .with_affine(affine)
                .init(device)
                .into(),
        }
    }
}

/// Refuses maps of one or two values, for which Burn's group and instance norm do not run.
pub(crate) fn check_enough_values<const R: usize>(
    layer: &str,
    shape: [usize; R],
) -> Result<(), ShapeError> {
    check_not_empty(layer, shape)?;
    let values = shape.iter().copied().fold(1, usize::saturating_mul);
    if values > 2 {
        return Ok(());
    }
    Err(ShapeError::new(
        layer,
        format!("{shape:?} has {values} values, too few to normalise"),
        "Use a larger map, or batch norm",
    ))
}
