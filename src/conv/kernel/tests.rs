//! The kernels beside sums that are written as the formulas are.

use super::*;
use alloc::{vec, vec::Vec};

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
    for width in [1, 2, 3, 7, 15, 16, 17, 31, 33, 47, 48, 49, 97] {
        cases.push(Case::new(2, vec![(3, [1, 1])], [5, width], 9, plain, 1));
    }
    for outputs in 1..=17 {
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
    cases.push(Case::new(1, vec![(4, [1, 1])], [300, 70], 3, plain, 1));
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

fn assert_near(got: &[f32], wanted: &[f64]) {
    assert_eq!(got.len(), wanted.len());
    let most = wanted.iter().fold(1.0, |most: f64, v| most.max(v.abs()));
    for (i, (&got, wanted)) in got.iter().zip(wanted).enumerate() {
        assert!(
            (f64::from(got) - wanted).abs() < 3e-6 * most,
            "at {i}: {got}, {wanted}"
        );
    }
}

#[test]
fn forward_is_the_sum() {
    for case in cases() {
        let (values, weight) = (case.values(), case.weight());
        let mut wanted = vec![0.0; case.out_len()];
        case.products(|out, w, s, v| wanted[out] += f64::from(weight[w] * values[s][v]));
        let sources = case.sources(&values);
        let got = forward(
            &sources,
            case.batch,
            (&weight, case.outputs),
            &case.geometry,
            Epilogue::default(),
        );
        assert_near(&got, &wanted);
    }
}

#[test]
fn gradients_are_the_sums() {
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
