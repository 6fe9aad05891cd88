//! The way to the kernels: which maps they take, and their operations on tensors.

use alloc::{vec, vec::Vec};

use super::*;
use burn::backend::{Dispatch, DispatchDevice};
use burn::tensor::{DType, Device};

use crate::cpu::backend_ops::{
    ConvSpec, KernelBackend, MAX_TENSORS, NormSpec, PoolSpec, SourceSpec, Tensors, TransposedSpec,
};
use crate::cpu::kernels::{Geometry, MAX_STEP, max_pool::Pooling};
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

/// Floats that one row of windows sees, up to which a thread lays them out: more are left to Burn.
const LARGEST: usize = 1 << 22;

/// Whether what a row of windows sees is so little that a thread can lay it out, forward and backward. A map of
/// one axis is one row, which threads do not share.
fn is_small<const R: usize>(
    shapes: [[usize; R]; 2],
    kernel_size: &[usize],
    dilation: &[usize],
) -> bool {
    let largest = if R == 3 { LARGEST / 16 } else { LARGEST };
    let most = |axis: usize| shapes[0][axis].max(shapes[1][axis]);
    let reach = |n: usize| (kernel_size[n] - 1).saturating_mul(dilation[n]);
    let last = R - 3;
    let columns = most(R - 1).saturating_add(reach(last));
    let rows = if R == 3 {
        1
    } else {
        reach(0).saturating_add(1)
    };
    most(1).saturating_mul(columns).saturating_mul(rows) <= largest
}

/// Two numbers, of which the first is `one` where there is one axis only.
fn two<T: Copy>(numbers: impl IntoIterator<Item = T>, one: T) -> [T; 2] {
    let numbers: Vec<T> = numbers.into_iter().collect();
    match numbers[..] {
        [only] => [one, only],
        _ => [numbers[0], numbers[1]],
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
    let are_enlarged = slices.iter().any(|part| part.dims() != part.map.dims());
    let every = |numbers: &[usize]| numbers.iter().all(|&n| n == 1);
    if R > 4
        || !slices.iter().all(|part| are_for(&part.map))
        || weight.dtype() != DType::F32
        || (groups > 1 && slices.len() > 1)
        || (are_enlarged && !(every(&window.stride) && every(&window.dilation) && groups == 1))
        || window.stride.iter().any(|&stride| stride > MAX_STEP)
        || 5 * slices.len() + 5 > MAX_TENSORS
    {
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
    let padding: Vec<_> = pads
        .iter()
        .map(|&(start, end)| crate::graph::AxisPadding { start, end })
        .collect();
    let Ok(output) = window.output_shape("Conv", input, &padding) else {
        return Err(parts);
    };
    let output = with_channels(output, outputs);
    if !is_small([input, output], &window.kernel_size, &window.dilation) {
        return Err(parts);
    }
    let maps = slices.iter().map(|part| &part.map).chain([weight]);
    let mut vectors = bias.iter().chain(follow.affine.iter().flatten());
    let recorded = maps
        .chain(&follow.residual)
        .any(|map| map.device().is_autodiff())
        || vectors.any(|numbers| numbers.device().is_autodiff());
    let fused = !recorded && !follow.is_nothing();
    if recorded {
        prepared.clear();
    }
    let geometry = Geometry {
        kernel: two(window.kernel_size.iter().copied(), 1),
        stride: two(window.stride.iter().copied(), 1),
        dilation: two(window.dilation.iter().copied(), 1),
        pad: two(pads.iter().map(|&(start, _)| start as isize), 0),
        groups,
        size: two(spatial(&output).iter().copied(), 1),
    };
    let mut spec = ConvSpec {
        sources: slices.iter().map(source_spec).collect(),
        bias: bias.is_some(),
        affine: false,
        residual: false,
        relu: false,
        geometry,
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
    if R > 4
        || !are_for(&x)
        || weight.dtype() != DType::F32
        || weight.dims()[0] != x.dims()[1]
        || weight.dims()[2..] != window.kernel_size[..]
        || !bias
            .iter()
            .all(|bias| bias.dtype() == DType::F32 && bias.dims() == [weight.dims()[1]])
        || window.stride.iter().any(|&stride| stride > MAX_STEP)
    {
        return Err(x);
    }
    let input = x.dims();
    let shape = with_channels(with_spatial(input, target), weight.dims()[1]);
    if !is_small([input, shape], &window.kernel_size, &window.dilation) {
        return Err(x);
    }
    let pads = window
        .padding
        .iter()
        .zip(cut)
        .map(|(&padding, &cut)| (padding + cut) as isize);
    let spec = TransposedSpec {
        geometry: Geometry {
            kernel: two(window.kernel_size.iter().copied(), 1),
            stride: two(window.stride.iter().copied(), 1),
            dilation: two(window.dilation.iter().copied(), 1),
            pad: two(pads, 0),
            groups: 1,
            size: two(spatial(&input).iter().copied(), 1),
        },
        size: two(target.iter().copied(), 1),
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
    if !are_for(x) || size.contains(&0) || [height, width].contains(&0) {
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

fn source_spec<const R: usize>(part: &Part<R>) -> SourceSpec {
    SourceSpec {
        factors: two(part.factors.iter().copied(), 1),
        norm: part.norm.as_ref().map(norm_spec),
    }
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
