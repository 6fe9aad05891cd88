//! Weights of torchvision, segmentation_models.pytorch or MONAI in a network of this crate.
//!
//! ```text
//! cargo run --release --example load_pretrained -- resnet50.pth --image cat.png
//! ```
//!
//! It says which architecture the file holds, loads it, classifies or segments an image, and draws
//! what it found. `--save` writes the weights back under the source's names, for PyTorch to load.

#[path = "../support/device.rs"]
mod device;

mod network;
mod photo;
mod picture;
mod told;
#[path = "../support/whole_file.rs"]
mod whole_file;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use burn_skip::weights::{Architecture, WeightsFile};
use clap::Parser;
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use network::{Logits, Network};
use photo::Photo;
use told::Kind;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Loads PyTorch weights, and classifies or segments an image with them
#[derive(Parser)]
struct Args {
    /// A state dict: .pth, .pt or .safetensors
    file: PathBuf,
    /// The image: PNG or JPEG
    #[arg(long, default_value = "examples/data/nuclei/image.png")]
    image: PathBuf,
    /// The pixels of the image's shorter side, to resize it to first
    #[arg(long)]
    resize: Option<usize>,
    /// The picture to write: the image, and what the network sees in it
    #[arg(long, default_value = "seen.png")]
    out: PathBuf,
    /// The architecture, if it shall not be found from the file
    #[arg(long)]
    architecture: Option<Kind>,
    /// The names of the classes, one a line
    #[arg(long)]
    classes: Option<PathBuf>,
    /// Lists every tensor: its name in the file, and its path in the network
    #[arg(long)]
    list: bool,
    /// Writes the logits to a safetensors file
    #[arg(long)]
    logits: Option<PathBuf>,
    /// Writes the weights back to a safetensors file, under the names of the source
    #[arg(long)]
    save: Option<PathBuf>,
    /// The backend that computes
    #[arg(long, default_value = "flex")]
    device: device::DeviceName,
}

impl Args {
    /// Sees that no file is written over one that is read, or over another that is written.
    fn check_paths(&self) -> Result<()> {
        let absolute = |path: &PathBuf| path.canonicalize().or_else(|_| std::path::absolute(path));
        let read = [Some(&self.file), Some(&self.image), self.classes.as_ref()];
        let mut taken: Vec<PathBuf> = read.into_iter().flatten().flat_map(absolute).collect();
        let written = [
            ("--out", Some(&self.out)),
            ("--logits", self.logits.as_ref()),
            ("--save", self.save.as_ref()),
        ];
        for (option, path) in written.into_iter().filter_map(|(o, p)| Some((o, p?))) {
            let path = absolute(path)?;
            if taken.contains(&path) {
                return Err(format!(
                    "{option} {}: this file is read, or written by another option. Choose another name.",
                    path.display()
                )
                .into());
            }
            taken.push(path);
        }
        for path in [&self.logits, &self.save].into_iter().flatten() {
            if path
                .extension()
                .is_none_or(|extension| extension != "safetensors")
            {
                return Err(format!(
                    "{}: safetensors files are written; let the name end in .safetensors.",
                    path.display()
                )
                .into());
            }
        }
        Ok(())
    }
}

fn main() -> ExitCode {
    // SAFETY: no other thread runs yet.
    unsafe { device::default_to_flex() };
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    args.check_paths()?;
    let file = WeightsFile::open(&args.file)?;
    let architecture = architecture(&file, args.architecture)?;
    let photo = Photo::read(&args.image)?;
    let photo = match args.resize {
        Some(side) => photo.resized(side)?,
        None => photo,
    };
    let classes = args.classes.as_deref().map(class_names).transpose()?;
    let device = args.device.open()?;

    let mut network = Network::new(&architecture, &file, &device)?;
    let report = network.load(&file, &architecture.names())?;
    println!("{report}");
    println!(
        "assumed, since no file of weights says it: {}",
        architecture.assumed()
    );
    if args.list {
        for (there, here) in &report.loaded {
            println!("  {there} -> {here}");
        }
    }
    let x = photo.tensor(network.in_channels(), &device)?;
    network
        .check(x.dims())
        .map_err(|e| format!("{} does not suit the network: {e}", args.image.display()))?;
    let start = Instant::now();
    let logits = network.logits(x.clone());
    let milliseconds = start.elapsed().as_millis();
    println!(
        "{} x {} pixels in {milliseconds} ms on {:?}",
        photo.width, photo.height, args.device
    );
    let seen = network.seen(logits, x);

    println!("{}", seen.summary(classes.as_deref()));
    whole_file::write(&args.out, &picture::png(&photo, &seen)?)?;
    println!("picture: {}", args.out.display());
    if let Some(path) = &args.logits {
        whole_file::write(path, &as_safetensors(&seen.logits)?)?;
        println!("logits: {}", path.display());
    }
    if let Some(path) = &args.save {
        network.save(path, &architecture.names())?;
        println!("weights: {}", path.display());
    }
    Ok(())
}

/// The architecture that was told, or the one that the file's tensors look like.
fn architecture(file: &WeightsFile, told: Option<Kind>) -> Result<Architecture> {
    let found = Architecture::detect(file);
    let count = file.tensors().count();
    let path = file.path().display();
    match (told, found) {
        (Some(kind), found) => {
            let told = kind.architecture(found.as_ref());
            println!("{path}: {count} tensors; told: {told}");
            Ok(told)
        }
        (None, Some(found)) => {
            println!("{path}: {count} tensors; found: {found}");
            Ok(found)
        }
        (None, None) => Err(format!(
            "{path}: its {count} tensors (such as {}) belong to none of the networks known here: \
             torchvision's ResNet and DenseNet, segmentation_models.pytorch's Unet on ResNet, MONAI's \
             BasicUNet. Tell one with --architecture, or load it in a program of your own with \
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
