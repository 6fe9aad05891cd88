//! What the losses share: logits and labels that were read, what of them counts, and sums and means over positions and
//! classes.
//!
//! The spatial axes are flattened to one, so that a loss is written for `[batch, classes, positions]`.

use burn::tensor::{Device, Tensor, TensorData, activation};
use serde::{Deserialize, Serialize};

use super::labels::Mode;

/// Over which positions a score is computed.
///
/// # Example
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use burn_skip::loss::{DiceLoss, Loss, Mode, Scope};
///
/// // The first sample is all right, the second all wrong.
/// let device = Device::flex();
/// let logits = Tensor::<3>::from_floats([[[99.0, 99.0]], [[-99.0, -99.0]]], &device);
/// let labels = Tensor::<3, Int>::from_ints([[[1, 1]], [[1, 0]]], &device);
/// let loss = |scope| {
///     let dice = DiceLoss::new(Mode::Binary).with_scope(scope);
///     dice.forward(logits.clone(), labels.clone()).into_scalar::<f32>()
/// };
/// assert!((loss(Scope::Batch) - 0.2).abs() < 1e-6); // 1 - 2 * 2 / (2 + 3)
/// assert!((loss(Scope::Sample) - 0.5).abs() < 1e-6); // the mean of 0 and 1
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Scope {
    /// One score for a class, over all samples of the batch.
    #[default]
    Batch,
    /// One score for a class of each sample; the loss is their mean.
    Sample,
}

/// What the sum of a cross entropy is divided by.
///
/// # Example
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use burn_skip::loss::{CrossEntropyLoss, Loss, MeanOver};
///
/// let device = Device::flex();
/// let logits = Tensor::<3>::zeros([1, 2, 4], &device);
/// let labels = Tensor::<3, Int>::from_ints([[[0, 255, 255, 255]]], &device);
/// let loss = |mean_over| {
///     let loss = CrossEntropyLoss::new().with_ignore_label(255).with_mean_over(mean_over);
///     loss.forward(logits.clone(), labels.clone()).into_scalar::<f32>()
/// };
/// let ln_2 = std::f32::consts::LN_2;
/// assert!((loss(MeanOver::Counted) - ln_2).abs() < 1e-6);
/// assert!((loss(MeanOver::All) - ln_2 / 4.0).abs() < 1e-6);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum MeanOver {
    /// By the weight of the positions that are not ignored, as in PyTorch.
    #[default]
    Counted,
    /// By the number of all positions, as in segmentation_models.pytorch.
    All,
}

/// The least that is divided by, where everything may be ignored.
const SMALLEST_WEIGHT: f64 = 1e-12;

/// `x / weight`, and 0 where nothing has weight. (There `x` need not be 0: smoothed labels weigh other classes, too.)
pub(super) fn per_weight<const D: usize>(x: Tensor<D>, weight: Tensor<D>) -> Tensor<D> {
    let x = x.mask_fill(weight.clone().lower_equal_elem(0.0), 0.0);
    x / weight.clamp_min(SMALLEST_WEIGHT)
}

/// Logits and labels, read by [`LabelRules`](super::labels::LabelRules).
pub(super) struct Batch {
    /// `[batch, classes, positions]`, 0 where ignored.
    pub logits: Tensor<3>,
    /// `[batch, classes, positions]`, 1 for the class of a position and 0 for others; 0 where ignored.
    pub targets: Tensor<3>,
    /// `[batch, 1 or classes, positions]`, 1 for what counts and 0 for what is ignored.
    pub counted: Option<Tensor<3>>,
    pub mode: Mode,
}

impl Batch {
    /// `[batch, classes, positions]`, 0 where ignored.
    pub fn probabilities(&self) -> Tensor<3> {
        let logits = self.logits.clone();
        self.masked(match self.mode {
            Mode::Binary | Mode::MultiLabel => activation::sigmoid(logits),
            Mode::MultiClass => activation::softmax(logits, 1),
        })
    }

    /// `x`, 0 where ignored.
    pub fn masked(&self, x: Tensor<3>) -> Tensor<3> {
        match &self.counted {
            Some(counted) => x * counted.clone(),
            None => x,
        }
    }

    /// `x`, -1 where ignored.
    pub fn ignored_below_zero(&self, x: Tensor<3>) -> Tensor<3> {
        match &self.counted {
            Some(counted) => x * counted.clone() + (counted.clone() - 1.0),
            None => x,
        }
    }

    /// How many positions count, `[rows, 1 or classes]`, where the rows are 1 or the samples.
    pub fn counts(&self, scope: Scope) -> Tensor<2> {
        match &self.counted {
            Some(counted) => sum_positions(counted.clone(), scope),
            None => {
                let [batch, _, positions] = self.logits.dims();
                let count = match scope {
                    Scope::Batch => batch * positions,
                    Scope::Sample => positions,
                };
                let options = (&self.device(), self.logits.dtype());
                Tensor::full([1, 1], count as f64, options)
            }
        }
    }

    pub fn device(&self) -> Device {
        self.logits.device()
    }

    /// One number for each class, `[1, classes, 1]`.
    pub fn per_class(&self, numbers: &[f64]) -> Tensor<3> {
        let data = TensorData::new(numbers.to_vec(), [1, numbers.len(), 1]);
        Tensor::from_data(data, (&self.device(), self.logits.dtype()))
    }
}

/// The sums over the positions, `[1, classes]` of a batch or `[batch, classes]` of its samples.
pub(super) fn sum_positions(x: Tensor<3>, scope: Scope) -> Tensor<2> {
    let [batch, classes, _] = x.dims();
    let sums = x.sum_dim(2).reshape([batch, classes]);
    match scope {
        Scope::Batch => sums.sum_dim(0),
        Scope::Sample => sums,
    }
}

/// The mean of `[rows, classes]`, weighted by the class.
pub(super) fn mean_of_classes(table: Tensor<2>, weights: Option<&[f64]>) -> Tensor<1> {
    let Some(weights) = weights else {
        return table.mean();
    };
    let total = table.dims()[0] as f64 * weights.iter().sum::<f64>();
    let weights = row_of_classes(weights, &table);
    (table * weights).sum() / total
}

/// One number for each class as a row, `[1, classes]`, to be multiplied with `table`.
pub(super) fn row_of_classes(numbers: &[f64], table: &Tensor<2>) -> Tensor<2> {
    let data = TensorData::new(numbers.to_vec(), [1, numbers.len()]);
    Tensor::from_data(data, (&table.device(), table.dtype()))
}
