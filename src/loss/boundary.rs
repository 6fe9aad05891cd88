//! [`BoundaryLoss`]: probabilities by the distance to the boundary of the labels.

use alloc::{vec, vec::Vec};

use burn::config::Config;
use burn::tensor::{FloatDType, Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::Loss;
use super::batch::{Scope, mean_of_classes, per_weight, sum_positions};
use super::labels::{LabelRules, Mode};
use crate::distance_transform::squared_distances;
use crate::setters::setters;
use crate::shape::{ShapeError, expect};

/// The boundary loss: the mean over samples and classes of `sum(p d) / positions`, where `d` is the signed distance to
/// the boundary of the labels, in positions. Background has the distance to the nearest foreground, and foreground 1
/// minus the distance to the nearest background, which is 0 beside the boundary and negative inside. A class without
/// foreground or without background has no boundary and adds nothing.
///
/// arXiv:1812.07032, equation 5; the numbers are those of MONAI's `BoundaryLoss`, whose `include_background=False` is a
/// class weight of 0. Here it has one spatial axis too. It is negative for a good map, and used beside a loss by
/// overlap, by a [`LossSum`](super::LossSum). Ignored positions are background of the labels.
///
/// The distances are computed on the host, exactly, in a time proportional to the positions: labels that lie on another
/// device are read back.
///
/// # Shapes
/// - `logits`: `[batch, classes, spatial...]`
/// - `labels`: as the [`Mode`] says
/// - output: `[1]`
///
/// # Panics
/// Also when the labels cannot be read back from their device.
///
/// # Example
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use burn_skip::loss::{BoundaryLoss, Loss, Mode};
///
/// let device = Device::flex();
/// let logits = Tensor::<3>::zeros([1, 1, 6], &device);
/// let labels = Tensor::<3, Int>::from_ints([[[0, 1, 1, 1, 0, 0]]], &device);
/// // The distances are 1, 0, -1, 0, 1 and 2.
/// let loss = BoundaryLoss::new(Mode::Binary).forward(logits, labels);
/// assert!((loss.into_scalar::<f32>() - 0.5 * 3.0 / 6.0).abs() < 1e-6);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct BoundaryLoss {
    /// What channels and labels mean.
    pub mode: Mode,
    /// One weight for each class. Default: all the same. Not in [`Mode::Binary`].
    #[serde(default)]
    pub class_weights: Option<Vec<f64>>,
    /// The label of positions that add nothing. Default: none.
    #[serde(default)]
    pub ignore_label: Option<i64>,
}

setters!(
    BoundaryLoss:
    with_class_weights(class_weights: impl Into<Option<Vec<f64>>>),
    with_ignore_label(ignore_label: impl Into<Option<i64>>),
);

impl Config for BoundaryLoss {}

impl BoundaryLoss {
    /// A boundary loss of all classes.
    pub const fn new(mode: Mode) -> Self {
        Self {
            mode,
            class_weights: None,
            ignore_label: None,
        }
    }

    fn labels(&self) -> LabelRules<'_> {
        LabelRules {
            loss: "BoundaryLoss",
            mode: self.mode,
            class_weights: self.class_weights.as_deref(),
            ignore_label: self.ignore_label,
        }
    }
}

impl<const R: usize> Loss<R> for BoundaryLoss {
    fn check(&self, logits: [usize; R], labels: [usize; R]) -> Result<(), ShapeError> {
        self.labels().check(logits, labels)
    }

    fn forward(&self, logits: Tensor<R>, labels: Tensor<R, Int>) -> Tensor<1> {
        expect(self.check(logits.dims(), labels.dims()));
        let shape = logits.dims();
        let batch = self.labels().read(logits, labels);
        let distances = signed_distances(&batch.targets, &shape[2..]);
        let sums = sum_positions(batch.probabilities() * distances, Scope::Sample);
        let means = per_weight(sums, batch.counts(Scope::Sample));
        mean_of_classes(means, self.class_weights.as_deref())
    }
}

/// The signed distances of maps of 0 and 1, `[batch, classes, positions]`.
fn signed_distances(targets: &Tensor<3>, size: &[usize]) -> Tensor<3> {
    let shape = targets.dims();
    let values: Vec<f32> = targets
        .clone()
        .cast(FloatDType::F32)
        .into_data()
        .try_to_vec()
        .expect("labels that can be read back from their device");
    let squares = values.chunks_exact(shape[2]).flat_map(|map| {
        let inside: Vec<bool> = map.iter().map(|v| *v > 0.5).collect();
        let outside: Vec<bool> = inside.iter().map(|inside| !inside).collect();
        let to_inside = squared_distances(&inside, size, &vec![1.0; size.len()]);
        let to_outside = squared_distances(&outside, size, &vec![1.0; size.len()]);
        inside
            .into_iter()
            .zip(to_inside.into_iter().zip(to_outside))
            .map(|(inside, (to_inside, to_outside))| match inside {
                // What has no boundary has the distance 0 in the end.
                true if to_outside.is_infinite() => 1.0,
                true => to_outside,
                false if to_inside.is_infinite() => 0.0,
                false => to_inside,
            })
            .collect::<Vec<f64>>()
    });
    let data = TensorData::new(squares.collect::<Vec<f64>>(), shape);
    // The root is taken on the device, since `core` has none.
    let distances = Tensor::<3>::from_data(data, (&targets.device(), targets.dtype())).sqrt();
    distances * (1.0 - targets.clone() * 2.0) + targets.clone()
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn distances_have_signs() {
        let device = Device::flex();
        let targets = [[[1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]]];
        let targets = Tensor::from_floats(targets, &device);
        let distances = signed_distances(&targets, &[3, 3]).into_data();
        let distances = distances.try_to_vec::<f32>().unwrap();
        let root = |x: f32| x.sqrt();
        let expected = [1.0 - 2.0, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0, root(2.0)];
        for (found, expected) in distances.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");
        }
    }

    #[test]
    fn what_has_no_boundary_adds_nothing() {
        let device = Device::flex();
        let logits = Tensor::<3>::zeros([2, 1, 4], &device);
        let labels = Tensor::<3, Int>::from_ints([[[0; 4]], [[1; 4]]], &device);
        let loss = BoundaryLoss::new(Mode::Binary).forward(logits, labels);
        assert_eq!(loss.into_scalar::<f32>(), 0.0);
    }
}
