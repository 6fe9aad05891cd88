//! [`Blur`]: a Gaussian filter.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::draws::Draws;
use super::image_axis::{ImageAxis, check_axes, indices, plane};
use super::maps::{Maps, each_line};
use super::options::check_range;
use super::resample::reflected;
use crate::setters::setters;
use crate::shape::ShapeError;

const NAME: &str = "Blur";

/// A Gaussian filter, one axis after the other: `y(i) = sum_k w_k x(i + k) / sum_k w_k`, with
/// `w_k = exp(-k^2 / (2 s^2))` for `|k| <= 4 s + 1/2`, and `s` uniform in a range. Outside of the crop lies its
/// reflection.
///
/// nnU-Net's `GaussianBlurTransform`; the filter is scipy's `gaussian_filter` with its defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Blur {
    /// The smallest and the largest standard deviation, in pixels, from 0 to 100. Default: 0.5 and 1.
    pub deviation: [f64; 2],
    /// The axes that are blurred. Default: `Width` and `Height`.
    pub axes: Vec<ImageAxis>,
    /// Whether each channel has a deviation of its own. Default: no.
    pub per_channel: bool,
}

setters!(
    Blur:
    with_deviation(deviation: [f64; 2]),
    with_axes(axes: impl Into<Vec<ImageAxis>>),
    with_per_channel(per_channel: bool),
);

impl Default for Blur {
    fn default() -> Self {
        Self {
            deviation: [0.5, 1.0],
            axes: plane(),
            per_channel: false,
        }
    }
}

impl Blur {
    pub(super) fn check(&self) -> Result<(), ShapeError> {
        check_range(NAME, "deviation", self.deviation, [0.0, 100.0])?;
        check_axes(NAME, "axes", &self.axes)
    }

    pub(super) fn apply(&self, maps: &mut Maps<'_>, draws: &mut Draws<'_>) {
        let (size, has_depth) = (maps.size, maps.has_depth);
        let draw = |draws: &mut Draws<'_>| draws.uniform(self.deviation);
        maps.each(self.per_channel, draws, draw, |map, deviation| {
            let weights = weights(deviation);
            for axis in indices(&self.axes, has_depth) {
                each_line(map, size, axis, |line| blur(line, &weights));
            }
        });
    }
}

/// The weights from the middle outwards; all of them, on both sides, add up to 1.
fn weights(deviation: f64) -> Vec<f64> {
    let radius = (4.0 * deviation + 0.5) as usize;
    let weight = |k: usize| match k {
        0 => 1.0,
        k => libm::exp(-((k * k) as f64) / (2.0 * deviation * deviation)),
    };
    let weights: Vec<f64> = (0..=radius).map(weight).collect();
    let sum = 2.0 * weights.iter().sum::<f64>() - 1.0;
    weights.iter().map(|weight| weight / sum).collect()
}

fn blur(line: &mut [f32], weights: &[f64]) {
    let radius = weights.len() as i64 - 1;
    let length = line.len();
    let padded = (-radius..length as i64 + radius).map(|at| line[reflected(at, length)]);
    let padded: Vec<f64> = padded.map(f64::from).collect();
    for (i, value) in line.iter_mut().enumerate() {
        let middle = i + radius as usize;
        let sides = weights.iter().enumerate().skip(1);
        let sides = sides.map(|(k, weight)| weight * (padded[middle - k] + padded[middle + k]));
        *value = (weights[0] * padded[middle] + sides.sum::<f64>()) as f32;
    }
}
