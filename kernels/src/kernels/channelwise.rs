//! Convolutions whose groups are small (depthwise): one channel after the other, so that what is packed of it and its sums
//! stay in the first-level cache.

use alloc::vec::Vec;

use pulp::Simd;

use super::direct::{Direct, Runs};
use super::output_tiles::{Output, OutputTile, SumRows, TileShape};
use super::packing::{Packing, Place, ReadWindow, channels_of_group};
use super::raw::tap_rows::FewTapRows;
use super::source::channels_of;
use super::threads::{self, Scratch, Work, grow};
use super::tiling;
use crate::policy::Geometry;

/// Floats that the packed channels of a group may take: half of a typical first-level cache.
const MAX_PACKED: usize = 4 * 1024;

/// Taps whose weights stay in registers, of which AVX2 has 16: those of a kernel of 3x3.
const FEW_TAPS: usize = 9;

/// Vectors of one output that are computed at once.
const ONE_OUTPUT: usize = 8;

/// The rows of outputs (in steps) of a tile that reads `channels` channels of a group.
fn rows_of_tile(window: ReadWindow, channels: usize, [height, width]: [usize; 2]) -> usize {
    let len = |rows: usize| Packing::new(window, rows, width).channel_len() * channels;
    // (Rows at the borders of tiles are packed twice.)
    let least = 4 * window.kernel[0] * window.dilation[0] / window.stride[0];
    let mut rows = 1;
    while rows < height && (rows < least || len(rows + 1) <= MAX_PACKED) {
        rows += 1;
    }
    // All blocks get the same size.
    height.div_ceil(height.div_ceil(rows))
}

/// How a convolution tap by tap goes through its channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// All channels of a group at once.
    ByGroups,
    /// One after the other, where groups are small.
    ByChannels,
}

impl Order {
    /// That of a convolution from so many channels to so many.
    pub(super) fn of(geometry: &Geometry, channels: [usize; 2]) -> Self {
        match geometry.has_small_groups(channels) {
            true => Self::ByChannels,
            false => Self::ByGroups,
        }
    }

    /// The rows of outputs (in steps) of a tile that reads `channels` channels of a group, for so many maps.
    pub(super) fn rows_of_tile(
        self,
        window: ReadWindow,
        channels: usize,
        size: [usize; 2],
        batch: usize,
    ) -> usize {
        match self {
            Self::ByGroups => tiling::rows_of_tile(window, channels, size, batch),
            Self::ByChannels => rows_of_tile(window, channels, size),
        }
    }

    /// Runs a convolution over tiles of `rows` steps of rows, for so many maps.
    pub(super) fn run<'a>(
        self,
        work: Direct,
        [rows, batch]: [usize; 2],
        tiles: impl FnOnce(TileShape) -> Vec<OutputTile<'a>>,
    ) {
        match self {
            Self::ByGroups => {
                let tiles = tiles(work.tile_shape(batch, rows));
                threads::run(&work, tiles);
            }
            Self::ByChannels => {
                let work = Channelwise(work);
                let tiles = tiles(work.tile_shape(batch, rows));
                threads::run(&work, tiles);
            }
        }
    }
}

/// A convolution with small groups.
struct Channelwise<'a>(Direct<'a>);

impl Channelwise<'_> {
    /// Tiles of `rows` steps of rows, for so many maps.
    fn tile_shape(&self, batch: usize, rows: usize) -> TileShape {
        let Direct {
            output: Output { channels, size, .. },
            groups,
            step,
            ..
        } = self.0;
        let rows = rows * step[0];
        let tiles = batch * size[0].div_ceil(rows);
        let wanted = threads::parts().div_ceil(tiles.max(1)).clamp(1, groups);
        TileShape {
            rows,
            step: step[0],
            channels: groups.div_ceil(wanted) * (channels / groups),
        }
    }
}

impl Work<OutputTile<'_>> for Channelwise<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S, mut tile: OutputTile, [packed, sums, _]: &mut Scratch) {
        let Direct {
            sources,
            groups,
            packing,
            step,
            ref phases,
            output,
        } = self.0;
        let seen = channels_of(sources) / groups * packing.channel_len();
        let packed = grow(packed, seen + S::F32_LANES);
        packed[..seen].fill(0.0);
        let place = Place {
            batch: tile.batch,
            first_row: tile.rows.start / step[0],
        };
        let of_a_group = output.channels / groups;
        let group = |channel: usize| channels_of_group(sources, channel / of_a_group, groups);
        if let ([phase], [1, 1]) = (&phases[..], step)
            && phase.is_short()
        {
            for index in 0..tile.channels.len() {
                let channel = tile.channels.start + index;
                if channel.is_multiple_of(of_a_group) {
                    packing.refill_all(sources, group(channel), place, packed);
                }
                let rows = phase.rows_of(channel, packed, packing.pitch);
                match FewTapRows::<S, FEW_TAPS>::new(simd, rows) {
                    Some(rows) => tile.write_vectors(simd, index, rows, &output),
                    None => tile.write_vectors(simd, index, rows, &output),
                }
            }
            return;
        }
        let size = [tile.rows.len(), output.size[1]];
        let [rows, width] = [0, 1].map(|axis| size[axis].div_ceil(step[axis]));
        let pitch = packing.pitch;
        let runs = Runs::new::<S>(rows, width, pitch, ONE_OUTPUT);
        let padded = runs.columns.next_multiple_of(S::F32_LANES);
        let of_phase = (runs.count - 1) * pitch + padded;
        let sums = grow(sums, phases.len() * of_phase);
        let of_sums = SumRows {
            first: 0,
            last: (rows - 1) * pitch + width,
            pitch,
            row_phases: step[0],
        };
        for index in 0..tile.channels.len() {
            let channel = tile.channels.start + index;
            if channel.is_multiple_of(of_a_group) {
                packing.refill_all(sources, group(channel), place, packed);
            }
            for (phase, sums) in phases.iter().zip(sums.chunks_exact_mut(of_phase)) {
                for first in (0..runs.count).map(|run| run * pitch) {
                    // (What surpasses a row is overwritten by the next.)
                    let sums = &mut sums[first..][..padded];
                    // (Without channels there is nothing to read.)
                    let packed = &packed[first.min(packed.len())..];
                    phase.multiply_one(simd, channel, packed, sums);
                }
            }
            let sums = &sums[..];
            let of = |row: usize, column: usize| {
                &sums[(row * step[1] + column) * of_phase..][..of_phase]
            };
            match step[1] {
                1 => tile.write_rows::<S, 1>(simd, index, of_sums, of, &output),
                2 => tile.write_rows::<S, 2>(simd, index, of_sums, of, &output),
                3 => tile.write_rows::<S, 3>(simd, index, of_sums, of, &output),
                _ => tile.write_rows::<S, 4>(simd, index, of_sums, of, &output),
            }
        }
    }
}
