//! Convolutions whose groups are small (depthwise): each lane of a vector is a group.

use alloc::vec::Vec;

use pulp::Simd;

use super::direct::{Direct, Phase};
use super::lanes::{LanePacking, numbers_to_lanes};
use super::output_tiles::{Output, OutputTask, SumRows, TileShape};
use super::packing::{Packing, Place, ReadWindow};
use super::raw::lane_sums::{LaneFinish, LaneSums};
use super::raw::transpose;
use super::raw::uninit_buffer::LanesOf;
use super::threads::{self, Scratch, Work, grow};
use super::tiling;
use crate::policy::{Geometry, LANES};

/// Packed positions of all planes of a group, a vector each: a small part of a typical second-level cache.
const MAX_PACKED: usize = 1024;

/// Positions of outputs (in steps) that are computed before they are written: their sums stay in the first-level cache.
const POSITIONS: usize = 128;

/// The rows of outputs (in steps) of a tile that reads `channels` channels of a group.
pub(super) fn rows_of_tile(
    window: ReadWindow,
    channels: usize,
    [height, width]: [usize; 2],
) -> usize {
    let len = |rows: usize| Packing::new(window, rows, width).channel_len() * channels;
    // (Rows at the borders of tiles are packed twice.)
    let least = 4 * window.kernel[0] * window.dilation[0] / window.stride[0];
    let mut rows = 1;
    let most = |rows: usize| MAX_PACKED * if rows < least { 4 } else { 1 };
    while rows < height && len(rows + 1) <= most(rows) {
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
        tiles: impl FnOnce(TileShape) -> Vec<OutputTask<'a>>,
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
            channels: groups.div_ceil(wanted).next_multiple_of(LANES) * (channels / groups),
        }
    }
}

impl Work<OutputTask<'_>> for Channelwise<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S, task: OutputTask, [packed, sums, lines]: &mut Scratch) {
        let Direct {
            sources,
            groups,
            packing,
            step,
            ref phases,
            output,
        } = self.0;
        // (Only ungrouped convolutions have more than one.)
        let [source] = sources else { return };
        let mut tile = task.open();
        let lanes = S::F32_LANES;
        let [seen, made] = [source.channels / groups, output.channels / groups];
        let place = Place {
            batch: tile.batch,
            first_row: tile.rows.start / step[0],
        };
        let plan = LanePacking::new(&packing, source.size, place, seen);
        let packed = grow(packed, plan.len::<S>());
        // (The padding; the rest is written for each block of channels.)
        packed.fill(0.0);
        let size = [tile.rows.len(), output.size[1]];
        let [rows, width] = [0, 1].map(|axis| size[axis].div_ceil(step[axis]));
        let some_rows = (POSITIONS / width.max(1)).clamp(1, rows.max(1));
        let line = (some_rows * width).next_multiple_of(lanes);
        let steps = phases.iter().map(Phase::steps).max().unwrap_or(0);
        let weight_len = steps.max(1) * lanes;
        let offsets: Vec<Vec<u32>> = phases.iter().map(Phase::offsets).collect();
        let weights_at = line * lanes;
        let numbers_at = weights_at + phases.len() * weight_len;
        let rows_at = numbers_at + 3 * lanes;
        // Sums are written as they are, if nothing is between them and nothing is added.
        let is_plain = step == [1, 1] && output.epilogue.residual.is_none();
        let rows_len = if is_plain {
            0
        } else {
            phases.len() * line * lanes
        };
        let sums = grow(sums, rows_at + rows_len);
        let (sums, row_buffer) = sums.split_at_mut(rows_at);
        let (sums, numbers) = sums.split_at_mut(numbers_at);
        let (sums, weights) = sums.split_at_mut(weights_at);
        let of_all = tile.channels.start / made..tile.channels.end / made;
        for first in of_all.clone().step_by(lanes) {
            let count = lanes.min(of_all.end - first);
            for index in 0..seen {
                let channels = LanesOf {
                    first: first * seen + index,
                    apart: seen,
                    count,
                };
                plan.fill(simd, source, (tile.batch, channels), index, lines, packed);
            }
            for index in 0..made {
                let outputs = LanesOf {
                    first: first * made + index,
                    apart: made,
                    count,
                };
                let of_phases = weights.chunks_exact_mut(weight_len);
                for (phase, weight) in phases.iter().zip(of_phases) {
                    phase.weight_of_lanes::<S>(outputs, weight);
                }
                let (center, others) = numbers.split_at_mut(lanes);
                let (scale, shift) = others.split_at_mut(lanes);
                numbers_to_lanes::<S>(&output.epilogue, outputs, [center, scale, shift]);
                let finish = LaneFinish {
                    numbers: is_plain.then_some([&*center, scale, shift]),
                    activation: output.epilogue.activation.parts().0,
                };
                let in_tile = LanesOf {
                    first: outputs.first - tile.channels.start,
                    ..outputs
                };
                for start in (0..rows).step_by(some_rows) {
                    let rows = some_rows.min(rows - start);
                    // (Without channels there is nothing to read.)
                    let first_position = start * packing.pitch * lanes;
                    for (index, offsets) in offsets.iter().enumerate() {
                        let work = LaneSums {
                            weight: &weights[index * weight_len..],
                            offsets,
                            packed: &packed[first_position.min(packed.len())..],
                            pitch: packing.pitch,
                            finish,
                        };
                        work.write(simd, [rows, width], sums);
                        if is_plain {
                            if let (_, Some(curved)) = output.epilogue.activation.parts() {
                                curved.apply(&mut sums[..rows * width * lanes]);
                            }
                            tile.write_lanes(simd, in_tile, sums, rows * width);
                        } else {
                            let rows_of_lanes = &mut row_buffer[index * line * lanes..];
                            transpose::lanes_to_rows(simd, sums, rows * width, rows_of_lanes, line);
                        }
                    }
                    if is_plain {
                        continue;
                    }
                    let row_buffer = &row_buffer[..];
                    let of_sums = SumRows {
                        first: start * width,
                        last: (start + rows) * width,
                        pitch: width,
                        row_phases: step[0],
                    };
                    for lane in 0..count {
                        let channel = in_tile.first + lane * made;
                        let of = |row: usize, column: usize| {
                            let phase = row * step[1] + column;
                            &row_buffer[(phase * lanes + lane) * line..][..rows * width]
                        };
                        match step[1] {
                            1 => tile.write_rows::<S, 1>(simd, channel, of_sums, of, &output),
                            2 => tile.write_rows::<S, 2>(simd, channel, of_sums, of, &output),
                            3 => tile.write_rows::<S, 3>(simd, channel, of_sums, of, &output),
                            _ => tile.write_rows::<S, 4>(simd, channel, of_sums, of, &output),
                        }
                        tile.apply_curved(channel..channel + 1, &output);
                    }
                }
            }
        }
    }
}
