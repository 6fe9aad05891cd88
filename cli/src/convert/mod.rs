//! `burn-skip convert`: weights of torchvision, segmentation_models.pytorch or MONAI in a network of burn-skip.
//!
//! It detects which architecture a file holds, loads it, classifies or segments an image, and draws the
//! prediction. `--save` writes the weights back under the source's names, for PyTorch to load.

mod architecture_arg;
mod network;
mod photo;
mod picture;

use std::path::{Path, PathBuf};
use std::time::Instant;

use burn_skip::weights::{Architecture, Report, WeightsFile};
use clap::Args;
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use crate::Result;
use crate::device::DeviceName;
use crate::files::limits::{ImageLimit, WeightsLimit};
use crate::files::{atomic, distinct, ending};
use crate::raster::shown_size;
use crate::reporter::print;
use architecture_arg::ArchitectureArg;
use network::{Logits, Network, Prediction};
use photo::Photo;

/// Arguments of `burn-skip convert`.
#[derive(Args)]
pub struct ConvertArgs {
    /// State dict: .pth, .pt or .safetensors
    file: PathBuf,

    /// Image to run the network on: PNG or JPEG; without one, the weights are only loaded
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,

    /// Resize the image first, so that its shorter side has this many pixels
    #[arg(long, value_name = "PIXELS", requires = "image")]
    resize: Option<usize>,

    /// Picture to write: the image and the prediction, a PNG
    #[arg(long, default_value = "prediction.png", value_name = "FILE")]
    out: PathBuf,

    /// Architecture, instead of the one that the file's tensors suggest
    #[arg(long, value_name = "NAME")]
    architecture: Option<ArchitectureArg>,

    /// Names of the classes, one per line
    #[arg(long, value_name = "FILE", requires = "image")]
    classes: Option<PathBuf>,

    /// List every tensor: its name in the file, and its path in the network
    #[arg(long)]
    list: bool,

    /// Write the logits to a safetensors file
    #[arg(long, value_name = "FILE", requires = "image")]
    logits: Option<PathBuf>,

    /// Write the weights to a safetensors file, under the names of the source
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,

    /// Where to compute
    #[arg(long, value_enum, default_value = "flex", value_name = "NAME")]
    device: DeviceName,

    #[command(flatten)]
    image_limit: ImageLimit,

    #[command(flatten)]
    weights_limit: WeightsLimit,
}

impl ConvertArgs {
    /// Checks that no file is written over one that is read, or over another that is written.
    fn check_files(&self) -> Result<()> {
        let read = [Some(&self.file), self.image.as_ref(), self.classes.as_ref()];
        let read = read.into_iter().flatten().map(PathBuf::as_path);
        let picture = self.image.as_ref().map(|_| &self.out);
        let written = [
            ("--out", picture, "png"),
            ("--logits", self.logits.as_ref(), "safetensors"),
            ("--save", self.save.as_ref(), "safetensors"),
        ];
        let written = written.into_iter();
        let written: Vec<_> = written
            .filter_map(|(option, path, format)| Some((option, path?.as_path(), format)))
            .collect();
        distinct::check(
            read,
            written.iter().map(|&(option, path, _)| (option, path)),
        )?;
        for (option, path, format) in written {
            ending::check(option, path, format)?;
        }
        Ok(())
    }
}

/// Loads the weights, runs the network on the image, and writes what was asked for.
///
/// # Errors
/// When a file is missing, malformed, too large or of an unknown network.
pub fn run(args: &ConvertArgs) -> Result<()> {
    args.check_files()?;
    args.weights_limit.check(&args.file)?;
    let file = WeightsFile::open(&args.file)?;
    let architecture = architecture(&file, args.architecture)?;
    let photo = args.image.as_deref().map(|path| photo(path, args));
    let photo = photo.transpose()?;
    let device = args.device.open()?;

    let mut network = Network::new(&architecture, &file, &device)?;
    let report = network.load(&file, &architecture.names())?;
    print_report(&report, &architecture, args.list)?;
    if let (Some(photo), Some(path)) = (photo, &args.image) {
        let x = photo.tensor(network.in_channels(), &device)?;
        let normalised = Photo::normalisation(network.in_channels());
        print(&format!("assumed of the image: {normalised}"))?;
        network
            .check(x.dims())
            .map_err(|e| format!("{} does not suit the network: {e}", path.display()))?;
        let start = Instant::now();
        let logits = network.logits(x.clone())?;
        let milliseconds = start.elapsed().as_millis();
        print(&format!(
            "{} pixels in {milliseconds} ms on {}",
            shown_size(&[photo.height, photo.width]),
            args.device.name()
        ))?;
        write_prediction(args, &photo, &network.prediction(logits, x)?)?;
    }
    if let Some(path) = &args.save {
        network.save(path, &architecture.names())?;
        print(&format!("weights: {}", path.display()))?;
    }
    Ok(())
}

fn photo(path: &Path, args: &ConvertArgs) -> Result<Photo> {
    let photo = Photo::read(path, args.image_limit)?;
    match args.resize {
        Some(side) => photo.resized(side),
        None => Ok(photo),
    }
}

fn print_report(report: &Report, architecture: &Architecture, list: bool) -> Result<()> {
    print(&report.to_string())?;
    let assumed = architecture.assumed();
    print(&format!(
        "assumed, since no file of weights has it: {assumed}"
    ))?;
    if list {
        for (there, here) in &report.loaded {
            print(&format!("  {there} -> {here}"))?;
        }
    }
    Ok(())
}

fn write_prediction(args: &ConvertArgs, photo: &Photo, prediction: &Prediction) -> Result<()> {
    let classes = args.classes.as_deref().map(class_names).transpose()?;
    print(&prediction.summary(classes.as_deref()))?;
    atomic::write(&args.out, &picture::png(photo, prediction)?)?;
    print(&format!("picture: {}", args.out.display()))?;
    if let Some(path) = &args.logits {
        atomic::write(path, &as_safetensors(&prediction.logits)?)?;
        print(&format!("logits: {}", path.display()))?;
    }
    Ok(())
}

/// The architecture that was named, or the one that the file's tensors suggest.
fn architecture(file: &WeightsFile, named: Option<ArchitectureArg>) -> Result<Architecture> {
    let detected = Architecture::detect(file);
    let count = file.tensors().count();
    let path = file.path().display();
    match (named, detected) {
        (Some(named), detected) => {
            let architecture = named.architecture(detected.as_ref());
            print(&format!("{path}: {count} tensors; as asked: {architecture}"))?;
            Ok(architecture)
        }
        (None, Some(detected)) => {
            print(&format!("{path}: {count} tensors; detected: {detected}"))?;
            Ok(detected)
        }
        (None, None) => Err(format!(
            "{path}: its {count} tensors (such as {}) are of none of the known networks: \
             torchvision's and timm's ResNet, DenseNet, MobileNets, EfficientNet and ConvNeXt, \
             segmentation_models.pytorch's networks on these (but ConvNeXt), VGG and MiT, MONAI's BasicUNet, SegResNet, \
             UNet, DynUNet, AttentionUnet and VNet. Name one with --architecture, or load the file in a program of your own with \
             burn_skip::weights::Names.",
            file.tensors().next().map_or("none", |(name, _)| name)
        )
        .into()),
    }
}

fn class_names(path: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    Ok(text.lines().map(|line| line.trim().to_string()).collect())
}

fn as_safetensors(logits: &Logits) -> Result<Vec<u8>> {
    let bytes: Vec<u8> = logits.values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let view = TensorView::new(Dtype::F32, logits.shape.clone(), &bytes)?;
    Ok(safetensors::serialize([("logits", view)], None)?)
}
