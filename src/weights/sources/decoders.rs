//! The decoders of segmentation_models.pytorch: the names of their tensors, and their options from the shapes.

use crate::net::{
    DecoderConfig, DeepLabDecoderConfig, FpnDecoderConfig, LinknetDecoderConfig,
    ManetDecoderConfig, PanDecoderConfig, PspDecoderConfig, UnetDecoderConfig,
    UnetPlusPlusDecoderConfig,
};
use crate::weights::WeightsFile;

use super::{Rows, inputs, outputs};

/// The rows of a convolution and its norm.
pub(super) fn block(rows: &mut Rows, path: String, name: String, [conv, norm]: [&str; 2]) {
    rows.push((format!("{path}.conv"), format!("{name}.{conv}")));
    rows.push((format!("{path}.norm"), format!("{name}.{norm}")));
}

/// The rows of two convolutions with norms, as SMP's blocks have them.
fn double(rows: &mut Rows, path: &str, name: &str) {
    for (part, conv) in [("first", "conv1"), ("second", "conv2")] {
        block(
            rows,
            format!("{path}.{part}"),
            format!("{name}.{conv}"),
            ["0", "1"],
        );
    }
}

/// The names of a decoder's tensors that reads `maps` maps, without the prefixes of both sides.
pub(super) fn rows(decoder: &DecoderConfig, maps: usize) -> Rows {
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
                block(
                    &mut rows,
                    format!("{path}.squeeze"),
                    format!("{name}.0"),
                    ["0", "1"],
                );
                rows.push((format!("{path}.up"), format!("{name}.1.0")));
                rows.push((format!("{path}.norm"), format!("{name}.1.1")));
                block(
                    &mut rows,
                    format!("{path}.expand"),
                    format!("{name}.2"),
                    ["0", "1"],
                );
            }
        }
        DecoderConfig::Fpn(config) => {
            for level in 0..config.levels {
                let name = match level + 1 == config.levels {
                    true => format!("p{}", level + 2),
                    false => format!("p{}.skip_conv", level + 2),
                };
                rows.push((format!("pyramid.laterals.{level}.conv"), name));
                let branch = format!("seg_blocks.{}.block", config.levels - 1 - level);
                for index in 0..level.max(1) {
                    let path = format!("branches.{level}.{index}");
                    block(
                        &mut rows,
                        path,
                        format!("{branch}.{index}.block"),
                        ["0", "1"],
                    );
                }
            }
        }
        DecoderConfig::Psp(config) => {
            for index in 0..config.bins.len() {
                let path = format!("pooling.branches.{index}");
                block(
                    &mut rows,
                    path,
                    format!("psp.blocks.{index}.pool.1"),
                    ["0", "1"],
                );
            }
            block(&mut rows, "conv".into(), "conv".into(), ["0", "1"]);
        }
        DecoderConfig::DeepLab(config) => deeplab(&mut rows, config),
        DecoderConfig::Pan(config) => pan(&mut rows, config),
        DecoderConfig::Manet(_) => manet(&mut rows, coarsest),
    }
    rows
}

/// The rows of a separable convolution and its norm.
fn separable(rows: &mut Rows, path: &str, depthwise: String, pointwise: String, norm: String) {
    rows.push((format!("{path}.0.conv"), depthwise));
    rows.push((format!("{path}.1.conv"), pointwise));
    rows.push((format!("{path}.1.norm"), norm));
}

fn deeplab(rows: &mut Rows, config: &DeepLabDecoderConfig) {
    let aspp = if config.skip.is_some() {
        "aspp.0"
    } else {
        "aspp"
    };
    block(
        rows,
        "aspp.branches.0.0".into(),
        format!("{aspp}.convs.0"),
        ["0", "1"],
    );
    for index in 1..=config.rates.len() {
        let (path, name) = (
            format!("aspp.branches.{index}"),
            format!("{aspp}.convs.{index}"),
        );
        if config.separable_pyramid {
            let [depthwise, pointwise] = [0, 1].map(|n| format!("{name}.0.{n}"));
            separable(rows, &path, depthwise, pointwise, format!("{name}.1"));
        } else {
            block(rows, format!("{path}.0"), name, ["0", "1"]);
        }
    }
    let pool = format!("{aspp}.convs.{}", config.rates.len() + 1);
    block(rows, "aspp.pool".into(), pool, ["1", "2"]);
    block(
        rows,
        "aspp.project".into(),
        format!("{aspp}.project"),
        ["0", "1"],
    );
    if config.skip.is_none() {
        rows.push(("conv.0.conv".into(), "conv".into()));
        rows.push(("conv.0.norm".into(), "bn".into()));
        return;
    }
    separable(
        rows,
        "conv",
        "aspp.1.0".into(),
        "aspp.1.1".into(),
        "aspp.2".into(),
    );
    block(rows, "project".into(), "block1".into(), ["0", "1"]);
    separable(
        rows,
        "merged",
        "block2.0.0".into(),
        "block2.0.1".into(),
        "block2.1".into(),
    );
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
        let (path, name) = (format!("fpa.{path}"), format!("fpa.{name}"));
        block(rows, path, name, ["conv", "bn"]);
    }
    for index in 0..config.levels.saturating_sub(1) {
        for (path, name) in [("weight", "conv1.1"), ("conv", "conv2")] {
            let path = format!("steps.{index}.{path}");
            block(
                rows,
                path,
                format!("gau{}.{name}", index + 1),
                ["conv", "bn"],
            );
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
    rows.extend(center.map(|(path, name)| (format!("center.{path}"), format!("center.{name}"))));
    for index in 0..coarsest {
        let (path, name) = (
            format!("steps.{index}"),
            format!("blocks.{}", coarsest - 1 - index),
        );
        for part in 0..2 {
            let project = format!("{path}.project.{part}");
            block(rows, project, format!("{name}.hl_conv.{part}"), ["0", "1"]);
        }
        for (se, sequence) in [("of_deep", "SE_hl"), ("of_skip", "SE_ll")] {
            for (conv, number) in [("squeeze", 1), ("excite", 3)] {
                let path = format!("{path}.{se}.{conv}.conv");
                rows.push((path, format!("{name}.{sequence}.{number}")));
            }
        }
        double(rows, &format!("{path}.block"), &name);
    }
    double(rows, "last.1", &format!("blocks.{coarsest}"));
}

/// The coarsest map that a decoder reads.
pub(in crate::weights) enum Coarsest {
    /// The last of so many.
    OfMaps(usize),
    /// The last with so many channels.
    WithChannels(usize),
}

/// A decoder that a file holds.
pub(in crate::weights) struct DetectedDecoder {
    pub config: DecoderConfig,
    pub coarsest: Coarsest,
    /// By how much the coarsest map is smaller than the image, where dilations take the place of strides.
    pub output_stride: Option<usize>,
}

impl DetectedDecoder {
    fn new(config: impl Into<DecoderConfig>, coarsest: Coarsest) -> Self {
        Self {
            config: config.into(),
            coarsest,
            output_stride: None,
        }
    }
}

/// The shapes of a decoder's convolutions in a file.
struct Convs<'a>(&'a WeightsFile);

impl Convs<'_> {
    fn outputs(&self, name: &str) -> Option<usize> {
        outputs(self.0, &format!("decoder.{name}.weight"))
    }

    fn inputs(&self, name: &str) -> Option<usize> {
        inputs(self.0, &format!("decoder.{name}.weight"))
    }

    /// The outputs of `name(0)`, `name(1)`, ... until one is missing.
    fn all_outputs(&self, name: impl Fn(usize) -> String) -> Vec<usize> {
        (0..).map_while(|n| self.outputs(&name(n))).collect()
    }
}

/// The decoder whose tensors' names begin with `decoder.`.
pub(in crate::weights) fn detect(file: &WeightsFile) -> Option<DetectedDecoder> {
    let convs = Convs(file);
    fpn(&convs)
        .or_else(|| psp(&convs))
        .or_else(|| any_deeplab(&convs))
        .or_else(|| linknet(&convs))
        .or_else(|| detect_pan(&convs))
        .or_else(|| detect_manet(&convs))
        .or_else(|| unets(&convs))
}

fn fpn(convs: &Convs) -> Option<DetectedDecoder> {
    let width = convs.outputs("seg_blocks.0.block.0.block.0")?;
    let mut config = FpnDecoderConfig::new().with_width(width);
    config.pyramid.channels = convs.outputs("p5")?;
    let coarsest = Coarsest::WithChannels(convs.inputs("p5")?);
    Some(DetectedDecoder::new(config, coarsest))
}

fn psp(convs: &Convs) -> Option<DetectedDecoder> {
    let coarsest = Coarsest::WithChannels(convs.inputs("psp.blocks.0.pool.1.0")?);
    let config = PspDecoderConfig::new().with_width(convs.outputs("conv.0")?);
    Some(DetectedDecoder::new(config, coarsest))
}

fn any_deeplab(convs: &Convs) -> Option<DetectedDecoder> {
    let v3 = ("aspp", DeepLabDecoderConfig::v3(), 8);
    let v3_plus = ("aspp.0", DeepLabDecoderConfig::v3_plus(), 16);
    [v3, v3_plus]
        .into_iter()
        .find_map(|(prefix, config, stride)| {
            let deepest = convs.inputs(&format!("{prefix}.convs.0.0"))?;
            let channels = convs.outputs(&format!("{prefix}.convs.0.0"))?;
            let depthwise = convs.outputs(&format!("{prefix}.convs.1.0.0"));
            let config = config
                .with_channels(channels)
                .with_separable_pyramid(depthwise.is_some());
            Some(DetectedDecoder {
                output_stride: Some(stride),
                ..DetectedDecoder::new(config, Coarsest::WithChannels(deepest))
            })
        })
}

fn linknet(convs: &Convs) -> Option<DetectedDecoder> {
    let widths = convs.all_outputs(|n| format!("blocks.{n}.block.2.0"));
    let config = LinknetDecoderConfig::new().with_width(*widths.last()?);
    Some(DetectedDecoder::new(config, Coarsest::OfMaps(widths.len())))
}

fn detect_pan(convs: &Convs) -> Option<DetectedDecoder> {
    let deepest = convs.inputs("fpa.mid.0.conv")?;
    let steps = convs.all_outputs(|n| format!("gau{}.conv2.conv", n + 1));
    let config = PanDecoderConfig::new()
        .with_width(convs.outputs("fpa.mid.0.conv")?)
        .with_levels(steps.len() + 1);
    Some(DetectedDecoder {
        output_stride: Some(16),
        ..DetectedDecoder::new(config, Coarsest::WithChannels(deepest))
    })
}

fn detect_manet(convs: &Convs) -> Option<DetectedDecoder> {
    let attention_channels = convs.outputs("center.top_conv")?;
    let mut widths = convs.all_outputs(|n| format!("blocks.{n}.conv2.0"));
    let maps = widths.len();
    widths.reverse();
    let mut config = ManetDecoderConfig::new(widths).with_attention_channels(attention_channels);
    let weight = "blocks.0.SE_ll.1";
    if let (Some(skip), Some(reduced)) = (convs.inputs(weight), convs.outputs(weight)) {
        // (Where rounding leaves several, the default.)
        if (skip / config.reduction).max(1) != reduced {
            config.reduction = skip.checked_div(reduced)?;
        }
    }
    Some(DetectedDecoder::new(config, Coarsest::OfMaps(maps)))
}

/// U-Net and U-Net++.
fn unets(convs: &Convs) -> Option<DetectedDecoder> {
    let plain = convs.all_outputs(|n| format!("blocks.{n}.conv2.0"));
    let nested = convs.all_outputs(|n| format!("blocks.x_0_{n}.conv2.0"));
    let finest_first = |widths: &[usize]| widths.iter().rev().copied().collect::<Vec<_>>();
    let detected = |config: DecoderConfig, maps| {
        (maps > 0).then(|| DetectedDecoder::new(config, Coarsest::OfMaps(maps)))
    };
    match nested.is_empty() {
        true => {
            let config = UnetDecoderConfig::new(finest_first(&plain));
            detected(config.into(), plain.len())
        }
        false => {
            let config = UnetPlusPlusDecoderConfig::new(finest_first(&nested));
            detected(config.into(), nested.len())
        }
    }
}
