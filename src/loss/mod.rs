//! Losses for segmentation, computed from logits: for one to three spatial axes, on every backend, with gradients by
//! autodiff.
//!
//! | loss | formula of a class | source |
//! | --- | --- | --- |
//! | [`CrossEntropyLoss`] | `-sum_c t_c log p_c`, with label smoothing | PyTorch, arXiv:1512.00567 |
//! | [`BinaryCrossEntropyLoss`] | `-(t log p + (1 - t) log(1 - p))`, with label smoothing | PyTorch |
//! | [`FocalLoss`] | `-(1 - p_t)^gamma log p_t` | arXiv:1708.02002 |
//! | [`DiceLoss`] | `1 - 2 TP / (2 TP + FP + FN)` | arXiv:1606.04797 |
//! | [`JaccardLoss`] | `1 - TP / (TP + FP + FN)` | Rahman and Wang, ISVC 2016 |
//! | [`TverskyLoss`] | `(1 - TP / (TP + alpha FP + beta FN))^gamma` | arXiv:1706.05721, arXiv:1810.07842 |
//! | [`GeneralizedDiceLoss`] | Dice of all classes, weighted by `1 / volume^2` | arXiv:1707.03237 |
//! | [`MccLoss`] | `1 - MCC`, Matthews's correlation coefficient | doi:10.1109/ISBI48211.2021.9433782 |
//! | [`LovaszLoss`] | the Lovasz extension of the Jaccard loss | arXiv:1705.08790 |
//! | [`ClDiceLoss`] | the centerline Dice, by soft skeletons | arXiv:2003.07311 |
//! | [`BoundaryLoss`] | `mean(p distance)`, with the signed distance to the boundary | arXiv:1812.07032 |
//!
//! [`LossSum`] adds losses, [`DeepSupervision`] compares logits of several sizes with the same labels, and
//! [`LossConfig`] lists all of them as data. A loss of your own implements [`Loss`].
//!
//! # Labels
//!
//! | [`Mode`] | logits | labels | probabilities |
//! | --- | --- | --- | --- |
//! | `Binary` | `[batch, 1, spatial...]` | `[batch, 1, spatial...]` of 0 and 1 | sigmoid |
//! | `MultiClass` | `[batch, classes, spatial...]` | `[batch, 1, spatial...]` of class numbers | softmax over the classes |
//! | `MultiLabel` | `[batch, classes, spatial...]` | `[batch, classes, spatial...]` of 0 and 1 | sigmoid |
//!
//! Positions with the `ignore_label` add nothing, neither to values nor to gradients, whatever their logits are. A
//! label that is neither a class nor the `ignore_label` belongs to no class.
//!
//! # Precision
//!
//! Logarithms of probabilities are computed from logits (log-sigmoid, log-sum-exp), so that no logit is too large.
//! Logits in half precision are converted to f32 first, since the sums over a map would overflow: the loss is f32, and
//! the gradient comes back in the precision of the logits.
//!
//! # Class weights
//!
//! In each loss that has `class_weights`, the weight of a class multiplies what the class adds, and the result is
//! divided by the sum of the weights: they need not be normalised. A class of weight 0 is left out, such as the
//! background by `[0, 1, 1]`.

mod batch;
mod binary_cross_entropy;
mod boundary;
mod cl_dice;
mod config;
mod cross_entropy;
mod deep_supervision;
mod dice;
mod focal;
mod generalized_dice;
mod jaccard;
mod labels;
mod loss_sum;
mod lovasz;
mod mcc;
mod options;
mod overlap;
mod skeleton;
mod tversky;

use burn::tensor::{Int, Tensor};

use crate::shape::ShapeError;

pub use batch::{MeanOver, Scope};
pub use binary_cross_entropy::BinaryCrossEntropyLoss;
pub use boundary::BoundaryLoss;
pub use cl_dice::ClDiceLoss;
pub use config::LossConfig;
pub use cross_entropy::CrossEntropyLoss;
pub use deep_supervision::{DeepSupervision, LevelWeights};
pub use dice::DiceLoss;
pub use focal::FocalLoss;
pub use generalized_dice::{GeneralizedDiceLoss, VolumeWeight};
pub use jaccard::JaccardLoss;
pub use labels::Mode;
pub use loss_sum::{LossSum, Term};
pub use lovasz::LovaszLoss;
pub use mcc::MccLoss;
pub use overlap::AbsentClass;
pub use tversky::TverskyLoss;

/// A loss: one number that says how far logits are from labels. Losses have no parameters.
///
/// # Shapes
/// - `logits`: `[batch, channels, spatial...]`
/// - `labels`: `[batch, 1, spatial...]` or `[batch, channels, spatial...]`, as the [`Mode`] says
/// - output: `[1]`
///
/// # Example
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use burn_skip::ShapeError;
/// use burn_skip::loss::{DiceLoss, Loss, Mode};
///
/// /// Half of another loss.
/// struct Half<L>(L);
///
/// impl<L: Loss<R>, const R: usize> Loss<R> for Half<L> {
///     fn check(&self, logits: [usize; R], labels: [usize; R]) -> Result<(), ShapeError> {
///         self.0.check(logits, labels)
///     }
///
///     fn forward(&self, logits: Tensor<R>, labels: Tensor<R, Int>) -> Tensor<1> {
///         self.0.forward(logits, labels) / 2.0
///     }
/// }
///
/// let device = Device::flex();
/// let logits = Tensor::<4>::zeros([1, 1, 2, 2], &device);
/// let labels = Tensor::<4, Int>::ones([1, 1, 2, 2], &device);
/// let loss: Box<dyn Loss> = Box::new(Half(DiceLoss::new(Mode::Binary)));
/// // All probabilities are 1/2: the Dice score is 2 * 2 / (2 + 4), and the loss 1/3.
/// assert!((loss.forward(logits, labels).into_scalar::<f32>() - 1.0 / 6.0).abs() < 1e-6);
/// ```
pub trait Loss<const R: usize = 4> {
    /// Checks the options, and logits and labels of these shapes.
    ///
    /// # Errors
    /// When an option is invalid, or the shapes do not fit the loss or each other.
    fn check(&self, logits: [usize; R], labels: [usize; R]) -> Result<(), ShapeError>;

    /// The loss of these logits.
    ///
    /// # Panics
    /// When [`check`](Self::check) returns an error, with its message.
    fn forward(&self, logits: Tensor<R>, labels: Tensor<R, Int>) -> Tensor<1>;
}
