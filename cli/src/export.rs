//! `segment export`: a trained network's weights, for PyTorch.

use std::path::PathBuf;

use burn::tensor::Device;
use burn_skip::weights::{Names, save};
use clap::{Args, ValueEnum};
use serde_json::json;

use crate::Result;
use crate::talk::Talk;
use crate::weights::Trained;

/// Arguments of `segment export`.
#[derive(Args)]
pub struct ExportArgs {
    /// The folder that a training wrote, or a .bpk file in it
    #[arg(long, value_name = "DIR|FILE")]
    model: PathBuf,

    /// The file to write, in PyTorch's layouts: FILE.safetensors
    #[arg(long, value_name = "FILE")]
    out: PathBuf,

    /// What the tensors are called
    #[arg(long, value_enum, default_value = "own", value_name = "WHOSE")]
    names: Whose,

    #[command(flatten)]
    talk: Talk,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Whose {
    /// As the fields here: encoder.stem.first.conv.weight
    Own,
    /// As in MONAI's BasicUNet
    Monai,
    /// As in segmentation_models.pytorch's Unet on a ResNet
    Smp,
}

/// Writes the weights.
///
/// # Errors
/// When the network has a tensor that has no such name, or a file is at fault.
pub fn run(args: ExportArgs) -> Result<()> {
    if args.out.extension().is_none_or(|end| end != "safetensors") {
        return Err(format!(
            "--out: {} should end in .safetensors, which is what it will be",
            args.out.display()
        )
        .into());
    }
    let Trained { unet, .. } = Trained::open(&args.model, &Device::flex())?;
    let names = match args.names {
        Whose::Own => Names::own(),
        Whose::Monai => Names::monai_basic_unet(),
        Whose::Smp => Names::smp_unet_resnet(),
    };
    save(&unet, &args.out, &names)?;
    args.talk.say(&format!(
        "wrote {}; in PyTorch: load_state_dict(safetensors.torch.load_file(...))",
        args.out.display()
    ))?;
    args.talk.tell(&json!({ "wrote": args.out }))
}
