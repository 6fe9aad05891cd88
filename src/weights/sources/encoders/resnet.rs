//! ResNet: torchvision's names, which segmentation_models.pytorch and timm have too; with squeeze-and-excitation timm's.

use super::{EncoderSource, MAX_STAGES};
use crate::gate::GateConfig;
use crate::net::{EncoderConfig, ResNetBlock, ResNetEncoderConfig};
use crate::weights::WeightsFile;
use crate::weights::sources::{Library, Rows, count};

const ROWS: &[(&str, &str)] = &[
    ("stem.conv", "conv1"),
    ("stem.norm", "bn1"),
    ("stages.{s}.{b}.block.{c}.conv", "layer{s+1}.{b}.conv{c+1}"),
    ("stages.{s}.{b}.block.{c}.norm", "layer{s+1}.{b}.bn{c+1}"),
    (
        "stages.{s}.{b}.shortcut.1.conv",
        "layer{s+1}.{b}.downsample.0",
    ),
    (
        "stages.{s}.{b}.shortcut.1.norm",
        "layer{s+1}.{b}.downsample.1",
    ),
    ("stages.{s}.{b}.gate.squeeze.conv", "layer{s+1}.{b}.se.fc1"),
    ("stages.{s}.{b}.gate.excite.conv", "layer{s+1}.{b}.se.fc2"),
];

impl EncoderSource for ResNetEncoderConfig {
    fn prefix(&self, library: Library) -> &'static str {
        match self.gate {
            Some(_) => library.prefix_of_timm(),
            None => library.prefix(),
        }
    }

    fn rows(&self, library: Library) -> Option<Rows> {
        let has_it = match self.gate {
            None => true,
            Some(GateConfig::Se(_)) => library != Library::Torchvision,
            Some(_) => false,
        };
        has_it.then(|| Rows::of_table(ROWS))
    }

    fn head(&self, _library: Library) -> Option<&'static str> {
        Some("fc")
    }

    fn unread(&self, shortened: &EncoderConfig) -> Option<Vec<String>> {
        let EncoderConfig::ResNet(config) = shortened else {
            return None;
        };
        let wrapper = match config.gate {
            Some(_) => "model.",
            None => "",
        };
        let stages = config.depths.len()..self.depths.len();
        let name = |stage| format!("{wrapper}layer{}", stage + 1);
        Some(stages.map(name).collect())
    }

    fn description(&self) -> String {
        let groups = match (self.groups, self.group_width) {
            (1, 64) => String::new(),
            (groups, width) => format!(" in {groups} groups of {width}"),
        };
        let gate = match self.gate {
            Some(_) => " with squeeze-and-excitation",
            None => "",
        };
        format!(
            "ResNet of {:?} blocks {:?}{groups}{gate}",
            self.block, self.depths
        )
    }

    fn assumed(&self) -> &'static str {
        "ReLU, batch norm with epsilon 1e-5, strides instead of dilations, max pool in the stem"
    }
}

/// A ResNet, or timm's with squeeze-and-excitation.
pub(super) fn detect(file: &WeightsFile, library: Library) -> Option<EncoderConfig> {
    let under = |prefix, has_gate: bool| {
        let found = detect_under(file, prefix)?;
        (found.gate.is_some() == has_gate).then_some(EncoderConfig::ResNet(found))
    };
    let plain = || under(library.prefix(), false);
    match library {
        Library::Torchvision => plain(),
        Library::Timm | Library::Smp => under(library.prefix_of_timm(), true).or_else(plain),
    }
}

fn detect_under(file: &WeightsFile, prefix: &str) -> Option<ResNetEncoderConfig> {
    let name = |stage, block, conv| format!("{prefix}layer{stage}.{block}.conv{conv}.weight");
    let &[width, in_channels, _, _] = file.shape(&format!("{prefix}conv1.weight"))? else {
        return None;
    };
    let block = match file.shape(&name(1, 0, 3)) {
        Some(_) => ResNetBlock::Bottleneck,
        None => ResNetBlock::Basic,
    };
    let stages = count(file, 1, &|stage| name(stage, 0, 1));
    let depths: Vec<usize> = (1..=stages)
        .map(|stage| count(file, 0, &|index| name(stage, index, 1)))
        .collect();
    let mut encoder = ResNetEncoderConfig::new(block, depths)
        .with_in_channels(in_channels)
        .with_width(width);
    let has_gate = file.shape(&format!("{prefix}layer1.0.se.fc1.weight"));
    encoder.gate = has_gate.map(|_| ResNetEncoderConfig::squeeze_excitation());
    if block == ResNetBlock::Bottleneck {
        // Each 3x3 convolution of the first stage: `[groups * group_width, group_width, 3, 3]`, for 64 channels of the
        // stem.
        let &[wide, of_group, ..] = file.shape(&name(1, 0, 2))? else {
            return None;
        };
        encoder.groups = wide.checked_div(of_group)?;
        let of_64 = of_group.checked_mul(64)?;
        encoder.group_width = of_64.checked_div(width)?;
    }
    (stages <= MAX_STAGES).then_some(encoder)
}
