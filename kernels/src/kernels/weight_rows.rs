//! How the gradient of a weight is divided into tasks, and added from the threads.

use alloc::{vec, vec::Vec};

use pulp::Simd;

use super::threads::{self, Work};
use crate::policy::LANES;

/// Floats of all partial sums of a weight, which are added at the end.
const MAX_SHARED: usize = 512 * 1024;

/// The size of a weight.
#[derive(Clone, Copy)]
pub(super) struct WeightSize {
    pub(super) outputs: usize,
    /// Values of an output.
    pub(super) row: usize,
}

/// Some rows of the weight, summed over every `step`-th block of rows of the maps.
pub(super) struct WeightRows<'a> {
    pub(super) first: usize,
    pub(super) weight: &'a mut [f32],
    pub(super) block: usize,
    pub(super) step: usize,
}

/// Runs the work with about `most` rows of the weight per task at most: `whole` returns how many a task has where so many
/// are wanted. The blocks of the maps are distributed over the threads as long as a partial weight for each thread is small;
/// then the rows of the weight are.
pub(super) fn share(
    work: &impl for<'a> Work<WeightRows<'a>>,
    size: WeightSize,
    blocks: usize,
    most: usize,
    whole: impl Fn(usize) -> usize,
) -> Vec<f32> {
    let WeightSize { outputs, row } = size;
    let len = outputs * row;
    let shares = threads::even((MAX_SHARED / len).clamp(1, threads::parts().min(blocks)));
    let pieces = threads::pieces(shares, outputs.div_ceil(most));
    let some = whole(outputs.div_ceil(pieces));
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

/// From `[channel, position]` to `[vector of channels, position, lane]`, block by block: `rows` is the number of
/// positions of the result, `first` the first that is written.
#[inline(always)]
pub(super) fn channel_vectors<S: Simd>(
    packed: &[f32],
    len: usize,
    channels: usize,
    (rows, first): (usize, usize),
    into: &mut [f32],
) {
    const BLOCK: usize = 16;
    let lanes = S::F32_LANES;
    for start in (0..len).step_by(BLOCK) {
        let some = BLOCK.min(len - start);
        for (channel, from) in packed.chunks_exact(len).take(channels).enumerate() {
            let at = (channel / lanes * rows + first + start) * lanes;
            let into = into[at..][..some * lanes].chunks_exact_mut(lanes);
            for (into, from) in into.zip(&from[start..]) {
                into[channel % lanes] = *from;
            }
        }
    }
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
