//! Pixel shuffle and unshuffle for any rank: channels to space and back.
//!
//! Sub-pixel convolution, arXiv:1609.05158.

use burn::tensor::Tensor;

use crate::cpu::around;
pub use crate::graph::BlockOrder;

/// What varies slower than the offsets in a cell, and what lies between them and the axis.
fn split(order: BlockOrder, [batch, channels]: [usize; 2], between: usize) -> [usize; 2] {
    match order {
        BlockOrder::ChannelMajor => [batch * channels, between],
        BlockOrder::BlockMajor => [batch, channels * between],
    }
}

/// `[batch, channels * prod(scale), spatial...]` to `[batch, channels, spatial * scale...]`.
pub(crate) fn pixel_shuffle<const R: usize>(
    x: Tensor<R>,
    scale: &[usize],
    order: BlockOrder,
) -> Tensor<R> {
    let step = |x: Tensor<R>, (n, &scale): (usize, &usize)| {
        let mut shape = x.dims();
        let axis = 2 + n;
        let [_, length, inner] = around(&shape, axis);
        let between: usize = shape[2..axis].iter().product();
        shape[1] /= scale;
        shape[axis] = length * scale;
        let [outer, between] = split(order, [shape[0], shape[1]], between);
        x.reshape([outer, scale, between, length, inner])
            .permute([0, 2, 3, 1, 4])
            .reshape(shape)
    };
    let axes = scale.iter().enumerate();
    // One axis at a time, from the one that varies fastest (channel-major) or slowest among the
    // channels.
    match order {
        BlockOrder::ChannelMajor => axes.rev().fold(x, step),
        BlockOrder::BlockMajor => axes.fold(x, step),
    }
}

/// `[batch, channels, spatial...]` to `[batch, channels * prod(scale), spatial / scale...]`.
pub(crate) fn pixel_unshuffle<const R: usize>(
    x: Tensor<R>,
    scale: &[usize],
    order: BlockOrder,
) -> Tensor<R> {
    let step = |x: Tensor<R>, (n, &scale): (usize, &usize)| {
        let mut shape = x.dims();
        let axis = 2 + n;
        let [_, length, inner] = around(&shape, axis);
        let between: usize = shape[2..axis].iter().product();
        let [outer, between] = split(order, [shape[0], shape[1]], between);
        shape[1] *= scale;
        shape[axis] = length / scale;
        x.reshape([outer, between, length / scale, scale, inner])
            .permute([0, 3, 1, 2, 4])
            .reshape(shape)
    };
    let axes = scale.iter().enumerate();
    match order {
        BlockOrder::ChannelMajor => axes.fold(x, step),
        BlockOrder::BlockMajor => axes.rev().fold(x, step),
    }
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

    fn values<const R: usize>(x: Tensor<R>) -> Vec<f32> {
        x.to_data().try_to_vec().unwrap()
    }

    #[test]
    fn as_torch_pixel_shuffle() {
        // torch.nn.functional.pixel_shuffle(torch.arange(16).view(1, 8, 1, 2), 2)
        let y = pixel_shuffle(counting([1, 8, 1, 2]), &[2, 2], BlockOrder::ChannelMajor);
        assert_eq!(y.dims(), [1, 2, 2, 4]);
        let expected = [
            0., 2., 1., 3., 4., 6., 5., 7., 8., 10., 9., 11., 12., 14., 13., 15.,
        ];
        assert_eq!(values(y), expected);
    }

    #[test]
    fn as_tensorflow_depth_to_space() {
        // tf.nn.depth_to_space of the same map, in NHWC and brought back
        let y = pixel_shuffle(counting([1, 8, 1, 2]), &[2, 2], BlockOrder::BlockMajor);
        let expected = [
            0., 4., 1., 5., 8., 12., 9., 13., 2., 6., 3., 7., 10., 14., 11., 15.,
        ];
        assert_eq!(values(y), expected);
    }

    #[test]
    fn unshuffle_is_the_inverse_on_three_axes() {
        for order in [BlockOrder::ChannelMajor, BlockOrder::BlockMajor] {
            let x = counting([2, 24, 2, 3, 1]);
            let y = pixel_shuffle(x.clone(), &[2, 3, 2], order);
            assert_eq!(y.dims(), [2, 2, 4, 9, 2]);
            assert_eq!(values(pixel_unshuffle(y, &[2, 3, 2], order)), values(x));
        }
    }
}
