//! The gradient to the weight, tap by tap.
//!
//! The packed inputs are stored channels-last, so that vectors run over the channels and no sum has to be taken across
//! a vector. With few channels such vectors would be mostly empty; then they run over the positions.

use alloc::vec::Vec;

use pulp::Simd;

use super::packing::{Packing, Place, ReadWindow, channels_of_group};
use super::raw::matrices::{Rows, RowsMut, Vectors, offset};
use super::raw::simd;
use super::source::{Source, channels_of};
use super::threads::{Scratch, Work, grow};
use super::weight_rows::{WeightRows, channel_vectors, padded};
use crate::policy::Geometry;

/// Floats that the packed rows of a block may take.
const MAX_PACKED: usize = 96 * 1024;

/// Positions that are processed at once, so that the values read stay in the first-level cache.
const CHUNK: usize = 128;

/// The fewest channels for which vectors run over the channels.
const MIN_CHANNELS: usize = 12;

pub(super) struct DirectGradient<'a> {
    sources: &'a [Source<'a>],
    gradient: Source<'a>,
    batch: usize,
    packing: Packing,
    /// Packs the gradient with the pitch of `packing`, with zeros between the rows.
    flat: Packing,
    /// The offset of each tap from the start of a channel.
    taps: Vec<usize>,
    /// The channels of a group.
    channels: usize,
    groups: usize,
    /// The rows of a map, or the pieces of its one row; and the rows of a block.
    height: usize,
    rows: usize,
    /// The blocks that are packed side by side.
    blocks_at_once: usize,
}

impl<'a> DirectGradient<'a> {
    pub(super) fn new(
        sources: &'a [Source<'a>],
        gradient: Source<'a>,
        batch: usize,
        geometry: &Geometry,
        is_line: bool,
    ) -> Self {
        let channels = channels_of(sources) / geometry.groups;
        let mut window = ReadWindow::of(geometry);
        let mut one = ReadWindow::dense([1, 1], [1, 1], [0, 0]);
        let [height, width] = match is_line {
            true => window.divide(geometry.size[1]),
            false => geometry.size,
        };
        if is_line {
            one.line = Some(width);
        }
        let len = |rows: usize| Packing::new(window, rows, width).channel_len() * channels;
        let mut rows = 1;
        while rows < height && len(rows + 1) <= MAX_PACKED {
            rows += 1;
        }
        // All blocks get the same size.
        let rows = height.div_ceil(height.div_ceil(rows));
        let packing = Packing::new(window, rows, width);
        // Where nothing but the block itself is read, the next one follows it directly.
        let blocks_at_once = match packing.is_pointwise() {
            true if channels >= MIN_CHANNELS => {
                (MAX_PACKED / (packing.channel_len() * channels)).clamp(1, batch)
            }
            _ => 1,
        };
        let columns = geometry.kernel[1];
        let tap_at = |tap: usize| packing.offset([tap / columns, tap % columns]);
        Self {
            sources,
            gradient,
            batch,
            packing,
            flat: Packing::with_pitch(one, rows, width, packing.pitch),
            taps: (0..geometry.plane_taps()).map(tap_at).collect(),
            channels,
            groups: geometry.groups,
            height,
            rows,
            blocks_at_once,
        }
    }

    /// The number of blocks of rows in all maps.
    pub(super) fn blocks(&self) -> usize {
        self.batch * self.blocks_of_a_map()
    }

    fn blocks_of_a_map(&self) -> usize {
        self.height.div_ceil(self.rows)
    }

    fn is_by_channels(&self) -> bool {
        self.channels >= MIN_CHANNELS
    }

    /// Packs the gradients of a block for some channels, `columns` values each, from the column `at` on.
    #[inline(always)]
    fn flatten(&self, first: usize, place: Place, at: usize, columns: usize, flat: &mut [f32]) {
        let len = self.rows * self.flat.pitch;
        for (channel, into) in flat.chunks_exact_mut(columns).enumerate() {
            let into = &mut into[at..at + len];
            self.flat.fill(&self.gradient, first + channel, place, into);
        }
    }

    /// Adds the products of a block to sums of `[tap, row, channel]`, with vectors over the channels.
    #[inline(always)]
    fn add_by_channels<S: Simd>(
        &self,
        simd: S,
        gradient: Rows,
        (seen, rows): (&[f32], usize),
        positions: usize,
        sums: &mut [f32],
    ) {
        let width = padded(self.channels);
        let count = sums.len() / (self.taps.len() * width);
        for first in (0..positions).step_by(CHUNK) {
            let gradient = Rows {
                values: &gradient.values[first..],
                ..gradient
            };
            for (&tap, sums) in self.taps.iter().zip(sums.chunks_exact_mut(count * width)) {
                let seen = Vectors {
                    values: seen,
                    rows,
                    first: first + tap,
                    steps: CHUNK.min(positions - first),
                };
                let into = RowsMut {
                    values: sums,
                    step: width,
                };
                simd::product(simd, [count, width], gradient, seen, true, into);
            }
        }
    }

    /// Adds the products of a block to the weight, with vectors over the positions.
    #[inline(always)]
    fn add_by_positions<S: Simd>(
        &self,
        simd: S,
        gradient: Rows,
        packed: &[f32],
        count: usize,
        weight: &mut [f32],
    ) {
        let len = self.packing.channel_len();
        let channels = 0..self.channels;
        let of_channel =
            |channel: usize| self.taps.iter().map(move |tap| offset(channel * len + tap));
        let offsets: Vec<u32> = channels.flat_map(of_channel).collect();
        let into = RowsMut {
            values: weight,
            step: offsets.len(),
        };
        let columns = gradient.step;
        simd::inner_products(simd, count, gradient, (packed, &offsets), columns, into);
    }

    /// Copies sums of `[tap, row, channel]` to rows of the weight.
    #[inline(always)]
    fn write(&self, sums: &[f32], count: usize, weight: &mut [f32]) {
        let (taps, width) = (self.taps.len(), padded(self.channels));
        for (row, into) in weight.chunks_exact_mut(self.channels * taps).enumerate() {
            for (channel, into) in into.chunks_exact_mut(taps).enumerate() {
                for (tap, into) in into.iter_mut().enumerate() {
                    *into = sums[(tap * count + row) * width + channel];
                }
            }
        }
    }
}

impl Work<WeightRows<'_>> for DirectGradient<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S, task: WeightRows, [packed, flat, sums]: &mut Scratch) {
        let count = task.weight.len() / (self.channels * self.taps.len());
        let group = task.first * self.groups / self.gradient.channels;
        let channels = channels_of_group(self.sources, group, self.groups);
        let width = padded(self.channels);
        let len = self.packing.channel_len();
        let block = self.rows * self.flat.pitch;
        let positions = self.blocks_at_once * block;
        let columns = positions.next_multiple_of(S::F32_LANES);
        let packed_len = self.channels * len + columns;
        // The rows of channel vectors: a tap of the last position may read past what is packed.
        let rows = (self.blocks_at_once - 1) * block + len.max(block) + self.flat.pitch;
        let is_weight = self.taps.len() == 1 && width == self.channels;
        let [seen_len, sums_len] = match self.is_by_channels() {
            true => [rows * width, self.taps.len() * count * width],
            false => [0, 0],
        };
        let seen_at = packed_len.next_multiple_of(16);
        let (packed, seen) = grow(packed, seen_at + seen_len).split_at_mut(seen_at);
        let flat = grow(flat, count * columns);
        // With one tap, the sums are the weight.
        let (sums, mut weight) = match is_weight && self.is_by_channels() {
            true => (task.weight, None),
            false => (grow(sums, sums_len), Some(task.weight)),
        };
        sums.fill(0.0);
        let blocks = self.blocks_of_a_map();
        let indices: Vec<usize> = (task.block..self.blocks()).step_by(task.step).collect();
        for indices in indices.chunks(self.blocks_at_once) {
            for (n, index) in indices.iter().enumerate() {
                let place = Place {
                    batch: index / blocks,
                    first_row: index % blocks * self.rows,
                };
                self.packing
                    .fill_all(self.sources, channels.clone(), place, packed);
                // The values after the last channel are multiplied by zeros, so they must not be NaN.
                packed[self.channels * len..packed_len].fill(0.0);
                self.flatten(task.first, place, n * block, columns, flat);
                if self.is_by_channels() {
                    channel_vectors::<S>(packed, len, self.channels, (rows, n * block), seen);
                }
            }
            for row in flat.chunks_exact_mut(columns) {
                row[indices.len() * block..].fill(0.0);
            }
            let gradient = Rows {
                values: flat,
                step: columns,
            };
            if let Some(weight) = weight.as_deref_mut().filter(|_| !self.is_by_channels()) {
                self.add_by_positions(simd, gradient, packed, count, weight);
            } else {
                let end = (indices.len() - 1) * block + len;
                for vector in seen.chunks_exact_mut(rows * S::F32_LANES) {
                    vector[end * S::F32_LANES..].fill(0.0);
                }
                self.add_by_channels(simd, gradient, (seen, rows), indices.len() * block, sums);
            }
        }
        if let Some(weight) = weight.filter(|_| self.is_by_channels()) {
            self.write(sums, count, weight);
        }
    }
}
