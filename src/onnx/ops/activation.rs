//! Activations: ONNX's own, or what their formulas are made of.

use core::f64::consts::{FRAC_1_SQRT_2, FRAC_2_PI};

use crate::graph::activation::ActivationConfig;

use super::super::OnnxError;
use super::super::probes::Leaf;
use super::super::proto::AttributeProto;
use super::super::weights::path_of;
use super::Lowering;

/// An activation. (GELU, SiLU and Mish have operators in newer versions of ONNX, which fewer programs read.)
pub(super) fn activation(
    lowering: &mut Lowering,
    leaf: &Leaf,
    config: &ActivationConfig,
) -> Result<String, OnnxError> {
    let x = lowering.input(leaf, 0)?;
    if let ActivationConfig::PRelu { .. } = config {
        let slope = lowering.weights.get(leaf, "alpha")?;
        let slope = lowering.per_channel(&path_of(leaf, "alpha"), &slope.values, leaf.rank());
        return Ok(lowering.builder.binary("PRelu", &x, &slope));
    }
    let builder = &mut lowering.builder;
    let float = AttributeProto::float;
    let shrink = |lambda, bias| vec![float("lambd", lambda), float("bias", bias)];
    Ok(match *config {
        ActivationConfig::Identity => x,
        ActivationConfig::Relu => builder.unary("Relu", &x),
        ActivationConfig::Relu6 => {
            let [low, high] = [0.0, 6.0].map(|bound| builder.float(bound));
            builder.node("Clip", &[&x, &low, &high], vec![])
        }
        ActivationConfig::LeakyRelu { negative_slope } => {
            builder.node("LeakyRelu", &[&x], vec![float("alpha", negative_slope)])
        }
        ActivationConfig::PRelu { .. } => unreachable!("it has a parameter"),
        // x / 2 (1 + erf(x / sqrt(2)))
        ActivationConfig::Gelu => {
            let [root, one, half] = [FRAC_1_SQRT_2, 1.0, 0.5].map(|value| builder.float(value));
            let y = builder.binary("Mul", &x, &root);
            let y = builder.unary("Erf", &y);
            let y = builder.binary("Add", &y, &one);
            let y = builder.binary("Mul", &x, &y);
            builder.binary("Mul", &y, &half)
        }
        // x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))
        ActivationConfig::GeluApproximate => {
            let values = [0.044_715, FRAC_2_PI.sqrt(), 1.0, 0.5];
            let [cubic, root, one, half] = values.map(|value| builder.float(value));
            let square = builder.binary("Mul", &x, &x);
            let y = builder.binary("Mul", &square, &cubic);
            let y = builder.binary("Add", &y, &one);
            let y = builder.binary("Mul", &x, &y);
            let y = builder.binary("Mul", &y, &root);
            let y = builder.unary("Tanh", &y);
            let y = builder.binary("Add", &y, &one);
            let y = builder.binary("Mul", &x, &y);
            builder.binary("Mul", &y, &half)
        }
        ActivationConfig::Silu => {
            let y = builder.unary("Sigmoid", &x);
            builder.binary("Mul", &x, &y)
        }
        ActivationConfig::Mish => {
            let y = builder.unary("Softplus", &x);
            let y = builder.unary("Tanh", &y);
            builder.binary("Mul", &x, &y)
        }
        ActivationConfig::HardSwish => builder.unary("HardSwish", &x),
        ActivationConfig::HardSigmoid { alpha, beta } => {
            let attributes = vec![float("alpha", alpha), float("beta", beta)];
            builder.node("HardSigmoid", &[&x], attributes)
        }
        ActivationConfig::Sigmoid => builder.unary("Sigmoid", &x),
        // -ln(1 + exp(-x))
        ActivationConfig::LogSigmoid => {
            let y = builder.unary("Neg", &x);
            let y = builder.unary("Softplus", &y);
            builder.unary("Neg", &y)
        }
        ActivationConfig::Tanh => builder.unary("Tanh", &x),
        ActivationConfig::Elu { alpha } => builder.node("Elu", &[&x], vec![float("alpha", alpha)]),
        ActivationConfig::Celu { alpha } => {
            builder.node("Celu", &[&x], vec![float("alpha", alpha)])
        }
        ActivationConfig::Selu => builder.unary("Selu", &x),
        ActivationConfig::Softplus { beta } => {
            let beta = builder.float(beta);
            let y = builder.binary("Mul", &x, &beta);
            let y = builder.unary("Softplus", &y);
            builder.binary("Div", &y, &beta)
        }
        ActivationConfig::Softsign => builder.unary("Softsign", &x),
        ActivationConfig::ThresholdedRelu { alpha } => {
            builder.node("ThresholdedRelu", &[&x], vec![float("alpha", alpha)])
        }
        ActivationConfig::HardShrink { lambda } => {
            builder.node("Shrink", &[&x], shrink(lambda, 0.0))
        }
        ActivationConfig::SoftShrink { lambda } => {
            builder.node("Shrink", &[&x], shrink(lambda, lambda))
        }
        ActivationConfig::Shrink { lambda, bias } => {
            builder.node("Shrink", &[&x], shrink(lambda, bias))
        }
    })
}
