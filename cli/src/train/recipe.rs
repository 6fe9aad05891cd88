//! The recipe of a training on the command line: what it starts from, what makes its steps, and which crops it sees.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use super::optimizer::OptimizerArgs;
use super::options::{Options, rate};
use super::schedule::ScheduleArgs;
use crate::Result;

/// A part of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
pub enum Part {
    Encoder,
}

/// The recipe of a training.
#[derive(Args, Clone, Debug)]
pub struct RecipeArgs {
    /// Weights to start from: the .pth, .pt or .safetensors of segmentation_models.pytorch's network of this encoder and
    /// decoder, of MONAI's, or of `burn-skip export`. Of a classifier of torchvision or timm, and of a network of another
    /// decoder, the encoder is loaded. A first convolution for other channels is adapted, a head for other classes is not
    /// loaded. Or the folder of a training of the same network, or a .bpk file in it
    #[arg(long, value_name = "FILE|DIR")]
    pub weights: Option<PathBuf>,

    /// What is not trained: its weights stay those of --weights, and its batch norms use their running statistics, which
    /// stay, too
    #[arg(long, value_enum, value_name = "PART", conflicts_with = "encoder_rate")]
    freeze: Option<Part>,

    /// Factor of the encoder's learning rate
    #[arg(long, value_name = "FACTOR", value_parser = rate)]
    encoder_rate: Option<f64>,

    #[command(flatten)]
    optimizer: OptimizerArgs,

    #[command(flatten)]
    schedule: ScheduleArgs,

    /// Limit of the norm of all gradients together, as PyTorch's clip_grad_norm_
    #[arg(long, value_name = "NORM", value_parser = norm)]
    clip_norm: Option<f64>,

    /// Validate and keep the mean of the weights of all steps, of which the one before counts DECAY times as much as the
    /// newest, the one before that DECAY^2 times, and so on: an exponential moving average, such as 0.99
    #[arg(long, value_name = "DECAY", value_parser = decay)]
    ema: Option<f64>,

    /// Share of the crops that are centred on a pixel of the foreground, chosen at random [default: 0]
    #[arg(long, value_name = "FRACTION", value_parser = share)]
    foreground: Option<f64>,
}

impl RecipeArgs {
    /// The options that were asked for, where `before` are those without this recipe.
    ///
    /// # Errors
    /// When they contradict each other.
    pub fn asked(&self, before: Options) -> Result<Options> {
        let weights = self.weights.as_ref().map(std::path::absolute);
        Ok(Options {
            weights: weights.transpose()?.or(before.weights),
            freeze: self.freeze.or(before.freeze),
            encoder_rate: self.encoder_rate.or(before.encoder_rate),
            optimizer: self.optimizer.asked(before.optimizer)?,
            schedule: self.schedule.asked(before.schedule),
            clip_norm: self.clip_norm.or(before.clip_norm),
            ema: self.ema.or(before.ema),
            foreground: self.foreground.unwrap_or(before.foreground),
            ..before
        })
    }
}

/// Checks the numbers of a recipe in a file.
///
/// # Errors
/// When one is out of its range, or options contradict each other.
pub fn check(options: &Options) -> Result<(), String> {
    options
        .optimizer
        .check()
        .map_err(|e| format!("optimizer: {e}"))?;
    let checked = [
        ("clip_norm", options.clip_norm.map(check_norm)),
        ("ema", options.ema.map(check_decay)),
        (
            "encoder_rate",
            options.encoder_rate.map(super::options::check_rate),
        ),
        ("foreground", Some(check_share(options.foreground))),
    ];
    for (name, result) in checked {
        if let Some(Err(error)) = result {
            return Err(format!("{name}: {error}"));
        }
    }
    match (options.freeze, options.encoder_rate, &options.weights) {
        (Some(Part::Encoder), Some(_), _) => {
            Err("freeze: a frozen encoder has no learning rate, and encoder_rate is one".into())
        }
        (Some(Part::Encoder), _, None) => Err(
            "--freeze encoder: the encoder would stay as random as it begins. Start from a file with --weights."
                .into(),
        ),
        _ => Ok(()),
    }
}

fn check_norm(norm: f64) -> Result<f64, String> {
    match norm > 0.0 && norm.is_finite() {
        true => Ok(norm),
        false => Err(format!("{norm} is no number above 0")),
    }
}

fn check_decay(decay: f64) -> Result<f64, String> {
    match decay > 0.0 && decay < 1.0 {
        true => Ok(decay),
        false => Err(format!("{decay} is no number above 0 and below 1")),
    }
}

fn check_share(share: f64) -> Result<f64, String> {
    match (0.0..=1.0).contains(&share) {
        true => Ok(share),
        false => Err(format!("{share} is no number from 0 to 1")),
    }
}

/// A number on the command line, which `check` takes.
fn number(text: &str, check: fn(f64) -> Result<f64, String>) -> Result<f64, String> {
    check(text.trim().parse().map_err(|_| "it is no number")?)
}

fn norm(text: &str) -> Result<f64, String> {
    number(text, check_norm)
}

fn decay(text: &str) -> Result<f64, String> {
    number(text, check_decay)
}

fn share(text: &str) -> Result<f64, String> {
    number(text, check_share)
}
