//! What the kernels hold besides the tensors that go in and come out, in bytes of f32.
//!
//! The threads' own memory (staged rows, and partial sums of small weights) is not counted.

use alloc::vec::Vec;

use super::{Algorithm, BLOCK, COMPONENTS, ConvShape, SourceShape, TransposedShape, WeightUse};

const BYTES: usize = size_of::<f32>();

/// What the backward pass of a convolution does for a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SourceGradient {
    /// Whether its gradient is asked for.
    pub(crate) is_needed: bool,
    /// Whether it is read through a norm that was deferred.
    pub(crate) has_norm: bool,
}

/// The bytes of `rows` by `columns` kernels of so many taps.
fn bytes(factors: &[usize]) -> u64 {
    let factors = factors.iter().map(|&factor| factor as u64);
    factors.fold(BYTES as u64, u64::saturating_mul)
}

/// The bytes of Winograd's components, `[component, block of rows, columns, BLOCK]`.
fn components(rows: usize, columns: usize) -> u64 {
    let rows = rows.checked_next_multiple_of(BLOCK).unwrap_or(usize::MAX);
    bytes(&[COMPONENTS, rows, columns])
}

/// The sums of an axis's taps, over all positions modulo `step`, for a map whose values are read `factor` times: taps
/// that read the same value are one.
fn sums_of_axis(kernel: usize, pad: isize, step: usize, factor: usize) -> usize {
    if factor != step {
        return step.saturating_mul(kernel);
    }
    let value = |at: usize| (at as isize - pad).div_euclid(factor as isize);
    let of_phase = |phase: usize| value(phase + kernel - 1).abs_diff(value(phase)) + 1;
    (0..step).map(of_phase).sum()
}

impl SourceShape {
    /// The taps of the larger kernel by which the gradient of an enlarged source is one convolution.
    fn enlarged_taps(&self, kernel: [usize; 2]) -> usize {
        let [rows, columns] = [0, 1].map(|axis| kernel[axis] + self.factors[axis] - 1);
        rows.saturating_mul(columns)
    }
}

impl ConvShape {
    /// What is made of the weight for the forward pass. A layer keeps it from one inference to the next; in training
    /// it is held for the time of the call.
    pub(crate) fn prepared_bytes(&self, weight: WeightUse) -> u64 {
        let geometry = &self.geometry;
        match self.algorithm(weight) {
            Algorithm::Direct => 0,
            Algorithm::Winograd => components(self.outputs, self.inputs()),
            Algorithm::TapSums { step } => {
                let of_source = |source: &SourceShape| {
                    let [rows, columns] = [0, 1].map(|axis| {
                        let (kernel, pad) = (geometry.kernel[axis], geometry.pad[axis]);
                        sums_of_axis(kernel, pad, step[axis], source.factors[axis])
                    });
                    bytes(&[source.channels, self.outputs, rows, columns])
                };
                let sources = self.sources.iter().map(of_source);
                sources.fold(0, u64::saturating_add)
            }
        }
    }

    /// What the backward pass holds at most at once besides the gradients that it computes. One entry of `gradients`
    /// for each source.
    pub(crate) fn backward_bytes(&self, gradients: &[SourceGradient]) -> u64 {
        let norms = self.sources.iter().zip(gradients);
        let norms = norms.filter(|(_, gradient)| gradient.is_needed && gradient.has_norm);
        // The gradient behind the norm, while that to the map is computed.
        let map = |source: &SourceShape| {
            bytes(&[self.batch, source.channels, source.size[0], source.size[1]])
        };
        let norms = norms.map(|(source, _)| map(source)).max().unwrap_or(0);
        let inputs = self.input_gradient_bytes(gradients);
        inputs.max(norms).max(self.weight_gradient_bytes())
    }

    /// Weights by inputs. Those of enlarged sources are made one after the other.
    fn input_gradient_bytes(&self, gradients: &[SourceGradient]) -> u64 {
        let needed = self.sources.iter().zip(gradients);
        let needed = needed.filter(|(_, gradient)| gradient.is_needed);
        let (enlarged, plain): (Vec<&SourceShape>, Vec<&SourceShape>) = needed
            .map(|(source, _)| source)
            .partition(|source| source.is_enlarged());
        let enlarged = enlarged.iter().map(|source| {
            let taps = source.enlarged_taps(self.geometry.kernel);
            bytes(&[source.channels, self.outputs, taps])
        });
        let enlarged = enlarged.max().unwrap_or(0);
        let channels = || plain.iter().map(|source| source.channels);
        let Some(first) = plain.first() else {
            return enlarged;
        };
        let least = channels().min().unwrap_or(0);
        let plain = match self.input_gradient(least, first.size).algorithm() {
            Algorithm::Winograd => {
                let of_source = |channels| components(channels, self.outputs);
                channels().map(of_source).max().unwrap_or(0)
            }
            _ => bytes(&[
                channels().sum::<usize>() / self.geometry.groups,
                self.outputs,
                self.geometry.taps(),
            ]),
        };
        enlarged.max(plain)
    }

    /// The gradients to the larger kernels of enlarged sources, and what becomes of them.
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
            let larger = source.enlarged_taps(self.geometry.kernel);
            bytes(&[source.channels, self.outputs, larger.saturating_add(taps)])
        });
        let plain = plain.fold(0, u64::saturating_add);
        plain.saturating_add(enlarged.max().unwrap_or(0))
    }
}

impl TransposedShape {
    /// What is made of the weight for each call.
    pub(crate) fn forward_bytes(&self) -> u64 {
        match self.algorithm() {
            Algorithm::Winograd => components(self.outputs, self.inputs),
            _ => bytes(&[self.inputs, self.outputs, self.geometry.taps()]),
        }
    }

    /// What the backward pass holds at most at once besides the gradients that it computes.
    pub(crate) fn backward_bytes(&self) -> u64 {
        self.convolution().prepared_bytes(WeightUse::Once)
    }
}
