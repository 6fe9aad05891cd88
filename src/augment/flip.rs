//! [`Flip`]: mirrors an image.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::draws::Draws;
use super::image_axis::{ImageAxis, check_axes, indices};
use super::warp::{Matrix, PullBack};
use crate::setters::setters;
use crate::shape::ShapeError;

/// Mirrors each of some axes with the probability of the step: `y(i) = x(n - 1 - i)`.
///
/// nnU-Net's `MirrorTransform`; albumentations' `HorizontalFlip` is of the axis `Width`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Flip {
    /// Which axes may be mirrored, each by itself. Default: all.
    pub axes: Vec<ImageAxis>,
}

setters!(Flip: with_axes(axes: impl Into<Vec<ImageAxis>>));

impl Default for Flip {
    fn default() -> Self {
        Self {
            axes: [ImageAxis::Width, ImageAxis::Height, ImageAxis::Depth].into(),
        }
    }
}

impl Flip {
    pub(super) fn check(&self) -> Result<(), ShapeError> {
        check_axes("Flip", "axes", &self.axes)
    }

    pub(super) fn draw(
        &self,
        probability: f64,
        has_depth: bool,
        draws: &mut Draws<'_>,
    ) -> PullBack {
        let mut matrix = Matrix::IDENTITY;
        for axis in indices(&self.axes, has_depth) {
            if draws.happens(probability) {
                matrix.0[axis][axis] = -1.0;
            }
        }
        PullBack::Linear(matrix)
    }
}
