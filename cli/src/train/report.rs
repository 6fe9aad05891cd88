//! What a training prints before it starts, and what it writes at the end.

use burn::module::Module;
use serde_json::json;

use super::history::History;
use super::html::{Judged, Page};
use super::kept_weights::KeptWeights;
use super::run_folder::RunFolder;
use super::{Job, TrainArgs};
use crate::Result;
use crate::drawing::curves;
use crate::drawing::prediction::Picture;
use crate::files::{atomic, json};
use crate::raster::Raster;
use crate::segmentation::data::Sample;
use crate::segmentation::lengths;
use crate::segmentation::metrics::{Scores, between, counts, table};
use crate::segmentation::model::Segmenter;
use crate::segmentation::spacing::SpacingChoice;
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
    if let Some(conversion) = data.conversion {
        args.reporter.line(&format!("images: {conversion}"))?;
    }
    if let Some(target) = &data.target_spacing {
        let why = match options.spacing {
            SpacingChoice::To(_) => "as asked for",
            SpacingChoice::Auto => "the median (--spacing keep trains on voxels as they are)",
            _ => "the median",
        };
        let changed = match data.resampled {
            0 => "no image".into(),
            some => images(some),
        };
        let line = format!("resampling to {target}, {why}: {changed} of another size");
        args.reporter.line(&line)?;
    }
    args.reporter.object(&json!({
        "start": options,
        "parameters": parameters,
        "mult_adds": mult_adds,
        "devices": devices,
        "images": data.train.len(),
        "validation_images": data.valid.len(),
    }))?;
    initial_weights(args, job)
}

/// Prints what was loaded from a file, if anything was.
///
/// # Errors
/// As [`start`].
pub(super) fn initial_weights<const R: usize>(args: &TrainArgs, job: &Job<R>) -> Result<()> {
    let Some(initial) = &job.initial else {
        return Ok(());
    };
    args.reporter.line(&initial.to_string())?;
    args.reporter.object(&json!({ "initial_weights": initial }))
}

/// "1 image", "12 images".
pub fn images(count: usize) -> String {
    match count {
        1 => "1 image".into(),
        several => format!("{several} images"),
    }
}

/// Writes the weights of the best epoch, their prediction for the first sample, the curves of the history, and the report,
/// and prints the outcome.
///
/// # Errors
/// When a file cannot be written, or the device fails.
pub(super) fn write<const R: usize>(
    args: &TrainArgs,
    folder: &RunFolder,
    job: &Job<R>,
) -> Result<()> {
    let history: History = json::read(&folder.history())?;
    let best = KeptWeights::of(folder, &history, false);
    let best = best.ok_or("there is no checkpoint of any epoch")?;
    let model = folder.model();
    let best_of_all = history.best().map(|best| best.epoch);
    if best_of_all != Some(best.epoch) && model.is_file() {
        args.reporter.line(&format!(
            "the checkpoint of the best epoch, {}, is gone: {} stays as it is",
            best_of_all.unwrap_or_default(),
            model.display()
        ))?;
        return outcome(args, &history, job);
    }
    let trained = trained::load_trained::<R>(&job.start.model, &job.devices[0], &best.file)?;
    // First what it was all for.
    let saved = trained.clone().save_file(&model);
    saved.map_err(|e| format!("cannot write {}: {e}", model.display()))?;

    atomic::write(&folder.curves(), &curves::png(&history)?)?;
    let worst = predictions(args, folder, &trained, job)?;
    let page = Page {
        options: &job.start.options,
        plan: &job.plan,
        devices: args.devices.description(),
        history: &history,
        epoch: best.epoch,
        worst: &worst,
        images: job.data.valid.len(),
    };
    atomic::write(&folder.report(), page.html()?.as_bytes())?;
    args.reporter.line(&format!(
        "wrote {}: report.html, prediction.png, curves.png, model.bpk ({best}), net.json, training.json, history.json, \
         checkpoint/",
        folder.path().display()
    ))?;
    outcome(args, &history, job)
}

/// How many images the report shows, and how many pixels their sides have at most.
const WORST: usize = 3;
const SHOWN_SIDE: usize = 512;

/// Predicts what was validated on, and draws the first image. The worst are for the report.
fn predictions<const R: usize>(
    args: &TrainArgs,
    folder: &RunFolder,
    trained: &Segmenter<R>,
    job: &Job<R>,
) -> Result<Vec<Judged>> {
    let classes = trained.net.config().out_channels;
    let labels = (classes, job.start.options.ignored(classes)?);
    let bar = args.reporter.shows_progress();
    args.reporter.line(&format!(
        "predicting {} once more, to draw the worst",
        match job.data.valid.len() {
            1 => "the validation image".into(),
            all => format!("the {all} validation images"),
        }
    ))?;
    let mut worst: Vec<Judged> = Vec::new();
    let samples = job.data.valid.iter().zip(&job.data.valid_names);
    for (index, (sample, name)) in samples.enumerate() {
        let predicted =
            Tiles::default().predict(&trained.net, &sample.image, &job.devices[0], bar)?;
        if index == 0 {
            let png = picture(sample, &predicted, labels, 1)?;
            atomic::write(&folder.prediction(), &png)?;
        }
        let nothing = counts(labels.0, labels.1);
        let overlap = between(&predicted, &sample.mask, sample.context, nothing)?;
        let Scores { iou, .. } = Scores::of(&overlap);
        if worst.len() == WORST && worst.iter().all(|other| other.iou <= iou) {
            continue;
        }
        let side = sample.image.plane().into_iter().max().unwrap_or(1);
        worst.push(Judged {
            name: name.clone(),
            iou,
            png: picture(sample, &predicted, labels, side.div_ceil(SHOWN_SIDE))?,
        });
        worst.sort_by(|a, b| a.iou.total_cmp(&b.iou));
        worst.truncate(WORST);
    }
    Ok(worst)
}

/// The picture of a prediction, of every `step`-th pixel; of a volume that of the slice in the middle.
/// The masks are of so many classes, and the label that does not count.
fn picture(
    sample: &Sample,
    predicted: &Raster,
    (classes, ignored): (usize, Option<i64>),
    step: usize,
) -> Result<Vec<u8>> {
    let shown = |raster: &Raster| sample.slice(raster, step);
    let picture = Picture {
        image: &shown(&sample.image).for_display(),
        truth: Some(&shown(&sample.mask)),
        predicted: &shown(predicted),
        classes,
        ignored,
        objects: None,
    };
    picture.png()
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
    let names = &job.start.options.class_names;
    if !best.class_iou.is_empty() {
        args.reporter
            .line(&format!("classes in epoch {}:", best.epoch))?;
    }
    for line in table(names, &best.class_iou, &best.class_dice) {
        args.reporter.line(&line)?;
    }
    args.reporter.object(&json!({
        "iou": last.iou,
        "dice": last.dice,
        "epochs": last.epoch,
        "steps": history.steps(),
        "seconds": history.seconds(),
        "best_iou": best.iou,
        "best_epoch": best.epoch,
        "class_names": names,
        "class_iou": best.class_iou,
        "class_dice": best.class_dice,
    }))
}
