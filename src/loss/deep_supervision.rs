//! [`DeepSupervision`]: one loss for logits of several sizes.

use alloc::{format, vec::Vec};

use burn::config::Config;
use burn::tensor::{Int, Tensor};
use serde::{Deserialize, Serialize};

use super::options::check_weights;
use super::{Loss, LossConfig};
use crate::layers::resize::{ResizeMode, resize};
use crate::shape::{ShapeError, expect, spatial, with_spatial};

const NAME: &str = "DeepSupervision";

/// How much the logits of each level weigh, the finest first. The weights are divided by their sum.
///
/// # Example
/// ```
/// use burn_skip::loss::LevelWeights;
///
/// assert_eq!(LevelWeights::Halving.of(3).unwrap(), [4.0 / 7.0, 2.0 / 7.0, 1.0 / 7.0]);
/// assert_eq!(LevelWeights::Given(vec![3.0, 1.0]).of(2).unwrap(), [0.75, 0.25]);
/// assert!(LevelWeights::Given(vec![3.0, 1.0]).of(3).is_err());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum LevelWeights {
    /// 1, 1/2, 1/4, ...
    #[default]
    Halving,
    /// All the same.
    Equal,
    /// One for each level.
    Given(Vec<f64>),
}

impl LevelWeights {
    /// The weights of so many levels.
    ///
    /// # Errors
    /// When there is no level, or the given weights are of another number, negative or all 0.
    pub fn of(&self, levels: usize) -> Result<Vec<f64>, ShapeError> {
        if levels == 0 {
            return Err(ShapeError::new(
                NAME,
                "there are no logits",
                "Give those of one level or more",
            ));
        }
        let weights: Vec<f64> = match self {
            Self::Halving => {
                let halves = core::iter::successors(Some(1.0), |weight| Some(weight / 2.0));
                halves.take(levels).collect()
            }
            Self::Equal => alloc::vec![1.0; levels],
            Self::Given(weights) if weights.len() != levels => {
                return Err(ShapeError::new(
                    NAME,
                    format!("weights has {} numbers for {levels} levels", weights.len()),
                    "Give one for each level",
                ));
            }
            Self::Given(weights) => {
                check_weights(NAME, "weights", Some(weights), levels)?;
                weights.clone()
            }
        };
        let sum: f64 = weights.iter().sum();
        Ok(weights.into_iter().map(|weight| weight / sum).collect())
    }
}

/// The weighted mean of a loss over logits of several sizes, such as those of the levels of a decoder (arXiv:1409.5185).
/// The labels are resized to each by the nearest position,
/// [`NearestExact`](crate::resize::ResizeMode::NearestExact).
///
/// MONAI's `DeepSupervisionLoss`, which does not divide the weights by their sum.
///
/// # Shapes
/// - `logits`: a list of `[batch, channels, spatial...]`, the finest first
/// - `labels`: as the loss takes them, of any spatial size
/// - output: `[1]`
///
/// # Example
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use burn_skip::loss::{DeepSupervision, DiceLoss, Mode};
///
/// let device = Device::flex();
/// let logits = [[2, 3, 8, 8], [2, 3, 4, 4]].map(|shape| Tensor::<4>::zeros(shape, &device));
/// let labels = Tensor::<4, Int>::zeros([2, 1, 8, 8], &device);
/// let loss = DeepSupervision::new(DiceLoss::new(Mode::MultiClass));
/// assert_eq!(loss.forward(logits.into(), labels).dims(), [1]);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct DeepSupervision<L = LossConfig> {
    /// The loss of a level.
    pub loss: L,
    /// The weights of the levels. Default: each half of that before it.
    #[serde(default)]
    pub weights: LevelWeights,
}

impl Config for DeepSupervision {}

impl<L> DeepSupervision<L> {
    /// A loss whose levels have halved weights.
    pub const fn new(loss: L) -> Self {
        let weights = LevelWeights::Halving;
        Self { loss, weights }
    }

    /// Sets the field `weights`.
    pub fn with_weights(mut self, weights: LevelWeights) -> Self {
        self.weights = weights;
        self
    }

    /// Checks the options, and logits and labels of these shapes.
    ///
    /// # Errors
    /// When the weights do not fit the levels, or the logits of a level do not fit the loss or the labels.
    pub fn check<const R: usize>(
        &self,
        logits: &[[usize; R]],
        labels: [usize; R],
    ) -> Result<(), ShapeError>
    where
        L: Loss<R>,
    {
        self.weights.of(logits.len())?;
        for (level, &shape) in logits.iter().enumerate() {
            self.loss
                .check(shape, with_spatial(labels, spatial(&shape)))
                .map_err(|error| error.within(format!("levels.{level}")))?;
        }
        Ok(())
    }

    /// The loss of these logits, the finest first.
    ///
    /// # Panics
    /// When [`check`](Self::check) returns an error, with its message.
    pub fn forward<const R: usize>(
        &self,
        logits: Vec<Tensor<R>>,
        labels: Tensor<R, Int>,
    ) -> Tensor<1>
    where
        L: Loss<R>,
    {
        let shapes: Vec<[usize; R]> = logits.iter().map(Tensor::dims).collect();
        expect(self.check(&shapes, labels.dims()));
        let weights = expect(self.weights.of(logits.len()));
        let levels = logits.into_iter().zip(weights).map(|(logits, weight)| {
            let labels = resize_labels(labels.clone(), spatial(&logits.dims()));
            self.loss.forward(logits, labels) * weight
        });
        let sum = levels.reduce(|sum, level| sum + level);
        sum.expect("the check sees a level")
    }
}

/// Labels of another size, by the nearest position.
fn resize_labels<const R: usize>(labels: Tensor<R, Int>, size: &[usize]) -> Tensor<R, Int> {
    if spatial(&labels.dims()) == size {
        return labels;
    }
    // Floats hold the numbers of all classes, and nearest modes copy them.
    resize(labels.float(), size, ResizeMode::NearestExact).int()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::{CrossEntropyLoss, DiceLoss, Mode};
    use alloc::{string::ToString, vec};
    use burn::tensor::Device;

    #[test]
    fn labels_are_resized_to_each_level() {
        let device = Device::flex();
        // The second and the fourth label lie nearest to the centres of the halves.
        let labels = Tensor::<3, Int>::from_ints([[[0, 1, 0, -100]]], &device);
        let resized = resize_labels(labels.clone(), &[2]).into_data();
        let resized: Vec<i32> = resized.convert::<i32>().try_to_vec().unwrap();
        assert_eq!(resized, [1, -100]);
        let fine = Tensor::<3>::zeros([1, 2, 4], &device);
        let coarse = Tensor::<3>::from_floats([[[0.0, 0.0], [3f32.ln(), 0.0]]], &device);
        let loss = CrossEntropyLoss::new().with_ignore_label(-100);
        let loss = DeepSupervision::new(loss).forward(vec![fine, coarse], labels);
        let expected = (2.0 * 2f32.ln() + (4.0 / 3f32).ln()) / 3.0;
        assert!((loss.into_scalar::<f32>() - expected).abs() < 1e-6);
    }

    #[test]
    fn errors_say_which_level() {
        let loss = DeepSupervision::new(DiceLoss::new(Mode::Binary));
        let text = |loss: &DeepSupervision<DiceLoss>, logits: &[[usize; 3]]| {
            let error = loss.check(logits, [2, 1, 8]).unwrap_err();
            error.to_string()
        };
        assert_eq!(
            text(&loss, &[[2, 1, 8], [1, 1, 4]]),
            "levels.1.DiceLoss: batch differs: logits 1, labels 2. Give the labels of the same samples."
        );
        assert_eq!(
            text(&loss, &[]),
            "DeepSupervision: there are no logits. Give those of one level or more."
        );
        let given = loss.with_weights(LevelWeights::Given(vec![1.0]));
        assert_eq!(
            text(&given, &[[2, 1, 8], [2, 1, 4]]),
            "DeepSupervision: weights has 1 numbers for 2 levels. Give one for each level."
        );
    }
}
