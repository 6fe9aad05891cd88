//! The rows of networks whose levels are given one by one.

use burn_skip::activation::ActivationConfig;
use burn_skip::block::{ConvNormAct, ConvStyle};
use burn_skip::merge::Merge;
use burn_skip::net::{
    Decoder, Encoder, ResidualActivation, ResidualStage, Stage, StageBlock, StageConfig,
    StageEntry, StagedDecoder, StagedDecoderConfig, StagedEncoder, StagedEncoderConfig,
    StagedStepConfig, StepOrder,
};
use burn_skip::up::{UpConfig, UpLayer};
use burn_skip::{Padding, Shortcut};

use super::deepest;
use super::reference::{self, Array, concat, conv_layer, conv_norm, conv_norm_relu};
use super::row::{Contract, Row, odd_sizes};

pub fn rows() -> Vec<Box<dyn Contract>> {
    vec![
        Box::new(Row::<Stage<4>, 4>::layer(
            "Stage of residual blocks",
            |device| {
                let blocks = ResidualStage::new(2)
                    .with_shortcut(Shortcut::WideConv { kernel_size: 3 })
                    .with_activation(ResidualActivation::Both);
                StageConfig::new(4)
                    .with_stride([2, 1])
                    .with_block(StageBlock::Residual(blocks))
                    .init(3, device)
            },
            |n| vec![[2, 3, n, n + 1]],
            (5, [2, 4, 3, 6]),
            |stage, x| stage_of(stage, &x[0]),
            (
                [1, 4, 9, 9],
                "blocks.0.SkipAdd: channels differ: expected 3, got 4. Build the layer for 4 input channels, or \
                 project the map to 3 with a 1x1 convolution.",
            ),
        )),
        Box::new(Row::<StagedEncoder<4>, 4> {
            name: "StagedEncoder",
            build: |device| {
                let entry = StageEntry {
                    kernel_size: 2.into(),
                    style: ConvStyle::new().with_padding(Padding::Valid),
                };
                let repeat = ResidualStage::new(1).with_shortcut(Shortcut::Repeat);
                let blocks = ResidualStage::new(1).with_entry(entry);
                let stages = vec![
                    StageConfig::new(4).with_block(StageBlock::Residual(repeat)),
                    StageConfig::new(3)
                        .with_stride(2)
                        .with_block(StageBlock::Residual(blocks)),
                ];
                StagedEncoderConfig::new(2, stages).init(device)
            },
            inputs: |n| vec![[2, 2, n, n + 1]],
            small: (5, [2, 3, 2, 3]),
            odd: odd_sizes(4),
            forward: |encoder, mut x| deepest(encoder.features(x.remove(0))),
            plan: Some(|encoder, shapes| Encoder::plan(encoder, shapes[0])),
            shape: |encoder, shapes| encoder.feature_shapes(shapes[0]).map(deepest),
            reference: |encoder, x| {
                // The first stage repeats its two channels as the shortcut.
                let [first, second] = &encoder.stages[..] else {
                    panic!("two stages were asked for");
                };
                let twice = concat(&[&x[0], &x[0]], 1);
                let y = chain(&first.blocks[0].block, &x[0]);
                let y = y.zip(&twice, |a, b| a + b).relu();
                stage_of(second, &y)
            },
            misfit: (
                vec![[1, 3, 9, 9]],
                "StagedEncoder: channels differ: expected 2, got 3. Build the layer for 3 input channels, or project \
                 the map to 2 with a 1x1 convolution.",
            ),
        }),
        Box::new(Row::<StagedDecoder<4>, 4> {
            name: "StagedDecoder of sums",
            build: |device| {
                let step = StagedStepConfig::new(2)
                    .with_project(true)
                    .with_up(UpConfig::linear())
                    .with_merge(Merge::Add)
                    .with_stage(one_conv(3));
                StagedDecoderConfig::new(vec![step])
                    .with_last(one_conv(2))
                    .init(&[2, 4], device)
            },
            inputs: |n| vec![[2, 2, n, n + 1], [2, 4, n / 2, n]],
            small: (5, [2, 2, 5, 6]),
            odd: vec![33],
            forward: |decoder, maps| decoder.forward(maps, &[9, 9]),
            plan: Some(|decoder, shapes| decoder.plan(shapes, &[9, 9])),
            shape: |decoder, shapes| decoder.output_shape(shapes, &[9, 9]),
            reference: |decoder, maps| {
                let step = &decoder.steps[0];
                let project = step.project.as_ref().expect("a projection was asked for");
                let up = reference::linear(&conv_layer(project, &maps[1]), maps[0].spatial());
                let sum = up.zip(&maps[0], |a, b| a + b);
                let y = stage_of(step.stage.as_ref().expect("a stage was asked for"), &sum);
                stage_of(
                    decoder.last.as_ref().expect("a last stage was asked for"),
                    &y,
                )
            },
            misfit: (
                vec![[1, 2, 5, 6], [2, 4, 2, 5]],
                "steps.0.StagedStep: batch differs: deep 2, skip 1. Give all maps the same batch.",
            ),
        }),
        Box::new(Row::<StagedDecoder<4>, 4> {
            name: "StagedDecoder that merges first",
            build: |device| {
                let step = StagedStepConfig::new(3)
                    .with_up(UpConfig::ConvTranspose {
                        kernel_size: 3.into(),
                        stride: 2.into(),
                        padding: Default::default(),
                        bias: false,
                    })
                    .with_activation(ActivationConfig::Relu);
                StagedDecoderConfig::new(vec![step])
                    .with_order(StepOrder::MergeFirst)
                    .init(&[2, 4], device)
            },
            inputs: |n| vec![[2, 2, n, n + 1], [2, 4, n, n + 1]],
            small: (4, [2, 3, 8, 10]),
            odd: vec![33],
            forward: |decoder, maps| {
                let image = doubled(maps[0].dims());
                decoder.forward(maps, &image)
            },
            plan: Some(|decoder, shapes| decoder.plan(shapes, &doubled(shapes[0]))),
            shape: |decoder, shapes| decoder.output_shape(shapes, &doubled(shapes[0])),
            reference: |decoder, maps| {
                let UpLayer::Transpose(up) = &decoder.steps[0].up.layer else {
                    panic!("a transposed convolution was asked for");
                };
                assert!(up.bias.is_none());
                let weight = Array::param(&up.weight);
                let merged = concat(&[&maps[1], &maps[0]], 1);
                let size: Vec<usize> = maps[0].spatial().iter().map(|n| 2 * n).collect();
                // (n - 1) 2 + 3 - 2 n = 1 to cut: at the start.
                reference::conv_transpose(&merged, &weight, None, &[2, 2], &[1, 1], &size).relu()
            },
            misfit: (
                vec![[1, 2, 5, 6], [2, 4, 5, 6]],
                "steps.0.StagedStep: batch differs: deep 2, skip 1. Give all maps the same batch.",
            ),
        }),
    ]
}

/// A 3x3 convolution with batch norm and ReLU.
fn one_conv(width: usize) -> StageConfig {
    StageConfig::new(width).with_block(StageBlock::Convs { count: 1 })
}

/// The image that is twice as large as its finest map.
fn doubled([_, _, height, width]: [usize; 4]) -> [usize; 2] {
    [2 * height, 2 * width]
}

/// Convolutions one after another, of which each may have a ReLU.
fn chain(convs: &[ConvNormAct<4>], x: &Array) -> Array {
    convs
        .iter()
        .fold(x.clone(), |x, conv| match conv.activation {
            Some(_) => conv_norm_relu(conv, &x),
            None => conv_norm(conv, &x),
        })
}

fn stage_of(stage: &Stage<4>, x: &Array) -> Array {
    stage
        .blocks
        .iter()
        .fold(chain(&stage.convs, x), |x, block| {
            let shortcut = match &block.shortcut {
                Some((_, conv)) => conv_norm(conv, &x),
                None => x.clone(),
            };
            let sum = chain(&block.block, &x).zip(&shortcut, |a, b| a + b);
            match block.activation {
                Some(_) => sum.relu(),
                None => sum,
            }
        })
}
