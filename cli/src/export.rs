//! `burn-skip export`: the weights of a trained network, for PyTorch.

use std::path::PathBuf;

use burn::tensor::Device;
use burn_skip::weights::{Names, save};
use clap::{Args, ValueEnum};
use serde_json::json;

use crate::Result;
use crate::files::{distinct, ending};
use crate::reporter::Reporter;
use crate::segmentation::trained::Trained;

/// Arguments of `burn-skip export`.
#[derive(Args)]
pub struct ExportArgs {
    /// Folder that `burn-skip train` wrote, or a .bpk file in it
    #[arg(long, value_name = "DIR|FILE")]
    model: PathBuf,

    /// File to write, in PyTorch's layouts: FILE.safetensors
    #[arg(long, value_name = "FILE")]
    out: PathBuf,

    /// Names of the tensors
    #[arg(long, value_enum, default_value = "own", value_name = "CONVENTION")]
    names: Whose,

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

/// Writes the weights.
///
/// # Errors
/// When the network has a tensor that has no such name, or a file is at fault.
pub fn run(args: &ExportArgs) -> Result<()> {
    ending::check("--out", &args.out, "safetensors")?;
    let trained = Trained::find(&args.model)?;
    distinct::check([trained.file.as_path()], [("--out", args.out.as_path())])?;
    match trained.options.axes {
        3 => write::<5>(args, &trained),
        _ => write::<4>(args, &trained),
    }
}

fn write<const R: usize>(args: &ExportArgs, trained: &Trained) -> Result<()> {
    let net = trained.load::<R>(&Device::flex())?;
    let names = match args.names {
        Whose::Own => Names::own(),
        Whose::Monai => Names::monai_basic_unet(),
        Whose::Smp => Names::smp(&net.config())
            .ok_or("--names smp: segmentation_models.pytorch has no such encoder")?,
    };
    save(&net, &args.out, &names)?;
    let whose = match args.names {
        Whose::Own => " of a module with the same fields",
        Whose::Monai | Whose::Smp => "",
    };
    args.reporter.line(&format!(
        "wrote {}; in PyTorch: load_state_dict(safetensors.torch.load_file(...)){whose}",
        args.out.display()
    ))?;
    args.reporter.object(&json!({ "wrote": args.out }))
}
