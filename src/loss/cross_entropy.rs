//! [`CrossEntropyLoss`]: the cross entropy of classes that exclude each other, with label smoothing.

use alloc::vec::Vec;

use burn::config::Config;
use burn::tensor::{Int, Tensor, activation};
use serde::{Deserialize, Serialize};

use super::Loss;
use super::batch::{MeanOver, per_weight};
use super::labels::{LabelRules, Mode};
use super::options::check_smoothing;
use crate::setters::setters;
use crate::shape::{ShapeError, expect};

const NAME: &str = "CrossEntropyLoss";

/// The cross entropy with soft labels: the mean over the positions of `-sum_c t_c log p_c`, where `p` is the softmax
/// over the classes, and `t_c` is `1 - smoothing + smoothing / classes` for the label and `smoothing / classes` for the
/// other classes (arXiv:1512.00567, section 7).
///
/// PyTorch's `CrossEntropyLoss`: with class weights each `t_c` is multiplied by the weight of its class, and the sum is
/// divided by the weights of the labels. segmentation_models.pytorch's `SoftCrossEntropyLoss` with
/// [`MeanOver::All`]. The labels are class numbers ([`Mode::MultiClass`]).
///
/// # Shapes
/// - `logits`: `[batch, classes, spatial...]`
/// - `labels`: `[batch, 1, spatial...]`
/// - output: `[1]`
///
/// # Example
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use burn_skip::loss::{CrossEntropyLoss, Loss};
///
/// let device = Device::flex();
/// let logits = Tensor::<4>::zeros([2, 4, 8, 8], &device);
/// let labels = Tensor::<4, Int>::zeros([2, 1, 8, 8], &device);
/// let loss = CrossEntropyLoss::new().with_smoothing(0.1).with_ignore_label(255);
/// assert!((loss.forward(logits, labels).into_scalar::<f32>() - 4.0f32.ln()).abs() < 1e-6);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct CrossEntropyLoss {
    /// How much of a label is spread over all classes, in `[0, 1)`. Default: 0.
    #[serde(default)]
    pub smoothing: f64,
    /// What the sum is divided by. Default: the weights of the positions that count.
    #[serde(default)]
    pub mean_over: MeanOver,
    /// One weight for each class. Default: all 1.
    #[serde(default)]
    pub class_weights: Option<Vec<f64>>,
    /// The label of positions that add nothing. Default: none.
    #[serde(default)]
    pub ignore_label: Option<i64>,
}

setters!(
    CrossEntropyLoss:
    with_smoothing(smoothing: f64),
    with_mean_over(mean_over: MeanOver),
    with_class_weights(class_weights: impl Into<Option<Vec<f64>>>),
    with_ignore_label(ignore_label: impl Into<Option<i64>>),
);

impl Config for CrossEntropyLoss {}

impl CrossEntropyLoss {
    /// A cross entropy without smoothing.
    pub fn new() -> Self {
        Self::default()
    }

    fn labels(&self) -> LabelRules<'_> {
        LabelRules {
            loss: NAME,
            mode: Mode::MultiClass,
            class_weights: self.class_weights.as_deref(),
            ignore_label: self.ignore_label,
        }
    }
}

impl<const R: usize> Loss<R> for CrossEntropyLoss {
    fn check(&self, logits: [usize; R], labels: [usize; R]) -> Result<(), ShapeError> {
        check_smoothing(NAME, self.smoothing)?;
        self.labels().check(logits, labels)
    }

    fn forward(&self, logits: Tensor<R>, labels: Tensor<R, Int>) -> Tensor<1> {
        expect(self.check(logits.dims(), labels.dims()));
        let batch = self.labels().read(logits, labels);
        let [samples, classes, positions] = batch.logits.dims();
        let log_p = activation::log_softmax(batch.logits.clone(), 1);
        let weighted = |x: Tensor<3>| match &self.class_weights {
            Some(weights) => x * batch.per_class(weights),
            None => x,
        };
        let hard = batch.targets.clone();
        let soft = match self.smoothing {
            0.0 => hard.clone(),
            s => batch.masked(hard.clone() * (1.0 - s) + s / classes as f64),
        };
        let sum = -weighted(soft * log_p).sum();
        match self.mean_over {
            MeanOver::Counted => per_weight(sum, weighted(hard).sum()),
            MeanOver::All => sum / (samples * positions) as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{string::ToString, vec};
    use burn::tensor::Device;

    /// Probabilities 1/2, 1/4, 1/4 at each of three positions.
    fn loss(cross_entropy: &CrossEntropyLoss, labels: [i32; 3]) -> f32 {
        let device = Device::flex();
        let logits = [[[2f32.ln(); 3], [0.0; 3], [0.0; 3]]];
        let logits = Tensor::<3>::from_floats(logits, &device);
        let labels = Tensor::<3, Int>::from_ints([[labels]], &device);
        cross_entropy.forward(logits, labels).into_scalar()
    }

    #[test]
    fn values() {
        let (half, quarter) = (2f32.ln(), 4f32.ln());
        let assert = |loss: CrossEntropyLoss, labels, expected: f32| {
            let found = self::loss(&loss, labels);
            assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");
        };
        let plain = CrossEntropyLoss::new();
        assert(plain.clone(), [0, 1, 2], (half + 2.0 * quarter) / 3.0);
        let ignoring = plain.clone().with_ignore_label(2);
        assert(ignoring.clone(), [0, 1, 2], (half + quarter) / 2.0);
        assert(ignoring, [2, 2, 2], 0.0);
        let smooth = plain.clone().with_class_weights(vec![0.0, 1.0, 1.0]);
        assert(smooth.with_smoothing(0.1), [0, 0, 0], 0.0);
        let weighted = plain.clone().with_class_weights(vec![3.0, 1.0, 0.0]);
        assert(weighted, [0, 1, 2], (3.0 * half + quarter) / 4.0);
        let all_classes = (half + 2.0 * quarter) / 3.0;
        let smooth = plain.with_smoothing(0.3);
        assert(smooth, [0, 0, 0], 0.7 * half + 0.3 * all_classes);
    }

    #[test]
    fn no_logit_is_too_large() {
        let device = Device::flex().autodiff();
        let logits = Tensor::<3>::from_floats([[[1e6], [-1e6]]], &device).require_grad();
        let labels = Tensor::<3, Int>::from_ints([[[1]]], &device);
        let loss = CrossEntropyLoss::new().forward(logits.clone(), labels);
        let gradient = logits.grad(&loss.backward()).unwrap();
        assert_eq!(loss.into_scalar::<f32>(), 2e6);
        let gradient: Vec<f32> = gradient.into_data().try_to_vec().unwrap();
        assert_eq!(gradient, [1.0, -1.0]);
    }

    #[test]
    fn smoothing_is_a_fraction() {
        let loss = CrossEntropyLoss::new().with_smoothing(1.0);
        let error = loss.check([1, 2, 4], [1, 1, 4]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "CrossEntropyLoss: smoothing is 1. Choose a number in [0, 1)."
        );
    }
}
