//! The stand-in for Burn's `Initializer` in the JSON schema, since Burn's has none. It is never built.
#![allow(dead_code)]

use schemars::JsonSchema;

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
