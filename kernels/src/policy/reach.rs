//! Convolutions of which some taps only read padding: with a dilation as large as the map, a kernel of 3x3 reads one value.

use core::ops::Range;

use super::{Axes, ConvShape, Depth, Geometry, SourceShape};

/// A convolution without the taps that only read padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reached {
    /// By a smaller kernel.
    pub shape: ConvShape,
    /// The first of its taps.
    pub first: Axes,
}

/// The numbers of one axis.
#[derive(Clone, Copy)]
struct Axis {
    kernel: usize,
    stride: usize,
    dilation: usize,
    pad: isize,
    outputs: usize,
    inputs: usize,
}

impl Axis {
    /// The taps from the first that reads a value of the map to the last.
    fn taps(&self) -> Option<Range<usize>> {
        let signed = |number: usize| isize::try_from(number).ok();
        let [stride, dilation, inputs] = [self.stride, self.dilation, self.inputs].map(signed);
        let (stride, dilation, inputs) = (stride?, dilation?, inputs?);
        let last_output = signed(self.outputs.checked_sub(1)?)?.checked_mul(stride)?;
        let reads = |tap: usize| {
            // (What no number holds is far outside.)
            let first = signed(tap)?.checked_mul(dilation)?.checked_sub(self.pad)?;
            (first < inputs && first.checked_add(last_output)? >= 0).then_some(tap)
        };
        let first = (0..self.kernel).find_map(reads)?;
        let last = (first..self.kernel).rev().find_map(reads)?;
        Some(first..last + 1)
    }
}

impl ConvShape {
    /// The same convolution without the taps that only read padding, if there are any.
    pub fn reached(&self) -> Option<Reached> {
        let geometry = &self.geometry;
        let Depth { kernel, .. } = geometry.depth;
        // (Only where taps are far apart; the rule is asked for every convolution.)
        let is_far = |axis: usize| geometry.dilation[axis] > 1 && geometry.kernel[axis] > 1;
        let is_deep = geometry.depth.dilation > 1 && kernel > 1;
        if !(is_far(0) || is_far(1) || is_deep) || self.sources.iter().any(SourceShape::is_enlarged)
        {
            return None;
        }
        let source = self.sources.first()?;
        let plane = |axis: usize| Axis {
            kernel: geometry.kernel[axis],
            stride: geometry.stride[axis],
            dilation: geometry.dilation[axis],
            pad: geometry.pad[axis],
            outputs: geometry.size[axis],
            inputs: source.size[axis],
        };
        let depth = Axis {
            kernel,
            stride: geometry.depth.stride,
            dilation: geometry.depth.dilation,
            pad: geometry.depth.pad,
            outputs: geometry.depth.size,
            inputs: source.slices.count,
        };
        let [slices, rows, columns] = [depth.taps()?, plane(0).taps()?, plane(1).taps()?];
        let taken = [slices.len(), rows.len(), columns.len()];
        if taken == [kernel, geometry.kernel[0], geometry.kernel[1]] {
            return None;
        }
        // (What is between the taps does not matter where there is one.)
        let dilation = |dilation: usize, taps: usize| if taps == 1 { 1 } else { dilation };
        let pad = |axis: &Axis, first: usize| axis.pad - (first * axis.dilation) as isize;
        let geometry = Geometry {
            kernel: [rows.len(), columns.len()],
            dilation: [
                dilation(geometry.dilation[0], rows.len()),
                dilation(geometry.dilation[1], columns.len()),
            ],
            pad: [pad(&plane(0), rows.start), pad(&plane(1), columns.start)],
            depth: Depth {
                kernel: slices.len(),
                dilation: dilation(geometry.depth.dilation, slices.len()),
                pad: pad(&depth, slices.start),
                ..geometry.depth
            },
            ..geometry.clone()
        };
        Some(Reached {
            shape: Self {
                geometry,
                sources: self.sources.clone(),
                ..*self
            },
            first: Axes {
                depth: slices.start,
                plane: [rows.start, columns.start],
            },
        })
    }
}
