//! ConvNeXt: torchvision's names, and timm's.

use super::{EncoderSource, MAX_STAGES};
use crate::net::{ConvNextEncoderConfig, EncoderConfig};
use crate::weights::WeightsFile;
use crate::weights::sources::{Library, Rows, count, outputs};

/// The names of one library.
struct NamesOf {
    stem: &'static str,
    /// What is before the stage `index + 1`.
    down: fn(usize) -> String,
    /// The block `b` of a stage.
    block: fn(usize, &str) -> String,
    /// The parts of a block: depthwise, norm, to four times the channels, back.
    parts: [&'static str; 4],
    layer_scale: &'static str,
    /// The axes that the factors of the channels have.
    scale_rank: usize,
    head_norm: &'static str,
    head: &'static str,
}

const TORCHVISION: NamesOf = NamesOf {
    stem: "features.0",
    down: |index| format!("features.{}", 2 * index + 2),
    block: |stage, b| format!("features.{}.{b}", 2 * stage + 1),
    parts: ["block.0", "block.2", "block.3", "block.5"],
    layer_scale: "layer_scale",
    scale_rank: 3,
    head_norm: "classifier.0",
    head: "classifier.2",
};

const TIMM: NamesOf = NamesOf {
    stem: "stem",
    down: |index| format!("stages.{}.downsample", index + 1),
    block: |stage, b| format!("stages.{stage}.blocks.{b}"),
    parts: ["conv_dw", "norm", "mlp.fc1", "mlp.fc2"],
    layer_scale: "gamma",
    scale_rank: 1,
    head_norm: "head.norm",
    head: "head.fc",
};

impl NamesOf {
    fn library(library: Library) -> Option<&'static Self> {
        match library {
            Library::Torchvision => Some(&TORCHVISION),
            Library::Timm => Some(&TIMM),
            Library::Smp => None,
        }
    }
}

impl EncoderSource for ConvNextEncoderConfig {
    fn rows(&self, library: Library) -> Option<Rows> {
        let names = NamesOf::library(library)?;
        let mut rows = Rows::new();
        rows.push("stem.0.conv", format!("{}.0", names.stem));
        rows.push("stem.1", format!("{}.1", names.stem));
        for index in 0..self.depths.len().saturating_sub(1) {
            let name = (names.down)(index);
            rows.push(format!("downs.{index}.0"), format!("{name}.0"));
            rows.push(format!("downs.{index}.1.conv"), format!("{name}.1"));
        }
        for stage in 0..self.depths.len() {
            let path = format!("stages.{stage}.{{b}}");
            let name = (names.block)(stage, "{b}");
            let [depthwise, norm, wide, back] = names.parts.map(|part| format!("{name}.{part}"));
            rows.push(format!("{path}.block.0.conv"), depthwise);
            rows.push(format!("{path}.block.1"), norm);
            rows.linear(&format!("{path}.block.2"), wide);
            rows.linear(&format!("{path}.block.3"), back);
            let scale = format!("{path}.layer_scale");
            rows.rank(scale.clone(), names.scale_rank);
            rows.push(scale, format!("{name}.{}", names.layer_scale));
        }
        Some(rows)
    }

    fn head(&self, library: Library) -> Option<&'static str> {
        Some(NamesOf::library(library)?.head)
    }

    fn head_norm(&self, library: Library) -> Option<&'static str> {
        Some(NamesOf::library(library)?.head_norm)
    }

    fn description(&self) -> String {
        let (widths, depths) = (&self.widths, &self.depths);
        format!("ConvNeXt of widths {widths:?}, blocks {depths:?}")
    }

    fn assumed(&self) -> &'static str {
        "GELU, layer norm with epsilon 1e-6, no stochastic depth"
    }
}

pub(super) fn detect(file: &WeightsFile, library: Library) -> Option<EncoderConfig> {
    let names = NamesOf::library(library)?;
    let part = |stage: usize, block: usize, part: &str| {
        let name = (names.block)(stage, &block.to_string());
        format!("{name}.{part}")
    };
    let depthwise = |stage, block| part(stage, block, &format!("{}.weight", names.parts[0]));
    let &[_, in_channels, 4, 4] = file.shape(&format!("{}.0.weight", names.stem))? else {
        return None;
    };
    let stages = count(file, 0, &|stage| depthwise(stage, 0));
    if !(1..=MAX_STAGES).contains(&stages) {
        return None;
    }
    let widths = (0..stages).map(|stage| outputs(file, &depthwise(stage, 0)));
    let depths = (0..stages).map(|stage| count(file, 0, &|block| depthwise(stage, block)));
    let mut config = ConvNextEncoderConfig::new(widths.collect::<Option<_>>()?, depths.collect());
    if file.shape(&part(0, 0, names.layer_scale)).is_none() {
        config.layer_scale = None;
    }
    Some(EncoderConfig::ConvNext(
        config.with_in_channels(in_channels),
    ))
}
