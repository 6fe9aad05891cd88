//! Batch norms.

use burn::nn::BatchNorm;
use burn::tensor::Tensor;

use super::Outcome;
use crate::cpu::deferred_norm::DeferredNorm;
use crate::cpu::epilogue::add_relu;
use crate::cpu::lazy_concat::LazyConcat;

#[cfg(feature = "kernels")]
pub(in crate::cpu) use fused::{Moments, moments};

/// `relu(norm(x) + residual)`, the residual and ReLU if they are there.
pub(crate) fn batch_norm<const R: usize>(
    norm: &BatchNorm,
    x: Tensor<R>,
    residual: Option<Tensor<R>>,
    relu: bool,
) -> Tensor<R> {
    match deferred_norm(norm, &x, relu) {
        Some(norm) => normalize(x, &norm, residual),
        None => add_relu(norm.forward(x), residual, relu),
    }
}

/// The norm as it applies to `x` now: in training (with recorded gradients) with the statistics of the batch, which
/// also update the running statistics; otherwise with the running statistics. `None` if there are no kernels.
pub(in crate::cpu) fn deferred_norm<const R: usize>(
    norm: &BatchNorm,
    x: &Tensor<R>,
    relu: bool,
) -> Option<DeferredNorm> {
    #[cfg(feature = "kernels")]
    return super::has_kernels(x).then(|| fused::deferred_norm(norm, x, relu));
    #[cfg(not(feature = "kernels"))]
    {
        let _ = (norm, x, relu);
        None
    }
}

/// `act(norm(x) + residual)`
pub(in crate::cpu) fn normalize<const R: usize>(
    x: Tensor<R>,
    norm: &DeferredNorm,
    residual: Option<Tensor<R>>,
) -> Tensor<R> {
    #[cfg(feature = "kernels")]
    return fused::normalize(x, norm, residual);
    #[cfg(not(feature = "kernels"))]
    unreachable!("without kernels no norm is deferred: {x:?}, {norm:?}, {residual:?}")
}

/// Defers a batch norm of a concatenation: each part is read through its share of the norm.
pub(crate) fn read_through_norm<const R: usize>(
    norm: &BatchNorm,
    parts: LazyConcat<R>,
    relu: bool,
) -> Outcome<LazyConcat<R>, LazyConcat<R>> {
    #[cfg(feature = "kernels")]
    if parts
        .as_slice()
        .iter()
        .all(|part| super::has_kernels(&part.map) && part.norm.is_none())
    {
        return Outcome::Fused(fused::read_through_norm(norm, parts, relu));
    }
    let _ = (norm, relu);
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

    /// Mean and biased variance of each channel.
    #[derive(Clone, Debug)]
    pub(in crate::cpu) struct Moments {
        pub(super) mean: Tensor<1>,
        pub(super) variance: Tensor<1>,
    }

    pub(in crate::cpu) fn moments<const R: usize>(x: &Tensor<R>) -> Moments {
        let found = <Dispatch as KernelBackend>::moments(x.clone().into_dispatch()).0;
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
        relu: bool,
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
            relu,
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

    pub(super) fn normalize<const R: usize>(
        x: Tensor<R>,
        norm: &DeferredNorm,
        residual: Option<Tensor<R>>,
    ) -> Tensor<R> {
        // (For a residual of another type, Burn's addition reports the error.)
        if let Some(residual) = residual
            .clone()
            .filter(|residual| residual.dtype() != DType::F32)
        {
            let linear = DeferredNorm {
                relu: false,
                ..norm.clone()
            };
            return add_relu(normalize(x, &linear, None), Some(residual), norm.relu);
        }
        let mut tensors = vec![x.into_dispatch()];
        let vectors = norm.vectors.clone().into_array();
        tensors.extend(vectors.map(Tensor::into_dispatch));
        tensors.extend(residual.map(Tensor::into_dispatch));
        let spec = NormalizeSpec {
            norm: NormSpec {
                epsilon: norm.epsilon,
                of_batch: norm.of_batch,
            },
            relu: norm.relu,
        };
        let y = <Dispatch as KernelBackend>::normalize(Tensors(tensors), spec);
        Tensor::from_dispatch(y)
    }

    pub(super) fn read_through_norm<const R: usize>(
        norm: &BatchNorm,
        parts: LazyConcat<R>,
        relu: bool,
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
                relu,
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
