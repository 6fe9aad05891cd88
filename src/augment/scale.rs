//! [`Scale`]: enlarges or shrinks an image.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::draws::Draws;
use super::image_axis::{ImageAxis, check_axes, indices, plane};
use super::options::check_range;
use super::warp::{Matrix, PullBack};
use crate::setters::setters;
use crate::shape::ShapeError;

const NAME: &str = "Scale";

/// Enlarges what the crop shows by a factor `f`, about its centre: the pixel at the offset `p` comes from `p / f`. The
/// logarithm of `f` is uniform in a range.
///
/// nnU-Net's `SpatialTransform` draws from the reciprocal of a number between 0.7 and 1.4, half of the time below 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Scale {
    /// The smallest and the largest factor, from 0.01 to 100; above 1 enlarges. Default: 0.7 and 1.4.
    pub factor: [f64; 2],
    /// The axes that are scaled. Default: `Width` and `Height`, so that slices of a volume stay slices.
    pub axes: Vec<ImageAxis>,
    /// Whether each axis has a factor of its own, which changes the ratio of the sides. Default: no.
    pub per_axis: bool,
}

setters!(
    Scale:
    with_factor(factor: [f64; 2]),
    with_axes(axes: impl Into<Vec<ImageAxis>>),
    with_per_axis(per_axis: bool),
);

impl Default for Scale {
    fn default() -> Self {
        Self {
            factor: [0.7, 1.4],
            axes: plane(),
            per_axis: false,
        }
    }
}

impl Scale {
    pub(super) fn check(&self) -> Result<(), ShapeError> {
        check_range(NAME, "factor", self.factor, [0.01, 100.0])?;
        check_axes(NAME, "axes", &self.axes)
    }

    pub(super) fn draw(&self, has_depth: bool, draws: &mut Draws<'_>) -> PullBack {
        let mut matrix = Matrix::IDENTITY;
        let mut factor = draws.factor(self.factor);
        for (i, axis) in indices(&self.axes, has_depth).enumerate() {
            if self.per_axis && i > 0 {
                factor = draws.factor(self.factor);
            }
            matrix.0[axis][axis] = 1.0 / factor;
        }
        PullBack::Linear(matrix)
    }
}
