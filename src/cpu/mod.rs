//! The CPU backend: which kernels run where, the operations that Burn sees, and the kernels.

#[cfg(feature = "kernels")]
#[allow(deprecated)] // ndarray is deprecated upstream, and supported here
mod backend_ops;
mod dispatch;
#[cfg(feature = "kernels")]
mod kernels;
// (Also what the plan asks, which has no need of the kernels.)
#[allow(dead_code, unused_imports)]
pub(crate) mod policy;
mod weight_cache;

#[cfg(feature = "kernels")]
pub(crate) use dispatch::moments;
pub(crate) use dispatch::{
    Follow, PendingNorm, affine_of, batch_norm, can_follow, conv, conv_transpose, max_pool,
    norm_of_parts, normalize, pending_norm,
};
pub(crate) use weight_cache::PreparedWeight;
