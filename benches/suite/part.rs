//! [`Part`]: networks that are a chain of layers, as data.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use burn_skip::activation::Activation;
use burn_skip::block::{ConvNormAct, ConvNormActConfig};
use burn_skip::conv::LazyConcat;
use burn_skip::gate::{AnyGate, Gate, GateConfig};
use burn_skip::plan::{Map, Planner};
use burn_skip::{Layer, ShapeError, SkipAdd, SkipAddConfig, SkipConcat, SkipConcatConfig, Trace};

/// Configuration of a [`Part`].
#[derive(Clone)]
pub enum PartConfig {
    Conv(ConvNormActConfig),
    Chain(Vec<PartConfig>),
    Add(SkipAddConfig, Vec<PartConfig>),
    Concat(SkipConcatConfig, Vec<PartConfig>),
    /// A gate that a map of so many channels opens for itself.
    Gate(GateConfig, usize),
}

impl PartConfig {
    fn init<const R: usize>(&self, device: &Device) -> Part<R> {
        match self {
            Self::Conv(config) => Part::Conv(config.init(device)),
            Self::Chain(parts) => Part::Chain(chain(parts, device)),
            Self::Add(config, block) => Part::Add(config.init(chain(block, device), device)),
            Self::Concat(config, block) => Part::Concat(config.init(chain(block, device))),
            Self::Gate(config, channels) => Part::Gate(SelfGate {
                gate: config.init(*channels, *channels, device),
            }),
        }
    }
}

/// The layers of a chain.
pub fn chain<const R: usize>(parts: &[PartConfig], device: &Device) -> Vec<Part<R>> {
    parts.iter().map(|part| part.init(device)).collect()
}

/// A layer of a chain.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)] // a network holds few
pub enum Part<const R: usize> {
    Conv(ConvNormAct<R>),
    Chain(Vec<Part<R>>),
    Add(SkipAdd<Vec<Part<R>>, R>),
    Concat(SkipConcat<Vec<Part<R>>>),
    Gate(SelfGate<R>),
}

/// A gate of a map that is its own guide, as in an inverted bottleneck.
#[derive(Module, Debug)]
pub struct SelfGate<const R: usize> {
    gate: AnyGate<R>,
}

impl<const R: usize> Trace<R> for Part<R> {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        match self {
            Self::Conv(layer) => layer.trace(planner, x),
            Self::Chain(layers) => layers.trace(planner, x),
            Self::Add(layer) => layer.trace(planner, x),
            Self::Concat(layer) => layer.trace(planner, x),
            Self::Gate(layer) => planner.node("SelfGate", &[x], |planner| {
                layer.gate.trace(planner.at("gate"), x, x)
            }),
        }
    }
}

impl<const R: usize> Layer<R> for Part<R> {
    fn forward(&self, x: Tensor<R>) -> Tensor<R> {
        self.forward_parts(x.into()).into_tensor()
    }

    fn forward_parts(&self, parts: LazyConcat<R>) -> LazyConcat<R> {
        match self {
            Self::Conv(layer) => layer.forward_parts(parts),
            Self::Chain(layers) => layers.forward_parts(parts),
            Self::Add(layer) => layer.forward_parts(parts),
            Self::Concat(layer) => layer.forward_parts(parts),
            Self::Gate(layer) => {
                let x = parts.into_tensor();
                layer.gate.forward(x.clone(), x).into()
            }
        }
    }

    fn forward_add(
        &self,
        parts: LazyConcat<R>,
        residual: Tensor<R>,
        activation: &Option<Activation>,
    ) -> Tensor<R> {
        match self {
            Self::Conv(layer) => layer.forward_add(parts, residual, activation),
            Self::Chain(layers) => layers.forward_add(parts, residual, activation),
            Self::Add(layer) => layer.forward_add(parts, residual, activation),
            Self::Concat(layer) => layer.forward_add(parts, residual, activation),
            Self::Gate(_) => activation.forward(self.forward_parts(parts).into_tensor() + residual),
        }
    }
}
