//! Activations and their derivatives beside PyTorch's in f64.

use super::super::activation::{backward, forward};
use super::with_all_instructions;
use crate::policy::{Curved, FusedActivation, Piecewise};

/// Where they are compared.
const XS: [f64; 15] = [
    -30.0, -6.0, -3.5, -2.0, -1.0, -0.5, -0.1, -0.001, 0.001, 0.25, 0.7, 1.5, 2.75, 5.0, 30.0,
];

const HARD_SIGMOID: FusedActivation = curved(Curved::HardSigmoid {
    alpha: 1.0 / 6.0,
    beta: 0.5,
});
const SELU_SCALE: f32 = 1.050_701;
const SELU_ALPHA: f32 = 1.673_263_2;

const fn curved(activation: Curved) -> FusedActivation {
    FusedActivation::Curved(activation)
}

const fn piecewise(negative_slope: f32, max: f32) -> FusedActivation {
    FusedActivation::Piecewise(Piecewise {
        negative_slope,
        max,
    })
}

/// ELU, CELU and SELU.
const fn elu(positive: f32, negative: f32, width: f32) -> FusedActivation {
    curved(Curved::Elu {
        positive,
        negative,
        width,
    })
}

/// Each activation with its values and derivatives there.
#[rustfmt::skip]
#[allow(clippy::excessive_precision)]
const WANTED: [(FusedActivation, [f64; XS.len()], [f64; XS.len()]); 13] = [
    (curved(Curved::Gelu), [-0.0, -5.91952587e-09, -0.000814201777, -0.0455002639, -0.158655254, -0.154268769, -0.0460172163, -0.000499601058, 0.000500398942, 0.149676581, 0.530625443, 1.3997892, 2.74180565, 4.99999857, 30.0], [-0.0, -3.54687095e-08, -0.00282176035, -0.0852318011, -0.0833154706, 0.132504875, 0.420476908, 0.499202116, 0.500797884, 0.695373355, 0.976614101, 1.12746919, 1.02202753, 1.00000715, 1.0]),
    (curved(Curved::GeluApproximate), [-0.0, -8.43964898e-11, -0.000616197655, -0.0454023059, -0.158808009, -0.15428599, -0.046017249, -0.000499601058, 0.000500398942, 0.149675351, 0.530570135, 1.39957158, 2.74227686, 4.99999977, 30.0], [0.0, -7.70997601e-10, -0.00242264376, -0.0860992566, -0.0829640838, 0.132630096, 0.420478211, 0.499202116, 0.500797884, 0.695354095, 0.976357219, 1.12771079, 1.02194892, 1.00000155, 1.0]),
    (curved(Curved::Silu), [-2.80728689e-12, -0.0148357389, -0.102592808, -0.238405844, -0.268941421, -0.188770334, -0.0475020813, -0.00049975, 0.00050025, 0.140544125, 0.467731441, 1.22636171, 2.58476171, 4.96653575, 30.0], [-2.71371066e-12, -0.0123264326, -0.0702733528, -0.0907842488, 0.0723294881, 0.260038813, 0.450083209, 0.4995, 0.5005, 0.623710022, 0.823386783, 1.04129415, 1.09522302, 1.02654743, 1.0]),
    (curved(Curved::Mish), [-2.80728689e-12, -0.0148540805, -0.104095754, -0.252501483, -0.303401461, -0.220743775, -0.0567885752, -0.000599679984, 0.000600319984, 0.16957241, 0.561148378, 1.40337827, 2.7302142, 4.99955208, 30.0], [-2.71371066e-12, -0.0123599679, -0.0727604134, -0.108355092, 0.0592167559, 0.289510678, 0.535702818, 0.599359952, 0.600639952, 0.754172668, 0.968794868, 1.08848799, 1.02986523, 1.00080022, 1.0]),
    (curved(Curved::HardSwish), [-0.0, -0.0, -0.0, -0.333333333, -0.333333333, -0.208333333, -0.0483333333, -0.000499833333, 0.000500166667, 0.135416667, 0.431666667, 1.125, 2.63541667, 5.0, 30.0], [0.0, 0.0, 0.0, -0.166666667, 0.166666667, 0.333333333, 0.466666667, 0.499666667, 0.500333333, 0.583333333, 0.733333333, 1.0, 1.41666667, 1.0, 1.0]),
    (HARD_SIGMOID, [0.0, 0.0, 0.0, 0.166666667, 0.333333333, 0.416666667, 0.483333333, 0.499833333, 0.500166667, 0.541666667, 0.616666667, 0.75, 0.958333333, 1.0, 1.0], [0.0, 0.0, 0.0, 0.166666672, 0.166666672, 0.166666672, 0.166666672, 0.166666672, 0.166666672, 0.166666672, 0.166666672, 0.166666672, 0.166666672, 0.0, 0.0]),
    (curved(Curved::Sigmoid), [9.35762297e-14, 0.00247262316, 0.0293122308, 0.119202922, 0.268941421, 0.377540669, 0.475020813, 0.49975, 0.50025, 0.562176501, 0.668187772, 0.817574476, 0.93991335, 0.993307149, 1.0], [9.35762297e-14, 0.00246650929, 0.0284530239, 0.104993585, 0.196611933, 0.235003712, 0.24937604, 0.249999938, 0.249999938, 0.246134083, 0.221712873, 0.149146452, 0.0564762446, 0.00664805667, 9.34807787e-14]),
    (curved(Curved::Tanh), [-1.0, -0.999987712, -0.998177898, -0.96402758, -0.761594156, -0.462117157, -0.0996679946, -0.000999999667, 0.000999999667, 0.244918662, 0.604367777, 0.905148254, 0.991859725, 0.999909204, 1.0], [0.0, 2.45765474e-05, 0.00364088472, 0.0706508249, 0.419974342, 0.786447733, 0.990066291, 0.999999, 0.999999, 0.940014849, 0.63473959, 0.180706639, 0.0162142868, 0.000181583231, 0.0]),
    (elu(1.0, 1.5, 1.0), [-1.5, -1.49628187, -1.45470392, -1.29699708, -0.948180838, -0.59020401, -0.142743873, -0.00149925025, 0.001, 0.25, 0.7, 1.5, 2.75, 5.0, 30.0], [1.40364345e-13, 0.00371812826, 0.0452960751, 0.203002925, 0.551819162, 0.90979599, 1.35725613, 1.49850075, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]),
    (elu(1.0, 2.0, 2.0), [-1.99999939, -1.90042586, -1.65245211, -1.26424112, -0.786938681, -0.442398434, -0.097541151, -0.000999750042, 0.001, 0.25, 0.7, 1.5, 2.75, 5.0, 30.0], [3.05902321e-07, 0.0497870684, 0.173773943, 0.367879441, 0.60653066, 0.778800783, 0.951229425, 0.999500125, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]),
    (elu(SELU_SCALE, SELU_SCALE * SELU_ALPHA, 1.0), [-1.75809934, -1.75374145, -1.70500934, -1.52016647, -1.11133074, -0.691758188, -0.167305273, -0.00175722058, 0.00105070099, 0.262675247, 0.735490691, 1.57605148, 2.88942772, 5.25350494, 31.5210296], [1.64516308e-13, 0.00435789257, 0.0530899999, 0.237932872, 0.646768603, 1.06634115, 1.59079407, 1.75634212, 1.05070099, 1.05070099, 1.05070099, 1.05070099, 1.05070099, 1.05070099, 1.05070099]),
    (piecewise(0.0, 6.0), [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.001, 0.25, 0.7, 1.5, 2.75, 5.0, 6.0], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0]),
    (piecewise(0.1, f32::INFINITY), [-3.0, -0.6, -0.35, -0.2, -0.1, -0.05, -0.01, -0.0001, 0.001, 0.25, 0.7, 1.5, 2.75, 5.0, 30.0], [0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]),
];

/// Relative, and near 0 absolute.
fn assert_near(found: f32, wanted: f64, tolerance: f64, of: &dyn core::fmt::Debug) {
    let error = (f64::from(found) - wanted).abs();
    assert!(
        error <= tolerance * (wanted.abs() + 1e-3),
        "{of:?}: {found}, not {wanted}"
    );
}

#[test]
fn activations_are_those_of_pytorch() {
    let xs = XS.map(|x| x as f32);
    with_all_instructions(|| {
        for (activation, values, derivatives) in WANTED {
            let y = forward(&xs, activation);
            let saved = match activation.is_told_by_output() {
                true => &y[..],
                false => &xs,
            };
            let slopes = backward(saved, &[2.0; XS.len()], activation);
            for n in 0..XS.len() {
                let of = (activation, XS[n]);
                assert_near(y[n], values[n], 1e-6, &of);
                assert_near(slopes[n], 2.0 * derivatives[n], 2e-6, &of);
            }
        }
    });
}

#[test]
fn a_derivative_is_the_slope_of_the_values() {
    // Blocks and vectors end within.
    let xs: Vec<f32> = (0..3_000).map(|n| n as f32 / 150.0 - 10.0).collect();
    let step = 1.0 / 150.0;
    with_all_instructions(|| {
        for (activation, ..) in WANTED {
            let y = forward(&xs, activation);
            let saved = if activation.is_told_by_output() {
                &y
            } else {
                &xs
            };
            let slopes = backward(saved, &vec![1.0; xs.len()], activation);
            for n in 1..xs.len() {
                // (A corner lies between two positions, or on one.)
                let slope = (y[n] - y[n - 1]) / step;
                let mean = (slopes[n] + slopes[n - 1]) / 2.0;
                let is_corner = (slopes[n] - slopes[n - 1]).abs() > 0.05;
                assert!(
                    is_corner || (slope - mean).abs() < 1e-3,
                    "{activation:?} at {}",
                    xs[n]
                );
            }
        }
    });
}

#[test]
fn values_and_derivatives_far_from_zero() {
    let far = [1e2, 1e4, 1e18];
    let xs: Vec<f32> = far.iter().flat_map(|&x| [x, -x]).collect();
    with_all_instructions(|| {
        for activation in [Curved::Gelu, Curved::Silu, Curved::Mish, Curved::HardSwish] {
            let y = forward(&xs, curved(activation));
            let slopes = backward(&xs, &vec![1.0; xs.len()], curved(activation));
            for n in 0..xs.len() {
                assert_eq!(y[n], xs[n].max(0.0), "{activation:?} at {}", xs[n]);
                let slope = if xs[n] > 0.0 { 1.0 } else { 0.0 };
                assert_eq!(slopes[n], slope, "slope of {activation:?} at {}", xs[n]);
            }
        }
        // exp(-84.9), exp(-86.5), and what is no normal number any more.
        let y = forward(&[-84.9, -86.5, -100.0], curved(Curved::Sigmoid));
        assert_near(y[0] * 1e36, 1.343_995_5e-37 * 1e36, 1e-5, &-84.9);
        assert_near(y[1] * 1e37, 2.713_484_3e-38 * 1e37, 1e-5, &-86.5);
        assert_eq!(y[2], 0.0);
    });
}

#[test]
fn values_that_are_not_finite() {
    let xs = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
    with_all_instructions(|| {
        for (activation, ..) in WANTED {
            let y = forward(&xs, activation);
            assert!(y[0].is_nan(), "{activation:?}");
        }
        let run = |activation| forward(&xs, activation);
        assert_eq!(
            run(FusedActivation::Piecewise(Piecewise::RELU))[1..],
            [f32::INFINITY, 0.0]
        );
        assert_eq!(run(piecewise(0.0, 6.0))[1..], [6.0, 0.0]);
        assert_eq!(run(curved(Curved::Tanh))[1..], [1.0, -1.0]);
        assert_eq!(run(curved(Curved::Sigmoid))[1..], [1.0, 0.0]);
        let relu = FusedActivation::Piecewise(Piecewise::RELU);
        assert_eq!(backward(&xs[1..], &[3.0; 2], relu), [3.0, 0.0]);
    });
}
