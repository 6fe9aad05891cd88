//! From the numbers of a convolution to its tasks: which taps are summed, and where each one reads.

use alloc::{borrow::Cow, vec, vec::Vec};

use super::direct::{Direct, Phase};
use super::fold::{self, Fold, Phased};
use super::prepared::{Form, Weight};
use super::raw::blank::Blank;
use super::sink::{Epilogue, Output, Sink, split};
use super::stage::{Source, Staging, Window, channels_of};
use super::threads;
use super::winograd::Winograd;
use crate::cpu::policy::{Algorithm, ConvShape, Geometry, WeightUse};

/// Floats that the staged rows of a task may take: half of a usual second cache.
const STAGED: usize = 128 * 1024;

impl Geometry {
    pub(super) fn window(&self) -> Window {
        Window {
            kernel: self.kernel,
            stride: self.stride,
            dilation: self.dilation,
            pad: self.pad,
        }
    }
}

/// The numbers of a convolution of these sources, as the policy asks for them.
pub(super) fn shape_of(
    sources: &[Source],
    outputs: usize,
    batch: usize,
    geometry: &Geometry,
) -> ConvShape {
    ConvShape {
        geometry: geometry.clone(),
        batch,
        sources: sources.iter().map(Source::shape).collect(),
        outputs,
    }
}

/// Taps of one axis whose weights are summed, since they read the same value; and where that is in the
/// window that is staged.
struct Group {
    taps: Vec<usize>,
    at: usize,
}

/// The groups of the outputs at `phase` modulo `up`, over a map that is read enlarged so many times.
fn groups(kernel: usize, pad: isize, up: usize, phase: usize) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let value = |at: usize| (at as isize - pad).div_euclid(up as isize);
    for tap in 0..kernel {
        let at = phase + tap;
        match groups.last_mut() {
            Some(group) if value(group.at) == value(at) => group.taps.push(tap),
            _ => groups.push(Group {
                taps: vec![tap],
                at,
            }),
        }
    }
    groups
}

/// The sums of taps of a channel of a source at one phase, and where they read.
struct Pattern {
    sums: Vec<Vec<usize>>,
    at: Vec<usize>,
}

impl Pattern {
    fn new(
        source: &Source,
        geometry: &Geometry,
        staging: &Staging,
        step: [usize; 2],
        phase: [usize; 2],
    ) -> Self {
        let [rows, columns] = [0, 1].map(|axis| {
            // A map that is not enlarged by the step is staged as it is read.
            let up = if source.up[axis] == step[axis] {
                step[axis]
            } else {
                1
            };
            groups(geometry.kernel[axis], geometry.pad[axis], up, phase[axis])
        });
        let (mut sums, mut at) = (Vec::new(), Vec::new());
        for row in &rows {
            for column in &columns {
                let taps = row.taps.iter().flat_map(|r| {
                    let tap = move |c| r * geometry.kernel[1] + c;
                    column.taps.iter().map(tap)
                });
                sums.push(taps.collect());
                at.push(staging.offset([row.at, column.at]));
            }
        }
        Self { sums, at }
    }
}

/// How the kernels of a source become those of its phases.
fn phased(channels: usize, taps: usize, patterns: &[Pattern]) -> Phased {
    let mut pairs = Vec::new();
    let sums = patterns.iter().flat_map(|pattern| &pattern.sums);
    for (place, sum) in sums.clone().enumerate() {
        pairs.extend(sum.iter().map(|&tap| (tap, place)));
    }
    Phased {
        channels,
        fold: Fold::new(taps, sums.count(), &pairs),
        lens: patterns.iter().map(|pattern| pattern.sums.len()).collect(),
    }
}

/// As many rows of outputs (in steps) to a task as the second cache takes, and as keep all threads at work.
pub(super) fn rows_of_a_task(
    window: Window,
    channels: usize,
    [height, width]: [usize; 2],
    batch: usize,
) -> usize {
    let wanted = (batch * height).div_ceil(threads::parts()).max(1);
    let mut rows = 1;
    while rows < height && (rows * width < 192 || rows < wanted) {
        let more = Staging::new(window, rows + 1, width).channel_len() * channels;
        if more > STAGED && rows * width >= 48 {
            break;
        }
        rows += 1;
    }
    // Blocks of one size.
    height.div_ceil(height.div_ceil(rows))
}

/// Output channels of a task: all, unless there are too few tasks to keep all threads at work.
fn channels_of_a_task(tasks: usize, channels: usize, groups: usize) -> usize {
    let of_a_group = channels / groups;
    let pieces = threads::pieces(tasks * groups, 1)
        .min(of_a_group.div_ceil(8))
        .max(1);
    // A task has channels of one group only.
    let mut some = of_a_group
        .div_ceil(pieces)
        .next_multiple_of(8)
        .min(of_a_group);
    while groups > 1 && !of_a_group.is_multiple_of(some) {
        some += 1;
    }
    some
}

/// `y = epilogue(conv(cat(sources), weight))`, `[batch, outputs, size...]`.
pub(crate) fn forward(
    sources: &[Source],
    batch: usize,
    weight: Weight,
    geometry: &Geometry,
    epilogue: Epilogue,
) -> Vec<f32> {
    let outputs = weight.outputs;
    let mut values = Blank::new(batch * outputs * geometry.size[0] * geometry.size[1]);
    let output = Output {
        channels: outputs,
        size: geometry.size,
        epilogue,
    };
    let sink = Sink {
        values: &mut values,
        channels: outputs,
    };
    let weight_use = match weight.keep {
        Some(_) => WeightUse::Kept,
        None => WeightUse::Once,
    };
    let algorithm = shape_of(sources, outputs, batch, geometry).algorithm(weight_use);
    if algorithm == Algorithm::Winograd {
        let inputs = channels_of(sources);
        let components = weight.made(Form::Components, || {
            let weight = weight.values;
            vec![fold::components(
                weight,
                [outputs, inputs],
                0..inputs,
                false,
            )]
        });
        by_components(sources, &components[0], geometry, output, vec![sink], batch);
        return values.finish();
    }
    let step = match algorithm {
        Algorithm::TapSums { step } => step,
        _ => [1, 1],
    };
    let enlarged = step != [1, 1];
    let window = if enlarged {
        Window {
            kernel: [0, 1].map(|axis| geometry.kernel[axis] + step[axis] - 1),
            stride: step,
            ..geometry.window()
        }
    } else {
        geometry.window()
    };
    let channels = channels_of(sources) / geometry.groups;
    let size = [0, 1].map(|axis| geometry.size[axis].div_ceil(step[axis]));
    let rows = rows_of_a_task(window, channels, size, batch);
    let staging = Staging::new(window, rows, size[1]);
    let patterns_of = |source: &Source| -> Vec<Pattern> {
        let phases = (0..step[0] * step[1]).map(|phase| [phase / step[1], phase % step[1]]);
        let pattern = |phase| Pattern::new(source, geometry, &staging, step, phase);
        phases.map(pattern).collect()
    };
    let patterns: Vec<Vec<Pattern>> = sources.iter().map(patterns_of).collect();
    let of_a_group = |source: &Source| source.channels / geometry.groups;
    let offsets_of = |phase: usize| {
        let mut offsets = Vec::new();
        let mut start = 0;
        for (source, patterns) in sources.iter().zip(&patterns) {
            for _ in 0..of_a_group(source) {
                offsets.extend(patterns[phase].at.iter().map(|at| (start + at) as u32));
                start += staging.channel_len();
            }
        }
        offsets
    };
    let made;
    let weights: Vec<&[f32]> = if enlarged {
        made = weight.made(Form::sums(geometry, sources), || {
            let phased = |(source, patterns): (&Source, &Vec<Pattern>)| {
                phased(of_a_group(source), geometry.taps(), patterns)
            };
            let phased: Vec<_> = sources.iter().zip(&patterns).map(phased).collect();
            let phases = step[0] * step[1];
            fold::phased(weight.values, outputs, geometry.taps(), &phased, phases)
        });
        made.iter().map(|weight| &weight[..]).collect()
    } else {
        vec![weight.values]
    };
    let phases = weights.into_iter().enumerate();
    let phases =
        phases.map(|(phase, weight)| Phase::new(Cow::Borrowed(weight), &offsets_of(phase)));
    let work = Direct {
        sources,
        groups: geometry.groups,
        staging,
        step,
        phases: phases.collect(),
        output,
    };
    run(&work, vec![sink], batch, rows);
    values.finish()
}

/// A convolution of 3x3 by the components of its weight.
pub(super) fn by_components(
    sources: &[Source],
    weight: &[f32],
    geometry: &Geometry,
    output: Output,
    sinks: Vec<Sink>,
    batch: usize,
) {
    let window = Winograd::window(geometry);
    let [height, width] = output.size.map(|size| size.div_ceil(2));
    let rows = rows_of_a_task(window, channels_of(sources), [height, width], batch);
    let work = Winograd::new(sources, weight, window, rows, output);
    let tasks = batch * height.div_ceil(rows);
    let channels = channels_of_a_task(tasks, output.channels, 1);
    threads::run(
        &work,
        split(sinks, batch, output.size, [2 * rows, 2], channels),
    );
}

/// Does the work, `rows` steps of rows to a task.
pub(super) fn run(work: &Direct, sinks: Vec<Sink>, batch: usize, rows: usize) {
    let Output { channels, size, .. } = work.output;
    let rows = rows * work.step[0];
    let tasks = batch * size[0].div_ceil(rows);
    let channels = channels_of_a_task(tasks, channels, work.groups);
    let rows = [rows, work.step[0]];
    threads::run(work, split(sinks, batch, size, rows, channels));
}

/// The gradient to the bias: the sum over batch and positions.
pub(crate) fn bias_gradient(gradient: &[f32], outputs: usize, positions: usize) -> Vec<f32> {
    let mut sums = vec![0.0; outputs];
    for (index, plane) in gradient.chunks_exact(positions).enumerate() {
        sums[index % outputs] += super::norm::sum(plane);
    }
    sums.into_iter().map(|sum| sum as f32).collect()
}
