//! The way to the kernels: which maps they take, and their operations on tensors.

use alloc::{vec, vec::Vec};

use super::*;
use burn::backend::{Dispatch, DispatchDevice};
use burn::tensor::{DType, Device};

use crate::cpu::backend_ops::{
    ConvSpec, KernelBackend, NormSpec, PoolSpec, SourceSpec, Tensors, TransposedSpec,
};
use crate::cpu::kernels::max_pool::Pooling;
use crate::cpu::policy::{self, AxisNumbers, ConvShape, Geometry, SourceShape, TransposedShape};
use crate::layers::conv::Part;
use crate::shape::{spatial, with_channels, with_spatial};

/// Whether there are kernels for such tensors.
pub(super) fn are_for<const R: usize>(x: &Tensor<R>) -> bool {
    if x.dtype() != DType::F32 {
        return false;
    }
    let device = x.device();
    let device = if device.is_autodiff() {
        device.inner()
    } else {
        device
    };
    match device.as_dispatch() {
        #[cfg(feature = "flex")]
        DispatchDevice::Flex(_) => true,
        #[cfg(feature = "ndarray")]
        #[allow(deprecated)]
        DispatchDevice::NdArray(_) => true,
        _ => false,
    }
}

/// The output, and whether what follows is in it; or the parts, where there is no kernel for them.
pub(super) fn conv<const R: usize>(
    parts: Parts<R>,
    (weight, prepared): (&Tensor<R>, &PreparedWeight),
    bias: &Option<Tensor<1>>,
    (window, pads, groups): (&Window, &[(usize, usize)], usize),
    follow: &Follow<R>,
) -> Result<(Tensor<R>, bool), Parts<R>> {
    let slices = parts.as_slice();
    if !slices.iter().all(|part| are_for(&part.map)) || weight.dtype() != DType::F32 {
        return Err(parts);
    }
    // A weight of another shape than it was built with is Burn's to refuse.
    let input = parts.dims();
    let built = core::iter::once(input[1] / groups).chain(window.kernel_size.iter().copied());
    let outputs = weight.dims()[0];
    let is_vector =
        |numbers: &Tensor<1>| numbers.dtype() == DType::F32 && numbers.dims() == [outputs];
    if !weight.dims()[1..].iter().copied().eq(built)
        || !bias
            .iter()
            .chain(follow.affine.iter().flatten())
            .all(is_vector)
        || follow
            .residual
            .iter()
            .any(|residual| residual.dtype() != DType::F32)
    {
        return Err(parts);
    }
    let Ok(output) = window.output_shape("Conv", input, pads) else {
        return Err(parts);
    };
    let output = with_channels(output, outputs);
    let starts: Vec<usize> = pads.iter().map(|pad| pad.0).collect();
    let numbers = AxisNumbers {
        kernel_size: &window.kernel_size,
        stride: &window.stride,
        dilation: &window.dilation,
        pad_start: &starts,
    };
    let Some(shape) = shape_of(slices, numbers, groups, &output).filter(ConvShape::is_taken) else {
        return Err(parts);
    };
    let maps = slices.iter().map(|part| &part.map).chain([weight]);
    let mut vectors = bias.iter().chain(follow.affine.iter().flatten());
    let recorded = maps
        .chain(&follow.residual)
        .any(|map| map.device().is_autodiff())
        || vectors.any(|numbers| numbers.device().is_autodiff());
    let fused = policy::fuses_epilogue(recorded) && !follow.is_nothing();
    if recorded {
        prepared.clear();
    }
    let mut spec = ConvSpec {
        sources: slices
            .iter()
            .zip(&shape.sources)
            .map(|(part, source)| SourceSpec {
                factors: source.factors,
                norm: part.norm.as_ref().map(norm_spec),
            })
            .collect(),
        bias: bias.is_some(),
        affine: false,
        residual: false,
        relu: false,
        geometry: shape.geometry,
        shape: output.to_vec(),
        prepared: (!recorded).then(|| prepared.prepared.clone()),
    };
    let mut tensors = Vec::new();
    for part in parts.into_inner() {
        tensors.push(part.map.into_dispatch());
        if let Some(norm) = part.norm {
            tensors.extend(norm.numbers.map(Tensor::into_dispatch));
        }
    }
    tensors.push(weight.clone().into_dispatch());
    tensors.extend(bias.clone().map(Tensor::into_dispatch));
    if fused {
        spec.affine = follow.affine.is_some();
        spec.residual = follow.residual.is_some();
        spec.relu = follow.relu;
        if let Some(affine) = &follow.affine {
            tensors.extend(affine.clone().map(Tensor::into_dispatch));
        }
        tensors.extend(follow.residual.clone().map(Tensor::into_dispatch));
    }
    let output = <Dispatch as KernelBackend>::convolve(Tensors(tensors), spec);
    Ok((Tensor::from_dispatch(output), fused || follow.is_nothing()))
}

#[allow(clippy::result_large_err)] // no error: the map is given back
pub(super) fn conv_transpose<const R: usize>(
    x: Tensor<R>,
    weight: &Tensor<R>,
    bias: &Option<Tensor<1>>,
    window: &TransposedWindow,
    target: &[usize],
    cut: &[usize],
) -> Result<Tensor<R>, Tensor<R>> {
    if !are_for(&x)
        || weight.dtype() != DType::F32
        || weight.dims()[0] != x.dims()[1]
        || weight.dims()[2..] != window.kernel_size[..]
        || !bias
            .iter()
            .all(|bias| bias.dtype() == DType::F32 && bias.dims() == [weight.dims()[1]])
    {
        return Err(x);
    }
    let input = x.dims();
    let shape = with_channels(with_spatial(input, target), weight.dims()[1]);
    let pads = window.padding.iter().zip(cut);
    let pads: Vec<usize> = pads.map(|(&padding, &cut)| padding + cut).collect();
    let numbers = AxisNumbers {
        kernel_size: &window.kernel_size,
        stride: &window.stride,
        dilation: &window.dilation,
        pad_start: &pads,
    };
    let transposed = Geometry::new(numbers, 1, spatial(&input))
        .zip(policy::on_two_axes(target, 1))
        .map(|(geometry, size)| TransposedShape {
            geometry,
            batch: input[0],
            inputs: input[1],
            outputs: shape[1],
            size,
        });
    let Some(TransposedShape { geometry, size, .. }) = transposed.filter(TransposedShape::is_taken)
    else {
        return Err(x);
    };
    let spec = TransposedSpec {
        geometry,
        size,
        shape: shape.to_vec(),
    };
    let mut tensors = vec![x.into_dispatch(), weight.clone().into_dispatch()];
    tensors.extend(bias.clone().map(Tensor::into_dispatch));
    let output = <Dispatch as KernelBackend>::convolve_transposed(Tensors(tensors), spec);
    Ok(Tensor::from_dispatch(output))
}

/// The largest value of each window; None where there is no kernel.
pub(super) fn max_pool(
    x: &Tensor<4>,
    [kernel, stride, pad, size]: [[usize; 2]; 4],
) -> Option<Tensor<4>> {
    let [_, _, height, width] = x.dims();
    if !are_for(x) || !policy::takes_max_pool([height, width], size) {
        return None;
    }
    let spec = PoolSpec(Pooling {
        kernel,
        stride,
        pad,
        map: [height, width],
        size,
    });
    let y = <Dispatch as KernelBackend>::max_pool(x.clone().into_dispatch(), spec);
    Some(Tensor::from_dispatch(y))
}

/// The numbers of a convolution of the parts, as the policy asks for them.
fn shape_of<const R: usize>(
    parts: &[Part<R>],
    numbers: AxisNumbers,
    groups: usize,
    output: &[usize; R],
) -> Option<ConvShape> {
    let source = |part: &Part<R>| {
        let dims = part.map.dims();
        SourceShape::new(dims[1], spatial(&dims), &part.factors)
    };
    Some(ConvShape {
        geometry: Geometry::new(numbers, groups, spatial(output))?,
        batch: output[0],
        sources: parts.iter().map(source).collect::<Option<_>>()?,
        outputs: output[1],
    })
}

fn norm_spec(norm: &PendingNorm) -> NormSpec {
    NormSpec {
        epsilon: norm.epsilon,
        relu: norm.relu,
        of_batch: norm.of_batch,
    }
}

/// Mean and variance of each channel.
pub(crate) fn moments<const R: usize>(x: &Tensor<R>) -> [Tensor<1>; 2] {
    let found = <Dispatch as KernelBackend>::moments(x.clone().into_dispatch()).0;
    let mut found = found.into_iter().map(Tensor::from_dispatch);
    let mut next = || {
        found
            .next()
            .unwrap_or_else(|| unreachable!("there are two moments"))
    };
    [next(), next()]
}

pub(super) fn normalize<const R: usize>(
    x: Tensor<R>,
    norm: &PendingNorm,
    residual: Option<Tensor<R>>,
) -> Tensor<R> {
    // (A residual of another type is Burn's to refuse.)
    if let Some(residual) = residual
        .clone()
        .filter(|residual| residual.dtype() != DType::F32)
    {
        return Follow {
            affine: None,
            residual: Some(residual),
            relu: norm.relu,
        }
        .apply(normalize(
            x,
            &PendingNorm {
                relu: false,
                ..norm.clone()
            },
            None,
        ));
    }
    let mut tensors = vec![x.into_dispatch()];
    tensors.extend(norm.numbers.clone().map(Tensor::into_dispatch));
    tensors.extend(residual.map(Tensor::into_dispatch));
    let y = <Dispatch as KernelBackend>::normalize(Tensors(tensors), norm_spec(norm));
    Tensor::from_dispatch(y)
}

pub(super) fn norm_of_parts<const R: usize>(
    norm: &BatchNorm,
    parts: Parts<R>,
    relu: bool,
) -> Parts<R> {
    // That of the concatenation: it is recorded if one of its parts is.
    let devices = parts.as_slice().iter().map(|part| part.map.device());
    let device = devices
        .clone()
        .find(Device::is_autodiff)
        .or(devices.clone().next());
    let device = device.unwrap_or_else(|| unreachable!("there is a part"));
    let of_batch = device.is_autodiff() && norm.training.is_enabled();
    let mut parts = parts.into_inner();
    let moments: Vec<[Tensor<1>; 2]> = if of_batch {
        let found: Vec<_> = parts.iter().map(Part::moments).collect();
        let whole = [0, 1]
            .map(|n| Tensor::cat(found.iter().map(|moments| moments[n].clone()).collect(), 0));
        update(norm, &whole);
        found
    } else {
        let whole = [&norm.running_mean, &norm.running_var]
            .map(|running| running.value().to_device(&device));
        shares(&parts, whole)
    };
    let numbers = shares(&parts, [norm.gamma.val(), norm.beta.val()]);
    for (part, ([gamma, beta], [mean, variance])) in
        parts.iter_mut().zip(numbers.into_iter().zip(moments))
    {
        part.norm = Some(PendingNorm {
            numbers: [gamma, beta, mean, variance],
            epsilon: norm.epsilon,
            relu,
            of_batch,
        });
    }
    Parts::new(parts)
}

/// The numbers of the channels of each part.
fn shares<const R: usize>(parts: &[Part<R>], whole: [Tensor<1>; 2]) -> Vec<[Tensor<1>; 2]> {
    if parts.len() == 1 {
        return vec![whole];
    }
    let share = |first: &mut usize, part: &Part<R>| {
        let (start, channels) = (*first, part.map.dims()[1]);
        *first += channels;
        Some(
            whole
                .clone()
                .map(|numbers| numbers.narrow(0, start, channels)),
        )
    };
    parts.iter().scan(0, share).collect()
}
