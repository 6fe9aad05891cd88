//! [`MitEncoderConfig`]: the options of the Mix Transformer.

use alloc::{format, vec::Vec};

use burn::config::Config;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::super::any::{EncoderSpec, check_encoder};
use super::{MitBlock, MitEncoder};
use crate::fuse::SkipAddConfig;
use crate::graph::window::Padding;
use crate::graph::{Map, Planner};
use crate::layers::DropPath;
use crate::layers::activation::ActivationConfig;
use crate::layers::attention::SelfAttentionConfig;
use crate::layers::block::{ConvNormActConfig, ConvStyle};
use crate::layers::norm::LayerNormConfig;
use crate::plan::Trace;
use crate::setters::setters;
use crate::shape::{ShapeError, check_not_huge, check_positive, expect};

const NAME: &str = "MitEncoder";

/// The epsilon of the norms of the blocks and of the feature maps. (Those of the patches have PyTorch's default.)
const EPSILON: f64 = 1e-6;

/// A stage of [`MitEncoder`].
///
/// # Example
/// ```
/// use burn_skip::net::{MitEncoderConfig, MitStage};
///
/// let stages = vec![MitStage::new(16, 1, 1, 4), MitStage::new(32, 2, 2, 2)];
/// assert_eq!(MitEncoderConfig::new(stages).feature_channels(), [16, 32]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct MitStage {
    /// The channels.
    pub channels: usize,
    /// The number of blocks.
    pub depth: usize,
    /// The heads of the attention.
    pub heads: usize,
    /// By how much the map that gives keys and values is smaller along each axis.
    pub reduction: usize,
    /// The channels between the two linear layers after the attention, as a multiple of `channels`. Default: 4.
    #[serde(default = "four")]
    pub expansion: usize,
}

const fn four() -> usize {
    4
}

setters!(
    MitStage:
    with_expansion(expansion: usize),
);

impl MitStage {
    /// A stage of `depth` blocks.
    pub fn new(channels: usize, depth: usize, heads: usize, reduction: usize) -> Self {
        Self {
            channels,
            depth,
            heads,
            reduction,
            expansion: four(),
        }
    }

    fn norm(&self) -> LayerNormConfig {
        LayerNormConfig::new(self.channels).with_epsilon(EPSILON)
    }

    fn attention(&self) -> (LayerNormConfig, SelfAttentionConfig) {
        let attention = SelfAttentionConfig::new(self.channels, self.heads);
        (self.norm(), attention.with_reduction(self.reduction))
    }

    /// A norm, a linear layer, a depthwise convolution with GELU, and a linear layer.
    fn feed_forward(&self) -> FeedForwardConfig {
        let conv = |channels, kernel| {
            ConvNormActConfig::new(channels, kernel).with_style(ConvStyle::bare())
        };
        let wide = self.channels.saturating_mul(self.expansion);
        let depthwise = conv([wide, wide], 3).with_groups(wide);
        (
            self.norm(),
            conv([self.channels, wide], 1),
            depthwise.with_activation(ActivationConfig::Gelu),
            conv([wide, self.channels], 1),
        )
    }
}

/// The parts of what follows the attention.
type FeedForwardConfig = (
    LayerNormConfig,
    ConvNormActConfig,
    ConvNormActConfig,
    ConvNormActConfig,
);

/// Configuration of [`MitEncoder`].
///
/// # Example
/// ```
/// use burn_skip::net::MitEncoderConfig;
///
/// let config = MitEncoderConfig::b0();
/// assert_eq!(config.feature_channels(), [32, 64, 160, 256]);
/// assert_eq!(config.feature_shapes([1, 3, 512, 512]).unwrap()[3], [1, 256, 16, 16]);
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct MitEncoderConfig {
    /// The channels of the image. Default: 3.
    #[serde(default = "crate::defaults::image_channels")]
    pub in_channels: usize,
    /// The stages: the first at 1/4 of the size of the image, each other at half of the one before it.
    pub stages: Vec<MitStage>,
    /// The probability with which the parts of the last block are left out in training; it rises from 0 at the first
    /// block (arXiv:1603.09382). Default: 0. The paper: 0.1.
    #[serde(default)]
    pub drop_path: f64,
}

setters!(
    MitEncoderConfig:
    with_in_channels(in_channels: usize),
    with_drop_path(drop_path: f64),
);

impl Config for MitEncoderConfig {}

impl MitEncoderConfig {
    /// These stages, for images of three channels.
    pub fn new(stages: Vec<MitStage>) -> Self {
        Self {
            in_channels: crate::defaults::image_channels(),
            stages,
            drop_path: 0.0,
        }
    }

    /// The stages of the paper, of these channels and so many blocks.
    fn of_paper(channels: [usize; 4], depths: [usize; 4]) -> Self {
        let numbers = channels.into_iter().zip(depths).zip([1, 2, 5, 8]);
        let stages = numbers.zip([8, 4, 2, 1]);
        let stage = |(((channels, depth), heads), reduction)| {
            MitStage::new(channels, depth, heads, reduction)
        };
        Self::new(stages.map(stage).collect())
    }

    /// MiT-B0.
    pub fn b0() -> Self {
        Self::of_paper([32, 64, 160, 256], [2, 2, 2, 2])
    }

    /// MiT-B1.
    pub fn b1() -> Self {
        Self::of_paper([64, 128, 320, 512], [2, 2, 2, 2])
    }

    /// MiT-B2.
    pub fn b2() -> Self {
        Self::of_paper([64, 128, 320, 512], [3, 4, 6, 3])
    }

    /// The patches before a stage, which overlap, and their norm.
    fn patches(&self, index: usize) -> (ConvNormActConfig, LayerNormConfig) {
        let (input, kernel, stride) = match index.checked_sub(1) {
            None => (self.in_channels, 7, 4),
            Some(before) => (self.stages[before].channels, 3, 2),
        };
        let channels = self.stages[index].channels;
        let style = ConvStyle::bare().with_padding(Padding::explicit(kernel / 2));
        let patches = ConvNormActConfig::new([input, channels], kernel)
            .with_stride(stride)
            .with_style(style);
        (patches, LayerNormConfig::new(channels))
    }

    /// The connection over each part of a block of a stage.
    fn connection(&self, stage: usize, index: usize) -> SkipAddConfig {
        let depths = self.stages.iter().map(|stage| stage.depth);
        let before: usize = depths.clone().take(stage).sum();
        let last = depths.sum::<usize>().saturating_sub(1).max(1);
        SkipAddConfig::new([self.stages[stage].channels; 2])
            .with_activation(None)
            .with_drop_path(self.drop_path * (before + index) as f64 / last as f64)
    }

    /// The channels of the feature maps: those of the stages.
    pub fn feature_channels(&self) -> Vec<usize> {
        self.stages.iter().map(|stage| stage.channels).collect()
    }

    /// Checks the options for maps of rank `R`.
    ///
    /// # Errors
    /// When there are no stages, a number is zero, or a part is invalid.
    pub fn validate<const R: usize>(&self) -> Result<(), ShapeError> {
        check_encoder(self.in_channels, |planner, x: &Map<R>| {
            self.trace(planner, x)
        })
    }

    /// Checks what no part checks.
    fn check_numbers(&self) -> Result<(), ShapeError> {
        check_positive(NAME, "in_channels", self.in_channels)?;
        if !(1..=16).contains(&self.stages.len()) {
            let problem = format!("there are {} stages", self.stages.len());
            return Err(ShapeError::new(NAME, problem, "Give 1 to 16 stages"));
        }
        for stage in &self.stages {
            check_positive(NAME, "channels", stage.channels)?;
            check_positive(NAME, "depth", stage.depth)?;
            check_positive(NAME, "expansion", stage.expansion)?;
            let wide = stage.channels.saturating_mul(stage.expansion);
            check_not_huge(NAME, "channels times expansion", wide)?;
        }
        DropPath::validate(self.drop_path).map_err(|e| e.within("drop_path"))
    }

    /// The shapes of the feature maps for an image of shape `input`, the finest first.
    ///
    /// # Errors
    /// When the channels differ, the image is too small, or the configuration is invalid.
    pub fn feature_shapes<const R: usize>(
        &self,
        input: [usize; R],
    ) -> Result<Vec<[usize; R]>, ShapeError> {
        Planner::output_shapes(input, |planner, x| self.trace(planner, x))
    }

    /// Records every part, and returns the feature maps.
    ///
    /// # Errors
    /// As [`feature_shapes`](Self::feature_shapes).
    pub fn trace<const R: usize>(
        &self,
        planner: &mut Planner,
        x: &Map<R>,
    ) -> Result<Vec<Map<R>>, ShapeError> {
        planner.nodes(NAME, &[x], |planner| {
            self.check_numbers()?;
            let mut x = x.clone();
            let mut maps = Vec::with_capacity(self.stages.len());
            for (index, stage) in self.stages.iter().enumerate() {
                let patches = planner.at(format!("patches.{index}"));
                x = self.patches(index).trace(patches, &x)?;
                let (attention, feed_forward) = (stage.attention(), stage.feed_forward());
                let blocks = planner.at(format!("stages.{index}"));
                x = blocks.sequence(0..stage.depth, &x, |block, planner, x| {
                    let connection = self.connection(index, block);
                    planner.node("Sequence", &[x], |planner| {
                        let y = connection.trace_over(planner.at(0), x, |planner, x| {
                            attention.trace(planner, x)
                        })?;
                        connection.trace_over(planner.at(1), &y, |planner, x| {
                            feed_forward.trace(planner, x)
                        })
                    })
                })?;
                x = stage
                    .norm()
                    .trace(planner.at(format!("norms.{index}")), &x)?;
                maps.push(x.clone());
            }
            Ok(maps)
        })
    }

    fn block<const R: usize>(&self, stage: usize, index: usize, device: &Device) -> MitBlock<R> {
        let connection = self.connection(stage, index);
        let (norm, attention) = self.stages[stage].attention();
        let attention = (norm.init(device), attention.init(device));
        let (norm, wide, depthwise, back) = self.stages[stage].feed_forward();
        let feed_forward = (
            norm.init(device),
            wide.init(device),
            depthwise.init(device),
            back.init(device),
        );
        (
            connection.init(attention, device),
            connection.init(feed_forward, device),
        )
    }

    /// Builds the encoder.
    ///
    /// # Panics
    /// When [`validate`](Self::validate) returns an error, with its message.
    pub fn init<const R: usize>(&self, device: &Device) -> MitEncoder<R> {
        expect(self.validate::<R>());
        let stages = 0..self.stages.len();
        let patches = |index| {
            let (patches, norm) = self.patches(index);
            (patches.init(device), norm.init(device))
        };
        let blocks = |stage: usize| {
            let depth = self.stages[stage].depth;
            (0..depth)
                .map(|index| self.block(stage, index, device))
                .collect()
        };
        MitEncoder {
            patches: stages.clone().map(patches).collect(),
            stages: stages.map(blocks).collect(),
            norms: self
                .stages
                .iter()
                .map(|stage| stage.norm().init(device))
                .collect(),
            config: self.clone(),
        }
    }
}

impl<const R: usize> EncoderSpec<R> for MitEncoderConfig {
    fn in_channels(&self) -> usize {
        self.in_channels
    }

    fn feature_channels(&self) -> Vec<usize> {
        self.feature_channels()
    }

    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Vec<Map<R>>, ShapeError> {
        self.trace(planner, x)
    }
}
