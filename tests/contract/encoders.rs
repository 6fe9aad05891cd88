//! The rows of encoders.

use burn_skip::PerAxis;
use burn_skip::fuse::{Res2Conv, Res2ConvConfig, Res2Links};
use burn_skip::net::{
    Encoder, MitBlock, MitEncoder, MitEncoderConfig, MitStage, ResNetBlock, ResNetEncoder,
    ResNetEncoderConfig,
};

use super::decoders::{attention, layer_norm};
use super::reference::{self, Array, concat, conv_norm, conv_norm_relu};
use super::row::{Contract, Row, odd_sizes};
use super::{deepest, resnet};

pub fn rows() -> Vec<Box<dyn Contract>> {
    vec![
        Box::new(Row::<MitEncoder<4>, 4> {
            name: "MitEncoder",
            build: |device| {
                let stages = vec![
                    MitStage::new(4, 1, 2, 2).with_expansion(2),
                    MitStage::new(3, 2, 1, 1).with_expansion(1),
                ];
                MitEncoderConfig::new(stages)
                    .with_in_channels(2)
                    .init(device)
            },
            inputs: |n| vec![[2, 2, n, n + 3]],
            small: (9, [2, 3, 2, 2]),
            odd: vec![33],
            forward: |encoder, mut x| deepest(encoder.features(x.remove(0))),
            plan: Some(|encoder, shapes| Encoder::plan(encoder, shapes[0])),
            shape: |encoder, shapes| encoder.feature_shapes(shapes[0]).map(deepest),
            reference: |encoder, x| {
                let stages = encoder.patches.iter().zip(&encoder.stages);
                let parts = stages.zip(&encoder.norms);
                parts.fold(
                    x[0].clone(),
                    |x, (((patches, of_patches), blocks), norm)| {
                        let x = layer_norm(of_patches, &conv_norm(patches, &x));
                        layer_norm(
                            norm,
                            &blocks.iter().fold(x, |x, block| mit_block(block, &x)),
                        )
                    },
                )
            },
            misfit: (
                vec![[1, 2, 4, 9]],
                "stages.0.0.0.block.1.reduce.0.conv.Conv: height 1 with padding 0 + 0 is smaller than the window of 2 (kernel \
             2, dilation 1). Use a smaller kernel, more padding, or a map of height 2 or more.",
            ),
        }),
        Box::new(Row::<Res2Conv<4>, 4>::layer(
            "Res2Conv",
            |device| Res2ConvConfig::new(6).with_scale(3).init(device),
            |n| vec![[2, 6, n, n + 1]],
            (4, [2, 6, 4, 5]),
            |layer, x| res2_conv(layer, &x[0]),
            (
                [1, 4, 5, 5],
                "Res2Conv: channels differ: expected 6, got 4. Build the layer for 4 input channels, or project the map \
                 to 6 with a 1x1 convolution.",
            ),
        )),
        Box::new(Row::<Res2Conv<4>, 4>::layer(
            "Res2Conv with a pool",
            |device| {
                Res2ConvConfig::new(12)
                    .with_scale(3)
                    .with_groups(2)
                    .with_links(Res2Links::Pooled {
                        stride: [2, 1].into(),
                    })
                    .init(device)
            },
            |n| vec![[2, 12, n, n + 1]],
            (5, [2, 12, 3, 6]),
            |layer, x| res2_conv(layer, &x[0]),
            (
                [1, 12, 0, 5],
                "Res2Conv: height of the input is 0 in [1, 12, 0, 5]. Every axis of a feature map needs at least one \
                 element.",
            ),
        )),
        Box::new(Row::<ResNetEncoder<3>, 3> {
            name: "ResNetEncoder of Res2Net's blocks on one axis",
            build: |device| {
                ResNetEncoderConfig::new(ResNetBlock::Res2 { scale: 3 }, vec![2])
                    .with_in_channels(2)
                    .with_width(2)
                    .init(device)
            },
            inputs: |n| vec![[2, 2, n]],
            small: (13, [2, 8, 4]),
            odd: odd_sizes(3),
            forward: |encoder, mut x| deepest(encoder.features(x.remove(0))),
            plan: Some(|encoder, shapes| Encoder::plan(encoder, shapes[0])),
            shape: |encoder, shapes| encoder.feature_shapes(shapes[0]).map(deepest),
            reference: |encoder, x| resnet(encoder, &x[0]),
            misfit: (
                vec![[1, 3, 9]],
                "stem.conv.Conv: channels differ: expected 2, got 3. Build the layer for 3 input channels, or project \
                 the map to 2 with a 1x1 convolution.",
            ),
        }),
    ]
}

/// The convolution of each part of the channels but the last, one after another or each by itself.
pub fn res2_conv<const R: usize>(layer: &Res2Conv<R>, x: &Array) -> Array {
    let parts = layer.convs.len() + 1;
    let mut shape = x.shape.clone();
    shape[1] /= parts;
    let part = |index: usize| {
        Array::build(&shape, |i| {
            let mut at = i.to_vec();
            at[1] += index * shape[1];
            x.at(&at)
        })
    };
    let mut maps: Vec<Array> = Vec::new();
    for (index, conv) in layer.convs.iter().enumerate() {
        let read = match (&layer.config.links, maps.last()) {
            (Res2Links::Chain, Some(before)) => part(index).zip(before, |a, b| a + b),
            _ => part(index),
        };
        maps.push(conv_norm_relu(conv, &read));
    }
    let last = part(parts - 1);
    maps.push(match &layer.config.links {
        Res2Links::Chain => last,
        Res2Links::Pooled { stride } => mean_pool_3(&last, stride),
    });
    let maps: Vec<&Array> = maps.iter().collect();
    concat(&maps, 1)
}

/// A mean over 3 positions along each axis, as a convolution of each channel by itself.
fn mean_pool_3(x: &Array, stride: &PerAxis) -> Array {
    let axes = x.spatial().len();
    let stride = match stride {
        PerAxis::All(stride) => vec![*stride; axes],
        PerAxis::Each(strides) => strides.clone(),
    };
    let kernel = [vec![x.shape[1], 1], vec![3; axes]].concat();
    let weight = Array::build(&kernel, |_| 1.0 / 3f64.powi(axes as i32));
    let pads = vec![(1, 1); axes];
    reference::conv(x, &weight, None, &stride, 1, x.shape[1], &pads)
}

/// Attention, and then two linear layers around a depthwise convolution; each after a norm and added to what it reads.
fn mit_block((attend, feed_forward): &MitBlock<4>, x: &Array) -> Array {
    let (norm, layer) = &attend.block;
    let y = attention(layer, &layer_norm(norm, x)).zip(x, |a, b| a + b);
    let (norm, wide, depthwise, back) = &feed_forward.block;
    let wide = conv_norm(depthwise, &conv_norm(wide, &layer_norm(norm, &y)));
    conv_norm(back, &wide.map(gelu)).zip(&y, |a, b| a + b)
}

/// The exact GELU, `x (1 + erf(x / sqrt(2))) / 2`, with
/// `erf(z) = 2 / sqrt(pi) exp(-z^2) sum_n 2^n z^(2n+1) / (2n+1)!!`.
fn gelu(x: f64) -> f64 {
    let z = x / 2f64.sqrt();
    let (mut term, mut sum) = (z, z);
    for n in 1..1000 {
        term *= 2.0 * z * z / f64::from(2 * n + 1);
        sum += term;
    }
    let erf = 2.0 / std::f64::consts::PI.sqrt() * (-z * z).exp() * sum;
    x * (1.0 + erf) / 2.0
}
