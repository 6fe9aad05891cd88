//! The names of the tensors of segmentation_models.pytorch's decoders.

use crate::net::{DecoderConfig, DeepLabDecoderConfig, PanDecoderConfig, UperNetDecoderConfig};
use crate::weights::sources::Rows;

/// The names of a decoder's tensors that reads `maps` maps, without the prefixes of both sides.
pub(in crate::weights) fn rows(decoder: &DecoderConfig, maps: usize) -> Rows {
    let mut rows = Rows::new();
    let coarsest = maps.saturating_sub(1);
    match decoder {
        DecoderConfig::Unet(_) => {
            for index in 0..coarsest {
                let name = format!("blocks.{}", coarsest - 1 - index);
                double(&mut rows, &format!("steps.{index}.block"), &name);
            }
            double(&mut rows, "last.1", &format!("blocks.{coarsest}"));
        }
        DecoderConfig::UnetPlusPlus(_) => {
            let sizes = (0..coarsest).rev();
            let places = sizes.flat_map(|to| (to + 1..=coarsest).map(move |from| (to, from)));
            for (index, (to, from)) in places.enumerate() {
                let name = format!("blocks.x_{}_{}", coarsest - from, coarsest - 1 - to);
                double(&mut rows, &format!("blocks.{index}.1"), &name);
            }
            let last = coarsest * (coarsest + 1) / 2;
            let name = format!("blocks.x_0_{coarsest}");
            double(&mut rows, &format!("blocks.{last}.1"), &name);
        }
        DecoderConfig::Linknet(_) => {
            for index in 0..maps {
                let (path, name) = (
                    format!("steps.{index}"),
                    format!("blocks.{}.block", coarsest - index),
                );
                rows.block(&format!("{path}.squeeze"), &format!("{name}.0"), ["0", "1"]);
                rows.push(format!("{path}.up"), format!("{name}.1.0"));
                rows.push(format!("{path}.norm"), format!("{name}.1.1"));
                rows.block(&format!("{path}.expand"), &format!("{name}.2"), ["0", "1"]);
            }
        }
        DecoderConfig::Fpn(config) => {
            for level in 0..config.levels {
                let name = match level + 1 == config.levels {
                    true => format!("p{}", level + 2),
                    false => format!("p{}.skip_conv", level + 2),
                };
                rows.push(format!("pyramid.laterals.{level}.conv"), name);
                let branch = format!("seg_blocks.{}.block", config.levels - 1 - level);
                for index in 0..level.max(1) {
                    let path = format!("branches.{level}.{index}");
                    rows.block(&path, &format!("{branch}.{index}.block"), ["0", "1"]);
                }
            }
        }
        DecoderConfig::Psp(config) => {
            for index in 0..config.bins.len() {
                let path = format!("pooling.branches.{index}");
                rows.block(&path, &format!("psp.blocks.{index}.pool.1"), ["0", "1"]);
            }
            rows.block("conv", "conv", ["0", "1"]);
        }
        DecoderConfig::DeepLab(config) => deeplab(&mut rows, config),
        DecoderConfig::Pan(config) => pan(&mut rows, config),
        DecoderConfig::Manet(_) => manet(&mut rows, coarsest),
        DecoderConfig::UperNet(config) => upernet(&mut rows, config),
        DecoderConfig::Segformer(_) => {
            for index in 0..maps {
                let name = format!("mlp_stage.{}.linear", coarsest - index);
                rows.linear(&format!("projections.{index}"), name);
            }
            rows.block("fusion", "fuse_stage", ["0", "1"]);
        }
        DecoderConfig::Staged(_) => {} // (SMP has none such.)
    }
    rows
}

/// The rows of two convolutions with norms, as SMP's blocks have them.
fn double(rows: &mut Rows, path: &str, name: &str) {
    for (part, conv) in [("first", "conv1"), ("second", "conv2")] {
        rows.block(
            &format!("{path}.{part}"),
            &format!("{name}.{conv}"),
            ["0", "1"],
        );
    }
}

fn pan(rows: &mut Rows, config: &PanDecoderConfig) {
    let convs = [
        ("mean", "branch1.1"),
        ("project", "mid.0"),
        ("down.0.0", "down1.1"),
        ("down.1.0", "down2.1"),
        ("down.2.0", "down3.1"),
        ("down.2.1", "down3.2"),
        ("up.0", "conv1"),
        ("up.1", "conv2"),
    ];
    for (path, name) in convs {
        rows.block(
            &format!("fpa.{path}"),
            &format!("fpa.{name}"),
            ["conv", "bn"],
        );
    }
    for index in 0..config.levels.saturating_sub(1) {
        for (path, name) in [("weight", "conv1.1"), ("conv", "conv2")] {
            let name = format!("gau{}.{name}", index + 1);
            rows.block(&format!("steps.{index}.{path}"), &name, ["conv", "bn"]);
        }
    }
}

fn manet(rows: &mut Rows, coarsest: usize) {
    let center = [
        ("query", "center_conv"),
        ("key", "top_conv"),
        ("value", "bottom_conv"),
        ("output", "out_conv"),
    ];
    for (path, name) in center {
        rows.push(format!("center.{path}"), format!("center.{name}"));
    }
    for index in 0..coarsest {
        let path = format!("steps.{index}");
        let name = format!("blocks.{}", coarsest - 1 - index);
        for part in 0..2 {
            let project = format!("{path}.project.{part}");
            rows.block(&project, &format!("{name}.hl_conv.{part}"), ["0", "1"]);
        }
        for (se, sequence) in [("of_deep", "SE_hl"), ("of_skip", "SE_ll")] {
            for (conv, number) in [("squeeze", 1), ("excite", 3)] {
                let path = format!("{path}.{se}.{conv}.conv");
                rows.push(path, format!("{name}.{sequence}.{number}"));
            }
        }
        double(rows, &format!("{path}.block"), &name);
    }
    double(rows, "last.1", &format!("blocks.{coarsest}"));
}

fn upernet(rows: &mut Rows, config: &UperNetDecoderConfig) {
    rows.push("norms.{i}", "feature_norms.{i}");
    rows.block("pooling.branches.{i}", "psp.blocks.{i}.1", ["0", "1"]);
    rows.block("pooled", "psp.out_conv", ["0", "1"]);
    // (There the coarsest comes first.)
    let finer = config.levels.saturating_sub(1);
    for level in 0..finer {
        let number = finer - 1 - level;
        let lateral = format!("fpn_lateral_blocks.{number}.conv_norm_relu");
        rows.block(&format!("laterals.{level}"), &lateral, ["0", "1"]);
        let output = format!("fpn_conv_blocks.{number}");
        rows.block(&format!("outputs.{level}"), &output, ["0", "1"]);
    }
    rows.block("fusion", "fusion_block", ["0", "1"]);
}

/// The rows of a separable convolution and its norm.
fn separable(rows: &mut Rows, path: &str, depthwise: &str, pointwise: &str, norm: &str) {
    rows.push(format!("{path}.0.conv"), depthwise);
    rows.push(format!("{path}.1.conv"), pointwise);
    rows.push(format!("{path}.1.norm"), norm);
}

fn deeplab(rows: &mut Rows, config: &DeepLabDecoderConfig) {
    let aspp = if config.skip.is_some() {
        "aspp.0"
    } else {
        "aspp"
    };
    let first = format!("{aspp}.convs.0");
    rows.block("aspp.branches.0.0", &first, ["0", "1"]);
    for index in 1..=config.rates.len() {
        let path = format!("aspp.branches.{index}");
        let name = format!("{aspp}.convs.{index}");
        if config.separable_pyramid {
            let [depthwise, pointwise] = [0, 1].map(|n| format!("{name}.0.{n}"));
            separable(rows, &path, &depthwise, &pointwise, &format!("{name}.1"));
        } else {
            rows.block(&format!("{path}.0"), &name, ["0", "1"]);
        }
    }
    let pool = format!("{aspp}.convs.{}", config.rates.len() + 1);
    rows.block("aspp.pool", &pool, ["1", "2"]);
    rows.block("aspp.project", &format!("{aspp}.project"), ["0", "1"]);
    if config.skip.is_none() {
        rows.push("conv.0.conv", "conv");
        rows.push("conv.0.norm", "bn");
        return;
    }
    separable(rows, "conv", "aspp.1.0", "aspp.1.1", "aspp.2");
    rows.block("project", "block1", ["0", "1"]);
    separable(rows, "merged", "block2.0.0", "block2.0.1", "block2.1");
}
