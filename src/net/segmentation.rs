//! [`SegmentationModel`]: an encoder, a decoder and a head.

use alloc::{format, vec::Vec};

use burn::module::Module;
use burn::tensor::Tensor;

use super::{ClassificationHead, Decoder, Encoder};
use crate::fuse::fit::Fit;
use crate::graph::{Map, Planner};
use crate::layers::conv::{Conv, LazyConcat};
use crate::layers::layer::Layer;
use crate::layers::resize::ResizeMode;
use crate::plan::Trace;
use crate::shape::{ShapeError, expect, spatial};

/// The name of the model in plans and errors.
pub(super) const MODEL: &str = "SegmentationModel";

/// A network from an image to a map of classes: an [`Encoder`], a [`Decoder`] on its feature maps and a
/// convolution as the head. The parts may be yours or those of this crate; [`Unet`](super::Unet) is the model of
/// an [`AnyEncoder`](super::AnyEncoder) and a [`UnetDecoder`](super::UnetDecoder).
///
/// `y = resize(head(decoder(encoder(x), size of x)), size of x)`, the resize where there is one
///
/// # Shapes
/// - input: `[batch, in_channels, spatial...]`
/// - output: `[batch, out_channels, spatial...]`, of the size that the decoder gives, or of the input
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::{Layer, Trace, conv::ConvConfig};
/// use burn_skip::net::{Encoder, ResNetEncoderConfig, SegmentationModel, UnetDecoderConfig};
///
/// let device = Device::flex();
/// let encoder = ResNetEncoderConfig::resnet18().with_width(8).init::<4>(&device);
/// let decoder = UnetDecoderConfig::new(vec![4, 8, 8, 16, 32]).init(&encoder.feature_channels(), &device);
/// let net = SegmentationModel::new(encoder, decoder, ConvConfig::new([4, 2], 1).init(&device));
/// assert_eq!(net.output_shape([1, 3, 64, 48]).unwrap(), [1, 2, 64, 48]);
/// assert_eq!(net.forward(Tensor::zeros([1, 3, 64, 48], &device)).dims(), [1, 2, 64, 48]);
/// ```
///
/// # Fine-tuning
/// The encoder is a field, and a module by itself. Burn's `freeze` takes its gradients away and lets its batch norms use
/// their running statistics, which stay as they are; its `no_grad` takes the gradients away only. A group of parameters, by
/// the path, has a rate of its own in a `ModuleLrScheduler`.
/// ```
/// use burn::module::{Module, ParamGroup};
/// use burn::optim::lr_scheduler::module_lr_scheduler::ModuleLrScheduler;
/// use burn::optim::{AdamConfig, GradientsParams};
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::Layer;
/// use burn_skip::net::{AnySegmentationModel, EncoderConfig, ResNetEncoderConfig, SegmentationConfig};
///
/// let device = Device::flex().autodiff();
/// let encoder = EncoderConfig::ResNet(ResNetEncoderConfig::resnet18().with_width(4));
/// let mut net: AnySegmentationModel = SegmentationConfig::smp_unet(encoder, 1).init(&device);
/// let mut optimizer = AdamConfig::new().init();
/// let mut step = |rates: &mut ModuleLrScheduler, net: AnySegmentationModel| {
///     let loss = net.forward(Tensor::ones([2, 3, 32, 32], &device)).square().mean();
///     let gradients = GradientsParams::from_grads(loss.backward(), &net);
///     optimizer.step(rates.step(), net, gradients)
/// };
///
/// // First the decoder and the head alone.
/// net.encoder = net.encoder.freeze();
/// net = step(&mut ModuleLrScheduler::new(1e-3), net);
/// // Then all of it, the encoder with a tenth of the rate.
/// net.encoder = net.encoder.unfreeze();
/// let encoder = ParamGroup::from_predicate("encoder");
/// net = step(&mut ModuleLrScheduler::new(1e-3).with_group(encoder, 1e-4), net);
/// ```
#[derive(Module, Debug)]
pub struct SegmentationModel<E, D, const R: usize = 4, H = Conv<R>> {
    /// Computes the feature maps.
    pub encoder: E,
    /// Merges the feature maps into one map.
    pub decoder: D,
    /// From the channels of that map to those of the output: a convolution, or [another layer](Self::with_head).
    pub head: H,
    /// The same for the coarser [steps](Decoder::forward_steps) of the decoder, the finest first: deep supervision. Only
    /// [`forward_supervised`](Self::forward_supervised) runs them.
    pub supervision_heads: Vec<Conv<R>>,
    /// From the encoder's coarsest map to the logits of classes of the image. Only
    /// [`forward_supervised`](Self::forward_supervised) runs it.
    pub classification_head: Option<ClassificationHead>,
    /// How the output is resized to the size of the image, if it is.
    #[module(skip)]
    pub resize: Option<ResizeMode>,
}

impl<E, D, const R: usize> SegmentationModel<E, D, R> {
    /// A model of these parts, whose output has the size that the decoder gives.
    pub fn new(encoder: E, decoder: D, head: Conv<R>) -> Self {
        Self {
            encoder,
            decoder,
            head,
            supervision_heads: Vec::new(),
            classification_head: None,
            resize: None,
        }
    }
}

impl<E, D, const R: usize, H> SegmentationModel<E, D, R, H> {
    /// Replaces the head by any layer; `None` of one where the decoder gives the classes.
    ///
    /// # Example
    /// ```
    /// use burn::tensor::Device;
    /// use burn_skip::{Trace, conv::{Conv, ConvConfig}};
    /// use burn_skip::net::{Encoder, ResNetEncoderConfig, SegmentationModel, UnetDecoderConfig};
    ///
    /// let device = Device::flex();
    /// let encoder = ResNetEncoderConfig::resnet18().with_width(8).init::<4>(&device);
    /// let decoder = UnetDecoderConfig::new(vec![4, 8, 8, 16, 32]).init(&encoder.feature_channels(), &device);
    /// let conv = |channels| -> Conv { ConvConfig::new(channels, 1).init(&device) };
    /// let net = SegmentationModel::new(encoder, decoder, conv([4, 2]));
    /// let net = net.with_head((conv([4, 8]), conv([8, 3])));
    /// assert_eq!(net.output_shape([1, 3, 64, 48]).unwrap(), [1, 3, 64, 48]);
    /// ```
    pub fn with_head<L>(self, head: L) -> SegmentationModel<E, D, R, L> {
        SegmentationModel {
            encoder: self.encoder,
            decoder: self.decoder,
            head,
            supervision_heads: self.supervision_heads,
            classification_head: self.classification_head,
            resize: self.resize,
        }
    }

    /// Sets the heads of the coarser steps of the decoder, the finest first.
    pub fn with_supervision_heads(mut self, heads: Vec<Conv<R>>) -> Self {
        self.supervision_heads = heads;
        self
    }

    /// Sets the head on the encoder's coarsest map.
    pub fn with_classification_head(mut self, head: impl Into<Option<ClassificationHead>>) -> Self {
        self.classification_head = head.into();
        self
    }

    /// Sets how the output is resized to the size of the image.
    ///
    /// # Example
    /// ```
    /// use burn::tensor::Device;
    /// use burn_skip::{Trace, conv::ConvConfig, resize::ResizeMode};
    /// use burn_skip::net::{Encoder, FpnDecoderConfig, ResNetEncoderConfig, SegmentationModel};
    ///
    /// let device = Device::flex();
    /// let encoder = ResNetEncoderConfig::resnet18().with_width(8).init::<4>(&device);
    /// let decoder = FpnDecoderConfig::new().init(&encoder.feature_channels(), &device);
    /// let net = SegmentationModel::new(encoder, decoder, ConvConfig::new([128, 2], 1).init(&device));
    /// assert_eq!(net.output_shape([1, 3, 75, 60]).unwrap(), [1, 2, 19, 15]);
    /// let net = net.with_resize(ResizeMode::linear());
    /// assert_eq!(net.output_shape([1, 3, 75, 60]).unwrap(), [1, 2, 75, 60]);
    /// ```
    pub fn with_resize(mut self, resize: impl Into<Option<ResizeMode>>) -> Self {
        self.resize = resize.into();
        self
    }
}

impl<E: Encoder<R>, D: Decoder<R>, const R: usize, H> SegmentationModel<E, D, R, H> {
    /// The feature maps of the encoder, the finest first.
    ///
    /// # Panics
    /// When the image does not fit the encoder.
    pub fn features(&self, x: Tensor<R>) -> Vec<Tensor<R>> {
        let shapes = self.encoder.feature_shapes(x.dims());
        let shapes = expect(shapes.map_err(|e| e.within("encoder")));
        let maps = self.encoder.features(x);
        expect(check_features(&maps, &shapes));
        maps
    }
}

/// Refuses feature maps of other shapes than the encoder's trace has.
fn check_features<const R: usize>(
    maps: &[Tensor<R>],
    traced: &[[usize; R]],
) -> Result<(), ShapeError> {
    let computed: Vec<_> = maps.iter().map(Tensor::dims).collect();
    if computed == traced {
        return Ok(());
    }
    Err(ShapeError::new(
        MODEL,
        format!("the encoder computes maps of the shapes {computed:?}, and traces {traced:?}"),
        "Let Encoder::features and Encoder::trace agree",
    ))
}

/// Records the parts of a model, as modules or as configurations.
pub(super) fn trace_parts<const R: usize>(
    planner: &mut Planner,
    x: &Map<R>,
    encoder: impl FnOnce(&mut Planner, &Map<R>) -> Result<Vec<Map<R>>, ShapeError>,
    decoder: impl FnOnce(&mut Planner, &[Map<R>], &[usize]) -> Result<Map<R>, ShapeError>,
    (head, resize): (&impl Trace<R>, Option<ResizeMode>),
) -> Result<Map<R>, ShapeError> {
    let maps = encoder(planner.at("encoder"), x)?;
    let image = spatial(&x.shape);
    let decoded = decoder(planner.at("decoder"), &maps, image)?;
    let y = head.trace(planner.at("head"), &decoded)?;
    match resize {
        Some(mode) => Fit::Resize(mode).trace(planner.at(""), &y, image),
        None => Ok(y),
    }
}

impl<E, D, const R: usize, H> Trace<R> for SegmentationModel<E, D, R, H>
where
    E: Encoder<R>,
    D: Decoder<R>,
    H: Trace<R>,
{
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        let encoder = |planner: &mut Planner, x: &Map<R>| self.encoder.trace(planner, x);
        let decoder = |planner: &mut Planner, maps: &[Map<R>], image: &[usize]| {
            self.decoder.trace(planner, maps, image)
        };
        planner.node(MODEL, &[x], |planner| {
            trace_parts(planner, x, encoder, decoder, (&self.head, self.resize))
        })
    }
}

impl<E, D, const R: usize, H> Layer<R> for SegmentationModel<E, D, R, H>
where
    E: Encoder<R>,
    D: Decoder<R>,
    H: Layer<R>,
{
    fn forward(&self, x: Tensor<R>) -> Tensor<R> {
        self.forward_parts(x.into()).into_tensor()
    }

    fn forward_parts(&self, parts: LazyConcat<R>) -> LazyConcat<R> {
        let input = parts.dims();
        expect(self.output_shape(input));
        let maps = self.features(parts.into_tensor());
        let image = spatial(&input);
        let decoded = self.decoder.forward_parts(maps, image);
        let y = self.head.forward_parts(decoded);
        match self.resize {
            Some(mode) => Fit::Resize(mode).forward(y.into_tensor(), image).into(),
            None => y,
        }
    }
}
