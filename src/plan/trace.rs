//! [`Trace`]: what can be planned.

use alloc::vec;

use burn::nn::activation::ActivationConfig;

use super::Plan;
use crate::graph::{Map, Planner, weight_cost, word_of};
use crate::layers::style::check_activation;
use crate::shape::ShapeError;

/// What can be planned: every configuration of a whole layer; layers have
/// [`Layer::trace`](crate::Layer::trace).
///
/// # Example
/// ```
/// use burn_skip::{block::ConvNormActConfig, plan::Trace};
///
/// let plan = ConvNormActConfig::new([3, 16], 3).with_stride(2).plan([1, 3, 33, 20]);
/// assert_eq!(plan.root.outputs[0].shape, [1, 16, 17, 10]);
/// assert_eq!(plan.root.children[0].parameters, 432); // the convolution
/// assert_eq!(plan.root.children[1].parameters, 32); // the norm
/// ```
pub trait Trace<const R: usize> {
    /// Tells the planner of every part, in the order in which a map goes through them.
    ///
    /// # Errors
    /// When the map does not fit. What has been told so far is in the plan.
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError>;

    /// The plan for an input of shape `input`.
    fn plan(&self, input: [usize; R]) -> Plan {
        Plan::new(input, |planner, x| {
            self.trace(planner, x).map(|map| vec![map])
        })
    }
}

impl<const R: usize, C: Trace<R>> Trace<R> for Option<C> {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        match self {
            Some(config) => config.trace(planner, x),
            None => Ok(x.clone()),
        }
    }
}

impl<const R: usize> Trace<R> for ActivationConfig {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        let parameters = match self {
            Self::PRelu(config) => config.num_parameters,
            _ => 0,
        };
        let cost = weight_cost(parameters, 0, x.shape[0]);
        let output = check_activation(self, x.shape[1]).map(|()| x.shape);
        planner.pointwise(&word_of(self), x, cost, output)
    }
}
