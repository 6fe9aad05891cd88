//! Convolutions of many sizes, and their products one by one.

use alloc::{vec, vec::Vec};

use super::super::Source;
use crate::cpu::policy::Geometry;

pub(super) fn noise(len: usize, mut seed: u32) -> Vec<f32> {
    let mut next = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

pub(super) struct Case {
    pub(super) batch: usize,
    /// Channels and factor of each source.
    pub(super) sources: Vec<(usize, [usize; 2])>,
    pub(super) size: [usize; 2],
    pub(super) outputs: usize,
    pub(super) geometry: Geometry,
}

impl Case {
    pub(super) fn new(
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

    pub(super) fn values(&self) -> Vec<Vec<f32>> {
        let of = |(n, &(channels, up)): (usize, &(usize, [usize; 2]))| {
            noise(
                self.batch * channels * self.size[0] / up[0] * self.size[1] / up[1],
                n as u32,
            )
        };
        self.sources.iter().enumerate().map(of).collect()
    }

    pub(super) fn sources<'a>(&self, values: &'a [Vec<f32>]) -> Vec<Source<'a>> {
        let of = |(&(channels, factors), values): (&(usize, [usize; 2]), &'a Vec<f32>)| Source {
            values,
            channels,
            size: [0, 1].map(|axis| self.size[axis] / factors[axis]),
            factors,
            prologue: None,
        };
        self.sources.iter().zip(values).map(of).collect()
    }

    pub(super) fn inputs(&self) -> usize {
        self.sources.iter().map(|source| source.0).sum()
    }

    pub(super) fn weight(&self) -> Vec<f32> {
        let Geometry { kernel, groups, .. } = self.geometry;
        noise(
            self.outputs * self.inputs() / groups * kernel[0] * kernel[1],
            77,
        )
    }

    /// Calls `f` with the indices of output, weight, source and value of every product.
    pub(super) fn products(&self, mut f: impl FnMut(usize, usize, usize, usize)) {
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

    pub(super) fn out_len(&self) -> usize {
        self.batch * self.outputs * self.geometry.size[0] * self.geometry.size[1]
    }
}

pub(super) fn cases() -> Vec<Case> {
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
    // So many taps that their sums are not taken by a matrix.
    enlarged(
        vec![(1, [1, 2]), (1, one)],
        [1, 1400],
        [[1, 301], one, one, [0, 30]],
    );
    cases
}
