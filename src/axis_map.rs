//! A constant linear map along one axis: what resizing, average fitting and blurring have in common.
//!
//! `y = A x` along the axis, as a matrix product. It has a gradient (`A` transposed) on every
//! backend and for every rank, and the backward pass needs nothing but `A`.

use alloc::{vec, vec::Vec};

use burn::tensor::{Int, Tensor, TensorData};

/// A map from `columns` positions to `rows` positions, as a dense matrix in row order.
pub(crate) struct AxisMap {
    rows: usize,
    columns: usize,
    weights: Vec<f64>,
}

impl AxisMap {
    /// The map that is zero everywhere.
    pub fn zero(rows: usize, columns: usize) -> Self {
        Self {
            rows,
            columns,
            weights: vec![0.0; rows * columns],
        }
    }

    /// Adds `weight` to the influence of input `column` on output `row`.
    pub fn add(&mut self, row: usize, column: usize, weight: f64) {
        self.weights[row * self.columns + column] += weight;
    }

    /// Applies the map along `axis` of `x`.
    pub fn apply<const R: usize>(self, x: Tensor<R>, axis: usize) -> Tensor<R> {
        let mut shape = x.dims();
        let [outer, length, inner] = around(&shape, axis);
        debug_assert_eq!(length, self.columns);
        let options = (&x.device(), x.dtype());
        let data = TensorData::new(self.weights, [self.rows, self.columns]);
        let map = Tensor::<2>::from_data(data, options);
        shape[axis] = self.rows;
        if inner == 1 {
            let rows = x.reshape([outer, length]);
            rows.matmul(map.transpose()).reshape(shape)
        } else {
            let planes = x.reshape([outer, length, inner]);
            map.unsqueeze::<3>().matmul(planes).reshape(shape)
        }
    }
}

/// The sizes `[before, of, after]` the axis.
pub(crate) fn around<const R: usize>(shape: &[usize; R], axis: usize) -> [usize; 3] {
    [
        shape[..axis].iter().product(),
        shape[axis],
        shape[axis + 1..].iter().product(),
    ]
}

/// `y[i] = x[indices[i]]` along `axis`.
pub(crate) fn select<const R: usize>(x: Tensor<R>, axis: usize, indices: &[usize]) -> Tensor<R> {
    let shape = x.dims();
    if let Some(times) = repeats(shape[axis], indices) {
        return repeat(x, axis, times);
    }
    let indices: Vec<i64> = indices.iter().map(|&i| i as i64).collect();
    let count = indices.len();
    let indices = Tensor::<1, Int>::from_data(TensorData::new(indices, [count]), &x.device());
    x.select(axis, indices)
}

/// How often the indices name each position, if they name all of them equally often and in order.
fn repeats(length: usize, indices: &[usize]) -> Option<usize> {
    let times = indices.len() / length;
    let in_order = |(i, &index): (usize, &usize)| index == i / times;
    (indices.len().is_multiple_of(length) && times > 0)
        .then(|| indices.iter().enumerate().all(in_order).then_some(times))
        .flatten()
}

/// Each position of `axis` `times` times, one beside the other.
fn repeat<const R: usize>(x: Tensor<R>, axis: usize, times: usize) -> Tensor<R> {
    let mut shape = x.dims();
    let [outer, length, inner] = around(&shape, axis);
    shape[axis] *= times;
    x.reshape([outer, length, 1, inner])
        .expand([outer, length, times, inner])
        .reshape(shape)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn repeats_are_recognised() {
        assert_eq!(repeats(2, &[0, 0, 0, 1, 1, 1]), Some(3));
        assert_eq!(repeats(3, &[0, 0, 0, 1, 1, 2]), None);
        assert_eq!(repeats(4, &[0, 2]), None);
    }

    #[test]
    fn a_map_acts_on_its_axis_only() {
        let device = Device::flex();
        let x = Tensor::<4>::from_floats([[[[1.0, 2.0], [3.0, 4.0]]]], &device);
        let mut map = AxisMap::zero(1, 2);
        map.add(0, 0, 1.0);
        map.add(0, 1, 10.0);
        let rows = map.apply(x.clone(), 2);
        rows.to_data()
            .assert_eq(&TensorData::from([[[[31.0f32, 42.0]]]]), true);
        let columns = select(x, 3, &[1, 1, 0]);
        columns.to_data().assert_eq(
            &TensorData::from([[[[2.0f32, 2.0, 1.0], [4.0, 4.0, 3.0]]]]),
            true,
        );
    }
}
