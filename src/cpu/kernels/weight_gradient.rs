//! The gradient to the weight: for each tap, the product of the gradient by what the tap saw.
//!
//! What the windows see is laid out position by position, so that the vectors run over the channels and no
//! sum has to be taken across one. Few channels would leave them empty; for these the vectors run over the
//! positions.

use alloc::{vec, vec::Vec};

use pulp::Simd;

use super::plan::shape_of;
use super::raw::simd::{self, Offsets, Rows};
use super::stage::{Source, Staging, Window};
use super::threads::{self, Scratch, Work, grow};
use super::winograd_gradient::WinogradGradient;
use crate::cpu::policy::{Algorithm, Geometry, LANES};

/// Floats that the staged rows of a block may take.
const STAGED: usize = 96 * 1024;

/// Floats of all weights that are summed at the end.
const SHARED: usize = 512 * 1024;

/// Positions between which the values that are read stay in the nearest cache.
const CHUNK: usize = 128;

struct WeightGradient<'a> {
    sources: &'a [Source<'a>],
    gradient: Source<'a>,
    batch: usize,
    staging: Staging,
    /// Lays out the gradient as the sums of `staging` lie, with zeros between the rows.
    flat: Staging,
    /// Where each tap reads, from the first of a channel.
    taps: Vec<u32>,
    /// The channels of a group.
    channels: usize,
    groups: usize,
    rows: usize,
}

/// Some rows of the weight, from every `step`-th block of rows of the maps.
pub(super) struct Task<'a> {
    pub(super) first: usize,
    pub(super) weight: &'a mut [f32],
    pub(super) block: usize,
    pub(super) step: usize,
}

/// Whether the vectors run over the channels.
fn by_channels(channels: usize) -> bool {
    channels >= 12
}

/// Channels, filled up to whole vectors of any width.
pub(super) fn padded(channels: usize) -> usize {
    channels.next_multiple_of(LANES)
}

impl Work<Task<'_>> for WeightGradient<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S, task: Task, [staged, flat, sums]: &mut Scratch) {
        let height = self.gradient.size[0];
        let blocks = height.div_ceil(self.rows);
        let count = task.weight.len() / (self.channels * self.taps.len());
        let group = task.first * self.groups / self.gradient.channels;
        let len = self.staging.channel_len();
        let columns = (self.rows * self.flat.pitch).next_multiple_of(S::F32_LANES);
        let staged_len = self.channels * len + columns;
        let turned_at = staged_len.next_multiple_of(16);
        let turned_len = match by_channels(self.channels) {
            true => (len + columns) * padded(self.channels),
            false => 0,
        };
        let staged = grow(staged, turned_at + turned_len);
        let flat = grow(flat, count * columns);
        let sums = grow(sums, self.taps.len() * count * padded(self.channels));
        sums.fill(0.0);
        let mut index = task.block;
        while index < self.batch * blocks {
            let (batch, row) = (index / blocks, index % blocks * self.rows);
            self.staging
                .fill_all(self.sources, [group, self.groups], [batch, row], staged);
            // What lies behind is multiplied by zeros, and must be numbers.
            staged[self.channels * len..staged_len].fill(0.0);
            for (channel, into) in flat.chunks_exact_mut(columns).take(count).enumerate() {
                let (rows, rest) = into.split_at_mut(self.rows * self.flat.pitch);
                self.flat
                    .fill(&self.gradient, batch, task.first + channel, row, rows);
                rest.fill(0.0);
            }
            let gradient = Rows {
                values: flat,
                step: columns,
            };
            if by_channels(self.channels) {
                let (staged, turned) = staged.split_at_mut(turned_at);
                turn(staged, len, self.channels, turned);
                turned[len * padded(self.channels)..][..self.flat.pitch * padded(self.channels)]
                    .fill(0.0);
                self.add_by_channels(simd, gradient, turned, count, sums);
            } else {
                let offsets: Vec<u32> = (0..self.channels)
                    .flat_map(|channel| {
                        self.taps
                            .iter()
                            .map(move |tap| (channel * len) as u32 + tap)
                    })
                    .collect();
                let into = (&mut *task.weight, offsets.len());
                simd::inner_products(simd, count, gradient, (staged, &offsets), columns, into);
            }
            index += task.step;
        }
        if by_channels(self.channels) {
            self.write(sums, count, task.weight);
        }
    }
}

impl WeightGradient<'_> {
    #[inline(always)]
    fn add_by_channels<S: Simd>(
        &self,
        simd: S,
        gradient: Rows,
        turned: &[f32],
        count: usize,
        sums: &mut [f32],
    ) {
        let width = padded(self.channels);
        let positions = self.rows * self.flat.pitch;
        let mut first = 0;
        while first < positions {
            let steps = CHUNK.min(positions - first);
            let offsets = Offsets::new((0..steps).map(|p| (p * width) as u32).collect());
            let gradient = Rows {
                values: &gradient.values[first..],
                ..gradient
            };
            for (&tap, sums) in self.taps.iter().zip(sums.chunks_exact_mut(count * width)) {
                let seen = &turned[(first + tap as usize) * width..];
                simd::product(
                    simd,
                    [count, width],
                    gradient,
                    (seen, &offsets),
                    true,
                    (sums, width),
                );
            }
            first += steps;
        }
    }

    /// Writes sums of `[tap, row, channel]` to rows of the weight.
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

/// Positions by channels, from channels by positions: blocks of both at a time.
#[inline(always)]
pub(super) fn turn(staged: &[f32], len: usize, channels: usize, turned: &mut [f32]) {
    const BLOCK: usize = 16;
    let width = padded(channels);
    for start in (0..len).step_by(BLOCK) {
        let some = BLOCK.min(len - start);
        let into = &mut turned[start * width..][..some * width];
        for (channel, from) in staged.chunks_exact(len).take(channels).enumerate() {
            for (into, from) in into.chunks_exact_mut(width).zip(&from[start..]) {
                into[channel] = *from;
            }
        }
    }
}

/// The gradient to the weight, `[outputs, inputs / groups, kernel...]`, of sources that are read as they
/// are, from that to the output.
pub(super) fn plain_weight_gradient(
    sources: &[Source],
    gradient: Source,
    batch: usize,
    geometry: &Geometry,
) -> Vec<f32> {
    let outputs = gradient.channels;
    let channels = sources.iter().map(|source| source.channels).sum::<usize>() / geometry.groups;
    if channels == 0 {
        return Vec::new();
    }
    let shape = shape_of(sources, outputs, batch, geometry);
    if shape.weight_gradient_algorithm() == Algorithm::Winograd {
        let work = WinogradGradient::new(sources, gradient, batch, geometry);
        let most = work.rows_of_a_task();
        return share(&work, geometry, [outputs, channels], work.blocks(), most);
    }
    let window = geometry.window();
    let [height, width] = geometry.size;
    let mut rows = 1;
    while rows < height && Staging::new(window, rows + 1, width).channel_len() * channels <= STAGED
    {
        rows += 1;
    }
    // Blocks of the same size.
    let rows = height.div_ceil(height.div_ceil(rows));
    let staging = Staging::new(window, rows, width);
    let one = Window {
        kernel: [1, 1],
        stride: [1, 1],
        dilation: [1, 1],
        pad: [0, 0],
    };
    let tap_at =
        |tap: usize| staging.offset([tap / geometry.kernel[1], tap % geometry.kernel[1]]) as u32;
    let taps: Vec<u32> = (0..geometry.taps()).map(tap_at).collect();
    let work = WeightGradient {
        sources,
        gradient,
        batch,
        staging,
        flat: Staging::with_pitch(one, rows, staging.pitch),
        taps,
        channels,
        groups: geometry.groups,
        rows,
    };
    let blocks = batch * height.div_ceil(rows);
    share(&work, geometry, [outputs, channels], blocks, outputs)
}

/// Does the work, about `most` rows of the weight to a task at most. First the blocks of the maps are shared among the
/// threads, as far as a weight for each is small; then the outputs.
fn share(
    work: &impl for<'a> Work<Task<'a>>,
    geometry: &Geometry,
    [outputs, channels]: [usize; 2],
    blocks: usize,
    most: usize,
) -> Vec<f32> {
    let of_a_group = outputs / geometry.groups;
    let row_len = channels * geometry.taps();
    let len = outputs * row_len;
    let shares = threads::even((SHARED / len).clamp(1, threads::parts().min(blocks)));
    let mut some = outputs
        .div_ceil(threads::pieces(shares, outputs.div_ceil(most)))
        .next_multiple_of(8)
        .min(of_a_group);
    while geometry.groups > 1 && !of_a_group.is_multiple_of(some) {
        some += 1;
    }
    let mut weight = vec![0.0; len];
    let mut others = vec![vec![0.0; len]; shares - 1];
    let mut tasks = Vec::new();
    for (block, weight) in core::iter::once(&mut weight).chain(&mut others).enumerate() {
        for (index, weight) in weight.chunks_mut(some * row_len).enumerate() {
            let first = index * some;
            tasks.push(Task {
                first,
                weight,
                block,
                step: shares,
            });
        }
    }
    threads::run(work, tasks);
    for other in others {
        for (sum, more) in weight.iter_mut().zip(other) {
            *sum += more;
        }
    }
    weight
}
