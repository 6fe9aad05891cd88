//! `burn-skip`: plans, trains, evaluates, applies, exports and converts networks.
//!
//! ```text
//! burn-skip plan --template unet > net.json
//! burn-skip train net.json --data FOLDER --out run
//! burn-skip eval --model run --data FOLDER
//! burn-skip predict --model run --image cells.png --out prediction.png
//! burn-skip export --model run --out unet.safetensors --onnx unet.onnx
//! burn-skip convert resnet50.pth --image cat.png
//! ```
//!
//! One module for each subcommand. What they share: `segmentation` (the network, its data, its metrics),
//! `instances` (the objects of a prediction), `raster` (images as numbers), `drawing`, `files`, `device` and `reporter`.

mod allocator;
mod completions;
mod convert;
mod device;
mod drawing;
mod eval;
mod export;
mod files;
mod instances;
mod plan;
mod plan_data;
mod predict;
mod raster;
mod reporter;
mod segmentation;
mod train;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: allocator::Counting = allocator::Counting;

/// An error is reported as one sentence on stderr.
pub type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

#[derive(Parser)]
#[command(
    name = "burn-skip",
    version,
    about = "Plans, trains, evaluates, applies and converts networks of burn-skip",
    after_help = "Exit codes: 0 success, 1 failure with an error message, 2 invalid command line.",
    arg_required_else_help = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show the shapes, the cost and the memory of a network before it runs
    Plan(plan::PlanArgs),
    /// Look at a folder of images and masks, and propose a network and the options of its training
    PlanData(plan_data::PlanDataArgs),
    /// Train a network to segment images
    Train(Box<train::TrainArgs>),
    /// Measure how well a trained network segments labelled images
    Eval(eval::EvalArgs),
    /// Segment an image with a trained network, and draw the result
    Predict(predict::PredictArgs),
    /// Write a network as an ONNX model, or its weights to a file for PyTorch
    Export(export::ExportArgs),
    /// Load weights of PyTorch, run the network on an image, and optionally save the weights
    Convert(convert::ConvertArgs),
    /// Print a completion script for a shell
    Completions(completions::CompletionsArgs),
}

fn main() -> ExitCode {
    // SAFETY: no other thread runs yet.
    unsafe { device::default_to_flex() };
    files::size_limit::report_as_error();

    let outcome = match Cli::parse().command {
        Command::Plan(args) => plan::run(&args),
        Command::PlanData(args) => plan_data::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Train(args) => train::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Eval(args) => eval::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Predict(args) => predict::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Export(args) => export::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Convert(args) => convert::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Completions(args) => completions::run::<Cli>(args).map(|()| ExitCode::SUCCESS),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}
