//! [`ResNetBlock`] and [`ResNetLayer`]: what the residual connections of a ResNet skip.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::fuse::{Res2Conv, Res2ConvConfig};
use crate::graph::{Map, Planner};
use crate::layers::activation::Activation;
use crate::layers::block::{ConvNormAct, ConvNormActConfig};
use crate::layers::conv::LazyConcat;
use crate::layers::layer::Layer;
use crate::plan::Trace;
use crate::shape::ShapeError;

/// The convolutions that a residual connection skips.
///
/// # Example
/// ```
/// use burn_skip::net::{ResNetBlock, ResNetEncoderConfig};
///
/// let channels = |block| ResNetEncoderConfig::new(block, vec![2, 2]).feature_channels();
/// assert_eq!(channels(ResNetBlock::Basic), [64, 64, 128]);
/// assert_eq!(channels(ResNetBlock::Bottleneck), [64, 256, 512]);
/// assert_eq!(channels(ResNetBlock::Res2 { scale: 4 }), [64, 256, 512]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum ResNetBlock {
    /// Two 3x3 convolutions; the first has the stride.
    Basic,
    /// 1x1, 3x3 and 1x1, the last to four times the channels; the 3x3 has the stride ("v1.5", as
    /// torchvision).
    Bottleneck,
    /// A bottleneck whose 3x3 convolution is a [`Res2Conv`](crate::fuse::Res2Conv): Res2Net (arXiv:1904.01169). The first
    /// block of each stage has [`Res2Links::Pooled`](crate::fuse::Res2Links::Pooled).
    Res2 {
        /// Into how many parts the channels are split. Each has so many as the 3x3 convolution of a bottleneck.
        scale: usize,
    },
}

impl ResNetBlock {
    pub(super) const fn expansion(self) -> usize {
        match self {
            Self::Basic => 1,
            Self::Bottleneck | Self::Res2 { .. } => 4,
        }
    }
}

/// The configuration of a [`ResNetLayer`].
pub(super) enum ResNetLayerConfig {
    Conv(ConvNormActConfig),
    Res2(Res2ConvConfig),
}

impl ResNetLayerConfig {
    pub fn init<const R: usize>(&self, device: &Device) -> ResNetLayer<R> {
        match self {
            Self::Conv(config) => ResNetLayer::Conv(config.init(device)),
            Self::Res2(config) => ResNetLayer::Res2(config.init(device)),
        }
    }
}

impl<const R: usize> Trace<R> for ResNetLayerConfig {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        match self {
            Self::Conv(config) => config.trace(planner, x),
            Self::Res2(config) => config.trace(planner, x),
        }
    }
}

/// One of the layers that a [`Residual`](super::Residual) jumps over.
///
/// # Example
/// ```
/// use burn::tensor::Device;
/// use burn_skip::net::{ResNetBlock, ResNetEncoder, ResNetEncoderConfig, ResNetLayer};
///
/// let config = ResNetEncoderConfig::new(ResNetBlock::Res2 { scale: 4 }, vec![1]).with_width(8);
/// let encoder: ResNetEncoder = config.init(&Device::flex());
/// let [narrow, scales, wide] = &encoder.stages[0][0].block[..] else { unreachable!() };
/// assert!(matches!((narrow, wide), (ResNetLayer::Conv(_), ResNetLayer::Conv(_))));
/// assert!(matches!(scales, ResNetLayer::Res2(layer) if layer.convs.len() == 3));
/// ```
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)] // most are the large one
pub enum ResNetLayer<const R: usize = 4> {
    /// A convolution.
    Conv(ConvNormAct<R>),
    /// The convolutions of a Res2Net.
    Res2(Res2Conv<R>),
}

impl<const R: usize> Trace<R> for ResNetLayer<R> {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        match self {
            Self::Conv(layer) => layer.trace(planner, x),
            Self::Res2(layer) => layer.trace(planner, x),
        }
    }
}

impl<const R: usize> Layer<R> for ResNetLayer<R> {
    fn forward(&self, x: Tensor<R>) -> Tensor<R> {
        self.forward_parts(x.into()).into_tensor()
    }

    fn forward_parts(&self, parts: LazyConcat<R>) -> LazyConcat<R> {
        match self {
            Self::Conv(layer) => layer.forward_parts(parts),
            Self::Res2(layer) => layer.forward_parts(parts),
        }
    }

    fn forward_add(
        &self,
        parts: LazyConcat<R>,
        residual: Tensor<R>,
        activation: &Option<Activation>,
    ) -> Tensor<R> {
        match self {
            Self::Conv(layer) => layer.forward_add(parts, residual, activation),
            Self::Res2(layer) => layer.forward_add(parts, residual, activation),
        }
    }
}
