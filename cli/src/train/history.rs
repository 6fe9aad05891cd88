//! The metrics of every epoch: `history.json`, which a resumed training extends.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Result;

/// The epochs of a training so far.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct History {
    pub epochs: Vec<Epoch>,
}

/// The metrics of one epoch.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Epoch {
    /// Counted from 1.
    pub epoch: usize,
    /// The mean loss of the epoch's steps.
    pub train_loss: f32,
    pub valid_loss: f32,
    /// Of the foreground, over all validation columns.
    pub iou: f32,
    pub dice: f32,
    /// Of each class, the background first, where there are more than two; none for one that does not occur.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub class_iou: Vec<Option<f32>>,
    /// As `class_iou`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub class_dice: Vec<Option<f32>>,
    /// Training and validation.
    pub seconds: f64,
    /// The loss of every step.
    pub step_losses: Vec<f32>,
}

impl History {
    /// Checks a history that was read from a file: Burn's trainer panics on one that was edited wrongly.
    ///
    /// # Errors
    /// When the epochs are not numbered 1, 2, 3, ..., have no steps or more than `steps`, or a number is out of
    /// its range.
    pub fn check(&self, file: &Path, steps: usize) -> Result<()> {
        let fault = self.epochs.iter().zip(1..).find_map(|(epoch, number)| {
            let fault = epoch.fault(number, steps)?;
            Some(format!("{}: epoch {number}: {fault}", file.display()))
        });
        fault.map_or(Ok(()), |fault| Err(fault.into()))
    }

    /// The epoch with the best IoU.
    pub fn best(&self) -> Option<&Epoch> {
        best(self.epochs.iter())
    }

    /// The best of the epochs up to this one.
    pub fn best_until(&self, epoch: usize) -> Option<&Epoch> {
        best(self.epochs.iter().filter(|other| other.epoch <= epoch))
    }

    /// How many steps the optimizer made, where each of several devices counts its part of one.
    pub fn updates(&self, devices: usize) -> usize {
        let steps = self.epochs.iter().map(|epoch| epoch.step_losses.len());
        steps.map(|steps| steps.div_ceil(devices)).sum()
    }

    /// Whether the IoU has not grown for so many epochs.
    pub fn is_stuck(&self, patience: usize) -> bool {
        match (self.best(), self.epochs.last()) {
            (Some(best), Some(last)) => last.epoch - best.epoch >= patience,
            _ => false,
        }
    }

    /// All steps of all epochs.
    pub fn steps(&self) -> usize {
        self.epochs
            .iter()
            .map(|epoch| epoch.step_losses.len())
            .sum()
    }

    /// The time of all epochs.
    pub fn seconds(&self) -> f64 {
        self.epochs.iter().map(|epoch| epoch.seconds).sum()
    }
}

/// The first of the epochs with the best IoU. Where that is the same, as 0 at the start, the least validation loss tells.
pub fn best<'e>(epochs: impl Iterator<Item = &'e Epoch>) -> Option<&'e Epoch> {
    epochs.reduce(|best, epoch| {
        let learned_more = epoch.iou == best.iou && epoch.valid_loss < best.valid_loss;
        match epoch.iou > best.iou || learned_more {
            true => epoch,
            false => best,
        }
    })
}

impl Epoch {
    /// What is wrong with the epoch of that number, if anything is.
    fn fault(&self, number: usize, steps: usize) -> Option<String> {
        let losses = [self.train_loss, self.valid_loss].into_iter();
        let mut losses = losses.chain(self.step_losses.iter().copied());
        let is_part = |score: f32| (0.0..=1.0).contains(&score);
        if self.epoch != number {
            let found = self.epoch;
            return Some(format!("it is numbered {found}, and must be {number}"));
        }
        if !(1..=steps).contains(&self.step_losses.len()) {
            let found = self.step_losses.len();
            return Some(format!(
                "it has {found} step_losses, and must have 1 to {steps}"
            ));
        }
        if losses.any(|loss| !loss.is_finite()) {
            return Some("a loss is not a finite number".into());
        }
        let of_classes = [
            ("class_iou", &self.class_iou),
            ("class_dice", &self.class_dice),
        ];
        for (name, scores) in of_classes {
            if !scores.iter().flatten().all(|&score| is_part(score)) {
                return Some(format!("{name} must lie between 0 and 1"));
            }
        }
        if !is_part(self.iou) || !is_part(self.dice) {
            return Some("iou and dice must lie between 0 and 1".into());
        }
        if !(self.seconds >= 0.0 && self.seconds.is_finite()) {
            return Some("seconds must be a number from 0 on".into());
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(epoch: usize) -> Epoch {
        Epoch {
            epoch,
            step_losses: vec![1.0, 0.5],
            ..Epoch::default()
        }
    }

    /// The error of a history of these epochs.
    fn error(epochs: Vec<Epoch>) -> Option<String> {
        let checked = History { epochs }.check(Path::new("history.json"), 2);
        checked.err().map(|error| error.to_string())
    }

    #[test]
    fn where_the_iou_is_the_same_the_loss_tells() {
        let epochs = [
            (0.0, 0.9),
            (0.0, 0.7),
            (0.0, 0.8),
            (0.5, 0.9),
            (0.5, 0.9),
            (0.4, 0.1),
        ];
        let epochs = epochs
            .into_iter()
            .zip(1..)
            .map(|((iou, valid_loss), number)| Epoch {
                iou,
                valid_loss,
                ..epoch(number)
            });
        let history = History {
            epochs: epochs.collect(),
        };
        let best = |until| history.best_until(until).map(|best| best.epoch);
        assert_eq!([1, 2, 3, 4, 5, 6].map(best), [1, 2, 2, 4, 4, 4].map(Some));
    }

    #[test]
    fn an_edited_history_is_refused_with_the_fault() {
        assert_eq!(error(vec![epoch(1), epoch(2)]), None);
        assert_eq!(
            error(vec![epoch(1), epoch(1)]).as_deref(),
            Some("history.json: epoch 2: it is numbered 1, and must be 2")
        );
        let mut long = epoch(1);
        long.step_losses.push(0.1);
        assert_eq!(
            error(vec![long]).as_deref(),
            Some("history.json: epoch 1: it has 3 step_losses, and must have 1 to 2")
        );
        let huge = Epoch {
            iou: 1e9,
            ..epoch(1)
        };
        assert!(error(vec![huge]).is_some());
        let class = Epoch {
            class_iou: vec![None, Some(1.5), Some(1.0)],
            ..epoch(1)
        };
        assert_eq!(
            error(vec![class]).as_deref(),
            Some("history.json: epoch 1: class_iou must lie between 0 and 1")
        );
        let diverged = Epoch {
            valid_loss: f32::INFINITY,
            ..epoch(1)
        };
        assert_eq!(
            error(vec![diverged]).as_deref(),
            Some("history.json: epoch 1: a loss is not a finite number")
        );
        let never = Epoch {
            seconds: f64::INFINITY,
            ..epoch(1)
        };
        assert!(error(vec![never]).is_some());
    }
}
