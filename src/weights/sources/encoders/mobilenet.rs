//! MobileNetV2: torchvision's names, which segmentation_models.pytorch has too, and timm's.

use super::EncoderSource;
use super::inverted::{stage_rows, timm_project, timm_rows, widths_and_depths};
use crate::net::{EncoderConfig, InvertedStage, MobileNetV2EncoderConfig};
use crate::weights::WeightsFile;
use crate::weights::sources::{Library, Rows, outputs};

impl EncoderSource for MobileNetV2EncoderConfig {
    fn rows(&self, library: Library) -> Option<Rows> {
        Some(match library {
            Library::Timm => timm_rows(&self.stages, false),
            Library::Torchvision | Library::Smp => torchvision_rows(&self.stages),
        })
    }

    fn head(&self, library: Library) -> Option<&'static str> {
        Some(match library {
            Library::Timm => "classifier",
            Library::Torchvision | Library::Smp => "classifier.1",
        })
    }

    fn unread(&self, shortened: &EncoderConfig) -> Option<Vec<String>> {
        let EncoderConfig::MobileNetV2(config) = shortened else {
            return None;
        };
        let blocks =
            |stages: &[InvertedStage]| -> usize { stages.iter().map(|stage| stage.depth).sum() };
        let (before, after) = (blocks(&self.stages), blocks(&config.stages));
        let name = |index| format!("features.{index}");
        Some((after + 1..=before + 1).map(name).collect())
    }

    fn description(&self) -> String {
        let (widths, _) = widths_and_depths(&self.scaled_stages());
        format!("MobileNetV2 of widths {widths:?}")
    }

    fn assumed(&self) -> &'static str {
        "ReLU6, batch norm with epsilon 1e-5, the strides of the paper, no dropout before the last layer"
    }

    fn assumed_in_smp(&self) -> Option<&'static str> {
        Some("ReLU6 and the strides of the paper")
    }
}

fn torchvision_rows(stages: &[InvertedStage]) -> Rows {
    let mut rows = Rows::new();
    rows.block("stem", "features.0", ["0", "1"]);
    let mut first = 1;
    for (index, stage) in stages.iter().enumerate() {
        let name = format!("features.{{b+{first}}}.conv");
        stage_rows(&mut rows, index, |rows, path| {
            let conv = |rows: &mut Rows, part: &str, number: usize| {
                let (path, name) = (format!("{path}.{part}"), format!("{name}.{number}"));
                rows.block(&path, &name, ["0", "1"]);
            };
            let expands = usize::from(stage.expands());
            if expands > 0 {
                conv(rows, "expand", 0);
            }
            conv(rows, "depthwise", expands);
            let project = [expands + 1, expands + 2].map(|number| number.to_string());
            let project = project.each_ref().map(String::as_str);
            rows.block(&format!("{path}.project"), &name, project);
        });
        first += stage.depth;
    }
    rows.block("last", &format!("features.{first}"), ["0", "1"]);
    rows
}

/// A MobileNetV2 with the blocks of the paper, of any widths.
pub(super) fn detect(file: &WeightsFile, library: Library) -> Option<EncoderConfig> {
    let prefix = library.prefix();
    let stem = match library {
        Library::Timm => "conv_stem",
        Library::Torchvision | Library::Smp => "features.0.0",
    };
    let &[width, in_channels, _, _] = file.shape(&format!("{prefix}{stem}.weight"))? else {
        return None;
    };
    let mut config = MobileNetV2EncoderConfig::new()
        .with_in_channels(in_channels)
        .with_width(width);
    let mut index = 1;
    for (number, stage) in config.stages.iter_mut().enumerate() {
        let expands = stage.expands();
        let project = if expands { 2 } else { 1 };
        let name = match library {
            Library::Timm => timm_project(number, 0, expands),
            Library::Torchvision | Library::Smp => {
                format!("features.{index}.conv.{project}.weight")
            }
        };
        stage.channels = outputs(file, &format!("{prefix}{name}"))?;
        index += stage.depth;
    }
    let last = match library {
        Library::Timm => "conv_head.weight".into(),
        Library::Torchvision | Library::Smp => format!("features.{index}.0.weight"),
    };
    let last = outputs(file, &format!("{prefix}{last}"))?;
    // (timm's EfficientNet has gates.)
    let has_gates = file.shape("blocks.0.0.se.conv_reduce.weight").is_some();
    let config = config.with_last_channels(last);
    (!has_gates).then_some(EncoderConfig::MobileNetV2(config))
}
