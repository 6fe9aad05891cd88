//! [`GeneralizedDiceLoss`]: one Dice score of all classes, in which small classes weigh as much as large ones.

use alloc::{vec, vec::Vec};

use burn::config::Config;
use burn::tensor::{Int, Tensor};
use serde::{Deserialize, Serialize};

use super::Loss;
use super::batch::{Scope, row_of_classes, sum_positions};
use super::labels::{LabelRules, Mode};
use super::options::check_positive_number;
use crate::setters::setters;
use crate::shape::{ShapeError, expect};

const NAME: &str = "GeneralizedDiceLoss";

/// How the weight of a class follows from its volume, the number of its labels.
///
/// # Example
/// ```
/// use burn_skip::loss::{GeneralizedDiceLoss, Mode, VolumeWeight};
///
/// let loss = GeneralizedDiceLoss::new(Mode::MultiClass);
/// assert_eq!(loss.volume_weight, VolumeWeight::Square);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum VolumeWeight {
    /// `1 / volume^2`
    #[default]
    Square,
    /// `1 / volume`
    Simple,
    /// 1
    Uniform,
}

/// The generalised Dice loss: `1 - (2 sum_c w_c TP_c + smooth) / (sum_c w_c (2 TP_c + FP_c + FN_c) + smooth)`, where
/// the weight `w_c` of a class falls with the volume of its labels. A class without labels has the largest weight of
/// the others.
///
/// arXiv:1707.03237; the numbers and the defaults are those of MONAI's `GeneralizedDiceLoss`, whose `batch` is
/// [`Scope::Batch`], and whose `include_background=False` is a class weight of 0.
///
/// # Shapes
/// - `logits`: `[batch, classes, spatial...]`
/// - `labels`: as the [`Mode`] says
/// - output: `[1]`
///
/// # Example
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use burn_skip::loss::{GeneralizedDiceLoss, Loss, Mode};
///
/// let device = Device::flex();
/// let logits = Tensor::<3>::zeros([1, 2, 4], &device);
/// let labels = Tensor::<3, Int>::from_ints([[[0, 0, 0, 1]]], &device);
/// let loss = GeneralizedDiceLoss::new(Mode::MultiClass).forward(logits, labels);
/// // Weights 1/9 and 1, TP 3/2 and 1/2, 2 TP + FP + FN = 5 and 3.
/// let expected = 1.0 - 2.0 * (1.5 / 9.0 + 0.5) / (5.0 / 9.0 + 3.0);
/// assert!((loss.into_scalar::<f32>() - expected).abs() < 1e-5);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct GeneralizedDiceLoss {
    /// What channels and labels mean.
    pub mode: Mode,
    /// Over which positions a score is computed. Default: each sample.
    #[serde(default = "sample")]
    pub scope: Scope,
    /// The weights of the classes by their volumes. Default: by the square.
    #[serde(default)]
    pub volume_weight: VolumeWeight,
    /// Added to numerator and denominator. Default: 1e-5.
    #[serde(default = "smooth")]
    pub smooth: f64,
    /// Factors of the weights, one for each class. Default: all the same. Not in [`Mode::Binary`].
    #[serde(default)]
    pub class_weights: Option<Vec<f64>>,
    /// The label of positions that add nothing. Default: none.
    #[serde(default)]
    pub ignore_label: Option<i64>,
}

const fn sample() -> Scope {
    Scope::Sample
}

const fn smooth() -> f64 {
    1e-5
}

setters!(
    GeneralizedDiceLoss:
    with_scope(scope: Scope),
    with_volume_weight(volume_weight: VolumeWeight),
    with_smooth(smooth: f64),
    with_class_weights(class_weights: impl Into<Option<Vec<f64>>>),
    with_ignore_label(ignore_label: impl Into<Option<i64>>),
);

impl Config for GeneralizedDiceLoss {}

impl GeneralizedDiceLoss {
    /// A generalised Dice loss with MONAI's defaults.
    pub const fn new(mode: Mode) -> Self {
        Self {
            mode,
            scope: sample(),
            volume_weight: VolumeWeight::Square,
            smooth: smooth(),
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

    /// The weights of the classes with these volumes, `[rows, classes]`.
    fn weights(&self, volumes: Tensor<2>) -> Tensor<2> {
        let [_, classes] = volumes.dims();
        let factors = self
            .class_weights
            .clone()
            .unwrap_or_else(|| vec![1.0; classes]);
        let row = |numbers: &[f64]| row_of_classes(numbers, &volumes);
        let absent = volumes.clone().equal_scalar(0.0);
        let weights = match self.volume_weight {
            VolumeWeight::Square => (volumes.clone() * volumes.clone()).recip(),
            VolumeWeight::Simple => volumes.clone().recip(),
            VolumeWeight::Uniform => return volumes.ones_like() * row(&factors),
        };
        let weights = weights.mask_fill(absent.clone(), 0.0);
        // What is left out has no say in the largest weight either.
        let counts: Vec<f64> = factors.iter().map(|f| f64::from(*f > 0.0)).collect();
        let largest = (weights.clone() * row(&counts)).max_dim(1);
        let largest = match self.scope {
            Scope::Sample => largest,
            Scope::Batch => largest.max_dim(0),
        };
        let largest = largest.expand(weights.dims());
        weights.mask_where(absent, largest) * row(&factors)
    }
}

impl<const R: usize> Loss<R> for GeneralizedDiceLoss {
    fn check(&self, logits: [usize; R], labels: [usize; R]) -> Result<(), ShapeError> {
        check_positive_number(NAME, "smooth", self.smooth)?;
        self.labels().check(logits, labels)
    }

    fn forward(&self, logits: Tensor<R>, labels: Tensor<R, Int>) -> Tensor<1> {
        expect(self.check(logits.dims(), labels.dims()));
        let batch = self.labels().read(logits, labels);
        let p = batch.probabilities();
        let t = batch.targets;
        let volumes = sum_positions(t.clone(), self.scope);
        let hits = sum_positions(p.clone() * t, self.scope);
        // 2 TP + FP + FN
        let both = sum_positions(p, self.scope) + volumes.clone();
        let weights = self.weights(volumes);
        let score = ((hits * weights.clone()).sum_dim(1) * 2.0 + self.smooth)
            / ((both * weights).sum_dim(1) + self.smooth);
        1.0 - score.mean()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn a_class_without_labels_weighs_as_the_largest() {
        let device = Device::flex();
        let loss = GeneralizedDiceLoss::new(Mode::MultiLabel);
        let weights = |loss: &GeneralizedDiceLoss| -> Vec<f32> {
            let volumes = Tensor::from_floats([[2.0, 0.0, 4.0]], &device);
            loss.weights(volumes).into_data().try_to_vec().unwrap()
        };
        assert_eq!(weights(&loss), [0.25, 0.25, 0.0625]);
        let without_first = loss.clone().with_class_weights(vec![0.0, 1.0, 2.0]);
        assert_eq!(weights(&without_first), [0.0, 0.0625, 0.125]);
        let simple = loss.with_volume_weight(VolumeWeight::Simple);
        assert_eq!(weights(&simple), [0.5, 0.5, 0.25]);
    }

    #[test]
    fn an_image_without_foreground_has_no_loss() {
        let device = Device::flex();
        let logits = Tensor::<3>::zeros([1, 1, 4], &device);
        let labels = Tensor::<3, Int>::zeros([1, 1, 4], &device);
        let loss = GeneralizedDiceLoss::new(Mode::Binary).forward(logits, labels);
        assert_eq!(loss.into_scalar::<f32>(), 0.0);
    }
}
