//! [`ActivationConfig`]: the activations, as data.

use burn::config::Config;
use serde::{Deserialize, Serialize};

/// An elementwise activation. All of Burn's that work on feature maps, and those that its own
/// `ActivationConfig` lacks (ReLU6, SiLU, Mish, log-sigmoid).
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::{Layer, activation::ActivationConfig};
///
/// let relu6 = ActivationConfig::Relu6.init(&Device::flex());
/// let y = relu6.forward(Tensor::<3>::from_floats([[[-1.0, 3.0, 9.0]]], &Device::flex()));
/// assert_eq!(y.to_data().try_to_vec::<f32>().unwrap(), [0.0, 3.0, 6.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub enum ActivationConfig {
    /// `x`
    Identity,
    /// `max(x, 0)`
    Relu,
    /// `min(max(x, 0), 6)` (arXiv:1704.04861). PyTorch's `ReLU6`.
    Relu6,
    /// `x` if positive, else `negative_slope x`.
    LeakyRelu {
        /// The factor of negative values. PyTorch's default: 0.01.
        #[serde(default = "crate::defaults::activations::negative_slope")]
        negative_slope: f64,
    },
    /// `x` if positive, else `alpha x` with a learned `alpha` (arXiv:1502.01852).
    PRelu {
        /// One for all channels, or one for each.
        #[serde(default = "crate::defaults::activations::one_parameter")]
        num_parameters: usize,
        /// The value that `alpha` starts with. PyTorch's default: 0.25.
        #[serde(default = "crate::defaults::activations::quarter")]
        alpha: f64,
    },
    /// `x Phi(x)`, with the exact normal distribution (arXiv:1606.08415).
    Gelu,
    /// GELU, approximated by `tanh`.
    GeluApproximate,
    /// `x sigmoid(x)`, also known as Swish (arXiv:1702.03118).
    #[serde(alias = "Swish")]
    Silu,
    /// `x tanh(ln(1 + exp(x)))` (arXiv:1908.08681).
    Mish,
    /// `x hard_sigmoid(x)` (arXiv:1905.02244), with `hard_sigmoid(x) = min(max(x / 6 + 1/2, 0), 1)`.
    HardSwish,
    /// `min(max(alpha x + beta, 0), 1)`
    HardSigmoid {
        /// The slope. PyTorch: 1/6.
        #[serde(default = "crate::defaults::activations::sixth")]
        alpha: f64,
        /// The value at 0. PyTorch: 1/2.
        #[serde(default = "crate::defaults::activations::half")]
        beta: f64,
    },
    /// `1 / (1 + exp(-x))`
    Sigmoid,
    /// `ln(sigmoid(x))`
    LogSigmoid,
    /// `tanh(x)`
    Tanh,
    /// `x` if positive, else `alpha (exp(x) - 1)` (arXiv:1511.07289).
    Elu {
        /// The limit of negative values, negated. PyTorch's default: 1.
        #[serde(default = "crate::defaults::activations::one")]
        alpha: f64,
    },
    /// `max(x, 0) + min(alpha (exp(x / alpha) - 1), 0)` (arXiv:1704.07483).
    Celu {
        /// PyTorch's default: 1.
        #[serde(default = "crate::defaults::activations::one")]
        alpha: f64,
    },
    /// The scaled ELU of self-normalising networks (arXiv:1706.02515).
    Selu,
    /// `ln(1 + exp(beta x)) / beta`
    Softplus {
        /// PyTorch's default: 1.
        #[serde(default = "crate::defaults::activations::one")]
        beta: f64,
    },
    /// `x / (1 + |x|)`
    Softsign,
    /// `x` if greater than `alpha`, else 0.
    ThresholdedRelu {
        /// The threshold.
        #[serde(default = "crate::defaults::activations::one")]
        alpha: f64,
    },
    /// `x` if its magnitude exceeds `lambda`, else 0.
    HardShrink {
        /// The threshold. PyTorch's default: 0.5.
        #[serde(default = "crate::defaults::activations::half")]
        lambda: f64,
    },
    /// `x` moved towards 0 by `lambda`.
    SoftShrink {
        /// The threshold. PyTorch's default: 0.5.
        #[serde(default = "crate::defaults::activations::half")]
        lambda: f64,
    },
    /// `x` moved towards 0 by `bias` if its magnitude exceeds `lambda`, else 0 (ONNX).
    Shrink {
        /// The threshold.
        #[serde(default = "crate::defaults::activations::half")]
        lambda: f64,
        /// How far values are moved.
        #[serde(default = "crate::defaults::activations::half")]
        bias: f64,
    },
}

impl Config for ActivationConfig {}

impl ActivationConfig {
    /// The activation where none is named.
    pub(crate) const fn default_activation() -> Self {
        Self::Relu
    }

    /// The activation of a block in which none is named.
    pub(crate) const fn some_default() -> Option<Self> {
        Some(Self::Relu)
    }

    /// The name of the activation, as in a file.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Identity => "Identity",
            Self::Relu => "Relu",
            Self::Relu6 => "Relu6",
            Self::LeakyRelu { .. } => "LeakyRelu",
            Self::PRelu { .. } => "PRelu",
            Self::Gelu => "Gelu",
            Self::GeluApproximate => "GeluApproximate",
            Self::Silu => "Silu",
            Self::Mish => "Mish",
            Self::HardSwish => "HardSwish",
            Self::HardSigmoid { .. } => "HardSigmoid",
            Self::Sigmoid => "Sigmoid",
            Self::LogSigmoid => "LogSigmoid",
            Self::Tanh => "Tanh",
            Self::Elu { .. } => "Elu",
            Self::Celu { .. } => "Celu",
            Self::Selu => "Selu",
            Self::Softplus { .. } => "Softplus",
            Self::Softsign => "Softsign",
            Self::ThresholdedRelu { .. } => "ThresholdedRelu",
            Self::HardShrink { .. } => "HardShrink",
            Self::SoftShrink { .. } => "SoftShrink",
            Self::Shrink { .. } => "Shrink",
        }
    }
}
