//! Which epochs keep their checkpoints: the last two, from which a training continues, and the best.

use std::sync::{Arc, Mutex, PoisonError};

use burn::train::checkpoint::{CheckpointingAction, CheckpointingStrategy};
use burn::train::metric::store::EventStoreClient;

use super::checkpoints;
use super::history::History;
use super::run_folder::RunFolder;

/// Saves every epoch, and removes those that are no longer needed.
pub struct KeptEpochs {
    pub history: Arc<Mutex<History>>,
    pub folder: RunFolder,
}

impl CheckpointingStrategy for KeptEpochs {
    fn checkpointing(
        &mut self,
        epoch: usize,
        _store: &EventStoreClient,
    ) -> Vec<CheckpointingAction> {
        let history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = kept(&history, epoch);
        // (By the files, so that one which a killed training did not come to remove is removed now.)
        let old = checkpoints::epochs(&self.folder).into_iter();
        let old = old.filter(|old| *old < epoch && !kept.contains(old));
        let mut actions = vec![CheckpointingAction::Save];
        actions.extend(old.map(CheckpointingAction::Delete));
        actions
    }
}

/// The epochs that are kept when `epoch` is saved: this one and the one before it, the best so far, and the best before
/// this one. A training that is killed before this one is whole goes back by one epoch, and the best is then that.
fn kept(history: &History, epoch: usize) -> [usize; 4] {
    let best = |until: usize| {
        let best = history.best_until(until);
        best.map_or(epoch, |best| best.epoch)
    };
    [epoch, epoch.saturating_sub(1), best(epoch), best(epoch - 1)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::history::Epoch;

    #[test]
    fn the_best_stays_until_a_better_one_is_whole() {
        let epochs = [0.1, 0.5, 0.2, 0.3, 0.6, 0.4, 0.1];
        let epochs = epochs.into_iter().zip(1..).map(|(iou, epoch)| Epoch {
            epoch,
            iou,
            ..Epoch::default()
        });
        let history = History {
            epochs: epochs.collect(),
        };
        assert_eq!(kept(&history, 1), [1, 0, 1, 1]);
        assert_eq!(kept(&history, 2), [2, 1, 2, 1]);
        assert_eq!(kept(&history, 4), [4, 3, 2, 2]);
        assert_eq!(kept(&history, 5), [5, 4, 5, 2]);
        assert_eq!(kept(&history, 7), [7, 6, 5, 5]);
    }
}
