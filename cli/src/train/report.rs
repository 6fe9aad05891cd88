//! What a training says before it starts, and what it leaves behind.

use burn::module::Module;
use burn::tensor::Device;
use burn_skip::plan::Plan;
use serde_json::json;

use crate::data::{Data, Sample};
use crate::find::Tiles;
use crate::history::History;
use crate::model::Segmenter;
use crate::options::{Options, TrainArgs};
use crate::picture::Picture;
use crate::run_folder::RunFolder;
use crate::{Result, curves, json_file, whole_file};

/// Says what is going to be trained.
///
/// # Errors
/// When it cannot be said.
pub fn start(args: &TrainArgs, options: &Options, plan: &Plan, data: &Data) -> Result<()> {
    let (parameters, mult_adds) = (plan.root.total_parameters(), plan.root.total_mult_adds());
    let devices = args.devices.words();
    args.talk.say(&format!(
        "training a {} of {parameters} parameters on {devices}: {} epochs of {} steps of {} crops of {} x {} \
         from {}, {:.2} G mult-adds a step",
        plan.root.kind,
        options.epochs,
        options.steps,
        options.batch,
        options.crop,
        options.crop,
        images(data.train.len()),
        mult_adds as f64 / 1e9
    ))?;
    args.talk.tell(&json!({
        "start": options,
        "parameters": parameters,
        "mult_adds": mult_adds,
        "devices": devices,
        "images": data.train.len(),
    }))
}

/// "1 image", "12 images".
pub fn images(count: usize) -> String {
    match count {
        1 => "1 image".into(),
        several => format!("{several} images"),
    }
}

/// Writes the model, a prediction for the sample, and the curves of the history; says how it went.
///
/// # Errors
/// When a file cannot be written, or the device fails.
pub fn write(
    args: &TrainArgs,
    folder: &RunFolder,
    trained: Segmenter,
    options: &Options,
    sample: &Sample,
    device: &Device,
) -> Result<()> {
    let is_reference = options.is_reference(&trained.unet.config);
    // First what it was all for.
    let model = folder.model();
    let saved = trained.clone().save_file(&model);
    saved.map_err(|e| format!("cannot write {}: {e}", model.display()))?;

    let found =
        Tiles::default().find(&trained.unet, &sample.image, device, args.talk.is_watched())?;
    let picture = Picture {
        image: &sample.judged(&sample.image),
        truth: Some(&sample.judged(&sample.mask)),
        found: &sample.judged(&found),
        classes: trained.unet.config.out_channels,
    };
    whole_file::write(&folder.prediction(), &picture.png()?)?;

    let history: History = json_file::read(&folder.history())?;
    whole_file::write(&folder.curves(), &curves::png(&history)?)?;
    args.talk.say(&format!(
        "wrote {}: prediction.png, curves.png, model.bpk, net.json, training.json, history.json, checkpoint/",
        folder.path().display()
    ))?;
    outcome(args, options, &history, is_reference)
}

fn outcome(
    args: &TrainArgs,
    options: &Options,
    history: &History,
    is_reference: bool,
) -> Result<()> {
    let (Some(best), Some(last)) = (history.best(), history.epochs.last()) else {
        return Ok(());
    };
    if last.epoch < options.epochs {
        args.talk.say(&format!(
            "stopped early: the IoU has not grown since epoch {}",
            best.epoch
        ))?;
    }
    args.talk.say(&format!(
        "validation IoU {:.3}, Dice {:.3} after {} steps in {:.0} s (best IoU {:.3}, epoch {})",
        last.iou,
        last.dice,
        history.steps(),
        history.seconds(),
        best.iou,
        best.epoch
    ))?;
    if is_reference && history.steps() == 300 {
        args.talk.say(
            "reference (PyTorch, 2 threads, max pool, nearest upsampling, learning rate 3e-3): \
             IoU 0.907 after 300 steps in 46 s",
        )?;
    }
    args.talk.tell(&json!({
        "iou": last.iou,
        "dice": last.dice,
        "epochs": last.epoch,
        "steps": history.steps(),
        "seconds": history.seconds(),
        "best_iou": best.iou,
        "best_epoch": best.epoch,
    }))
}
