//! The gradients of the sources: a convolution of the output's gradient by the transposed weight.

use alloc::{vec, vec::Vec};
use core::ops::Range;

use super::channelwise::Order;
use super::components::transposed_components;
use super::conv_forward::{Call, forward};
use super::dilated::{lay_out, put_back};
use super::direct::{Direct, Phase, PhaseWeight};
use super::enlarged::Enlarged;
use super::epilogue::EpilogueValues;
use super::output_tiles::{Output, OutputMap, TileShape, phase_len, split};
use super::outputs_in_lanes::LaneWeight;
use super::packed_weights::Weight;
use super::packing::{Packing, ReadWindow};
use super::raw::matrices::{BLOCK, Rows, offset};
use super::raw::uninit_buffer::UninitBuffer;
use super::reach::TakenTaps;
use super::source::{DepthTaps, Source, channels_of, output_shape};
use super::tap_sums::{Kernels, TapMap, transpose_into, transpose_into_blocks};
use super::threads;
use super::winograd::{self, Winograd};
use crate::buffers;
use crate::policy::{
    Algorithm, Axes, ConvShape, Depth, Geometry, SourceShape, TransposedShape, Undilated, WeightUse,
};

/// A source whose gradient may be computed.
#[derive(Clone, Copy, Debug)]
pub struct GradientTarget {
    /// The source.
    pub shape: SourceShape,
    /// Whether its gradient is needed.
    pub is_needed: bool,
}

/// The gradients of the sources, from the gradient of the output, `[samples, outputs, size...]`.
pub fn input_gradient(
    gradient: &[f32],
    samples: usize,
    weight: Weight,
    geometry: &Geometry,
    targets: &[GradientTarget],
) -> Vec<Option<Vec<f32>>> {
    let shape = ConvShape {
        geometry: geometry.clone(),
        batch: samples,
        sources: targets.iter().map(|target| target.shape).collect(),
        outputs: weight.outputs,
    };
    if let Some(reached) = shape.reached() {
        let taken = TakenTaps::new(geometry, &reached).of(weight.values);
        let weight = Weight::new(&taken, weight.outputs);
        return input_gradient(gradient, samples, weight, &reached.shape.geometry, targets);
    }
    if let Some(ConvShape {
        geometry, sources, ..
    }) = shape.flattened()
    {
        let flat = targets.iter().zip(sources);
        let flat = flat.map(|(target, shape)| GradientTarget { shape, ..*target });
        let flat: Vec<_> = flat.collect();
        return input_gradient_as_is(gradient, samples, weight, &geometry, &flat);
    }
    let Some(undilated) = shape.undilated(WeightUse::Once) else {
        return input_gradient_as_is(gradient, samples, weight, geometry, targets);
    };
    let Undilated {
        shape,
        input,
        output,
    } = undilated;
    let from = Source::new(gradient, output_shape(geometry, weight.outputs));
    let laid_out = lay_out(&from, samples, output);
    let sources = targets.iter().zip(&shape.sources);
    let laid_targets = sources.map(|(target, &shape)| GradientTarget { shape, ..*target });
    let laid_targets: Vec<_> = laid_targets.collect();
    let found = input_gradient_as_is(
        &laid_out,
        shape.batch,
        weight,
        &shape.geometry,
        &laid_targets,
    );
    let back = found.into_iter().zip(targets).map(|(found, target)| {
        let planes = target.shape.channels * target.shape.slices.count;
        found.map(|found| put_back(&found, samples, planes, input, None))
    });
    back.collect()
}

/// The same, without another convolution in its place.
fn input_gradient_as_is(
    gradient: &[f32],
    samples: usize,
    weight: Weight,
    geometry: &Geometry,
    targets: &[GradientTarget],
) -> Vec<Option<Vec<f32>>> {
    let inputs: usize = targets.iter().map(|target| target.shape.channels).sum();
    let from = Source::new(gradient, output_shape(geometry, weight.outputs));
    let mut found: Vec<Option<Vec<f32>>> = Vec::new();
    let mut plain: Vec<PlainTarget> = Vec::new();
    let mut channel = 0;
    for (index, target) in targets.iter().enumerate() {
        let channels = target.shape.channels;
        let range = channel..channel + channels;
        channel = range.end;
        found.push(match (target.is_needed, target.shape.is_enlarged()) {
            (false, _) => None,
            (true, true) => {
                let enlarged = Enlarged::new(geometry, target.shape);
                let larger = enlarged.larger_weight(weight, inputs, range);
                let larger = Weight::new(&larger, channels);
                let none = EpilogueValues::default();
                let geometry = enlarged.larger_geometry();
                Some(forward(&[from], samples, larger, &geometry, none))
            }
            (true, false) => {
                plain.push(PlainTarget {
                    index,
                    channels: range,
                    size: Axes {
                        depth: target.shape.slices.count,
                        plane: target.shape.size,
                    },
                    values: UninitBuffer::new(samples * channels * target.shape.positions()),
                });
                None
            }
        });
    }
    if let Some(first) = plain.first() {
        let channels: Vec<_> = plain.iter().map(|target| target.channels.clone()).collect();
        let work = PlainGradient {
            from,
            samples,
            weight,
            geometry,
            inputs,
            size: first.size,
            channels: &channels,
        };
        let maps = plain.iter_mut().map(|target| OutputMap {
            values: &mut target.values,
            channels: target.channels.len(),
        });
        work.run(maps.collect(), EpilogueValues::default());
    }
    for target in plain {
        found[target.index] = Some(target.values.finish());
    }
    found
}

/// A source that is not enlarged, and its gradient.
struct PlainTarget {
    index: usize,
    channels: Range<usize>,
    size: Axes,
    values: UninitBuffer,
}

/// A transposed convolution: the gradient of a convolution from its output to its input.
pub struct TransposedConv<'a> {
    /// `[inputs, outputs, kernel...]`. (`Weight::outputs` is the number of inputs here.)
    pub weight: Weight<'a>,
    /// The geometry of that convolution.
    pub geometry: &'a Geometry,
    /// The channels of the output.
    pub outputs: usize,
    /// The size of the output.
    pub size: Axes,
}

/// The transposed convolution of `x`, `[samples, inputs, size...]`.
pub fn transposed_conv(
    x: &[f32],
    samples: usize,
    convolution: &TransposedConv,
    epilogue: EpilogueValues,
) -> Vec<f32> {
    let &TransposedConv {
        weight,
        geometry,
        outputs,
        size,
    } = convolution;
    let positions = size.depth * size.plane[0] * size.plane[1];
    let mut values = UninitBuffer::new(samples * outputs * positions);
    let map = OutputMap {
        values: &mut values,
        channels: outputs,
    };
    let all = 0..outputs;
    let work = PlainGradient {
        from: Source::new(x, output_shape(geometry, weight.outputs)),
        samples,
        weight,
        geometry,
        inputs: outputs,
        size,
        channels: core::slice::from_ref(&all),
    };
    work.run(vec![map], epilogue);
    values.finish()
}

/// The gradient of some channels of a map that is not enlarged.
struct PlainGradient<'a> {
    /// The gradient of the output.
    from: Source<'a>,
    samples: usize,
    weight: Weight<'a>,
    geometry: &'a Geometry,
    /// The number of all input channels of the weight.
    inputs: usize,
    /// The size of the map.
    size: Axes,
    /// The channels whose gradient is written, one range for each map.
    channels: &'a [Range<usize>],
}

/// The taps of the depth that reach the slices at one position modulo the stride.
struct DepthPhase {
    /// The taps, as they are numbered in the weight.
    slices: Vec<usize>,
    /// The slices of the output's gradient that they read.
    taps: DepthTaps,
}

impl PlainGradient<'_> {
    /// Its shape, with as many outputs as the smallest map has.
    fn shape(&self) -> TransposedShape {
        TransposedShape {
            geometry: self.geometry.clone(),
            batch: self.samples,
            inputs: self.weight.outputs,
            outputs: self.channels.iter().map(Range::len).min().unwrap_or(0),
            size: self.size,
        }
    }

    fn run(&self, maps: Vec<OutputMap>, epilogue: EpilogueValues) {
        let shape = self.shape();
        let phases: Vec<_> = (0..self.geometry.depth.stride)
            .map(|phase| self.depth_phase(phase))
            .collect();
        match shape.algorithm(self.channels) {
            Algorithm::Winograd => {
                let geometry = shape.rotated().geometry;
                self.by_components(&phases, &geometry, maps, epilogue);
            }
            Algorithm::OutputsInLanes => {
                self.outputs_in_lanes(&shape, &phases, maps, epilogue);
            }
            _ => self.tap_by_tap(&phases, shape.is_line(), maps, epilogue),
        }
    }

    /// The taps through which slices of the output read the slices at `phase` modulo the stride.
    fn depth_phase(&self, phase: usize) -> DepthPhase {
        let Depth {
            kernel,
            stride,
            dilation,
            pad,
            ..
        } = self.geometry.depth;
        let from = |slice: usize| phase as isize + pad - (slice * dilation) as isize;
        let stride = stride as isize;
        let slices = (0..kernel).filter(|&slice| from(slice).rem_euclid(stride) == 0);
        let slices: Vec<usize> = slices.collect();
        let at = |slice: usize| from(slice).div_euclid(stride);
        let spacing = match slices[..] {
            [first, second, ..] => at(second) - at(first),
            _ => 0,
        };
        let taps = DepthTaps {
            count: slices.len(),
            step: 1,
            spacing,
            start: slices.first().map_or(0, |&first| at(first)),
            outputs: phase_len(self.size.depth, self.geometry.depth.stride, phase),
        };
        DepthPhase { slices, taps }
    }

    /// The maps of the batch in the first phase, which has the most.
    fn batch(&self) -> usize {
        self.samples * phase_len(self.size.depth, self.geometry.depth.stride, 0)
    }

    /// The output of some channels.
    fn output<'e>(&self, channels: usize, epilogue: EpilogueValues<'e>) -> Output<'e> {
        Output {
            channels,
            size: self.size.plane,
            positions: self.size.plane[0] * self.size.plane[1],
            slices: self.size.depth,
            epilogue,
        }
    }

    /// With the channels in the lanes: the weight is read as it is.
    fn outputs_in_lanes(
        &self,
        shape: &TransposedShape,
        phases: &[DepthPhase],
        maps: Vec<OutputMap>,
        epilogue: EpilogueValues,
    ) {
        // (There is one: it has no stride.)
        let sources = phases.iter().map(|phase| self.from.through(phase.taps));
        let sources: Vec<Source> = sources.collect();
        let first = self.channels.first().map_or(0, |range| range.start);
        let output = self.output(self.channels.iter().map(Range::len).sum(), epilogue);
        let call = Call {
            sources: &sources,
            samples: self.samples,
            geometry: &shape.rotated().geometry,
            is_line: shape.is_line(),
            output,
        };
        let taps = self.geometry.plane_taps();
        let weight = LaneWeight::Transposed {
            rows: Rows {
                values: &self.weight.values[first * taps..],
                step: self.inputs * taps,
            },
            taps,
        };
        call.outputs_in_lanes(weight, maps);
    }

    fn by_components(
        &self,
        phases: &[DepthPhase],
        rotated: &Geometry,
        maps: Vec<OutputMap>,
        epilogue: EpilogueValues,
    ) {
        let depth = self.geometry.depth;
        let window = winograd::window(rotated);
        for (channels, map) in self.channels.iter().zip(maps) {
            let output = self.output(channels.len(), epilogue);
            let through = phases.iter().map(|phase| [self.from.through(phase.taps)]);
            let through: Vec<_> = through.collect();
            let most = through.iter().max_by_key(|from| channels_of(&from[..]));
            let Some(most) = most else { return };
            let tiling = winograd::tiling(window, most, &output, self.batch());
            let tiles = split(vec![map], self.samples, &output, depth.stride, tiling);
            for ((phase, from), tiles) in phases.iter().zip(&through).zip(tiles) {
                let kernels = Kernels {
                    values: self.weight.values,
                    outer: self.weight.outputs,
                    row: self.inputs,
                    inner: channels.clone(),
                };
                let weight = transposed_components(kernels, depth.kernel, &phase.slices);
                let rows = tiling.rows / 2;
                let work = Winograd::new(from, &weight, window, rows, output);
                threads::run(&work, tiles);
                buffers::give(weight);
            }
        }
    }

    fn tap_by_tap(
        &self,
        phases: &[DepthPhase],
        is_line: bool,
        maps: Vec<OutputMap>,
        epilogue: EpilogueValues,
    ) {
        let step = self.geometry.stride;
        let mut window = self.window();
        let mut output = self.output(self.channels.iter().map(Range::len).sum(), epilogue);
        let mut steps = [0, 1].map(|axis| self.size.plane[axis].div_ceil(step[axis]));
        if is_line {
            steps = window.divide(steps[1]);
            output.size = [steps[0], steps[1] * step[1]];
        }
        let most = phases.iter().map(|phase| phase.slices.len()).max();
        let channels = self.from.shape().channels * most.unwrap_or(1) / self.geometry.groups;
        let order = Order::of(self.geometry, [self.weight.outputs, output.channels]);
        let rows = order.rows_of_tile(window, channels, steps, self.batch());
        let packing = Packing::new(window, rows, steps[1]);
        let mut maps = Some(maps);
        let mut tiles = Vec::new();
        for (n, depth) in phases.iter().enumerate() {
            let from = [self.from.through(depth.taps)];
            let of_plane = (0..step[0] * step[1]).map(|phase| [phase / step[1], phase % step[1]]);
            let of_plane = of_plane.map(|phase| self.phase(&packing, &from[0], depth, phase));
            let work = Direct {
                sources: &from,
                groups: self.geometry.groups,
                packing,
                step,
                phases: of_plane.collect(),
                output,
            };
            let tiles = |tile: TileShape| {
                if let Some(maps) = maps.take() {
                    tiles = split(maps, self.samples, &output, phases.len(), tile);
                }
                core::mem::take(&mut tiles[n])
            };
            order.run(work, [rows, self.batch()], tiles);
        }
    }

    /// The window of the outputs that read the input at a position.
    fn window(&self) -> ReadWindow {
        let Geometry {
            kernel,
            stride,
            dilation,
            pad,
            ..
        } = *self.geometry;
        // How many of them are before and after the position.
        let before = [0, 1].map(|axis| {
            let span = ((kernel[axis] - 1) * dilation[axis]) as isize - pad[axis];
            (span + stride[axis] as isize - 1).div_euclid(stride[axis] as isize)
        });
        let after = [0, 1].map(|axis| {
            let stride = stride[axis] as isize;
            (stride - 1 + pad[axis]).div_euclid(stride)
        });
        let kernel = [0, 1].map(|axis| (before[axis] + after[axis] + 1).max(1) as usize);
        ReadWindow::dense(kernel, [1, 1], before)
    }

    /// The phase of the inputs at `phase` modulo the stride: the taps through which outputs read them.
    fn phase(
        &self,
        packing: &Packing,
        from: &Source,
        depth: &DepthPhase,
        phase: [usize; 2],
    ) -> Phase<'static> {
        let before = self.window().pad;
        let [rows, columns] =
            [0, 1].map(|axis| taps_of(self.geometry, axis, phase[axis], before[axis]));
        let (mut plane_taps, mut places) = (Vec::new(), Vec::new());
        for row in &rows {
            for column in &columns {
                plane_taps.push(row.tap * self.geometry.kernel[1] + column.tap);
                places.push(packing.offset([row.at, column.at]));
            }
        }
        let of_slice = self.geometry.plane_taps();
        let taps = depth.slices.iter().flat_map(|slice| {
            let taps = plane_taps.iter();
            taps.map(move |tap| slice * of_slice + tap)
        });
        let taps: Vec<usize> = taps.collect();
        let outputs = 0..from.channels / self.geometry.groups;
        let starts = outputs.map(|output| output * packing.channel_len());
        let offsets = starts.flat_map(|start| places.iter().map(move |at| offset(start + at)));
        let offsets: Vec<u32> = offsets.collect();
        let map = TapMap::selection(self.geometry.taps(), &taps);
        let weight = match self.shape().interleaves_weight(self.channels.len()) {
            true => self.transposed_blocks(&map, taps.len()),
            false => PhaseWeight::Rows(self.transposed_weight(&map, taps.len()).into()),
        };
        Phase::new(weight, &offsets)
    }

    /// The transposed weight, interleaved.
    fn transposed_blocks(&self, map: &TapMap, taps: usize) -> PhaseWeight<'static> {
        let inner = self.channels[0].clone();
        let rows = inner.len().next_multiple_of(BLOCK);
        let mut weight = vec![0.0; rows * self.weight.outputs * taps];
        let kernels = Kernels {
            values: self.weight.values,
            outer: self.weight.outputs,
            row: self.inputs,
            inner,
        };
        transpose_into_blocks(kernels, map, &mut weight);
        PhaseWeight::Blocks(weight.into())
    }

    /// The transposed weight: one row for each channel, with `taps` taps for each output of its group.
    fn transposed_weight(&self, map: &TapMap, taps: usize) -> Vec<f32> {
        let groups = self.geometry.groups;
        let (inputs, outputs) = (self.inputs / groups, self.weight.outputs / groups);
        let kernels = |values, inner| Kernels {
            values,
            outer: outputs,
            row: inputs,
            inner,
        };
        let len = |channels: usize| channels * outputs * taps;
        let values = self.weight.values;
        let parts: Vec<Kernels> = match groups {
            1 => {
                let ranges = self.channels.iter().cloned();
                ranges.map(|range| kernels(values, range)).collect()
            }
            _ => {
                let groups = values.chunks_exact(values.len() / groups);
                groups.map(|values| kernels(values, 0..inputs)).collect()
            }
        };
        let channels = parts.iter().map(|part| part.inner.len());
        let mut weight = vec![0.0; len(channels.sum())];
        let mut rest = &mut weight[..];
        for part in parts {
            let (now, more) = rest.split_at_mut(len(part.inner.len()));
            transpose_into(part, map, now);
            rest = more;
        }
        weight
    }
}

/// A tap, and the position of the output that reads through it.
struct TapPlace {
    tap: usize,
    at: usize,
}

/// The taps through which outputs read the inputs at `phase` modulo the stride, and the positions of those outputs in
/// the window that starts `before` positions earlier.
fn taps_of(geometry: &Geometry, axis: usize, phase: usize, before: isize) -> Vec<TapPlace> {
    let (stride, pad) = (geometry.stride[axis] as isize, geometry.pad[axis]);
    let seen_by = |tap: usize| {
        let from = phase as isize + pad - (tap * geometry.dilation[axis]) as isize;
        (from.rem_euclid(stride) == 0).then(|| TapPlace {
            tap,
            at: (from.div_euclid(stride) + before) as usize,
        })
    };
    (0..geometry.kernel[axis]).filter_map(seen_by).collect()
}
