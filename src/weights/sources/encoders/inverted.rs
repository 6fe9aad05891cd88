//! What the networks of inverted bottlenecks have in common: MobileNetV2 and EfficientNet.

use crate::net::InvertedStage;
use crate::weights::sources::Rows;

/// The rows of the blocks of a stage, by `parts`, which gives those of a block at a path.
pub(super) fn stage_rows(rows: &mut Rows, stage: usize, parts: impl Fn(&mut Rows, &str)) {
    // (A residual connection has its block in a field.)
    parts(rows, &format!("stages.{stage}.{{b}}"));
    parts(rows, &format!("stages.{stage}.{{b}}.block"));
}

/// The rows of timm's networks, which both of them are.
pub(super) fn timm_rows(stages: &[InvertedStage], has_gates: bool) -> Rows {
    let mut rows = Rows::new();
    for (path, conv, norm) in [("stem", "conv_stem", "bn1"), ("last", "conv_head", "bn2")] {
        rows.push(format!("{path}.conv"), conv);
        rows.push(format!("{path}.norm"), norm);
    }
    for (index, stage) in stages.iter().enumerate() {
        stage_rows(&mut rows, index, |rows, path| {
            let name = format!("blocks.{index}.{{b}}");
            timm_block(rows, path, &name, stage.expansion > 1);
            if has_gates {
                let of_gate = ["conv_reduce", "conv_expand"];
                gate(
                    rows,
                    &format!("{path}.gate"),
                    &format!("{name}.se"),
                    of_gate,
                );
            }
        });
    }
    rows
}

fn timm_block(rows: &mut Rows, path: &str, name: &str, expands: bool) {
    let (depthwise, project) = match expands {
        true => (["conv_dw", "bn2"], ["conv_pwl", "bn3"]),
        false => (["conv_dw", "bn1"], ["conv_pw", "bn2"]),
    };
    if expands {
        rows.block(&format!("{path}.expand"), name, ["conv_pw", "bn1"]);
    }
    rows.block(&format!("{path}.depthwise"), name, depthwise);
    rows.block(&format!("{path}.project"), name, project);
}

/// The rows of squeeze-and-excitation.
pub(super) fn gate(rows: &mut Rows, path: &str, name: &str, [squeeze, excite]: [&str; 2]) {
    rows.push(format!("{path}.squeeze.conv"), format!("{name}.{squeeze}"));
    rows.push(format!("{path}.excite.conv"), format!("{name}.{excite}"));
}

/// The last convolution of a block of timm.
pub(super) fn timm_project(stage: usize, block: usize, expands: bool) -> String {
    let conv = if expands { "conv_pwl" } else { "conv_pw" };
    format!("blocks.{stage}.{block}.{conv}.weight")
}

/// Leaves the stages up to the map `last`: each ends before a stride, or is the last stage.
pub(super) fn truncate(stages: &mut Vec<InvertedStage>, last: usize) -> Option<()> {
    let is_end = |index: &usize| stages.get(index + 1).is_none_or(|next| next.stride > 1);
    let end = (0..stages.len()).filter(is_end).nth(last)?;
    stages.truncate(end + 1);
    Some(())
}

/// The channels of each stage, and how many blocks it has.
pub(super) fn widths_and_depths(stages: &[InvertedStage]) -> (Vec<usize>, Vec<usize>) {
    stages
        .iter()
        .map(|stage| (stage.channels, stage.depth))
        .unzip()
}
