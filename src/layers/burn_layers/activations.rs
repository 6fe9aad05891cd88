//! Burn's activations and its dropout.

use burn::module::Module;
use burn::nn::activation::{
    Activation as BurnActivation, Celu, Elu, HardShrink, HardSigmoid, HardSwish, LogSigmoid, Mish,
    Relu6, Selu, Shrink, SiLU, SoftShrink, Softplus, Softsign, ThresholdedRelu,
};
use burn::nn::{Dropout, Gelu, Identity, LeakyRelu, PRelu, Relu, Sigmoid, Tanh};
use burn::tensor::Tensor;

use crate::cpu::activate;
use crate::graph::{Map, Op, Planner, Record};
use crate::layers::activation::ActivationConfig;
use crate::layers::layer::Layer;
use crate::plan::Trace;
use crate::shape::{ShapeError, check_channels, expect};

/// Burn's activations that keep the shape and take any number of channels, each with the function that it is.
macro_rules! activations {
    ($($layer:ident: $self:ident => $activation:expr),+ $(,)?) => {$(
        impl<const R: usize> Trace<R> for $layer {
            fn trace(&$self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
                planner.leaf(stringify!($layer), &[x], || {
                    Ok(Record::new(Op::Activation($activation), x.shape).on_grid_of(x))
                })
            }
        }

        impl<const R: usize> Layer<R> for $layer {
            fn forward(&self, x: Tensor<R>) -> Tensor<R> {
                <$layer>::forward(self, x)
            }
        }
    )+};
}

activations!(
    Identity: self => ActivationConfig::Identity,
    Relu: self => ActivationConfig::Relu,
    Relu6: self => ActivationConfig::Relu6,
    LeakyRelu: self => ActivationConfig::LeakyRelu { negative_slope: self.negative_slope },
    Elu: self => ActivationConfig::Elu { alpha: self.alpha },
    Celu: self => ActivationConfig::Celu { alpha: self.alpha },
    Selu: self => ActivationConfig::Selu,
    SiLU: self => ActivationConfig::Silu,
    Mish: self => ActivationConfig::Mish,
    Sigmoid: self => ActivationConfig::Sigmoid,
    Tanh: self => ActivationConfig::Tanh,
    HardSigmoid: self => ActivationConfig::HardSigmoid { alpha: self.alpha, beta: self.beta },
    HardSwish: self => ActivationConfig::HardSwish,
    HardShrink: self => ActivationConfig::HardShrink { lambda: self.lambda },
    SoftShrink: self => ActivationConfig::SoftShrink { lambda: self.lambda },
    Shrink: self => ActivationConfig::Shrink { lambda: self.lambda, bias: self.bias },
    Softplus: self => ActivationConfig::Softplus { beta: self.beta },
    Softsign: self => ActivationConfig::Softsign,
    LogSigmoid: self => ActivationConfig::LogSigmoid,
    ThresholdedRelu: self => ActivationConfig::ThresholdedRelu { alpha: self.alpha },
);

impl<const R: usize> Trace<R> for Dropout {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        planner.leaf("Dropout", &[x], || {
            Ok(Record::new(Op::Dropout, x.shape).on_grid_of(x))
        })
    }
}

impl<const R: usize> Layer<R> for Dropout {
    fn forward(&self, x: Tensor<R>) -> Tensor<R> {
        Dropout::forward(self, x)
    }
}

/// Which GELU it is. (It runs by this crate's dispatch: not all of Burn's backends have the right gradient.)
const fn config_of(gelu: &Gelu) -> ActivationConfig {
    match gelu.approximate {
        true => ActivationConfig::GeluApproximate,
        false => ActivationConfig::Gelu,
    }
}

impl<const R: usize> Trace<R> for Gelu {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        config_of(self).trace(planner, x)
    }
}

impl<const R: usize> Layer<R> for Gelu {
    fn forward(&self, x: Tensor<R>) -> Tensor<R> {
        activate(&config_of(self), x)
    }
}

impl<const R: usize> Trace<R> for PRelu {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        planner.leaf("PRelu", &[x], || {
            let num_parameters = self.alpha.shape()[0];
            if num_parameters != 1 {
                check_channels("PRelu", x.shape, num_parameters)?;
            }
            let activation = ActivationConfig::PRelu {
                num_parameters,
                alpha: self.alpha_value,
            };
            let record = Record::new(Op::Activation(activation), x.shape).on_grid_of(x);
            Ok(record.with_parameter("alpha", num_parameters))
        })
    }
}

impl<const R: usize> Layer<R> for PRelu {
    fn forward(&self, x: Tensor<R>) -> Tensor<R> {
        expect(self.output_shape(x.dims()));
        PRelu::forward(self, x)
    }
}

impl<const R: usize> Trace<R> for BurnActivation {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        match self {
            Self::Identity(_) => Ok(x.clone()),
            Self::Gelu(layer) => layer.trace(planner, x),
            Self::PRelu(layer) => layer.trace(planner, x),
            Self::Relu(layer) => layer.trace(planner, x),
            Self::LeakyRelu(layer) => layer.trace(planner, x),
            Self::Selu(layer) => layer.trace(planner, x),
            Self::Sigmoid(layer) => layer.trace(planner, x),
            Self::Tanh(layer) => layer.trace(planner, x),
            Self::HardSigmoid(layer) => layer.trace(planner, x),
            Self::HardSwish(layer) => layer.trace(planner, x),
            Self::Softplus(layer) => layer.trace(planner, x),
            Self::Softsign(layer) => layer.trace(planner, x),
            Self::Elu(layer) => layer.trace(planner, x),
            Self::Celu(layer) => layer.trace(planner, x),
            Self::ThresholdedRelu(layer) => layer.trace(planner, x),
            Self::HardShrink(layer) => layer.trace(planner, x),
            Self::SoftShrink(layer) => layer.trace(planner, x),
            Self::Shrink(layer) => layer.trace(planner, x),
            Self::SwiGlu(_) => {
                let refused = ShapeError::new(
                    "Activation",
                    "SwiGlu works on the last axis, which is spatial in a feature map",
                    "Choose an activation that works on each element",
                );
                planner.opaque("Activation", x, 0, Err(refused))
            }
            _ => planner.opaque("Activation", x, self.num_params(), Ok(x.shape)),
        }
    }
}

impl<const R: usize> Layer<R> for BurnActivation {
    fn forward(&self, x: Tensor<R>) -> Tensor<R> {
        expect(self.output_shape(x.dims()));
        match self {
            Self::Gelu(gelu) => Layer::forward(gelu, x),
            _ => BurnActivation::forward(self, x),
        }
    }
}
