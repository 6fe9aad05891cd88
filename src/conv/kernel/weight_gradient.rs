//! The gradient to the weight: inner products of the gradient and what the windows saw.

use alloc::{vec, vec::Vec};

use pulp::Simd;

use super::plan::Geometry;
use super::simd::{self, Rows};
use super::stage::{Source, Staging, Window};
use super::threads::{self, Scratch, Work, grow};

/// Floats that the staged rows of a block may take.
const STAGED: usize = 128 * 1024;

struct WeightGradient<'a> {
    sources: &'a [Source<'a>],
    gradient: Source<'a>,
    staging: Staging,
    /// Lays out the gradient as the sums of `staging` lie, with zeros between the rows.
    flat: Staging,
    offsets: Vec<u32>,
    groups: usize,
    rows: usize,
}

/// The rows of the weight from `first`, over every `step`-th block of rows of the maps from `block`.
struct Task<'a> {
    first: usize,
    weight: &'a mut [f32],
    block: usize,
    step: usize,
}

impl Work<Task<'_>> for WeightGradient<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S, task: Task, [staged, flat]: &mut Scratch) {
        let height = self.gradient.size[0];
        let blocks = height.div_ceil(self.rows);
        let steps = self.offsets.len();
        let count = task.weight.len() / steps;
        let group = task.first * self.groups / self.gradient.channels;
        let len = self.staging.channel_len();
        let channels = self
            .sources
            .iter()
            .map(|source| source.channels)
            .sum::<usize>()
            / self.groups;
        let columns = (self.rows * self.flat.pitch).next_multiple_of(S::F32_LANES);
        grow(staged, channels * len + columns);
        grow(flat, count * columns);
        let batch =
            self.gradient.values.len() / (self.gradient.channels * height * self.gradient.size[1]);
        let mut index = task.block;
        while index < batch * blocks {
            let (batch, row) = (index / blocks, index % blocks * self.rows);
            let mut left = staged.chunks_exact_mut(len);
            for source in self.sources {
                let seen = source.channels / self.groups;
                for (channel, into) in (group * seen..(group + 1) * seen).zip(&mut left) {
                    self.staging.fill(source, batch, channel, row, into);
                }
            }
            for (channel, into) in flat.chunks_exact_mut(columns).take(count).enumerate() {
                let (rows, rest) = into.split_at_mut(self.rows * self.flat.pitch);
                self.flat
                    .fill(&self.gradient, batch, task.first + channel, row, rows);
                rest.fill(0.0);
            }
            let rows = Rows {
                values: flat,
                step: columns,
            };
            simd::inner_products(
                simd,
                count,
                rows,
                (staged, &self.offsets),
                columns,
                (task.weight, steps),
            );
            index += task.step;
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
    let flat = Staging::with_pitch(one, rows, staging.pitch);
    let mut offsets = Vec::new();
    for channel in 0..channels {
        for tap in 0..geometry.taps() {
            let at = staging.offset([tap / geometry.kernel[1], tap % geometry.kernel[1]]);
            offsets.push((channel * staging.channel_len() + at) as u32);
        }
    }
    let steps = offsets.len();
    if steps == 0 {
        return Vec::new();
    }
    let work = WeightGradient {
        sources,
        gradient,
        staging,
        flat,
        offsets,
        groups: geometry.groups,
        rows,
    };
    // First the outputs are shared among the threads, then the blocks of the maps.
    let parts = threads::parts();
    let of_a_group = outputs / geometry.groups;
    let mut some = outputs.div_ceil(parts).next_multiple_of(4).min(of_a_group);
    while geometry.groups > 1 && of_a_group % some != 0 {
        some += 1;
    }
    let blocks = batch * height.div_ceil(rows);
    let shares = parts.div_ceil(outputs.div_ceil(some)).clamp(1, blocks);
    let mut weights: Vec<Vec<f32>> = vec![vec![0.0; outputs * steps]; shares];
    let tasks = weights.iter_mut().enumerate().flat_map(|(block, weight)| {
        weight
            .chunks_mut(some * steps)
            .enumerate()
            .map(move |(index, weight)| Task {
                first: index * some,
                weight,
                block,
                step: shares,
            })
    });
    threads::run(&work, tasks.collect());
    let mut weights = weights.into_iter();
    let mut sum = weights.next().unwrap_or_default();
    for weight in weights {
        for (sum, more) in sum.iter_mut().zip(weight) {
            *sum += more;
        }
    }
    sum
}
