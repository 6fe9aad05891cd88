//! [`JaccardLoss`]: the soft Jaccard loss.

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

/// The soft Jaccard loss, of the intersection over the union: the mean over the classes of
/// `1 - (TP + smooth) / max(TP + FP + FN + smooth, epsilon)`, with `TP = sum(p t)`, `FP = sum(p (1 - t))` and
/// `FN = sum((1 - p) t)` over the positions.
///
/// Rahman and Wang, Optimizing Intersection-Over-Union in Deep Neural Networks for Image Segmentation (ISVC 2016); the numbers and the defaults are those of segmentation_models.pytorch's `JaccardLoss`.
///
/// # Shapes
/// - `logits`: `[batch, classes, spatial...]`
/// - `labels`: as the [`Mode`] says
/// - output: `[1]`
///
/// # Example
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use burn_skip::loss::{JaccardLoss, Loss, Mode};
///
/// let device = Device::flex();
/// let logits = Tensor::<4>::from_floats([[[[99.0, 99.0], [-99.0, -99.0]]]], &device);
/// let labels = Tensor::<4, Int>::from_ints([[[[1, 0], [1, 0]]]], &device);
/// let loss = JaccardLoss::new(Mode::Binary).forward(logits, labels);
/// // One true positive, one false positive and one false negative: 1 - 1 / 3.
/// assert!((loss.into_scalar::<f32>() - 2.0 / 3.0).abs() < 1e-6);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct JaccardLoss {
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
    JaccardLoss:
    with_scope(scope: Scope),
    with_smooth(smooth: f64),
    with_epsilon(epsilon: f64),
    with_log(log: bool),
    with_absent_class(absent_class: AbsentClass),
    with_class_weights(class_weights: impl Into<Option<Vec<f64>>>),
    with_ignore_label(ignore_label: impl Into<Option<i64>>),
);

impl Config for JaccardLoss {}

impl JaccardLoss {
    /// A Jaccard loss with segmentation_models.pytorch's defaults.
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

    /// It is the Tversky loss with both weights 1.
    fn overlap(&self) -> Overlap<'_> {
        Overlap {
            labels: LabelRules {
                loss: "JaccardLoss",
                mode: self.mode,
                class_weights: self.class_weights.as_deref(),
                ignore_label: self.ignore_label,
            },
            false_positives: 1.0,
            false_negatives: 1.0,
            smooth: self.smooth,
            epsilon: self.epsilon,
            log: self.log,
            scope: self.scope,
            absent_class: self.absent_class,
            gamma: 1.0,
        }
    }
}

impl<const R: usize> Loss<R> for JaccardLoss {
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
    use burn::tensor::Device;

    #[test]
    fn a_loss_for_each_sample() {
        let device = Device::flex();
        let logits = Tensor::<3>::zeros([2, 1, 2], &device);
        let labels = Tensor::<3, Int>::from_ints([[[1, 1]], [[1, 0]]], &device);
        let jaccard = JaccardLoss::new(Mode::Binary).with_scope(Scope::Sample);
        // TP 1, FP 0, FN 1; and TP 1/2, FP 1/2, FN 1/2.
        let expected = (1.0 / 2.0 + 2.0 / 3.0) / 2.0;
        let loss = jaccard.forward(logits, labels).into_scalar::<f32>();
        assert!((loss - expected).abs() < 1e-6);
    }
}
