//! [`OverlapMetric`]: the overlap as a metric of Burn's trainer.

use alloc::format;
use std::sync::Arc;

use burn::tensor::{Int, Tensor, TensorReadError};
use burn::train::metric::{
    Metric, MetricAttributes, MetricMetadata, MetricName, Numeric, NumericAttributes, NumericEntry,
    SerializedEntry,
};

use super::overlap::Overlap;
use super::overlap_counts::OverlapCounts;
use super::reduction::Reduction;
use crate::shape::{ShapeError, expect};

/// What [`OverlapMetric`] reads of a step. The output of the step implements
/// `burn::train::metric::Adaptor<OverlapInput>`.
///
/// # Shapes
/// As [`OverlapCounts::add_scores`]: `R` is the rank of the scores, `L` that of the labels.
#[derive(Clone, Debug)]
pub struct OverlapInput<const R: usize = 4, const L: usize = 3> {
    /// Logits or probabilities, `[batch, classes, spatial...]`.
    pub scores: Tensor<R>,
    /// The true labels, `[batch, spatial...]`.
    pub labels: Tensor<L, Int>,
}

/// A score of the [overlap](Overlap) of predicted and true labels, followed over an epoch. Feature `train`.
///
/// The score of an epoch is that of the counts of all its batches, and not the mean of the batches' scores.
///
/// # Panics
/// `update` panics with the message of the error of [`OverlapCounts::try_add_scores`].
///
/// # Example
/// ```
/// use burn::tensor::{Int, Tensor};
/// use burn::train::metric::{Adaptor, Metric};
/// use burn_skip::metric::{Overlap, OverlapCounts, OverlapInput, OverlapMetric, Reduction};
///
/// /// The output of a training step.
/// struct Output {
///     logits: Tensor<4>,
///     labels: Tensor<3, Int>,
/// }
///
/// impl Adaptor<OverlapInput> for Output {
///     fn adapt(&self) -> OverlapInput {
///         OverlapInput { scores: self.logits.clone(), labels: self.labels.clone() }
///     }
/// }
///
/// let counts = OverlapCounts::new(5).ignoring(255).without_class(0);
/// let metric: OverlapMetric = OverlapMetric::new(counts, Overlap::Dice, Reduction::Macro).unwrap();
/// assert_eq!(metric.name().as_str(), "Dice (macro)");
/// // `SupervisedTraining::new(...).metric_valid_numeric(metric)`
/// ```
#[derive(Clone, Debug)]
pub struct OverlapMetric<const R: usize = 4, const L: usize = 3> {
    overlap: Overlap,
    reduction: Reduction,
    batch: OverlapCounts,
    epoch: OverlapCounts,
}

impl<const R: usize, const L: usize> OverlapMetric<R, L> {
    /// A score of what is counted with the options of `counts`.
    ///
    /// # Errors
    /// When [`OverlapCounts::try_score`] returns one.
    pub fn new(
        mut counts: OverlapCounts,
        overlap: Overlap,
        reduction: Reduction,
    ) -> Result<Self, ShapeError> {
        counts.clear();
        counts.try_score(overlap, &reduction)?;
        Ok(Self {
            overlap,
            reduction,
            batch: counts.clone(),
            epoch: counts,
        })
    }

    /// The counts of the epoch so far, for more scores than one.
    pub fn counts(&self) -> &OverlapCounts {
        &self.epoch
    }

    fn of(&self, counts: &OverlapCounts) -> f64 {
        counts.score(self.overlap, &self.reduction)
    }

    fn entry(&self, number: NumericEntry) -> SerializedEntry {
        let score = self.of(&self.epoch);
        SerializedEntry::new(format!("{score:.4}"), number.serialize())
    }
}

impl<const R: usize, const L: usize> Metric for OverlapMetric<R, L> {
    type Input = OverlapInput<R, L>;

    fn name(&self) -> MetricName {
        Arc::new(format!("{} ({})", self.overlap, self.reduction))
    }

    fn attributes(&self) -> MetricAttributes {
        NumericAttributes::default().into()
    }

    fn update(
        &mut self,
        input: &Self::Input,
        _metadata: &MetricMetadata,
    ) -> Result<SerializedEntry, TensorReadError> {
        self.batch.clear();
        expect(self.batch.read_scores(&input.scores, &input.labels)?);
        self.epoch.merge(&self.batch);
        Ok(self.entry(NumericEntry::Value(self.of(&self.batch))))
    }

    fn compute(&mut self) -> Result<SerializedEntry, TensorReadError> {
        Ok(self.entry(self.final_value()))
    }

    fn clear(&mut self) {
        self.batch.clear();
        self.epoch.clear();
    }
}

impl<const R: usize, const L: usize> Numeric for OverlapMetric<R, L> {
    fn value(&self) -> Option<NumericEntry> {
        Some(NumericEntry::Value(self.of(&self.batch)))
    }

    fn running_value(&self) -> Option<NumericEntry> {
        Some(NumericEntry::Value(self.of(&self.epoch)))
    }

    fn final_value(&self) -> NumericEntry {
        NumericEntry::Final(self.of(&self.epoch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;
    use burn::data::dataloader::Progress;
    use burn::tensor::Device;

    fn value(entry: Option<NumericEntry>) -> f64 {
        match entry {
            Some(NumericEntry::Value(value)) => value,
            _ => panic!("no value"),
        }
    }

    #[test]
    fn an_epoch_is_scored_by_its_counts() {
        let device = Device::flex();
        let metadata = MetricMetadata {
            progress: Progress {
                items_processed: 1,
                items_total: 2,
                unit: Some(String::from("items")),
            },
            iteration: None,
            lr: None,
        };
        let mut metric =
            OverlapMetric::<3, 2>::new(OverlapCounts::binary(), Overlap::Iou, Reduction::Micro)
                .unwrap();
        let update = |metric: &mut OverlapMetric<3, 2>, labels: [i32; 3]| {
            let input = OverlapInput {
                scores: Tensor::from_floats([[[1.0, 2.0, -1.0]]], &device),
                labels: Tensor::from_ints([labels], &device),
            };
            metric.update(&input, &metadata).unwrap().formatted
        };
        assert_eq!(update(&mut metric, [1, 1, 0]), "1.0000");
        // 1 of 3, and 3 of 5 together.
        assert_eq!(update(&mut metric, [0, 1, 1]), "0.6000");
        assert_eq!(metric.counts().total()[0].true_positives, 3);
        assert!((value(metric.value()) - 1.0 / 3.0).abs() < 1e-12);
        assert_eq!(value(metric.running_value()), 0.6);
        assert_eq!(metric.compute().unwrap().formatted, "0.6000");
        metric.clear();
        assert_eq!(update(&mut metric, [1, 1, 0]), "1.0000");
        assert_eq!(metric.name().as_str(), "IoU (micro)");
    }

    #[test]
    fn options_that_fit_no_classes_are_refused() {
        let counts = OverlapCounts::new(2);
        let class = Reduction::Class { class: 2 };
        let error = OverlapMetric::<4, 3>::new(counts, Overlap::Dice, class).unwrap_err();
        assert_eq!(error.problem, "class 2 of 2 classes");
    }
}
