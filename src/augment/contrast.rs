//! [`Contrast`]: stretches the intensities about their mean.

use serde::{Deserialize, Serialize};

use super::draws::Draws;
use super::maps::{Maps, Statistics};
use super::options::check_range;
use crate::setters::setters;
use crate::shape::ShapeError;

/// Stretches the intensities about their mean: `y = clamp(mean + f (x - mean), min, max)`, all three of the channel in the
/// crop. The logarithm of `f` is uniform in a range.
///
/// nnU-Net's `ContrastTransform` with `preserve_range`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Contrast {
    /// The smallest and the largest factor, from 0.01 to 100. Default: 0.75 and 1.25.
    pub factor: [f64; 2],
    /// Whether each channel has a factor of its own. Default: no.
    pub per_channel: bool,
}

setters!(
    Contrast:
    with_factor(factor: [f64; 2]),
    with_per_channel(per_channel: bool),
);

impl Default for Contrast {
    fn default() -> Self {
        Self {
            factor: [0.75, 1.25],
            per_channel: false,
        }
    }
}

impl Contrast {
    pub(super) fn check(&self) -> Result<(), ShapeError> {
        check_range("Contrast", "factor", self.factor, [0.01, 100.0])
    }

    pub(super) fn apply(&self, maps: &mut Maps<'_>, draws: &mut Draws<'_>) {
        let draw = |draws: &mut Draws<'_>| draws.factor(self.factor);
        maps.each(self.per_channel, draws, draw, |map, factor| {
            let channel = Statistics::of(map);
            if factor == 1.0 || !channel.is_varied() {
                return;
            }
            for value in map {
                let y = channel.mean + factor * (f64::from(*value) - channel.mean);
                *value = (y as f32).clamp(channel.least, channel.most);
            }
        });
    }
}
