//! The operations on slices.

use alloc::{borrow::Cow, boxed::Box, vec, vec::Vec};
use core::any::Any;

use burn::backend::{TensorMetadata, tensor::FloatTensor};
use burn::tensor::Shape;

use super::{ConvSpec, NormSpec, PoolSpec, Slices, SourceSpec, Tensors, TransposedSpec};
use crate::cpu::kernels::{self, Epilogue, Keep, Prologue, Source, Weight};

/// `[batch, channels, height, width]`; a map of one axis is of one row.
pub(super) fn dims_of(shape: &Shape) -> [usize; 4] {
    let dims: Vec<usize> = shape.iter().copied().collect();
    match dims[..] {
        [batch, channels, width] => [batch, channels, 1, width],
        [batch, channels, height, width] => [batch, channels, height, width],
        // Batch norm does not look at how the positions lie.
        [batch, channels, ref more @ ..] => [batch, channels, 1, more.iter().product()],
        _ => unreachable!("a feature map has a batch and channels"),
    }
}

/// A batch norm, read.
pub(super) struct ReadNorm<'a> {
    numbers: [Cow<'a, [f32]>; 3],
    inverse_deviation: Vec<f32>,
    scale: Vec<f32>,
    shift: Vec<f32>,
    pub(super) spec: NormSpec,
}

impl<'a> ReadNorm<'a> {
    /// Of scale, shift, mean and variance.
    pub(super) fn new<B: Slices>(tensors: &'a [FloatTensor<B>], spec: NormSpec) -> Self {
        let numbers = [0, 1, 2].map(|n| B::read(&tensors[n]));
        let inverse = |variance: &f32| (1.0 / (f64::from(*variance) + spec.epsilon).sqrt()) as f32;
        let mut read = Self {
            numbers,
            inverse_deviation: B::read(&tensors[3]).iter().map(inverse).collect(),
            scale: Vec::new(),
            shift: Vec::new(),
            spec,
        };
        (read.scale, read.shift) = read.norm().affine();
        read
    }

    pub(super) fn norm(&self) -> kernels::norm::Norm<'_> {
        let [gamma, beta, mean] = &self.numbers;
        kernels::norm::Norm {
            gamma,
            beta,
            mean,
            inverse_deviation: &self.inverse_deviation,
            of_batch: self.spec.of_batch,
        }
    }
}

/// A source, read.
pub(super) struct Read<'a> {
    pub(super) values: Cow<'a, [f32]>,
    pub(super) dims: [usize; 4],
    pub(super) factors: [usize; 2],
    pub(super) norm: Option<ReadNorm<'a>>,
}

impl<'a> Read<'a> {
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
                factors: spec.factors,
                norm: spec.norm.map(|norm| ReadNorm::new::<B>(&now[1..], norm)),
            }
        };
        specs.iter().map(read).collect()
    }

    pub(super) fn source(&self) -> Source<'_> {
        Source {
            values: &self.values,
            channels: self.dims[1],
            size: [self.dims[2], self.dims[3]],
            up: self.factors,
            prologue: self.norm.as_ref().map(|norm| Prologue {
                scale: &norm.scale,
                shift: &norm.shift,
                relu: norm.spec.relu,
            }),
        }
    }
}

/// Whether a clone of the tensor has its values at the same place.
fn is_shared<B: Slices>(tensor: &FloatTensor<B>) -> bool {
    B::read(tensor).as_ptr() == B::read(&tensor.clone()).as_ptr()
}

pub(super) fn convolve<B: Slices>(tensors: &[FloatTensor<B>], spec: &ConvSpec) -> FloatTensor<B> {
    let (sources, rest) = tensors.split_at(spec.sources_len());
    let weight_tensor = &rest[0];
    let outputs = weight_tensor.shape()[0];
    let mut rest = rest.iter().map(B::read);
    let mut next = |wanted: bool| if wanted { rest.next() } else { None };
    let weight = next(true).unwrap_or_default();
    let bias = next(spec.bias);
    let (scale, shift) = (next(spec.affine), next(spec.affine));
    let residual = next(spec.residual);
    // scale (y + bias) + shift
    let shift = match (&bias, &scale, &shift) {
        (Some(bias), Some(scale), Some(shift)) => {
            let numbers = bias.iter().zip(scale.iter()).zip(shift.iter());
            Some(Cow::Owned(
                numbers
                    .map(|((bias, scale), shift)| bias * scale + shift)
                    .collect(),
            ))
        }
        (Some(bias), _, _) => Some(Cow::Borrowed(&bias[..])),
        _ => shift.as_ref().map(|shift| Cow::Borrowed(&shift[..])),
    };
    let epilogue = Epilogue {
        scale: scale.as_deref(),
        shift: shift.as_deref(),
        residual: residual.as_deref(),
        relu: spec.relu,
    };
    let read = Read::all::<B>(sources, &spec.sources);
    let sources: Vec<_> = read.iter().map(Read::source).collect();
    let batch = read[0].dims[0];
    let hold = || -> Box<dyn Any + Send> { Box::new(weight_tensor.clone()) };
    if let Some(prepared) = &spec.prepared {
        prepared.clear_others(&weight);
    }
    let keep = spec.prepared.as_ref().filter(|_| {
        // A clone has the same values at the same place, unless they had to be put in order.
        matches!(weight, Cow::Borrowed(_)) && is_shared::<B>(weight_tensor)
    });
    let weight = Weight {
        values: &weight,
        outputs,
        keep: keep.map(|prepared| Keep {
            prepared,
            hold: &hold,
        }),
    };
    let values = kernels::forward(&sources, batch, weight, &spec.geometry, epilogue);
    B::write(values, Shape::from(spec.shape.clone()))
}

pub(super) fn convolve_transposed<B: Slices>(
    tensors: &[FloatTensor<B>],
    spec: &TransposedSpec,
) -> FloatTensor<B> {
    let [batch, inputs, ..] = dims_of(&tensors[0].shape());
    let outputs = tensors[1].shape()[1];
    let (x, weight) = (B::read(&tensors[0]), B::read(&tensors[1]));
    let bias = tensors.get(2).map(B::read);
    let epilogue = Epilogue {
        shift: bias.as_deref(),
        ..Epilogue::default()
    };
    let values = kernels::transposed(
        &x,
        batch,
        (&weight, inputs),
        &spec.geometry,
        (outputs, spec.size),
        epilogue,
    );
    B::write(values, Shape::from(spec.shape.clone()))
}

pub(super) fn moments<B: Slices>(x: &FloatTensor<B>) -> Tensors<B> {
    let values = B::read(x);
    let (mean, variance) = kernels::norm::moments(map_of(&values, &x.shape()));
    let channels = Shape::from([mean.len()]);
    Tensors(vec![
        B::write(mean, channels.clone()),
        B::write(variance, channels),
    ])
}

pub(super) fn normalize<B: Slices>(tensors: &[FloatTensor<B>], spec: NormSpec) -> FloatTensor<B> {
    let shape = tensors[0].shape();
    let values = B::read(&tensors[0]);
    let norm = ReadNorm::new::<B>(&tensors[1..5], spec);
    let residual = tensors.get(5).map(B::read);
    let x = map_of(&values, &shape);
    let y = kernels::norm::affine(x, &norm.scale, &norm.shift, residual.as_deref(), spec.relu);
    B::write(y, shape)
}

pub(super) fn max_pool<B: Slices>(x: &FloatTensor<B>, spec: &PoolSpec) -> FloatTensor<B> {
    let [batch, channels, ..] = dims_of(&x.shape());
    let values = kernels::max_pool::forward(&B::read(x), &spec.0);
    let [height, width] = spec.0.size;
    B::write(values, Shape::from([batch, channels, height, width]))
}

pub(super) fn map_of<'a>(values: &'a [f32], shape: &Shape) -> kernels::norm::Map<'a> {
    let [_, channels, height, width] = dims_of(shape);
    kernels::norm::Map {
        values,
        channels,
        positions: height * width,
    }
}
