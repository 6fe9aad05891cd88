//! Convolutions whose groups are small (depthwise): each lane of a vector is a group.

use alloc::vec::Vec;

use pulp::Simd;

use super::direct::{Direct, Phase};
use super::lanes::{LanePacking, numbers_to_lanes};
use super::output_tiles::{Output, OutputTask, OutputTile, SumRows, TileShape};
use super::packing::{Packing, Place, ReadWindow};
use super::raw::lane_sums::{LaneFinish, LaneSums};
use super::raw::pieces::LanesOf;
use super::raw::transpose;
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

/// How a tile is computed: some rows of all phases at a time.
struct RowPlan {
    /// Rows and columns of outputs (in steps).
    size: [usize; 2],
    /// Rows at a time, and the positions of each phase in them, up to whole vectors.
    rows: usize,
    line: usize,
    /// The weights of a phase, a vector for each tap.
    weight_len: usize,
    /// Where the taps of each phase read, in vectors.
    offsets: Vec<Vec<u32>>,
    /// Whether sums are written as they are found: nothing is between them and nothing is added.
    is_plain: bool,
}

impl RowPlan {
    fn new<S: Simd>(work: &Direct, rows: usize) -> Self {
        let size = [rows, work.output.size[1]];
        let size = [0, 1].map(|axis| size[axis].div_ceil(work.step[axis]));
        let rows = (POSITIONS / size[1].max(1)).clamp(1, size[0].max(1));
        let steps = work.phases.iter().map(Phase::steps).max().unwrap_or(0);
        Self {
            size,
            rows,
            line: (rows * size[1]).next_multiple_of(S::F32_LANES),
            weight_len: steps.max(1) * S::F32_LANES,
            offsets: work.phases.iter().map(Phase::offsets).collect(),
            is_plain: work.step == [1, 1] && work.output.epilogue.residual.is_none(),
        }
    }
}

/// The buffers of a block of channels, the lanes of vectors.
struct Buffers<'a> {
    /// The sums of some rows of a phase.
    sums: &'a mut [f32],
    /// The weights of all phases.
    weights: &'a mut [f32],
    /// Center, scale and shift.
    numbers: &'a mut [f32],
    /// The sums of all phases, a row for each lane, if they are not [plain](RowPlan::is_plain).
    rows: &'a mut [f32],
}

impl<'a> Buffers<'a> {
    fn new<S: Simd>(scratch: &'a mut Vec<f32>, plan: &RowPlan) -> Self {
        let (lanes, phases) = (S::F32_LANES, plan.offsets.len());
        let of_phases = plan.line * lanes * phases;
        let lens = [
            plan.line * lanes,
            plan.weight_len * phases,
            3 * lanes,
            if plan.is_plain { 0 } else { of_phases },
        ];
        let all = grow(scratch, lens.iter().sum());
        let (sums, all) = all.split_at_mut(lens[0]);
        let (weights, all) = all.split_at_mut(lens[1]);
        let (numbers, rows) = all.split_at_mut(lens[2]);
        Self {
            sums,
            weights,
            numbers,
            rows,
        }
    }
}

impl Channelwise<'_> {
    /// Puts the weights and numbers of some outputs at the lanes.
    #[inline(always)]
    fn prepare<S: Simd>(&self, outputs: LanesOf, plan: &RowPlan, buffers: &mut Buffers) {
        let of_phases = buffers.weights.chunks_exact_mut(plan.weight_len);
        for (phase, weight) in self.0.phases.iter().zip(of_phases) {
            phase.weight_of_lanes::<S>(outputs, weight);
        }
        let (center, others) = buffers.numbers.split_at_mut(S::F32_LANES);
        let (scale, shift) = others.split_at_mut(S::F32_LANES);
        numbers_to_lanes::<S>(&self.0.output.epilogue, outputs, [center, scale, shift]);
    }

    /// Computes the outputs at the lanes (numbered from the first of the tile on) from the packed channels.
    #[inline(always)]
    fn write_outputs<S: Simd>(
        &self,
        simd: S,
        tile: &mut OutputTile,
        outputs: LanesOf,
        packed: &[f32],
        plan: &RowPlan,
        buffers: &mut Buffers,
    ) {
        let lanes = S::F32_LANES;
        let Direct {
            packing,
            step,
            ref output,
            ..
        } = self.0;
        let (activation, curved) = output.epilogue.activation.parts();
        let width = plan.size[1];
        for start in (0..plan.size[0]).step_by(plan.rows) {
            let rows = plan.rows.min(plan.size[0] - start);
            // (Without channels there is nothing to read.)
            let first_position = start * packing.pitch * lanes;
            for (index, offsets) in plan.offsets.iter().enumerate() {
                let (center, others) = buffers.numbers.split_at(lanes);
                let (scale, shift) = others.split_at(lanes);
                let work = LaneSums {
                    weight: &buffers.weights[index * plan.weight_len..],
                    offsets,
                    packed: &packed[first_position.min(packed.len())..],
                    pitch: packing.pitch,
                    finish: LaneFinish {
                        numbers: plan.is_plain.then_some([center, scale, shift]),
                        activation,
                    },
                };
                work.write(simd, [rows, width], buffers.sums);
                if plan.is_plain {
                    if let Some(curved) = curved {
                        curved.apply(simd, &mut buffers.sums[..rows * width * lanes]);
                    }
                    tile.write_lanes(simd, outputs, buffers.sums, rows * width);
                } else {
                    let of_phase = &mut buffers.rows[index * plan.line * lanes..];
                    transpose::lanes_to_rows(simd, buffers.sums, rows * width, of_phase, plan.line);
                }
            }
            if plan.is_plain {
                continue;
            }
            let sums = SumRows {
                first: start * width,
                last: (start + rows) * width,
                pitch: width,
                row_phases: step[0],
            };
            for lane in 0..outputs.count {
                let channel = outputs.first + lane * outputs.apart;
                let of_phases = &*buffers.rows;
                let of = |row: usize, column: usize| {
                    let phase = row * step[1] + column;
                    &of_phases[(phase * lanes + lane) * plan.line..][..rows * width]
                };
                tile.write_phases(simd, channel, sums, of, step[1], output);
                tile.apply_curved(simd, channel..channel + 1, output);
            }
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
            output,
            ..
        } = self.0;
        // (Only ungrouped convolutions have more than one.)
        let [source] = sources else {
            unreachable!("a grouped convolution has one source")
        };
        let mut tile = task.open();
        let lanes = S::F32_LANES;
        let [seen, made] = [source.channels / groups, output.channels / groups];
        let place = Place {
            batch: tile.batch,
            first_row: tile.rows.start / step[0],
        };
        let lane_packing = LanePacking::new(&packing, source.size, place, seen);
        let packed = grow(packed, lane_packing.len::<S>());
        // (The padding; the rest is written for each block of channels.)
        packed.fill(0.0);
        let plan = RowPlan::new::<S>(&self.0, tile.rows.len());
        let mut buffers = Buffers::new::<S>(sums, &plan);
        let of_all = tile.channels.start / made..tile.channels.end / made;
        for first in of_all.clone().step_by(lanes) {
            let count = lanes.min(of_all.end - first);
            for index in 0..seen {
                let channels = LanesOf {
                    first: first * seen + index,
                    apart: seen,
                    count,
                };
                lane_packing.fill(simd, source, (tile.batch, channels), index, lines, packed);
            }
            for index in 0..made {
                let outputs = LanesOf {
                    first: first * made + index,
                    apart: made,
                    count,
                };
                self.prepare::<S>(outputs, &plan, &mut buffers);
                let in_tile = LanesOf {
                    first: outputs.first - tile.channels.start,
                    ..outputs
                };
                self.write_outputs(simd, &mut tile, in_tile, packed, &plan, &mut buffers);
            }
        }
    }
}
