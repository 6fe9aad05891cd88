//! The gradient of the weight: for each tap, the product of the output's gradient and what the tap has read.

use alloc::{vec, vec::Vec};

use super::direct_gradient::DirectGradient;
use super::enlarged::{Enlarged, as_stored};
use super::source::{Source, channels_of, shape_of, through};
use super::threads::{self, Work};
use super::tiling::whole_shares;
use super::winograd_gradient::WinogradGradient;
use crate::cpu::policy::{Algorithm, Geometry, LANES};

/// Floats of all partial sums of a weight, which are added at the end.
const MAX_SHARED: usize = 512 * 1024;

/// The gradient of the weight, `[outputs, inputs / groups, kernel...]`, from the gradient of the output.
pub(crate) fn weight_gradient(
    sources: &[Source],
    gradient: Source,
    batch: usize,
    geometry: &Geometry,
) -> Vec<f32> {
    let outputs = gradient.channels;
    if !shape_of(sources, outputs, batch, geometry).has_weight_gradient_by_tap_sums() {
        return plain_weight_gradient(sources, gradient, batch, geometry);
    }
    let taps = geometry.taps();
    let mut weight = WeightColumns {
        values: vec![0.0; outputs * channels_of(sources) * taps],
        row: channels_of(sources) * taps,
    };
    let is_plain = |source: &&Source| !source.is_enlarged();
    let plain: Vec<Source> = sources.iter().filter(is_plain).copied().collect();
    let found = plain_weight_gradient(&plain, gradient, batch, geometry);
    let plain_row = channels_of(&plain) * taps;
    let (mut first, mut first_plain) = (0, 0);
    for source in sources {
        let len = source.channels * taps;
        if source.is_enlarged() {
            let enlarged = Enlarged::new(geometry, source.shape());
            let larger = enlarged.larger_geometry();
            // (By the larger kernel, the output's gradient is the input and the source the gradient.)
            let found = plain_weight_gradient(&[gradient], as_stored(source), batch, &larger);
            let found = enlarged.smaller_weight(&found, outputs);
            weight.write(first, len, found.chunks_exact(len));
        } else {
            let rows = found.chunks_exact(plain_row);
            weight.write(first, len, rows.map(|row| &row[first_plain..][..len]));
            first_plain += len;
        }
        first += len;
    }
    weight.values
}

/// A weight that is written in column ranges.
struct WeightColumns {
    values: Vec<f32>,
    /// The values of a row.
    row: usize,
}

impl WeightColumns {
    fn write<'a>(&mut self, first: usize, len: usize, rows: impl Iterator<Item = &'a [f32]>) {
        for (into, from) in self.values.chunks_exact_mut(self.row).zip(rows) {
            into[first..first + len].copy_from_slice(from);
        }
    }
}

/// The gradient of the weight, `[outputs, inputs / groups, kernel...]`, for sources that are read without sums of taps.
fn plain_weight_gradient(
    sources: &[Source],
    gradient: Source,
    samples: usize,
    geometry: &Geometry,
) -> Vec<f32> {
    let outputs = gradient.channels;
    let shape = shape_of(sources, outputs, samples, geometry);
    // One map of the batch for each slice of the output.
    let sources = &through(sources, geometry.depth)[..];
    let batch = samples * geometry.depth.size;
    let channels = channels_of(sources) / geometry.groups;
    if channels == 0 {
        return Vec::new();
    }
    let weight = WeightSize {
        outputs,
        row: channels * geometry.plane_taps(),
        groups: geometry.groups,
    };
    if shape.weight_gradient_algorithm() == Algorithm::Winograd {
        let work = WinogradGradient::new(sources, gradient, batch, geometry);
        return share(&work, weight, work.blocks(), work.rows_of_a_task());
    }
    let work = DirectGradient::new(sources, gradient, batch, geometry, shape.is_line());
    share(&work, weight, work.blocks(), outputs)
}

/// The size of a weight.
#[derive(Clone, Copy)]
struct WeightSize {
    outputs: usize,
    /// Values of an output.
    row: usize,
    groups: usize,
}

/// Some rows of the weight, summed over every `step`-th block of rows of the maps.
pub(super) struct WeightRows<'a> {
    pub(super) first: usize,
    pub(super) weight: &'a mut [f32],
    pub(super) block: usize,
    pub(super) step: usize,
}

/// Runs the work with about `most` rows of the weight per task at most. The blocks of the maps are distributed over the
/// threads as long as a partial weight for each thread is small; then the rows of the weight are.
fn share(
    work: &impl for<'a> Work<WeightRows<'a>>,
    size: WeightSize,
    blocks: usize,
    most: usize,
) -> Vec<f32> {
    let WeightSize {
        outputs,
        row,
        groups,
    } = size;
    let len = outputs * row;
    let shares = threads::even((MAX_SHARED / len).clamp(1, threads::parts().min(blocks)));
    let pieces = threads::pieces(shares, outputs.div_ceil(most));
    let some = whole_shares(outputs.div_ceil(pieces), outputs / groups, groups);
    let mut weight = vec![0.0; len];
    let mut others = vec![vec![0.0; len]; shares - 1];
    let mut tasks = Vec::new();
    for (block, weight) in core::iter::once(&mut weight).chain(&mut others).enumerate() {
        for (index, weight) in weight.chunks_mut(some * row).enumerate() {
            tasks.push(WeightRows {
                first: index * some,
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

/// The channels rounded up to whole vectors of any width.
pub(super) fn padded(channels: usize) -> usize {
    channels.next_multiple_of(LANES)
}

/// From `[channel, position]` to `[position, channel]`, block by block.
#[inline(always)]
pub(super) fn channels_last(packed: &[f32], len: usize, channels: usize, into: &mut [f32]) {
    const BLOCK: usize = 16;
    let width = padded(channels);
    for start in (0..len).step_by(BLOCK) {
        let some = BLOCK.min(len - start);
        let into = &mut into[start * width..][..some * width];
        for (channel, from) in packed.chunks_exact(len).take(channels).enumerate() {
            for (into, from) in into.chunks_exact_mut(width).zip(&from[start..]) {
                into[channel] = *from;
            }
        }
    }
}
