//! [`NormConfig`]: the norms over the channels of a map, as data.

use alloc::format;

use burn::nn::{BatchNormConfig, GroupNormConfig, InstanceNormConfig, norm::Normalization};
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::graph::{Cost, Map, Planner, weight_cost};
use crate::plan::Trace;
use crate::shape::{ShapeError, check_not_empty, expect};

/// A norm over the channels of a map. The number of channels comes from the layer that it follows.
///
/// # Example
/// ```
/// use burn_skip::{norm::NormConfig, plan::Trace};
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
        epsilon: f64,
        /// The weight of the new statistics. PyTorch 0.1, Keras 0.01 (its momentum is 1 minus this).
        momentum: f64,
    },
    /// Group norm (arXiv:1803.08494).
    Group {
        /// How many groups the channels are split into.
        groups: usize,
        /// Added to the variance.
        epsilon: f64,
    },
    /// Instance norm (arXiv:1607.08022).
    Instance {
        /// Added to the variance.
        epsilon: f64,
        /// Whether scale and shift are learned. PyTorch's default is no.
        affine: bool,
    },
}

impl<const R: usize> Trace<R> for NormConfig {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        let learns = !matches!(self, Self::Instance { affine: false, .. });
        let cost = scale_and_shift(x, learns);
        planner.pointwise(self.name(), x, cost, self.output_shape(x.shape))
    }
}

/// The cost of a scale and a shift of each channel, if they are learned.
pub(crate) fn scale_and_shift<const R: usize>(x: &Map<R>, learned: bool) -> Cost {
    let parameters = if learned { 2 * x.shape[1] } else { 0 };
    weight_cost(parameters, 0, x.shape[0])
}

impl NormConfig {
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

    /// The shape of the output for an input of shape `input`: the same.
    ///
    /// # Errors
    /// When the map is too small to be normalised, or the configuration is invalid.
    pub fn output_shape<const R: usize>(
        &self,
        input: [usize; R],
    ) -> Result<[usize; R], ShapeError> {
        self.validate(input[1])?;
        match self {
            Self::Batch { .. } => Ok(input),
            Self::Group { .. } | Self::Instance { .. } => {
                check_enough_values(self.name(), input).map(|()| input)
            }
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
    let values: usize = shape.iter().product();
    if values > 2 {
        return Ok(());
    }
    Err(ShapeError::new(
        layer,
        format!("{shape:?} has {values} values, too few to normalise"),
        "Use a larger map, or batch norm",
    ))
}
