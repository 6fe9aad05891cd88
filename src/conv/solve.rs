//! The arithmetic of a transposed convolution: the size it gives, and what gives a wanted size.

use alloc::{format, vec::Vec};

use crate::shape::{ShapeError, axis_name, check_not_empty};

/// All numbers of a transposed convolution, one an axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TransposedWindow {
    pub kernel_size: Vec<usize>,
    pub stride: Vec<usize>,
    pub dilation: Vec<usize>,
    pub padding: Vec<usize>,
    pub output_padding: Vec<usize>,
}

/// The spatial size that a transposed convolution gives.
pub(crate) fn transposed_size<const R: usize>(
    layer: &str,
    input: [usize; R],
    window: &TransposedWindow,
) -> Result<Vec<usize>, ShapeError> {
    check_not_empty(layer, input)?;
    (0..R - 2)
        .map(|n| {
            let full = (input[2 + n] - 1) * window.stride[n]
                + window.dilation[n] * (window.kernel_size[n] - 1)
                + 1
                + window.output_padding[n];
            match full.checked_sub(2 * window.padding[n]) {
                Some(size) if size > 0 => Ok(size),
                _ => Err(ShapeError::new(
                    layer,
                    format!(
                        "padding {} on both sides leaves nothing of {} {full}",
                        window.padding[n],
                        axis_name(2 + n, R)
                    ),
                    "Use a smaller padding",
                )),
            }
        })
        .collect()
}

/// The padding and the output padding with which an axis of `from` positions becomes `to`, if
/// there are any: `2 padding - output_padding` positions are cut from the full output, one more at
/// the start where the number is odd. At stride 1, where no output padding is allowed, an odd
/// number leaves one position over.
pub(super) fn solve_paddings(
    from: usize,
    to: usize,
    kernel: usize,
    stride: usize,
) -> Option<(usize, usize)> {
    let full = (from - 1) * stride + kernel;
    if to > full {
        return (to - full < stride).then_some((0, to - full));
    }
    let cut = full - to;
    match stride {
        1 => Some((cut / 2, 0)),
        _ => Some((cut.div_ceil(2), cut % 2)),
    }
}

/// The kernel and the stride with which an axis of `from` positions becomes `to`.
///
/// The stride is the whole number nearest to `to / from` (the larger of two that are as near); the
/// kernel is the smallest multiple of the stride that covers the output and leaves an even number
/// of positions to cut, or else the smallest that covers it. A kernel that is a multiple of the
/// stride overlaps evenly, and so draws no checkerboard (Odena et al., "Deconvolution and
/// Checkerboard Artifacts", Distill 2016).
pub(super) fn solve_kernel(from: usize, to: usize) -> (usize, usize) {
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
