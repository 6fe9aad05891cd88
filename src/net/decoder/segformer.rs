//! [`SegformerDecoder`]: each map projected to one width, resized to one size, and all fused.

use alloc::{format, vec, vec::Vec};

use burn::config::Config;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::check_levels;
use super::frame::{Built, BuiltDecoder, DecoderSpec, check_decoder};
use crate::fuse::fit::Fit;
use crate::fuse::merge::Merge;
use crate::graph::{Map, Planner};
use crate::layers::block::{ConvNormAct, ConvNormActConfig, ConvStyle};
use crate::layers::conv::{LazyConcat, Part};
use crate::layers::layer::Layer;
use crate::layers::resize::ResizeMode;
use crate::plan::Trace;
use crate::setters::setters;
use crate::shape::{ShapeError, check_positive, expect};

const NAME: &str = "SegformerDecoder";

/// Configuration of [`SegformerDecoder`]. The channels of the maps come from the encoder.
///
/// # Example
/// ```
/// use burn_skip::net::{DecoderConfig, SegformerDecoderConfig};
///
/// let maps = [[1, 32, 16, 12], [1, 64, 8, 6]];
/// let decoder = DecoderConfig::from(SegformerDecoderConfig::new());
/// assert_eq!(decoder.output_shape(&maps, &[64, 48]).unwrap(), [1, 256, 16, 12]);
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct SegformerDecoderConfig {
    /// The channels of each map before the merge, and of the output. Default: 256.
    pub width: usize,
    /// By how much the output is smaller than the image along each axis, rounded up. Default: 4.
    pub stride: usize,
    /// Norm and activation of the convolution of all maps. Default: batch norm, ReLU.
    pub style: ConvStyle,
    /// How the maps are resized. Default: linear.
    pub resize: ResizeMode,
}

setters!(
    SegformerDecoderConfig:
    with_width(width: usize),
    with_stride(stride: usize),
    with_style(style: ConvStyle),
    with_resize(resize: ResizeMode),
);

impl Config for SegformerDecoderConfig {}

impl Default for SegformerDecoderConfig {
    fn default() -> Self {
        Self::new()
    }
}

impl SegformerDecoderConfig {
    /// segmentation_models.pytorch's decoder with its defaults.
    pub fn new() -> Self {
        Self {
            width: crate::defaults::pyramid_channels(),
            stride: 4,
            style: ConvStyle::new(),
            resize: ResizeMode::linear(),
        }
    }

    fn projection(&self, channels: usize) -> ConvNormActConfig {
        ConvNormActConfig::new([channels, self.width], 1).with_style(ConvStyle::bare())
    }

    fn fusion(&self, maps: usize) -> ConvNormActConfig {
        let channels = [self.width.saturating_mul(maps), self.width];
        ConvNormActConfig::new(channels, 1).with_style(self.style.clone())
    }

    /// The spatial size of the output for an image of the size `image`.
    fn size(&self, image: &[usize]) -> Vec<usize> {
        let axes = image.iter();
        axes.map(|size| size.div_ceil(self.stride)).collect()
    }

    /// Builds the decoder for the feature maps of an encoder, with `channels` channels.
    ///
    /// # Panics
    /// When an option is invalid, or there is no map.
    pub fn init<const R: usize>(&self, channels: &[usize], device: &Device) -> SegformerDecoder<R> {
        expect(check_decoder::<R>(self, channels));
        SegformerDecoder {
            projections: channels
                .iter()
                .map(|&channels| self.projection(channels).init(device))
                .collect(),
            fusion: self.fusion(channels.len()).init(device),
            config: self.clone(),
            channels: channels.to_vec(),
        }
    }
}

impl<const R: usize> DecoderSpec<R> for SegformerDecoderConfig {
    fn name(&self) -> &'static str {
        NAME
    }

    fn out_channels(&self, _channels: &[usize]) -> usize {
        self.width
    }

    fn trace_parts(
        &self,
        planner: &mut Planner,
        maps: &[Map<R>],
        image: &[usize],
    ) -> Result<Vec<Map<R>>, ShapeError> {
        check_levels(NAME, 1, maps.len())?;
        check_positive(NAME, "width", self.width)?;
        check_positive(NAME, "stride", self.stride)?;
        let size = self.size(image);
        let mut fitted = Vec::with_capacity(maps.len());
        for (index, map) in maps.iter().enumerate().rev() {
            let projection = self.projection(map.shape[1]);
            let y = projection.trace(planner.at(format!("projections.{index}")), map)?;
            fitted.push(Fit::Resize(self.resize).trace(planner.at(""), &y, &size)?);
        }
        let y = planner.dispatched(|planner| {
            let name = |n| format!("map {}", maps.len() - 1 - n);
            let merged = Merge::concat().trace_named(planner.at(""), NAME, &fitted, name)?;
            self.fusion(maps.len()).trace(planner.at("fusion"), &merged)
        })?;
        Ok(vec![y])
    }
}

/// The decoder of SegFormer (arXiv:2105.15203, section 3.2): `y = fusion(concat([resize(project_i(c_i)) for each map]))`,
/// the coarsest map first, all maps at 1/4 of the size of the image; as segmentation_models.pytorch's `Segformer`.
///
/// A projection is a linear layer at each position, which is a 1x1 convolution with bias; so is the fusion, with norm and
/// activation.
///
/// # Shapes
/// - input: the maps of an encoder, the finest first
/// - output: `[batch, width, spatial...]`, of the size of the image divided by [`stride`](SegformerDecoderConfig::stride)
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::net::{Decoder, SegformerDecoder, SegformerDecoderConfig};
///
/// let device = Device::flex();
/// let decoder: SegformerDecoder = SegformerDecoderConfig::new().with_width(16).init(&[4, 8], &device);
/// let maps = vec![Tensor::zeros([2, 4, 17, 12], &device), Tensor::zeros([2, 8, 9, 6], &device)];
/// assert_eq!(decoder.forward(maps, &[65, 48]).dims(), [2, 16, 17, 12]);
/// ```
#[derive(Module, Debug)]
pub struct SegformerDecoder<const R: usize = 4> {
    /// The 1x1 convolution of each map, the finest first.
    pub projections: Vec<ConvNormAct<R>>,
    /// The 1x1 convolution of all maps.
    pub fusion: ConvNormAct<R>,
    /// The options that the decoder was built with.
    #[module(skip)]
    pub config: SegformerDecoderConfig,
    /// The channels of the maps that it was built for, the finest first.
    #[module(skip)]
    pub channels: Vec<usize>,
}

impl<const R: usize> BuiltDecoder<R> for SegformerDecoder<R> {
    fn built(&self) -> Built<'_, R> {
        Built::new(&self.config, &self.channels)
    }

    fn run(&self, maps: Vec<Tensor<R>>, image: &[usize]) -> LazyConcat<R> {
        let size = self.config.size(image);
        let fit = Fit::Resize(self.config.resize);
        let both = maps.into_iter().zip(&self.projections).rev();
        let parts =
            both.map(|(map, projection)| Part::new(fit.forward(projection.forward(map), &size)));
        let merged = LazyConcat::new(parts.collect());
        self.fusion.forward_parts(merged).into_tensor().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::decoder::frame::testing::{dims, refused};

    #[test]
    fn every_rank_at_odd_sizes() {
        let config = SegformerDecoderConfig::new().with_width(4);
        let signal = [[2, 2, 19], [2, 3, 10]];
        assert_eq!(dims(config.clone(), &signal, &[37]), [2, 4, 10]);
        let volume = [[1, 2, 5, 6, 7], [1, 3, 3, 3, 4]];
        let config = config.with_stride(2);
        assert_eq!(dims(config, &volume, &[9, 11, 13]), [1, 4, 5, 6, 7]);
    }

    #[test]
    fn what_cannot_be_built_is_refused() {
        let config = SegformerDecoderConfig::new;
        assert_eq!(
            refused(config().with_stride(0), &[8]),
            "SegformerDecoder: stride is 0. Set stride to 1 or more."
        );
        assert_eq!(
            refused(config(), &[]),
            "SegformerDecoder: there are no maps. Give the maps of an encoder, the finest first."
        );
    }
}
