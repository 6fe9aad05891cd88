//! [`Reduction`]: how the scores of images and classes become one number.

use core::fmt;

use alloc::{format, vec, vec::Vec};

use burn::config::Config;
use serde::{Deserialize, Serialize};

use super::counts::Counts;
use super::overlap::Overlap;
use crate::shape::ShapeError;

const NAME: &str = "Reduction";

/// How the counts of all images and classes become one score: `reduction` of `segmentation_models_pytorch.metrics`.
///
/// `*Imagewise` gives each image the same weight, the others each position.
///
/// # Example
/// ```
/// use burn_skip::metric::Reduction;
///
/// let read: Reduction = serde_json::from_str(r#"{"Weighted": {"weights": [0.1, 0.9]}}"#).unwrap();
/// assert_eq!(read, Reduction::Weighted { weights: vec![0.1, 0.9] });
/// let error = read.validate(3).unwrap_err();
/// assert_eq!(error.problem, "2 weights for 3 classes");
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub enum Reduction {
    /// The score of the sums over all images and classes.
    Micro,
    /// The mean over the classes; each is the score of its sums over all images. Known as mIoU for
    /// [`Overlap::Iou`].
    Macro,
    /// As [`Macro`](Self::Macro), the weighted mean.
    Weighted {
        /// The weight of each class. They need not sum to 1.
        weights: Vec<f64>,
    },
    /// The mean over the images; each is the score of its sums over all classes.
    MicroImagewise,
    /// The mean over the classes of the mean over the images.
    MacroImagewise,
    /// As [`MacroImagewise`](Self::MacroImagewise), the weighted mean over the classes. (SMP 0.6 divides it once
    /// more by the number of classes, so that there a perfect prediction of 4 classes scores 0.25.)
    WeightedImagewise {
        /// The weight of each class. They need not sum to 1.
        weights: Vec<f64>,
    },
    /// One class: the score of its sums over all images.
    Class {
        /// Which, from 0.
        class: usize,
    },
}

impl Config for Reduction {}

/// What a score of 0 / 0 becomes: the IoU of a class that is neither predicted nor there, the precision of one that
/// is not predicted, and so on. The default is 1, as `zero_division` of `segmentation_models_pytorch.metrics`.
///
/// It applies wherever 0 / 0 occurs. (SMP leaves that of `micro` NaN.)
///
/// # Example
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use burn_skip::metric::{Overlap, OverlapCounts, Reduction, ZeroDivision};
///
/// let labels = Tensor::<2, Int>::from_ints([[0, 0, 1, 1]], &Device::flex());
/// let predicted = Tensor::<2, Int>::from_ints([[0, 1, 1, 1]], &Device::flex());
/// let iou = |zero_division| {
///     let mut counts = OverlapCounts::new(3).with_zero_division(zero_division);
///     counts.add(&predicted, &labels);
///     counts.iou(Reduction::Macro)
/// };
/// // The classes have 1 / 2, 2 / 3 and 0 / 0.
/// assert!((iou(ZeroDivision::Value(1.0)) - 2.1666667 / 3.0).abs() < 1e-6);
/// assert!((iou(ZeroDivision::Value(0.0)) - 1.1666667 / 3.0).abs() < 1e-6);
/// assert!((iou(ZeroDivision::Skip) - 1.1666667 / 2.0).abs() < 1e-6);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub enum ZeroDivision {
    /// This number.
    Value(f64),
    /// It is left out of means; a score that is nothing but 0 / 0 is NaN.
    Skip,
}

impl Default for ZeroDivision {
    fn default() -> Self {
        Self::Value(1.0)
    }
}

/// The mean of the values that are not NaN; NaN if there is none. MONAI's reductions of metrics leave out the same.
///
/// # Example
/// ```
/// use burn_skip::metric::mean_of_defined;
///
/// assert_eq!(mean_of_defined([1.0, f64::NAN, 2.0]), 1.5);
/// assert!(mean_of_defined([]).is_nan());
/// ```
pub fn mean_of_defined(values: impl IntoIterator<Item = f64>) -> f64 {
    let values = values.into_iter().filter(|value| !value.is_nan());
    mean(values.map(|value| (value, 1.0))).unwrap_or(f64::NAN)
}

/// The weighted mean of values and their weights, if there is one.
fn mean(values: impl Iterator<Item = (f64, f64)>) -> Option<f64> {
    let add = |(sum, total), (value, weight): (f64, f64)| (sum + weight * value, total + weight);
    let (sum, total) = values.fold((0.0, 0.0), add);
    (total > 0.0).then(|| sum / total)
}

impl Reduction {
    /// Checks the options for `classes` classes.
    ///
    /// # Errors
    /// When the weights are not one for each class, one of them is negative or not finite, or all are 0; when there
    /// is no such class.
    pub fn validate(&self, classes: usize) -> Result<(), ShapeError> {
        let invalid = |problem, remedy: &str| Err(ShapeError::new(NAME, problem, remedy));
        match self {
            Self::Weighted { weights } | Self::WeightedImagewise { weights } => {
                if weights.len() != classes {
                    return invalid(
                        format!("{} weights for {classes} classes", weights.len()),
                        "Give one weight for each class",
                    );
                }
                let wrong = |weight: &&f64| !(weight.is_finite() && **weight >= 0.0);
                if let Some(weight) = weights.iter().find(wrong) {
                    return invalid(
                        format!("a weight is {weight}"),
                        "Choose 0 or positive numbers",
                    );
                }
                if weights.iter().all(|&weight| weight == 0.0) {
                    return invalid(
                        format!("all weights are 0 in {weights:?}"),
                        "Choose a positive weight for one class",
                    );
                }
                Ok(())
            }
            Self::Class { class } if *class >= classes => invalid(
                format!("class {class} of {classes} classes"),
                "Classes count from 0",
            ),
            _ => Ok(()),
        }
    }
}

/// What of the counts is scored, and how.
#[derive(Clone, Copy)]
pub(super) struct Scoring<'a> {
    /// The counts of each class of each image.
    pub images: &'a [Vec<Counts>],
    /// How many classes there are.
    pub classes: usize,
    /// Classes that belong to no reduction of several classes.
    pub excluded: &'a [usize],
    /// What 0 / 0 becomes.
    pub zero_division: ZeroDivision,
}

impl Scoring<'_> {
    /// One number; the options are valid.
    pub fn reduce(&self, overlap: Overlap, reduction: &Reduction) -> f64 {
        let one_each = vec![1.0; self.classes];
        let score = match reduction {
            Reduction::Micro => {
                let all = self.images.iter().map(|image| self.over_classes(image));
                self.score(overlap, &all.sum())
            }
            Reduction::Macro => self.over_images(overlap, &one_each),
            Reduction::Weighted { weights } => self.over_images(overlap, weights),
            Reduction::MicroImagewise => {
                let image = |image: &Vec<Counts>| self.score(overlap, &self.over_classes(image));
                mean(
                    self.images
                        .iter()
                        .filter_map(image)
                        .map(|score| (score, 1.0)),
                )
            }
            Reduction::MacroImagewise => self.imagewise(overlap, &one_each),
            Reduction::WeightedImagewise { weights } => self.imagewise(overlap, weights),
            Reduction::Class { class } => self.score(overlap, &self.class(*class)),
        };
        score.unwrap_or(f64::NAN)
    }

    /// The counts of a class in all images.
    pub fn class(&self, class: usize) -> Counts {
        self.images.iter().map(|image| image[class]).sum()
    }

    /// The score, with what is defined for 0 / 0; none if it is left out.
    pub fn score(&self, overlap: Overlap, counts: &Counts) -> Option<f64> {
        let score = overlap.of(counts);
        match self.zero_division {
            _ if !score.is_nan() => Some(score),
            ZeroDivision::Value(value) => Some(value),
            ZeroDivision::Skip => None,
        }
    }

    fn included(&self) -> impl Iterator<Item = usize> {
        (0..self.classes).filter(|class| !self.excluded.contains(class))
    }

    fn over_classes(&self, image: &[Counts]) -> Counts {
        self.included().map(|class| image[class]).sum()
    }

    fn over_images(&self, overlap: Overlap, weights: &[f64]) -> Option<f64> {
        let class = |class| Some((self.score(overlap, &self.class(class))?, weights[class]));
        mean(self.included().filter_map(class))
    }

    fn imagewise(&self, overlap: Overlap, weights: &[f64]) -> Option<f64> {
        let class = |class: usize| {
            let scores = self.images.iter();
            let scores = scores.filter_map(|image| self.score(overlap, &image[class]));
            Some((mean(scores.map(|score| (score, 1.0)))?, weights[class]))
        };
        mean(self.included().filter_map(class))
    }
}

/// The name in a table of results: `macro`, `class 3`.
impl fmt::Display for Reduction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Micro => f.write_str("micro"),
            Self::Macro => f.write_str("macro"),
            Self::Weighted { .. } => f.write_str("weighted"),
            Self::MicroImagewise => f.write_str("micro-imagewise"),
            Self::MacroImagewise => f.write_str("macro-imagewise"),
            Self::WeightedImagewise { .. } => f.write_str("weighted-imagewise"),
            Self::Class { class } => write!(f, "class {class}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn options_that_fit_no_classes_are_refused() {
        let text = |reduction: Reduction| reduction.validate(2).unwrap_err().to_string();
        let weighted = |weights: &[f64]| Reduction::WeightedImagewise {
            weights: weights.to_vec(),
        };
        assert_eq!(
            text(weighted(&[1.0])),
            "Reduction: 1 weights for 2 classes. Give one weight for each class."
        );
        assert_eq!(
            text(weighted(&[1.0, -1.0])),
            "Reduction: a weight is -1. Choose 0 or positive numbers."
        );
        assert_eq!(
            text(weighted(&[0.0, 0.0])),
            "Reduction: all weights are 0 in [0.0, 0.0]. Choose a positive weight for one class."
        );
        assert_eq!(
            text(Reduction::Class { class: 2 }),
            "Reduction: class 2 of 2 classes. Classes count from 0."
        );
        assert_eq!(weighted(&[1.0, 0.0]).validate(2), Ok(()));
    }

    #[test]
    fn nothing_to_average_is_nan() {
        let scoring = Scoring {
            images: &[],
            classes: 2,
            excluded: &[],
            zero_division: ZeroDivision::default(),
        };
        // The sums of no images are 0; a mean over no images is none.
        assert_eq!(scoring.reduce(Overlap::Iou, &Reduction::Macro), 1.0);
        assert!(
            scoring
                .reduce(Overlap::Iou, &Reduction::MacroImagewise)
                .is_nan()
        );
    }
}
