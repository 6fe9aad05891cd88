//! The CPU backend.
//!
//! [`dispatch`] is what the layers call: it sends an operation to the kernels, or gives its inputs back. [`policy`]
//! says what the kernels take and what they do with it. [`backend_ops`] registers the kernels as operations of
//! Burn's backends, with their gradients; [`kernels`] computes, on slices.
//!
//! The kernels take maps of one and two spatial axes in f32 on flex and ndarray, if the crate is built with the
//! feature of that backend. Everything else is composed of Burn's operations by the layers, with the same result.

#[cfg(feature = "kernels")]
#[allow(deprecated)] // ndarray is deprecated upstream, and supported here
mod backend_ops;
mod deferred_norm;
mod dispatch;
mod epilogue;
#[cfg(feature = "kernels")]
mod kernels;
mod lazy_concat;
mod nearest;
// (Also what the plan asks, which has no need of the kernels.)
#[allow(dead_code, unused_imports)]
pub(crate) mod policy;
mod weight_cache;

pub use lazy_concat::{LazyConcat, Part};

pub(crate) use dispatch::{
    ConvInputs, Convolution, MaxPool, Outcome, TransposedConvolution, batch_norm, conv,
    conv_transpose, max_pool, read_through_norm,
};
pub(crate) use epilogue::Epilogue;
pub(crate) use weight_cache::PreparedWeight;
