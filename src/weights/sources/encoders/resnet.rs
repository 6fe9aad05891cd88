//! ResNet: torchvision's names, which segmentation_models.pytorch and timm have too.

use super::{EncoderSource, MAX_STAGES};
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
];

impl EncoderSource for ResNetEncoderConfig {
    fn rows(&self, _library: Library) -> Option<Rows> {
        Some(Rows::of_table(ROWS))
    }

    fn head(&self, _library: Library) -> Option<&'static str> {
        Some("fc")
    }

    fn shortened(&self, last: usize) -> Option<(EncoderConfig, Vec<String>)> {
        let mut config = self.clone();
        let stages = config.depths.len();
        config.depths.truncate(last);
        let unread = (last..stages).map(|stage| format!("layer{}", stage + 1));
        Some((EncoderConfig::ResNet(config), unread.collect()))
    }

    fn description(&self) -> String {
        let groups = match (self.groups, self.group_width) {
            (1, 64) => String::new(),
            (groups, width) => format!(" in {groups} groups of {width}"),
        };
        format!(
            "ResNet of {:?} blocks {:?}{groups}",
            self.block, self.depths
        )
    }

    fn assumed(&self) -> &'static str {
        "ReLU, batch norm with epsilon 1e-5, strides instead of dilations, max pool in the stem"
    }
}

pub(super) fn detect(file: &WeightsFile, library: Library) -> Option<EncoderConfig> {
    let prefix = library.prefix();
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
    (stages <= MAX_STAGES).then_some(EncoderConfig::ResNet(encoder))
}
