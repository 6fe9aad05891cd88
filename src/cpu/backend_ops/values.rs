//! The tensors of an operation, read as slices.

use alloc::{borrow::Cow, vec::Vec};

use burn::backend::{TensorMetadata, tensor::FloatTensor};
use burn::tensor::Shape;

use super::{LayerNormSpec, NormSpec, Slices, SourceSpec};
use crate::cpu::kernels::layer_norm::LayerNorm;
use crate::cpu::kernels::norm::{ChannelMap, Norm};
use crate::cpu::kernels::{ChannelAffine, Prologue, Source};
use crate::cpu::policy::{Axes, SourceShape, StoredSlices};

/// The batch and the channels of a feature map.
pub(super) fn batch_and_channels(shape: &Shape) -> [usize; 2] {
    [shape[0], shape[1]]
}

/// The spatial size of a feature map.
fn spatial(shape: &Shape) -> Vec<usize> {
    shape.iter().skip(2).copied().collect()
}

/// A feature map as a norm reads it, of which `group` channels share mean and variance.
pub(super) fn channel_map<'a>(values: &'a [f32], shape: &Shape, group: usize) -> ChannelMap<'a> {
    ChannelMap {
        values,
        channels: shape[1],
        positions: spatial(shape).iter().product(),
        group,
    }
}

/// A layer norm of a map.
pub(super) fn layer_norm_of<'a>(
    values: &'a [f32],
    shape: &Shape,
    gamma: &'a [f32],
    spec: LayerNormSpec,
) -> LayerNorm<'a> {
    LayerNorm {
        values,
        channels: shape[1],
        positions: spatial(shape).iter().product(),
        gamma,
        epsilon: spec.epsilon,
    }
}

/// The shape of a map, as the kernels read it, with each value repeated `factors` times along each axis.
pub(super) fn source_shape(shape: &Shape, factors: Axes) -> SourceShape {
    let size = Axes::new(&spatial(shape), 1)
        .unwrap_or_else(|| unreachable!("the kernels are asked for one to three axes only"));
    SourceShape {
        channels: shape[1],
        size: size.plane,
        factors: factors.plane,
        slices: StoredSlices {
            count: size.depth,
            factor: factors.depth,
        },
    }
}

/// The shape of a map that is read as it is.
pub(super) fn plain_shape(shape: &Shape) -> SourceShape {
    let once = Axes {
        depth: 1,
        plane: [1, 1],
    };
    source_shape(shape, once)
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
    pub(super) shape: Shape,
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
                shape: now[0].shape(),
                norm: spec.norm.map(|norm| NormValues::new::<B>(&now[1..], norm)),
                spec: *spec,
            }
        };
        specs.iter().map(read).collect()
    }

    pub(super) fn source(&self) -> Source<'_> {
        let shape = source_shape(&self.shape, self.spec.factors);
        let prologue = self.norm.as_ref().map(|norm| Prologue {
            affine: norm.affine(),
            activation: self.spec.activation,
        });
        Source::new(&self.values, shape).with_prologue(prologue)
    }
}
