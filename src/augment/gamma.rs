//! [`Gamma`]: a power of the intensities.

use serde::{Deserialize, Serialize};

use super::draws::Draws;
use super::maps::{Maps, Statistics};
use super::options::check_range;
use crate::setters::setters;
use crate::shape::ShapeError;

/// A power of the intensities: `y = a + (b - a) ((x - a) / (b - a))^g`, where `a` is the least and `b` the greatest value
/// of the channel in the crop. The logarithm of `g` is uniform in a range: above 1 darkens, below 1 brightens.
///
/// nnU-Net's `GammaTransform`, which draws `g` uniformly below 1 half of the time. A channel of one value stays as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Gamma {
    /// The smallest and the largest exponent, from 0.01 to 100. Default: 0.7 and 1.5.
    pub exponent: [f64; 2],
    /// Whether the power is of the negative image, `(b - x) / (b - a)`, so that bright parts change most. Default: no.
    pub invert: bool,
    /// Whether the mean and the standard deviation of the channel are restored, so that only the form of its histogram
    /// changes. Default: yes, as in nnU-Net.
    pub retain_statistics: bool,
    /// Whether each channel has an exponent of its own. Default: no, which keeps the colours of a photograph.
    pub per_channel: bool,
}

setters!(
    Gamma:
    with_exponent(exponent: [f64; 2]),
    with_invert(invert: bool),
    with_retain_statistics(retain_statistics: bool),
    with_per_channel(per_channel: bool),
);

impl Default for Gamma {
    fn default() -> Self {
        Self {
            exponent: [0.7, 1.5],
            invert: false,
            retain_statistics: true,
            per_channel: false,
        }
    }
}

impl Gamma {
    pub(super) fn check(&self) -> Result<(), ShapeError> {
        check_range("Gamma", "exponent", self.exponent, [0.01, 100.0])
    }

    pub(super) fn apply(&self, maps: &mut Maps<'_>, draws: &mut Draws<'_>) {
        let draw = |draws: &mut Draws<'_>| draws.factor(self.exponent);
        maps.each(self.per_channel, draws, draw, |map, exponent| {
            self.change(map, exponent);
        });
    }

    fn change(&self, map: &mut [f32], exponent: f64) {
        let before = Statistics::of(map);
        if exponent == 1.0 || !before.is_varied() {
            return;
        }
        let [least, most] = [before.least, before.most].map(f64::from);
        let range = most - least;
        for value in map.iter_mut() {
            let x = f64::from(*value);
            let y = match self.invert {
                true => most - range * libm::pow((most - x) / range, exponent),
                false => least + range * libm::pow((x - least) / range, exponent),
            };
            *value = y as f32;
        }
        if self.retain_statistics {
            let after = Statistics::of(map);
            if after.is_varied() {
                let ratio = before.deviation / after.deviation;
                map.iter_mut().for_each(|value| {
                    *value = ((f64::from(*value) - after.mean) * ratio + before.mean) as f32;
                });
            }
        }
    }
}
