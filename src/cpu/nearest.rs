//! Nearest upsampling by whole factors.

use alloc::vec::Vec;

use burn::tensor::Tensor;

use super::axis_map::{AxisMap, map_axes};

/// `x` with each position repeated `factors` times, one factor for each spatial axis.
pub(super) fn enlarge<const R: usize>(x: Tensor<R>, factors: &[usize]) -> Tensor<R> {
    // The last axis is repeated first, so that the other axes copy whole rows.
    let sizes = x.dims();
    let enlarged = factors.iter().enumerate().rev().filter(|axis| *axis.1 != 1);
    let map = |(n, &factor): (usize, &usize)| {
        let indices: Vec<usize> = (0..sizes[2 + n] * factor).map(|at| at / factor).collect();
        (2 + n, AxisMap::selection(&indices, sizes[2 + n]))
    };
    map_axes(x, enlarged.map(map).collect())
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData};

    #[test]
    fn positions_are_repeated_axis_by_axis() {
        let x = Tensor::<4>::from_floats([[[[1.0, 2.0], [3.0, 4.0]]]], &Device::flex());
        let wide = TensorData::from([[[
            [1.0f32, 1.0, 1.0, 2.0, 2.0, 2.0],
            [3.0, 3.0, 3.0, 4.0, 4.0, 4.0],
        ]]]);
        enlarge(x.clone(), &[1, 3]).to_data().assert_eq(&wide, true);
        let high = TensorData::from([[[[1.0f32, 2.0], [1.0, 2.0], [3.0, 4.0], [3.0, 4.0]]]]);
        enlarge(x, &[2, 1]).to_data().assert_eq(&high, true);
    }
}
