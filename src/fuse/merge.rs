//! [`Merge`]: several maps of one size into one.

use alloc::{format, string::String, vec::Vec};

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::graph::{Elementwise, Map, Op, Planner};
use crate::shape::{Axis, ShapeError, axis_name, check_not_empty, expect};

/// The order of the maps in a concatenation. Weights trained with one order do not fit the other.
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::{Axis, merge::{Merge, Order}};
///
/// let merged = |order| {
///     let device = Device::flex();
///     let [deep, skip] = [1.0, 2.0].map(|value| Tensor::<3>::from_floats([[[value]]], &device));
///     let y = Merge::Concat { axis: Axis::Channels, order }.forward(vec![deep, skip]);
///     y.to_data().try_to_vec::<f32>().unwrap()
/// };
/// assert_eq!(merged(Order::DeepFirst), [1.0, 2.0]);
/// assert_eq!(merged(Order::SkipFirst), [2.0, 1.0]);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Order {
    /// As the branches are listed, the deep map first: `[deep, skip]`, as segmentation_models.pytorch.
    #[default]
    DeepFirst,
    /// Reversed: `[skip, deep]`, as MONAI, mmsegmentation and the U-Net paper.
    SkipFirst,
}

/// How several maps of one size become one. The maps are listed from the deepest to the skip.
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::{Axis, merge::{Merge, Order}};
///
/// let device = Device::flex();
/// let [a, b] = [64, 32].map(|length| Tensor::<3>::zeros([1, 8, length], &device));
/// let merge = Merge::Concat { axis: Axis::Spatial(0), order: Order::DeepFirst };
/// assert_eq!(merge.forward(vec![a, b]).dims(), [1, 8, 96]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub enum Merge {
    /// Concatenation along an axis. All other axes must agree.
    Concat {
        /// The channels, or a spatial axis.
        #[serde(default)]
        axis: Axis,
        /// Which map comes first.
        #[serde(default)]
        order: Order,
    },
    /// The sum.
    Add,
    /// The mean.
    Mean,
    /// The product.
    Mul,
    /// The largest value at each position.
    Max,
    /// The smallest value at each position.
    Min,
    /// The first map minus all others.
    Sub,
}

const NAME: &str = "Merge";

impl Merge {
    /// Concatenation along the channels, the deep map first.
    pub const fn concat() -> Self {
        Self::Concat {
            axis: Axis::Channels,
            order: Order::DeepFirst,
        }
    }

    /// The axis along which the maps may differ.
    pub(crate) const fn free_axis(self) -> Option<usize> {
        match self {
            Self::Concat { axis, .. } => Some(axis.index()),
            _ => None,
        }
    }

    /// Checks the options for maps of rank `rank`.
    ///
    /// # Errors
    /// When such maps do not have the axis of the concatenation.
    pub fn validate(&self, rank: usize) -> Result<(), ShapeError> {
        match self.free_axis() {
            Some(axis) if axis >= rank => Err(ShapeError::new(
                NAME,
                format!("maps of rank {rank} have no spatial axis {}", axis - 2),
                format!(
                    "Choose Axis::Spatial(0) to Axis::Spatial({})",
                    rank.saturating_sub(3)
                ),
            )),
            _ => Ok(()),
        }
    }

    /// The shape of the merged map.
    ///
    /// # Errors
    /// When there is no map, or the maps differ on an axis on which they must agree.
    pub fn output_shape<const R: usize>(
        &self,
        inputs: &[[usize; R]],
    ) -> Result<[usize; R], ShapeError> {
        let Some((&first, others)) = inputs.split_first() else {
            return Err(ShapeError::new(
                NAME,
                "there are no maps",
                "Give at least one",
            ));
        };
        let free = self.free_axis();
        check_not_empty(NAME, first)?;
        self.validate(R)?;
        let mut output = first;
        for (index, &other) in others.iter().enumerate() {
            check_not_empty(NAME, other)?;
            let maps = Disagreeing {
                shapes: [first, other],
                indices: [0, index + 1],
                count: inputs.len(),
            };
            let differs = (0..R).find(|&axis| Some(axis) != free && first[axis] != other[axis]);
            match (differs, free) {
                (Some(1), None) => {
                    let error = maps.error(1);
                    let remedy = format!("{}, or merge by concat", error.remedy);
                    return Err(ShapeError { remedy, ..error });
                }
                (Some(axis), _) => return Err(maps.error(axis)),
                // (A sum that is no number is larger than any map.)
                (None, Some(axis)) => output[axis] = output[axis].saturating_add(other[axis]),
                (None, None) => {}
            }
        }
        Ok(output)
    }

    /// The operation, in a plan.
    fn op(self) -> Op {
        let elementwise = match self {
            Self::Concat { axis, order } => {
                let reversed = order == Order::SkipFirst;
                return Op::Concat { axis, reversed };
            }
            Self::Add => Elementwise::Sum,
            Self::Mean => Elementwise::Mean,
            Self::Mul => Elementwise::Product,
            Self::Max => Elementwise::Max,
            Self::Min => Elementwise::Min,
            Self::Sub => Elementwise::Difference,
        };
        Op::Elementwise(elementwise)
    }

    /// Records the merge as a step of the layer type `layer`. `names` are what messages call the maps.
    pub(crate) fn trace<const R: usize>(
        &self,
        planner: &mut Planner,
        layer: &str,
        maps: &[&Map<R>],
        names: &[&str],
    ) -> Result<Map<R>, ShapeError> {
        let shapes: Vec<_> = maps.iter().map(|map| map.shape).collect();
        let output = self.output_shape(&shapes);
        let output = output.map_err(|e| e.with_layer(layer));
        let op = self.op();
        let label = match &op {
            Op::Elementwise(elementwise) => elementwise.name(),
            _ => "Concat",
        };
        planner.merge(label, op, names, maps, output)
    }

    /// As [`trace`](Self::trace), with the name of each map by its position.
    pub(crate) fn trace_named<const R: usize>(
        &self,
        planner: &mut Planner,
        layer: &str,
        maps: &[Map<R>],
        name: impl Fn(usize) -> String,
    ) -> Result<Map<R>, ShapeError> {
        let names: Vec<String> = (0..maps.len()).map(name).collect();
        let names: Vec<&str> = names.iter().map(|name| &name[..]).collect();
        let maps: Vec<&Map<R>> = maps.iter().collect();
        self.trace(planner, layer, &maps, &names)
    }

    /// Merges the maps.
    ///
    /// # Panics
    /// When [`output_shape`](Self::output_shape) returns an error, with its message.
    pub fn forward<const R: usize>(&self, mut maps: Vec<Tensor<R>>) -> Tensor<R> {
        let shapes: Vec<_> = maps.iter().map(Tensor::dims).collect();
        expect(self.output_shape(&shapes));
        let count = maps.len();
        let fold = |maps: Vec<Tensor<R>>, merge: fn(Tensor<R>, Tensor<R>) -> Tensor<R>| {
            let mut maps = maps.into_iter();
            let first = maps.next().unwrap_or_else(|| unreachable!("checked above"));
            maps.fold(first, merge)
        };
        match self {
            Self::Concat { axis, order } => {
                if *order == Order::SkipFirst {
                    maps.reverse();
                }
                Tensor::cat(maps, axis.index())
            }
            Self::Add => fold(maps, Tensor::add),
            Self::Mean => fold(maps, Tensor::add).div_scalar(count as f64),
            Self::Mul => fold(maps, Tensor::mul),
            Self::Max => fold(maps, Tensor::max_pair),
            Self::Min => fold(maps, Tensor::min_pair),
            Self::Sub => fold(maps, Tensor::sub),
        }
    }
}

/// The name of the map `index` of `count` in messages.
fn map_name(index: usize, count: usize) -> String {
    match (index, count) {
        (0, 2) => "deep".into(),
        (1, 2) => "skip".into(),
        _ => format!("map {index}"),
    }
}

/// One of two maps that differ on an axis: its name, and its size there.
pub(crate) struct Side<'a> {
    pub name: &'a str,
    pub size: usize,
}

/// Says that two maps differ on an axis: `height differs: deep 6, skip 15`.
pub(crate) fn disagreement(axis: &str, first: Side, second: Side) -> String {
    let verb = if axis == "channels" {
        "differ"
    } else {
        "differs"
    };
    let [a, b] = [first, second].map(|side| format!("{} {}", side.name, side.size));
    format!("{axis} {verb}: {a}, {b}")
}

/// Two of the maps of a merge, which differ on an axis on which they must agree.
struct Disagreeing<const R: usize> {
    shapes: [[usize; R]; 2],
    /// Which of the maps they are.
    indices: [usize; 2],
    /// How many maps there are.
    count: usize,
}

impl<const R: usize> Disagreeing<R> {
    /// The error for the axis `axis`.
    fn error(&self, axis: usize) -> ShapeError {
        let names = self.indices.map(|index| map_name(index, self.count));
        let sizes = self.shapes.map(|shape| shape[axis]);
        let remedy = match axis {
            0 => "Give all maps the same batch".into(),
            1 => format!(
                "Project {} to {} channels with a 1x1 convolution",
                names[0], sizes[1]
            ),
            _ => {
                let (small, large) = if sizes[0] < sizes[1] { (0, 1) } else { (1, 0) };
                let resize = enlargement(&names[small], sizes[small], sizes[large]);
                format!("Choose a fit (Fit::Resize, Fit::Pad, Fit::Crop) or {resize}")
            }
        };
        let colon = if self.count == 2 { "" } else { ":" };
        let names = names.map(|name| format!("{name}{colon}"));
        let [first, second] = [0, 1].map(|i| Side {
            name: &names[i],
            size: sizes[i],
        });
        ShapeError::new(
            NAME,
            disagreement(axis_name(axis, R), first, second),
            remedy,
        )
    }
}

/// How the map `name` is brought from `from` positions to the larger `to`: by a factor, if that has two decimals
/// at most, or else to the size.
fn enlargement(name: &str, from: usize, to: usize) -> String {
    if (4 * to as u128).is_multiple_of(from as u128) {
        format!("upsample {name} by {}", to as f64 / from as f64)
    } else {
        format!("resize {name} to {to}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{string::ToString, vec};
    use burn::tensor::Device;

    fn merged(merge: Merge) -> Vec<f32> {
        let device = Device::flex();
        let maps = [[1.0, -2.0], [3.0, 4.0], [-5.0, 8.0]]
            .map(|values| Tensor::<3>::from_floats([[values]], &device));
        merge.forward(maps.to_vec()).to_data().try_to_vec().unwrap()
    }

    #[test]
    fn values() {
        assert_eq!(merged(Merge::concat()), [1.0, -2.0, 3.0, 4.0, -5.0, 8.0]);
        let skip_first = Merge::Concat {
            axis: Axis::Spatial(0),
            order: Order::SkipFirst,
        };
        assert_eq!(merged(skip_first), [-5.0, 8.0, 3.0, 4.0, 1.0, -2.0]);
        assert_eq!(merged(Merge::Add), [-1.0, 10.0]);
        assert_eq!(merged(Merge::Mean), [-1.0 / 3.0, 10.0 / 3.0]);
        assert_eq!(merged(Merge::Mul), [-15.0, -64.0]);
        assert_eq!(merged(Merge::Max), [3.0, 8.0]);
        assert_eq!(merged(Merge::Min), [-5.0, -2.0]);
        assert_eq!(merged(Merge::Sub), [3.0, -14.0]);
    }

    #[test]
    fn the_users_case() {
        let error = Merge::concat()
            .output_shape(&[[1, 128, 6, 6], [1, 128, 15, 15]])
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "Merge: height differs: deep 6, skip 15. Choose a fit (Fit::Resize, Fit::Pad, Fit::Crop) or upsample deep by 2.5."
        );
    }

    #[test]
    fn extreme_sizes_do_not_overflow() {
        let huge = [1, usize::MAX, 4, 4];
        let merged = Merge::concat().output_shape(&[huge, huge]);
        assert_eq!(merged, Ok(huge));
        let error = Merge::Add
            .output_shape(&[[1, 8, 4, usize::MAX], [1, 8, 4, usize::MAX - 1]])
            .unwrap_err();
        assert!(
            error
                .problem
                .starts_with("width differs: deep 18446744073709551615"),
            "{error}"
        );
    }

    #[test]
    fn other_misfits() {
        let text = |merge: Merge, shapes: &[[usize; 4]]| {
            merge.output_shape(shapes).unwrap_err().to_string()
        };
        assert_eq!(
            text(Merge::Add, &[[1, 8, 4, 4], [1, 8, 4, 4], [1, 6, 4, 4]]),
            "Merge: channels differ: map 0: 8, map 2: 6. Project map 0 to 6 channels with a 1x1 convolution, or merge by concat."
        );
        assert_eq!(
            text(Merge::concat(), &[[2, 8, 4, 4], [1, 8, 4, 4]]),
            "Merge: batch differs: deep 2, skip 1. Give all maps the same batch."
        );
        assert_eq!(
            text(Merge::Add, &[[1, 8, 0, 4]]),
            "Merge: height of the input is 0 in [1, 8, 0, 4]. Every axis of a feature map needs at least one element."
        );
        assert_eq!(
            text(Merge::Add, &[]),
            "Merge: there are no maps. Give at least one."
        );
        let axis = Merge::Concat {
            axis: Axis::Spatial(2),
            order: Order::DeepFirst,
        };
        assert!(text(axis, &[[1, 8, 4, 4]]).contains("have no spatial axis 2"));
        let shapes = vec![[1, 8, 4, 4]];
        assert_eq!(Merge::Sub.output_shape(&shapes), Ok([1, 8, 4, 4]));
    }
}
