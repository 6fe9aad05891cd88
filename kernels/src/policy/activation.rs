//! Which activations have kernels, and where they are applied.

/// An activation that the kernels apply to what they write or read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FusedActivation {
    /// It costs less than to read and write its map.
    Piecewise(Piecewise),
    /// It costs more.
    Curved(Curved),
}

/// `negative_slope x` if `x` is negative, else `x`, and `max` at most: identity, ReLU, leaky ReLU and ReLU6.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Piecewise {
    /// The slope below 0.
    pub negative_slope: f32,
    /// The largest output; infinity for none.
    pub max: f32,
}

impl Piecewise {
    /// `x`
    pub const IDENTITY: Self = Self {
        negative_slope: 1.0,
        max: f32::INFINITY,
    };
    /// `max(x, 0)`
    pub const RELU: Self = Self {
        negative_slope: 0.0,
        ..Self::IDENTITY
    };
}

/// The activations that are not piecewise linear, or have more pieces.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Curved {
    /// `x Phi(x)`, by the error function.
    Gelu,
    /// GELU by the hyperbolic tangent.
    GeluApproximate,
    /// `x sigmoid(x)`
    Silu,
    /// `x tanh(softplus(x))`
    Mish,
    /// `x clamp(x / 6 + 1/2, 0, 1)`
    HardSwish,
    /// `clamp(alpha x + beta, 0, 1)`
    HardSigmoid {
        /// The slope.
        alpha: f32,
        /// The value at 0.
        beta: f32,
    },
    /// `1 / (1 + exp(-x))`
    Sigmoid,
    /// The hyperbolic tangent.
    Tanh,
    /// `positive x` if `x` is positive, else `negative (exp(x / width) - 1)`.
    Elu {
        /// The slope above 0.
        positive: f32,
        /// The factor below 0.
        negative: f32,
        /// The scale of the exponential.
        width: f32,
    },
}

impl Default for FusedActivation {
    fn default() -> Self {
        Self::IDENTITY
    }
}

impl FusedActivation {
    /// `x`
    pub const IDENTITY: Self = Self::Piecewise(Piecewise::IDENTITY);

    /// The piecewise activation that is applied first, and the curved one that follows.
    pub fn parts(self) -> (Piecewise, Option<Curved>) {
        match self {
            Self::Piecewise(piecewise) => (piecewise, None),
            Self::Curved(curved) => (Piecewise::IDENTITY, Some(curved)),
        }
    }

    /// Whether its derivative follows from its output: then the backward pass needs the output alone, which the next
    /// layer keeps, too.
    pub fn is_told_by_output(self) -> bool {
        matches!(self, Self::Piecewise(piecewise) if piecewise.negative_slope >= 0.0)
    }

    /// Whether it is applied each time that a map is read, instead of being written.
    pub fn is_deferred(self) -> bool {
        matches!(self, Self::Piecewise(piecewise) if piecewise != Piecewise::IDENTITY)
    }

    /// Whether a norm applies it in the pass that writes its output: after a residual, only if its derivative
    /// [follows from that](Self::is_told_by_output), since the sum is not kept.
    pub fn is_fused_with_norm(self, has_residual: bool) -> bool {
        !has_residual || self.is_told_by_output()
    }
}
