//! [`PanopticQuality`]: the scores from the counts of found and missed objects (arXiv:1801.00868, section 4).
//!
//! `PQ = sum_TP IoU / (TP + FP / 2 + FN / 2) = SQ RQ`, with `SQ = sum_TP IoU / TP` and
//! `RQ = TP / (TP + FP / 2 + FN / 2)`.

use core::iter::Sum;
use core::ops::AddAssign;

/// The found and missed objects of one class.
///
/// # Example
/// ```
/// use burn_skip::metric::SegmentCounts;
///
/// // Two objects were found, one of them well, and one was missed.
/// let counts = SegmentCounts { true_positives: 2, false_negatives: 1, iou: 1.5, ..Default::default() };
/// let quality = counts.quality();
/// assert_eq!((quality.pq, quality.sq, quality.rq), (0.6, 0.75, 0.8));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SegmentCounts {
    /// Pairs of a predicted and a true object whose IoU is above 0.5.
    pub true_positives: u64,
    /// Predicted objects without a partner.
    pub false_positives: u64,
    /// True objects without a partner.
    pub false_negatives: u64,
    /// The sum of the IoU of all pairs.
    pub iou: f64,
}

impl AddAssign for SegmentCounts {
    fn add_assign(&mut self, other: Self) {
        self.true_positives += other.true_positives;
        self.false_positives += other.false_positives;
        self.false_negatives += other.false_negatives;
        self.iou += other.iou;
    }
}

impl Sum for SegmentCounts {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), |mut sum, counts| {
            sum += counts;
            sum
        })
    }
}

impl SegmentCounts {
    /// The three scores. All are NaN for a class without any object, and 0 where no object was found.
    pub fn quality(&self) -> PanopticQuality {
        let found = self.true_positives as f64;
        let unmatched = (self.false_positives + self.false_negatives) as f64;
        let sq = match self.true_positives {
            0 if unmatched > 0.0 => 0.0,
            _ => self.iou / found,
        };
        PanopticQuality {
            pq: self.iou / (found + unmatched / 2.0),
            sq,
            rq: found / (found + unmatched / 2.0),
        }
    }
}

/// Panoptic quality and its two factors, `pq = sq rq`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PanopticQuality {
    /// Panoptic quality.
    pub pq: f64,
    /// Segmentation quality: the mean IoU of the objects that were found.
    pub sq: f64,
    /// Recognition quality: the F1 score of finding objects.
    pub rq: f64,
}
