//! [`Epilogue`]: what follows a convolution.

use burn::nn::BatchNorm;
use burn::tensor::{DType, Tensor};

use super::deferred_norm::NormVectors;
use super::dispatch;
use super::lazy_concat::Part;
use super::policy::{self, FusedActivation};
use crate::graph::activation::ActivationConfig;

/// What follows a convolution: `activation(norm(y) + residual)`, of which each step is optional.
#[derive(Clone, Debug)]
pub(crate) struct Epilogue<'a, const R: usize> {
    pub(crate) norm: Option<&'a BatchNorm>,
    pub(crate) residual: Option<Tensor<R>>,
    pub(crate) activation: ActivationConfig,
}

impl<const R: usize> Epilogue<'_, R> {
    /// Nothing follows.
    pub(crate) const NOTHING: Self = Self {
        norm: None,
        residual: None,
        activation: ActivationConfig::Identity,
    };

    /// Folds a norm with running statistics into the weight and the bias of the convolution before it, where no gradients
    /// are recorded and there are no kernels, which apply it in passing: `w x + b` becomes `(s w) x + s (b - mean) + beta`
    /// with `s = gamma / sqrt(variance + epsilon)`.
    pub(crate) fn fold(
        self,
        x: &Tensor<R>,
        weight: Tensor<R>,
        bias: Option<Tensor<1>>,
    ) -> (Self, Tensor<R>, Option<Tensor<1>>) {
        let device = weight.device();
        let is_folded = !dispatch::has_kernels(&weight)
            && !device.is_autodiff()
            && !x.device().is_autodiff()
            && matches!(weight.dtype(), DType::F32 | DType::F64);
        let Some(norm) = self.norm.filter(|_| is_folded) else {
            return (self, weight, bias);
        };
        let NormVectors {
            gamma,
            beta,
            mean,
            variance,
        } = NormVectors::running(norm, &device);
        let scale = gamma / variance.add_scalar(norm.epsilon).sqrt();
        let shift = match bias {
            Some(bias) => beta + (bias - mean) * scale.clone(),
            None => beta - mean * scale.clone(),
        };
        let mut outputs = [1; R];
        outputs[0] = weight.dims()[0];
        let weight = weight * scale.reshape(outputs);
        (Self { norm: None, ..self }, weight, Some(shift))
    }

    #[cfg(feature = "kernels")]
    pub(super) fn is_nothing(&self) -> bool {
        self.norm.is_none()
            && self.residual.is_none()
            && self.activation == ActivationConfig::Identity
    }

    /// Applies it to the output of a convolution that did not fuse it. The norm is deferred if possible.
    pub(crate) fn apply(self, y: Tensor<R>) -> Part<R> {
        let Some(norm) = self.norm else {
            return Part::new(add_and_activate(y, self.residual, &self.activation));
        };
        if let Some(activation @ FusedActivation::Piecewise(piecewise)) = self.activation.fused()
            && policy::defers_norm(self.residual.is_some(), activation)
            && let Some(norm) = dispatch::deferred_norm(norm, &y, piecewise)
        {
            return Part::normed(y, norm);
        }
        let y = dispatch::batch_norm(norm, y, self.residual, &self.activation);
        Part::new(y)
    }
}

/// Whether such an activation may be a part of what follows an operation. (Others are an operation of their own.)
pub(crate) fn fuses_activation(activation: &ActivationConfig) -> bool {
    activation.fused().is_some()
}

/// `activation(y + residual)`
pub(super) fn add_and_activate<const R: usize>(
    y: Tensor<R>,
    residual: Option<Tensor<R>>,
    activation: &ActivationConfig,
) -> Tensor<R> {
    let y = match residual {
        Some(residual) => y + residual,
        None => y,
    };
    dispatch::activate(activation, y)
}
