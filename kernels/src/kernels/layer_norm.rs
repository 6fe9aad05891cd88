//! Layer norm over the channels of each position, `y = gamma (x - mean) / sqrt(variance + epsilon) + beta`, by blocks of
//! positions that stay in the second-level cache; and its gradient.

use alloc::{vec, vec::Vec};

use pulp::Simd;

use super::norm::sums;
use super::raw::piece::Piece;
use super::raw::uninit_buffer::{Cuts, UninitBuffer};
use super::threads::{self, Scratch, Work};

/// Positions that are normalised at once.
const POSITIONS: usize = 128;

/// Channels whose values are added in f32 before their sum is added to an f64.
const CHANNELS: usize = 32;

/// A layer norm of a map `[batch, channels, positions]`.
#[derive(Clone, Copy)]
pub struct LayerNorm<'a> {
    /// `[batch, channels, positions]`
    pub values: &'a [f32],
    /// The channels over which it normalises.
    pub channels: usize,
    /// The positions of a channel.
    pub positions: usize,
    /// A factor for each channel.
    pub gamma: &'a [f32],
    /// It is added to the variance.
    pub epsilon: f64,
}

/// Some positions of a sample, for one task.
struct Block<'a, N> {
    sample: usize,
    start: usize,
    len: usize,
    /// Of each channel.
    planes: Vec<Piece<'a>>,
    numbers: N,
}

impl LayerNorm<'_> {
    /// The positions of `buffer`, in blocks. `numbers` gives what else a task writes.
    fn blocks<'b, N>(
        &self,
        buffer: &'b mut UninitBuffer,
        mut numbers: impl FnMut() -> N,
    ) -> Vec<Block<'b, N>> {
        let of_sample = self.positions.div_ceil(POSITIONS);
        let samples = self.values.len() / (self.channels * self.positions);
        let block = |index: usize| {
            let start = index % of_sample * POSITIONS;
            Block {
                sample: index / of_sample,
                start,
                len: POSITIONS.min(self.positions - start),
                planes: Vec::with_capacity(self.channels),
                numbers: numbers(),
            }
        };
        let mut blocks: Vec<_> = (0..samples * of_sample).map(block).collect();
        let cuts = Cuts {
            plane: self.positions,
            block: POSITIONS,
            width: POSITIONS,
            step: 1,
        };
        for piece in buffer.pieces(cuts) {
            let index = piece.plane / self.channels * of_sample + piece.block;
            blocks[index].planes.push(piece.piece);
        }
        blocks
    }

    /// The values of a channel at the positions of a block.
    #[inline(always)]
    fn row<'v, N>(&self, values: &'v [f32], block: &Block<N>, channel: usize) -> &'v [f32] {
        let plane = block.sample * self.channels + channel;
        &values[plane * self.positions + block.start..][..block.len]
    }

    /// The mean over the channels of `term` of a value at each position, its index and the channel.
    #[inline(always)]
    fn mean_over_channels<N>(
        &self,
        block: &Block<N>,
        term: impl Fn(f32, usize, usize) -> f32,
    ) -> [f32; POSITIONS] {
        let mut total = [0.0f64; POSITIONS];
        for first in (0..self.channels).step_by(CHANNELS) {
            let mut part = [0.0f32; POSITIONS];
            for channel in first..self.channels.min(first + CHANNELS) {
                let row = self.row(self.values, block, channel);
                for (index, (part, value)) in part.iter_mut().zip(row).enumerate() {
                    *part += term(*value, index, channel);
                }
            }
            for (total, part) in total.iter_mut().zip(part) {
                *total += f64::from(part);
            }
        }
        let mut mean = [0.0f32; POSITIONS];
        for (mean, total) in mean.iter_mut().zip(total) {
            *mean = (total / self.channels as f64) as f32;
        }
        mean
    }

    /// The mean and `1 / sqrt(variance + epsilon)` of each position.
    #[inline(always)]
    fn statistics<N>(&self, block: &Block<N>) -> [[f32; POSITIONS]; 2] {
        let mean = self.mean_over_channels(block, |x, _, _| x);
        let square = |x: f32, index: usize, _| (x - mean[index]) * (x - mean[index]);
        let mut inverse = self.mean_over_channels(block, square);
        for variance in &mut inverse {
            *variance = (1.0 / (f64::from(*variance) + self.epsilon).sqrt()) as f32;
        }
        [mean, inverse]
    }
}

/// The normalised map.
pub fn forward(norm: LayerNorm, beta: &[f32]) -> Vec<f32> {
    let mut y = UninitBuffer::new(norm.values.len());
    let blocks = norm.blocks(&mut y, || ());
    threads::run(&Forward { norm, beta }, blocks);
    y.finish()
}

struct Forward<'a> {
    norm: LayerNorm<'a>,
    beta: &'a [f32],
}

impl Work<Block<'_, ()>> for Forward<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, _: S, mut block: Block<()>, _: &mut Scratch) {
        let norm = &self.norm;
        let [mean, inverse] = norm.statistics(&block);
        let planes = core::mem::take(&mut block.planes);
        for (channel, into) in planes.into_iter().enumerate() {
            let [gamma, beta] = [norm.gamma, self.beta].map(|numbers| numbers[channel]);
            let row = norm.row(norm.values, &block, channel);
            let statistics = mean.iter().zip(&inverse);
            let normalised = row.iter().zip(statistics).map(|(x, (mean, inverse))| {
                let x = (x - mean) * inverse;
                x * gamma + beta
            });
            into.fill(normalised);
        }
    }
}

/// The gradients of a layer norm.
pub struct Gradients {
    /// That of the map.
    pub x: Vec<f32>,
    /// That of the factors.
    pub gamma: Vec<f32>,
    /// That of the summands.
    pub beta: Vec<f32>,
}

/// The backward pass.
pub fn backward(norm: LayerNorm, gradient: &[f32]) -> Gradients {
    let mut x = UninitBuffer::new(norm.values.len());
    let of_sample = norm.positions.div_ceil(POSITIONS);
    let samples = norm.values.len() / (norm.channels * norm.positions);
    // Those of gamma and beta of each block.
    let mut numbers = vec![[0.0f64; 2]; samples * of_sample * norm.channels];
    let mut each = numbers.chunks_exact_mut(norm.channels);
    let next = || {
        let of_block = each.next();
        of_block.unwrap_or_else(|| unreachable!("there are numbers for each block"))
    };
    let blocks = norm.blocks(&mut x, next);
    threads::run(&Backward { norm, gradient }, blocks);
    let mut totals = vec![[0.0f64; 2]; norm.channels];
    for of_block in numbers.chunks_exact(norm.channels) {
        for (total, more) in totals.iter_mut().zip(of_block) {
            *total = [total[0] + more[0], total[1] + more[1]];
        }
    }
    Gradients {
        x: x.finish(),
        gamma: totals.iter().map(|total| total[0] as f32).collect(),
        beta: totals.iter().map(|total| total[1] as f32).collect(),
    }
}

struct Backward<'a> {
    norm: LayerNorm<'a>,
    gradient: &'a [f32],
}

impl Work<Block<'_, &mut [[f64; 2]]>> for Backward<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, _: S, mut block: Block<&mut [[f64; 2]]>, _: &mut Scratch) {
        let norm = &self.norm;
        let [mean, inverse] = norm.statistics(&block);
        let normalised = |x: f32, index: usize| (x - mean[index]) * inverse[index];
        let gradients: Vec<&[f32]> = (0..norm.channels)
            .map(|channel| norm.row(self.gradient, &block, channel))
            .collect();
        for (channel, (numbers, gradient)) in block.numbers.iter_mut().zip(&gradients).enumerate() {
            let plane = block.sample * norm.channels + channel;
            let row = &norm.values[plane * norm.positions + block.start..][..block.len];
            *numbers = sums([row, gradient, &mean, &inverse], |[x, g, mean, inverse]| {
                [g * ((x - mean) * inverse), g]
            });
        }
        let scaled = |index: usize, channel: usize| gradients[channel][index] * norm.gamma[channel];
        let of_mean = norm.mean_over_channels(&block, |_, index, channel| scaled(index, channel));
        let of_deviation = norm.mean_over_channels(&block, |x, index, channel| {
            scaled(index, channel) * normalised(x, index)
        });
        let planes = core::mem::take(&mut block.planes);
        for (channel, into) in planes.into_iter().enumerate() {
            let row = norm.row(norm.values, &block, channel);
            let gamma = norm.gamma[channel];
            let both = row.iter().zip(gradients[channel]).enumerate();
            into.fill(both.map(|(index, (x, gradient))| {
                let centered = gradient * gamma - of_mean[index];
                inverse[index] * (centered - normalised(*x, index) * of_deviation[index])
            }));
        }
    }
}
