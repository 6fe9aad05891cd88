//! The gradient to the weight, tap by tap.
//!
//! The packed inputs are stored channels-last, so that vectors run over the channels and no sum has to be taken across
//! a vector. With few channels such vectors would be mostly empty; then they run over the positions.

use alloc::vec::Vec;

use pulp::Simd;

use super::packing::{ChannelGroup, Packing, Place, ReadWindow};
use super::raw::simd::{self, Gathered, Offsets, Rows, RowsMut, offset};
use super::source::{Source, channels_of};
use super::threads::{Scratch, Work, grow};
use super::weight_rows::{WeightRows, channels_last, padded};
use crate::cpu::policy::Geometry;

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

    /// Packs the gradients of `count` channels, `columns` values each.
    #[inline(always)]
    fn flatten(&self, first: usize, count: usize, place: Place, columns: usize, flat: &mut [f32]) {
        for (channel, into) in flat.chunks_exact_mut(columns).take(count).enumerate() {
            let (rows, rest) = into.split_at_mut(self.rows * self.flat.pitch);
            self.flat.fill(&self.gradient, first + channel, place, rows);
            rest.fill(0.0);
        }
    }

    /// Adds the products of a block to sums of `[tap, row, channel]`, with vectors over the channels.
    #[inline(always)]
    fn add_by_channels<S: Simd>(
        &self,
        simd: S,
        gradient: Rows,
        seen: &[f32],
        count: usize,
        sums: &mut [f32],
    ) {
        let width = padded(self.channels);
        let positions = self.rows * self.flat.pitch;
        for first in (0..positions).step_by(CHUNK) {
            let offsets = Offsets::even(CHUNK.min(positions - first), width);
            let gradient = Rows {
                values: &gradient.values[first..],
                ..gradient
            };
            for (&tap, sums) in self.taps.iter().zip(sums.chunks_exact_mut(count * width)) {
                let seen = Gathered {
                    values: &seen[(first + tap) * width..],
                    offsets: &offsets,
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
        let group = ChannelGroup {
            index: task.first * self.groups / self.gradient.channels,
            count: self.groups,
        };
        let width = padded(self.channels);
        let len = self.packing.channel_len();
        let columns = (self.rows * self.flat.pitch).next_multiple_of(S::F32_LANES);
        let packed_len = self.channels * len + columns;
        let [seen_len, sums_len] = match self.is_by_channels() {
            true => [(len + columns) * width, self.taps.len() * count * width],
            false => [0, 0],
        };
        let seen_at = packed_len.next_multiple_of(16);
        let (packed, seen) = grow(packed, seen_at + seen_len).split_at_mut(seen_at);
        let flat = grow(flat, count * columns);
        let sums = grow(sums, sums_len);
        sums.fill(0.0);
        let blocks = self.blocks_of_a_map();
        for index in (task.block..self.blocks()).step_by(task.step) {
            let place = Place {
                batch: index / blocks,
                first_row: index % blocks * self.rows,
            };
            self.packing.fill_all(self.sources, group, place, packed);
            // The values after the last channel are multiplied by zeros, so they must not be NaN.
            packed[self.channels * len..packed_len].fill(0.0);
            self.flatten(task.first, count, place, columns, flat);
            let gradient = Rows {
                values: flat,
                step: columns,
            };
            if self.is_by_channels() {
                channels_last(packed, len, self.channels, seen);
                seen[len * width..][..self.flat.pitch * width].fill(0.0);
                self.add_by_channels(simd, gradient, seen, count, sums);
            } else {
                self.add_by_positions(simd, gradient, packed, count, task.weight);
            }
        }
        if self.is_by_channels() {
            self.write(sums, count, task.weight);
        }
    }
}
