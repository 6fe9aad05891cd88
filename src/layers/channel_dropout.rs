//! [`ChannelDropout`]: whole channels are dropped.

use burn::module::{Content, DisplaySettings, Flag, Module, ModuleDisplay, Param};
use burn::tensor::Tensor;

use super::drop_path::{check_probability, drop_blocks};
use crate::graph::{Map, Op, Planner, Record};
use crate::layers::layer::Layer;
use crate::plan::Trace;
use crate::shape::{ShapeError, expect};

const NAME: &str = "ChannelDropout";

/// Drops whole channels at random during training: `y = x * b / (1 - p)` with `b` drawn from `{0, 1}` for each channel of
/// each sample, `P(b = 0) = p`; the identity outside of training.
///
/// Spatial dropout (arXiv:1411.4280, section 3.2); PyTorch's `Dropout1d` to `Dropout3d`, Keras's `SpatialDropout1D` to
/// `SpatialDropout3D`.
///
/// # Shapes
/// - input and output: `[batch, channels, spatial...]`
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::{ChannelDropout, Layer};
///
/// let x = Tensor::<4>::ones([2, 8, 5, 5], &Device::flex());
/// assert_eq!(ChannelDropout::new(0.2).forward(x).dims(), [2, 8, 5, 5]);
/// ```
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct ChannelDropout {
    /// The probability that a channel is dropped, in `[0, 1)`.
    pub prob: f64,
    /// Whether the layer takes part in training, as the flag of `burn::nn::Dropout`.
    pub training: Param<Flag>,
}

impl ChannelDropout {
    /// Drops with the probability `prob`.
    ///
    /// # Panics
    /// When `prob` is not in `[0, 1)`, with the text of [`validate`](Self::validate).
    pub fn new(prob: f64) -> Self {
        expect(Self::validate(prob));
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
        check_probability(NAME, prob)
    }

    /// Records a dropout with the probability `prob`.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub(crate) fn trace_with<const R: usize>(
        prob: f64,
        planner: &mut Planner,
        x: &Map<R>,
    ) -> Result<Map<R>, ShapeError> {
        planner.leaf(NAME, &[x], || {
            Self::validate(prob)?;
            Ok(Record::new(Op::ChannelDropout, x.shape).on_grid_of(x))
        })
    }
}

impl<const R: usize> Trace<R> for ChannelDropout {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        Self::trace_with(self.prob, planner, x)
    }
}

impl<const R: usize> Layer<R> for ChannelDropout {
    fn forward(&self, x: Tensor<R>) -> Tensor<R> {
        drop_blocks::<R, 2>(x, self.prob, &self.training)
    }
}

impl ModuleDisplay for ChannelDropout {
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
    fn keeps_or_drops_whole_channels_and_the_mean() {
        let device = Device::flex().autodiff();
        device.seed(3);
        let x = Tensor::<3>::ones([20, 20, 4], &device);
        let y: Vec<f32> = ChannelDropout::new(0.25)
            .forward(x)
            .into_data()
            .try_to_vec()
            .unwrap();
        let channels = y.chunks(4);
        assert!(
            channels
                .clone()
                .all(|c| c == [0.0; 4] || c == [4.0 / 3.0; 4])
        );
        let dropped = channels.filter(|c| c[0] == 0.0).count();
        assert!((60..140).contains(&dropped), "{dropped} of 400");
    }

    #[test]
    fn outside_of_training_it_is_the_identity() {
        let x = Tensor::<3>::ones([2, 3, 4], &Device::flex());
        let y = ChannelDropout::new(0.9).forward(x.clone());
        y.into_data().assert_eq(&x.into_data(), true);
        assert_eq!(
            ChannelDropout::validate(1.0).unwrap_err().to_string(),
            "ChannelDropout: the probability is 1. Choose one in [0, 1)."
        );
    }
}
