//! What the networks of inverted bottlenecks have in common: MobileNetV2, MobileNetV3 and EfficientNet.

use crate::net::InvertedStage;
use crate::weights::sources::Rows;

/// The rows of the blocks of a stage, by `parts`, which gives those of a block at a path.
pub(super) fn stage_rows(rows: &mut Rows, stage: usize, parts: impl Fn(&mut Rows, &str)) {
    // (A residual connection has its block in a field.)
    parts(rows, &format!("stages.{stage}.{{b}}"));
    parts(rows, &format!("stages.{stage}.{{b}}.block"));
}

/// The rows of the first convolution and the last, and of their norms.
pub(super) fn ends(stem: [&str; 2], last: [&str; 2]) -> Rows {
    let mut rows = Rows::new();
    for (path, [conv, norm]) in [("stem", stem), ("last", last)] {
        rows.push(format!("{path}.conv"), conv);
        rows.push(format!("{path}.norm"), norm);
    }
    rows
}

/// The same in torchvision, where the last one has the number `end`.
pub(super) fn torchvision_ends(end: usize) -> Rows {
    let [conv, norm] = [0, 1].map(|part| format!("features.{end}.{part}"));
    ends(["features.0.0", "features.0.1"], [&conv, &norm])
}

/// The block `name` of torchvision's EfficientNet and MobileNetV3.
pub(super) fn torchvision_block(
    rows: &mut Rows,
    path: &str,
    name: &str,
    stage: &InvertedStage,
    has_gate: bool,
) {
    let is_there = |part: &&str| match *part {
        "expand" => stage.expands(),
        "gate" => has_gate,
        _ => true,
    };
    let parts = ["expand", "depthwise", "gate", "project"].into_iter();
    for (number, part) in parts.filter(is_there).enumerate() {
        let (path, name) = (format!("{path}.{part}"), format!("{name}.{number}"));
        match part {
            "gate" => gate(rows, &path, &name, ["fc1", "fc2"]),
            _ => rows.block(&path, &name, ["0", "1"]),
        }
    }
}

/// The rows of timm's MobileNetV2 and EfficientNet.
pub(super) fn timm_rows(stages: &[InvertedStage], has_gates: bool) -> Rows {
    let mut rows = ends(["conv_stem", "bn1"], ["conv_head", "bn2"]);
    for (index, stage) in stages.iter().enumerate() {
        stage_rows(&mut rows, index, |rows, path| {
            let name = format!("blocks.{index}.{{b}}");
            timm_block(rows, path, &name, stage, has_gates);
        });
    }
    rows
}

/// The block `name` of timm's networks.
pub(super) fn timm_block(
    rows: &mut Rows,
    path: &str,
    name: &str,
    stage: &InvertedStage,
    has_gate: bool,
) {
    let (depthwise, project) = match stage.expands() {
        true => (["conv_dw", "bn2"], ["conv_pwl", "bn3"]),
        false => (["conv_dw", "bn1"], ["conv_pw", "bn2"]),
    };
    if stage.expands() {
        rows.block(&format!("{path}.expand"), name, ["conv_pw", "bn1"]);
    }
    rows.block(&format!("{path}.depthwise"), name, depthwise);
    rows.block(&format!("{path}.project"), name, project);
    if has_gate {
        let (path, name) = (format!("{path}.gate"), format!("{name}.se"));
        gate(rows, &path, &name, ["conv_reduce", "conv_expand"]);
    }
}

/// The rows of squeeze-and-excitation.
fn gate(rows: &mut Rows, path: &str, name: &str, [squeeze, excite]: [&str; 2]) {
    rows.push(format!("{path}.squeeze.conv"), format!("{name}.{squeeze}"));
    rows.push(format!("{path}.excite.conv"), format!("{name}.{excite}"));
}

/// The last convolution of a block of timm.
pub(super) fn timm_project(stage: usize, block: usize, expands: bool) -> String {
    let conv = if expands { "conv_pwl" } else { "conv_pw" };
    format!("blocks.{stage}.{block}.{conv}.weight")
}

/// The channels of each stage, and how many blocks it has.
pub(super) fn widths_and_depths(stages: &[InvertedStage]) -> (Vec<usize>, Vec<usize>) {
    stages
        .iter()
        .map(|stage| (stage.channels, stage.depth))
        .unzip()
}
