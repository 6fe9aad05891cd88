//! The kernels compared with plain loops that follow the formulas.

mod activations;
mod cases;
mod norms;
mod resample;

use alloc::{boxed::Box, sync::Arc, vec, vec::Vec};
use core::any::Any;
use core::fmt::Debug;

use pulp::Arch;

use super::*;
use crate::policy::{
    ConvShape, Curved, Depth, FusedActivation, Geometry, Piecewise, SourceShape, WeightUse,
};
use cases::{Case, cases, noise, volumes};

/// Equal up to the rounding of f32 sums taken in a different order.
fn assert_near(got: &[f32], wanted: &[f64], what: &dyn Debug) {
    assert_eq!(got.len(), wanted.len());
    let most = wanted.iter().fold(1.0, |most: f64, v| most.max(v.abs()));
    for (i, (&got, wanted)) in got.iter().zip(wanted).enumerate() {
        assert!(
            (f64::from(got) - wanted).abs() < 1e-5 * most,
            "at {i}: {got}, {wanted} ({what:?})"
        );
    }
}

/// All instruction sets that this machine has, the scalar one included.
fn instructions() -> Vec<Arch> {
    let mut all = vec![Arch::Scalar];
    #[cfg(target_arch = "x86_64")]
    {
        all.extend(pulp::x86::V3::try_new().map(Arch::V3));
        all.extend(pulp::x86::V4::try_new().map(Arch::V4));
    }
    #[cfg(not(target_arch = "x86_64"))]
    all.push(Arch::new());
    all
}

fn with_all_instructions(f: impl Fn()) {
    for arch in instructions() {
        threads::with(arch, &f);
    }
}

#[test]
fn forward_is_the_sum() {
    with_all_instructions(forward_of_all_cases);
}

#[test]
fn gradients_are_the_sums() {
    with_all_instructions(gradients_of_all_cases);
}

fn forward_of_all_cases() {
    for case in cases().into_iter().chain(volumes()) {
        let (values, weight) = (case.values(), case.weight());
        let mut wanted = vec![0.0; case.out_len()];
        case.products(|out, w, s, v| wanted[out] += f64::from(weight[w] * values[s][v]));
        let sources = case.sources(&values);
        // (With a cache, weights are packed in more cases.)
        let (cache, hold) = (WeightCache::default(), || -> Box<dyn Any + Send> {
            Box::new(())
        });
        let slot = CacheSlot {
            cache: &cache,
            hold: &hold,
        };
        for cache in [None, Some(slot)] {
            let weight = Weight {
                cache,
                ..Weight::new(&weight, case.outputs)
            };
            let none = EpilogueValues::default();
            let got = forward(&sources, case.samples, weight, &case.geometry, none);
            assert_near(&got, &wanted, &case);
        }
        // The policy predicts the size of the cache.
        let shape = ConvShape {
            geometry: case.geometry.clone(),
            batch: case.samples,
            sources: sources.iter().map(Source::shape).collect(),
            outputs: case.outputs,
        };
        assert_eq!(cache.bytes(), shape.prepared_bytes(WeightUse::Kept));
    }
}

fn gradients_of_all_cases() {
    for case in cases().into_iter().chain(volumes()) {
        gradients_of(&case);
    }
}

fn gradients_of(case: &Case) {
    let (values, weight) = (case.values(), case.weight());
    let gradient = noise(case.out_len(), 99);
    let mut to_weight = vec![0.0; weight.len()];
    let mut to_sources: Vec<Vec<f64>> = values.iter().map(|v| vec![0.0; v.len()]).collect();
    case.products(|out, w, s, v| {
        to_weight[w] += f64::from(gradient[out] * values[s][v]);
        to_sources[s][v] += f64::from(gradient[out] * weight[w]);
    });
    let sources = case.sources(&values);
    let from = case.gradient(&gradient);
    let got = weight_gradient(&sources, from, case.samples, &case.geometry);
    assert_near(&got, &to_weight, &("weight", case));
    let mut wanted: Vec<_> = sources
        .iter()
        .map(|source| GradientTarget {
            shape: source.shape(),
            is_needed: true,
        })
        .collect();
    let weight = Weight::new(&weight, case.outputs);
    for (got, wanted) in input_gradient(&gradient, case.samples, weight, &case.geometry, &wanted)
        .iter()
        .zip(&to_sources)
    {
        assert_near(got.as_ref().unwrap(), wanted, case);
    }
    if wanted.len() > 1 {
        wanted[0].is_needed = false;
        let some = input_gradient(&gradient, case.samples, weight, &case.geometry, &wanted);
        assert!(some[0].is_none());
        assert_near(some[1].as_ref().unwrap(), &to_sources[1], case);
    }
}

#[test]
fn what_follows_is_applied_once() {
    what_follows_is_applied_to(&cases()[3]);
    what_follows_is_applied_to(&volumes()[0]);
}

/// (Too slow under Miri.)
#[test]
#[cfg(not(miri))]
fn what_follows_components_is_applied_once() {
    let plain = [[3, 3], [1, 1], [1, 1], [1, 1]];
    what_follows_is_applied_to(&Case::new(1, vec![(33, [1, 1])], [24, 26], 37, plain, 1));
    let dilated = [[3, 3], [1, 1], [2, 3], [2, 3]];
    what_follows_is_applied_to(&Case::new(2, vec![(33, [1, 1])], [29, 31], 37, dilated, 1));
    let pointwise = [[1, 1], [1, 1], [1, 1], [0, 0]];
    for size in [[9, 31], [1, 1], [3, 4]] {
        what_follows_is_applied_to(&Case::new(2, vec![(33, [1, 1])], size, 37, pointwise, 1));
    }
    for geometry in [plain, [[3, 3], [2, 2], [1, 1], [1, 1]]] {
        what_follows_is_applied_to(&Case::new(2, vec![(20, [1, 1])], [9, 11], 37, geometry, 1));
    }
}

fn what_follows_is_applied_to(case: &Case) {
    let (values, weight) = (case.values(), case.weight());
    let mut sums = vec![0.0; case.out_len()];
    case.products(|out, w, s, v| sums[out] += f64::from(weight[w] * values[s][v]));
    let [scale, shift, center] = [5, 6, 8].map(|seed| noise(case.outputs, seed));
    let residual = noise(case.out_len(), 7);
    let positions = case.geometry.positions();
    let before = |(out, sum): (usize, &f64)| {
        let k = out / positions % case.outputs;
        let y = (sum - f64::from(center[k])) * f64::from(scale[k]);
        y + f64::from(shift[k] + residual[out])
    };
    let before: Vec<f64> = sums.iter().enumerate().map(before).collect();
    let silu: Function = |y| y / (1.0 + (-y).exp());
    let curved = (FusedActivation::Curved(Curved::Silu), silu);
    let pieces =
        PIECEWISE.map(|(piecewise, wanted)| (FusedActivation::Piecewise(piecewise), wanted));
    for (activation, value) in pieces.into_iter().chain([curved]) {
        let wanted: Vec<f64> = before.iter().map(|y| value(*y)).collect();
        with_all_instructions(|| {
            let epilogue = EpilogueValues {
                center: Some(&center),
                scale: Some(&scale),
                shift: Some(&shift),
                residual: Some(&residual),
                activation,
            };
            let sources = case.sources(&values);
            let weight = Weight::new(&weight, case.outputs);
            let found = forward(&sources, case.samples, weight, &case.geometry, epilogue);
            assert_near(&found, &wanted, &(case, activation));
        });
    }
}

type Function = fn(f64) -> f64;

/// Activations that are applied as a map is read, and what they are.
const PIECEWISE: [(Piecewise, Function); 3] = [
    (Piecewise::RELU, |y| y.max(0.0)),
    (
        Piecewise {
            negative_slope: 0.25,
            max: f32::INFINITY,
        },
        |y| y.max(0.25 * y),
    ),
    (
        Piecewise {
            negative_slope: 0.0,
            max: 0.5,
        },
        |y| y.clamp(0.0, 0.5),
    ),
];

#[test]
fn a_source_is_read_through_its_norm() {
    let plain = [[3, 3], [1, 1], [1, 1], [1, 1]];
    let pointwise = [[1, 1], [1, 1], [1, 1], [0, 0]];
    let dilated = [[3, 3], [1, 1], [2, 3], [2, 3]];
    let cases = [
        (3, [6, 7], [1, 1], plain),
        (3, [40, 36], [2, 2], plain),
        (4, [6, 7], [1, 1], pointwise),
        // By components.
        (34, [24, 26], [1, 1], plain),
        (33, [29, 31], [1, 1], dilated),
        (34, [19, 31], [1, 1], pointwise),
        (40, [5, 5], [1, 1], pointwise),
        (35, [11, 9], [1, 1], plain),
        (37, [21, 40], [1, 1], [[3, 3], [2, 2], [1, 1], [1, 1]]),
    ];
    for (channels, size, up, geometry) in &cases[..if cfg!(miri) { 3 } else { 9 }] {
        let case = Case::new(2, vec![(*channels, *up)], *size, channels + 1, *geometry, 1);
        let (values, weight) = (case.values(), case.weight());
        let [scale, shift, mean] = [5, 6, 8].map(|seed| noise(*channels, seed));
        let positions = values[0].len() / 2 / channels;
        let gradient = noise(case.out_len(), 99);
        let (piecewise, value) = PIECEWISE[channels % 3];
        let read = |(i, v): (usize, &f32)| {
            let c = i / positions % channels;
            value(f64::from((v - mean[c]) * scale[c] + shift[c])) as f32
        };
        let normed = vec![values[0].iter().enumerate().map(read).collect::<Vec<f32>>()];
        with_all_instructions(|| {
            let mut source = case.sources(&values)[0];
            source.prologue = Some(Prologue {
                affine: ChannelAffine {
                    mean: &mean,
                    scale: &scale,
                    shift: &shift,
                },
                activation: piecewise,
            });
            let both = [case.sources(&normed)[0], source];
            let as_wanted = |values: Vec<f32>| values.into_iter().map(f64::from).collect();
            let [wanted, found] = both.map(|source| {
                let weight = Weight::new(&weight, case.outputs);
                let none = EpilogueValues::default();
                forward(&[source], case.samples, weight, &case.geometry, none)
            });
            let wanted: Vec<f64> = as_wanted(wanted);
            assert_near(&found, &wanted, &case);
            let [wanted, found] = both.map(|source| {
                let gradient = case.gradient(&gradient);
                weight_gradient(&[source], gradient, case.samples, &case.geometry)
            });
            let wanted: Vec<f64> = as_wanted(wanted);
            assert_near(&found, &wanted, &case);
        });
    }
}

#[test]
fn a_nan_is_not_hidden() {
    let geometry = Geometry {
        kernel: [1, 1],
        stride: [1, 1],
        dilation: [1, 1],
        pad: [0, 0],
        groups: 1,
        size: [1, 2],
        depth: Depth::FLAT,
    };
    let source = Source::new(&[f32::NAN, -1.0], SourceShape::plain(1, [1, 2]));
    let relu = EpilogueValues {
        activation: FusedActivation::Piecewise(Piecewise::RELU),
        ..EpilogueValues::default()
    };
    with_all_instructions(|| {
        let y = forward(&[source], 1, Weight::new(&[1.0], 1), &geometry, relu);
        assert!(y[0].is_nan());
        assert_eq!(y[1], 0.0);
    });
}

#[test]
fn what_is_made_of_a_weight_is_kept_until_it_is_another() {
    // Sums of taps for a map that is read doubled, and Winograd's components.
    for (channels, size) in [(3, 6), (32, 24)] {
        let plain = [[3, 3], [1, 1], [1, 1], [1, 1]];
        let sources = vec![(channels, [1, 1]), (4, [2, 2])];
        let case = Case::new(1, sources, [size; 2], 32, plain, 1);
        let values = case.values();
        let sources = case.sources(&values);
        let cache = WeightCache::default();
        let run = |weight: &Arc<Vec<f32>>| {
            let hold = || -> Box<dyn Any + Send> { Box::new(weight.clone()) };
            let slot = CacheSlot {
                cache: &cache,
                hold: &hold,
            };
            let weight = Weight {
                cache: Some(slot),
                ..Weight::new(weight, case.outputs)
            };
            let none = EpilogueValues::default();
            forward(&sources, case.samples, weight, &case.geometry, none)
        };
        let weight = Arc::new(case.weight());
        let first = run(&weight);
        assert_eq!(Arc::strong_count(&weight), 2);
        assert_eq!(first, run(&weight));
        let halves = Arc::new(weight.iter().map(|w| w / 2.0).collect::<Vec<_>>());
        let found = run(&halves);
        assert_eq!(Arc::strong_count(&weight), 1);
        let wanted: Vec<f64> = first.iter().map(|&y| f64::from(y) / 2.0).collect();
        assert_near(&found, &wanted, &case);
        cache.clear();
        assert_eq!(Arc::strong_count(&halves), 1);
    }
}

/// A convolution along one axis whose kernel has `taps` taps, with 10 outputs.
fn long(taps: usize) -> Case {
    let geometry = [[1, taps], [1, 1], [1, 1], [0, 0]];
    Case::new(1, vec![(1, [1, 1])], [1, taps + 9], 1, geometry, 1)
}

/// (A dense matrix from 2^16 taps to as many taps would have more elements than a u32 can index.)
#[test]
#[cfg(not(miri))]
fn very_many_taps_have_right_gradients() {
    for taps in [2_001, 65_601] {
        gradients_of(&long(taps));
    }
}
