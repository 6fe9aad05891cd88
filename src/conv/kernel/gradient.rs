//! The gradient to the sources: a convolution of the gradient, by the weight turned round.

use alloc::{borrow::Cow, vec, vec::Vec};

use rayon::prelude::*;

use super::direct::{Direct, Phase};
use super::plan::{self, Geometry};
use super::sink::{Epilogue, Output, Sink};
use super::stage::{Source, Staging, Window};
use super::weight_gradient::plain_weight_gradient;

/// A source, as its gradient is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) channels: usize,
    pub(crate) size: [usize; 2],
    pub(crate) up: [usize; 2],
    /// Whether it is asked for.
    pub(crate) wanted: bool,
}

impl Wanted {
    fn is_enlarged(&self) -> bool {
        self.up != [1, 1]
    }
}

/// The gradients to the sources, from that to the output, `[batch, outputs, size...]`.
pub(crate) fn input_gradient(
    gradient: &[f32],
    batch: usize,
    (weight, outputs): (&[f32], usize),
    geometry: &Geometry,
    sources: &[Wanted],
) -> Vec<Option<Vec<f32>>> {
    let inputs: usize = sources.iter().map(|source| source.channels).sum();
    let mut gradients: Vec<Option<Vec<f32>>> = Vec::new();
    let mut plain = Vec::new();
    let mut channel = 0;
    for source in sources {
        let channels = channel..channel + source.channels;
        channel = channels.end;
        gradients.push(match (source.wanted, source.is_enlarged()) {
            (false, _) => None,
            (true, true) => {
                let enlarged = Enlarged {
                    geometry,
                    size: source.size,
                    up: source.up,
                };
                let weight = enlarged.folded(weight, [outputs, inputs], channels);
                let from = as_source(gradient, outputs, geometry.size);
                let weight = (&weight[..], source.channels);
                Some(plan::forward(
                    &[from],
                    batch,
                    weight,
                    &enlarged.folded_geometry(),
                    Epilogue::default(),
                ))
            }
            (true, false) => {
                plain.extend(channels);
                Some(vec![
                    0.0;
                    batch
                        * source.channels
                        * source.size[0]
                        * source.size[1]
                ])
            }
        });
    }
    let kept = sources
        .iter()
        .zip(&mut gradients)
        .filter(|(source, _)| !source.is_enlarged());
    let mut size = [0, 0];
    let sinks = kept.filter_map(|(source, values)| {
        size = source.size;
        Some(Sink {
            values: values.as_mut()?,
            channels: source.channels,
        })
    });
    let sinks: Vec<_> = sinks.collect();
    if !sinks.is_empty() {
        plain_gradient(
            gradient,
            batch,
            (weight, outputs),
            geometry,
            [inputs, size[0], size[1]],
            &plain,
            (sinks, Epilogue::default()),
        );
    }
    gradients
}

fn as_source(values: &[f32], channels: usize, size: [usize; 2]) -> Source<'_> {
    Source {
        values,
        channels,
        size,
        up: [1, 1],
        prologue: None,
    }
}

/// The transposed convolution of `x`, `[batch, inputs, size...]` by `[inputs, outputs, kernel...]`: the
/// gradient of the convolution from its output to its input.
pub(crate) fn transposed(
    x: &[f32],
    batch: usize,
    (weight, inputs): (&[f32], usize),
    geometry: &Geometry,
    (outputs, size): (usize, [usize; 2]),
    epilogue: Epilogue,
) -> Vec<f32> {
    let mut values = vec![0.0; batch * outputs * size[0] * size[1]];
    let sink = Sink {
        values: &mut values,
        channels: outputs,
    };
    let channels: Vec<usize> = (0..outputs).collect();
    let shape = [outputs, size[0], size[1]];
    plain_gradient(
        x,
        batch,
        (weight, inputs),
        geometry,
        shape,
        &channels,
        (vec![sink], epilogue),
    );
    values
}

/// The gradient to `wanted` channels of a map of `[inputs, height, width]`.
fn plain_gradient(
    gradient: &[f32],
    batch: usize,
    (weight, outputs): (&[f32], usize),
    geometry: &Geometry,
    [inputs, height, width]: [usize; 3],
    wanted: &[usize],
    (sinks, epilogue): (Vec<Sink>, Epilogue),
) {
    let size = [height, width];
    let step = geometry.stride;
    // How many outputs before and after the position of an input see it.
    let before = [0, 1].map(|axis| {
        let span =
            ((geometry.kernel[axis] - 1) * geometry.dilation[axis]) as isize - geometry.pad[axis];
        span.div_euclid(step[axis] as isize) + 1
    });
    let after = [0, 1]
        .map(|axis| (step[axis] as isize - 1 + geometry.pad[axis]).div_euclid(step[axis] as isize));
    let window = Window {
        kernel: [0, 1].map(|axis| (before[axis] + after[axis] + 1).max(1) as usize),
        stride: [1, 1],
        dilation: [1, 1],
        pad: before,
    };
    let steps = [0, 1].map(|axis| size[axis].div_ceil(step[axis]));
    let rows = plan::rows_of_a_task(window, outputs / geometry.groups, steps, batch);
    let staging = Staging::new(window, rows, steps[1]);
    let phases = (0..step[0] * step[1]).map(|phase| {
        let phase = [phase / step[1], phase % step[1]];
        let [by_row, by_column] =
            [0, 1].map(|axis| taps_of(geometry, axis, phase[axis], before[axis]));
        let (mut taps, mut at) = (Vec::new(), Vec::new());
        for &(row, y) in &by_row {
            for &(column, x) in &by_column {
                taps.push(row * geometry.kernel[1] + column);
                at.push(staging.offset([y, x]));
            }
        }
        let outputs_of_a_group = outputs / geometry.groups;
        let starts = (0..outputs_of_a_group).map(|output| output * staging.channel_len());
        let offsets: Vec<u32> = starts
            .flat_map(|start| at.iter().map(move |at| (start + at) as u32))
            .collect();
        let weight = turned(weight, [outputs, inputs], geometry, wanted, &taps);
        Phase::new(Cow::Owned(weight), &offsets)
    });
    let source = as_source(gradient, outputs, geometry.size);
    let work = Direct {
        sources: &[source],
        groups: geometry.groups,
        staging,
        step,
        phases: phases.collect(),
        output: Output {
            channels: wanted.len(),
            size,
            epilogue,
        },
    };
    plan::run(&work, sinks, batch, rows);
}

/// The taps through which the outputs see the inputs at `phase` modulo the stride, and where those
/// outputs are, counted from `before` before.
fn taps_of(geometry: &Geometry, axis: usize, phase: usize, before: isize) -> Vec<(usize, usize)> {
    let (stride, pad) = (geometry.stride[axis] as isize, geometry.pad[axis]);
    let seen_by = |tap: usize| {
        let from = phase as isize + pad - (tap * geometry.dilation[axis]) as isize;
        (from.rem_euclid(stride) == 0).then(|| (from.div_euclid(stride) + before) as usize)
    };
    let taps = 0..geometry.kernel[axis];
    taps.filter_map(|tap| Some((tap, seen_by(tap)?))).collect()
}

/// The weight by inputs: one row for each of `channels`, with some taps of each output of its group.
fn turned(
    weight: &[f32],
    [outputs, inputs]: [usize; 2],
    geometry: &Geometry,
    channels: &[usize],
    taps: &[usize],
) -> Vec<f32> {
    let (inputs, outputs) = (inputs / geometry.groups, outputs / geometry.groups);
    let len = outputs * taps.len();
    let mut turned = vec![0.0; channels.len() * len];
    if len == 0 {
        return turned;
    }
    // Some channels at a time, whose weights are neighbours.
    const BLOCK: usize = 16;
    let blocks = turned
        .par_chunks_mut(BLOCK * len)
        .zip(channels.par_chunks(BLOCK));
    blocks.for_each(|(into, channels)| {
        for output in 0..outputs {
            for (into, &channel) in into.chunks_exact_mut(len).zip(channels) {
                let (group, channel) = (channel / inputs, channel % inputs);
                let start = ((group * outputs + output) * inputs + channel) * geometry.taps();
                let from = &weight[start..][..geometry.taps()];
                for (into, &tap) in into[output * taps.len()..].iter_mut().zip(taps) {
                    *into = from[tap];
                }
            }
        }
    });
    turned
}

/// A source that is read enlarged. Its gradient is a convolution with the factor as the stride, by a
/// larger kernel: all products of a value and a gradient are one.
struct Enlarged<'a> {
    geometry: &'a Geometry,
    size: [usize; 2],
    up: [usize; 2],
}

impl Enlarged<'_> {
    fn folded_geometry(&self) -> Geometry {
        let axes = [0, 1];
        Geometry {
            kernel: axes.map(|axis| self.geometry.kernel[axis] + self.up[axis] - 1),
            stride: self.up,
            dilation: [1, 1],
            pad: axes.map(|axis| self.geometry.kernel[axis] as isize - 1 - self.geometry.pad[axis]),
            groups: 1,
            size: self.size,
        }
    }

    /// Calls `f` with every tap and every tap of the larger kernel that it is a part of.
    fn pairs(&self) -> Vec<(usize, usize)> {
        let [rows, columns] = self.geometry.kernel;
        let width = columns + self.up[1] - 1;
        let mut pairs = Vec::new();
        for tap in 0..rows * columns {
            let (row, column) = (tap / columns, tap % columns);
            for part in 0..self.up[0] * self.up[1] {
                let (y, x) = (part / self.up[1], part % self.up[1]);
                pairs.push((tap, (rows - 1 - row + y) * width + columns - 1 - column + x));
            }
        }
        pairs
    }

    /// The larger kernel, `[channels, outputs, kernel...]`.
    fn folded(
        &self,
        weight: &[f32],
        [outputs, inputs]: [usize; 2],
        channels: core::ops::Range<usize>,
    ) -> Vec<f32> {
        let (taps, larger) = (self.geometry.taps(), self.folded_geometry().taps());
        let pairs = self.pairs();
        let mut folded = vec![0.0; channels.len() * outputs * larger];
        let rows = folded
            .par_chunks_exact_mut(outputs * larger)
            .enumerate()
            .with_min_len(8);
        rows.for_each(|(channel, into)| {
            for (output, into) in into.chunks_exact_mut(larger).enumerate() {
                let from = &weight[(output * inputs + channels.start + channel) * taps..][..taps];
                for &(tap, place) in &pairs {
                    into[place] += from[tap];
                }
            }
        });
        folded
    }
}

/// The gradient to the weight, `[outputs, inputs / groups, kernel...]`, from that to the output.
pub(crate) fn weight_gradient(
    sources: &[Source],
    (gradient, outputs): (&[f32], usize),
    batch: usize,
    geometry: &Geometry,
) -> Vec<f32> {
    let plain: Vec<Source> = sources
        .iter()
        .copied()
        .filter(|source| source.up == [1, 1])
        .collect();
    if plain.len() == sources.len() {
        return plain_weight_gradient(
            &plain,
            as_source(gradient, outputs, geometry.size),
            batch,
            geometry,
        );
    }
    let plain = plain_weight_gradient(
        &plain,
        as_source(gradient, outputs, geometry.size),
        batch,
        geometry,
    );
    let taps = geometry.taps();
    let inputs: usize = sources.iter().map(|source| source.channels).sum();
    let plain_len = plain.len() / outputs;
    let mut weight = vec![0.0; outputs * inputs * taps];
    let (mut first, mut first_plain) = (0, 0);
    for source in sources {
        let len = source.channels * taps;
        if source.up == [1, 1] {
            for output in 0..outputs {
                weight[output * inputs * taps + first..][..len]
                    .copy_from_slice(&plain[output * plain_len + first_plain..][..len]);
            }
            first_plain += len;
        } else {
            let enlarged = Enlarged {
                geometry,
                size: source.size,
                up: source.up,
            };
            let gradient = as_source(gradient, outputs, geometry.size);
            let (folded, larger) = (
                enlarged.folded_geometry(),
                enlarged.folded_geometry().taps(),
            );
            let folded = plain_weight_gradient(
                &[gradient],
                Source {
                    up: [1, 1],
                    ..*source
                },
                batch,
                &folded,
            );
            let pairs = enlarged.pairs();
            for output in 0..outputs {
                for channel in 0..source.channels {
                    let into =
                        &mut weight[output * inputs * taps + first + channel * taps..][..taps];
                    let from = &folded[(channel * outputs + output) * larger..][..larger];
                    for &(tap, place) in &pairs {
                        into[tap] += from[place];
                    }
                }
            }
        }
        first += len;
    }
    weight
}
