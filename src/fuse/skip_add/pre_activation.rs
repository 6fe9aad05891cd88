//! [`PreActivation`]: a norm and an activation before a residual block.

use burn::module::Module;
use burn::nn::norm::Normalization;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::graph::{Map, Planner};
use crate::layers::activation::{Activation, ActivationConfig};
use crate::layers::layer::Layer;
use crate::layers::norm::NormConfig;
use crate::plan::Trace;
use crate::setters::setters;
use crate::shape::{ShapeError, expect};

/// Configuration of [`PreActivation`].
///
/// # Example
/// ```
/// use burn_skip::{SkipAddConfig, fuse::PreActivationConfig, norm::NormConfig};
///
/// let before = PreActivationConfig::new().with_norm(NormConfig::group(4));
/// let config = SkipAddConfig::pre_activated([16, 16]).with_pre_activation(before);
/// assert_eq!(config.output_shape([1, 16, 9, 9], [1, 16, 9, 9]).unwrap(), [1, 16, 9, 9]);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PreActivationConfig {
    /// The norm, or none. Default: [`NormConfig::batch`].
    #[serde(default = "NormConfig::default_norm")]
    pub norm: Option<NormConfig>,
    /// The activation after it, or none. Default: ReLU.
    #[serde(default = "ActivationConfig::some_default")]
    pub activation: Option<ActivationConfig>,
}

setters!(
    PreActivationConfig:
    with_norm(norm: impl Into<Option<NormConfig>>),
    with_activation(activation: impl Into<Option<ActivationConfig>>),
);

impl burn::config::Config for PreActivationConfig {}

impl Default for PreActivationConfig {
    fn default() -> Self {
        Self::new()
    }
}

impl PreActivationConfig {
    /// Batch norm and ReLU.
    pub const fn new() -> Self {
        Self {
            norm: NormConfig::default_norm(),
            activation: Some(ActivationConfig::Relu),
        }
    }

    pub(super) fn init(&self, channels: usize, device: &Device) -> PreActivation {
        let norm = self.norm.as_ref();
        let activation = self.activation.as_ref();
        PreActivation {
            norm: norm.map(|norm| norm.init(channels, device)),
            activation: activation.map(|activation| activation.init(device)),
        }
    }
}

/// Records the two.
fn trace_both<const R: usize>(
    planner: &mut Planner,
    x: &Map<R>,
    norm: &impl Trace<R>,
    activation: &impl Trace<R>,
) -> Result<Map<R>, ShapeError> {
    planner.node("PreActivation", &[x], |planner| {
        let x = norm.trace(planner.at("norm"), x)?;
        activation.trace(planner.at("activation"), &x)
    })
}

impl<const R: usize> Trace<R> for PreActivationConfig {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        trace_both(planner, x, &self.norm, &self.activation)
    }
}

/// A norm and an activation before a residual block: `act(norm(x))`, Identity Mappings in Deep Residual Networks
/// (arXiv:1603.05027). Part of a [`SkipAdd`](super::SkipAdd).
///
/// # Shapes
/// - input: `[batch, channels, spatial...]`
/// - output: the same
///
/// # Example
/// ```
/// use burn::nn::Identity;
/// use burn::tensor::Device;
/// use burn_skip::{SkipAdd, SkipAddConfig};
///
/// let residual: SkipAdd<Identity> = SkipAddConfig::pre_activated([4, 4]).init(Identity::new(), &Device::flex());
/// assert!(residual.pre_activation.unwrap().norm.is_some());
/// ```
#[derive(Module, Debug)]
pub struct PreActivation {
    /// The norm.
    pub norm: Option<Normalization>,
    /// The activation.
    pub activation: Option<Activation>,
}

impl<const R: usize> Trace<R> for PreActivation {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        trace_both(planner, x, &self.norm, &self.activation)
    }
}

impl<const R: usize> Layer<R> for PreActivation {
    fn forward(&self, x: Tensor<R>) -> Tensor<R> {
        expect(self.output_shape(x.dims()));
        self.activation.forward(self.norm.forward(x))
    }
}
