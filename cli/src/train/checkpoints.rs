//! Which of Burn's checkpoints a training can go on from.
//!
//! An epoch has three files: `checkpoint/{model,optim,scheduler}-EPOCH.bpk`. Burn writes each aside and renames
//! it: it is whole or not there.

use std::fs;
use std::path::{Path, PathBuf};

use burn::optim::OptimizerRecord;
use burn::optim::lr_scheduler::LrSchedulerRecord;

use crate::history::History;
use crate::model::Segmenter;
use crate::run_folder::RunFolder;
use crate::{Result, weights};

const PARTS: [&str; 3] = ["model", "optim", "scheduler"];

/// Cuts the history off after the last epoch that a training can go on from, which is none if it was killed
/// within the first. Where the files of the newest cannot be read, it is the one before it, and the reason is
/// returned.
///
/// # Errors
/// When there are checkpoints, and none of them can be read.
pub fn rewind(
    folder: &RunFolder,
    history: &mut History,
    fresh: impl Fn() -> Result<Segmenter>,
) -> Result<Option<String>> {
    let mut damage = None;
    while let Some(epoch) = history.epochs.last().map(|last| last.epoch) {
        let complete = |part| file(&folder.checkpoints(), part, epoch).is_file();
        if PARTS.into_iter().all(complete) {
            match verify(folder, epoch, fresh()?) {
                Ok(()) => return Ok(damage),
                Err(error) => damage = damage.or(Some(error.to_string())),
            }
        }
        history.epochs.pop();
    }
    match damage {
        Some(damage) => Err(format!("--resume: {damage}. Start anew with --overwrite.").into()),
        None => Ok(None),
    }
}

/// Sees that the files of a checkpoint can be read and fit the model.
///
/// Burn's trainer reads them too, and panics where this returns an error.
fn verify(folder: &RunFolder, epoch: usize, model: Segmenter) -> Result<()> {
    let [weights, optimizer, scheduler] =
        PARTS.map(|part| file(&folder.checkpoints(), part, epoch));
    let damaged = |file: &Path, error| format!("{} is damaged: {error}", file.display());
    weights::load(model, &weights)?;
    OptimizerRecord::load(&optimizer).map_err(|e| damaged(&optimizer, e))?;
    LrSchedulerRecord::load(&scheduler).map_err(|e| damaged(&scheduler, e))?;
    Ok(())
}

/// Removes what an earlier training left, lest it be taken for that of a new one.
///
/// # Errors
/// When a file cannot be removed.
pub fn clear(folder: &RunFolder) -> Result<()> {
    // The options first: without them there is no training that could be resumed.
    let made = [
        folder.options(),
        folder.model(),
        folder.prediction(),
        folder.curves(),
    ];
    let made = made.into_iter().filter(|path| path.is_file());
    made.chain(files(&folder.checkpoints(), "bpk"))
        .try_for_each(|path| remove(&path))
}

/// Removes what was being written when a training was killed.
///
/// # Errors
/// As [`clear`].
pub fn sweep(folder: &RunFolder) -> Result<()> {
    let name = |path: &PathBuf| {
        path.file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    };
    let beside = files(folder.path(), "tmp").into_iter();
    let beside = beside.filter(|path| folder.is_unfinished(&name(path)));
    let checkpoints = files(&folder.checkpoints(), "tmp").into_iter();
    let checkpoints = checkpoints.filter(|path| name(path).contains(".bpk."));
    beside.chain(checkpoints).try_for_each(|path| remove(&path))
}

/// The files of a folder whose names end so.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    paths
        .filter(|path| path.extension().is_some_and(|found| found == ending))
        .collect()
}

fn remove(path: &Path) -> Result<()> {
    let removed = fs::remove_file(path);
    Ok(removed.map_err(|e| format!("cannot remove the old {}: {e}", path.display()))?)
}

/// The file of a part of the training after an epoch.
fn file(folder: &Path, part: &str, epoch: usize) -> PathBuf {
    folder.join(format!("{part}-{epoch}.bpk"))
}

/// The weights after an epoch.
pub fn weights_file(folder: &RunFolder, epoch: usize) -> PathBuf {
    file(&folder.checkpoints(), PARTS[0], epoch)
}
