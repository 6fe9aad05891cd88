//! The tensors of an operation, read as slices.

use alloc::{borrow::Cow, vec::Vec};

use burn::backend::{TensorMetadata, tensor::FloatTensor};
use burn::tensor::Shape;

use super::{NormSpec, Slices, SourceSpec};
use crate::cpu::kernels::norm::{ChannelMap, Norm};
use crate::cpu::kernels::{ChannelAffine, Prologue, Source};

/// The shape as `[batch, channels, height, width]`. A 1-D map becomes a map of one row.
pub(super) fn dims_of(shape: &Shape) -> [usize; 4] {
    let dims: Vec<usize> = shape.iter().copied().collect();
    match dims[..] {
        [batch, channels, width] => [batch, channels, 1, width],
        [batch, channels, height, width] => [batch, channels, height, width],
        // Batch norm treats all positions alike, so the spatial axes of a 3-D map are flattened.
        [batch, channels, ref more @ ..] => [batch, channels, 1, more.iter().product()],
        _ => unreachable!("a feature map has a batch and channels"),
    }
}

/// A feature map as batch norm reads it: channels and positions.
pub(super) fn channel_map<'a>(values: &'a [f32], shape: &Shape) -> ChannelMap<'a> {
    let [_, channels, height, width] = dims_of(shape);
    ChannelMap {
        values,
        channels,
        positions: height * width,
    }
}

/// The vectors of a batch norm, as slices.
pub(super) struct NormValues<'a> {
    mean: Cow<'a, [f32]>,
    beta: Cow<'a, [f32]>,
    inverse_deviation: Vec<f32>,
    scale: Vec<f32>,
    of_batch: bool,
}

impl<'a> NormValues<'a> {
    /// Reads the tensors scale, shift, mean and variance.
    pub(super) fn new<B: Slices>(tensors: &'a [FloatTensor<B>], spec: NormSpec) -> Self {
        let inverse = |variance: &f32| (1.0 / (f64::from(*variance) + spec.epsilon).sqrt()) as f32;
        let inverse_deviation: Vec<f32> = B::read(&tensors[3]).iter().map(inverse).collect();
        let gamma = B::read(&tensors[0]);
        let scale = gamma.iter().zip(&inverse_deviation).map(|(g, d)| g * d);
        Self {
            mean: B::read(&tensors[2]),
            beta: B::read(&tensors[1]),
            scale: scale.collect(),
            inverse_deviation,
            of_batch: spec.of_batch,
        }
    }

    pub(super) fn affine(&self) -> ChannelAffine<'_> {
        ChannelAffine {
            mean: &self.mean,
            scale: &self.scale,
            shift: &self.beta,
        }
    }

    pub(super) fn norm(&self) -> Norm<'_> {
        Norm {
            affine: self.affine(),
            inverse_deviation: &self.inverse_deviation,
            of_batch: self.of_batch,
        }
    }
}

/// A source of a convolution.
pub(super) struct SourceValues<'a> {
    pub(super) values: Cow<'a, [f32]>,
    pub(super) dims: [usize; 4],
    pub(super) norm: Option<NormValues<'a>>,
    pub(super) spec: SourceSpec,
}

impl<'a> SourceValues<'a> {
    pub(super) fn all<B: Slices>(
        mut tensors: &'a [FloatTensor<B>],
        specs: &[SourceSpec],
    ) -> Vec<Self> {
        let read = |spec: &SourceSpec| {
            let (now, rest) = tensors.split_at(spec.len());
            tensors = rest;
            Self {
                values: B::read(&now[0]),
                dims: dims_of(&now[0].shape()),
                norm: spec.norm.map(|norm| NormValues::new::<B>(&now[1..], norm)),
                spec: *spec,
            }
        };
        specs.iter().map(read).collect()
    }

    pub(super) fn source(&self) -> Source<'_> {
        Source {
            values: &self.values,
            channels: self.dims[1],
            size: [self.dims[2], self.dims[3]],
            factors: self.spec.factors,
            prologue: self.norm.as_ref().map(|norm| Prologue {
                affine: norm.affine(),
                relu: self.spec.relu,
            }),
        }
    }
}
