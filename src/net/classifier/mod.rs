//! [`Classifier`]: an encoder and one linear layer or two, which compute the logits of classes.

mod config;
mod hidden;

pub use config::ClassifierConfig;
pub use hidden::{HiddenConfig, HiddenLayer};

use alloc::{vec, vec::Vec};

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor};

use super::Encoder;
use super::classification_head::{pool_positions, trace_linear, trace_pool};
use crate::graph::{Map, NormKind, Op, Planner, Record};
use crate::layers::layer::Layer;
use crate::layers::linear::linear;
use crate::layers::norm::{LayerNorm, LayerNormConfig};
use crate::layers::pool::AdaptiveKind;
use crate::plan::Plan;
use crate::shape::{ShapeError, check_positive, expect};

const NAME: &str = "Classifier";

/// What lies on the means.
struct Head<'a> {
    norm: Option<f64>,
    hidden: Option<&'a HiddenConfig>,
    classes: usize,
}

/// Records an encoder, and the norm and the linear layers on it.
fn trace<const R: usize>(
    planner: &mut Planner,
    x: &Map<R>,
    head: &Head<'_>,
    encoder: impl FnOnce(&mut Planner, &Map<R>) -> Result<Vec<Map<R>>, ShapeError>,
) -> Result<Map<2>, ShapeError> {
    planner.node(NAME, &[x], |planner| {
        check_positive(NAME, "classes", head.classes)?;
        let maps = encoder(planner.at("encoder"), x)?;
        let deepest = maps.last().ok_or_else(no_maps)?;
        let mut x = trace_pool(planner, deepest, AdaptiveKind::Avg)?;
        if let Some(epsilon) = head.norm {
            let norm = LayerNormConfig::new(x.shape[1]).with_epsilon(epsilon);
            x = trace_norm(planner.at("norm"), &norm, &x)?;
        }
        if let Some(hidden) = head.hidden {
            x = hidden.trace(planner.at("hidden"), &x)?;
        }
        trace_linear(planner.at("head"), &x, head.classes)
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

/// The mean over all positions of an encoder's deepest map, and a linear layer: `y = W mean(x) + b`; or two, with an
/// activation between them. With a [norm](Self::norm), they read `norm(mean(x))`.
///
/// PyTorch's `AdaptiveAvgPool2d(1)`, `flatten`, `Linear`; Keras's `GlobalAveragePooling2D`, `Dense`.
/// [`ResNet`](crate::net::ResNet) and [`DenseNet`](crate::net::DenseNet) are classifiers.
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
    /// The layer before the head, if there is one.
    pub hidden: Option<HiddenLayer>,
    /// To the logits.
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
        let channels = deepest_channels(&encoder);
        Self {
            encoder,
            norm: None,
            hidden: None,
            head: LinearConfig::new(channels, classes).init(device),
        }
    }

    /// A classifier of two linear layers with fresh weights on `encoder`.
    ///
    /// # Panics
    /// When there are no classes, or the hidden layer has no channels.
    pub fn with_hidden<const R: usize>(
        encoder: E,
        hidden: &HiddenConfig,
        classes: usize,
        device: &Device,
    ) -> Self
    where
        E: Encoder<R>,
    {
        expect(check_positive(NAME, "classes", classes));
        let channels = deepest_channels(&encoder);
        Self {
            encoder,
            norm: None,
            hidden: Some(hidden.init(channels, device)),
            head: LinearConfig::new(hidden.channels, classes).init(device),
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
        let first = match &self.hidden {
            Some(hidden) => &hidden.linear,
            None => &self.head,
        };
        let norm = LayerNormConfig::new(first.weight.lazy_shape()[0]).with_epsilon(epsilon);
        self.norm = Some(norm.init(&first.weight.lazy_device()));
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
        let hidden = self.hidden.as_ref().map(|hidden| {
            let channels = hidden.linear.weight.lazy_shape()[1];
            HiddenConfig::new(channels, hidden.activation.config)
        });
        let head = Head {
            norm: self.norm.as_ref().map(|norm| norm.epsilon),
            hidden: hidden.as_ref(),
            classes: self.head.weight.lazy_shape()[1],
        };
        let encoder = |planner: &mut Planner, x: &Map<R>| self.encoder.trace(planner, x);
        trace(planner, x, &head, encoder)
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
                let means = means.squeeze_dim(2);
                let means = match &self.hidden {
                    Some(hidden) => hidden.forward(means),
                    None => means,
                };
                linear(&self.head, means)
            }
            None => expect(Err(no_maps())),
        }
    }
}

/// The channels of an encoder's deepest map.
fn deepest_channels<E: Encoder<R>, const R: usize>(encoder: &E) -> usize {
    encoder.feature_channels().last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::activation::ActivationConfig;
    use crate::net::{EncoderConfig, PlainEncoder, PlainEncoderConfig};
    use alloc::string::ToString;
    use burn::module::Param;

    #[test]
    fn two_layers_with_an_activation_between() {
        let device = Device::flex();
        let encoder: PlainEncoder = PlainEncoderConfig::new(1, vec![2]).init(&device);
        let hidden = HiddenConfig::new(2, ActivationConfig::Relu);
        let mut net = Classifier::with_hidden(encoder, &hidden, 1, &device);
        let x = Tensor::<4>::ones([1, 1, 3, 3], &device);
        let means = net.features(x.clone()).remove(0).mean_dim(3).mean_dim(2);
        // The first channel's mean minus 1, and the second's plus 1.
        let layer = net.hidden.as_mut().unwrap();
        layer.linear.weight =
            Param::from_tensor(Tensor::from_floats([[1.0, 0.0], [0.0, 1.0]], &device));
        layer.linear.bias = Some(Param::from_tensor(Tensor::from_floats(
            [-1.0, 1.0],
            &device,
        )));
        net.head.weight = Param::from_tensor(Tensor::from_floats([[3.0], [5.0]], &device));
        net.head.bias = Some(Param::from_tensor(Tensor::from_floats([0.25], &device)));
        let means: Vec<f32> = means.to_data().try_to_vec().unwrap();
        let expected = 3.0 * (means[0] - 1.0).max(0.0) + 5.0 * (means[1] + 1.0).max(0.0) + 0.25;
        let found = net.forward(x).into_scalar::<f32>();
        assert!((found - expected).abs() < 1e-5, "{found} is not {expected}");
        let plan = net.plan([1, 1, 3, 3]);
        let paths: Vec<_> = plan.nodes().into_iter().map(|(path, _)| path).collect();
        assert!(
            paths.iter().any(|path| path == "hidden.linear"),
            "{paths:?}"
        );
    }

    #[test]
    fn the_norm_is_before_both_layers() {
        let device = Device::flex();
        let encoder = EncoderConfig::Plain(PlainEncoderConfig::new(1, vec![2, 4]));
        let of_encoder = encoder.plan([2, 1, 8, 8]).root.total_parameters();
        let net = ClassifierConfig::new(encoder, 3)
            .with_hidden(HiddenConfig::new(5, ActivationConfig::HardSwish))
            .with_norm(1e-6)
            .init::<4>(&device);
        let norm = net.norm.as_ref().unwrap();
        assert_eq!(norm.gamma.dims(), [4]);
        let plan = net.plan([2, 1, 8, 8]);
        let paths: Vec<_> = plan.nodes().into_iter().map(|(path, _)| path).collect();
        let place = |part: &str| paths.iter().position(|path| path == part).unwrap();
        assert!(place("norm") < place("hidden.linear"), "{paths:?}");
        assert!(place("hidden.linear") < place("head"), "{paths:?}");
        assert_eq!(
            plan.root.total_parameters(),
            of_encoder + 2 * 4 + 4 * 5 + 5 + 5 * 3 + 3
        );
        assert_eq!(
            net.forward(Tensor::<4>::ones([2, 1, 8, 8], &device)).dims(),
            [2, 3]
        );
    }

    #[test]
    fn what_cannot_be_built_is_refused() {
        let encoder = EncoderConfig::Plain(PlainEncoderConfig::new(1, vec![2]));
        let config = ClassifierConfig::new(encoder, 2)
            .with_hidden(HiddenConfig::new(0, ActivationConfig::Relu));
        assert_eq!(
            config.validate::<4>().unwrap_err().to_string(),
            "hidden.Classifier: hidden channels is 0. Set hidden channels to 1 or more."
        );
    }
}
