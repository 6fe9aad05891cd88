//! [`NormConfig`]: the norms over the channels of a map, as data.

use alloc::format;

use burn::nn::{BatchNormConfig, GroupNormConfig, InstanceNormConfig, norm::Normalization};
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::shape::ShapeError;

/// A norm over the channels of a map. The number of channels comes from the layer that it follows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum NormConfig {
    /// Batch norm (arXiv:1502.03167).
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

impl NormConfig {
    /// Batch norm with PyTorch's defaults.
    pub const fn batch() -> Self {
        Self::Batch {
            epsilon: 1e-5,
            momentum: 0.1,
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

    pub(crate) fn validate(&self, channels: usize) -> Result<(), ShapeError> {
        let Self::Group { groups, .. } = *self else {
            return Ok(());
        };
        if groups > 0 && channels.is_multiple_of(groups) {
            return Ok(());
        }
        Err(ShapeError::new(
            "GroupNorm",
            format!("groups (={groups}) do not divide the channels (={channels})"),
            "Choose groups that do",
        ))
    }

    pub(crate) fn init(&self, channels: usize, device: &Device) -> Normalization {
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
