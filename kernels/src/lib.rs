//! The CPU kernels of [burn-skip](https://docs.rs/burn-skip): convolutions, norms, pools, resampling and activations of
//! feature maps with one, two or three spatial axes, forward and backward, on slices of f32. They know nothing of Burn.
//!
//! [`policy`] decides what the kernels accept, which algorithm they use and how much memory they take. It needs no
//! standard library; the feature `std` adds the kernels themselves.
//!
//! The interface is made for burn-skip, and changes with it.

#![cfg_attr(not(feature = "std"), no_std)]
#![deny(missing_docs)]
#![warn(unreachable_pub)]
#![deny(unsafe_code)] // allowed in kernels/raw alone

extern crate alloc;

mod axis_map;
#[cfg(feature = "std")]
pub mod buffers;
#[cfg(feature = "std")]
pub mod kernels;
pub mod policy;

pub use axis_map::AxisMap;
