//! Pixel shuffle and unshuffle for any rank: channels to space and back.
//!
//! PyTorch's order (`torch.nn.PixelShuffle`): the channel `(c s0 + i0) s1 + i1` of the input holds
//! the output channel `c` at the offset `(i0, i1)` of each `s0 x s1` cell. Sub-pixel convolution,
//! arXiv:1609.05158.

use burn::tensor::Tensor;

use crate::axis_map::around;

/// `[batch, channels * prod(scale), spatial...]` to `[batch, channels, spatial * scale...]`.
pub(crate) fn pixel_shuffle<const R: usize>(x: Tensor<R>, scale: &[usize]) -> Tensor<R> {
    // One axis at a time, the last first: it varies fastest among the channels.
    scale.iter().enumerate().rev().fold(x, |x, (n, &scale)| {
        let mut shape = x.dims();
        let axis = 2 + n;
        let [_, length, inner] = around(&shape, axis);
        let between: usize = shape[2..axis].iter().product();
        shape[1] /= scale;
        let outer = shape[0] * shape[1];
        shape[axis] = length * scale;
        x.reshape([outer, scale, between, length, inner])
            .permute([0, 2, 3, 1, 4])
            .reshape(shape)
    })
}

/// `[batch, channels, spatial...]` to `[batch, channels * prod(scale), spatial / scale...]`.
pub(crate) fn pixel_unshuffle<const R: usize>(x: Tensor<R>, scale: &[usize]) -> Tensor<R> {
    scale.iter().enumerate().fold(x, |x, (n, &scale)| {
        let mut shape = x.dims();
        let axis = 2 + n;
        let [_, length, inner] = around(&shape, axis);
        let between: usize = shape[2..axis].iter().product();
        let outer = shape[0] * shape[1];
        shape[1] *= scale;
        shape[axis] = length / scale;
        x.reshape([outer, between, length / scale, scale, inner])
            .permute([0, 3, 1, 2, 4])
            .reshape(shape)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use burn::tensor::{Device, Int};

    fn counting<const R: usize>(shape: [usize; R]) -> Tensor<R> {
        let count: usize = shape.iter().product();
        Tensor::<1, Int>::arange(0..count as i64, &Device::flex())
            .float()
            .reshape(shape)
    }

    #[test]
    fn as_torch_pixel_shuffle() {
        // torch.nn.functional.pixel_shuffle(torch.arange(16).view(1, 8, 1, 2), 2)
        let y = pixel_shuffle(counting([1, 8, 1, 2]), &[2, 2]);
        assert_eq!(y.dims(), [1, 2, 2, 4]);
        let expected = [
            0., 2., 1., 3., 4., 6., 5., 7., 8., 10., 9., 11., 12., 14., 13., 15.,
        ];
        assert_eq!(y.to_data().try_to_vec::<f32>().unwrap(), expected);
    }

    #[test]
    fn unshuffle_is_the_inverse_on_three_axes() {
        let x = counting([2, 24, 2, 3, 1]);
        let y = pixel_shuffle(x.clone(), &[2, 3, 2]);
        assert_eq!(y.dims(), [2, 2, 4, 9, 2]);
        let back: Vec<f32> = pixel_unshuffle(y, &[2, 3, 2])
            .to_data()
            .try_to_vec()
            .unwrap();
        assert_eq!(back, x.to_data().try_to_vec::<f32>().unwrap());
    }
}
