//! [`LossConfig`]: the list of this crate's losses, as data.
//!
//! A new loss is a file of its own that implements [`Loss`], and a variant here.

use alloc::{format, vec, vec::Vec};

use burn::config::Config;
use burn::tensor::{Int, Tensor};
use serde::{Deserialize, Serialize};

use super::{
    BinaryCrossEntropyLoss, BoundaryLoss, ClDiceLoss, CrossEntropyLoss, DiceLoss, FocalLoss,
    GeneralizedDiceLoss, JaccardLoss, Loss, LossSum, LovaszLoss, MccLoss, TverskyLoss,
};
use crate::shape::ShapeError;

/// Which loss, with its options. It is a [`Loss`] itself, since losses have no parameters.
///
/// # Example
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use burn_skip::loss::{Loss, LossConfig};
///
/// let file = r#"{"Sum": [
///     {"loss": {"Dice": {"mode": "MultiClass", "class_weights": [0, 1, 1], "ignore_label": 255}}},
///     {"loss": {"CrossEntropy": {"smoothing": 0.1, "ignore_label": 255}}, "weight": 0.5}
/// ]}"#;
/// let loss: LossConfig = serde_json::from_str(file).unwrap();
/// // Checked from the shapes alone:
/// let error = loss.check([2, 4, 8, 8], [2, 1, 8, 8]).unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "Sum.0.DiceLoss: class_weights has 3 numbers for 4 channels. Give one for each channel of the logits."
/// );
/// let device = Device::flex();
/// let labels = Tensor::<4, Int>::zeros([2, 1, 8, 8], &device);
/// assert_eq!(loss.forward(Tensor::zeros([2, 3, 8, 8], &device), labels).dims(), [1]);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum LossConfig {
    /// The cross entropy of classes that exclude each other.
    CrossEntropy(CrossEntropyLoss),
    /// The cross entropy of each channel by itself.
    BinaryCrossEntropy(BinaryCrossEntropyLoss),
    /// The focal loss (arXiv:1708.02002).
    Focal(FocalLoss),
    /// The soft Dice loss (arXiv:1606.04797).
    Dice(DiceLoss),
    /// The generalised Dice loss (arXiv:1707.03237).
    GeneralizedDice(GeneralizedDiceLoss),
    /// The soft Jaccard loss (arXiv:1608.01471).
    Jaccard(JaccardLoss),
    /// The Tversky loss (arXiv:1706.05721), also focal (arXiv:1810.07842).
    Tversky(TverskyLoss),
    /// Matthews's correlation coefficient.
    Mcc(MccLoss),
    /// The Lovasz hinge and softmax (arXiv:1705.08790).
    Lovasz(LovaszLoss),
    /// The centerline Dice (arXiv:2003.07311).
    ClDice(ClDiceLoss),
    /// The boundary loss (arXiv:1812.07032).
    Boundary(BoundaryLoss),
    /// Several losses, each with its weight.
    Sum(LossSum),
}

impl Config for LossConfig {}

impl LossConfig {
    /// The loss that it is.
    fn loss<const R: usize>(&self) -> &dyn Loss<R> {
        match self {
            Self::CrossEntropy(loss) => loss,
            Self::BinaryCrossEntropy(loss) => loss,
            Self::Focal(loss) => loss,
            Self::Dice(loss) => loss,
            Self::GeneralizedDice(loss) => loss,
            Self::Jaccard(loss) => loss,
            Self::Tversky(loss) => loss,
            Self::Mcc(loss) => loss,
            Self::Lovasz(loss) => loss,
            Self::ClDice(loss) => loss,
            Self::Boundary(loss) => loss,
            Self::Sum(loss) => loss,
        }
    }

    /// The label whose positions do not count, if there is one: of a [`Sum`](Self::Sum) that of all its losses, and none
    /// where one of them ignores nothing.
    ///
    /// # Errors
    /// When the losses of a sum ignore different labels.
    ///
    /// # Example
    /// ```
    /// use burn_skip::loss::LossConfig;
    ///
    /// let of = |file: &str| serde_json::from_str::<LossConfig>(file).unwrap().ignore_label();
    /// assert_eq!(of(r#"{"CrossEntropy": {"ignore_label": 255}}"#), Ok(Some(255)));
    /// assert_eq!(of(r#"{"CrossEntropy": {}}"#), Ok(None));
    /// let error = of(r#"{"Sum": [
    ///     {"loss": {"Dice": {"mode": "MultiClass", "ignore_label": 254}}},
    ///     {"loss": {"CrossEntropy": {"ignore_label": 255}}}
    /// ]}"#);
    /// assert_eq!(
    ///     error.unwrap_err().to_string(),
    ///     "LossSum: its losses ignore different labels, 254 and 255. Give all of them one ignore_label."
    /// );
    /// ```
    pub fn ignore_label(&self) -> Result<Option<i64>, ShapeError> {
        let labels = self.ignore_labels();
        let mut ignored = labels.iter().flatten();
        let Some(first) = ignored.next() else {
            return Ok(None);
        };
        match ignored.find(|&label| label != first) {
            Some(other) => Err(ShapeError::new(
                "LossSum",
                format!("its losses ignore different labels, {first} and {other}"),
                "Give all of them one ignore_label",
            )),
            None => Ok(Some(*first).filter(|_| labels.iter().all(Option::is_some))),
        }
    }

    /// What each of the losses ignores.
    fn ignore_labels(&self) -> Vec<Option<i64>> {
        let label = match self {
            Self::CrossEntropy(loss) => loss.ignore_label,
            Self::BinaryCrossEntropy(loss) => loss.ignore_label,
            Self::Focal(loss) => loss.ignore_label,
            Self::Dice(loss) => loss.ignore_label,
            Self::GeneralizedDice(loss) => loss.ignore_label,
            Self::Jaccard(loss) => loss.ignore_label,
            Self::Tversky(loss) => loss.ignore_label,
            Self::Mcc(loss) => loss.ignore_label,
            Self::Lovasz(loss) => loss.ignore_label,
            Self::ClDice(loss) => loss.ignore_label,
            Self::Boundary(loss) => loss.ignore_label,
            Self::Sum(LossSum(terms)) => {
                let terms = terms.iter();
                return terms.flat_map(|term| term.loss.ignore_labels()).collect();
            }
        };
        vec![label]
    }
}

impl<const R: usize> Loss<R> for LossConfig {
    fn check(&self, logits: [usize; R], labels: [usize; R]) -> Result<(), ShapeError> {
        self.loss().check(logits, labels)
    }

    fn forward(&self, logits: Tensor<R>, labels: Tensor<R, Int>) -> Tensor<1> {
        self.loss().forward(logits, labels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::{Mode, Term};

    #[test]
    fn the_ignored_label_is_that_of_all_losses_of_a_sum() {
        let dice =
            |label| LossConfig::Dice(DiceLoss::new(Mode::MultiClass).with_ignore_label(label));
        let entropy =
            |label| LossConfig::CrossEntropy(CrossEntropyLoss::new().with_ignore_label(label));
        let sum = |losses: Vec<LossConfig>| {
            let terms = losses.into_iter().map(|loss| Term::new(1.0, loss));
            LossConfig::Sum(LossSum(terms.collect()))
        };
        let of = |losses| sum(losses).ignore_label();
        assert_eq!(of(vec![]), Ok(None));
        assert_eq!(of(vec![dice(None), entropy(None)]), Ok(None));
        assert_eq!(of(vec![dice(Some(-1)), entropy(Some(-1))]), Ok(Some(-1)));
        // (A loss that ignores nothing counts all.)
        assert_eq!(of(vec![dice(Some(0)), entropy(None)]), Ok(None));
        let nested = |label| {
            of(vec![
                sum(vec![dice(Some(9)), dice(Some(9))]),
                entropy(label),
            ])
        };
        assert_eq!(nested(Some(9)), Ok(Some(9)));
        assert!(nested(Some(8)).is_err());
    }
}
