//! `nuclei predict`: a trained network, one image, and a picture of what it found.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use burn_skip::net::Unet;
use clap::Args;

use crate::data::Sample;
use crate::device::DeviceName;
use crate::find::Tiles;
use crate::metrics::Overlap;
use crate::model::{build, check_size};
use crate::options::load_network;
use crate::picture::Picture;
use crate::plane::Plane;
use crate::report::say;
use crate::{Result, files, weights};

/// Pixels of a side that a picture shows at most: it is looked at by people.
const LARGEST: usize = 4096;

/// Arguments of `nuclei predict`.
#[derive(Args)]
pub struct PredictArgs {
    /// The folder that a training wrote, or the .bpk file in it (config.json lies beside it)
    #[arg(long, value_name = "DIR|FILE")]
    model: PathBuf,

    /// The image to look at: a PNG of any size
    #[arg(long, value_name = "FILE")]
    image: PathBuf,

    /// The picture to write: a PNG; of an image of more than 4096 pixels a side, every so many-th
    #[arg(long, value_name = "FILE")]
    out: PathBuf,

    /// Write what was found, too: a PNG of the image's size, white where there is something
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
    let (image, truth) = match &args.labels {
        Some(labels) => {
            let sample = Sample::read(&args.image, labels)?;
            (sample.image, Some(sample.mask))
        }
        None => (Plane::read_image(&args.image)?, None),
    };
    let device = args.device.open()?;
    let unet = load(&args.model, &image, &device)?;
    let found = args.tiles.find(&unet, &image, &device)?;

    if let Some(mask) = &args.mask {
        files::write(mask, &found.png()?)?;
    }
    let step = image.width.max(image.height).div_ceil(LARGEST);
    let shown_truth = truth.as_ref().map(|truth| truth.every(step));
    let picture = Picture {
        image: &image.every(step),
        truth: shown_truth.as_ref(),
        found: &found.every(step),
    };
    files::write(&args.out, &picture.png()?)?;

    let foreground = found.values.iter().sum::<f32>() / found.values.len() as f32;
    say(&format!(
        "foreground: {:.1} % of the pixels",
        100.0 * foreground
    ))?;
    if let Some(truth) = &truth {
        let overlap = Overlap::between(&found, truth);
        say(&format!(
            "IoU {:.3}, Dice {:.3}",
            overlap.iou(),
            overlap.dice()
        ))?;
    }
    say(&format!("wrote {}", args.out.display()))
}

/// Builds the network that config.json describes, and gives it the weights of the .bpk file.
fn load(model: &Path, image: &Plane, device: &Device) -> Result<Unet<4>> {
    let file = if model.is_dir() {
        model.join("model.bpk")
    } else {
        model.to_path_buf()
    };
    if !file.is_file() {
        return Err(format!(
            "--model: there is no file {}. Name a folder that `nuclei train` wrote.",
            file.display()
        )
        .into());
    }
    let network = load_network(&file.with_file_name("config.json"))?;
    check_size(&network, image.height, image.width)?;
    weights::load(build(&network, device)?, &file)
}
