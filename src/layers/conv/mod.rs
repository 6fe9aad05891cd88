//! Convolutions of any rank: one module for one, two and three spatial axes.
//!
//! The rank of the tensor picks Burn's `conv1d`, `conv2d` or `conv3d` in `ops.rs`, in one place.

mod convolution;
mod init;
mod lazy_concat;
pub(crate) mod ops;
mod transposed;

pub use crate::graph::TransposedPadding;
pub use convolution::{Conv, ConvConfig};
pub use lazy_concat::{Part, Parts};
pub use transposed::{ConvTranspose, ConvTransposeConfig};

pub(crate) use init::default_initializer;
use init::{check_initializer, init_weights};
