//! Winograd's F(2x2, 3x3) (arXiv:1509.09308): 16 products for four outputs instead of 36.
//!
//! A tile of 4x4 values is transformed to 16 components. Multiplied by the components of the kernel and transformed
//! back, they give four outputs. If a map is read doubled with an odd padding (the usual case), the two middle rows
//! and columns of a tile are equal, so that 7 of its 16 components vanish.

use alloc::vec::Vec;
use core::ops::Range;

use pulp::Simd;

use super::output_tiles::{Output, OutputTask, SumRows, TileShape};
use super::packing::{Packing, Place, ReadWindow};
use super::raw::matrices::{Blocks, Gathered, Offsets, Rows, RowsMut};
use super::raw::simd;
use super::raw::transforms;
use super::source::{Source, channels_of};
use super::threads::{Scratch, Work, grow};
use super::tiling::{channels_of_tile, rows_of_tile};
use crate::policy::{BLOCK, COMPONENTS, Geometry};

/// Steps of a sum at once. (What they read stays in the second-level cache. Shorter runs of a weight in main memory were
/// slower.)
const CHUNK: usize = 512;

/// Floats between components, so that they do not map to the same cache sets.
pub(super) const GAP: usize = 16;

/// The window that a tile reads.
pub(super) fn window(geometry: &Geometry) -> ReadWindow {
    ReadWindow::dense([4, 4], [2, 2], geometry.pad)
}

/// How the output is split into tiles.
pub(super) fn tiling(
    window: ReadWindow,
    sources: &[Source],
    output: &Output,
    batch: usize,
) -> TileShape {
    let tiles = output.size.map(|size| size.div_ceil(2));
    let rows = rows_of_tile(window, channels_of(sources), tiles, batch);
    let count = batch * tiles[0].div_ceil(rows);
    TileShape {
        rows: 2 * rows,
        step: 2,
        channels: channels_of_tile(count, output.channels, 1),
    }
}

/// A 3x3 convolution, with all layouts chosen.
pub(super) struct Winograd<'a> {
    sources: &'a [Source<'a>],
    packing: Packing,
    /// `[component, block of outputs, channels, BLOCK]`
    weight: &'a [f32],
    /// The runs of channels of all sources, and of the sources that are not doubled.
    all_runs: Vec<ChannelRun>,
    plain_runs: Vec<ChannelRun>,
    output: Output<'a>,
}

/// Consecutive channels, and the offsets at which they are read.
struct ChannelRun {
    first: usize,
    offsets: Offsets,
}

impl<'a> Winograd<'a> {
    /// `rows` counts rows of tiles.
    pub(super) fn new(
        sources: &'a [Source<'a>],
        weight: &'a [f32],
        window: ReadWindow,
        rows: usize,
        output: Output<'a>,
    ) -> Self {
        Self {
            sources,
            packing: Packing::new(window, rows, output.size[1].div_ceil(2)),
            weight,
            all_runs: runs(sources, true),
            plain_runs: runs(sources, false),
            output,
        }
    }

    /// The runs of channels that contribute to a component.
    fn runs(&self, component: usize) -> &[ChannelRun] {
        match vanishes(component) {
            true => &self.plain_runs,
            false => &self.all_runs,
        }
    }
}

/// Runs of channels, with or without those of maps that are doubled.
fn runs(sources: &[Source], with_doubled: bool) -> Vec<ChannelRun> {
    let mut runs = Vec::new();
    let mut first = 0;
    for source in sources {
        if with_doubled || !source.has_enlarged_planes() {
            for start in (0..source.channels).step_by(CHUNK) {
                let len = CHUNK.min(source.channels - start);
                runs.push(ChannelRun {
                    first: first + start,
                    // As wide as the widest panel; narrower ones use only the start.
                    offsets: Offsets::even(len, PANEL),
                });
            }
        }
        first += source.channels;
    }
    runs
}

/// Columns of a panel, for all instruction sets.
const PANEL: usize = 48;

/// Whether a component vanishes for a map that is doubled.
const fn vanishes(component: usize) -> bool {
    component / 4 == 2 || component % 4 == 2
}

/// How the tiles of a task are arranged in the columns of its products.
struct Columns {
    tiles: [usize; 2],
    /// The distance from a row of tiles to the next: the pitch of the packing, or without its gaps.
    pitch: usize,
    packed_pitch: usize,
    /// One more than the last tile; and the same rounded up to whole vectors.
    end: usize,
    count: usize,
}

impl Columns {
    /// Without gaps there are fewer products, but more vectors to transform if the rows are not whole vectors. (A
    /// transform was measured to take the time of 90 products.)
    fn new(tiles: [usize; 2], packed_pitch: usize, lanes: usize, outputs: usize) -> Self {
        let with = |pitch: usize| {
            let end = (tiles[0] - 1) * pitch + tiles[1];
            let count = end.next_multiple_of(lanes);
            Self {
                tiles,
                pitch,
                packed_pitch,
                end,
                count,
            }
        };
        let [wide, dense] = [with(packed_pitch), with(tiles[1])];
        let cost = |transforms, columns: &Self| transforms * 90 + columns.count / lanes * outputs;
        let of_rows = tiles[0] * tiles[1].div_ceil(lanes);
        if cost(of_rows, &dense) < cost(wide.count / lanes, &wide) {
            dense
        } else {
            wide
        }
    }

    /// The vectors of tiles in a range of columns.
    fn vectors(&self, columns: Range<usize>, lanes: usize) -> Vec<TileVector> {
        let vector = |packed, column| TileVector { packed, column };
        if self.pitch == self.packed_pitch {
            let starts = columns.clone().step_by(lanes);
            return starts.map(|at| vector(at, at - columns.start)).collect();
        }
        let mut vectors = Vec::new();
        let rows = columns.end.div_ceil(self.pitch).min(self.tiles[0]);
        for row in columns.start / self.pitch..rows {
            let begin = row * self.pitch;
            let seen = begin.max(columns.start)..(begin + self.pitch).min(columns.end);
            for at in seen.step_by(lanes) {
                let packed = row * self.packed_pitch + at - begin;
                vectors.push(vector(packed, at - columns.start));
            }
        }
        vectors
    }
}

/// A vector of tiles.
struct TileVector {
    /// Its offset in a packed channel.
    packed: usize,
    /// Its first column in the panel.
    column: usize,
}

/// The buffers of a panel.
struct Panel<'a> {
    /// The components of the inputs, `[component, channel, PANEL]`.
    seen: &'a mut [f32],
    seen_step: usize,
    /// The components of the outputs, `[component, output, PANEL]`.
    sums: &'a mut [f32],
    sums_step: usize,
}

impl Winograd<'_> {
    /// Computes the components of the inputs of some vectors of tiles.
    #[inline(always)]
    fn transform<S: Simd>(
        &self,
        simd: S,
        packed: &[f32],
        vectors: &[TileVector],
        panel: &mut Panel,
    ) {
        let len = self.packing.channel_len();
        let places: [[usize; 4]; 4] =
            core::array::from_fn(|r| core::array::from_fn(|c| self.packing.offset([r, c])));
        // (The surplus of a vector at the end of a row is overwritten by the next vector; after the last channel it falls
        // into the gap. Columns after the last tile keep old values, and are not written to the output.)
        for channel in 0..channels_of(self.sources) {
            for vector in vectors {
                let from = &packed[channel * len + vector.packed..];
                let into = &mut panel.seen[channel * PANEL + vector.column..];
                transforms::components_of_tiles(simd, from, &places, into, panel.seen_step);
            }
        }
    }

    /// Multiplies `width` columns by the weight, component by component.
    #[inline(always)]
    fn multiply<S: Simd>(&self, simd: S, outputs: &Range<usize>, width: usize, panel: &mut Panel) {
        let channels = channels_of(self.sources);
        for component in 0..COMPONENTS {
            let runs = self.runs(component);
            let sums = &mut panel.sums[component * panel.sums_step..][..panel.sums_step];
            if runs.is_empty() {
                sums.fill(0.0);
            }
            let blocks = component * self.output.channels.div_ceil(BLOCK);
            let row = blocks * BLOCK + outputs.start;
            for (n, run) in runs.iter().enumerate() {
                let weight = Blocks {
                    values: &self.weight[row * channels + run.first * BLOCK..],
                    len: channels,
                };
                let seen = Gathered {
                    values: &panel.seen[component * panel.seen_step + run.first * PANEL..],
                    offsets: &run.offsets,
                };
                let into = RowsMut {
                    values: &mut *sums,
                    step: PANEL,
                };
                simd::product(simd, [outputs.len(), width], weight, seen, n > 0, into);
            }
        }
    }

    /// Transforms the components of one channel to its outputs, `[position in a tile, PANEL]`.
    #[inline(always)]
    fn transform_back<S: Simd>(
        &self,
        simd: S,
        index: usize,
        width: usize,
        panel: &Panel,
        tile: &mut [f32],
    ) {
        for column in (0..width).step_by(S::F32_LANES) {
            let from = Rows {
                values: &panel.sums[index * PANEL + column..],
                step: panel.sums_step,
            };
            let into = RowsMut {
                values: &mut tile[column..],
                step: PANEL,
            };
            transforms::tiles_of_components(simd, from, into);
        }
    }
}

impl Work<OutputTask<'_>> for Winograd<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S, task: OutputTask, [packed, seen, sums]: &mut Scratch) {
        let mut output_tile = task.open();
        let lanes = S::F32_LANES;
        let tiles = [output_tile.rows.len(), self.output.size[1]].map(|size| size.div_ceil(2));
        let (channels, outputs) = (channels_of(self.sources), output_tile.channels.len());
        let packed = grow(packed, channels * self.packing.channel_len() + lanes);
        let place = Place {
            batch: output_tile.batch,
            first_row: output_tile.rows.start / 2,
        };
        self.packing
            .fill_all(self.sources, 0..channels, place, packed);
        let columns = Columns::new(tiles, self.packing.pitch, lanes, outputs);
        let [seen_step, sums_step] = [channels, outputs].map(|rows| rows * PANEL + GAP);
        let sums = grow(sums, COMPONENTS * sums_step + 4 * PANEL);
        let (sums, tile) = sums.split_at_mut(COMPONENTS * sums_step);
        let mut panel = Panel {
            seen: grow(seen, COMPONENTS * seen_step),
            seen_step,
            sums,
            sums_step,
        };
        for first in (0..columns.count).step_by(PANEL) {
            let width = PANEL.min(columns.count - first);
            let vectors = columns.vectors(first..first + width, lanes);
            self.transform(simd, packed, &vectors, &mut panel);
            let rows = SumRows {
                first,
                last: columns.end.min(first + width),
                pitch: columns.pitch,
                row_phases: 2,
            };
            output_tile.prefetch(rows, &self.output);
            self.multiply(simd, &output_tile.channels, width, &mut panel);
            for index in 0..outputs {
                self.transform_back(simd, index, width, &panel, tile);
                let tile = &tile[..];
                let of = |row: usize, column: usize| &tile[(2 * row + column) * PANEL..][..PANEL];
                output_tile.write_rows::<S, 2>(simd, index, rows, of, &self.output);
            }
            output_tile.apply_curved(simd, 0..outputs, &self.output);
        }
    }
}
