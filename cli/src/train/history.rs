//! What every epoch achieved: `history.json`, which a resumed training goes on with.

use serde::{Deserialize, Serialize};

/// The epochs of a training so far.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct History {
    pub epochs: Vec<Epoch>,
}

/// One line of the history.
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
    /// Training and validation.
    pub seconds: f64,
    /// The loss of every step.
    pub step_losses: Vec<f32>,
}

impl History {
    /// The epoch with the best IoU: the first, if there are several.
    pub fn best(&self) -> Option<&Epoch> {
        let best = |best: &'_ Epoch, epoch: &'_ Epoch| epoch.iou > best.iou;
        self.epochs
            .iter()
            .reduce(|a, b| if best(a, b) { b } else { a })
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
