//! Linear maps on the taps of kernels: summing the taps that read the same value, and transposing a weight.

use alloc::{vec, vec::Vec};
use core::ops::Range;

use pulp::Simd;

use super::raw::matrices::{Gathered, Offsets, Rows, RowsMut};
use super::raw::simd;
use super::threads::{self, Scratch, Work, grow};
use crate::policy::{BLOCK, LANES};

/// Kernels that are mapped in one product.
const KERNELS: usize = 16;

/// The largest number of elements of a dense matrix. Larger maps are nearly all zeros and are stored as pairs.
const MAX_MATRIX: usize = 1 << 14;

/// A tap of a kernel, and the tap of the result that it is added to.
#[derive(Clone, Copy, Debug)]
pub(super) struct TapPair {
    pub(super) from: usize,
    pub(super) into: usize,
}

/// A linear map from the taps of a kernel to the taps of another kernel.
#[derive(Clone, Debug)]
pub(super) struct TapMap {
    from: usize,
    into: usize,
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    /// `[from, width]`, and the offsets of its rows.
    Matrix {
        values: Vec<f32>,
        rows: Offsets,
    },
    Pairs(Vec<TapPair>),
    /// Tap `n` of the result is the tap with the number `n` here.
    Selection(Vec<usize>),
}

impl TapMap {
    /// The map that adds tap `from` to tap `into` for each pair.
    pub(super) fn new(from: usize, into: usize, pairs: Vec<TapPair>) -> Self {
        let width = into.next_multiple_of(LANES);
        if from.saturating_mul(width) > MAX_MATRIX {
            let form = Form::Pairs(pairs);
            return Self { from, into, form };
        }
        let mut matrix = vec![0.0; from * width];
        for pair in pairs {
            matrix[pair.from * width + pair.into] = 1.0;
        }
        let form = Form::Matrix {
            values: matrix,
            rows: Offsets::even(from, width),
        };
        Self { from, into, form }
    }

    /// The map that selects these taps in this order.
    pub(super) fn selection(from: usize, taps: &[usize]) -> Self {
        Self {
            from,
            into: taps.len(),
            form: Form::Selection(taps.to_vec()),
        }
    }

    /// The number of taps of the result.
    fn len(&self) -> usize {
        self.into
    }

    fn width(&self) -> usize {
        self.into.next_multiple_of(LANES)
    }

    /// Maps `count` kernels. Each result starts at a multiple of the width.
    #[inline(always)]
    fn apply<S: Simd>(&self, simd: S, kernels: Rows, count: usize, into: &mut [f32]) {
        let width = self.width();
        match &self.form {
            Form::Matrix { values, rows } => {
                let matrix = Gathered {
                    values,
                    offsets: rows,
                };
                let into = RowsMut {
                    values: into,
                    step: width,
                };
                simd::product(simd, [count, width], kernels, matrix, false, into);
            }
            Form::Pairs(pairs) => {
                for (n, into) in into.chunks_exact_mut(width).take(count).enumerate() {
                    let kernel = &kernels.values[n * kernels.step..][..self.from];
                    into.fill(0.0);
                    for pair in pairs {
                        into[pair.into] += kernel[pair.from];
                    }
                }
            }
            Form::Selection(_) => unreachable!("a selection is copied by `Transpose::select`"),
        }
    }
}

#[inline(always)]
fn select(kernel: &[f32], taps: &[usize], into: &mut [f32]) {
    for (into, &tap) in into.iter_mut().zip(taps) {
        *into = kernel[tap];
    }
}

/// Some kernels of a weight of `[outer, row]` kernels: the columns `inner` of all rows.
#[derive(Clone)]
pub(super) struct Kernels<'a> {
    pub(super) values: &'a [f32],
    pub(super) outer: usize,
    pub(super) row: usize,
    pub(super) inner: Range<usize>,
}

/// Maps every kernel and swaps the two axes: the result is `[inner, outer, taps]`.
pub(super) fn transpose(kernels: Kernels, map: &TapMap) -> Vec<f32> {
    let len = kernels.outer * map.len();
    let mut found = vec![0.0; kernels.inner.len() * len];
    transpose_into(kernels, map, &mut found);
    found
}

/// As [`transpose`], into an existing slice.
pub(super) fn transpose_into(kernels: Kernels, map: &TapMap, into: &mut [f32]) {
    let len = kernels.outer * map.len();
    if len == 0 {
        return;
    }
    let blocks = into.chunks_mut(KERNELS * len).enumerate();
    let first = kernels.inner.start;
    let blocks = blocks.map(|(n, into)| TransposedBlock {
        first: first + n * KERNELS,
        into,
    });
    threads::run(&Transpose { kernels, map }, blocks.collect());
}

/// Selects taps of every kernel and swaps the two axes: the result is `[block of inner, outer, tap, BLOCK]`.
pub(super) fn transpose_into_blocks(kernels: Kernels, map: &TapMap, into: &mut [f32]) {
    let Form::Selection(taps) = &map.form else {
        unreachable!("only a selection is interleaved")
    };
    let block = kernels.outer * taps.len() * BLOCK;
    if block == 0 {
        return;
    }
    let first = kernels.inner.start;
    // (A cache line holds the inner kernels of two blocks, if they have one tap.)
    let tasks = into.chunks_mut(2 * block).enumerate();
    let tasks = tasks.map(|(n, into)| TransposedBlock {
        first: first + 2 * n * BLOCK,
        into,
    });
    let tasks = tasks.collect();
    threads::run(&Interleaved { kernels, map, taps }, tasks);
}

/// A [`Transpose`] of selected taps to blocks of inner kernels, interleaved.
struct Interleaved<'a> {
    kernels: Kernels<'a>,
    map: &'a TapMap,
    taps: &'a [usize],
}

impl Work<TransposedBlock<'_>> for Interleaved<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, _: S, blocks: TransposedBlock, _: &mut Scratch) {
        let Kernels {
            values,
            row,
            inner,
            outer,
        } = &self.kernels;
        let from = self.map.from;
        let len = self.taps.len() * BLOCK;
        for outer in 0..*outer {
            let mut first = blocks.first;
            for block in blocks.into.chunks_exact_mut(self.kernels.outer * len) {
                let count = BLOCK.min(inner.end - first);
                let kernels = &values[(outer * row + first) * from..][..count * from];
                let into = &mut block[outer * len..][..len];
                first += count;
                // (A copy of known length is one instruction.)
                if from == 1 && count == BLOCK {
                    into[..BLOCK].copy_from_slice(&kernels[..BLOCK]);
                    continue;
                }
                for (into, tap) in into.chunks_exact_mut(BLOCK).zip(self.taps) {
                    for (n, into) in into.iter_mut().take(count).enumerate() {
                        *into = kernels[n * from + tap];
                    }
                }
            }
        }
    }
}

struct Transpose<'a> {
    kernels: Kernels<'a>,
    map: &'a TapMap,
}

/// A block of inner kernels, for one task.
struct TransposedBlock<'a> {
    first: usize,
    into: &'a mut [f32],
}

impl Work<TransposedBlock<'_>> for Transpose<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S, block: TransposedBlock, [mapped, ..]: &mut Scratch) {
        if let Form::Selection(taps) = &self.map.form {
            return self.select(taps, block);
        }
        let Kernels {
            values, outer, row, ..
        } = self.kernels;
        let (len, width) = (self.map.len(), self.map.width());
        let count = block.into.len() / (outer * len);
        let mapped = grow(mapped, KERNELS * width);
        for n in 0..outer {
            let kernels = Rows {
                values: &values[(n * row + block.first) * self.map.from..],
                step: self.map.from,
            };
            self.map.apply(simd, kernels, count, mapped);
            for (inner, mapped) in mapped.chunks_exact(width).take(count).enumerate() {
                block.into[(inner * outer + n) * len..][..len].copy_from_slice(&mapped[..len]);
            }
        }
    }
}

impl Transpose<'_> {
    /// Copies the taps, by tiles of outer and inner kernels that stay in the first-level cache.
    #[inline(always)]
    fn select(&self, taps: &[usize], block: TransposedBlock) {
        let Kernels {
            values, outer, row, ..
        } = self.kernels;
        let from = self.map.from;
        for start in (0..outer).step_by(KERNELS) {
            let some = KERNELS.min(outer - start);
            let rows = block.into.chunks_exact_mut(outer * taps.len());
            for (inner, into) in rows.enumerate() {
                let into = &mut into[start * taps.len()..][..some * taps.len()];
                let first = (start * row + block.first + inner) * from;
                let kernels = values[first..].chunks(row * from);
                for (into, kernel) in into.chunks_exact_mut(taps.len()).zip(kernels) {
                    select(&kernel[..from], taps, into);
                }
            }
        }
    }
}

/// A weight of rows of `steps` values as `[block, step, BLOCK]`, with zeros for the rows that are missing.
pub(super) fn interleave(rows: &[f32], steps: usize) -> Vec<f32> {
    let block = BLOCK * steps;
    if block == 0 {
        return Vec::new();
    }
    let mut found = vec![0.0; rows.len().next_multiple_of(block)];
    let tasks = found.chunks_exact_mut(block).zip(rows.chunks(block));
    threads::run(&Interleave { steps }, tasks.collect());
    found
}

struct Interleave {
    steps: usize,
}

impl Work<(&mut [f32], &[f32])> for Interleave {
    #[inline(always)]
    fn run<S: Simd>(&self, _: S, (into, rows): (&mut [f32], &[f32]), _: &mut Scratch) {
        for (n, row) in rows.chunks_exact(self.steps).enumerate() {
            for (into, value) in into.chunks_exact_mut(BLOCK).zip(row) {
                into[n] = *value;
            }
        }
    }
}

/// The map from the kernels of a source to the kernels of all phases.
pub(super) struct PhaseSums {
    pub(super) channels: usize,
    /// The taps of all phases, one phase after the other.
    pub(super) map: TapMap,
    /// The number of taps of each phase.
    pub(super) lens: Vec<usize>,
}

/// The weights of each phase, `[outputs, (channels, taps of the phase)...]`, from `[outputs, channels, taps]`.
pub(super) fn by_phases(weight: &[f32], outputs: usize, sources: &[PhaseSums]) -> Vec<Vec<f32>> {
    let phases = sources.first().map_or(0, |source| source.lens.len());
    let len = |phase: usize| {
        let of_source = |source: &PhaseSums| source.channels * source.lens[phase];
        sources.iter().map(of_source).sum::<usize>()
    };
    let mut weights: Vec<Vec<f32>> = (0..phases)
        .map(|phase| vec![0.0; outputs * len(phase)])
        .collect();
    let mut rows: Vec<PhaseRow> = (0..outputs)
        .map(|output| PhaseRow {
            output,
            into: Vec::with_capacity(phases),
        })
        .collect();
    for (phase, weights) in weights.iter_mut().enumerate() {
        for (row, into) in rows.iter_mut().zip(weights.chunks_exact_mut(len(phase))) {
            row.into.push(into);
        }
    }
    threads::run(&SumByPhases { weight, sources }, rows);
    weights
}

struct SumByPhases<'a> {
    weight: &'a [f32],
    sources: &'a [PhaseSums],
}

/// The row of one output in the weight of each phase.
struct PhaseRow<'a> {
    output: usize,
    into: Vec<&'a mut [f32]>,
}

impl Work<PhaseRow<'_>> for SumByPhases<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S, mut row: PhaseRow, [mapped, ..]: &mut Scratch) {
        let kernels_of = |source: &PhaseSums| source.channels * source.map.from;
        let len: usize = self.sources.iter().map(kernels_of).sum();
        let mut kernels = &self.weight[row.output * len..];
        let mut starts = vec![0; row.into.len()];
        for source in self.sources {
            let width = source.map.width();
            let mapped = grow(mapped, source.channels * width);
            let rows = Rows {
                values: kernels,
                step: source.map.from,
            };
            source.map.apply(simd, rows, source.channels, mapped);
            kernels = &kernels[kernels_of(source)..];
            for mapped in mapped.chunks_exact(width).take(source.channels) {
                let mut first = 0;
                let phases = row.into.iter_mut().zip(&mut starts).zip(&source.lens);
                for ((into, start), &len) in phases {
                    into[*start..*start + len].copy_from_slice(&mapped[first..first + len]);
                    *start += len;
                    first += len;
                }
            }
        }
    }
}
