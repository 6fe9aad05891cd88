//! Says of every pixel of an image which class it is: trains a network from its file, judges it, uses it, and
//! gives its weights away.
//!
//! ```text
//! cargo run --release --example segment -- train
//! cargo run --release --example segment -- eval --model target/segment
//! cargo run --release --example segment -- predict --model target/segment --image cells.png --out found.png
//! cargo run --release --example segment -- export --model target/segment --out unet.safetensors
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
mod devices;
mod eval;
mod export;
mod find;
mod font;
mod history;
#[path = "../support/json_file.rs"]
mod json_file;
mod metrics;
mod model;
mod options;
mod patience;
mod picture;
mod predict;
mod progress;
mod raster;
mod report;
mod run_folder;
mod talk;
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
    about = "Says of every pixel of an image which class it is, by a network of burn-skip",
    after_help = "Exit codes: 0 done, 1 something is wrong and was said, 2 the command line is wrong.",
    arg_required_else_help = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Train a network to tell the classes apart
    Train(Box<options::TrainArgs>),
    /// Say how well a trained network finds what is known to be there
    Eval(eval::EvalArgs),
    /// Draw what a trained network finds in an image
    Predict(predict::PredictArgs),
    /// Write the weights of a trained network for PyTorch
    Export(export::ExportArgs),
}

fn main() -> ExitCode {
    // SAFETY: no other thread runs yet.
    unsafe { device::default_to_flex() };

    let outcome = match Cli::parse().command {
        Command::Train(args) => train::run(*args),
        Command::Eval(args) => eval::run(args),
        Command::Predict(args) => predict::run(args),
        Command::Export(args) => export::run(args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
