//! Convolutions with the outputs as the lanes of vectors: no row of positions is too short for a vector. What a tile of
//! positions reads of a channel lies together, and pointwise convolutions read it where it is in the map.

use alloc::vec::Vec;
use core::ops::Range;

use pulp::Simd;

use super::output_tiles::{Output, OutputTask, OutputTile};
use super::packing::{Packing, Place};
use super::raw::matrices::{Neighbours, Offsets, Rows, RowsMut, Strided, offset};
use super::raw::simd;
use super::raw::transpose;
use super::source::{Source, copy};
use super::threads::{Scratch, Work, grow};

/// Steps of a sum at once, so that what a tile reads stays in the first-level cache.
const CHUNK: usize = 192;

/// The same for outputs that read one position each, of planes with a page of memory at least: a processor finds so many
/// pages without delay.
const CHUNK_OF_PAGES: usize = 64;

/// Values of a page.
const PAGE: usize = 1024;

/// Values of a cache line.
const LINE: usize = 16;

/// The most vectors of a panel of outputs.
const PANEL: usize = 3;

/// A weight, of which the vectors of outputs are made that a product reads. The steps of a sum are the inputs, once for
/// each tap.
#[derive(Clone, Copy)]
pub(super) enum LaneWeight<'a> {
    /// `[output, input, tap]`
    Plain(Rows<'a>),
    /// `[input, output, tap]`, for a kernel that is turned by 180 degrees: that of a gradient.
    Transposed {
        /// A row for each input.
        rows: Rows<'a>,
        /// The taps of a kernel.
        taps: usize,
    },
}

/// A convolution with all layouts chosen.
pub(super) struct OutputsInLanes<'a> {
    pub(super) sources: &'a [Source<'a>],
    pub(super) packing: Packing,
    pub(super) weight: LaneWeight<'a>,
    pub(super) output: Output<'a>,
}

/// What the tiles of a task read of some channels.
struct TileInputs<'a> {
    values: &'a [f32],
    /// Where what each tile reads starts.
    starts: Vec<usize>,
    /// The distance from a channel to the next.
    step: usize,
    /// Where each channel and tap is, if there is more than one tap.
    offsets: Option<Offsets>,
}

impl<'a> TileInputs<'a> {
    /// The values of the maps, if they are read where they are: as rows that no tile reads behind their end.
    fn in_place(
        work: &OutputsInLanes<'a>,
        source: &'a Source<'a>,
        channel: usize,
        tiles: &[OutputTile],
    ) -> Option<Self> {
        let row = work.packing.row_step_in_place(source)?;
        let starts = tiles.iter().map(|tile| {
            let start = tile.rows.start * row;
            let is_inside = start + tile.positions() <= source.plane_len();
            let plane = source.plane_start(tile.batch, channel)?;
            is_inside.then_some(plane + start)
        });
        Some(Self {
            values: source.values,
            starts: starts.collect::<Option<_>>()?,
            step: source.channel_step(),
            offsets: None,
        })
    }

    /// Packs them.
    #[inline(always)]
    fn packed(
        work: &OutputsInLanes,
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
            offsets: work.offsets(channels.len(), step),
        }
    }

    /// The distance from a tile to the next, if it is always the same.
    fn apart(&self) -> Option<usize> {
        let mut starts = self.starts.windows(2);
        let apart = |pair: &[usize]| pair[1].checked_sub(pair[0]);
        let first = starts.next().map_or(Some(1), apart);
        starts.all(|pair| apart(pair) == first).then_some(first)?
    }

    /// Multiplies the positions of all tiles by the weights of a panel.
    #[inline(always)]
    fn multiply<S: Simd>(
        &self,
        simd: S,
        weights: Rows,
        add: bool,
        sums: &mut [f32],
        layout: &Layout,
    ) {
        let columns = weights.step;
        let from = |start: usize, row: usize| Strided {
            values: &self.values[start..],
            row,
            column: self.step,
        };
        // (Tiles of one position are multiplied as the positions of one tile.)
        if self.offsets.is_none()
            && layout.positions == 1
            && let Some(apart) = self.apart()
        {
            let (size, left) = ([layout.tiles, columns], from(self.starts[0], apart));
            let into = RowsMut {
                values: sums,
                step: columns,
            };
            return simd::product_of_positions(simd, size, left, weights, add, into);
        }
        for (tile, &start) in self.starts.iter().enumerate() {
            let rows = layout.rows(start);
            for (row, (start, len)) in rows.enumerate() {
                let into = RowsMut {
                    values: &mut sums[(tile * layout.positions + row * len) * columns..],
                    step: columns,
                };
                let size = [len, columns];
                match &self.offsets {
                    None => {
                        let left = from(start, 1);
                        simd::product_of_positions(simd, size, left, weights, add, into);
                    }
                    Some(offsets) => {
                        let left = Neighbours {
                            values: &self.values[start..],
                            offsets,
                        };
                        simd::product_of_positions(simd, size, left, weights, add, into);
                    }
                }
            }
        }
    }
}

impl LaneWeight<'_> {
    /// The weights of some steps, a row of outputs for each.
    #[inline(always)]
    fn panel<S: Simd>(
        &self,
        simd: S,
        steps: Range<usize>,
        outputs: Range<usize>,
        mut into: RowsMut,
    ) {
        match self {
            Self::Plain(rows) => {
                for (n, first) in outputs.clone().step_by(S::F32_LANES).enumerate() {
                    let count = S::F32_LANES.min(outputs.end - first);
                    let matrix = Rows {
                        values: &rows.values[first * rows.step..],
                        ..*rows
                    };
                    let into = into.starting_at(n * S::F32_LANES);
                    transpose::columns_to_lanes(simd, matrix, count, steps.clone(), into);
                }
            }
            Self::Transposed { rows, taps: 1 } => {
                let into = into.values.chunks_exact_mut(into.step);
                for (input, into) in steps.zip(into) {
                    let from = &rows.values[input * rows.step..][outputs.clone()];
                    let (some, rest) = into.split_at_mut(from.len());
                    copy(from, some);
                    rest.fill(0.0);
                }
            }
            Self::Transposed { rows, taps } => {
                let row = into.step;
                for (index, input) in (steps.start / taps..steps.end / taps).enumerate() {
                    for (n, first) in outputs.clone().step_by(S::F32_LANES).enumerate() {
                        let count = S::F32_LANES.min(outputs.end - first);
                        let matrix = Rows {
                            values: &rows.values[input * rows.step + first * taps..],
                            step: *taps,
                        };
                        let start = index * taps * row + n * S::F32_LANES;
                        let into = into.starting_at(start);
                        transpose::columns_to_lanes(simd, matrix, count, 0..*taps, into);
                    }
                }
            }
        }
    }
}

/// How the sums of a task lie: one panel of outputs after the other, each with a row for each position of all tiles.
struct Layout {
    outputs: Range<usize>,
    tiles: usize,
    /// The positions of a tile.
    positions: usize,
    lanes: usize,
    /// The positions of a row, and the distance to the next where rows are packed.
    row: usize,
    pitch: usize,
}

impl Layout {
    /// The rows of a tile that starts at `start`, with their lengths. Without gaps between them they are one.
    fn rows(&self, start: usize) -> impl Iterator<Item = (usize, usize)> {
        let row = match self.row == self.pitch {
            true => self.positions,
            false => self.row,
        };
        let rows = self.positions / row.max(1);
        (0..rows).map(move |index| (start + index * self.pitch, row))
    }

    fn vectors(&self) -> usize {
        self.outputs.len().div_ceil(self.lanes)
    }

    fn panels(&self) -> usize {
        self.vectors().div_ceil(PANEL)
    }

    /// The most values of a row.
    fn width(&self) -> usize {
        PANEL * self.lanes
    }

    /// The values of a panel. (The last square that is turned reads more rows.)
    fn panel_len(&self) -> usize {
        (self.tiles * self.positions + self.lanes) * self.width()
    }

    /// The outputs of a panel: whole vectors, about as many in each.
    fn outputs_of(&self, panel: usize) -> Range<usize> {
        let start =
            |panel: usize| self.outputs.start + panel * self.vectors() / self.panels() * self.lanes;
        start(panel)..start(panel + 1).min(self.outputs.end)
    }

    /// The values of a row of a panel.
    fn columns(&self, panel: usize) -> usize {
        self.outputs_of(panel).len().next_multiple_of(self.lanes)
    }
}

impl OutputsInLanes<'_> {
    /// Where the taps of so many channels are.
    #[inline(always)]
    fn offsets(&self, channels: usize, step: usize) -> Option<Offsets> {
        let mut taps = self.packing.tap_offsets();
        if let LaneWeight::Transposed { .. } = self.weight {
            taps.reverse();
        }
        (taps.len() > 1).then(|| {
            let of_channel = |channel: usize| {
                let taps = taps.iter();
                taps.map(move |tap| offset(channel * step + tap))
            };
            Offsets::new((0..channels).flat_map(of_channel).collect())
        })
    }

    /// Adds up the sums of all outputs and positions.
    #[inline(always)]
    fn add_up<S: Simd>(
        &self,
        simd: S,
        tiles: &[OutputTile],
        layout: &Layout,
        [packed, weights]: [&mut Vec<f32>; 2],
        sums: &mut [f32],
    ) {
        let taps = self.packing.taps();
        let weights = grow(weights, CHUNK.max(taps) * layout.width());
        let mut done = 0;
        for source in self.sources {
            let some = match source.size[0] * source.size[1] {
                PAGE.. if taps == 1 => CHUNK_OF_PAGES,
                _ => (CHUNK / taps).max(1),
            };
            for start in (0..source.channels).step_by(some) {
                let channels = start..(start + some).min(source.channels);
                let steps = done..done + channels.len() * taps;
                let read = match TileInputs::in_place(self, source, start, tiles) {
                    Some(read) => read,
                    None => TileInputs::packed(self, source, channels, tiles, packed),
                };
                for (panel, sums) in sums.chunks_exact_mut(layout.panel_len()).enumerate() {
                    let step = layout.columns(panel);
                    let values = &mut weights[..steps.len() * step];
                    let into = RowsMut { values, step };
                    let outputs = layout.outputs_of(panel);
                    self.weight.panel(simd, steps.clone(), outputs, into);
                    let values = &*weights;
                    let weights = Rows {
                        values: &values[..steps.len() * step],
                        step,
                    };
                    read.multiply(simd, weights, done > 0, sums, layout);
                }
                done = steps.end;
            }
        }
    }

    /// Writes the outputs of the tile with this number.
    #[inline(always)]
    fn write<S: Simd>(
        &self,
        simd: S,
        (number, tile): (usize, &mut OutputTile),
        layout: &Layout,
        sums: &[f32],
    ) {
        for (panel, sums) in sums.chunks_exact(layout.panel_len()).enumerate() {
            let (outputs, step) = (layout.outputs_of(panel), layout.columns(panel));
            let sums = &sums[number * layout.positions * step..];
            for first in outputs.clone().step_by(layout.lanes) {
                let rows = Rows {
                    values: &sums[first - outputs.start..],
                    step,
                };
                let last = (first + layout.lanes).min(outputs.end);
                let [first, last] = [first, last].map(|output| output - layout.outputs.start);
                tile.write_turned(simd, first..last, rows, &self.output);
            }
        }
        tile.apply_curved(simd, 0..layout.outputs.len(), &self.output);
    }
}

impl Work<Vec<OutputTask<'_>>> for OutputsInLanes<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S, tasks: Vec<OutputTask>, [packed, sums, weights]: &mut Scratch) {
        let mut tiles: Vec<OutputTile> = tasks.into_iter().map(OutputTask::open).collect();
        let Some(first) = tiles.first() else { return };
        let layout = Layout {
            outputs: first.channels.clone(),
            tiles: tiles.len(),
            positions: first.positions(),
            lanes: S::F32_LANES,
            row: self.output.size[1],
            pitch: self.packing.pitch,
        };
        let sums = grow(sums, layout.panels() * layout.panel_len());
        self.add_up(simd, &tiles, &layout, [packed, weights], sums);
        for tile in tiles.iter_mut().enumerate() {
            self.write(simd, tile, &layout, sums);
        }
    }
}
