//! Lays maps out for the convolution without dilation that computes a dilated one, and back.

use alloc::{vec, vec::Vec};

use pulp::Simd;

use super::epilogue::ResidualSum;
use super::source::{Source, SourceRow};
use super::threads::{self, Scratch, Work};
use crate::policy::{PhaseLayout, SourceShape};

/// Values of a task.
const TASK: usize = 1 << 15;

/// What the source reads, with the norm and the activation that it is read through: `[(sample, row phase), channels,
/// slices, rows, columns]`.
pub(super) fn lay_out(source: &Source, samples: usize, layout: PhaseLayout) -> Vec<f32> {
    let SourceShape {
        channels, slices, ..
    } = source.shape();
    let [rows, width] = layout.size();
    let planes = samples * layout.dilation[0] * channels * slices.count;
    let mut found = vec![0.0; planes * rows * width];
    run_by_planes(&LayOut { source, layout }, &mut found, rows * width);
    found
}

/// The same of all sources.
pub(super) fn lay_out_all(
    sources: &[Source],
    samples: usize,
    layout: PhaseLayout,
) -> Vec<Vec<f32>> {
    let maps = sources
        .iter()
        .map(|source| lay_out(source, samples, layout));
    maps.collect()
}

/// The maps that were laid out, as sources of these shapes.
pub(super) fn as_sources<'a>(maps: &'a [Vec<f32>], shapes: &[SourceShape]) -> Vec<Source<'a>> {
    let maps = maps.iter().zip(shapes);
    maps.map(|(values, &shape)| Source::new(values, shape))
        .collect()
}

/// The map that was laid out, `[samples, channels, slices, height, width]`. `channels` counts the slices of all
/// channels. The sum is applied to what is put back.
pub(super) fn put_back(
    values: &[f32],
    samples: usize,
    channels: usize,
    layout: PhaseLayout,
    sum: Option<ResidualSum>,
) -> Vec<f32> {
    let positions = layout.full[0] * layout.full[1];
    let mut found = vec![0.0; samples * channels * positions];
    let work = PutBack {
        values,
        channels,
        layout,
        sum,
    };
    run_by_planes(&work, &mut found, positions);
    found
}

/// Some planes that are written.
struct Planes<'a> {
    first: usize,
    values: &'a mut [f32],
}

fn run_by_planes(work: &impl for<'a> Work<Planes<'a>>, into: &mut [f32], plane: usize) {
    if plane == 0 {
        return;
    }
    let planes = TASK.div_ceil(plane);
    let tasks = into.chunks_mut(planes * plane).enumerate();
    let tasks = tasks.map(|(index, values)| Planes {
        first: index * planes,
        values,
    });
    threads::run(work, tasks.collect());
}

struct LayOut<'a> {
    source: &'a Source<'a>,
    layout: PhaseLayout,
}

impl Work<Planes<'_>> for LayOut<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, _: S, planes: Planes, _: &mut Scratch) {
        let PhaseLayout {
            dilation: [rows_apart, columns_apart],
            full: [_, full_width],
            pitch,
        } = self.layout;
        let [rows, width] = self.layout.size();
        let SourceShape {
            channels, slices, ..
        } = self.source.shape();
        let targets = planes.values.chunks_exact_mut(rows * width);
        for (plane, into) in (planes.first..).zip(targets) {
            let (map, slice) = (plane / slices.count, plane % slices.count);
            let (phase, channel) = (map / channels, map % channels);
            let (sample, phase) = (phase / rows_apart, phase % rows_apart);
            let from = self.source.stored_plane(sample, channel, slice);
            let read = from.chunks_exact(full_width.max(1)).skip(phase);
            for (from, into) in read.step_by(rows_apart).zip(into.chunks_exact_mut(width)) {
                for (first, into) in into.chunks_mut(pitch).enumerate() {
                    let count = full_width.saturating_sub(first).div_ceil(columns_apart);
                    let row = SourceRow {
                        values: from,
                        first,
                        step: columns_apart,
                        factor: 1,
                    };
                    self.source.read_row(channel, row, &mut into[..count]);
                }
            }
        }
    }
}

struct PutBack<'a> {
    values: &'a [f32],
    channels: usize,
    layout: PhaseLayout,
    sum: Option<ResidualSum<'a>>,
}

impl Work<Planes<'_>> for PutBack<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S, planes: Planes, _: &mut Scratch) {
        let PhaseLayout {
            dilation: [rows_apart, columns_apart],
            full: [height, width],
            pitch,
        } = self.layout;
        let [rows, laid_width] = self.layout.size();
        let targets = planes.values.chunks_exact_mut(height * width);
        for (plane, into) in (planes.first..).zip(targets) {
            let (sample, channel) = (plane / self.channels, plane % self.channels);
            for (y, into) in into.chunks_exact_mut(width).enumerate() {
                let map = sample * rows_apart + y % rows_apart;
                let row = (map * self.channels + channel) * rows + y / rows_apart;
                let from = &self.values[row * laid_width..][..laid_width];
                for (phase, from) in from.chunks(pitch).enumerate() {
                    let into = into[phase.min(width)..].iter_mut().step_by(columns_apart);
                    for (into, from) in into.zip(from) {
                        *into = *from;
                    }
                }
            }
            if let Some(sum) = &self.sum {
                sum.apply(simd, plane * into.len(), into);
            }
        }
    }
}
