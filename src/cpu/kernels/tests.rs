//! The kernels beside sums that are written as the formulas are.

use super::*;
use alloc::{boxed::Box, sync::Arc, vec, vec::Vec};
use core::any::Any;

use pulp::Arch;

fn noise(len: usize, mut seed: u32) -> Vec<f32> {
    let mut next = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

struct Case {
    batch: usize,
    /// Channels and factor of each source.
    sources: Vec<(usize, [usize; 2])>,
    size: [usize; 2],
    outputs: usize,
    geometry: Geometry,
}

impl Case {
    fn new(
        batch: usize,
        sources: Vec<(usize, [usize; 2])>,
        size: [usize; 2],
        outputs: usize,
        geometry: [[usize; 2]; 4],
        groups: usize,
    ) -> Self {
        let [kernel, stride, dilation, pad] = geometry;
        let out = [0, 1]
            .map(|a| (size[a] + 2 * pad[a] - dilation[a] * (kernel[a] - 1) - 1) / stride[a] + 1);
        let pad = pad.map(|pad| pad as isize);
        let geometry = Geometry {
            kernel,
            stride,
            dilation,
            pad,
            groups,
            size: out,
        };
        Self {
            batch,
            sources,
            size,
            outputs,
            geometry,
        }
    }

    fn values(&self) -> Vec<Vec<f32>> {
        let of = |(n, &(channels, up)): (usize, &(usize, [usize; 2]))| {
            noise(
                self.batch * channels * self.size[0] / up[0] * self.size[1] / up[1],
                n as u32,
            )
        };
        self.sources.iter().enumerate().map(of).collect()
    }

    fn sources<'a>(&self, values: &'a [Vec<f32>]) -> Vec<Source<'a>> {
        let of = |(&(channels, up), values): (&(usize, [usize; 2]), &'a Vec<f32>)| Source {
            values,
            channels,
            size: [self.size[0] / up[0], self.size[1] / up[1]],
            up,
            prologue: None,
        };
        self.sources.iter().zip(values).map(of).collect()
    }

    fn inputs(&self) -> usize {
        self.sources.iter().map(|source| source.0).sum()
    }

    fn weight(&self) -> Vec<f32> {
        let Geometry { kernel, groups, .. } = self.geometry;
        noise(
            self.outputs * self.inputs() / groups * kernel[0] * kernel[1],
            77,
        )
    }

    /// Calls `f` with the indices of output, weight, source and value of every product.
    fn products(&self, mut f: impl FnMut(usize, usize, usize, usize)) {
        let Geometry {
            kernel,
            stride,
            dilation,
            pad,
            groups,
            size,
        } = self.geometry;
        let of_a_group = self.inputs() / groups;
        for n in 0..self.batch {
            for k in 0..self.outputs {
                for y in 0..size[0] {
                    for x in 0..size[1] {
                        let out = ((n * self.outputs + k) * size[0] + y) * size[1] + x;
                        let mut channel = 0;
                        for (s, &(channels, up)) in self.sources.iter().enumerate() {
                            for c in 0..channels {
                                if (channel + c) / of_a_group != k / (self.outputs / groups) {
                                    continue;
                                }
                                for r in 0..kernel[0] {
                                    for t in 0..kernel[1] {
                                        let at = [
                                            (y * stride[0] + r * dilation[0])
                                                .wrapping_sub(pad[0] as usize),
                                            (x * stride[1] + t * dilation[1])
                                                .wrapping_sub(pad[1] as usize),
                                        ];
                                        if at[0] >= self.size[0] || at[1] >= self.size[1] {
                                            continue;
                                        }
                                        let [h, w] = [self.size[0] / up[0], self.size[1] / up[1]];
                                        let value = ((n * channels + c) * h + at[0] / up[0]) * w
                                            + at[1] / up[1];
                                        let weight = ((k * of_a_group
                                            + (channel + c) % of_a_group)
                                            * kernel[0]
                                            + r)
                                            * kernel[1]
                                            + t;
                                        f(out, weight, s, value);
                                    }
                                }
                            }
                            channel += channels;
                        }
                    }
                }
            }
        }
    }

    fn out_len(&self) -> usize {
        self.batch * self.outputs * self.geometry.size[0] * self.geometry.size[1]
    }
}

fn cases() -> Vec<Case> {
    let plain = [[3, 3], [1, 1], [1, 1], [1, 1]];
    let mut cases = vec![];
    // Sizes around the widths of vectors and panels.
    // (Miri, which takes a thousand times as long, looks at a few.)
    let widths = [1, 2, 3, 7, 15, 16, 17, 31, 33, 47, 48, 49, 97];
    for &width in &widths[..if cfg!(miri) { 4 } else { widths.len() }] {
        cases.push(Case::new(2, vec![(3, [1, 1])], [5, width], 9, plain, 1));
    }
    for outputs in 1..=if cfg!(miri) { 5 } else { 17 } {
        cases.push(Case::new(
            1,
            vec![(2, [1, 1]), (5, [1, 1])],
            [6, 10],
            outputs,
            plain,
            1,
        ));
    }
    cases.push(Case::new(
        2,
        vec![(2, [1, 1]), (3, [2, 2]), (1, [1, 1])],
        [8, 36],
        5,
        plain,
        1,
    ));
    cases.push(Case::new(
        1,
        vec![(3, [2, 2])],
        [6, 6],
        4,
        [[5, 5], [1, 1], [1, 1], [2, 2]],
        1,
    ));
    cases.push(Case::new(
        1,
        vec![(3, [2, 2]), (2, [4, 2])],
        [8, 8],
        4,
        [[3, 1], [1, 1], [1, 1], [0, 0]],
        1,
    ));
    cases.push(Case::new(
        1,
        vec![(2, [3, 3]), (2, [1, 1])],
        [9, 9],
        4,
        plain,
        1,
    ));
    cases.push(Case::new(
        1,
        vec![(130, [1, 1]), (20, [2, 2])],
        [4, 4],
        40,
        plain,
        1,
    ));
    for stride in [[2, 2], [1, 3], [4, 2]] {
        cases.push(Case::new(
            2,
            vec![(3, [1, 1])],
            [13, 18],
            6,
            [[3, 3], stride, [1, 1], [1, 1]],
            1,
        ));
        cases.push(Case::new(
            2,
            vec![(3, [1, 1]), (2, [1, 1])],
            [13, 18],
            6,
            [[1, 1], stride, [1, 1], [0, 0]],
            1,
        ));
        cases.push(Case::new(
            1,
            vec![(3, [1, 1])],
            [17, 19],
            6,
            [[7, 4], stride, [1, 2], [3, 0]],
            1,
        ));
    }
    cases.push(Case::new(
        2,
        vec![(4, [1, 1])],
        [9, 11],
        6,
        [[3, 3], [1, 1], [2, 3], [2, 3]],
        2,
    ));
    cases.push(Case::new(
        2,
        vec![(6, [1, 1])],
        [9, 11],
        12,
        [[3, 3], [2, 2], [1, 1], [1, 1]],
        6,
    ));
    cases.push(Case::new(
        1,
        vec![(70, [1, 1])],
        [1, 40],
        33,
        [[1, 1], [1, 1], [1, 1], [0, 0]],
        1,
    ));
    // Winograd where the components are kept.
    cases.push(Case::new(1, vec![(33, [1, 1])], [7, 7], 37, plain, 1));
    cases.push(Case::new(3, vec![(32, [2, 2])], [6, 8], 32, plain, 1));
    if cfg!(miri) {
        cases.retain(|case| case.out_len() < 200 && case.inputs() < 8);
        return cases;
    }
    cases.push(Case::new(1, vec![(4, [1, 1])], [300, 70], 3, plain, 1));
    // Enough channels and positions for Winograd.
    for (size, pad) in [([24, 26], [1, 1]), ([23, 51], [0, 2]), ([64, 9], [1, 0])] {
        let one = [1, 1];
        cases.push(Case::new(
            2,
            vec![(33, one)],
            size,
            37,
            [[3, 3], one, one, pad],
            1,
        ));
        cases.push(Case::new(
            1,
            vec![(40, one), (32, one)],
            [size[0], 2 * size[1]],
            32,
            [[3, 3], one, one, pad],
            1,
        ));
    }
    cases.push(Case::new(
        2,
        vec![(20, [2, 2]), (33, [1, 1])],
        [24, 26],
        32,
        plain,
        1,
    ));
    cases.push(Case::new(1, vec![(40, [2, 2])], [24, 100], 33, plain, 1));
    // Rows of tiles that are whole vectors, and narrow ones; a sum in two parts.
    for (channels, size, outputs) in [(33, [32, 32], 37), (32, [64, 8], 65), (520, [8, 64], 40)] {
        let sources = vec![(channels, [1, 1])];
        cases.push(Case::new(1, sources, size, outputs, plain, 1));
    }
    // A weight that does not stay in a cache.
    cases.push(Case::new(1, vec![(520, [1, 1])], [3, 20], 60, plain, 1));
    cases.push(Case::new(
        1,
        vec![(200, [1, 1]), (200, [2, 2])],
        [24, 26],
        32,
        plain,
        1,
    ));
    for pad in [[0, 0], [2, 2], [1, 0], [0, 1]] {
        let one = [1, 1];
        cases.push(Case::new(
            1,
            vec![(40, [2, 2]), (32, one)],
            [34, 36],
            32,
            [[3, 3], one, one, pad],
            1,
        ));
    }
    // Enough positions for weights that are summed.
    let mut enlarged = |sources, size, geometry| {
        cases.push(Case::new(1, sources, size, 5, geometry, 1));
    };
    let one = [1, 1];
    enlarged(vec![(3, [2, 2]), (2, one)], [40, 38], plain);
    enlarged(vec![(2, [3, 4]), (2, one)], [36, 36], plain);
    enlarged(
        vec![(2, [1, 2]), (9, [1, 2])],
        [30, 38],
        [[3, 5], one, one, [0, 2]],
    );
    enlarged(
        vec![(20, [2, 1]), (2, [2, 2])],
        [60, 38],
        [[5, 3], one, one, [2, 1]],
    );
    enlarged(vec![(2, [2, 2])], [64, 64], [one, one, one, [0, 0]]);
    cases
}

/// As near as sums of f32 in any order are.
fn assert_near(got: &[f32], wanted: &[f64]) {
    assert_eq!(got.len(), wanted.len());
    let most = wanted.iter().fold(1.0, |most: f64, v| most.max(v.abs()));
    for (i, (&got, wanted)) in got.iter().zip(wanted).enumerate() {
        assert!(
            (f64::from(got) - wanted).abs() < 1e-5 * most,
            "at {i}: {got}, {wanted}"
        );
    }
}

/// All instructions that this machine has; one value at a time is always among them.
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
    for case in cases() {
        let (values, weight) = (case.values(), case.weight());
        let mut wanted = vec![0.0; case.out_len()];
        case.products(|out, w, s, v| wanted[out] += f64::from(weight[w] * values[s][v]));
        let sources = case.sources(&values);
        // (Where what is made of a weight is kept, more is made.)
        let (prepared, hold) = (Prepared::default(), || -> Box<dyn Any + Send> {
            Box::new(())
        });
        let keep = Keep {
            prepared: &prepared,
            hold: &hold,
        };
        for keep in [None, Some(keep)] {
            let weight = Weight {
                keep,
                ..Weight::new(&weight, case.outputs)
            };
            let none = Epilogue::default();
            let got = forward(&sources, case.batch, weight, &case.geometry, none);
            assert_near(&got, &wanted);
        }
    }
}

fn gradients_of_all_cases() {
    for case in cases() {
        let (values, weight) = (case.values(), case.weight());
        let gradient = noise(case.out_len(), 99);
        let mut to_weight = vec![0.0; weight.len()];
        let mut to_sources: Vec<Vec<f64>> = values.iter().map(|v| vec![0.0; v.len()]).collect();
        case.products(|out, w, s, v| {
            to_weight[w] += f64::from(gradient[out] * values[s][v]);
            to_sources[s][v] += f64::from(gradient[out] * weight[w]);
        });
        let sources = case.sources(&values);
        let got = weight_gradient(
            &sources,
            (&gradient, case.outputs),
            case.batch,
            &case.geometry,
        );
        assert_near(&got, &to_weight);
        let mut wanted: Vec<_> = sources
            .iter()
            .map(|source| Wanted {
                channels: source.channels,
                size: source.size,
                up: source.up,
                wanted: true,
            })
            .collect();
        let weight = (&weight[..], case.outputs);
        for (got, wanted) in input_gradient(&gradient, case.batch, weight, &case.geometry, &wanted)
            .iter()
            .zip(&to_sources)
        {
            assert_near(got.as_ref().unwrap(), wanted);
        }
        if wanted.len() > 1 {
            wanted[0].wanted = false;
            let some = input_gradient(&gradient, case.batch, weight, &case.geometry, &wanted);
            assert!(some[0].is_none());
            assert_near(some[1].as_ref().unwrap(), &to_sources[1]);
        }
    }
}

#[test]
fn what_follows_is_applied_once() {
    what_follows_is_applied_to(&cases()[3]);
}

/// (Too much for Miri.)
#[test]
#[cfg(not(miri))]
fn what_follows_components_is_applied_once() {
    let plain = [[3, 3], [1, 1], [1, 1], [1, 1]];
    what_follows_is_applied_to(&Case::new(1, vec![(33, [1, 1])], [24, 26], 37, plain, 1));
}

fn what_follows_is_applied_to(case: &Case) {
    let (values, weight) = (case.values(), case.weight());
    let mut sums = vec![0.0; case.out_len()];
    case.products(|out, w, s, v| sums[out] += f64::from(weight[w] * values[s][v]));
    let [scale, shift] = [5, 6].map(|seed| noise(case.outputs, seed));
    let residual = noise(case.out_len(), 7);
    let positions = case.geometry.size[0] * case.geometry.size[1];
    let finish = |(out, sum): (usize, &f64)| {
        let k = out / positions % case.outputs;
        let y = sum * f64::from(scale[k]) + f64::from(shift[k] + residual[out]);
        y.max(0.0)
    };
    let wanted: Vec<f64> = sums.iter().enumerate().map(finish).collect();
    with_all_instructions(|| {
        let epilogue = Epilogue {
            scale: Some(&scale),
            shift: Some(&shift),
            residual: Some(&residual),
            relu: true,
        };
        let sources = case.sources(&values);
        let weight = Weight::new(&weight, case.outputs);
        assert_near(
            &forward(&sources, case.batch, weight, &case.geometry, epilogue),
            &wanted,
        );
    });
}

#[test]
fn a_source_is_read_through_its_norm() {
    let cases = [
        (3, [6, 7], [1, 1]),
        (3, [40, 36], [2, 2]),
        // By components.
        (33, [24, 26], [1, 1]),
    ];
    for (channels, size, up) in &cases[..if cfg!(miri) { 2 } else { 3 }] {
        let plain = [[3, 3], [1, 1], [1, 1], [1, 1]];
        let case = Case::new(2, vec![(*channels, *up)], *size, channels + 1, plain, 1);
        let (values, weight) = (case.values(), case.weight());
        let [scale, shift] = [5, 6].map(|seed| noise(*channels, seed));
        let positions = values[0].len() / 2 / channels;
        let read = |(i, v): (usize, &f32)| {
            let c = i / positions % channels;
            (v * scale[c] + shift[c]).max(0.0)
        };
        let normed = vec![values[0].iter().enumerate().map(read).collect::<Vec<f32>>()];
        let gradient = noise(case.out_len(), 99);
        with_all_instructions(|| {
            let mut source = case.sources(&values)[0];
            source.prologue = Some(Prologue {
                scale: &scale,
                shift: &shift,
                relu: true,
            });
            let both = [case.sources(&normed)[0], source];
            let as_wanted = |values: Vec<f32>| values.into_iter().map(f64::from).collect();
            let [wanted, found] = both.map(|source| {
                let weight = Weight::new(&weight, case.outputs);
                let none = Epilogue::default();
                forward(&[source], case.batch, weight, &case.geometry, none)
            });
            let wanted: Vec<f64> = as_wanted(wanted);
            assert_near(&found, &wanted);
            let [wanted, found] = both.map(|source| {
                let gradient = (&gradient[..], case.outputs);
                weight_gradient(&[source], gradient, case.batch, &case.geometry)
            });
            let wanted: Vec<f64> = as_wanted(wanted);
            assert_near(&found, &wanted);
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
    };
    let source = Source {
        values: &[f32::NAN, -1.0],
        channels: 1,
        size: [1, 2],
        up: [1, 1],
        prologue: None,
    };
    let relu = Epilogue {
        relu: true,
        ..Epilogue::default()
    };
    with_all_instructions(|| {
        let y = forward(&[source], 1, Weight::new(&[1.0], 1), &geometry, relu);
        assert!(y[0].is_nan());
        assert_eq!(y[1], 0.0);
    });
}

#[test]
fn norms_and_their_gradients() {
    let [batch, channels, positions] = [2, 3, 37];
    let of = |seed| noise(batch * channels * positions, seed);
    let (values, gradient, residual) = (of(1), of(2), of(3));
    let [gamma, beta] = [4, 5].map(|seed| noise(channels, seed));
    let map = norm::Map {
        values: &values,
        channels,
        positions,
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
        let (mean, variance) = norm::moments(map);
        let inverse: Vec<f32> = variance.iter().map(|v| 1.0 / (v + 1e-3).sqrt()).collect();
        let numbers = norm::Norm {
            gamma: &gamma,
            beta: &beta,
            mean: &mean,
            inverse_deviation: &inverse,
            of_batch: true,
        };
        let (scale, shift) = numbers.affine();
        let y = norm::affine(map, &scale, &shift, Some(&residual), true);
        let found = norm::backward(map, &gradient, numbers, norm::Cut::Output(&y), true);
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
fn what_is_made_of_a_weight_is_kept_until_it_is_another() {
    // Summed for a map that is read doubled, and in Winograd's components.
    for (channels, size) in [(3, 6), (32, 24)] {
        let plain = [[3, 3], [1, 1], [1, 1], [1, 1]];
        let sources = vec![(channels, [1, 1]), (4, [2, 2])];
        let case = Case::new(1, sources, [size; 2], 32, plain, 1);
        let values = case.values();
        let sources = case.sources(&values);
        let prepared = Prepared::default();
        let run = |weight: &Arc<Vec<f32>>| {
            let hold = || -> Box<dyn Any + Send> { Box::new(weight.clone()) };
            let keep = Keep {
                prepared: &prepared,
                hold: &hold,
            };
            let weight = Weight {
                keep: Some(keep),
                ..Weight::new(weight, case.outputs)
            };
            let none = Epilogue::default();
            forward(&sources, case.batch, weight, &case.geometry, none)
        };
        let weight = Arc::new(case.weight());
        let first = run(&weight);
        assert_eq!(Arc::strong_count(&weight), 2);
        assert_eq!(first, run(&weight));
        let halves = Arc::new(weight.iter().map(|w| w / 2.0).collect::<Vec<_>>());
        let found = run(&halves);
        assert_eq!(Arc::strong_count(&weight), 1);
        let wanted: Vec<f64> = first.iter().map(|&y| f64::from(y) / 2.0).collect();
        assert_near(&found, &wanted);
        prepared.clear();
        assert_eq!(Arc::strong_count(&halves), 1);
    }
}
