//! The rows of gates.

use burn_skip::gate::{AnyGate, Gate, GateConfig};

use super::means;
use super::reference::{Array, conv_layer};
use super::row::{Contract, Row, odd_sizes};

pub fn rows() -> Vec<Box<dyn Contract>> {
    vec![Box::new(Row::<AnyGate<4>, 4> {
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
    })]
}
