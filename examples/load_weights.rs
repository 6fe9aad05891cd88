//! Loads weights of PyTorch into a network, and segments an image with it.
//!
//! ```text
//! cargo run --example load_weights
//! ```
//!
//! The file is the state dict of a MONAI `BasicUNet` that was trained in PyTorch to segment cell nuclei.

mod support;

use std::error::Error;

use burn_skip::Layer;
use burn_skip::net::{Unet, UnetConfig};
use burn_skip::weights::{Names, WeightsFile};
use support::images::{iou, nuclei};

const WEIGHTS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/examples/data/nuclei/monai_basic_unet.pth"
);

fn main() -> std::process::ExitCode {
    support::main(
        "Loads the weights of a network that was trained in PyTorch, and segments an image with it.",
        &[],
        run,
    )
}

fn run() -> Result<(), Box<dyn Error>> {
    let device = support::device()?;

    // The network as PyTorch has it: BasicUNet(spatial_dims=2, in_channels=1, out_channels=2, features=...).
    let config = UnetConfig::monai_basic(1, 2, [8, 8, 16, 32, 64, 8]);
    let mut net: Unet = config.init(&device);
    let file = WeightsFile::open(WEIGHTS)?;
    // Every tensor must be there, with the same shape, and none may be left: else nothing is loaded.
    let report = file.load_into(&mut net, &Names::monai_basic_unet())?;
    println!("{report}");

    let [image, truth] = nuclei(&device)?;
    // Two logits a pixel: background and foreground.
    let found = net.forward(image / 255.0).argmax(1).float();
    println!("IoU {:.3}", iou(found, truth));
    Ok(())
}
