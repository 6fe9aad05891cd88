//! What was found in the data and why it leads to the proposal, a line each.

use super::fingerprint::Fingerprint;
use super::numbers::{NoNumbers, Numbers};
use super::proposal::{Asked, Proposal};
use super::{IMAGES_OF_FOLDS, TOMOGRAPHY};
use crate::files::bytes;
use crate::raster::{Intensities, SAVE_NUMBERS, shown_spacing};
use crate::segmentation::lengths::shown;
use crate::segmentation::spacing::{SpacingChoice, TargetSpacing, axis_names};
use crate::segmentation::validation::Validation;
use crate::train::options::Options;

/// Spacings that differ by more than this factor are worth a remark.
const SPREAD: f64 = 1.5;

/// The spacing that is planned for, and what asked for it.
pub struct SpacingReason<'a> {
    pub choice: &'a SpacingChoice,
    pub target: Option<&'a TargetSpacing>,
}

/// All lines about the data, as they are in their files and as they are trained on, and about the network.
pub fn of(
    (found, planned): (&Fingerprint, &Fingerprint),
    spacing: &SpacingReason,
    asked: &Asked,
    proposal: &Proposal,
) -> Vec<String> {
    let mut lines = vec![of_images(found, asked.channels), of_spacing(found, spacing)];
    lines.extend(of_resampling(found, planned, spacing));
    lines.push(of_masks(found, asked));
    lines.extend(asked.ignored.map(|label| of_ignored(found, label)));
    lines.extend(of_levels(proposal));
    lines.extend(of_crop(planned, asked, proposal));
    lines
}

fn of_images(found: &Fingerprint, channels: usize) -> String {
    let median = found.median_size();
    let [low, high] = found.range();
    format!(
        "images: {}, {channels} {}, {} pixels ({}) in the median, {} at least, values {low} to {high}",
        found.images.len(),
        if channels == 1 { "channel" } else { "channels" },
        shown(&median),
        match median.len() {
            3 => "depth x height x width",
            _ => "height x width",
        },
        shown(&found.smallest())
    )
}

fn of_spacing(found: &Fingerprint, spacing: &SpacingReason) -> String {
    let Some(ranges) = found.spacings() else {
        let some = found.images.iter().any(|image| image.spacing.is_some());
        let files = if some {
            "not in all files"
        } else {
            "in no file"
        };
        return format!("spacing: {files}, taken as equal on all axes");
    };
    let unit = found.images.first().map_or("", |first| &first.unit);
    let median = shown_spacing(&found.spacing(), unit);
    let median = format!(
        "spacing: {median} ({}) in the median",
        axis_names(found.axes())
    );
    if !ranges.iter().any(|[least, most]| most / least > SPREAD) {
        return median;
    }
    let [least, most] = [0, 1].map(|end| {
        let ends: Vec<f64> = ranges.iter().map(|range| range[end]).collect();
        shown_spacing(&ends, "")
    });
    let advice = match (spacing.choice, spacing.target) {
        (SpacingChoice::Auto, None) => {
            "; images are trained on as they are: pass --spacing median if these are distances, and not resolutions for \
             printing"
        }
        _ => "",
    };
    format!("{median}, {least} at least and {most} at most{advice}")
}

fn of_resampling(
    found: &Fingerprint,
    planned: &Fingerprint,
    spacing: &SpacingReason,
) -> Option<String> {
    let Some(target) = spacing.target else {
        let is_asked = *spacing.choice == SpacingChoice::Keep;
        return is_asked.then(|| "resampling: none, as asked for".into());
    };
    let pairs = found.images.iter().zip(&planned.images);
    let changed = pairs.filter(|(found, planned)| found.size != planned.size);
    let mut medians = target.per_axis.iter().zip(found.spacing());
    let of = match spacing.choice {
        SpacingChoice::To(_) => "as asked for",
        _ if medians.any(|(to, median)| *to < 0.99 * median) => {
            "the median, but where few slices are far apart, the tenth percentile of their distances, so that the finer \
             volumes keep theirs"
        }
        _ => "the median",
    };
    Some(format!(
        "resampling: to {target}, {of}: {} of {} {} change in size, and the median is {} pixels then; predictions come \
         back in the size of the file",
        changed.count(),
        found.images.len(),
        match found.axes() {
            3 => "volumes",
            _ => "images",
        },
        shown(&planned.median_size())
    ))
}

fn of_ignored(found: &Fingerprint, label: i64) -> String {
    let pixels: u64 = found.labels.values().sum();
    let with = found.labels.get(&(label as u64)).copied().unwrap_or(0);
    format!(
        "ignored: {label}, which {:.1} % of the pixels have: the loss in train.json ignores it, so that they count neither in \
         the loss nor in the scores; pass --classes {} if it is a class, or --classes 1 if every number but 0 is foreground",
        100.0 * with as f64 / pixels.max(1) as f64,
        label + 1
    )
}

fn of_masks(found: &Fingerprint, asked: &Asked) -> String {
    let classes = asked.classes;
    let pixels: u64 = found.labels.values().sum();
    let share = |count: u64| 100.0 * count as f64 / pixels.max(1) as f64;
    if classes > 1 {
        let shares = found.labels.iter();
        let shares = shares.map(|(label, &count)| format!("{label}: {:.1} %", share(count)));
        return format!(
            "masks: {classes} classes, of the pixels {}; pass --classes 1 if the numbers are those of objects",
            shares.collect::<Vec<_>>().join(", ")
        );
    }
    let background = found.labels.get(&0).copied().unwrap_or(0);
    let ignored = asked.ignored.map(|label| label as u64);
    let ignored = ignored.and_then(|label| found.labels.get(&label));
    let foreground = share(pixels - background - ignored.copied().unwrap_or(0));
    let numbers = match (found.numbers(), &found.no_numbers) {
        (_, Some(NoNumbers { why, masks })) => format!(
            "; this is all that is taken of them, since {masks} of {} have no numbers of classes: {why}. {SAVE_NUMBERS}, if \
             they are classes, and pass --classes N",
            found.images.len()
        ),
        (Numbers::Objects, None) => format!(
            "; their {} numbers up to {} are taken for those of objects: pass --classes {} if they are classes",
            found.labels.len(),
            found.largest(),
            found.largest() + 1
        ),
        (Numbers::Foreground | Numbers::Classes(_) | Numbers::Gap, None) => String::new(),
    };
    format!("masks: foreground or not, {foreground:.1} % of the pixels are foreground{numbers}")
}

fn of_levels(proposal: &Proposal) -> [String; 3] {
    let topology = &proposal.topology;
    let levels = |levels: &[Vec<usize>]| {
        let levels: Vec<String> = levels.iter().map(|level| shown(level)).collect();
        levels.join(" ")
    };
    let coarse = match topology.kernels.iter().flatten().any(|&kernel| kernel == 1) {
        true => "; 1 on axes whose pixels are twice as far apart as the others' or more",
        false => "",
    };
    let widths = &proposal.widths;
    [
        format!("levels: {}, of {widths:?} channels", widths.len()),
        format!("kernels: {}{coarse}", levels(&topology.kernels)),
        format!(
            "strides: {}; axes of 8 and more are halved",
            levels(&topology.strides)
        ),
    ]
}

fn of_crop(found: &Fingerprint, asked: &Asked, proposal: &Proposal) -> Vec<String> {
    let (crop, median) = (&proposal.crop, found.median_size());
    let mut lines = vec![format!(
        "crop: {} of {} pixels; batch: {}; a step needs {} of {} (maps, the loss, gradients, weights, what Adam \
         keeps, the next crops, and the threads)",
        shown(crop),
        shown(&median),
        proposal.batch,
        bytes::shown(proposal.bytes),
        bytes::shown(asked.memory)
    )];
    // (One small image among large ones.)
    let axis = (0..crop.len()).find(|&axis| 2 * asked.longest[axis] < median[axis]);
    if let Some(image) = axis.and_then(|axis| found.shortest(axis)) {
        lines.push(format!(
            "a crop is no larger than the smallest image, {} of {}: without it, it could be larger",
            image.file.display(),
            shown(&image.size)
        ));
    }
    lines
}

pub fn of_intensities(intensities: &Intensities) -> String {
    match intensities {
        Intensities::Percentiles { .. } => format!(
            "intensities: by percentiles of all images, since values below {TOMOGRAPHY} are those of computed tomography"
        ),
        _ => {
            "intensities: by mean and deviation of each image, since their units may differ".into()
        }
    }
}

pub fn of_validation(validation: &Validation) -> String {
    match validation {
        Validation::Columns => format!(
            "validation: the last quarter of the columns, since there are fewer than {IMAGES_OF_FOLDS} images"
        ),
        _ => "validation: a fifth of the images".into(),
    }
}

pub fn of_augment(is_asked: bool, classes: usize) -> String {
    match (is_asked, classes) {
        (true, _) => "augmentation: as asked for".into(),
        (false, 1) => "augmentation: crops are mirrored and turned by quarters; pass --augment none for whatever has an up \
                       and a left"
            .into(),
        (false, _) => "augmentation: none, since classes may differ by how they lie, as 6 and 9, or the left from the right \
                       kidney; pass --augment flips or standard where they do not"
            .into(),
    }
}

pub fn of_epochs(epochs: usize, classes: usize) -> String {
    let steps = epochs * Options::default().steps;
    match classes {
        1 => format!(
            "epochs: {epochs}, {steps} steps; nnU-Net makes 250000, so raise them for the last hundredths"
        ),
        _ => format!(
            "epochs: {epochs}, {steps} steps, since it takes longer to tell classes from each other than from the background"
        ),
    }
}
