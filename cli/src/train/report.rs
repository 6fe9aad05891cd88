//! What a training prints before it starts, and what it writes at the end.

use burn::module::Module;
use burn_skip::plan::Plan;
use serde_json::json;

use super::history::History;
use super::options::Options;
use super::run_folder::RunFolder;
use super::{Job, TrainArgs};
use crate::Result;
use crate::drawing::curves;
use crate::drawing::prediction::Picture;
use crate::files::{atomic, json};
use crate::raster::Raster;
use crate::segmentation::data::Data;
use crate::segmentation::lengths;
use crate::segmentation::model::Segmenter;
use crate::segmentation::tiled_inference::Tiles;
use crate::segmentation::validation::Validation;

/// Prints what will be trained.
///
/// # Errors
/// When stdout cannot be written to.
pub fn start(args: &TrainArgs, options: &Options, plan: &Plan, data: &Data) -> Result<()> {
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

/// Writes the model, a prediction for the first sample, and the curves of the history, and prints the outcome.
///
/// # Errors
/// When a file cannot be written, or the device fails.
pub(super) fn write<const R: usize>(
    args: &TrainArgs,
    folder: &RunFolder,
    trained: Segmenter<R>,
    job: &Job<R>,
) -> Result<()> {
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

    let history: History = json::read(&folder.history())?;
    atomic::write(&folder.curves(), &curves::png(&history)?)?;
    args.reporter.line(&format!(
        "wrote {}: prediction.png, curves.png, model.bpk, net.json, training.json, history.json, checkpoint/",
        folder.path().display()
    ))?;
    outcome(args, &history, job)
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
        "validation IoU {:.3}, Dice {:.3} after {} steps in {:.0} s (best IoU {:.3}, epoch {})",
        last.iou,
        last.dice,
        history.steps(),
        history.seconds(),
        best.iou,
        best.epoch
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
