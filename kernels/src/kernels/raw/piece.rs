//! [`Piece`]: a part of an [`UninitBuffer`](super::uninit_buffer::UninitBuffer) that one thread writes, row by row.

use core::mem::MaybeUninit;
use core::ops::Range;
use core::sync::atomic::{AtomicUsize, Ordering};

use pulp::Simd;

use super::simd::load;
use super::uninit_buffer::Cuts;
use crate::policy::MAX_STEP;

/// What follows sums, at the lanes of a vector.
pub(in super::super) trait Finishing<S: Simd>: Copy {
    /// Of sums, and of a residual or zeros.
    fn finish(self, simd: S, sums: S::f32s, residual: S::f32s) -> S::f32s;
}

/// A part of the buffer, for one thread.
pub(in super::super) struct Piece<'a> {
    pub(super) values: &'a mut [MaybeUninit<f32>],
    width: usize,
    pub(super) step: usize,
    /// How many values were written, in order, to the rows at each position modulo the step.
    pub(super) done: [usize; MAX_STEP],
    /// How many values, from the first on, were [taken](Self::take_complete).
    taken: usize,
    pub(super) written: &'a AtomicUsize,
}

impl<'a> Piece<'a> {
    pub(super) fn new(
        values: &'a mut [MaybeUninit<f32>],
        cuts: Cuts,
        written: &'a AtomicUsize,
    ) -> Self {
        Self {
            values,
            width: cuts.width,
            step: cuts.step,
            done: [0; MAX_STEP],
            taken: 0,
            written,
        }
    }

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

    /// The places of some columns of a row, and the number of values that were written to rows like it.
    ///
    /// # Panics
    /// When a value is skipped or written twice.
    #[inline(always)]
    fn next(&mut self, row: usize, columns: Range<usize>) -> (&mut [MaybeUninit<f32>], &mut usize) {
        let Range { start, end } = columns;
        let done = &mut self.done[row % self.step];
        assert!(
            *done == row / self.step * self.width + start && start <= end && end <= self.width,
            "rows are written from left to right"
        );
        let into = &mut self.values[row * self.width + start..row * self.width + end];
        (into, done)
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
        let (into, done) = self.next(row, columns);
        match residual {
            None => write_sums(into, phases, |sum| finish(sum, 0.0)),
            Some(residual) => write_sums_and_residual(into, phases, residual, finish),
        }
        *done += into.len();
        // SAFETY: all columns of the range have been written: both functions write every value of `into`.
        unsafe { into.assume_init_mut() }
    }

    /// Writes what follows the sums, and the residual if there is one, to some columns of a row.
    ///
    /// # Panics
    /// As [`Self::write`].
    #[inline(always)]
    pub(in super::super) fn write_vectors<S: Simd>(
        &mut self,
        simd: S,
        row: usize,
        columns: Range<usize>,
        sums: &[f32],
        residual: Option<&[f32]>,
        finishing: impl Finishing<S>,
    ) {
        let (into, done) = self.next(row, columns);
        match residual {
            Some(residual) => store_all::<S, true>(simd, into, [sums, residual], finishing),
            None => store_all::<S, false>(simd, into, [sums, &[]], finishing),
        }
        *done += into.len();
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

    /// The number of its values.
    pub(in super::super) fn len(&self) -> usize {
        self.values.len()
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

/// Stores what follows sums and, if there is one, a residual.
#[inline(always)]
fn store_all<S: Simd, const RESIDUAL: bool>(
    simd: S,
    into: &mut [MaybeUninit<f32>],
    [sums, residual]: [&[f32]; 2],
    finishing: impl Finishing<S>,
) {
    let (lanes, len) = (S::F32_LANES, into.len());
    let sums = &sums[..len];
    let residual = &residual[..if RESIDUAL { len } else { 0 }];
    let zeros = simd.splat_f32s(0.0);
    for at in (0..len / lanes).map(|n| n * lanes) {
        // SAFETY: all three have `len` values (the residual if it is read), and `at + lanes <= len`.
        unsafe {
            let residual = if RESIDUAL {
                load::<S>(residual, at)
            } else {
                zeros
            };
            let values = finishing.finish(simd, load::<S>(sums, at), residual);
            let into = into.as_mut_ptr().add(at);
            into.cast::<S::f32s>().write_unaligned(values);
        }
    }
    let rest = len % lanes;
    if rest > 0 {
        let at = len - rest;
        let residual = match RESIDUAL {
            true => simd.partial_load_f32s(&residual[at..]),
            false => zeros,
        };
        let values = finishing.finish(simd, simd.partial_load_f32s(&sums[at..]), residual);
        let some = simd.mask_between_m32s(0, rest as u32);
        // SAFETY: of the lanes, only as many are stored as there are places.
        unsafe { simd.mask_store_ptr_f32s(some, into[at..].as_mut_ptr().cast(), values) };
    }
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

impl Piece<'_> {
    /// Takes the number of values that were written.
    pub(super) fn take_done(&mut self) -> usize {
        core::mem::take(&mut self.done).iter().sum()
    }
}

impl Drop for Piece<'_> {
    fn drop(&mut self) {
        match self.take_done() {
            0 => {}
            done => _ = self.written.fetch_add(done, Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::uninit_buffer::{PlacedPiece, UninitBuffer};
    use super::*;
    use alloc::{vec, vec::Vec};

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

    /// The sums as they are.
    #[derive(Clone, Copy)]
    struct AsTheyAre;

    impl<S: Simd> Finishing<S> for AsTheyAre {
        fn finish(self, _: S, sums: S::f32s, _: S::f32s) -> S::f32s {
            sums
        }
    }

    /// Writes five rows, from one on.
    struct ShortRows<'a> {
        piece: Piece<'a>,
        first: usize,
    }

    impl pulp::WithSimd for ShortRows<'_> {
        type Output = ();

        fn with_simd<S: Simd>(mut self, simd: S) {
            for row in self.first..5 {
                let columns = 0..self.piece.width;
                let sums = &[row as f32; 20][..self.piece.width];
                let none = None;
                self.piece
                    .write_vectors(simd, row, columns, sums, none, AsTheyAre);
            }
        }
    }

    fn in_rows(width: usize, first: usize) -> Vec<f32> {
        let mut buffer = UninitBuffer::new(2 * 5 * width);
        let cuts = Cuts {
            width,
            ..Cuts::planes(5 * width)
        };
        for PlacedPiece { piece, .. } in buffer.pieces(cuts) {
            pulp::Arch::new().dispatch(ShortRows { piece, first });
        }
        buffer.finish()
    }

    #[test]
    fn short_rows_are_written_as_vectors() {
        for width in 1..20 {
            let rows = (0..10).flat_map(|row| vec![(row % 5) as f32; width]);
            let rows: Vec<f32> = rows.collect();
            assert_eq!(in_rows(width, 0), rows);
        }
    }

    #[test]
    #[should_panic(expected = "rows are written")]
    fn no_short_row_is_left_out() {
        in_rows(3, 1);
    }
}
