//! Linear maps of kernels: the taps that read the same value are summed, kernels are turned round, and sums
//! of gradients go back to the taps that they belong to.

use alloc::{vec, vec::Vec};
use core::ops::Range;

use pulp::Simd;

use super::raw::simd::{self, BLOCK, Offsets, Rows};
use super::threads::{self, Scratch, Work, grow};

/// Kernels that are mapped at once.
const KERNELS: usize = 16;

/// A matrix from the taps of a kernel to others.
#[derive(Clone, Debug)]
pub(super) struct Fold {
    from: usize,
    into: usize,
    /// `[from, width]`
    matrix: Vec<f32>,
    offsets: Offsets,
}

impl Fold {
    /// `pairs` of a tap and one that it is added to.
    pub(super) fn new(from: usize, into: usize, pairs: &[(usize, usize)]) -> Self {
        let width = into.next_multiple_of(16);
        let mut matrix = vec![0.0; from * width];
        for &(tap, place) in pairs {
            matrix[tap * width + place] = 1.0;
        }
        Self::of(from, into, matrix)
    }

    fn of(from: usize, into: usize, matrix: Vec<f32>) -> Self {
        let width = into.next_multiple_of(16);
        Self {
            from,
            into,
            matrix,
            offsets: Offsets::new((0..from).map(|tap| (tap * width) as u32).collect()),
        }
    }

    /// `G w G^T` of Winograd's F(2x2, 3x3), of the kernel or of the kernel turned round.
    pub(super) fn components(turned: bool) -> Self {
        const G: [[f32; 3]; 4] = [
            [1.0, 0.0, 0.0],
            [0.5, 0.5, 0.5],
            [0.5, -0.5, 0.5],
            [0.0, 0.0, 1.0],
        ];
        let mut matrix = vec![0.0; 9 * 16];
        for tap in 0..9 {
            let (r, c) = (tap / 3, tap % 3);
            let row = if turned { 8 - tap } else { tap };
            for place in 0..16 {
                matrix[row * 16 + place] = G[place / 4][r] * G[place % 4][c];
            }
        }
        Self::of(9, 16, matrix)
    }

    /// The taps of the result.
    pub(super) fn len(&self) -> usize {
        self.into
    }

    fn width(&self) -> usize {
        self.into.next_multiple_of(16)
    }

    /// Maps `count` kernels that lie one after the other; each result begins at a multiple of the width.
    #[inline(always)]
    fn apply<S: Simd>(&self, simd: S, kernels: &[f32], count: usize, into: &mut [f32]) {
        let rows = Rows {
            values: kernels,
            step: self.from,
        };
        let width = self.width();
        let matrix = (&self.matrix[..], &self.offsets);
        simd::product(simd, [count, width], rows, matrix, false, (into, width));
    }
}

/// Maps every kernel of `[outer, inner]` and turns the two round: `[inner, outer]`. Of each outer row, so
/// many kernels from `first` are taken.
pub(super) fn turned(
    weight: &[f32],
    [outer, row, first, inner]: [usize; 4],
    fold: &Fold,
) -> Vec<f32> {
    struct Turned<'a> {
        weight: &'a [f32],
        outer: usize,
        row: usize,
        fold: &'a Fold,
    }
    impl Work<(usize, &mut [f32])> for Turned<'_> {
        #[inline(always)]
        fn run<S: Simd>(
            &self,
            simd: S,
            (first, into): (usize, &mut [f32]),
            [mapped, ..]: &mut Scratch,
        ) {
            let (len, width) = (self.fold.len(), self.fold.width());
            let count = into.len() / (self.outer * len);
            let mapped = grow(mapped, KERNELS * width);
            for outer in 0..self.outer {
                let kernels = &self.weight[(outer * self.row + first) * self.fold.from..];
                self.fold.apply(simd, kernels, count, mapped);
                for (inner, mapped) in mapped.chunks_exact(width).take(count).enumerate() {
                    into[(inner * self.outer + outer) * len..][..len]
                        .copy_from_slice(&mapped[..len]);
                }
            }
        }
    }
    let len = outer * fold.len();
    let mut turned = vec![0.0; inner * len];
    if !turned.is_empty() {
        let work = Turned {
            weight,
            outer,
            row,
            fold,
        };
        let blocks = turned.chunks_mut(KERNELS * len).enumerate();
        threads::run(
            &work,
            blocks
                .map(|(n, into)| (first + n * KERNELS, into))
                .collect(),
        );
    }
    turned
}

/// How the kernels of some channels become those of each phase.
pub(super) struct Phased {
    pub(super) channels: usize,
    /// The results of all phases, one after the other.
    pub(super) fold: Fold,
    /// Those of each phase.
    pub(super) lens: Vec<usize>,
}

/// The weights of each phase, `[outputs, (channels, taps of the phase)...]`.
pub(super) fn phased(
    weight: &[f32],
    outputs: usize,
    taps: usize,
    sources: &[Phased],
    phases: usize,
) -> Vec<Vec<f32>> {
    struct Split<'a> {
        weight: &'a [f32],
        taps: usize,
        sources: &'a [Phased],
    }
    impl Work<(usize, Vec<&mut [f32]>)> for Split<'_> {
        #[inline(always)]
        fn run<S: Simd>(
            &self,
            simd: S,
            (output, mut into): (usize, Vec<&mut [f32]>),
            [mapped, ..]: &mut Scratch,
        ) {
            let channels: usize = self.sources.iter().map(|source| source.channels).sum();
            let mut kernels = &self.weight[output * channels * self.taps..];
            let mut starts = vec![0; into.len()];
            for source in self.sources {
                let width = source.fold.width();
                let mapped = grow(mapped, source.channels * width);
                source.fold.apply(simd, kernels, source.channels, mapped);
                kernels = &kernels[source.channels * self.taps..];
                for mapped in mapped.chunks_exact(width).take(source.channels) {
                    let mut first = 0;
                    for ((into, start), &len) in into.iter_mut().zip(&mut starts).zip(&source.lens)
                    {
                        into[*start..*start + len].copy_from_slice(&mapped[first..first + len]);
                        *start += len;
                        first += len;
                    }
                }
            }
        }
    }
    let len = |phase: usize| {
        sources
            .iter()
            .map(|source| source.channels * source.lens[phase])
            .sum::<usize>()
    };
    let mut weights: Vec<Vec<f32>> = (0..phases)
        .map(|phase| vec![0.0; outputs * len(phase)])
        .collect();
    let mut tasks: Vec<(usize, Vec<&mut [f32]>)> =
        (0..outputs).map(|output| (output, Vec::new())).collect();
    for (phase, weights) in weights.iter_mut().enumerate() {
        for (task, row) in tasks.iter_mut().zip(weights.chunks_exact_mut(len(phase))) {
            task.1.push(row);
        }
    }
    threads::run(
        &Split {
            weight,
            taps,
            sources,
        },
        tasks,
    );
    weights
}

/// The components of every kernel, by blocks of rows: `[component, outer block, inner, BLOCK]`, or of every
/// kernel turned round, `[component, inner block, outer, BLOCK]`. Of each outer row of kernels, the `inner`
/// ones are taken. A last block is filled up with zeros.
pub(super) fn components(
    weight: &[f32],
    [outer, row]: [usize; 2],
    inner: Range<usize>,
    turned: bool,
) -> Vec<f32> {
    struct Components<'a> {
        weight: &'a [f32],
        outer: usize,
        row: usize,
        inner: Range<usize>,
        fold: Fold,
        turned: bool,
    }
    /// A block of rows of each component.
    struct Task<'a> {
        first: usize,
        count: usize,
        blocks: Vec<&'a mut [f32]>,
    }
    impl Work<Task<'_>> for Components<'_> {
        #[inline(always)]
        fn run<S: Simd>(&self, simd: S, mut task: Task, [mapped, ..]: &mut Scratch) {
            let (outer, inner) = (self.outer, self.inner.len());
            let mapped = grow(mapped, inner.max(BLOCK) * 16);
            let kernels = |row: usize| &self.weight[(row * self.row + self.inner.start) * 9..];
            if self.turned {
                for place in 0..outer {
                    let kernels = &kernels(place)[task.first * 9..];
                    self.fold.apply(simd, kernels, task.count, mapped);
                    for (component, block) in task.blocks.iter_mut().enumerate() {
                        let into = &mut block[place * BLOCK..][..task.count];
                        for (into, from) in into.iter_mut().zip(mapped.chunks_exact(16)) {
                            *into = from[component];
                        }
                    }
                }
                return;
            }
            for row in 0..task.count {
                self.fold
                    .apply(simd, kernels(task.first + row), inner, mapped);
                for (component, block) in task.blocks.iter_mut().enumerate() {
                    let into = block.chunks_exact_mut(BLOCK);
                    for (into, from) in into.zip(mapped.chunks_exact(16)) {
                        into[row] = from[component];
                    }
                }
            }
        }
    }
    let [rows, len] = if turned {
        [inner.len(), outer]
    } else {
        [outer, inner.len()]
    };
    let blocks = rows.div_ceil(BLOCK);
    let mut found = vec![0.0; 16 * blocks * len * BLOCK];
    let mut tasks: Vec<Task> = (0..blocks)
        .map(|block| Task {
            first: block * BLOCK,
            count: BLOCK.min(rows - block * BLOCK),
            blocks: Vec::with_capacity(16),
        })
        .collect();
    for (index, block) in found.chunks_exact_mut(len * BLOCK).enumerate() {
        tasks[index % blocks].blocks.push(block);
    }
    let work = Components {
        weight,
        outer,
        row,
        inner,
        fold: Fold::components(turned),
        turned,
    };
    threads::run(&work, tasks);
    found
}
