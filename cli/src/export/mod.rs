//! `burn-skip export`: the weights of a trained network for PyTorch, and networks as ONNX models.

mod onnx;

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use burn_skip::net::NetConfig;
use burn_skip::onnx::{OnnxOptions, Sizes};
use burn_skip::weights::{Names, save};
use clap::{ArgGroup, Args, ValueEnum};
use serde_json::json;

use crate::Result;
use crate::files::{atomic, distinct, ending, json};
use crate::plan::{Shape, shape};
use crate::reporter::Reporter;
use crate::segmentation::trained::{EpochArg, Trained};

/// Arguments of `burn-skip export`.
#[derive(Args)]
#[command(group(ArgGroup::new("source").required(true).args(["model", "net"])))]
#[command(group(ArgGroup::new("target").required(true).multiple(true).args(["out", "onnx"])))]
pub struct ExportArgs {
    /// Folder that `burn-skip train` wrote, or a .bpk file in it
    #[arg(long, value_name = "DIR|FILE")]
    model: Option<PathBuf>,

    #[command(flatten)]
    epoch: EpochArg,

    /// File of a network, in JSON, which is exported with the weights that a training starts with
    #[arg(long, value_name = "NET.json", requires_all = ["onnx", "input"], conflicts_with = "out")]
    net: Option<PathBuf>,

    /// File of weights to write, in PyTorch's layouts: FILE.safetensors
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Names of the tensors in the file of weights
    #[arg(
        long,
        value_enum,
        default_value = "own",
        value_name = "CONVENTION",
        requires = "out"
    )]
    names: Whose,

    /// ONNX model to write: FILE.onnx. Its input has the intensities as the training scaled them, its output is logits
    #[arg(long, value_name = "FILE")]
    onnx: Option<PathBuf>,

    /// Shape of an input of the ONNX model, or the smallest one: batch, channels and one to three spatial axes [default:
    /// a crop of the training]
    #[arg(long, value_parser = shape, value_name = "1x3x256x256", requires = "onnx")]
    input: Option<Shape>,

    /// The ONNX model takes inputs of that shape alone, and not of other sizes
    #[arg(long, requires = "onnx")]
    fixed: bool,

    #[command(flatten)]
    reporter: Reporter,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Whose {
    /// Those of the fields in burn-skip: encoder.stem.first.conv.weight
    Own,
    /// Those of MONAI's BasicUNet
    Monai,
    /// Those of segmentation_models.pytorch's network of this encoder and this decoder
    Smp,
}

/// Writes the weights, or the model, or both.
///
/// # Errors
/// When the network has a tensor that has no such name, it refuses the input, or a file is at fault.
pub fn run(args: &ExportArgs) -> Result<()> {
    if let Some(out) = &args.out {
        ending::check("--out", out, "safetensors")?;
    }
    if let Some(onnx) = &args.onnx {
        ending::check("--onnx", onnx, "onnx")?;
    }
    match (&args.model, &args.net) {
        (Some(model), _) => of_training(args, model),
        (None, Some(net)) => of_file(args, net),
        (None, None) => unreachable!("the command line has one of the two"),
    }
}

/// Exports a trained network.
fn of_training(args: &ExportArgs, model: &Path) -> Result<()> {
    let trained = Trained::find(model, args.epoch)?;
    check_files(args, &trained.file)?;
    match trained.options.axes {
        3 => of_trained::<5>(args, &trained),
        _ => of_trained::<4>(args, &trained),
    }
}

fn of_trained<const R: usize>(args: &ExportArgs, trained: &Trained) -> Result<()> {
    let net = trained.load::<R>(&Device::flex())?;
    args.reporter.line(&trained.described())?;
    let config = net.config();
    // (Both are known before the first is written.)
    let names = match args.names {
        Whose::Own => Names::own(),
        Whose::Monai => Names::monai_basic_unet(),
        Whose::Smp => Names::smp(&config)
            .ok_or("--names smp: segmentation_models.pytorch has no such encoder")?,
    };
    let model = args.onnx.as_ref().map(|_| {
        let input = match &args.input {
            Some(Shape(input)) => input.clone(),
            None => [&[1, trained.task.channels][..], &trained.options.crop()?].concat(),
        };
        onnx::of_trained(&net, &input, &options(args))
    });
    let model = model.transpose()?;
    if let Some(out) = &args.out {
        save(&net, out, &names)?;
        let whose = match args.names {
            Whose::Own => " of a module with the same fields",
            Whose::Monai | Whose::Smp => "",
        };
        args.reporter.line(&format!(
            "wrote {}; in PyTorch: load_state_dict(safetensors.torch.load_file(...)){whose}",
            out.display()
        ))?;
    }
    write(args, model)
}

/// Exports the network of a file, with new weights.
fn of_file(args: &ExportArgs, file: &Path) -> Result<()> {
    check_files(args, file)?;
    let net: NetConfig = json::read(file)?;
    let input = args.input.as_ref().map_or(&[][..], |shape| &shape.0);
    let model = onnx::of_config(&net, input, &options(args));
    let model = model.map_err(|e| format!("{}: {e}", file.display()))?;
    write(args, Some(model))
}

fn options(args: &ExportArgs) -> OnnxOptions {
    OnnxOptions::new().with_sizes(match args.fixed {
        true => Sizes::Fixed,
        false => Sizes::Dynamic,
    })
}

/// No file is written over the one that is read, or over the other.
fn check_files(args: &ExportArgs, read: &Path) -> Result<()> {
    let out = args.out.as_deref().map(|file| ("--out", file));
    let onnx = args.onnx.as_deref().map(|file| ("--onnx", file));
    Ok(distinct::check([read], out.into_iter().chain(onnx))?)
}

/// Writes the model, and reports what was written.
fn write(args: &ExportArgs, model: Option<burn_skip::onnx::OnnxModel>) -> Result<()> {
    if let (Some(model), Some(path)) = (model, &args.onnx) {
        let shapes = model.to_string();
        atomic::write(path, &model.into_bytes())?;
        args.reporter
            .line(&format!("wrote {}: {shapes}", path.display()))?;
    }
    let mut object = json!({});
    if let Some(out) = &args.out {
        object["wrote"] = json!(out);
    }
    if let Some(onnx) = &args.onnx {
        object["onnx"] = json!(onnx);
    }
    args.reporter.object(&object)
}
