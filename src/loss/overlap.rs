//! What the overlap losses share: soft counts of true and false positives, and the Tversky index of them.

use burn::tensor::{Int, Tensor, activation};
use serde::{Deserialize, Serialize};

use super::batch::{Batch, Scope, mean_of_classes, sum_positions};
use super::labels::LabelRules;
use super::options::{check_not_negative, check_number, check_positive_number};
use crate::shape::{ShapeError, expect};

/// What a class adds to an overlap loss where no label belongs to it.
///
/// # Example
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use burn_skip::loss::{AbsentClass, DiceLoss, Loss, Mode};
///
/// // An image without foreground, in which half of it is found.
/// let device = Device::flex();
/// let logits = Tensor::<3>::zeros([1, 1, 8], &device);
/// let labels = Tensor::<3, Int>::zeros([1, 1, 8], &device);
/// let loss = |absent_class| {
///     let loss = DiceLoss::new(Mode::Binary).with_smooth(1.0).with_absent_class(absent_class);
///     loss.forward(logits.clone(), labels.clone()).into_scalar::<f32>()
/// };
/// assert_eq!(loss(AbsentClass::Zero), 0.0);
/// assert!((loss(AbsentClass::Score) - 2.0 / 3.0).abs() < 1e-6); // 1 - 1 / (4 / 2 + 1)
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum AbsentClass {
    /// Nothing, as in segmentation_models.pytorch. It still counts in the mean over the classes.
    #[default]
    Zero,
    /// The formula as it is, as in MONAI: with `smooth` above 0, false positives are punished there too.
    Score,
}

/// The epsilon of overlap losses where none is named.
pub(super) const fn epsilon() -> f64 {
    1e-7
}

/// The options of the overlap losses, and what makes one of another.
pub(super) struct Overlap<'a> {
    pub labels: LabelRules<'a>,
    /// The weight of a false positive, beside 1 for a true one.
    pub false_positives: f64,
    pub false_negatives: f64,
    pub smooth: f64,
    pub epsilon: f64,
    pub log: bool,
    pub scope: Scope,
    pub absent_class: AbsentClass,
    /// The exponent of the whole loss.
    pub gamma: f64,
}

impl Overlap<'_> {
    /// Checks the options, and logits and labels of these shapes.
    pub fn check<const R: usize>(
        &self,
        logits: [usize; R],
        labels: [usize; R],
    ) -> Result<(), ShapeError> {
        self.check_options()?;
        self.labels.check(logits, labels)
    }

    /// The loss of logits and labels, which are checked.
    pub fn forward<const R: usize>(&self, logits: Tensor<R>, labels: Tensor<R, Int>) -> Tensor<1> {
        expect(self.check(logits.dims(), labels.dims()));
        self.loss(&self.labels.read(logits, labels))
    }

    fn check_options(&self) -> Result<(), ShapeError> {
        let loss = self.labels.loss;
        check_not_negative(loss, "alpha", self.false_positives)?;
        check_not_negative(loss, "beta", self.false_negatives)?;
        check_not_negative(loss, "smooth", self.smooth)?;
        check_positive_number(loss, "epsilon", self.epsilon)?;
        let remedy = "Choose a positive number; 1 leaves the loss as it is";
        check_number(loss, "gamma", self.gamma, self.gamma > 0.0, remedy)
    }

    /// `(1 - (TP + smooth) / max(TP + alpha FP + beta FN + smooth, epsilon))^gamma`, or with the logarithm.
    fn loss(&self, batch: &Batch) -> Tensor<1> {
        let p = batch.probabilities();
        let t = batch.targets.clone();
        let volume = sum_positions(t.clone(), self.scope);
        let hits = sum_positions(p.clone() * t.clone(), self.scope) + self.smooth;
        // Both are 0 where ignored, since probabilities and targets are.
        let false_positives = sum_positions(p.clone() * (1.0 - t.clone()), self.scope);
        let false_negatives = sum_positions((1.0 - p) * t, self.scope);
        let all = hits.clone()
            + false_positives * self.false_positives
            + false_negatives * self.false_negatives;
        let score = hits / all.clamp_min(self.epsilon);
        let losses = match self.log {
            true => -score.clamp_min(self.epsilon).log(),
            false => 1.0 - score,
        };
        let losses = match self.absent_class {
            AbsentClass::Zero => losses.mask_fill(volume.equal_scalar(0.0), 0.0),
            AbsentClass::Score => losses,
        };
        let loss = mean_of_classes(losses, self.labels.class_weights);
        if self.gamma == 1.0 {
            return loss;
        }
        // (Rounding may leave a loss a little below 0, which has no powers.)
        activation::relu(loss).powf_scalar(self.gamma)
    }
}
