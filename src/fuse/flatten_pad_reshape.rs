//! [`FlattenPadReshape`]: two maps as one list of positions, folded to a new size.

use alloc::{format, vec, vec::Vec};

use burn::module::{Content, DisplaySettings, Module, ModuleDisplay};
use burn::tensor::{Tensor, ops::PadMode};

use crate::fuse::merge::Merge;
use crate::graph::{Map, Op, Planner, Record};
use crate::plan::Plan;
use crate::shape::{PerAxis, ShapeError, check_not_empty, expect, spatial, with_spatial};

const NAME: &str = "FlattenPadReshape";

/// Flattens the positions of two maps, pads the second with zeros until the two lists fill the wanted
/// size, concatenates and reshapes: Keras's `Reshape`, `ZeroPadding1D`, `Concatenate(axis=1)`,
/// `Reshape`. 15x15 and 6x6 give 225 + 36 positions and 180 zeros, and so 441 = 21x21.
///
/// **It scrambles space**: a row of the result holds the end of one row and the start of the next,
/// so that a convolution over it mixes positions that are not neighbours in either map.
/// [`DirectSum`](super::DirectSum) gives the same size with the same zeros, and every position keeps
/// its neighbours. A skip connection needs maps of one size, as
/// [`UpsampleConcat`](super::UpsampleConcat) makes them.
///
/// # Shapes
/// - `first`: `[batch, channels, spatial...]`
/// - `second`: `[batch, channels, SPATIAL...]`
/// - output: `[batch, channels, size...]`
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::FlattenPadReshape;
///
/// let device = Device::flex();
/// let [first, second] = [15, 6].map(|n| Tensor::<4>::ones([1, 128, n, n], &device));
/// assert_eq!(FlattenPadReshape::new([21, 21]).forward(first, second).dims(), [1, 128, 21, 21]);
/// ```
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct FlattenPadReshape {
    /// The spatial size of the result.
    #[module(skip)]
    pub size: PerAxis,
}

impl FlattenPadReshape {
    /// Folds the maps to the spatial size `size`.
    pub fn new(size: impl Into<PerAxis>) -> Self {
        Self { size: size.into() }
    }

    /// The shape of the output for maps of shapes `first` and `second`.
    ///
    /// # Errors
    /// When the maps differ in batch or channels, an axis is empty, or they have more positions
    /// than the size.
    pub fn output_shape<const R: usize>(
        &self,
        first: [usize; R],
        second: [usize; R],
    ) -> Result<[usize; R], ShapeError> {
        let size = self.size.resolve_positive(R, NAME, "size")?;
        check_not_empty(NAME, first)?;
        check_not_empty(NAME, second)?;
        let positions = [first, second].map(|shape| count(spatial(&shape)));
        let room = count(&size);
        Merge::Add
            .output_shape(&[[first[0], first[1], 1], [second[0], second[1], 1]])
            .map_err(|e| e.with_layer(NAME))?;
        if positions[0].saturating_add(positions[1]) > room {
            return Err(ShapeError::new(
                NAME,
                format!(
                    "{} + {} positions do not fit in {size:?}, which has {room}",
                    positions[0], positions[1]
                ),
                "Choose a larger size",
            ));
        }
        Ok(with_spatial(first, &size))
    }

    /// Records the layer. Its positions are moved, so that they lie nowhere on the input.
    ///
    /// # Errors
    /// As [`output_shape`](Self::output_shape).
    pub fn trace<const R: usize>(
        &self,
        planner: &mut Planner,
        first: &Map<R>,
        second: &Map<R>,
    ) -> Result<Map<R>, ShapeError> {
        planner.leaf(NAME, &[first, second], || {
            let output = self.output_shape(first.shape, second.shape)?;
            Ok(Record::new(Op::Reshape, output))
        })
    }

    /// The [plan](crate::plan) for maps of shapes `first` and `second`.
    pub fn plan<const R: usize>(&self, first: [usize; R], second: [usize; R]) -> Plan {
        Plan::of_maps(&[first, second], |planner, maps| {
            let map = self.trace(planner, &maps[0], &maps[1])?;
            Ok(vec![map])
        })
    }

    /// Folds the maps.
    ///
    /// # Panics
    /// When [`output_shape`](Self::output_shape) returns an error, with its message.
    pub fn forward<const R: usize>(&self, first: Tensor<R>, second: Tensor<R>) -> Tensor<R> {
        let output = expect(self.output_shape(first.dims(), second.dims()));
        let flatten = |map: Tensor<R>| {
            let [batch, channels] = [output[0], output[1]];
            let positions = count(spatial(&map.dims()));
            map.reshape([batch, channels, positions])
        };
        let (first, second) = (flatten(first), flatten(second));
        let zeros = count(spatial(&output)) - first.dims()[2] - second.dims()[2];
        let second = second.pad([(0, zeros)], PadMode::Constant(0.0));
        let maps: Vec<Tensor<3>> = vec![first, second];
        Tensor::cat(maps, 2).reshape(output)
    }
}

/// The number of positions of a spatial size; the largest number where there are more.
fn count(size: &[usize]) -> usize {
    size.iter().copied().fold(1, usize::saturating_mul)
}

impl ModuleDisplay for FlattenPadReshape {
    fn custom_settings(&self) -> Option<DisplaySettings> {
        DisplaySettings::new()
            .with_new_line_after_attribute(false)
            .optional()
    }

    fn custom_content(&self, content: Content) -> Option<Content> {
        content.add("size", &format!("{}", self.size)).optional()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use burn::tensor::{Device, TensorData};

    #[test]
    fn positions_follow_each_other() {
        let device = Device::flex();
        let first = Tensor::<4>::from_floats([[[[1.0, 2.0], [3.0, 4.0]]]], &device);
        let second = Tensor::<4>::from_floats([[[[5.0, 6.0]]]], &device);
        let y = FlattenPadReshape::new(3).forward(first, second).to_data();
        let expected = [[[[1.0f32, 2.0, 3.0], [4.0, 5.0, 6.0], [0.0, 0.0, 0.0]]]];
        y.assert_eq(&TensorData::from(expected), true);
    }

    #[test]
    fn the_case_of_the_accepted_answer() {
        let shape = FlattenPadReshape::new([21, 21]).output_shape([1, 128, 15, 15], [1, 128, 6, 6]);
        assert_eq!(shape, Ok([1, 128, 21, 21]));
        let error = FlattenPadReshape::new(16)
            .output_shape([1, 128, 15, 15], [1, 128, 6, 6])
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "FlattenPadReshape: 225 + 36 positions do not fit in [16, 16], which has 256. Choose a larger size."
        );
    }

    #[test]
    fn extreme_sizes_do_not_overflow() {
        let huge = [1, 2, usize::MAX, usize::MAX];
        let error = FlattenPadReshape::new(16).output_shape(huge, huge);
        assert!(
            error
                .unwrap_err()
                .problem
                .contains("do not fit in [16, 16]")
        );
    }

    #[test]
    fn display() {
        assert_eq!(
            FlattenPadReshape::new([21, 21]).to_string(),
            "FlattenPadReshape {size: [21, 21]}"
        );
    }
}
