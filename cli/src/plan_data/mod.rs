//! `burn-skip plan-data`: a network and the options of its training for a folder of images, and why.

mod fingerprint;
mod proposal;
mod topology;

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::Result;
use crate::files::limits::ImageLimit;
use crate::files::{atomic, distinct};
use crate::plan::short;
use crate::raster::{Fit, Intensities, Values};
use crate::reporter::Reporter;
use crate::segmentation::lengths;
use crate::segmentation::pairs::{Pair, pairs};
use crate::segmentation::validation::Validation;
use crate::train::options::{Options, count};
use fingerprint::Fingerprint;
use proposal::{Asked, Proposal, shown_bytes};

/// Fewer images are split by their columns for validation, and not into parts.
const IMAGES_OF_FOLDS: usize = 5;

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
    #[arg(long, default_value_t = 8.0, value_name = "GIB", value_parser = gibibytes)]
    memory: f64,

    /// Channels of the finest level of the network; each level below has twice as many, up to 512, of volumes 320
    #[arg(long, default_value_t = 32, value_name = "N", value_parser = count)]
    width: usize,

    /// Outputs of the network: 1 for foreground or not, else the number of classes [default: from the numbers in the masks]
    #[arg(long, value_name = "N", value_parser = count)]
    classes: Option<usize>,

    /// Replace net.json and train.json
    #[arg(long)]
    overwrite: bool,

    #[command(flatten)]
    limit: ImageLimit,

    #[command(flatten)]
    reporter: Reporter,
}

fn gibibytes(text: &str) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(size) if size > 0.0 && size <= 1e6 => Ok(size),
        _ => Err("it must be a number of GiB above 0, such as 8 or 0.5".into()),
    }
}

/// Looks at the data, and writes what is proposed for them.
///
/// # Errors
/// When a file is missing, damaged or does not fit the others, or nothing fits the memory.
pub fn run(args: &PlanDataArgs) -> Result<()> {
    let pairs = pairs("plan-data", Some(&args.data))?;
    let [net_file, train_file] = ["net.json", "train.json"].map(|name| args.out.join(name));
    args.check_files(&pairs, &[&net_file, &train_file])?;
    let found = Fingerprint::read(&pairs, args.limit)?;
    let validation = match found.images.len() {
        0..IMAGES_OF_FOLDS => Validation::Columns,
        _ => Validation::Fold {
            fold: 1,
            folds: 5,
            seed: 0,
        },
    };
    let mut longest = found.smallest();
    if let (Validation::Columns, Some(columns)) = (&validation, longest.last_mut()) {
        *columns -= *columns / 4;
    }
    let channels = found.images[0].channels;
    let asked = Asked {
        memory: (args.memory * f64::from(1 << 30)) as u64,
        channels,
        classes: args.classes.unwrap_or_else(|| found.classes()),
        width: args.width,
        longest,
    };
    let proposal = Proposal::new(&found, &asked)?;
    let options = json!({
        "intensities": intensities(&found),
        "crop": proposal.crop,
        "batch": proposal.batch,
        "validation": validation,
    });
    // (What is written must be read again.)
    serde_json::from_value::<Options>(options.clone())?;
    std::fs::create_dir_all(&args.out)
        .map_err(|e| format!("cannot make the folder {}: {e}", args.out.display()))?;
    let net = short(&proposal.net)?;
    for (file, content) in [(&net_file, &net), (&train_file, &options)] {
        atomic::write(file, format!("{content:#}\n").as_bytes())?;
    }
    for line in reasons(&found, &asked, &proposal, &validation) {
        args.reporter.line(&line)?;
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

fn reasons(
    found: &Fingerprint,
    asked: &Asked,
    proposal: &Proposal,
    validation: &Validation,
) -> Vec<String> {
    let spacing = found.spacing();
    let topology = &proposal.topology;
    let median = found.median_size();
    let [low, high] = found.range();
    let numbers: Vec<String> = spacing
        .iter()
        .map(|spacing| format!("{spacing:.3}"))
        .collect();
    let pixels: u64 = found.labels.values().sum();
    let share = |count: u64| 100.0 * count as f64 / pixels.max(1) as f64;
    let labels = match asked.classes {
        1 => {
            let background = found.labels.get(&0).copied().unwrap_or(0);
            let foreground = share(pixels - background);
            format!("masks: foreground or not, {foreground:.1} % of the pixels are foreground")
        }
        classes => {
            let parts = found
                .labels
                .iter()
                .map(|(label, &count)| format!("{label}: {:.1} %", share(count)));
            format!(
                "masks: {classes} classes, of the pixels {}",
                parts.collect::<Vec<_>>().join(", ")
            )
        }
    };
    let levels = |levels: &[Vec<usize>]| {
        let levels: Vec<String> = levels.iter().map(|level| lengths::shown(level)).collect();
        levels.join(" ")
    };
    let kernels = match topology.kernels.iter().flatten().any(|&kernel| kernel == 1) {
        true => "; 1 on axes whose pixels are twice as far apart as the others' or more",
        false => "",
    };
    let normalised = match intensities(found) {
        Intensities::Percentiles { .. } => {
            "by percentiles of all images, since values below -200 are those of computed tomography"
        }
        _ => "by mean and deviation of each image, since their units may differ",
    };
    let judged = match validation {
        Validation::Columns => format!(
            "the last quarter of the columns, since there are fewer than {IMAGES_OF_FOLDS} images"
        ),
        _ => "a fifth of the images".to_string(),
    };
    vec![
        format!(
            "images: {}, {} {}, {} pixels ({}) in the median, {} at least, values {low} to {high}",
            found.images.len(),
            asked.channels,
            if asked.channels == 1 {
                "channel"
            } else {
                "channels"
            },
            lengths::shown(&median),
            if median.len() == 3 {
                "depth x height x width"
            } else {
                "height x width"
            },
            lengths::shown(&found.smallest())
        ),
        match found.images[0].spacing {
            Some(_) => format!("spacing: {} in the median", numbers.join(" x ")),
            None => "spacing: not in the files, taken as equal on all axes".into(),
        },
        labels,
        format!("intensities: {normalised}"),
        format!("validation: {judged}"),
        format!(
            "levels: {}, of {:?} channels",
            proposal.widths.len(),
            proposal.widths
        ),
        format!("kernels: {}{kernels}", levels(&topology.kernels)),
        format!(
            "strides: {}, until an axis has fewer than 8",
            levels(&topology.strides)
        ),
        format!(
            "crop: {} of {} pixels; batch: {}; a step needs {} of {} (maps, weights, and what Adam keeps)",
            lengths::shown(&proposal.crop),
            lengths::shown(&median),
            proposal.batch,
            shown_bytes(proposal.bytes),
            shown_bytes(asked.memory)
        ),
    ]
}
