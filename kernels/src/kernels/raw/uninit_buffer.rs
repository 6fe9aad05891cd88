//! [`UninitBuffer`]: memory that several threads write once, without being zeroed first. Zeroing would be a pass over
//! every map by one thread: a tenth of the time of a convolution.

use alloc::vec::Vec;
use core::mem::MaybeUninit;
use core::ops::Range;
use core::sync::atomic::{AtomicUsize, Ordering};

use pulp::Simd;

use crate::buffers::{self, Lifetime};
use crate::policy::MAX_STEP;

/// A buffer of values that are still to be written.
pub(in super::super) struct UninitBuffer {
    /// Empty, with a capacity of `len` values.
    values: Vec<f32>,
    len: usize,
    written: AtomicUsize,
}

/// How values are cut into pieces.
#[derive(Clone, Copy)]
pub(in super::super) struct Cuts {
    /// Values of a plane.
    pub(in super::super) plane: usize,
    /// Values of a piece; the last piece of a plane may be shorter.
    pub(in super::super) block: usize,
    /// Values of a row.
    pub(in super::super) width: usize,
    /// Rows that are written side by side.
    pub(in super::super) step: usize,
}

impl Cuts {
    /// One piece for each plane.
    pub(in super::super) fn planes(plane: usize) -> Self {
        Self {
            plane,
            block: plane,
            width: plane,
            step: 1,
        }
    }
}

/// A piece, with the index of its plane and its index in the plane.
pub(in super::super) struct PlacedPiece<'a> {
    pub(in super::super) plane: usize,
    pub(in super::super) block: usize,
    pub(in super::super) piece: Piece<'a>,
}

impl UninitBuffer {
    pub(in super::super) fn new(len: usize) -> Self {
        Self::living(len, Lifetime::Long)
    }

    /// That of a map that is needed for so long.
    pub(in super::super) fn living(len: usize, lifetime: Lifetime) -> Self {
        Self {
            values: buffers::take(len, lifetime),
            len,
            written: AtomicUsize::new(0),
        }
    }

    /// Cuts the values into pieces.
    pub(in super::super) fn pieces(&mut self, cuts: Cuts) -> impl Iterator<Item = PlacedPiece<'_>> {
        assert!(
            cuts.step == 1 || cuts.plane.is_multiple_of(cuts.width.max(1)),
            "rows that are written side by side are whole"
        );
        // (Pieces that were cut before are gone.)
        *self.written.get_mut() = 0;
        let written = &self.written;
        let values = &mut self.values.spare_capacity_mut()[..self.len];
        let planes = values.chunks_exact_mut(cuts.plane.max(1)).enumerate();
        planes.flat_map(move |(plane, values)| {
            let blocks = values.chunks_mut(cuts.block.max(1)).enumerate();
            blocks.map(move |(block, values)| PlacedPiece {
                plane,
                block,
                piece: Piece {
                    values,
                    width: cuts.width,
                    step: cuts.step,
                    done: [0; MAX_STEP],
                    taken: 0,
                    written,
                },
            })
        })
    }

    /// The values.
    ///
    /// # Panics
    /// When not all values were written.
    pub(in super::super) fn finish(mut self) -> Vec<f32> {
        let written = self.written.into_inner();
        assert_eq!(written, self.len, "not all of a map was written");
        // SAFETY: the capacity is at least `len`. A piece counts each value that it writes, never writes a position
        // twice, and pieces do not overlap: if the count equals the length, every position was written.
        unsafe { self.values.set_len(self.len) };
        self.values
    }
}

/// Values of rows, computed as they are written.
pub(in super::super) trait RowVectors<S: Simd> {
    /// The vectors of a row from each of `starts` on, counted from the first column that is written.
    fn vectors<const N: usize>(&self, simd: S, row: usize, starts: [usize; N]) -> [S::f32s; N];

    /// The first `count` columns of `N` rows, fewer than a vector has lanes. The other lanes may have any values.
    fn short_rows<const N: usize>(&self, simd: S, row: usize, count: usize) -> [S::f32s; N];
}

/// A part of the buffer, for one thread.
pub(in super::super) struct Piece<'a> {
    values: &'a mut [MaybeUninit<f32>],
    width: usize,
    step: usize,
    /// How many values were written, in order, to the rows at each position modulo the step.
    done: [usize; MAX_STEP],
    /// How many values, from the first on, were [taken](Self::take_complete).
    taken: usize,
    written: &'a AtomicUsize,
}

impl<'a> Piece<'a> {
    /// Writes the whole piece and returns it.
    ///
    /// # Panics
    /// When there are too few values.
    #[inline(always)]
    pub(in super::super) fn fill(mut self, values: impl Iterator<Item = f32>) -> &'a mut [f32] {
        assert_eq!(self.done, [0; MAX_STEP], "a piece is written twice");
        let places = core::mem::take(&mut self.values);
        let mut count = 0;
        for (into, value) in places.iter_mut().zip(values) {
            into.write(value);
            count += 1;
        }
        assert_eq!(count, places.len(), "a piece is not filled");
        self.written.fetch_add(count, Ordering::Relaxed);
        // SAFETY: all of them have been written.
        unsafe { places.assume_init_mut() }
    }

    /// Writes `finish(sum, residual)` to some columns of a row, and returns them. The sums of the `N` phases are
    /// interleaved: column `x` of the range gets `phases[x % N][x / N]`. The rows at one position modulo the step must be
    /// written in order, each from left to right.
    ///
    /// # Panics
    /// When a value is skipped or written twice.
    #[inline(always)]
    pub(in super::super) fn write<const N: usize>(
        &mut self,
        row: usize,
        columns: Range<usize>,
        phases: [&[f32]; N],
        residual: Option<&[f32]>,
        finish: impl Fn(f32, f32) -> f32,
    ) -> &mut [f32] {
        let Range { start, end } = columns;
        let done = &mut self.done[row % self.step];
        assert!(
            *done == row / self.step * self.width + start && start <= end && end <= self.width,
            "rows are written from left to right"
        );
        let into = &mut self.values[row * self.width + start..row * self.width + end];
        match residual {
            None => write_sums(into, phases, |sum| finish(sum, 0.0)),
            Some(residual) => write_sums_and_residual(into, phases, residual, finish),
        }
        *done += end - start;
        // SAFETY: all columns of the range have been written: both functions write every value of `into`.
        unsafe { into.assume_init_mut() }
    }

    /// Writes some columns of a row; columns count from the start of the range. (The last vectors may overlap: they write
    /// the same values twice.)
    ///
    /// # Panics
    /// As [`Self::write`].
    #[inline(always)]
    pub(in super::super) fn write_vectors<S: Simd>(
        &mut self,
        simd: S,
        row: usize,
        columns: Range<usize>,
        values: &impl RowVectors<S>,
    ) {
        let lanes = S::F32_LANES;
        let Range { start: first, end } = columns;
        let done = &mut self.done[row % self.step];
        assert!(
            *done == row / self.step * self.width + first && first <= end && end <= self.width,
            "rows are written from left to right"
        );
        let into = &mut self.values[row * self.width + first..row * self.width + end];
        if let Some(last) = into.len().checked_sub(lanes) {
            let mut start = 0;
            while start < into.len() {
                start += match (into.len() - start).div_ceil(lanes) {
                    4.. => store_vectors::<S, 4>(simd, values, row, [start, last], into),
                    3 => store_vectors::<S, 3>(simd, values, row, [start, last], into),
                    2 => store_vectors::<S, 2>(simd, values, row, [start, last], into),
                    _ => store_vectors::<S, 1>(simd, values, row, [start, last], into),
                };
            }
        } else {
            let [vector] = values.short_rows(simd, row, into.len());
            store_part(simd, vector, into);
        }
        *done += end - first;
    }

    /// Writes whole rows, no longer than a vector.
    ///
    /// # Panics
    /// As [`Self::write`], and when they are longer.
    #[inline(always)]
    pub(in super::super) fn write_short_rows<S: Simd>(
        &mut self,
        simd: S,
        rows: Range<usize>,
        values: &impl RowVectors<S>,
    ) {
        assert!(
            self.step == 1 && self.done[0] == rows.start * self.width && rows.start <= rows.end,
            "rows are written in order"
        );
        assert!(
            self.width <= S::F32_LANES,
            "a short row has one vector at most"
        );
        let end = rows.end * self.width;
        let into = &mut self.values[..end];
        let mut row = rows.start;
        while row < rows.end {
            row += match rows.end - row {
                4.. => store_rows::<S, 4>(simd, values, [row, self.width], into),
                2.. => store_rows::<S, 2>(simd, values, [row, self.width], into),
                _ => store_rows::<S, 1>(simd, values, [row, self.width], into),
            };
        }
        self.done[0] = end;
    }

    /// The values that were written since this was called last, as far as no value before them is missing.
    pub(in super::super) fn take_complete(&mut self) -> &mut [f32] {
        let whole_rows = |step: usize| self.done[step] / self.width.max(1) * self.step + step;
        let complete = match self.step {
            1 => self.done[0],
            step => (0..step).map(whole_rows).min().unwrap_or(0) * self.width,
        };
        let complete = complete.min(self.values.len());
        let start = core::mem::replace(&mut self.taken, complete);
        // SAFETY: of the rows at each position modulo the step, as many are whole as are counted here, so that all rows
        // before the first that is not whole are; with one step, values are written in order.
        unsafe { self.values[start..complete].assume_init_mut() }
    }

    /// Where the value at `start` will be.
    pub(in super::super) fn place(&self, start: usize) -> *const f32 {
        self.values.as_ptr().wrapping_add(start).cast()
    }

    /// The piece, all of which has been [written](Self::write) as one row.
    ///
    /// # Panics
    /// When values are missing.
    pub(in super::super) fn into_written(mut self) -> &'a mut [f32] {
        assert_eq!(self.done[0], self.values.len(), "a piece is not filled");
        let places = core::mem::take(&mut self.values);
        // SAFETY: a row is written in order from its start, so that this many values are all of them.
        unsafe { places.assume_init_mut() }
    }
}

/// Stores `N` vectors from `start` on, none after `last`, and returns the number of their columns.
#[inline(always)]
fn store_vectors<S: Simd, const N: usize>(
    simd: S,
    values: &impl RowVectors<S>,
    row: usize,
    [start, last]: [usize; 2],
    into: &mut [MaybeUninit<f32>],
) -> usize {
    let lanes = S::F32_LANES;
    let mut starts = [0; N];
    for (n, at) in starts.iter_mut().enumerate() {
        *at = (start + n * lanes).min(last);
    }
    let vectors = values.vectors(simd, row, starts);
    for (vector, start) in vectors.iter().zip(starts) {
        let into = &mut into[start..][..lanes];
        // SAFETY: `into` has room for a vector; the write is unaligned.
        unsafe { into.as_mut_ptr().cast::<S::f32s>().write_unaligned(*vector) };
    }
    N * lanes
}

/// Stores the first lanes of a vector, as many as there are places.
#[inline(always)]
fn store_part<S: Simd>(simd: S, vector: S::f32s, into: &mut [MaybeUninit<f32>]) {
    debug_assert!(into.len() <= S::F32_LANES);
    let lanes = simd.mask_between_m32s(0, into.len() as u32);
    // SAFETY: of the lanes, only as many are stored as `into` has places.
    unsafe { simd.mask_store_ptr_f32s(lanes, into.as_mut_ptr().cast(), vector) };
}

/// Stores `N` rows of so many columns, from a row on, and returns `N`. The next rows are written after these: what
/// surpasses a row is overwritten.
#[inline(always)]
fn store_rows<S: Simd, const N: usize>(
    simd: S,
    values: &impl RowVectors<S>,
    [row, width]: [usize; 2],
    into: &mut [MaybeUninit<f32>],
) -> usize {
    let vectors: [S::f32s; N] = values.short_rows(simd, row, width);
    for n in 0..N {
        let into = &mut into[(row + n) * width..];
        match into.get_mut(..S::F32_LANES) {
            // SAFETY: `into` has room for a vector; the write is unaligned.
            Some(into) => unsafe {
                into.as_mut_ptr()
                    .cast::<S::f32s>()
                    .write_unaligned(vectors[n])
            },
            None => store_part(simd, vectors[n], &mut into[..width]),
        }
    }
    N
}

/// `into[x] = finish(phases[x % N][x / N])`
#[inline(always)]
fn write_sums<const N: usize>(
    into: &mut [MaybeUninit<f32>],
    phases: [&[f32]; N],
    finish: impl Fn(f32) -> f32,
) {
    let whole = into.len() / N;
    let (chunks, rest) = into.split_at_mut(whole * N);
    let full = phases.map(|phase| &phase[..whole]);
    match N {
        2 => {
            let sums = full[0].iter().zip(full[1]);
            for (into, (a, b)) in chunks.chunks_exact_mut(2).zip(sums) {
                into[0].write(finish(*a));
                into[1].write(finish(*b));
            }
        }
        _ => {
            for (column, into) in chunks.chunks_exact_mut(N).enumerate() {
                for (into, sums) in into.iter_mut().zip(full) {
                    into.write(finish(sums[column]));
                }
            }
        }
    }
    for (into, phase) in rest.iter_mut().zip(phases) {
        into.write(finish(phase[whole]));
    }
}

/// `into[x] = finish(phases[x % N][x / N], residual[x])`
#[inline(always)]
fn write_sums_and_residual<const N: usize>(
    into: &mut [MaybeUninit<f32>],
    phases: [&[f32]; N],
    residual: &[f32],
    finish: impl Fn(f32, f32) -> f32,
) {
    let residual = &residual[..into.len()];
    let whole = into.len() / N;
    let (chunks, rest) = into.split_at_mut(whole * N);
    let (residuals, last) = residual.split_at(whole * N);
    let full = phases.map(|phase| &phase[..whole]);
    let residuals = residuals.chunks_exact(N).enumerate();
    for (into, (column, residuals)) in chunks.chunks_exact_mut(N).zip(residuals) {
        for ((into, sums), residual) in into.iter_mut().zip(full).zip(residuals) {
            into.write(finish(sums[column], *residual));
        }
    }
    for ((into, phase), residual) in rest.iter_mut().zip(phases).zip(last) {
        into.write(finish(phase[whole], *residual));
    }
}

impl Drop for Piece<'_> {
    fn drop(&mut self) {
        self.written
            .fetch_add(self.done.iter().sum(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes to some columns of a row its number.
    fn write(piece: &mut Piece, row: usize, columns: Range<usize>) {
        let sums = [row as f32; 8];
        let sums = [&sums[..columns.len()]];
        piece.write(row, columns, sums, None, |sum, _| sum);
    }

    #[test]
    fn values_are_complete_when_no_value_before_them_is_missing() {
        for step in 1..=3 {
            let mut buffer = UninitBuffer::new(5 * 4);
            let cuts = Cuts {
                plane: 20,
                block: 20,
                width: 4,
                step,
            };
            let mut piece = buffer.pieces(cuts).next().unwrap().piece;
            let mut taken = Vec::new();
            let mut counts = Vec::new();
            // The rows of one position modulo the step after those of the other, each in two parts.
            for phase in 0..step {
                for row in (phase..5).step_by(step) {
                    write(&mut piece, row, 0..3);
                    write(&mut piece, row, 3..4);
                    let complete = piece.take_complete();
                    counts.push(complete.len());
                    taken.extend_from_slice(complete);
                }
            }
            let rows = (0..5).flat_map(|row| [row as f32; 4]);
            assert_eq!(taken, rows.collect::<Vec<_>>());
            match step {
                1 => assert_eq!(counts, [4; 5]),
                2 => assert_eq!(counts, [4, 0, 0, 8, 8]),
                _ => assert_eq!(counts, [4, 0, 4, 0, 12]),
            }
            drop(piece);
            assert_eq!(buffer.finish().len(), 20);
        }
    }

    #[test]
    fn a_part_of_the_only_row_is_complete() {
        let mut buffer = UninitBuffer::new(7);
        let cuts = Cuts {
            width: 4,
            ..Cuts::planes(7)
        };
        let mut piece = buffer.pieces(cuts).next().unwrap().piece;
        write(&mut piece, 0, 0..4);
        assert_eq!(piece.take_complete().len(), 4);
        write(&mut piece, 1, 0..3);
        assert_eq!(piece.take_complete(), [1.0; 3]);
        assert!(piece.take_complete().is_empty());
    }

    /// Rows whose values are their numbers.
    struct Numbers;

    impl<S: Simd> RowVectors<S> for Numbers {
        fn vectors<const N: usize>(&self, simd: S, row: usize, _: [usize; N]) -> [S::f32s; N] {
            [simd.splat_f32s(row as f32); N]
        }

        fn short_rows<const N: usize>(&self, simd: S, row: usize, _: usize) -> [S::f32s; N] {
            core::array::from_fn(|n| simd.splat_f32s((row + n) as f32))
        }
    }

    /// Writes five rows in two parts, which begin at `starts`.
    struct ShortRows<'a> {
        piece: Piece<'a>,
        starts: [usize; 2],
    }

    impl pulp::WithSimd for ShortRows<'_> {
        type Output = ();

        fn with_simd<S: Simd>(mut self, simd: S) {
            let [first, second] = self.starts;
            if self.piece.width > S::F32_LANES {
                for row in first..5 {
                    let columns = 0..self.piece.width;
                    self.piece.write_vectors(simd, row, columns, &Numbers);
                }
                return;
            }
            self.piece.write_short_rows(simd, first..second, &Numbers);
            self.piece.write_short_rows(simd, second..5, &Numbers);
        }
    }

    fn in_short_rows(width: usize, starts: [usize; 2]) -> Vec<f32> {
        let mut buffer = UninitBuffer::new(2 * 5 * width);
        let cuts = Cuts {
            width,
            ..Cuts::planes(5 * width)
        };
        for PlacedPiece { piece, .. } in buffer.pieces(cuts) {
            pulp::Arch::new().dispatch(ShortRows { piece, starts });
        }
        buffer.finish()
    }

    #[test]
    fn short_rows_are_written_as_vectors() {
        for width in 1..20 {
            let rows = (0..10).flat_map(|row| vec![(row % 5) as f32; width]);
            let rows: Vec<f32> = rows.collect();
            for second in 0..=5 {
                assert_eq!(in_short_rows(width, [0, second]), rows);
            }
        }
    }

    #[test]
    #[should_panic(expected = "rows are written")]
    fn no_short_row_is_left_out() {
        in_short_rows(3, [1, 2]);
    }
}
