//! [`HiddenLayer`]: a linear layer with an activation, between the means and the logits.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::NAME;
use crate::graph::{Map, Planner};
use crate::layers::activation::{Activation, ActivationConfig};
use crate::layers::layer::Layer;
use crate::layers::linear::linear;
use crate::net::classification_head::trace_linear;
use crate::plan::Trace;
use crate::shape::{ShapeError, check_positive, expect};

/// Configuration of a [`HiddenLayer`].
///
/// # Example
/// ```
/// use burn_skip::activation::ActivationConfig;
/// use burn_skip::net::{ClassifierConfig, EncoderConfig, HiddenConfig, MobileNetV3EncoderConfig};
///
/// let encoder = EncoderConfig::MobileNetV3(MobileNetV3EncoderConfig::large());
/// let hidden = HiddenConfig::new(1280, ActivationConfig::HardSwish);
/// let config = ClassifierConfig::new(encoder, 1000).with_hidden(hidden);
/// assert_eq!(config.plan([1, 3, 224, 224]).root.total_parameters(), 5_483_032); // as torchvision
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct HiddenConfig {
    /// The output channels.
    pub channels: usize,
    /// The activation. Default: ReLU.
    #[serde(default = "ActivationConfig::default_activation")]
    pub activation: ActivationConfig,
}

impl HiddenConfig {
    /// A layer to so many channels.
    pub const fn new(channels: usize, activation: ActivationConfig) -> Self {
        Self {
            channels,
            activation,
        }
    }

    /// Builds the layer on `in_channels` means.
    ///
    /// # Panics
    /// When there are no channels, or the activation does not fit them.
    pub(super) fn init(&self, in_channels: usize, device: &Device) -> HiddenLayer {
        expect(check_positive(NAME, "hidden channels", self.channels));
        expect(self.activation.validate(self.channels));
        HiddenLayer {
            linear: LinearConfig::new(in_channels, self.channels).init(device),
            activation: self.activation.init(device),
        }
    }

    /// Records the layer on the means.
    pub(super) fn trace(&self, planner: &mut Planner, x: &Map<2>) -> Result<Map<2>, ShapeError> {
        planner.node("HiddenLayer", &[x], |planner| {
            check_positive(NAME, "hidden channels", self.channels)?;
            let y = trace_linear(planner.at("linear"), x, self.channels)?;
            self.activation.trace(planner.at("activation"), &y)
        })
    }
}

/// A layer between the means and the logits of a [`Classifier`](super::Classifier): `y = act(W x + b)`, as MobileNetV3 has
/// (arXiv:1905.02244, section 5.1).
///
/// # Shapes
/// - input: `[batch, in_channels]`
/// - output: `[batch, channels]`
///
/// # Example
/// ```
/// use burn::tensor::Device;
/// use burn_skip::activation::ActivationConfig;
/// use burn_skip::net::{Classifier, HiddenConfig, PlainEncoder, PlainEncoderConfig};
///
/// let device = Device::flex();
/// let encoder: PlainEncoder = PlainEncoderConfig::new(3, vec![4, 8]).init(&device);
/// let hidden = HiddenConfig::new(16, ActivationConfig::HardSwish);
/// let net = Classifier::with_hidden(encoder, &hidden, 10, &device);
/// assert_eq!(net.hidden.unwrap().linear.weight.dims(), [8, 16]);
/// ```
#[derive(Module, Debug)]
pub struct HiddenLayer {
    /// From the means to the channels.
    pub linear: Linear,
    /// The activation after it.
    pub activation: Activation,
}

impl HiddenLayer {
    /// Computes the layer.
    pub(super) fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let y = linear(&self.linear, x);
        // (Activations are of feature maps: this one has one position.)
        let [batch, channels] = y.dims();
        let map = self.activation.forward(y.reshape([batch, channels, 1]));
        map.reshape([batch, channels])
    }
}
