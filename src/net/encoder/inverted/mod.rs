//! [`InvertedEncoder`]: stages of [inverted bottlenecks](InvertedBottleneck) between two convolutions. MobileNetV2,
//! MobileNetV3 and EfficientNet are its [families](InvertedFamily).

mod block;
mod config;
mod net;
mod stage;

pub use block::{InvertedBottleneck, InvertedResidual};
pub use config::{InvertedEncoderConfig, InvertedFamily};
pub use stage::InvertedStage;

use alloc::vec::Vec;

use burn::module::Module;
use burn::tensor::Tensor;

use super::Encoder;
use crate::graph::{Map, Planner};
use crate::layers::block::ConvNormAct;
use crate::shape::{ShapeError, expect};

/// A strided 3x3 convolution, stages of [`InvertedResidual`], and a 1x1 convolution, which is part of the deepest map; each
/// with a norm and an activation. The family `F` is the name and the defaults:
/// [`MobileNetV2Encoder`](super::MobileNetV2Encoder), [`MobileNetV3Encoder`](super::MobileNetV3Encoder) and
/// [`EfficientNetEncoder`](super::EfficientNetEncoder).
///
/// # Shapes
/// - input: `[batch, in_channels, spatial...]`
/// - features: the last map of each size, at 1/2, 1/4, ..., sizes rounded up; of a family with
///   [`STEM_IS_MAP`](InvertedFamily::STEM_IS_MAP) the first convolution at 1/2
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::net::{Encoder, InvertedEncoder, InvertedEncoderConfig, MobileNetV2};
///
/// let device = Device::flex();
/// let config = InvertedEncoderConfig::<MobileNetV2>::default().with_width_multiplier(0.25);
/// let encoder: InvertedEncoder<MobileNetV2> = config.init(&device);
/// let maps = encoder.features(Tensor::zeros([1, 3, 65, 64], &device));
/// assert_eq!(maps.len(), 5);
/// assert_eq!(maps[3].dims(), [1, 24, 5, 4]);
/// ```
#[derive(Module, Debug)]
pub struct InvertedEncoder<F: InvertedFamily, const R: usize = 4> {
    /// The first convolution.
    pub stem: ConvNormAct<R>,
    /// The stages, the finest first.
    pub stages: Vec<Vec<InvertedResidual<R>>>,
    /// The convolution after them.
    pub last: Option<ConvNormAct<R>>,
    /// The options that the encoder was built with.
    #[module(skip)]
    pub config: InvertedEncoderConfig<F>,
}

impl<F: InvertedFamily, const R: usize> Encoder<R> for InvertedEncoder<F, R> {
    fn features(&self, x: Tensor<R>) -> Vec<Tensor<R>> {
        expect(self.feature_shapes(x.dims()));
        let net = self.config.net();
        net.features(&self.stem, &self.stages, &self.last, x)
    }

    fn feature_channels(&self) -> Vec<usize> {
        self.config.feature_channels()
    }

    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Vec<Map<R>>, ShapeError> {
        self.config.trace(planner, x)
    }
}

/// A file that names nothing is the family's network.
#[cfg(test)]
pub(super) fn assert_empty_file_is<F: InvertedFamily>(new: &InvertedEncoderConfig<F>) {
    let read: InvertedEncoderConfig<F> = serde_json::from_str("{}").unwrap();
    let [read, new] = [&read, new].map(|config| serde_json::to_value(config).unwrap());
    assert_eq!(read, new);
}
