//! Convolutions of many sizes, and their products one by one.

use alloc::{vec, vec::Vec};

use super::super::Source;
use crate::policy::{AxisNumbers, Geometry, SourceShape, StoredSlices};

pub(super) fn noise(len: usize, mut seed: u32) -> Vec<f32> {
    let mut next = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

#[derive(Debug)]
pub(super) struct Case {
    pub(super) samples: usize,
    /// Channels and factors of each source.
    pub(super) sources: Vec<(usize, [usize; 3])>,
    pub(super) size: [usize; 3],
    pub(super) outputs: usize,
    pub(super) geometry: Geometry,
}

const AXES: [usize; 3] = [0, 1, 2];

impl Case {
    /// Of maps with two axes. `geometry` is kernel, stride, dilation, padding.
    pub(super) fn new(
        samples: usize,
        sources: Vec<(usize, [usize; 2])>,
        size: [usize; 2],
        outputs: usize,
        geometry: [[usize; 2]; 4],
        groups: usize,
    ) -> Self {
        let [kernel, stride, dilation, pad] = geometry;
        let with = |depth, plane: [usize; 2]| [depth, plane[0], plane[1]];
        let geometry = [
            with(1, kernel),
            with(1, stride),
            with(1, dilation),
            with(0, pad),
        ];
        let sources = sources
            .into_iter()
            .map(|(channels, up)| (channels, with(1, up)));
        Self::volume(
            samples,
            sources.collect(),
            with(1, size),
            outputs,
            geometry,
            groups,
        )
    }

    /// Of volumes.
    pub(super) fn volume(
        samples: usize,
        sources: Vec<(usize, [usize; 3])>,
        size: [usize; 3],
        outputs: usize,
        [kernel_size, stride, dilation, pad]: [[usize; 3]; 4],
        groups: usize,
    ) -> Self {
        let out = AXES.map(|a| {
            (size[a] + 2 * pad[a] - dilation[a] * (kernel_size[a] - 1) - 1) / stride[a] + 1
        });
        let numbers = AxisNumbers {
            kernel_size: &kernel_size,
            stride: &stride,
            dilation: &dilation,
            pad_start: &pad,
        };
        Self {
            samples,
            sources,
            size,
            outputs,
            geometry: Geometry::new(numbers, groups, &out).unwrap(),
        }
    }

    /// The same with this padding before the map, and an output of this size: what lies behind the map is zero, too.
    fn reaching(mut self, pad: [isize; 2], depth: usize, size: [usize; 2]) -> Self {
        self.geometry.pad = pad;
        self.geometry.depth.size = depth;
        self.geometry.size = size;
        self
    }

    /// The size of a source as it is stored.
    fn stored(&self, up: [usize; 3]) -> [usize; 3] {
        AXES.map(|axis| self.size[axis] / up[axis])
    }

    pub(super) fn values(&self) -> Vec<Vec<f32>> {
        let of = |(n, &(channels, up)): (usize, &(usize, [usize; 3]))| {
            let positions: usize = self.stored(up).iter().product();
            noise(self.samples * channels * positions, n as u32)
        };
        self.sources.iter().enumerate().map(of).collect()
    }

    pub(super) fn sources<'a>(&self, values: &'a [Vec<f32>]) -> Vec<Source<'a>> {
        let of = |(&(channels, factors), values): (&(usize, [usize; 3]), &'a Vec<f32>)| {
            let shape = SourceShape::new(channels, &self.stored(factors), &factors);
            Source::new(values, shape.unwrap())
        };
        self.sources.iter().zip(values).map(of).collect()
    }

    /// The gradient of the output.
    pub(super) fn gradient<'a>(&self, values: &'a [f32]) -> Source<'a> {
        let Geometry { size, depth, .. } = self.geometry;
        let shape = SourceShape {
            slices: StoredSlices::plain(depth.size),
            ..SourceShape::plain(self.outputs, size)
        };
        Source::new(values, shape)
    }

    pub(super) fn inputs(&self) -> usize {
        self.sources.iter().map(|source| source.0).sum()
    }

    pub(super) fn weight(&self) -> Vec<f32> {
        let of_a_group = self.inputs() / self.geometry.groups;
        noise(self.outputs * of_a_group * self.geometry.taps(), 77)
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
            depth,
        } = self.geometry;
        let kernel = [depth.kernel, kernel[0], kernel[1]];
        let stride = [depth.stride, stride[0], stride[1]];
        let dilation = [depth.dilation, dilation[0], dilation[1]];
        let pad = [depth.pad, pad[0], pad[1]].map(|pad| pad as usize);
        let size = [depth.size, size[0], size[1]];
        let of_a_group = self.inputs() / groups;
        let positions: usize = size.iter().product();
        for out in 0..self.out_len() {
            let at = place(out % positions, size);
            let (n, k) = (
                out / positions / self.outputs,
                out / positions % self.outputs,
            );
            let mut channel = 0;
            for (s, &(channels, up)) in self.sources.iter().enumerate() {
                for c in (0..channels).map(|c| channel + c) {
                    if c / of_a_group != k / (self.outputs / groups) {
                        continue;
                    }
                    for tap in 0..self.geometry.taps() {
                        let of = place(tap, kernel);
                        let from = AXES.map(|a| {
                            (at[a] * stride[a] + of[a] * dilation[a]).wrapping_sub(pad[a])
                        });
                        if AXES.iter().any(|&a| from[a] >= self.size[a]) {
                            continue;
                        }
                        let [d, h, w] = self.stored(up);
                        let from = AXES.map(|a| from[a] / up[a]);
                        let map = (n * channels + c - channel) * d + from[0];
                        let value = (map * h + from[1]) * w + from[2];
                        let weight = (k * of_a_group + c % of_a_group) * self.geometry.taps() + tap;
                        f(out, weight, s, value);
                    }
                }
                channel += channels;
            }
        }
    }

    pub(super) fn out_len(&self) -> usize {
        self.samples * self.outputs * self.geometry.positions()
    }
}

/// The position of an index in row-major order.
fn place(index: usize, size: [usize; 3]) -> [usize; 3] {
    [
        index / size[2] / size[1],
        index / size[2] % size[1],
        index % size[2],
    ]
}

/// Kernel, stride, dilation and padding of a pointwise convolution of volumes.
fn geometry_of_one() -> [[usize; 3]; 4] {
    let one = [1, 1, 1];
    [one, one, one, [0, 0, 0]]
}

/// Convolutions over volumes.
pub(super) fn volumes() -> Vec<Case> {
    let one = [1, 1, 1];
    let plain = [[3, 3, 3], one, one, one];
    let mut cases = vec![
        Case::volume(2, vec![(3, one)], [4, 5, 6], 5, plain, 1),
        Case::volume(1, vec![(2, one), (3, [2, 2, 2])], [4, 6, 8], 4, plain, 1),
        Case::volume(
            1,
            vec![(2, [2, 1, 1]), (1, [1, 2, 1])],
            [4, 4, 6],
            3,
            plain,
            1,
        ),
    ];
    if cfg!(miri) {
        cases.truncate(1);
        return cases;
    }
    for stride in [[2, 2, 2], [2, 1, 1], [1, 2, 2], [3, 2, 1]] {
        let geometry = [[3, 3, 3], stride, one, one];
        cases.push(Case::volume(
            2,
            vec![(3, one), (2, one)],
            [7, 8, 9],
            4,
            geometry,
            1,
        ));
        let geometry = [[1, 1, 1], stride, one, [0, 0, 0]];
        cases.push(Case::volume(1, vec![(5, one)], [6, 8, 9], 4, geometry, 1));
        let geometry = [[4, 3, 2], stride, [2, 1, 1], [3, 1, 0]];
        cases.push(Case::volume(1, vec![(3, one)], [9, 8, 9], 4, geometry, 1));
        let geometry = [[3, 3, 3], stride, one, one];
        cases.push(Case::volume(1, vec![(6, one)], [5, 8, 9], 9, geometry, 3));
    }
    for stride in [one, [2, 1, 1], [1, 2, 2]] {
        let geometry = [[3, 3, 3], stride, one, one];
        cases.push(Case::volume(2, vec![(9, one)], [5, 8, 9], 9, geometry, 9));
    }
    // Slices that no tap of the depth reads, row by row.
    let geometry = [[1, 3, 3], [2, 1, 1], one, [0, 1, 1]];
    for side in [64, 128] {
        let sources = vec![(2, one)];
        cases.push(Case::volume(1, sources, [3, side, side], 2, geometry, 2));
    }
    let geometry = [[3, 3, 3], one, [2, 3, 1], [2, 3, 1]];
    cases.push(Case::volume(1, vec![(4, one)], [8, 9, 7], 6, geometry, 2));
    // A stride that the dilation shares: some slices are read by all taps of the depth, others by none.
    let geometry = [[3, 3, 3], [2, 1, 1], [2, 1, 1], one];
    cases.push(Case::volume(1, vec![(3, one)], [9, 6, 7], 4, geometry, 1));
    // Outputs in the lanes, with several maps and a stride.
    let sources = vec![(5, one), (2, one)];
    let geometry = [[3, 3, 3], [2, 2, 2], one, one];
    cases.push(Case::volume(2, sources, [7, 9, 11], 20, geometry, 1));
    let geometry = [[1, 3, 3], one, one, [0, 0, 1]];
    cases.push(Case::volume(1, vec![(34, one)], [3, 7, 8], 18, geometry, 1));
    // By components, or with outputs in the lanes, over plain and enlarged maps; more channels than a product takes at once.
    cases.push(Case::volume(1, vec![(33, one)], [6, 9, 11], 66, plain, 1));
    cases.push(Case::volume(1, vec![(12, one)], [5, 8, 10], 33, plain, 1));
    cases.push(Case::volume(1, vec![(33, one)], [4, 9, 11], 34, plain, 1));
    cases.push(Case::volume(1, vec![(180, one)], [3, 6, 8], 32, plain, 1));
    let sources = vec![(12, [2, 2, 2]), (8, one)];
    cases.push(Case::volume(1, sources, [6, 10, 12], 32, plain, 1));
    let sources = vec![(12, [2, 1, 1]), (8, one)];
    cases.push(Case::volume(2, sources, [6, 10, 12], 32, plain, 1));
    // Enough positions for weights that are summed.
    let sources = vec![(2, [2, 3, 2]), (3, one)];
    cases.push(Case::volume(1, sources, [8, 12, 16], 5, plain, 1));
    let sources = vec![(2, [2, 2, 2])];
    cases.push(Case::volume(
        1,
        sources,
        [8, 12, 16],
        5,
        [one, one, one, [0, 0, 0]],
        1,
    ));
    // Pointwise, and dilated along rows and columns.
    let geometry = [one, one, one, [0, 0, 0]];
    for outputs in [9, 36] {
        let sources = vec![(17, one), (3, one)];
        cases.push(Case::volume(2, sources, [3, 4, 5], outputs, geometry, 1));
    }
    let strided = [one, [2, 1, 2], one, [0, 0, 0]];
    cases.push(Case::volume(2, vec![(7, one)], [5, 4, 9], 20, strided, 1));
    let geometry = [[3, 3, 3], one, [1, 2, 3], [1, 2, 3]];
    cases.push(Case::volume(
        2,
        vec![(11, one)],
        [4, 20, 27],
        33,
        geometry,
        1,
    ));
    // Pointwise, to more slices than there are: with padding behind the last.
    let pointwise = || Case::volume(2, vec![(17, one)], [5, 3, 4], 18, geometry_of_one(), 1);
    cases.push(pointwise().reaching([0, 0], 7, [3, 4]));
    cases.push(pointwise().reaching([0, 0], 4, [3, 4]));
    cases.push(pointwise().reaching([0, 0], 6, [4, 6]));
    // Slices of taps that only read padding.
    let geometry = [[3, 3, 3], one, [4, 1, 6], [4, 1, 6]];
    cases.push(Case::volume(1, vec![(4, one)], [4, 5, 6], 6, geometry, 2));
    // Slices of one row.
    let geometry = [[3, 1, 3], one, one, [1, 0, 1]];
    cases.push(Case::volume(1, vec![(2, one)], [3, 1, 600], 3, geometry, 1));
    cases
}

/// Convolutions over two axes.
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
    // Pointwise: maps of several rows, some of them small enough to be taken together.
    let pointwise = [[1, 1], [1, 1], [1, 1], [0, 0]];
    for (channels, size, outputs) in [(3, [5, 7], 2), (5, [3, 11], 1), (16, [7, 7], 9)] {
        let sources = vec![(channels, [1, 1])];
        cases.push(Case::new(3, sources, size, outputs, pointwise, 1));
    }
    // Winograd where the components are kept.
    cases.push(Case::new(1, vec![(33, [1, 1])], [9, 9], 65, plain, 1));
    cases.push(Case::new(3, vec![(32, [2, 2])], [6, 8], 32, plain, 1));
    if cfg!(miri) {
        cases.retain(|case| case.out_len() < 200 && case.inputs() < 8);
        return cases;
    }
    cases.push(Case::new(1, vec![(4, [1, 1])], [300, 70], 3, plain, 1));
    for (channels, size, outputs, groups) in [
        (48, [7, 7], 33, 1),
        (50, [14, 14], 20, 1),
        (200, [3, 5], 130, 1),
        (36, [19, 31], 24, 2),
        (12, [40, 40], 12, 12),
    ] {
        let sources = vec![(channels, [1, 1])];
        cases.push(Case::new(5, sources, size, outputs, pointwise, groups));
    }
    let sources = vec![(13, [1, 1]), (20, [1, 1])];
    cases.push(Case::new(2, sources, [9, 9], 17, pointwise, 1));
    // Outputs in the lanes: maps of one position and of few, several maps to a task, maps in several pieces, more inputs
    // than a sum takes at once, and maps that are packed, since they are read with a stride or with padding.
    for (samples, channels, size, outputs) in [
        (9, 19, [1, 1], 40),
        (1, 300, [1, 1], 33),
        (4, 21, [1, 2], 18),
        (3, 400, [2, 2], 24),
        (7, 30, [7, 7], 70),
        (2, 17, [33, 41], 16),
        (1, 9, [70, 80], 49),
        (1, 5, [1, 1300], 100),
    ] {
        let sources = vec![(channels, [1, 1])];
        cases.push(Case::new(samples, sources, size, outputs, pointwise, 1));
    }
    // Outputs in the lanes of larger kernels: rows of one position and of many, several maps to a task, strides, dilation,
    // more taps and more inputs than a sum takes at once, a kernel that reaches over the map.
    let both = |kernel, stride, dilation, pad| [[kernel; 2], [stride; 2], [dilation; 2], [pad; 2]];
    for (samples, channels, size, outputs, geometry) in [
        (1, 33, [7, 7], 37, both(3, 1, 1, 1)),
        (5, 20, [7, 8], 70, both(3, 1, 1, 1)),
        (1, 65, [13, 21], 32, both(3, 1, 1, 1)),
        (2, 3, [33, 35], 19, both(7, 2, 1, 3)),
        (2, 24, [17, 66], 40, both(3, 2, 1, 1)),
        (3, 9, [12, 3], 50, both(5, 1, 1, 2)),
        (1, 2, [20, 20], 33, both(15, 1, 1, 7)),
        (2, 18, [14, 15], 34, both(3, 1, 4, 4)),
        (1, 11, [19, 23], 35, [[2, 5], [3, 1], [2, 1], [0, 4]]),
        (4, 7, [3, 3], 64, both(3, 1, 1, 0)),
        (2, 6, [40, 30], 48, both(3, 1, 1, 2)),
    ] {
        let sources = vec![(channels, [1, 1])];
        cases.push(Case::new(samples, sources, size, outputs, geometry, 1));
    }
    let sources = vec![(13, [1, 1]), (30, [1, 1]), (1, [1, 1])];
    cases.push(Case::new(2, sources, [9, 9], 47, plain, 1));
    let case = Case::new(2, vec![(18, [1, 1])], [9, 8], 33, plain, 1);
    cases.push(case.reaching([-1, 2], 1, [12, 7]));
    // Their gradients: of the second source alone, of a kernel that is no square, with dilation and a padding that is not
    // half of the reach, with more taps than a sum takes at once, of rows without gaps.
    let sources = vec![(13, [1, 1]), (33, [1, 1])];
    cases.push(Case::new(2, sources, [9, 9], 20, plain, 1));
    for (samples, channels, size, outputs, geometry) in [
        (2, 34, [9, 11], 20, [[2, 5], [1, 1], [2, 1], [0, 3]]),
        (1, 33, [16, 16], 4, both(15, 1, 1, 5)),
        (2, 35, [40, 3], 36, [[9, 1], [1, 1], [1, 1], [2, 0]]),
        (9, 33, [3, 3], 40, both(3, 1, 1, 0)),
    ] {
        let sources = vec![(channels, [1, 1])];
        cases.push(Case::new(samples, sources, size, outputs, geometry, 1));
    }
    // The same with padding behind the map, or without its end: a row, several rows, columns.
    for (size, output) in [
        ([1, 100], [1, 101]),
        ([1, 100], [1, 90]),
        ([1, 600], [1, 1300]),
        ([9, 8], [11, 8]),
        ([9, 8], [7, 8]),
        ([9, 8], [9, 11]),
        ([9, 8], [9, 6]),
    ] {
        let case = Case::new(2, vec![(18, [1, 1])], size, 19, pointwise, 1);
        cases.push(case.reaching([0, 0], 1, output));
    }
    // (One tap of two is taken: then there is one output for three inputs.)
    let case = Case::new(2, vec![(18, [1, 1])], [1, 3], 19, pointwise, 1);
    let mut case = case.reaching([0, 0], 1, [1, 1]);
    (case.geometry.kernel, case.geometry.dilation) = ([1, 2], [1, 4]);
    cases.push(case);
    for (size, stride, pad) in [
        ([13, 18], [2, 2], [0, 0]),
        ([14, 17], [1, 3], [0, 0]),
        ([9, 8], [1, 1], [1, 2]),
        ([1, 1300], [1, 2], [0, 0]),
    ] {
        let sources = vec![(23, [1, 1]), (200, [1, 1])];
        let geometry = [[1, 1], stride, [1, 1], pad];
        cases.push(Case::new(3, sources, size, 35, geometry, 1));
    }
    // Small groups: one or two outputs, one or two inputs, tiles of several groups, rows of less than a vector.
    for (inputs, size, outputs, geometry, groups) in [
        (6, [23, 80], 6, [[5, 5], [2, 2], [1, 1], [2, 2]], 6),
        (6, [23, 80], 6, plain, 6),
        (20, [7, 7], 20, plain, 20),
        (13, [14, 14], 26, plain, 13),
        (14, [17, 6], 7, plain, 7),
        (11, [16, 15], 11, [[7, 7], [1, 1], [1, 1], [3, 3]], 11),
        (9, [30, 28], 9, [[3, 3], [1, 1], [4, 12], [4, 12]], 9),
        (9, [31, 33], 9, [[3, 5], [3, 2], [2, 1], [0, 2]], 9),
        (8, [130, 121], 8, [[3, 3], [2, 2], [1, 1], [1, 1]], 8),
        (8, [1, 1100], 8, [[1, 7], [1, 1], [1, 1], [0, 3]], 8),
    ] {
        let sources = vec![(inputs, [1, 1])];
        cases.push(Case::new(2, sources, size, outputs, geometry, groups));
    }
    // (Inputs that do not stay near.)
    cases.push(Case::new(1, vec![(24, [1, 1])], [30, 30], 4, plain, 2));
    // Dilated, by the components of a kernel without dilation: rows and columns that the dilation does not divide, no
    // padding, more padding than keeps the size, one axis.
    for (size, dilation, pad) in [
        ([24, 30], [2, 2], [2, 2]),
        ([25, 31], [3, 2], [3, 2]),
        ([38, 37], [6, 6], [6, 6]),
        ([30, 32], [2, 4], [0, 0]),
        ([26, 28], [2, 3], [4, 6]),
        ([26, 28], [2, 1], [2, 1]),
        ([26, 28], [1, 3], [0, 3]),
    ] {
        let geometry = [[3, 3], [1, 1], dilation, pad];
        let sources = vec![(20, [1, 1]), (14, [1, 1])];
        cases.push(Case::new(2, sources, size, 33, geometry, 1));
    }
    // Taps that only read padding: all but one, those of one axis, the first ones, also of groups and with a stride.
    for (groups, stride, dilation, pad) in [
        (1, [1, 1], [9, 8], [9, 8]),
        (1, [1, 1], [2, 8], [2, 8]),
        (1, [2, 1], [5, 9], [14, 18]),
        (2, [1, 1], [8, 2], [8, 2]),
        (8, [1, 1], [11, 12], [11, 12]),
        (8, [1, 2], [4, 7], [6, 14]),
    ] {
        let geometry = [[3, 3], stride, dilation, pad];
        cases.push(Case::new(2, vec![(8, [1, 1])], [8, 7], 8, geometry, groups));
    }
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
    // Rows that are divided into pieces, of which the last is shorter.
    for (len, pad) in [(1000, 1), (769, 0), (257, 2)] {
        enlarged(
            vec![(3, one), (2, one)],
            [1, len],
            [[1, 3], one, one, [0, pad]],
        );
        enlarged(
            vec![(14, one)],
            [1, len],
            [[1, 5], [1, 2], [1, 3], [0, pad]],
        );
        enlarged(vec![(3, one)], [1, len], [[1, 4], [1, 3], one, [0, pad]]);
        enlarged(vec![(2, one)], [1, len], [[1, 1], [1, 4], one, [0, 0]]);
    }
    enlarged(
        vec![(3, [1, 2]), (2, one)],
        [1, 1502],
        [[1, 3], one, one, [0, 1]],
    );
    enlarged(vec![(20, [1, 4])], [1, 2052], [[1, 3], one, one, [0, 1]]);
    // So many taps that their sums are not taken by a matrix.
    enlarged(
        vec![(1, [1, 2]), (1, one)],
        [1, 1400],
        [[1, 301], one, one, [0, 30]],
    );
    cases
}
