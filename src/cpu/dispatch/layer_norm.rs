//! Layer norm over the channels.

use burn::tensor::Tensor;

use super::Outcome;

/// A map with the scale and the shift of its channels.
type Inputs<const R: usize> = (Tensor<R>, Tensor<1>, Tensor<1>);

/// `gamma (x - mean) / sqrt(variance + epsilon) + beta`, with the statistics of the channels of each position.
pub(crate) fn layer_norm<const R: usize>(
    x: Tensor<R>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    epsilon: f64,
) -> Outcome<Tensor<R>, Inputs<R>> {
    #[cfg(feature = "kernels")]
    {
        use alloc::vec;

        use burn::backend::Dispatch;
        use burn::tensor::DType;

        use crate::cpu::backend_ops::{KernelBackend, LayerNormSpec, Tensors};

        let is_f32 = [&gamma, &beta].map(Tensor::dtype) == [DType::F32; 2];
        if is_f32 && super::has_kernels(&x) && !x.dims().contains(&0) {
            let inputs = vec![
                x.into_dispatch(),
                gamma.into_dispatch(),
                beta.into_dispatch(),
            ];
            let spec = LayerNormSpec { epsilon };
            let y = <Dispatch as KernelBackend>::layer_norm(Tensors(inputs), spec);
            return Outcome::Fused(Tensor::from_dispatch(y));
        }
    }
    let _ = epsilon;
    Outcome::Declined((x, gamma, beta))
}
