//! [`Overlap`]: scores from the counts of right and wrong positions.

use core::fmt;

use alloc::format;

use burn::config::Config;
use serde::{Deserialize, Serialize};

use super::counts::Counts;
use crate::shape::ShapeError;

const NAME: &str = "Overlap";

/// A score of the overlap between predicted and true labels, of true positives `tp`, false positives `fp`, false
/// negatives `fn` and true negatives `tn`.
///
/// The functions of `segmentation_models_pytorch.metrics`. Its false negative, positive and discovery rates are 1
/// minus recall, specificity and precision.
///
/// # Example
/// ```
/// use burn_skip::metric::{Counts, Overlap};
///
/// let counts = Counts { true_positives: 2, false_positives: 1, false_negatives: 1, true_negatives: 4 };
/// assert_eq!(Overlap::Iou.of(&counts), 0.5);
/// assert_eq!(Overlap::Specificity.of(&counts), 0.8);
/// // In a file:
/// let read: Overlap = serde_json::from_str(r#"{"FBeta": {"beta": 2.0}}"#).unwrap();
/// assert_eq!(read, Overlap::FBeta { beta: 2.0 });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub enum Overlap {
    /// Intersection over union, the Jaccard index: `tp / (tp + fp + fn)`.
    Iou,
    /// Dice coefficient, F1: `2 tp / (2 tp + fp + fn)`.
    Dice,
    /// `(1 + beta^2) tp / ((1 + beta^2) tp + beta^2 fn + fp)`: recall counts `beta` times as much as precision.
    FBeta {
        /// The weight of recall. 1 is [`Dice`](Self::Dice).
        beta: f64,
    },
    /// Positive predictive value: `tp / (tp + fp)`.
    Precision,
    /// Sensitivity, true positive rate: `tp / (tp + fn)`.
    Recall,
    /// True negative rate: `tn / (tn + fp)`.
    Specificity,
    /// `(tp + tn) / (tp + fp + fn + tn)`.
    Accuracy,
    /// The mean of recall and specificity.
    BalancedAccuracy,
}

impl Config for Overlap {}

impl Overlap {
    /// Checks the options.
    ///
    /// # Errors
    /// When beta is negative or not finite.
    pub fn validate(&self) -> Result<(), ShapeError> {
        match *self {
            Self::FBeta { beta } if !(beta.is_finite() && beta >= 0.0) => Err(ShapeError::new(
                NAME,
                format!("beta is {beta}"),
                "Choose 0 or a positive number, such as 2",
            )),
            _ => Ok(()),
        }
    }

    /// The score. NaN where it is 0 / 0.
    pub fn of(&self, counts: &Counts) -> f64 {
        let tp = counts.true_positives as f64;
        let fp = counts.false_positives as f64;
        let r#fn = counts.false_negatives as f64;
        let tn = counts.true_negatives as f64;
        let f_beta = |beta: f64| {
            let square = beta * beta;
            let weighted = (1.0 + square) * tp;
            weighted / (weighted + square * r#fn + fp)
        };
        let recall = tp / (tp + r#fn);
        let specificity = tn / (tn + fp);
        match *self {
            Self::Iou => tp / (tp + fp + r#fn),
            Self::Dice => f_beta(1.0),
            Self::FBeta { beta } => f_beta(beta),
            Self::Precision => tp / (tp + fp),
            Self::Recall => recall,
            Self::Specificity => specificity,
            Self::Accuracy => (tp + tn) / (tp + fp + r#fn + tn),
            Self::BalancedAccuracy => (recall + specificity) / 2.0,
        }
    }
}

/// The name in a table of results: `IoU`, `F2`.
impl fmt::Display for Overlap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Iou => f.write_str("IoU"),
            Self::Dice => f.write_str("Dice"),
            Self::FBeta { beta } => write!(f, "F{beta}"),
            Self::Precision => f.write_str("Precision"),
            Self::Recall => f.write_str("Recall"),
            Self::Specificity => f.write_str("Specificity"),
            Self::Accuracy => f.write_str("Accuracy"),
            Self::BalancedAccuracy => f.write_str("Balanced accuracy"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    const COUNTS: Counts = Counts {
        true_positives: 6,
        false_positives: 2,
        false_negatives: 4,
        true_negatives: 8,
    };

    #[test]
    fn values() {
        let expected = [
            (Overlap::Iou, 0.5),
            (Overlap::Dice, 12.0 / 18.0),
            (Overlap::FBeta { beta: 2.0 }, 30.0 / 48.0),
            (Overlap::Precision, 0.75),
            (Overlap::Recall, 0.6),
            (Overlap::Specificity, 0.8),
            (Overlap::Accuracy, 0.7),
            (Overlap::BalancedAccuracy, 0.7),
        ];
        for (overlap, expected) in expected {
            let found = overlap.of(&COUNTS);
            assert!((found - expected).abs() < 1e-12, "{overlap}: {found}");
            assert!(overlap.of(&Counts::default()).is_nan(), "{overlap}");
        }
        // The limits of F-beta.
        let f_beta = |beta| Overlap::FBeta { beta }.of(&COUNTS);
        assert_eq!(f_beta(0.0), Overlap::Precision.of(&COUNTS));
        assert!((f_beta(1e6) - Overlap::Recall.of(&COUNTS)).abs() < 1e-9);
    }

    #[test]
    fn a_beta_that_is_no_weight_is_refused() {
        let error = Overlap::FBeta { beta: -1.0 }.validate().unwrap_err();
        assert_eq!(
            error.to_string(),
            "Overlap: beta is -1. Choose 0 or a positive number, such as 2."
        );
        assert!(Overlap::FBeta { beta: f64::NAN }.validate().is_err());
        assert_eq!(Overlap::FBeta { beta: 0.5 }.to_string(), "F0.5");
    }
}
