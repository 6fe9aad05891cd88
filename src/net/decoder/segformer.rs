//! [`SegformerDecoder`]: each map projected to one width, resized to one size, and all fused.

use alloc::{format, vec::Vec};

use burn::config::Config;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::any::DecoderSpec;
use super::{Decoder, check_decoder, check_levels};
use crate::fuse::fit::Fit;
use crate::fuse::merge::Merge;
use crate::graph::{Map, Planner, check_maps};
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
#[serde(deny_unknown_fields)]
pub struct SegformerDecoderConfig {
    /// The channels of each map before the merge, and of the output. Default: 256.
    #[serde(default = "crate::defaults::pyramid_channels")]
    pub width: usize,
    /// By how much the output is smaller than the image along each axis, rounded up. Default: 4.
    #[serde(default = "stride")]
    pub stride: usize,
    /// Norm and activation of the convolution of all maps. Default: batch norm, ReLU.
    #[serde(default = "ConvStyle::new")]
    pub style: ConvStyle,
    /// How the maps are resized. Default: linear.
    #[serde(default = "ResizeMode::linear")]
    pub resize: ResizeMode,
}

const fn stride() -> usize {
    4
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
            stride: stride(),
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

    fn trace_parts<const R: usize>(
        &self,
        planner: &mut Planner,
        maps: &[Map<R>],
        image: &[usize],
    ) -> Result<Map<R>, ShapeError> {
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
        let names: Vec<_> = (0..maps.len()).rev().map(|n| format!("map {n}")).collect();
        let names: Vec<&str> = names.iter().map(|name| &name[..]).collect();
        let fitted: Vec<&Map<R>> = fitted.iter().collect();
        planner.dispatched(|planner| {
            let merged = Merge::concat().trace(planner.at(""), NAME, &fitted, &names)?;
            self.fusion(maps.len()).trace(planner.at("fusion"), &merged)
        })
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
    fn out_channels(&self, _channels: &[usize]) -> usize {
        self.width
    }

    fn trace(
        &self,
        planner: &mut Planner,
        maps: &[Map<R>],
        image: &[usize],
    ) -> Result<Map<R>, ShapeError> {
        let inputs: Vec<&Map<R>> = maps.iter().collect();
        planner.node(NAME, &inputs, |planner| {
            self.trace_parts(planner, maps, image)
        })
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

impl<const R: usize> Decoder<R> for SegformerDecoder<R> {
    fn forward(&self, maps: Vec<Tensor<R>>, image: &[usize]) -> Tensor<R> {
        let shapes: Vec<_> = maps.iter().map(Tensor::dims).collect();
        expect(self.output_shape(&shapes, image));
        let size = self.config.size(image);
        let fit = Fit::Resize(self.config.resize);
        let both = maps.into_iter().zip(&self.projections).rev();
        let parts =
            both.map(|(map, projection)| Part::new(fit.forward(projection.forward(map), &size)));
        let merged = LazyConcat::new(parts.collect());
        self.fusion.forward_parts(merged).into_tensor()
    }

    fn trace(
        &self,
        planner: &mut Planner,
        maps: &[Map<R>],
        image: &[usize],
    ) -> Result<Map<R>, ShapeError> {
        let inputs: Vec<&Map<R>> = maps.iter().collect();
        planner.node(NAME, &inputs, |planner| {
            check_maps(NAME, maps, &self.channels)?;
            self.config.trace_parts(planner, maps, image)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn every_rank_at_odd_sizes() {
        let device = Device::flex();
        let config = SegformerDecoderConfig::new().with_width(4);
        let decoder: SegformerDecoder<3> = config.init(&[2, 3], &device);
        let maps = [[2, 2, 19], [2, 3, 10]].map(|shape| Tensor::zeros(shape, &device));
        assert_eq!(decoder.forward(maps.into(), &[37]).dims(), [2, 4, 10]);
        let decoder: SegformerDecoder<5> = config.with_stride(2).init(&[2, 3], &device);
        let maps = [[1, 2, 5, 6, 7], [1, 3, 3, 3, 4]];
        let maps = maps.map(|shape| Tensor::zeros(shape, &device));
        assert_eq!(
            decoder.forward(maps.into(), &[9, 11, 13]).dims(),
            [1, 4, 5, 6, 7]
        );
    }

    #[test]
    fn what_cannot_be_built_is_refused() {
        let text = |config: SegformerDecoderConfig, channels: &[usize]| {
            check_decoder::<4>(&config, channels)
                .unwrap_err()
                .to_string()
        };
        let config = SegformerDecoderConfig::new;
        assert_eq!(
            text(config().with_stride(0), &[8]),
            "SegformerDecoder: stride is 0. Set stride to 1 or more."
        );
        assert_eq!(
            text(config(), &[]),
            "SegformerDecoder: there are no maps. Give the maps of an encoder, the finest first."
        );
    }
}
