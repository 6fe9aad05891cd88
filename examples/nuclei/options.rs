//! The options of `nuclei train`: what was given, else what a resumed training had, else a default.

use std::fmt::Debug;
use std::path::{Path, PathBuf};

use burn::config::{Config, config_to_json};
use burn_skip::down::DownConfig;
use burn_skip::net::{EncoderConfig, PlainEncoderConfig, UnetConfig};
use burn_skip::up::UpConfig;
use clap::Args;

use crate::device::DeviceName;
use crate::{Result, data, files};

/// Arguments of `nuclei train`.
#[derive(Args)]
pub struct TrainArgs {
    /// Where to compute
    #[arg(long, value_enum, default_value = "flex", value_name = "NAME")]
    pub device: DeviceName,

    /// Folder with image.png and labels.png, or with images/NAME.png and masks/NAME.png (the same
    /// names). Images and masks are PNG files, grey or RGB, 8 or 16 bits; a mask is 0 on
    /// background. The last quarter of every image's columns is for validation.
    /// [default: the image that comes with this program]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,

    /// Where the model, the pictures and the checkpoints go
    #[arg(long, default_value = "target/nuclei", value_name = "DIR")]
    pub out: PathBuf,

    /// Passes of --steps steps; each ends with a validation and a checkpoint [default: 6]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub epochs: Option<usize>,

    /// Training steps an epoch [default: 50]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub steps: Option<usize>,

    /// Crops a step [default: 8]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub batch: Option<usize>,

    /// Height and width of a crop [default: 96]
    #[arg(long, value_name = "PIXELS", value_parser = positive)]
    pub crop: Option<usize>,

    /// Picks the first weights and the crops [default: 1]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// Channels of the U-Net's levels, finest first [default: 16,32,64]
    #[arg(long, value_name = "N,N,..", value_delimiter = ',', value_parser = positive)]
    pub widths: Option<Vec<usize>>,

    /// A whole UnetConfig as JSON, instead of --widths (see config.json of a training)
    #[arg(long, value_name = "FILE", conflicts_with = "widths")]
    pub config: Option<PathBuf>,

    /// Go on after the last checkpoint in --out, with the options saved there. More --epochs may
    /// be asked for, and another --device; the rest stays as it was
    #[arg(long)]
    pub resume: bool,
}

/// What decides a training's outcome, saved as `training.json`.
#[derive(Config, Debug)]
pub struct Options {
    pub data: PathBuf,
    pub epochs: usize,
    pub steps: usize,
    pub batch: usize,
    pub crop: usize,
    pub seed: u64,
}

impl Options {
    /// Whether the reference in PyTorch was trained for as long on the same data.
    pub fn is_reference(&self) -> bool {
        self.data == Path::new(data::BUNDLED)
            && (self.epochs * self.steps, self.batch, self.crop) == (300, 8, 96)
    }

    /// Sees that the finest maps of a step fit into memory.
    ///
    /// # Errors
    /// When they hold more values than a slip of the finger explains.
    pub fn check_size(&self, network: &UnetConfig) -> Result<()> {
        const MOST: usize = 1 << 30; // 4 GB
        let crop = self.crop.saturating_mul(self.crop);
        let widest = network
            .encoder
            .feature_channels()
            .first()
            .copied()
            .unwrap_or(0);
        let values = self.batch.saturating_mul(crop).saturating_mul(widest);
        if values <= MOST {
            return Ok(());
        }
        Err(format!(
            "a step of {} crops of {} x {} at {widest} channels needs maps of {values} values, and \
             {MOST} are the most that this program takes. Use a smaller --batch, --crop or --widths.",
            self.batch, self.crop, self.crop
        )
        .into())
    }

    /// Sees that a saved file was not edited into nonsense.
    fn check_counts(&self, file: &Path) -> Result<()> {
        let counts = [
            ("epochs", self.epochs),
            ("steps", self.steps),
            ("batch", self.batch),
            ("crop", self.crop),
        ];
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

impl TrainArgs {
    /// The options and the network.
    ///
    /// # Errors
    /// When a file is missing or malformed, or contradicts the training that is to be resumed.
    pub fn resolve(&self) -> Result<(Options, UnetConfig)> {
        if self.resume {
            return self.resolve_resumed();
        }
        let options = Options {
            data: self.data()?.unwrap_or_else(|| data::BUNDLED.into()),
            epochs: self.epochs.unwrap_or(6),
            steps: self.steps.unwrap_or(50),
            batch: self.batch.unwrap_or(8),
            crop: self.crop.unwrap_or(96),
            seed: self.seed.unwrap_or(1),
        };
        let network = self.network()?;
        let network = network.unwrap_or_else(|| unet(vec![16, 32, 64]));
        Ok((options, network))
    }

    /// Takes everything from the saved training but the number of epochs, and lets nothing else be
    /// asked for.
    fn resolve_resumed(&self) -> Result<(Options, UnetConfig)> {
        let file = self.out.join("training.json");
        if !file.is_file() {
            return Err(format!(
                "--resume: {} holds no training: {} is missing. Start one without --resume, or \
                 name its folder with --out.",
                self.out.display(),
                file.display()
            )
            .into());
        }
        let mut options: Options = files::load(&file)?;
        options.check_counts(&file)?;
        unchanged("--data", self.data()?.as_ref(), &options.data)?;
        unchanged("--steps", self.steps.as_ref(), &options.steps)?;
        unchanged("--batch", self.batch.as_ref(), &options.batch)?;
        unchanged("--crop", self.crop.as_ref(), &options.crop)?;
        unchanged("--seed", self.seed.as_ref(), &options.seed)?;
        options.epochs = self.epochs.unwrap_or(options.epochs);

        let network = load_network(&self.out.join("config.json"))?;
        if let Some(asked) = self.network()? {
            let widths = |network: &UnetConfig| network.encoder.feature_channels();
            unchanged("--widths", Some(&widths(&asked)), &widths(&network))?;
            if config_to_json(&asked) != config_to_json(&network) {
                return Err(format!(
                    "--resume: the network's options differ from those in {}. Leave out --config \
                     and --widths to go on as before, or start anew without --resume.",
                    self.out.join("config.json").display()
                )
                .into());
            }
        }
        Ok((options, network))
    }

    /// The data folder that was asked for, as a resumed training will find it from anywhere.
    fn data(&self) -> Result<Option<PathBuf>> {
        Ok(self.data.as_ref().map(std::path::absolute).transpose()?)
    }

    /// The network that was asked for.
    fn network(&self) -> Result<Option<UnetConfig>> {
        if let Some(path) = &self.config {
            return Ok(Some(load_network(path)?));
        }
        let widths = self.widths.clone();
        Ok(widths.map(unet))
    }
}

/// A U-Net that shrinks by a blur and enlarges bilinearly, so that edges stay where they are. On this
/// data it finds a little more than one with max pools and nearest upsampling.
fn unet(widths: Vec<usize>) -> UnetConfig {
    let encoder = PlainEncoderConfig::new(1, widths.clone()).with_down(DownConfig::blur());
    UnetConfig::new(1, 1, widths)
        .with_encoder(EncoderConfig::Plain(encoder))
        .with_up(UpConfig::linear())
}

fn unchanged<T: PartialEq + Debug>(what: &str, asked: Option<&T>, saved: &T) -> Result<()> {
    match asked {
        Some(asked) if asked != saved => Err(format!(
            "--resume: {what} differs from the saved training: asked for {asked:?}, saved is \
             {saved:?}. Leave it out to go on as before, or start anew without --resume."
        )
        .into()),
        _ => Ok(()),
    }
}

/// Reads a network's config, and sees that it is one for this task.
///
/// # Errors
/// When the file is missing or malformed, or the network is not one from grey to one channel.
pub fn load_network(path: &Path) -> Result<UnetConfig> {
    let network: UnetConfig = files::load(path)?;
    let valid = network.validate::<4>();
    valid.map_err(|e| format!("{}: {e}", path.display()))?;
    if (network.encoder.in_channels(), network.out_channels) != (1, 1) {
        return Err(format!(
            "{}: this program needs in_channels 1 (grey) and out_channels 1 (foreground), not {} \
             and {}",
            path.display(),
            network.encoder.in_channels(),
            network.out_channels
        )
        .into());
    }
    Ok(network)
}
