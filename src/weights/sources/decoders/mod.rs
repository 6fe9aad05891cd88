//! The decoders of segmentation_models.pytorch: the names of their tensors, their options from the shapes, and what no
//! file has.

mod detect;
mod rows;
mod words;

pub(in crate::weights) use detect::{Coarsest, detect};
pub(in crate::weights) use rows::rows;
pub(in crate::weights) use words::{assumed, class};
