//! [`Pieces`]: the parts of buffers that one thread writes in turns.

use alloc::vec::Vec;
use core::ops::{Deref, DerefMut, Range};
use core::sync::atomic::Ordering;

use pulp::Simd;

use super::piece::{Finishing, Piece};
use super::simd::{Rows, load, prefetch_line};
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
                if lane < count && some == lanes {
                    // SAFETY: the row has `len` places, at least `at + lanes`; the write is unaligned.
                    unsafe {
                        rows[lane]
                            .add(at)
                            .cast::<S::f32s>()
                            .write_unaligned(square[lane])
                    };
                } else if lane < count {
                    let mask = simd.mask_between_m32s(0, some as u32);
                    // SAFETY: of the lanes, only as many are stored as the row has places from `at` on.
                    unsafe { simd.mask_store_ptr_f32s(mask, rows[lane].add(at), square[lane]) };
                }
            }
        }
        for lane in 0..count {
            self.0[first + lane * apart].done[0] = start + len;
        }
    }
}

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
        if let Some(residual) = residual {
            let end = count.saturating_sub(1).saturating_mul(residual.step);
            assert!(end.saturating_add(len) <= residual.values.len());
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
                let finishing = finishing(lane);
                prefetch_line(into[lane].wrapping_add(at + LINES_AHEAD * LANES));
                if some == lanes {
                    let residual = match residual {
                        // SAFETY: the assertion; `at + lanes <= len`.
                        Some(residual) => unsafe {
                            load::<S>(residual.values, lane * residual.step + at)
                        },
                        None => zeros,
                    };
                    let values = finishing.finish(simd, square[lane], residual);
                    // SAFETY: the piece has `len` places, at least `at + lanes`; the write is unaligned.
                    unsafe { into[lane].add(at).cast::<S::f32s>().write_unaligned(values) };
                } else {
                    let residual = match residual {
                        Some(residual) => simd.partial_load_f32s(
                            &residual.values[lane * residual.step + at..][..some],
                        ),
                        None => zeros,
                    };
                    let values = finishing.finish(simd, square[lane], residual);
                    let mask = simd.mask_between_m32s(0, some as u32);
                    // SAFETY: of the lanes, only as many are stored as the piece has places from `at` on.
                    unsafe { simd.mask_store_ptr_f32s(mask, into[lane].add(at), values) };
                }
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
