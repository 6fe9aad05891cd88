#![cfg_attr(not(feature = "std"), no_std)]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(missing_docs)]
#![forbid(unsafe_code)] // the kernels are a crate of their own
#![doc = include_str!("../docs/tour.md")]

extern crate alloc;

pub mod augment;
mod cpu;
mod defaults;
mod distance_transform;
pub mod fuse;
mod graph;
mod layers;
pub mod loss;
pub mod metric;
pub mod neck;
pub mod net;
#[cfg(feature = "onnx")]
pub mod onnx;
pub mod plan;
mod setters;
pub mod shape;
#[cfg(feature = "std")]
pub mod tiles;
#[cfg(feature = "weights")]
pub mod weights;

pub use fuse::{fit, gate, merge};
pub use layers::{activation, attention, block, conv, down, norm, pool, resize, up};

pub use fuse::{
    BranchConfig, DirectSum, FlattenPadReshape, Fuse, FuseConfig, Shortcut, SkipAdd, SkipAddConfig,
    SkipConcat, SkipConcatConfig, UpsampleConcat, UpsampleConcatConfig,
};
pub use graph::window::Padding;
pub use layers::{BlockOrder, ChannelDropout, DropPath, Layer};
pub use plan::Trace;
pub use shape::{Axis, PerAxis, ShapeError};

#[doc = include_str!("../docs/fused.md")]
pub mod fused {
    #[cfg(feature = "kernels")]
    pub use crate::cpu::{keep_at_most, limit_vectors};
}

#[cfg(feature = "weights")]
#[doc = include_str!("../docs/porting.md")]
pub mod porting {
    // The links of the page, which speak of the crate's modules.
    #[allow(unused_imports)]
    use crate::*;
}

/// The README's examples run as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
