//! The arithmetic of a transposed convolution: the size it gives, and what gives a wanted size.

#[cfg(feature = "kernels")]
use alloc::vec;
use alloc::{format, vec::Vec};

use serde::{Deserialize, Serialize};

use super::{AxisPadding, ConvOp, Grid, Map};
use crate::shape::{ShapeError, axis_name, check_not_empty};

/// Which positions of the full output of a transposed convolution are cut away, where that is larger
/// than the output that is wanted. The full output of `n` positions has `(n - 1) stride + kernel`.
///
/// # Example
/// ```
/// use burn::{nn::Initializer, tensor::{Device, Tensor}};
/// use burn_skip::{Layer, conv::{ConvTransposeConfig, TransposedPadding}};
///
/// let enlarged = |padding| { // the full output is [1, 1, 11, 10, 10]
///     let config = ConvTransposeConfig::new([1, 1], 3, 2).with_padding(padding).with_bias(false);
///     let up = config.with_initializer(Initializer::Ones).init::<3>(&Device::flex());
///     let y = up.forward(Tensor::from_floats([[[1.0, 10.0]]], &Device::flex()));
///     y.to_data().try_to_vec::<f32>().unwrap()
/// };
/// assert_eq!(enlarged(TransposedPadding::Solved), [1.0, 11.0, 10.0, 10.0]);
/// assert_eq!(enlarged(TransposedPadding::Same), [1.0, 1.0, 11.0, 10.0]);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum TransposedPadding {
    /// PyTorch's rule, solved for the wanted size: as many at both ends, the odd one at the start.
    /// That is `padding=ceil(cut / 2), output_padding=cut % 2`. Without a wanted size: `n stride`.
    #[default]
    Solved,
    /// Keras's `padding="same"`: `n stride` positions, the odd one is cut at the **end**.
    Same,
    /// Keras's `padding="valid"`: nothing is cut, `(n - 1) stride + max(kernel, stride)` positions.
    /// Where another size is wanted, the odd one is cut at the end.
    Valid,
}

impl TransposedPadding {
    /// The size of the output when no other is wanted.
    pub(crate) fn natural_size(self, from: usize, kernel: usize, stride: usize) -> usize {
        match self {
            Self::Solved | Self::Same => from.saturating_mul(stride),
            Self::Valid => full_size(from, kernel.max(stride), stride),
        }
    }
}

/// All numbers of a transposed convolution, one an axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TransposedWindow {
    pub kernel_size: Vec<usize>,
    pub stride: Vec<usize>,
    pub dilation: Vec<usize>,
    pub padding: Vec<usize>,
    pub output_padding: Vec<usize>,
}

impl TransposedWindow {
    /// That of positions that are computed each by itself, on so many axes.
    #[cfg(feature = "kernels")]
    pub fn pointwise(axes: usize) -> Self {
        let [one, none] = [1, 0].map(|number| vec![number; axes]);
        Self {
            kernel_size: one.clone(),
            stride: one.clone(),
            dilation: one,
            padding: none.clone(),
            output_padding: none,
        }
    }

    /// Where the positions after it lie, of an output that is cut by `cut` positions before its first.
    pub fn regrid<const R: usize>(&self, x: &Map<R>, cut: &[usize]) -> Option<Vec<Grid>> {
        x.regrid(|n, grid| {
            grid.transposed([
                self.kernel_size[n],
                self.stride[n],
                self.dilation[n],
                cut[n],
            ])
        })
    }

    /// The window as an operation of a plan.
    pub fn op(self, channels: [usize; 2], groups: usize, bias: bool) -> ConvOp {
        let cut = self.padding.iter().zip(&self.output_padding);
        let cut = cut.map(|(&start, &output)| AxisPadding {
            start,
            end: start.saturating_sub(output),
        });
        ConvOp {
            channels,
            padding: cut.collect(),
            kernel_size: self.kernel_size,
            stride: self.stride,
            dilation: self.dilation,
            groups,
            bias,
        }
    }

    /// Makes the kernel longer by so many taps on each axis. What they reach takes the place of the
    /// output padding, and is more than that where the kernel grows by more.
    pub fn lengthen(&mut self, more: &[usize]) {
        for (n, &more) in more.iter().enumerate() {
            self.kernel_size[n] += more;
            let reach = more * self.dilation[n];
            self.output_padding[n] = self.output_padding[n].saturating_sub(reach);
        }
    }

    /// The size that `length` positions of the axis `n` become before the padding cuts it.
    fn full_size(&self, length: usize, n: usize) -> usize {
        let extent = self.dilation[n] * (self.kernel_size[n] - 1) + 1;
        full_size(length, extent, self.stride[n]).saturating_add(self.output_padding[n])
    }

    /// The size that `length` positions of the axis `n` become, if the padding leaves any.
    pub fn size(&self, length: usize, n: usize) -> usize {
        self.full_size(length, n)
            .saturating_sub(2 * self.padding[n])
    }
}

/// How far windows of `extent` positions reach, `stride` apart, one for each of `length` positions.
pub(crate) fn full_size(length: usize, extent: usize, stride: usize) -> usize {
    (length - 1).saturating_mul(stride).saturating_add(extent)
}

/// The spatial size that a transposed convolution gives.
pub(crate) fn transposed_size<const R: usize>(
    layer: &str,
    input: [usize; R],
    window: &TransposedWindow,
) -> Result<Vec<usize>, ShapeError> {
    check_not_empty(layer, input)?;
    (0..R - 2)
        .map(|n| match window.size(input[2 + n], n) {
            0 => Err(ShapeError::new(
                layer,
                format!(
                    "padding {} on both sides leaves nothing of {} {}",
                    window.padding[n],
                    axis_name(2 + n, R),
                    window.full_size(input[2 + n], n)
                ),
                "Use a smaller padding",
            )),
            size => Ok(size),
        })
        .collect()
}

/// The padding and the output padding with which an axis of `from` positions becomes `to`, if
/// there are any: `2 padding - output_padding` positions are cut from the full output, one more at
/// the start where the number is odd. Where no output padding may be used (at stride 1, and where the
/// odd one is to be cut at the end), an odd number leaves one position over.
pub(crate) fn solve_paddings(
    [from, to]: [usize; 2],
    kernel: usize,
    stride: usize,
    rule: TransposedPadding,
) -> Option<(usize, usize)> {
    let full = full_size(from, kernel, stride);
    if to > full {
        return (to - full < stride).then_some((0, to - full));
    }
    let cut = full - to;
    match rule {
        TransposedPadding::Solved if stride > 1 => Some((cut.div_ceil(2), cut % 2)),
        _ => Some((cut / 2, 0)),
    }
}

/// The kernel and the stride with which an axis of `from` positions becomes `to`.
///
/// The stride is the whole number nearest to `to / from` (the larger of two that are as near); the
/// kernel is the smallest multiple of the stride that covers the output and leaves an even number
/// of positions to cut, or else the smallest that covers it. A kernel that is a multiple of the
/// stride overlaps evenly, and so draws no checkerboard (Odena et al., "Deconvolution and
/// Checkerboard Artifacts", Distill 2016).
pub(crate) fn solve_kernel(from: usize, to: usize) -> (usize, usize) {
    let stride = ((2 * to + from) / (2 * from)).max(1);
    let covering = (1..)
        .map(|multiple| multiple * stride)
        .filter(|kernel| (from - 1) * stride + kernel >= to);
    let even_cut = |kernel: &usize| ((from - 1) * stride + kernel - to).is_multiple_of(2);
    let candidates: Vec<usize> = covering.take(2).collect();
    let kernel = candidates
        .iter()
        .find(|kernel| even_cut(kernel))
        .unwrap_or(&candidates[0]);
    (*kernel, stride)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn solve_paddings(
        from: usize,
        to: usize,
        kernel: usize,
        stride: usize,
    ) -> Option<(usize, usize)> {
        super::solve_paddings([from, to], kernel, stride, TransposedPadding::Solved)
    }

    #[test]
    fn the_case_of_6_to_15() {
        assert_eq!(solve_kernel(6, 15), (6, 3));
        assert_eq!(solve_paddings(6, 15, 6, 3), Some((3, 0)));
        assert_eq!(solve_paddings(6, 15, 4, 2), Some((0, 1)));
    }

    #[test]
    fn doubling_takes_the_smallest_even_kernel() {
        assert_eq!(solve_kernel(6, 12), (2, 2));
        assert_eq!(solve_paddings(6, 12, 2, 2), Some((0, 0)));
        assert_eq!(solve_kernel(7, 15), (4, 2));
        assert_eq!(solve_paddings(7, 15, 4, 2), Some((1, 1)));
        assert_eq!(solve_paddings(7, 16, 2, 2), None);
        assert_eq!(solve_kernel(9, 9), (1, 1));
    }

    #[test]
    fn every_enlargement_can_be_solved() {
        for from in 1..40 {
            for to in from..8 * from {
                let (kernel, stride) = solve_kernel(from, to);
                assert_eq!(kernel % stride, 0, "{from} -> {to}");
                assert!(
                    solve_paddings(from, to, kernel, stride).is_some(),
                    "{from} -> {to}"
                );
            }
        }
    }
}
