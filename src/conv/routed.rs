//! Where the crate's own kernels run, and where Burn's operations do.
//!
//! The kernels take maps of one and two spatial axes in f32 on flex and ndarray, if the crate is built with
//! the feature of that backend. Everything else is composed of Burn's operations, with the same result.

use alloc::vec::Vec;

use burn::nn::BatchNorm;
use burn::tensor::Tensor;

use super::{Parts, TransposedWindow, ops};
use crate::window::Window;

/// What follows a convolution: `relu(scale y + shift + residual)`, each of them if it is there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Follow<const R: usize> {
    pub(crate) affine: Option<[Tensor<1>; 2]>,
    pub(crate) residual: Option<Tensor<R>>,
    pub(crate) relu: bool,
}

impl<const R: usize> Follow<R> {
    fn is_nothing(&self) -> bool {
        self.affine.is_none() && self.residual.is_none() && !self.relu
    }

    /// By Burn's operations.
    fn apply(self, mut y: Tensor<R>) -> Tensor<R> {
        if let Some(affine) = self.affine {
            let mut per_channel = [1; R];
            per_channel[1] = y.dims()[1];
            let [scale, shift] = affine.map(|numbers| numbers.reshape(per_channel));
            y = y * scale + shift;
        }
        if let Some(residual) = self.residual {
            y = y + residual;
        }
        match self.relu {
            true => burn::tensor::activation::relu(y),
            false => y,
        }
    }
}

/// A convolution over a concatenation, and what follows.
pub(crate) fn conv<const R: usize>(
    parts: Parts<R>,
    weight: Tensor<R>,
    bias: Option<Tensor<1>>,
    (window, pads, groups): (&Window, &[(usize, usize)], usize),
    follow: Follow<R>,
) -> Tensor<R> {
    #[cfg(feature = "kernels")]
    let parts = match kernels::conv(parts, &weight, &bias, (window, pads, groups), &follow) {
        Ok((y, true)) => return y,
        Ok((y, false)) => return follow.apply(y),
        Err(parts) => parts,
    };
    follow.apply(ops::conv(
        parts.into_tensor(),
        weight,
        bias,
        window,
        pads,
        groups,
    ))
}

/// A transposed convolution whose output is cut to the spatial size `target`, `cut` positions before it.
pub(crate) fn conv_transpose<const R: usize>(
    x: Tensor<R>,
    weight: Tensor<R>,
    bias: Option<Tensor<1>>,
    window: &TransposedWindow,
    target: &[usize],
    cut: impl Fn(usize, usize) -> usize,
) -> Tensor<R> {
    #[cfg(feature = "kernels")]
    let x = {
        let shape = x.dims();
        let starts: Vec<usize> = (0..R - 2)
            .map(|n| cut(window.size(shape[2 + n], n), target[n]))
            .collect();
        match kernels::conv_transpose(x, &weight, &bias, window, target, &starts) {
            Ok(y) => return y,
            Err(x) => x,
        }
    };
    let y = ops::conv_transpose(x, weight, bias, window);
    target.iter().enumerate().fold(y, |y, (n, &size)| {
        let start = cut(y.dims()[2 + n], size);
        y.narrow(2 + n, start, size)
    })
}

/// Batch norm, and what follows it, `relu(norm(x) + residual)`. As [`BatchNorm`], it normalises by the
/// statistics of the batch where gradients are recorded and the layer is in training.
pub(crate) fn batch_norm<const R: usize>(
    norm: &BatchNorm,
    x: Tensor<R>,
    residual: Option<Tensor<R>>,
    relu: bool,
) -> Tensor<R> {
    #[cfg(feature = "kernels")]
    if x.device().is_autodiff() && norm.training.is_enabled() && kernels::are_for(&x) {
        return kernels::batch_norm(norm, x, residual, relu);
    }
    let follow = Follow {
        affine: None,
        residual,
        relu,
    };
    follow.apply(norm.forward(x))
}

/// Whether a convolution of the parts takes an affine map of each channel along: there are kernels for
/// them, and nothing is recorded.
pub(crate) fn can_follow<const R: usize>(parts: &Parts<R>) -> bool {
    #[cfg(feature = "kernels")]
    return parts
        .as_slice()
        .iter()
        .all(|part| kernels::are_for(&part.map) && !part.map.device().is_autodiff());
    #[cfg(not(feature = "kernels"))]
    {
        let _ = parts;
        false
    }
}

/// Scale and shift of a batch norm by its running statistics.
pub(crate) fn affine_of(norm: &BatchNorm) -> [Tensor<1>; 2] {
    let deviation = (norm.running_var.value() + norm.epsilon).sqrt();
    let scale = norm.gamma.val() / deviation;
    let shift = norm.beta.val() - norm.running_mean.value() * scale.clone();
    [scale, shift]
}

#[cfg(feature = "kernels")]
mod kernels {
    use super::*;
    use alloc::vec;

    use burn::backend::{Dispatch, DispatchDevice};
    use burn::tensor::DType;

    use crate::conv::extension::{
        ConvSpec, KernelBackend, MAX_TENSORS, NormSpec, Tensors, TransposedSpec,
    };
    use crate::conv::kernel::{Geometry, MAX_STEP};
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
        weight: &Tensor<R>,
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
            || slices.len() + 5 > MAX_TENSORS
        {
            return Err(parts);
        }
        let input = parts.dims();
        let Ok(output) = window.output_shape("Conv", input, pads) else {
            return Err(parts);
        };
        let output = with_channels(output, weight.dims()[0]);
        let recorded = slices.iter().any(|part| part.map.device().is_autodiff())
            || weight.device().is_autodiff();
        let fused = !recorded && !follow.is_nothing();
        let geometry = Geometry {
            kernel: two(window.kernel_size.iter().copied(), 1),
            stride: two(window.stride.iter().copied(), 1),
            dilation: two(window.dilation.iter().copied(), 1),
            pad: two(pads.iter().map(|&(start, _)| start as isize), 0),
            groups,
            size: two(spatial(&output).iter().copied(), 1),
        };
        let mut spec = ConvSpec {
            factors: slices
                .iter()
                .map(|part| two(part.factors.iter().copied(), 1))
                .collect(),
            bias: bias.is_some(),
            affine: false,
            residual: false,
            relu: false,
            geometry,
            shape: output.to_vec(),
        };
        let mut tensors: Vec<_> = parts
            .into_inner()
            .into_iter()
            .map(|part| part.map.into_dispatch())
            .collect();
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
            || window.stride.iter().any(|&stride| stride > MAX_STEP)
        {
            return Err(x);
        }
        let input = x.dims();
        let shape = with_channels(with_spatial(input, target), weight.dims()[1]);
        let pads = window
            .padding
            .iter()
            .zip(cut)
            .map(|(&padding, &cut)| (padding + cut) as isize);
        let spec = TransposedSpec {
            bias: bias.is_some(),
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

    pub(super) fn batch_norm<const R: usize>(
        norm: &BatchNorm,
        x: Tensor<R>,
        residual: Option<Tensor<R>>,
        relu: bool,
    ) -> Tensor<R> {
        let spec = NormSpec {
            residual: residual.is_some(),
            relu,
            epsilon: norm.epsilon,
        };
        let device = x.device();
        let mut tensors = vec![
            x.into_dispatch(),
            norm.gamma.val().into_dispatch(),
            norm.beta.val().into_dispatch(),
        ];
        tensors.extend(residual.map(Tensor::into_dispatch));
        let found = <Dispatch as KernelBackend>::normalize(Tensors(tensors), spec).0;
        let [y, mean, variance]: [_; 3] = found
            .try_into()
            .unwrap_or_else(|_| unreachable!("a norm gives three tensors"));
        for (running, now) in [(&norm.running_mean, mean), (&norm.running_var, variance)] {
            let now = Tensor::<1>::from_dispatch(now).detach();
            let before = running.value_sync().to_device(&device);
            running.update((before * (1.0 - norm.momentum) + now * norm.momentum).detach());
        }
        Tensor::from_dispatch(y)
    }
}
