//! Linear maps of kernels: the taps that read the same value are summed, kernels are turned round, and sums
//! of gradients go back to the taps that they belong to.

use alloc::{vec, vec::Vec};

use pulp::Simd;

use super::simd::{self, Offsets, Rows};
use super::threads::{self, Scratch, Work, grow};

/// Kernels that are mapped at once.
const BLOCK: usize = 16;

/// A matrix of zeros and ones, from the taps of a kernel to others.
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
        Self {
            from,
            into,
            matrix,
            offsets: Offsets::new((0..from).map(|tap| (tap * width) as u32).collect()),
        }
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
            grow(mapped, BLOCK * width);
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
        let blocks = turned.chunks_mut(BLOCK * len).enumerate();
        threads::run(
            &work,
            blocks.map(|(n, into)| (first + n * BLOCK, into)).collect(),
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
                grow(mapped, source.channels * width);
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
