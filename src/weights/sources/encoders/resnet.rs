//! ResNet: torchvision's names, which segmentation_models.pytorch and timm have too; with squeeze-and-excitation, and of
//! Res2Net, timm's.

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
        "stages.{s}.{b}.block.{c}.convs.{i}.conv",
        "layer{s+1}.{b}.convs.{i}",
    ),
    (
        "stages.{s}.{b}.block.{c}.convs.{i}.norm",
        "layer{s+1}.{b}.bns.{i}",
    ),
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

/// Whether timm alone has it, which segmentation_models.pytorch wraps.
fn is_of_timm(config: &ResNetEncoderConfig) -> bool {
    config.gate.is_some() || matches!(config.block, ResNetBlock::Res2 { .. })
}

impl EncoderSource for ResNetEncoderConfig {
    fn prefix(&self, library: Library) -> &'static str {
        match is_of_timm(self) {
            true => library.prefix_of_timm(),
            false => library.prefix(),
        }
    }

    fn rows(&self, library: Library) -> Option<Rows> {
        let is_known = matches!(self.gate, None | Some(GateConfig::Se(_)));
        let has_it = is_known && !(is_of_timm(self) && library == Library::Torchvision);
        has_it.then(|| Rows::of_table(ROWS))
    }

    fn head(&self, _library: Library) -> Option<&'static str> {
        Some("fc")
    }

    fn unread(&self, shortened: &EncoderConfig) -> Option<Vec<String>> {
        let EncoderConfig::ResNet(config) = shortened else {
            return None;
        };
        let wrapper = if is_of_timm(config) { "model." } else { "" };
        let stages = config.depths.len()..self.depths.len();
        let name = |stage| format!("{wrapper}layer{}", stage + 1);
        Some(stages.map(name).collect())
    }

    fn description(&self) -> String {
        let groups = match (self.groups, self.group_width) {
            (1, 64) => String::new(),
            (1, width) => format!(" of width {width}"),
            (groups, width) => format!(" in {groups} groups of {width}"),
        };
        let gate = match self.gate {
            Some(_) => " with squeeze-and-excitation",
            None => "",
        };
        let block = match self.block {
            ResNetBlock::Basic | ResNetBlock::Bottleneck => format!("ResNet of {:?}", self.block),
            ResNetBlock::Res2 { scale } => format!("Res2Net of {scale} parts,"),
        };
        format!("{block} blocks {:?}{groups}{gate}", self.depths)
    }

    fn assumed(&self) -> &'static str {
        "ReLU, batch norm with epsilon 1e-5, strides instead of dilations, max pool in the stem"
    }
}

/// A ResNet, or timm's with squeeze-and-excitation or Res2Net's blocks.
pub(super) fn detect(file: &WeightsFile, library: Library) -> Option<EncoderConfig> {
    let under = |prefix, of_timm: bool| {
        let found = detect_under(file, prefix)?;
        (is_of_timm(&found) == of_timm).then_some(EncoderConfig::ResNet(found))
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
    let has_wide = file.shape(&name(1, 0, 3)).is_some();
    let convs = |stage: usize, index: usize| format!("{prefix}layer{stage}.0.convs.{index}.weight");
    let block = match (has_wide, count(file, 0, &|index| convs(1, index))) {
        (false, _) => ResNetBlock::Basic,
        (true, 0) => ResNetBlock::Bottleneck,
        (true, convs) => ResNetBlock::Res2 { scale: convs + 1 },
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
    let conv3 = match block {
        ResNetBlock::Basic => None,
        ResNetBlock::Bottleneck => Some(name(stages, 0, 2)),
        ResNetBlock::Res2 { .. } => Some(convs(stages, 0)),
    };
    if !(1..=MAX_STAGES).contains(&stages) {
        return None;
    }
    if let Some(conv3) = conv3 {
        // Each 3x3 convolution of a stage: `[groups * of_group, of_group, 3, 3]`, where `of_group` is
        // `inner * group_width / 64` without its fraction, of which the last stage loses the least.
        let &[wide, of_group, ..] = file.shape(&conv3)? else {
            return None;
        };
        encoder.groups = wide.checked_div(of_group)?;
        let inner = width.checked_mul(1 << (stages - 1))?;
        encoder.group_width = match inner {
            0 => return None,
            _ => of_group.checked_mul(64)?.div_ceil(inner),
        };
    }
    Some(encoder)
}
