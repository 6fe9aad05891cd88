//! Which of Burn's checkpoints a training can go on from.
//!
//! Burn writes three files an epoch: `checkpoint/{model,optim,scheduler}-EPOCH.bpk`.

use std::fs;
use std::path::{Path, PathBuf};

use burn::optim::OptimizerRecord;
use burn::optim::lr_scheduler::LrSchedulerRecord;

use crate::history::History;
use crate::model::Segmenter;
use crate::{Result, weights};

const PARTS: [&str; 3] = ["model", "optim", "scheduler"];

/// Cuts the history off after the last epoch whose checkpoint is complete, and returns that epoch.
///
/// # Errors
/// When there is none.
pub fn rewind(out: &Path, history: &mut History) -> Result<usize> {
    let complete = |epoch: usize| PARTS.iter().all(|part| file(out, part, epoch).is_file());
    while let Some(last) = history.epochs.last() {
        if complete(last.epoch) {
            return Ok(last.epoch);
        }
        history.epochs.pop();
    }
    Err(format!(
        "--resume: {} holds no complete checkpoint. Start anew without --resume.",
        out.join("checkpoint").display()
    )
    .into())
}

/// Sees that the files of a checkpoint can be read and fit the model.
///
/// Burn's trainer reads them too, and panics where this returns an error.
///
/// # Errors
/// When a file is damaged or is of another network; names the file and the tensor.
pub fn verify(out: &Path, epoch: usize, model: Segmenter) -> Result<()> {
    weights::load(model, &file(out, "model", epoch)).map_err(|e| format!("--resume: {e}"))?;
    let damaged = |part: &str, error| {
        let file = file(out, part, epoch);
        format!("--resume: {} is damaged: {error}", file.display())
    };
    OptimizerRecord::load(file(out, "optim", epoch)).map_err(|e| damaged("optim", e))?;
    LrSchedulerRecord::load(file(out, "scheduler", epoch)).map_err(|e| damaged("scheduler", e))?;
    Ok(())
}

/// Removes what an earlier training left, lest it be taken for that of a new one.
///
/// # Errors
/// When a file cannot be removed.
pub fn clear(out: &Path) -> Result<()> {
    let made = ["model.bpk", "prediction.png", "curves.png"].map(|name| out.join(name));
    let mut old: Vec<PathBuf> = made.into_iter().filter(|path| path.is_file()).collect();
    if let Ok(entries) = fs::read_dir(out.join("checkpoint")) {
        let paths = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
        old.extend(paths.filter(|path| path.extension().is_some_and(|e| e == "bpk")));
    }
    for path in old {
        fs::remove_file(&path)
            .map_err(|e| format!("cannot remove the old {}: {e}", path.display()))?;
    }
    Ok(())
}

fn file(out: &Path, part: &str, epoch: usize) -> PathBuf {
    out.join("checkpoint").join(format!("{part}-{epoch}.bpk"))
}
