//! What decides the outcome of a training: `training.json`.

use std::path::{Path, PathBuf};

use burn_skip::PerAxis;
use burn_skip::augment::AugmentConfig;
use burn_skip::loss::{Loss, LossConfig};
use burn_skip::net::{NetConfig, SegmentationConfig};
use serde::{Deserialize, Serialize};

use super::augmentation;
use super::loss_memory::LossMemory;
use super::optimizer::Optimizer;
use super::recipe::{self, Part};
use super::schedule::Schedule;
use super::step_memory::StepOptions;
use crate::Result;
use crate::files::json;
use crate::raster::{Intensities, Scale};
use crate::segmentation::data::Task;
use crate::segmentation::lengths::{self, shape};
use crate::segmentation::loss::default_loss;
use crate::segmentation::spacing::{SpacingChoice, TargetSpacing};
use crate::segmentation::validation::Validation;

/// The options of a training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// The folder of the images; none for the image that is built in.
    pub data: Option<PathBuf>,
    /// How many axes the images have: 2, or 3 of volumes.
    pub axes: usize,
    pub intensities: Intensities,
    /// What was fitted on the images that are trained on; of other intensities nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scales: Vec<Scale>,
    /// To which spacing images are resampled.
    pub spacing: SpacingChoice,
    /// That spacing, fitted when the training began; none where images stay as they are. (So they do in a training of a
    /// version without this option.)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_spacing: Option<TargetSpacing>,
    pub epochs: usize,
    pub steps: usize,
    pub batch: usize,
    /// The size of a crop; none for 96 of an image, 32 of a volume.
    pub crop: Option<PerAxis>,
    pub learning_rate: f64,
    pub optimizer: Optimizer,
    pub schedule: Schedule,
    /// The largest norm of all gradients together.
    pub clip_norm: Option<f64>,
    /// The decay of the moving average of the weights, if there is one.
    pub ema: Option<f64>,
    /// The file of the weights that the training started from; none for random ones.
    pub weights: Option<PathBuf>,
    /// What is not trained.
    pub freeze: Option<Part>,
    /// The factor of the encoder's learning rate.
    pub encoder_rate: Option<f64>,
    /// The share of the crops that are centred on a pixel of the foreground.
    pub foreground: f64,
    pub patience: Option<usize>,
    pub seed: u64,
    pub validation: Validation,
    /// What is minimised; none for cross entropy and Dice.
    pub loss: Option<LossConfig>,
    /// How crops are transformed; none: as [`augmentation::usual`] says.
    pub augment: Option<AugmentConfig>,
    /// The names of the classes, if the data have them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub class_names: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            data: None,
            axes: 2,
            intensities: Intensities::Log,
            scales: Vec::new(),
            spacing: SpacingChoice::Auto,
            target_spacing: None,
            epochs: 6,
            steps: 50,
            batch: 8,
            crop: None,
            learning_rate: 4e-3,
            optimizer: Optimizer::default(),
            schedule: Schedule::default(),
            clip_norm: None,
            ema: None,
            weights: None,
            freeze: None,
            encoder_rate: None,
            foreground: 0.0,
            patience: None,
            seed: 1,
            validation: Validation::default(),
            loss: None,
            augment: None,
            class_names: Vec::new(),
        }
    }
}

impl Options {
    /// The options of a file, for a training that starts. Its paths are those beside it.
    ///
    /// # Errors
    /// When it cannot be read, or a number is out of its range.
    pub fn read(path: &Path) -> Result<Self> {
        let options: Self = json::read(path)?;
        options.check(path)?;
        let path = std::path::absolute(path)?;
        let beside = path.parent().unwrap_or(&path);
        let at = |file: PathBuf| beside.join(file);
        // (The images of the new training decide about the others.)
        let Self {
            axes,
            scales,
            target_spacing,
            class_names,
            ..
        } = Self::default();
        Ok(Self {
            axes,
            scales,
            target_spacing,
            class_names,
            data: options.data.map(at),
            weights: options.weights.map(at),
            validation: match options.validation {
                Validation::Folder { folder } => Validation::Folder { folder: at(folder) },
                Validation::List { file } => Validation::List { file: at(file) },
                other => other,
            },
            ..options
        })
    }

    /// The options of a file for a training that was begun: what it learned of its images stays.
    pub fn of_the_same_training(self, saved: &Self) -> Self {
        Self {
            axes: saved.axes,
            scales: saved.scales.clone(),
            target_spacing: saved.target_spacing.clone(),
            class_names: saved.class_names.clone(),
            augment: self.augment.or_else(|| saved.augment.clone()),
            ..self
        }
    }

    /// Checks a file that may have been edited.
    ///
    /// # Errors
    /// When a number is out of its range.
    pub fn check(&self, file: &Path) -> Result<()> {
        let shown = file.display();
        check_rate(self.learning_rate).map_err(|e| format!("{shown}: learning_rate: {e}"))?;
        if !matches!(self.axes, 2 | 3) {
            return Err(format!("{shown}: axes: {} are not 2 or 3", self.axes).into());
        }
        let intensities = self.intensities.check();
        intensities.map_err(|e| format!("{shown}: intensities: {e}"))?;
        if self.scales.iter().any(|scale| !scale.is_sound()) {
            return Err(format!("{shown}: scales: a range must be above 0").into());
        }
        let spacing = self.spacing.check();
        spacing.map_err(|e| format!("{shown}: spacing: {e}"))?;
        if let Some(target) = &self.target_spacing {
            let target = target.check(self.axes);
            target.map_err(|e| format!("{shown}: target_spacing: {e}"))?;
        }
        let validation = self.validation.check();
        validation.map_err(|e| format!("{shown}: validation: {e}"))?;
        let augment = self.augment.as_ref().map_or(Ok(()), AugmentConfig::check);
        augment.map_err(|e| format!("{shown}: augment: {e}"))?;
        let counts = [
            ("epochs", self.epochs),
            ("steps", self.steps),
            ("batch", self.batch),
            ("patience", self.patience.unwrap_or(1)),
        ];
        let crop = match &self.crop {
            None => Vec::new(),
            Some(PerAxis::All(length)) => vec![*length],
            Some(PerAxis::Each(lengths)) => lengths.clone(),
        };
        let crop = crop.into_iter().map(|length| ("crop", length));
        for (name, count) in counts.into_iter().chain(crop) {
            check_count(count).map_err(|e| format!("{shown}: {name}: {e}"))?;
        }
        recipe::check(self).map_err(|e| format!("{shown}: {e}"))?;
        Ok(())
    }

    /// How many steps the optimizer makes: each is the work of all devices.
    pub fn total_steps(&self, devices: usize) -> usize {
        (self.epochs * self.steps / devices).max(1)
    }

    /// The loss of the training of a network.
    ///
    /// # Errors
    /// When it does not suit the network's outputs and masks of one class a pixel.
    pub fn loss<const R: usize>(&self, net: &SegmentationConfig) -> Result<LossConfig> {
        let classes = net.out_channels;
        let loss = self
            .loss
            .clone()
            .unwrap_or_else(|| default_loss(classes, None));
        let crop = self.crop()?;
        let shape = |channels| shape::<R>(self.batch, channels, &crop);
        loss.check(shape(classes), shape(1))
            .map_err(|e| format!("--loss: {e}"))?;
        Ok(loss)
    }

    /// The label in masks of so many classes that the loss ignores.
    ///
    /// # Errors
    /// When losses ignore different ones, or one that a single class needs.
    pub fn ignored(&self, classes: usize) -> Result<Option<i64>, String> {
        let ignored = self
            .loss
            .as_ref()
            .map_or(Ok(None), LossConfig::ignore_label);
        match ignored.map_err(|e| format!("--loss: {e}"))? {
            Some(label @ 0..=1) if classes == 1 => Err(format!(
                "--loss: ignore_label is {label}, and for a network of out_channels 1 the background is 0, the foreground 1. \
                 Ignore another number of the masks, such as 255."
            )),
            ignored => Ok(ignored),
        }
    }

    /// What a step on one device holds beside its network.
    pub fn step(&self, loss: LossMemory) -> StepOptions {
        StepOptions {
            optimizer: self.optimizer,
            with_average: self.ema.is_some(),
            crops_ahead: true,
            devices: 1,
            loss,
            frozen_encoder: self.freeze == Some(Part::Encoder),
            keeps_initial: true,
        }
    }

    /// How crops are transformed, for a network of so many classes.
    pub fn transforms(&self, classes: usize) -> AugmentConfig {
        let usual = || augmentation::usual(classes);
        self.augment.clone().unwrap_or_else(usual)
    }

    /// The size of a crop.
    ///
    /// # Errors
    /// When it has other axes than the images.
    pub fn crop(&self) -> Result<Vec<usize>, String> {
        let default = PerAxis::All(if self.axes == 3 { 32 } else { 96 });
        lengths::of_axes(self.crop.as_ref().unwrap_or(&default), self.axes, "--crop")
    }

    /// The input and the output of the network of a training.
    pub fn task(&self, net: &SegmentationConfig) -> Task {
        Task {
            channels: net.encoder.in_channels(),
            classes: net.out_channels,
            // (A training is refused where there is an error.)
            ignored: self.ignored(net.out_channels).unwrap_or(None),
            intensities: self.intensities.clone(),
            scales: self.scales.clone(),
            target_spacing: self.target_spacing.clone(),
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

/// A learning rate, or a factor of one.
pub fn check_rate(rate: f64) -> Result<f64, String> {
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
    // (Of two axes or of three, the images decide.)
    net.validate::<4>()
        .or_else(|error| net.validate::<5>().map_err(|_| error))
        .map_err(|e| format!("{shown}: {e}"))?;
    if net.classification_head.is_some() {
        return Err(format!(
            "{shown}: there is a classification_head, and masks tell no class of an image. Leave it out"
        )
        .into());
    }
    Ok(net)
}

/// Checks that the options of a network suit images of so many axes.
///
/// # Errors
/// When they do not.
pub fn check_axes(net: &SegmentationConfig, axes: usize, path: &Path) -> Result<()> {
    let valid = match axes {
        3 => net.validate::<5>(),
        _ => net.validate::<4>(),
    };
    Ok(valid.map_err(|e| format!("{}: {e}", path.display()))?)
}
