//! [`Classifier`]: an encoder, and logits of classes.

use alloc::vec::Vec;

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor};

use super::Encoder;
use crate::shape::{ShapeError, check_positive, expect};

const NAME: &str = "Classifier";

/// The mean over all positions of an encoder's deepest map, and a linear layer: `y = W mean(x) + b`.
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
    /// What makes the maps.
    pub encoder: E,
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
            head: LinearConfig::new(channels, classes).init(device),
        }
    }

    /// The shape of the logits for an image of shape `input`: `[batch, classes]`.
    ///
    /// # Errors
    /// When such an image does not fit the encoder.
    pub fn output_shape<const R: usize>(&self, input: [usize; R]) -> Result<[usize; 2], ShapeError>
    where
        E: Encoder<R>,
    {
        let maps = self.encoder.feature_shapes(input);
        maps.map_err(|e| e.within("encoder"))?;
        Ok([input[0], self.head.weight.lazy_shape()[1]])
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
            Some(map) => self.head.forward(mean_over_positions(map)),
            None => unreachable!("an encoder gives one map at least"),
        }
    }
}

/// `[batch, channels, spatial...]` to `[batch, channels]`.
fn mean_over_positions<const R: usize>(x: Tensor<R>) -> Tensor<2> {
    let shape = x.dims();
    let positions: usize = shape[2..].iter().product();
    x.reshape([shape[0], shape[1], positions])
        .mean_dim(2)
        .reshape([shape[0], shape[1]])
}
