//! Fusions: layers that merge feature maps of different shapes.

mod align;
mod asff;
mod aspp;
mod branch;
mod deep_and_skip;
mod direct_sum;
pub mod fit;
mod flatten_pad_reshape;
mod fpa;
#[allow(clippy::module_inception)] // the layer `Fuse`, in the folder of all fusions
mod fuse;
pub mod gate;
mod gau;
pub mod merge;
pub(crate) mod mfab;
pub(crate) mod pab;
mod pyramid_pooling;
mod res2_conv;
mod skip_add;
mod skip_concat;
mod upsample_concat;
mod weighted_sum;

pub use asff::{Asff, AsffConfig};
pub use aspp::{Aspp, AsppConfig};
pub use branch::{Branch, BranchConfig, BranchGate};
pub use direct_sum::DirectSum;
pub use flatten_pad_reshape::FlattenPadReshape;
pub use fpa::{Fpa, FpaConfig};
pub use fuse::{Fuse, FuseConfig};
pub use gau::{Gau, GauConfig};
pub use mfab::{Mfab, MfabConfig};
pub use pab::{Pab, PabConfig};
pub use pyramid_pooling::{PyramidPooling, PyramidPoolingConfig};
pub use res2_conv::{Res2Conv, Res2ConvConfig, Res2Links};
pub use skip_add::{
    LayerScale, PreActivation, PreActivationConfig, Shortcut, SkipAdd, SkipAddConfig,
};
pub use skip_concat::{SkipConcat, SkipConcatConfig};
pub use upsample_concat::{UpsampleConcat, UpsampleConcatConfig};
pub use weighted_sum::{WeightedSum, WeightedSumConfig, Weighting};
