//! The rows of decoders and necks, and of what they are made of.

use burn::tensor::Tensor;
use burn_skip::attention::{SelfAttention, SelfAttentionConfig};
use burn_skip::block::{ConvNormAct, ConvStyle};
use burn_skip::fuse::{
    Aspp, AsppConfig, Fpa, FpaConfig, Gau, GauConfig, Mfab, MfabConfig, Pab, PabConfig,
    PyramidPooling, PyramidPoolingConfig,
};
use burn_skip::neck::{Fpn, FpnConfig, Neck};
use burn_skip::net::{
    Decoder, DeepLabDecoder, DeepLabDecoderConfig, DeepLabSkip, FpnDecoder, FpnDecoderConfig,
    LinknetDecoder, LinknetDecoderConfig, ManetDecoder, ManetDecoderConfig, PanDecoder,
    PanDecoderConfig, PspDecoder, PspDecoderConfig, SegformerDecoder, SegformerDecoderConfig,
    UnetPlusPlusDecoder, UnetPlusPlusDecoderConfig, UperNetDecoder, UperNetDecoderConfig,
};
use burn_skip::norm::{LayerNorm, LayerNormConfig};
use burn_skip::resize::{ResizeMode, resize};

use super::reference::{self, Array, concat, conv_layer, conv_norm, conv_norm_relu, double_conv};
use super::row::{Contract, Row, odd_sizes};
use super::{image_of, means};

pub fn rows() -> Vec<Box<dyn Contract>> {
    [pieces(), decoders()].into_iter().flatten().collect()
}

fn pieces() -> Vec<Box<dyn Contract>> {
    vec![
        Box::new(Row::<LayerNorm, 4>::layer(
            "LayerNorm",
            |device| LayerNormConfig::new(5).init(device),
            |n| vec![[2, 5, n, n + 1]],
            (4, [2, 5, 4, 5]),
            |norm, x| layer_norm(norm, &x[0]),
            (
                [1, 4, 4, 4],
                "LayerNorm: channels differ: expected 5, got 4. Build the layer for 4 input channels, or project the \
                 map to 5 with a 1x1 convolution.",
            ),
        )),
        Box::new(Row {
            odd: vec![33],
            ..Row::<SelfAttention<4>, 4>::layer(
                "SelfAttention",
                |device| {
                    SelfAttentionConfig::new(4, 2)
                        .with_reduction(2)
                        .init(device)
                },
                |n| vec![[2, 4, n, n + 1]],
                (4, [2, 4, 4, 5]),
                |layer, x| attention(layer, &x[0]),
                (
                    [1, 3, 9, 9],
                    "SelfAttention: channels differ: expected 4, got 3. Build the layer for 3 input channels, or project \
                 the map to 4 with a 1x1 convolution.",
                ),
            )
        }),
        Box::new(Row::<Aspp<4>, 4>::layer(
            "Aspp",
            |device| {
                AsppConfig::new([2, 3])
                    .with_rates(vec![2.into()])
                    .with_dropout(0.0)
                    .init(device)
            },
            |n| vec![[2, 2, n, n + 1]],
            (5, [2, 3, 5, 6]),
            |aspp, x| aspp_of(aspp, &x[0]),
            (
                [1, 3, 9, 9],
                "branches.0.0.conv.Conv: channels differ: expected 2, got 3. Build the layer for 3 input channels, or \
                 project the map to 2 with a 1x1 convolution.",
            ),
        )),
        Box::new(Row::<PyramidPooling<4>, 4>::layer(
            "PyramidPooling",
            |device| {
                PyramidPoolingConfig::new(2, 1)
                    .with_bins(vec![1, 2])
                    .with_resize(ResizeMode::linear())
                    .init(device)
            },
            |n| vec![[2, 2, n, n + 1]],
            (5, [2, 4, 5, 6]),
            |pooling, x| pooled(pooling, &x[0]),
            (
                [1, 3, 9, 9],
                "PyramidPooling: channels differ: expected 2, got 3. Build the layer for 3 input channels, or project \
                 the map to 2 with a 1x1 convolution.",
            ),
        )),
        Box::new(Row::<Fpa<4>, 4>::layer(
            "Fpa",
            |device| {
                FpaConfig::new([2, 3])
                    .with_resize(ResizeMode::linear())
                    .init(device)
            },
            |n| vec![[2, 2, n, n + 1]],
            (9, [2, 3, 9, 10]),
            |fpa, x| fpa_of(fpa, &x[0]),
            (
                [1, 3, 9, 9],
                "mean.conv.Conv: channels differ: expected 2, got 3. Build the layer for 3 input channels, or project \
                 the map to 2 with a 1x1 convolution.",
            ),
        )),
        Box::new(Row::<Gau<4>, 4> {
            name: "Gau",
            build: |device| {
                GauConfig::new(3, 2)
                    .with_resize(ResizeMode::linear())
                    .init(device)
            },
            inputs: |n| vec![[2, 2, n / 2, n], [2, 3, n, n + 1]],
            small: (5, [2, 2, 5, 6]),
            odd: odd_sizes(4),
            forward: |gau, mut x| {
                let skip = x.remove(1);
                gau.forward(x.remove(0), skip)
            },
            plan: Some(|gau, shapes| gau.config.plan(shapes[0], shapes[1])),
            shape: |gau, shapes| gau.config.output_shape(shapes[0], shapes[1]),
            reference: |gau, x| gau_of(gau, &x[0], &x[1]),
            misfit: (
                vec![[1, 2, 4, 4], [1, 2, 8, 8]],
                "conv.conv.Conv: channels differ: expected 3, got 2. Build the layer for 2 input channels, or project \
                 the map to 3 with a 1x1 convolution.",
            ),
        }),
        Box::new(Row::<Pab<4>, 4> {
            odd: vec![17], // the reference looks at each pair of positions
            ..Row::layer(
                "Pab",
                |device| PabConfig::new(3).with_attention_channels(2).init(device),
                |n| vec![[2, 3, n, n + 1]],
                (3, [2, 3, 3, 4]),
                |pab, x| pab_of(pab, &x[0]),
                (
                    [1, 2, 9, 9],
                    "query.Conv: channels differ: expected 3, got 2. Build the layer for 2 input channels, or project the \
                     map to 3 with a 1x1 convolution.",
                ),
            )
        }),
        Box::new(Row::<Mfab<4>, 4> {
            name: "Mfab",
            build: |device| MfabConfig::new(4, 3, 2).with_reduction(2).init(device),
            inputs: |n| vec![[2, 4, n / 2, n], [2, 3, n, n + 1]],
            small: (5, [2, 2, 5, 6]),
            odd: odd_sizes(4),
            forward: |mfab, mut x| {
                let skip = x.remove(1);
                mfab.forward(x.remove(0), skip)
            },
            plan: Some(|mfab, shapes| mfab.config.plan(shapes[0], shapes[1])),
            shape: |mfab, shapes| mfab.config.output_shape(shapes[0], shapes[1]),
            reference: |mfab, x| mfab_of(mfab, &x[0], &x[1]),
            misfit: (
                vec![[1, 3, 4, 4], [1, 3, 8, 8]],
                "project.0.conv.Conv: channels differ: expected 4, got 3. Build the layer for 3 input channels, or project \
                 the map to 4 with a 1x1 convolution.",
            ),
        }),
        // Both outputs in one map, the coarse one enlarged.
        Box::new(Row::<Fpn<4>, 4> {
            name: "Fpn",
            build: |device| FpnConfig::new(3).init(&[2, 4], device),
            inputs: |n| vec![[2, 2, n, n + 1], [2, 4, n / 2, n]],
            small: (5, [2, 6, 5, 6]),
            odd: odd_sizes(4),
            forward: |fpn, maps| {
                let mut pyramid = fpn.forward(maps);
                let size = &pyramid[0].dims()[2..];
                let coarse = resize(pyramid.remove(1), size, ResizeMode::Nearest);
                Tensor::cat(vec![pyramid.remove(0), coarse], 1)
            },
            plan: None, // it has two outputs
            shape: |fpn, shapes| {
                let [batch, channels, height, width] = fpn.output_shapes(shapes)?[0];
                Ok([batch, 2 * channels, height, width])
            },
            reference: |fpn, maps| {
                let fine = conv_norm(&fpn.outputs[0], &finest_level(fpn, maps));
                let coarse = conv_norm(&fpn.laterals[1], &maps[1]);
                let coarse = conv_norm(&fpn.outputs[1], &coarse);
                concat(&[&fine, &reference::nearest(&coarse, fine.spatial())], 1)
            },
            misfit: (
                vec![[1, 2, 5, 6], [2, 4, 2, 5]],
                "Fpn: batch differs: deep 2, skip 1. Give all maps the same batch.",
            ),
        }),
    ]
}

fn decoders() -> Vec<Box<dyn Contract>> {
    vec![
        Box::new(Row::<FpnDecoder<4>, 4> {
            name: "FpnDecoder",
            build: |device| {
                let mut config = FpnDecoderConfig::new()
                    .with_levels(2)
                    .with_width(2)
                    .with_style(ConvStyle::new())
                    .with_resize(ResizeMode::linear())
                    .with_dropout(0.0);
                config.pyramid.channels = 3;
                config.init(&[2, 4], device)
            },
            inputs: |n| vec![[2, 2, n, n + 1], [2, 4, n / 2, n]],
            small: (5, [2, 2, 5, 6]),
            odd: vec![33],
            forward: |decoder, maps| decoder.forward(maps, &[9, 9]),
            plan: Some(|decoder, shapes| decoder.plan(shapes, &[9, 9])),
            shape: |decoder, shapes| decoder.output_shape(shapes, &[9, 9]),
            reference: |decoder, maps| {
                let fine = finest_level(&decoder.pyramid, maps);
                let coarse = conv_norm(&decoder.pyramid.laterals[1], &maps[1]);
                let coarse = conv_norm_relu(&decoder.branches[1][0], &coarse);
                let coarse = reference::linear(&coarse, maps[0].spatial());
                conv_norm_relu(&decoder.branches[0][0], &fine).zip(&coarse, |a, b| a + b)
            },
            misfit: (
                vec![[1, 2, 5, 6]],
                "FpnDecoder: the maps have [2] channels, expected [2, 4]. Give the maps of the encoder that it was \
                 built for, the finest first.",
            ),
        }),
        Box::new(Row::<DeepLabDecoder<4>, 4> {
            name: "DeepLabDecoder",
            build: |device| {
                DeepLabDecoderConfig::v3_plus()
                    .with_channels(3)
                    .with_rates(vec![2.into()])
                    .with_separable_pyramid(false)
                    .with_resize(ResizeMode::linear())
                    .with_dropout(0.0)
                    .with_skip(DeepLabSkip {
                        map: 0,
                        channels: 2,
                    })
                    .init(&[2, 4], device)
            },
            inputs: |n| vec![[2, 2, n, n + 1], [2, 4, n / 2, n]],
            small: (5, [2, 3, 5, 6]),
            odd: vec![33],
            forward: |decoder, maps| decoder.forward(maps, &[9, 9]),
            plan: Some(|decoder, shapes| decoder.plan(shapes, &[9, 9])),
            shape: |decoder, shapes| decoder.output_shape(shapes, &[9, 9]),
            reference: |decoder, maps| {
                let separable = |pair: &[_], x: &Array| {
                    let depthwise: &burn_skip::block::ConvNormAct<4> = &pair[0];
                    conv_norm_relu(&pair[1], &conv_layer(&depthwise.conv, x))
                };
                let deep = separable(&decoder.conv, &aspp_of(&decoder.aspp, &maps[1]));
                let deep = reference::linear(&deep, maps[0].spatial());
                let project = decoder.project.as_ref().expect("there is a skip");
                let skip = conv_norm_relu(project, &maps[0]);
                separable(&decoder.merged, &concat(&[&deep, &skip], 1))
            },
            misfit: (
                vec![[1, 3, 5, 6], [1, 4, 2, 5]],
                "DeepLabDecoder: the maps have [3, 4] channels, expected [2, 4]. Give the maps of the encoder \
                 that it was built for, the finest first.",
            ),
        }),
        Box::new(Row::<PspDecoder<4>, 4> {
            name: "PspDecoder",
            build: |device| {
                PspDecoderConfig::new()
                    .with_width(3)
                    .with_bins(vec![1, 2])
                    .with_dropout(0.0)
                    .init(&[4], device)
            },
            inputs: |n| vec![[2, 4, n, n]],
            small: (4, [2, 3, 4, 4]),
            odd: vec![33],
            forward: |decoder, maps| decoder.forward(maps, &[9, 9]),
            plan: Some(|decoder, shapes| decoder.plan(shapes, &[9, 9])),
            shape: |decoder, shapes| decoder.output_shape(shapes, &[9, 9]),
            reference: |decoder, maps| {
                conv_norm_relu(&decoder.conv, &pooled(&decoder.pooling, &maps[0]))
            },
            misfit: (
                vec![[1, 2, 9, 9]],
                "PspDecoder: the maps have [2] channels, expected [4]. Give the maps of the encoder that it was \
                 built for, the finest first.",
            ),
        }),
        Box::new(Row::<PanDecoder<4>, 4> {
            name: "PanDecoder",
            build: |device| {
                PanDecoderConfig::new()
                    .with_levels(2)
                    .with_width(2)
                    .with_resize(ResizeMode::linear())
                    .init(&[3, 4], device)
            },
            inputs: |n| vec![[2, 3, n, n + 1], [2, 4, n / 2, n]],
            small: (5, [2, 2, 5, 6]),
            odd: vec![33],
            forward: |decoder, maps| decoder.forward(maps, &[9, 9]),
            plan: Some(|decoder, shapes| decoder.plan(shapes, &[9, 9])),
            shape: |decoder, shapes| decoder.output_shape(shapes, &[9, 9]),
            reference: |decoder, maps| {
                gau_of(&decoder.steps[0], &fpa_of(&decoder.fpa, &maps[1]), &maps[0])
            },
            misfit: (
                vec![[1, 2, 9, 9]],
                "PanDecoder: the maps have [2] channels, expected [3, 4]. Give the maps of the encoder that it was \
                 built for, the finest first.",
            ),
        }),
        Box::new(Row::<ManetDecoder<4>, 4> {
            name: "ManetDecoder",
            build: |device| {
                ManetDecoderConfig::new(vec![2, 3])
                    .with_attention_channels(2)
                    .init(&[3, 4], device)
            },
            inputs: |n| vec![[2, 3, n, n + 1], [2, 4, n / 2, n / 2]],
            small: (5, [2, 2, 11, 12]),
            odd: vec![33],
            forward: |decoder, maps| {
                let image = image_of(maps[0].dims());
                decoder.forward(maps, &image)
            },
            plan: Some(|decoder, shapes| decoder.plan(shapes, &image_of(shapes[0]))),
            shape: |decoder, shapes| decoder.output_shape(shapes, &image_of(shapes[0])),
            reference: |decoder, maps| {
                let deep = pab_of(&decoder.center, &maps[1]);
                let y = mfab_of(&decoder.steps[0], &deep, &maps[0]);
                let [height, width] = [maps[0].spatial()[0], maps[0].spatial()[1]];
                let image = image_of([1, 1, height, width]);
                double_conv(&decoder.last.1, &reference::nearest(&y, &image))
            },
            misfit: (
                vec![[1, 2, 9, 9]],
                "ManetDecoder: the maps have [2] channels, expected [3, 4]. Give the maps of the encoder that it was \
                 built for, the finest first.",
            ),
        }),
        Box::new(Row::<UperNetDecoder<4>, 4> {
            name: "UperNetDecoder",
            build: |device| {
                UperNetDecoderConfig::new()
                    .with_levels(2)
                    .with_width(3)
                    .with_bins(vec![1, 2])
                    .init(&[3, 4], device)
            },
            inputs: |n| vec![[3, 3, n, n + 1], [3, 4, n / 2, n]],
            small: (5, [3, 3, 5, 6]),
            odd: vec![33],
            forward: |decoder, maps| decoder.forward(maps, &[9, 9]),
            plan: Some(|decoder, shapes| decoder.plan(shapes, &[9, 9])),
            shape: |decoder, shapes| decoder.output_shape(shapes, &[9, 9]),
            reference: |decoder, maps| {
                let [fine, coarse] = [0, 1].map(|n| layer_norm(&decoder.norms[n], &maps[n]));
                let deep = conv_norm_relu(&decoder.pooled, &pooled(&decoder.pooling, &coarse));
                let deep = reference::linear(&deep, fine.spatial());
                let skip = conv_norm_relu(&decoder.laterals[0], &fine);
                let level = conv_norm_relu(&decoder.outputs[0], &skip.zip(&deep, |a, b| a + b));
                conv_norm_relu(&decoder.fusion, &concat(&[&level, &deep], 1))
            },
            misfit: (
                vec![[1, 3, 5, 6]],
                "UperNetDecoder: the maps have [3] channels, expected [3, 4]. Give the maps of the encoder that it was \
                 built for, the finest first.",
            ),
        }),
        Box::new(Row::<SegformerDecoder<4>, 4> {
            name: "SegformerDecoder",
            build: |device| {
                SegformerDecoderConfig::new()
                    .with_width(3)
                    .with_stride(2)
                    .init(&[2, 4], device)
            },
            inputs: |n| vec![[2, 2, n, n + 1], [2, 4, n / 2, n]],
            small: (5, [2, 3, 6, 6]),
            odd: vec![33],
            forward: |decoder, maps| {
                let image = image_of(maps[0].dims());
                decoder.forward(maps, &image)
            },
            plan: Some(|decoder, shapes| decoder.plan(shapes, &image_of(shapes[0]))),
            shape: |decoder, shapes| decoder.output_shape(shapes, &image_of(shapes[0])),
            reference: |decoder, maps| {
                let [height, width] = [maps[0].spatial()[0], maps[0].spatial()[1]];
                let size = image_of([1, 1, height, width]).map(|size| size.div_ceil(2));
                let [fine, coarse] = [0, 1].map(|n| {
                    let y = conv_norm(&decoder.projections[n], &maps[n]);
                    reference::linear(&y, &size)
                });
                conv_norm_relu(&decoder.fusion, &concat(&[&coarse, &fine], 1))
            },
            misfit: (
                vec![[1, 4, 9, 9]],
                "SegformerDecoder: the maps have [4] channels, expected [2, 4]. Give the maps of the encoder that it was \
                 built for, the finest first.",
            ),
        }),
        Box::new(Row::<LinknetDecoder<4>, 4> {
            name: "LinknetDecoder",
            build: |device| {
                LinknetDecoderConfig::new()
                    .with_width(2)
                    .init(&[4, 8], device)
            },
            inputs: |n| vec![[2, 4, n, n + 1], [2, 8, n.div_ceil(2), (n + 1).div_ceil(2)]],
            small: (5, [2, 2, 11, 12]),
            odd: vec![33],
            forward: |decoder, maps| {
                let image = image_of(maps[0].dims());
                decoder.forward(maps, &image)
            },
            plan: Some(|decoder, shapes| decoder.plan(shapes, &image_of(shapes[0]))),
            shape: |decoder, shapes| decoder.output_shape(shapes, &image_of(shapes[0])),
            reference: |decoder, maps| {
                let step = |index: usize, x: &Array, size: &[usize]| {
                    let step = &decoder.steps[index];
                    let y = conv_norm_relu(&step.squeeze, x);
                    let weight = Array::param(&step.up.weight);
                    let bias = step.up.bias.as_ref().map(Array::param);
                    let start = [0, 1].map(|axis| {
                        let full = (y.spatial()[axis] - 1) * 2 + 4;
                        full.saturating_sub(size[axis]).div_ceil(2)
                    });
                    let y = reference::conv_transpose(
                        &y,
                        &weight,
                        bias.as_ref(),
                        &[2, 2],
                        &start,
                        size,
                    );
                    let norm = step.norm.as_ref().expect("there is a norm");
                    conv_norm_relu(&step.expand, &reference::norm_layer(norm, &y).relu())
                };
                let y = step(1, &maps[1], maps[0].spatial()).zip(&maps[0], |a, b| a + b);
                let [height, width] = [maps[0].spatial()[0], maps[0].spatial()[1]];
                step(0, &y, &image_of([1, 1, height, width]))
            },
            misfit: (
                vec![[1, 4, 9, 9]],
                "LinknetDecoder: the maps have [4] channels, expected [4, 8]. Give the maps of the encoder that it was \
                 built for, the finest first.",
            ),
        }),
        Box::new(Row::<UnetPlusPlusDecoder<4>, 4> {
            name: "UnetPlusPlusDecoder",
            build: |device| UnetPlusPlusDecoderConfig::new(vec![2, 3, 4]).init(&[2, 3, 5], device),
            inputs: |n| vec![[1, 2, n, n + 1], [1, 3, n / 2, n], [1, 5, n / 3, n / 2]],
            small: (6, [1, 2, 13, 14]),
            odd: vec![33],
            forward: |decoder, maps| {
                let image = image_of(maps[0].dims());
                decoder.forward(maps, &image)
            },
            plan: Some(|decoder, shapes| decoder.plan(shapes, &image_of(shapes[0]))),
            shape: |decoder, shapes| decoder.output_shape(shapes, &image_of(shapes[0])),
            reference: |decoder, maps| {
                let [fine, middle, coarse] = [&maps[0], &maps[1], &maps[2]];
                let block = |index: usize, parts: &[&Array]| {
                    double_conv(&decoder.blocks[index].1, &concat(parts, 1))
                };
                let up = |x: &Array, to: &Array| reference::nearest(x, to.spatial());
                let of_coarse = block(0, &[&up(coarse, middle), middle]);
                let of_middle = block(1, &[&up(middle, fine), fine]);
                let both = block(2, &[&up(&of_coarse, fine), &of_middle, fine]);
                let image = image_of([1, 1, fine.spatial()[0], fine.spatial()[1]]);
                block(3, &[&reference::nearest(&both, &image)])
            },
            misfit: (
                vec![[1, 2, 9, 9], [1, 3, 5, 5]],
                "UnetPlusPlusDecoder: the maps have [2, 3] channels, expected [2, 3, 5]. Give the maps of the encoder \
                 that it was built for, the finest first.",
            ),
        }),
    ]
}

/// The channels of each position, normalised.
pub fn layer_norm(norm: &LayerNorm, x: &Array) -> Array {
    let [gamma, beta] = [&norm.gamma, &norm.beta].map(Array::param);
    let channels = x.shape[1];
    let channel = |i: &[usize], c: usize| {
        let mut at = i.to_vec();
        at[1] = c;
        x.at(&at)
    };
    Array::build(&x.shape, |i| {
        let mean = (0..channels).map(|c| channel(i, c)).sum::<f64>() / channels as f64;
        let squares = (0..channels).map(|c| (channel(i, c) - mean).powi(2));
        let deviation = (squares.sum::<f64>() / channels as f64 + norm.epsilon).sqrt();
        (x.at(i) - mean) / deviation * gamma.data[i[1]] + beta.data[i[1]]
    })
}

/// The positions of `x` read those of the reduced map, or their own, sum by sum.
pub fn attention(layer: &SelfAttention<4>, x: &Array) -> Array {
    let reduce = layer.reduce.as_ref();
    let reduced = reduce.map(|(patches, norm)| layer_norm(norm, &conv_norm(patches, x)));
    let read = reduced.as_ref().unwrap_or(x);
    let query = conv_norm(&layer.query, x);
    let key_value = conv_norm(&layer.key_value, read);
    let (channels, heads) = (layer.config.channels, layer.config.heads);
    let of_head = channels / heads;
    let [height, width] = [read.spatial()[0], read.spatial()[1]];
    let positions: Vec<_> = (0..height)
        .flat_map(|h| (0..width).map(move |w| [h, w]))
        .collect();
    let attended = Array::build(&x.shape, |i| {
        let first = i[1] / of_head * of_head;
        let score = |&[h, w]: &[usize; 2]| {
            let products = (first..first + of_head)
                .map(|c| query.at(&[i[0], c, i[2], i[3]]) * key_value.at(&[i[0], c, h, w]));
            (products.sum::<f64>() / (of_head as f64).sqrt()).exp()
        };
        let value = |at: &[usize; 2]| key_value.at(&[i[0], channels + i[1], at[0], at[1]]);
        let (mut sum, mut weighted) = (0.0, 0.0);
        for at in &positions {
            let score = score(at);
            sum += score;
            weighted += score * value(at);
        }
        weighted / sum
    });
    conv_norm(&layer.project, &attended)
}

/// The finer of two levels, before its convolution.
fn finest_level(fpn: &Fpn<4>, maps: &[Array]) -> Array {
    let deep = conv_norm(&fpn.laterals[1], &maps[1]);
    let deep = reference::nearest(&deep, maps[0].spatial());
    conv_norm(&fpn.laterals[0], &maps[0]).zip(&deep, |a, b| a + b)
}

fn aspp_of(aspp: &Aspp<4>, x: &Array) -> Array {
    let branches = aspp
        .branches
        .iter()
        .map(|convs| conv_norm_relu(&convs[0], x));
    let mut maps: Vec<Array> = branches.collect();
    let mean = conv_norm_relu(&aspp.pool, &means(x));
    maps.push(reference::nearest(&mean, x.spatial()));
    let maps: Vec<&Array> = maps.iter().collect();
    conv_norm_relu(&aspp.project, &concat(&maps, 1))
}

fn fpa_of(fpa: &Fpa<4>, x: &Array) -> Array {
    let halve = |x: &Array| {
        let kernel: Vec<usize> = x.spatial().iter().map(|&n| n.min(2)).collect();
        let size: Vec<usize> = x.spatial().iter().map(|n| (n / 2).max(1)).collect();
        reference::pool(x, &kernel, &kernel, &size, true)
    };
    let convs = |convs: &[ConvNormAct<4>], x: Array| {
        convs.iter().fold(x, |x, conv| conv_norm_relu(conv, &x))
    };
    let sum = |a: &Array, b: &Array| a.zip(b, |a, b| a + b);
    let first = convs(&fpa.down[0], halve(x));
    let second = convs(&fpa.down[1], halve(&first));
    let third = convs(&fpa.down[2], halve(&second));
    let third = reference::linear(&third, second.spatial());
    let second = sum(&third, &conv_norm_relu(&fpa.up[1], &second));
    let second = reference::linear(&second, first.spatial());
    let first = sum(&second, &conv_norm_relu(&fpa.up[0], &first));
    let attention = reference::linear(&first, x.spatial());
    let mean = conv_norm_relu(&fpa.mean, &means(x));
    let projected = conv_norm_relu(&fpa.project, x);
    Array::build(&projected.shape, |i| {
        let weighed = projected.at(i) * attention.at(&[i[0], 0, i[2], i[3]]);
        weighed + mean.at(&[i[0], i[1], 0, 0])
    })
}

fn gau_of(gau: &Gau<4>, deep: &Array, skip: &Array) -> Array {
    let weight = conv_norm(&gau.weight, &means(deep)).sigmoid();
    let fine = conv_norm_relu(&gau.conv, skip);
    let coarse = reference::linear(deep, skip.spatial());
    Array::build(&fine.shape, |i| {
        coarse.at(i) + fine.at(i) * weight.at(&[i[0], i[1], 0, 0])
    })
}

fn pab_of(pab: &Pab<4>, x: &Array) -> Array {
    let [query, key, value] = [&pab.query, &pab.key, &pab.value].map(|conv| conv_layer(conv, x));
    let (channels, width) = (x.shape[1], x.shape[3]);
    let positions = x.shape[2] * width;
    let at = |map: &Array, b: usize, c: usize, p: usize| map.at(&[b, c, p / width, p % width]);
    let weights: Vec<Vec<f64>> = (0..x.shape[0])
        .map(|b| {
            let score = |pair: usize| {
                let (i, j) = (pair / positions, pair % positions);
                let products = (0..query.shape[1]).map(|c| at(&query, b, c, i) * at(&key, b, c, j));
                products.sum::<f64>()
            };
            let scores: Vec<f64> = (0..positions * positions).map(score).collect();
            let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> = scores.iter().map(|s| (s - largest).exp()).collect();
            let sum = weights.iter().sum::<f64>();
            weights.into_iter().map(|weight| weight / sum).collect()
        })
        .collect();
    let sum = Array::build(&x.shape, |i| {
        // (The number of the product, whose axes are the positions and then the channels.)
        let number = (i[1] * x.shape[2] + i[2]) * width + i[3];
        let (position, channel) = (number / channels, number % channels);
        let products = (0..positions)
            .map(|j| weights[i[0]][position * positions + j] * at(&value, i[0], channel, j));
        x.at(i) + products.sum::<f64>()
    });
    conv_layer(&pab.output, &sum)
}

fn mfab_of(mfab: &Mfab<4>, deep: &Array, skip: &Array) -> Array {
    let projected = mfab
        .project
        .iter()
        .fold(deep.clone(), |x, conv| conv_norm_relu(conv, &x));
    let coarse = reference::nearest(&projected, skip.spatial());
    let weight = |se: &burn_skip::gate::Se<4>, map: &Array| {
        let squeezed = conv_norm(&se.squeeze, &means(map)).relu();
        conv_norm(&se.excite, &squeezed).sigmoid()
    };
    let of_deep = weight(&mfab.of_deep, &coarse);
    let sum = of_deep.zip(&weight(&mfab.of_skip, skip), |a, b| a + b);
    let weighed = Array::build(&coarse.shape, |i| {
        coarse.at(i) * sum.at(&[i[0], i[1], 0, 0])
    });
    double_conv(&mfab.block, &concat(&[&weighed, skip], 1))
}

fn pooled(pooling: &PyramidPooling<4>, x: &Array) -> Array {
    let branch = |(conv, &bins): (_, &usize)| {
        let mean = reference::along_axes(x, &[bins, bins], |i, from, to| {
            // The bins of PyTorch's adaptive mean pool.
            let (start, end) = (i * from / to, ((i + 1) * from).div_ceil(to));
            (start..end)
                .map(|p| (p, 1.0 / (end - start) as f64))
                .collect()
        });
        let y = conv_norm_relu(conv, &mean);
        match pooling.config.resize == ResizeMode::linear() {
            true => reference::linear(&y, x.spatial()),
            false => reference::along_axes(&y, x.spatial(), |i, from, to| {
                let at = i as f64 * (from - 1) as f64 / (to - 1) as f64;
                let low = (at.floor() as usize).min(from - 1);
                let high = (low + 1).min(from - 1);
                vec![(low, 1.0 - (at - low as f64)), (high, at - low as f64)]
            }),
        }
    };
    let branches = pooling.branches.iter().zip(&pooling.config.bins);
    let mut maps: Vec<Array> = branches.map(branch).collect();
    let place = if pooling.config.map_first {
        0
    } else {
        maps.len()
    };
    maps.insert(place, x.clone());
    let maps: Vec<&Array> = maps.iter().collect();
    concat(&maps, 1)
}
