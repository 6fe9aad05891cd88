//! [`Mode`]: what labels and scores say, and reading both.

use alloc::{format, vec::Vec};

use burn::config::Config;
use burn::tensor::{Int, Tensor, TensorReadError};
use serde::{Deserialize, Serialize};

use super::label_map::LabelMap;
use super::overlap_counts::NAME;
use crate::shape::{ShapeError, check_positive};

/// What the labels say: `mode` of `segmentation_models_pytorch.metrics.get_stats`.
///
/// # Example
/// ```
/// use burn_skip::metric::Mode;
///
/// // Probabilities, not logits: 0.5 is as likely as not.
/// let mode = Mode::Binary { threshold: 0.5 };
/// assert_eq!(mode.classes(), 1);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub enum Mode {
    /// Each position has one class, from 0 to `classes - 1`. Of scores, the channel with the largest is predicted,
    /// the first of equal ones.
    MultiClass {
        /// How many.
        classes: usize,
    },
    /// Foreground, 1, or background, 0. It is scored as one class, the foreground.
    Binary {
        /// Scores from here on are foreground: 0 for logits, 0.5 for probabilities.
        #[serde(default)]
        threshold: f64,
    },
    /// Each position has any number of classes; each channel is 1 or 0 for itself.
    MultiLabel {
        /// How many.
        classes: usize,
        /// Scores from here on are 1: 0 for logits, 0.5 for probabilities.
        #[serde(default)]
        threshold: f64,
    },
}

impl Config for Mode {}

impl Mode {
    /// How many classes are scored.
    pub const fn classes(&self) -> usize {
        match *self {
            Self::MultiClass { classes } | Self::MultiLabel { classes, .. } => classes,
            Self::Binary { .. } => 1,
        }
    }

    /// Checks the options.
    ///
    /// # Errors
    /// When there is no class, or the threshold is NaN.
    pub fn validate(&self) -> Result<(), ShapeError> {
        check_positive(NAME, "classes", self.classes())?;
        match *self {
            Self::Binary { threshold } | Self::MultiLabel { threshold, .. }
                if threshold.is_nan() =>
            {
                Err(ShapeError::new(
                    NAME,
                    "threshold is NaN",
                    "Choose a number, such as 0 for logits",
                ))
            }
            _ => Ok(()),
        }
    }

    /// Refuses scores with other channels than this mode has.
    pub(super) fn check_scores(&self, shape: &[usize]) -> Result<(), ShapeError> {
        let classes = self.classes();
        if shape.get(1) == Some(&classes) {
            return Ok(());
        }
        Err(ShapeError::new(
            NAME,
            format!("scores of the shape {shape:?} for {classes} classes"),
            format!("Give scores [batch, {classes}, spatial...]"),
        ))
    }

    /// Reads what scores predict.
    pub(super) fn predict<const R: usize>(
        &self,
        scores: &Tensor<R>,
    ) -> Result<Labels, TensorReadError> {
        Labels::read(&match *self {
            Self::MultiClass { .. } => scores.clone().argmax(1),
            Self::Binary { threshold } | Self::MultiLabel { threshold, .. } => {
                scores.clone().greater_equal_elem(threshold).int()
            }
        })
    }
}

/// Labels in memory.
pub(super) struct Labels {
    pub shape: Vec<usize>,
    pub values: Vec<i64>,
}

impl Labels {
    pub fn read<const L: usize>(labels: &Tensor<L, Int>) -> Result<Self, TensorReadError> {
        Ok(Self {
            shape: labels.dims().to_vec(),
            values: labels.try_to_vec_as::<i64>()?,
        })
    }

    /// Of a batch of one image.
    pub fn of_map(map: &LabelMap) -> Self {
        Self {
            shape: [&[1], map.size()].concat(),
            values: map.labels().to_vec(),
        }
    }
}
