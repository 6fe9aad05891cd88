//! [`LossConfig`]: the list of this crate's losses, as data.
//!
//! A new loss is a file of its own that implements [`Loss`], and a variant here.

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
}

impl<const R: usize> Loss<R> for LossConfig {
    fn check(&self, logits: [usize; R], labels: [usize; R]) -> Result<(), ShapeError> {
        self.loss().check(logits, labels)
    }

    fn forward(&self, logits: Tensor<R>, labels: Tensor<R, Int>) -> Tensor<1> {
        self.loss().forward(logits, labels)
    }
}
