//! [`ClDiceLoss`]: the centerline Dice, for maps of tubes whose connections matter.

use alloc::vec::Vec;

use burn::config::Config;
use burn::tensor::{Int, Tensor};
use serde::{Deserialize, Serialize};

use super::Loss;
use super::labels::{LabelRules, Mode};
use super::options::check_positive_number;
use super::skeleton::soft_skeleton;
use crate::setters::setters;
use crate::shape::{ShapeError, check_not_huge, expect};

const NAME: &str = "ClDiceLoss";

/// The soft centerline Dice loss: the mean over the samples of `1 - 2 P S / (P + S + epsilon)`, where the precision is
/// `P = (sum(skeleton(p) t) + smooth) / (sum(skeleton(p)) + smooth)`, and the sensitivity is
/// `S = (sum(skeleton(t) p) + smooth) / (sum(skeleton(t)) + smooth)`, over all positions and classes of a sample.
///
/// arXiv:2003.07311, algorithm 2; the numbers and the defaults are those of MONAI's `SoftclDiceLoss`, whose
/// `include_background=False` is a class weight of 0. Here it has one spatial axis too. It is used beside a Dice loss,
/// by a [`LossSum`](super::LossSum). Ignored positions are background, of the labels and of the map.
///
/// # Shapes
/// - `logits`: `[batch, classes, spatial...]`
/// - `labels`: as the [`Mode`] says
/// - output: `[1]`
///
/// # Example
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use burn_skip::loss::{ClDiceLoss, Loss, Mode};
///
/// let device = Device::flex();
/// let labels = Tensor::<4, Int>::zeros([1, 1, 9, 9], &device);
/// let tube = labels.slice_fill([0..1, 0..1, 3..6, 0..9], 1);
/// let thick = tube.clone().float() * 99.0 - 50.0;
/// let broken = thick.clone().slice_fill([0..1, 0..1, 0..9, 3..6], -50.0);
/// let loss = |logits| ClDiceLoss::new(Mode::Binary).forward(logits, tube.clone()).into_scalar::<f32>();
/// assert!(loss(thick) < 1e-3);
/// assert!(loss(broken) > 0.1);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ClDiceLoss {
    /// What channels and labels mean.
    pub mode: Mode,
    /// How often a map is eroded for its skeleton: at least the radius of the widest tube. Default: 3.
    #[serde(default = "iterations")]
    pub iterations: usize,
    /// Added to the sums of precision and sensitivity, in positions. Default: 1.
    #[serde(default = "smooth")]
    pub smooth: f64,
    /// Added to the denominator. Default: 1e-4.
    #[serde(default = "epsilon")]
    pub epsilon: f64,
    /// Factors of what a class adds to the sums, one for each class. Default: all 1. Not in [`Mode::Binary`].
    #[serde(default)]
    pub class_weights: Option<Vec<f64>>,
    /// The label of positions that add nothing. Default: none.
    #[serde(default)]
    pub ignore_label: Option<i64>,
}

const fn iterations() -> usize {
    3
}

const fn smooth() -> f64 {
    1.0
}

const fn epsilon() -> f64 {
    1e-4
}

setters!(
    ClDiceLoss:
    with_iterations(iterations: usize),
    with_smooth(smooth: f64),
    with_epsilon(epsilon: f64),
    with_class_weights(class_weights: impl Into<Option<Vec<f64>>>),
    with_ignore_label(ignore_label: impl Into<Option<i64>>),
);

impl Config for ClDiceLoss {}

impl ClDiceLoss {
    /// A centerline Dice loss with MONAI's defaults.
    pub const fn new(mode: Mode) -> Self {
        Self {
            mode,
            iterations: iterations(),
            smooth: smooth(),
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

impl<const R: usize> Loss<R> for ClDiceLoss {
    fn check(&self, logits: [usize; R], labels: [usize; R]) -> Result<(), ShapeError> {
        check_not_huge(NAME, "iterations", self.iterations)?;
        check_positive_number(NAME, "smooth", self.smooth)?;
        check_positive_number(NAME, "epsilon", self.epsilon)?;
        self.labels().check(logits, labels)
    }

    fn forward(&self, logits: Tensor<R>, labels: Tensor<R, Int>) -> Tensor<1> {
        expect(self.check(logits.dims(), labels.dims()));
        let shape = logits.dims();
        let batch = self.labels().read(logits, labels);
        let (p, t) = (batch.probabilities(), batch.targets.clone());
        let skeleton = |x: &Tensor<3>| {
            let map: Tensor<R> = x.clone().reshape(shape);
            let skeleton = soft_skeleton(map, self.iterations).reshape(x.dims());
            match &self.class_weights {
                Some(weights) => skeleton * batch.per_class(weights),
                None => skeleton,
            }
        };
        let found = skeleton(&p);
        let wanted = skeleton(&t);
        let sum = |x: Tensor<3>| x.sum_dim(2).sum_dim(1) + self.smooth;
        let precision = sum(found.clone() * t) / sum(found);
        let sensitivity = sum(wanted.clone() * p) / sum(wanted);
        let both = precision.clone() * sensitivity.clone() * 2.0;
        let losses: Tensor<3> = 1.0 - both / (precision + sensitivity + self.epsilon);
        losses.mean()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use burn::tensor::Device;

    #[test]
    fn what_lies_beside_the_tube_lowers_the_precision() {
        let device = Device::flex();
        let logits = [[[-99.0, 99.0, -99.0, -99.0, 99.0, -99.0, 99.0]]];
        let logits = Tensor::<3>::from_floats(logits, &device);
        let labels = Tensor::<3, Int>::from_ints([[[0, 1, 0, 0, 0, 0, 9]]], &device);
        let loss = ClDiceLoss::new(Mode::Binary).with_ignore_label(9);
        // P = (1 + 1) / (2 + 1) and S = 1.
        let precision = 2.0 / 3.0f32;
        let expected = 1.0 - 2.0 * precision / (precision + 1.0 + 1e-4);
        let found = loss.forward(logits, labels).into_scalar::<f32>();
        assert!((found - expected).abs() < 1e-6, "{found}");
    }

    #[test]
    fn nothing_is_divided_by_zero() {
        let loss = ClDiceLoss::new(Mode::Binary).with_smooth(0.0);
        let error = loss.check([1, 1, 4], [1, 1, 4]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "ClDiceLoss: smooth is 0. Choose a positive number, such as 1e-5."
        );
    }
}
