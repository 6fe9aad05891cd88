//! Max pools.

use burn::tensor::Tensor;

use super::Outcome;

/// A max pool over two axes.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "kernels"), allow(dead_code))]
pub(crate) struct MaxPool {
    pub(crate) kernel: [usize; 2],
    pub(crate) stride: [usize; 2],
    /// Positions before the first row and column.
    pub(crate) pad_start: [usize; 2],
    /// Height and width of the output.
    pub(crate) size: [usize; 2],
}

/// The largest value of each window.
pub(crate) fn max_pool(x: Tensor<4>, pool: &MaxPool) -> Outcome<Tensor<4>, Tensor<4>> {
    #[cfg(feature = "kernels")]
    {
        use crate::cpu::backend_ops::{KernelBackend, PoolSpec};
        use crate::cpu::kernels::max_pool::Pooling;
        use crate::cpu::policy;
        use burn::backend::Dispatch;

        let [_, _, height, width] = x.dims();
        let map = [height, width];
        if super::has_kernels(&x) && policy::takes_max_pool(map, pool.size) {
            let spec = PoolSpec(Pooling {
                kernel: pool.kernel,
                stride: pool.stride,
                pad: pool.pad_start,
                map,
                size: pool.size,
            });
            let y = <Dispatch as KernelBackend>::max_pool(x.into_dispatch(), spec);
            return Outcome::Fused(Tensor::from_dispatch(y));
        }
    }
    let _ = pool;
    Outcome::Declined(x)
}
