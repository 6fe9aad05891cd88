//! What every epoch achieved: `history.json`, which a resumed training goes on with.

use burn::config::Config;
use serde::{Deserialize, Serialize};

/// The epochs of a training so far.
#[derive(Config, Debug)]
pub struct History {
    pub epochs: Vec<Epoch>,
}

/// One line of the history.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
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
    /// The epoch with the best IoU.
    pub fn best(&self) -> Option<&Epoch> {
        let by_iou = |a: &&Epoch, b: &&Epoch| a.iou.total_cmp(&b.iou);
        self.epochs.iter().max_by(by_iou)
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
