//! How well the predicted classes cover the true ones: IoU and Dice of the library's counts.
//!
//! Both are computed from pixel counts summed over all images, and not as the mean of one value
//! an image: an image with little foreground then counts for little. Of several classes it is the mean
//! over those that occur; the background, class 0, is none of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use burn::tensor::TensorReadError;
use burn::train::metric::{
    Metric, MetricAttributes, MetricMetadata, MetricName, NumericAttributes, NumericEntry,
    SerializedEntry,
};
use burn_skip::metric::{LabelMap, Overlap, OverlapCounts, Reduction, ZeroDivision};

use crate::Result;
use crate::raster::Raster;
use crate::segmentation::class_names;

/// Counts of no pixels yet, for networks of so many outputs: of one it is the foreground, of several one a class. Pixels
/// whose true label is ignored do not count.
pub fn counts(classes: usize, ignored: Option<i64>) -> OverlapCounts {
    let mut counts = match classes {
        1 => OverlapCounts::binary(),
        classes => OverlapCounts::new(classes).without_class(0),
    };
    if let Some(label) = ignored {
        counts = counts.ignoring(label);
    }
    counts.with_zero_division(ZeroDivision::Skip)
}

/// Adds two masks to counts, of which so many columns at the left are context and do not count.
///
/// # Errors
/// When they differ in size, or have other classes.
pub fn between(
    predicted: &Raster,
    truth: &Raster,
    context: usize,
    mut counts: OverlapCounts,
) -> Result<OverlapCounts> {
    if predicted.size != truth.size {
        let sizes = [predicted, truth].map(Raster::shown_size).join(" and ");
        return Err(format!("the masks to compare differ in size: {sizes}").into());
    }
    // (Some lines at a time: the maps take more memory than the masks.)
    const PIXELS_AT_ONCE: usize = 1 << 20;
    let columns = predicted.columns_count();
    let lines = (PIXELS_AT_ONCE / columns).max(1);
    let map = |values: &[f32]| {
        let lines = values.chunks_exact(columns);
        let judged = lines.flat_map(|line| &line[context..]);
        let labels: Vec<i64> = judged.map(|&class| class as i64).collect();
        LabelMap::new([labels.len()], labels)
    };
    let parts = predicted.values.chunks(lines * columns);
    for (predicted, truth) in parts.zip(truth.values.chunks(lines * columns)) {
        counts.try_add_map(&map(predicted)?, &map(truth)?)?;
    }
    Ok(counts)
}

/// What is told of some counts.
#[derive(Clone, Debug, Default)]
pub struct Scores {
    /// Intersection over union; 1 when there is no foreground at all.
    pub iou: f64,
    /// Twice the intersection over the sum of both sizes; 1 when there is no foreground at all.
    pub dice: f64,
    /// Where there are more than two classes, the IoU of each, the background first; none for one that does not occur.
    pub class_iou: Vec<Option<f64>>,
    /// As `class_iou`.
    pub class_dice: Vec<Option<f64>>,
}

impl Scores {
    pub fn of(counts: &OverlapCounts) -> Self {
        let score = |score: f64| if score.is_nan() { 1.0 } else { score };
        let of_classes = |measure| {
            let classes = counts.per_class(measure);
            match classes.len() {
                0..=2 => Vec::new(),
                _ => classes
                    .into_iter()
                    .map(|score| Some(score).filter(|score| !score.is_nan()))
                    .collect(),
            }
        };
        Self {
            iou: score(counts.iou(Reduction::Macro)),
            dice: score(counts.dice(Reduction::Macro)),
            class_iou: of_classes(Overlap::Iou),
            class_dice: of_classes(Overlap::Dice),
        }
    }
}

/// `  IoU by class 0.981 0.764 -`, and nothing where there are no classes to tell.
pub fn by_class<T: Copy + Into<f64>>(class_iou: &[Option<T>]) -> String {
    let class = |iou: &Option<T>| match *iou {
        Some(iou) => format!(" {:.3}", iou.into()),
        None => " -".to_string(),
    };
    match class_iou.is_empty() {
        true => String::new(),
        false => format!(
            "  IoU by class{}",
            class_iou.iter().map(class).collect::<String>()
        ),
    }
}

/// A table of the scores of each class, a line for each, and nothing where there are no classes to tell.
pub fn table<T: Copy + Into<f64>>(
    names: &[String],
    class_iou: &[Option<T>],
    class_dice: &[Option<T>],
) -> Vec<String> {
    if class_iou.is_empty() {
        return Vec::new();
    }
    let score = |scores: &[Option<T>], class: usize| match scores.get(class) {
        Some(&Some(score)) => format!("{:.3}", score.into()),
        _ => "-".to_string(),
    };
    let of = |class| {
        [
            class_names::shown(names, class),
            score(class_iou, class),
            score(class_dice, class),
        ]
    };
    let head = ["class", "IoU", "Dice"].map(String::from);
    let rows: Vec<_> = std::iter::once(head)
        .chain((0..class_iou.len()).map(of))
        .collect();
    let width = rows.iter().map(|[name, ..]| name.chars().count()).max();
    let width = width.unwrap_or(0);
    let line = |[name, iou, dice]: [String; 3]| format!("{name:width$}  {iou:>5}  {dice:>5}");
    rows.into_iter().map(line).collect()
}

/// The scores of the last epoch that ended, written by [`EpochScores`].
#[derive(Clone, Default)]
pub struct LastScores(Arc<Mutex<Scores>>);

impl LastScores {
    fn lock(&self) -> MutexGuard<'_, Scores> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn get(&self) -> Scores {
        self.lock().clone()
    }
}

/// All scores of an epoch from one count of its pixels, as a metric of Burn's trainer.
#[derive(Clone)]
pub struct EpochScores {
    counts: OverlapCounts,
    last: LastScores,
}

impl EpochScores {
    /// Of so many classes; `last` is told of each epoch at its end.
    pub fn new(classes: usize, last: LastScores) -> Self {
        // (What is added has left out what is ignored.)
        let counts = counts(classes, None);
        Self { counts, last }
    }

    fn entry(&self, scores: &Scores) -> SerializedEntry {
        let iou = NumericEntry::Value(scores.iou);
        SerializedEntry::new(format!("{:.4}", scores.iou), iou.serialize())
    }
}

impl Metric for EpochScores {
    type Input = OverlapCounts;

    fn name(&self) -> MetricName {
        Arc::new("IoU".into())
    }

    fn attributes(&self) -> MetricAttributes {
        NumericAttributes::default().into()
    }

    fn update(
        &mut self,
        input: &OverlapCounts,
        _metadata: &MetricMetadata,
    ) -> Result<SerializedEntry, TensorReadError> {
        self.counts.merge(input);
        Ok(self.entry(&Scores::of(input)))
    }

    fn compute(&mut self) -> Result<SerializedEntry, TensorReadError> {
        let scores = Scores::of(&self.counts);
        let entry = self.entry(&scores);
        *self.last.lock() = scores;
        Ok(entry)
    }

    fn clear(&mut self) {
        self.counts.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(values: [f32; 4]) -> Raster {
        Raster {
            channels: 1,
            size: vec![1, 4],
            values: values.to_vec().into(),
        }
    }

    fn scores(predicted: [f32; 4], truth: [f32; 4], classes: usize) -> Scores {
        let counts = counts(classes, Some(255));
        Scores::of(&between(&mask(predicted), &mask(truth), 0, counts).unwrap())
    }

    #[test]
    fn the_mean_is_of_the_classes_that_occur_without_the_background() {
        let several = scores([0.0, 1.0, 1.0, 2.0], [0.0, 1.0, 2.0, 2.0], 4);
        assert_eq!(several.iou, 0.5);
        assert_eq!(several.class_iou, [Some(1.0), Some(0.5), Some(0.5), None]);
        assert_eq!(
            by_class(&several.class_iou),
            "  IoU by class 1.000 0.500 0.500 -"
        );
        let one = scores([0.0, 1.0, 1.0, 0.0], [0.0, 1.0, 0.0, 0.0], 1);
        assert_eq!((one.iou, one.dice), (0.5, 2.0 / 3.0));
        assert_eq!(by_class(&one.class_iou), "");
        assert_eq!(
            several.class_dice,
            [Some(1.0), Some(2.0 / 3.0), Some(2.0 / 3.0), None]
        );
    }

    #[test]
    fn pixels_with_the_ignored_label_do_not_count() {
        let several = scores([0.0, 1.0, 2.0, 1.0], [0.0, 1.0, 255.0, 2.0], 3);
        assert_eq!(several.class_iou, [Some(1.0), Some(0.5), Some(0.0)]);
        let one = scores([0.0, 1.0, 1.0, 0.0], [0.0, 1.0, 255.0, 255.0], 1);
        assert_eq!((one.iou, one.dice), (1.0, 1.0));
    }

    #[test]
    fn a_table_has_a_line_for_each_class() {
        let names = ["background", "nucleus", "cell"].map(String::from);
        let (iou, dice) = (
            [Some(0.98), Some(0.5), None],
            [Some(0.99), Some(0.75), None],
        );
        assert_eq!(
            table(&names, &iou, &dice),
            [
                "class           IoU   Dice",
                "0 background  0.980  0.990",
                "1 nucleus     0.500  0.750",
                "2 cell            -      -",
            ]
        );
        assert_eq!(table(&[], &iou, &dice)[1], "0      0.980  0.990");
        assert!(table::<f64>(&names, &[], &[]).is_empty());
    }

    #[test]
    fn without_foreground_all_is_found() {
        for classes in [1, 2, 3] {
            let none = scores([0.0; 4], [0.0; 4], classes);
            assert_eq!((none.iou, none.dice), (1.0, 1.0), "{classes} classes");
        }
    }
}
