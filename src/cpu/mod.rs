//! The CPU backend.
//!
//! [`dispatch`] is the interface for the layers: it runs an operation on the kernels, or returns its inputs. [`policy`]
//! decides what the kernels accept and which algorithm they use. [`backend_ops`] registers the kernels as operations
//! of Burn's backends, with their gradients; [`kernels`] computes on slices.
//!
//! The kernels accept f32 maps with one, two or three spatial axes on flex and ndarray, if the crate is built with the
//! feature of that backend. For everything else the layers compose Burn's operations, with the same result.

mod axis_map;
#[cfg(feature = "kernels")]
#[allow(deprecated)] // ndarray is deprecated upstream, and supported here
mod backend_ops;
#[cfg(feature = "kernels")]
pub(crate) mod buffers;
mod deferred_norm;
mod dispatch;
mod epilogue;
#[cfg(feature = "kernels")]
mod kernels;
mod lazy_concat;
mod nearest;
// (The memory of a plan asks it too, with or without the kernels.)
#[allow(dead_code, unused_imports)]
pub(crate) mod policy;
mod weight_cache;

#[cfg(feature = "kernels")]
pub use kernels::limit_vectors;
pub use lazy_concat::{LazyConcat, Part};

pub(crate) use axis_map::{AxisMap, around, map_axes, repeats, select};
pub(crate) use dispatch::{
    ConvInputs, Convolution, GroupNorm, MaxPool, Outcome, TransposedConvolution, activate,
    batch_norm, conv, conv_transpose, group_norm, layer_norm, max_pool, read_through_norm,
    resample,
};
pub(crate) use epilogue::{Epilogue, fuses_activation};
pub(crate) use weight_cache::PreparedWeight;
