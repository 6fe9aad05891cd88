//! `--augment` and `--show-augmentation`: how crops are transformed.

use std::path::Path;

use burn_skip::augment::AugmentConfig;
use serde_json::{Value, json};

use super::TrainArgs;
use super::args::Start;
use super::crops::Crops;
use crate::Result;
use crate::drawing::augmentation::{Example, Examples};
use crate::files::{atomic, ending, json};
use crate::raster::Raster;
use crate::segmentation::data::Data;

/// The ready sets, by their names.
fn ready_sets() -> [(&'static str, AugmentConfig); 3] {
    [
        ("none", AugmentConfig::none()),
        ("flips", AugmentConfig::flips()),
        ("standard", AugmentConfig::standard()),
    ]
}

/// The transforms where none were asked for: of foreground alone crops are mirrored and turned by quarters; with several
/// classes they are not, since these may differ by no more than that, as the left kidney from the right, or 6 from 9.
pub fn usual(classes: usize) -> AugmentConfig {
    match classes {
        1 => AugmentConfig::flips(),
        _ => AugmentConfig::none(),
    }
}

/// Transforms on the command line: the name of a ready set, JSON, or a file of it.
///
/// # Errors
/// When it is neither, or an option is out of its range.
pub fn parse(text: &str) -> Result<AugmentConfig, String> {
    if let Some((_, config)) = ready_sets().into_iter().find(|(name, _)| *name == text) {
        return Ok(config);
    }
    let path = Path::new(text);
    let config: AugmentConfig = match text.trim_start().starts_with('[') {
        true => serde_json::from_str(text).map_err(|e| e.to_string())?,
        false if !path.exists() => {
            return Err("it is none of none, flips, standard, and there is no such file".into());
        }
        false => json::read(path)?,
    };
    config.check().map_err(|e| e.to_string())?;
    Ok(config)
}

/// The name of a ready set in JSON, or the list itself.
pub fn described(config: &Value) -> String {
    let mut ready = ready_sets().into_iter();
    let named =
        ready.find(|(_, ready)| serde_json::to_value(ready).is_ok_and(|ready| ready == *config));
    named.map_or_else(|| config.to_string(), |(name, _)| name.into())
}

/// The crops of the picture, and how often each is transformed.
const CROPS: usize = 4;
const TRANSFORMED: usize = 5;

/// Draws the first crops of a training, as they are and transformed.
///
/// # Errors
/// When the picture cannot be written.
pub fn show(args: &TrainArgs, picture: &Path, start: &Start, data: &Data) -> Result<()> {
    ending::check("--show-augmentation", picture, "png")?;
    let options = &start.options;
    let crops = Crops::new(
        data.train.clone(),
        options.crop()?,
        options.transforms(start.model.out_channels),
        options.seed,
    );
    let mut rows = Vec::new();
    for n in 0..CROPS as u64 {
        let samples = crops.examples(n, TRANSFORMED)?;
        // (Of a volume, the slice in the middle.)
        let slice = |raster: &Raster| raster.slice(raster.middle(), 1);
        let original = slice(&samples[0].image);
        let row = samples.iter().map(|sample| Example {
            image: slice(&sample.image).for_display_beside(&original),
            mask: slice(&sample.mask),
        });
        rows.push(row.collect());
    }
    let examples = Examples {
        rows,
        classes: start.model.out_channels,
        ignored: options.ignored(start.model.out_channels)?,
    };
    atomic::write(picture, &examples.png()?)?;
    let shown = picture.display();
    args.reporter.line(&format!(
        "wrote {shown}: {CROPS} crops, each as it is and transformed in {TRANSFORMED} ways"
    ))?;
    args.reporter.object(&json!({ "augmentation": picture }))
}
