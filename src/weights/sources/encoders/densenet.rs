//! DenseNet: torchvision's names, which segmentation_models.pytorch and timm have too.

use super::{EncoderSource, MAX_STAGES};
use crate::net::{DenseNetEncoderConfig, DenseNetMaps, EncoderConfig};
use crate::weights::WeightsFile;
use crate::weights::sources::{Library, Rows, count};

const ROWS: &[(&str, &str)] = &[
    ("stem.conv", "features.conv0"),
    ("stem.norm", "features.norm0"),
    (
        "blocks.{b}.{l}.block.{c}.norm",
        "features.denseblock{b+1}.denselayer{l+1}.norm{c+1}",
    ),
    (
        "blocks.{b}.{l}.block.{c}.conv",
        "features.denseblock{b+1}.denselayer{l+1}.conv{c+1}",
    ),
    ("transitions.{t}.0", "features.transition{t+1}"),
];

impl EncoderSource for DenseNetEncoderConfig {
    fn rows(&self, _library: Library) -> Option<Rows> {
        let mut rows = Rows::of_table(ROWS);
        rows.push("norm", norm(self));
        Some(rows)
    }

    fn head(&self, _library: Library) -> Option<&'static str> {
        Some("classifier")
    }

    fn unread(&self, shortened: &EncoderConfig) -> Option<Vec<String>> {
        let EncoderConfig::DenseNet(config) = shortened else {
            return None;
        };
        let (after, before) = (config.depths.len(), self.depths.len());
        let conv = format!("features.transition{after}.conv");
        let blocks = (after + 1..=before).flat_map(|block| {
            ["denseblock", "transition"].map(|part| format!("features.{part}{block}"))
        });
        let last = "features.norm5".to_string();
        Some(blocks.chain([conv, last]).collect())
    }

    fn description(&self) -> String {
        let (depths, growth) = (&self.depths, self.growth);
        format!("DenseNet of blocks {depths:?}, growth {growth}")
    }

    fn assumed(&self) -> &'static str {
        "ReLU, batch norm with epsilon 1e-5, mean pools between the blocks"
    }
}

/// The name of the last norm: of fewer blocks it is a transition's.
fn norm(config: &DenseNetEncoderConfig) -> String {
    match config.maps {
        DenseNetMaps::Normed {
            last_activation: true,
        } => format!("features.transition{}.norm", config.depths.len()),
        _ => "features.norm5".into(),
    }
}

pub(super) fn detect(file: &WeightsFile, library: Library) -> Option<EncoderConfig> {
    let prefix = library.prefix();
    let conv = |block, layer, conv| {
        format!("{prefix}features.denseblock{block}.denselayer{layer}.conv{conv}.weight")
    };
    let &[width, in_channels, _, _] = file.shape(&format!("{prefix}features.conv0.weight"))? else {
        return None;
    };
    let &[growth, inner, _, _] = file.shape(&conv(1, 1, 2))? else {
        return None;
    };
    let blocks = count(file, 1, &|block| conv(block, 1, 1));
    let depths = (1..=blocks).map(|block| count(file, 1, &|layer| conv(block, layer, 1)));
    let maps = match library {
        Library::Torchvision | Library::Timm => DenseNetMaps::Blocks,
        Library::Smp => DenseNetMaps::smp(),
    };
    let encoder = DenseNetEncoderConfig::new(depths.collect())
        .with_in_channels(in_channels)
        .with_width(width)
        .with_growth(growth)
        .with_bottleneck(inner.checked_div(growth)?)
        .with_maps(maps);
    (blocks <= MAX_STAGES).then_some(EncoderConfig::DenseNet(encoder))
}
