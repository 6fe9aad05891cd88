//! The options of `segment train`: what was given, else what a resumed training had, else a default.

use std::fmt::Debug;
use std::path::{Path, PathBuf};

use burn_skip::net::{NetConfig, UnetConfig};
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::data::Task;
use crate::devices::Devices;
use crate::history::History;
use crate::raster::Intensities;
use crate::run_folder::RunFolder;
use crate::talk::Talk;
use crate::{Result, data, json_file};

/// The network that comes with this program: a U-Net that shrinks by a blur and enlarges bilinearly, so that
/// edges stay where they are. On the data that comes with it, it finds a little more than one with max pools
/// and nearest upsampling.
const BUNDLED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/segment/net.json");

/// Arguments of `segment train`.
#[derive(Args)]
pub struct TrainArgs {
    /// The network in JSON, as `plan --template unet` writes it: a Unet whose in_channels are 1 (grey) or 3
    /// (colours) and whose out_channels are 1 (foreground or not) or the number of classes
    /// [default: the network that comes with this program]
    #[arg(value_name = "NET.json")]
    net: Option<PathBuf>,

    #[command(flatten)]
    pub devices: Devices,

    /// Folder with image.png and labels.png, or with images/NAME.png and masks/NAME.png (the same
    /// names). Images and masks are PNG files of 8 or 16 bits. For one class, a mask is 0 on
    /// background; for several, each pixel is the number of its class. The last quarter of every image's
    /// columns is for validation. [default: the image that comes with this program]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// What the images show [default: log]
    #[arg(long, value_enum, value_name = "WHAT")]
    intensities: Option<Intensities>,

    /// Where the model, the pictures and the checkpoints go
    #[arg(long, default_value = "target/segment", value_name = "DIR")]
    pub out: PathBuf,

    /// Passes of --steps steps; each ends with a validation and a checkpoint [default: 6]
    #[arg(long, value_name = "N", value_parser = positive)]
    epochs: Option<usize>,

    /// Training steps an epoch [default: 50]
    #[arg(long, value_name = "N", value_parser = positive)]
    steps: Option<usize>,

    /// Crops a step [default: 8]
    #[arg(long, value_name = "N", value_parser = positive)]
    batch: Option<usize>,

    /// Height and width of a crop [default: 96]
    #[arg(long, value_name = "PIXELS", value_parser = positive)]
    crop: Option<usize>,

    /// Of Adam, at the start; it falls to 0 along a cosine [default: 0.004]
    #[arg(long, value_name = "RATE", value_parser = rate)]
    learning_rate: Option<f64>,

    /// Stop when the validation IoU has not grown for so many epochs
    #[arg(long, value_name = "EPOCHS", value_parser = positive)]
    patience: Option<usize>,

    /// Picks the first weights and the crops [default: 1]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// Go on after the last checkpoint in --out, with the network and the options saved there; start, if there
    /// is no training in it yet. More --epochs may be asked for, and other devices; the rest stays as it was
    #[arg(long)]
    pub resume: bool,

    /// Replace a training that is in --out
    #[arg(long, conflicts_with = "resume")]
    pub overwrite: bool,

    /// Say what would be done, and do nothing: the devices need not be there
    #[arg(long)]
    pub dry_run: bool,

    /// On a terminal, show a bar and a line an epoch instead of Burn's dashboard
    #[arg(long)]
    pub plain: bool,

    #[command(flatten)]
    pub talk: Talk,
}

/// What decides a training's outcome, saved as `training.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    pub data: PathBuf,
    pub intensities: Intensities,
    pub epochs: usize,
    pub steps: usize,
    pub batch: usize,
    pub crop: usize,
    pub learning_rate: f64,
    pub patience: Option<usize>,
    pub seed: u64,
}

impl Options {
    /// Sees that a saved file was not edited into nonsense.
    ///
    /// # Errors
    /// When a count is out of range.
    pub fn check(&self, file: &Path) -> Result<()> {
        let counts = [
            ("epochs", self.epochs),
            ("steps", self.steps),
            ("batch", self.batch),
            ("crop", self.crop),
            ("patience", self.patience.unwrap_or(1)),
        ];
        if rate(&self.learning_rate.to_string()).is_err() {
            return Err(format!(
                "{}: learning_rate is {}; it must be a number above 0, and no more than 1",
                file.display(),
                self.learning_rate
            )
            .into());
        }
        match counts
            .iter()
            .find(|(_, count)| !(1..=MOST_COUNTED).contains(count))
        {
            None => Ok(()),
            Some((name, count)) => Err(format!(
                "{}: {name} is {count}; it must be a whole number from 1 to {MOST_COUNTED}",
                file.display()
            )
            .into()),
        }
    }

    /// Whether the reference in PyTorch was trained for as long on the same data, with such a network.
    pub fn is_reference(&self, net: &UnetConfig) -> bool {
        let bundled = json_file::read(Path::new(BUNDLED)).and_then(|bundled: NetConfig| {
            let nets = [
                serde_json::to_value(bundled),
                serde_json::to_value(NetConfig::Unet(net.clone())),
            ];
            let [bundled, net] = nets.map(|net| net.map_err(|e| e.to_string()));
            Ok(bundled? == net?)
        });
        bundled == Ok(true)
            && self.data == Path::new(data::BUNDLED)
            && self.intensities == Intensities::Log
            && (self.epochs * self.steps, self.batch, self.crop) == (300, 8, 96)
    }

    /// What the network of these options sees and says.
    pub fn task(&self, net: &UnetConfig) -> Task {
        Task {
            channels: net.encoder.in_channels(),
            classes: net.out_channels,
            intensities: self.intensities,
        }
    }
}

const MOST_COUNTED: usize = 1_000_000;

/// A count; larger ones are slips of the finger.
fn positive(text: &str) -> Result<usize, String> {
    match text.trim().parse() {
        Ok(number @ 1..=MOST_COUNTED) => Ok(number),
        _ => Err(format!(
            "it must be a whole number from 1 to {MOST_COUNTED}"
        )),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.trim().parse() {
        // (Burn's schedules take no more than 1.)
        Ok(rate) if rate > 0.0 && rate <= 1.0 => Ok(rate),
        _ => Err("it must be a number above 0, and no more than 1".into()),
    }
}

/// What a training starts from.
pub struct Start {
    pub options: Options,
    pub net: UnetConfig,
    /// The epochs of the training that is resumed, if there was one.
    pub history: Option<History>,
}

impl TrainArgs {
    /// The options and the network.
    ///
    /// # Errors
    /// When a file is missing or malformed, or contradicts the training that is to be resumed.
    pub fn resolve(&self) -> Result<Start> {
        let folder = RunFolder::new(&self.out);
        if self.resume && folder.options().is_file() {
            return self.resolve_resumed(&folder);
        }
        let options = Options {
            data: self.data()?.unwrap_or_else(|| data::BUNDLED.into()),
            intensities: self.intensities.unwrap_or(Intensities::Log),
            epochs: self.epochs.unwrap_or(6),
            steps: self.steps.unwrap_or(50),
            batch: self.batch.unwrap_or(8),
            crop: self.crop.unwrap_or(96),
            learning_rate: self.learning_rate.unwrap_or(4e-3),
            patience: self.patience,
            seed: self.seed.unwrap_or(1),
        };
        let path = self.net.clone().unwrap_or_else(|| BUNDLED.into());
        Ok(Start {
            options,
            net: for_images(json_file::read(&path)?, &path)?,
            history: None,
        })
    }

    /// Takes everything from the saved training but the number of epochs, and lets nothing else be
    /// asked for.
    fn resolve_resumed(&self, folder: &RunFolder) -> Result<Start> {
        let told = |e| format!("--resume: {e}. Start anew with --overwrite.");
        let (net, mut options) = folder.read().map_err(told)?;
        let history = json_file::read(&folder.history()).map_err(|e| told(e.into()))?;
        unchanged("--data", self.data()?.as_ref(), &options.data)?;
        unchanged(
            "--intensities",
            self.intensities.as_ref(),
            &options.intensities,
        )?;
        unchanged("--steps", self.steps.as_ref(), &options.steps)?;
        unchanged("--batch", self.batch.as_ref(), &options.batch)?;
        unchanged("--crop", self.crop.as_ref(), &options.crop)?;
        unchanged(
            "--learning-rate",
            self.learning_rate.as_ref(),
            &options.learning_rate,
        )?;
        if self.patience.is_some() {
            unchanged("--patience", Some(&self.patience), &options.patience)?;
        }
        unchanged("--seed", self.seed.as_ref(), &options.seed)?;
        options.epochs = self.epochs.unwrap_or(options.epochs);

        if let Some(path) = &self.net {
            let asked: NetConfig = json_file::read(path)?;
            if serde_json::to_value(&asked)? != serde_json::to_value(&net)? {
                return Err(format!(
                    "--resume: the network in {} differs from the one in {}. Leave it out to go on as before, \
                     or start anew with --overwrite.",
                    path.display(),
                    folder.net().display()
                )
                .into());
            }
        }
        Ok(Start {
            options,
            net: for_images(net, &folder.net())?,
            history: Some(history),
        })
    }

    /// The data folder that was asked for, as a resumed training will find it from anywhere.
    fn data(&self) -> Result<Option<PathBuf>> {
        Ok(self.data.as_ref().map(std::path::absolute).transpose()?)
    }
}

fn unchanged<T: PartialEq + Debug>(what: &str, asked: Option<&T>, saved: &T) -> Result<()> {
    match asked {
        Some(asked) if asked != saved => Err(format!(
            "--resume: {what} differs from the saved training: asked for {asked:?}, saved is \
             {saved:?}. Leave it out to go on as before, or start anew with --overwrite."
        )
        .into()),
        _ => Ok(()),
    }
}

/// The network of a file, if it is one that says of every pixel of an image which class it is.
///
/// # Errors
/// When it is not, or its options contradict each other.
pub fn for_images(net: NetConfig, path: &Path) -> Result<UnetConfig> {
    let shown = path.display();
    let NetConfig::Unet(net) = net else {
        return Err(format!(
            "{shown} is a Classifier, which says one thing of a whole image; to segment, take a Unet"
        )
        .into());
    };
    net.validate::<4>().map_err(|e| format!("{shown}: {e}"))?;
    match net.encoder.in_channels() {
        1 | 3 => Ok(net),
        other => Err(format!(
            "{shown}: in_channels are {other}; this program reads images of 1 channel (grey) or 3 (colours)"
        )
        .into()),
    }
}
