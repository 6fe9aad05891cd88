//! Batch norms, and those of groups of channels.

use burn::nn::BatchNorm;
use burn::tensor::Tensor;

use super::Outcome;
#[cfg(feature = "kernels")]
use super::activate;
use crate::cpu::deferred_norm::DeferredNorm;
use crate::cpu::epilogue::add_and_activate;
use crate::cpu::lazy_concat::LazyConcat;
#[cfg(feature = "kernels")]
use crate::cpu::policy::FusedActivation;
use crate::cpu::policy::Piecewise;
use crate::graph::activation::ActivationConfig;

#[cfg(feature = "kernels")]
pub(in crate::cpu) use fused::{Moments, moments};

/// `activation(norm(x) + residual)`, the residual if it is there.
pub(crate) fn batch_norm<const R: usize>(
    norm: &BatchNorm,
    x: Tensor<R>,
    residual: Option<Tensor<R>>,
    activation: &ActivationConfig,
) -> Tensor<R> {
    match deferred_norm(norm, &x, Piecewise::IDENTITY) {
        Some(norm) => normalize_and_activate(x, &norm, residual, activation),
        None => add_and_activate(norm.forward(x), residual, activation),
    }
}

/// A norm of groups of channels of each sample: group norm, or instance norm, where each channel is a group.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "kernels"), allow(dead_code))]
pub(crate) struct GroupNorm {
    pub(crate) groups: usize,
    pub(crate) gamma: Option<Tensor<1>>,
    pub(crate) beta: Option<Tensor<1>>,
    pub(crate) epsilon: f64,
}

/// `activation(norm(x))`
pub(crate) fn group_norm<const R: usize>(
    norm: GroupNorm,
    x: Tensor<R>,
    activation: &ActivationConfig,
) -> Outcome<Tensor<R>, Tensor<R>> {
    #[cfg(feature = "kernels")]
    if fused::takes_group_norm(&norm, &x) {
        return Outcome::Fused(match activation.fused() {
            Some(activation) => fused::group_norm(norm, x, activation),
            None => {
                let y = fused::group_norm(norm, x, FusedActivation::IDENTITY);
                activate(activation, y)
            }
        });
    }
    let _ = (norm, activation);
    Outcome::Declined(x)
}

/// The norm as it applies to `x` now: in training (with recorded gradients) with the statistics of the batch, which
/// also update the running statistics; otherwise with the running statistics. `None` if there are no kernels.
pub(in crate::cpu) fn deferred_norm<const R: usize>(
    norm: &BatchNorm,
    x: &Tensor<R>,
    activation: Piecewise,
) -> Option<DeferredNorm> {
    #[cfg(feature = "kernels")]
    return super::has_kernels(x).then(|| fused::deferred_norm(norm, x, activation));
    #[cfg(not(feature = "kernels"))]
    {
        let _ = (norm, x, activation);
        None
    }
}

/// Applies a deferred norm.
pub(in crate::cpu) fn normalize<const R: usize>(x: Tensor<R>, norm: &DeferredNorm) -> Tensor<R> {
    #[cfg(feature = "kernels")]
    return fused::normalize(x, norm, None, FusedActivation::Piecewise(norm.activation));
    #[cfg(not(feature = "kernels"))]
    unreachable!("without kernels no norm is deferred: {x:?}, {norm:?}")
}

/// `activation(norm(x) + residual)`, with the numbers of a deferred norm.
fn normalize_and_activate<const R: usize>(
    x: Tensor<R>,
    norm: &DeferredNorm,
    residual: Option<Tensor<R>>,
    activation: &ActivationConfig,
) -> Tensor<R> {
    #[cfg(feature = "kernels")]
    {
        // (For a residual of another type, Burn's addition reports the error.)
        let takes = |residual: &Tensor<R>| residual.dtype() == burn::tensor::DType::F32;
        let fused = activation
            .fused()
            .filter(|fused| fused.is_fused_with_norm(residual.is_some()));
        match (fused, residual.as_ref().is_none_or(takes)) {
            (Some(fused), true) => fused::normalize(x, norm, residual, fused),
            (None, true) => {
                let y = fused::normalize(x, norm, residual, FusedActivation::IDENTITY);
                activate(activation, y)
            }
            (_, false) => {
                let y = fused::normalize(x, norm, None, FusedActivation::IDENTITY);
                add_and_activate(y, residual, activation)
            }
        }
    }
    #[cfg(not(feature = "kernels"))]
    unreachable!(
        "without kernels no norm is deferred: {x:?}, {norm:?}, {residual:?}, {activation:?}"
    )
}

/// Defers a batch norm of a concatenation and an activation that costs little: each part is read through its share of
/// the norm.
pub(crate) fn read_through_norm<const R: usize>(
    norm: &BatchNorm,
    parts: LazyConcat<R>,
    activation: &ActivationConfig,
) -> Outcome<LazyConcat<R>, LazyConcat<R>> {
    #[cfg(feature = "kernels")]
    if let Some(FusedActivation::Piecewise(activation)) = activation.fused()
        && parts
            .as_slice()
            .iter()
            .all(|part| super::has_kernels(&part.map) && part.norm.is_none())
    {
        return Outcome::Fused(fused::read_through_norm(norm, parts, activation));
    }
    let _ = (norm, activation);
    Outcome::Declined(parts)
}

#[cfg(feature = "kernels")]
mod fused {
    use alloc::{vec, vec::Vec};

    use burn::backend::Dispatch;
    use burn::tensor::{DType, Device};

    use super::*;
    use crate::cpu::backend_ops::{KernelBackend, NormSpec, NormalizeSpec, Tensors};
    use crate::cpu::deferred_norm::NormVectors;
    use crate::cpu::lazy_concat::Part;
    use crate::shape::with_channels;

    /// Mean and biased variance of each channel.
    #[derive(Clone, Debug)]
    pub(in crate::cpu) struct Moments {
        pub(super) mean: Tensor<1>,
        pub(super) variance: Tensor<1>,
    }

    pub(in crate::cpu) fn moments<const R: usize>(x: &Tensor<R>) -> Moments {
        moments_of_groups(x, 1)
    }

    /// Those of `group` consecutive channels together, once for each of them.
    fn moments_of_groups<const R: usize>(x: &Tensor<R>, group: usize) -> Moments {
        let found = <Dispatch as KernelBackend>::moments(x.clone().into_dispatch(), group).0;
        let mut found = found.into_iter().map(Tensor::from_dispatch);
        let mut next = || {
            found
                .next()
                .unwrap_or_else(|| unreachable!("there are two moments"))
        };
        Moments {
            mean: next(),
            variance: next(),
        }
    }

    fn is_of_batch(norm: &BatchNorm, device: &Device) -> bool {
        device.is_autodiff() && norm.training.is_enabled()
    }

    pub(super) fn deferred_norm<const R: usize>(
        norm: &BatchNorm,
        x: &Tensor<R>,
        activation: Piecewise,
    ) -> DeferredNorm {
        let device = x.device();
        let of_batch = is_of_batch(norm, &device);
        let vectors = if of_batch {
            let found = moments(x);
            update_running(norm, &found);
            NormVectors {
                gamma: norm.gamma.val(),
                beta: norm.beta.val(),
                mean: found.mean,
                variance: found.variance,
            }
        } else {
            NormVectors::running(norm, &device)
        };
        DeferredNorm {
            vectors,
            epsilon: norm.epsilon,
            activation,
            of_batch,
        }
    }

    /// Updates the running statistics with those of a batch, as Burn's layer does.
    fn update_running(norm: &BatchNorm, found: &Moments) {
        let statistics = [
            (&norm.running_mean, &found.mean),
            (&norm.running_var, &found.variance),
        ];
        for (running, now) in statistics {
            let before = running.value_sync().to_device(&now.device());
            let now = now.clone() * norm.momentum;
            running.update((before * (1.0 - norm.momentum) + now).detach());
        }
    }

    /// `activation(norm(x) + residual)`
    pub(super) fn normalize<const R: usize>(
        x: Tensor<R>,
        norm: &DeferredNorm,
        residual: Option<Tensor<R>>,
        activation: FusedActivation,
    ) -> Tensor<R> {
        normalize_groups(
            x,
            norm,
            residual,
            NormOptions {
                activation,
                group: 1,
            },
        )
    }

    /// What a norm is besides its numbers.
    struct NormOptions {
        activation: FusedActivation,
        /// The number of consecutive channels that share mean and variance.
        group: usize,
    }

    fn normalize_groups<const R: usize>(
        x: Tensor<R>,
        norm: &DeferredNorm,
        residual: Option<Tensor<R>>,
        options: NormOptions,
    ) -> Tensor<R> {
        let mut tensors = vec![x.into_dispatch()];
        let vectors = norm.vectors.clone().into_array();
        tensors.extend(vectors.map(Tensor::into_dispatch));
        tensors.extend(residual.map(Tensor::into_dispatch));
        let spec = NormalizeSpec {
            norm: NormSpec {
                epsilon: norm.epsilon,
                of_batch: norm.of_batch,
                group: options.group,
            },
            activation: options.activation,
        };
        let y = <Dispatch as KernelBackend>::normalize(Tensors(tensors), spec);
        Tensor::from_dispatch(y)
    }

    /// Whether there is a kernel: for f32, and channels that the groups divide.
    pub(super) fn takes_group_norm<const R: usize>(norm: &GroupNorm, x: &Tensor<R>) -> bool {
        let channels = x.dims()[1];
        let is_vector =
            |vector: &Tensor<1>| vector.dtype() == DType::F32 && vector.dims() == [channels];
        super::super::has_kernels(x)
            && !x.dims().contains(&0)
            && norm.groups > 0
            && channels.is_multiple_of(norm.groups)
            && norm.gamma.iter().chain(&norm.beta).all(is_vector)
    }

    /// The shape with each channel of each sample as a channel of one sample.
    fn one_sample<const R: usize>(dims: [usize; R]) -> [usize; R] {
        let mut shape = with_channels(dims, dims[0] * dims[1]);
        shape[0] = 1;
        shape
    }

    pub(super) fn group_norm<const R: usize>(
        norm: GroupNorm,
        x: Tensor<R>,
        activation: FusedActivation,
    ) -> Tensor<R> {
        let dims = x.dims();
        let [samples, channels] = [dims[0], dims[1]];
        let group = channels / norm.groups;
        let device = x.device();
        let vector = |vector: Option<Tensor<1>>, value: f32| match vector {
            Some(vector) => vector.repeat(&[samples]),
            None => Tensor::full([samples * channels], value, &device),
        };
        let x = x.reshape(one_sample(dims));
        let found = moments_of_groups(&x, group);
        let norm = DeferredNorm {
            vectors: NormVectors {
                gamma: vector(norm.gamma, 1.0),
                beta: vector(norm.beta, 0.0),
                mean: found.mean,
                variance: found.variance,
            },
            epsilon: norm.epsilon,
            activation: Piecewise::IDENTITY,
            of_batch: true,
        };
        normalize_groups(x, &norm, None, NormOptions { activation, group }).reshape(dims)
    }

    pub(super) fn read_through_norm<const R: usize>(
        norm: &BatchNorm,
        parts: LazyConcat<R>,
        activation: Piecewise,
    ) -> LazyConcat<R> {
        // The concatenation records gradients if one of its parts does.
        let mut devices = parts.as_slice().iter().map(|part| part.map.device());
        let recorded = devices.clone().find(Device::is_autodiff);
        let device = recorded
            .or_else(|| devices.next())
            .unwrap_or_else(|| unreachable!("there is a part"));
        let of_batch = is_of_batch(norm, &device);
        let mut parts = parts.into_inner();
        let found: Option<Vec<Moments>> =
            of_batch.then(|| parts.iter().map(Part::moments).collect());
        if let Some(found) = &found {
            update_running(norm, &concatenated(found));
        }
        let whole = NormVectors::running(norm, &device);
        let mut start = 0;
        for (n, part) in parts.iter_mut().enumerate() {
            let channels = part.map.dims()[1];
            let mut vectors = whole.narrow(start, channels);
            if let Some(found) = &found {
                vectors.mean = found[n].mean.clone();
                vectors.variance = found[n].variance.clone();
            }
            start += channels;
            part.norm = Some(DeferredNorm {
                vectors,
                epsilon: norm.epsilon,
                activation,
                of_batch,
            });
        }
        LazyConcat::new(parts)
    }

    fn concatenated(found: &[Moments]) -> Moments {
        let all =
            |of: &dyn Fn(&Moments) -> Tensor<1>| Tensor::cat(found.iter().map(of).collect(), 0);
        Moments {
            mean: all(&|moments| moments.mean.clone()),
            variance: all(&|moments| moments.variance.clone()),
        }
    }
}
