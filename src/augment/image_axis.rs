//! [`ImageAxis`]: an axis of an image or a volume, by its name.

use alloc::{format, vec, vec::Vec};

use serde::{Deserialize, Serialize};

use crate::shape::ShapeError;

/// An axis of an image or a volume. An image has no `Depth`: what a transform says of it is then left out, so that one
/// list of transforms serves images and volumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum ImageAxis {
    /// From slice to slice: the first axis of a volume.
    Depth,
    /// From row to row.
    Height,
    /// From column to column: the last axis.
    Width,
}

impl ImageAxis {
    /// The position in `[depth, height, width]`.
    pub(super) const fn index(self) -> usize {
        match self {
            Self::Depth => 0,
            Self::Height => 1,
            Self::Width => 2,
        }
    }
}

/// The axes within a slice.
pub(super) fn plane() -> Vec<ImageAxis> {
    vec![ImageAxis::Width, ImageAxis::Height]
}

/// The positions of axes in `[depth, height, width]`; `Depth` only where there are three axes.
pub(super) fn indices(axes: &[ImageAxis], has_depth: bool) -> impl Iterator<Item = usize> + '_ {
    let axes = axes.iter().map(|axis| axis.index());
    axes.filter(move |&axis| has_depth || axis > 0)
}

/// Refuses a list of axes that is empty, or has one twice.
pub(super) fn check_axes(
    transform: &str,
    what: &str,
    axes: &[ImageAxis],
) -> Result<(), ShapeError> {
    let is_twice = |(i, axis): (usize, &ImageAxis)| axes[..i].contains(axis);
    match axes.is_empty() || axes.iter().enumerate().any(is_twice) {
        false => Ok(()),
        true => Err(ShapeError::new(
            transform,
            format!("{what} is {axes:?}"),
            "Name one or more of Depth, Height and Width, each once",
        )),
    }
}
