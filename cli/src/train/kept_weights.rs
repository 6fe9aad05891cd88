//! The weights that a training keeps: which file is that of the best epoch, and which that of the last.

use std::fmt;
use std::path::PathBuf;

use super::checkpoints;
use super::history::{self, Epoch, History};
use super::run_folder::RunFolder;
use crate::Result;
use crate::files::json;

/// The weights of an epoch.
pub struct KeptWeights {
    pub file: PathBuf,
    pub epoch: usize,
    pub iou: f32,
    /// How many epochs there are.
    of: usize,
}

impl KeptWeights {
    /// The weights of the last epoch in the folder of a training, or of the best of those that are kept there; none where
    /// it has no checkpoints.
    ///
    /// # Errors
    /// When the history cannot be read.
    pub fn find(folder: &RunFolder, last: bool) -> Result<Option<Self>> {
        let file = folder.history();
        if !file.is_file() {
            return Ok(None);
        }
        let history: History = json::read(&file)?;
        Ok(Self::of(folder, &history, last))
    }

    /// The same, of this history.
    pub fn of(folder: &RunFolder, history: &History, last: bool) -> Option<Self> {
        let file = |epoch: &Epoch| checkpoints::weights_file(folder, epoch.epoch);
        let mut kept = history.epochs.iter().filter(|epoch| file(epoch).is_file());
        let epoch = match last {
            true => kept.next_back(),
            false => history::best(kept),
        }?;
        Some(Self {
            file: file(epoch),
            epoch: epoch.epoch,
            iou: epoch.iou,
            of: history.epochs.len(),
        })
    }
}

/// `epoch 5 of 8 (validation IoU 0.912)`
impl fmt::Display for KeptWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { epoch, of, iou, .. } = self;
        write!(f, "epoch {epoch} of {of} (validation IoU {iou:.3})")
    }
}
