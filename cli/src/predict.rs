//! `burn-skip predict`: a trained network segments one image.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use crate::Result;
use crate::device::DeviceName;
use crate::drawing::prediction::Picture;
use crate::files::limits::ImageLimit;
use crate::files::{atomic, distinct, ending};
use crate::raster::Raster;
use crate::reporter::Reporter;
use crate::segmentation::data::{Sample, Task};
use crate::segmentation::metrics::{Scores, between, by_class};
use crate::segmentation::tiled_inference::Tiles;
use crate::segmentation::trained::Trained;

/// Pixels of a side of the picture at most: it is for people to look at.
const MAX_PICTURE_SIDE: usize = 4096;

/// Arguments of `burn-skip predict`.
#[derive(Args)]
pub struct PredictArgs {
    /// Folder that `burn-skip train` wrote, or a .bpk file in it
    #[arg(long, value_name = "DIR|FILE")]
    model: PathBuf,

    /// Image to segment: a PNG or JPEG of any size
    #[arg(long, value_name = "FILE")]
    image: PathBuf,

    /// Picture to write: a PNG of the image and the prediction, scaled down to 4096 pixels a side
    #[arg(long, value_name = "FILE")]
    out: PathBuf,

    /// Mask to write: a PNG of the image's size, white on the foreground; of several classes, a pixel is the
    /// number of its class
    #[arg(long, value_name = "FILE")]
    mask: Option<PathBuf>,

    /// True mask, to compare the prediction with
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,

    /// Where to compute; it need not be where the model was trained
    #[arg(long, value_enum, default_value = "flex", value_name = "NAME")]
    device: DeviceName,

    #[command(flatten)]
    tiles: Tiles,

    #[command(flatten)]
    limit: ImageLimit,

    #[command(flatten)]
    reporter: Reporter,
}

/// Segments an image and writes a picture of the prediction.
///
/// # Errors
/// When a file is missing, malformed or does not fit the others.
pub fn run(args: &PredictArgs) -> Result<()> {
    args.check_files()?;
    let device = args.device.open()?;
    let Trained { net, task, .. } = Trained::open(&args.model, &device)?;
    let (image, truth) = args.read(task)?;
    let bar = args.reporter.shows_progress();
    let predicted = args.tiles.predict(&net, &image, &device, bar)?;

    if let Some(mask) = &args.mask {
        atomic::write(mask, &predicted.mask_png(task.classes)?)?;
    }
    let step = image.width.max(image.height).div_ceil(MAX_PICTURE_SIDE);
    let shown_truth = truth.as_ref().map(|truth| truth.every(step));
    let picture = Picture {
        image: &image.every(step),
        truth: shown_truth.as_ref(),
        predicted: &predicted.every(step),
        classes: task.classes,
    };
    atomic::write(&args.out, &picture.png()?)?;
    args.report(&predicted, truth.as_ref(), task.classes)
}

impl PredictArgs {
    /// The files that are written, each with its option.
    fn written(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let mask = self.mask.as_deref().map(|mask| ("--mask", mask));
        mask.into_iter().chain([("--out", self.out.as_path())])
    }

    /// Checks that PNG files are written, and over none that is read.
    fn check_files(&self) -> Result<()> {
        for (option, file) in self.written() {
            ending::check(option, file, "png")?;
        }
        let read = [Some(&self.image), self.labels.as_ref(), Some(&self.model)];
        let read = read.into_iter().flatten().map(PathBuf::as_path);
        Ok(distinct::check(read, self.written())?)
    }

    fn read(&self, task: Task) -> Result<(Raster, Option<Raster>)> {
        let image = Raster::read_image(&self.image, task.channels, task.intensities, self.limit)?;
        let Some(labels) = &self.labels else {
            return Ok((image, None));
        };
        let mask = Raster::read_mask(labels, task.classes, self.limit)?;
        let sample = Sample::new((image, &self.image), (mask, labels))?;
        Ok((sample.image, Some(sample.mask)))
    }

    fn report(&self, predicted: &Raster, truth: Option<&Raster>, classes: usize) -> Result<()> {
        let marked = predicted.values.iter().filter(|&&class| class > 0.0);
        let foreground = marked.count() as f64 / predicted.values.len() as f64;
        let percent = 100.0 * foreground;
        self.reporter
            .line(&format!("foreground: {percent:.1} % of the pixels"))?;
        let overlap = truth.map(|truth| between(predicted, truth, classes));
        let scores = overlap.transpose()?.map(|overlap| Scores::of(&overlap));
        if let Some(scores) = &scores {
            let classes = by_class(&scores.class_iou);
            let (iou, dice) = (scores.iou, scores.dice);
            self.reporter
                .line(&format!("IoU {iou:.3}, Dice {dice:.3}{classes}"))?;
        }
        let wrote: Vec<_> = self.written().map(|(_, file)| file).collect();
        for file in &wrote {
            self.reporter.line(&format!("wrote {}", file.display()))?;
        }
        self.reporter.object(&json!({
            "foreground": foreground,
            "iou": scores.as_ref().map(|scores| scores.iou),
            "dice": scores.as_ref().map(|scores| scores.dice),
            "class_iou": scores.as_ref().map(|scores| &scores.class_iou),
            "wrote": wrote,
        }))
    }
}
