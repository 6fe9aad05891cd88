//! [`UninitBuffer`]: memory that several threads write once, without being zeroed first. Zeroing would be a pass over
//! every map by one thread: a tenth of the time of a convolution.

use alloc::vec::Vec;
use core::mem::MaybeUninit;
use core::sync::atomic::AtomicUsize;

use super::piece::Piece;
use crate::buffers::{self, Lifetime};

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
        let (values, written) = self.begin(cuts);
        let planes = values.chunks_exact_mut(cuts.plane.max(1)).enumerate();
        planes.flat_map(move |(plane, values)| {
            let blocks = values.chunks_mut(cuts.block.max(1)).enumerate();
            blocks.map(move |(block, values)| PlacedPiece {
                plane,
                block,
                piece: Piece::new(values, cuts, written),
            })
        })
    }

    /// Cuts the values of maps, of channels with `slices` planes each, into runs: the pieces at one place in the planes of
    /// the channels `starts[0]..starts[1]`, of `starts[1]..starts[2]`, and so on to the last channel of a map.
    ///
    /// # Panics
    /// When the channels are not in order, or when maps are not whole.
    pub(in super::super) fn for_each_run<'a>(
        &'a mut self,
        cuts: Cuts,
        slices: usize,
        starts: &[usize],
        mut give: impl FnMut(PlacedRun<'a>),
    ) {
        let (values, written) = self.begin(cuts);
        let apart = slices * cuts.plane;
        let map = starts.last().map_or(0, |channels| channels * apart);
        assert!(starts.is_sorted(), "the channels of a map are in order");
        for (sample, values) in values.chunks_mut(map.max(1)).enumerate() {
            assert_eq!(values.len(), map, "a map is whole");
            let values = values.as_mut_ptr();
            for slice in 0..slices {
                for (block, start) in (0..cuts.plane).step_by(cuts.block.max(1)).enumerate() {
                    for (group, channels) in starts.windows(2).enumerate() {
                        let first = channels[0] * apart + slice * cuts.plane + start;
                        // (The last piece of the run ends in the map.)
                        debug_assert!(
                            channels[1] == channels[0]
                                || first
                                    + (channels[1] - channels[0] - 1) * apart
                                    + cuts.block.min(cuts.plane - start)
                                    <= map
                        );
                        let run = PieceRun {
                            first: values.wrapping_add(first),
                            apart,
                            count: channels[1] - channels[0],
                            len: cuts.block.min(cuts.plane - start),
                            cuts,
                            written,
                        };
                        give(PlacedRun {
                            sample,
                            slice,
                            block,
                            group,
                            run,
                        });
                    }
                }
            }
        }
    }

    fn begin(&mut self, cuts: Cuts) -> (&mut [MaybeUninit<f32>], &AtomicUsize) {
        assert!(
            cuts.step == 1 || cuts.plane.is_multiple_of(cuts.width.max(1)),
            "rows that are written side by side are whole"
        );
        // (Pieces that were cut before are gone.)
        *self.written.get_mut() = 0;
        let values = &mut self.values.spare_capacity_mut()[..self.len];
        (values, &self.written)
    }

    /// The values.
    ///
    /// # Panics
    /// When not all values were written.
    pub(in super::super) fn finish(mut self) -> Vec<f32> {
        let written = self.written.into_inner();
        assert_eq!(written, self.len, "not all of a map was written");
        // SAFETY: the capacity is at least `len`. A piece counts each position that it writes once,
        // and pieces do not overlap: if the count equals the length, every position was written.
        unsafe { self.values.set_len(self.len) };
        self.values
    }
}

/// Pieces that are equally far from each other. (To make them takes time, which the thread spends that writes them.)
pub(in super::super) struct PieceRun<'a> {
    first: *mut MaybeUninit<f32>,
    apart: usize,
    pub(super) count: usize,
    /// The values of a piece.
    len: usize,
    cuts: Cuts,
    written: &'a AtomicUsize,
}

// SAFETY: as for the slices that the pieces are: no two runs have a value in common.
unsafe impl Send for PieceRun<'_> {}

impl<'a> PieceRun<'a> {
    pub(super) fn pieces(self) -> impl Iterator<Item = Piece<'a>> {
        let Self {
            first,
            apart,
            count,
            len,
            cuts,
            written,
        } = self;
        (0..count).map(move |n| {
            // SAFETY: the run was cut from a buffer that is borrowed for `'a`; channel `n` of it has this place, with `len`
            // values that no other piece has, since channels are `apart`, planes, and their blocks follow each other.
            let values = unsafe { core::slice::from_raw_parts_mut(first.add(n * apart), len) };
            Piece::new(values, cuts, written)
        })
    }
}

/// A run of pieces and where it is.
pub(in super::super) struct PlacedRun<'a> {
    pub(in super::super) sample: usize,
    pub(in super::super) slice: usize,
    pub(in super::super) block: usize,
    /// The number of the range of channels.
    pub(in super::super) group: usize,
    pub(in super::super) run: PieceRun<'a>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_the_places_of_channels() {
        // Two maps of five channels with two slices of seven values, in blocks of three.
        let (channels, slices, plane, block) = (5, 2, 7, 3);
        let mut buffer = UninitBuffer::new(2 * channels * slices * plane);
        let cuts = Cuts {
            plane,
            block,
            width: plane,
            step: 1,
        };
        let starts = [0, 2, 2, 5];
        let mut runs = Vec::new();
        buffer.for_each_run(cuts, slices, &starts, |placed| runs.push(placed));
        assert_eq!(runs.len(), 2 * slices * 3 * 3);
        // (In another order than they were cut.)
        for placed in runs.into_iter().rev() {
            for (n, piece) in placed.run.pieces().enumerate() {
                let channel = starts[placed.group] + n;
                let map = (placed.sample * channels + channel) * slices + placed.slice;
                let first = map * plane + placed.block * block;
                let values = first..first + block.min(plane - placed.block * block);
                piece.fill(values.map(|place| place as f32));
            }
        }
        let values = buffer.finish();
        assert!((0..values.len()).all(|place| values[place] == place as f32));
    }

    #[test]
    #[should_panic(expected = "a map is whole")]
    fn a_map_that_is_not_whole_is_refused() {
        let mut buffer = UninitBuffer::new(10);
        buffer.for_each_run(Cuts::planes(3), 1, &[0, 2], |_| {});
    }
}
