//! [`Noise`]: adds Gaussian noise.

use serde::{Deserialize, Serialize};

use super::draws::Draws;
use super::maps::Maps;
use super::options::check_range;
use crate::setters::setters;
use crate::shape::ShapeError;

/// Adds Gaussian noise: `y = x + s n`, with `n` of the normal distribution, independent for each value, and `s` uniform
/// in a range.
///
/// nnU-Net's `GaussianNoiseTransform`, which has the same numbers for images with a deviation of 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Noise {
    /// The smallest and the largest standard deviation, in the units of the image: 0 or more. Default: 0 and 0.1, for
    /// images that are normalised to a deviation of 1, or to numbers between 0 and 1.
    pub deviation: [f64; 2],
}

setters!(Noise: with_deviation(deviation: [f64; 2]));

impl Default for Noise {
    fn default() -> Self {
        Self {
            deviation: [0.0, 0.1],
        }
    }
}

impl Noise {
    pub(super) fn check(&self) -> Result<(), ShapeError> {
        check_range("Noise", "deviation", self.deviation, [0.0, 1e9])
    }

    pub(super) fn apply(&self, maps: &mut Maps<'_>, draws: &mut Draws<'_>) {
        let deviation = draws.uniform(self.deviation);
        for value in maps.values.iter_mut() {
            *value += (deviation * draws.normal()) as f32;
        }
    }
}
