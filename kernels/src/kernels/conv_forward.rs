//! The forward pass of a convolution: chooses the algorithm and splits the output into tiles.

use alloc::{sync::Arc, vec, vec::Vec};

use super::channelwise::Order;
use super::components::components;
use super::dilated::{as_sources, lay_out_all, put_back};
use super::direct::{Direct, Phase, PhaseWeight};
use super::epilogue::EpilogueValues;
use super::output_tiles::{Output, OutputMap, TileShape, split};
use super::outputs_in_lanes::{LaneWeight, OutputsInLanes};
use super::packed_weights::{PackedFor, Weight};
use super::packing::{Packing, ReadWindow};
use super::raw::matrices::{Rows, offset};
use super::raw::uninit_buffer::UninitBuffer;
use super::reach::TakenTaps;
use super::shares::Shares;
use super::source::{Source, channels_of, shape_of, through};
use super::tap_patterns::{TapPattern, phase_sums};
use super::tap_sums::{self, Kernels};
use super::threads;
use super::winograd::{self, Winograd};
use crate::buffers::{self, Lifetime};
use crate::policy::{Algorithm, ConvShape, Geometry, Undilated, WeightUse};

/// `y = epilogue(conv(cat(sources), weight))`, `[samples, outputs, size...]`.
pub fn forward(
    sources: &[Source],
    samples: usize,
    weight: Weight,
    geometry: &Geometry,
    epilogue: EpilogueValues,
) -> Vec<f32> {
    let shape = shape_of(sources, weight.outputs, samples, geometry);
    if let Some(reached) = shape.reached() {
        let taken = weight.packed(PackedFor::new(&reached.shape, Algorithm::Direct), || {
            vec![TakenTaps::new(geometry, &reached).of(weight.values)]
        });
        let weight = Weight::new(&taken[0], weight.outputs);
        return forward(sources, samples, weight, &reached.shape.geometry, epilogue);
    }
    if let Some(flat) = shape.flattened() {
        let size = flat.geometry.size;
        let sources = sources.iter().map(|source| source.with_size(size));
        return forward_as_is(&sources.collect::<Vec<_>>(), weight, &flat, epilogue);
    }
    let Some(undilated) = shape.undilated(weight.weight_use()) else {
        return forward_as_is(sources, weight, &shape, epilogue);
    };
    let Undilated {
        shape,
        input,
        output,
    } = undilated;
    let maps = lay_out_all(sources, samples, input);
    let sources = as_sources(&maps, &shape.sources);
    // A residual is not laid out: it is added, and the activation applied, where the output is put back.
    let (before, after) = epilogue.at_residual();
    let found = forward_as_is(&sources, weight, &shape, before);
    drop(maps);
    let planes = weight.outputs * geometry.depth.size;
    put_back(&found, samples, planes, output, after)
}

/// The same, without another convolution in its place.
fn forward_as_is(
    sources: &[Source],
    weight: Weight,
    shape: &ConvShape,
    epilogue: EpilogueValues,
) -> Vec<f32> {
    let (outputs, samples, geometry) = (shape.outputs, shape.batch, &shape.geometry);
    let lifetime = match weight.weight_use() {
        WeightUse::Kept => Lifetime::Short,
        WeightUse::Once => Lifetime::Long,
    };
    let len = samples * outputs * geometry.positions();
    let mut values = UninitBuffer::living(len, lifetime);
    let maps = vec![OutputMap {
        values: &mut values,
        channels: outputs,
    }];
    let output = Output {
        channels: outputs,
        size: geometry.size,
        positions: geometry.size[0] * geometry.size[1],
        slices: geometry.depth.size,
        epilogue,
    };
    let call = Call {
        sources: &through(sources, geometry.depth),
        samples,
        geometry,
        is_line: shape.is_line(),
        output,
    };
    let algorithm = shape.algorithm(weight.weight_use());
    let packed_for = || PackedFor::new(shape, algorithm);
    match algorithm {
        Algorithm::OutputsInLanes => {
            let rows = Rows {
                values: weight.values,
                step: channels_of(call.sources) * geometry.plane_taps(),
            };
            call.outputs_in_lanes(LaneWeight::Plain(rows), maps);
        }
        Algorithm::Direct => {
            let taps = TapPlan::new(&call, [1, 1]);
            if shape.interleaves_weight(weight.weight_use()) {
                let steps = weight.values.len() / outputs;
                let packed = weight.packed(packed_for(), || {
                    vec![tap_sums::interleave(weight.values, steps)]
                });
                taps.run(
                    &call,
                    vec![PhaseWeight::Blocks((&packed[0][..]).into())],
                    maps,
                );
            } else {
                taps.run(&call, vec![PhaseWeight::Rows(weight.values.into())], maps);
            }
        }
        Algorithm::Winograd => {
            let inputs = channels_of(call.sources);
            let packed = weight.packed(packed_for(), || {
                let kernels = Kernels {
                    values: weight.values,
                    outer: outputs,
                    row: inputs,
                    inner: 0..inputs,
                };
                vec![components(kernels)]
            });
            call.by_components(&packed[0], maps);
            // (A cache has another owner.)
            if let Ok(packed) = Arc::try_unwrap(packed) {
                packed.into_iter().for_each(buffers::give);
            }
        }
        Algorithm::TapSums { step } => {
            let taps = TapPlan::new(&call, step);
            let packed = weight.packed(packed_for(), || taps.sums(&call, weight));
            let weights = packed
                .iter()
                .map(|weight| PhaseWeight::Blocks((&weight[..]).into()));
            taps.run(&call, weights.collect(), maps);
        }
    }
    values.finish()
}

/// A convolution of some sources.
pub(super) struct Call<'a> {
    /// Read through the taps of the depth.
    pub(super) sources: &'a [Source<'a>],
    pub(super) samples: usize,
    pub(super) geometry: &'a Geometry,
    /// Whether it goes along one row, which is divided into pieces.
    pub(super) is_line: bool,
    pub(super) output: Output<'a>,
}

impl Call<'_> {
    /// The maps of the batch: one for each slice of each sample.
    fn batch(&self) -> usize {
        self.samples * self.output.slices
    }

    fn order(&self) -> Order {
        let inputs = channels_of(self.sources) / self.geometry.depth.kernel;
        Order::of(self.geometry, [inputs, self.output.channels])
    }

    /// Runs a convolution with the outputs in the lanes.
    pub(super) fn outputs_in_lanes(&self, weight: LaneWeight, maps: Vec<OutputMap>) {
        let mut window = ReadWindow::of(self.geometry);
        let mut output = self.output;
        let channels = output.channels;
        let packing = Packing::new(window, 1, output.size[1]);
        let is_in_place = |source: &Source| packing.row_step_in_place(source).is_some();
        let is_packed = !self.sources.iter().all(is_in_place);
        // (A map of one row is divided as it is wanted.)
        let rows = match self.is_line {
            true => usize::MAX,
            false => output.size[0],
        };
        let size = [output.positions, rows];
        let shares = Shares::new(self.batch(), size, channels, is_packed);
        if self.is_line {
            output.size = window.divide_into(output.size[1], shares.pieces);
        }
        let [height, width] = output.size;
        let rows = height.div_ceil(shares.pieces).max(1);
        let work = OutputsInLanes {
            sources: self.sources,
            packing: Packing::new(window, rows, width),
            weight,
            output,
        };
        let shape = TileShape {
            rows,
            step: 1,
            channels: shares.outputs,
        };
        let tiles = split(maps, self.samples, &output, 1, shape);
        let tiles = tiles.into_iter().flatten().collect();
        let of_a_map = height.div_ceil(rows) * channels.div_ceil(shape.channels);
        threads::run(&work, shares.tasks(tiles, of_a_map));
    }

    /// Runs a convolution with a dense 3x3 kernel by the components of its weight.
    fn by_components(&self, weight: &[f32], maps: Vec<OutputMap>) {
        let window = winograd::window(self.geometry);
        let tiling = winograd::tiling(window, self.sources, &self.output, self.batch());
        let work = Winograd::new(self.sources, weight, window, tiling.rows / 2, self.output);
        let tiles = split(maps, self.samples, &self.output, 1, tiling);
        threads::run(&work, tiles.into_iter().flatten().collect());
    }
}

/// A convolution tap by tap: which taps are summed, and where each sum reads.
struct TapPlan {
    packing: Packing,
    /// The rows of outputs (in steps) of a tile.
    rows: usize,
    step: [usize; 2],
    /// The size of the output: rows and columns, or pieces of its one row.
    size: [usize; 2],
    /// The patterns of each phase, for each source.
    patterns: Vec<Vec<TapPattern>>,
}

impl TapPlan {
    /// The plan with one phase for each output position modulo `step`.
    fn new(call: &Call, step: [usize; 2]) -> Self {
        let Call {
            sources, geometry, ..
        } = call;
        let mut window = ReadWindow::of(geometry);
        if step != [1, 1] {
            window.kernel = [0, 1].map(|axis| geometry.kernel[axis] + step[axis] - 1);
            window.stride = step;
        }
        let channels = channels_of(sources) / geometry.groups;
        let mut size = [0, 1].map(|axis| geometry.size[axis].div_ceil(step[axis]));
        if call.is_line {
            size = window.divide(size[1]);
        }
        let rows = call
            .order()
            .rows_of_tile(window, channels, size, call.batch());
        let packing = Packing::new(window, rows, size[1]);
        let patterns = sources
            .iter()
            .map(|source| TapPattern::all(source, geometry, &packing, step));
        Self {
            packing,
            rows,
            step,
            size: [0, 1].map(|axis| match call.is_line {
                true => size[axis] * step[axis],
                false => geometry.size[axis],
            }),
            patterns: patterns.collect(),
        }
    }

    /// The summed weights of each phase.
    fn sums(&self, call: &Call, weight: Weight) -> Vec<Vec<f32>> {
        let taps = call.geometry.plane_taps();
        let sources = call.sources.iter().zip(&self.patterns);
        let sources: Vec<_> = sources
            .map(|(source, patterns)| phase_sums(source.channels, taps, patterns))
            .collect();
        let weights = tap_sums::by_phases(weight.values, weight.outputs, &sources);
        let steps = |rows: &Vec<f32>| rows.len() / weight.outputs.max(1);
        let weights = weights.into_iter();
        weights
            .map(|rows| tap_sums::interleave(&rows, steps(&rows)))
            .collect()
    }

    /// The offsets at which the sums of a phase read in the packed channels of a group.
    fn offsets(&self, call: &Call, phase: usize) -> Vec<u32> {
        let mut offsets = Vec::new();
        let mut start = 0;
        for (source, patterns) in call.sources.iter().zip(&self.patterns) {
            for _ in 0..source.channels / call.geometry.groups {
                let places = patterns[phase].places().iter();
                offsets.extend(places.map(|place| offset(start + place)));
                start += self.packing.channel_len();
            }
        }
        offsets
    }

    /// Runs the plan with the weight of each phase.
    fn run(&self, call: &Call, weights: Vec<PhaseWeight>, maps: Vec<OutputMap>) {
        let phases = weights.into_iter().enumerate();
        let phases = phases.map(|(phase, weight)| Phase::new(weight, &self.offsets(call, phase)));
        let output = Output {
            size: self.size,
            ..call.output
        };
        let work = Direct {
            sources: call.sources,
            groups: call.geometry.groups,
            packing: self.packing,
            step: self.step,
            phases: phases.collect(),
            output,
        };
        let tiles = |tile: TileShape| {
            let tiles = split(maps, call.samples, &output, 1, tile);
            tiles.into_iter().flatten().collect()
        };
        call.order().run(work, [self.rows, call.batch()], tiles);
    }
}

/// The gradient of the bias: the sum over batch and positions.
pub fn bias_gradient(gradient: &[f32], outputs: usize, positions: usize) -> Vec<f32> {
    let mut sums = vec![0.0; outputs];
    for (index, plane) in gradient.chunks_exact(positions).enumerate() {
        sums[index % outputs] += super::norm::sum(plane);
    }
    sums.into_iter().map(|sum| sum as f32).collect()
}
