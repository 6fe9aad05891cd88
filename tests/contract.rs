//! The contract: one row a layer, and every check for every row.
//!
//! A row holds how the layer is built, its inputs, the expected shape, a reference that computes
//! its values in another way, and inputs that do not fit with the error they must give. The rows
//! drive the values on every device, the gradients to every input and parameter on every device
//! and against finite differences in f64, saving and loading, odd sizes, and the errors.

#[path = "contract/decoders.rs"]
mod decoders;
#[path = "contract/encoders.rs"]
mod encoders;
#[path = "contract/gates.rs"]
mod gates;
#[path = "contract/merges.rs"]
mod merges;
#[path = "support/reference.rs"]
mod reference;
#[path = "support/row.rs"]
mod row;
#[path = "contract/stages.rs"]
mod stages;

use crate::devices;
use burn::nn::Relu;
use burn::tensor::Device;
use burn_skip::block::{ConvNormAct, ConvNormActConfig, DoubleConv, DoubleConvConfig};
use burn_skip::conv::{Conv, ConvConfig, ConvTranspose, ConvTransposeConfig};
use burn_skip::down::{Down, DownConfig};
use burn_skip::fit::Fit;
use burn_skip::fuse::BranchGate;
use burn_skip::gate::{AnyGate, Gate, GateConfig};
use burn_skip::merge::{Merge, Order};
use burn_skip::net::{
    AnyEncoder, Classifier, Decoder, DenseNetEncoder, DenseNetEncoderConfig, Encoder, PlainEncoder,
    PlainEncoderConfig, ResNetBlock, ResNetEncoder, ResNetEncoderConfig, ResNetLayer, Residual,
    Unet, UnetConfig, UnetDecoder, UnetDecoderConfig,
};
use burn_skip::pool::{Pool, PoolConfig, PoolKind};
use burn_skip::resize::ResizeMode;
use burn_skip::up::{Up, UpConfig, UpLayer};
use burn_skip::{
    BranchConfig, DirectSum, DropPath, FlattenPadReshape, Fuse, FuseConfig, Padding, Shortcut,
    SkipAdd, SkipAddConfig, SkipConcat, SkipConcatConfig, UpsampleConcat, UpsampleConcatConfig,
};

use reference::{Array, centre, concat, conv_layer, conv_norm, conv_norm_relu, double_conv};
use row::{Contract, Row, odd_sizes};

/// A stride-2 block whose values the reference knows: convolution, norm, activation.
fn strided<const R: usize>(device: &Device) -> ConvNormAct<R> {
    ConvNormActConfig::new([2, 3], 3)
        .with_stride(2)
        .init(device)
}

fn convolutions() -> Vec<Box<dyn Contract>> {
    vec![
        Box::new(Row::<Conv<4>, 4>::layer(
            "Conv",
            |device| {
                ConvConfig::new([4, 6], [3, 2])
                    .with_groups(2)
                    .with_dilation(2)
                    .init(device)
            },
            |n| vec![[2, 4, n, n + 2]],
            (5, [2, 6, 5, 7]),
            |conv, x| conv_layer(conv, &x[0]),
            (
                [1, 3, 9, 9],
                "Conv: channels differ: expected 4, got 3. Build the layer for 3 input channels, \
                 or project the map to 4 with a 1x1 convolution.",
            ),
        )),
        Box::new(Row::<ConvTranspose<4>, 4> {
            name: "ConvTranspose",
            build: |device| ConvTransposeConfig::new([2, 3], [4, 3], [2, 3]).init(device),
            inputs: |n| vec![[1, 2, n, n]],
            small: (4, [1, 3, 9, 12]),
            odd: odd_sizes(4),
            forward: |up, mut x| {
                let n = x[0].dims()[2];
                up.forward_to(x.remove(0), &[2 * n + 1, 3 * n])
            },
            plan: None, // to a size that is given
            shape: |up, shapes| {
                let n = shapes[0][2];
                up.config.output_shape_to(shapes[0], &[2 * n + 1, 3 * n])
            },
            reference: |up, x| {
                let n = x[0].shape[2];
                let bias = up.bias.as_ref().map(Array::param);
                let weight = Array::param(&up.weight);
                // (n - 1) 2 + 4 - (2 n + 1) = 1 to cut: one at the start, none at the end.
                let start = [1, 0];
                let size = [2 * n + 1, 3 * n];
                reference::conv_transpose(&x[0], &weight, bias.as_ref(), &[2, 3], &start, &size)
            },
            misfit: (
                vec![[1, 2, 0, 4]],
                "ConvTranspose: height of the input is 0 in [1, 2, 0, 4]. Every axis of a feature \
                 map needs at least one element.",
            ),
        }),
        Box::new(Row::<ConvNormAct<4>, 4>::layer(
            "ConvNormAct",
            |device| {
                ConvNormActConfig::new([3, 4], 3)
                    .with_stride([2, 1])
                    .init(device)
            },
            |n| vec![[2, 3, n, n + 1]],
            (6, [2, 4, 3, 7]),
            |block, x| conv_norm_relu(block, &x[0]),
            (
                [1, 4, 9, 9],
                "conv.Conv: channels differ: expected 3, got 4. Build the layer for 4 input \
                 channels, or project the map to 3 with a 1x1 convolution.",
            ),
        )),
        Box::new(Row::<DoubleConv<4>, 4>::layer(
            "DoubleConv",
            |device| {
                let style = burn_skip::block::ConvStyle::new().with_padding(Padding::Valid);
                DoubleConvConfig::new([2, 3])
                    .with_mid_channels(4)
                    .with_style(style)
                    .init(device)
            },
            |n| vec![[1, 2, n, n + 2]],
            (6, [1, 3, 2, 4]),
            |block, x| double_conv(block, &x[0]),
            (
                [1, 2, 4, 9],
                "second.conv.Conv: height 2 with padding 0 + 0 is smaller than the window of 3 \
                 (kernel 3, dilation 1). Use a smaller kernel, more padding, or a map of height 3 \
                 or more.",
            ),
        )),
    ]
}

fn scales() -> Vec<Box<dyn Contract>> {
    vec![
        Box::new(Row::<Pool, 5>::layer(
            "Pool",
            |_| {
                PoolConfig::new(PoolKind::Max, 2)
                    .with_ceil_mode(true)
                    .init()
            },
            |n| vec![[1, 2, n, 5, n]],
            (5, [1, 2, 3, 3, 3]),
            |_, x| {
                let size: Vec<usize> = x[0].spatial().iter().map(|n| n.div_ceil(2)).collect();
                reference::pool(&x[0], &[2; 3], &[2; 3], &size, true)
            },
            (
                [1, 2, 0, 4, 4],
                "Pool: depth of the input is 0 in [1, 2, 0, 4, 4]. Every axis of a feature map \
                 needs at least one element.",
            ),
        )),
        Box::new(Row::<Down<4>, 4>::layer(
            "Down",
            |device| DownConfig::blur().init(2, device),
            |n| vec![[1, 2, n, n + 1]],
            (5, [1, 2, 3, 3]),
            |_, x| {
                let size: Vec<usize> = x[0].spatial().iter().map(|n| n.div_ceil(2)).collect();
                reference::along_axes(&x[0], &size, |i, from, _| {
                    let reflect =
                        |p: i64| (from as i64 - 1 - (from as i64 - 1 - p.abs()).abs()) as usize;
                    let centre = 2 * i as i64;
                    [(-1, 0.25), (0, 0.5), (1, 0.25)]
                        .map(|(d, w)| (reflect(centre + d), w))
                        .to_vec()
                })
            },
            (
                [1, 2, 1, 4],
                "Down: height 1, reflected by 1, is too short for a blur of 3 taps. Use fewer taps, \
                 or a larger map.",
            ),
        )),
        Box::new(Row::<Up<4>, 4>::layer(
            "Up",
            |device| UpConfig::pixel_shuffle().init([3, 2], device),
            |n| vec![[1, 3, n, n + 1]],
            (4, [1, 2, 8, 10]),
            |up, x| match &up.layer {
                UpLayer::Project(Some(conv)) => {
                    reference::pixel_shuffle(&conv_layer(conv, &x[0]), 2)
                }
                _ => panic!("a pixel shuffle projects"),
            },
            (
                [1, 2, 4, 4],
                "Up: channels differ: expected 3, got 2. Build the layer for 2 input channels, or \
                 project the map to 3 with a 1x1 convolution.",
            ),
        )),
    ]
}

/// The three layers that give the crate its name, each on one, two and three axes.
fn skips() -> Vec<Box<dyn Contract>> {
    fn concat_row<const R: usize>(name: &'static str, small: [usize; R]) -> Box<dyn Contract> {
        Box::new(Row::<SkipConcat<ConvNormAct<R>>, R>::layer(
            name,
            |device| {
                SkipConcatConfig::new()
                    .with_fit(Fit::crop())
                    .init(strided(device))
            },
            |n| vec![sized::<R>(2, n)],
            (7, small),
            |skip, x| {
                let deep = conv_norm_relu(&skip.block, &x[0]);
                concat(&[&deep, &centre(&x[0], deep.spatial())], 1)
            },
            (
                sized::<R>(3, 8),
                "block.conv.Conv: channels differ: expected 2, got 3. Build the layer for 3 input \
                 channels, or project the map to 2 with a 1x1 convolution.",
            ),
        ))
    }
    fn add_row<const R: usize>(name: &'static str, small: [usize; R]) -> Box<dyn Contract> {
        Box::new(Row::<SkipAdd<ConvNormAct<R>, R>, R>::layer(
            name,
            |device| {
                SkipAddConfig::new([2, 3])
                    .with_stride(2)
                    .with_shortcut(Shortcut::PooledConv)
                    .with_layer_scale(0.1)
                    .init(strided(device), device)
            },
            |n| vec![sized::<R>(2, n)],
            (7, small),
            |skip, x| {
                let Some((Some(_), projection)) = &skip.shortcut else {
                    panic!("the shapes ask for a pooled projection");
                };
                let block = conv_norm_relu(&skip.block, &x[0]);
                let scale = Array::param(skip.layer_scale.as_ref().expect("it was asked for"));
                let two = vec![2; R - 2];
                let pooled = reference::pool(&x[0], &two, &two, block.spatial(), false);
                let shortcut = conv_norm(projection, &pooled);
                block
                    .scale_channels(&scale.data)
                    .zip(&shortcut, |a, b| a + b)
                    .relu()
            },
            (
                sized::<R>(4, 8),
                "SkipAdd: channels differ: expected 2, got 4. Build the layer for 4 input \
                 channels, or project the map to 2 with a 1x1 convolution.",
            ),
        ))
    }
    fn gated_add_row() -> Box<dyn Contract> {
        Box::new(Row::<SkipAdd<ConvNormAct<4>, 4>, 4>::layer(
            "SkipAdd with a gate",
            |device| {
                SkipAddConfig::new([2, 3])
                    .with_stride(2)
                    .with_gate(GateConfig::se(1))
                    .init(strided(device), device)
            },
            |n| vec![sized::<4>(2, n)],
            (7, [1, 3, 4, 4]),
            |skip, x| {
                let (Some((None, projection)), Some(AnyGate::Se(gate))) =
                    (&skip.shortcut, &skip.gate)
                else {
                    panic!("a projection and a gate were asked for");
                };
                let block = conv_norm_relu(&skip.block, &x[0]);
                let squeezed = conv_norm(&gate.squeeze, &means(&block)).relu();
                let weight = conv_norm(&gate.excite, &squeezed).sigmoid();
                let gated = Array::build(&block.shape, |i| {
                    block.at(i) * weight.at(&[i[0], i[1], 0, 0])
                });
                let shortcut = conv_norm(projection, &x[0]);
                gated.zip(&shortcut, |a, b| a + b).relu()
            },
            (
                sized::<4>(4, 8),
                "SkipAdd: channels differ: expected 2, got 4. Build the layer for 4 input \
                 channels, or project the map to 2 with a 1x1 convolution.",
            ),
        ))
    }
    fn upsample_row<const R: usize>(name: &'static str, small: [usize; R]) -> Box<dyn Contract> {
        Box::new(Row::<UpsampleConcat<R>, R> {
            name,
            build: |device| {
                UpsampleConcatConfig::new(3, 2, 2)
                    .with_up(UpConfig::linear())
                    .with_order(Order::SkipFirst)
                    .init(device)
            },
            inputs: |n| vec![sized::<R>(3, n / 2), sized::<R>(2, n)],
            small: (7, small),
            odd: odd_sizes(R),
            forward: |up, mut x| {
                let skip = x.remove(1);
                up.forward(x.remove(0), skip)
            },
            plan: Some(|up, shapes| up.plan(shapes[0], shapes[1])),
            shape: |up, shapes| up.output_shape(shapes[0], shapes[1]),
            reference: |up, x| {
                let deep = reference::linear(&x[0], x[1].spatial());
                double_conv(&up.block, &concat(&[&x[1], &deep], 1))
            },
            misfit: (
                vec![sized::<R>(3, 4), sized::<R>(3, 8)],
                "skip.UpsampleConcat: channels differ: expected 2, got 3. Build the layer for 3 \
                 input channels, or project the map to 2 with a 1x1 convolution.",
            ),
        })
    }
    vec![
        concat_row::<3>("SkipConcat<3>", [1, 5, 4]),
        concat_row::<4>("SkipConcat<4>", [1, 5, 4, 4]),
        concat_row::<5>("SkipConcat<5>", [1, 5, 4, 4, 2]),
        add_row::<3>("SkipAdd<3>", [1, 3, 4]),
        add_row::<4>("SkipAdd<4>", [1, 3, 4, 4]),
        add_row::<5>("SkipAdd<5>", [1, 3, 4, 4, 2]),
        gated_add_row(),
        upsample_row::<3>("UpsampleConcat<3>", [1, 2, 7]),
        upsample_row::<4>("UpsampleConcat<4>", [1, 2, 7, 7]),
        upsample_row::<5>("UpsampleConcat<5>", [1, 2, 7, 7, 3]),
    ]
}

/// A map of size `n` on the first two spatial axes, and 3 on a third.
fn sized<const R: usize>(channels: usize, n: usize) -> [usize; R] {
    let mut shape = [1; R];
    shape[1] = channels;
    shape[2..].fill(n);
    if R == 5 {
        shape[4] = 3;
    }
    shape
}

fn fusions() -> Vec<Box<dyn Contract>> {
    vec![
        Box::new(Row::<Fuse<4, Relu>, 4> {
            name: "Fuse",
            build: |device| {
                let branches = vec![
                    BranchConfig::new(4)
                        .with_project(2)
                        .with_fit(Fit::Resize(ResizeMode::Nearest)),
                    BranchConfig::new(2).with_fit(Fit::pad()),
                    BranchConfig::new(2).with_gate(BranchGate {
                        gate: GateConfig::scse(1),
                        guide: 0,
                    }),
                ];
                FuseConfig::new(branches, Merge::Mean).init_with(Relu::new(), device)
            },
            inputs: |n| vec![[1, 4, n / 2, n], [1, 2, n - 1, n], [1, 2, n, n + 1]],
            small: (5, [1, 2, 5, 6]),
            odd: odd_sizes(4),
            forward: |fuse, x| fuse.forward(x),
            plan: Some(|fuse, shapes| fuse.plan(shapes)),
            shape: |fuse, shapes| fuse.output_shape(shapes),
            reference: |fuse, x| {
                let size = x[2].spatial();
                let projection = fuse.branches[0].projection.as_ref().expect("projected");
                let a = reference::nearest(&conv_norm(projection, &x[0]), size);
                let b = centre(&x[1], size);
                let Some(AnyGate::Scse(gate)) = &fuse.branches[2].gate else {
                    panic!("the third branch is gated");
                };
                let c = scse(gate, &x[2]);
                a.zip(&b, |a, b| a + b).zip(&c, |s, c| (s + c) / 3.0).relu()
            },
            misfit: (
                vec![[1, 4, 3, 3], [1, 2, 9, 3], [1, 2, 6, 6]],
                "branches.1.fit.Fit: height 9 is larger than 6: Fit::Pad cannot make it smaller. Choose \
                 Fit::PadOrCrop, Fit::Resize, or a larger target.",
            ),
        }),
        Box::new(Row::<AnyGate<4>, 4> {
            name: "AttentionGate",
            build: |device| GateConfig::attention(3).init(2, 4, device),
            inputs: |n| vec![[2, 2, n, n], [2, 4, n, n]],
            small: (4, [2, 2, 4, 4]),
            odd: odd_sizes(4),
            forward: |gate, mut x| {
                let guide = x.remove(1);
                gate.forward(x.remove(0), guide)
            },
            plan: Some(|gate, shapes| gate.plan(shapes[0], shapes[1])),
            shape: |gate, shapes| gate.output_shape(shapes[0], shapes[1]),
            reference: |gate, x| {
                let AnyGate::Attention(gate) = gate else {
                    panic!("an attention gate was built");
                };
                let sum = conv_norm(&gate.of_map, &x[0])
                    .zip(&conv_norm(&gate.of_guide, &x[1]), |a, b| a + b);
                let weight = conv_norm(&gate.weight, &sum.relu()).sigmoid();
                Array::build(&x[0].shape, |i| {
                    x[0].at(i) * weight.at(&[i[0], 0, i[2], i[3]])
                })
            },
            misfit: (
                vec![[1, 2, 4, 4], [1, 4, 4, 5]],
                "Gate: width differs: map 4, guide 5. Fit both to one size before the gate.",
            ),
        }),
        Box::new(Row::<AnyGate<4>, 4> {
            name: "Se",
            build: |device| GateConfig::se(2).init(4, 4, device),
            inputs: |n| vec![[2, 4, n, n + 1]],
            small: (4, [2, 4, 4, 5]),
            odd: odd_sizes(4),
            forward: |gate, x| gate.forward(x[0].clone(), x[0].clone()), // it ignores its guide
            plan: Some(|gate, shapes| gate.plan(shapes[0], shapes[0])),
            shape: |gate, shapes| gate.output_shape(shapes[0], shapes[0]),
            reference: |gate, x| {
                let AnyGate::Se(gate) = gate else {
                    panic!("a squeeze-and-excitation gate was built");
                };
                let squeezed = conv_norm(&gate.squeeze, &means(&x[0])).relu();
                let weight = conv_norm(&gate.excite, &squeezed).sigmoid();
                Array::build(&x[0].shape, |i| x[0].at(i) * weight.at(&[i[0], i[1], 0, 0]))
            },
            misfit: (
                vec![[1, 3, 4, 4]],
                "Gate: channels differ: expected 4, got 3. Build the layer for 3 input channels, or \
                 project the map to 4 with a 1x1 convolution.",
            ),
        }),
        Box::new(Row::<DirectSum, 4> {
            name: "DirectSum",
            build: |_| DirectSum::new(),
            inputs: |n| vec![[1, 2, n, n], [1, 2, 6, 3]],
            small: (15, [1, 2, 21, 18]),
            odd: odd_sizes(4),
            forward: |sum, x| sum.forward(x),
            plan: None,
            shape: |sum, shapes| sum.output_shape(shapes),
            reference: |_, x| {
                let [h, w] = [x[0].shape[2], x[0].shape[3]];
                let shape = [1, 2, h + x[1].shape[2], w + x[1].shape[3]];
                Array::build(&shape, |i| match (i[2] < h, i[3] < w) {
                    (true, true) => x[0].at(i),
                    (false, false) => x[1].at(&[i[0], i[1], i[2] - h, i[3] - w]),
                    _ => 0.0,
                })
            },
            misfit: (
                vec![[1, 128, 15, 15], [1, 64, 6, 6]],
                "DirectSum: channels differ: deep 128, skip 64. Project deep to 64 channels with a \
                 1x1 convolution, or merge by concat.",
            ),
        }),
        Box::new(Row::<FlattenPadReshape, 4> {
            name: "FlattenPadReshape",
            build: |_| FlattenPadReshape::new([72, 72]),
            inputs: |n| vec![[1, 2, n, n], [1, 2, 6, 6]],
            small: (15, [1, 2, 72, 72]),
            odd: odd_sizes(4),
            forward: |layer, mut x| {
                let second = x.remove(1);
                layer.forward(x.remove(0), second)
            },
            plan: None,
            shape: |layer, shapes| layer.output_shape(shapes[0], shapes[1]),
            reference: |_, x| {
                let count = x[0].shape[2] * x[0].shape[3];
                Array::build(&[1, 2, 72, 72], |i| {
                    let position = i[2] * 72 + i[3];
                    let map = usize::from(position >= count);
                    let local = position - map * count;
                    let width = x[map].shape[3];
                    if local < width * x[map].shape[2] {
                        x[map].at(&[i[0], i[1], local / width, local % width])
                    } else {
                        0.0
                    }
                })
            },
            misfit: (
                vec![[1, 2, 72, 72], [1, 2, 6, 6]],
                "FlattenPadReshape: 5184 + 36 positions do not fit in [72, 72], which has 5184. \
                 Choose a larger size.",
            ),
        }),
        // What drops is random and tested beside the layer; here it is a link in a tuple.
        Box::new(Row::<(DropPath, ConvNormAct<3>), 3>::layer(
            "DropPath",
            |device| (DropPath::new(0.0), strided(device)),
            |n| vec![[2, 2, n]],
            (5, [2, 3, 3]),
            |layers, x| conv_norm_relu(&layers.1, &x[0]),
            (
                [2, 3, 5],
                "1.conv.Conv: channels differ: expected 2, got 3. Build the layer for 3 input \
                 channels, or project the map to 2 with a 1x1 convolution.",
            ),
        )),
    ]
}

/// The mean of each channel of each sample.
fn means(x: &Array) -> Array {
    let count = x.spatial().iter().product::<usize>() as f64;
    Array::build(&[x.shape[0], x.shape[1], 1, 1], |i| {
        let mut sum = 0.0;
        for h in 0..x.shape[2] {
            for w in 0..x.shape[3] {
                sum += x.at(&[i[0], i[1], h, w]);
            }
        }
        sum / count
    })
}

fn scse(gate: &burn_skip::gate::Scse<4>, x: &Array) -> Array {
    let squeezed = conv_norm(&gate.squeeze, &means(x)).relu();
    let of_channel = conv_norm(&gate.excite, &squeezed).sigmoid();
    let of_position = conv_norm(&gate.spatial, x).sigmoid();
    Array::build(&x.shape, |i| {
        x.at(i) * (of_channel.at(&[i[0], i[1], 0, 0]) + of_position.at(&[i[0], 0, i[2], i[3]]))
    })
}

fn networks() -> Vec<Box<dyn Contract>> {
    vec![
        Box::new(Row::<Unet<4>, 4>::layer(
            "Unet",
            |device| {
                UnetConfig::new(2, 3, vec![2, 3, 4])
                    .with_up(UpConfig::Resize {
                        mode: ResizeMode::linear(),
                        scale: 2.into(),
                        project: true,
                    })
                    .init(device)
            },
            |n| vec![[1, 2, n, n + 4]],
            (9, [1, 3, 9, 13]),
            |net, x| {
                let halve = |x: &Array| {
                    let size: Vec<usize> = x.spatial().iter().map(|n| n / 2).collect();
                    reference::pool(x, &[2, 2], &[2, 2], &size, true)
                };
                let AnyEncoder::Plain(encoder) = &net.encoder else {
                    panic!("a plain encoder was asked for");
                };
                let mut maps = vec![double_conv(&encoder.stem, &x[0])];
                for level in &encoder.levels {
                    let down = halve(maps.last().expect("the stem"));
                    maps.push(double_conv(&level.block, &down));
                }
                let mut deep = maps.pop().expect("the deepest");
                for (decoder, skip) in net.decoder.steps.iter().zip(&maps).rev() {
                    let UpLayer::Project(Some(projection)) = &decoder.up.layer else {
                        panic!("a projection was asked for");
                    };
                    // The other order than the layer's: the two commute.
                    let resized = reference::linear(&deep, skip.spatial());
                    let up = conv_layer(projection, &resized);
                    deep = double_conv(&decoder.block, &concat(&[&up, skip], 1));
                }
                conv_layer(&net.head, &deep)
            },
            (
                [1, 2, 3, 8],
                "encoder.levels.1.down.pool.Pool: height 1 with padding 0 + 0 is smaller than the window of 2 (kernel \
             2, dilation 1). Use a smaller kernel, more padding, or a map of height 2 or more.",
            ),
        )),
        Box::new(Row::<ResNetEncoder<4>, 4> {
            name: "ResNetEncoder",
            build: |device| {
                ResNetEncoderConfig::new(ResNetBlock::Basic, vec![1, 2])
                    .with_in_channels(2)
                    .with_width(2)
                    .init(device)
            },
            inputs: |n| vec![[2, 2, n, n + 2]],
            small: (9, [2, 4, 2, 2]),
            odd: odd_sizes(4),
            forward: |encoder, mut x| deepest(encoder.features(x.remove(0))),
            plan: Some(|encoder, shapes| Encoder::plan(encoder, shapes[0])),
            shape: |encoder, shapes| encoder.feature_shapes(shapes[0]).map(deepest),
            reference: |encoder, x| resnet(encoder, &x[0]),
            misfit: (
                vec![[1, 3, 9, 9]],
                "stem.conv.Conv: channels differ: expected 2, got 3. Build the layer for 3 input \
                 channels, or project the map to 2 with a 1x1 convolution.",
            ),
        }),
        Box::new(Row::<ResNetEncoder<3>, 3> {
            name: "ResNetEncoder of bottlenecks on one axis",
            build: |device| {
                ResNetEncoderConfig::new(ResNetBlock::Bottleneck, vec![2])
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
                vec![[1, 2, 0]],
                "stem.conv.Conv: length of the input is 0 in [1, 2, 0]. Every axis of a feature map needs at least one element.",
            ),
        }),
        Box::new(Row::<DenseNetEncoder<4>, 4> {
            name: "DenseNetEncoder",
            build: |device| {
                DenseNetEncoderConfig::new(vec![2, 1])
                    .with_in_channels(2)
                    .with_width(4)
                    .with_growth(2)
                    .with_bottleneck(2)
                    .init(device)
            },
            inputs: |n| vec![[2, 2, n, n + 2]],
            small: (15, [2, 6, 2, 2]),
            odd: odd_sizes(4),
            forward: |encoder, mut x| deepest(encoder.features(x.remove(0))),
            plan: Some(|encoder, shapes| Encoder::plan(encoder, shapes[0])),
            shape: |encoder, shapes| encoder.feature_shapes(shapes[0]).map(deepest),
            reference: |encoder, x| {
                let mut x = max_pool_3(&conv_norm_relu(&encoder.stem, &x[0]));
                for (index, block) in encoder.blocks.iter().enumerate() {
                    for layer in block {
                        let (first, second) = &layer.block;
                        let added = norm_relu_conv(second, &norm_relu_conv(first, &x));
                        x = concat(&[&x, &added], 1);
                    }
                    if let Some((conv, _)) = encoder.transitions.get(index) {
                        let y = norm_relu_conv(conv, &x);
                        let size: Vec<usize> = y.spatial().iter().map(|n| n / 2).collect();
                        x = reference::pool(&y, &[2, 2], &[2, 2], &size, false);
                    }
                }
                reference::norm_layer(&encoder.norm, &x).relu()
            },
            misfit: (
                vec![[1, 2, 3, 15]],
                "transitions.0.1.Pool: height 1 with padding 0 + 0 is smaller than the window of 2 \
                 (kernel 2, dilation 1). Use a smaller kernel, more padding, or a map of height 2 or more.",
            ),
        }),
        // The logits are a map of one position, so that the row's checks take them.
        Box::new(Row::<Classifier<PlainEncoder<4>>, 4> {
            name: "Classifier",
            build: |device| {
                let encoder = PlainEncoderConfig::new(2, vec![2, 3]).init::<4>(device);
                Classifier::new(encoder, 5, device)
            },
            inputs: |n| vec![[2, 2, n, n + 1]],
            small: (5, [2, 5, 1, 1]),
            odd: odd_sizes(4),
            forward: |net, mut x| net.forward(x.remove(0)).unsqueeze_dims(&[2, 3]),
            plan: Some(|net, shapes| net.plan(shapes[0])),
            shape: |net, shapes| {
                let logits = net.output_shape(shapes[0]);
                logits.map(|[batch, classes]| [batch, classes, 1, 1])
            },
            reference: |net, x| {
                let encoder = &net.encoder;
                let map = double_conv(&encoder.stem, &x[0]);
                let size: Vec<usize> = map.spatial().iter().map(|n| n / 2).collect();
                let down = reference::pool(&map, &[2, 2], &[2, 2], &size, true);
                let map = double_conv(&encoder.levels[0].block, &down);
                let size = map.spatial().to_vec();
                let mean = reference::pool(&map, &size, &size, &[1, 1], false);
                let weight = Array::param(&net.head.weight);
                let bias = Array::param(net.head.bias.as_ref().expect("a bias"));
                Array::build(&[x[0].shape[0], 5, 1, 1], |i| {
                    let products =
                        (0..3).map(|c| mean.at(&[i[0], c, 0, 0]) * weight.at(&[c, i[1]]));
                    products.sum::<f64>() + bias.at(&[i[1]])
                })
            },
            misfit: (
                vec![[1, 2, 5, 1]],
                "encoder.levels.0.down.pool.Pool: width 1 with padding 0 + 0 is smaller than the window of 2 \
                 (kernel 2, dilation 1). Use a smaller kernel, more padding, or a map of width 2 or more.",
            ),
        }),
        Box::new(Row::<UnetDecoder<4>, 4> {
            name: "UnetDecoder with a last step",
            build: |device| UnetDecoderConfig::new(vec![2, 3]).init(&[2, 4], device),
            inputs: |n| vec![[2, 2, n, n + 1], [2, 4, n / 2, n]],
            small: (5, [2, 2, 11, 12]),
            odd: vec![33],
            forward: |decoder, maps| {
                let image = image_of(maps[0].dims());
                decoder.forward(maps, &image)
            },
            plan: Some(|decoder, shapes| decoder.plan(shapes, &image_of(shapes[0]))),
            shape: |decoder, shapes| decoder.output_shape(shapes, &image_of(shapes[0])),
            reference: |decoder, maps| {
                let up = reference::nearest(&maps[1], maps[0].spatial());
                let step = double_conv(&decoder.steps[0].block, &concat(&[&up, &maps[0]], 1));
                let (_, block) = decoder.last.as_ref().expect("two widths for two maps");
                let [height, width] = [maps[0].spatial()[0], maps[0].spatial()[1]];
                let image = image_of([1, 1, height, width]);
                double_conv(block, &reference::nearest(&step, &image))
            },
            misfit: (
                vec![[1, 2, 5, 6], [2, 4, 2, 5]],
                "steps.0.UpsampleConcat: batch differs: deep 2, skip 1. Give all maps the same batch.",
            ),
        }),
    ]
}

fn deepest<T>(maps: Vec<T>) -> T {
    maps.into_iter()
        .next_back()
        .expect("an encoder gives one map at least")
}

/// The image whose finest map has this shape.
fn image_of([_, _, height, width]: [usize; 4]) -> [usize; 2] {
    [2 * height + 1, 2 * width]
}

/// A max pool of 3 with stride 2 and padding 1.
fn max_pool_3(x: &Array) -> Array {
    let mut shape = x.shape.clone();
    for size in &mut shape[2..] {
        *size = size.div_ceil(2);
    }
    Array::build(&shape, |index| {
        let axes = index.len() - 2;
        let mut largest = f64::NEG_INFINITY;
        for offset in 0..3usize.pow(axes as u32) {
            let mut at = index.to_vec();
            let inside = (0..axes).all(|n| {
                let position = 2 * index[2 + n] + (offset / 3usize.pow(n as u32)) % 3;
                at[2 + n] = position.wrapping_sub(1);
                (1..=x.shape[2 + n]).contains(&position)
            });
            if inside {
                largest = largest.max(x.at(&at));
            }
        }
        largest
    })
}

fn resnet<const R: usize>(encoder: &ResNetEncoder<R>, x: &Array) -> Array {
    let stem = max_pool_3(&conv_norm_relu(&encoder.stem, x));
    let blocks = encoder.stages.iter().flatten();
    blocks.fold(stem, |x, block| residual(block, &x))
}

/// A block of convolutions, the last without activation, and the shortcut over it.
fn residual<const R: usize>(layer: &Residual<R>, x: &Array) -> Array {
    let y = layer.block.iter().fold(x.clone(), |x, layer| match layer {
        ResNetLayer::Conv(conv) => conv_norm_relu(conv, &x),
        ResNetLayer::Res2(layer) => encoders::res2_conv(layer, &x),
    });
    let shortcut = match &layer.shortcut {
        Some((None, conv)) => conv_norm(conv, x),
        Some((Some(_), _)) => panic!("no pooled shortcut was asked for"),
        None => x.clone(),
    };
    y.zip(&shortcut, |a, b| a + b).relu()
}

/// A convolution after its norm and activation.
fn norm_relu_conv<const R: usize>(block: &ConvNormAct<R>, x: &Array) -> Array {
    let norm = block.norm.as_ref().expect("a norm");
    conv_layer(&block.conv, &reference::norm_layer(norm, x).relu())
}

fn rows() -> Vec<Box<dyn Contract>> {
    let groups = [
        convolutions(),
        scales(),
        skips(),
        fusions(),
        gates::rows(),
        networks(),
        encoders::rows(),
        decoders::rows(),
        merges::rows(),
        stages::rows(),
    ];
    groups.into_iter().flatten().collect()
}

fn every_row(check: impl Fn(&dyn Contract)) {
    for row in rows() {
        println!("{}", row.name());
        check(row.as_ref());
    }
}

#[test]
fn values_on_every_device() {
    every_row(|row| row.values());
}

#[test]
fn values_at_odd_sizes() {
    every_row(|row| row.odd_sizes());
}

#[test]
fn gradients_agree_on_every_device() {
    every_row(|row| row.gradients());
}

#[test]
fn gradients_agree_with_finite_differences() {
    every_row(|row| row.finite_differences());
}

#[test]
fn layers_that_moved_before_use_are_trained() {
    every_row(|row| row.moved_layers_are_trained());
}

#[test]
fn saved_layers_load() {
    every_row(|row| row.save_and_load());
}

#[test]
fn maps_that_do_not_fit_are_refused() {
    every_row(|row| row.misfit());
}

#[test]
fn plans_end_as_the_law_says() {
    every_row(|row| row.plan());
}
