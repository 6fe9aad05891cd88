//! `--weights` and `--freeze`: what a training starts from, and what it leaves as it is.

use std::path::Path;

use burn::module::Module;
use burn_skip::net::AnySegmentationModel;
use burn_skip::weights::{Names, Report, WeightsFile};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::segmentation::model::Segmenter;
use crate::segmentation::trained;

/// What is not trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
pub enum Freeze {
    /// The encoder: its weights stay, and its batch norms use the statistics that they have
    Encoder,
}

impl Freeze {
    /// The model without the gradients of that part.
    pub fn apply<const R: usize>(self, mut model: Segmenter<R>) -> Segmenter<R> {
        match self {
            Self::Encoder => model.net.encoder = model.net.encoder.freeze(),
        }
        model
    }
}

/// The model with the weights of a file: all of them, if it is of the same network, and else those of its encoder. Also
/// what was loaded, in words.
///
/// # Errors
/// When the file cannot be read, or is of another encoder.
pub fn with_weights<const R: usize>(
    mut model: Segmenter<R>,
    path: &Path,
) -> Result<(Segmenter<R>, String)> {
    let shown = path.display();
    if !path.is_file() {
        return Err(format!("--weights: there is no file {shown}").into());
    }
    if path.extension().is_some_and(|ending| ending == "bpk") {
        let model = trained::load(model, path).map_err(|e| format!("--weights: {e}"))?;
        return Ok((model, format!("starting from all weights of {shown}")));
    }
    let file = WeightsFile::open(path).map_err(|e| format!("--weights: {e}"))?;
    if let Some(report) = whole(&mut model.net, &file) {
        let values = report.values;
        return Ok((
            model,
            format!("starting from all {values} weights of {shown}"),
        ));
    }
    let report = model.net.load_encoder(&file).map_err(|error| {
        // (The first of what does not fit says enough.)
        let text = error.to_string();
        let lines: Vec<&str> = text.lines().take(2).map(str::trim).collect();
        format!(
            "--weights: {}. Give the file of this network, or of any network with this encoder.",
            lines.join(" ")
        )
    })?;
    let adapted = match &report.adapted {
        Some(adapted) => {
            let [file, own] = adapted.channels;
            format!("; its first convolution, for {file} channels, was adapted to {own}")
        }
        None => String::new(),
    };
    let text = format!(
        "starting from the {} weights of the encoder in {shown}{adapted}; decoder and head start anew",
        report.values
    );
    Ok((model, text))
}

/// Loads the whole network, if the file is one of it. Else it stays as it was.
fn whole<const R: usize>(net: &mut AnySegmentationModel<R>, file: &WeightsFile) -> Option<Report> {
    let tables = [Some(Names::own()), Names::smp(&net.config())];
    tables
        .into_iter()
        .flatten()
        .find_map(|names| file.load_into(net, &names).ok())
}
