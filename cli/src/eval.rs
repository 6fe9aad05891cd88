//! `burn-skip eval`: how well a trained network, or several together, segment labelled images.

mod instances;

use std::collections::HashSet;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use crate::Result;
use crate::device::DeviceName;
use crate::files::limits::ImageLimits;
use crate::instances::args::InstanceArgs;
use crate::raster::Raster;
use crate::reporter::Reporter;
use crate::segmentation::data::{Data, check_axes};
use crate::segmentation::ensemble::Trainings;
use crate::segmentation::metrics::{Scores, between, by_class, counts, table};
use crate::segmentation::pairs::{PairRead, check_headers, pairs};
use crate::segmentation::prediction::{Inference, Prediction};
use crate::segmentation::spacing::GivenSpacing;
use crate::segmentation::tiled_inference::Tiles;
use crate::segmentation::trained::{EpochArg, Trained};
use crate::segmentation::validation::Split;
use crate::train::report::images;
use instances::InstanceTable;

/// What messages call the images of a training.
pub const TRAINED_ON: &str = "the images that the network was trained on";

/// Arguments of `burn-skip eval`.
#[derive(Args)]
pub struct EvalArgs {
    /// Folder that `burn-skip train` wrote, or a .bpk file in it; of several, each with --model, the probabilities are
    /// averaged
    #[arg(long, value_name = "DIR|FILE", required = true)]
    model: Vec<PathBuf>,

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

    /// Compare instances too: average precision and panoptic quality, with the split and without. The masks number the
    /// objects; of a network of several classes, those in instances/NAME beside masks/NAME do
    #[arg(long)]
    instances: bool,

    #[command(flatten)]
    options: InstanceArgs,

    /// Where to compute; it need not be where the model was trained
    #[arg(long, value_enum, default_value = "flex", value_name = "NAME")]
    device: DeviceName,

    #[command(flatten)]
    spacing: GivenSpacing,

    #[command(flatten)]
    tiles: Tiles,

    #[command(flatten)]
    limit: ImageLimits,

    #[command(flatten)]
    reporter: Reporter,
}

/// Computes the metrics of every image, and of all of them together.
///
/// # Errors
/// When a file is missing, malformed or does not fit the others.
pub fn run(args: &EvalArgs) -> Result<()> {
    let trainings = Trainings::find(&args.model, args.epoch)?;
    match trainings.first()?.options.axes {
        3 => run_on::<5>(args, &trainings),
        _ => run_on::<4>(args, &trainings),
    }
}

fn run_on<const R: usize>(args: &EvalArgs, trainings: &Trainings) -> Result<()> {
    let Trained { task, options, .. } = trainings.first()?;
    let with = args
        .options
        .options(task.classes, args.instances, "--instances")?;
    if let Some(model) = args.model.first() {
        args.limit.memory.default_to(model);
    }
    let device = args.device.open()?;
    let ensemble = trainings.load::<R>(&device)?;
    trainings.tell(args.reporter)?;
    let inference = Inference {
        tiles: &args.tiles,
        device: &device,
        threshold: with.threshold,
        with_probabilities: args.instances,
        bar: args.reporter.shows_progress(),
    };
    let mut all = counts(task.classes, task.ignored);
    let mut all_instances = args
        .instances
        .then(|| InstanceTable::new(with, task.ignored));
    let data = args.data.as_deref();
    let data = data.or(options.data.as_deref().filter(|_| args.valid));
    let mut pairs = pairs("--data", data)?;
    let mut of_columns = false;
    if args.valid {
        trainings.check_validation()?;
        (pairs, of_columns) = match options.validation.split(pairs)? {
            Split::Columns(pairs) => (pairs, true),
            Split::Images { valid, .. } => (valid, false),
        };
    }
    check_headers(&pairs)?;
    let mut remarked = HashSet::new();
    for pair in &pairs {
        let PairRead {
            mut sample,
            mut grid,
            conversion,
            ..
        } = pair.read(task, &args.limit)?;
        check_axes(&sample.image, &pair.image, options.axes, TRAINED_ON)?;
        let spacing = args.spacing.fill(&mut grid, options.axes)?;
        // (Each once, and not with each image.)
        for remark in conversion.map(String::from).into_iter().chain(spacing) {
            if remarked.insert(remark.clone()) {
                args.reporter
                    .line(&format!("{}: {remark}", pair.image.display()))?;
            }
        }
        let mut normalized = trainings.normalized(sample.image.try_clone()?)?;
        let objects = args
            .instances
            .then(|| instances::objects(pair, task, &sample, &args.limit));
        let objects = objects.transpose()?;
        if of_columns {
            let whole = sample.image.columns_count();
            (_, sample) = Data::split(&sample, &pair.image)?;
            let start = whole - sample.image.columns_count();
            let cut = |image: Raster| image.columns(start, whole);
            normalized = normalized.into_iter().map(cut).collect::<Result<_, _>>()?;
        }
        let inputs = trainings.resampled(normalized, (&grid, &pair.image), &args.limit)?;
        let Prediction {
            mask: mut predicted,
            probabilities,
        } = ensemble.predict(&inputs, &inference)?;
        with.cleaning.mask(&mut predicted)?;
        let nothing = counts(task.classes, task.ignored);
        let overlap = between(&predicted, &sample.mask, sample.context, nothing)?;
        let mut table = None;
        if let (Some(all), Some(objects), Some(map)) = (&mut all_instances, objects, probabilities)
        {
            let spacing = grid.full_spacing();
            table = Some(all.add(&sample, &map, spacing, &objects)?);
        }
        let of = Evaluated {
            name: pair.image.display().to_string(),
            json: json!({ "image": pair.image }),
            scores: Scores::of(&overlap),
            instances: table,
        };
        of.tell(args.reporter)?;
        all.merge(&overlap);
    }
    let all = Evaluated {
        name: format!("{} together", images(pairs.len())),
        json: json!({ "images": pairs.len(), "weights": trainings.used() }),
        scores: Scores::of(&all),
        instances: all_instances,
    };
    let classes = table(
        &options.class_names,
        &all.scores.class_iou,
        &all.scores.class_dice,
    );
    all.tell(args.reporter)?;
    classes.iter().try_for_each(|line| args.reporter.line(line))
}

/// The scores of an image or of several.
struct Evaluated {
    name: String,
    /// What they are of, for programs.
    json: Value,
    scores: Scores,
    instances: Option<InstanceTable>,
}

impl Evaluated {
    fn tell(self, reporter: Reporter) -> Result<()> {
        let Scores {
            iou,
            dice,
            class_iou,
            class_dice,
        } = &self.scores;
        let (name, classes) = (self.name, by_class(class_iou));
        reporter.line(&format!("{name}: IoU {iou:.3}, Dice {dice:.3}{classes}"))?;
        let mut of = self.json;
        of["iou"] = json!(iou);
        of["dice"] = json!(dice);
        if !class_iou.is_empty() {
            of["class_iou"] = json!(class_iou);
            of["class_dice"] = json!(class_dice);
        }
        if let Some(instances) = &self.instances {
            for line in instances.lines() {
                reporter.line(&line)?;
            }
            of["instances"] = instances.json();
        }
        reporter.object(&of)
    }
}
