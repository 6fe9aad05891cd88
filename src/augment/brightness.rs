//! [`Brightness`]: multiplies the intensities, and adds to them.

use serde::{Deserialize, Serialize};

use super::draws::Draws;
use super::maps::Maps;
use super::options::check_range;
use crate::setters::setters;
use crate::shape::ShapeError;

/// Multiplies the intensities and adds to them: `y = f x + s`. The logarithm of `f` and `s` itself are uniform in a
/// range.
///
/// nnU-Net's `MultiplicativeBrightnessTransform`; with `shift` also batchgenerators' `BrightnessTransform`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Brightness {
    /// The smallest and the largest factor, from 0.01 to 100. Default: 0.75 and 1.25.
    pub factor: [f64; 2],
    /// The smallest and the largest number that is added, in the units of the image. Default: 0 and 0.
    pub shift: [f64; 2],
    /// Whether each channel has numbers of its own. Default: no.
    pub per_channel: bool,
}

setters!(
    Brightness:
    with_factor(factor: [f64; 2]),
    with_shift(shift: [f64; 2]),
    with_per_channel(per_channel: bool),
);

impl Default for Brightness {
    fn default() -> Self {
        Self {
            factor: [0.75, 1.25],
            shift: [0.0, 0.0],
            per_channel: false,
        }
    }
}

impl Brightness {
    pub(super) fn check(&self) -> Result<(), ShapeError> {
        check_range("Brightness", "factor", self.factor, [0.01, 100.0])?;
        check_range("Brightness", "shift", self.shift, [-1e9, 1e9])
    }

    pub(super) fn apply(&self, maps: &mut Maps<'_>, draws: &mut Draws<'_>) {
        let draw = |draws: &mut Draws<'_>| {
            let factor = draws.factor(self.factor);
            [factor, draws.uniform(self.shift)]
        };
        maps.each(self.per_channel, draws, draw, |map, [factor, shift]| {
            for value in map {
                *value = (factor * f64::from(*value) + shift) as f32;
            }
        });
    }
}
