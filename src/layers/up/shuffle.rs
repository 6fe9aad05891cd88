//! The pixel shuffle of an enlargement, and the mean after it.

use alloc::{format, vec, vec::Vec};

use burn::tensor::{Device, Tensor};

use super::NAME;
use crate::cpu::{AxisMap, map_axes};
use crate::graph::{AxisPadding, Map, Op, PadMode, Planner, Record, WindowOp};
use crate::layers::conv::{Conv, ConvConfig};
use crate::layers::param::Rows;
use crate::layers::pixel_shuffle::BlockOrder;
use crate::shape::{ShapeError, axis_name, expect, scaled, with_channels, with_spatial};

/// A 1x1 convolution in which the `cell` channels that become one cell of the output start with the
/// same weights, so that the shuffle starts as a nearest upsampling and draws no checkerboard.
pub(super) fn icnr<const R: usize>(
    [input, output]: [usize; 2],
    cell: usize,
    order: BlockOrder,
    device: &Device,
) -> Conv<R> {
    let config = ConvConfig::new([input, output * cell], 1);
    expect(config.validate::<R>());
    let mut shape = [1; R];
    shape[0] = output * cell;
    shape[1] = input;
    let rows = Rows {
        copies: cell,
        side_by_side: order == BlockOrder::ChannelMajor,
        fans: [input, output * cell],
    };
    let weight = rows.param(&config.initializer, shape, device);
    let bias = rows.param(&config.initializer, [shape[0]], device);
    config.with_parameters(weight, Some(bias))
}

/// Records a pixel shuffle to `channels` channels, which can reach no other size than its scale gives; `what` is what
/// the enlargement is called.
pub(super) fn trace_shuffle<const R: usize>(
    planner: &mut Planner,
    what: &str,
    x: &Map<R>,
    channels: usize,
    target: &[usize],
    (scale, order): (Vec<usize>, BlockOrder),
) -> Result<Map<R>, ShapeError> {
    let is_any_size = planner.is_any_size();
    planner.leaf("PixelShuffle", &[x], || {
        let natural = scaled(x.shape, &scale);
        let missed = (0..R - 2).find(|&n| target[n] != natural[n] && !is_any_size);
        if let Some(n) = missed {
            return Err(ShapeError::new(
                NAME,
                format!(
                    "{what} takes {} {} to {}, and {} is wanted",
                    axis_name(2 + n, R),
                    x.shape[2 + n],
                    natural[n],
                    target[n]
                ),
                "Choose a fit for the rest (Fit::PadOrCrop, Fit::Resize), or UpConfig::Resize",
            ));
        }
        let grid = x.regrid(|n, grid| grid.resized(x.shape[2 + n], target[n], 1));
        let output = with_channels(with_spatial(x.shape, target), channels);
        Ok(Record::new(Op::PixelShuffle { scale, order }, output).on_grid(grid))
    })
}

/// Records [`blur`].
pub(super) fn trace_blur<const R: usize>(
    planner: &mut Planner,
    x: &Map<R>,
) -> Result<Map<R>, ShapeError> {
    planner.leaf("Blur", &[x], || {
        let window = WindowOp {
            kernel_size: vec![2; R - 2],
            stride: vec![1; R - 2],
            dilation: vec![1; R - 2],
            padding: vec![AxisPadding { start: 1, end: 0 }; R - 2],
            ceil_mode: false,
        };
        let grid = x.regrid(|_, grid| grid.window([2, 1, 1, 1]));
        let padding = PadMode::Edge;
        Ok(Record::new(Op::Blur { window, padding }, x.shape).on_grid(grid))
    })
}

/// The mean of each position and the ones before it, the edge repeated: it keeps the size.
pub(super) fn blur<const R: usize>(x: Tensor<R>) -> Tensor<R> {
    let map = |axis: usize| {
        let size = x.dims()[axis];
        let mut map = AxisMap::zero(size, size, 2);
        for at in 0..size {
            map.add(at, at.saturating_sub(1), 0.5);
            map.add(at, at, 0.5);
        }
        (axis, map)
    };
    let maps = (2..R).map(map).collect();
    map_axes(x, maps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shuffle_is_blurred_towards_the_start() {
        let x = Tensor::<3>::from_floats([[[1.0, 3.0, 7.0]]], &Device::flex());
        let y = blur(x).to_data().try_to_vec::<f32>().unwrap();
        assert_eq!(y, [1.0, 2.0, 5.0]);
    }
}
