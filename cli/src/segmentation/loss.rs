//! The loss of a training: one of the library's, from a file or by default.

use std::path::Path;

use burn_skip::loss::{
    AbsentClass, BinaryCrossEntropyLoss, CrossEntropyLoss, DiceLoss, LossConfig, LossSum, Mode,
    Term,
};

use crate::files::json;

/// Cross entropy of every pixel, plus Dice, which is of the overlap as a whole and so does not depend on how
/// much background there is. Dice is smoothed by one pixel, so that an empty truth has a gradient. Both ignore the
/// same label, if there is one.
pub fn default_loss(classes: usize, ignored: Option<i64>) -> LossConfig {
    let dice = |mode| {
        let dice = DiceLoss::new(mode)
            .with_smooth(0.5)
            .with_ignore_label(ignored);
        dice.with_absent_class(AbsentClass::Score)
    };
    let (cross_entropy, dice) = match classes {
        1 => (
            LossConfig::BinaryCrossEntropy(
                BinaryCrossEntropyLoss::new().with_ignore_label(ignored),
            ),
            dice(Mode::Binary),
        ),
        classes => {
            // Of all classes but the background.
            let mut weights = vec![1.0; classes];
            weights[0] = 0.0;
            (
                LossConfig::CrossEntropy(CrossEntropyLoss::new().with_ignore_label(ignored)),
                dice(Mode::MultiClass).with_class_weights(weights),
            )
        }
    };
    let terms = [cross_entropy, LossConfig::Dice(dice)].map(|loss| Term::new(1.0, loss));
    LossConfig::Sum(LossSum(terms.into()))
}

/// A loss on the command line: JSON, or a file of it.
pub fn parse(text: &str) -> Result<LossConfig, String> {
    match text.trim_start().starts_with('{') {
        true => serde_json::from_str(text).map_err(|e| e.to_string()),
        false => json::read(Path::new(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::activation::{log_sigmoid, log_softmax, sigmoid, softmax};
    use burn::tensor::{Device, Distribution, Int, Tensor};
    use burn_skip::loss::Loss;

    /// `1 - (2 |p t| + 1) / (|p| + |t| + 1)`, the mean over the classes.
    fn dice(probability: Tensor<4>, truth: Tensor<4>) -> Tensor<1> {
        let of_class = |map: Tensor<4>| map.sum_dims(&[0, 2, 3]);
        let both = of_class(probability.clone() * truth.clone());
        let total = of_class(probability) + of_class(truth);
        (-(both * 2.0 + 1.0) / (total + 1.0) + 1.0).mean()
    }

    fn close(found: Tensor<1>, expected: Tensor<1>) {
        let [found, expected] = [found, expected].map(|loss| loss.into_scalar::<f32>());
        assert!(
            (found - expected).abs() < 1e-5 * expected,
            "{found} is not {expected}"
        );
    }

    fn random(classes: usize) -> (Tensor<4>, Tensor<4, Int>) {
        let device = Device::flex();
        let logits = Tensor::random([2, classes, 5, 6], Distribution::Normal(0.0, 2.0), &device);
        // (The last class has no pixel.)
        let most = classes.max(3) - 1;
        let labels = Tensor::<1, Int>::arange(0..60, &device).remainder_scalar(most as i64);
        (logits, labels.reshape([2, 1, 5, 6]))
    }

    #[test]
    fn of_one_class_it_is_the_formula() {
        let (logits, labels) = random(1);
        let truth = labels.clone().float();
        let cross_entropy = logits.clone() * (-truth.clone() + 1.0) - log_sigmoid(logits.clone());
        let expected = cross_entropy.mean() + dice(sigmoid(logits.clone()), truth);
        close(default_loss(1, None).forward(logits, labels), expected);
    }

    #[test]
    fn of_several_classes_it_is_the_formula() {
        let (logits, labels) = random(4);
        let one_hot = |classes: std::ops::Range<i64>| {
            let maps = classes.map(|class| labels.clone().equal_scalar(class).float());
            Tensor::cat(maps.collect(), 1)
        };
        let log_probability = log_softmax(logits.clone(), 1) * one_hot(0..4);
        let cross_entropy = -log_probability.sum_dim(1).mean();
        let probability = softmax(logits.clone(), 1).narrow(1, 1, 3);
        let expected = cross_entropy + dice(probability, one_hot(1..4));
        close(default_loss(4, None).forward(logits, labels), expected);
    }

    #[test]
    fn all_of_it_ignores_one_label() {
        for classes in [1, 3] {
            assert_eq!(default_loss(classes, None).ignore_label(), Ok(None));
            assert_eq!(
                default_loss(classes, Some(255)).ignore_label(),
                Ok(Some(255))
            );
        }
    }

    #[test]
    fn json_is_read_as_it_is() {
        let loss = parse(r#"{"Dice": {"mode": "MultiClass"}}"#).unwrap();
        assert_eq!(loss, LossConfig::Dice(DiceLoss::new(Mode::MultiClass)));
        let error = parse(r#"{"Dice": {"mod": "MultiClass"}}"#).unwrap_err();
        assert!(error.contains("unknown field `mod`"), "{error}");
    }
}
