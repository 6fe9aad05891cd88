//! [`Activation`]: an elementwise activation, chosen at run time.

use alloc::format;

use burn::module::{Content, DisplaySettings, Module, ModuleDisplay, Param};
use burn::nn::Initializer;
use burn::nn::activation::ActivationConfig as BurnActivation;
use burn::tensor::{Device, Tensor, activation};

use crate::cpu::activate;
use crate::graph::{Map, Op, Planner, Record};
use crate::layers::layer::Layer;
use crate::plan::Trace;
use crate::shape::{ShapeError, check_channels, expect};

pub use crate::graph::activation::ActivationConfig;

const NAME: &str = "Activation";

impl ActivationConfig {
    /// Checks the options for maps with `channels` channels.
    ///
    /// # Errors
    /// When a PReLU has neither one parameter nor one for each channel.
    pub fn validate(&self, channels: usize) -> Result<(), ShapeError> {
        match *self {
            Self::PRelu { num_parameters, .. } if ![1, channels].contains(&num_parameters) => {
                Err(ShapeError::new(
                    NAME,
                    format!("PRelu has {num_parameters} parameters for {channels} channels"),
                    "Give it one parameter, or one for each channel",
                ))
            }
            _ => Ok(()),
        }
    }

    /// Builds the layer.
    pub fn init(&self, device: &Device) -> Activation {
        let alpha = match *self {
            Self::PRelu {
                num_parameters,
                alpha,
            } => Some(Initializer::Constant { value: alpha }.init([num_parameters], device)),
            _ => None,
        };
        Activation {
            alpha,
            config: *self,
        }
    }
}

impl<const R: usize> Trace<R> for ActivationConfig {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        let record = || {
            self.validate(x.shape[1])?;
            let learned = match *self {
                Self::PRelu { num_parameters, .. } => num_parameters,
                _ => 0,
            };
            let record = Record::new(Op::Activation(*self), x.shape).on_grid_of(x);
            Ok(record.with_parameter("alpha", learned))
        };
        planner.standalone(|planner| planner.leaf(self.name(), &[x], record))
    }
}

/// The same activation, of Burn's configuration.
///
/// # Errors
/// For SwiGLU, which works on the last axis: that is spatial in a feature map.
impl TryFrom<BurnActivation> for ActivationConfig {
    type Error = ShapeError;

    fn try_from(config: BurnActivation) -> Result<Self, ShapeError> {
        Ok(match config {
            BurnActivation::Identity => Self::Identity,
            BurnActivation::Gelu => Self::Gelu,
            BurnActivation::GeluApproximate => Self::GeluApproximate,
            BurnActivation::PRelu(config) => Self::PRelu {
                num_parameters: config.num_parameters,
                alpha: config.alpha,
            },
            BurnActivation::Relu => Self::Relu,
            BurnActivation::LeakyRelu(config) => Self::LeakyRelu {
                negative_slope: config.negative_slope,
            },
            BurnActivation::Selu => Self::Selu,
            BurnActivation::Sigmoid => Self::Sigmoid,
            BurnActivation::Tanh => Self::Tanh,
            BurnActivation::HardSigmoid(config) => Self::HardSigmoid {
                alpha: config.alpha,
                beta: config.beta,
            },
            BurnActivation::HardSwish => Self::HardSwish,
            BurnActivation::Softplus(config) => Self::Softplus { beta: config.beta },
            BurnActivation::Softsign => Self::Softsign,
            BurnActivation::Elu(config) => Self::Elu {
                alpha: config.alpha,
            },
            BurnActivation::Celu(config) => Self::Celu {
                alpha: config.alpha,
            },
            BurnActivation::ThresholdedRelu(config) => Self::ThresholdedRelu {
                alpha: config.alpha,
            },
            BurnActivation::HardShrink(config) => Self::HardShrink {
                lambda: config.lambda,
            },
            BurnActivation::SoftShrink(config) => Self::SoftShrink {
                lambda: config.lambda,
            },
            BurnActivation::Shrink(config) => Self::Shrink {
                lambda: config.lambda,
                bias: config.bias,
            },
            other => {
                return Err(ShapeError::new(
                    NAME,
                    format!("{other:?} does not work on each element"),
                    "Choose an activation that does",
                ));
            }
        })
    }
}

/// An elementwise activation: `y = f(x)`, with the function of its [`ActivationConfig`].
///
/// # Shapes
/// - input and output: `[batch, channels, spatial...]`
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::{Layer, activation::ActivationConfig};
///
/// let device = Device::flex();
/// let x = Tensor::<3>::from_floats([[[-2.0, 0.0, 1.0]]], &device);
/// let silu = ActivationConfig::Silu.init(&device);
/// let y = silu.forward(x).to_data().try_to_vec::<f32>().unwrap();
/// assert!((y[0] + 0.238_405_84).abs() < 1e-6); // -2 sigmoid(-2)
/// ```
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct Activation {
    /// The learned factor of negative values, if it is a PReLU.
    pub alpha: Option<Param<Tensor<1>>>,
    /// Which activation it is.
    #[module(skip)]
    pub config: ActivationConfig,
}

impl Activation {
    /// The activation as a function of the input alone, which a PReLU is not.
    pub(crate) fn as_function(&self) -> Option<ActivationConfig> {
        self.alpha.is_none().then_some(self.config)
    }
}

impl<const R: usize> Trace<R> for Activation {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        self.config.trace(planner, x)
    }
}

impl<const R: usize> Layer<R> for Activation {
    fn forward(&self, x: Tensor<R>) -> Tensor<R> {
        if let Some(alpha) = &self.alpha {
            if alpha.shape()[0] != 1 {
                expect(check_channels("PRelu", x.dims(), alpha.shape()[0]));
            }
            return activation::prelu(x, alpha.val());
        }
        activate(&self.config, x)
    }
}

impl ModuleDisplay for Activation {
    fn custom_settings(&self) -> Option<DisplaySettings> {
        DisplaySettings::new()
            .with_new_line_after_attribute(false)
            .optional()
    }

    fn custom_content(&self, content: Content) -> Option<Content> {
        content.add_debug_attribute("kind", &self.config).optional()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(config: ActivationConfig, x: f32) -> f32 {
        let device = Device::flex();
        let x = Tensor::<3>::from_floats([[[x]]], &device);
        config.init(&device).forward(x).into_scalar::<f32>()
    }

    #[test]
    fn activations_that_burns_configuration_lacks_as_pytorch() {
        for (config, x, y) in [
            (ActivationConfig::Relu6, 7.5, 6.0),
            (ActivationConfig::Relu6, 2.5, 2.5),
            (ActivationConfig::Silu, 1.0, 0.731_058_6),
            (ActivationConfig::Mish, 1.0, 0.865_098_4),
            (ActivationConfig::HardSwish, 1.0, 0.666_666_7),
            (ActivationConfig::HardSwish, -4.0, 0.0),
            (ActivationConfig::LogSigmoid, 0.0, -core::f32::consts::LN_2),
        ] {
            let found = run(config, x);
            assert!(
                (found - y).abs() < 1e-6,
                "{config:?}({x}) = {found}, not {y}"
            );
        }
    }

    #[test]
    fn files_of_burns_configuration_are_read() {
        let burn = serde_json::to_string(&BurnActivation::LeakyRelu(
            burn::nn::LeakyReluConfig::new().with_negative_slope(0.1),
        ));
        let read: ActivationConfig = serde_json::from_str(&burn.unwrap()).unwrap();
        assert_eq!(
            read,
            ActivationConfig::LeakyRelu {
                negative_slope: 0.1
            }
        );
        let swish: ActivationConfig = serde_json::from_str("\"Swish\"").unwrap();
        assert_eq!(swish, ActivationConfig::Silu);
    }

    #[test]
    fn burns_configuration_converts_or_says_why_not() {
        let relu = ActivationConfig::try_from(BurnActivation::Relu);
        assert_eq!(relu, Ok(ActivationConfig::Relu));
        let glu = BurnActivation::SwiGlu(burn::nn::SwiGluConfig::new(4, 4));
        let error = ActivationConfig::try_from(glu).unwrap_err().to_string();
        assert!(error.contains("does not work on each element"), "{error}");
    }
}
