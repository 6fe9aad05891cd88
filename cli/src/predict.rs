//! `segment predict`: a trained network, one image, and a picture of what it found.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::data::Sample;
use crate::device::DeviceName;
use crate::find::Tiles;
use crate::metrics::Overlap;
use crate::picture::Picture;
use crate::raster::Raster;
use crate::talk::Talk;
use crate::weights::Trained;
use crate::{Result, whole_file};

/// Pixels of a side that a picture shows at most: it is looked at by people.
const LARGEST: usize = 4096;

/// Arguments of `segment predict`.
#[derive(Args)]
pub struct PredictArgs {
    /// The folder that a training wrote, or a .bpk file in it
    #[arg(long, value_name = "DIR|FILE")]
    model: PathBuf,

    /// The image to look at: a PNG of any size
    #[arg(long, value_name = "FILE")]
    image: PathBuf,

    /// The picture to write: a PNG; of an image of more than 4096 pixels a side, every so many-th
    #[arg(long, value_name = "FILE")]
    out: PathBuf,

    /// Write what was found, too: a PNG of the image's size, white where there is something; of several
    /// classes, the number of each pixel's
    #[arg(long, value_name = "FILE")]
    mask: Option<PathBuf>,

    /// The true mask, to be compared with
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,

    /// Where to compute; it need not be where the model was trained
    #[arg(long, value_enum, default_value = "flex", value_name = "NAME")]
    device: DeviceName,

    #[command(flatten)]
    tiles: Tiles,

    #[command(flatten)]
    talk: Talk,
}

/// Finds the foreground of an image and writes a picture of it.
///
/// # Errors
/// When a file is missing, malformed or does not fit the others.
pub fn run(args: PredictArgs) -> Result<()> {
    let files = [("--out", Some(&args.out)), ("--mask", args.mask.as_ref())];
    for (option, file) in files {
        if let Some(file) = file.filter(|file| file.extension().is_none_or(|end| end != "png")) {
            let shown = file.display();
            return Err(
                format!("{option}: the picture is a PNG file; {shown} should end in .png").into(),
            );
        }
    }
    let named = [
        Some(&args.image),
        args.labels.as_ref(),
        args.mask.as_ref(),
        Some(&args.out),
    ];
    let named = named.into_iter().flatten().map(std::path::absolute);
    let named = named.collect::<Result<Vec<_>, _>>()?;
    for (index, file) in named.iter().enumerate() {
        if named[..index].contains(file) {
            return Err(format!(
                "{} is named twice: what is read and what is written are files of their own",
                file.display()
            )
            .into());
        }
    }
    let device = args.device.open()?;
    let Trained { unet, task } = Trained::open(&args.model, &device)?;
    let (image, truth) = match &args.labels {
        Some(labels) => {
            let sample = Sample::read(&args.image, labels, task)?;
            (sample.image, Some(sample.mask))
        }
        None => {
            let image = Raster::read_image(&args.image, task.channels, task.intensities)?;
            (image, None)
        }
    };
    let found = args
        .tiles
        .find(&unet, &image, &device, args.talk.is_watched())?;

    if let Some(mask) = &args.mask {
        whole_file::write(mask, &found.mask_png(task.classes)?)?;
    }
    let step = image.width.max(image.height).div_ceil(LARGEST);
    let shown_truth = truth.as_ref().map(|truth| truth.every(step));
    let picture = Picture {
        image: &image.every(step),
        truth: shown_truth.as_ref(),
        found: &found.every(step),
        classes: task.classes,
    };
    whole_file::write(&args.out, &picture.png()?)?;

    let marked = found.values.iter().filter(|&&class| class > 0.0).count();
    let foreground = marked as f64 / found.values.len() as f64;
    args.talk.say(&format!(
        "foreground: {:.1} % of the pixels",
        100.0 * foreground
    ))?;
    let overlap = truth.map(|truth| Overlap::between(&found, &truth, task.classes));
    if let Some(overlap) = &overlap {
        args.talk.say(&format!(
            "IoU {:.3}, Dice {:.3}",
            overlap.iou(),
            overlap.dice()
        ))?;
    }
    let wrote: Vec<_> = args.mask.iter().chain([&args.out]).collect();
    for file in &wrote {
        args.talk.say(&format!("wrote {}", file.display()))?;
    }
    args.talk.tell(&json!({
        "foreground": foreground,
        "iou": overlap.as_ref().map(Overlap::iou),
        "dice": overlap.as_ref().map(Overlap::dice),
        "wrote": wrote,
    }))
}
