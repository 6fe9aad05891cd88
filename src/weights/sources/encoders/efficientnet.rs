//! EfficientNet: torchvision's names, and timm's, which segmentation_models.pytorch has.

use super::EncoderSource;
use super::inverted::{
    stage_rows, timm_project, timm_rows, torchvision_block, torchvision_ends, widths_and_depths,
};
use crate::net::{EfficientNetEncoderConfig, EncoderConfig, InvertedStage};
use crate::weights::WeightsFile;
use crate::weights::sources::{Library, Rows, count, inputs, outputs};

impl EncoderSource for EfficientNetEncoderConfig {
    fn rows(&self, library: Library) -> Option<Rows> {
        Some(match library {
            Library::Torchvision => torchvision_rows(&self.stages),
            Library::Timm | Library::Smp => timm_rows(&self.stages, true),
        })
    }

    fn head(&self, library: Library) -> Option<&'static str> {
        Some(match library {
            Library::Timm => "classifier",
            Library::Torchvision | Library::Smp => "classifier.1",
        })
    }

    fn unread(&self, shortened: &EncoderConfig) -> Option<Vec<String>> {
        let EncoderConfig::EfficientNet(config) = shortened else {
            return None;
        };
        let stages = config.stages.len()..self.stages.len();
        Some(stages.map(|stage| format!("blocks.{stage}")).collect())
    }

    fn never_read(&self) -> &'static [&'static str] {
        &["conv_head", "bn2"]
    }

    fn description(&self) -> String {
        let (widths, depths) = widths_and_depths(&self.scaled_stages());
        format!("EfficientNet of widths {widths:?}, blocks {depths:?}")
    }

    fn assumed(&self) -> &'static str {
        "SiLU, batch norm with epsilon 1e-5, the strides of the paper, neither stochastic depth nor dropout before the \
         last layer"
    }

    fn assumed_in_smp(&self) -> Option<&'static str> {
        Some("SiLU, the strides of the paper and no stochastic depth")
    }
}

fn torchvision_rows(stages: &[InvertedStage]) -> Rows {
    let mut rows = torchvision_ends(stages.len() + 1);
    for (index, stage) in stages.iter().enumerate() {
        stage_rows(&mut rows, index, |rows, path| {
            let name = format!("features.{}.{{b}}.block", index + 1);
            torchvision_block(rows, path, &name, stage, true);
        });
    }
    rows
}

/// EfficientNet-B0 to B4.
pub(super) fn detect(file: &WeightsFile, library: Library) -> Option<EncoderConfig> {
    let prefix = library.prefix();
    let of_timm = library != Library::Torchvision;
    // The last convolution and the first of the gate of a block.
    let names = |stage: usize, block: usize, expands: bool| {
        let number = if expands { 3 } else { 2 };
        let torchvision = format!("features.{}.{block}.block", stage + 1);
        let parts = match of_timm {
            true => [
                timm_project(stage, block, expands),
                format!("blocks.{stage}.{block}.se.conv_reduce.weight"),
            ],
            false => [
                format!("{torchvision}.{number}.0.weight"),
                format!("{torchvision}.{}.fc1.weight", number - 1),
            ],
        };
        parts.map(|part| format!("{prefix}{part}"))
    };
    let has_stages = |config: &EfficientNetEncoderConfig| {
        let stages = config.scaled_stages().into_iter().enumerate();
        let mut has_stage = stages.map(|(index, stage)| {
            let [_, gate] = names(index, 0, stage.expands());
            let project = |block| {
                let [project, _] = names(index, block, stage.expands());
                project
            };
            file.shape(&gate).is_some()
                && count(file, 0, &project) == stage.depth
                && outputs(file, &project(0)) == Some(stage.channels)
        });
        has_stage.all(|has| has)
    };
    let stem = if of_timm { "conv_stem" } else { "features.0.0" };
    let in_channels = inputs(file, &format!("{prefix}{stem}.weight"))?;
    let known = [
        EfficientNetEncoderConfig::b0(),
        EfficientNetEncoderConfig::b1(),
        EfficientNetEncoderConfig::b2(),
        EfficientNetEncoderConfig::b3(),
        EfficientNetEncoderConfig::b4(),
    ];
    let config = known.into_iter().find(has_stages)?;
    let config = config.with_in_channels(in_channels);
    // (segmentation_models.pytorch's encoder does not use its last convolution.)
    Some(EncoderConfig::EfficientNet(match library {
        Library::Smp => config.with_last_channels(None),
        Library::Torchvision | Library::Timm => config,
    }))
}
