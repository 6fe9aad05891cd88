//! [`Rotate`]: turns an image by any angle.

use alloc::{vec, vec::Vec};

use serde::{Deserialize, Serialize};

use super::draws::Draws;
use super::image_axis::{ImageAxis, check_axes};
use super::options::check_range;
use super::warp::{Matrix, PullBack};
use crate::setters::setters;
use crate::shape::ShapeError;

const NAME: &str = "Rotate";

/// Turns the image about the centre of the crop, by an angle that is uniform in a range.
///
/// The pixel at the offset `(x, y)` from the centre comes from `(x cos a - y sin a, x sin a + y cos a)`: a positive
/// angle turns counter-clockwise as the image is shown. About `Height` the same holds of `(x, z)`, about `Width` of
/// `(y, z)`. Angles are of pixels: turn out of the slice (`about` with `Height` or `Width`) only where a voxel is as
/// deep as it is wide.
///
/// nnU-Net's `SpatialTransform` turns by up to 180 degrees in images and 30 in volumes (arXiv:1904.08128, supplement).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Rotate {
    /// The smallest and the largest angle, in degrees, from -360 to 360. Default: -30 and 30.
    pub degrees: [f64; 2],
    /// The axes that it is turned about, one after the other, each by an angle of its own. Default: `Depth`, which
    /// turns the plane of an image, and each slice of a volume.
    pub about: Vec<ImageAxis>,
}

setters!(
    Rotate:
    with_degrees(degrees: [f64; 2]),
    with_about(about: impl Into<Vec<ImageAxis>>),
);

impl Default for Rotate {
    fn default() -> Self {
        Self {
            degrees: [-30.0, 30.0],
            about: vec![ImageAxis::Depth],
        }
    }
}

impl Rotate {
    pub(super) fn check(&self) -> Result<(), ShapeError> {
        check_range(NAME, "degrees", self.degrees, [-360.0, 360.0])?;
        check_axes(NAME, "about", &self.about)
    }

    pub(super) fn draw(&self, has_depth: bool, draws: &mut Draws<'_>) -> PullBack {
        // (An image has one axis to turn about.)
        let axes = self.about.iter().map(|axis| axis.index());
        let axes = axes.filter(|&axis| has_depth || axis == ImageAxis::Depth.index());
        let turns = axes.map(|axis| {
            let angle = draws.uniform(self.degrees).to_radians();
            let plane = match axis {
                0 => [2, 1],
                1 => [2, 0],
                _ => [1, 0],
            };
            Matrix::rotation(plane, libm::cos(angle), libm::sin(angle))
        });
        let turned = turns.fold(Matrix::IDENTITY, |first, next| first.times(&next));
        PullBack::Linear(turned)
    }
}
