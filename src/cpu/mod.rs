//! The CPU backend.
//!
//! [`dispatch`] is the interface for the layers: it runs an operation on the kernels, or returns its inputs.
//! [`backend_ops`] registers the kernels as operations of Burn's backends, with their gradients. The kernels are a crate
//! of their own, `burn-skip-kernels`: they compute on slices, and its `policy` decides what they accept and which
//! algorithm they use.
//!
//! The kernels accept f32 maps with one, two or three spatial axes on flex and ndarray, if the crate is built with the
//! feature of that backend. For everything else the layers compose Burn's operations, with the same result.

mod axis_map;
#[cfg(feature = "kernels")]
#[allow(deprecated)] // ndarray is deprecated upstream, and supported here
mod backend_ops;
mod deferred_norm;
mod dispatch;
mod epilogue;
mod fused_activation;
mod lazy_concat;
mod nearest;
mod weight_cache;

#[cfg(feature = "kernels")]
pub use burn_skip_kernels::{buffers::keep_at_most, kernels::limit_vectors};
pub use lazy_concat::{LazyConcat, Part};

// (The memory of a plan asks it too, with or without the kernels.)
#[cfg(feature = "kernels")]
use burn_skip_kernels::kernels;
pub(crate) use burn_skip_kernels::policy;

pub(crate) use axis_map::{AxisMap, around, map_axes, repeats, select};
pub(crate) use dispatch::{
    ConvInputs, Convolution, GroupNorm, MaxPool, Outcome, TransposedConvolution, activate,
    batch_norm, conv, conv_transpose, group_norm, layer_norm, linear, max_pool, read_through_norm,
    resample,
};
pub(crate) use epilogue::{Epilogue, fuses_activation};
pub(crate) use weight_cache::PreparedWeight;
