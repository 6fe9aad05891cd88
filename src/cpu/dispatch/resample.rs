//! Constant linear maps along the spatial axes.

use alloc::vec::Vec;

use burn::tensor::Tensor;

use super::Outcome;
use crate::cpu::axis_map::AxisMap;

/// Applies a map along each of the axes.
pub(crate) fn resample<const R: usize>(
    x: Tensor<R>,
    maps: Vec<(usize, AxisMap)>,
) -> Outcome<Tensor<R>, (Tensor<R>, Vec<(usize, AxisMap)>)> {
    #[cfg(feature = "kernels")]
    {
        use alloc::sync::Arc;

        use crate::cpu::backend_ops::{KernelBackend, ResampleSpec};
        use crate::cpu::kernels::resample::Resampling;
        use burn::backend::Dispatch;

        let size = &x.dims()[2..];
        let is_spatial = maps.iter().all(|(axis, _)| *axis >= 2);
        if super::has_kernels(&x)
            && is_spatial
            && let Some(resampling) = Resampling::new(size, &maps)
        {
            // (They may be large, and the kernel has its own.)
            drop(maps);
            let spec = ResampleSpec(Arc::new(resampling));
            let y = <Dispatch as KernelBackend>::resample(x.into_dispatch(), spec);
            return Outcome::Fused(Tensor::from_dispatch(y));
        }
    }
    Outcome::Declined((x, maps))
}
