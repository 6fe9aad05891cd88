//! How well objects are found: average precision and panoptic quality, from the pairs of predicted and true objects.

use std::collections::HashMap;

use burn_skip::metric::{PanopticQuality, SegmentCounts};
use serde_json::{Value, json};

use crate::raster::Raster;

/// Predicted and true objects, and the pairs of one of each whose IoU (intersection over union) is above a half.
/// An object is in one such pair at most, so that the pairs need no assignment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InstanceCounts {
    pub predicted: usize,
    pub truth: usize,
    /// The IoU of each pair.
    pairs: Vec<f64>,
}

impl InstanceCounts {
    /// In two rasters of one size, whose pixels are the numbers of objects; 0 is the background.
    pub fn between(predicted: &Raster, truth: &Raster) -> Self {
        let [mut found, mut wanted] = [HashMap::new(), HashMap::new()];
        let mut both = HashMap::new();
        for (&predicted, &truth) in predicted.values.iter().zip(truth.values.iter()) {
            let [predicted, truth] = [predicted as usize, truth as usize];
            if predicted != 0 {
                *found.entry(predicted).or_insert(0) += 1;
            }
            if truth != 0 {
                *wanted.entry(truth).or_insert(0) += 1;
            }
            if predicted != 0 && truth != 0 {
                *both.entry([predicted, truth]).or_insert(0) += 1;
            }
        }
        let pairs = both.iter().filter_map(|([predicted, truth], &both)| {
            let either: u64 = found[predicted] + wanted[truth] - both;
            (2 * both > either).then(|| both as f64 / either as f64)
        });
        let mut pairs: Vec<f64> = pairs.collect();
        // (A map has no order, and a sum depends on it.)
        pairs.sort_by(f64::total_cmp);
        Self {
            predicted: found.len(),
            truth: wanted.len(),
            pairs,
        }
    }

    /// Adds what was counted in another image.
    pub fn merge(&mut self, other: &Self) {
        self.predicted += other.predicted;
        self.truth += other.truth;
        self.pairs.extend(&other.pairs);
    }

    /// `TP / (TP + FP + FN)`, where a true positive is a pair whose IoU is above `iou`, a half or more; 1 where there
    /// are no objects at all.
    pub fn average_precision(&self, iou: f64) -> f64 {
        let found = self.pairs.iter().filter(|&&pair| pair > iou).count();
        match self.predicted + self.truth - found {
            0 => 1.0,
            all => found as f64 / all as f64,
        }
    }

    /// The mean of the average precision at 0.5, 0.55, ..., 0.95.
    pub fn mean_average_precision(&self) -> f64 {
        let sum: f64 = thresholds().map(|iou| self.average_precision(iou)).sum();
        sum / thresholds().count() as f64
    }

    /// Panoptic quality, of a single class; 1 where there are no objects at all.
    pub fn quality(&self) -> PanopticQuality {
        if self.predicted + self.truth == 0 {
            let [pq, sq, rq] = [1.0; 3];
            return PanopticQuality { pq, sq, rq };
        }
        let found = self.pairs.len();
        SegmentCounts {
            true_positives: found as u64,
            false_positives: (self.predicted - found) as u64,
            false_negatives: (self.truth - found) as u64,
            // (The sum of no floats is -0.)
            iou: self.pairs.iter().fold(0.0, |sum, iou| sum + iou),
        }
        .quality()
    }

    /// All of it, for programs.
    pub fn json(&self) -> Value {
        let PanopticQuality { pq, sq, rq } = self.quality();
        let per_iou = |iou: f64| (format!("{iou:.2}"), json!(self.average_precision(iou)));
        json!({
            "predicted": self.predicted,
            "truth": self.truth,
            "average_precision": thresholds().map(per_iou).collect::<serde_json::Map<_, _>>(),
            "mean_average_precision": self.mean_average_precision(),
            "panoptic_quality": pq,
            "segmentation_quality": sq,
            "recognition_quality": rq,
        })
    }
}

/// 0.5, 0.55, ..., 0.95
fn thresholds() -> impl Iterator<Item = f64> {
    (10..20).map(|twentieths| f64::from(twentieths) / 20.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn_skip::metric::{LabelMap, PanopticCounts, Segments};

    fn line(values: &[u16]) -> Raster {
        Raster {
            channels: 1,
            size: vec![1, values.len()],
            values: values
                .iter()
                .map(|&value| f32::from(value))
                .collect::<Vec<_>>()
                .into(),
        }
    }

    /// Four true objects. One is found exactly, one with 6 of 8 pixels, one with half of its pixels, which is no
    /// pair, and one is missed. One prediction lies in the background.
    const TRUTH: [u16; 24] = [
        1, 1, 1, 0, 5, 5, 5, 5, 5, 5, 5, 5, 0, 9, 9, 0, 3, 3, 3, 0, 0, 0, 0, 0,
    ];
    const PREDICTED: [u16; 24] = [
        4, 4, 4, 0, 2, 2, 2, 2, 2, 2, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 6, 6, 0,
    ];

    #[test]
    fn scores_of_a_case_that_is_counted_by_hand() {
        let counts = InstanceCounts::between(&line(&PREDICTED), &line(&TRUTH));
        assert_eq!((counts.predicted, counts.truth), (4, 4));
        assert_eq!(counts.pairs, [0.75, 1.0]);
        // 2 of 4 + 4 - 2 at an IoU of 0.5; from 0.75 on, one pair of 4 + 4 - 1.
        assert_eq!(counts.average_precision(0.5), 2.0 / 6.0);
        assert_eq!(counts.average_precision(0.7), 2.0 / 6.0);
        assert_eq!(counts.average_precision(0.75), 1.0 / 7.0);
        assert_eq!(counts.average_precision(0.95), 1.0 / 7.0);
        let mean = (5.0 * 2.0 / 6.0 + 5.0 / 7.0) / 10.0;
        assert!((counts.mean_average_precision() - mean).abs() < 1e-15);
        assert_eq!(counts.quality().pq, 1.75 / 4.0);
        let json = counts.json();
        assert_eq!(json["average_precision"]["0.50"], 2.0 / 6.0);
        assert_eq!(json["average_precision"].as_object().unwrap().len(), 10);
    }

    #[test]
    fn the_quality_is_that_of_the_library() {
        let segments = |values: &[u16]| {
            let labels = values.iter().map(|&value| i64::from(value)).collect();
            Segments::of_one_class(&LabelMap::new([values.len()], labels).unwrap())
        };
        let mut library = PanopticCounts::new(1);
        library.add(&segments(&PREDICTED), &segments(&TRUTH));
        let counts = InstanceCounts::between(&line(&PREDICTED), &line(&TRUTH));
        assert_eq!(counts.quality(), library.class(1).quality());
    }

    #[test]
    fn images_are_counted_together_and_nothing_is_all_right() {
        let nothing = InstanceCounts::between(&line(&[0; 3]), &line(&[0; 3]));
        assert_eq!(nothing.average_precision(0.5), 1.0);
        assert_eq!(nothing.quality().pq, 1.0);
        let mut all = InstanceCounts::between(&line(&PREDICTED), &line(&TRUTH));
        all.merge(&nothing);
        all.merge(&InstanceCounts::between(&line(&[1, 1]), &line(&[7, 7])));
        assert_eq!(all.average_precision(0.5), 3.0 / 7.0);
        let missed = InstanceCounts::between(&line(&[0; 3]), &line(&[1; 3]));
        assert_eq!(missed.average_precision(0.5), 0.0);
        assert_eq!(missed.quality().pq, 0.0);
    }
}
