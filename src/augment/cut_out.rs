//! [`CutOut`]: holes in an image.

use serde::{Deserialize, Serialize};

use super::draws::Draws;
use super::maps::{Maps, Statistics};
use super::options::{check_number, check_range};
use crate::setters::setters;
use crate::shape::ShapeError;

const NAME: &str = "CutOut";

/// Fills boxes of the image with one value; the mask keeps what they hide. The centre of a box is anywhere in the crop,
/// so that a part of it may lie outside.
///
/// DeVries and Taylor, arXiv:1708.04552, which fills with 0 after the mean was subtracted; batchgenerators'
/// `BlankRectangleTransform`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct CutOut {
    /// How many boxes there are, up to 1000. Default: 1.
    pub count: usize,
    /// The smallest and the largest side of a box, as a share of the crop's side, from 0 to 1. Each box has one share for
    /// all axes, uniform between them, and is a pixel long at least if the share is above 0. Default: 0.1 and 0.3.
    pub side: [f64; 2],
    /// What a box is filled with. Default: the mean of the channel in the crop.
    pub fill: CutOutFill,
}

/// What the boxes of [`CutOut`] are filled with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum CutOutFill {
    /// The mean of each channel in the crop.
    #[default]
    Mean,
    /// A number, in the units of the image.
    Value(f32),
}

setters!(
    CutOut:
    with_count(count: usize),
    with_side(side: [f64; 2]),
    with_fill(fill: CutOutFill),
);

impl Default for CutOut {
    fn default() -> Self {
        Self {
            count: 1,
            side: [0.1, 0.3],
            fill: CutOutFill::default(),
        }
    }
}

impl CutOut {
    pub(super) fn check(&self) -> Result<(), ShapeError> {
        check_number(NAME, "count", self.count as f64, [0.0, 1000.0])?;
        check_range(NAME, "side", self.side, [0.0, 1.0])?;
        match self.fill {
            CutOutFill::Value(value) => check_number(NAME, "fill", value.into(), [-1e9, 1e9]),
            CutOutFill::Mean => Ok(()),
        }
    }

    pub(super) fn apply(&self, maps: &mut Maps<'_>, draws: &mut Draws<'_>) {
        let size = maps.size;
        let fill = |map: &mut [f32]| match self.fill {
            CutOutFill::Mean => Statistics::of(map).mean as f32,
            CutOutFill::Value(value) => value,
        };
        let fills: alloc::vec::Vec<f32> = maps.channels().map(fill).collect();
        for _ in 0..self.count {
            let share = draws.uniform(self.side);
            if share == 0.0 {
                continue;
            }
            let [slices, rows, columns] = size.map(|length| {
                let side = ((share * length as f64 + 0.5) as usize).max(1);
                let end = draws.below(length) + side.div_ceil(2);
                end.saturating_sub(side)..end.min(length)
            });
            for (map, &fill) in maps.channels().zip(&fills) {
                for z in slices.clone() {
                    for y in rows.clone() {
                        let row = (z * size[1] + y) * size[2];
                        map[row + columns.start..row + columns.end].fill(fill);
                    }
                }
            }
        }
    }
}
