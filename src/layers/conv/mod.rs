//! Convolutions of any rank: one module for one, two and three spatial axes.
//!
//! The rank of the tensor picks Burn's `conv1d`, `conv2d` or `conv3d` in `ops.rs`, in one place.

mod convolution;
mod init;
#[cfg(all(test, feature = "flex"))]
mod kernel_tests;
pub(crate) mod ops;
mod transposed;

pub use crate::cpu::{LazyConcat, Part};
pub use crate::graph::TransposedPadding;
pub use convolution::{Conv, ConvConfig};
pub use transposed::{ConvTranspose, ConvTransposeConfig};

pub(crate) use init::default_initializer;
use init::{check_initializer, init_weights};
