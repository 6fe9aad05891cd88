//! MobileNetV3: torchvision's names, and timm's, which segmentation_models.pytorch has in a wrapper.

use super::EncoderSource;
use super::inverted::{
    ends, stage_rows, timm_block, torchvision_block, torchvision_ends, widths_and_depths,
};
use crate::net::{EncoderConfig, InvertedStage, MobileNetV3EncoderConfig};
use crate::norm::NormConfig;
use crate::weights::WeightsFile;
use crate::weights::sources::{Library, Rows, inputs, outputs};

impl EncoderSource for MobileNetV3EncoderConfig {
    fn prefix(&self, library: Library) -> &'static str {
        library.prefix_of_timm()
    }

    fn rows(&self, library: Library) -> Option<Rows> {
        Some(match library {
            Library::Torchvision => torchvision_rows(&self.stages),
            Library::Timm | Library::Smp => timm_rows(&self.stages),
        })
    }

    fn head(&self, library: Library) -> Option<&'static str> {
        Some(match library {
            Library::Timm => "classifier",
            Library::Torchvision | Library::Smp => "classifier.3",
        })
    }

    fn hidden(&self, library: Library) -> Option<&'static str> {
        Some(match library {
            Library::Timm => "conv_head",
            Library::Torchvision | Library::Smp => "classifier.0",
        })
    }

    fn hidden_rows(&self, library: Library) -> Rows {
        let mut rows = Rows::new();
        if let Some(name) = self.hidden(library) {
            rows.push("linear", name);
        }
        if library == Library::Timm {
            // (A 1x1 convolution of the means.)
            rows.rank("linear.weight", 4);
        }
        rows
    }

    fn unread(&self, shortened: &EncoderConfig) -> Option<Vec<String>> {
        let EncoderConfig::MobileNetV3(config) = shortened else {
            return None;
        };
        let places = timm_places(&self.stages);
        let end = timm_end(&places);
        let first = places.get(config.stages.len());
        let first = first.map_or(end, |&(stage, _)| stage);
        let name = |stage| format!("model.blocks.{stage}");
        Some((first..=end).map(name).collect())
    }

    fn description(&self) -> String {
        let (widths, _) = widths_and_depths(&self.scaled_stages());
        format!("MobileNetV3 of widths {widths:?}")
    }

    fn assumed(&self) -> &'static str {
        match self.norm == Some(NormConfig::batch()) {
            true => {
                "hard-swish, batch norm with epsilon 1e-5, the strides of the paper, no dropout before the last layer"
            }
            false => {
                "hard-swish, batch norm with epsilon 1e-3, the strides of the paper, no dropout before the last layer"
            }
        }
    }

    fn assumed_in_smp(&self) -> Option<&'static str> {
        Some("hard-swish, batch norm with epsilon 1e-5 and the strides of the paper")
    }
}

/// torchvision numbers the blocks one by one.
fn torchvision_rows(stages: &[InvertedStage]) -> Rows {
    let blocks: usize = stages.iter().map(|stage| stage.depth).sum();
    let mut rows = torchvision_ends(blocks + 1);
    let mut first = 1;
    for (index, stage) in stages.iter().enumerate() {
        let name = format!("features.{{b+{first}}}.block");
        stage_rows(&mut rows, index, |rows, path| {
            torchvision_block(rows, path, &name, stage, stage.gate.is_some());
        });
        first += stage.depth;
    }
    rows
}

/// timm numbers them by its stages, which are those of one number of channels.
fn timm_rows(stages: &[InvertedStage]) -> Rows {
    let places = timm_places(stages);
    let end = timm_end(&places);
    let [conv, norm] = ["conv", "bn1"].map(|part| format!("blocks.{end}.0.{part}"));
    let mut rows = ends(["conv_stem", "bn1"], [&conv, &norm]);
    for (index, (stage, (of_timm, block))) in stages.iter().zip(places).enumerate() {
        let name = format!("blocks.{of_timm}.{{b+{block}}}");
        stage_rows(&mut rows, index, |rows, path| {
            timm_block(rows, path, &name, stage, stage.gate.is_some());
        });
    }
    rows
}

/// In which of timm's stages each stage lies, and the number of its first block there.
fn timm_places(stages: &[InvertedStage]) -> Vec<(usize, usize)> {
    let mut places: Vec<(usize, usize)> = Vec::new();
    for (index, stage) in stages.iter().enumerate() {
        let before = index.checked_sub(1).map(|before| &stages[before]);
        let place = match (before, places.last()) {
            (Some(before), Some(&(number, first))) => {
                match stage.stride == 1 && stage.channels == before.channels {
                    true => (number, first + before.depth),
                    false => (number + 1, 0),
                }
            }
            _ => (0, 0),
        };
        places.push(place);
    }
    places
}

/// The number of timm's stage after these, which is the last convolution.
fn timm_end(places: &[(usize, usize)]) -> usize {
    places.last().map_or(0, |&(stage, _)| stage + 1)
}

/// MobileNetV3-Large or Small: torchvision's, or timm's.
pub(super) fn detect(file: &WeightsFile, library: Library) -> Option<EncoderConfig> {
    let known = [
        MobileNetV3EncoderConfig::large(),
        MobileNetV3EncoderConfig::small(),
    ];
    let prefix = library.prefix_of_timm();
    let has_all = |config: &MobileNetV3EncoderConfig| {
        let Some(names) = config.rows(library).map(Rows::into_names) else {
            return false;
        };
        let outputs = |path: &str| {
            let name = names.external_name(path)?;
            outputs(file, &format!("{prefix}{name}"))
        };
        let stages = config.stages.iter().enumerate();
        let mut has_stage = stages.map(|(index, stage)| {
            let last = format!("stages.{index}.{}.project.conv.weight", stage.depth - 1);
            outputs(&last) == Some(stage.channels)
        });
        has_stage.all(|has| has) && outputs("last.conv.weight") == config.last_channels
    };
    let config = known.into_iter().find(has_all)?;
    let stem = match library {
        Library::Timm | Library::Smp => "conv_stem",
        Library::Torchvision => "features.0.0",
    };
    let config = config.with_in_channels(inputs(file, &format!("{prefix}{stem}.weight"))?);
    // (timm's norms have PyTorch's defaults.)
    Some(EncoderConfig::MobileNetV3(match library {
        Library::Timm | Library::Smp => config.with_norm(NormConfig::batch()),
        Library::Torchvision => config,
    }))
}
