//! [`MitEncoder`]: stages of self-attention on overlapping patches.

mod config;

pub use config::{MitEncoderConfig, MitStage};

use alloc::vec::Vec;

use burn::module::Module;
use burn::tensor::Tensor;

use super::Encoder;
use crate::fuse::SkipAdd;
use crate::graph::{Map, Planner};
use crate::layers::attention::SelfAttention;
use crate::layers::block::ConvNormAct;
use crate::layers::layer::Layer;
use crate::layers::norm::LayerNorm;
use crate::shape::{ShapeError, expect};

/// A linear layer, a depthwise 3x3 convolution and a linear layer: the feed-forward part of a block of [`MitEncoder`],
/// which tells positions apart.
pub type MixFeedForward<const R: usize = 4> =
    (LayerNorm, ConvNormAct<R>, ConvNormAct<R>, ConvNormAct<R>);

/// A block of [`MitEncoder`]: `y = x + attention(norm(x))`, then `y + conv(gelu(depthwise(conv(norm(y)))))`.
pub type MitBlock<const R: usize = 4> = (
    SkipAdd<(LayerNorm, SelfAttention<R>), R>,
    SkipAdd<MixFeedForward<R>, R>,
);

/// The Mix Transformer of SegFormer (arXiv:2105.15203, section 3.1), as segmentation_models.pytorch's `mit_b0` to
/// `mit_b2`: patches that overlap, stages of [blocks](MitBlock), and a norm of each stage's map.
///
/// No position is encoded, so that images have any size: the depthwise convolutions tell positions apart. A side of
/// the image has 29 positions or more, with the reductions of the paper.
///
/// # Shapes
/// - input: `[batch, in_channels, spatial...]`
/// - features: the stages at 1/4, 1/8, 1/16 and 1/32, sizes rounded up
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::net::{Encoder, MitEncoder, MitEncoderConfig, MitStage};
///
/// let device = Device::flex();
/// let config = MitEncoderConfig::new(vec![MitStage::new(8, 1, 1, 4), MitStage::new(16, 2, 2, 2)]);
/// let encoder: MitEncoder = config.init(&device);
/// let maps = encoder.features(Tensor::zeros([1, 3, 33, 20], &device));
/// assert_eq!((maps[0].dims(), maps[1].dims()), ([1, 8, 9, 5], [1, 16, 5, 3]));
/// ```
#[derive(Module, Debug)]
pub struct MitEncoder<const R: usize = 4> {
    /// The patches before each stage, and their norm.
    pub patches: Vec<(ConvNormAct<R>, LayerNorm)>,
    /// The stages, the finest first.
    pub stages: Vec<Vec<MitBlock<R>>>,
    /// The norm of each stage's map.
    pub norms: Vec<LayerNorm>,
    /// The options that the encoder was built with.
    #[module(skip)]
    pub config: MitEncoderConfig,
}

impl<const R: usize> Encoder<R> for MitEncoder<R> {
    fn features(&self, mut x: Tensor<R>) -> Vec<Tensor<R>> {
        expect(self.feature_shapes(x.dims()));
        let mut maps = Vec::with_capacity(self.stages.len());
        let parts = self.patches.iter().zip(&self.stages).zip(&self.norms);
        for ((patches, stage), norm) in parts {
            x = norm.forward(stage.forward(patches.forward(x)));
            maps.push(x.clone());
        }
        maps
    }

    fn feature_channels(&self) -> Vec<usize> {
        self.config.feature_channels()
    }

    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Vec<Map<R>>, ShapeError> {
        self.config.trace(planner, x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{string::ToString, vec};
    use burn::tensor::Device;

    #[test]
    fn as_many_parameters_as_the_source() {
        // Counted by segmentation_models.pytorch.
        for (config, parameters) in [
            (MitEncoderConfig::b0(), 3_319_392),
            (MitEncoderConfig::b1(), 13_151_424),
            (MitEncoderConfig::b2(), 24_196_288),
        ] {
            let plan = crate::net::EncoderConfig::Mit(config).plan([1, 3, 64, 64]);
            assert_eq!(plan.root.total_parameters(), parameters);
        }
    }

    #[test]
    fn its_plan_is_that_of_its_configuration() {
        let stages = vec![MitStage::new(4, 1, 1, 2), MitStage::new(6, 2, 3, 1)];
        let config = MitEncoderConfig::new(stages).with_drop_path(0.1);
        let encoder: MitEncoder<3> = config.init(&Device::flex());
        let plan = Encoder::plan(&encoder, [2, 3, 37]);
        assert!(plan.error().is_none());
        assert_eq!(plan.root.outputs[1].shape, [2, 6, 5]);
        assert_eq!(plan.root.total_parameters() as usize, encoder.num_params());
    }

    #[test]
    fn what_cannot_be_built_or_read_is_refused() {
        let text = |config: MitEncoderConfig| config.validate::<4>().unwrap_err().to_string();
        assert_eq!(
            text(MitEncoderConfig::new(vec![])),
            "MitEncoder: there are 0 stages. Give 1 to 16 stages."
        );
        assert_eq!(
            text(MitEncoderConfig::new(vec![MitStage::new(8, 0, 1, 1)])),
            "MitEncoder: depth is 0. Set depth to 1 or more."
        );
        let error = MitEncoderConfig::b0().feature_shapes([1, 3, 28, 64]);
        let error = error.unwrap_err().to_string();
        assert!(
            error.starts_with("stages.0.0.0.block.1.reduce.0.conv.Conv: height 7"),
            "{error}"
        );
        assert!(
            MitEncoderConfig::b0()
                .feature_shapes([1, 3, 29, 64])
                .is_ok()
        );
    }
}
