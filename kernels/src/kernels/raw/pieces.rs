//! [`Pieces`]: the parts of buffers that one thread writes in turns.

use alloc::vec::Vec;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::Ordering;

use pulp::Simd;

use super::piece::Piece;
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
