//! The backward pass of a source that is read enlarged.

use alloc::vec::Vec;
use core::ops::Range;

use super::packed_weights::Weight;
use super::source::Source;
use super::tap_sums::{Kernels, TapMap, TapPair, transpose};
use crate::policy::{Depth, Geometry, SourceShape, StoredSlices};

/// A source that is read enlarged. Its gradient is a convolution of the output's gradient by a larger kernel, with the
/// factor as the stride: all taps that multiply the same pair of a source value and an output gradient are summed
/// into one tap.
pub(super) struct Enlarged<'a> {
    geometry: &'a Geometry,
    source: SourceShape,
}

impl<'a> Enlarged<'a> {
    pub(super) fn new(geometry: &'a Geometry, source: SourceShape) -> Self {
        Self { geometry, source }
    }

    /// The geometry of the convolution from the gradient of the output to the gradient of the source.
    pub(super) fn larger_geometry(&self) -> Geometry {
        let (geometry, factors) = (self.geometry, self.source.factors);
        let axes = [0, 1];
        Geometry {
            kernel: axes.map(|axis| geometry.kernel[axis] + factors[axis] - 1),
            stride: factors,
            dilation: [1, 1],
            pad: axes.map(|axis| geometry.kernel[axis] as isize - 1 - geometry.pad[axis]),
            groups: 1,
            size: self.source.size,
            depth: Depth {
                kernel: geometry.depth.kernel + self.source.slices.factor - 1,
                stride: self.source.slices.factor,
                dilation: 1,
                pad: geometry.depth.kernel as isize - 1 - geometry.depth.pad,
                size: self.source.slices.count,
            },
        }
    }

    /// Pairs of each tap with every tap of the larger kernel that it contributes to.
    fn pairs(&self) -> Vec<TapPair> {
        let [rows, columns] = self.geometry.kernel;
        let slices = self.geometry.depth.kernel;
        let [height, width] = self.larger_geometry().kernel;
        let factors = self.source.factors;
        let mut pairs = Vec::new();
        for from in 0..slices * rows * columns {
            let (slice, row, column) =
                (from / columns / rows, from / columns % rows, from % columns);
            for part in 0..self.source.slices.factor * factors[0] * factors[1] {
                let (y, x) = (part / factors[1] % factors[0], part % factors[1]);
                let z = part / factors[1] / factors[0];
                let place = (slices - 1 - slice + z) * height + rows - 1 - row + y;
                let into = place * width + columns - 1 - column + x;
                pairs.push(TapPair { from, into });
            }
        }
        pairs
    }

    /// The larger kernels of a range of channels, `[channels, outputs, kernel...]`.
    pub(super) fn larger_weight(
        &self,
        weight: Weight,
        inputs: usize,
        channels: Range<usize>,
    ) -> Vec<f32> {
        let larger = self.larger_geometry().taps();
        let map = TapMap::new(self.geometry.taps(), larger, self.pairs());
        let kernels = Kernels {
            values: weight.values,
            outer: weight.outputs,
            row: inputs,
            inner: channels,
        };
        transpose(kernels, &map)
    }

    /// The gradient of the kernels, `[outputs, channels, kernel...]`, from the gradient of the larger kernels.
    pub(super) fn smaller_weight(&self, gradient: &[f32], outputs: usize) -> Vec<f32> {
        let pairs = self
            .pairs()
            .into_iter()
            .map(|TapPair { from, into }| TapPair {
                from: into,
                into: from,
            });
        let larger = self.larger_geometry().taps();
        let map = TapMap::new(larger, self.geometry.taps(), pairs.collect());
        let kernels = Kernels {
            values: gradient,
            outer: self.source.channels,
            row: outputs,
            inner: 0..outputs,
        };
        transpose(kernels, &map)
    }
}

/// The same source without enlargement. Its prologue still applies.
pub(super) fn as_stored<'a>(source: &Source<'a>) -> Source<'a> {
    let shape = SourceShape {
        factors: [1, 1],
        slices: StoredSlices::plain(source.slices.count),
        ..source.shape()
    };
    Source::new(source.values, shape).with_prologue(source.prologue)
}
