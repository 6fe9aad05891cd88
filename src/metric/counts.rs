//! [`Counts`]: right and wrong positions of one class.

use core::iter::Sum;
use core::ops::AddAssign;

use alloc::{format, vec, vec::Vec};

use serde::{Deserialize, Serialize};

use super::overlap_counts::NAME;
use crate::shape::ShapeError;

/// The positions of one class in one image, or in several.
///
/// # Example
/// ```
/// use burn_skip::metric::Counts;
///
/// let image = Counts { true_positives: 2, false_positives: 1, false_negatives: 0, true_negatives: 3 };
/// let both: Counts = [image, image].into_iter().sum();
/// assert_eq!(both.true_negatives, 6);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Of the class, and predicted so.
    pub true_positives: u64,
    /// Predicted as the class, and not of it.
    pub false_positives: u64,
    /// Of the class, and not predicted so.
    pub false_negatives: u64,
    /// Neither of the class nor predicted so.
    pub true_negatives: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.true_positives += other.true_positives;
        self.false_positives += other.false_positives;
        self.false_negatives += other.false_negatives;
        self.true_negatives += other.true_negatives;
    }
}

impl Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), |mut sum, counts| {
            sum += counts;
            sum
        })
    }
}

/// Counts the positions of one image, or of one channel of it: labels from 0 to `classes - 1`, none of which is
/// `ignored`.
///
/// # Errors
/// When a label is not a class.
pub(super) fn count_classes(
    classes: usize,
    ignored: Option<i64>,
    predicted: &[i64],
    truth: &[i64],
) -> Result<Vec<Counts>, ShapeError> {
    let class = |label: i64, whose: &str| {
        let class = usize::try_from(label).ok().filter(|&class| class < classes);
        class.ok_or_else(|| {
            ShapeError::new(
                NAME,
                format!("{whose} is {label}, and there are {classes} classes"),
                format!("Use labels from 0 to {}, or ignore this one", classes - 1),
            )
        })
    };
    let mut counts = vec![Counts::default(); classes];
    let mut positions = 0;
    for (&predicted, &truth) in predicted.iter().zip(truth) {
        if Some(truth) == ignored {
            continue;
        }
        positions += 1;
        let truth = class(truth, "a label")?;
        let predicted = class(predicted, "a predicted label")?;
        if truth == predicted {
            counts[truth].true_positives += 1;
        } else {
            counts[truth].false_negatives += 1;
            counts[predicted].false_positives += 1;
        }
    }
    for c in &mut counts {
        c.true_negatives = positions - c.true_positives - c.false_positives - c.false_negatives;
    }
    Ok(counts)
}
