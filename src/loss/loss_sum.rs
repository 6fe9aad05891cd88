//! [`LossSum`]: several losses as one.

use alloc::{format, vec::Vec};

use burn::config::Config;
use burn::tensor::{Int, Tensor};
use serde::{Deserialize, Serialize};

use super::options::check_number;
use super::{Loss, LossConfig};
use crate::shape::{ShapeError, expect};

/// A summand of a [`LossSum`].
///
/// # Example
/// ```
/// use burn_skip::loss::{DiceLoss, LossConfig, Mode, Term};
///
/// let term = Term::new(0.5, LossConfig::Dice(DiceLoss::new(Mode::Binary)));
/// assert_eq!(term.weight, 0.5);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Term {
    /// The factor of the loss. Default: 1.
    #[serde(default = "one")]
    pub weight: f64,
    /// The loss.
    pub loss: LossConfig,
}

const fn one() -> f64 {
    1.0
}

impl Term {
    /// A loss with a factor.
    pub const fn new(weight: f64, loss: LossConfig) -> Self {
        Self { weight, loss }
    }
}

impl Config for Term {}

/// The sum of several losses of the same logits and labels, each multiplied by its weight. The weights are not
/// normalised.
///
/// # Shapes
/// - `logits` and `labels`: as all its losses take them
/// - output: `[1]`
///
/// # Example
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use burn_skip::loss::{CrossEntropyLoss, DiceLoss, Loss, LossConfig, Mode, Term, LossSum};
///
/// let sum = LossSum(vec![
///     Term::new(1.0, LossConfig::Dice(DiceLoss::new(Mode::MultiClass))),
///     Term::new(0.5, LossConfig::CrossEntropy(CrossEntropyLoss::new())),
/// ]);
/// let device = Device::flex();
/// let logits = Tensor::<3>::zeros([1, 2, 4], &device);
/// let labels = Tensor::<3, Int>::from_ints([[[0, 1, 1, 0]]], &device);
/// let loss = sum.forward(logits, labels).into_scalar::<f32>();
/// assert!((loss - (0.5 + 0.5 * 2.0f32.ln())).abs() < 1e-6);
/// // In a file it is a list.
/// assert!(serde_json::to_string(&LossConfig::Sum(sum)).unwrap().starts_with(r#"{"Sum":[{"weight":1.0,"#));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct LossSum(
    /// The summands.
    pub Vec<Term>,
);

impl Config for LossSum {}

impl<const R: usize> Loss<R> for LossSum {
    fn check(&self, logits: [usize; R], labels: [usize; R]) -> Result<(), ShapeError> {
        if self.0.is_empty() {
            return Err(ShapeError::new(
                "LossSum",
                "there is no term",
                "Give it a loss",
            ));
        }
        for (n, Term { weight, loss }) in self.0.iter().enumerate() {
            let finite = check_number("Term", "weight", *weight, true, "Choose a finite number");
            finite
                .and_then(|()| loss.check(logits, labels))
                .map_err(|error| error.within(format!("Sum.{n}")))?;
        }
        Ok(())
    }

    fn forward(&self, logits: Tensor<R>, labels: Tensor<R, Int>) -> Tensor<1> {
        expect(self.check(logits.dims(), labels.dims()));
        let terms = self.0.iter().map(|Term { weight, loss }| {
            loss.forward(logits.clone(), labels.clone())
                .mul_scalar(*weight)
        });
        terms
            .reduce(|sum, term| sum + term)
            .expect("the check sees a term")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::{DiceLoss, Mode};
    use alloc::{string::ToString, vec};

    #[test]
    fn errors_say_which_term() {
        let term = |weight, mode| Term::new(weight, LossConfig::Dice(DiceLoss::new(mode)));
        let text = |terms| {
            let sum = LossSum(terms);
            sum.check([1, 1, 4], [1, 1, 4]).unwrap_err().to_string()
        };
        let fits = term(1.0, Mode::Binary);
        assert_eq!(
            text(vec![fits.clone(), term(1.0, Mode::MultiClass)]),
            "Sum.1.DiceLoss: channels of the logits are 1, Mode::MultiClass has 2 or more. Choose Mode::Binary, or \
             build the network with a channel for the background."
        );
        assert_eq!(
            text(vec![fits, term(f64::NAN, Mode::Binary)]),
            "Sum.1.Term: weight is NaN. Choose a finite number."
        );
        assert_eq!(text(vec![]), "LossSum: there is no term. Give it a loss.");
    }
}
