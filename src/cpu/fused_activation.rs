//! Which activations have kernels.

use burn_skip_kernels::policy::{Curved, FusedActivation as Fused, Piecewise};

use crate::graph::activation::ActivationConfig;

impl ActivationConfig {
    /// The activation of the kernels, if there is one.
    #[allow(clippy::cast_possible_truncation)] // the kernels compute in f32
    pub(crate) fn fused(&self) -> Option<Fused> {
        use ActivationConfig as Config;
        let piecewise = |negative_slope, max| {
            Fused::Piecewise(Piecewise {
                negative_slope,
                max,
            })
        };
        let elu = |positive, negative: f64, width: f64| {
            Fused::Curved(Curved::Elu {
                positive,
                negative: negative as f32,
                width: width as f32,
            })
        };
        Some(match *self {
            Config::Identity => Fused::IDENTITY,
            Config::Relu => Fused::Piecewise(Piecewise::RELU),
            Config::Relu6 => piecewise(0.0, 6.0),
            Config::LeakyRelu { negative_slope } => piecewise(negative_slope as f32, f32::INFINITY),
            Config::Gelu => Fused::Curved(Curved::Gelu),
            Config::GeluApproximate => Fused::Curved(Curved::GeluApproximate),
            Config::Silu => Fused::Curved(Curved::Silu),
            Config::Mish => Fused::Curved(Curved::Mish),
            Config::HardSwish => Fused::Curved(Curved::HardSwish),
            Config::HardSigmoid { alpha, beta } => Fused::Curved(Curved::HardSigmoid {
                alpha: alpha as f32,
                beta: beta as f32,
            }),
            Config::Sigmoid => Fused::Curved(Curved::Sigmoid),
            Config::Tanh => Fused::Curved(Curved::Tanh),
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
}
