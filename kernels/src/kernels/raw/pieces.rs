//! [`Pieces`]: the parts of buffers that one thread writes in turns.

use alloc::vec::Vec;
use core::ops::{Deref, DerefMut, Range};
use core::sync::atomic::Ordering;

use pulp::Simd;

use super::matrices::Rows;
use super::piece::{Finishing, Piece};
use super::simd::{prefetch_line, vector_at};
use super::transpose;
use super::uninit_buffer::PieceRun;
use crate::policy::LANES;

/// Pieces that one thread writes. What was written is counted once for all pieces of a buffer that follow each other: threads
/// that count each of many small pieces wait for each other.
pub(in super::super) struct Pieces<'a>(Vec<Piece<'a>>);

impl<'a> Pieces<'a> {
    /// The pieces of all runs.
    pub(in super::super) fn of(runs: Vec<PieceRun<'a>>) -> Self {
        let mut pieces = Vec::with_capacity(runs.iter().map(|run| run.count).sum());
        pieces.extend(runs.into_iter().flat_map(PieceRun::pieces));
        Self(pieces)
    }
}

impl Pieces<'_> {
    /// Writes the next values of some pieces, the lanes of so many vectors: lane `n` to piece `first + n * apart`. Vectors
    /// follow up to a whole number of squares. What surpasses the pieces is left out.
    ///
    /// # Panics
    /// When there are too few vectors, no such pieces, or when these are not equally far or not written in order.
    #[inline(always)]
    pub(in super::super) fn write_lanes<S: Simd>(
        &mut self,
        simd: S,
        LanesOf {
            first,
            apart,
            count,
        }: LanesOf,
        vectors: &[f32],
        len: usize,
    ) {
        let lanes = S::F32_LANES;
        assert!(apart > 0 && count <= lanes, "each lane has a piece");
        // (Without positions there are no pieces.)
        let Some(piece) = self.0.get(first) else {
            return;
        };
        let (start, end) = (piece.done[0], piece.values.len());
        let len = len.min(end - start);
        let mut rows: [*mut f32; LANES] = [core::ptr::null_mut(); LANES];
        for (lane, row) in rows[..count].iter_mut().enumerate() {
            let piece = &mut self.0[first + lane * apart];
            assert!(
                piece.step == 1 && piece.done[0] == start && piece.values.len() == end,
                "the pieces of lanes are written together"
            );
            *row = piece.values[start..].as_mut_ptr().cast();
        }
        let last = len.saturating_sub(lanes);
        // (The last square overlaps the one before, if there is one.)
        for at in (0..len).step_by(lanes) {
            let at = at.min(last);
            let square = transpose::turned_at(simd, vectors, at);
            let some = (len - at).min(lanes);
            for lane in 0..lanes {
                if lane < count {
                    // SAFETY: the row has `len` places, at least `at + some`.
                    unsafe { store_some(simd, rows[lane].add(at), square[lane], some) };
                }
            }
        }
        for lane in 0..count {
            self.0[first + lane * apart].done[0] = start + len;
        }
    }
}

/// Some values of a row from a column on, in the first lanes of a vector.
#[inline(always)]
fn load_some<S: Simd>(simd: S, rows: Rows, [row, column]: [usize; 2], some: usize) -> S::f32s {
    let at = row * rows.step + column;
    match some == S::F32_LANES {
        true => vector_at::<S>(rows.values, at),
        false => simd.partial_load_f32s(&rows.values[at..][..some]),
    }
}

/// Stores the first lanes of a vector, all or some.
///
/// # Safety
/// There are so many places.
#[inline(always)]
unsafe fn store_some<S: Simd>(simd: S, into: *mut f32, values: S::f32s, some: usize) {
    if some == S::F32_LANES {
        // SAFETY: the caller's promise; the write is unaligned.
        unsafe { into.cast::<S::f32s>().write_unaligned(values) };
    } else {
        let mask = simd.mask_between_m32s(0, some as u32);
        // SAFETY: only the lanes that have places are stored.
        unsafe { simd.mask_store_ptr_f32s(mask, into, values) };
    }
}

/// Values of a cache line.
const LINE: usize = 16;

/// Cache lines between what is written of a piece and what is prefetched.
const LINES_AHEAD: usize = 2;

impl Pieces<'_> {
    /// Writes what follows the sums to all places of some pieces that follow each other: of `rows`, a vector for each
    /// place, lane `n` to the `n`-th of these pieces. Rows follow up to a whole number of squares.
    ///
    /// # Panics
    /// When there are too few rows or residuals, no such pieces, or when something was written to them already.
    #[inline(always)]
    pub(in super::super) fn write_turned<S: Simd, F: Finishing<S>>(
        &mut self,
        simd: S,
        pieces: Range<usize>,
        rows: Rows,
        residual: Option<Rows>,
        finishing: impl Fn(usize) -> F,
    ) {
        let (lanes, count) = (S::F32_LANES, pieces.len());
        assert!(count <= lanes, "each lane has a piece");
        let pieces = &mut self.0[pieces];
        let len = pieces.first().map_or(0, |piece| piece.values.len());
        let mut into: [*mut f32; LANES] = [core::ptr::null_mut(); LANES];
        for (into, piece) in into.iter_mut().zip(pieces.iter_mut()) {
            assert!(
                piece.step == 1 && piece.done[0] == 0 && piece.values.len() == len,
                "the pieces of lanes are written together"
            );
            *into = piece.values.as_mut_ptr().cast();
        }
        let zeros = simd.splat_f32s(0.0);
        let last = len.saturating_sub(lanes);
        // (The last square overlaps the one before, if there is one.)
        for at in (0..len).step_by(lanes) {
            let at = at.min(last);
            let square = transpose::turned_rows(simd, &rows.values[at * rows.step..], rows.step);
            let some = (len - at).min(lanes);
            for lane in 0..lanes {
                if lane >= count {
                    continue;
                }
                prefetch_line(into[lane].wrapping_add(at + LINES_AHEAD * LINE));
                let residual = match residual {
                    Some(residual) => load_some(simd, residual, [lane, at], some),
                    None => zeros,
                };
                let values = finishing(lane).finish(simd, square[lane], residual);
                // SAFETY: the piece has `len` places, at least `at + some`.
                unsafe { store_some(simd, into[lane].add(at), values, some) };
            }
        }
        for piece in pieces {
            piece.done[0] = len;
        }
    }
}

/// What is at the lanes: lane `n` of `count` has the number `first + n * apart`.
#[derive(Clone, Copy)]
pub(in super::super) struct LanesOf {
    pub(in super::super) first: usize,
    pub(in super::super) apart: usize,
    pub(in super::super) count: usize,
}

impl<'a> Deref for Pieces<'a> {
    type Target = [Piece<'a>];

    fn deref(&self) -> &[Piece<'a>] {
        &self.0
    }
}

impl<'a> DerefMut for Pieces<'a> {
    fn deref_mut(&mut self) -> &mut [Piece<'a>] {
        &mut self.0
    }
}

impl Drop for Pieces<'_> {
    fn drop(&mut self) {
        let of_one_buffer = |a: &Piece, b: &Piece| core::ptr::eq(a.written, b.written);
        for pieces in self.0.chunk_by_mut(of_one_buffer) {
            let written = pieces[0].written;
            let done = pieces.iter_mut().map(Piece::take_done).sum();
            written.fetch_add(done, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::uninit_buffer::{Cuts, UninitBuffer};
    use super::*;
    use crate::kernels::threads::instructions_of;
    use alloc::vec;
    use pulp::WithSimd;

    /// Sums and residual, of the lane.
    #[derive(Clone, Copy)]
    struct Sum;

    impl<S: Simd> Finishing<S> for Sum {
        #[inline(always)]
        fn finish(self, simd: S, sums: S::f32s, residual: S::f32s) -> S::f32s {
            simd.add_f32s(sums, residual)
        }
    }

    /// Writes planes of so many values from rows of vectors.
    struct Turned {
        len: usize,
        has_residual: bool,
    }

    impl WithSimd for Turned {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let Self { len, has_residual } = self;
            let (lanes, step) = (S::F32_LANES, S::F32_LANES + 5);
            // (Planes that do not fill the lanes, and one lane at least.)
            let planes = lanes.div_ceil(2) + lanes / 4;
            let value = |plane: usize, at: usize| (1000 * plane + at) as f32;
            let mut rows = vec![f32::NAN; (len + lanes) * step];
            for at in 0..len {
                for plane in 0..planes {
                    rows[at * step + plane] = value(plane, at);
                }
            }
            let residual = vec![0.25; planes * len];
            let mut buffer = UninitBuffer::new(planes * len);
            buffer.for_each_run(Cuts::planes(len), 1, &[0, planes], |placed| {
                let mut pieces = Pieces::of(vec![placed.run]);
                let rows = Rows {
                    values: &rows,
                    step,
                };
                let residual = has_residual.then_some(Rows {
                    values: &residual,
                    step: len,
                });
                pieces.write_turned(simd, 0..planes, rows, residual, |_| Sum);
            });
            let more = if has_residual { 0.25 } else { 0.0 };
            for (n, found) in buffer.finish().into_iter().enumerate() {
                assert_eq!(found, value(n / len, n % len) + more);
            }
        }
    }

    #[test]
    fn vectors_become_planes_of_any_length() {
        for bits in [512, 256, 128, 0] {
            for len in [1, 7, 16, 17, 49] {
                for has_residual in [false, true] {
                    instructions_of(bits).dispatch(Turned { len, has_residual });
                }
            }
        }
    }
}
