//! What the tensors of each operation are, and its numbers.

use alloc::vec::Vec;

use crate::cpu::kernels::{WeightCache, max_pool::Pooling};
use crate::cpu::policy::Geometry;

/// A batch norm. Its tensors are scale, shift, mean and variance of each channel.
#[derive(Clone, Copy, Debug)]
pub struct NormSpec {
    pub(crate) epsilon: f64,
    /// Whether mean and variance are those of the map itself, through which gradients go then.
    pub(crate) of_batch: bool,
}

impl NormSpec {
    /// The tensors of a norm.
    pub(super) const LEN: usize = 4;
}

/// How a source is read.
#[derive(Clone, Copy, Debug)]
pub struct SourceSpec {
    /// How often each value is read along each axis.
    pub(crate) factors: [usize; 2],
    /// The norm that it is read through, the tensors of which follow the source.
    pub(crate) norm: Option<NormSpec>,
    /// Whether ReLU is applied behind the norm.
    pub(crate) relu: bool,
}

impl SourceSpec {
    /// The tensors of the source.
    pub(super) fn len(&self) -> usize {
        match self.norm {
            Some(_) => 1 + NormSpec::LEN,
            None => 1,
        }
    }
}

/// What follows a convolution, and which tensors it has.
#[derive(Clone, Copy, Debug, Default)]
pub struct EpilogueSpec {
    pub(crate) norm: Option<NormSpec>,
    pub(crate) residual: bool,
    /// Whether ReLU is applied last.
    pub(crate) relu: bool,
}

/// What the tensors of a convolution are, in this order: sources, weight, bias, epilogue.
#[derive(Clone, Debug)]
pub struct ConvSpec {
    pub(crate) sources: Vec<SourceSpec>,
    /// Whether there is a bias.
    pub(crate) bias: bool,
    pub(crate) epilogue: EpilogueSpec,
    pub(crate) geometry: Geometry,
    /// The shape of the output.
    pub(crate) shape: Vec<usize>,
    /// Where the layer keeps what is made of its weight, unless that changes with every step.
    pub(crate) cache: Option<WeightCache>,
}

impl ConvSpec {
    /// The tensors of all sources.
    pub(super) fn sources_len(&self) -> usize {
        self.sources.iter().map(SourceSpec::len).sum()
    }
}

/// What the tensors of a transposed convolution are: the map, the weight and, where there is one, a bias.
#[derive(Clone, Debug)]
pub struct TransposedSpec {
    /// Of the convolution that it is the gradient of: from its output to its input.
    pub(crate) geometry: Geometry,
    /// Height and width of the output.
    pub(crate) size: [usize; 2],
    /// The shape of the output.
    pub(crate) shape: Vec<usize>,
}

/// A batch norm that is written. The tensors are the map, those of the norm and, where there is one, a residual.
#[derive(Clone, Copy, Debug)]
pub struct NormalizeSpec {
    pub(crate) norm: NormSpec,
    /// Whether ReLU is applied last.
    pub(crate) relu: bool,
}

/// A max pool.
#[derive(Clone, Debug)]
pub struct PoolSpec(pub(crate) Pooling);
