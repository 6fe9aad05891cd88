//! The matrices of a product: how their values lie in memory, and bounds for all that a tile reads of them.

use alloc::vec::Vec;

use pulp::Simd;

use super::simd::prefetch;

/// Rows that are interleaved in [`Blocks`].
pub(in super::super) use crate::policy::BLOCK;
use crate::policy::LANES;

/// Floats between what a product reads of [`Blocks`] and what it prefetches.
const PREFETCH_DISTANCE: usize = 1024;

/// Steps of a sum between what a product reads of a [`Strided`] matrix and what it prefetches from the second-level cache.
const STEPS_AHEAD: usize = 6;

/// The same in rows, which are read by the next tiles: from memory.
const ROWS_AHEAD: usize = 24;

/// The offsets at which the steps of a sum read, with their maximum, so that one bounds check covers all loads of a
/// tile.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Offsets {
    values: Vec<u32>,
    /// One more than the largest.
    end: usize,
}

impl Offsets {
    /// From offsets that were [checked](offset).
    pub(in super::super) fn new(values: Vec<u32>) -> Self {
        let end = values
            .iter()
            .max()
            .map_or(0, |&most| (most as usize).saturating_add(1));
        Self { values, end }
    }

    pub(in super::super) fn len(&self) -> usize {
        self.values.len()
    }

    pub(in super::super) fn values(&self) -> &[u32] {
        &self.values
    }

    /// The offsets of `len` rows that are `step` values apart.
    pub(in super::super) fn even(len: usize, step: usize) -> Self {
        Self::new((0..len).map(|row| offset(row * step)).collect())
    }
}

/// An offset as a `u32`.
///
/// # Panics
/// When it does not fit.
pub(in super::super) fn offset(place: usize) -> u32 {
    match u32::try_from(place) {
        Ok(place) => place,
        Err(_) => panic!("{place} values are too many for the offsets of a kernel"),
    }
}

/// The right matrix of a [`product`].
///
/// # Safety
/// For all steps and all `m <= n`, `start(m) + offset(step) < end(n)`.
pub(in super::super) unsafe trait Right: Copy {
    /// The number of rows, the steps of the sum.
    fn steps(&self) -> usize;

    /// The values: vector `n` of row `step` starts at `start(n) + offset(step)`.
    fn values(&self) -> &[f32];

    /// The part of a place that depends on the vector: vectors follow each other in a row, if nothing else is said.
    #[inline(always)]
    fn start<S: Simd>(&self, n: usize) -> usize {
        n * S::F32_LANES
    }

    /// The part of a place that depends on the row.
    ///
    /// # Safety
    /// `step` is less than [the steps](Self::steps).
    unsafe fn offset<S: Simd>(&self, step: usize) -> usize;

    /// One more than the largest place of vector `n` of all rows; 0 without rows.
    fn end<S: Simd>(&self, n: usize) -> usize;

    /// The matrix from column `first` on, a multiple of the lanes.
    fn starting_at(self, first: usize) -> Self;
}

/// A matrix whose rows start at the offsets.
#[derive(Clone, Copy)]
pub(in super::super) struct Gathered<'a> {
    pub(in super::super) values: &'a [f32],
    pub(in super::super) offsets: &'a Offsets,
}

// SAFETY: `end` is one more than the largest offset, and `start` grows with the vector.
unsafe impl Right for Gathered<'_> {
    #[inline(always)]
    fn steps(&self) -> usize {
        self.offsets.values.len()
    }

    #[inline(always)]
    fn values(&self) -> &[f32] {
        self.values
    }

    #[inline(always)]
    unsafe fn offset<S: Simd>(&self, step: usize) -> usize {
        // SAFETY: the caller's promise.
        unsafe { *self.offsets.values.get_unchecked(step) as usize }
    }

    #[inline(always)]
    fn end<S: Simd>(&self, n: usize) -> usize {
        self.offsets.end.saturating_add(n * S::F32_LANES)
    }

    #[inline(always)]
    fn starting_at(self, first: usize) -> Self {
        Self {
            values: &self.values[first..],
            ..self
        }
    }
}

/// Some rows of a matrix of vectors, `[vector, row, lane]`: what a tile reads follows each other in memory.
#[derive(Clone, Copy)]
pub(in super::super) struct Vectors<'a> {
    pub(in super::super) values: &'a [f32],
    /// The rows of the whole matrix.
    pub(in super::super) rows: usize,
    /// The first row of these, and their number.
    pub(in super::super) first: usize,
    pub(in super::super) steps: usize,
}

// SAFETY: `end` is one more than the place of the last step of the vector, and places grow with both.
unsafe impl Right for Vectors<'_> {
    #[inline(always)]
    fn steps(&self) -> usize {
        self.steps
    }

    #[inline(always)]
    fn values(&self) -> &[f32] {
        self.values
    }

    #[inline(always)]
    fn start<S: Simd>(&self, n: usize) -> usize {
        (n * self.rows + self.first) * S::F32_LANES
    }

    #[inline(always)]
    unsafe fn offset<S: Simd>(&self, step: usize) -> usize {
        step * S::F32_LANES
    }

    #[inline(always)]
    fn end<S: Simd>(&self, n: usize) -> usize {
        if self.steps == 0 {
            return 0;
        }
        let rows = n.saturating_mul(self.rows);
        let last = rows
            .saturating_add(self.first)
            .saturating_add(self.steps - 1);
        last.saturating_mul(S::F32_LANES).saturating_add(1)
    }

    #[inline(always)]
    fn starting_at(self, first: usize) -> Self {
        Self {
            values: &self.values[first * self.rows..],
            ..self
        }
    }
}

/// A matrix that is written, stored by rows.
pub(in super::super) struct RowsMut<'a> {
    pub(in super::super) values: &'a mut [f32],
    /// The distance from one row to the next.
    pub(in super::super) step: usize,
}

impl RowsMut<'_> {
    /// The matrix from the value at `start` on.
    #[inline(always)]
    pub(in super::super) fn starting_at(&mut self, start: usize) -> RowsMut<'_> {
        RowsMut {
            values: &mut self.values[start..],
            step: self.step,
        }
    }
}

/// A matrix in memory, stored by rows.
#[derive(Clone, Copy)]
pub(in super::super) struct Rows<'a> {
    pub(in super::super) values: &'a [f32],
    /// The distance from one row to the next.
    pub(in super::super) step: usize,
}

// SAFETY: `end` is one more than the place of the last row, and places grow with the row and the vector.
unsafe impl Right for Rows<'_> {
    #[inline(always)]
    fn steps(&self) -> usize {
        // (The last may end where its last vector does.)
        self.values.len().div_ceil(self.step)
    }

    #[inline(always)]
    fn values(&self) -> &[f32] {
        self.values
    }

    #[inline(always)]
    unsafe fn offset<S: Simd>(&self, step: usize) -> usize {
        step * self.step
    }

    #[inline(always)]
    fn end<S: Simd>(&self, n: usize) -> usize {
        match self.steps() {
            0 => 0,
            steps => (steps - 1)
                .saturating_mul(self.step)
                .saturating_add(n * S::F32_LANES + 1),
        }
    }

    #[inline(always)]
    fn starting_at(self, first: usize) -> Self {
        Self {
            values: &self.values[first..],
            ..self
        }
    }
}

/// A matrix in memory with any distances from one row to the next, and from one column to the next.
#[derive(Clone, Copy)]
pub(in super::super) struct Strided<'a> {
    pub(in super::super) values: &'a [f32],
    pub(in super::super) row: usize,
    pub(in super::super) column: usize,
}

/// A matrix in memory, `[block, step, BLOCK]`: the values that one tile reads are contiguous.
#[derive(Clone, Copy)]
pub(in super::super) struct Blocks<'a> {
    pub(in super::super) values: &'a [f32],
    /// The steps of a row.
    pub(in super::super) len: usize,
}

/// A matrix whose rows follow each other in memory, and whose columns start at the offsets: what positions that are
/// neighbours read.
#[derive(Clone, Copy)]
pub(in super::super) struct Neighbours<'a> {
    pub(in super::super) values: &'a [f32],
    pub(in super::super) offsets: &'a Offsets,
}

/// The left matrix of a [`product`].
///
/// # Safety
/// If it [has](Self::has) some steps, it has fewer, and `offset(step) < end(steps)` for all that are less than `steps`.
pub(in super::super) unsafe trait Left: Copy {
    /// The values from row `row` on, the first of a tile.
    fn at_row(&self, row: usize) -> &[f32];

    /// The distance from a row of a tile to the next.
    fn row_step(&self) -> usize;

    /// The distance from a step of the sum to the next, if nothing else is said by [`offset`](Self::offset).
    #[inline(always)]
    fn step(&self) -> usize {
        1
    }

    /// Whether there are so many steps of the sum.
    #[inline(always)]
    fn has(&self, _steps: usize) -> bool {
        true
    }

    /// The distance from the first step of a row to another.
    ///
    /// # Safety
    /// The matrix [has](Self::has) more steps than `step`.
    #[inline(always)]
    unsafe fn offset(&self, step: usize) -> usize {
        step * self.step()
    }

    /// One more than the largest distance of so many steps; 0 without steps.
    #[inline(always)]
    fn end(&self, steps: usize) -> usize {
        match steps {
            0 => 0,
            _ => (steps - 1).saturating_mul(self.step()).saturating_add(1),
        }
    }

    /// Prefetches what is read some time after `step` of a tile of `rows` rows that starts at `values`.
    fn ask(&self, values: &[f32], rows: usize, step: usize);
}

// SAFETY: distances grow with the step.
unsafe impl Left for Rows<'_> {
    #[inline(always)]
    fn at_row(&self, row: usize) -> &[f32] {
        &self.values[row * self.step..]
    }

    #[inline(always)]
    fn row_step(&self) -> usize {
        self.step
    }

    /// Large weights are in main memory. (The loop has as many registers as it needs, and not one more; with a
    /// prefetch in it, the compiler finds them.)
    #[inline(always)]
    fn ask(&self, values: &[f32], rows: usize, step: usize) {
        // One of the next rows in each step. (A cache line has 16 steps, so that none is left out.)
        prefetch(values, (rows + step % rows) * self.step + step);
    }
}

// SAFETY: distances grow with the step.
unsafe impl Left for Strided<'_> {
    #[inline(always)]
    fn at_row(&self, row: usize) -> &[f32] {
        &self.values[row * self.row..]
    }

    #[inline(always)]
    fn row_step(&self) -> usize {
        self.row
    }

    #[inline(always)]
    fn step(&self) -> usize {
        self.column
    }

    #[inline(always)]
    fn ask(&self, values: &[f32], _rows: usize, step: usize) {
        prefetch(values, (step + STEPS_AHEAD) * self.column);
        prefetch(values, step * self.column + ROWS_AHEAD * self.row);
    }
}

// SAFETY: `end` is one more than the largest of all offsets.
unsafe impl Left for Neighbours<'_> {
    #[inline(always)]
    fn at_row(&self, row: usize) -> &[f32] {
        &self.values[row..]
    }

    #[inline(always)]
    fn row_step(&self) -> usize {
        1
    }

    #[inline(always)]
    fn has(&self, steps: usize) -> bool {
        steps <= self.offsets.len()
    }

    #[inline(always)]
    unsafe fn offset(&self, step: usize) -> usize {
        // SAFETY: the caller's promise.
        unsafe { *self.offsets.values.get_unchecked(step) as usize }
    }

    #[inline(always)]
    fn end(&self, _steps: usize) -> usize {
        self.offsets.end
    }

    #[inline(always)]
    fn ask(&self, values: &[f32], _rows: usize, step: usize) {
        // (The next tile reads what follows.)
        let place = self.offsets.values.get(step);
        prefetch(values, place.map_or(0, |&place| place as usize) + LANES);
    }
}

// SAFETY: distances grow with the step.
unsafe impl Left for Blocks<'_> {
    #[inline(always)]
    fn at_row(&self, row: usize) -> &[f32] {
        &self.values[row / BLOCK * BLOCK * self.len + row % BLOCK..]
    }

    #[inline(always)]
    fn row_step(&self) -> usize {
        1
    }

    #[inline(always)]
    fn step(&self) -> usize {
        BLOCK
    }

    #[inline(always)]
    fn ask(&self, values: &[f32], _rows: usize, step: usize) {
        prefetch(values, step * BLOCK + PREFETCH_DISTANCE);
    }
}
