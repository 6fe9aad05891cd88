//! [`OverlapCounts`]: how many positions of each image and class are right and wrong.

use alloc::{format, string::String, vec, vec::Vec};

use burn::tensor::{Int, Tensor, TensorReadError};

use super::counts::{Counts, count_classes};
use super::label_map::LabelMap;
use super::mode::{Labels, Mode};
use super::overlap::Overlap;
use super::reduction::{Reduction, Scoring, ZeroDivision};
use crate::shape::{ShapeError, expect};

pub(super) const NAME: &str = "OverlapCounts";

/// Counts of right and wrong positions, for each image and class, over any number of batches.
///
/// `segmentation_models_pytorch.metrics.get_stats`, and the scores of it. Counted in integers; no memory is kept but
/// four numbers for each class of each image.
///
/// # Example
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use burn_skip::metric::{Overlap, OverlapCounts, Reduction};
///
/// let device = Device::flex();
/// let logits = Tensor::<3>::from_floats([[[2.0, 0.1, 0.3, 0.0], [1.0, 0.2, 0.4, 9.0]]], &device);
/// let labels = Tensor::<2, Int>::from_ints([[0, 0, 1, 255]], &device);
///
/// let mut counts = OverlapCounts::new(2).ignoring(255);
/// counts.add_scores(&logits, &labels); // once for each batch
/// assert_eq!(counts.per_class(Overlap::Recall), [0.5, 1.0]);
/// assert_eq!(counts.iou(Reduction::Macro), 0.5);
/// assert!((counts.dice(Reduction::Micro) - 2.0 / 3.0).abs() < 1e-12);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct OverlapCounts {
    mode: Mode,
    ignored: Option<i64>,
    excluded: Vec<usize>,
    zero_division: ZeroDivision,
    images: Vec<Vec<Counts>>,
}

impl OverlapCounts {
    /// Of labels in which each position has one of `classes` classes.
    ///
    /// # Panics
    /// When there is no class.
    pub fn new(classes: usize) -> Self {
        Self::of(Mode::MultiClass { classes })
    }

    /// Of a foreground, with logits from 0 on as foreground.
    pub fn binary() -> Self {
        Self::of(Mode::Binary { threshold: 0.0 })
    }

    /// Of classes that overlap, with logits from 0 on as positive.
    ///
    /// # Panics
    /// When there is no class.
    pub fn multi_label(classes: usize) -> Self {
        let threshold = 0.0;
        Self::of(Mode::MultiLabel { classes, threshold })
    }

    /// Of labels of this mode.
    ///
    /// # Panics
    /// When [`Mode::validate`] returns an error, with its message.
    pub fn of(mode: Mode) -> Self {
        expect(mode.validate());
        Self {
            mode,
            ignored: None,
            excluded: vec![],
            zero_division: ZeroDivision::default(),
            images: vec![],
        }
    }

    /// Counts no position whose true label is this. In [`Mode::MultiLabel`] each channel is asked for itself.
    pub fn ignoring(mut self, label: i64) -> Self {
        self.ignored = Some(label);
        self
    }

    /// Leaves a class out of all reductions of several classes: the background, mostly. Its positions are the true
    /// negatives of the others all the same.
    ///
    /// # Panics
    /// When there is no such class.
    pub fn without_class(mut self, class: usize) -> Self {
        expect(Reduction::Class { class }.validate(self.mode.classes()));
        self.excluded.push(class);
        self
    }

    /// What 0 / 0 becomes. Default: 1.
    pub fn with_zero_division(mut self, zero_division: ZeroDivision) -> Self {
        self.zero_division = zero_division;
        self
    }

    /// Counts a batch of predicted labels.
    ///
    /// # Shapes
    /// - `predicted`, `labels`: `[batch, spatial...]`, or with one channel, `[batch, 1, spatial...]`
    /// - in [`Mode::MultiLabel`]: `[batch, classes, spatial...]`
    ///
    /// # Panics
    /// When [`try_add`](Self::try_add) returns an error, with its message.
    pub fn add<const P: usize, const L: usize>(
        &mut self,
        predicted: &Tensor<P, Int>,
        labels: &Tensor<L, Int>,
    ) {
        expect(self.try_add(predicted, labels));
    }

    /// As [`add`](Self::add). After an error nothing of the batch is counted.
    ///
    /// # Errors
    /// When the shapes differ, a label is neither a class nor ignored, or the tensors cannot be read.
    pub fn try_add<const P: usize, const L: usize>(
        &mut self,
        predicted: &Tensor<P, Int>,
        labels: &Tensor<L, Int>,
    ) -> Result<(), ShapeError> {
        let predicted = Labels::read(predicted).map_err(unreadable)?;
        self.count(predicted, Labels::read(labels).map_err(unreadable)?)
    }

    /// Counts a batch of logits or probabilities.
    ///
    /// # Shapes
    /// - `scores`: `[batch, classes, spatial...]`, one channel in [`Mode::Binary`]
    /// - `labels`: `[batch, spatial...]` or `[batch, 1, spatial...]`; in [`Mode::MultiLabel`]
    ///   `[batch, classes, spatial...]`
    ///
    /// # Panics
    /// When [`try_add_scores`](Self::try_add_scores) returns an error, with its message.
    pub fn add_scores<const R: usize, const L: usize>(
        &mut self,
        scores: &Tensor<R>,
        labels: &Tensor<L, Int>,
    ) {
        expect(self.try_add_scores(scores, labels));
    }

    /// As [`add_scores`](Self::add_scores). After an error nothing of the batch is counted.
    ///
    /// # Errors
    /// When the shapes do not fit, a label is neither a class nor ignored, or the tensors cannot be read.
    pub fn try_add_scores<const R: usize, const L: usize>(
        &mut self,
        scores: &Tensor<R>,
        labels: &Tensor<L, Int>,
    ) -> Result<(), ShapeError> {
        match self.read_scores(scores, labels) {
            Ok(counted) => counted,
            Err(error) => Err(unreadable(error)),
        }
    }

    /// Counts one image that is in memory: as [`add`](Self::add) of a batch of one.
    ///
    /// # Panics
    /// When [`try_add_map`](Self::try_add_map) returns an error, with its message.
    pub fn add_map(&mut self, predicted: &LabelMap, truth: &LabelMap) {
        expect(self.try_add_map(predicted, truth));
    }

    /// As [`add_map`](Self::add_map). After an error nothing of the image is counted.
    ///
    /// # Errors
    /// When the maps differ in size, or a label is neither a class nor ignored.
    pub fn try_add_map(
        &mut self,
        predicted: &LabelMap,
        truth: &LabelMap,
    ) -> Result<(), ShapeError> {
        let [predicted, truth] = [predicted, truth].map(Labels::of_map);
        self.count(predicted, truth)
    }

    /// As [`try_add_scores`](Self::try_add_scores), with the errors of the device apart.
    pub(super) fn read_scores<const R: usize, const L: usize>(
        &mut self,
        scores: &Tensor<R>,
        labels: &Tensor<L, Int>,
    ) -> Result<Result<(), ShapeError>, TensorReadError> {
        if let Err(error) = self.mode.check_scores(&scores.dims()) {
            return Ok(Err(error));
        }
        let predicted = self.mode.predict(scores)?;
        Ok(self.count(predicted, Labels::read(labels)?))
    }

    /// Adds what others have counted, such as another process.
    ///
    /// # Panics
    /// When they have another number of classes.
    pub fn merge(&mut self, other: &Self) {
        let [own, others] = [self, other].map(|counts| counts.mode.classes());
        let same = match own == others {
            true => Ok(()),
            false => Err(ShapeError::new(
                NAME,
                format!("{own} classes, and {others} in the counts to add"),
                "Add counts of the same classes",
            )),
        };
        expect(same);
        self.images.extend_from_slice(&other.images);
    }

    /// Forgets all images.
    pub fn clear(&mut self) {
        self.images.clear();
    }

    /// The counts of each image, one for each class.
    pub fn images(&self) -> &[Vec<Counts>] {
        &self.images
    }

    /// The counts of each class in all images.
    pub fn total(&self) -> Vec<Counts> {
        let classes = 0..self.mode.classes();
        classes.map(|class| self.scoring().class(class)).collect()
    }

    /// The score.
    ///
    /// # Panics
    /// When [`try_score`](Self::try_score) returns an error, with its message.
    pub fn score(&self, overlap: Overlap, reduction: &Reduction) -> f64 {
        expect(self.try_score(overlap, reduction))
    }

    /// The score: NaN where there is nothing to average, such as imagewise without an image.
    ///
    /// # Errors
    /// When the options of the score or of the reduction are invalid for these classes.
    pub fn try_score(&self, overlap: Overlap, reduction: &Reduction) -> Result<f64, ShapeError> {
        overlap.validate()?;
        reduction.validate(self.mode.classes())?;
        Ok(self.scoring().reduce(overlap, reduction))
    }

    /// The score of each class, over all images. NaN where it is 0 / 0 and [`ZeroDivision::Skip`] is chosen.
    pub fn per_class(&self, overlap: Overlap) -> Vec<f64> {
        self.each(overlap, &self.total())
    }

    /// The score of each class of each image: SMP's reduction `none`.
    pub fn per_image(&self, overlap: Overlap) -> Vec<Vec<f64>> {
        let images = self.images.iter();
        images.map(|image| self.each(overlap, image)).collect()
    }

    /// [`Overlap::Iou`]
    ///
    /// # Panics
    /// As [`score`](Self::score).
    pub fn iou(&self, reduction: Reduction) -> f64 {
        self.score(Overlap::Iou, &reduction)
    }

    /// [`Overlap::Dice`]
    ///
    /// # Panics
    /// As [`score`](Self::score).
    pub fn dice(&self, reduction: Reduction) -> f64 {
        self.score(Overlap::Dice, &reduction)
    }

    /// [`Overlap::Precision`]
    ///
    /// # Panics
    /// As [`score`](Self::score).
    pub fn precision(&self, reduction: Reduction) -> f64 {
        self.score(Overlap::Precision, &reduction)
    }

    /// [`Overlap::Recall`]
    ///
    /// # Panics
    /// As [`score`](Self::score).
    pub fn recall(&self, reduction: Reduction) -> f64 {
        self.score(Overlap::Recall, &reduction)
    }

    /// [`Overlap::Accuracy`]
    ///
    /// # Panics
    /// As [`score`](Self::score).
    pub fn accuracy(&self, reduction: Reduction) -> f64 {
        self.score(Overlap::Accuracy, &reduction)
    }

    fn each(&self, overlap: Overlap, counts: &[Counts]) -> Vec<f64> {
        let score = |counts| self.scoring().score(overlap, counts);
        let scores = counts.iter().map(score);
        scores.map(|score| score.unwrap_or(f64::NAN)).collect()
    }

    fn scoring(&self) -> Scoring<'_> {
        Scoring {
            images: &self.images,
            classes: self.mode.classes(),
            excluded: &self.excluded,
            zero_division: self.zero_division,
        }
    }

    fn count(&mut self, predicted: Labels, truth: Labels) -> Result<(), ShapeError> {
        self.check_shapes(&predicted.shape, &truth.shape)?;
        let images = match truth.shape[0] {
            // (Without positions there is nothing to cut in pieces.)
            batch if truth.values.is_empty() => {
                vec![vec![Counts::default(); self.mode.classes()]; batch]
            }
            batch => {
                let len = truth.values.len() / batch;
                let predicted = predicted.values.chunks_exact(len);
                let images = predicted.zip(truth.values.chunks_exact(len));
                images
                    .map(|(predicted, truth)| self.count_image(predicted, truth))
                    .collect::<Result<_, _>>()?
            }
        };
        self.images.extend(images);
        Ok(())
    }

    fn check_shapes(&self, predicted: &[usize], truth: &[usize]) -> Result<(), ShapeError> {
        let fits = match self.mode {
            Mode::MultiLabel { classes, .. } => {
                predicted == truth && truth.get(1) == Some(&classes)
            }
            _ => predicted.len() >= 2 && without_channel(predicted, truth),
        };
        if fits {
            return Ok(());
        }
        Err(ShapeError::new(
            NAME,
            format!("the prediction has the shape {predicted:?}, the labels {truth:?}"),
            match self.mode {
                Mode::MultiLabel { classes, .. } => {
                    format!("Give both as [batch, {classes}, spatial...]")
                }
                _ => String::from("Give both as [batch, spatial...], of one size"),
            },
        ))
    }

    fn count_image(&self, predicted: &[i64], truth: &[i64]) -> Result<Vec<Counts>, ShapeError> {
        match self.mode {
            Mode::MultiClass { classes } => count_classes(classes, self.ignored, predicted, truth),
            Mode::Binary { .. } | Mode::MultiLabel { .. } => {
                let len = truth.len() / self.mode.classes();
                let channels = predicted.chunks_exact(len).zip(truth.chunks_exact(len));
                // Of the classes "no" and "yes", the second.
                let channel =
                    |(predicted, truth)| Ok(count_classes(2, self.ignored, predicted, truth)?[1]);
                channels.map(channel).collect()
            }
        }
    }
}

/// Whether two shapes are the same but for a channel axis of 1 that only one of them has.
fn without_channel(a: &[usize], b: &[usize]) -> bool {
    let (long, short) = if a.len() > b.len() { (a, b) } else { (b, a) };
    match long.len() - short.len() {
        0 => long == short,
        1 => long[1] == 1 && long[0] == short[0] && long[2..] == short[1..],
        _ => false,
    }
}

/// The error of a device.
fn unreadable(error: TensorReadError) -> ShapeError {
    ShapeError::new(
        NAME,
        format!("the labels cannot be read: {error}"),
        "Check the device",
    )
}
