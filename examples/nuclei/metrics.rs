//! How well the predicted foreground covers the true one: IoU and Dice, as metrics of Burn.
//!
//! Both are computed from pixel counts summed over all images, and not as the mean of one value
//! an image: an image with little foreground then counts for little.

use std::ops::AddAssign;
use std::sync::Arc;

use burn::tensor::{Tensor, TensorReadError};
use burn::train::metric::{
    Metric, MetricAttributes, MetricMetadata, MetricName, Numeric, NumericAttributes, NumericEntry,
    SerializedEntry,
};

use crate::plane::Plane;

/// Foreground pixels: in both, in the prediction, in the truth.
#[derive(Clone, Copy, Debug, Default)]
pub struct Overlap {
    both: f64,
    predicted: f64,
    truth: f64,
}

impl Overlap {
    /// Counts on the device; a logit above 0 is a probability above 0.5. Gives `[3]`.
    pub fn count(logits: Tensor<4>, truth: Tensor<4>) -> Tensor<1> {
        let predicted = logits.greater_elem(0.0).float();
        let both = predicted.clone() * truth.clone();
        Tensor::cat(vec![both.sum(), predicted.sum(), truth.sum()], 0)
    }

    /// Reads what [`Overlap::count`] counted.
    ///
    /// # Errors
    /// When the device fails.
    pub fn read(counts: Tensor<1>) -> Result<Self, TensorReadError> {
        let counts = counts.try_into_vec_as::<f32>()?;
        Ok(Self {
            both: f64::from(counts[0]),
            predicted: f64::from(counts[1]),
            truth: f64::from(counts[2]),
        })
    }

    /// Counts in two masks of 0 and 1.
    pub fn between(found: &Plane, truth: &Plane) -> Self {
        let pairs = found.values.iter().zip(&truth.values);
        Self {
            both: pairs.map(|(&f, &t)| f64::from(f * t)).sum(),
            predicted: found.values.iter().map(|&f| f64::from(f)).sum(),
            truth: truth.values.iter().map(|&t| f64::from(t)).sum(),
        }
    }

    /// Intersection over union; 1 when there is no foreground at all.
    pub fn iou(&self) -> f64 {
        ratio(self.both, self.predicted + self.truth - self.both)
    }

    /// Twice the intersection over the sum of both sizes; 1 when there is no foreground at all.
    pub fn dice(&self) -> f64 {
        ratio(2.0 * self.both, self.predicted + self.truth)
    }
}

fn ratio(part: f64, whole: f64) -> f64 {
    if whole == 0.0 { 1.0 } else { part / whole }
}

impl AddAssign for Overlap {
    fn add_assign(&mut self, other: Self) {
        self.both += other.both;
        self.predicted += other.predicted;
        self.truth += other.truth;
    }
}

/// The counts of one batch, as [`Overlap::count`] gives them.
pub struct OverlapInput(pub Tensor<1>);

/// A score of the overlap, followed over an epoch.
#[derive(Clone)]
pub struct OverlapMetric {
    name: &'static str,
    score: fn(&Overlap) -> f64,
    batch: Overlap,
    epoch: Overlap,
}

impl OverlapMetric {
    /// Intersection over union.
    pub fn iou() -> Self {
        Self::new("IoU", Overlap::iou)
    }

    /// Dice coefficient.
    pub fn dice() -> Self {
        Self::new("Dice", Overlap::dice)
    }

    fn new(name: &'static str, score: fn(&Overlap) -> f64) -> Self {
        Self {
            name,
            score,
            batch: Overlap::default(),
            epoch: Overlap::default(),
        }
    }

    fn entry(&self, number: NumericEntry) -> SerializedEntry {
        let score = (self.score)(&self.epoch);
        SerializedEntry::new(format!("{score:.4}"), number.serialize())
    }
}

impl Metric for OverlapMetric {
    type Input = OverlapInput;

    fn name(&self) -> MetricName {
        Arc::new(self.name.to_string())
    }

    fn attributes(&self) -> MetricAttributes {
        NumericAttributes::default().into()
    }

    fn update(
        &mut self,
        counts: &OverlapInput,
        _metadata: &MetricMetadata,
    ) -> Result<SerializedEntry, TensorReadError> {
        self.batch = Overlap::read(counts.0.clone())?;
        self.epoch += self.batch;
        Ok(self.entry(NumericEntry::Value((self.score)(&self.batch))))
    }

    fn compute(&mut self) -> Result<SerializedEntry, TensorReadError> {
        Ok(self.entry(self.final_value()))
    }

    fn clear(&mut self) {
        self.epoch = Overlap::default();
    }
}

impl Numeric for OverlapMetric {
    fn value(&self) -> Option<NumericEntry> {
        Some(NumericEntry::Value((self.score)(&self.batch)))
    }

    fn running_value(&self) -> Option<NumericEntry> {
        Some(NumericEntry::Value((self.score)(&self.epoch)))
    }

    fn final_value(&self) -> NumericEntry {
        NumericEntry::Final((self.score)(&self.epoch))
    }
}
