//! Batch norms beside differences, and beside sums in f64.

use alloc::{vec, vec::Vec};

use super::super::norm::ActivationGradient;
use super::super::{ChannelAffine, activation, layer_norm, norm};
use super::cases::noise;
use super::with_all_instructions;
use crate::policy::{Curved, FusedActivation, Piecewise};

/// What a norm computes of a map before it is applied.
struct Numbers {
    moments: norm::Moments,
    scale: Vec<f32>,
    inverse_deviation: Vec<f32>,
}

impl Numbers {
    fn of(map: norm::ChannelMap, gamma: &[f32]) -> Self {
        let moments = norm::moments(map);
        let inverse = moments.variance.iter().map(|v| 1.0 / (v + 1e-3).sqrt());
        let inverse_deviation: Vec<f32> = inverse.collect();
        let scale = gamma.iter().zip(&inverse_deviation);
        Self {
            scale: scale.map(|(gamma, d)| gamma * d).collect(),
            inverse_deviation,
            moments,
        }
    }

    fn norm<'a>(&'a self, beta: &'a [f32]) -> norm::Norm<'a> {
        norm::Norm {
            affine: ChannelAffine {
                mean: &self.moments.mean,
                scale: &self.scale,
                shift: beta,
            },
            inverse_deviation: &self.inverse_deviation,
            of_batch: true,
        }
    }
}

#[test]
fn norms_and_their_gradients() {
    let [batch, channels, positions] = [2, 3, 37];
    let of = |seed| noise(batch * channels * positions, seed);
    let (values, gradient, residual) = (of(1), of(2), of(3));
    let [gamma, beta] = [4, 5].map(|seed| noise(channels, seed));
    let map = norm::ChannelMap {
        values: &values,
        channels,
        positions,
        group: 1,
    };
    let at = |n: usize, c: usize, p: usize| (n * channels + c) * positions + p;
    let all = || (0..batch).flat_map(|n| (0..positions).map(move |p| (n, p)));
    let count = (batch * positions) as f64;
    // f(x, gamma, beta, residual) = sum(gradient relu(gamma (x - mean) / deviation + beta + residual)) of a channel
    let loss = |c: usize, x: &dyn Fn(usize) -> f64, gamma: f64, beta: f64, moved: Option<usize>| {
        let mean = all().map(|(n, p)| x(at(n, c, p))).sum::<f64>() / count;
        let square = |(n, p)| (x(at(n, c, p)) - mean).powi(2);
        let deviation = (all().map(square).sum::<f64>() / count + 1e-3).sqrt();
        let term = |(n, p)| {
            let i = at(n, c, p);
            let more = f64::from(residual[i]) + if moved == Some(i) { 1e-6 } else { 0.0 };
            let y = gamma * (x(i) - mean) / deviation + beta + more;
            f64::from(gradient[i]) * y.max(0.0)
        };
        all().map(term).sum::<f64>()
    };
    with_all_instructions(|| {
        let numbers = Numbers::of(map, &gamma);
        let numbers = numbers.norm(&beta);
        let relu = FusedActivation::Piecewise(Piecewise::RELU);
        let y = norm::forward(map, numbers.affine, Some(&residual), relu);
        let activation = ActivationGradient::AtOutput(Piecewise::RELU, &y);
        let found = norm::backward(map, &gradient, numbers, activation, true);
        for c in 0..channels {
            let (g, b) = (f64::from(gamma[c]), f64::from(beta[c]));
            let x = |i: usize| f64::from(values[i]);
            let base = loss(c, &x, g, b, None);
            let slope = |moved: f64| (moved - base) / 1e-6;
            let near = |found: f32, wanted: f64| assert!((f64::from(found) - wanted).abs() < 1e-3);
            near(found.gamma[c], slope(loss(c, &x, g + 1e-6, b, None)));
            near(found.beta[c], slope(loss(c, &x, g, b + 1e-6, None)));
            for (n, p) in [(0, 0), (1, 5), (1, positions - 1)] {
                let i = at(n, c, p);
                let moved = |j: usize| x(j) + if i == j { 1e-6 } else { 0.0 };
                near(found.x[i], slope(loss(c, &moved, g, b, None)));
                let to_residual = found.residual.as_ref().unwrap()[i];
                near(to_residual, slope(loss(c, &x, g, b, Some(i))));
            }
        }
    });
}

#[test]
fn layer_norms_and_their_gradients() {
    // Several chunks of channels, a whole block of positions and a part of one.
    for [batch, channels, positions] in [[2, 67, 131], [1, 3, 5], [3, 1, 128]] {
        let of = |seed| noise(batch * channels * positions, seed);
        let (values, gradient) = (of(1), of(2));
        let [gamma, beta] = [4, 5].map(|seed| noise(channels, seed));
        let epsilon = 1e-3;
        let norm = layer_norm::LayerNorm {
            values: &values,
            channels,
            positions,
            gamma: &gamma,
            epsilon,
        };
        let at = |n: usize, c: usize, p: usize| (n * channels + c) * positions + p;
        let count = channels as f64;
        let (mut wanted_y, mut wanted_x) = (vec![0.0; values.len()], vec![0.0; values.len()]);
        let mut wanted = vec![[0.0; 2]; channels];
        for (n, p) in (0..batch).flat_map(|n| (0..positions).map(move |p| (n, p))) {
            let x = |c: usize| f64::from(values[at(n, c, p)]);
            let g = |c: usize| f64::from(gradient[at(n, c, p)]);
            let mean = (0..channels).map(x).sum::<f64>() / count;
            let variance = (0..channels).map(|c| (x(c) - mean).powi(2)).sum::<f64>() / count;
            let inverse = 1.0 / (variance + epsilon).sqrt();
            let normal = |c: usize| (x(c) - mean) * inverse;
            let scaled = |c: usize| g(c) * f64::from(gamma[c]);
            let of_mean = (0..channels).map(scaled).sum::<f64>() / count;
            let both = (0..channels).map(|c| scaled(c) * normal(c));
            let of_deviation = both.sum::<f64>() / count;
            for c in 0..channels {
                wanted_y[at(n, c, p)] = normal(c) * f64::from(gamma[c]) + f64::from(beta[c]);
                wanted_x[at(n, c, p)] = inverse * (scaled(c) - of_mean - normal(c) * of_deviation);
                wanted[c][0] += g(c) * normal(c);
                wanted[c][1] += g(c);
            }
        }
        with_all_instructions(|| {
            let name = [batch, channels, positions];
            super::assert_near(&layer_norm::forward(norm, &beta), &wanted_y, &name);
            let found = layer_norm::backward(norm, &gradient);
            super::assert_near(&found.x, &wanted_x, &name);
            for (c, [to_gamma, to_beta]) in wanted.iter().enumerate() {
                super::assert_near(&[found.gamma[c]], &[*to_gamma], &name);
                super::assert_near(&[found.beta[c]], &[*to_beta], &name);
            }
        });
    }
}

#[test]
fn a_constant_channel_is_normalised_to_its_shift() {
    for constant in [1e4, 3e6, 3_000_001.5, -16_777_213.0, 0.1] {
        let values = vec![constant; 2 * 1_111];
        let map = norm::ChannelMap {
            values: &values,
            channels: 1,
            positions: 1_111,
            group: 1,
        };
        with_all_instructions(|| {
            let found = norm::moments(map);
            assert_eq!((found.mean[0], found.variance[0]), (constant, 0.0));
        });
    }
}

#[test]
fn the_moments_of_a_large_mean_are_those_of_the_differences() {
    let noise = noise(4_096, 5);
    let values: Vec<f32> = noise.iter().map(|v| 1e5 + (v * 64.0).round()).collect();
    let map = norm::ChannelMap {
        values: &values,
        channels: 1,
        positions: values.len(),
        group: 1,
    };
    let count = values.len() as f64;
    let wanted = values.iter().map(|&v| f64::from(v)).sum::<f64>() / count;
    let square = |v: &f32| (f64::from(*v) - wanted).powi(2);
    let wanted_variance = values.iter().map(square).sum::<f64>() / count;
    with_all_instructions(|| {
        let found = norm::moments(map);
        assert_eq!(found.mean[0], wanted as f32);
        assert!((f64::from(found.variance[0]) / wanted_variance - 1.0).abs() < 1e-6);
    });
}

#[test]
fn channels_of_a_group_share_mean_and_variance() {
    let [channels, positions, group] = [6, 19, 3];
    let of = |seed| noise(channels * positions, seed);
    let (values, gradient) = (of(1), of(2));
    let [gamma, beta] = [4, 5].map(|seed| noise(channels, seed));
    let map = norm::ChannelMap {
        values: &values,
        channels,
        positions,
        group,
    };
    // sum(gradient (gamma (x - mean) / deviation + beta)), in f64
    let loss = |x: &dyn Fn(usize) -> f64, gamma: &dyn Fn(usize) -> f64| -> f64 {
        let of_group = |first: usize| {
            let all = || first * positions..(first + group) * positions;
            let count = (group * positions) as f64;
            let mean = all().map(x).sum::<f64>() / count;
            let square = all().map(|i| (x(i) - mean).powi(2)).sum::<f64>() / count;
            let deviation = (square + 1e-3).sqrt();
            let term = |i: usize| {
                let y = gamma(i / positions) * (x(i) - mean) / deviation;
                f64::from(gradient[i]) * (y + f64::from(beta[i / positions]))
            };
            all().map(term).sum::<f64>()
        };
        (0..channels).step_by(group).map(of_group).sum()
    };
    with_all_instructions(|| {
        let numbers = Numbers::of(map, &gamma);
        let mean = &numbers.moments.mean;
        assert_eq!(mean[0], mean[2]);
        assert_ne!(mean[2], mean[3]);
        let numbers = numbers.norm(&beta);
        let y = norm::forward(map, numbers.affine, None, FusedActivation::IDENTITY);
        let (x, g) = (
            |i: usize| f64::from(values[i]),
            |c: usize| f64::from(gamma[c]),
        );
        let base = loss(&x, &g);
        let sum: f64 = y.iter().zip(&gradient).map(|(y, g)| f64::from(y * g)).sum();
        assert!((sum - base).abs() < 1e-4);
        let activation = ActivationGradient::AtInput(FusedActivation::IDENTITY);
        let found = norm::backward(map, &gradient, numbers, activation, false);
        let near = |found: f32, moved: f64| {
            let slope = (moved - base) / 1e-6;
            assert!((f64::from(found) - slope).abs() < 1e-3, "{found}, {slope}");
        };
        for c in 0..channels {
            let wider = |other: usize| g(other) + if other == c { 1e-6 } else { 0.0 };
            near(found.gamma[c], loss(&x, &wider));
            for i in [c * positions, c * positions + 7] {
                let moved = |j: usize| x(j) + if i == j { 1e-6 } else { 0.0 };
                near(found.x[i], loss(&moved, &g));
            }
        }
    });
}

#[test]
fn an_activation_in_the_pass_of_a_norm_is_that_after_it() {
    // (More than a block, and no whole number of vectors.)
    let [channels, positions] = [4, 1_237];
    let of = |seed| noise(2 * channels * positions, seed);
    let (values, gradient) = (of(1), of(2));
    let [gamma, beta] = [4, 5].map(|seed| noise(channels, seed));
    let map = norm::ChannelMap {
        values: &values,
        channels,
        positions,
        group: 2,
    };
    let leaky = Piecewise {
        negative_slope: 0.1,
        max: f32::INFINITY,
    };
    let fused = [
        FusedActivation::Piecewise(leaky),
        FusedActivation::Curved(Curved::Gelu),
    ];
    for fused in fused {
        with_all_instructions(|| {
            let numbers = Numbers::of(map, &gamma);
            let numbers = numbers.norm(&beta);
            let identity = FusedActivation::IDENTITY;
            let before = norm::forward(map, numbers.affine, None, identity);
            let after = activation::forward(&before, fused);
            assert_eq!(norm::forward(map, numbers.affine, None, fused), after);
            let saved = if fused.is_told_by_output() {
                &after
            } else {
                &before
            };
            let to_norm = activation::backward(saved, &gradient, fused);
            let apart = ActivationGradient::AtInput(identity);
            let wanted = norm::backward(map, &to_norm, numbers, apart, false);
            let together = ActivationGradient::AtInput(fused);
            let found = norm::backward(map, &gradient, numbers, together, false);
            assert_eq!(found.x, wanted.x);
            assert_eq!([found.gamma, found.beta], [wanted.gamma, wanted.beta]);
        });
    }
}
