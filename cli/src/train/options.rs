//! What decides the outcome of a training: `training.json`.

use std::path::{Path, PathBuf};

use burn_skip::loss::{Loss, LossConfig};
use burn_skip::net::{NetConfig, SegmentationConfig};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::raster::Intensities;
use crate::segmentation::data::Task;
use crate::segmentation::loss::default_loss;

/// The options of a training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// The folder of the images; none for the image that is built in.
    pub data: Option<PathBuf>,
    pub intensities: Intensities,
    pub epochs: usize,
    pub steps: usize,
    pub batch: usize,
    pub crop: usize,
    pub learning_rate: f64,
    pub patience: Option<usize>,
    pub seed: u64,
    /// What is minimised; none for cross entropy and Dice.
    #[serde(default)]
    pub loss: Option<LossConfig>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            data: None,
            intensities: Intensities::Log,
            epochs: 6,
            steps: 50,
            batch: 8,
            crop: 96,
            learning_rate: 4e-3,
            patience: None,
            seed: 1,
            loss: None,
        }
    }
}

impl Options {
    /// Checks a file that may have been edited.
    ///
    /// # Errors
    /// When a number is out of its range.
    pub fn check(&self, file: &Path) -> Result<()> {
        let shown = file.display();
        check_rate(self.learning_rate).map_err(|e| format!("{shown}: learning_rate: {e}"))?;
        let counts = [
            ("epochs", self.epochs),
            ("steps", self.steps),
            ("batch", self.batch),
            ("crop", self.crop),
            ("patience", self.patience.unwrap_or(1)),
        ];
        for (name, count) in counts {
            check_count(count).map_err(|e| format!("{shown}: {name}: {e}"))?;
        }
        Ok(())
    }

    /// The loss of the training of a network.
    ///
    /// # Errors
    /// When it does not suit the network's outputs and masks of one class a pixel.
    pub fn loss(&self, net: &SegmentationConfig) -> Result<LossConfig> {
        let classes = net.out_channels;
        let loss = self.loss.clone().unwrap_or_else(|| default_loss(classes));
        let shape = |channels| [self.batch, channels, self.crop, self.crop];
        loss.check(shape(classes), shape(1))
            .map_err(|e| format!("--loss: {e}"))?;
        Ok(loss)
    }

    /// The input and the output of the network of a training.
    pub fn task(&self, net: &SegmentationConfig) -> Task {
        Task {
            channels: net.encoder.in_channels(),
            classes: net.out_channels,
            intensities: self.intensities,
        }
    }
}

/// Larger counts are typing errors.
const MAX_COUNT: usize = 1_000_000;

fn check_count(count: usize) -> Result<usize, String> {
    match count {
        1..=MAX_COUNT => Ok(count),
        _ => Err(format!("{count} is no whole number from 1 to {MAX_COUNT}")),
    }
}

fn check_rate(rate: f64) -> Result<f64, String> {
    // (Burn's schedules take no more than 1.)
    match rate > 0.0 && rate <= 1.0 {
        true => Ok(rate),
        false => Err(format!("{rate} is no number above 0 and up to 1")),
    }
}

/// A count on the command line.
pub fn count(text: &str) -> Result<usize, String> {
    let count = text.trim().parse::<usize>();
    let count = count.map_err(|_| format!("it must be a whole number from 1 to {MAX_COUNT}"));
    count.and_then(check_count)
}

/// A learning rate on the command line.
pub fn rate(text: &str) -> Result<f64, String> {
    let rate = text.trim().parse::<f64>();
    let rate = rate.map_err(|_| "it must be a number above 0 and up to 1".to_string());
    rate.and_then(check_rate)
}

/// The network of a file, if it is one that classifies every pixel of an image.
///
/// # Errors
/// When it is not, or its options contradict each other.
pub fn for_images(net: &NetConfig, path: &Path) -> Result<SegmentationConfig> {
    let shown = path.display();
    let Some(net) = net.segmentation() else {
        return Err(format!(
            "{shown} is a Classifier, which has one output for a whole image; to segment, use a Unet"
        )
        .into());
    };
    net.validate::<4>().map_err(|e| format!("{shown}: {e}"))?;
    if net.classification_head.is_some() {
        return Err(format!(
            "{shown}: there is a classification_head, and masks tell no class of an image. Leave it out"
        )
        .into());
    }
    match net.encoder.in_channels() {
        1 | 3 => Ok(net),
        other => Err(format!(
            "{shown}: in_channels are {other}; this program reads images of 1 channel (grey) or 3 (colours)"
        )
        .into()),
    }
}
