//! [`DropPath`]: stochastic depth.

use alloc::format;

use burn::module::{Content, DisplaySettings, Flag, Module, ModuleDisplay, Param};
use burn::tensor::{Distribution, Tensor};

use crate::graph::{Map, Op, Planner, Record};
use crate::layers::layer::Layer;
use crate::plan::Trace;
use crate::shape::ShapeError;

/// Drops whole samples at random during training: `y = x * b / (1 - p)` with `b` drawn from `{0, 1}`
/// for each sample of the batch, `P(b = 0) = p`; the identity outside of training.
///
/// arXiv:1603.09382; `torchvision.ops.StochasticDepth` in the mode `row`, timm's `DropPath`.
///
/// # Shapes
/// - input and output: `[batch, channels, spatial...]`
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::{DropPath, Layer};
///
/// let x = Tensor::<4>::ones([2, 8, 5, 5], &Device::flex());
/// assert_eq!(DropPath::new(0.1).forward(x).dims(), [2, 8, 5, 5]);
/// ```
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct DropPath {
    /// The probability that a sample is dropped, in `[0, 1)`.
    pub prob: f64,
    /// Whether the layer takes part in training, as the flag of `burn::nn::Dropout`.
    pub training: Param<Flag>,
}

impl DropPath {
    /// Drops with the probability `prob`.
    ///
    /// # Panics
    /// When `prob` is not in `[0, 1)`, with the text of [`validate`](Self::validate).
    pub fn new(prob: f64) -> Self {
        crate::shape::expect(Self::validate(prob));
        Self {
            prob,
            training: Param::from_bool(true),
        }
    }

    /// Checks a probability.
    ///
    /// # Errors
    /// When it is not in `[0, 1)`.
    pub fn validate(prob: f64) -> Result<(), ShapeError> {
        check_probability("DropPath", prob)
    }
}

impl<const R: usize> Trace<R> for DropPath {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        planner.leaf("DropPath", &[x], || {
            Ok(Record::new(Op::DropPath, x.shape).on_grid_of(x))
        })
    }
}

impl<const R: usize> Layer<R> for DropPath {
    fn forward(&self, x: Tensor<R>) -> Tensor<R> {
        drop_blocks::<R, 1>(x, self.prob, &self.training)
    }
}

/// Drops blocks of values at random in training: each index of the first `AXES` axes is one block.
pub(super) fn drop_blocks<const R: usize, const AXES: usize>(
    x: Tensor<R>,
    prob: f64,
    training: &Param<Flag>,
) -> Tensor<R> {
    let device = x.device();
    if !training.is_enabled() || !device.is_autodiff() || prob == 0.0 {
        return x;
    }
    let keep = 1.0 - prob;
    let mut shape = [1; R];
    shape[..AXES].copy_from_slice(&x.dims()[..AXES]);
    let kept = Tensor::random(shape, Distribution::Bernoulli(keep), (&device, x.dtype()));
    x * kept.div_scalar(keep)
}

/// Checks the probability of a layer that drops values.
pub(crate) fn check_probability(layer: &str, prob: f64) -> Result<(), ShapeError> {
    if (0.0..1.0).contains(&prob) {
        return Ok(());
    }
    Err(ShapeError::new(
        layer,
        format!("the probability is {prob}"),
        "Choose one in [0, 1)",
    ))
}

impl ModuleDisplay for DropPath {
    fn custom_settings(&self) -> Option<DisplaySettings> {
        DisplaySettings::new()
            .with_new_line_after_attribute(false)
            .optional()
    }

    fn custom_content(&self, content: Content) -> Option<Content> {
        content.add("prob", &self.prob).optional()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{string::ToString, vec::Vec};
    use burn::tensor::Device;

    #[test]
    fn keeps_or_drops_whole_samples_and_the_mean() {
        let device = Device::flex().autodiff();
        device.seed(3);
        let x = Tensor::<3>::ones([4000, 2, 3], &device);
        let y: Vec<f32> = DropPath::new(0.25)
            .forward(x)
            .to_data()
            .try_to_vec()
            .unwrap();
        let mut kept = 0;
        for sample in y.chunks(6) {
            assert!(sample.iter().all(|&v| v == sample[0]));
            assert!(sample[0] == 0.0 || (sample[0] - 4.0 / 3.0).abs() < 1e-6);
            kept += usize::from(sample[0] != 0.0);
        }
        assert!((2850..3150).contains(&kept), "{kept} of 4000 kept");
    }

    #[test]
    fn is_the_identity_outside_of_training() {
        let x = Tensor::<3>::ones([2, 2, 3], &Device::flex());
        let y: Vec<f32> = DropPath::new(0.9)
            .forward(x)
            .to_data()
            .try_to_vec()
            .unwrap();
        assert_eq!(y, [1.0; 12]);
        let frozen = DropPath::new(0.9).freeze();
        let x = Tensor::<3>::ones([2, 2, 3], &Device::flex().autodiff());
        let y: Vec<f32> = frozen.forward(x).to_data().try_to_vec().unwrap();
        assert_eq!(y, [1.0; 12]);
    }

    #[test]
    fn a_probability_of_one_is_refused() {
        assert_eq!(
            DropPath::validate(1.0).unwrap_err().to_string(),
            "DropPath: the probability is 1. Choose one in [0, 1)."
        );
    }
}
