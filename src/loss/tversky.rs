//! [`TverskyLoss`]: the overlap loss whose errors have weights, and its focal power.

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

/// The Tversky loss: the mean over the classes of
/// `1 - (TP + smooth) / max(TP + alpha FP + beta FN + smooth, epsilon)`, raised to the power of `gamma`; with
/// `TP = sum(p t)`, `FP = sum(p (1 - t))` and `FN = sum((1 - p) t)` over the positions.
///
/// arXiv:1706.05721, and with `gamma` the focal Tversky loss (arXiv:1810.07842, which writes `1 / gamma`). The numbers
/// and the defaults are those of segmentation_models.pytorch's `TverskyLoss`. With both weights 1/2 it is
/// [`DiceLoss`](super::DiceLoss), with both 1 [`JaccardLoss`](super::JaccardLoss).
///
/// # Shapes
/// - `logits`: `[batch, classes, spatial...]`
/// - `labels`: as the [`Mode`] says
/// - output: `[1]`
///
/// # Example
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use burn_skip::loss::{Loss, Mode, TverskyLoss};
///
/// let device = Device::flex();
/// let logits = Tensor::<4>::from_floats([[[[99.0, 99.0], [-99.0, -99.0]]]], &device);
/// let labels = Tensor::<4, Int>::from_ints([[[[1, 0], [1, 0]]]], &device);
/// // What is missed weighs more than what is found by mistake.
/// let loss = TverskyLoss::new(Mode::Binary).with_alpha(0.3).with_beta(0.7).with_gamma(2.0);
/// // One true positive, one false positive and one false negative: (1 - 1 / 2)^2.
/// assert!((loss.forward(logits, labels).into_scalar::<f32>() - 0.25).abs() < 1e-6);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TverskyLoss {
    /// What channels and labels mean.
    pub mode: Mode,
    /// The weight of false positives. Default: 0.5.
    #[serde(default = "half")]
    pub alpha: f64,
    /// The weight of false negatives. Default: 0.5.
    #[serde(default = "half")]
    pub beta: f64,
    /// The exponent of the mean over the classes. Default: 1.
    #[serde(default = "one")]
    pub gamma: f64,
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

const fn half() -> f64 {
    0.5
}

const fn one() -> f64 {
    1.0
}

setters!(
    TverskyLoss:
    with_alpha(alpha: f64),
    with_beta(beta: f64),
    with_gamma(gamma: f64),
    with_scope(scope: Scope),
    with_smooth(smooth: f64),
    with_epsilon(epsilon: f64),
    with_log(log: bool),
    with_absent_class(absent_class: AbsentClass),
    with_class_weights(class_weights: impl Into<Option<Vec<f64>>>),
    with_ignore_label(ignore_label: impl Into<Option<i64>>),
);

impl Config for TverskyLoss {}

impl TverskyLoss {
    /// A Tversky loss with segmentation_models.pytorch's defaults, which is the Dice loss.
    pub const fn new(mode: Mode) -> Self {
        Self {
            mode,
            alpha: half(),
            beta: half(),
            gamma: one(),
            scope: Scope::Batch,
            smooth: 0.0,
            epsilon: epsilon(),
            log: false,
            absent_class: AbsentClass::Zero,
            class_weights: None,
            ignore_label: None,
        }
    }

    fn overlap(&self) -> Overlap<'_> {
        Overlap {
            labels: LabelRules {
                loss: "TverskyLoss",
                mode: self.mode,
                class_weights: self.class_weights.as_deref(),
                ignore_label: self.ignore_label,
            },
            false_positives: self.alpha,
            false_negatives: self.beta,
            smooth: self.smooth,
            epsilon: self.epsilon,
            log: self.log,
            scope: self.scope,
            absent_class: self.absent_class,
            gamma: self.gamma,
        }
    }
}

impl<const R: usize> Loss<R> for TverskyLoss {
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
    use alloc::string::ToString;
    use burn::tensor::Device;

    #[test]
    fn gamma_is_positive() {
        let tversky = TverskyLoss::new(Mode::Binary).with_gamma(0.0);
        let error = tversky.check([1, 1, 4], [1, 1, 4]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "TverskyLoss: gamma is 0. Choose a positive number; 1 leaves the loss as it is."
        );
    }

    #[test]
    fn a_perfect_map_has_a_power() {
        let device = Device::flex().autodiff();
        let logits = Tensor::<3>::full([1, 1, 3], 99.0, &device).require_grad();
        let labels = Tensor::<3, Int>::ones([1, 1, 3], &device);
        let tversky = TverskyLoss::new(Mode::Binary).with_gamma(1.5);
        let loss = tversky.forward(logits.clone(), labels);
        let gradient = logits.grad(&loss.backward()).unwrap();
        assert_eq!(loss.into_scalar::<f32>(), 0.0);
        assert_eq!(gradient.abs().sum().into_scalar::<f32>(), 0.0);
    }
}
