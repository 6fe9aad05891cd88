//! [`LovaszLoss`]: the Lovasz hinge and the Lovasz softmax.

use burn::config::Config;
use burn::tensor::{Int, Tensor, activation};
use serde::{Deserialize, Serialize};

use super::Loss;
use super::batch::{Batch, Scope, per_weight, sum_positions};
use super::labels::{LabelRules, Mode};
use crate::setters::setters;
use crate::shape::{ShapeError, expect};

/// The Lovasz extension of the Jaccard loss: a convex loss that equals it for maps of zeros and ones. The errors of the
/// positions are sorted, and each is multiplied by what its position adds to the Jaccard loss when the positions are
/// got wrong one after the other, the largest error first.
///
/// - [`Mode::MultiClass`], the Lovasz softmax (arXiv:1705.08790, algorithm 1): the errors are `|t - p|`, and the loss is
///   the mean over the classes that labels belong to.
/// - [`Mode::Binary`] and [`Mode::MultiLabel`], the Lovasz hinge (section 3): the errors are `max(0, 1 - x (2 t - 1))`
///   of the logits `x`, all channels sorted together.
///
/// The numbers are those of segmentation_models.pytorch's `LovaszLoss`, whose `per_image` is [`Scope::Sample`].
///
/// # Shapes
/// - `logits`: `[batch, classes, spatial...]`
/// - `labels`: as the [`Mode`] says
/// - output: `[1]`
///
/// # Example
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use burn_skip::loss::{Loss, LovaszLoss, Mode};
///
/// let device = Device::flex();
/// let logits = Tensor::<3>::from_floats([[[99.0, 99.0, -99.0], [-99.0, -99.0, 99.0]]], &device);
/// let labels = Tensor::<3, Int>::from_ints([[[0, 1, 1]]], &device);
/// let loss = LovaszLoss::new(Mode::MultiClass).forward(logits, labels);
/// // The Jaccard loss: 1 of 2 positions in both classes.
/// assert!((loss.into_scalar::<f32>() - 0.5).abs() < 1e-6);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LovaszLoss {
    /// What channels and labels mean.
    pub mode: Mode,
    /// Which positions are sorted together. Default: those of the batch.
    #[serde(default)]
    pub scope: Scope,
    /// The label of positions that add nothing. Default: none.
    #[serde(default)]
    pub ignore_label: Option<i64>,
}

setters!(
    LovaszLoss:
    with_scope(scope: Scope),
    with_ignore_label(ignore_label: impl Into<Option<i64>>),
);

impl Config for LovaszLoss {}

impl LovaszLoss {
    /// A Lovasz loss over the batch.
    pub const fn new(mode: Mode) -> Self {
        Self {
            mode,
            scope: Scope::Batch,
            ignore_label: None,
        }
    }

    fn labels(&self) -> LabelRules<'static> {
        LabelRules {
            loss: "LovaszLoss",
            mode: self.mode,
            class_weights: None,
            ignore_label: self.ignore_label,
        }
    }

    fn hinge(&self, batch: &Batch) -> Tensor<1> {
        let [samples, classes, positions] = batch.logits.dims();
        let t = batch.targets.clone();
        let errors = 1.0 - batch.logits.clone() * (t.clone() * 2.0 - 1.0);
        let errors = batch.ignored_below_zero(errors);
        let rows = match self.scope {
            Scope::Batch => 1,
            Scope::Sample => samples,
        };
        let shape = [rows, samples * classes * positions / rows];
        extension(errors.reshape(shape), t.reshape(shape)).mean()
    }

    fn softmax(&self, batch: &Batch) -> Tensor<1> {
        let [samples, classes, positions] = batch.logits.dims();
        let t = batch.targets.clone();
        let present = sum_positions(t.clone(), self.scope).greater_scalar(0.0);
        let errors = (t.clone() - batch.probabilities()).abs();
        let errors = batch.ignored_below_zero(errors);
        // A row for each class, of a sample or of the batch.
        let rows = |x: Tensor<3>| match self.scope {
            Scope::Batch => x.swap_dims(0, 1).reshape([classes, samples * positions]),
            Scope::Sample => x.reshape([samples * classes, positions]),
        };
        let losses = extension(rows(errors), rows(t)).reshape(present.dims());
        let present = present.cast(burn::tensor::FloatDType::from(losses.dtype()));
        let sums = (losses * present.clone()).sum_dim(1);
        per_weight(sums, present.sum_dim(1)).mean()
    }
}

impl<const R: usize> Loss<R> for LovaszLoss {
    fn check(&self, logits: [usize; R], labels: [usize; R]) -> Result<(), ShapeError> {
        self.labels().check(logits, labels)
    }

    fn forward(&self, logits: Tensor<R>, labels: Tensor<R, Int>) -> Tensor<1> {
        expect(self.check(logits.dims(), labels.dims()));
        let batch = self.labels().read(logits, labels);
        match self.mode {
            Mode::Binary | Mode::MultiLabel => self.hinge(&batch),
            Mode::MultiClass => self.softmax(&batch),
        }
    }
}

/// The Lovasz extension of the Jaccard loss of each row, `[rows, 1]`. Errors below 0 are 0; with labels of 0 they count
/// for nothing, since they come last.
fn extension(errors: Tensor<2>, labels: Tensor<2>) -> Tensor<2> {
    let (errors, order) = errors.sort_descending_with_indices(1);
    let steps = jaccard_steps(labels.gather(1, order));
    (activation::relu(errors) * steps).sum_dim(1)
}

/// What each position adds to the Jaccard loss, when the positions before it are wrong already.
fn jaccard_steps(labels: Tensor<2>) -> Tensor<2> {
    let [_, count] = labels.dims();
    let all = labels.clone().sum_dim(1);
    let intersection = all.clone() - labels.clone().cumsum(1);
    let others: Tensor<2> = 1.0 - labels;
    let union = all + others.cumsum(1);
    let losses = 1.0 - intersection / union;
    if count == 1 {
        return losses;
    }
    let before = losses.clone().narrow(1, 0, count - 1);
    let first = losses.clone().narrow(1, 0, 1);
    Tensor::cat([first, losses.narrow(1, 1, count - 1) - before].into(), 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn steps_sum_to_the_jaccard_loss() {
        let labels = Tensor::from_floats([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]], &Device::flex());
        let steps = jaccard_steps(labels).into_data();
        let steps = steps.try_to_vec::<f32>().unwrap();
        // The losses are 1/2, 2/3 and 1; and 1 from the first position on.
        let expected = [0.5, 1.0 / 6.0, 1.0 / 3.0, 1.0, 0.0, 0.0];
        for (step, expected) in steps.iter().zip(expected) {
            assert!((step - expected).abs() < 1e-6, "{step} is not {expected}");
        }
    }

    #[test]
    fn hinge() {
        // Errors 1 - 2, 1 + 0.5 and 1 - 0: sorted 1.5, 1 and -1 with the labels 1, 0 and 1.
        let device = Device::flex();
        let logits = Tensor::<3>::from_floats([[[2.0, -0.5, 0.0, 7.0]]], &device);
        let labels = Tensor::<3, Int>::from_ints([[[1, 1, 0, 9]]], &device);
        let lovasz = LovaszLoss::new(Mode::Binary).with_ignore_label(9);
        let loss = lovasz.forward(logits, labels).into_scalar::<f32>();
        assert!((loss - (1.5 / 2.0 + 1.0 / 6.0)).abs() < 1e-6);
    }

    #[test]
    fn one_position_is_enough() {
        let device = Device::flex();
        let logits = Tensor::<3>::from_floats([[[0.0], [0.0]]], &device);
        let labels = Tensor::<3, Int>::from_ints([[[1]]], &device);
        let loss = LovaszLoss::new(Mode::MultiClass).forward(logits, labels);
        assert!((loss.into_scalar::<f32>() - 0.5).abs() < 1e-6);
    }
}
