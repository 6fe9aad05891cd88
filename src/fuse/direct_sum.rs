//! [`DirectSum`]: maps along the diagonal of a larger one.

use alloc::{vec, vec::Vec};

use burn::module::Module;
use burn::tensor::{Tensor, ops::PadMode};

use crate::fuse::merge::Merge;
use crate::graph::{Map, Op, Planner, Record};
use crate::plan::Plan;
use crate::shape::{ShapeError, expect};

/// Places maps one after the other along the diagonal of the spatial axes, zeros elsewhere: the
/// direct sum of matrices, `A ⊕ B = [[A, 0], [0, B]]`, on every channel.
///
/// 15x15 and 6x6 give 21x21. Every position keeps its neighbours, and a convolution that follows
/// processes both maps with the same weights.
///
/// # Shapes
/// - inputs: `[batch, channels, spatial_i...]`
/// - output: `[batch, channels, sum of spatial_i...]`
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::DirectSum;
///
/// let device = Device::flex();
/// let maps = [15, 6].map(|n| Tensor::<4>::ones([1, 128, n, n], &device));
/// assert_eq!(DirectSum::new().forward(maps.to_vec()).dims(), [1, 128, 21, 21]);
/// ```
#[derive(Module, Debug, Default)]
pub struct DirectSum {}

impl DirectSum {
    /// The layer; it has no options.
    pub fn new() -> Self {
        Self {}
    }

    /// The shape of the output for maps of the given shapes.
    ///
    /// # Errors
    /// When there is no map, an axis is empty, or the maps differ in batch or channels.
    pub fn output_shape<const R: usize>(
        &self,
        inputs: &[[usize; R]],
    ) -> Result<[usize; R], ShapeError> {
        // Batch and channels must agree, as in a merge of maps of one size, which checks them.
        let sizeless: Vec<_> = inputs.iter().map(|&shape| one_position(shape)).collect();
        let mut output = Merge::Add
            .output_shape(&sizeless)
            .map_err(|e| e.with_layer("DirectSum"))?;
        for axis in 2..R {
            // (A sum that is no number is larger than any map.)
            let sizes = inputs.iter().map(|shape| shape[axis]);
            output[axis] = sizes.fold(0, usize::saturating_add);
        }
        Ok(output)
    }

    /// Records the layer. Its positions lie on no common grid: each map keeps its own.
    ///
    /// # Errors
    /// As [`output_shape`](Self::output_shape).
    pub fn trace<const R: usize>(
        &self,
        planner: &mut Planner,
        maps: &[&Map<R>],
    ) -> Result<Map<R>, ShapeError> {
        let shapes: Vec<_> = maps.iter().map(|map| map.shape).collect();
        planner.leaf("DirectSum", maps, || {
            Ok(Record::new(Op::DirectSum, self.output_shape(&shapes)?))
        })
    }

    /// The [plan](crate::plan) for maps of the given shapes.
    pub fn plan<const R: usize>(&self, inputs: &[[usize; R]]) -> Plan {
        Plan::of_maps(inputs, |planner, maps| {
            let maps: Vec<_> = maps.iter().collect();
            self.trace(planner, &maps).map(|map| vec![map])
        })
    }

    /// Places the maps.
    ///
    /// # Panics
    /// When [`output_shape`](Self::output_shape) returns an error, with its message.
    pub fn forward<const R: usize>(&self, maps: Vec<Tensor<R>>) -> Tensor<R> {
        let shapes: Vec<_> = maps.iter().map(Tensor::dims).collect();
        let output = expect(self.output_shape(&shapes));
        let mut before = [0; R];
        let placed = maps.into_iter().map(|map| {
            let shape = map.dims();
            let mut pads = [(0, 0); R];
            for axis in 2..R {
                let after = output[axis] - before[axis] - shape[axis];
                pads[axis] = (before[axis], after);
                before[axis] += shape[axis];
            }
            map.pad(pads, PadMode::Constant(0.0))
        });
        Merge::Add.forward(placed.collect())
    }
}

/// The shape of a map of one position, or of none where an axis is empty.
fn one_position<const R: usize>(mut shape: [usize; R]) -> [usize; R] {
    for size in &mut shape[2..] {
        *size = (*size).min(1);
    }
    shape
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{string::ToString, vec};
    use burn::tensor::{Device, TensorData};

    #[test]
    fn maps_lie_on_the_diagonal() {
        let device = Device::flex();
        let maps = vec![
            Tensor::<4>::from_floats([[[[1.0, 2.0], [3.0, 4.0]]]], &device),
            Tensor::<4>::from_floats([[[[5.0]]]], &device),
        ];
        let expected = [[[[1.0f32, 2.0, 0.0], [3.0, 4.0, 0.0], [0.0, 0.0, 5.0]]]];
        let y = DirectSum::new().forward(maps).to_data();
        y.assert_eq(&TensorData::from(expected), true);
    }

    #[test]
    fn extreme_sizes_do_not_overflow() {
        let shape = DirectSum::new().output_shape(&[[1, 2, usize::MAX, 3], [1, 2, usize::MAX, 4]]);
        assert_eq!(shape, Ok([1, 2, usize::MAX, 7]));
    }

    #[test]
    fn an_empty_map_is_refused() {
        let error = DirectSum::new()
            .output_shape(&[[1, 2, 3, 3], [1, 2, 0, 3]])
            .unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("DirectSum: height of the input is 0"),
            "{error}"
        );
    }

    #[test]
    fn display() {
        assert_eq!(DirectSum::new().to_string(), "DirectSum");
    }
}
