//! The interface for the layers: each function runs an operation on the kernels, or returns its inputs.

use burn::tensor::Tensor;

mod activation;
mod conv;
mod layer_norm;
mod norm;
mod pool;
mod resample;

pub(crate) use activation::activate;
pub(crate) use conv::{
    ConvInputs, Convolution, TransposedConvolution, conv, conv_transpose, linear,
};
pub(crate) use layer_norm::layer_norm;
pub(crate) use norm::{GroupNorm, batch_norm, group_norm, read_through_norm};
pub(crate) use pool::{MaxPool, max_pool};
pub(crate) use resample::resample;

#[cfg(feature = "kernels")]
pub(super) use norm::{Moments, moments};
pub(super) use norm::{deferred_norm, normalize};

/// The result of trying to run an operation on the kernels.
#[derive(Debug)]
pub(crate) enum Outcome<Output, Inputs> {
    /// The kernels computed it.
    #[cfg_attr(not(feature = "kernels"), allow(dead_code))]
    Fused(Output),
    /// There is no kernel for it. The inputs are returned, to be used with Burn's operations.
    Declined(Inputs),
}

impl<Output, Inputs> Outcome<Output, Inputs> {
    /// The output, computed by `otherwise` where there is no kernel.
    pub(crate) fn or_else(self, otherwise: impl FnOnce(Inputs) -> Output) -> Output {
        match self {
            Self::Fused(output) => output,
            Self::Declined(inputs) => otherwise(inputs),
        }
    }
}

/// Whether there are kernels for the tensor's type and device.
pub(super) fn has_kernels<const R: usize>(x: &Tensor<R>) -> bool {
    #[cfg(feature = "kernels")]
    {
        use burn::backend::DispatchDevice;

        if x.dtype() != burn::tensor::DType::F32 {
            return false;
        }
        let device = x.device();
        let device = match device.is_autodiff() {
            true => device.inner(),
            false => device,
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
    #[cfg(not(feature = "kernels"))]
    {
        let _ = x;
        false
    }
}
