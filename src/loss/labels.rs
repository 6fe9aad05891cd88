//! How labels are read: the modes, the checks of shapes, targets of 0 and 1, and what is ignored.

use alloc::format;

use burn::tensor::{DType, FloatDType, Int, Tensor};
use serde::{Deserialize, Serialize};

use super::batch::Batch;
use super::options::check_weights;
use crate::shape::{ShapeError, axis_name, check_not_empty, expect};

/// What the channels of the logits mean, and which labels belong to them.
///
/// # Example
/// ```
/// use burn_skip::loss::{DiceLoss, Loss, Mode};
///
/// // Class numbers, one channel.
/// let loss = DiceLoss::new(Mode::MultiClass);
/// assert!(loss.check([2, 4, 9, 9], [2, 1, 9, 9]).is_ok());
/// // A mask for each class.
/// let loss = DiceLoss::new(Mode::MultiLabel);
/// assert!(loss.check([2, 4, 9, 9], [2, 4, 9, 9]).is_ok());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Mode {
    /// One channel; a label of 1 is foreground, any other is background. Probabilities by a sigmoid.
    Binary,
    /// One channel a class, and labels that are class numbers in one channel. Probabilities by a softmax.
    MultiClass,
    /// One channel a class, in the labels too; a label of 1 is foreground. Classes may overlap. Probabilities by a
    /// sigmoid.
    MultiLabel,
}

/// How a loss reads labels.
pub(super) struct LabelRules<'a> {
    /// The name of the loss, for messages.
    pub loss: &'static str,
    pub mode: Mode,
    pub class_weights: Option<&'a [f64]>,
    pub ignore_label: Option<i64>,
}

impl LabelRules<'_> {
    /// Checks the shapes, and the class weights.
    pub fn check<const R: usize>(
        &self,
        logits: [usize; R],
        labels: [usize; R],
    ) -> Result<(), ShapeError> {
        check_not_empty(self.loss, logits)?;
        let error = |problem, remedy: &str| Err(ShapeError::new(self.loss, problem, remedy));
        let classes = logits[1];
        let (expected, remedy) = match self.mode {
            Mode::Binary if classes != 1 => {
                return error(
                    format!("channels of the logits are {classes}, Mode::Binary has 1"),
                    "Choose Mode::MultiClass or Mode::MultiLabel, or build the network for 1 class",
                );
            }
            Mode::MultiClass if classes == 1 => {
                return error(
                    format!("channels of the logits are {classes}, Mode::MultiClass has 2 or more"),
                    "Choose Mode::Binary, or build the network with a channel for the background",
                );
            }
            Mode::Binary => (1, "Give one channel of 0 and 1"),
            Mode::MultiClass => (
                1,
                "Give class numbers; those of one-hot labels are their argmax over the channels",
            ),
            Mode::MultiLabel => (classes, "Give a channel of 0 and 1 for each class"),
        };
        if labels[1] != expected {
            let found = labels[1];
            return error(
                format!("channels of the labels are {found}, expected {expected}"),
                remedy,
            );
        }
        let differs = |axis: &usize| *axis != 1 && logits[*axis] != labels[*axis];
        if let Some(axis) = (0..R).find(differs) {
            let (name, ours, theirs) = (axis_name(axis, R), logits[axis], labels[axis]);
            let remedy = match axis {
                0 => "Give the labels of the same samples",
                _ => "Resize the labels to the size of the logits by a nearest mode, or the logits",
            };
            return error(
                format!("{name} differs: logits {ours}, labels {theirs}"),
                remedy,
            );
        }
        match self.class_weights {
            Some(_) if self.mode == Mode::Binary => error(
                "class_weights are given in Mode::Binary".into(),
                "Leave them out, or multiply the loss",
            ),
            weights => check_weights(self.loss, "class_weights", weights, classes),
        }
    }

    /// Reads a batch.
    ///
    /// # Panics
    /// When [`check`](Self::check) returns an error, with its message.
    pub fn read<const R: usize>(&self, logits: Tensor<R>, labels: Tensor<R, Int>) -> Batch {
        expect(self.check(logits.dims(), labels.dims()));
        let shape = logits.dims();
        let (batch, classes) = (shape[0], shape[1]);
        let positions = shape[2..].iter().product();
        let logits: Tensor<3> = full_precision(logits.reshape([batch, classes, positions]));
        let labels = labels.reshape([batch, labels_channels(self.mode, classes), positions]);
        let dtype: FloatDType = logits.dtype().into();
        let targets = match self.mode {
            Mode::Binary | Mode::MultiLabel => labels.clone().equal_scalar(1),
            // (By comparison and not by a scatter, which a label out of range would break.)
            Mode::MultiClass => {
                let numbers = (&labels.device(), labels.dtype());
                let numbers = Tensor::<1, Int>::arange(0..classes as i64, numbers);
                let shape = [batch, classes, positions];
                let numbers = numbers.reshape([1, classes, 1]).expand(shape);
                labels.clone().expand(shape).equal(numbers)
            }
        };
        let targets = targets.cast(dtype);
        let Some(ignore) = self.ignore_label else {
            return Batch {
                logits,
                targets,
                counted: None,
                mode: self.mode,
            };
        };
        let ignored = labels.equal_scalar(ignore);
        let counted = ignored.clone().bool_not().cast(dtype);
        // The logits too, so that one that is infinite or NaN cannot come through as `0 * NaN`.
        let ignored = ignored.expand([batch, classes, positions]);
        Batch {
            logits: logits.mask_fill(ignored, 0.0),
            targets: targets * counted.clone(),
            counted: Some(counted),
            mode: self.mode,
        }
    }
}

const fn labels_channels(mode: Mode, classes: usize) -> usize {
    match mode {
        Mode::Binary | Mode::MultiClass => 1,
        Mode::MultiLabel => classes,
    }
}

/// Half precision as f32: sums over a map would overflow.
fn full_precision<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    match x.dtype() {
        DType::F32 | DType::F64 => x,
        _ => x.cast(FloatDType::F32),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::batch::{Scope, sum_positions};
    use alloc::{string::ToString, vec::Vec};
    use burn::tensor::Device;

    const RULES: LabelRules<'_> = LabelRules {
        loss: "DiceLoss",
        mode: Mode::MultiClass,
        class_weights: None,
        ignore_label: Some(255),
    };

    #[test]
    fn what_is_ignored_is_zero_whatever_its_logit_is() {
        let device = Device::flex();
        let logits = [[[f32::NAN, 0.0, 800.0], [0.0, 0.0, -800.0]]];
        let logits = Tensor::<3>::from_floats(logits, &device);
        let labels = Tensor::<3, Int>::from_ints([[[255, 1, 7]]], &device);
        let batch = RULES.read(logits, labels);
        let values = |x: Tensor<3>| -> Vec<f32> { x.into_data().try_to_vec().unwrap() };
        assert_eq!(
            values(batch.probabilities()),
            [0.0, 0.5, 1.0, 0.0, 0.5, 0.0]
        );
        // 7 is no class.
        assert_eq!(
            values(batch.targets.clone()),
            [0.0, 0.0, 0.0, 0.0, 1.0, 0.0]
        );
        let counts = batch.counts(Scope::Batch).into_scalar::<f32>();
        assert_eq!(counts, 2.0);
    }

    #[test]
    fn half_precision_is_summed_in_f32() {
        let device = Device::flex();
        let logits = Tensor::<3>::ones([1, 1, 70_000], &device).cast(FloatDType::F16);
        let labels = Tensor::<3, Int>::ones([1, 1, 70_000], &device);
        let mode = Mode::Binary;
        let batch = LabelRules { mode, ..RULES }.read(logits, labels);
        let sum = sum_positions(batch.targets, Scope::Batch).into_scalar::<f32>();
        assert_eq!(sum, 70_000.0);
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused_by_axis() {
        let text = |mode, logits: [usize; 4], labels| {
            let rules = LabelRules { mode, ..RULES };
            rules.check(logits, labels).unwrap_err().to_string()
        };
        let image = [2, 3, 5, 6];
        assert_eq!(
            text(Mode::MultiClass, image, [2, 1, 4, 6]),
            "DiceLoss: height differs: logits 5, labels 4. Resize the labels to the size of the logits by a nearest \
             mode, or the logits."
        );
        assert_eq!(
            text(Mode::MultiClass, image, [1, 1, 5, 6]),
            "DiceLoss: batch differs: logits 2, labels 1. Give the labels of the same samples."
        );
        assert_eq!(
            text(Mode::MultiClass, image, [2, 3, 5, 6]),
            "DiceLoss: channels of the labels are 3, expected 1. Give class numbers; those of one-hot labels are \
             their argmax over the channels."
        );
        assert_eq!(
            text(Mode::MultiLabel, image, [2, 1, 5, 6]),
            "DiceLoss: channels of the labels are 1, expected 3. Give a channel of 0 and 1 for each class."
        );
        assert_eq!(
            text(Mode::Binary, image, [2, 1, 5, 6]),
            "DiceLoss: channels of the logits are 3, Mode::Binary has 1. Choose Mode::MultiClass or \
             Mode::MultiLabel, or build the network for 1 class."
        );
    }

    #[test]
    fn weights_that_do_not_fit_are_refused() {
        let text = |mode, weights: &[f64]| {
            let rules = LabelRules {
                mode,
                class_weights: Some(weights),
                ..RULES
            };
            let classes = if mode == Mode::Binary { 1 } else { 2 };
            let shapes = ([1, classes, 4], [1, 1, 4]);
            rules.check(shapes.0, shapes.1).unwrap_err().to_string()
        };
        assert_eq!(
            text(Mode::MultiClass, &[1.0]),
            "DiceLoss: class_weights has 1 numbers for 2 channels. Give one for each channel of the logits."
        );
        assert_eq!(
            text(Mode::MultiClass, &[0.0, 0.0]),
            "DiceLoss: class_weights is [0.0, 0.0]. Give numbers of 0 or more, not all of them 0."
        );
        assert_eq!(
            text(Mode::Binary, &[1.0]),
            "DiceLoss: class_weights are given in Mode::Binary. Leave them out, or multiply the loss."
        );
    }
}
