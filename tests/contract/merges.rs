//! The rows of fusions with learned weights, and of the necks that they make.

use burn::tensor::Tensor;
use burn_skip::block::{ConvNormAct, ConvNormActConfig, LayerOrder};
use burn_skip::fuse::{Asff, AsffConfig, WeightedSum, WeightedSumConfig, Weighting};
use burn_skip::neck::{
    BiFpn, BiFpnConfig, BiFpnNode, HrFuse, HrFuseConfig, Neck, PaFpn, PaFpnConfig,
};
use burn_skip::resize::{ResizeMode, resize};
use burn_skip::up::{Up, UpConfig, UpLayer};
use burn_skip::{ShapeError, Shortcut, SkipAdd, SkipAddConfig};

use super::reference::{
    self, Array, concat, conv_layer, conv_norm, conv_norm_relu, nearest, norm_layer,
};
use super::row::{Contract, Row, odd_sizes};

pub fn rows() -> Vec<Box<dyn Contract>> {
    let groups = [fusions(), residuals(), necks(), enlargements()];
    groups.into_iter().flatten().collect()
}

/// Both maps of a neck in one, the coarse one enlarged.
fn both<N: Neck<4>>(neck: &N, maps: Vec<Tensor<4>>) -> Tensor<4> {
    let mut maps = neck.forward(maps);
    let size = &maps[0].dims()[2..];
    let coarse = resize(maps.remove(1), size, ResizeMode::Nearest);
    Tensor::cat(vec![maps.remove(0), coarse], 1)
}

fn both_shapes<N: Neck<4>>(neck: &N, shapes: &[[usize; 4]]) -> Result<[usize; 4], ShapeError> {
    let shapes = neck.output_shapes(shapes)?;
    let [batch, channels, height, width] = shapes[0];
    Ok([batch, channels + shapes[1][1], height, width])
}

fn both_arrays(fine: &Array, coarse: &Array) -> Array {
    concat(&[fine, &nearest(coarse, fine.spatial())], 1)
}

fn necks() -> Vec<Box<dyn Contract>> {
    vec![
        Box::new(Row::<PaFpn<4>, 4> {
            name: "PaFpn",
            build: |device| PaFpnConfig::new(2).init(&[2, 3], device),
            inputs: |n| vec![[2, 2, n, n + 1], [2, 3, n / 2, n.div_ceil(2)]],
            small: (5, [2, 4, 5, 6]),
            odd: vec![33],
            forward: both,
            plan: None, // it has two outputs
            shape: both_shapes,
            reference: |neck, maps| {
                let pyramid = &neck.pyramid;
                let coarse = conv_norm(&pyramid.laterals[1], &maps[1]);
                let up = nearest(&coarse, maps[0].spatial());
                let fine = conv_norm(&pyramid.laterals[0], &maps[0]).zip(&up, |a, b| a + b);
                let [fine, coarse] = [(0, fine), (1, coarse)]
                    .map(|(level, map)| conv_norm(&pyramid.outputs[level], &map));
                let down = nearest(&conv_norm(&neck.downs[0], &fine), coarse.spatial());
                let sum = coarse.zip(&down, |a, b| a + b);
                both_arrays(&fine, &conv_norm(&neck.outputs[0], &sum))
            },
            misfit: (
                vec![[1, 2, 5, 6]],
                "PaFpn: the maps have [2] channels, expected [2, 3]. Give the maps of the encoder that it was built \
                 for, the finest first.",
            ),
        }),
        Box::new(Row::<BiFpn<4>, 4> {
            name: "BiFpn",
            build: |device| {
                BiFpnConfig::new(2)
                    .with_repeats(1)
                    .with_weighting(Weighting::Softmax)
                    .init(&[2, 3], device)
            },
            inputs: |n| vec![[2, 2, n, n + 1], [2, 3, n / 2, n.div_ceil(2)]],
            small: (5, [2, 4, 5, 6]),
            odd: vec![33],
            forward: both,
            plan: None, // it has two outputs
            shape: both_shapes,
            reference: |neck, maps| {
                let coarse = |node: &BiFpnNode<4>, index: usize| {
                    let conv = node.projections[index].as_ref().expect("other channels");
                    conv_norm(conv, &maps[1])
                };
                let [up, down] = [&neck.cells[0][0], &neck.cells[0][1]];
                let enlarged = nearest(&coarse(up, 1), maps[0].spatial());
                let fine = bifpn_node(up, &maps[0], &enlarged);
                let halved = nearest(&super::max_pool_3(&fine), maps[1].spatial());
                let coarse = bifpn_node(down, &coarse(down, 0), &halved);
                both_arrays(&fine, &coarse)
            },
            misfit: (
                vec![[1, 2, 5, 6], [2, 3, 2, 3]],
                "cells.0.0.sum.WeightedSum: batch differs: deep 1, skip 2. Give all maps the same batch.",
            ),
        }),
        Box::new(Row::<HrFuse<4>, 4> {
            name: "HrFuse",
            build: |device| {
                HrFuseConfig::new()
                    .with_resize(ResizeMode::linear())
                    .init(&[2, 3], device)
            },
            inputs: |n| vec![[2, 2, n, n + 1], [2, 3, n / 2, n.div_ceil(2)]],
            small: (5, [2, 5, 5, 6]),
            odd: vec![33],
            forward: both,
            plan: None, // it has two outputs
            shape: both_shapes,
            reference: |fuse, maps| {
                let up = conv_norm(&fuse.paths[0][1][0], &maps[1]);
                let up = reference::linear(&up, maps[0].spatial());
                let down = conv_norm(&fuse.paths[1][0][0], &maps[0]);
                let down = nearest(&down, maps[1].spatial());
                let sum = |a: &Array, b: &Array| a.zip(b, |a, b| a + b).relu();
                both_arrays(&sum(&maps[0], &up), &sum(&maps[1], &down))
            },
            misfit: (
                vec![[1, 2, 5, 6], [2, 3, 2, 3]],
                "HrFuse: batch differs: deep 1, skip 2. Give all maps the same batch.",
            ),
        }),
    ]
}

/// A node of two maps that fit.
fn bifpn_node(node: &BiFpnNode<4>, a: &Array, b: &Array) -> Array {
    let weights = Array::param(&node.sum.weights).map(f64::exp).data;
    let total = weights[0] + weights[1];
    let sum = a.zip(b, |a, b| (weights[0] * a + weights[1] * b) / total);
    let active = sum.zip(&sum.sigmoid(), |x, gate| x * gate);
    conv_norm(&node.conv[1], &conv_layer(&node.conv[0].conv, &active))
}

fn enlargements() -> Vec<Box<dyn Contract>> {
    fn carafe_row<const R: usize>(
        name: &'static str,
        shape: fn(usize) -> Vec<[usize; R]>,
        small: (usize, [usize; R]),
        misfit: [usize; R],
    ) -> Box<dyn Contract> {
        let mut row = Row::<Up<R>, R>::layer(
            name,
            |device| {
                let config = UpConfig::Carafe {
                    scale: 2.into(),
                    kernel_size: 3.into(),
                    encoder_kernel_size: 3.into(),
                    compressed_channels: 2,
                };
                config.init([3, 3], device)
            },
            shape,
            small,
            |up, x| {
                let UpLayer::Carafe(carafe) = &up.layer else {
                    panic!("CARAFE was asked for");
                };
                let encoded = conv_layer(&carafe.encode, &conv_layer(&carafe.compress, &x[0]));
                carafe_of(&x[0], &reference::pixel_shuffle(&encoded, 2))
            },
            (
                misfit,
                "Up: channels differ: expected 3, got 2. Build the layer for 2 input channels, or project the map to \
                 3 with a 1x1 convolution.",
            ),
        );
        row.odd = vec![11];
        Box::new(row)
    }
    vec![
        carafe_row::<3>(
            "Up, CARAFE<3>",
            |n| vec![[2, 3, n]],
            (4, [2, 3, 8]),
            [1, 2, 4],
        ),
        carafe_row::<4>(
            "Up, CARAFE<4>",
            |n| vec![[1, 3, n, n - 1]],
            (4, [1, 3, 8, 6]),
            [1, 2, 4, 4],
        ),
        carafe_row::<5>(
            "Up, CARAFE<5>",
            |n| vec![[1, 3, n / 2, 2, 3]],
            (4, [1, 3, 4, 4, 6]),
            [1, 2, 4, 4, 4],
        ),
    ]
}

/// Each position a sum of three neighbours on each axis, by the softmax of `logits` over them.
fn carafe_of(x: &Array, logits: &Array) -> Array {
    let axes = x.spatial().len();
    let neighbours = 3usize.pow(axes as u32);
    let mut shape = x.shape.clone();
    shape[2..].copy_from_slice(logits.spatial());
    Array::build(&shape, |index| {
        let weight = |neighbour: usize| {
            let mut at = index.to_vec();
            at[1] = neighbour;
            logits.at(&at).exp()
        };
        let total: f64 = (0..neighbours).map(weight).sum();
        let value = |neighbour: usize| {
            let mut at = index.to_vec();
            for n in 0..axes {
                let offset = neighbour / 3usize.pow((axes - 1 - n) as u32) % 3;
                at[2 + n] = (index[2 + n] / 2 + offset).checked_sub(1)?;
                if at[2 + n] >= x.spatial()[n] {
                    return None;
                }
            }
            Some(x.at(&at) * weight(neighbour) / total)
        };
        (0..neighbours).filter_map(value).sum()
    })
}

fn residuals() -> Vec<Box<dyn Contract>> {
    type Residual<const R: usize> = SkipAdd<ConvNormAct<R>, R>;
    /// A norm, an activation and a strided convolution.
    fn block<const R: usize>(device: &burn::tensor::Device) -> ConvNormAct<R> {
        ConvNormActConfig::new([2, 3], 3)
            .with_stride(2)
            .with_order(LayerOrder::NormActConv)
            .init(device)
    }
    vec![
        Box::new(Row::<Residual<4>, 4>::layer(
            "SkipAdd of an activated map, with one factor",
            |device| {
                SkipAddConfig::pre_activated([2, 3])
                    .with_stride(2)
                    .with_skip_init()
                    .init(block(device), device)
            },
            |n| vec![[2, 2, n, n + 1]],
            (5, [2, 3, 3, 3]),
            |skip, x| {
                let before = skip.pre_activation.as_ref().expect("it is pre-activated");
                let norm = before.norm.as_ref().expect("a norm");
                let x = norm_layer(norm, &x[0]).relu();
                let (_, conv) = skip.shortcut.as_ref().expect("it is projected");
                let factor = Array::param(skip.layer_scale.as_ref().expect("a factor")).data[0];
                let y = of_block(&skip.block, &x);
                y.zip(&conv_layer(&conv.conv, &x), |y, x| factor * y + x)
            },
            (
                [1, 3, 9, 9],
                "SkipAdd: channels differ: expected 2, got 3. Build the layer for 3 input channels, or project the map \
                 to 2 with a 1x1 convolution.",
            ),
        )),
        Box::new(Row::<Residual<3>, 3>::layer(
            "SkipAdd with channels of zeros",
            |device| {
                SkipAddConfig::new([2, 3])
                    .with_stride(2)
                    .with_shortcut(Shortcut::Pad)
                    .init(block(device), device)
            },
            |n| vec![[2, 2, n]],
            (6, [2, 3, 3]),
            |skip, x| {
                let y = of_block(&skip.block, &x[0]);
                let length = y.spatial()[0];
                let kept = Array::build(&[2, 2, length], |i| x[0].at(&[i[0], i[1], 2 * i[2]]));
                let zeros = Array::build(&[2, 1, length], |_| 0.0);
                y.zip(&concat(&[&kept, &zeros], 1), |y, x| y + x).relu()
            },
            (
                [2, 3, 6],
                "SkipAdd: channels differ: expected 2, got 3. Build the layer for 3 input channels, or project the map \
                 to 2 with a 1x1 convolution.",
            ),
        )),
    ]
}

fn of_block<const R: usize>(block: &ConvNormAct<R>, x: &Array) -> Array {
    let norm = block.norm.as_ref().expect("a norm");
    conv_layer(&block.conv, &norm_layer(norm, x).relu())
}

fn fusions() -> Vec<Box<dyn Contract>> {
    vec![
        Box::new(Row::<WeightedSum, 4> {
            name: "WeightedSum, fast, a weight for each channel",
            build: |device| WeightedSumConfig::new(2).with_channels(3).init(device),
            inputs: |n| vec![[2, 3, n, n + 1]; 2],
            small: (4, [2, 3, 4, 5]),
            odd: odd_sizes(4),
            forward: |sum, x| sum.forward(x),
            plan: Some(|sum, shapes| sum.plan(shapes)),
            shape: |sum, shapes| sum.output_shape(shapes),
            reference: |sum, x| {
                let weights = Array::param(&sum.weights).relu();
                Array::build(&x[0].shape, |i| {
                    let of_maps = [weights.data[i[1]], weights.data[3 + i[1]]];
                    let sum = of_maps[0] * x[0].at(i) + of_maps[1] * x[1].at(i);
                    sum / (of_maps[0] + of_maps[1] + 1e-4)
                })
            },
            misfit: (
                vec![[1, 3, 4, 4], [1, 2, 4, 4]],
                "WeightedSum: channels differ: deep 3, skip 2. Project deep to 2 channels with a 1x1 convolution, or \
                 merge by concat.",
            ),
        }),
        Box::new(Row::<WeightedSum, 3> {
            name: "WeightedSum, softmax",
            build: |device| {
                WeightedSumConfig::new(3)
                    .with_weighting(Weighting::Softmax)
                    .init(device)
            },
            inputs: |n| vec![[1, 2, n]; 3],
            small: (5, [1, 2, 5]),
            odd: vec![33],
            forward: |sum, x| sum.forward(x),
            plan: Some(|sum, shapes| sum.plan(shapes)),
            shape: |sum, shapes| sum.output_shape(shapes),
            reference: |sum, x| {
                let weights = Array::param(&sum.weights).map(f64::exp).data;
                let total: f64 = weights.iter().sum();
                Array::build(&x[0].shape, |i| {
                    let maps = weights.iter().zip(x);
                    maps.map(|(weight, x)| weight * x.at(i)).sum::<f64>() / total
                })
            },
            misfit: (
                vec![[1, 2, 5], [1, 2, 5]],
                "WeightedSum: 2 maps came, for weights of 3. Give 3 maps, or build the layer for 2.",
            ),
        }),
        Box::new(Row::<Asff<4>, 4> {
            name: "Asff",
            build: |device| AsffConfig::new(2, 3).with_hidden_channels(2).init(device),
            inputs: |n| vec![[2, 3, n / 2, n], [2, 3, n, n + 1]],
            small: (5, [2, 3, 5, 6]),
            odd: vec![33],
            forward: |fuse, x| fuse.forward(x),
            plan: Some(|fuse, shapes| fuse.plan(shapes)),
            shape: |fuse, shapes| fuse.output_shape(shapes),
            reference: |fuse, x| {
                let deep = nearest(&x[0], x[1].spatial());
                let squeezed = [&deep, &x[1]].into_iter().zip(&fuse.squeezes);
                let squeezed: Vec<Array> =
                    squeezed.map(|(x, conv)| conv_norm_relu(conv, x)).collect();
                let both: Vec<&Array> = squeezed.iter().collect();
                let weights = conv_layer(&fuse.weigh, &concat(&both, 1)).map(f64::exp);
                Array::build(&x[1].shape, |i| {
                    let [a, b] = [0, 1].map(|map| weights.at(&[i[0], map, i[2], i[3]]));
                    (a * deep.at(i) + b * x[1].at(i)) / (a + b)
                })
            },
            misfit: (
                vec![[1, 3, 4, 4], [1, 2, 4, 4]],
                "Asff: channels differ: expected 3, got 2. Build the layer for 2 input channels, or project the map to \
                 3 with a 1x1 convolution.",
            ),
        }),
    ]
}
