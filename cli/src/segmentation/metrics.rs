//! How well the predicted classes cover the true ones: IoU and Dice, as metrics of Burn.
//!
//! Both are computed from pixel counts summed over all images, and not as the mean of one value
//! an image: an image with little foreground then counts for little. Of several classes it is the mean
//! over those that occur; the background, class 0, is none of them.

use std::ops::AddAssign;
use std::sync::Arc;

use burn::tensor::{Tensor, TensorReadError};
use burn::train::metric::{
    Metric, MetricAttributes, MetricMetadata, MetricName, Numeric, NumericAttributes, NumericEntry,
    SerializedEntry,
};

use crate::raster::Raster;
use crate::segmentation::model::predicted;

/// The pixels of a class: in both, in the prediction, in the truth.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    both: f64,
    predicted: f64,
    truth: f64,
}

/// The pixels of each class but the background.
#[derive(Clone, Debug, Default)]
pub struct Overlap {
    classes: Vec<Counts>,
}

impl Overlap {
    /// Counts on the device. Gives `[3 * classes]`.
    pub fn count(logits: Tensor<4>, truth: Tensor<4>) -> Tensor<1> {
        let classes = foreground(logits.dims()[1]);
        let predicted = predicted(logits);
        let counts = classes.flat_map(|class| {
            let predicted = predicted.clone().equal_elem(class as f32).float();
            let truth = truth.clone().equal_elem(class as f32).float();
            let both = predicted.clone() * truth.clone();
            [both.sum(), predicted.sum(), truth.sum()]
        });
        Tensor::cat(counts.collect(), 0)
    }

    /// Reads what [`Overlap::count`] counted.
    ///
    /// # Errors
    /// When the device fails.
    pub fn read(counts: Tensor<1>) -> Result<Self, TensorReadError> {
        let counts = counts.try_into_vec_as::<f32>()?;
        let class = |counts: &[f32]| Counts {
            both: f64::from(counts[0]),
            predicted: f64::from(counts[1]),
            truth: f64::from(counts[2]),
        };
        Ok(Self {
            classes: counts.chunks_exact(3).map(class).collect(),
        })
    }

    /// Counts in two masks of so many classes.
    pub fn between(predicted: &Raster, truth: &Raster, classes: usize) -> Self {
        let mut counts = vec![Counts::default(); foreground(classes).len()];
        for (&predicted, &truth) in predicted.values.iter().zip(&truth.values) {
            // Class 0 is the background, so that class n is in place n - 1.
            let place = |class: f32| (class as usize).checked_sub(1);
            if let Some(place) = place(predicted) {
                counts[place].predicted += 1.0;
                counts[place].both += f64::from(predicted == truth);
            }
            if let Some(place) = place(truth) {
                counts[place].truth += 1.0;
            }
        }
        Self { classes: counts }
    }

    /// Intersection over union; 1 when there is no foreground at all.
    pub fn iou(&self) -> f64 {
        self.mean(|c| (c.both, c.predicted + c.truth - c.both))
    }

    /// Twice the intersection over the sum of both sizes; 1 when there is no foreground at all.
    pub fn dice(&self) -> f64 {
        self.mean(|c| (2.0 * c.both, c.predicted + c.truth))
    }

    /// The mean, over the classes that occur, of a part of a whole.
    fn mean(&self, score: impl Fn(&Counts) -> (f64, f64)) -> f64 {
        let scores = self.classes.iter().map(score);
        let occurring: Vec<f64> = scores
            .filter(|&(_, whole)| whole > 0.0)
            .map(|(part, whole)| part / whole)
            .collect();
        match occurring.len() {
            0 => 1.0,
            count => occurring.iter().sum::<f64>() / count as f64,
        }
    }
}

/// The classes that are judged: of one it is that one, of several all but the first.
pub fn foreground(classes: usize) -> std::ops::Range<usize> {
    1..classes.max(2)
}

impl AddAssign<&Overlap> for Overlap {
    fn add_assign(&mut self, other: &Self) {
        self.classes.resize(other.classes.len(), Counts::default());
        for (sum, counts) in self.classes.iter_mut().zip(&other.classes) {
            sum.both += counts.both;
            sum.predicted += counts.predicted;
            sum.truth += counts.truth;
        }
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
        self.epoch += &self.batch;
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
