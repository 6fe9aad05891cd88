//! The checkpoints that are kept: those of the last two epochs, and of the best.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use burn::train::checkpoint::{CheckpointingAction, CheckpointingStrategy};
use burn::train::metric::store::EventStoreClient;

use super::history::History;

/// Keeps the last two epochs, from which a training goes on, and the one with the best IoU.
pub struct KeepBestAndLast {
    pub history: Arc<Mutex<History>>,
    /// The file of the weights after an epoch.
    pub file: Box<dyn Fn(usize) -> PathBuf + Send>,
}

impl CheckpointingStrategy for KeepBestAndLast {
    fn checkpointing(&mut self, epoch: usize, _: &EventStoreClient) -> Vec<CheckpointingAction> {
        let history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        let best = history.best().map_or(epoch, |best| best.epoch);
        drop(history);
        // (By the files, so that one which a killed training did not come to remove is removed now.)
        let old =
            (1..epoch.saturating_sub(1)).filter(|&old| old != best && (self.file)(old).is_file());
        let mut actions = vec![CheckpointingAction::Save];
        actions.extend(old.map(CheckpointingAction::Delete));
        actions
    }
}
