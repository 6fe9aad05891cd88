//! The kernels as operations of Burn's CPU backends, and under autodiff.

mod autodiff;
mod forward;
mod slices;
mod specs;
mod tensors;
mod values;

use alloc::{vec, vec::Vec};

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, backend_extension};

pub use slices::Slices;
pub use specs::{
    ActivationSpec, ConvSpec, EpilogueSpec, LayerNormSpec, NormSpec, NormalizeSpec, PoolSpec,
    ResampleSpec, SourceSpec, TransposedSpec,
};
pub use tensors::Tensors;

/// The operations of this crate that have kernels.
#[backend_extension(Autodiff, Flex: cfg(feature = "flex"), NdArray: cfg(feature = "ndarray"))]
pub trait KernelBackend: Backend {
    /// Convolution over several sources: `activation(norm(conv(cat(sources), weight) + bias) + residual)`.
    fn convolve(#[extension_type] inputs: Tensors<Self>, spec: ConvSpec) -> FloatTensor<Self>;

    /// Transposed convolution: `conv_transpose(x, weight) + bias`.
    fn convolve_transposed(
        #[extension_type] inputs: Tensors<Self>,
        spec: TransposedSpec,
    ) -> FloatTensor<Self>;

    /// Mean and biased variance of each channel, which it shares with the others of its `group`. They carry no gradient:
    /// the backward pass of the norm that uses them accounts for their dependence on the map.
    fn moments(x: FloatTensor<Self>, group: usize) -> Tensors<Self>;

    /// `activation(norm(x) + residual)`, of the map, scale, shift, mean, variance and, if there is one, a residual.
    fn normalize(#[extension_type] inputs: Tensors<Self>, spec: NormalizeSpec)
    -> FloatTensor<Self>;

    /// Layer norm over the channels, of the map, scale and shift.
    fn layer_norm(
        #[extension_type] inputs: Tensors<Self>,
        spec: LayerNormSpec,
    ) -> FloatTensor<Self>;

    /// `activation(x)`
    fn activate(x: FloatTensor<Self>, spec: ActivationSpec) -> FloatTensor<Self>;

    /// The largest value of each window.
    fn max_pool(x: FloatTensor<Self>, spec: PoolSpec) -> FloatTensor<Self>;

    /// A constant linear map along each spatial axis.
    fn resample(x: FloatTensor<Self>, spec: ResampleSpec) -> FloatTensor<Self>;
}

/// Runs an operation that owns its inputs.
fn consume<B: Slices, T>(
    inputs: Vec<FloatTensor<B>>,
    run: impl FnOnce(&[FloatTensor<B>]) -> T,
) -> T {
    let output = run(&inputs);
    slices::reclaim::<B>(inputs);
    output
}

#[cfg(feature = "flex")]
impl KernelBackend for burn::backend::Flex {
    fn convolve(inputs: Tensors<Self>, spec: ConvSpec) -> FloatTensor<Self> {
        consume::<Self, _>(inputs.0, |inputs| forward::convolve::<Self>(inputs, &spec))
    }

    fn convolve_transposed(inputs: Tensors<Self>, spec: TransposedSpec) -> FloatTensor<Self> {
        consume::<Self, _>(inputs.0, |inputs| {
            forward::convolve_transposed::<Self>(inputs, &spec)
        })
    }

    fn moments(x: FloatTensor<Self>, group: usize) -> Tensors<Self> {
        forward::moments::<Self>(&x, group)
    }

    fn normalize(inputs: Tensors<Self>, spec: NormalizeSpec) -> FloatTensor<Self> {
        consume::<Self, _>(inputs.0, |inputs| forward::normalize::<Self>(inputs, spec))
    }

    fn layer_norm(inputs: Tensors<Self>, spec: LayerNormSpec) -> FloatTensor<Self> {
        consume::<Self, _>(inputs.0, |inputs| forward::layer_norm::<Self>(inputs, spec))
    }

    fn activate(x: FloatTensor<Self>, spec: ActivationSpec) -> FloatTensor<Self> {
        consume::<Self, _>(vec![x], |x| forward::activate::<Self>(&x[0], spec))
    }

    fn max_pool(x: FloatTensor<Self>, spec: PoolSpec) -> FloatTensor<Self> {
        consume::<Self, _>(vec![x], |x| forward::max_pool::<Self>(&x[0], &spec))
    }

    fn resample(x: FloatTensor<Self>, spec: ResampleSpec) -> FloatTensor<Self> {
        consume::<Self, _>(vec![x], |x| forward::resample::<Self>(&x[0], &spec))
    }
}

#[cfg(feature = "ndarray")]
impl KernelBackend for burn::backend::NdArray {
    fn convolve(inputs: Tensors<Self>, spec: ConvSpec) -> FloatTensor<Self> {
        consume::<Self, _>(inputs.0, |inputs| forward::convolve::<Self>(inputs, &spec))
    }

    fn convolve_transposed(inputs: Tensors<Self>, spec: TransposedSpec) -> FloatTensor<Self> {
        consume::<Self, _>(inputs.0, |inputs| {
            forward::convolve_transposed::<Self>(inputs, &spec)
        })
    }

    fn moments(x: FloatTensor<Self>, group: usize) -> Tensors<Self> {
        forward::moments::<Self>(&x, group)
    }

    fn normalize(inputs: Tensors<Self>, spec: NormalizeSpec) -> FloatTensor<Self> {
        consume::<Self, _>(inputs.0, |inputs| forward::normalize::<Self>(inputs, spec))
    }

    fn layer_norm(inputs: Tensors<Self>, spec: LayerNormSpec) -> FloatTensor<Self> {
        consume::<Self, _>(inputs.0, |inputs| forward::layer_norm::<Self>(inputs, spec))
    }

    fn activate(x: FloatTensor<Self>, spec: ActivationSpec) -> FloatTensor<Self> {
        consume::<Self, _>(vec![x], |x| forward::activate::<Self>(&x[0], spec))
    }

    fn max_pool(x: FloatTensor<Self>, spec: PoolSpec) -> FloatTensor<Self> {
        consume::<Self, _>(vec![x], |x| forward::max_pool::<Self>(&x[0], &spec))
    }

    fn resample(x: FloatTensor<Self>, spec: ResampleSpec) -> FloatTensor<Self> {
        consume::<Self, _>(vec![x], |x| forward::resample::<Self>(&x[0], &spec))
    }
}
