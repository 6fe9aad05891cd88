//! [`Part`]: networks that are a chain of layers, as data.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use burn_skip::activation::Activation;
use burn_skip::block::{ConvNormAct, ConvNormActConfig};
use burn_skip::conv::LazyConcat;
use burn_skip::plan::{Map, Planner};
use burn_skip::{Layer, ShapeError, SkipConcat, SkipConcatConfig, Trace};

/// Configuration of a [`Part`].
#[derive(Clone)]
pub enum PartConfig {
    Conv(ConvNormActConfig),
    Concat(SkipConcatConfig, Vec<PartConfig>),
}

impl PartConfig {
    fn init<const R: usize>(&self, device: &Device) -> Part<R> {
        match self {
            Self::Conv(config) => Part::Conv(config.init(device)),
            Self::Concat(config, block) => Part::Concat(config.init(chain(block, device))),
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
    Concat(SkipConcat<Vec<Part<R>>>),
}

impl<const R: usize> Trace<R> for Part<R> {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        match self {
            Self::Conv(layer) => layer.trace(planner, x),
            Self::Concat(layer) => layer.trace(planner, x),
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
            Self::Concat(layer) => layer.forward_parts(parts),
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
            Self::Concat(layer) => layer.forward_add(parts, residual, activation),
        }
    }
}
