//! What the numbers in masks are taken for.

use serde::Serialize;

use super::fingerprint::Fingerprint;

/// As many classes are told by their numbers at most: more numbers are those of objects.
const MAX_CLASSES: usize = 64;

/// The number of pixels that do not count, in the masks of many data sets.
const IGNORED: u64 = 255;

/// The masks that have no numbers of classes.
#[derive(Clone, Debug, Serialize)]
pub struct NoNumbers {
    /// Of the first: its file, and what it has in their place.
    pub why: String,
    /// How many there are.
    pub masks: usize,
}

/// What the numbers in masks mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// One number beside the background.
    Foreground,
    /// Those of so many classes, which follow each other from 0 on.
    Classes(usize),
    /// Those of objects, which are many or do not follow each other.
    Objects,
    /// Few numbers that do not follow each other, in many masks: most likely classes, of which some are missing.
    Gap,
}

impl Numbers {
    /// How many outputs a network needs.
    pub fn outputs(self) -> usize {
        match self {
            Self::Classes(count) => count,
            Self::Foreground | Self::Objects | Self::Gap => 1,
        }
    }
}

impl Fingerprint {
    /// What the numbers in the masks are taken for.
    pub fn numbers(&self) -> Numbers {
        let ignored = self.has_ignored();
        let count = self.labels.len() - usize::from(ignored);
        let follow = ignored || self.labels.keys().zip(0..).all(|(&label, at)| label == at);
        match count {
            _ if self.no_numbers.is_some() => Numbers::Foreground,
            0..=2 => Numbers::Foreground,
            3..=MAX_CLASSES if follow => Numbers::Classes(count),
            3..=MAX_CLASSES if self.recur() => Numbers::Gap,
            _ => Numbers::Objects,
        }
    }

    /// Whether the numbers are those of classes, which follow each other, and 255.
    fn has_ignored(&self) -> bool {
        let mut others = self.others().zip(0..);
        self.may_ignore()
            && self.labels.len() - 1 <= MAX_CLASSES
            && others.all(|(label, at)| label == at)
    }

    /// Whether there are more numbers than two, and 255 is the largest of them.
    fn may_ignore(&self) -> bool {
        self.no_numbers.is_none() && self.labels.len() > 2 && self.largest() == IGNORED
    }

    /// The numbers but 255.
    fn others(&self) -> impl Iterator<Item = u64> {
        let labels = self.labels.keys().copied();
        labels.filter(|&label| label != IGNORED)
    }

    /// The number that is taken for that of pixels that do not count, where so many classes were asked for, or none.
    pub fn ignored(&self, asked: Option<usize>) -> Option<i64> {
        let ignores = match asked {
            None => self.has_ignored(),
            // (There every number but 0 is foreground.)
            Some(1) => false,
            Some(classes) => {
                let classes = classes as u64;
                self.may_ignore()
                    && classes <= IGNORED
                    && self.others().all(|label| label < classes)
            }
        };
        ignores.then_some(IGNORED as i64)
    }

    /// Whether each number but 0 occurs in half of the masks, or in three of them, in the mean: objects are numbered anew in
    /// each mask, and few of their numbers would be the same.
    fn recur(&self) -> bool {
        let of_all = self.masks_with.iter().filter(|(label, _)| **label > 0);
        let (numbers, masks) = of_all.fold((0, 0), |(numbers, masks), (_, with)| {
            (numbers + 1, masks + with)
        });
        let half = (self.images.len() as u64).div_ceil(2).clamp(2, 3);
        numbers > 0 && masks >= half * numbers
    }

    /// The largest number in the masks.
    pub fn largest(&self) -> u64 {
        self.labels.keys().next_back().copied().unwrap_or(0)
    }
}

/// The outputs for what the numbers in the masks are.
///
/// # Errors
/// When they may be classes as well as objects.
pub fn classes(found: &Fingerprint) -> Result<usize, String> {
    let numbers = found.numbers();
    if numbers != Numbers::Gap {
        return Ok(numbers.outputs());
    }
    let labels: Vec<String> = found.labels.keys().map(u64::to_string).collect();
    let labels = labels.join(", ");
    Err(format!(
        "the masks have the numbers {labels}, which do not follow each other, and most of them occur in many masks. Pass \
         --classes {} if they are classes, or --classes 1 if they are those of objects.",
        found.largest() + 1
    ))
}

/// Checks that the masks have the classes.
pub fn check_classes(found: &Fingerprint, classes: usize) -> Result<(), String> {
    let background = found.labels.get(&0);
    // (255 may be ignored.)
    let largest = match found.may_ignore() {
        true => found.others().last().unwrap_or(0),
        false => found.largest(),
    };
    if classes > 1 && largest >= classes as u64 {
        return Err(format!(
            "--classes: the masks have the number {largest}, and {classes} classes have 0 to {}. Give more, or 1 where every \
             number but 0 is foreground.",
            classes - 1
        ));
    }
    match (background, found.labels.len()) {
        (Some(_), 1) => Err("the masks have no foreground: every pixel of them is 0. Draw it, and try again.".into()),
        (None, _) => Err(
            "no pixel of the masks is 0, the background. Number classes from 0 on, so that the background is 0.".into(),
        ),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fingerprint::tests::found;
    use super::*;

    #[test]
    fn numbers_of_classes_follow_each_other() {
        let classes = |labels: &[u64]| found(&[[1; 3]], &[1.0], labels).numbers().outputs();
        assert_eq!(classes(&[0, 1]), 1);
        assert_eq!(classes(&[0, 255]), 1);
        assert_eq!(classes(&[0, 1, 2]), 3);
        assert_eq!(classes(&[0, 3, 17, 40]), 1);
        assert_eq!(classes(&(0..162).collect::<Vec<_>>()), 1);
    }

    #[test]
    fn few_numbers_with_a_gap_that_recur_are_asked_about() {
        let numbers = |labels: &[u64], masks: &[u64]| {
            let mut found = found(&[[1; 3]; 4], &[1.0; 4], labels);
            let with = labels.iter().zip(masks);
            found.masks_with = with.map(|(&label, &masks)| (label, masks)).collect();
            found.numbers()
        };
        assert_eq!(numbers(&[0, 1, 3], &[4, 4, 1]), Numbers::Gap);
        assert_eq!(numbers(&[0, 1, 3, 7], &[4, 1, 1, 2]), Numbers::Objects);
        assert_eq!(numbers(&[0, 1, 2], &[4, 1, 1]), Numbers::Classes(3));
        // 255 beside classes is none.
        assert_eq!(numbers(&[0, 1, 2, 255], &[1; 4]), Numbers::Classes(3));
        assert_eq!(numbers(&[0, 1, 255], &[1; 3]), Numbers::Foreground);
        assert_eq!(numbers(&[0, 1, 3, 255], &[4; 4]), Numbers::Gap);
        assert_eq!(numbers(&[0, 255], &[4, 4]), Numbers::Foreground);
    }

    #[test]
    fn the_number_255_beside_those_of_classes_is_ignored() {
        let ignored = |labels: &[u64], asked| found(&[[1; 3]], &[1.0], labels).ignored(asked);
        for classes in [None, Some(3), Some(255)] {
            assert_eq!(ignored(&[0, 1, 2, 255], classes), Some(255), "{classes:?}");
        }
        for classes in [1, 2, 256] {
            assert_eq!(ignored(&[0, 1, 2, 255], Some(classes)), None, "{classes}");
        }
        assert_eq!(ignored(&[0, 1, 255], None), Some(255));
        assert_eq!(ignored(&[0, 1, 5, 255], None), None);
        assert_eq!(ignored(&[0, 1, 5, 255], Some(6)), Some(255));
        for classes in [None, Some(2)] {
            assert_eq!(ignored(&[0, 255], classes), None);
        }
        let error = check_classes(&found(&[[1; 3]], &[1.0], &[0, 1, 5, 255]), 3).unwrap_err();
        assert!(
            error.contains("have the number 5, and 3 classes"),
            "{error}"
        );
    }
}
