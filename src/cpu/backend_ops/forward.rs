//! The operations on slices.

use alloc::{borrow::Cow, boxed::Box, vec, vec::Vec};
use core::any::Any;

use burn::backend::{TensorMetadata, tensor::FloatTensor};
use burn::tensor::Shape;

use super::values::{NormValues, SourceValues, batch_and_channels, channel_map, layer_norm_of};
use super::{
    ActivationSpec, ConvSpec, LayerNormSpec, NormSpec, NormalizeSpec, PoolSpec, ResampleSpec,
    Slices, Tensors, TransposedSpec,
};
use crate::cpu::kernels::{self, CacheSlot, EpilogueValues, Weight};

/// Whether a clone of the tensor shares its memory.
fn is_shared<B: Slices>(tensor: &FloatTensor<B>) -> bool {
    B::read(tensor).as_ptr() == B::read(&tensor.clone()).as_ptr()
}

/// Bias and norm behind a convolution: `(y - center) scale + shift`.
struct OutputAffine<'a> {
    center: Option<Cow<'a, [f32]>>,
    scale: Option<&'a [f32]>,
    shift: Option<&'a [f32]>,
}

impl<'a> OutputAffine<'a> {
    fn new(bias: Option<&'a [f32]>, norm: Option<&'a NormValues>) -> Self {
        let Some(norm) = norm else {
            return Self {
                center: None,
                scale: None,
                shift: bias,
            };
        };
        // y + bias - mean
        let affine = norm.affine();
        let center = match bias {
            Some(bias) => Cow::Owned(affine.mean.iter().zip(bias).map(|(m, b)| m - b).collect()),
            None => Cow::Borrowed(affine.mean),
        };
        Self {
            center: Some(center),
            scale: Some(affine.scale),
            shift: Some(affine.shift),
        }
    }
}

pub(super) fn convolve<B: Slices>(tensors: &[FloatTensor<B>], spec: &ConvSpec) -> FloatTensor<B> {
    let (sources, rest) = tensors.split_at(spec.sources_len());
    let (weight_tensor, mut rest) = rest
        .split_first()
        .unwrap_or_else(|| unreachable!("a convolution has a weight"));
    let mut next = |count: usize| {
        let (now, more) = rest.split_at(count);
        rest = more;
        now
    };
    let bias = next(spec.bias.into()).first().map(B::read);
    let norm = spec
        .epilogue
        .norm
        .map(|norm| NormValues::new::<B>(next(NormSpec::LEN), norm));
    let residual = next(spec.epilogue.residual.into()).first().map(B::read);
    let affine = OutputAffine::new(bias.as_deref(), norm.as_ref());
    let epilogue = EpilogueValues {
        center: affine.center.as_deref(),
        scale: affine.scale,
        shift: affine.shift,
        residual: residual.as_deref(),
        activation: spec.epilogue.activation,
    };
    let read = SourceValues::all::<B>(sources, &spec.sources);
    let sources: Vec<_> = read.iter().map(SourceValues::source).collect();
    let weight = B::read(weight_tensor);
    let hold = || -> Box<dyn Any + Send> { Box::new(weight_tensor.clone()) };
    if let Some(cache) = &spec.cache {
        cache.clear_others(&weight);
    }
    let cache = spec.cache.as_ref().filter(|_| {
        // The cache identifies a weight by its address, so a clone must keep the weight's memory alive.
        matches!(weight, Cow::Borrowed(_)) && is_shared::<B>(weight_tensor)
    });
    let weight = Weight {
        values: &weight,
        outputs: weight_tensor.shape()[0],
        cache: cache.map(|cache| CacheSlot { cache, hold: &hold }),
    };
    let samples = spec.shape[0];
    let values = kernels::forward(&sources, samples, weight, &spec.geometry, epilogue);
    B::write(values, Shape::from(spec.shape.clone()))
}

pub(super) fn convolve_transposed<B: Slices>(
    tensors: &[FloatTensor<B>],
    spec: &TransposedSpec,
) -> FloatTensor<B> {
    let [samples, inputs] = batch_and_channels(&tensors[0].shape());
    let (x, weight) = (B::read(&tensors[0]), B::read(&tensors[1]));
    let bias = tensors.get(2).map(B::read);
    let convolution = kernels::TransposedConv {
        weight: Weight::new(&weight, inputs),
        geometry: &spec.geometry,
        outputs: tensors[1].shape()[1],
        size: spec.size,
    };
    let epilogue = EpilogueValues {
        shift: bias.as_deref(),
        ..EpilogueValues::default()
    };
    let values = kernels::transposed_conv(&x, samples, &convolution, epilogue);
    B::write(values, Shape::from(spec.shape.clone()))
}

pub(super) fn moments<B: Slices>(x: &FloatTensor<B>, group: usize) -> Tensors<B> {
    let values = B::read(x);
    let found = kernels::norm::moments(channel_map(&values, &x.shape(), group));
    let channels = Shape::from([found.mean.len()]);
    Tensors(vec![
        B::write(found.mean, channels.clone()),
        B::write(found.variance, channels),
    ])
}

pub(super) fn normalize<B: Slices>(
    tensors: &[FloatTensor<B>],
    spec: NormalizeSpec,
) -> FloatTensor<B> {
    let shape = tensors[0].shape();
    let values = B::read(&tensors[0]);
    let (norm, residual) = tensors[1..].split_at(NormSpec::LEN);
    let group = spec.norm.group;
    let norm = NormValues::new::<B>(norm, spec.norm);
    let residual = residual.first().map(B::read);
    let x = channel_map(&values, &shape, group);
    let y = kernels::norm::forward(x, norm.affine(), residual.as_deref(), spec.activation);
    B::write(y, shape)
}

pub(super) fn layer_norm<B: Slices>(
    tensors: &[FloatTensor<B>],
    spec: LayerNormSpec,
) -> FloatTensor<B> {
    let [values, gamma, beta] = [0, 1, 2].map(|index| B::read(&tensors[index]));
    let norm = layer_norm_of(&values, &tensors[0].shape(), &gamma, spec);
    let y = kernels::layer_norm::forward(norm, &beta);
    B::write(y, tensors[0].shape())
}

pub(super) fn activate<B: Slices>(x: &FloatTensor<B>, spec: ActivationSpec) -> FloatTensor<B> {
    let values = kernels::activation::forward(&B::read(x), spec.0);
    B::write(values, x.shape())
}

pub(super) fn max_pool<B: Slices>(x: &FloatTensor<B>, spec: &PoolSpec) -> FloatTensor<B> {
    let [batch, channels] = batch_and_channels(&x.shape());
    let values = kernels::max_pool::forward(&B::read(x), &spec.0);
    let [height, width] = spec.0.size;
    B::write(values, Shape::from([batch, channels, height, width]))
}

pub(super) fn resample<B: Slices>(x: &FloatTensor<B>, spec: &ResampleSpec) -> FloatTensor<B> {
    let mut shape = x.shape();
    let values = kernels::resample::forward(&B::read(x), &spec.0);
    for (axis, size) in (2..).zip(spec.0.output_size(shape.num_dims() - 2)) {
        shape[axis] = *size;
    }
    B::write(values, shape)
}
