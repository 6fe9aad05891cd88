//! The rows of gates.

use burn_skip::gate::{AnyGate, AttentionGateConfig, AttentionSize, CbamConfig, Gate, GateConfig};

use super::means;
use super::reference::{Array, concat, conv_layer, conv_norm, linear};
use super::row::{Contract, Row, odd_sizes};

pub fn rows() -> Vec<Box<dyn Contract>> {
    vec![eca(), cbam(), attention_at_the_size_of_the_guide()]
}

fn eca() -> Box<dyn Contract> {
    Box::new(Row::<AnyGate<4>, 4> {
        name: "Eca",
        build: |device| GateConfig::eca().init(4, 4, device),
        inputs: |n| vec![[2, 4, n, n + 1]],
        small: (4, [2, 4, 4, 5]),
        odd: odd_sizes(4),
        forward: |gate, x| gate.forward(x[0].clone(), x[0].clone()), // it ignores its guide
        plan: Some(|gate, shapes| gate.plan(shapes[0], shapes[0])),
        shape: |gate, shapes| gate.output_shape(shapes[0], shapes[0]),
        reference: |gate, x| {
            let AnyGate::Eca(gate) = gate else {
                panic!("efficient channel attention was built");
            };
            let means = means(&x[0]);
            let row = Array::build(&[2, 1, 4], |i| means.at(&[i[0], i[2], 0, 0]));
            let weight = conv_layer(&gate.conv.conv, &row).sigmoid();
            Array::build(&x[0].shape, |i| x[0].at(i) * weight.at(&[i[0], 0, i[1]]))
        },
        misfit: (
            vec![[1, 4, 0, 4]],
            "Gate: height of the input is 0 in [1, 4, 0, 4]. Every axis of a feature map needs at least one element.",
        ),
    })
}

fn cbam() -> Box<dyn Contract> {
    Box::new(Row::<AnyGate<4>, 4> {
        name: "Cbam",
        build: |device| {
            let config = CbamConfig::new(2).with_bias(true).with_kernel_size(3);
            GateConfig::Cbam(config).init(4, 4, device)
        },
        inputs: |n| vec![[2, 4, n, n + 1]],
        small: (4, [2, 4, 4, 5]),
        odd: odd_sizes(4),
        forward: |gate, x| gate.forward(x[0].clone(), x[0].clone()), // it ignores its guide
        plan: Some(|gate, shapes| gate.plan(shapes[0], shapes[0])),
        shape: |gate, shapes| gate.output_shape(shapes[0], shapes[0]),
        reference: |gate, x| {
            let AnyGate::Cbam(gate) = gate else {
                panic!("a convolutional block attention module was built");
            };
            let x = &x[0];
            let mlp =
                |pooled: &Array| conv_norm(&gate.excite, &conv_norm(&gate.squeeze, pooled).relu());
            let max = Array::build(&[x.shape[0], x.shape[1], 1, 1], |i| {
                let values = (0..x.shape[2] * x.shape[3])
                    .map(|p| x.at(&[i[0], i[1], p / x.shape[3], p % x.shape[3]]));
                values.fold(f64::NEG_INFINITY, f64::max)
            });
            let weight = mlp(&means(x)).zip(&mlp(&max), |a, b| a + b).sigmoid();
            let z = Array::build(&x.shape, |i| x.at(i) * weight.at(&[i[0], i[1], 0, 0]));
            let one = [x.shape[0], 1, x.shape[2], x.shape[3]];
            let channel = |i: &[usize], c: usize| z.at(&[i[0], c, i[2], i[3]]);
            let mean = Array::build(&one, |i| (0..4).map(|c| channel(i, c)).sum::<f64>() / 4.0);
            let max = Array::build(&one, |i| {
                (0..4)
                    .map(|c| channel(i, c))
                    .fold(f64::NEG_INFINITY, f64::max)
            });
            let weight = conv_norm(&gate.spatial, &concat(&[&mean, &max], 1)).sigmoid();
            Array::build(&z.shape, |i| z.at(i) * weight.at(&[i[0], 0, i[2], i[3]]))
        },
        misfit: (
            vec![[1, 3, 4, 4]],
            "Gate: channels differ: expected 4, got 3. Build the layer for 3 input channels, or project the map to 4 \
             with a 1x1 convolution.",
        ),
    })
}

fn attention_at_the_size_of_the_guide() -> Box<dyn Contract> {
    Box::new(Row::<AnyGate<4>, 4> {
        name: "AttentionGate at the size of the guide",
        build: |device| {
            let config = AttentionGateConfig::new(3).with_bias(true);
            let config = config.with_size(AttentionSize::of_guide(2));
            GateConfig::Attention(config).init(2, 4, device)
        },
        inputs: |n| vec![[2, 2, n, n + 1], [2, 4, n / 2, n / 2]],
        small: (5, [2, 2, 5, 6]),
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
            let of_map = conv_norm(&gate.of_map, &x[0]);
            let of_guide = linear(&conv_norm(&gate.of_guide, &x[1]), of_map.spatial());
            let sum = of_map.zip(&of_guide, |a, b| a + b).relu();
            let weight = linear(&conv_norm(&gate.weight, &sum).sigmoid(), x[0].spatial());
            Array::build(&x[0].shape, |i| {
                x[0].at(i) * weight.at(&[i[0], 0, i[2], i[3]])
            })
        },
        misfit: (
            vec![[1, 2, 4, 4], [2, 4, 2, 2]],
            "Gate: batch differs: map 1, guide 2. Give all maps the same batch.",
        ),
    })
}
