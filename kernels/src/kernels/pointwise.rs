//! Pointwise convolutions with the outputs as the lanes of vectors. What a tile of positions reads of a channel lies
//! together in the map, which is read where it is, and no row of positions is too short for a vector.

use alloc::vec::Vec;
use core::ops::Range;

use pulp::Simd;

use super::output_tiles::{Output, OutputTask, OutputTile};
use super::packing::{Packing, Place};
use super::raw::simd::{self, Rows, RowsMut, Strided};
use super::raw::transpose;
use super::source::Source;
use super::threads::{self, Scratch, Work, grow};
use crate::policy::LANES;

/// Inputs of a sum at once, so that what a tile reads stays in the first-level cache.
const CHUNK: usize = 192;

/// Inputs of a sum at once whose planes are pages of memory at least: so many pages are near.
const PAGES: usize = 64;

/// Values of a page.
const PAGE: usize = 1024;

/// The most positions of a task, but for those of one map.
const POSITIONS: usize = 512;

/// The fewest positions of a tile of a map that is packed, if it has more.
const LEAST_POSITIONS: usize = 256;

/// The most positions of a tile of a map.
const MOST_POSITIONS: usize = 2048;

/// The sums of a task: they stay in the second-level cache.
const SUMS: usize = 64 * 1024;

/// The vectors of a panel of outputs.
const PANEL: usize = 3;

/// A weight, of which the vectors of outputs are made that a product reads.
#[derive(Clone, Copy)]
pub(super) enum PointwiseWeight<'a> {
    /// `[output, input]`
    ByOutputs(Rows<'a>),
    /// `[input, output]`
    ByInputs(Rows<'a>),
}

/// A pointwise convolution with all layouts chosen.
pub(super) struct Pointwise<'a> {
    pub(super) sources: &'a [Source<'a>],
    pub(super) packing: Packing,
    pub(super) weight: PointwiseWeight<'a>,
    pub(super) output: Output<'a>,
}

/// Floats of a cache line.
const LINE: usize = 16;

/// How an output is divided into tasks.
#[derive(Clone, Copy)]
pub(super) struct Shares {
    /// The tiles of a map.
    pub(super) pieces: usize,
    /// The maps of a task.
    maps: usize,
    /// The outputs of a task.
    pub(super) outputs: usize,
}

impl Shares {
    /// For `batch` maps of so many positions, and so many outputs, of inputs that are packed or read where they are.
    pub(super) fn new(batch: usize, positions: usize, outputs: usize, is_packed: bool) -> Self {
        // (All outputs share what is packed.)
        let most = match is_packed {
            true => (SUMS / outputs.max(1)).clamp(LEAST_POSITIONS, MOST_POSITIONS),
            false => MOST_POSITIONS,
        };
        let is_divided = positions > POSITIONS.min(most) || outputs < 2 * LANES;
        let (pieces, maps) = match is_divided {
            true => (threads::pieces(batch, positions.div_ceil(most)), 1),
            false => (
                1,
                (POSITIONS.min(most) / positions.max(1)).clamp(1, batch.max(1)),
            ),
        };
        let groups = batch.div_ceil(maps).max(1);
        let maps = batch.div_ceil(groups);
        let of_task = positions.div_ceil(pieces) * maps;
        let most = (SUMS / of_task.max(1)).max(1);
        let shares = threads::pieces(groups * pieces, outputs.div_ceil(most));
        let outputs_of_task = outputs.div_ceil(shares).next_multiple_of(LANES);
        Self {
            pieces,
            maps,
            outputs: outputs_of_task.min(outputs),
        }
    }

    /// The tasks, of the tiles of all maps, of which each has so many.
    pub(super) fn tasks<'a>(
        self,
        tiles: Vec<OutputTask<'a>>,
        of_a_map: usize,
    ) -> Vec<Vec<OutputTask<'a>>> {
        let groups = (tiles.len() / of_a_map.max(1)).div_ceil(self.maps);
        let mut tasks: Vec<Vec<OutputTask>> = Vec::new();
        tasks.resize_with(groups * of_a_map, Vec::new);
        for (index, tile) in tiles.into_iter().enumerate() {
            let (map, place) = (index / of_a_map, index % of_a_map);
            // (Tasks that read one part of the weight follow each other.)
            tasks[place * groups + map / self.maps].push(tile);
        }
        tasks
    }
}

/// What the tiles of a task read of some channels.
struct Seen<'a> {
    values: &'a [f32],
    /// Where what each tile reads starts.
    starts: Vec<usize>,
    /// The distance from a channel to the next.
    step: usize,
}

impl<'a> Seen<'a> {
    /// The values of the maps, if they are read where they are.
    fn in_place(
        work: &Pointwise<'a>,
        source: &'a Source<'a>,
        channel: usize,
        tiles: &[OutputTile],
    ) -> Option<Self> {
        let first = tiles.first()?;
        let row = work.packing.row_in_place(source)?;
        let (values, step) = source.planes_from(first.batch, channel)?;
        let starts = tiles.iter().map(|tile| {
            let (of_tile, _) = source.planes_from(tile.batch, channel)?;
            Some(values.len() - of_tile.len() + tile.rows.start * row)
        });
        Some(Self {
            values,
            starts: starts.collect::<Option<_>>()?,
            step,
        })
    }

    /// Packs them.
    #[inline(always)]
    fn packed(
        work: &Pointwise,
        source: &Source,
        channels: Range<usize>,
        tiles: &[OutputTile],
        packed: &'a mut Vec<f32>,
    ) -> Self {
        let len = work.packing.channel_len();
        // (An odd number of cache lines: channels do not share cache sets.)
        let step = (len.div_ceil(LINE) | 1) * LINE;
        let each = channels.len() * step;
        let packed = grow(packed, tiles.len() * each);
        for (tile, into) in tiles.iter().zip(packed.chunks_exact_mut(each.max(1))) {
            let place = Place {
                batch: tile.batch,
                first_row: tile.rows.start,
            };
            for (channel, into) in channels.clone().zip(into.chunks_exact_mut(step)) {
                work.packing.prefetch_next(source, channel, place);
                work.packing.fill(source, channel, place, &mut into[..len]);
            }
        }
        Self {
            values: packed,
            starts: (0..tiles.len()).map(|tile| tile * each).collect(),
            step,
        }
    }

    /// The positions of a tile; all of all tiles, if each has one.
    fn positions(&self, tile: usize, each: usize) -> Strided<'a> {
        let row = match (each, &self.starts[..]) {
            (1, [first, second, ..]) => second - first,
            _ => 1,
        };
        Strided {
            values: &self.values[self.starts[tile]..],
            row,
            column: self.step,
        }
    }

    /// Whether tiles of one position are equally far from each other.
    fn is_even(&self) -> bool {
        let mut starts = self.starts.windows(2);
        let apart = |pair: &[usize]| pair[1].wrapping_sub(pair[0]);
        let first = starts.next().map_or(0, apart);
        starts.all(|pair| apart(pair) == first)
    }
}

impl PointwiseWeight<'_> {
    /// The weights of some inputs, a row of outputs for each.
    #[inline(always)]
    fn panel<S: Simd>(
        &self,
        simd: S,
        inputs: Range<usize>,
        outputs: Range<usize>,
        mut into: RowsMut,
    ) {
        match self {
            Self::ByOutputs(rows) => {
                for (n, first) in outputs.clone().step_by(S::F32_LANES).enumerate() {
                    let count = S::F32_LANES.min(outputs.end - first);
                    let matrix = Rows {
                        values: &rows.values[first * rows.step..],
                        ..*rows
                    };
                    let into = into.starting_at(n * S::F32_LANES);
                    transpose::columns_to_lanes(simd, matrix, count, inputs.clone(), into);
                }
            }
            Self::ByInputs(rows) => {
                let into = into.values.chunks_exact_mut(into.step);
                for (input, into) in inputs.zip(into) {
                    let from = &rows.values[input * rows.step..][outputs.clone()];
                    let (some, rest) = into.split_at_mut(from.len());
                    super::source::copy(from, some);
                    rest.fill(0.0);
                }
            }
        }
    }
}

/// The panels of so many outputs.
fn panels(outputs: usize, lanes: usize) -> usize {
    outputs.div_ceil(lanes).div_ceil(PANEL)
}

/// The outputs of a panel: of whole vectors, about as many in each.
fn outputs_of_panel(outputs: Range<usize>, lanes: usize, index: usize) -> Range<usize> {
    let vectors = outputs.len().div_ceil(lanes);
    let count = panels(outputs.len(), lanes);
    let start = |index: usize| outputs.start + index * vectors / count * lanes;
    start(index)..start(index + 1).min(outputs.end)
}

impl Work<Vec<OutputTask<'_>>> for Pointwise<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S, tasks: Vec<OutputTask>, [packed, sums, panel]: &mut Scratch) {
        let lanes = S::F32_LANES;
        let mut tiles: Vec<OutputTile> = tasks.into_iter().map(OutputTask::open).collect();
        let Some(first) = tiles.first() else { return };
        let (each, channels) = (first.positions(), first.channels.clone());
        if each == 0 {
            return;
        }
        let width = PANEL * lanes;
        // (The last square reads more rows.)
        let rows = tiles.len() * each + lanes;
        let panels = panels(channels.len(), lanes);
        let sums = grow(sums, panels * rows * width);
        let panel = grow(panel, CHUNK * width);
        let mut done = 0;
        for source in self.sources {
            let some = match source.size[0] * source.size[1] {
                PAGE.. => PAGES,
                _ => CHUNK,
            };
            for start in (0..source.channels).step_by(some) {
                let inputs = start..(start + some).min(source.channels);
                let seen = match Seen::in_place(self, source, start, &tiles) {
                    Some(seen) => seen,
                    None => Seen::packed(self, source, inputs.clone(), &tiles, packed),
                };
                let of_weight = done..done + inputs.len();
                for (index, sums) in sums.chunks_exact_mut(rows * width).enumerate() {
                    let outputs = outputs_of_panel(channels.clone(), lanes, index);
                    let columns = outputs.len().next_multiple_of(lanes);
                    let into = RowsMut {
                        values: &mut panel[..inputs.len() * columns],
                        step: columns,
                    };
                    self.weight.panel(simd, of_weight.clone(), outputs, into);
                    let right = Rows {
                        values: &panel[..inputs.len() * columns],
                        step: columns,
                    };
                    let add = done > 0;
                    if each == 1 && seen.is_even() {
                        let into = RowsMut {
                            values: sums,
                            step: columns,
                        };
                        let size = [tiles.len(), columns];
                        let left = seen.positions(0, each);
                        simd::product_of_positions(simd, size, left, right, add, into);
                        continue;
                    }
                    for tile in 0..tiles.len() {
                        let into = RowsMut {
                            values: &mut sums[tile * each * columns..],
                            step: columns,
                        };
                        let left = Strided {
                            row: 1,
                            ..seen.positions(tile, each)
                        };
                        simd::product_of_positions(simd, [each, columns], left, right, add, into);
                    }
                }
                done += inputs.len();
            }
        }
        if done == 0 {
            sums.fill(0.0);
        }
        for (tile_index, tile) in tiles.iter_mut().enumerate() {
            for (index, sums) in sums.chunks_exact(rows * width).enumerate() {
                let Range {
                    start: first,
                    end: last,
                } = outputs_of_panel(0..channels.len(), lanes, index);
                let columns = (last - first).next_multiple_of(lanes);
                for start in (first..last).step_by(lanes) {
                    let rows = Rows {
                        values: &sums[tile_index * each * columns + start - first..],
                        step: columns,
                    };
                    let some = start..(start + lanes).min(last);
                    tile.write_turned(simd, some, rows, &self.output);
                }
            }
            tile.apply_curved(0..channels.len(), &self.output);
        }
    }
}
