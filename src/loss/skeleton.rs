//! The soft skeleton of a map of probabilities: what erosion leaves and opening removes, step by step.

use alloc::{vec, vec::Vec};

use burn::tensor::{Tensor, activation};

/// The soft skeleton of `x` in `[0, 1]` (arXiv:2003.07311, algorithm 1), with this number of erosions.
///
/// Positions outside of the map are in no window.
pub(super) fn soft_skeleton<const R: usize>(x: Tensor<R>, iterations: usize) -> Tensor<R> {
    let ridge = |x: &Tensor<R>, eroded: &Tensor<R>| {
        let opened = dilate(eroded.clone());
        activation::relu(x.clone() - opened)
    };
    let mut x = x;
    let mut eroded = erode(&x);
    let mut skeleton = ridge(&x, &eroded);
    for _ in 0..iterations {
        x = eroded;
        eroded = erode(&x);
        let found = ridge(&x, &eroded);
        let new = activation::relu(found.clone() - skeleton.clone() * found);
        skeleton = skeleton + new;
    }
    skeleton
}

/// The least value of the position and its neighbours along the axes, a cross.
fn erode<const R: usize>(x: &Tensor<R>) -> Tensor<R> {
    let along = |axis| {
        let [before, after] = neighbours(x, axis);
        x.clone().min_pair(before).min_pair(after)
    };
    (3..R).map(along).fold(along(2), Tensor::min_pair)
}

/// The largest value in a window of three positions on each axis, a cube.
fn dilate<const R: usize>(x: Tensor<R>) -> Tensor<R> {
    (2..R).fold(x, |x, axis| {
        let [before, after] = neighbours(&x, axis);
        x.max_pair(before).max_pair(after)
    })
}

/// What lies before and after each position of an axis; at its ends the position itself, which changes no extremum.
fn neighbours<const R: usize>(x: &Tensor<R>, axis: usize) -> [Tensor<R>; 2] {
    let count = x.dims()[axis];
    if count == 1 {
        return [x.clone(), x.clone()];
    }
    let part = |start, length| x.clone().narrow(axis, start, length);
    let before: Vec<Tensor<R>> = vec![part(0, 1), part(0, count - 1)];
    let after = vec![part(1, count - 1), part(count - 1, 1)];
    [Tensor::cat(before, axis), Tensor::cat(after, axis)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData};

    #[test]
    fn a_bar_becomes_a_line() {
        let device = Device::flex();
        let x = Tensor::<4>::zeros([1, 1, 5, 7], &device);
        let bar = x.slice_fill([0..1, 0..1, 1..4, 0..7], 1.0);
        let line = Tensor::<4>::zeros([1, 1, 5, 7], &device);
        let line = line.slice_fill([0..1, 0..1, 2..3, 0..7], 1.0);
        let skeleton = soft_skeleton(bar, 2);
        skeleton.into_data().assert_eq(&line.into_data(), true);
    }

    #[test]
    fn windows_end_with_the_map() {
        let x = Tensor::<3>::from_floats([[[3.0, 1.0, 2.0, 5.0]]], &Device::flex());
        let eroded = erode(&x).into_data();
        eroded.assert_eq(&TensorData::from([[[1.0f32, 1.0, 1.0, 2.0]]]), true);
        let dilated = dilate(x).into_data();
        dilated.assert_eq(&TensorData::from([[[3.0f32, 3.0, 5.0, 5.0]]]), true);
    }
}
