//! `burn-skip predict`: a trained network, or several together, segment an image or a folder of them.

mod folder;
mod loaded;
mod output;
mod pipeline;

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use crate::Result;
use crate::device::DeviceName;
use crate::drawing::prediction::{Objects, Picture};
use crate::files::limits::ImageLimits;
use crate::files::{atomic, distinct, ending};
use crate::instances::InstanceOptions;
use crate::instances::args::InstanceArgs;
use crate::raster::Raster;
use crate::reporter::Reporter;
use crate::segmentation::data::Task;
use crate::segmentation::ensemble::{Ensemble, Trainings};
use crate::segmentation::metrics::{Scores, between, by_class, counts};
use crate::segmentation::prediction::Inference;
use crate::segmentation::spacing::GivenSpacing;
use crate::segmentation::tiled_inference::Tiles;
use crate::segmentation::trained::EpochArg;
use folder::FolderArgs;
use loaded::Loaded;
use output::{Output, Product, Products};

/// Pixels of a side of the picture at most: it is for people to look at.
const MAX_PICTURE_SIDE: usize = 4096;

/// Arguments of `burn-skip predict`.
#[derive(Args)]
pub struct PredictArgs {
    /// Folder that `burn-skip train` wrote, or a .bpk file in it; of several, each with --model, the probabilities are
    /// averaged
    #[arg(long, value_name = "DIR|FILE", required = true)]
    model: Vec<PathBuf>,

    #[command(flatten)]
    epoch: EpochArg,

    /// Image to segment, of any size: PNG, JPEG, TIFF, NIfTI or NPY
    #[arg(long, value_name = "FILE", required_unless_present = "images")]
    image: Option<PathBuf>,

    /// Picture to write: a PNG of the image and the prediction, scaled down to 4096 pixels a side; of a volume, of the slice
    /// in its middle
    #[arg(long, value_name = "FILE", required_unless_present_any = ["mask", "probabilities", "instances", "images"])]
    out: Option<PathBuf>,

    /// Mask to write, of the image's size: each pixel is the number of its class. A .png, whose foreground is white
    /// where there is one class, .tif, .nii, .nii.gz or .npy. The spacing of the image is kept, and from NIfTI to
    /// NIfTI its position, too
    #[arg(long, value_name = "FILE")]
    mask: Option<PathBuf>,

    /// Probabilities to write, a channel for each class: a .tif, .nii, .nii.gz or .npy
    #[arg(long, value_name = "FILE")]
    probabilities: Option<PathBuf>,

    /// Instances to write, of the image's size: each pixel is the number of its object, in 16 bits, or in 32 where there
    /// are more than 65535; 0 is the background. A .png, .tif, .nii, .nii.gz or .npy
    #[arg(long, value_name = "FILE")]
    instances: Option<PathBuf>,

    /// Draw each instance in a colour of its own in --out
    #[arg(long, requires_all = ["out", "instances"])]
    colours: bool,

    /// True mask, to compare the prediction with
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,

    /// Where to compute; it need not be where the model was trained
    #[arg(long, value_enum, default_value = "flex", value_name = "NAME")]
    device: DeviceName,

    #[command(flatten)]
    spacing: GivenSpacing,

    #[command(flatten)]
    folder: FolderArgs,

    #[command(flatten)]
    options: InstanceArgs,

    #[command(flatten)]
    tiles: Tiles,

    #[command(flatten)]
    limit: ImageLimits,

    #[command(flatten)]
    reporter: Reporter,
}

/// Segments an image, or each of a folder, and writes what is asked for.
///
/// # Errors
/// When a file is missing, malformed or does not fit the others.
pub fn run(args: &PredictArgs) -> Result<()> {
    args.check_files()?;
    args.limit.memory.default_to(args.folder_written());
    let trainings = Trainings::find(&args.model, args.epoch)?;
    match trainings.first()?.options.axes {
        3 => run_on::<5>(args, &trainings),
        _ => run_on::<4>(args, &trainings),
    }
}

fn run_on<const R: usize>(args: &PredictArgs, trainings: &Trainings) -> Result<()> {
    let classes = trainings.first()?.task.classes;
    let by = match args.folder.images {
        Some(_) => "--write instances",
        None => "--instances FILE",
    };
    let options = args.options.options(classes, args.with_instances(), by)?;
    let device = args.device.open()?;
    let ensemble = trainings.load::<R>(&device)?;
    trainings.tell(args.reporter)?;
    let inference = Inference {
        tiles: &args.tiles,
        device: &device,
        threshold: options.threshold,
        with_probabilities: args.with_instances() || args.with_probabilities(),
        bar: args.reporter.shows_progress() && args.folder.images.is_none(),
    };
    match &args.image {
        Some(image) => one(args, image, trainings, &ensemble, (&options, &inference)),
        None => pipeline::run(args, trainings, &ensemble, &options, &inference),
    }
}

/// Segments one image.
fn one<const R: usize>(
    args: &PredictArgs,
    file: &Path,
    trainings: &Trainings,
    ensemble: &Ensemble<R>,
    (options, inference): (&InstanceOptions, &Inference),
) -> Result<()> {
    let classes = trainings.first()?.task.classes;
    let Loaded {
        image,
        grid,
        truth,
        objects,
        remarks,
    } = args.read(file, trainings)?;
    for remark in remarks {
        args.reporter
            .line(&format!("{}: {remark}", file.display()))?;
    }
    let output = |(product, path): (Product, &Option<PathBuf>)| {
        let path = path.clone();
        path.map(|path| Output::new(product, path, R - 2))
    };
    let outputs = args.outputs().into_iter().filter_map(output);
    let outputs: Vec<Output> = outputs.collect::<Result<_, _>>()?;
    let shown_image = args.out.as_ref().map(|_| image.try_clone());
    let mut shown_image = shown_image.transpose()?;
    if let Some(image) = &mut shown_image {
        // (The networks may differ in how they normalise; one of the images is shown.)
        trainings.first()?.task.normalize(image)?;
    }
    let images = trainings.normalized(image)?;
    let inputs = trainings.resampled(images, (&grid, file), &args.limit)?;
    let prediction = ensemble.predict(&inputs, inference)?;
    let with = (args.with_instances(), &grid);
    let products = Products::of(prediction, classes, options, with)?;
    for output in &outputs {
        output.write(&products, &grid)?;
    }
    if let (Some(out), Some(image)) = (&args.out, &shown_image) {
        let [height, width] = image.plane();
        let (step, slice) = (width.max(height).div_ceil(MAX_PICTURE_SIDE), image.middle());
        let shown = |raster: &Raster| raster.slice(slice, step);
        let truth = truth.as_ref().map(shown);
        let objects = objects.as_ref().map(shown);
        let found = products.instances.as_ref().filter(|_| args.colours);
        let found = found.map(|found| shown(&found.labels));
        let picture = Picture {
            image: &shown(image).for_display(),
            truth: truth.as_ref(),
            predicted: &shown(&products.mask),
            classes,
            ignored: trainings.first()?.task.ignored,
            objects: found.as_ref().map(|predicted| Objects {
                truth: objects.as_ref(),
                predicted,
            }),
        };
        atomic::write(out, &picture.png()?)?;
    }
    args.report(&products, truth.as_ref(), trainings)
}

impl PredictArgs {
    /// The files of numbers that may be written.
    fn outputs(&self) -> [(Product, &Option<PathBuf>); 3] {
        [
            (Product::Mask, &self.mask),
            (Product::Probabilities, &self.probabilities),
            (Product::Instances, &self.instances),
        ]
    }

    fn with_instances(&self) -> bool {
        self.instances.is_some() || self.with(Product::Instances)
    }

    fn with_probabilities(&self) -> bool {
        self.probabilities.is_some() || self.with(Product::Probabilities)
    }

    /// Whether this is written of the images of a folder.
    fn with(&self, product: Product) -> bool {
        self.folder.images.is_some() && self.folder.products().contains(&product)
    }

    /// The files that are written, each with its option.
    fn written(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let files = self.outputs().into_iter();
        let files = files.map(|(product, file)| (product.option(), file));
        let files = files.chain([("--out", &self.out)]);
        files.filter_map(|(option, file)| Some((option, file.as_deref()?)))
    }

    /// The folder that is written to.
    fn folder_written(&self) -> &Path {
        let first = self.written().next().and_then(|(_, file)| file.parent());
        self.folder
            .out_dir
            .as_deref()
            .or(first)
            .unwrap_or(Path::new("."))
    }

    /// Checks that the picture is a PNG, and that nothing is written over what is read.
    fn check_files(&self) -> Result<()> {
        if let Some(out) = &self.out {
            ending::check("--out", out, "png")?;
        }
        let read = self.image.iter().chain(&self.labels).chain(&self.model);
        let read = read.map(PathBuf::as_path);
        Ok(distinct::check(read, self.written())?)
    }

    fn report(
        &self,
        products: &Products,
        truth: Option<&Raster>,
        trainings: &Trainings,
    ) -> Result<()> {
        let Task {
            classes, ignored, ..
        } = trainings.first()?.task;
        let predicted = &products.mask;
        let foreground = products.foreground();
        let percent = 100.0 * foreground;
        self.reporter
            .line(&format!("foreground: {percent:.1} % of the pixels"))?;
        let count = products.instances.as_ref().map(|found| found.count);
        if let Some(count) = count {
            self.reporter.line(&format!("instances: {count}"))?;
        }
        let overlap = truth.map(|truth| between(predicted, truth, 0, counts(classes, ignored)));
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
            "instances": count,
            "iou": scores.as_ref().map(|scores| scores.iou),
            "dice": scores.as_ref().map(|scores| scores.dice),
            "class_iou": scores.as_ref().map(|scores| &scores.class_iou),
            "weights": trainings.used(),
            "wrote": wrote,
        }))
    }
}
