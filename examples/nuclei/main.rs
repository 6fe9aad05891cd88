//! Finds cell nuclei: trains a U-Net on an image and its mask, and draws what it predicts.
//!
//! ```text
//! cargo run --release --example nuclei -- train
//! cargo run --release --example nuclei -- predict --model target/nuclei --image cells.png --out found.png
//! ```
//!
//! The files, in the order to read them: `model.rs` (network, loss, steps), `train.rs` (the
//! training), `data.rs` and `crops.rs` (what it sees), `metrics.rs` (IoU and Dice); the rest is
//! the reading, showing and writing around it.

mod batch;
mod checkpoints;
mod crops;
mod curves;
mod data;
#[path = "../support/device.rs"]
mod device;
mod files;
mod find;
mod font;
mod history;
mod metrics;
mod model;
mod options;
mod picture;
mod plane;
mod predict;
mod progress;
mod report;
mod train;
mod weights;
#[path = "../support/whole_file.rs"]
mod whole_file;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What goes wrong is said in one sentence; nobody takes it apart.
pub type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

#[derive(Parser)]
#[command(
    about = "Finds cell nuclei with a U-Net",
    arg_required_else_help = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Train a U-Net to tell nuclei from background
    Train(options::TrainArgs),
    /// Draw the nuclei that a trained U-Net finds in an image
    Predict(predict::PredictArgs),
}

fn main() -> ExitCode {
    // SAFETY: no other thread runs yet.
    unsafe { device::default_to_flex() };

    let outcome = match Cli::parse().command {
        Command::Train(args) => train::run(args),
        Command::Predict(args) => predict::run(args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
