//! Activations.

use burn::tensor::{Tensor, activation};

use crate::graph::activation::ActivationConfig;

/// `activation(x)`, by a kernel or by Burn's operations. A PReLU, which has a parameter, is the layer's.
pub(crate) fn activate<const R: usize>(config: &ActivationConfig, x: Tensor<R>) -> Tensor<R> {
    if *config == ActivationConfig::Identity {
        return x;
    }
    #[cfg(feature = "kernels")]
    if let Some(fused) = fused::taken(config, &x) {
        return fused::activate(fused, x);
    }
    compose(config, x)
}

/// The activation by Burn's operations.
fn compose<const R: usize>(config: &ActivationConfig, x: Tensor<R>) -> Tensor<R> {
    use ActivationConfig as Kind;
    match *config {
        Kind::Identity | Kind::PRelu { .. } => x,
        Kind::Relu => activation::relu(x),
        Kind::Relu6 => activation::relu6(x),
        Kind::LeakyRelu { negative_slope } => activation::leaky_relu(x, negative_slope),
        Kind::Gelu => gelu(x),
        Kind::GeluApproximate => activation::gelu_approximate(x),
        Kind::Silu => activation::silu(x),
        Kind::Mish => activation::mish(x),
        Kind::HardSwish => activation::hard_swish(x),
        Kind::HardSigmoid { alpha, beta } => activation::hard_sigmoid(x, alpha, beta),
        Kind::Sigmoid => activation::sigmoid(x),
        Kind::LogSigmoid => activation::log_sigmoid(x),
        Kind::Tanh => activation::tanh(x),
        Kind::Elu { alpha } => activation::elu(x, alpha),
        Kind::Celu { alpha } => activation::celu(x, alpha),
        Kind::Selu => activation::selu(x),
        Kind::Softplus { beta } => activation::softplus(x, beta),
        Kind::Softsign => activation::softsign(x),
        Kind::ThresholdedRelu { alpha } => activation::thresholded_relu(x, alpha),
        Kind::HardShrink { lambda } => activation::hard_shrink(x, lambda),
        Kind::SoftShrink { lambda } => activation::soft_shrink(x, lambda),
        Kind::Shrink { lambda, bias } => activation::shrink(x, lambda, bias),
    }
}

/// The exact GELU, with the exact gradient: Burn 0.22 differentiates it by a formula for the approximate function
/// on all backends but flex, which is off by up to 9e-4. The gradient of `erf` is exact.
fn gelu<const R: usize>(x: Tensor<R>) -> Tensor<R> {
    match x.device().is_autodiff() {
        false => activation::gelu(x),
        true => x.clone() * (x * core::f64::consts::FRAC_1_SQRT_2).erf().add_scalar(1.0) * 0.5,
    }
}

#[cfg(feature = "kernels")]
mod fused {
    use burn::backend::Dispatch;

    use super::super::has_kernels;
    use super::*;
    use crate::cpu::backend_ops::{ActivationSpec, KernelBackend};
    use crate::cpu::policy::FusedActivation;

    /// The activation, if there is a kernel for it.
    pub(super) fn taken<const R: usize>(
        config: &ActivationConfig,
        x: &Tensor<R>,
    ) -> Option<FusedActivation> {
        let fused = config.fused()?;
        (has_kernels(x) && !x.dims().contains(&0)).then_some(fused)
    }

    pub(super) fn activate<const R: usize>(fused: FusedActivation, x: Tensor<R>) -> Tensor<R> {
        let y = <Dispatch as KernelBackend>::activate(x.into_dispatch(), ActivationSpec(fused));
        Tensor::from_dispatch(y)
    }
}
