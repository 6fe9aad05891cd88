//! [`DeferredNorm`]: a batch norm that is applied when its map is read next.

use burn::nn::BatchNorm;
use burn::tensor::{Device, Tensor};

use super::policy::Piecewise;

/// A batch norm and what follows it, which have not been applied to their map yet.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "kernels"), allow(dead_code))] // then no norm is deferred
pub(super) struct DeferredNorm {
    pub(super) vectors: NormVectors,
    pub(super) epsilon: f64,
    pub(super) activation: Piecewise,
    /// Whether mean and variance were computed from this map. If so, gradients flow through them.
    pub(super) of_batch: bool,
}

/// One number per channel in each vector: `y = gamma (x - mean) / sqrt(variance + epsilon) + beta`.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "kernels"), allow(dead_code))]
pub(super) struct NormVectors {
    pub(super) gamma: Tensor<1>,
    pub(super) beta: Tensor<1>,
    pub(super) mean: Tensor<1>,
    pub(super) variance: Tensor<1>,
}

#[cfg_attr(not(feature = "kernels"), allow(dead_code))]
impl NormVectors {
    /// The vectors of a layer, with its running statistics.
    pub(super) fn running(norm: &BatchNorm, device: &Device) -> Self {
        Self {
            gamma: norm.gamma.val(),
            beta: norm.beta.val(),
            mean: norm.running_mean.value().to_device(device),
            variance: norm.running_var.value().to_device(device),
        }
    }

    /// The vectors in the order in which the backend operations expect them.
    pub(super) fn into_array(self) -> [Tensor<1>; 4] {
        [self.gamma, self.beta, self.mean, self.variance]
    }

    /// The vectors of a range of channels.
    pub(super) fn narrow(&self, start: usize, channels: usize) -> Self {
        let share = |vector: &Tensor<1>| match vector.dims() == [channels] {
            true => vector.clone(),
            false => vector.clone().narrow(0, start, channels),
        };
        Self {
            gamma: share(&self.gamma),
            beta: share(&self.beta),
            mean: share(&self.mean),
            variance: share(&self.variance),
        }
    }
}
