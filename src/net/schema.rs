//! Stand-ins for Burn's configurations in the JSON schema, for Burn's have none. They are never built.
#![allow(dead_code)]

use alloc::collections::BTreeMap;
use alloc::string::String;

use schemars::JsonSchema;

/// The numbers of an activation, by their names in Burn.
type Numbers = BTreeMap<String, f64>;

/// An activation of Burn's.
#[derive(JsonSchema)]
pub(crate) enum Activation {
    Identity,
    Gelu,
    GeluApproximate,
    PRelu(Numbers),
    Relu,
    LeakyRelu(Numbers),
    Selu,
    Sigmoid,
    Tanh,
    HardSigmoid(Numbers),
    HardSwish,
    Softplus(Numbers),
    Softsign,
    Elu(Numbers),
    Celu(Numbers),
    ThresholdedRelu(Numbers),
    HardShrink(Numbers),
    SoftShrink(Numbers),
    Shrink(Numbers),
}

/// How weights start.
#[derive(JsonSchema)]
pub(crate) enum Initializer {
    Constant { value: f64 },
    Ones,
    Zeros,
    Uniform { min: f64, max: f64 },
    Normal { mean: f64, std: f64 },
    KaimingUniform { gain: f64, fan_out_only: bool },
    KaimingNormal { gain: f64, fan_out_only: bool },
    XavierUniform { gain: f64 },
    XavierNormal { gain: f64 },
    Orthogonal { gain: f64 },
}
