//! What the tensors of each operation are, and its numbers.

use alloc::vec::Vec;

use crate::cpu::kernels::{Geometry, Prepared, max_pool::Pooling};

/// A batch norm, and perhaps ReLU, that a map is read or written through.
#[derive(Clone, Copy, Debug)]
pub struct NormSpec {
    pub(crate) epsilon: f64,
    pub(crate) relu: bool,
    /// Whether mean and variance are those of the map itself, which gradients go through.
    pub(crate) of_batch: bool,
}

/// How a source is read.
#[derive(Clone, Copy, Debug)]
pub struct SourceSpec {
    /// How many times along its axes.
    pub(crate) factors: [usize; 2],
    /// Through which norm. Its scale, shift, mean and variance follow the source.
    pub(crate) norm: Option<NormSpec>,
}

impl SourceSpec {
    /// The tensors of the source.
    pub(super) fn len(&self) -> usize {
        if self.norm.is_some() { 5 } else { 1 }
    }
}

/// What the tensors of a convolution are, in this order.
#[derive(Clone, Debug)]
pub struct ConvSpec {
    pub(crate) sources: Vec<SourceSpec>,
    /// Whether a bias follows the sources and the weight.
    pub(crate) bias: bool,
    /// Whether scale and shift of each channel follow.
    pub(crate) affine: bool,
    /// Whether a residual follows.
    pub(crate) residual: bool,
    /// Whether ReLU is applied last.
    pub(crate) relu: bool,
    pub(crate) geometry: Geometry,
    /// The shape of the output.
    pub(crate) shape: Vec<usize>,
    /// Where the layer keeps what is made of its weight, unless that changes with every step.
    pub(crate) prepared: Option<Prepared>,
}

impl ConvSpec {
    /// The tensors of all sources.
    pub(super) fn sources_len(&self) -> usize {
        self.sources.iter().map(SourceSpec::len).sum()
    }
}

/// What the tensors of a transposed convolution are: the map, the weight and, where said, a bias.
#[derive(Clone, Debug)]
pub struct TransposedSpec {
    /// Of the convolution that it turns round: from its output to its input.
    pub(crate) geometry: Geometry,
    /// Height and width of the output.
    pub(crate) size: [usize; 2],
    /// The shape of the output.
    pub(crate) shape: Vec<usize>,
}

/// A max pool.
#[derive(Clone, Debug)]
pub struct PoolSpec(pub(crate) Pooling);
