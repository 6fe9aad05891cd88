//! [`Surface`]: which score of the distances between two surfaces, as data.

use core::fmt;

use alloc::format;

use burn::config::Config;
use serde::{Deserialize, Serialize};

use crate::shape::ShapeError;

const NAME: &str = "Surface";

/// A score of the distances between two surfaces. Distances are in the unit of the spacing.
///
/// `P` are the distances of the predicted surface's positions to the true surface, `T` those of the true surface's
/// positions to the predicted one.
///
/// # Example
/// ```
/// use burn_skip::metric::{LabelMap, Surface, SurfaceDistances};
///
/// let map = |labels: [i64; 8]| LabelMap::new([8], labels.to_vec()).unwrap();
/// let (predicted, truth) = (map([0, 1, 1, 1, 1, 0, 0, 0]), map([0, 1, 1, 1, 1, 1, 1, 0]));
/// let distances = SurfaceDistances::between(&predicted, &truth, 1, &[1.0]).unwrap();
/// // The ends are 0 and 2 positions apart.
/// assert_eq!(distances.score(Surface::Hausdorff { percentile: 100.0 }), 2.0);
/// assert_eq!(distances.score(Surface::Dice { tolerance: 1.0 }), 0.5);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub enum Surface {
    /// Hausdorff distance, `max(percentile(P), percentile(T))`; MONAI's `compute_hausdorff_distance`.
    Hausdorff {
        /// From 0 to 100. 100 is the largest distance, 95 is known as HD95.
        percentile: f64,
    },
    /// Directed Hausdorff distance, `percentile(P)`; MONAI's with `directed=True`.
    DirectedHausdorff {
        /// From 0 to 100. 100 is the largest distance.
        percentile: f64,
    },
    /// Average surface distance, `mean(P)`; MONAI's `compute_average_surface_distance`.
    AverageDistance,
    /// Average symmetric surface distance, the mean of `P` and `T` together; MONAI's with `symmetric=True`.
    AverageSymmetricDistance,
    /// Surface Dice, normalised surface distance (NSD, arXiv:1809.04430): the fraction of `P` and `T` together that
    /// is at most the tolerance; MONAI's `compute_surface_dice`. Each position of a surface counts the same; both
    /// sides are compared in single precision, as there.
    Dice {
        /// The largest distance that is right.
        tolerance: f64,
    },
}

impl Config for Surface {}

impl Surface {
    /// Checks the options.
    ///
    /// # Errors
    /// When the percentile is not in `[0, 100]`, or the tolerance is negative or not finite.
    pub fn validate(&self) -> Result<(), ShapeError> {
        match *self {
            Self::Hausdorff { percentile } | Self::DirectedHausdorff { percentile }
                if !(0.0..=100.0).contains(&percentile) =>
            {
                Err(ShapeError::new(
                    NAME,
                    format!("percentile is {percentile}"),
                    "Choose a number from 0 to 100, such as 95",
                ))
            }
            Self::Dice { tolerance } if !(tolerance.is_finite() && tolerance >= 0.0) => {
                Err(ShapeError::new(
                    NAME,
                    format!("tolerance is {tolerance}"),
                    "Choose 0 or a positive number",
                ))
            }
            _ => Ok(()),
        }
    }
}

/// The name in a table of results: `HD95`, `surface Dice at 2`.
impl fmt::Display for Surface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hausdorff { percentile } => write!(f, "HD{percentile}"),
            Self::DirectedHausdorff { percentile } => write!(f, "directed HD{percentile}"),
            Self::AverageDistance => f.write_str("ASD"),
            Self::AverageSymmetricDistance => f.write_str("ASSD"),
            Self::Dice { tolerance } => write!(f, "surface Dice at {tolerance}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn options_out_of_range_are_refused() {
        let text = |surface: Surface| surface.validate().unwrap_err().to_string();
        assert_eq!(
            text(Surface::Hausdorff { percentile: 101.0 }),
            "Surface: percentile is 101. Choose a number from 0 to 100, such as 95."
        );
        assert!(
            text(Surface::DirectedHausdorff {
                percentile: f64::NAN
            })
            .contains("is NaN")
        );
        assert_eq!(
            text(Surface::Dice { tolerance: -0.5 }),
            "Surface: tolerance is -0.5. Choose 0 or a positive number."
        );
        assert_eq!(Surface::Dice { tolerance: 0.0 }.validate(), Ok(()));
        let hd95 = Surface::Hausdorff { percentile: 95.0 };
        assert_eq!(hd95.to_string(), "HD95");
    }
}
