//! The encoders of torchvision and segmentation_models.pytorch (SMP): the names of their tensors, and their sizes from
//! the shapes.

use crate::net::{
    DenseNetEncoderConfig, EfficientNetEncoderConfig, EncoderConfig, InvertedStage,
    MobileNetV2EncoderConfig, ResNetBlock, ResNetEncoderConfig, VggEncoderConfig,
};
use crate::norm::NormConfig;
use crate::weights::WeightsFile;

use super::decoders::{Coarsest, block};
use super::{Library, Rows, Table, count, inputs, outputs};

/// The stages of a network: each halves the map.
const MAX_STAGES: usize = 6;

/// The convolutions that SMP's U-Nets have on VGG.
pub(in crate::weights) const CENTER: &str = "decoder.center";

const RESNET: Table = &[
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

const DENSENET: Table = &[
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
    ("norm", "features.norm5"),
];

/// The names of an encoder's tensors, without the prefixes of both sides; `None` for one that has none.
pub(super) fn rows(encoder: &EncoderConfig, library: Library) -> Option<Rows> {
    let of_table = |table: Table| {
        let rows = table.iter();
        rows.map(|&(path, name)| (path.into(), name.into()))
            .collect()
    };
    Some(match encoder {
        EncoderConfig::Plain(_) | EncoderConfig::ConvNext(_) => return None,
        EncoderConfig::ResNet(_) => of_table(RESNET),
        EncoderConfig::DenseNet(_) => of_table(DENSENET),
        EncoderConfig::Vgg(config) => vgg_rows(config),
        EncoderConfig::MobileNetV2(config) => mobilenet_rows(config),
        EncoderConfig::EfficientNet(config) => efficientnet_rows(config, library),
    })
}

/// VGG's convolutions, norms, activations and pools are numbered in one list. Here are the numbers of the convolutions
/// of each stage.
fn vgg_numbers(config: &VggEncoderConfig) -> Vec<Vec<usize>> {
    let step = if config.norm.is_some() { 3 } else { 2 };
    let mut next = 0;
    let stage = |&depth: &usize| {
        let first = next;
        next += step * depth + 1;
        (0..depth).map(|index| first + step * index).collect()
    };
    config.depths.iter().map(stage).collect()
}

fn vgg_rows(config: &VggEncoderConfig) -> Rows {
    let mut rows = Rows::new();
    for (stage, numbers) in vgg_numbers(config).into_iter().enumerate() {
        for (index, number) in numbers.into_iter().enumerate() {
            let path = format!("stages.{stage}.{index}");
            rows.push((format!("{path}.conv"), format!("features.{number}")));
            rows.push((format!("{path}.norm"), format!("features.{}", number + 1)));
        }
    }
    rows
}

/// The rows of the convolutions that SMP's decoders have on VGG, and the encoder here.
pub(super) fn center_rows(encoder: &EncoderConfig) -> Rows {
    let mut rows = Rows::new();
    if let EncoderConfig::Vgg(VggEncoderConfig {
        center: Some(_), ..
    }) = encoder
    {
        for (index, part) in ["first", "second"].into_iter().enumerate() {
            let path = format!("encoder.center.{part}");
            block(&mut rows, path, format!("{CENTER}.{index}"), ["0", "1"]);
        }
    }
    rows
}

/// The rows of the blocks of a stage, by `parts`, which gives those of a block at a path.
fn stage_rows(rows: &mut Rows, stage: usize, parts: impl Fn(&mut Rows, String)) {
    // (A residual connection has its block in a field.)
    parts(rows, format!("stages.{stage}.{{b}}"));
    parts(rows, format!("stages.{stage}.{{b}}.block"));
}

fn mobilenet_rows(config: &MobileNetV2EncoderConfig) -> Rows {
    let mut rows = Rows::new();
    block(&mut rows, "stem".into(), "features.0".into(), ["0", "1"]);
    let mut first = 1;
    for (index, stage) in config.stages.iter().enumerate() {
        let name = format!("features.{{b+{first}}}.conv");
        stage_rows(&mut rows, index, |rows, path| {
            let conv = |rows: &mut Rows, part: &str, number: usize| {
                block(
                    rows,
                    format!("{path}.{part}"),
                    format!("{name}.{number}"),
                    ["0", "1"],
                );
            };
            let expands = usize::from(stage.expansion > 1);
            if expands > 0 {
                conv(rows, "expand", 0);
            }
            conv(rows, "depthwise", expands);
            let project = [expands + 1, expands + 2].map(|number| number.to_string());
            let [conv, norm] = project.each_ref().map(String::as_str);
            block(rows, format!("{path}.project"), name.clone(), [conv, norm]);
        });
        first += stage.depth;
    }
    block(
        &mut rows,
        "last".into(),
        format!("features.{first}"),
        ["0", "1"],
    );
    rows
}

fn efficientnet_rows(config: &EfficientNetEncoderConfig, library: Library) -> Rows {
    let mut rows = Rows::new();
    let of_timm = library == Library::Smp;
    let (stem, last) = match of_timm {
        true => (["conv_stem", "bn1"], ["conv_head", "bn2"]),
        false => (["0", "1"], ["0", "1"]),
    };
    let end = config.stages.len() + 1;
    for (path, number, [conv, norm]) in [("stem", 0, stem), ("last", end, last)] {
        let name = |part: &str| match of_timm {
            true => part.to_string(),
            false => format!("features.{number}.{part}"),
        };
        rows.push((format!("{path}.conv"), name(conv)));
        rows.push((format!("{path}.norm"), name(norm)));
    }
    for (index, stage) in config.stages.iter().enumerate() {
        let expands = stage.expansion > 1;
        stage_rows(&mut rows, index, |rows, path| match of_timm {
            true => timm_block(rows, &path, format!("blocks.{index}.{{b}}"), expands),
            false => {
                let name = format!("features.{}.{{b}}.block", index + 1);
                torchvision_block(rows, &path, &name, expands);
            }
        });
    }
    rows
}

/// The block `name` of torchvision's EfficientNet.
fn torchvision_block(rows: &mut Rows, path: &str, name: &str, expands: bool) {
    let parts = ["expand", "depthwise", "gate", "project"];
    let skipped = usize::from(!expands);
    for (number, part) in parts.into_iter().skip(skipped).enumerate() {
        let (path, name) = (format!("{path}.{part}"), format!("{name}.{number}"));
        match part {
            "gate" => gate(rows, &path, &name, ["fc1", "fc2"]),
            _ => block(rows, path, name, ["0", "1"]),
        }
    }
}

/// The block `name` of timm's EfficientNet.
fn timm_block(rows: &mut Rows, path: &str, name: String, expands: bool) {
    let (depthwise, project) = match expands {
        true => (["conv_dw", "bn2"], ["conv_pwl", "bn3"]),
        false => (["conv_dw", "bn1"], ["conv_pw", "bn2"]),
    };
    if expands {
        block(
            rows,
            format!("{path}.expand"),
            name.clone(),
            ["conv_pw", "bn1"],
        );
    }
    block(rows, format!("{path}.depthwise"), name.clone(), depthwise);
    let of_gate = ["conv_reduce", "conv_expand"];
    gate(
        rows,
        &format!("{path}.gate"),
        &format!("{name}.se"),
        of_gate,
    );
    block(rows, format!("{path}.project"), name, project);
}

/// The rows of squeeze-and-excitation.
fn gate(rows: &mut Rows, path: &str, name: &str, [squeeze, excite]: [&str; 2]) {
    rows.push((format!("{path}.squeeze.conv"), format!("{name}.{squeeze}")));
    rows.push((format!("{path}.excite.conv"), format!("{name}.{excite}")));
}

/// The name of the head of torchvision's classifier on the encoder, where that is a mean and one linear layer.
pub(in crate::weights) fn head(encoder: &EncoderConfig) -> Option<&'static str> {
    match encoder {
        EncoderConfig::DenseNet(_) => Some("classifier"),
        EncoderConfig::MobileNetV2(_) | EncoderConfig::EfficientNet(_) => Some("classifier.1"),
        EncoderConfig::ResNet(_) => Some("fc"),
        EncoderConfig::Plain(_) | EncoderConfig::ConvNext(_) | EncoderConfig::Vgg(_) => None,
    }
}

/// The encoder that a file of this library holds.
pub(in crate::weights) fn detect(file: &WeightsFile, library: Library) -> Option<EncoderConfig> {
    let prefix = library.prefix();
    let resnet = || resnet(file, prefix).map(EncoderConfig::ResNet);
    let densenet = || densenet(file, prefix).map(EncoderConfig::DenseNet);
    let vgg = || vgg(file, prefix).map(EncoderConfig::Vgg);
    let mobilenet = || mobilenet(file, prefix).map(EncoderConfig::MobileNetV2);
    let efficientnet = || efficientnet(file, library).map(EncoderConfig::EfficientNet);
    resnet()
        .or_else(densenet)
        .or_else(vgg)
        .or_else(mobilenet)
        .or_else(efficientnet)
}

/// A VGG, without the map of the size of the image, which no decoder of SMP reads.
fn vgg(file: &WeightsFile, prefix: &str) -> Option<VggEncoderConfig> {
    let shape = |number: usize| file.shape(&format!("{prefix}features.{number}.weight"));
    let &[_, in_channels, 3, 3] = shape(0)? else {
        return None;
    };
    let has_norm = shape(1).is_some();
    let step = if has_norm { 3 } else { 2 };
    let (mut widths, mut depths) = (Vec::new(), Vec::new());
    let mut next = 0;
    while let Some(&[width, ..]) = shape(next) {
        let depth = (0..).take_while(|index| shape(next + step * index).is_some());
        let depth = depth.count();
        widths.push(width);
        depths.push(depth);
        next += step * depth + 1;
    }
    let encoder = VggEncoderConfig::new(widths, depths)
        .with_in_channels(in_channels)
        .with_norm(has_norm.then(NormConfig::batch))
        .with_full_size_map(false);
    (encoder.depths.len() <= MAX_STAGES).then_some(encoder)
}

/// A MobileNetV2 with the blocks of the paper, of any widths.
fn mobilenet(file: &WeightsFile, prefix: &str) -> Option<MobileNetV2EncoderConfig> {
    let &[width, in_channels, _, _] = file.shape(&format!("{prefix}features.0.0.weight"))? else {
        return None;
    };
    let mut config = MobileNetV2EncoderConfig::new()
        .with_in_channels(in_channels)
        .with_width(width);
    let mut index = 1;
    for stage in &mut config.stages {
        let project = if stage.expansion > 1 { 2 } else { 1 };
        let name = format!("{prefix}features.{index}.conv.{project}.weight");
        stage.channels = outputs(file, &name)?;
        index += stage.depth;
    }
    let last = outputs(file, &format!("{prefix}features.{index}.0.weight"))?;
    Some(config.with_last_channels(last))
}

/// EfficientNet-B0 to B4: torchvision's, or timm's in SMP.
fn efficientnet(file: &WeightsFile, library: Library) -> Option<EfficientNetEncoderConfig> {
    let prefix = library.prefix();
    let of_timm = library == Library::Smp;
    // The last convolution and the first of the gate of a block.
    let names = |stage: usize, block: usize, expands: bool| {
        let (number, conv) = match expands {
            true => (3, "conv_pwl"),
            false => (2, "conv_pw"),
        };
        let parts = match of_timm {
            true => [conv, "se.conv_reduce"].map(|part| format!("blocks.{stage}.{block}.{part}")),
            false => [format!("{number}.0"), format!("{}.fc1", number - 1)]
                .map(|part| format!("features.{}.{block}.block.{part}", stage + 1)),
        };
        parts.map(|part| format!("{prefix}{part}.weight"))
    };
    let has_stages = |config: &EfficientNetEncoderConfig| {
        let stages = config.scaled_stages().into_iter().enumerate();
        let mut has_stage = stages.map(|(index, stage)| {
            let [_, gate] = names(index, 0, stage.expansion > 1);
            let project = |block| {
                let [project, _] = names(index, block, stage.expansion > 1);
                project
            };
            file.shape(&gate).is_some()
                && count(file, 0, &project) == stage.depth
                && outputs(file, &project(0)) == Some(stage.channels)
        });
        has_stage.all(|has| has)
    };
    let stem = if of_timm { "conv_stem" } else { "features.0.0" };
    let in_channels = inputs(file, &format!("{prefix}{stem}.weight"))?;
    let known = [
        EfficientNetEncoderConfig::b0(),
        EfficientNetEncoderConfig::b1(),
        EfficientNetEncoderConfig::b2(),
        EfficientNetEncoderConfig::b3(),
        EfficientNetEncoderConfig::b4(),
    ];
    let config = known.into_iter().find(has_stages)?;
    let config = config.with_in_channels(in_channels);
    // (SMP's encoder does not use its last convolution.)
    Some(match of_timm {
        true => config.with_last_channels(None),
        false => config,
    })
}

fn resnet(file: &WeightsFile, prefix: &str) -> Option<ResNetEncoderConfig> {
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
    (stages <= MAX_STAGES).then_some(encoder)
}

fn densenet(file: &WeightsFile, prefix: &str) -> Option<DenseNetEncoderConfig> {
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
    let encoder = DenseNetEncoderConfig::new(depths.collect())
        .with_in_channels(in_channels)
        .with_width(width)
        .with_growth(growth)
        .with_bottleneck(inner.checked_div(growth)?);
    (blocks <= MAX_STAGES).then_some(encoder)
}

/// The encoder up to the coarsest map that a decoder of SMP reads, and the names of the stages beyond, which the file has
/// all the same.
pub(in crate::weights) fn shortened(
    encoder: EncoderConfig,
    coarsest: &Coarsest,
) -> Option<(EncoderConfig, Vec<String>)> {
    let maps = encoder.feature_channels();
    let last = match coarsest {
        Coarsest::OfMaps(count) => count.checked_sub(1).filter(|&last| last < maps.len())?,
        Coarsest::WithChannels(channels) => maps.iter().rposition(|found| found == channels)?,
    };
    let is_whole = last + 1 == maps.len();
    Some(match encoder {
        EncoderConfig::ResNet(mut config) => {
            let stages = config.depths.len();
            config.depths.truncate(last);
            let unread = (last..stages).map(|stage| format!("layer{}", stage + 1));
            (EncoderConfig::ResNet(config), unread.collect())
        }
        EncoderConfig::EfficientNet(mut config) => {
            let stages = config.stages.len();
            truncate(&mut config.stages, last)?;
            let unread = (config.stages.len()..stages).map(|stage| format!("blocks.{stage}"));
            // (Which SMP's encoder has, and does not use.)
            let never_read = ["conv_head", "bn2"].map(String::from);
            let unread = unread.chain(never_read).collect();
            (EncoderConfig::EfficientNet(config), unread)
        }
        EncoderConfig::MobileNetV2(mut config) if !is_whole => {
            let blocks = |stages: &[InvertedStage]| stages.iter().map(|stage| stage.depth).sum();
            let before: usize = blocks(&config.stages);
            truncate(&mut config.stages, last)?;
            let after: usize = blocks(&config.stages);
            let unread = (after + 1..=before + 1).map(|index| format!("features.{index}"));
            config.last_channels = None;
            (EncoderConfig::MobileNetV2(config), unread.collect())
        }
        EncoderConfig::Vgg(mut config) if !is_whole => {
            // (The first stage is no map.)
            let stages = last + 2;
            let convs = vgg_numbers(&config).into_iter().skip(stages).flatten();
            let norms = usize::from(config.norm.is_some());
            let unread = convs.flat_map(|number| number..=number + norms);
            let unread = unread.map(|number| format!("features.{number}")).collect();
            config.widths.truncate(stages);
            config.depths.truncate(stages);
            config.last_pool = false;
            (EncoderConfig::Vgg(config), unread)
        }
        other if is_whole => (other, Vec::new()),
        _ => return None,
    })
}

/// Leaves the stages up to the map `last`: each ends before a stride, or is the last stage.
fn truncate(stages: &mut Vec<InvertedStage>, last: usize) -> Option<()> {
    let is_end = |index: &usize| stages.get(index + 1).is_none_or(|next| next.stride > 1);
    let end = (0..stages.len()).filter(is_end).nth(last)?;
    stages.truncate(end + 1);
    Some(())
}
