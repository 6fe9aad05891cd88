//! `burn-skip predict`: a trained network segments one image.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use crate::Result;
use crate::device::DeviceName;
use crate::drawing::prediction::Picture;
use crate::eval::TRAINED_ON;
use crate::files::limits::ImageLimit;
use crate::files::{atomic, distinct, ending};
use crate::raster::{Content, Format, Grid, Raster};
use crate::reporter::Reporter;
use crate::segmentation::data::{Sample, Task, check_axes};
use crate::segmentation::metrics::{Scores, between, by_class};
use crate::segmentation::model;
use crate::segmentation::tiled_inference::Tiles;
use crate::segmentation::trained::{EpochArg, Trained};

/// Pixels of a side of the picture at most: it is for people to look at.
const MAX_PICTURE_SIDE: usize = 4096;

/// Arguments of `burn-skip predict`.
#[derive(Args)]
pub struct PredictArgs {
    /// Folder that `burn-skip train` wrote, or a .bpk file in it
    #[arg(long, value_name = "DIR|FILE")]
    model: PathBuf,

    #[command(flatten)]
    epoch: EpochArg,

    /// Image to segment, of any size: PNG, JPEG, TIFF, NIfTI or NPY
    #[arg(long, value_name = "FILE")]
    image: PathBuf,

    /// Picture to write: a PNG of the image and the prediction, scaled down to 4096 pixels a side; of a volume, of the slice
    /// in its middle
    #[arg(long, value_name = "FILE", required_unless_present_any = ["mask", "probabilities"])]
    out: Option<PathBuf>,

    /// Mask to write, of the image's size: each pixel is the number of its class. A .png, whose foreground is white
    /// where there is one class, .tif, .nii, .nii.gz or .npy. The spacing of the image is kept, and from NIfTI to
    /// NIfTI its position, too
    #[arg(long, value_name = "FILE")]
    mask: Option<PathBuf>,

    /// Probabilities to write, a channel for each class: a .tif, .nii, .nii.gz or .npy
    #[arg(long, value_name = "FILE")]
    probabilities: Option<PathBuf>,

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
    let trained = Trained::find(&args.model, args.epoch)?;
    match trained.options.axes {
        3 => run_on::<5>(args, &trained),
        _ => run_on::<4>(args, &trained),
    }
}

fn run_on<const R: usize>(args: &PredictArgs, trained: &Trained) -> Result<()> {
    let device = args.device.open()?;
    let net = trained.load::<R>(&device)?;
    args.reporter.line(&trained.described())?;
    let task = &trained.task;
    let (image, grid, truth) = args.read(task, R - 2)?;
    let output = |option, path: &Option<PathBuf>, content| -> Result<Option<Output>> {
        let path = path.clone();
        Ok(path
            .map(|path| Output::new(option, path, content, &image))
            .transpose()?)
    };
    let mask = Content::Mask {
        classes: task.classes,
    };
    let mask = output("--mask", &args.mask, mask)?;
    let probabilities = output(
        "--probabilities",
        &args.probabilities,
        Content::Probabilities,
    )?;

    let bar = args.reporter.shows_progress();
    // Channel by channel, as the rows come.
    let mut maps = vec![Vec::new(); task.classes];
    let is_asked = probabilities.is_some();
    let predicted = args
        .tiles
        .predict_with(&net, &image, &device, bar, |logits| {
            if is_asked {
                let channels = model::probabilities(logits).split(1, 1);
                for (map, channel) in maps.iter_mut().zip(channels) {
                    map.extend(channel.try_into_vec_as::<f32>()?);
                }
            }
            Ok(())
        })?;
    if let Some(mask) = mask {
        mask.write(&predicted, &grid)?;
    }
    if let Some(probabilities) = probabilities {
        let raster = Raster {
            channels: maps.len(),
            size: image.size.clone(),
            values: maps.concat(),
        };
        probabilities.write(&raster, &grid)?;
    }
    if let Some(out) = &args.out {
        let [height, width] = image.plane();
        let (step, slice) = (width.max(height).div_ceil(MAX_PICTURE_SIDE), image.middle());
        let truth = truth.as_ref().map(|truth| truth.slice(slice, step));
        let picture = Picture {
            image: &image.slice(slice, step).for_display(),
            truth: truth.as_ref(),
            predicted: &predicted.slice(slice, step),
            classes: task.classes,
        };
        atomic::write(out, &picture.png()?)?;
    }
    args.report(&predicted, truth.as_ref(), trained)
}

/// A file of numbers that is written, in the format of its name.
struct Output {
    path: PathBuf,
    format: Format,
    content: Content,
}

impl Output {
    fn new(option: &str, path: PathBuf, content: Content, image: &Raster) -> Result<Self, String> {
        let format = Format::for_writing(option, &path, content, image.size.len())?;
        Ok(Self {
            path,
            format,
            content,
        })
    }

    fn write(&self, raster: &Raster, grid: &Grid) -> Result<()> {
        let bytes = self.format.encode(raster, self.content, grid)?;
        Ok(atomic::write(&self.path, &bytes)?)
    }
}

impl PredictArgs {
    /// The files that are written, each with its option.
    fn written(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let files = [
            ("--mask", &self.mask),
            ("--probabilities", &self.probabilities),
            ("--out", &self.out),
        ];
        let files = files.into_iter();
        files.filter_map(|(option, file)| Some((option, file.as_deref()?)))
    }

    /// Checks that the picture is a PNG, and that nothing is written over what is read.
    fn check_files(&self) -> Result<()> {
        if let Some(out) = &self.out {
            ending::check("--out", out, "png")?;
        }
        let read = [Some(&self.image), self.labels.as_ref(), Some(&self.model)];
        let read = read.into_iter().flatten().map(PathBuf::as_path);
        Ok(distinct::check(read, self.written())?)
    }

    fn read(&self, task: &Task, axes: usize) -> Result<(Raster, Grid, Option<Raster>)> {
        let image = Format::read(&self.image, task.channels, self.limit)?;
        let (mut image, grid) = image.image(&self.image, task.channels)?;
        check_axes(&image, &self.image, axes, TRAINED_ON)?;
        task.normalize(&mut image)?;
        let Some(labels) = &self.labels else {
            return Ok((image, grid, None));
        };
        let mask = Format::read(labels, 1, self.limit)?;
        let mask = mask.mask(labels, task.classes)?;
        let sample = Sample::new((image, &self.image), (mask, labels))?;
        Ok((sample.image, grid, Some(sample.mask)))
    }

    fn report(&self, predicted: &Raster, truth: Option<&Raster>, trained: &Trained) -> Result<()> {
        let classes = trained.task.classes;
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
            "epoch": trained.epoch,
            "weights": trained.file,
            "wrote": wrote,
        }))
    }
}
