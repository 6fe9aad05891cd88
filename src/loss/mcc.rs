//! [`MccLoss`]: Matthews's correlation coefficient, which counts true negatives too.

use alloc::vec::Vec;

use burn::config::Config;
use burn::tensor::{Int, Tensor};
use serde::{Deserialize, Serialize};

use super::Loss;
use super::batch::{Scope, mean_of_classes, sum_positions};
use super::labels::{LabelRules, Mode};
use super::options::check_positive_number;
use crate::setters::setters;
use crate::shape::{ShapeError, expect};

const NAME: &str = "MccLoss";

/// The loss by Matthews's correlation coefficient: the mean over the classes of
/// `1 - (TP TN - FP FN) / sqrt((TP + FP) (TP + FN) (TN + FP) (TN + FN))`, with `TP = sum(p t)`,
/// `TN = sum((1 - p) (1 - t))`, `FP = sum(p (1 - t))` and `FN = sum((1 - p) t)` over the positions, and `epsilon` added
/// to each of the four.
///
/// Abhishek and Hamarneh, ISBI 2021 (doi:10.1109/ISBI48211.2021.9433782), equations 3 to 5. The numbers are those of
/// segmentation_models.pytorch's `MCCLoss`, which has one class and takes probabilities.
///
/// # Shapes
/// - `logits`: `[batch, classes, spatial...]`
/// - `labels`: as the [`Mode`] says
/// - output: `[1]`
///
/// # Example
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use burn_skip::loss::{Loss, MccLoss, Mode};
///
/// // What is drawn by lot correlates with nothing.
/// let device = Device::flex();
/// let logits = Tensor::<4>::zeros([1, 1, 2, 2], &device);
/// let labels = Tensor::<4, Int>::from_ints([[[[0, 1], [0, 0]]]], &device);
/// let loss = MccLoss::new(Mode::Binary).forward(logits, labels);
/// assert!((loss.into_scalar::<f32>() - 1.0).abs() < 1e-6);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct MccLoss {
    /// What channels and labels mean.
    pub mode: Mode,
    /// Over which positions a coefficient is computed. Default: the batch.
    #[serde(default)]
    pub scope: Scope,
    /// Added to each of the four counts. Default: 1e-5.
    #[serde(default = "epsilon")]
    pub epsilon: f64,
    /// One weight for each class. Default: all the same. Not in [`Mode::Binary`].
    #[serde(default)]
    pub class_weights: Option<Vec<f64>>,
    /// The label of positions that add nothing. Default: none.
    #[serde(default)]
    pub ignore_label: Option<i64>,
}

const fn epsilon() -> f64 {
    1e-5
}

setters!(
    MccLoss:
    with_scope(scope: Scope),
    with_epsilon(epsilon: f64),
    with_class_weights(class_weights: impl Into<Option<Vec<f64>>>),
    with_ignore_label(ignore_label: impl Into<Option<i64>>),
);

impl Config for MccLoss {}

impl MccLoss {
    /// A loss with segmentation_models.pytorch's defaults.
    pub const fn new(mode: Mode) -> Self {
        Self {
            mode,
            scope: Scope::Batch,
            epsilon: epsilon(),
            class_weights: None,
            ignore_label: None,
        }
    }

    fn labels(&self) -> LabelRules<'_> {
        LabelRules {
            loss: NAME,
            mode: self.mode,
            class_weights: self.class_weights.as_deref(),
            ignore_label: self.ignore_label,
        }
    }
}

impl<const R: usize> Loss<R> for MccLoss {
    fn check(&self, logits: [usize; R], labels: [usize; R]) -> Result<(), ShapeError> {
        check_positive_number(NAME, "epsilon", self.epsilon)?;
        self.labels().check(logits, labels)
    }

    fn forward(&self, logits: Tensor<R>, labels: Tensor<R, Int>) -> Tensor<1> {
        expect(self.check(logits.dims(), labels.dims()));
        let batch = self.labels().read(logits, labels);
        let p = batch.probabilities();
        let t = batch.targets.clone();
        let sum = |x: Tensor<3>| sum_positions(x, self.scope) + self.epsilon;
        let hits = sum(p.clone() * t.clone());
        let false_positives = sum(p.clone() * (1.0 - t.clone()));
        let false_negatives = sum((1.0 - p.clone()) * t.clone());
        let rejections = sum(batch.masked((1.0 - p) * (1.0 - t)));
        let over =
            hits.clone() * rejections.clone() - false_positives.clone() * false_negatives.clone();
        // Two roots: the product of all four overflows f32 at a thousand million positions.
        let positives = (hits.clone() + false_positives.clone()) * (hits + false_negatives.clone());
        let negatives = (rejections.clone() + false_positives) * (rejections + false_negatives);
        let coefficient = over / (positives.sqrt() * negatives.sqrt());
        mean_of_classes(1.0 - coefficient, self.class_weights.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn values() {
        let device = Device::flex();
        let logits = Tensor::<3>::from_floats([[[99.0, 99.0, -99.0, -99.0, 99.0]]], &device);
        let labels = Tensor::<3, Int>::from_ints([[[1, 0, 0, 0, 7]]], &device);
        let mcc = MccLoss::new(Mode::Binary).with_ignore_label(7);
        let loss = mcc.forward(logits, labels).into_scalar::<f32>();
        // TP 1, FP 1, FN 0, TN 2.
        let expected = 1.0 - 2.0 / (2.0f32 * 1.0 * 3.0 * 2.0).sqrt();
        assert!((loss - expected).abs() < 1e-4, "{loss}");
    }

    #[test]
    fn an_image_without_foreground_has_a_loss() {
        let device = Device::flex();
        let logits = Tensor::<3>::full([1, 1, 4], -99.0, &device);
        let labels = Tensor::<3, Int>::zeros([1, 1, 4], &device);
        let loss = MccLoss::new(Mode::Binary).forward(logits, labels);
        let loss = loss.into_scalar::<f32>();
        assert!((0.0..=1.0).contains(&loss), "{loss}");
    }
}
