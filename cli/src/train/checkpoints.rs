//! Which of Burn's checkpoints a training can continue from.
//!
//! An epoch has three files: `checkpoint/{model,optim,scheduler}-EPOCH.bpk`. Burn writes each under another name
//! first and renames it: it is whole or does not exist.

use std::fs;
use std::path::{Path, PathBuf};

use burn::optim::OptimizerRecord;
use burn::optim::lr_scheduler::LrSchedulerRecord;

use super::history::History;
use super::run_folder::RunFolder;
use crate::Result;
use crate::segmentation::model::Segmenter;
use crate::segmentation::trained;

const PARTS: [&str; 3] = ["model", "optim", "scheduler"];

/// Cuts the history off after the last epoch that a training can continue from, which is none if it was killed
/// within the first. Where the files of the newest cannot be read, it is the one before it, and the reason is
/// returned.
///
/// # Errors
/// When there are checkpoints, and none of them can be read.
pub fn rewind<const R: usize>(
    folder: &RunFolder,
    history: &mut History,
    fresh: impl Fn() -> Result<Segmenter<R>>,
) -> Result<Option<String>> {
    let mut damage = None;
    let had_epochs = !history.epochs.is_empty();
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
        // (Killed in its first epoch, a training has no checkpoint yet, and begins anew; nor has it a model.)
        None if had_epochs && folder.model().is_file() => Err(format!(
            "--resume: the checkpoints are gone from {}, and without them the training cannot go on. Start anew with \
             --overwrite; to go on from its weights, pass its exported file with --weights.",
            folder.checkpoints().display()
        )
        .into()),
        None => Ok(None),
    }
}

/// Checks that the files of a checkpoint can be read and fit the model.
///
/// Burn's trainer reads them too, and panics where this returns an error.
fn verify<const R: usize>(folder: &RunFolder, epoch: usize, model: Segmenter<R>) -> Result<()> {
    let [weights, optimizer, scheduler] =
        PARTS.map(|part| file(&folder.checkpoints(), part, epoch));
    let damaged = |file: &Path, error| format!("{} is damaged: {error}", file.display());
    trained::load(model, &weights)?;
    OptimizerRecord::load(&optimizer).map_err(|e| damaged(&optimizer, e))?;
    LrSchedulerRecord::load(&scheduler).map_err(|e| damaged(&scheduler, e))?;
    Ok(())
}

/// Removes what an earlier training left, so that it is not mistaken for that of a new one. Files of other names
/// stay.
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
        folder.report(),
    ];
    let made = made.into_iter().filter(|path| path.is_file());
    made.chain(of_any_training(folder))
        .try_for_each(|path| remove(&path))
}

/// The files in the folder of the checkpoints that have a name that a training gives.
pub fn of_any_training(folder: &RunFolder) -> Vec<PathBuf> {
    let mut files = files(&folder.checkpoints());
    files.retain(|path| is_checkpoint(&name(path)));
    files.sort();
    files
}

/// The epochs whose weights are there, in their order.
pub fn epochs(folder: &RunFolder) -> Vec<usize> {
    let files = files(&folder.checkpoints());
    let epoch = |path: &PathBuf| {
        let name = name(path);
        let epoch = name.strip_prefix(PARTS[0])?.strip_prefix('-')?;
        let epoch = epoch.strip_suffix(".bpk").filter(|epoch| is_number(epoch));
        epoch?.parse().ok()
    };
    let mut epochs: Vec<usize> = files.iter().filter_map(epoch).collect();
    epochs.sort_unstable();
    epochs
}

/// Removes what was being written when a training was killed.
///
/// # Errors
/// As [`clear`].
pub fn sweep(folder: &RunFolder) -> Result<()> {
    let beside = files(folder.path()).into_iter();
    let beside = beside.filter(|path| folder.is_unfinished(&name(path)));
    let checkpoints = files(&folder.checkpoints()).into_iter();
    let checkpoints = checkpoints.filter(|path| is_unfinished_checkpoint(&name(path)));
    beside.chain(checkpoints).try_for_each(|path| remove(&path))
}

/// `model-3.bpk`
fn is_checkpoint(name: &str) -> bool {
    let stem = name.strip_suffix(".bpk");
    let stem = stem.and_then(|stem| stem.split_once('-'));
    stem.is_some_and(|(part, epoch)| PARTS.contains(&part) && is_number(epoch))
}

/// `model-3.bpk.PROCESS-COUNT.tmp`
fn is_unfinished_checkpoint(name: &str) -> bool {
    let stem = name.strip_suffix(".tmp");
    let Some((file, writer)) = stem.and_then(|stem| stem.rsplit_once('.')) else {
        return false;
    };
    let writer = writer.split_once('-');
    is_checkpoint(file)
        && writer.is_some_and(|(process, count)| is_number(process) && is_number(count))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// The files of a folder, which need not exist.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    paths.filter(|path| path.is_file()).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_training_writes_is_its_own() {
        for ours in ["model-1.bpk", "optim-12.bpk", "scheduler-3.bpk"] {
            assert!(is_checkpoint(ours), "{ours}");
            assert!(is_unfinished_checkpoint(&format!("{ours}.77-0.tmp")));
        }
        for other in [
            "model.bpk",
            "best-1.bpk",
            "model-1.mpk",
            "model-x.bpk",
            "-1.bpk",
        ] {
            assert!(!is_checkpoint(other), "{other}");
            assert!(!is_unfinished_checkpoint(&format!("{other}.77-0.tmp")));
        }
        assert!(!is_unfinished_checkpoint("model-1.bpk.mine.tmp"));
    }
}
