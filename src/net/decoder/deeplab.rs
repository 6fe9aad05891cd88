//! [`DeepLabDecoder`]: atrous spatial pyramid pooling of the coarsest map, and a skip.

use alloc::{format, vec, vec::Vec};

use burn::config::Config;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::frame::{Built, BuiltDecoder, DecoderSpec, check_decoder};
use crate::fuse::fit::Fit;
use crate::fuse::merge::Merge;
use crate::fuse::{Aspp, AsppConfig};
use crate::graph::{Map, Planner};
use crate::layers::block::{ConvNormAct, ConvNormActConfig, ConvStyle};
use crate::layers::conv::{LazyConcat, Part};
use crate::layers::layer::Layer;
use crate::layers::resize::ResizeMode;
use crate::plan::Trace;
use crate::setters::setters;
use crate::shape::{PerAxis, ShapeError, expect, spatial};

const NAME: &str = "DeepLabDecoder";

/// The finer map that a [`DeepLabDecoder`] merges in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct DeepLabSkip {
    /// Which map of the encoder it is, the finest 0. Default: 1, at 1/4 of the size of the image for a ResNet.
    pub map: usize,
    /// The channels that a 1x1 convolution projects it to. Default: 48.
    pub channels: usize,
}

impl Default for DeepLabSkip {
    fn default() -> Self {
        Self {
            map: 1,
            channels: 48,
        }
    }
}

/// Configuration of [`DeepLabDecoder`]. The channels of the maps come from the encoder.
///
/// # Example
/// ```
/// use burn_skip::net::{DecoderConfig, DeepLabDecoderConfig};
///
/// let maps = [[1, 8, 32, 24], [1, 16, 16, 12], [1, 32, 8, 6]];
/// let shape = |config| DecoderConfig::from(config).output_shape(&maps, &[64, 48]).unwrap();
/// assert_eq!(shape(DeepLabDecoderConfig::v3()), [1, 256, 8, 6]);
/// assert_eq!(shape(DeepLabDecoderConfig::v3_plus()), [1, 256, 16, 12]);
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default = "DeepLabDecoderConfig::v3", deny_unknown_fields)]
pub struct DeepLabDecoderConfig {
    /// The channels of all convolutions but that of the skip. Default: 256.
    pub channels: usize,
    /// The dilations of the pyramid. Default: 12, 24 and 36.
    pub rates: Vec<PerAxis>,
    /// Whether the dilated convolutions are [separable](ConvNormActConfig::separable). Default: false.
    pub separable_pyramid: bool,
    /// The probability that a value of the pyramid's output is dropped in training. Default: 0.5.
    pub dropout: f64,
    /// The finer map that is merged in (DeepLabV3+), or none (DeepLabV3). With one, the 3x3 convolutions are separable.
    /// Default: none.
    pub skip: Option<DeepLabSkip>,
    /// How the coarse map is brought to the size of the finer. Default: linear, corners aligned.
    pub resize: ResizeMode,
    /// Norm and activation of all convolutions.
    pub style: ConvStyle,
}

setters!(
    DeepLabDecoderConfig:
    with_channels(channels: usize),
    with_rates(rates: Vec<PerAxis>),
    with_separable_pyramid(separable_pyramid: bool),
    with_dropout(dropout: f64),
    with_skip(skip: impl Into<Option<DeepLabSkip>>),
    with_resize(resize: ResizeMode),
    with_style(style: ConvStyle),
);

impl Config for DeepLabDecoderConfig {}

impl DeepLabDecoderConfig {
    /// DeepLabV3's decoder (arXiv:1706.05587), as segmentation_models.pytorch's `DeepLabV3`.
    pub fn v3() -> Self {
        Self {
            channels: crate::defaults::pyramid_channels(),
            rates: crate::defaults::atrous_rates(),
            separable_pyramid: false,
            dropout: crate::defaults::aspp_dropout(),
            skip: None,
            resize: ResizeMode::aligned_linear(),
            style: ConvStyle::new(),
        }
    }

    /// DeepLabV3+'s decoder (arXiv:1802.02611), as segmentation_models.pytorch's `DeepLabV3Plus`.
    pub fn v3_plus() -> Self {
        let skip = DeepLabSkip::default();
        Self::v3().with_separable_pyramid(true).with_skip(skip)
    }

    fn aspp(&self, deepest: usize) -> AsppConfig {
        AsppConfig::new([deepest, self.channels])
            .with_rates(self.rates.clone())
            .with_separable(self.separable_pyramid)
            .with_dropout(self.dropout)
            .with_style(self.style.clone())
    }

    /// A 3x3 convolution, separable where there is a skip.
    fn conv(&self, input: usize) -> Vec<ConvNormActConfig> {
        let conv = ConvNormActConfig::new([input, self.channels], 3).with_style(self.style.clone());
        match self.skip {
            Some(_) => conv.separable().into(),
            None => vec![conv],
        }
    }

    /// The projection of the skip, and the convolution of both maps.
    fn merging(&self, channels: &[usize]) -> Option<(ConvNormActConfig, Vec<ConvNormActConfig>)> {
        let skip = self.skip.as_ref()?;
        let pointwise = [channels[skip.map], skip.channels];
        let project = ConvNormActConfig::new(pointwise, 1).with_style(self.style.clone());
        Some((
            project,
            self.conv(self.channels.saturating_add(skip.channels)),
        ))
    }

    fn check(&self, maps: usize) -> Result<(), ShapeError> {
        let Some(skip) = self.skip.as_ref().filter(|skip| skip.map >= maps) else {
            return super::check_levels(NAME, 1, maps);
        };
        Err(ShapeError::new(
            NAME,
            format!("the skip is map {}, and the encoder has {maps}", skip.map),
            "Choose a map from 0, the finest, on",
        ))
    }

    /// Builds the decoder for the feature maps of an encoder, with `channels` channels.
    ///
    /// # Panics
    /// When an option is invalid, or the skip is none of the maps.
    pub fn init<const R: usize>(&self, channels: &[usize], device: &Device) -> DeepLabDecoder<R> {
        expect(check_decoder::<R>(self, channels));
        let init =
            |convs: Vec<ConvNormActConfig>| convs.iter().map(|conv| conv.init(device)).collect();
        let (project, merged) = match self.merging(channels) {
            Some((project, merged)) => (Some(project.init(device)), init(merged)),
            None => (None, Vec::new()),
        };
        DeepLabDecoder {
            aspp: self.aspp(channels[channels.len() - 1]).init(device),
            conv: init(self.conv(self.channels)),
            project,
            merged,
            config: self.clone(),
            channels: channels.to_vec(),
        }
    }
}

impl<const R: usize> DecoderSpec<R> for DeepLabDecoderConfig {
    fn name(&self) -> &'static str {
        NAME
    }

    fn out_channels(&self, _channels: &[usize]) -> usize {
        self.channels
    }

    fn trace_parts(
        &self,
        planner: &mut Planner,
        maps: &[Map<R>],
        _image: &[usize],
    ) -> Result<Vec<Map<R>>, ShapeError> {
        self.check(maps.len())?;
        let channels: Vec<usize> = maps.iter().map(|map| map.shape[1]).collect();
        let deepest = &maps[maps.len() - 1];
        let y = self
            .aspp(deepest.shape[1])
            .trace(planner.at("aspp"), deepest)?;
        let convs = self.conv(self.channels);
        let y = planner
            .at("conv")
            .sequence(&convs, &y, ConvNormActConfig::trace)?;
        let (Some(skip), Some((project, merged))) = (&self.skip, self.merging(&channels)) else {
            return Ok(vec![y]);
        };
        let fine = &maps[skip.map];
        let y = Fit::Resize(self.resize).trace(planner.at(""), &y, spatial(&fine.shape))?;
        let fine = project.trace(planner.at("project"), fine)?;
        let concat = planner.dispatched(|planner| {
            let (maps, names) = ([&y, &fine], ["deep", "skip"]);
            Merge::concat().trace(planner.at(""), NAME, &maps, &names)
        })?;
        let y = planner
            .at("merged")
            .sequence(&merged, &concat, ConvNormActConfig::trace)?;
        Ok(vec![y])
    }
}

/// The decoders of DeepLabV3 (arXiv:1706.05587) and DeepLabV3+ (arXiv:1802.02611):
/// `y = conv(aspp(deepest))`, and with a skip `merged(concat([resize(y), project(skip)]))`.
///
/// The encoder's last stages have dilations in place of strides:
/// [`ResNetEncoderConfig::output_stride`](super::super::ResNetEncoderConfig::output_stride) of 8 for DeepLabV3, 16 for
/// DeepLabV3+.
///
/// # Shapes
/// - input: the maps of an encoder, the finest first
/// - output: `[batch, channels, spatial...]`, of the size of the coarsest map, or of the skip
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::net::{Decoder, DeepLabDecoder, DeepLabDecoderConfig};
///
/// let device = Device::flex();
/// let config = DeepLabDecoderConfig::v3_plus().with_channels(16);
/// let decoder: DeepLabDecoder = config.init(&[8, 16, 32], &device);
/// let maps = [[1, 8, 33, 24], [1, 16, 17, 12], [1, 32, 9, 6]].map(|shape| Tensor::zeros(shape, &device));
/// assert_eq!(decoder.forward(maps.into(), &[65, 48]).dims(), [1, 16, 17, 12]);
/// ```
#[derive(Module, Debug)]
pub struct DeepLabDecoder<const R: usize = 4> {
    /// The pyramid over the coarsest map.
    pub aspp: Aspp<R>,
    /// The 3x3 convolution after it.
    pub conv: Vec<ConvNormAct<R>>,
    /// The 1x1 convolution of the skip.
    pub project: Option<ConvNormAct<R>>,
    /// The 3x3 convolution of both maps; none without a skip.
    pub merged: Vec<ConvNormAct<R>>,
    /// The options that the decoder was built with.
    #[module(skip)]
    pub config: DeepLabDecoderConfig,
    /// The channels of the maps that it was built for, the finest first.
    #[module(skip)]
    pub channels: Vec<usize>,
}

impl<const R: usize> BuiltDecoder<R> for DeepLabDecoder<R> {
    fn built(&self) -> Built<'_, R> {
        Built::new(&self.config, &self.channels)
    }

    fn run(&self, maps: Vec<Tensor<R>>, _image: &[usize]) -> LazyConcat<R> {
        let deepest = maps[maps.len() - 1].clone();
        let fine = self.config.skip.as_ref().map(|skip| maps[skip.map].clone());
        drop(maps); // (The others are not read.)
        let y = self
            .conv
            .forward_parts(self.aspp.forward_parts(deepest.into()));
        let (Some(project), Some(fine)) = (&self.project, fine) else {
            return y;
        };
        let fit = Fit::Resize(self.config.resize);
        let y = fit.forward(y.into_tensor(), spatial(&fine.dims()));
        let parts = vec![Part::new(y), Part::new(project.forward(fine))];
        self.merged.forward_parts(LazyConcat::new(parts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::decoder::frame::testing::{dims, refused};

    #[test]
    fn every_rank_at_odd_sizes() {
        let [v3, v3_plus] = [DeepLabDecoderConfig::v3(), DeepLabDecoderConfig::v3_plus()]
            .map(|config| config.with_channels(4).with_rates(vec![2.into()]));
        let maps = [[2, 2, 19], [2, 3, 10], [2, 5, 5]];
        assert_eq!(dims(v3, &maps, &[37]), [2, 4, 5]);
        assert_eq!(dims(v3_plus, &maps, &[37]), [2, 4, 10]);
    }

    #[test]
    fn a_skip_that_there_is_not_is_refused() {
        assert_eq!(
            refused(DeepLabDecoderConfig::v3_plus(), &[8]),
            "DeepLabDecoder: the skip is map 1, and the encoder has 1. Choose a map from 0, the finest, on."
        );
    }
}
