//! The command line of `burn-skip train`: what was given, else what a resumed training had, else a default.

use std::path::{Path, PathBuf};

use burn_skip::PerAxis;
use burn_skip::augment::AugmentConfig;
use burn_skip::loss::LossConfig;
use burn_skip::net::{NetConfig, SegmentationConfig};
use clap::Args;

use super::augmentation;
use super::history::History;
use super::network_names::NetworkNames;
use super::options::{Options, count, for_images, rate};
use super::recipe::{self, RecipeArgs};
use super::run_folder::RunFolder;
use super::shared_devices::Devices;
use super::unchanged::check_unchanged;
use crate::Result;
use crate::files::json;
use crate::files::limits::ImageLimits;
use crate::raster::Intensities;
use crate::reporter::Reporter;
use crate::segmentation::lengths;
use crate::segmentation::loss;
use crate::segmentation::spacing::SpacingChoice;
use crate::segmentation::validation::Validation;

/// The network that is built in: a U-Net with blur pooling and bilinear upsampling, which keep edges where they
/// are. On the built-in image its IoU is a little higher than that of one with max pooling and nearest upsampling.
const BUILT_IN: &str = include_str!("../../net.json");

/// What messages call a network that is given by the names of its halves.
const NAMES: &str = "--encoder and --decoder";

/// Arguments of `burn-skip train`.
#[derive(Args)]
pub struct TrainArgs {
    /// Network in JSON, as `burn-skip plan --template unet` writes it: a Unet or a Segmentation whose in_channels are those
    /// of the images and whose out_channels are 1 (foreground or not) or the number of classes
    /// [default: a U-Net that is built in]
    #[arg(value_name = "NET.json")]
    pub net: Option<PathBuf>,

    #[command(flatten)]
    names: NetworkNames,

    #[command(flatten)]
    pub devices: Devices,

    /// Folder with an image and a mask called image and labels, or with images/ and masks/, which have files of the same
    /// names. They are PNG, JPEG, TIFF, NIfTI (.nii, .nii.gz) or NPY files, and of as many channels as the network's
    /// in_channels. For one class, every pixel of a mask that is not black is foreground; for several, each pixel is the
    /// number of its class. [default: an image of cell nuclei that is built in]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// What is validated on, and not trained on: columns, the last quarter of every image's columns; folder=DIR, the
    /// images of another folder; fraction=0.2, a part of the images; fold=1/5, one of five parts of them; list=FILE, the
    /// images whose names are in a file, one a line. Parts are chosen by a hash of the names; another seed chooses others:
    /// fraction=0.2,seed=7 [default: columns]
    #[arg(long, value_name = "WHAT", value_parser = Validation::parse)]
    validation: Option<Validation>,

    /// How pixel values are normalised, each channel by itself. Of each image: log for fluorescence, linear for photographs.
    /// By numbers of all images that are trained on, which are kept with the model: z-score, z-score-nonzero,
    /// percentiles=LOW,HIGH. By given ones: window=LOW,HIGH for computed tomography. As they are: none. Or JSON:
    /// '{"ZScore": {"of": "Nonzero", "fit": "Image"}}' [default: log]
    #[arg(long, value_name = "KIND", value_parser = Intensities::parse)]
    intensities: Option<Intensities>,

    /// Spacing that images are resampled to, in the order of the axes, such as 3,1,1 (depth,height,width; in the unit of the
    /// first file), or 1 for all; median, the median of the images that are trained on by nnU-Net's rule; keep, as they
    /// are. auto: median for volumes whose files tell a spacing, else keep. It is kept with the model, and predictions come
    /// back in the size of the file [default: auto]
    #[arg(long, value_name = "auto|keep|median|Z,Y,X", value_parser = SpacingChoice::parse)]
    spacing: Option<SpacingChoice>,

    /// Options of the training in JSON, as `burn-skip plan-data` writes them; the command line comes first. The
    /// training.json of another training is such a file, too
    #[arg(long, value_name = "FILE.json")]
    pub options: Option<PathBuf>,

    /// Folder for the model, the pictures and the checkpoints
    #[arg(long, default_value = "run", value_name = "DIR")]
    pub out: PathBuf,

    /// Epochs; each ends with a validation and a checkpoint [default: 6]
    #[arg(long, value_name = "N", value_parser = count)]
    epochs: Option<usize>,

    /// Training steps per epoch [default: 50]
    #[arg(long, value_name = "N", value_parser = count)]
    steps: Option<usize>,

    /// Crops per step [default: 8]
    #[arg(long, value_name = "N", value_parser = count)]
    batch: Option<usize>,

    /// Sides of a crop: one length, or one for each axis, such as 16x64x64 [default: 96 of an image, 32 of a volume]
    #[arg(long, value_name = "PIXELS", value_parser = lengths::parse)]
    pub crop: Option<PerAxis>,

    /// Learning rate at the start, after the warmup [default: 0.004]
    #[arg(long, value_name = "RATE", value_parser = rate)]
    learning_rate: Option<f64>,

    /// Threads that cut and transform the crops of the next step during this one; they are the same with any number, and
    /// with 0 they are cut between the steps
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=1024))]
    pub workers: u16,

    #[command(flatten)]
    recipe: RecipeArgs,

    /// Stop when the validation IoU has not improved for this many epochs
    #[arg(long, value_name = "EPOCHS", value_parser = count)]
    patience: Option<usize>,

    /// Seed of the initial weights and of the crops [default: 1]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// What is minimised: a loss of the library in JSON, such as '{"Focal": {"mode": "Binary"}}', or a file of it
    /// [default: cross entropy plus Dice of the foreground]
    #[arg(long, value_name = "JSON|FILE", value_parser = loss::parse)]
    loss: Option<LossConfig>,

    /// How crops are transformed at random, with their masks: none; flips, mirrored and turned by quarters, for images
    /// without an up and a down; standard, also rotated, scaled, blurred, with noise and other intensities; or a file of a
    /// list of the library's transforms in JSON, such as '[{"probability": 0.5, "transform": {"Rotate": {}}}]'. Letters,
    /// digits and whatever else must not be mirrored need none or a list without flips [default: flips of foreground alone,
    /// none of several classes]
    #[arg(long, value_name = "none|flips|standard|FILE.json", value_parser = augmentation::parse)]
    augment: Option<AugmentConfig>,

    /// Draw some crops as they are and as they are transformed, with the outlines of their masks, and do not train
    #[arg(long, value_name = "OUT.png", conflicts_with = "dry_run")]
    pub show_augmentation: Option<PathBuf>,

    /// Continue after the last checkpoint in --out, with the network and the options saved there; start a new training
    /// if --out has none. More --epochs and other devices are possible; everything else stays the same. With more
    /// --epochs the learning rate follows the longer schedule from there
    #[arg(long)]
    pub resume: bool,

    /// Replace a training that is in --out
    #[arg(long, conflicts_with = "resume")]
    pub overwrite: bool,

    /// Print what would be done, and do nothing: the devices need not exist
    #[arg(long)]
    pub dry_run: bool,

    #[command(flatten)]
    pub limit: ImageLimits,

    #[command(flatten)]
    pub reporter: Reporter,
}

/// What a training starts from.
pub struct Start {
    pub options: Options,
    /// The network as its file describes it.
    pub net: NetConfig,
    /// The same as an encoder with a decoder.
    pub model: SegmentationConfig,
    /// The epochs of the training that is resumed, if there was one.
    pub history: Option<History>,
}

impl Start {
    /// Whether the reference in PyTorch was trained for as long on the same data, with such a network.
    pub fn is_reference(&self) -> Result<bool> {
        let built_in: NetConfig = serde_json::from_str(BUILT_IN)?;
        // (The reference had another rate, too, and some seed.)
        let asked = &self.options;
        let like_it = Options {
            epochs: asked.epochs,
            steps: asked.steps,
            seed: asked.seed,
            learning_rate: asked.learning_rate,
            patience: asked.patience,
            augment: Some(AugmentConfig::flips()),
            ..Options::default()
        };
        Ok(asked.epochs * asked.steps == 300
            && *asked == like_it
            && serde_json::to_value(built_in)? == serde_json::to_value(&self.net)?)
    }
}

impl TrainArgs {
    /// The options and the network of a new training.
    ///
    /// # Errors
    /// When a file is missing or malformed.
    pub fn fresh(&self) -> Result<Start> {
        let before = match &self.options {
            Some(path) => Options::read(path)?,
            None => Options::default(),
        };
        let mut options = self.applied(before)?;
        recipe::check(&options)?;
        let built_in = Path::new("net.json");
        let (net, path): (NetConfig, &Path) = match &self.net {
            Some(path) => (json::read(path)?, path),
            None => match self.names.network()? {
                Some(net) => (net, Path::new(NAMES)),
                None => (serde_json::from_str(BUILT_IN)?, built_in),
            },
        };
        let model = for_images(&net, path)?;
        options.augment = Some(options.transforms(model.out_channels));
        Ok(Start {
            options,
            model,
            net,
            history: None,
        })
    }

    /// Takes everything from the saved training but the number of epochs, and refuses other options.
    ///
    /// # Errors
    /// When a file of the training is missing or malformed, or an option differs.
    pub fn resumed(&self, folder: &RunFolder) -> Result<Start> {
        let (net, mut saved, history) = folder
            .read_all()
            .map_err(|e| format!("--resume: {e}. Start anew with --overwrite."))?;
        // (A training of a version without this option had flips.)
        saved.augment.get_or_insert_with(AugmentConfig::flips);
        let before = match &self.options {
            Some(path) => Options::read(path)?.of_the_same_training(&saved),
            None => saved.clone(),
        };
        let options = self.applied(before)?;
        check_unchanged(&options, &saved)?;
        self.same_network(&net, folder)?;
        Ok(Start {
            options,
            model: for_images(&net, &folder.net())?,
            net,
            history: Some(history),
        })
    }

    /// The options that are asked for, where `before` are those without the command line.
    fn applied(&self, before: Options) -> Result<Options> {
        let options = Options {
            data: self.data()?.or(before.data),
            intensities: self.intensities.clone().unwrap_or(before.intensities),
            spacing: self.spacing.clone().unwrap_or(before.spacing),
            epochs: self.epochs.unwrap_or(before.epochs),
            steps: self.steps.unwrap_or(before.steps),
            batch: self.batch.unwrap_or(before.batch),
            crop: self.crop.clone().or(before.crop),
            learning_rate: self.learning_rate.unwrap_or(before.learning_rate),
            patience: self.patience.or(before.patience),
            seed: self.seed.unwrap_or(before.seed),
            validation: self.validation.clone().unwrap_or(before.validation),
            loss: self.loss.clone().or(before.loss),
            augment: self.augment.clone().or(before.augment),
            ..before
        };
        self.recipe.asked(options)
    }

    fn same_network(&self, saved: &NetConfig, folder: &RunFolder) -> Result<()> {
        let (asked, path): (NetConfig, &Path) = match (&self.net, self.names.network()?) {
            (Some(path), _) => (json::read(path)?, path),
            (None, Some(net)) => (net, Path::new(NAMES)),
            (None, None) => return Ok(()),
        };
        if serde_json::to_value(&asked)? == serde_json::to_value(saved)? {
            return Ok(());
        }
        Err(format!(
            "--resume: the network of {} differs from the one in {}. Leave it out to continue as before, \
             or start anew with --overwrite.",
            path.display(),
            folder.net().display()
        )
        .into())
    }

    /// The file of weights that is read.
    pub fn weights(&self) -> Option<&Path> {
        self.recipe.weights.as_deref()
    }

    /// The data folder that was asked for, as a resumed training will find it from anywhere.
    fn data(&self) -> Result<Option<PathBuf>> {
        Ok(self.data.as_ref().map(std::path::absolute).transpose()?)
    }
}
