//! Sliding windows: padding, and the size that a convolution or a pool leaves of an axis.

use alloc::{format, vec::Vec};

use serde::{Deserialize, Serialize};

use crate::graph::{AxisPadding, Grid, Map, WindowOp};
use crate::shape::{PerAxis, ShapeError, axis_name, check_not_empty, with_spatial};

/// How many zeros (for a max pool: minus infinities) surround the map before a window slides over it.
///
/// # Example
/// ```
/// use burn::{nn::Initializer, tensor::{Device, Tensor}};
/// use burn_skip::{Layer, Padding, conv::ConvConfig};
///
/// let sums = |padding| { // of three positions each, two apart
///     let config = ConvConfig::new([1, 1], 3).with_stride(2).with_padding(padding).with_bias(false);
///     let conv = config.with_initializer(Initializer::Ones).init::<3>(&Device::flex());
///     let y = conv.forward(Tensor::from_floats([[[1.0, 2.0, 3.0, 4.0]]], &Device::flex()));
///     y.to_data().try_to_vec::<f32>().unwrap()
/// };
/// assert_eq!(sums(Padding::Same), [6.0, 7.0]);
/// assert_eq!(sums(Padding::explicit(1)), [3.0, 9.0]);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub enum Padding {
    /// As TensorFlow and Keras: the output has `ceil(size / stride)` positions.
    ///
    /// `total = max((ceil(size / stride) - 1) stride + (kernel - 1) dilation + 1 - size, 0)`, the
    /// odd one at the **end**. At stride 1 with an odd kernel this is PyTorch's `kernel / 2`; at
    /// stride 2 on an even size it is not: there PyTorch networks use
    /// [`explicit(1)`](Self::explicit).
    #[default]
    Same,
    /// None.
    Valid,
    /// So many at the start and at the end of each axis.
    Explicit {
        /// Before the first position.
        start: PerAxis,
        /// After the last position.
        end: PerAxis,
    },
}

impl Padding {
    /// No padding.
    pub(crate) const fn valid() -> Self {
        Self::Valid
    }

    /// The same padding at both ends, as PyTorch's `padding=`.
    pub fn explicit(padding: impl Into<PerAxis>) -> Self {
        let start = padding.into();
        Self::Explicit {
            end: start.clone(),
            start,
        }
    }
}

impl Padding {
    /// Checks the lengths of the lists for maps of rank `rank`.
    pub(crate) fn validate(&self, rank: usize, layer: &str) -> Result<(), ShapeError> {
        if let Self::Explicit { start, end } = self {
            start.resolve(rank, layer, "padding")?;
            end.resolve(rank, layer, "padding")?;
        }
        Ok(())
    }
}

/// A window over the spatial axes, one number an axis.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    pub kernel_size: Vec<usize>,
    pub stride: Vec<usize>,
    pub dilation: Vec<usize>,
    pub ceil_mode: bool,
}

impl Window {
    /// The window with one more axis, on which it sees one position.
    pub fn with_axis_of_one(&self) -> Self {
        let and_one = |numbers: &[usize]| [numbers, &[1]].concat();
        Self {
            kernel_size: and_one(&self.kernel_size),
            stride: and_one(&self.stride),
            dilation: and_one(&self.dilation),
            ceil_mode: self.ceil_mode,
        }
    }

    /// Makes the kernel longer by so many taps on each axis.
    pub fn lengthen(&mut self, more: &[usize]) {
        for (kernel, more) in self.kernel_size.iter_mut().zip(more) {
            *kernel += more;
        }
    }

    /// How far the window reaches along the axis `n`.
    fn extent(&self, n: usize) -> usize {
        let taps = self.kernel_size[n].saturating_sub(1);
        self.dilation[n].saturating_mul(taps).saturating_add(1)
    }

    /// How many positions it sees.
    pub fn taps(&self) -> usize {
        let sizes = self.kernel_size.iter().copied();
        sizes.fold(1, usize::saturating_mul)
    }

    /// Where the positions after it lie.
    pub fn regrid<const R: usize>(&self, x: &Map<R>, pads: &[AxisPadding]) -> Option<Vec<Grid>> {
        x.regrid(|n, grid| {
            grid.window([
                self.kernel_size[n],
                self.stride[n],
                self.dilation[n],
                pads[n].start,
            ])
        })
    }

    /// The window with its padding, as an operation of a plan.
    pub fn op(self, padding: Vec<AxisPadding>) -> WindowOp {
        WindowOp {
            kernel_size: self.kernel_size,
            stride: self.stride,
            dilation: self.dilation,
            padding,
            ceil_mode: self.ceil_mode,
        }
    }

    /// The padding before and after each spatial axis.
    pub fn pads<const R: usize>(
        &self,
        layer: &str,
        input: [usize; R],
        padding: &Padding,
    ) -> Result<Vec<AxisPadding>, ShapeError> {
        match padding {
            Padding::Valid => Ok(alloc::vec![AxisPadding::default(); R - 2]),
            Padding::Same => Ok((0..R - 2)
                .map(|n| same_pads(input[2 + n], self.extent(n), self.stride[n]))
                .collect()),
            Padding::Explicit { start, end } => {
                let start = start.resolve(R, layer, "padding")?;
                let end = end.resolve(R, layer, "padding")?;
                let both = start.into_iter().zip(end);
                Ok(both
                    .map(|(start, end)| AxisPadding { start, end })
                    .collect())
            }
        }
    }

    /// Refuses a padding in which a whole window can lie: it has no largest value and no mean.
    pub fn check_sees_the_map(&self, layer: &str, pads: &[AxisPadding]) -> Result<(), ShapeError> {
        for (n, &AxisPadding { start, end }) in pads.iter().enumerate() {
            if start.max(end) >= self.kernel_size[n] {
                return Err(ShapeError::new(
                    layer,
                    format!(
                        "padding {start} + {end} of the {} lets a window of {} miss the map",
                        axis_name(2 + n, 2 + pads.len()),
                        self.kernel_size[n]
                    ),
                    "Use a padding smaller than the kernel",
                ));
            }
        }
        Ok(())
    }

    /// The shape after the window has slid over a map of shape `input`.
    pub fn output_shape<const R: usize>(
        &self,
        layer: &str,
        input: [usize; R],
        pads: &[AxisPadding],
    ) -> Result<[usize; R], ShapeError> {
        check_not_empty(layer, input)?;
        let mut size = Vec::with_capacity(R - 2);
        for (n, &AxisPadding { start, end }) in pads.iter().enumerate() {
            let (length, stride, extent) = (input[2 + n], self.stride[n], self.extent(n));
            let padded = length.saturating_add(start).saturating_add(end);
            if padded < extent && !self.ceil_mode {
                let axis = axis_name(2 + n, R);
                return Err(ShapeError::new(
                    layer,
                    format!(
                        "{axis} {length} with padding {start} + {end} is smaller than the window of {extent} (kernel {}, dilation {})",
                        self.kernel_size[n], self.dilation[n]
                    ),
                    format!(
                        "Use a smaller kernel, more padding, or a map of {axis} {} or more",
                        extent - start - end
                    ),
                ));
            }
            let end_padding = length.saturating_add(start);
            size.push(self.positions(padded.saturating_sub(extent), stride, end_padding));
        }
        Ok(with_spatial(input, &size))
    }

    /// How many positions a window has that can move by `room`. With `ceil_mode` the last one may
    /// hang over, but must not start in the padding at the end (PyTorch's rule).
    fn positions(&self, room: usize, stride: usize, end_padding_starts_at: usize) -> usize {
        if !self.ceil_mode {
            return (room / stride).saturating_add(1);
        }
        let positions = room.div_ceil(stride).saturating_add(1);
        if (positions - 1).saturating_mul(stride) >= end_padding_starts_at {
            positions - 1
        } else {
            positions
        }
    }
}

/// The padding that makes the output `ceil(size / stride)` long.
fn same_pads(size: usize, extent: usize, stride: usize) -> AxisPadding {
    let steps = size.div_ceil(stride).max(1) - 1;
    let needed = steps.saturating_mul(stride).saturating_add(extent);
    let total = needed.saturating_sub(size);
    AxisPadding {
        start: total / 2,
        end: total - total / 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{string::ToString, vec};

    fn window(kernel: usize, stride: usize, dilation: usize, ceil_mode: bool) -> Window {
        Window {
            kernel_size: vec![kernel],
            stride: vec![stride],
            dilation: vec![dilation],
            ceil_mode,
        }
    }

    fn length(w: &Window, input: usize, padding: Padding) -> usize {
        let input = [1, 1, input];
        let pads = w.pads("Conv", input, &padding).unwrap();
        w.output_shape("Conv", input, &pads).unwrap()[2]
    }

    #[test]
    fn same_pads_the_odd_one_at_the_end() {
        assert_eq!(same_pads(32, 3, 2), AxisPadding { start: 0, end: 1 });
        assert_eq!(same_pads(33, 3, 2), AxisPadding { start: 1, end: 1 });
        assert_eq!(same_pads(10, 2, 1), AxisPadding { start: 0, end: 1 });
        assert_eq!(same_pads(10, 1, 2), AxisPadding { start: 0, end: 0 });
    }

    #[test]
    fn same_keeps_the_size_under_dilation() {
        assert_eq!(length(&window(3, 1, 4, false), 20, Padding::Same), 20);
        assert_eq!(length(&window(3, 2, 3, false), 21, Padding::Same), 11);
    }

    #[test]
    fn valid_and_explicit_sizes() {
        assert_eq!(length(&window(3, 1, 1, false), 32, Padding::Valid), 30);
        assert_eq!(length(&window(2, 2, 1, false), 13, Padding::Valid), 6);
        assert_eq!(
            length(&window(3, 2, 1, false), 32, Padding::explicit(1)),
            16
        );
    }

    #[test]
    fn ceil_mode_drops_a_window_that_starts_in_the_padding() {
        assert_eq!(length(&window(2, 2, 1, true), 13, Padding::Valid), 7);
        // torch.nn.MaxPool1d(1, 3, padding=0, ceil_mode=True) on 4 positions gives 2.
        assert_eq!(length(&window(1, 3, 1, true), 4, Padding::Valid), 2);
        // A window that hangs over a map smaller than itself is one.
        assert_eq!(length(&window(2, 2, 1, true), 1, Padding::Valid), 1);
        // torch.nn.MaxPool1d(2, 4, padding=1, ceil_mode=True) on 3 positions gives 1.
        assert_eq!(length(&window(2, 4, 1, true), 3, Padding::explicit(1)), 1);
    }

    #[test]
    fn a_window_larger_than_the_map_is_an_error() {
        let w = window(5, 1, 2, false);
        let error = w
            .output_shape("Conv", [1, 1, 4], &[AxisPadding { start: 1, end: 1 }])
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "Conv: length 4 with padding 1 + 1 is smaller than the window of 9 (kernel 5, dilation 2). \
             Use a smaller kernel, more padding, or a map of length 7 or more."
        );
    }
}
