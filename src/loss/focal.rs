//! [`FocalLoss`]: a cross entropy in which what is nearly right hardly counts.

use alloc::vec::Vec;

use burn::config::Config;
use burn::tensor::{Int, Tensor, activation};
use serde::{Deserialize, Serialize};

use super::Loss;
use super::batch::{Scope, mean_of_classes, per_weight, sum_positions};
use super::labels::{LabelRules, Mode};
use super::options::{check_not_negative, check_number};
use crate::setters::setters;
use crate::shape::{ShapeError, expect};

const NAME: &str = "FocalLoss";

/// The least sum of focal factors that is divided by.
const SMALLEST_FOCUS: f64 = 1e-6;

/// The focal loss: the mean over the classes of the mean over the positions of `-a_t (1 - p_t)^gamma log p_t`, where
/// `p_t` is the sigmoid of the logit for foreground and 1 minus it for background, and `a_t` is `alpha` and
/// `1 - alpha`.
///
/// arXiv:1708.02002, equation 5; the numbers and the defaults are those of segmentation_models.pytorch's `FocalLoss`. As
/// in both, the classes of [`Mode::MultiClass`] are compared with the rest one by one, by sigmoids.
///
/// # Shapes
/// - `logits`: `[batch, classes, spatial...]`
/// - `labels`: as the [`Mode`] says
/// - output: `[1]`
///
/// # Example
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use burn_skip::loss::{FocalLoss, Loss, Mode};
///
/// let device = Device::flex();
/// let logits = Tensor::<4>::zeros([1, 1, 8, 8], &device);
/// let labels = Tensor::<4, Int>::ones([1, 1, 8, 8], &device);
/// let loss = FocalLoss::new(Mode::Binary).with_alpha(0.25);
/// let expected = 0.25 * 0.5f32.powi(2) * 2.0f32.ln();
/// assert!((loss.forward(logits, labels).into_scalar::<f32>() - expected).abs() < 1e-6);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct FocalLoss {
    /// What channels and labels mean.
    pub mode: Mode,
    /// The weight of foreground, beside that of background which is 1 minus it. Default: both are 1.
    #[serde(default)]
    pub alpha: Option<f64>,
    /// The exponent, 0 for the cross entropy. Default: 2.
    #[serde(default = "gamma")]
    pub gamma: f64,
    /// Whether the loss of a class is divided by the sum of its `(1 - p_t)^gamma` (arXiv:1909.07829). Default: no.
    #[serde(default)]
    pub normalized: bool,
    /// One weight for each class. Default: all the same. Not in [`Mode::Binary`].
    #[serde(default)]
    pub class_weights: Option<Vec<f64>>,
    /// The label of positions that add nothing. Default: none.
    #[serde(default)]
    pub ignore_label: Option<i64>,
}

const fn gamma() -> f64 {
    2.0
}

setters!(
    FocalLoss:
    with_alpha(alpha: impl Into<Option<f64>>),
    with_gamma(gamma: f64),
    with_normalized(normalized: bool),
    with_class_weights(class_weights: impl Into<Option<Vec<f64>>>),
    with_ignore_label(ignore_label: impl Into<Option<i64>>),
);

impl Config for FocalLoss {}

impl FocalLoss {
    /// A focal loss with segmentation_models.pytorch's defaults.
    pub const fn new(mode: Mode) -> Self {
        Self {
            mode,
            alpha: None,
            gamma: gamma(),
            normalized: false,
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

impl<const R: usize> Loss<R> for FocalLoss {
    fn check(&self, logits: [usize; R], labels: [usize; R]) -> Result<(), ShapeError> {
        check_not_negative(NAME, "gamma", self.gamma)?;
        if let Some(alpha) = self.alpha {
            let is_valid = (0.0..=1.0).contains(&alpha);
            let remedy = "Choose the weight of foreground, in [0, 1]";
            check_number(NAME, "alpha", alpha, is_valid, remedy)?;
        }
        self.labels().check(logits, labels)
    }

    fn forward(&self, logits: Tensor<R>, labels: Tensor<R, Int>) -> Tensor<1> {
        expect(self.check(logits.dims(), labels.dims()));
        let batch = self.labels().read(logits, labels);
        let t = batch.targets.clone();
        // The logit of p_t.
        let x = batch.logits.clone() * (t.clone() * 2.0 - 1.0);
        let log_p = activation::log_sigmoid(x.clone());
        let log_not_p = activation::log_sigmoid(-x);
        // (1 - p_t)^gamma by its logarithm: a power has no gradient where p_t is 1 and gamma less than 1.
        let focus = (log_not_p * self.gamma).exp();
        let focus = batch.masked(focus);
        let losses = -(focus.clone() * log_p);
        let losses = match self.alpha {
            Some(alpha) => losses * (t * (2.0 * alpha - 1.0) + (1.0 - alpha)),
            None => losses,
        };
        let sums = sum_positions(losses, Scope::Batch);
        let sums = match self.normalized {
            true => sums / sum_positions(focus, Scope::Batch).clamp_min(SMALLEST_FOCUS),
            false => sums,
        };
        let means = per_weight(sums, batch.counts(Scope::Batch));
        mean_of_classes(means, self.class_weights.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{string::ToString, vec};
    use burn::tensor::Device;

    #[test]
    fn values() {
        // p_t of the classes: 3/4 and 1/4; 1/2 and 1/2.
        let device = Device::flex();
        let log_3 = 3f32.ln();
        let logits = Tensor::<3>::from_floats([[[log_3, log_3], [0.0, 0.0]]], &device);
        let labels = Tensor::<3, Int>::from_ints([[[0, 1]]], &device);
        let assert = |loss: FocalLoss, expected: f32| {
            let found = loss.forward(logits.clone(), labels.clone());
            let found = found.into_scalar::<f32>();
            assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");
        };
        let near = (4f32 / 3.0).ln() / 16.0;
        let far = 4f32.ln() * 9.0 / 16.0;
        let even = 2f32.ln() / 4.0;
        let focal = FocalLoss::new(Mode::MultiClass);
        assert(focal.clone(), ((near + far) / 2.0 + even) / 2.0);
        let weighted = focal.clone().with_class_weights(vec![0.0, 2.0]);
        assert(weighted, even);
        let alpha = focal.clone().with_alpha(0.25);
        let first = (0.25 * near + 0.75 * far) / 2.0;
        assert(alpha, (first + even / 2.0) / 2.0);
        let normalized = focal.with_normalized(true);
        let first = (near + far) / 2.0 / (10.0 / 16.0);
        assert(normalized, (first + even / 0.5) / 2.0);
    }

    #[test]
    fn saturated_logits_have_gradients() {
        let device = Device::flex().autodiff();
        let logits = Tensor::<3>::from_floats([[[1e4, -1e4, 1e4]]], &device).require_grad();
        let labels = Tensor::<3, Int>::from_ints([[[1, 1, 0]]], &device);
        let focal = FocalLoss::new(Mode::Binary).with_gamma(0.5);
        let loss = focal.forward(logits.clone(), labels);
        let gradient = logits.grad(&loss.backward()).unwrap() * 3.0;
        let gradient: Vec<f32> = gradient.into_data().try_to_vec().unwrap();
        assert_eq!(gradient, [0.0, -1.0, 1.0]);
    }

    #[test]
    fn alpha_is_a_fraction() {
        let loss = FocalLoss::new(Mode::Binary).with_alpha(1.5);
        let error = loss.check([1, 1, 4], [1, 1, 4]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "FocalLoss: alpha is 1.5. Choose the weight of foreground, in [0, 1]."
        );
    }
}
