//! [`BinaryCrossEntropyLoss`]: the cross entropy of each channel by itself, with label smoothing.

use alloc::vec::Vec;

use burn::config::Config;
use burn::tensor::{Int, Tensor, activation};
use serde::{Deserialize, Serialize};

use super::Loss;
use super::batch::{MeanOver, Scope, per_weight};
use super::labels::{LabelRules, Mode};
use super::options::{check_smoothing, check_weights};
use crate::setters::setters;
use crate::shape::{ShapeError, expect};

const NAME: &str = "BinaryCrossEntropyLoss";

/// The binary cross entropy with soft labels: the mean over channels and positions of
/// `-(t log p + (1 - t) log(1 - p))`, where `p` is the sigmoid of the logit, and `t` is `1 - smoothing` for a label of
/// 1 and `smoothing` for any other.
///
/// PyTorch's `BCEWithLogitsLoss`, whose `pos_weight` is `positive_weights`: factors of the first summand.
/// segmentation_models.pytorch's `SoftBCEWithLogitsLoss` with [`MeanOver::All`]. The labels are a mask for each channel
/// of the logits ([`Mode::MultiLabel`]), of which there may be one.
///
/// # Shapes
/// - `logits`: `[batch, classes, spatial...]`
/// - `labels`: `[batch, classes, spatial...]` of 0 and 1
/// - output: `[1]`
///
/// # Example
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use burn_skip::loss::{BinaryCrossEntropyLoss, Loss};
///
/// let device = Device::flex();
/// let logits = Tensor::<4>::zeros([1, 1, 2, 2], &device);
/// let labels = Tensor::<4, Int>::from_ints([[[[0, 1], [1, 255]]]], &device);
/// let loss = BinaryCrossEntropyLoss::new().with_smoothing(0.1).with_ignore_label(255);
/// assert!((loss.forward(logits, labels).into_scalar::<f32>() - 2.0f32.ln()).abs() < 1e-6);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct BinaryCrossEntropyLoss {
    /// How far soft labels are from 0 and 1, in `[0, 1)`. Default: 0.
    #[serde(default)]
    pub smoothing: f64,
    /// What the sum is divided by. Default: the weights of what counts.
    #[serde(default)]
    pub mean_over: MeanOver,
    /// One factor for each class, of what its foreground adds. Default: all 1.
    #[serde(default)]
    pub positive_weights: Option<Vec<f64>>,
    /// One weight for each class. Default: all 1.
    #[serde(default)]
    pub class_weights: Option<Vec<f64>>,
    /// The label of positions that add nothing. Default: none.
    #[serde(default)]
    pub ignore_label: Option<i64>,
}

setters!(
    BinaryCrossEntropyLoss:
    with_smoothing(smoothing: f64),
    with_mean_over(mean_over: MeanOver),
    with_positive_weights(positive_weights: impl Into<Option<Vec<f64>>>),
    with_class_weights(class_weights: impl Into<Option<Vec<f64>>>),
    with_ignore_label(ignore_label: impl Into<Option<i64>>),
);

impl Config for BinaryCrossEntropyLoss {}

impl BinaryCrossEntropyLoss {
    /// A binary cross entropy without smoothing.
    pub fn new() -> Self {
        Self::default()
    }

    fn labels(&self) -> LabelRules<'_> {
        LabelRules {
            loss: NAME,
            mode: Mode::MultiLabel,
            class_weights: self.class_weights.as_deref(),
            ignore_label: self.ignore_label,
        }
    }
}

impl<const R: usize> Loss<R> for BinaryCrossEntropyLoss {
    fn check(&self, logits: [usize; R], labels: [usize; R]) -> Result<(), ShapeError> {
        check_smoothing(NAME, self.smoothing)?;
        self.labels().check(logits, labels)?;
        let weights = self.positive_weights.as_deref();
        check_weights(NAME, "positive_weights", weights, logits[1])
    }

    fn forward(&self, logits: Tensor<R>, labels: Tensor<R, Int>) -> Tensor<1> {
        expect(self.check(logits.dims(), labels.dims()));
        let batch = self.labels().read(logits, labels);
        let [samples, classes, positions] = batch.logits.dims();
        let x = batch.logits.clone();
        let t = match self.smoothing {
            0.0 => batch.targets.clone(),
            s => batch.targets.clone() * (1.0 - 2.0 * s) + s,
        };
        let log_p = activation::log_sigmoid(x.clone());
        // log(1 - sigmoid(x)) = log(sigmoid(-x))
        let log_not_p = log_p.clone() - x;
        let foreground = match &self.positive_weights {
            Some(weights) => t.clone() * batch.per_class(weights),
            None => t.clone(),
        };
        let background: Tensor<3> = 1.0 - t;
        let losses = batch.masked(-(foreground * log_p + background * log_not_p));
        let unit = alloc::vec![1.0; classes];
        let weights = self.class_weights.as_deref().unwrap_or(&unit);
        let sum = match self.class_weights {
            Some(_) => (losses * batch.per_class(weights)).sum(),
            None => losses.sum(),
        };
        match self.mean_over {
            MeanOver::Counted => {
                let weights = batch.per_class(weights).reshape([1, classes]);
                per_weight(sum, (batch.counts(Scope::Batch) * weights).sum())
            }
            MeanOver::All => sum / ((samples * positions) as f64 * weights.iter().sum::<f64>()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{string::ToString, vec};
    use burn::tensor::Device;

    #[test]
    fn values() {
        // Probabilities 3/4 and 1/4 of each of two classes.
        let device = Device::flex();
        let log_3 = 3f32.ln();
        let logits = Tensor::<3>::from_floats([[[log_3, -log_3], [log_3, -log_3]]], &device);
        let labels = Tensor::<3, Int>::from_ints([[[1, 1], [0, 255]]], &device);
        let assert = |loss: BinaryCrossEntropyLoss, expected: f32| {
            let loss = loss.with_ignore_label(255);
            let found = loss.forward(logits.clone(), labels.clone());
            let found = found.into_scalar::<f32>();
            assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");
        };
        let (near, far) = ((4f32 / 3.0).ln(), 4f32.ln());
        let plain = BinaryCrossEntropyLoss::new();
        assert(plain.clone(), (near + far + far) / 3.0);
        assert(
            plain.clone().with_mean_over(MeanOver::All),
            (near + far + far) / 4.0,
        );
        assert(
            plain.clone().with_positive_weights(vec![2.0, 5.0]),
            (2.0 * near + 2.0 * far + far) / 3.0,
        );
        assert(
            plain.clone().with_class_weights(vec![1.0, 3.0]),
            (near + far + 3.0 * far) / 5.0,
        );
        let (soft_near, soft_far) = (0.9 * near + 0.1 * far, 0.9 * far + 0.1 * near);
        assert(
            plain.with_smoothing(0.1),
            (soft_near + soft_far + soft_far) / 3.0,
        );
    }

    #[test]
    fn no_logit_is_too_large() {
        let device = Device::flex().autodiff();
        let logits = [[[1e6, -1e6, 1e6, -1e6, 0.0]]];
        let logits = Tensor::<3>::from_floats(logits, &device).require_grad();
        let labels = Tensor::<3, Int>::from_ints([[[1, 1, 0, 0, 1]]], &device);
        let loss = BinaryCrossEntropyLoss::new().forward(logits.clone(), labels);
        let gradient = logits.grad(&loss.backward()).unwrap() * 5.0;
        let expected = (2e6 + 2f32.ln()) / 5.0;
        assert!((loss.into_scalar::<f32>() - expected).abs() < 1.0);
        let gradient: Vec<f32> = gradient.into_data().try_to_vec().unwrap();
        assert_eq!(gradient, [0.0, -1.0, 1.0, 0.0, -0.5]);
    }

    #[test]
    fn every_class_has_a_positive_weight() {
        let loss = BinaryCrossEntropyLoss::new().with_positive_weights(vec![2.0]);
        let error = loss.check([1, 2, 4], [1, 2, 4]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "BinaryCrossEntropyLoss: positive_weights has 1 numbers for 2 channels. Give one for each channel of the \
             logits."
        );
    }
}
