//! [`Elastic`]: deforms an image smoothly.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::draws::Draws;
use super::image_axis::{ImageAxis, check_axes, indices, plane};
use super::options::{check_number, check_range};
use super::resample::floor;
use super::warp::PullBack;
use crate::setters::setters;
use crate::shape::ShapeError;

const NAME: &str = "Elastic";

/// Moves pixels by a smooth random field: the pixel at `p` comes from `p + d(p)`.
///
/// `d` has a normal distribution at the points of a coarse grid, independent for each axis, and is interpolated between
/// them by cubic convolution (Keys 1981, with `a = -1/2`; of two axes: bicubic). U-Net (arXiv:1505.04597, section 3.1)
/// has a deviation of 10 pixels on 3x3 points for images of 512x512. With a deviation above a quarter of the spacing
/// the field folds in some places.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Elastic {
    /// The smallest and the largest deviation, in pixels, from 0 to 1000. The deviation of a crop is uniform between
    /// them. Default: 0 and 4.
    pub deviation: [f64; 2],
    /// The distance between the points of the grid, in pixels, from 1 to 10000. Default: 32.
    pub spacing: f64,
    /// The axes along which pixels move; along the others the field is constant. Default: `Width` and `Height`, so that
    /// all slices of a volume are deformed alike.
    pub axes: Vec<ImageAxis>,
}

setters!(
    Elastic:
    with_deviation(deviation: [f64; 2]),
    with_spacing(spacing: f64),
    with_axes(axes: impl Into<Vec<ImageAxis>>),
);

impl Default for Elastic {
    fn default() -> Self {
        Self {
            deviation: [0.0, 4.0],
            spacing: 32.0,
            axes: plane(),
        }
    }
}

impl Elastic {
    pub(super) fn check(&self) -> Result<(), ShapeError> {
        check_range(NAME, "deviation", self.deviation, [0.0, 1000.0])?;
        check_number(NAME, "spacing", self.spacing, [1.0, 10_000.0])?;
        check_axes(NAME, "axes", &self.axes)
    }

    pub(super) fn draw(
        &self,
        size: [usize; 3],
        has_depth: bool,
        draws: &mut Draws<'_>,
    ) -> PullBack {
        let deviation = draws.uniform(self.deviation);
        let mut field = Displacements {
            points: [1; 3],
            last: size.map(|length| (length - 1) as f64),
            spacing: self.spacing,
            offsets: Default::default(),
        };
        for axis in indices(&self.axes, has_depth) {
            // (One point before the crop, and two after its last pixel.)
            field.points[axis] = (field.last[axis] / self.spacing) as usize + 4;
        }
        let count: usize = field.points.iter().product();
        for axis in indices(&self.axes, has_depth) {
            let offsets = (0..count).map(|_| deviation * draws.normal());
            field.offsets[axis] = offsets.collect();
        }
        PullBack::Displaced(field)
    }
}

/// A field that is known at the points of a grid.
pub(super) struct Displacements {
    /// How many points there are on each axis; one where the field is constant.
    points: [usize; 3],
    /// The last pixel of the crop on each axis.
    last: [f64; 3],
    spacing: f64,
    /// The offset along each axis at every point; none where pixels do not move.
    offsets: [Vec<f64>; 3],
}

impl Displacements {
    /// How far the pixel at `at` of the crop is moved. Outside of the crop it is as at its edge.
    pub(super) fn offset(&self, at: [f64; 3]) -> [f64; 3] {
        let [z, y, x] = [0, 1, 2].map(|axis| self.weights(at[axis], axis));
        let mut offset = [0.0; 3];
        for (k, z_weight) in z.each() {
            for (j, y_weight) in y.each() {
                let row = (k * self.points[1] + j) * self.points[2];
                let weight = z_weight * y_weight;
                for (offset, points) in offset.iter_mut().zip(&self.offsets) {
                    if points.is_empty() {
                        continue;
                    }
                    let terms = x.each().map(|(i, x_weight)| x_weight * points[row + i]);
                    *offset += weight * terms.sum::<f64>();
                }
            }
        }
        offset
    }

    fn weights(&self, at: f64, axis: usize) -> Weights {
        if self.points[axis] == 1 {
            return Weights {
                first: 0,
                weights: [1.0, 0.0, 0.0, 0.0],
                count: 1,
            };
        }
        let at = at.clamp(0.0, self.last[axis]) / self.spacing;
        let first = floor(at);
        Weights {
            first: first as usize,
            weights: keys(at - first as f64),
            count: 4,
        }
    }
}

/// The points around a position on an axis, with their weights.
struct Weights {
    first: usize,
    weights: [f64; 4],
    count: usize,
}

impl Weights {
    fn each(&self) -> impl Iterator<Item = (usize, f64)> + '_ {
        let weights = self.weights.iter().copied().enumerate().take(self.count);
        weights.map(|(i, weight)| (self.first + i, weight))
    }
}

/// The weights of cubic convolution at `t` between the second point and the third.
fn keys(t: f64) -> [f64; 4] {
    let (t2, t3) = (t * t, t * t * t);
    [
        (-t3 + 2.0 * t2 - t) / 2.0,
        (3.0 * t3 - 5.0 * t2 + 2.0) / 2.0,
        (-3.0 * t3 + 4.0 * t2 + t) / 2.0,
        (t3 - t2) / 2.0,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn cubic_convolution_is_exact_for_parabolas() {
        let parabola = |x: f64| 2.0 * x * x - 3.0 * x + 1.0;
        for t in [0.0, 0.25, 0.5, 0.9] {
            let points = [-1.0, 0.0, 1.0, 2.0].map(parabola);
            let terms = keys(t).into_iter().zip(points).map(|(w, p)| w * p);
            assert!((terms.sum::<f64>() - parabola(t)).abs() < 1e-12);
        }
    }

    #[test]
    fn the_field_passes_through_its_points_and_ends_at_the_crop() {
        // Rows are not moved; columns by points at -4, 0, 4, 8 and 12 of 6 columns.
        let field = Displacements {
            points: [1, 1, 5],
            last: [0.0, 7.0, 5.0],
            spacing: 4.0,
            offsets: [vec![], vec![], vec![7.0, 1.0, -2.0, 3.0, 9.0]],
        };
        let offset = |y, x| field.offset([0.0, y, x]);
        assert_eq!(offset(0.0, 0.0), [0.0, 0.0, 1.0]);
        assert_eq!(offset(3.0, 4.0), [0.0, 0.0, -2.0]);
        // The middle of cubic convolution: (-a + 9 b + 9 c - d) / 16.
        assert_eq!(
            offset(3.0, 2.0),
            [0.0, 0.0, (-7.0 + 9.0 - 18.0 - 3.0) / 16.0]
        );
        assert_eq!(offset(0.0, -3.0), offset(0.0, 0.0));
        assert_eq!(offset(0.0, 80.0), offset(0.0, 5.0));
    }
}
