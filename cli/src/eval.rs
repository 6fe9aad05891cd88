//! `burn-skip eval`: how well a trained network segments labelled images.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use crate::Result;
use crate::device::DeviceName;
use crate::files::limits::ImageLimit;
use crate::reporter::Reporter;
use crate::segmentation::data::{Data, check_axes};
use crate::segmentation::metrics::{Scores, between, by_class, counts, table};
use crate::segmentation::pairs::pairs;
use crate::segmentation::tiled_inference::Tiles;
use crate::segmentation::trained::{EpochArg, Trained};
use crate::segmentation::validation::Split;
use crate::train::report::images;

/// What messages call the images of a training.
pub const TRAINED_ON: &str = "the images that the network was trained on";

/// Arguments of `burn-skip eval`.
#[derive(Args)]
pub struct EvalArgs {
    /// Folder that `burn-skip train` wrote, or a .bpk file in it
    #[arg(long, value_name = "DIR|FILE")]
    model: PathBuf,

    #[command(flatten)]
    epoch: EpochArg,

    /// Images and masks, as for `burn-skip train` [default: an image that is built in; with --valid, the data of the
    /// training]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// Use only what `burn-skip train` validates on: the last quarter of every image's columns, or what its
    /// --validation says
    #[arg(long)]
    valid: bool,

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

/// Computes the metrics of every image, and of all of them together.
///
/// # Errors
/// When a file is missing, malformed or does not fit the others.
pub fn run(args: &EvalArgs) -> Result<()> {
    let trained = Trained::find(&args.model, args.epoch)?;
    match trained.options.axes {
        3 => run_on::<5>(args, &trained),
        _ => run_on::<4>(args, &trained),
    }
}

fn run_on<const R: usize>(args: &EvalArgs, trained: &Trained) -> Result<()> {
    let device = args.device.open()?;
    let net = trained.load::<R>(&device)?;
    args.reporter.line(&trained.described())?;
    let Trained { task, options, .. } = trained;
    let mut all = counts(task.classes);
    let data = args.data.as_deref();
    let data = data.or(options.data.as_deref().filter(|_| args.valid));
    let mut pairs = pairs("--data", data)?;
    let mut of_columns = false;
    if args.valid {
        (pairs, of_columns) = match options.validation.split(pairs)? {
            Split::Columns(pairs) => (pairs, true),
            Split::Images { valid, .. } => (valid, false),
        };
    }
    for pair in &pairs {
        let mut sample = pair.read(task, args.limit)?;
        check_axes(&sample.image, &pair.image, options.axes, TRAINED_ON)?;
        task.normalize(&mut sample.image)?;
        if of_columns {
            (_, sample) = Data::split(&sample, &pair.image)?;
        }
        let bar = args.reporter.shows_progress();
        let predicted = args.tiles.predict(&net, &sample.image, &device, bar)?;
        let overlap = between(
            &sample.judged(&predicted),
            &sample.judged(&sample.mask),
            task.classes,
        )?;
        let name = pair.image.display().to_string();
        tell(
            args,
            &name,
            &Scores::of(&overlap),
            json!({ "image": pair.image }),
        )?;
        all.merge(&overlap);
    }
    let name = format!("{} together", images(pairs.len()));
    let scores = Scores::of(&all);
    let of = json!({ "images": pairs.len(), "epoch": trained.epoch, "weights": trained.file });
    tell(args, &name, &scores, of)?;
    let names = &options.class_names;
    let mut lines = table(names, &scores.class_iou, &scores.class_dice).into_iter();
    lines.try_for_each(|line| args.reporter.line(&line))
}

/// Prints the scores of an image or of several, and reports them with what they are of.
fn tell(args: &EvalArgs, name: &str, scores: &Scores, mut of: Value) -> Result<()> {
    let Scores {
        iou,
        dice,
        class_iou,
        class_dice,
    } = scores;
    let classes = by_class(class_iou);
    args.reporter
        .line(&format!("{name}: IoU {iou:.3}, Dice {dice:.3}{classes}"))?;
    of["iou"] = json!(iou);
    of["dice"] = json!(dice);
    if !class_iou.is_empty() {
        of["class_iou"] = json!(class_iou);
        of["class_dice"] = json!(class_dice);
    }
    args.reporter.object(&of)
}
