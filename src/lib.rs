#![cfg_attr(not(feature = "std"), no_std)]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(missing_docs)]
#![deny(unsafe_code)] // allowed in conv/kernel/raw alone
#![doc = include_str!("../docs/tour.md")]

extern crate alloc;

mod axis_map;
pub mod block;
pub mod conv;
pub mod down;
pub mod fit;
pub mod gate;
mod layer;
pub mod merge;
pub mod net;
pub mod norm;
mod param;
mod pixel_shuffle;
pub mod plan;
pub mod pool;
pub mod resize;
mod setters;
pub mod shape;
pub mod skip;
mod style;
#[cfg(feature = "std")]
pub mod tiles;
pub mod up;
#[cfg(feature = "weights")]
pub mod weights;
mod window;

pub use layer::Layer;
pub use pixel_shuffle::BlockOrder;
pub use shape::{Axis, PerAxis, ShapeError};
pub use skip::{
    BranchConfig, DirectSum, DropPath, FlattenPadReshape, Fuse, FuseConfig, Shortcut, SkipAdd,
    SkipAddConfig, SkipConcat, SkipConcatConfig, UpsampleConcat, UpsampleConcatConfig,
};
pub use window::Padding;

#[doc = include_str!("../docs/fused.md")]
pub mod fused {}

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
