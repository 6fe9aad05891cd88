//! [`ClassifierConfig`]: the options of a classifier on one of the encoders here.

use alloc::vec;

use burn::config::Config;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::{Classifier, Head, HiddenConfig, trace};
use crate::graph::{Map, Planner};
use crate::net::{AnyEncoder, ConvNextEncoderConfig, EncoderConfig};
use crate::plan::Plan;
use crate::setters::setters;
use crate::shape::{ShapeError, expect};

/// Configuration of a [`Classifier`] on one of the encoders here.
///
/// # Example
/// ```
/// use burn_skip::net::{ClassifierConfig, EncoderConfig, ResNetEncoderConfig};
///
/// let encoder = EncoderConfig::ResNet(ResNetEncoderConfig::resnet18());
/// let config = ClassifierConfig::new(encoder, 1000);
/// assert_eq!(config.output_shape([2, 3, 224, 224]).unwrap(), [2, 1000]);
/// assert_eq!(config.plan([2, 3, 224, 224]).root.total_parameters(), 11_689_512); // as torchvision
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ClassifierConfig {
    /// The encoder.
    pub encoder: EncoderConfig,
    /// The number of classes.
    pub classes: usize,
    /// The epsilon of a layer norm of the means, or none. Default: none; ConvNeXt has 1e-6.
    #[serde(default)]
    pub norm: Option<f64>,
    /// A layer between the means and the logits, or none. Default: none. torchvision's MobileNetV3: 1280 channels with
    /// hard-swish.
    #[serde(default)]
    pub hidden: Option<HiddenConfig>,
}

setters!(
    ClassifierConfig:
    with_norm(norm: impl Into<Option<f64>>),
    with_hidden(hidden: impl Into<Option<HiddenConfig>>),
);

impl Config for ClassifierConfig {}

impl ClassifierConfig {
    /// A classifier on `encoder`, of one linear layer.
    pub fn new(encoder: EncoderConfig, classes: usize) -> Self {
        Self {
            encoder,
            classes,
            norm: None,
            hidden: None,
        }
    }

    /// torchvision's and timm's ConvNeXt, which has a norm before its head.
    pub fn convnext(encoder: ConvNextEncoderConfig, classes: usize) -> Self {
        Self::new(EncoderConfig::ConvNext(encoder), classes).with_norm(1e-6)
    }

    /// Checks the options for maps of rank `R`.
    ///
    /// # Errors
    /// When there are no classes, or the encoder is invalid.
    pub fn validate<const R: usize>(&self) -> Result<(), ShapeError> {
        Planner::check_options(&[self.encoder.in_channels()], |planner, maps: &[Map<R>]| {
            self.trace(planner, &maps[0])
        })
    }

    /// Records the encoder and the head, and returns the logits.
    ///
    /// # Errors
    /// As [`output_shape`](Self::output_shape).
    pub fn trace<const R: usize>(
        &self,
        planner: &mut Planner,
        x: &Map<R>,
    ) -> Result<Map<2>, ShapeError> {
        let encoder = |planner: &mut Planner, x: &Map<R>| self.encoder.trace(planner, x);
        let head = Head {
            norm: self.norm,
            hidden: self.hidden.as_ref(),
            classes: self.classes,
        };
        trace(planner, x, &head, encoder)
    }

    /// The shape of the logits for an image of shape `input`: `[batch, classes]`.
    ///
    /// # Errors
    /// When such an image does not fit the encoder, or the configuration is invalid.
    pub fn output_shape<const R: usize>(
        &self,
        input: [usize; R],
    ) -> Result<[usize; 2], ShapeError> {
        Planner::output_shape(input, |planner, x| self.trace(planner, x))
    }

    /// The [plan](crate::plan) for an image of shape `input`.
    pub fn plan<const R: usize>(&self, input: [usize; R]) -> Plan {
        Plan::new(input, |planner, x| Ok(vec![self.trace(planner, x)?]))
    }

    /// Builds the network.
    ///
    /// # Panics
    /// When [`validate`](Self::validate) returns an error, with its message.
    pub fn init<const R: usize>(&self, device: &Device) -> Classifier<AnyEncoder<R>> {
        expect(self.validate::<R>());
        let encoder = self.encoder.init(device);
        let net = match &self.hidden {
            Some(hidden) => Classifier::with_hidden(encoder, hidden, self.classes, device),
            None => Classifier::new(encoder, self.classes, device),
        };
        match self.norm {
            Some(epsilon) => net.with_norm(epsilon),
            None => net,
        }
    }
}
