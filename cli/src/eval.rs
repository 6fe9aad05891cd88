//! `segment eval`: how well a trained network finds what is known to be there.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::Result;
use crate::data::{self, Data, Sample, pairs};
use crate::device::DeviceName;
use crate::find::Tiles;
use crate::metrics::Overlap;
use crate::report::images;
use crate::talk::Talk;
use crate::weights::Trained;

/// Arguments of `segment eval`.
#[derive(Args)]
pub struct EvalArgs {
    /// The folder that a training wrote, or a .bpk file in it
    #[arg(long, value_name = "DIR|FILE")]
    model: PathBuf,

    /// Images and masks as `segment train` takes them [default: the image that comes with this program]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// Judge only the last quarter of every image's columns, which `segment train` does not train on
    #[arg(long)]
    valid: bool,

    /// Where to compute; it need not be where the model was trained
    #[arg(long, value_enum, default_value = "flex", value_name = "NAME")]
    device: DeviceName,

    #[command(flatten)]
    tiles: Tiles,

    #[command(flatten)]
    talk: Talk,
}

/// Judges every image, and all of them together.
///
/// # Errors
/// When a file is missing, malformed or does not fit the others.
pub fn run(args: EvalArgs) -> Result<()> {
    let device = args.device.open()?;
    let Trained { unet, task } = Trained::open(&args.model, &device)?;
    let folder = args.data.unwrap_or_else(|| data::BUNDLED.into());
    let mut all = Overlap::default();
    let pairs = pairs(&folder)?;
    for (image, mask) in &pairs {
        let mut sample = Sample::read(image, mask, task)?;
        if args.valid {
            (_, sample) = Data::split(&sample, image)?;
        }
        let found = args
            .tiles
            .find(&unet, &sample.image, &device, args.talk.is_watched())?;
        let overlap = Overlap::between(
            &sample.judged(&found),
            &sample.judged(&sample.mask),
            task.classes,
        );
        let name = image.display();
        args.talk.say(&format!(
            "{name}: IoU {:.3}, Dice {:.3}",
            overlap.iou(),
            overlap.dice()
        ))?;
        args.talk.tell(&json!({
            "image": image, "iou": overlap.iou(), "dice": overlap.dice(),
        }))?;
        all += &overlap;
    }
    args.talk.say(&format!(
        "{} together: IoU {:.3}, Dice {:.3}",
        images(pairs.len()),
        all.iou(),
        all.dice()
    ))?;
    args.talk.tell(&json!({
        "images": pairs.len(), "iou": all.iou(), "dice": all.dice(),
    }))
}
