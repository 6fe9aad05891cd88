//! [`Encoder`]: one map in, feature maps of several sizes out.

mod any;
mod convnext;
mod densenet;
mod depth;
mod efficientnet;
mod inverted;
mod mit;
mod mobilenet_v2;
mod mobilenet_v3;
mod plain;
mod resnet;
mod staged;
mod vgg;

pub use any::{AnyEncoder, EncoderConfig};
pub use convnext::{ConvNextBlock, ConvNextEncoder, ConvNextEncoderConfig};
pub use densenet::{DenseLayer, DenseNet, DenseNetEncoder, DenseNetEncoderConfig, DenseNetMaps};
pub use efficientnet::{EfficientNet, EfficientNetEncoder, EfficientNetEncoderConfig};
pub use inverted::{
    InvertedBottleneck, InvertedEncoder, InvertedEncoderConfig, InvertedFamily, InvertedResidual,
    InvertedStage,
};
pub use mit::{MitBlock, MitEncoder, MitEncoderConfig, MitStage, MixFeedForward};
pub use mobilenet_v2::{MobileNetV2, MobileNetV2Encoder, MobileNetV2EncoderConfig};
pub use mobilenet_v3::{MobileNetV3, MobileNetV3Encoder, MobileNetV3EncoderConfig};
pub use plain::{PlainEncoder, PlainEncoderConfig, PlainLevel};
pub use resnet::{ResNet, ResNetBlock, ResNetEncoder, ResNetEncoderConfig, ResNetLayer, Residual};
pub use staged::{StagedEncoder, StagedEncoderConfig};
pub use vgg::{VggEncoder, VggEncoderConfig};

use alloc::{format, vec::Vec};

use burn::module::{Module, ModuleDisplay};
use burn::tensor::Tensor;

use crate::graph::window::Padding;
use crate::graph::{Map, Planner};
use crate::layers::pool::{PoolConfig, PoolKind};
use crate::plan::Plan;
use crate::shape::{ShapeError, check_not_huge};

/// A module that computes feature maps of several sizes of an image: the first half of a
/// [`SegmentationModel`](super::SegmentationModel) or of a [`Classifier`](super::Classifier).
///
/// An encoder of your own implements three methods; shapes and plans follow from [`trace`](Self::trace).
///
/// # Contract
/// `feature_shapes(x.dims())` are the dims of `features(x)`, or `features` panics with the text of
/// the error.
///
/// # Example
/// ```
/// use burn::module::Module;
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::{Layer, ShapeError, Trace};
/// use burn_skip::block::{ConvNormAct, ConvNormActConfig};
/// use burn_skip::net::{Classifier, Encoder};
/// use burn_skip::plan::{Map, Planner};
///
/// /// Two convolutions, each with stride 2.
/// #[derive(Module, Debug)]
/// struct Tiny {
///     fine: ConvNormAct,
///     coarse: ConvNormAct,
/// }
///
/// impl Encoder for Tiny {
///     fn features(&self, x: Tensor<4>) -> Vec<Tensor<4>> {
///         let fine = self.fine.forward(x);
///         vec![fine.clone(), self.coarse.forward(fine)]
///     }
///
///     fn feature_channels(&self) -> Vec<usize> {
///         vec![8, 16]
///     }
///
///     fn trace(&self, planner: &mut Planner, x: &Map<4>) -> Result<Vec<Map<4>>, ShapeError> {
///         planner.nodes("Tiny", &[x], |planner| {
///             let fine = self.fine.trace(planner.at("fine"), x)?;
///             let coarse = self.coarse.trace(planner.at("coarse"), &fine)?;
///             Ok(vec![fine, coarse])
///         })
///     }
/// }
///
/// let device = Device::flex();
/// let conv = |channels| ConvNormActConfig::new(channels, 3).with_stride(2).init(&device);
/// let encoder = Tiny { fine: conv([3, 8]), coarse: conv([8, 16]) };
/// assert_eq!(encoder.feature_shapes([1, 3, 33, 20]).unwrap()[1], [1, 16, 9, 5]);
/// let net = Classifier::new(encoder, 10, &device);
/// assert_eq!(net.plan([1, 3, 33, 20]).root.total_parameters(), 216 + 16 + 1152 + 32 + 170);
/// ```
pub trait Encoder<const R: usize = 4>: Module + ModuleDisplay {
    /// Computes the feature maps, the finest first.
    ///
    /// # Panics
    /// When [`feature_shapes`](Self::feature_shapes) returns an error, with its message.
    fn features(&self, x: Tensor<R>) -> Vec<Tensor<R>>;

    /// The channels of the feature maps, the finest first.
    fn feature_channels(&self) -> Vec<usize>;

    /// Records the parts in the order in which they run, and returns the feature maps, the finest first.
    ///
    /// # Errors
    /// When the image does not fit the encoder.
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Vec<Map<R>>, ShapeError>;

    /// The shapes of the feature maps of an image of shape `input`.
    ///
    /// # Errors
    /// As [`trace`](Self::trace).
    fn feature_shapes(&self, input: [usize; R]) -> Result<Vec<[usize; R]>, ShapeError> {
        Planner::output_shapes(input, |planner, x| self.trace(planner, x))
    }

    /// The [plan](crate::plan) for an image of shape `input`.
    fn plan(&self, input: [usize; R]) -> Plan {
        Plan::new(input, |planner, x| self.trace(planner, x))
    }
}

/// The max pool that follows the first convolution of ResNet and DenseNet.
fn stem_pool() -> PoolConfig {
    PoolConfig::new(PoolKind::Max, 3)
        .with_stride(2)
        .with_padding(Padding::explicit(1))
}

/// Refuses a list of widths that is empty or has a zero.
pub(super) fn check_widths(layer: &str, widths: &[usize]) -> Result<(), ShapeError> {
    if widths.is_empty() || widths.contains(&0) {
        return Err(ShapeError::new(
            layer,
            format!("widths are {widths:?}"),
            "Give one number of channels, 1 or more, for each level",
        ));
    }
    Ok(())
}

/// Refuses a network without stages, or with a stage without blocks.
fn check_depths(layer: &str, depths: &[usize]) -> Result<(), ShapeError> {
    if depths.is_empty() || depths.contains(&0) || depths.len() > 16 {
        return Err(ShapeError::new(
            layer,
            format!("depths are {depths:?}"),
            "Give one number of blocks, 1 or more, for each of 1 to 16 stages",
        ));
    }
    for &depth in depths {
        check_not_huge(layer, "depths", depth)?;
    }
    Ok(())
}

/// Refuses an output stride that no stage has.
fn check_output_stride(layer: &str, stride: Option<usize>) -> Result<(), ShapeError> {
    match stride {
        Some(stride) if stride < 4 || !stride.is_power_of_two() => Err(ShapeError::new(
            layer,
            format!("output_stride is {stride}"),
            "Choose 4, 8, 16 or 32",
        )),
        _ => Ok(()),
    }
}

/// The dilation of a stage at `stride` times the size of its positions: how often it would halve the map beyond the
/// output stride, as a factor.
fn dilation_at(stride: usize, output_stride: Option<usize>) -> usize {
    match output_stride {
        Some(most) if most > 0 && stride > most => stride / most,
        _ => 1,
    }
}
