//! Images of several spacings, trained on in one.
//!
//! [`SpacingChoice`] is what `--spacing` of a training says, [`TargetSpacing`] what follows from it for its images and is
//! kept with the model, and [`Resampler`] brings an image to it, and predictions back. [`GivenSpacing`] is `--spacing` of
//! `predict` and `eval`: that of files which tell none.

mod choice;
mod given;
mod resampler;
mod resize_by_rows;
mod target;

pub use choice::{ImageInfo, SpacingChoice, farthest_spacing};
pub use given::GivenSpacing;
pub use resampler::Resampler;
pub use resize_by_rows::ResizeByRows;
pub use target::{TargetSpacing, axis_names};
