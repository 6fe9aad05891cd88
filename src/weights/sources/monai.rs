//! MONAI's networks: the names of their tensors, and their sizes from the shapes.
//!
//! A network's kind is told by its configuration: the same rows serve to load and to save.

use std::fmt;

use crate::net::{
    DecoderConfig, EncoderConfig, SegmentationConfig, StageBlock, StagedDecoderConfig,
    StagedEncoderConfig,
};
use crate::shape::PerAxis;
use crate::up::UpConfig;
use crate::weights::{Names, WeightsFile};

use super::{Rows, SUPERVISION_HEADS, count, inputs, outputs};

/// The levels of a network: each halves the map.
const MAX_LEVELS: usize = 12;

/// One of MONAI's networks whose levels are given one by one.
///
/// # Example
/// ```
/// use burn_skip::weights::MonaiNetwork;
///
/// assert_eq!(MonaiNetwork::DynUnet.to_string(), "DynUNet");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MonaiNetwork {
    /// [`SegmentationConfig::monai_segresnet`].
    SegResNet,
    /// [`SegmentationConfig::monai_unet`].
    Unet,
    /// [`SegmentationConfig::monai_dynunet`].
    DynUnet,
    /// [`SegmentationConfig::monai_attention_unet`].
    AttentionUnet,
    /// [`SegmentationConfig::monai_vnet`].
    Vnet,
}

impl MonaiNetwork {
    const ALL: [Self; 5] = [
        Self::SegResNet,
        Self::Unet,
        Self::DynUnet,
        Self::AttentionUnet,
        Self::Vnet,
    ];

    /// What no tensor of the network depends on, as it is built.
    pub(in crate::weights) const fn assumed(self) -> &'static str {
        match self {
            Self::SegResNet => {
                "ReLU, group norm of 8 groups with epsilon 1e-5, no dropout, linear upsampling where no tensor is one of a \
                 transposed convolution"
            }
            Self::Unet => {
                "strides of 2, instance norm with epsilon 1e-5, no dropout, norm before activation"
            }
            Self::DynUnet => {
                "a stride of 1 in the first level, leaky ReLU with slope 0.01, instance norm with epsilon 1e-5, no dropout"
            }
            Self::AttentionUnet => {
                "strides of 2, ReLU, batch and instance norm with epsilon 1e-5, no dropout"
            }
            Self::Vnet => "ELU, batch norm with epsilon 1e-5, no dropout",
        }
    }

    /// The names of the tensors of `config`, which is one of this network's; `None` if it is none.
    pub(super) fn names(self, config: &SegmentationConfig) -> Option<Names> {
        let (EncoderConfig::Staged(encoder), DecoderConfig::Staged(decoder)) =
            (&config.encoder, &config.decoder)
        else {
            return None;
        };
        Some(match self {
            Self::SegResNet => segresnet_rows(decoder).into_names(),
            Self::Unet => unet_rows(encoder, decoder).into_names(),
            Self::DynUnet => dynunet_names(encoder, decoder, config.supervised_steps),
            Self::AttentionUnet => attention_unet_rows(encoder).into_names(),
            Self::Vnet => vnet_rows(encoder).into_names(),
        })
    }

    /// The configuration of the network in the file, if it is this one.
    fn config(self, file: &WeightsFile) -> Option<(SegmentationConfig, usize)> {
        match self {
            Self::SegResNet => segresnet(file),
            Self::Unet => unet(file),
            Self::DynUnet => dynunet(file),
            Self::AttentionUnet => attention_unet(file),
            Self::Vnet => vnet(file),
        }
    }
}

impl fmt::Display for MonaiNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SegResNet => "SegResNet",
            Self::Unet => "UNet",
            Self::DynUnet => "DynUNet",
            Self::AttentionUnet => "AttentionUnet",
            Self::Vnet => "VNet",
        })
    }
}

/// The network that the file holds, and over how many axes it is.
pub(in crate::weights) fn detect(
    file: &WeightsFile,
) -> Option<(MonaiNetwork, SegmentationConfig, usize)> {
    MonaiNetwork::ALL.into_iter().find_map(|network| {
        let (config, axes) = network.config(file)?;
        Some((network, config, axes))
    })
}

/// Input and output channels of the convolution `name`, and the size of its kernel on one to three axes.
fn conv(file: &WeightsFile, name: &str) -> Option<([usize; 2], Vec<usize>)> {
    let &[output, input, ref kernel @ ..] = file.shape(&format!("{name}.weight"))? else {
        return None;
    };
    let has_axes = (1..=3).contains(&kernel.len());
    has_axes.then(|| ([input, output], kernel.to_vec()))
}

/// The rows of a `Convolution`: the convolution, its norm and its activation.
fn convolution(rows: &mut Rows, path: &str, name: &str) {
    rows.block(path, name, ["conv", "adn.N"]);
    rows.push(format!("{path}.activation"), format!("{name}.adn.A"));
}

/// The rows of the up layer of a step, with its norm and its activation, as a `Convolution`.
fn up_convolution(rows: &mut Rows, step: &str, name: &str) {
    rows.push(format!("{step}.up.layer"), format!("{name}.conv"));
    rows.push(format!("{step}.norm"), format!("{name}.adn.N"));
    rows.push(format!("{step}.activation"), format!("{name}.adn.A"));
}

fn segresnet_rows(decoder: &StagedDecoderConfig) -> Rows {
    let mut rows = Rows::new();
    let residual = |rows: &mut Rows, stage: String, name: String| {
        for conv in 0..2 {
            let path = format!("{stage}.blocks.{{b}}.block.{conv}");
            let [conv, norm] = ["conv", "norm"].map(|part| format!("{part}{}", conv + 1));
            rows.push(format!("{path}.conv"), format!("{name}.{conv}.conv"));
            rows.push(format!("{path}.norm"), format!("{name}.{norm}"));
        }
    };
    residual(
        &mut rows,
        "encoder.stages.{s}".into(),
        "down_layers.{s}.{b+1}".into(),
    );
    let steps = decoder.steps.len();
    for step in 0..steps {
        let name = format!("up_layers.{}.{{b}}", steps - 1 - step);
        residual(&mut rows, format!("decoder.steps.{step}.stage"), name);
    }
    rows.push("encoder.stages.0.convs.0.conv", "convInit.conv");
    rows.push("encoder.stages.{s}.convs.0.conv", "down_layers.{s}.0.conv");
    for step in 0..steps {
        let (path, name) = (
            format!("decoder.steps.{step}"),
            format!("up_samples.{}", steps - 1 - step),
        );
        rows.push(format!("{path}.project"), format!("{name}.0.conv"));
        rows.push(format!("{path}.up.layer"), format!("{name}.1.deconv"));
    }
    rows.block("decoder.last.convs.0", "conv_final", ["2.conv", "0"]);
    rows
}

fn segresnet(file: &WeightsFile) -> Option<(SegmentationConfig, usize)> {
    let ([input, width], kernel) = conv(file, "convInit.conv")?;
    let classes = outputs(file, "conv_final.2.conv.weight")?;
    let blocks = |list: &str, first: usize| -> Vec<usize> {
        let name = |level: usize, block: usize| format!("{list}.{level}.{block}.conv1.conv.weight");
        let levels = count(file, 0, &|level| name(level, first)).min(MAX_LEVELS);
        (0..levels)
            .map(|level| count(file, first, &|block| name(level, block)))
            .collect()
    };
    let (down, up) = (blocks("down_layers", 1), blocks("up_layers", 0));
    // (Batch norm has statistics, and no group norm is one of them.)
    let is_group_norm = file.shape("conv_final.0.running_mean").is_none();
    let mode = match file.shape("up_samples.0.1.deconv.weight") {
        Some(_) => UpConfig::conv_transpose(),
        None => UpConfig::linear(),
    };
    let config = SegmentationConfig::monai_segresnet([input, classes], width, &down, &up, mode);
    (is_group_norm && width > 0).then_some((config, kernel.len()))
}

/// The name of the level `level` of `UNet`: each is within the one before it.
fn unet_level(level: usize) -> String {
    ["model", &".1.submodule".repeat(level)].concat()
}

fn unet_rows(encoder: &StagedEncoderConfig, decoder: &StagedDecoderConfig) -> Rows {
    let mut rows = Rows::new();
    let levels = encoder.stages.len();
    for (level, stage) in encoder.stages.iter().enumerate() {
        let path = format!("encoder.stages.{level}");
        // (The deepest level has nothing within it.)
        let name = match level + 1 == levels {
            true => unet_level(level),
            false => format!("{}.0", unet_level(level)),
        };
        match &stage.block {
            StageBlock::Convs { .. } => convolution(&mut rows, &format!("{path}.convs.0"), &name),
            StageBlock::Residual(residual) => {
                for unit in 0..residual.convs {
                    let path = format!("{path}.blocks.0.block.{unit}");
                    convolution(&mut rows, &path, &format!("{name}.conv.unit{unit}"));
                }
                let shortcut = format!("{path}.blocks.0.shortcut.1.conv");
                rows.push(shortcut, format!("{name}.residual"));
            }
        }
    }
    for (level, step) in decoder.steps.iter().enumerate() {
        let path = format!("decoder.steps.{level}");
        let name = format!("{}.2", unet_level(level));
        if step.stage.is_none() {
            up_convolution(&mut rows, &path, &name);
            continue;
        }
        up_convolution(&mut rows, &path, &format!("{name}.0"));
        let unit = format!("{name}.1.conv.unit0");
        convolution(&mut rows, &format!("{path}.stage.blocks.0.block.0"), &unit);
    }
    rows
}

fn unet(file: &WeightsFile) -> Option<(SegmentationConfig, usize)> {
    let residual_convs = count(file, 0, &|unit| {
        format!("model.0.conv.unit{unit}.conv.weight")
    });
    // The last convolution of a level: those before the deepest are the first part of theirs.
    let last = match residual_convs {
        0 => "conv".to_string(),
        _ => format!("conv.unit{}.conv", residual_convs - 1),
    };
    let width = |level: usize| outputs(file, &format!("{}.0.{last}.weight", unet_level(level)));
    let mut widths: Vec<usize> = (0..MAX_LEVELS).map_while(width).collect();
    let deepest = format!("{}.{last}.weight", unet_level(widths.len()));
    widths.push(outputs(file, &deepest)?);
    let first = match residual_convs {
        0 => "model.0.conv",
        _ => "model.0.conv.unit0.conv",
    };
    let ([input, _], kernel) = conv(file, first)?;
    let up = match residual_convs {
        0 => "model.2.conv.weight",
        _ => "model.2.0.conv.weight",
    };
    let classes = inputs(file, up)?;
    let strides = vec![2; widths.len() - 1];
    let config =
        SegmentationConfig::monai_unet([input, classes], &widths, &strides, residual_convs);
    let is_default = kernel.iter().all(|&size| size == 3);
    is_default.then_some((config, kernel.len()))
}

/// The name of the level `level` of so many in `DynUNet`.
fn dynunet_level(level: usize, levels: usize) -> String {
    match level {
        0 => "input_block".into(),
        _ if level + 1 == levels => "bottleneck".into(),
        _ => format!("downsamples.{}", level - 1),
    }
}

fn dynunet_names(
    encoder: &StagedEncoderConfig,
    decoder: &StagedDecoderConfig,
    heads: usize,
) -> Names {
    let mut rows = Rows::new();
    let mut copies = Vec::new();
    let levels = encoder.stages.len();
    // MONAI registers each block at a second place, from which a saved state dict names it, too.
    let nested = |level: usize| ["skip_layers", &".next_layer".repeat(level)].concat();
    for (level, stage) in encoder.stages.iter().enumerate() {
        let (path, name) = (
            format!("encoder.stages.{level}"),
            dynunet_level(level, levels),
        );
        let convs = match &stage.block {
            StageBlock::Convs { .. } => format!("{path}.convs"),
            StageBlock::Residual(_) => {
                let shortcut = format!("{path}.blocks.0.shortcut.1");
                rows.block(&shortcut, &name, ["conv3.conv", "norm3"]);
                format!("{path}.blocks.0.block")
            }
        };
        two_convs(&mut rows, &convs, &name);
        let copy = match level + 1 == levels {
            true => nested(level),
            false => format!("{}.downsample", nested(level)),
        };
        copies.push((name, copy));
    }
    let steps = decoder.steps.len();
    for step in 0..steps {
        let (path, name) = (
            format!("decoder.steps.{step}"),
            format!("upsamples.{}", steps - 1 - step),
        );
        rows.push(
            format!("{path}.up.layer"),
            format!("{name}.transp_conv.conv"),
        );
        two_convs(
            &mut rows,
            &format!("{path}.stage.convs"),
            &format!("{name}.conv_block"),
        );
        copies.push((name, format!("{}.upsample", nested(step))));
    }
    for head in 0..heads {
        let name = format!("deep_supervision_heads.{head}");
        rows.push(
            format!("{SUPERVISION_HEADS}.{head}"),
            format!("{name}.conv.conv"),
        );
        copies.push((name, format!("{}.super_head", nested(head + 1))));
    }
    rows.push("head", "output_block.conv.conv");
    rows.into_names().with_copies(copies)
}

/// The rows of the two convolutions and norms of one of DynUNet's blocks.
fn two_convs(rows: &mut Rows, path: &str, name: &str) {
    for index in 0..2 {
        let [conv, norm] = [
            format!("conv{}.conv", index + 1),
            format!("norm{}", index + 1),
        ];
        rows.block(&format!("{path}.{index}"), name, [&conv, &norm]);
    }
}

fn dynunet(file: &WeightsFile) -> Option<(SegmentationConfig, usize)> {
    let ([input, _], kernel) = conv(file, "input_block.conv1.conv")?;
    let axes = kernel.len();
    let downs = count(file, 0, &|level| {
        format!("downsamples.{level}.conv1.conv.weight")
    });
    let levels = downs + 2;
    if levels > MAX_LEVELS {
        return None;
    }
    let (mut widths, mut kernels) = (Vec::new(), Vec::new());
    for level in 0..levels {
        let ([_, width], kernel) = conv(
            file,
            &format!("{}.conv1.conv", dynunet_level(level, levels)),
        )?;
        widths.push(width);
        kernels.push(PerAxis::from(kernel));
    }
    // The kernel of a transposed convolution is its stride.
    let mut strides = vec![PerAxis::from(1)];
    for step in 0..=downs {
        let (_, stride) = conv(
            file,
            &format!("upsamples.{}.transp_conv.conv", downs - step),
        )?;
        strides.push(stride.into());
    }
    let residual = file.shape("bottleneck.conv3.conv.weight").is_some();
    let heads = count(file, 0, &|head| {
        format!("deep_supervision_heads.{head}.conv.conv.weight")
    });
    let classes = outputs(file, "output_block.conv.conv.weight")?;
    let channels = [input, classes];
    let mut config =
        SegmentationConfig::monai_dynunet(channels, &kernels, &strides, &widths, residual)
            .with_supervised_steps(heads);
    if file.shape("upsamples.0.transp_conv.conv.bias").is_some()
        && let DecoderConfig::Staged(decoder) = &mut config.decoder
    {
        for step in &mut decoder.steps {
            if let UpConfig::ConvTranspose { bias, .. } = &mut step.up {
                *bias = true;
            }
        }
    }
    Some((config, axes))
}

/// The name of the level `level` of `AttentionUnet`'s decoder.
fn attention_level(level: usize) -> String {
    ["model.1", &".submodule.1".repeat(level)].concat()
}

/// The name of the level `level` of so many of `AttentionUnet`'s encoder.
fn attention_block(level: usize, levels: usize) -> String {
    match level.checked_sub(1) {
        None => "model.0".into(),
        Some(outer) if level + 1 == levels => format!("{}.submodule", attention_level(outer)),
        Some(outer) => format!("{}.submodule.0", attention_level(outer)),
    }
}

fn attention_unet_rows(encoder: &StagedEncoderConfig) -> Rows {
    let mut rows = Rows::new();
    let levels = encoder.stages.len();
    for level in 0..levels {
        let name = attention_block(level, levels);
        for index in 0..2 {
            let path = format!("encoder.stages.{level}.convs.{index}");
            convolution(&mut rows, &path, &format!("{name}.conv.{index}"));
        }
    }
    for step in 0..levels.saturating_sub(1) {
        let (path, name) = (format!("decoder.steps.{step}"), attention_level(step));
        for (part, of_gate) in [("of_map", "W_x"), ("of_guide", "W_g"), ("weight", "psi")] {
            let gate = format!("{name}.attention.{of_gate}");
            rows.block(&format!("{path}.gate.{part}"), &gate, ["0.conv", "1"]);
        }
        up_convolution(&mut rows, &path, &format!("{name}.upconv.up"));
        convolution(
            &mut rows,
            &format!("{path}.stage.convs.0"),
            &format!("{name}.merge"),
        );
    }
    rows.push("head", "model.2.conv");
    rows
}

fn attention_unet(file: &WeightsFile) -> Option<(SegmentationConfig, usize)> {
    let ([input, width], kernel) = conv(file, "model.0.conv.0.conv")?;
    let outer = |level: usize| format!("{}.attention.W_x.0.conv.weight", attention_level(level));
    let steps = count(file, 0, &outer);
    if steps == 0 || steps >= MAX_LEVELS {
        return None;
    }
    let mut widths = vec![width];
    for level in 1..=steps {
        let name = attention_block(level, steps + 1);
        widths.push(outputs(file, &format!("{name}.conv.0.conv.weight"))?);
    }
    let classes = outputs(file, "model.2.conv.weight")?;
    let config =
        SegmentationConfig::monai_attention_unet([input, classes], &widths, &vec![2; steps]);
    let is_default = kernel.iter().all(|&size| size == 3);
    is_default.then_some((config, kernel.len()))
}

fn vnet_rows(encoder: &StagedEncoderConfig) -> Rows {
    let mut rows = Rows::new();
    let widths: Vec<usize> = encoder.stages.iter().map(|stage| stage.width).collect();
    let residual = |rows: &mut Rows, path: &str, name: &str| {
        let path = format!("{path}.blocks.0.block.{{c}}");
        let conv = format!("{name}.ops.{{c}}.conv_block");
        rows.block(&path, &conv, ["conv", "adn.N"]);
    };
    let first = "encoder.stages.0.blocks.0.block.0";
    rows.block(first, "in_tr.conv_block", ["conv", "adn.N"]);
    for (level, width) in widths.iter().enumerate().skip(1) {
        let (path, name) = (format!("encoder.stages.{level}"), format!("down_tr{width}"));
        rows.block(&format!("{path}.convs.0"), &name, ["down_conv", "bn1"]);
        residual(&mut rows, &path, &name);
        let (path, name) = (
            format!("decoder.steps.{}", level - 1),
            format!("up_tr{width}"),
        );
        rows.push(format!("{path}.up.layer"), format!("{name}.up_conv"));
        rows.push(format!("{path}.norm"), format!("{name}.bn1"));
        residual(&mut rows, &format!("{path}.stage"), &name);
    }
    let last = "decoder.last.convs.0";
    rows.block(last, "out_tr.conv_block", ["conv", "adn.N"]);
    rows.push("head", "out_tr.conv2");
    rows
}

fn vnet(file: &WeightsFile) -> Option<(SegmentationConfig, usize)> {
    let ([input, _], kernel) = conv(file, "in_tr.conv_block.conv")?;
    let classes = outputs(file, "out_tr.conv2.weight")?;
    let config = SegmentationConfig::monai_vnet([input, classes]);
    Some((config, kernel.len()))
}
