//! `burn-skip plan-data`: a network and the options of its training for a folder of images, and why.

mod fingerprint;
mod numbers;
mod planned_sizes;
mod proposal;
mod reasons;
mod topology;

use std::path::PathBuf;

use burn_skip::augment::AugmentConfig;
use clap::Args;
use serde_json::json;

use crate::Result;
use crate::files::limits::ImageLimits;
use crate::files::{atomic, bytes, distinct};
use crate::plan::short;
use crate::raster::{Fit, Intensities, Values};
use crate::reporter::Reporter;
use crate::segmentation::loss::default_loss;
use crate::segmentation::pairs::{Pair, pairs};
use crate::segmentation::spacing::SpacingChoice;
use crate::segmentation::validation::Validation;
use crate::train::augmentation;
use crate::train::loss_memory::LossMemory;
use crate::train::options::{Options, count};
use fingerprint::Fingerprint;
use numbers::{check_classes, classes};
use proposal::{Asked, Proposal};

/// Fewer images are split by their columns for validation, and not into parts.
const IMAGES_OF_FOLDS: usize = 5;

/// The limit of the norm of all gradients: the first steps of a deep network are large otherwise.
const CLIP_NORM: f64 = 1.0;

/// Epochs of 50 steps. To tell ten classes of digits from each other took a thousand steps, foreground from background 300.
fn epochs(classes: usize) -> usize {
    match classes {
        1 => Options::default().epochs,
        _ => 20,
    }
}

/// Values below this are those of computed tomography: air has -1000.
const TOMOGRAPHY: f32 = -200.0;

/// Arguments of `burn-skip plan-data`.
#[derive(Args)]
pub struct PlanDataArgs {
    /// Folder of images and masks, as for `burn-skip train`
    #[arg(value_name = "DIR")]
    data: PathBuf,

    /// Folder for net.json and train.json
    #[arg(long, default_value = ".", value_name = "DIR")]
    out: PathBuf,

    /// Memory of a training step, in GiB: crops and batch are as large as it allows
    #[arg(long, default_value = "8", value_name = "GIB", value_parser = bytes::of_gib)]
    memory: u64,

    /// Channels of the finest level of the network; each level below has twice as many, up to 512, of volumes 320
    #[arg(long, default_value_t = 32, value_name = "N", value_parser = count)]
    width: usize,

    /// Outputs of the network: 1 for foreground or not, else the number of classes [default: from the numbers in the masks]
    #[arg(long, value_name = "N", value_parser = count)]
    classes: Option<usize>,

    /// Spacing that the images are resampled to, as for `burn-skip train`: distances in the order of the axes, such as 3,1,1
    /// (depth,height,width), or 1 for all; median; keep, as they are. auto: median for volumes whose files tell a spacing,
    /// else keep
    #[arg(long, default_value = "auto", value_name = "auto|keep|median|Z,Y,X", value_parser = SpacingChoice::parse)]
    spacing: SpacingChoice,

    /// How crops are transformed, as for `burn-skip train`: none for letters, digits and whatever else must not be
    /// mirrored [default: flips of foreground alone, none of several classes]
    #[arg(long, value_name = "none|flips|standard|FILE.json", value_parser = augmentation::parse)]
    augment: Option<AugmentConfig>,

    /// Replace net.json and train.json
    #[arg(long)]
    overwrite: bool,

    #[command(flatten)]
    limit: ImageLimits,

    #[command(flatten)]
    reporter: Reporter,
}

/// Looks at the data, and writes what is proposed for them.
///
/// # Errors
/// When a file is missing, damaged or does not fit the others, or nothing fits the memory.
pub fn run(args: &PlanDataArgs) -> Result<()> {
    let pairs = pairs("plan-data", Some(&args.data))?;
    let [net_file, train_file] = ["net.json", "train.json"].map(|name| args.out.join(name));
    args.check_files(&pairs, &[&net_file, &train_file])?;
    args.limit.memory.default_to(&args.out);
    let found = Fingerprint::read(&pairs, args.classes, &args.limit)?;
    let validation = match found.images.len() {
        0..IMAGES_OF_FOLDS => Validation::Columns,
        _ => Validation::Fold {
            fold: 1,
            folds: 5,
            seed: 0,
        },
    };
    let target = found.target_spacing(&args.spacing)?;
    let resampled =
        |found: &Fingerprint| found.resampled(&args.spacing, target.as_ref(), args.limit.size);
    let planned = resampled(&found)?;
    let longest = match validation {
        Validation::Columns => resampled(&found.without_validation_columns())?.smallest(),
        _ => planned.smallest(),
    };
    let channels = found.images[0].channels;
    let classes = match args.classes {
        Some(classes) => classes,
        None => classes(&found)?,
    };
    check_classes(&found, classes)?;
    let ignored = found.ignored(args.classes);
    let loss = default_loss(classes, ignored);
    let asked = Asked {
        memory: args.memory,
        channels,
        classes,
        ignored,
        loss: match found.axes() {
            3 => LossMemory::measured::<5>(&loss, classes),
            _ => LossMemory::measured::<4>(&loss, classes),
        },
        width: args.width,
        longest,
    };
    let proposal = Proposal::new(&planned, &asked)?;
    let intensities = intensities(&found);
    let augment = args
        .augment
        .clone()
        .unwrap_or_else(|| augmentation::usual(asked.classes));
    let mut options = json!({
        "augment": augment,
        "epochs": epochs(asked.classes),
        "intensities": intensities,
        "clip_norm": CLIP_NORM,
        "crop": proposal.crop,
        "batch": proposal.batch,
        "validation": validation,
        // (What was planned for, also where another fold has another median.)
        "spacing": match &target {
            Some(target) => SpacingChoice::To(target.per_axis.clone()),
            None => SpacingChoice::Keep,
        },
    });
    if ignored.is_some() {
        options["loss"] = json!(loss);
    }
    // (What is written must be read again.)
    serde_json::from_value::<Options>(options.clone())?;
    std::fs::create_dir_all(&args.out)
        .map_err(|e| format!("cannot make the folder {}: {e}", args.out.display()))?;
    let net = short(&proposal.net)?;
    for (file, content) in [(&net_file, &net), (&train_file, &options)] {
        atomic::write(file, format!("{content:#}\n").as_bytes())?;
    }
    let spacing = reasons::SpacingReason {
        choice: &args.spacing,
        target: target.as_ref(),
    };
    let reasons = reasons::of((&found, &planned), &spacing, &asked, &proposal);
    let chosen = [
        reasons::of_intensities(&intensities),
        reasons::of_validation(&validation),
        reasons::of_augment(args.augment.is_some(), asked.classes),
        reasons::of_epochs(epochs(asked.classes), asked.classes),
    ];
    for line in reasons.iter().chain(&chosen) {
        args.reporter.line(line)?;
    }
    args.reporter.line(&format!(
        "wrote {} and {}. Train with: burn-skip train {0} --options {1} --data {}",
        net_file.display(),
        train_file.display(),
        args.data.display()
    ))?;
    args.reporter.object(&json!({
        "data": found, "net": net, "train": options, "bytes": proposal.bytes,
    }))
}

impl PlanDataArgs {
    fn check_files(&self, pairs: &[Pair], written: &[&PathBuf]) -> Result<()> {
        let outputs = written.iter().map(|file| ("--out", file.as_path()));
        distinct::check(pairs.iter().flat_map(Pair::files), outputs)?;
        match written.iter().find(|file| file.exists()) {
            Some(file) if !self.overwrite => Err(format!(
                "{} is there already. Pass --overwrite to replace it, or another --out.",
                file.display()
            )
            .into()),
            _ => Ok(()),
        }
    }
}

/// nnU-Net's choice: computed tomography has the same units in all images, other devices have not.
fn intensities(found: &Fingerprint) -> Intensities {
    let [low, _] = found.range();
    match low < TOMOGRAPHY {
        true => Intensities::Percentiles {
            low: 0.5,
            high: 99.5,
            fit: Fit::Training,
        },
        false => Intensities::ZScore {
            of: Values::All,
            fit: Fit::Image,
        },
    }
}
