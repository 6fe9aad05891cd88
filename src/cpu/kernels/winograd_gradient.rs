//! The gradient to a 3x3 weight by components: Winograd's F(2x2, 3x3) from its outputs to its weight.
//!
//! With `B` and `A` the transforms of what a tile sees and of its outputs, the components of the gradient are
//! `sum over tiles of (A g A^T) (B^T d B)`: 16 products for the 36 of four outputs.

use pulp::Simd;

use super::raw::simd::{self, Offsets, Rows};
use super::raw::transforms;
use super::stage::{Source, Staging, Window, channels_of};
use super::threads::{Scratch, Work, grow};
use super::weight_gradient::{Task, padded, turn};
use super::winograd::{GAP, Winograd};
use crate::cpu::policy::Geometry;

/// Floats that the components of a block of tiles may take, if it is more than a row.
const SEEN: usize = 256 * 1024;

/// Floats that the components of the weight's rows may take in a task, and those of their gradients.
const SUMS: usize = 256 * 1024;

/// Tiles of a block, so that what a product reads of them stays in the nearest cache.
const TILES: usize = 128;

/// The gradient to a weight, laid out.
pub(super) struct WinogradGradient<'a> {
    sources: &'a [Source<'a>],
    gradient: Source<'a>,
    batch: usize,
    channels: usize,
    /// Rows and columns of tiles in a block.
    tiles: [usize; 2],
    /// What the tiles see, and their outputs.
    seen: Staging,
    outputs: Staging,
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
        let most = TILES.min(SEEN / (16 * padded(channels)));
        let rows = (most / width).clamp(1, height);
        // Blocks of the same size.
        let rows = height.div_ceil(height.div_ceil(rows));
        let outputs = Window {
            kernel: [2, 2],
            stride: [2, 2],
            dilation: [1, 1],
            pad: [0, 0],
        };
        Self {
            sources,
            gradient,
            batch,
            channels,
            tiles: [rows, width],
            seen: Staging::new(Winograd::window(geometry), rows, width),
            outputs: Staging::new(outputs, rows, width),
        }
    }

    /// Blocks of tiles of all maps.
    pub(super) fn blocks(&self) -> usize {
        self.batch * self.blocks_of_a_map()
    }

    /// Rows of the weight at once, so that the components of them, and of the gradients that they are made of, stay
    /// in the second cache.
    pub(super) fn rows_of_a_task(&self) -> usize {
        let each = padded(self.channels).max(self.tiles[0] * self.tiles[1]);
        (SUMS / (16 * each)).max(1)
    }

    fn blocks_of_a_map(&self) -> usize {
        self.gradient.size[0].div_ceil(2).div_ceil(self.tiles[0])
    }
}

impl Work<Task<'_>> for WinogradGradient<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S, task: Task, [staged, seen, sums]: &mut Scratch) {
        let lanes = S::F32_LANES;
        let width = padded(self.channels);
        let count = task.weight.len() / (self.channels * 9);
        let tiles = self.tiles[0] * self.tiles[1];
        let places: [[usize; 4]; 4] =
            core::array::from_fn(|r| core::array::from_fn(|c| width * self.seen.offset([r, c])));
        let cells: [usize; 4] = core::array::from_fn(|at| self.outputs.offset([at / 2, at % 2]));

        let (len, turned_len) = (self.seen.channel_len(), self.seen.channel_len() * width);
        let staged_len = (self.channels * len)
            .max(self.outputs.channel_len() + lanes)
            .next_multiple_of(16);
        let (staged, turned) = grow(staged, staged_len + turned_len).split_at_mut(staged_len);
        // The components of what is seen, `[component, tile, channel]`, of the gradient, `[component, output, tile]`
        // (a last vector has tiles too many), and of the weight, `[component, output, channel]`.
        let pitch = tiles.next_multiple_of(16);
        let [seen_step, flat_step, sums_step] =
            [tiles * width, count * pitch, count * width].map(|len| len + GAP);
        let seen = grow(seen, 16 * seen_step);
        let (flat, sums) =
            grow(sums, 16 * (flat_step + sums_step) + 9 * width).split_at_mut(16 * flat_step);
        let (sums, taps) = sums.split_at_mut(16 * sums_step);
        let offsets = Offsets::new((0..tiles).map(|tile| (tile * width) as u32).collect());
        let mut index = task.block;
        while index < self.blocks() {
            let blocks = self.blocks_of_a_map();
            let (batch, row) = (index / blocks, index % blocks * self.tiles[0]);
            self.seen
                .fill_all(self.sources, [0, 1], [batch, row], staged);
            turn(staged, len, self.channels, turned);
            for tile in 0..tiles {
                let (row, column) = (tile / self.tiles[1], tile % self.tiles[1]);
                let from = &turned[(row * self.seen.pitch + column) * width..];
                for channel in (0..width).step_by(lanes) {
                    let into = &mut seen[tile * width + channel..];
                    transforms::components_of_tiles(
                        simd,
                        &from[channel..],
                        &places,
                        into,
                        seen_step,
                    );
                }
            }
            for output in 0..count {
                let into = &mut staged[..self.outputs.channel_len()];
                self.outputs
                    .fill(&self.gradient, batch, task.first + output, row, into);
                for tile in (0..tiles).step_by(lanes) {
                    let into = &mut flat[output * pitch + tile..];
                    transforms::components_of_outputs(
                        simd,
                        &staged[tile..],
                        &cells,
                        into,
                        flat_step,
                    );
                }
            }
            for component in 0..16 {
                let gradient = Rows {
                    values: &flat[component * flat_step..],
                    step: pitch,
                };
                let seen = (&seen[component * seen_step..], &offsets);
                let sums = &mut sums[component * sums_step..];
                let is_more = index > task.block;
                simd::product(simd, [count, width], gradient, seen, is_more, (sums, width));
            }
            index += task.step;
        }
        for (row, into) in task.weight.chunks_exact_mut(self.channels * 9).enumerate() {
            for channel in (0..width).step_by(lanes) {
                let from = &sums[row * width + channel..];
                transforms::taps_of_components(
                    simd,
                    (from, sums_step),
                    (&mut taps[channel..], width),
                );
            }
            for (channel, into) in into.chunks_exact_mut(9).enumerate() {
                for (tap, into) in into.iter_mut().enumerate() {
                    *into = taps[tap * width + channel];
                }
            }
        }
    }
}
