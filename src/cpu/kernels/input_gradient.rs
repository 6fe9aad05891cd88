//! The gradients of the sources: a convolution of the output's gradient by the transposed weight.

use alloc::{borrow::Cow, vec, vec::Vec};
use core::ops::Range;

use super::conv_forward::{Call, forward};
use super::direct::{Direct, Phase};
use super::enlarged::Enlarged;
use super::output_tiles::{EpilogueValues, Output, OutputMap};
use super::packed_weights::Weight;
use super::packing::{Packing, ReadWindow};
use super::raw::simd::offset;
use super::raw::uninit_buffer::UninitBuffer;
use super::source::Source;
use super::tap_sums::{Kernels, TapMap, components, transpose_into};
use super::tiling::rows_of_tile;
use crate::cpu::policy::{Algorithm, Geometry, SourceShape, TransposedShape};

/// A source whose gradient may be computed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GradientTarget {
    pub(crate) shape: SourceShape,
    /// Whether its gradient is needed.
    pub(crate) is_needed: bool,
}

/// The gradients of the sources, from the gradient of the output, `[batch, outputs, size...]`.
pub(crate) fn input_gradient(
    gradient: &[f32],
    batch: usize,
    weight: Weight,
    geometry: &Geometry,
    targets: &[GradientTarget],
) -> Vec<Option<Vec<f32>>> {
    let inputs: usize = targets.iter().map(|target| target.shape.channels).sum();
    let from = Source::plain(gradient, weight.outputs, geometry.size);
    let mut found: Vec<Option<Vec<f32>>> = Vec::new();
    let mut plain: Vec<PlainTarget> = Vec::new();
    let mut channel = 0;
    for (index, target) in targets.iter().enumerate() {
        let SourceShape { channels, size, .. } = target.shape;
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
                Some(forward(&[from], batch, larger, &geometry, none))
            }
            (true, false) => {
                plain.push(PlainTarget {
                    index,
                    channels: range,
                    size,
                    values: UninitBuffer::new(batch * channels * size[0] * size[1]),
                });
                None
            }
        });
    }
    if let Some(first) = plain.first() {
        let channels: Vec<_> = plain.iter().map(|target| target.channels.clone()).collect();
        let work = PlainGradient {
            from,
            batch,
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
    size: [usize; 2],
    values: UninitBuffer,
}

/// A transposed convolution: the gradient of a convolution from its output to its input.
pub(crate) struct TransposedConv<'a> {
    /// `[inputs, outputs, kernel...]`. (`Weight::outputs` is the number of inputs here.)
    pub(crate) weight: Weight<'a>,
    /// The geometry of that convolution.
    pub(crate) geometry: &'a Geometry,
    /// The channels of the output.
    pub(crate) outputs: usize,
    /// Height and width of the output.
    pub(crate) size: [usize; 2],
}

/// The transposed convolution of `x`, `[batch, inputs, size...]`.
pub(crate) fn transposed_conv(
    x: &[f32],
    batch: usize,
    convolution: &TransposedConv,
    epilogue: EpilogueValues,
) -> Vec<f32> {
    let &TransposedConv {
        weight,
        geometry,
        outputs,
        size,
    } = convolution;
    let mut values = UninitBuffer::new(batch * outputs * size[0] * size[1]);
    let map = OutputMap {
        values: &mut values,
        channels: outputs,
    };
    let all = 0..outputs;
    let work = PlainGradient {
        from: Source::plain(x, weight.outputs, geometry.size),
        batch,
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
    batch: usize,
    weight: Weight<'a>,
    geometry: &'a Geometry,
    /// The number of all input channels of the weight.
    inputs: usize,
    /// Height and width of the map.
    size: [usize; 2],
    /// The channels whose gradient is written, one range for each map.
    channels: &'a [Range<usize>],
}

impl PlainGradient<'_> {
    fn run(&self, maps: Vec<OutputMap>, epilogue: EpilogueValues) {
        let shape = TransposedShape {
            geometry: self.geometry.clone(),
            batch: self.batch,
            inputs: self.weight.outputs,
            outputs: self.channels.iter().map(Range::len).min().unwrap_or(0),
            size: self.size,
        };
        match shape.algorithm() {
            Algorithm::Winograd => {
                let geometry = shape.rotated().geometry;
                self.by_components(&geometry, maps, epilogue);
            }
            _ => self.tap_by_tap(maps, epilogue),
        }
    }

    fn by_components(&self, rotated: &Geometry, maps: Vec<OutputMap>, epilogue: EpilogueValues) {
        for (channels, map) in self.channels.iter().zip(maps) {
            let kernels = Kernels {
                values: self.weight.values,
                outer: self.weight.outputs,
                row: self.inputs,
                inner: channels.clone(),
            };
            let components = components(kernels, true);
            let call = Call {
                sources: &[self.from],
                batch: self.batch,
                geometry: rotated,
                output: Output {
                    channels: channels.len(),
                    size: self.size,
                    epilogue,
                },
            };
            call.by_components(&components, vec![map]);
        }
    }

    fn tap_by_tap(&self, maps: Vec<OutputMap>, epilogue: EpilogueValues) {
        let step = self.geometry.stride;
        let window = self.window();
        let steps = [0, 1].map(|axis| self.size[axis].div_ceil(step[axis]));
        let channels = self.from.channels / self.geometry.groups;
        let rows = rows_of_tile(window, channels, steps, self.batch);
        let packing = Packing::new(window, rows, steps[1]);
        let phases = (0..step[0] * step[1]).map(|phase| [phase / step[1], phase % step[1]]);
        let work = Direct {
            sources: &[self.from],
            groups: self.geometry.groups,
            packing,
            step,
            phases: phases.map(|phase| self.phase(&packing, phase)).collect(),
            output: Output {
                channels: self.channels.iter().map(Range::len).sum(),
                size: self.size,
                epilogue,
            },
        };
        work.run_all(maps, self.batch, rows);
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
            span.div_euclid(stride[axis] as isize) + 1
        });
        let after = [0, 1].map(|axis| {
            let stride = stride[axis] as isize;
            (stride - 1 + pad[axis]).div_euclid(stride)
        });
        let kernel = [0, 1].map(|axis| (before[axis] + after[axis] + 1).max(1) as usize);
        ReadWindow::dense(kernel, [1, 1], before)
    }

    /// The phase of the inputs at `phase` modulo the stride: the taps through which outputs read them.
    fn phase(&self, packing: &Packing, phase: [usize; 2]) -> Phase<'static> {
        let before = self.window().pad;
        let [rows, columns] =
            [0, 1].map(|axis| taps_of(self.geometry, axis, phase[axis], before[axis]));
        let (mut taps, mut places) = (Vec::new(), Vec::new());
        for row in &rows {
            for column in &columns {
                taps.push(row.tap * self.geometry.kernel[1] + column.tap);
                places.push(packing.offset([row.at, column.at]));
            }
        }
        let outputs = 0..self.from.channels / self.geometry.groups;
        let starts = outputs.map(|output| output * packing.channel_len());
        let offsets = starts.flat_map(|start| places.iter().map(move |at| offset(start + at)));
        let offsets: Vec<u32> = offsets.collect();
        let map = TapMap::selection(self.geometry.taps(), &taps);
        let weight = self.transposed_weight(&map, taps.len());
        Phase::new(Cow::Owned(weight), &offsets)
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
