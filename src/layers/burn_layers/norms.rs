//! Burn's norms.

use burn::module::Param;
use burn::nn::norm::Normalization;
use burn::nn::{BatchNorm, GroupNorm, InstanceNorm};
use burn::tensor::Tensor;

use crate::cpu::{self, activate, batch_norm, group_norm};
use crate::graph::activation::ActivationConfig;
use crate::graph::{Map, NormKind, Planner};
use crate::layers::layer::Layer;
use crate::layers::norm::{check_enough_values, norm_record};
use crate::plan::Trace;
use crate::shape::{ShapeError, check_channels, check_not_empty, expect};

/// Norms over the channels, each with its kind, its number of channels and what else a map must have.
macro_rules! channel_norms {
    ($($layer:ident: $self:ident => $kind:expr, $channels:expr, $check:ident, $affine:expr),+ $(,)?) => {$(
        impl<const R: usize> Trace<R> for $layer {
            fn trace(&$self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
                planner.leaf(stringify!($layer), &[x], || {
                    check_channels(stringify!($layer), x.shape, $channels)?;
                    $check(stringify!($layer), x.shape)?;
                    Ok(norm_record($kind, x, $affine))
                })
            }
        }

        impl<const R: usize> Layer<R> for $layer {
            fn forward(&self, x: Tensor<R>) -> Tensor<R> {
                expect(self.output_shape(x.dims()));
                $layer::forward(self, x)
            }
        }
    )+};
}

channel_norms!(
    BatchNorm: self => NormKind::Batch { epsilon: self.epsilon },
        self.gamma.shape()[0], check_not_empty, true,
    GroupNorm: self => NormKind::Group { groups: self.num_groups, epsilon: self.epsilon },
        self.num_channels, check_enough_values, self.gamma.is_some(),
    InstanceNorm: self => NormKind::Instance { epsilon: self.epsilon },
        self.num_channels, check_enough_values, self.gamma.is_some(),
);

impl<const R: usize> Trace<R> for Normalization {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        match self {
            Self::Identity(_) => Ok(x.clone()),
            // (They go through the dispatch, which has kernels for them.)
            Self::Batch(norm) => planner.standalone(|planner| norm.trace(planner, x)),
            Self::Group(norm) => planner.standalone(|planner| norm.trace(planner, x)),
            Self::Instance(norm) => planner.standalone(|planner| norm.trace(planner, x)),
            _ => {
                let refused = ShapeError::new(
                    "Normalization",
                    "layer and RMS norm work on the last axis, which is spatial in a feature map",
                    "Choose batch, group or instance norm",
                );
                planner.opaque("Normalization", x, 0, Err(refused))
            }
        }
    }
}

/// The norm of groups of channels with this scale and shift.
fn of_groups(
    groups: usize,
    [gamma, beta]: [&Option<Param<Tensor<1>>>; 2],
    epsilon: f64,
) -> cpu::GroupNorm {
    cpu::GroupNorm {
        groups,
        gamma: gamma.as_ref().map(Param::val),
        beta: beta.as_ref().map(Param::val),
        epsilon,
    }
}

impl<const R: usize> Layer<R> for Normalization {
    fn forward(&self, x: Tensor<R>) -> Tensor<R> {
        expect(self.output_shape(x.dims()));
        normalize(self, x, &ActivationConfig::Identity)
    }
}

/// `activation(norm(x))`, in one pass where there is a kernel.
pub(crate) fn normalize<const R: usize>(
    norm: &Normalization,
    x: Tensor<R>,
    activation: &ActivationConfig,
) -> Tensor<R> {
    match norm {
        Normalization::Batch(norm) => batch_norm(norm, x, None, activation),
        Normalization::Group(GroupNorm {
            num_groups: groups,
            gamma,
            beta,
            epsilon,
            ..
        })
        | Normalization::Instance(InstanceNorm {
            num_channels: groups,
            gamma,
            beta,
            epsilon,
            ..
        }) => {
            let of_groups = of_groups(*groups, [gamma, beta], *epsilon);
            let y = group_norm(of_groups, x, activation);
            y.or_else(|x| activate(activation, norm.forward(x)))
        }
        norm => activate(activation, norm.forward(x)),
    }
}
