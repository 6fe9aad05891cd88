//! What a training prints before it starts, and what it writes at the end.

use burn::module::Module;
use serde_json::json;

use super::checkpoints;
use super::history::History;
use super::run_folder::RunFolder;
use super::start::Freeze;
use super::{Job, TrainArgs};
use crate::Result;
use crate::drawing::curves;
use crate::drawing::prediction::Picture;
use crate::files::{atomic, json};
use crate::raster::Raster;
use crate::segmentation::lengths;
use crate::segmentation::model::Segmenter;
use crate::segmentation::tiled_inference::Tiles;
use crate::segmentation::trained;
use crate::segmentation::validation::Validation;

/// Prints what will be trained.
///
/// # Errors
/// When stdout cannot be written to.
pub(super) fn start<const R: usize>(args: &TrainArgs, job: &Job<R>) -> Result<()> {
    let (options, plan, data) = (&job.start.options, &job.plan, &job.data);
    let (parameters, mult_adds) = (plan.root.total_parameters(), plan.root.total_mult_adds());
    let devices = args.devices.description();
    args.reporter.line(&format!(
        "training a {} of {parameters} parameters on {devices}: {} epochs of {} steps of {} crops of {} \
         from {}, {:.2} G mult-adds a step",
        plan.root.label,
        options.epochs,
        options.steps,
        options.batch,
        lengths::shown(&options.crop()?),
        images(data.train.len()),
        mult_adds as f64 / 1e9
    ))?;
    let what = match options.validation {
        Validation::Columns => "the last quarter of their columns".into(),
        _ => images(data.valid.len()),
    };
    args.reporter.line(&format!("validating on {what}"))?;
    if let Some(text) = &job.started_from {
        args.reporter.line(text)?;
    }
    if let Some(Freeze::Encoder) = options.freeze {
        args.reporter
            .line("the encoder is frozen: its weights and the statistics of its norms stay")?;
    }
    args.reporter.object(&json!({
        "start": options,
        "parameters": parameters,
        "mult_adds": mult_adds,
        "devices": devices,
        "images": data.train.len(),
        "validation_images": data.valid.len(),
    }))
}

/// "1 image", "12 images".
pub fn images(count: usize) -> String {
    match count {
        1 => "1 image".into(),
        several => format!("{several} images"),
    }
}

/// Writes the model of the best epoch, its prediction for the first sample, and the curves of the history, and prints the
/// outcome.
///
/// # Errors
/// When a file cannot be written, or the device fails.
pub(super) fn write<const R: usize>(
    args: &TrainArgs,
    folder: &RunFolder,
    last: Segmenter<R>,
    job: &Job<R>,
) -> Result<()> {
    let history: History = json::read(&folder.history())?;
    let trained = best(args, folder, &history, last)?;
    // First what it was all for.
    let model = folder.model();
    let saved = trained.clone().save_file(&model);
    saved.map_err(|e| format!("cannot write {}: {e}", model.display()))?;

    let (sample, device) = (&job.data.valid[0], &job.devices[0]);
    let bar = args.reporter.shows_progress();
    let predicted = Tiles::default().predict(&trained.net, &sample.image, device, bar)?;
    // (Of a volume, the slice in the middle.)
    let shown = |raster: &Raster| sample.judged(raster).slice(raster.middle(), 1);
    let picture = Picture {
        image: &shown(&sample.image).for_display(),
        truth: Some(&shown(&sample.mask)),
        predicted: &shown(&predicted),
        classes: trained.net.config().out_channels,
        objects: None,
    };
    atomic::write(&folder.prediction(), &picture.png()?)?;

    atomic::write(&folder.curves(), &curves::png(&history)?)?;
    args.reporter.line(&format!(
        "wrote {}: prediction.png, curves.png, model.bpk, net.json, training.json, history.json, checkpoint/",
        folder.path().display()
    ))?;
    outcome(args, &history, job)
}

/// The model of the best epoch.
fn best<const R: usize>(
    args: &TrainArgs,
    folder: &RunFolder,
    history: &History,
    last: Segmenter<R>,
) -> Result<Segmenter<R>> {
    let (Some(best), Some(newest)) = (history.best(), history.epochs.last()) else {
        return Ok(last);
    };
    if best.epoch == newest.epoch {
        return Ok(last);
    }
    match trained::load(last.clone(), &checkpoints::weights_file(folder, best.epoch)) {
        Ok(model) => Ok(model),
        // (A training of days does not end without its model.)
        Err(error) => {
            args.reporter.line(&format!(
                "{error}: model.bpk is of the last epoch, and not of the best, {}",
                best.epoch
            ))?;
            Ok(last)
        }
    }
}

fn outcome<const R: usize>(args: &TrainArgs, history: &History, job: &Job<R>) -> Result<()> {
    let (Some(best), Some(last)) = (history.best(), history.epochs.last()) else {
        return Ok(());
    };
    if last.epoch < job.start.options.epochs {
        args.reporter.line(&format!(
            "stopped early: the IoU has not grown since epoch {}",
            best.epoch
        ))?;
    }
    args.reporter.line(&format!(
        "validation IoU {:.3}, Dice {:.3} of epoch {}, the best, after {} steps in {:.0} s (the last: IoU {:.3}, Dice {:.3})",
        best.iou,
        best.dice,
        best.epoch,
        history.steps(),
        history.seconds(),
        last.iou,
        last.dice
    ))?;
    if job.start.is_reference()? && history.steps() == 300 {
        args.reporter.line(
            "reference (PyTorch, max pooling, nearest upsampling, learning rate 3e-3): IoU 0.907 after 300 steps",
        )?;
    }
    args.reporter.object(&json!({
        "iou": last.iou,
        "dice": last.dice,
        "epochs": last.epoch,
        "steps": history.steps(),
        "seconds": history.seconds(),
        "best_iou": best.iou,
        "best_epoch": best.epoch,
    }))
}
