//! [`LowResolution`]: an image as if it had fewer pixels.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::draws::Draws;
use super::image_axis::{ImageAxis, check_axes, indices, plane};
use super::maps::{Maps, each_line};
use super::options::check_range;
use crate::setters::setters;
use crate::shape::ShapeError;

const NAME: &str = "LowResolution";

/// Shrinks the crop by the nearest pixels and enlarges it by linear interpolation to its size. Of `n` pixels on an axis
/// `round(s n)` are kept, one at least: the number `i` is the pixel `floor((i + 1/2) n / round(s n))`. `s` is uniform in
/// a range.
///
/// nnU-Net's `SimulateLowResolutionTransform` (version 2; version 1 enlarges by cubic interpolation).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct LowResolution {
    /// The smallest and the largest share of the pixels that are kept on an axis, from 0 to 1. Default: 0.5 and 1.
    pub scale: [f64; 2],
    /// The axes that are shrunk. Default: `Width` and `Height`.
    pub axes: Vec<ImageAxis>,
    /// Whether each channel has a share of its own. Default: no.
    pub per_channel: bool,
}

setters!(
    LowResolution:
    with_scale(scale: [f64; 2]),
    with_axes(axes: impl Into<Vec<ImageAxis>>),
    with_per_channel(per_channel: bool),
);

impl Default for LowResolution {
    fn default() -> Self {
        Self {
            scale: [0.5, 1.0],
            axes: plane(),
            per_channel: false,
        }
    }
}

impl LowResolution {
    pub(super) fn check(&self) -> Result<(), ShapeError> {
        check_range(NAME, "scale", self.scale, [0.0, 1.0])?;
        check_axes(NAME, "axes", &self.axes)
    }

    pub(super) fn apply(&self, maps: &mut Maps<'_>, draws: &mut Draws<'_>) {
        let (size, has_depth) = (maps.size, maps.has_depth);
        let draw = |draws: &mut Draws<'_>| draws.uniform(self.scale);
        maps.each(self.per_channel, draws, draw, |map, scale| {
            for axis in indices(&self.axes, has_depth) {
                let kept = (scale * size[axis] as f64 + 0.5) as usize;
                each_line(map, size, axis, |line| shrink(line, kept.max(1)));
            }
        });
    }
}

/// Shrinks a line to so many pixels, and enlarges it to its length.
fn shrink(line: &mut [f32], kept: usize) {
    let length = line.len();
    if kept >= length {
        return;
    }
    // (`(2 i + 1) n / (2 m)` in whole numbers.)
    let nearest = (0..kept).map(|i| line[(2 * i + 1) * length / (2 * kept)]);
    let small: Vec<f32> = nearest.collect();
    for (i, value) in line.iter_mut().enumerate() {
        let at = (i as f64 + 0.5) * kept as f64 / length as f64 - 0.5;
        let at = at.clamp(0.0, (kept - 1) as f64);
        let low = at as usize;
        let weight = (at - low as f64) as f32;
        let high = small[(low + 1).min(kept - 1)];
        *value = small[low] * (1.0 - weight) + high * weight;
    }
}
