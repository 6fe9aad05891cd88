//! The specification of each operation: which tensors it expects, and its parameters.

use alloc::{sync::Arc, vec::Vec};

use crate::cpu::kernels::{WeightCache, max_pool::Pooling, resample::Resampling};
use crate::cpu::policy::{Axes, FusedActivation, Geometry, Piecewise};

/// A batch norm. Its tensors are the scale, shift, mean and variance of each channel.
#[derive(Clone, Copy, Debug)]
pub struct NormSpec {
    pub(crate) epsilon: f64,
    /// Whether mean and variance were computed from this map. If so, gradients flow through them.
    pub(crate) of_batch: bool,
    /// The number of consecutive channels that share mean and variance.
    pub(crate) group: usize,
}

impl NormSpec {
    /// The number of tensors of a norm.
    pub(super) const LEN: usize = 4;
}

/// How a source is read.
#[derive(Clone, Copy, Debug)]
pub struct SourceSpec {
    /// How often each value is repeated along each axis.
    pub(crate) factors: Axes,
    /// The norm that is applied while reading. Its tensors follow the source.
    pub(crate) norm: Option<NormSpec>,
    /// What is applied after the norm.
    pub(crate) activation: Piecewise,
}

impl SourceSpec {
    /// The number of tensors of the source.
    pub(super) fn len(&self) -> usize {
        match self.norm {
            Some(_) => 1 + NormSpec::LEN,
            None => 1,
        }
    }
}

/// What follows a convolution, and which tensors that adds.
#[derive(Clone, Copy, Debug, Default)]
pub struct EpilogueSpec {
    pub(crate) norm: Option<NormSpec>,
    pub(crate) residual: bool,
    /// What is applied last.
    pub(crate) activation: FusedActivation,
}

/// A convolution. Its tensors are, in this order: sources, weight, bias, epilogue.
#[derive(Clone, Debug)]
pub struct ConvSpec {
    pub(crate) sources: Vec<SourceSpec>,
    /// Whether there is a bias.
    pub(crate) bias: bool,
    pub(crate) epilogue: EpilogueSpec,
    pub(crate) geometry: Geometry,
    /// The shape of the output.
    pub(crate) shape: Vec<usize>,
    /// The layer's cache of packed weights; `None` in training, where the weight changes with every step.
    pub(crate) cache: Option<WeightCache>,
}

impl ConvSpec {
    /// The number of tensors of all sources.
    pub(super) fn sources_len(&self) -> usize {
        self.sources.iter().map(SourceSpec::len).sum()
    }
}

/// A transposed convolution. Its tensors are the map, the weight and, if there is one, the bias.
#[derive(Clone, Debug)]
pub struct TransposedSpec {
    /// The geometry of the convolution whose input gradient it computes.
    pub(crate) geometry: Geometry,
    /// The size of the output.
    pub(crate) size: Axes,
    /// The shape of the output.
    pub(crate) shape: Vec<usize>,
}

/// A batch norm that writes its output. Its tensors are the map, those of the norm and, if there is one, a residual.
#[derive(Clone, Copy, Debug)]
pub struct NormalizeSpec {
    pub(crate) norm: NormSpec,
    /// What is applied last.
    pub(crate) activation: FusedActivation,
}

/// A layer norm over the channels. Its tensors are the map, the scale and the shift.
#[derive(Clone, Copy, Debug)]
pub struct LayerNormSpec {
    pub(crate) epsilon: f64,
}

/// An activation by itself.
#[derive(Clone, Copy, Debug)]
pub struct ActivationSpec(pub(crate) FusedActivation);

/// A max pool.
#[derive(Clone, Debug)]
pub struct PoolSpec(pub(crate) Pooling);

/// Maps along the spatial axes.
#[derive(Clone, Debug)]
pub struct ResampleSpec(pub(crate) Arc<Resampling>);
