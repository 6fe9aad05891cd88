//! A constant linear map along one axis: what resizing, average fitting and blurring have in common.
//!
//! `y = A x` along the axis. It has a gradient (`A` transposed) on every backend and for every rank,
//! and the backward pass needs nothing but `A`. The CPU kernels apply the maps of all axes in one pass. Composed of
//! Burn's operations, a map along a short axis is a matrix product, which runs at the rate of the backend's matrix
//! multiplication; along a long one, where nearly all of the matrix is zero, it is a sum of weighted selections; and a
//! selection alone, where each position is one of the input.

use alloc::{vec, vec::Vec};

use burn::tensor::{Int, Tensor, TensorData};

pub(crate) use burn_skip_kernels::AxisMap;

use super::dispatch;

/// A selection costs about as much as this many multiplications for each of its values.
const SELECTION_COST: usize = 256;

/// Applies a map along each of the axes, in this order.
pub(crate) fn map_axes<const R: usize>(x: Tensor<R>, maps: Vec<(usize, AxisMap)>) -> Tensor<R> {
    if maps.is_empty() {
        return x;
    }
    dispatch::resample(x, maps).or_else(|(x, maps)| {
        if let Some(times) = all_repeats::<R>(&maps) {
            return repeat_all(x, times);
        }
        let maps = maps.into_iter();
        maps.fold(x, |x, (axis, map)| apply(&map, x, axis))
    })
}

/// How often the maps repeat each position along depth, rows and columns, if they do nothing else.
fn all_repeats<const R: usize>(maps: &[(usize, AxisMap)]) -> Option<[usize; 3]> {
    let mut times = [1; 3];
    for (axis, map) in maps {
        let of_axis = times.get_mut((axis + 3).checked_sub(R)?)?;
        *of_axis *= repeats(map.columns, &map.selected()?)?;
    }
    Some(times)
}

/// Repeats each position along depth, rows and columns, by one copy.
fn repeat_all<const R: usize>(x: Tensor<R>, times: [usize; 3]) -> Tensor<R> {
    let mut shape = x.dims();
    let mut size = [1; 3];
    for (n, size) in size.iter_mut().enumerate() {
        if let Some(axis) = (n + R).checked_sub(3).filter(|&axis| axis >= 2) {
            *size = shape[axis];
            shape[axis] *= times[n];
        }
    }
    let [depth, height, width] = size;
    let outer = x.dims()[0] * x.dims()[1] * depth;
    x.reshape([outer, 1, height, 1, width, 1])
        .expand([outer, times[0], height, times[1], width, times[2]])
        .reshape(shape)
}

/// Applies the map along `axis` of `x`, by Burn's operations.
fn apply<const R: usize>(map: &AxisMap, x: Tensor<R>, axis: usize) -> Tensor<R> {
    debug_assert_eq!(x.dims()[axis], map.columns);
    if let Some(indices) = map.selected() {
        return select(x, axis, &indices);
    }
    let taps = map.most_taps();
    if map.columns > SELECTION_COST * taps {
        apply_selections(map, x, axis, taps)
    } else {
        apply_matrix(map, x, axis)
    }
}

fn apply_matrix<const R: usize>(map: &AxisMap, x: Tensor<R>, axis: usize) -> Tensor<R> {
    let mut shape = x.dims();
    let [outer, length, inner] = around(&shape, axis);
    shape[axis] = map.len();
    let mut weights = vec![0.0; map.len() * map.columns];
    for (row, taps) in map.rows().enumerate() {
        for (column, weight) in taps {
            weights[row * map.columns + column] += weight;
        }
    }
    let data = TensorData::new(weights, [map.len(), map.columns]);
    let matrix = Tensor::<2>::from_data(data, (&x.device(), x.dtype()));
    if inner == 1 {
        let rows = x.reshape([outer, length]);
        rows.matmul(matrix.transpose()).reshape(shape)
    } else {
        let planes = x.reshape([outer, length, inner]);
        matrix.unsqueeze::<3>().matmul(planes).reshape(shape)
    }
}

/// The sum over the taps: the n-th tap of every row at once.
fn apply_selections<const R: usize>(
    map: &AxisMap,
    x: Tensor<R>,
    axis: usize,
    taps: usize,
) -> Tensor<R> {
    let mut along_axis = [1; R];
    along_axis[axis] = map.len();
    let tap = |n: usize| {
        let nth = |row: &[(usize, f64)]| row.get(n).copied().unwrap_or((0, 0.0));
        let (indices, weights): (Vec<_>, Vec<_>) = map.rows().map(nth).unzip();
        let data = TensorData::new(weights, along_axis);
        let weights = Tensor::<R>::from_data(data, (&x.device(), x.dtype()));
        select(x.clone(), axis, &indices) * weights
    };
    (1..taps).fold(tap(0), |sum, n| sum + tap(n))
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
pub(crate) fn repeats(length: usize, indices: &[usize]) -> Option<usize> {
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
    let count = outer * length;
    if inner == 1 {
        // Without an axis of one position at the end, over which some backends would loop.
        x.reshape([count, 1]).expand([count, times]).reshape(shape)
    } else {
        x.reshape([count, 1, inner])
            .expand([count, times, inner])
            .reshape(shape)
    }
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
    fn both_ways_to_apply_a_map_agree() {
        let device = Device::flex();
        let x = Tensor::<3>::from_floats([[[1.0, -2.0, 4.0], [0.5, 3.0, 8.0]]], &device);
        let map = || {
            let mut map = AxisMap::zero(4, 3, 1);
            for (row, column, weight) in [(0, 0, 1.0), (1, 0, 0.5), (1, 1, 0.5), (3, 2, 2.0)] {
                map.add(row, column, weight);
            }
            map
        };
        let expected = TensorData::from([[[1.0f32, -0.5, 0.0, 8.0], [0.5, 1.75, 0.0, 16.0]]]);
        let by_matrix = apply_matrix(&map(), x.clone(), 2).into_data();
        let by_selections = apply_selections(&map(), x, 2, 2).into_data();
        by_matrix.assert_eq(&expected, true);
        by_selections.assert_eq(&expected, true);
    }

    #[test]
    fn positions_are_repeated_by_one_copy_where_there_are_no_kernels() {
        let device = Device::flex();
        let x = Tensor::<3>::from_floats([[[1.0, 2.0], [3.0, 4.0]]], &device);
        let x = x.cast(burn::tensor::DType::F64).reshape([1, 1, 2, 2]);
        let twice = AxisMap::selection(&[0, 0, 1, 1], 2);
        let thrice = AxisMap::selection(&[0, 0, 0, 1, 1, 1], 2);
        let y = map_axes(x.clone(), vec![(3, thrice), (2, twice.clone())]);
        let [a, b] = [
            [1.0, 1.0, 1.0, 2.0, 2.0, 2.0],
            [3.0, 3.0, 3.0, 4.0, 4.0, 4.0],
        ];
        y.to_data()
            .assert_eq(&TensorData::from([[[a, a, b, b]]]), true);
        let volume = map_axes(x.reshape([1, 1, 2, 1, 2]), vec![(2, twice)]);
        let [a, b] = [[[1.0, 2.0]], [[3.0, 4.0]]];
        volume
            .to_data()
            .assert_eq(&TensorData::from([[[a, a, b, b]]]), true);
    }

    #[test]
    fn a_map_acts_on_its_axis_only() {
        let device = Device::flex();
        let x = Tensor::<4>::from_floats([[[[1.0, 2.0], [3.0, 4.0]]]], &device);
        let mut map = AxisMap::zero(1, 2, 2);
        map.add(0, 0, 1.0);
        map.add(0, 1, 10.0);
        let rows = apply(&map, x.clone(), 2);
        map_axes(x.clone(), vec![(2, map)])
            .to_data()
            .assert_eq(&rows.to_data(), true);
        rows.to_data()
            .assert_eq(&TensorData::from([[[[31.0f32, 42.0]]]]), true);
        let columns = select(x, 3, &[1, 1, 0]);
        columns.to_data().assert_eq(
            &TensorData::from([[[[2.0f32, 2.0, 1.0], [4.0, 4.0, 3.0]]]]),
            true,
        );
    }
}
