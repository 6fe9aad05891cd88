//! The innermost loops, for the instruction set that `pulp` finds when the program runs: AVX-512, AVX2
//! with FMA, NEON, or one value at a time.
#![allow(clippy::needless_range_loop)] // indices of registers: unrolled, and clearer so

use alloc::vec::Vec;

use pulp::Simd;

/// Rows that are interleaved in [`Blocks`].
pub(in super::super) use crate::policy::BLOCK;
use crate::policy::LANES;

/// The offsets at which the steps of a sum read, with their maximum, so that one bounds check covers all loads of a
/// tile.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Offsets {
    pub(super) values: Vec<u32>,
    /// One more than the largest.
    pub(super) end: usize,
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

/// Outputs that are computed at once: the rows of sums that fit into the registers.
pub(in super::super) const fn rows<S: Simd>() -> usize {
    if S::F32_LANES >= 16 { 8 } else { 4 }
}

/// Columns that are computed at once.
pub(in super::super) const fn panel<S: Simd>() -> usize {
    3 * S::F32_LANES
}

/// # Safety
/// `at + S::F32_LANES <= from.len()`.
#[inline(always)]
pub(super) unsafe fn load<S: Simd>(from: &[f32], at: usize) -> S::f32s {
    debug_assert!(at + S::F32_LANES <= from.len());
    // SAFETY: the caller has checked the bounds; the read is unaligned.
    unsafe { from.as_ptr().add(at).cast::<S::f32s>().read_unaligned() }
}

/// # Safety
/// `at + S::F32_LANES <= into.len()`.
#[inline(always)]
pub(super) unsafe fn store<S: Simd>(into: &mut [f32], at: usize, value: S::f32s) {
    debug_assert!(at + S::F32_LANES <= into.len());
    // SAFETY: as for `load`.
    unsafe {
        into.as_mut_ptr()
            .add(at)
            .cast::<S::f32s>()
            .write_unaligned(value)
    }
}

/// The vector of the values from `at` on.
#[inline(always)]
pub(in super::super) fn vector_at<S: Simd>(values: &[f32], at: usize) -> S::f32s {
    let values = &values[at..][..S::F32_LANES];
    // SAFETY: the slice above has as many values as the vector has lanes.
    unsafe { load::<S>(values, 0) }
}

/// Floats of the left matrix that stay in the second-level cache while all panels use them.
const NEAR_ROWS: usize = 32 * 1024;

/// Floats between what a product reads of [`Blocks`] and what it prefetches.
const PREFETCH_DISTANCE: usize = 1024;

/// Steps of a sum between what a product reads of a [`Strided`] matrix and what it prefetches from the second-level cache.
const STEPS_AHEAD: usize = 6;

/// The same in rows, which are read by the next tiles: from memory.
const ROWS_AHEAD: usize = 24;

/// Prefetches the cache line of the value at `at`, which may be out of bounds.
#[inline(always)]
pub(in super::super) fn prefetch(values: &[f32], at: usize) {
    prefetch_line(values.as_ptr().wrapping_add(at));
}

/// Prefetches the cache line of a value, which may be anywhere.
#[inline(always)]
pub(in super::super) fn prefetch_line(place: *const f32) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint that reads nothing; it has no effect if the address is invalid.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(place.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

/// A map that is read or written after a product, where the sums are: while a tile is computed, its part of the map is
/// prefetched.
#[derive(Clone, Copy)]
pub(in super::super) struct Ahead {
    first: *const f32,
    /// The distance from one row to the next.
    step: usize,
}

impl Ahead {
    /// A map with its first value at `first`. Nothing is read through the pointer.
    pub(in super::super) fn new(first: *const f32, step: usize) -> Self {
        Self { first, step }
    }

    #[inline(always)]
    fn prefetch(self, rows: core::ops::Range<usize>, column: usize) {
        for row in rows {
            prefetch_line(self.first.wrapping_add(row * self.step + column));
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
/// For all steps that are less than `steps`, `offset(step) < end(steps)`.
pub(in super::super) unsafe trait Left: Copy {
    /// The values from row `row` on, the first of a tile.
    fn at_row(&self, row: usize) -> &[f32];

    /// The distance from a row of a tile to the next.
    fn row_step(&self) -> usize;

    /// Whether there are so many steps of the sum.
    fn has(&self, steps: usize) -> bool;

    /// The distance from the first step of a row to another.
    ///
    /// # Safety
    /// The matrix [has](Self::has) more steps than `step`.
    unsafe fn offset(&self, step: usize) -> usize;

    /// One more than the largest distance of so many steps; 0 without steps.
    fn end(&self, steps: usize) -> usize;

    /// Prefetches what is read some time after `step` of a tile of `rows` rows that starts at `values`.
    fn ask(&self, values: &[f32], rows: usize, step: usize);
}

/// One more than the place of the last of `steps` steps that are `step` values apart; 0 without steps.
#[inline(always)]
fn end_of_even(steps: usize, step: usize) -> usize {
    match steps {
        0 => 0,
        _ => (steps - 1).saturating_mul(step).saturating_add(1),
    }
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

    #[inline(always)]
    fn has(&self, _steps: usize) -> bool {
        true
    }

    #[inline(always)]
    unsafe fn offset(&self, step: usize) -> usize {
        step
    }

    #[inline(always)]
    fn end(&self, steps: usize) -> usize {
        end_of_even(steps, 1)
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
    fn has(&self, _steps: usize) -> bool {
        true
    }

    #[inline(always)]
    unsafe fn offset(&self, step: usize) -> usize {
        step * self.column
    }

    #[inline(always)]
    fn end(&self, steps: usize) -> usize {
        end_of_even(steps, self.column)
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
    fn has(&self, _steps: usize) -> bool {
        true
    }

    #[inline(always)]
    unsafe fn offset(&self, step: usize) -> usize {
        step * BLOCK
    }

    #[inline(always)]
    fn end(&self, steps: usize) -> usize {
        end_of_even(steps, BLOCK)
    }

    #[inline(always)]
    fn ask(&self, values: &[f32], _rows: usize, step: usize) {
        prefetch(values, step * BLOCK + PREFETCH_DISTANCE);
    }
}

/// `M` rows and `N` vectors of columns of [`product`].
#[inline(always)]
fn product_tile<S: Simd, const M: usize, const N: usize>(
    simd: S,
    (a, left): (&[f32], impl Left),
    right: impl Right,
    add: bool,
    out: RowsMut,
) {
    let b = right.values();
    let RowsMut {
        values: out,
        step: out_step,
    } = out;
    let lanes = S::F32_LANES;
    let steps = right.steps();
    let row = left.row_step();
    assert!(left.has(steps), "a tile has more steps than its rows");
    let last = (M - 1).saturating_mul(row).saturating_add(left.end(steps));
    assert!(
        steps == 0 || last <= a.len(),
        "a tile reads past the weight"
    );
    assert!(
        (M - 1).saturating_mul(out_step).saturating_add(N * lanes) <= out.len(),
        "a tile writes past the sums"
    );
    assert!(
        right.end::<S>(N - 1).saturating_add(lanes) <= b.len().saturating_add(1),
        "a tile reads past what is packed"
    );
    let mut sums = [[simd.splat_f32s(0.0); N]; M];
    if add {
        for m in 0..M {
            for n in 0..N {
                // SAFETY: `m < M` and `n < N`; the third assertion.
                sums[m][n] = unsafe { load::<S>(out, m * out_step + n * lanes) };
            }
        }
    }
    // (A pointer for each row and vector: with one for all, the compiler computes all places anew in each step.)
    let factors: [*const f32; M] = core::array::from_fn(|m| a.as_ptr().wrapping_add(m * row));
    let starts: [*const f32; N] =
        core::array::from_fn(|n| b.as_ptr().wrapping_add(right.start::<S>(n)));
    for step in 0..steps {
        // SAFETY: `step < steps`.
        let offset = unsafe { right.offset::<S>(step) };
        let mut columns = [simd.splat_f32s(0.0); N];
        for n in 0..N {
            // SAFETY: `step < steps`, and the place is less than `end(N - 1)` by the promise of `Right`; the fourth assertion.
            columns[n] = unsafe { starts[n].add(offset).cast::<S::f32s>().read_unaligned() };
        }
        left.ask(a, M, step);
        // SAFETY: `step < steps`; the first assertion.
        let at = unsafe { left.offset(step) };
        for m in 0..M {
            // SAFETY: `m < M`, and the distance is less than `end(steps)` by the promise of `Left`; the second assertion.
            let factor = simd.splat_f32s(unsafe { *factors[m].add(at) });
            for n in 0..N {
                sums[m][n] = simd.mul_add_e_f32s(factor, columns[n], sums[m][n]);
            }
        }
    }
    for m in 0..M {
        for n in 0..N {
            // SAFETY: as for the loads.
            unsafe { store::<S>(out, m * out_step + n * lanes, sums[m][n]) };
        }
    }
}

#[inline(always)]
fn product_rows<S: Simd, const M: usize>(
    simd: S,
    a: (&[f32], impl Left),
    b: impl Right,
    add: bool,
    out: RowsMut,
    columns: usize,
) {
    match columns / S::F32_LANES {
        1 => product_tile::<S, M, 1>(simd, a, b, add, out),
        2 => product_tile::<S, M, 2>(simd, a, b, add, out),
        3 => product_tile::<S, M, 3>(simd, a, b, add, out),
        _ => unreachable!("a panel has one to three vectors"),
    }
}

/// The one row of a product, by as many vectors as keep all units busy.
#[inline(always)]
pub(in super::super) fn single_row<S: Simd>(
    simd: S,
    columns: usize,
    a: impl Left,
    b: impl Right,
    add: bool,
    mut out: RowsMut,
) {
    let mut first = 0;
    while first < columns {
        let vectors = (columns - first) / S::F32_LANES;
        let (a, b) = ((a.at_row(0), a), b.starting_at(first));
        let out = out.starting_at(first);
        let done = match vectors {
            8.. => {
                product_tile::<S, 1, 8>(simd, a, b, add, out);
                8
            }
            4.. => {
                product_tile::<S, 1, 4>(simd, a, b, add, out);
                4
            }
            2.. => {
                product_tile::<S, 1, 2>(simd, a, b, add, out);
                2
            }
            _ => {
                product_tile::<S, 1, 1>(simd, a, b, add, out);
                1
            }
        };
        first += done * S::F32_LANES;
    }
}

/// `out[m][p] = sum_i a[m][i] b[i][p]` for `count` rows and `columns` columns, a multiple of the lanes. If `add`, the
/// sums are added to `out`.
#[inline(always)]
pub(in super::super) fn product<S: Simd>(
    simd: S,
    size: [usize; 2],
    a: impl Left,
    b: impl Right,
    add: bool,
    out: RowsMut,
) {
    let into = Target {
        sums: out,
        add,
        ahead: &[],
    };
    product_into(simd, size, a, b, into);
}

/// Where a product goes.
pub(in super::super) struct Target<'a> {
    pub(in super::super) sums: RowsMut<'a>,
    /// Whether the products are added to the sums.
    pub(in super::super) add: bool,
    /// Maps that are read or written next, in the places of the sums.
    pub(in super::super) ahead: &'a [Ahead],
}

/// The same for a target.
#[inline(always)]
pub(in super::super) fn product_into<S: Simd>(
    simd: S,
    [count, columns]: [usize; 2],
    a: impl Left,
    b: impl Right,
    into: Target,
) {
    let Target {
        sums: mut out,
        add,
        ahead,
    } = into;
    if count == 1 {
        return single_row(simd, columns, a, b, add, out);
    }
    // All panels use some rows of the left matrix before the next are read.
    let near = (NEAR_ROWS / b.steps().max(1))
        .max(1)
        .next_multiple_of(BLOCK);
    let mut start = 0;
    while start < count {
        let end = match count - start > 2 * near {
            true => start + near,
            false => count,
        };
        let mut first = 0;
        while first < columns {
            let left = columns - first;
            // (Two panels of two vectors are faster than three vectors and one.)
            let width = match left / S::F32_LANES {
                4 => 2 * S::F32_LANES,
                _ => panel::<S>().min(left),
            };
            // One vector needs more rows to keep all units busy.
            let most = match width / S::F32_LANES {
                1 => BLOCK,
                _ => rows::<S>(),
            };
            let b = b.starting_at(first);
            let mut row = start;
            while row < end {
                let a = (a.at_row(row), a);
                let out = out.starting_at(row * out.step + first);
                for map in ahead {
                    map.prefetch(row..row + most.min(end - row), first);
                }
                row += match most.min(end - row) {
                    8.. => {
                        product_rows::<S, 8>(simd, a, b, add, out, width);
                        8
                    }
                    4.. => {
                        product_rows::<S, 4>(simd, a, b, add, out, width);
                        4
                    }
                    2.. => {
                        product_rows::<S, 2>(simd, a, b, add, out, width);
                        2
                    }
                    _ => {
                        product_rows::<S, 1>(simd, a, b, add, out, width);
                        1
                    }
                };
            }
            first += width;
        }
        start = end;
    }
}

/// The same for a few vectors of columns and a left matrix whose rows are positions, in tiles of about as many rows each.
#[inline(always)]
pub(in super::super) fn product_of_positions<S: Simd>(
    simd: S,
    [count, columns]: [usize; 2],
    a: impl Left,
    b: Rows,
    add: bool,
    mut out: RowsMut,
) {
    let most = rows::<S>();
    let mut row = 0;
    while row < count {
        let left = count - row;
        // (49 positions are seven tiles of seven; of eight, one would be left. And seven are four and three.)
        let tiles = left.div_ceil(most);
        let some = match left >= (most - 1) * tiles || most < 8 {
            true => left.div_ceil(tiles),
            false => most.min(left),
        };
        let a = (a.at_row(row), a);
        let out = out.starting_at(row * out.step);
        row += match some {
            8.. => {
                product_rows::<S, 8>(simd, a, b, add, out, columns);
                8
            }
            7 => {
                product_rows::<S, 7>(simd, a, b, add, out, columns);
                7
            }
            4.. => {
                product_rows::<S, 4>(simd, a, b, add, out, columns);
                4
            }
            3 => {
                product_rows::<S, 3>(simd, a, b, add, out, columns);
                3
            }
            2 => {
                product_rows::<S, 2>(simd, a, b, add, out, columns);
                2
            }
            _ => {
                product_rows::<S, 1>(simd, a, b, add, out, columns);
                1
            }
        };
    }
}

/// `M` rows and `N` offsets of [`inner_products`].
#[inline(always)]
fn inner_tile<S: Simd, const M: usize, const N: usize>(
    simd: S,
    a: Rows,
    b: &[f32],
    offsets: [u32; N],
    len: usize,
    out: RowsMut,
) {
    let lanes = S::F32_LANES;
    let far = offsets
        .iter()
        .fold(0, |far, &offset| far.max(offset as usize));
    assert!(
        (M - 1).saturating_mul(a.step).saturating_add(len) <= a.values.len(),
        "a tile reads past the gradient"
    );
    assert!(
        far.saturating_add(len) <= b.len(),
        "a tile reads past what is packed"
    );
    let mut sums = [[simd.splat_f32s(0.0); N]; M];
    let mut p = 0;
    while p + lanes <= len {
        let mut left = [simd.splat_f32s(0.0); M];
        for (m, left) in left.iter_mut().enumerate() {
            // SAFETY: `m < M` and `p + lanes <= len`; the first assertion.
            *left = unsafe { load::<S>(a.values, m * a.step + p) };
        }
        for n in 0..N {
            // SAFETY: `offset <= far` and `p + lanes <= len`; the second assertion.
            let right = unsafe { load::<S>(b, offsets[n] as usize + p) };
            for m in 0..M {
                sums[m][n] = simd.mul_add_e_f32s(left[m], right, sums[m][n]);
            }
        }
        p += lanes;
    }
    for m in 0..M {
        for n in 0..N {
            out.values[m * out.step + n] += simd.reduce_sum_f32s(sums[m][n]);
        }
    }
}

#[inline(always)]
fn inner_rows<S: Simd, const M: usize>(
    simd: S,
    a: Rows,
    (b, offsets): (&[f32], &[u32]),
    len: usize,
    mut out: RowsMut,
) {
    let mut tiles = offsets.chunks_exact(6);
    let mut first = 0;
    for tile in &mut tiles {
        let offsets = [tile[0], tile[1], tile[2], tile[3], tile[4], tile[5]];
        inner_tile::<S, M, 6>(simd, a, b, offsets, len, out.starting_at(first));
        first += 6;
    }
    for &offset in tiles.remainder() {
        inner_tile::<S, M, 1>(simd, a, b, [offset], len, out.starting_at(first));
        first += 1;
    }
}

/// `out[m][i] += sum_p a[m][p] b[offset_i + p]` over `len` values, a multiple of the lanes.
#[inline(always)]
pub(in super::super) fn inner_products<S: Simd>(
    simd: S,
    count: usize,
    a: Rows,
    b: (&[f32], &[u32]),
    len: usize,
    mut out: RowsMut,
) {
    let mut row = 0;
    while row < count {
        let some = if S::F32_LANES >= 16 { 4 } else { 2 }.min(count - row);
        let a = Rows {
            values: &a.values[row * a.step..],
            ..a
        };
        let out = out.starting_at(row * out.step);
        match some {
            4 => inner_rows::<S, 4>(simd, a, b, len, out),
            3 => inner_rows::<S, 3>(simd, a, b, len, out),
            2 => inner_rows::<S, 2>(simd, a, b, len, out),
            _ => inner_rows::<S, 1>(simd, a, b, len, out),
        }
        row += some;
    }
}
