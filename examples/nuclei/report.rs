//! What a training leaves behind: the model, two pictures, and a word on how it went.

use std::io::Write;
use std::path::Path;

use burn::module::Module;
use burn::tensor::Device;

use crate::data::Sample;
use crate::find::Tiles;
use crate::history::History;
use crate::model::Segmenter;
use crate::picture::Picture;
use crate::plane::Plane;
use crate::{Result, curves, files};

/// Prints a line.
///
/// # Errors
/// When nobody reads it, or the disk is full.
pub fn say(line: &str) -> Result<()> {
    writeln!(std::io::stdout(), "{line}").map_err(|e| format!("cannot print: {e}").into())
}

/// Writes the model, a prediction for the sample, and the curves of the history.
///
/// # Errors
/// When a file cannot be written, or the device fails.
pub fn write(out: &Path, trained: Segmenter, sample: &Sample, device: &Device) -> Result<()> {
    let found = Tiles::default().find(&trained.unet, &sample.image, device)?;
    let left = sample.context;
    let judged = |plane: &Plane| plane.cut(left, 0, plane.width - left, plane.height);
    let picture = Picture {
        image: &judged(&sample.image),
        truth: Some(&judged(&sample.mask)),
        found: &judged(&found),
    };
    files::write(&out.join("prediction.png"), &picture.png()?)?;

    let history: History = files::load(&out.join("history.json"))?;
    files::write(&out.join("curves.png"), &curves::png(&history)?)?;

    let model = out.join("model.bpk");
    let saved = trained.unet.save_file(&model);
    saved.map_err(|e| format!("cannot write {}: {e}", model.display()))?;

    say(&format!(
        "wrote {}: prediction.png, curves.png, model.bpk, config.json, training.json, \
         history.json, checkpoint/",
        out.display()
    ))?;
    print(&history)
}

fn print(history: &History) -> Result<()> {
    let (Some(best), Some(last)) = (history.best(), history.epochs.last()) else {
        return Ok(());
    };
    say(&format!(
        "validation IoU {:.3}, Dice {:.3} after {} steps in {:.0} s (best IoU {:.3}, epoch {})",
        last.iou,
        last.dice,
        history.steps(),
        history.seconds(),
        best.iou,
        best.epoch
    ))
}
