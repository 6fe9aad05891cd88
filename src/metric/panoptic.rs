//! [`PanopticCounts`]: which predicted and true objects are pairs (arXiv:1801.00868, section 4.1).

use alloc::{collections::BTreeMap, format, string::String, vec, vec::Vec};

use super::panoptic_quality::{PanopticQuality, SegmentCounts};
use super::reduction::mean_of_defined;
use super::segments::{Segment, Segments};
use crate::shape::{ShapeError, check_positive, expect};

const NAME: &str = "PanopticCounts";

/// Counts of found and missed objects of each class, over any number of images.
///
/// A predicted and a true object of one class are a pair if their IoU is above 0.5: there is one partner at most for
/// each. Positions whose true class is ignored ("void") count for no IoU, and a predicted object without a partner,
/// more than half of which lies there, is no false positive (arXiv:1801.00868, section 4.1). MONAI's
/// `PanopticQualityMetric`, which has no void.
///
/// # Example
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use burn_skip::metric::{PanopticCounts, Segments};
///
/// let device = Device::flex();
/// let map = |labels: [i64; 8]| Tensor::<2, Int>::from_ints([labels], &device);
/// let predicted = Segments::of_batch(&map([5, 5, 5, 0, 0, 3, 3, 3]), &map([1, 1, 1, 0, 0, 2, 2, 2]));
/// let truth = Segments::of_batch(&map([1, 1, 1, 1, 0, 0, 0, 2]), &map([1, 1, 1, 1, 0, 0, 0, 2]));
///
/// let mut counts = PanopticCounts::new(2);
/// counts.add(&predicted[0], &truth[0]);
/// // 3 of 4 positions of class 1; the object of class 2 is too large to be a pair.
/// assert_eq!(counts.class(1).quality().pq, 0.75);
/// assert_eq!(counts.class(2).quality().pq, 0.0);
/// assert_eq!(counts.mean().pq, 0.375);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct PanopticCounts {
    ignored: Option<i64>,
    classes: Vec<SegmentCounts>,
}

impl PanopticCounts {
    /// Of objects of the classes 1 to `classes`.
    ///
    /// # Panics
    /// When there is no class.
    pub fn new(classes: usize) -> Self {
        expect(check_positive(NAME, "classes", classes));
        Self {
            ignored: None,
            classes: vec![SegmentCounts::default(); classes],
        }
    }

    /// Positions whose true class is this are void.
    pub fn ignoring(mut self, class: i64) -> Self {
        self.ignored = Some(class);
        self
    }

    /// Counts the objects of one image.
    ///
    /// # Panics
    /// When [`try_add`](Self::try_add) returns an error, with its message.
    pub fn add(&mut self, predicted: &Segments, truth: &Segments) {
        expect(self.try_add(predicted, truth));
    }

    /// As [`add`](Self::add). After an error nothing of the image is counted.
    ///
    /// # Errors
    /// When the images differ in size, or a class is neither one of the classes nor 0 nor ignored.
    pub fn try_add(&mut self, predicted: &Segments, truth: &Segments) -> Result<(), ShapeError> {
        if predicted.size != truth.size {
            return Err(ShapeError::new(
                NAME,
                format!(
                    "the prediction has the size {:?}, the truth {:?}",
                    predicted.size, truth.size
                ),
                "Compare images of one size",
            ));
        }
        let areas = Areas::of(self, predicted, truth)?;
        areas.count(&mut self.classes);
        Ok(())
    }

    /// Adds what others have counted.
    ///
    /// # Panics
    /// When they have another number of classes.
    pub fn merge(&mut self, other: &Self) {
        let [own, others] = [self.classes.len(), other.classes.len()];
        let same = match own == others {
            true => Ok(()),
            false => Err(ShapeError::new(
                NAME,
                format!("{own} classes, and {others} in the counts to add"),
                "Add counts of the same classes",
            )),
        };
        expect(same);
        for (own, others) in self.classes.iter_mut().zip(&other.classes) {
            *own += *others;
        }
    }

    /// The counts of a class.
    ///
    /// # Panics
    /// When it is 0 or above the number of classes.
    pub fn class(&self, class: usize) -> SegmentCounts {
        let place = class
            .checked_sub(1)
            .and_then(|place| self.classes.get(place));
        expect(place.copied().ok_or_else(|| self.unknown(class as i64)))
    }

    /// The counts of all classes, that of class 1 first.
    pub fn per_class(&self) -> &[SegmentCounts] {
        &self.classes
    }

    /// The mean over the classes that have an object. (`pq` is that of the classes' `pq`.)
    pub fn mean(&self) -> PanopticQuality {
        let qualities = || self.classes.iter().map(SegmentCounts::quality);
        PanopticQuality {
            pq: mean_of_defined(qualities().map(|quality| quality.pq)),
            sq: mean_of_defined(qualities().map(|quality| quality.sq)),
            rq: mean_of_defined(qualities().map(|quality| quality.rq)),
        }
    }

    /// The object at a position, if there is one.
    fn object(&self, segment: &Segment) -> Result<Option<Segment>, ShapeError> {
        let known = (0..=self.classes.len() as i64).contains(&segment.class);
        match known || self.ignored == Some(segment.class) {
            true if self.ignored == Some(segment.class) => Ok(None),
            true => Ok(segment.object()),
            false => Err(self.unknown(segment.class)),
        }
    }

    fn unknown(&self, class: i64) -> ShapeError {
        ShapeError::new(
            NAME,
            format!("class {class} of {} classes", self.classes.len()),
            String::from("Classes count from 1; 0 is the background"),
        )
    }
}

/// The positions of all objects of an image and of their intersections.
#[derive(Default)]
struct Areas {
    predicted: BTreeMap<Segment, PredictedArea>,
    truth: BTreeMap<Segment, u64>,
    /// Of a predicted and a true object of one class.
    both: BTreeMap<[Segment; 2], u64>,
}

/// The positions of a predicted object.
#[derive(Default)]
struct PredictedArea {
    /// Where the truth is known.
    known: u64,
    /// Where it is void.
    void: u64,
}

impl Areas {
    fn of(
        counts: &PanopticCounts,
        predicted: &Segments,
        truth: &Segments,
    ) -> Result<Self, ShapeError> {
        let mut areas = Self::default();
        for (predicted, truth) in predicted.segments.iter().zip(&truth.segments) {
            let is_void = counts.ignored == Some(truth.class);
            let predicted = counts.object(predicted)?;
            let truth = counts.object(truth)?;
            if let Some(predicted) = predicted {
                let area = areas.predicted.entry(predicted).or_default();
                match is_void {
                    true => area.void += 1,
                    false => area.known += 1,
                }
            }
            if let Some(truth) = truth {
                *areas.truth.entry(truth).or_default() += 1;
            }
            if let (Some(predicted), Some(truth)) = (predicted, truth)
                && predicted.class == truth.class
            {
                *areas.both.entry([predicted, truth]).or_default() += 1;
            }
        }
        Ok(areas)
    }

    /// Adds the pairs and what is left over to the classes.
    fn count(mut self, classes: &mut [SegmentCounts]) {
        let place = |segment: &Segment| segment.class as usize - 1;
        for ([predicted, truth], both) in &self.both {
            // (Both are in the maps: a pair is the only one of either.)
            let [Some(in_predicted), Some(in_truth)] = [
                self.predicted.get(predicted).map(|area| area.known),
                self.truth.get(truth).copied(),
            ] else {
                continue;
            };
            let either = in_predicted + in_truth - both;
            if 2 * both > either {
                self.predicted.remove(predicted);
                self.truth.remove(truth);
                let counts = &mut classes[place(truth)];
                counts.true_positives += 1;
                counts.iou += *both as f64 / either as f64;
            }
        }
        for segment in self.truth.keys() {
            classes[place(segment)].false_negatives += 1;
        }
        for (segment, area) in &self.predicted {
            if area.void <= area.known {
                classes[place(segment)].false_positives += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::label_map::LabelMap;
    use alloc::string::ToString;

    fn line(labels: &[i64]) -> LabelMap {
        LabelMap::new([labels.len()], labels.to_vec()).unwrap()
    }

    fn one_class(predicted: &[i64], truth: &[i64]) -> SegmentCounts {
        let mut counts = PanopticCounts::new(1);
        let [predicted, truth] = [predicted, truth].map(|map| Segments::of_one_class(&line(map)));
        counts.add(&predicted, &truth);
        counts.class(1)
    }

    #[test]
    fn an_iou_of_a_half_is_no_pair() {
        let found = one_class(&[3, 3, 0, 0], &[0, 8, 0, 0]);
        let expected = SegmentCounts {
            false_positives: 1,
            false_negatives: 1,
            ..Default::default()
        };
        assert_eq!(found, expected);
        let quality = found.quality();
        assert_eq!((quality.pq, quality.sq, quality.rq), (0.0, 0.0, 0.0));
    }

    #[test]
    fn a_split_object_has_one_partner() {
        let found = one_class(&[1, 1, 1, 2, 2], &[9, 9, 9, 9, 9]);
        assert_eq!(found.true_positives, 1);
        assert_eq!(found.false_positives, 1);
        assert_eq!(found.false_negatives, 0);
        assert_eq!(found.iou, 0.6);
    }

    #[test]
    fn without_objects_it_is_not_defined() {
        let quality = one_class(&[0, 0], &[0, 0]).quality();
        assert!(quality.pq.is_nan() && quality.sq.is_nan() && quality.rq.is_nan());
    }

    /// Void positions leave the IoU, and excuse an object that lies there mostly.
    #[test]
    fn void_positions() {
        let segments = |classes: &[i64], instances: &[i64]| {
            Segments::new(&line(instances), &line(classes)).unwrap()
        };
        let truth = segments(&[1, 1, 255, 255, 255, 0, 255, 0], &[1, 1, 0, 0, 0, 0, 0, 0]);
        let predicted = segments(&[1, 1, 1, 1, 1, 1, 1, 1], &[1, 1, 1, 1, 2, 2, 2, 3]);
        let mut counts = PanopticCounts::new(1).ignoring(255);
        counts.add(&predicted, &truth);
        let expected = SegmentCounts {
            true_positives: 1,
            // Object 2 lies in the void with 2 of 3 positions, object 3 with none.
            false_positives: 1,
            false_negatives: 0,
            iou: 1.0,
        };
        assert_eq!(counts.class(1), expected);
    }

    #[test]
    fn what_fits_no_class_is_refused_and_not_counted() {
        let mut counts = PanopticCounts::new(2);
        let segments = |class: i64| Segments::new(&line(&[1, 1]), &line(&[1, class])).unwrap();
        let error = counts.try_add(&segments(1), &segments(3)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "PanopticCounts: class 3 of 2 classes. Classes count from 1; 0 is the background."
        );
        assert_eq!(counts, PanopticCounts::new(2));
        let longer = Segments::of_one_class(&line(&[1, 1, 1]));
        let error = counts.try_add(&segments(1), &longer).unwrap_err();
        assert_eq!(
            error.to_string(),
            "PanopticCounts: the prediction has the size [2], the truth [3]. Compare images of one size."
        );
    }
}
