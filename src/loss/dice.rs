//! [`DiceLoss`]: the soft Dice loss.

use alloc::vec::Vec;

use burn::config::Config;
use burn::tensor::{Int, Tensor};
use serde::{Deserialize, Serialize};

use super::Loss;
use super::batch::Scope;
use super::labels::{LabelRules, Mode};
use super::overlap::{AbsentClass, Overlap, epsilon};
use crate::setters::setters;
use crate::shape::ShapeError;

/// The soft Dice loss: the mean over the classes of
/// `1 - (2 TP + 2 smooth) / max(2 TP + FP + FN + 2 smooth, 2 epsilon)`, with `TP = sum(p t)`, `FP = sum(p (1 - t))` and
/// `FN = sum((1 - p) t)` over the positions.
///
/// V-Net (arXiv:1606.04797), section 3. The defaults are those of segmentation_models.pytorch's `DiceLoss`. MONAI's has
/// [`Scope::Sample`], [`AbsentClass::Score`] and `smooth` 5e-6, half of its `smooth_nr` and `smooth_dr`.
///
/// # Shapes
/// - `logits`: `[batch, classes, spatial...]`
/// - `labels`: as the [`Mode`] says
/// - output: `[1]`
///
/// # Example
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use burn_skip::loss::{DiceLoss, Loss, Mode};
///
/// let device = Device::flex();
/// let logits = Tensor::<4>::from_floats([[[[99.0, 99.0], [-99.0, -99.0]]]], &device);
/// let labels = Tensor::<4, Int>::from_ints([[[[1, 255], [1, 0]]]], &device);
/// let loss = DiceLoss::new(Mode::Binary).with_ignore_label(255).forward(logits, labels);
/// // One true positive and one false negative: 1 - 2 / 3.
/// assert!((loss.into_scalar::<f32>() - 1.0 / 3.0).abs() < 1e-6);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct DiceLoss {
    /// What channels and labels mean.
    pub mode: Mode,
    /// Over which positions a score is computed. Default: the batch.
    #[serde(default)]
    pub scope: Scope,
    /// Added to numerator and denominator, in positions. Default: 0.
    #[serde(default)]
    pub smooth: f64,
    /// The least denominator, and with `log` the least score. Default: 1e-7.
    #[serde(default = "epsilon")]
    pub epsilon: f64,
    /// Whether the loss of a class is `-log(score)`, not `1 - score`. Default: no.
    #[serde(default)]
    pub log: bool,
    /// What a class adds that no label belongs to. Default: nothing.
    #[serde(default)]
    pub absent_class: AbsentClass,
    /// One weight for each class. Default: all the same. Not in [`Mode::Binary`].
    #[serde(default)]
    pub class_weights: Option<Vec<f64>>,
    /// The label of positions that add nothing. Default: none.
    #[serde(default)]
    pub ignore_label: Option<i64>,
}

setters!(
    DiceLoss:
    with_scope(scope: Scope),
    with_smooth(smooth: f64),
    with_epsilon(epsilon: f64),
    with_log(log: bool),
    with_absent_class(absent_class: AbsentClass),
    with_class_weights(class_weights: impl Into<Option<Vec<f64>>>),
    with_ignore_label(ignore_label: impl Into<Option<i64>>),
);

impl Config for DiceLoss {}

impl DiceLoss {
    /// A Dice loss with segmentation_models.pytorch's defaults.
    pub const fn new(mode: Mode) -> Self {
        Self {
            mode,
            scope: Scope::Batch,
            smooth: 0.0,
            epsilon: epsilon(),
            log: false,
            absent_class: AbsentClass::Zero,
            class_weights: None,
            ignore_label: None,
        }
    }

    /// It is the Tversky loss with both weights 1/2.
    fn overlap(&self) -> Overlap<'_> {
        Overlap {
            labels: LabelRules {
                loss: "DiceLoss",
                mode: self.mode,
                class_weights: self.class_weights.as_deref(),
                ignore_label: self.ignore_label,
            },
            false_positives: 0.5,
            false_negatives: 0.5,
            smooth: self.smooth,
            epsilon: self.epsilon,
            log: self.log,
            scope: self.scope,
            absent_class: self.absent_class,
            gamma: 1.0,
        }
    }
}

impl<const R: usize> Loss<R> for DiceLoss {
    fn check(&self, logits: [usize; R], labels: [usize; R]) -> Result<(), ShapeError> {
        self.overlap().check(logits, labels)
    }

    fn forward(&self, logits: Tensor<R>, labels: Tensor<R, Int>) -> Tensor<1> {
        self.overlap().forward(logits, labels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{string::ToString, vec};
    use burn::tensor::Device;

    /// Probabilities 3/4, 1/4 and 1/2 of the first class: the logits are log 3, -log 3 and 0, and 0.
    fn loss(dice: &DiceLoss) -> f32 {
        let device = Device::flex();
        let log_3 = 1.098_612_3;
        let logits = [[[log_3, -log_3, 0.0], [0.0, 0.0, 0.0]]];
        let logits = Tensor::<3>::from_floats(logits, &device);
        let labels = Tensor::<3, Int>::from_ints([[[0, 0, 1]]], &device);
        dice.forward(logits, labels).into_scalar()
    }

    #[test]
    fn values() {
        // Class 0: TP 1, FP 1/2, FN 1. Class 1: TP 1/2, FP 1, FN 1/2.
        let first = 1.0 - 2.0 / 3.5;
        let second = 1.0 - 1.0 / 2.5;
        let dice = DiceLoss::new(Mode::MultiClass);
        assert!((loss(&dice) - (first + second) / 2.0).abs() < 1e-6);
        let weighted = dice.clone().with_class_weights(vec![3.0, 1.0]);
        assert!((loss(&weighted) - (3.0 * first + second) / 4.0).abs() < 1e-6);
        let log = dice.clone().with_log(true);
        let (first, second) = ((3.5f32 / 2.0).ln(), 2.5f32.ln());
        assert!((loss(&log) - (first + second) / 2.0).abs() < 1e-6);
        let smooth = dice.with_smooth(0.5);
        let (first, second) = (1.0 - 3.0 / 4.5, 1.0 - 2.0 / 3.5);
        assert!((loss(&smooth) - (first + second) / 2.0).abs() < 1e-6);
    }

    #[test]
    fn options_that_make_no_sense_are_refused() {
        let text = |dice: DiceLoss| dice.check([1, 1, 4], [1, 1, 4]).unwrap_err().to_string();
        let dice = DiceLoss::new(Mode::Binary);
        assert_eq!(
            text(dice.clone().with_epsilon(0.0)),
            "DiceLoss: epsilon is 0. Choose a positive number, such as 1e-5."
        );
        assert_eq!(
            text(dice.with_smooth(-1.0)),
            "DiceLoss: smooth is -1. Choose 0 or more."
        );
    }

    #[test]
    #[should_panic(expected = "DiceLoss: length differs: logits 3, labels 2.")]
    fn forward_panics_with_the_error() {
        let device = Device::flex();
        let labels = Tensor::<3, Int>::zeros([1, 1, 2], &device);
        DiceLoss::new(Mode::Binary).forward(Tensor::zeros([1, 1, 3], &device), labels);
    }
}
