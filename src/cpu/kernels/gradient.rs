//! The gradient to the sources: a convolution of the gradient, by the weight turned round.

use alloc::{borrow::Cow, vec, vec::Vec};
use core::ops::Range;

use super::direct::{Direct, Phase};
use super::fold::{self, Fold};
use super::plan;
use super::prepared::Weight;
use super::raw::blank::Blank;
use super::sink::{Epilogue, Output, Sink};
use super::stage::{Source, Staging, Window};
use super::weight_gradient::plain_weight_gradient;
use crate::cpu::policy::{Algorithm, Geometry, TransposedShape};

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
    let (mut plain, mut blanks) = (Vec::new(), Vec::new());
    let mut channel = 0;
    for (index, source) in sources.iter().enumerate() {
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
                let weight = Weight::new(&weight, source.channels);
                Some(plan::forward(
                    &[from],
                    batch,
                    weight,
                    &enlarged.folded_geometry(),
                    Epilogue::default(),
                ))
            }
            (true, false) => {
                plain.push(channels);
                let len = batch * source.channels * source.size[0] * source.size[1];
                blanks.push((index, Blank::new(len)));
                None
            }
        });
    }
    if let Some(&(first, _)) = blanks.first() {
        let [height, width] = sources[first].size;
        let sinks = blanks.iter_mut().map(|(index, values)| Sink {
            values,
            channels: sources[*index].channels,
        });
        let sinks = sinks.collect();
        plain_gradient(
            gradient,
            batch,
            (weight, outputs),
            geometry,
            [inputs, height, width],
            &plain,
            (sinks, Epilogue::default()),
        );
    }
    for (index, values) in blanks {
        gradients[index] = Some(values.finish());
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
    let mut values = Blank::new(batch * outputs * size[0] * size[1]);
    let sink = Sink {
        values: &mut values,
        channels: outputs,
    };
    let all = 0..outputs;
    let shape = [outputs, size[0], size[1]];
    plain_gradient(
        x,
        batch,
        (weight, inputs),
        geometry,
        shape,
        core::slice::from_ref(&all),
        (vec![sink], epilogue),
    );
    values.finish()
}

/// The gradient to `wanted` channels of a map of `[inputs, height, width]`.
fn plain_gradient(
    gradient: &[f32],
    batch: usize,
    (weight, outputs): (&[f32], usize),
    geometry: &Geometry,
    [inputs, height, width]: [usize; 3],
    wanted: &[Range<usize>],
    (sinks, epilogue): (Vec<Sink>, Epilogue),
) {
    let size = [height, width];
    let step = geometry.stride;
    let source = as_source(gradient, outputs, geometry.size);
    let least = wanted.iter().map(Range::len).min().unwrap_or(0);
    let shape = TransposedShape {
        geometry: geometry.clone(),
        batch,
        inputs: outputs,
        outputs: least,
        size,
    };
    if shape.algorithm() == Algorithm::Winograd {
        let mirrored = shape.rotated().geometry;
        for (range, sink) in wanted.iter().zip(sinks) {
            let components = fold::components(weight, [outputs, inputs], range.clone(), true);
            let output = Output {
                channels: range.len(),
                size,
                epilogue,
            };
            plan::by_components(&[source], &components, &mirrored, output, vec![sink], batch);
        }
        return;
    }
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
        let fold = Fold::new(geometry.taps(), taps.len(), &positions(&taps));
        let weight = turned(weight, [outputs, inputs], geometry.groups, wanted, &fold);
        Phase::new(Cow::Owned(weight), &offsets)
    });
    let work = Direct {
        sources: &[source],
        groups: geometry.groups,
        staging,
        step,
        phases: phases.collect(),
        output: Output {
            channels: wanted.iter().map(Range::len).sum(),
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

/// Each tap, and its place in the list.
fn positions(taps: &[usize]) -> Vec<(usize, usize)> {
    let places = taps.iter().copied().enumerate();
    places.map(|(place, tap)| (tap, place)).collect()
}

/// The weight by inputs: one row for each of some channels, with the kernels of the outputs of its group.
fn turned(
    weight: &[f32],
    [outputs, inputs]: [usize; 2],
    groups: usize,
    wanted: &[Range<usize>],
    fold: &Fold,
) -> Vec<f32> {
    let (inputs, outputs) = (inputs / groups, outputs / groups);
    if groups == 1 {
        let run = |run: &Range<usize>| {
            fold::turned(weight, [outputs, inputs, run.start, run.len()], fold)
        };
        return match wanted {
            [only] => run(only),
            _ => wanted.iter().map(run).collect::<Vec<_>>().concat(),
        };
    }
    let groups = weight.chunks_exact(weight.len() / groups);
    let turned = groups.map(|weight| fold::turned(weight, [outputs, inputs, 0, inputs], fold));
    turned.collect::<Vec<_>>().concat()
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

    /// Every tap, and every tap of the larger kernel that it is a part of.
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
        channels: Range<usize>,
    ) -> Vec<f32> {
        let larger = self.folded_geometry().taps();
        let fold = Fold::new(self.geometry.taps(), larger, &self.pairs());
        fold::turned(
            weight,
            [outputs, inputs, channels.start, channels.len()],
            &fold,
        )
    }

    /// From the gradient to the larger kernel, that to the kernel: `[outputs, channels, kernel...]`.
    fn unfolded(&self, gradient: &[f32], [outputs, channels]: [usize; 2]) -> Vec<f32> {
        let pairs: Vec<_> = self
            .pairs()
            .into_iter()
            .map(|(tap, part)| (part, tap))
            .collect();
        let larger = self.folded_geometry().taps();
        let fold = Fold::new(larger, self.geometry.taps(), &pairs);
        fold::turned(gradient, [channels, outputs, 0, outputs], &fold)
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
    if !plan::shape_of(sources, outputs, batch, geometry).has_weight_gradient_by_tap_sums() {
        return plain_weight_gradient(
            sources,
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
            let source_as_gradient = Source {
                up: [1, 1],
                ..*source
            };
            let folded = enlarged.folded_geometry();
            let found = plain_weight_gradient(&[gradient], source_as_gradient, batch, &folded);
            let found = enlarged.unfolded(&found, [outputs, source.channels]);
            for (output, from) in found.chunks_exact(len).enumerate() {
                weight[output * inputs * taps + first..][..len].copy_from_slice(from);
            }
        }
        first += len;
    }
    weight
}
