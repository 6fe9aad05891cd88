//! What is checked before a training starts, so that it does not fail in its middle.

use burn_skip::plan::Plan;

use super::TrainArgs;
use super::loss_memory::LossMemory;
use super::options::Options;
use super::run_folder::RunFolder;
use super::step_memory;
use crate::Result;
use crate::files::{bytes, distinct};
use crate::segmentation::data::Data;
use crate::segmentation::lengths;
use crate::segmentation::model::Segmenter;
use crate::segmentation::pairs::Pair;
use crate::segmentation::tiled_inference::{Tiles, check_size};
use crate::segmentation::validation::Split;

/// Checks that the training writes over none of the files that it reads.
pub fn files(args: &TrainArgs, folder: &RunFolder, split: &Split) -> Result<()> {
    let picture = args.show_augmentation.as_deref();
    let picture = || picture.map(|file| ("--show-augmentation", file));
    distinct::check(split.pairs().flat_map(Pair::files), picture())?;
    distinct::check(args.net.as_deref(), picture())?;
    let written = folder.files();
    let written = || written.iter().map(|file| ("--out", file.as_path()));
    distinct::check(split.pairs().flat_map(Pair::files), written())?;
    // (A network may come from the folder: it stays the same.)
    distinct::check(args.weights(), written())?;
    distinct::check(args.options.as_deref(), written())?;
    apart(folder, split)?;
    let net = args.net.as_deref();
    let others = written().filter(|(_, file)| *file != folder.net());
    Ok(distinct::check(net, others)?)
}

/// Checks that the training does not write into the folder of its images or masks: its pictures would be taken for more.
fn apart(folder: &RunFolder, split: &Split) -> Result<()> {
    let out = std::path::absolute(folder.path())?;
    for file in split.pairs().flat_map(Pair::files) {
        let file = std::path::absolute(file)?;
        let holds_all = ["images", "masks"].iter().any(|name| out.ends_with(name));
        if holds_all && file.parent() == Some(&out) {
            return Err(format!(
                "--out: {} holds the data, and the pictures of a training would be taken for more of them. Choose another \
                 folder.",
                folder.path().display()
            )
            .into());
        }
    }
    Ok(())
}

/// Checks that a step fits into memory.
pub fn memory(plan: &Plan, options: &Options, loss: LossMemory, crop: &[usize]) -> Result<()> {
    const MAX_BYTES: u64 = 64 << 30;
    if let Some(error) = plan.error() {
        return Err(format!(
            "the network does not suit crops of {}: {error}",
            lengths::shown(crop)
        )
        .into());
    }
    let bytes = step_memory::planned(plan, options.step(loss));
    if bytes > MAX_BYTES {
        return Err(format!(
            "a step of {} crops of {} needs {}, and this program takes {} at most. Use a smaller --batch, --crop or \
             network.",
            options.batch,
            lengths::shown(crop),
            bytes::shown(bytes),
            bytes::shown(MAX_BYTES)
        )
        .into());
    }
    Ok(())
}

/// Checks every size that the network will meet, now and not in the middle of the training.
pub fn sizes<const R: usize>(model: &Segmenter<R>, data: &Data, crop: &[usize]) -> Result<()> {
    check_size(&model.net, data.train[0].image.channels, crop)?;
    // Validation is by tiles, and so is the picture that is made at the end.
    let mut valid = data.valid.iter().zip(&data.valid_names);
    valid.try_for_each(|(sample, name)| {
        let fits = Tiles::default().check(&model.net, &sample.image);
        let resampled = match &data.target_spacing {
            Some(target) => format!(", resampled to {target}"),
            None => String::new(),
        };
        Ok(fits.map_err(|e| format!("{name}, which is validated on{resampled}: {e}"))?)
    })
}
