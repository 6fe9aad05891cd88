//! [`Blank`]: memory that is written once, by several threads, and not zeroed before. Zeroing would be a
//! pass over every map by one thread: a tenth of a convolution.

use alloc::vec::Vec;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicUsize, Ordering};

use crate::cpu::policy::MAX_STEP;

/// Values that are still to be written.
pub(in super::super) struct Blank {
    /// Empty, with room for `len` values.
    values: Vec<f32>,
    len: usize,
    written: AtomicUsize,
}

impl Blank {
    pub(in super::super) fn new(len: usize) -> Self {
        Self {
            values: Vec::with_capacity(len),
            len,
            written: AtomicUsize::new(0),
        }
    }

    /// Cuts planes of `plane` values into pieces of `block`, of which a plane's last may be shorter: each with
    /// the number of its plane, and its own in it. A piece has rows of `width`, of which `step` are written
    /// side by side.
    pub(in super::super) fn pieces(
        &mut self,
        [plane, block]: [usize; 2],
        [width, step]: [usize; 2],
    ) -> impl Iterator<Item = (usize, usize, Piece<'_>)> {
        // (Whoever cuts it anew begins anew.)
        *self.written.get_mut() = 0;
        let written = &self.written;
        let values = &mut self.values.spare_capacity_mut()[..self.len];
        let planes = values.chunks_exact_mut(plane.max(1)).enumerate();
        planes.flat_map(move |(index, values)| {
            let blocks = values.chunks_mut(block.max(1)).enumerate();
            blocks.map(move |(block, values)| {
                let piece = Piece {
                    values,
                    width,
                    step,
                    done: [0; MAX_STEP],
                    written,
                };
                (index, block, piece)
            })
        })
    }

    /// The values.
    ///
    /// # Panics
    /// When not all of them were written.
    pub(in super::super) fn finish(mut self) -> Vec<f32> {
        let written = self.written.into_inner();
        assert_eq!(written, self.len, "not all of a map was written");
        // SAFETY: the capacity is `len` at least. A piece counts a value when it writes it, at a place that it
        // has not written before, and pieces do not overlap: as many as there are places is every place.
        unsafe { self.values.set_len(self.len) };
        self.values
    }
}

/// A part of the values, for one thread.
pub(in super::super) struct Piece<'a> {
    values: &'a mut [MaybeUninit<f32>],
    width: usize,
    step: usize,
    /// Of the rows at each position modulo the step, how many values have been written, in order.
    done: [usize; MAX_STEP],
    written: &'a AtomicUsize,
}

impl<'a> Piece<'a> {
    /// Writes all of it, and gives it back.
    ///
    /// # Panics
    /// When there are fewer values than places.
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

    /// Writes `finish(sum, residual)` to the columns `start..end` of a row, where the sums are those of `N`
    /// phases in turn: `x` columns after the start it is `phases[x % N][x / N]`. The rows at one position
    /// modulo the step are written one after the other, each from left to right.
    ///
    /// # Panics
    /// When something is left out or written twice.
    #[inline(always)]
    pub(in super::super) fn write<const N: usize>(
        &mut self,
        row: usize,
        [start, end]: [usize; 2],
        phases: [&[f32]; N],
        residual: Option<&[f32]>,
        finish: impl Fn(f32, f32) -> f32,
    ) {
        let done = &mut self.done[row % self.step];
        assert!(
            *done == row / self.step * self.width + start && start <= end && end <= self.width,
            "rows are written from left to right"
        );
        let into = &mut self.values[row * self.width + start..row * self.width + end];
        let whole = into.len() / N;
        let (chunks, rest) = into.split_at_mut(whole * N);
        let full = phases.map(|phase| &phase[..whole]);
        match residual {
            None if N == 1 => {
                for (into, sum) in chunks.iter_mut().zip(full[0]) {
                    into.write(finish(*sum, 0.0));
                }
            }
            None if N == 2 => {
                let sums = full[0].iter().zip(full[1]);
                for (into, (a, b)) in chunks.chunks_exact_mut(2).zip(sums) {
                    into[0].write(finish(*a, 0.0));
                    into[1].write(finish(*b, 0.0));
                }
            }
            None => {
                for (column, into) in chunks.chunks_exact_mut(N).enumerate() {
                    for (into, sums) in into.iter_mut().zip(full) {
                        into.write(finish(sums[column], 0.0));
                    }
                }
            }
            Some(residual) if N == 1 => {
                let sums = full[0].iter().zip(&residual[..whole]);
                for (into, (sum, residual)) in chunks.iter_mut().zip(sums) {
                    into.write(finish(*sum, *residual));
                }
            }
            Some(residual) => {
                let residuals = residual[..whole * N].chunks_exact(N).enumerate();
                for (into, (column, residuals)) in chunks.chunks_exact_mut(N).zip(residuals) {
                    for ((into, sums), residual) in into.iter_mut().zip(full).zip(residuals) {
                        into.write(finish(sums[column], *residual));
                    }
                }
            }
        }
        for (n, into) in rest.iter_mut().enumerate() {
            let residual = residual.map_or(0.0, |residual| residual[whole * N + n]);
            into.write(finish(phases[n][whole], residual));
        }
        // (All of them have been written: whole columns of phases, and what there is of the last.)
        *done += end - start;
    }
}

impl Drop for Piece<'_> {
    fn drop(&mut self) {
        self.written
            .fetch_add(self.done.iter().sum(), Ordering::Relaxed);
    }
}
