//! The gradient of a 3x3 weight by Winograd's components of F(2x2, 3x3).
//!
//! With `B` and `A` the transforms of a tile's inputs and of its outputs, the components of the gradient are
//! `sum over tiles of (A g A^T) (B^T d B)`: 16 products instead of 36 for four outputs.

use core::ops::Range;

use pulp::Simd;

use super::components::TAPS;
use super::packing::{Packing, Place, ReadWindow};
use super::raw::matrices::{Rows, RowsMut, Vectors};
use super::raw::simd;
use super::raw::transforms;
use super::source::{Source, channels_of};
use super::threads::{Scratch, Work, grow};
use super::weight_rows::{WeightRows, channels_last, padded};
use super::winograd::GAP;
use crate::policy::{COMPONENTS, Geometry};

/// Floats that the components of a block of more than one row of tiles may take, those of the gradients of its outputs, and
/// those of a task's part of the weight.
const MAX_COMPONENTS: usize = 256 * 1024;

/// The input channels of a product. The components of the inputs are computed again for each task, which has some of the
/// outputs, and those of the gradient for each block of channels: with as many of the one as of the other there is the
/// least to compute.
const MAX_CHANNELS: usize = 128;

/// The most tiles of a block, so that what a product reads of them stays in the first-level cache.
const MAX_TILES: usize = 128;

/// The inputs of a tile, and the distance from one tile to the next.
const TILE: [usize; 2] = [4, 4];
const STEP: usize = 2;

/// The channels of a product, padded.
fn channels_of_a_product(channels: usize) -> usize {
    padded(channels).min(MAX_CHANNELS)
}

/// The gradient of a weight, with all layouts chosen.
pub(super) struct WinogradGradient<'a> {
    sources: &'a [Source<'a>],
    gradient: Source<'a>,
    batch: usize,
    channels: usize,
    /// Rows and columns of tiles in a block.
    tiles: [usize; 2],
    /// The packing of the tiles' inputs, as they lie in the map (vectors run over the channels); and of their outputs.
    seen: Packing,
    outputs: Packing,
}

/// The sizes of a task's buffers.
#[derive(Clone, Copy)]
struct Layout {
    /// The rows of the weight.
    count: usize,
    /// The channels of a product, padded.
    width: usize,
    /// The tiles of a block, padded.
    pitch: usize,
    /// The distance between components of the inputs, `[vector of channels, tile, lane]`.
    seen_step: usize,
    /// The distance between components of the gradient, `[output, tile]`.
    flat_step: usize,
    /// The distance between components of the weight, `[output, channel]`.
    sums_step: usize,
}

impl<'a> WinogradGradient<'a> {
    pub(super) fn new(
        sources: &'a [Source<'a>],
        gradient: Source<'a>,
        batch: usize,
        geometry: &Geometry,
    ) -> Self {
        let channels = channels_of(sources);
        let [height, width] = geometry.size.map(|size| size.div_ceil(2));
        let most = MAX_TILES.min(MAX_COMPONENTS / (COMPONENTS * channels_of_a_product(channels)));
        let rows = (most / width).clamp(1, height);
        // All blocks get the same size.
        let rows = height.div_ceil(height.div_ceil(rows));
        let seen = ReadWindow::dense(TILE, [1, 1], geometry.pad);
        let outputs = ReadWindow::dense([STEP; 2], [STEP; 2], [0, 0]);
        // What the first value of a tile may be, from that of the first tile to that of the last.
        let firsts = [rows, width].map(|tiles| (tiles - 1) * STEP + 1);
        Self {
            sources,
            gradient,
            batch,
            channels,
            tiles: [rows, width],
            seen: Packing::new(seen, firsts[0], firsts[1]),
            outputs: Packing::new(outputs, rows, width),
        }
    }

    /// The number of blocks of tiles in all maps.
    pub(super) fn blocks(&self) -> usize {
        self.batch * self.blocks_of_a_map()
    }

    /// The rows of the weight of a task, so that their components and those of the gradients stay in the second-level
    /// cache.
    pub(super) fn rows_of_a_task(&self) -> usize {
        let each = channels_of_a_product(self.channels).max(self.tiles_of_a_block());
        (MAX_COMPONENTS / (COMPONENTS * each)).max(1)
    }

    fn blocks_of_a_map(&self) -> usize {
        self.gradient.size[0].div_ceil(2).div_ceil(self.tiles[0])
    }

    fn tiles_of_a_block(&self) -> usize {
        self.tiles[0] * self.tiles[1]
    }

    fn layout(&self, count: usize) -> Layout {
        let width = channels_of_a_product(self.channels);
        let tiles = self.tiles_of_a_block();
        let pitch = tiles.next_multiple_of(16);
        Layout {
            count,
            width,
            pitch,
            seen_step: tiles * width + GAP,
            flat_step: count * pitch + GAP,
            sums_step: count * width + GAP,
        }
    }

    /// The components of the tiles' inputs, from channels-last values.
    #[inline(always)]
    fn transform_seen<S: Simd>(
        &self,
        simd: S,
        positions: &[f32],
        layout: &Layout,
        seen: &mut [f32],
    ) {
        let width = layout.width;
        let places: [[usize; 4]; 4] =
            core::array::from_fn(|r| core::array::from_fn(|c| width * self.seen.offset([r, c])));
        for tile in 0..self.tiles_of_a_block() {
            let (row, column) = (tile / self.tiles[1], tile % self.tiles[1]);
            let from = &positions[(row * self.seen.pitch + column) * STEP * width..];
            for channel in (0..width).step_by(S::F32_LANES) {
                let at = channel * self.tiles_of_a_block() + tile * S::F32_LANES;
                let into = &mut seen[at..];
                let from = &from[channel..];
                transforms::components_of_tiles(simd, from, &places, into, layout.seen_step);
            }
        }
    }

    /// The components of the gradients of the outputs from `first` on. (The last vector may hold surplus tiles.)
    #[inline(always)]
    fn transform_gradient<S: Simd>(
        &self,
        simd: S,
        first: usize,
        place: Place,
        packed: &mut [f32],
        layout: &Layout,
        flat: &mut [f32],
    ) {
        let cells: [usize; 4] = core::array::from_fn(|at| self.outputs.offset([at / 2, at % 2]));
        for output in 0..layout.count {
            let into = &mut packed[..self.outputs.channel_len()];
            self.outputs
                .fill(&self.gradient, first + output, place, into);
            for tile in (0..self.tiles_of_a_block()).step_by(S::F32_LANES) {
                let into = &mut flat[output * layout.pitch + tile..];
                let from = &packed[tile..];
                transforms::components_of_outputs(simd, from, &cells, into, layout.flat_step);
            }
        }
    }

    /// The products of a block, component by component.
    #[inline(always)]
    fn multiply<S: Simd>(
        &self,
        simd: S,
        flat: &[f32],
        seen: &[f32],
        layout: &Layout,
        is_more: bool,
        sums: &mut [f32],
    ) {
        let &Layout { count, width, .. } = layout;
        let tiles = self.tiles_of_a_block();
        for component in 0..COMPONENTS {
            let gradient = Rows {
                values: &flat[component * layout.flat_step..],
                step: layout.pitch,
            };
            let seen = Vectors {
                values: &seen[component * layout.seen_step..],
                rows: tiles,
                first: 0,
                steps: tiles,
            };
            let into = RowsMut {
                values: &mut sums[component * layout.sums_step..],
                step: width,
            };
            simd::product(simd, [count, width], gradient, seen, is_more, into);
        }
    }

    /// Transforms the components of the weight's rows to their taps, for a range of channels.
    #[inline(always)]
    fn write<S: Simd>(
        &self,
        simd: S,
        sums: &[f32],
        layout: &Layout,
        channels: &Range<usize>,
        taps: &mut [f32],
        weight: &mut [f32],
    ) {
        let width = layout.width;
        for (row, into) in weight.chunks_exact_mut(self.channels * TAPS).enumerate() {
            for channel in (0..width).step_by(S::F32_LANES) {
                let from = Rows {
                    values: &sums[row * width + channel..],
                    step: layout.sums_step,
                };
                let into = RowsMut {
                    values: &mut taps[channel..],
                    step: width,
                };
                transforms::taps_of_components(simd, from, into);
            }
            let into = &mut into[channels.start * TAPS..channels.end * TAPS];
            for (channel, into) in into.chunks_exact_mut(TAPS).enumerate() {
                for (tap, into) in into.iter_mut().enumerate() {
                    *into = taps[tap * width + channel];
                }
            }
        }
    }
}

impl Work<WeightRows<'_>> for WinogradGradient<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S, task: WeightRows, [packed, seen, sums]: &mut Scratch) {
        let layout = self.layout(task.weight.len() / (self.channels * TAPS));
        let len = self.seen.channel_len();
        let packed_len = (layout.width * len)
            .max(self.outputs.channel_len() + S::F32_LANES)
            .next_multiple_of(16);
        let (packed, positions) =
            grow(packed, packed_len + len * layout.width).split_at_mut(packed_len);
        let seen = grow(seen, COMPONENTS * layout.seen_step);
        let flat_len = COMPONENTS * layout.flat_step;
        let sums_len = COMPONENTS * layout.sums_step;
        let sums = grow(sums, flat_len + sums_len + TAPS * layout.width);
        let (flat, sums) = sums.split_at_mut(flat_len);
        let (sums, taps) = sums.split_at_mut(sums_len);
        let blocks = self.blocks_of_a_map();
        for first in (0..self.channels).step_by(layout.width) {
            let channels = first..self.channels.min(first + layout.width);
            for index in (task.block..self.blocks()).step_by(task.step) {
                let place = Place {
                    batch: index / blocks,
                    first_row: index % blocks * self.tiles[0],
                };
                let first_input = Place {
                    first_row: place.first_row * STEP,
                    ..place
                };
                self.seen
                    .fill_all(self.sources, channels.clone(), first_input, packed);
                // (The sums of what is left there of other channels are not written.)
                channels_last(packed, len, layout.width, positions);
                self.transform_seen(simd, positions, &layout, seen);
                self.transform_gradient(simd, task.first, place, packed, &layout, flat);
                self.multiply(simd, flat, seen, &layout, index > task.block, sums);
            }
            self.write(simd, sums, &layout, &channels, taps, task.weight);
        }
    }
}
