//! The fusions: layers in which maps of different shapes meet.

mod add;
mod concat;
mod direct_sum;
mod drop_path;
mod flatten_pad_reshape;
mod fuse;
mod meet;
mod upsample_concat;

pub use add::{Shortcut, SkipAdd, SkipAddConfig};
pub use concat::{SkipConcat, SkipConcatConfig};
pub use direct_sum::DirectSum;
pub use drop_path::DropPath;
pub use flatten_pad_reshape::FlattenPadReshape;
pub use fuse::{Branch, BranchConfig, BranchGate, Fuse, FuseConfig};
pub use upsample_concat::{UpsampleConcat, UpsampleConcatConfig};
