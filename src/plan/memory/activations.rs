//! The activations as Burn composes them on flex.

use super::burn_ops::Binary;
use super::tape::{BufferId, Tape};
use crate::graph::activation::ActivationConfig;

impl Tape {
    /// What an activation makes of `x`.
    pub(super) fn activation(&mut self, activation: &ActivationConfig, x: BufferId) -> BufferId {
        use ActivationConfig as Kind;
        match *activation {
            Kind::Identity => x,
            Kind::Relu | Kind::Sigmoid | Kind::LogSigmoid | Kind::Tanh => self.unary(x),
            Kind::Relu6 => {
                let below = self.filled(x);
                self.filled(below)
            }
            Kind::ThresholdedRelu { .. } => self.filled(x),
            Kind::HardShrink { .. } | Kind::SoftShrink { .. } | Kind::Shrink { .. } => {
                let magnitude = self.unary(x);
                self.choose(x, magnitude)
            }
            Kind::LeakyRelu { .. } => self.leaky_relu(x),
            Kind::PRelu { num_parameters, .. } => self.prelu(x, num_parameters),
            Kind::Gelu => self.gelu(x),
            Kind::GeluApproximate => {
                let cube = self.unary(x);
                let cube = self.scaled(cube);
                let inner = self.binary(Binary::Add, x, cube);
                let inner = self.scaled(inner);
                self.weighted_by(x, Self::unary, inner)
            }
            Kind::Silu => self.weighted_by(x, Self::unary, x),
            Kind::HardSwish => self.weighted_by(x, Self::hard_sigmoid, x),
            Kind::Mish => {
                let softplus = self.softplus(x);
                self.weighted_by(x, Self::unary, softplus)
            }
            Kind::HardSigmoid { .. } => self.hard_sigmoid(x),
            Kind::Softplus { .. } => self.softplus(x),
            Kind::Softsign => {
                let magnitude = self.unary(x);
                let magnitude = self.scaled(magnitude);
                self.binary(Binary::Div, x, magnitude)
            }
            Kind::Elu { .. } | Kind::Celu { .. } | Kind::Selu => {
                let exponential = self.unary(x);
                let exponential = self.scaled(exponential);
                self.choose(x, exponential)
            }
        }
    }

    /// `x weight(y)`
    fn weighted_by(
        &mut self,
        x: BufferId,
        weight: impl FnOnce(&mut Self, BufferId) -> BufferId,
        y: BufferId,
    ) -> BufferId {
        let weight = weight(self, y);
        self.binary(Binary::Mul, x, weight)
    }

    /// One operation where nothing is recorded, three otherwise.
    fn leaky_relu(&mut self, x: BufferId) -> BufferId {
        if !self.is_training {
            return self.scaled(x);
        }
        let scaled = self.scaled(x);
        self.choose(x, scaled)
    }

    fn prelu(&mut self, x: BufferId, parameters: usize) -> BufferId {
        let alpha = self.parameter(parameters);
        if !self.is_training {
            return self.binary(Binary::Mul, x, alpha);
        }
        let scaled = self.binary(Binary::Mul, x, alpha);
        self.choose(x, scaled)
    }

    /// Of `erf`, where gradients are recorded.
    fn gelu(&mut self, x: BufferId) -> BufferId {
        if !self.is_training {
            return self.scaled(x);
        }
        let inner = self.scaled(x);
        let share = self.unary(inner);
        let share = self.scaled(share);
        let y = self.binary(Binary::Mul, x, share);
        self.scaled(y)
    }

    fn hard_sigmoid(&mut self, x: BufferId) -> BufferId {
        let y = self.scaled(x);
        if !self.is_training {
            return y;
        }
        let y = self.filled(y);
        self.filled(y)
    }

    fn softplus(&mut self, x: BufferId) -> BufferId {
        let inner = self.scaled(x);
        let inner = self.filled(inner);
        let exponential = self.unary(inner);
        let y = self.unary(exponential);
        let y = self.scaled(y);
        self.choose(y, x)
    }
}
