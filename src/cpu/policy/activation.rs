//! Which activations have kernels, and where they are applied.

use crate::graph::activation::ActivationConfig;

/// An activation that the kernels apply to what they write or read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum FusedActivation {
    /// It costs less than to read and write its map.
    Piecewise(Piecewise),
    /// It costs more.
    Curved(Curved),
}

/// `negative_slope x` if `x` is negative, else `x`, and `max` at most: identity, ReLU, leaky ReLU and ReLU6.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Piecewise {
    pub(crate) negative_slope: f32,
    pub(crate) max: f32,
}

impl Piecewise {
    pub(crate) const IDENTITY: Self = Self {
        negative_slope: 1.0,
        max: f32::INFINITY,
    };
    pub(crate) const RELU: Self = Self {
        negative_slope: 0.0,
        ..Self::IDENTITY
    };
}

/// The activations that are not piecewise linear, or have more pieces.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Curved {
    Gelu,
    GeluApproximate,
    Silu,
    Mish,
    HardSwish,
    HardSigmoid {
        alpha: f32,
        beta: f32,
    },
    Sigmoid,
    Tanh,
    /// `positive x` if `x` is positive, else `negative (exp(x / width) - 1)`.
    Elu {
        positive: f32,
        negative: f32,
        width: f32,
    },
}

impl Default for FusedActivation {
    fn default() -> Self {
        Self::IDENTITY
    }
}

impl FusedActivation {
    pub(crate) const IDENTITY: Self = Self::Piecewise(Piecewise::IDENTITY);

    /// The activation, if there is a kernel for it.
    #[allow(clippy::cast_possible_truncation)] // the kernels compute in f32
    pub(crate) fn of(config: &ActivationConfig) -> Option<Self> {
        use ActivationConfig as Config;
        let piecewise = |negative_slope, max| {
            Self::Piecewise(Piecewise {
                negative_slope,
                max,
            })
        };
        let elu = |positive, negative: f64, width: f64| {
            Self::Curved(Curved::Elu {
                positive,
                negative: negative as f32,
                width: width as f32,
            })
        };
        Some(match *config {
            Config::Identity => Self::IDENTITY,
            Config::Relu => Self::Piecewise(Piecewise::RELU),
            Config::Relu6 => piecewise(0.0, 6.0),
            Config::LeakyRelu { negative_slope } => piecewise(negative_slope as f32, f32::INFINITY),
            Config::Gelu => Self::Curved(Curved::Gelu),
            Config::GeluApproximate => Self::Curved(Curved::GeluApproximate),
            Config::Silu => Self::Curved(Curved::Silu),
            Config::Mish => Self::Curved(Curved::Mish),
            Config::HardSwish => Self::Curved(Curved::HardSwish),
            Config::HardSigmoid { alpha, beta } => Self::Curved(Curved::HardSigmoid {
                alpha: alpha as f32,
                beta: beta as f32,
            }),
            Config::Sigmoid => Self::Curved(Curved::Sigmoid),
            Config::Tanh => Self::Curved(Curved::Tanh),
            Config::Elu { alpha } => elu(1.0, alpha, 1.0),
            Config::Celu { alpha } => elu(1.0, alpha, alpha),
            Config::Selu => {
                let (scale, alpha) = (1.050_700_987_355_480_5, 1.673_263_242_354_377_2);
                elu(scale as f32, scale * alpha, 1.0)
            }
            Config::PRelu { .. }
            | Config::LogSigmoid
            | Config::Softplus { .. }
            | Config::Softsign
            | Config::ThresholdedRelu { .. }
            | Config::HardShrink { .. }
            | Config::SoftShrink { .. }
            | Config::Shrink { .. } => return None,
        })
    }

    /// The piecewise activation that is applied first, and the curved one that follows.
    pub(crate) fn parts(self) -> (Piecewise, Option<Curved>) {
        match self {
            Self::Piecewise(piecewise) => (piecewise, None),
            Self::Curved(curved) => (Piecewise::IDENTITY, Some(curved)),
        }
    }

    /// Whether its derivative follows from its output: then the backward pass needs the output alone, which the next
    /// layer keeps, too.
    pub(crate) fn is_told_by_output(self) -> bool {
        matches!(self, Self::Piecewise(piecewise) if piecewise.negative_slope >= 0.0)
    }

    /// Whether it is applied each time that a map is read, instead of being written.
    pub(crate) fn is_deferred(self) -> bool {
        matches!(self, Self::Piecewise(piecewise) if piecewise != Piecewise::IDENTITY)
    }

    /// Whether a norm applies it in the pass that writes its output: after a residual, only if its derivative
    /// [follows from that](Self::is_told_by_output), since the sum is not kept.
    pub(crate) fn is_fused_with_norm(self, has_residual: bool) -> bool {
        !has_residual || self.is_told_by_output()
    }
}
