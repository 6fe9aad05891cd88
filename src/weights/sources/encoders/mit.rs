//! The Mix Transformer: segmentation_models.pytorch's names.

use super::{EncoderSource, MAX_STAGES};
use crate::net::{EncoderConfig, MitEncoderConfig, MitStage};
use crate::weights::WeightsFile;
use crate::weights::sources::{Library, Rows, count, inputs, outputs};

impl EncoderSource for MitEncoderConfig {
    fn rows(&self, library: Library) -> Option<Rows> {
        if library != Library::Smp {
            return None;
        }
        let mut rows = Rows::new();
        rows.push("patches.{s}.0.conv", "patch_embed{s+1}.proj");
        rows.push("patches.{s}.1", "patch_embed{s+1}.norm");
        rows.push("norms.{s}", "norm{s+1}");
        let (path, name) = ("stages.{s}.{b}.0.block", "block{s+1}.{b}");
        rows.push(format!("{path}.0"), format!("{name}.norm1"));
        for (part, linear) in [("query", "q"), ("key_value", "kv"), ("project", "proj")] {
            rows.linear(&format!("{path}.1.{part}"), format!("{name}.attn.{linear}"));
        }
        rows.push(format!("{path}.1.reduce.0.conv"), format!("{name}.attn.sr"));
        rows.push(format!("{path}.1.reduce.1"), format!("{name}.attn.norm"));
        let path = "stages.{s}.{b}.1.block";
        rows.push(format!("{path}.0"), format!("{name}.norm2"));
        rows.linear(&format!("{path}.1"), format!("{name}.mlp.fc1"));
        rows.push(
            format!("{path}.2.conv"),
            format!("{name}.mlp.dwconv.dwconv"),
        );
        rows.linear(&format!("{path}.3"), format!("{name}.mlp.fc2"));
        Some(rows)
    }

    fn unread(&self, shortened: &EncoderConfig) -> Option<Vec<String>> {
        let EncoderConfig::Mit(config) = shortened else {
            return None;
        };
        let stages = config.stages.len() + 1..=self.stages.len();
        let parts = |stage| ["patch_embed", "block", "norm"].map(|part| format!("{part}{stage}"));
        Some(stages.flat_map(parts).collect())
    }

    fn description(&self) -> String {
        let depths = self.stages.iter().map(|stage| stage.depth);
        let (widths, depths) = (self.feature_channels(), depths.collect::<Vec<_>>());
        format!("MiT of widths {widths:?}, blocks {depths:?}")
    }

    fn assumed(&self) -> &'static str {
        "GELU, heads of as many channels as the first stage has, no stochastic depth"
    }

    fn assumed_in_smp(&self) -> Option<&'static str> {
        Some(self.assumed())
    }
}

pub(super) fn detect(file: &WeightsFile, library: Library) -> Option<EncoderConfig> {
    let prefix = library.prefix();
    let patches = |stage| format!("{prefix}patch_embed{stage}.proj.weight");
    let part = |stage, block, part: &str| format!("{prefix}block{stage}.{block}.{part}.weight");
    let in_channels = inputs(file, &patches(1))?;
    let stages = count(file, 1, &patches);
    let of_head = outputs(file, &patches(1))?;
    let stage = |number: usize| {
        let channels = outputs(file, &patches(number))?;
        let depth = count(file, 0, &|block| part(number, block, "norm1"));
        let reduction = file.shape(&part(number, 0, "attn.sr"));
        let reduction = reduction.map_or(Some(1), |shape| shape.get(2).copied())?;
        let wide = outputs(file, &part(number, 0, "mlp.fc1"))?;
        let stage = MitStage::new(channels, depth, channels.checked_div(of_head)?, reduction);
        Some(stage.with_expansion(wide.checked_div(channels)?))
    };
    let config = MitEncoderConfig::new((1..=stages).map(stage).collect::<Option<_>>()?);
    let config = EncoderConfig::Mit(config.with_in_channels(in_channels));
    (stages <= MAX_STAGES).then_some(config)
}
