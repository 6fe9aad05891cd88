//! [`LayerNorm`]: the channels of each position are normalised.

use alloc::format;

use burn::config::Config;
use burn::module::{Content, DisplaySettings, Module, ModuleDisplay, Param};
use burn::nn::Initializer;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::cpu::{Outcome, layer_norm};
use crate::graph::{Map, NormKind, Planner};
use crate::layers::layer::Layer;
use crate::layers::norm::norm_record;
use crate::plan::Trace;
use crate::setters::setters;
use crate::shape::{ShapeError, check_channels, check_positive, expect};

const NAME: &str = "LayerNorm";

/// Configuration of [`LayerNorm`].
///
/// # Example
/// ```
/// use burn_skip::{Trace, norm::LayerNormConfig};
///
/// let plan = LayerNormConfig::new(96).plan([1, 96, 56, 56]);
/// assert_eq!(plan.root.total_parameters(), 2 * 96);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LayerNormConfig {
    /// The channels of the map.
    pub channels: usize,
    /// Added to the variance. Default: 1e-5, as PyTorch; ConvNeXt and SegFormer have 1e-6.
    #[serde(default = "crate::defaults::epsilon")]
    pub epsilon: f64,
}

setters!(
    LayerNormConfig:
    with_epsilon(epsilon: f64),
);

impl Config for LayerNormConfig {}

impl LayerNormConfig {
    /// A norm of maps with `channels` channels.
    pub fn new(channels: usize) -> Self {
        Self {
            channels,
            epsilon: crate::defaults::epsilon(),
        }
    }

    /// Checks the options.
    ///
    /// # Errors
    /// When there are no channels, or epsilon is not positive.
    pub fn validate(&self) -> Result<(), ShapeError> {
        check_positive(NAME, "channels", self.channels)?;
        if self.epsilon.is_finite() && self.epsilon > 0.0 {
            return Ok(());
        }
        Err(ShapeError::new(
            NAME,
            format!("epsilon is {}", self.epsilon),
            "Choose a positive number, such as 1e-5",
        ))
    }

    /// Builds the layer.
    ///
    /// # Panics
    /// When [`validate`](Self::validate) returns an error, with its message.
    pub fn init(&self, device: &Device) -> LayerNorm {
        expect(self.validate());
        LayerNorm {
            gamma: Initializer::Ones.init([self.channels], device),
            beta: Initializer::Zeros.init([self.channels], device),
            epsilon: self.epsilon,
        }
    }
}

impl<const R: usize> Trace<R> for LayerNormConfig {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        let leaf = |planner: &mut Planner| {
            planner.leaf(NAME, &[x], || {
                self.validate()?;
                check_channels(NAME, x.shape, self.channels)?;
                Ok(norm_record(
                    NormKind::Layer {
                        epsilon: self.epsilon,
                    },
                    x,
                    true,
                ))
            })
        };
        planner.standalone(leaf)
    }
}

/// Layer norm (arXiv:1607.06450) over the channels of each position:
/// `y = gamma (x - mean) / sqrt(variance + epsilon) + beta`, with mean and biased variance of the channels.
///
/// PyTorch's `LayerNorm` on maps with the channels last, timm's and torchvision's `LayerNorm2d`. The channels come first
/// here, as in all maps. For a norm over channels and positions together, use
/// [`NormConfig::group`](crate::norm::NormConfig::group) with one group.
///
/// # Shapes
/// - input and output: `[batch, channels, spatial...]`
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::{Layer, norm::LayerNormConfig};
///
/// let device = Device::flex();
/// let norm = LayerNormConfig::new(2).init(&device);
/// let x = Tensor::<3>::from_floats([[[1.0, 5.0], [3.0, -5.0]]], &device);
/// let y = norm.forward(x).to_data().try_to_vec::<f32>().unwrap();
/// assert!((y[0] + 1.0).abs() < 1e-4 && (y[1] - 1.0).abs() < 1e-4); // 1 and 3, then 5 and -5
/// ```
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct LayerNorm {
    /// The scale of each channel.
    pub gamma: Param<Tensor<1>>,
    /// The shift of each channel.
    pub beta: Param<Tensor<1>>,
    /// Added to the variance.
    #[module(skip)]
    pub epsilon: f64,
}

impl<const R: usize> Trace<R> for LayerNorm {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        let channels = self.gamma.shape()[0];
        let config = LayerNormConfig::new(channels).with_epsilon(self.epsilon);
        config.trace(planner, x)
    }
}

impl<const R: usize> Layer<R> for LayerNorm {
    fn forward(&self, x: Tensor<R>) -> Tensor<R> {
        expect(self.output_shape(x.dims()));
        let (gamma, beta) = (self.gamma.val(), self.beta.val());
        match layer_norm(x, gamma, beta, self.epsilon) {
            Outcome::Fused(y) => y,
            Outcome::Declined((x, gamma, beta)) => {
                // (Burn normalises the last axis.)
                let x = x.movedim(1, R - 1);
                let y = burn::tensor::module::layer_norm(x, gamma, Some(beta), self.epsilon);
                y.movedim(R - 1, 1)
            }
        }
    }
}

impl ModuleDisplay for LayerNorm {
    fn custom_settings(&self) -> Option<DisplaySettings> {
        DisplaySettings::new()
            .with_new_line_after_attribute(false)
            .optional()
    }

    fn custom_content(&self, content: Content) -> Option<Content> {
        content
            .add("channels", &self.gamma.shape()[0])
            .add("epsilon", &self.epsilon)
            .optional()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Op;
    use alloc::string::ToString;

    #[test]
    fn what_cannot_be_built_is_refused() {
        let text = |config: LayerNormConfig| config.validate().unwrap_err().to_string();
        assert_eq!(
            text(LayerNormConfig::new(0)),
            "LayerNorm: channels is 0. Set channels to 1 or more."
        );
        assert_eq!(
            text(LayerNormConfig::new(4).with_epsilon(0.0)),
            "LayerNorm: epsilon is 0. Choose a positive number, such as 1e-5."
        );
    }

    #[test]
    fn the_plan_has_its_epsilon() {
        let norm = LayerNormConfig::new(4).with_epsilon(1e-6);
        let kind = NormKind::Layer { epsilon: 1e-6 };
        assert_eq!(norm.plan([1, 4, 8]).root.op, Op::Norm(kind));
    }

    #[test]
    fn display() {
        let norm = LayerNormConfig::new(4).init(&Device::flex());
        let text = norm.to_string();
        assert!(
            text.contains("channels: 4") && text.contains("epsilon: 0.00001"),
            "{text}"
        );
    }
}
