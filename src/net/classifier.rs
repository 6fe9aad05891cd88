//! [`Classifier`]: an encoder and a linear layer, which computes the logits of classes.

use alloc::{vec, vec::Vec};

use burn::config::Config;
use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::classification_head::{pool_positions, trace_linear, trace_pool};
use super::{AnyEncoder, ConvNextEncoderConfig, Encoder, EncoderConfig};
use crate::graph::{Map, NormKind, Op, Planner, Record};
use crate::layers::layer::Layer;
use crate::layers::norm::{LayerNorm, LayerNormConfig};
use crate::layers::pool::AdaptiveKind;
use crate::plan::Plan;
use crate::setters::setters;
use crate::shape::{ShapeError, check_positive, expect};

const NAME: &str = "Classifier";

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
}

setters!(
    ClassifierConfig:
    with_norm(norm: impl Into<Option<f64>>),
);

impl Config for ClassifierConfig {}

impl ClassifierConfig {
    /// A classifier on `encoder`.
    pub fn new(encoder: EncoderConfig, classes: usize) -> Self {
        Self {
            encoder,
            classes,
            norm: None,
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
        trace(planner, x, (self.norm, self.classes), encoder)
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
        let net = Classifier::new(self.encoder.init(device), self.classes, device);
        match self.norm {
            Some(epsilon) => net.with_norm(epsilon),
            None => net,
        }
    }
}

/// Records an encoder, and the norm and the head on it.
fn trace<const R: usize>(
    planner: &mut Planner,
    x: &Map<R>,
    (norm, classes): (Option<f64>, usize),
    encoder: impl FnOnce(&mut Planner, &Map<R>) -> Result<Vec<Map<R>>, ShapeError>,
) -> Result<Map<2>, ShapeError> {
    planner.node(NAME, &[x], |planner| {
        check_positive(NAME, "classes", classes)?;
        let maps = encoder(planner.at("encoder"), x)?;
        let deepest = maps.last().ok_or_else(no_maps)?;
        let means = trace_pool(planner, deepest, AdaptiveKind::Avg)?;
        let means = match norm {
            Some(epsilon) => {
                let norm = LayerNormConfig::new(means.shape[1]).with_epsilon(epsilon);
                trace_norm(planner.at("norm"), &norm, &means)?
            }
            None => means,
        };
        trace_linear(planner.at("head"), &means, classes)
    })
}

/// Records the norm of the means.
fn trace_norm(
    planner: &mut Planner,
    norm: &LayerNormConfig,
    means: &Map<2>,
) -> Result<Map<2>, ShapeError> {
    let leaf = |planner: &mut Planner| {
        planner.leaf("LayerNorm", &[means], || {
            norm.validate()?;
            Ok(Record::new(
                Op::Norm(NormKind::Layer {
                    epsilon: norm.epsilon,
                }),
                means.shape,
            )
            .with_parameter("gamma", norm.channels)
            .with_parameter("beta", norm.channels))
        })
    };
    planner.standalone(leaf)
}

fn no_maps() -> ShapeError {
    ShapeError::new(
        NAME,
        "the encoder computes no feature map",
        "Let Encoder::features compute one or more",
    )
}

/// The mean over all positions of an encoder's deepest map, and a linear layer: `y = W mean(x) + b`; with a
/// [norm](Self::norm), `y = W norm(mean(x)) + b`.
///
/// PyTorch's `AdaptiveAvgPool2d(1)`, `flatten`, `Linear`; Keras's `GlobalAveragePooling2D`, `Dense`.
/// [`ResNet`](super::ResNet) and [`DenseNet`](super::DenseNet) are classifiers.
///
/// # Shapes
/// - input: `[batch, in_channels, spatial...]`
/// - output: logits `[batch, classes]`
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::net::{Classifier, PlainEncoderConfig};
///
/// let device = Device::flex();
/// let encoder = PlainEncoderConfig::new(3, vec![4, 8]).init(&device);
/// let net = Classifier::new(encoder, 10, &device);
/// assert_eq!(net.forward(Tensor::<4>::zeros([2, 3, 33, 20], &device)).dims(), [2, 10]);
/// ```
#[derive(Module, Debug)]
pub struct Classifier<E> {
    /// Computes the feature maps, of which the deepest is used.
    pub encoder: E,
    /// The norm of the means, if there is one.
    pub norm: Option<LayerNorm>,
    /// From the means to the logits.
    pub head: Linear,
}

impl<E> Classifier<E> {
    /// A classifier with fresh weights on `encoder`.
    ///
    /// # Panics
    /// When there are no classes.
    pub fn new<const R: usize>(encoder: E, classes: usize, device: &Device) -> Self
    where
        E: Encoder<R>,
    {
        expect(check_positive(NAME, "classes", classes));
        let channels = encoder.feature_channels().last().copied().unwrap_or(0);
        Self {
            encoder,
            norm: None,
            head: LinearConfig::new(channels, classes).init(device),
        }
    }

    /// Adds a layer norm of the means with this epsilon.
    ///
    /// # Panics
    /// When the epsilon is not positive.
    ///
    /// # Example
    /// ```
    /// use burn::tensor::{Device, Tensor};
    /// use burn_skip::net::{Classifier, ConvNextEncoderConfig};
    ///
    /// let device = Device::flex();
    /// let encoder = ConvNextEncoderConfig::new(vec![4, 8], vec![1, 1]).init::<4>(&device);
    /// let net = Classifier::new(encoder, 10, &device).with_norm(1e-6);
    /// assert_eq!(net.forward(Tensor::<4>::zeros([2, 3, 33, 20], &device)).dims(), [2, 10]);
    /// ```
    pub fn with_norm(mut self, epsilon: f64) -> Self {
        let channels = self.head.weight.lazy_shape()[0];
        let norm = LayerNormConfig::new(channels).with_epsilon(epsilon);
        self.norm = Some(norm.init(&self.head.weight.lazy_device()));
        self
    }

    /// Records the encoder and the head, and returns the logits.
    ///
    /// # Errors
    /// As [`output_shape`](Self::output_shape).
    pub fn trace<const R: usize>(
        &self,
        planner: &mut Planner,
        x: &Map<R>,
    ) -> Result<Map<2>, ShapeError>
    where
        E: Encoder<R>,
    {
        let classes = self.head.weight.lazy_shape()[1];
        let encoder = |planner: &mut Planner, x: &Map<R>| self.encoder.trace(planner, x);
        let norm = self.norm.as_ref().map(|norm| norm.epsilon);
        trace(planner, x, (norm, classes), encoder)
    }

    /// The shape of the logits for an image of shape `input`: `[batch, classes]`.
    ///
    /// # Errors
    /// When such an image does not fit the encoder.
    pub fn output_shape<const R: usize>(&self, input: [usize; R]) -> Result<[usize; 2], ShapeError>
    where
        E: Encoder<R>,
    {
        Planner::output_shape(input, |planner, x| self.trace(planner, x))
    }

    /// The [plan](crate::plan) for an image of shape `input`.
    pub fn plan<const R: usize>(&self, input: [usize; R]) -> Plan
    where
        E: Encoder<R>,
    {
        Plan::new(input, |planner, x| Ok(vec![self.trace(planner, x)?]))
    }

    /// The maps of the encoder, the finest first.
    ///
    /// # Panics
    /// When such an image does not fit the encoder.
    pub fn features<const R: usize>(&self, x: Tensor<R>) -> Vec<Tensor<R>>
    where
        E: Encoder<R>,
    {
        self.encoder.features(x)
    }

    /// The logits of a batch of images.
    ///
    /// # Panics
    /// When [`output_shape`](Self::output_shape) returns an error, with its message.
    pub fn forward<const R: usize>(&self, x: Tensor<R>) -> Tensor<2>
    where
        E: Encoder<R>,
    {
        expect(self.output_shape(x.dims()));
        match self.features(x).pop() {
            Some(map) => {
                let means = pool_positions(map, AdaptiveKind::Avg);
                let means = Layer::forward(&self.norm, means.unsqueeze_dim::<3>(2));
                self.head.forward(means.squeeze_dim(2))
            }
            None => expect(Err(no_maps())),
        }
    }
}
