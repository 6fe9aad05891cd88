//! The memory that the kernels need besides their inputs and outputs, in bytes of f32.
//!
//! Buffers of the threads (packed rows, partial sums of small weights) are not counted.

use alloc::vec::Vec;
use core::ops::Range;

use super::{
    Algorithm, Axes, BLOCK, COMPONENTS, ConvShape, Geometry, Reached, SourceShape, TransposedShape,
    Undilated, WeightUse,
};

const BYTES: usize = size_of::<f32>();

/// What the backward pass of a convolution computes for a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceGradient {
    /// Whether its gradient is needed.
    pub is_needed: bool,
    /// Whether it is read through a deferred norm.
    pub has_norm: bool,
}

/// The bytes of a tensor with these dimensions.
fn bytes(factors: &[usize]) -> u64 {
    let factors = factors.iter().map(|&factor| factor as u64);
    factors.fold(BYTES as u64, u64::saturating_mul)
}

/// The bytes of Winograd's components, `[component, block of rows, columns, BLOCK]`.
fn components(rows: usize, columns: usize) -> u64 {
    let rows = rows.checked_next_multiple_of(BLOCK).unwrap_or(usize::MAX);
    bytes(&[COMPONENTS, rows, columns])
}

/// The number of sums of taps of an axis over all phases, for a map that is enlarged by `factor`: taps that read the
/// same value count as one.
fn sums_of_axis(kernel: usize, pad: isize, step: usize, factor: usize) -> usize {
    if factor != step {
        return step.saturating_mul(kernel);
    }
    let value = |at: usize| (at as isize - pad).div_euclid(factor as isize);
    let of_phase = |phase: usize| value(phase + kernel - 1).abs_diff(value(phase)) + 1;
    (0..step).map(of_phase).sum()
}

impl SourceShape {
    /// The taps of the larger kernel that computes the gradient of an enlarged source by one convolution.
    fn enlarged_taps(&self, geometry: &Geometry) -> usize {
        let [rows, columns] = [0, 1].map(|axis| geometry.kernel[axis] + self.factors[axis] - 1);
        let slices = geometry.depth.kernel + self.slices.factor - 1;
        slices.saturating_mul(rows).saturating_mul(columns)
    }
}

impl ConvShape {
    /// What the forward pass of a dilated convolution needs besides its output: the inputs that are laid out, until the
    /// output is put back, which is as large as the output that was laid out.
    pub fn laid_out_bytes(&self, weight: WeightUse) -> u64 {
        if let Some(reached) = self.reached() {
            return reached.shape.laid_out_bytes(WeightUse::Once);
        }
        let maps = self
            .undilated(weight)
            .map(|undilated| undilated.maps_bytes());
        maps.map_or(0, |[inputs, output]| inputs.max(output))
    }

    /// The packed weights of the forward pass. In inference the layer caches them; in training they are freed at the end
    /// of the call.
    pub fn prepared_bytes(&self, weight: WeightUse) -> u64 {
        if let Some(reached) = self.reached() {
            let prepared = reached.shape.prepared_bytes(WeightUse::Once);
            return prepared.saturating_add(reached.weight_bytes());
        }
        if let Some(undilated) = self.undilated(weight) {
            return undilated.shape.prepared_bytes(weight);
        }
        let geometry = &self.geometry;
        match self.algorithm(weight) {
            Algorithm::Direct if self.interleaves_weight(weight) => bytes(&[
                self.interleaved_outputs(),
                self.seen_channels(),
                geometry.plane_taps(),
            ]),
            Algorithm::Direct | Algorithm::OutputsInLanes => 0,
            Algorithm::Winograd => components(self.outputs, self.seen_channels()),
            Algorithm::TapSums { step } => {
                let of_source = |source: &SourceShape| {
                    let [rows, columns] = [0, 1].map(|axis| {
                        let (kernel, pad) = (geometry.kernel[axis], geometry.pad[axis]);
                        sums_of_axis(kernel, pad, step[axis], source.factors[axis])
                    });
                    let depth = geometry.depth.kernel;
                    let outputs = self.interleaved_outputs();
                    bytes(&[source.channels, outputs, depth, rows, columns])
                };
                let sources = self.sources.iter().map(of_source);
                sources.fold(0, u64::saturating_add)
            }
        }
    }

    /// The rows of an interleaved weight.
    fn interleaved_outputs(&self) -> usize {
        let outputs = self.outputs.checked_next_multiple_of(BLOCK);
        outputs.unwrap_or(usize::MAX)
    }

    /// The peak memory of the backward pass besides the gradients that it returns. `gradients` has one entry for each
    /// source.
    pub fn backward_bytes(&self, gradients: &[SourceGradient]) -> u64 {
        if let Some(reached) = self.reached() {
            let others = reached.shape.backward_bytes(gradients);
            return others.saturating_add(reached.weight_bytes());
        }
        if let Some(undilated) = self.undilated(WeightUse::Once) {
            return undilated.backward_bytes(gradients);
        }
        let norms = self.sources.iter().zip(gradients);
        let norms = norms.filter(|(_, gradient)| gradient.is_needed && gradient.has_norm);
        // The gradient of the norm's output, while the gradient of its input is computed.
        let map = |source: &SourceShape| bytes(&[self.batch, source.channels, source.positions()]);
        let norms = norms.map(|(source, _)| map(source)).max().unwrap_or(0);
        let inputs = self.input_gradient_bytes(gradients);
        inputs.max(norms).max(self.weight_gradient_bytes())
    }

    /// The transposed weights. Those of enlarged sources are made one after the other.
    fn input_gradient_bytes(&self, gradients: &[SourceGradient]) -> u64 {
        let mut first = 0_usize;
        let placed = self.sources.iter().map(|source| {
            let channels = first..first.saturating_add(source.channels);
            first = channels.end;
            (source, channels)
        });
        let needed = placed.zip(gradients);
        let needed = needed.filter(|(_, gradient)| gradient.is_needed);
        let (enlarged, plain): (Vec<_>, Vec<_>) = needed
            .map(|(placed, _)| placed)
            .partition(|(source, _)| source.is_enlarged());
        let enlarged = enlarged.iter().map(|(source, _)| {
            let taps = source.enlarged_taps(&self.geometry);
            bytes(&[source.channels, self.outputs, taps])
        });
        let enlarged = enlarged.max().unwrap_or(0);
        let maps: Vec<Range<usize>> = plain.iter().map(|(_, channels)| channels.clone()).collect();
        let channels = || maps.iter().map(Range::len);
        let Some((first, _)) = plain.first() else {
            return enlarged;
        };
        let least = channels().min().unwrap_or(0);
        let size = Axes {
            depth: first.slices.count,
            plane: first.size,
        };
        let transposed = self.input_gradient(least, size);
        let plain = match transposed.algorithm(&maps) {
            Algorithm::Winograd => {
                let seen = self.outputs.saturating_mul(transposed.depth_taps());
                let of_source = |channels| components(channels, seen);
                channels().map(of_source).max().unwrap_or(0)
            }
            Algorithm::OutputsInLanes => 0,
            _ => transposed.transposed_bytes(&maps),
        };
        enlarged.max(plain)
    }

    /// The gradients of the larger kernels of enlarged sources, and of their kernels.
    fn weight_gradient_bytes(&self) -> u64 {
        if !self.has_weight_gradient_by_tap_sums() {
            return 0;
        }
        let taps = self.geometry.taps();
        let is_plain = |source: &&SourceShape| !source.is_enlarged();
        let plain = self.sources.iter().filter(is_plain);
        let plain = plain.map(|source| bytes(&[source.channels, self.outputs, taps]));
        let enlarged = self.sources.iter().filter(|source| source.is_enlarged());
        let enlarged = enlarged.map(|source| {
            let larger = source.enlarged_taps(&self.geometry);
            bytes(&[source.channels, self.outputs, larger.saturating_add(taps)])
        });
        let plain = plain.fold(0, u64::saturating_add);
        plain.saturating_add(enlarged.max().unwrap_or(0))
    }
}

impl Reached {
    /// The weight with the taps that are taken, or its gradient.
    fn weight_bytes(&self) -> u64 {
        let ConvShape {
            geometry, outputs, ..
        } = &self.shape;
        let inputs = self.shape.inputs() / geometry.groups.max(1);
        bytes(&[*outputs, inputs, geometry.taps()])
    }
}

impl Undilated {
    /// The bytes of the maps that are laid out: the inputs, and the output.
    fn maps_bytes(&self) -> [u64; 2] {
        let ConvShape {
            batch,
            sources,
            outputs,
            geometry,
        } = &self.shape;
        let of_source =
            |source: &SourceShape| bytes(&[*batch, source.channels, source.positions()]);
        let inputs = sources.iter().map(of_source).fold(0, u64::saturating_add);
        [inputs, bytes(&[*batch, *outputs, geometry.positions()])]
    }

    /// The gradient is laid out for the gradients of the inputs, which are put back where nothing is held of the weight
    /// any more, and again with the inputs.
    fn backward_bytes(&self, gradients: &[SourceGradient]) -> u64 {
        let [inputs, output] = self.maps_bytes();
        let others = self.shape.backward_bytes(gradients);
        output.saturating_add(inputs.max(others))
    }
}

impl TransposedShape {
    /// The transposed weight, which is made in every call.
    pub fn forward_bytes(&self) -> u64 {
        let all = 0..self.outputs;
        let maps = core::slice::from_ref(&all);
        match self.algorithm(maps) {
            Algorithm::Winograd => {
                components(self.outputs, self.inputs.saturating_mul(self.depth_taps()))
            }
            Algorithm::OutputsInLanes => 0,
            _ => self.transposed_bytes(maps),
        }
    }

    /// The transposed weight for an output of maps with these channels.
    fn transposed_bytes(&self, maps: &[Range<usize>]) -> u64 {
        let channels = maps.iter().map(Range::len).fold(0, usize::saturating_add);
        let rows = match self.interleaves_weight(maps.len()) {
            true => channels.saturating_add(BLOCK - 1) / BLOCK * BLOCK,
            false => channels / self.geometry.groups,
        };
        bytes(&[rows, self.inputs, self.geometry.taps()])
    }

    /// The peak memory of the backward pass besides the gradients that it returns.
    pub fn backward_bytes(&self) -> u64 {
        self.convolution().prepared_bytes(WeightUse::Once)
    }
}
