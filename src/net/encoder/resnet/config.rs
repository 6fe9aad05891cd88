//! [`ResNetEncoderConfig`]: the options of a ResNet, and its stages.

use alloc::{format, vec, vec::Vec};

use burn::config::Config;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::ResNetEncoder;
use super::block::{ResNetBlock, ResNetLayerConfig};
use crate::fuse::gate::{GateConfig, SeConfig};
use crate::fuse::{Res2ConvConfig, Res2Links, Shortcut, SkipAddConfig};
use crate::graph::window::Padding;
use crate::graph::{Map, Planner};
use crate::layers::DropPath;
use crate::layers::activation::ActivationConfig;
use crate::layers::block::{ConvNormActConfig, ConvStyle};
use crate::layers::norm::NormConfig;
use crate::net::encoder::any::{EncoderSpec, check_encoder};
use crate::net::encoder::{check_depths, check_output_stride, dilation_at, stem_pool};
use crate::plan::Trace;
use crate::setters::setters;
use crate::shape::{ShapeError, check_not_huge, check_positive, expect};

const NAME: &str = "ResNetEncoder";

/// Configuration of [`ResNetEncoder`].
///
/// # Example
/// ```
/// use burn_skip::net::ResNetEncoderConfig;
///
/// let error = ResNetEncoderConfig::resnet18().feature_shapes([1, 1, 64, 64]).unwrap_err();
/// assert_eq!(error.problem, "channels differ: expected 3, got 1");
/// // For images of one channel, and a quarter as wide.
/// let config = ResNetEncoderConfig::resnet18().with_in_channels(1).with_width(16);
/// assert_eq!(config.feature_channels(), [16, 16, 32, 64, 128]);
/// assert_eq!(config.feature_shapes([1, 1, 64, 64]).unwrap()[4], [1, 128, 2, 2]);
/// // With scSE in every block.
/// let gated = config.with_gate(burn_skip::gate::GateConfig::scse(16));
/// assert_eq!(gated.feature_channels(), [16, 16, 32, 64, 128]);
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ResNetEncoderConfig {
    /// The channels of the image. Default: 3.
    #[serde(default = "crate::defaults::image_channels")]
    pub in_channels: usize,
    /// The channels of the stem; the stages have 1, 2, 4, ... times as many. Default: 64.
    #[serde(default = "crate::defaults::width")]
    pub width: usize,
    /// The block.
    pub block: ResNetBlock,
    /// The number of blocks of each stage.
    pub depths: Vec<usize>,
    /// The groups of the 3x3 convolutions of bottlenecks (ResNeXt, arXiv:1611.05431; Res2NeXt). Default: 1.
    #[serde(default = "crate::defaults::groups")]
    pub groups: usize,
    /// The channels of each group in the first stage, in bottlenecks. Default: 64.
    #[serde(default = "crate::defaults::width")]
    pub group_width: usize,
    /// By how much the coarsest map is smaller than the image, at most: 8, 16 or 32 for a ResNet of four stages. Stages
    /// beyond it have convolutions with dilation in place of strides (DeepLab, arXiv:1606.00915, section 3.1): 2 where
    /// the stage would halve the map once more, 4 where it would twice. Default: none, every stage but the first halves
    /// the map.
    #[serde(default)]
    pub output_stride: Option<usize>,
    /// The projection at the start of a stage. Default: [`Shortcut::Conv`].
    #[serde(default)]
    pub shortcut: Shortcut,
    /// A gate of the output of each block, before the sum: squeeze-and-excitation makes an SE-ResNet (arXiv:1709.01507,
    /// section 3.3). Default: none.
    #[serde(default)]
    pub gate: Option<GateConfig>,
    /// The norm after every convolution, or none. Default: [`NormConfig::batch`].
    #[serde(default = "NormConfig::default_norm")]
    pub norm: Option<NormConfig>,
    /// The activation. Default: ReLU.
    #[serde(default = "ActivationConfig::default_activation")]
    pub activation: ActivationConfig,
    /// The probability with which the last block is left out in training; it rises from 0 at the
    /// first block (arXiv:1603.09382). Default: 0.
    #[serde(default)]
    pub drop_path: f64,
    /// Whether the last norm of each block starts at zero. Default: false.
    #[serde(default)]
    pub zero_init_last_norm: bool,
}

setters!(
    ResNetEncoderConfig:
    with_in_channels(in_channels: usize),
    with_width(width: usize),
    with_groups(groups: usize),
    with_group_width(group_width: usize),
    with_output_stride(output_stride: impl Into<Option<usize>>),
    with_shortcut(shortcut: Shortcut),
    with_gate(gate: impl Into<Option<GateConfig>>),
    with_norm(norm: impl Into<Option<NormConfig>>),
    with_activation(activation: ActivationConfig),
    with_drop_path(drop_path: f64),
    with_zero_init_last_norm(zero_init_last_norm: bool),
);

impl Config for ResNetEncoderConfig {}

impl ResNetEncoderConfig {
    /// Stages of `depths` blocks, for images of three channels.
    pub fn new(block: ResNetBlock, depths: Vec<usize>) -> Self {
        Self {
            in_channels: 3,
            width: 64,
            block,
            depths,
            groups: 1,
            group_width: 64,
            output_stride: None,
            shortcut: Shortcut::Conv,
            gate: None,
            norm: Some(NormConfig::batch()),
            activation: ActivationConfig::Relu,
            drop_path: 0.0,
            zero_init_last_norm: false,
        }
    }

    /// ResNet-18.
    pub fn resnet18() -> Self {
        Self::new(ResNetBlock::Basic, vec![2, 2, 2, 2])
    }

    /// ResNet-34.
    pub fn resnet34() -> Self {
        Self::new(ResNetBlock::Basic, vec![3, 4, 6, 3])
    }

    /// ResNet-50.
    pub fn resnet50() -> Self {
        Self::new(ResNetBlock::Bottleneck, vec![3, 4, 6, 3])
    }

    /// ResNet-101.
    pub fn resnet101() -> Self {
        Self::new(ResNetBlock::Bottleneck, vec![3, 4, 23, 3])
    }

    /// ResNet-152.
    pub fn resnet152() -> Self {
        Self::new(ResNetBlock::Bottleneck, vec![3, 8, 36, 3])
    }

    /// Res2Net-50 (arXiv:1904.01169) of four parts of 26 channels, timm's `res2net50_26w_4s`.
    pub fn res2net50() -> Self {
        Self::new(ResNetBlock::Res2 { scale: 4 }, vec![3, 4, 6, 3]).with_group_width(26)
    }

    /// Res2Net-101 of four parts of 26 channels, timm's `res2net101_26w_4s`.
    pub fn res2net101() -> Self {
        Self::new(ResNetBlock::Res2 { scale: 4 }, vec![3, 4, 23, 3]).with_group_width(26)
    }

    /// ResNeXt-50 with 32 groups of 4 channels (arXiv:1611.05431).
    pub fn resnext50() -> Self {
        Self::resnet50().with_groups(32).with_group_width(4)
    }

    /// ResNeXt-101 with 32 groups of 8 channels.
    pub fn resnext101() -> Self {
        Self::resnet101().with_groups(32).with_group_width(8)
    }

    /// Wide ResNet-50-2 (arXiv:1605.07146): bottlenecks of twice the width.
    pub fn wide_resnet50() -> Self {
        Self::resnet50().with_group_width(128)
    }

    /// timm's `seresnet18`: ResNet-18 with [squeeze-and-excitation](Self::squeeze_excitation).
    pub fn seresnet18() -> Self {
        Self::resnet18().with_gate(Self::squeeze_excitation())
    }

    /// timm's `seresnet50`: ResNet-50 with [squeeze-and-excitation](Self::squeeze_excitation).
    pub fn seresnet50() -> Self {
        Self::resnet50().with_gate(Self::squeeze_excitation())
    }

    /// The gate of SE-ResNet (arXiv:1709.01507): squeeze-and-excitation to a sixteenth of the channels, to a multiple of 8
    /// as timm rounds them.
    pub const fn squeeze_excitation() -> GateConfig {
        GateConfig::Se(SeConfig {
            divisor: 8,
            ..SeConfig::new(16)
        })
    }

    fn conv(&self, channels: [usize; 2], kernel: usize, stride: usize) -> ConvNormActConfig {
        ConvNormActConfig::new(channels, kernel)
            .with_stride(stride)
            .with_padding(Padding::explicit(kernel / 2))
            .with_norm(self.norm.clone())
            .with_activation(self.activation)
    }

    /// A 3x3 convolution whose taps lie `dilation` positions apart.
    fn conv3(&self, channels: [usize; 2], stride: usize, dilation: usize) -> ConvNormActConfig {
        self.conv(channels, 3, stride)
            .with_dilation(dilation)
            .with_padding(Padding::explicit(dilation))
    }

    fn stem(&self) -> ConvNormActConfig {
        self.conv([self.in_channels, self.width], 7, 2)
    }

    /// The numbers of each stage.
    fn stages(&self) -> Vec<Stage> {
        let [mut input, mut inner] = [self.width; 2];
        let mut blocks_before = 0_usize;
        let stage = |(index, &depth): (usize, &usize)| {
            let stride = 4_usize << index.min(16); // (There are at most 16 stages.)
            let dilation = dilation_at(stride, self.output_stride);
            let stage = Stage {
                input,
                inner,
                output: inner.saturating_mul(self.block.expansion()),
                stride: if index == 0 || dilation > 1 { 1 } else { 2 },
                dilation,
                depth,
                blocks_before,
            };
            input = stage.output;
            inner = inner.saturating_mul(2);
            blocks_before = blocks_before.saturating_add(depth);
            stage
        };
        self.depths.iter().enumerate().map(stage).collect()
    }

    /// The block `index` of a stage.
    fn block(&self, stage: &Stage, index: usize) -> ResidualConfig {
        let (inner, output, dilation) = (stage.inner, stage.output, stage.dilation);
        let (input, stride) = match index {
            0 => (stage.input, stage.stride),
            _ => (output, 1),
        };
        let bare = |config: ConvNormActConfig| config.with_activation(None);
        let wide = inner.saturating_mul(self.group_width) / 64;
        let wide = wide.saturating_mul(self.groups);
        let conv = ResNetLayerConfig::Conv;
        let layers = match self.block {
            ResNetBlock::Basic => vec![
                conv(self.conv3([input, inner], stride, dilation)),
                conv(bare(self.conv3([inner, output], 1, dilation))),
            ],
            ResNetBlock::Bottleneck => {
                let grouped = self.conv3([wide, wide], stride, dilation);
                vec![
                    conv(self.conv([input, wide], 1, 1)),
                    conv(grouped.with_groups(self.groups)),
                    conv(bare(self.conv([wide, output], 1, 1))),
                ]
            }
            ResNetBlock::Res2 { scale } => {
                let all = wide.saturating_mul(scale);
                let links = match index {
                    0 => Res2Links::Pooled {
                        stride: stride.into(),
                    },
                    _ => Res2Links::Chain,
                };
                let style = ConvStyle::new()
                    .with_norm(self.norm.clone())
                    .with_activation(self.activation);
                let scales = Res2ConvConfig::new(all)
                    .with_scale(scale)
                    .with_links(links)
                    .with_dilation(dilation)
                    .with_groups(self.groups)
                    .with_style(style);
                vec![
                    conv(self.conv([input, all], 1, 1)),
                    ResNetLayerConfig::Res2(scales),
                    conv(bare(self.conv([all, output], 1, 1))),
                ]
            }
        };
        let before = stage.blocks_before.saturating_add(index);
        let blocks = self.depths.iter().copied().fold(0, usize::saturating_add);
        let last = blocks.saturating_sub(1).max(1);
        let connection = SkipAddConfig::new([input, output])
            .with_stride(stride)
            .with_shortcut(self.shortcut)
            .with_gate(self.gate.clone())
            .with_norm(self.norm.clone())
            .with_activation(self.activation)
            .with_drop_path(self.drop_path * before as f64 / last as f64)
            .with_zero_init_last_norm(self.zero_init_last_norm);
        ResidualConfig { layers, connection }
    }

    /// The channels of the feature maps: the stem, and each stage.
    pub fn feature_channels(&self) -> Vec<usize> {
        let stages = self.stages().into_iter().map(|stage| stage.output);
        core::iter::once(self.width).chain(stages).collect()
    }

    /// Checks the options for maps of rank `R`.
    ///
    /// # Errors
    /// When there is no stage or one without blocks, a number is zero, or a part is invalid.
    pub fn validate<const R: usize>(&self) -> Result<(), ShapeError> {
        check_encoder(self.in_channels, |planner, x: &Map<R>| {
            self.trace(planner, x)
        })
    }

    /// Checks what no part checks.
    fn check_numbers(&self) -> Result<(), ShapeError> {
        check_positive(NAME, "in_channels", self.in_channels)?;
        check_positive(NAME, "width", self.width)?;
        check_depths(NAME, &self.depths)?;
        check_positive(NAME, "groups", self.groups)?;
        check_positive(NAME, "group_width", self.group_width)?;
        check_output_stride(NAME, self.output_stride)?;
        if self.block == ResNetBlock::Basic && (self.groups, self.group_width) != (1, 64) {
            let (groups, width) = (self.groups, self.group_width);
            return Err(ShapeError::new(
                NAME,
                format!("basic blocks have no groups, and there are {groups} of {width} channels"),
                "Choose ResNetBlock::Bottleneck, or groups 1 and group_width 64",
            ));
        }
        DropPath::validate(self.drop_path).map_err(|e| e.within("drop_path"))?;
        let widest = self.feature_channels().last().copied().unwrap_or(0);
        check_not_huge(NAME, "the width of the last stage", widest)
    }

    /// The shapes of the feature maps: the stem (half the size), and each stage, the finest first.
    ///
    /// # Errors
    /// When the channels differ, or the configuration is invalid.
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
            let stem = self.stem().trace(planner.at("stem"), x)?;
            let mut x = stem_pool().trace(planner.at("pool"), &stem)?;
            let mut maps = vec![stem];
            for (index, stage) in self.stages().iter().enumerate() {
                let blocks = (0..stage.depth).map(|index| self.block(stage, index));
                let name = format!("stages.{index}");
                x = planner.at(name).sequence(blocks, &x, |block, planner, x| {
                    block.connection.trace_over(planner, x, |planner, x| {
                        planner.sequence(&block.layers, x, ResNetLayerConfig::trace)
                    })
                })?;
                maps.push(x.clone());
            }
            Ok(maps)
        })
    }

    /// Builds the encoder.
    ///
    /// # Panics
    /// When [`validate`](Self::validate) returns an error, with its message.
    pub fn init<const R: usize>(&self, device: &Device) -> ResNetEncoder<R> {
        expect(self.validate::<R>());
        let block = |block: ResidualConfig| {
            let layers = block.layers.iter().map(|layer| layer.init(device));
            block.connection.init(layers.collect(), device)
        };
        let stage = |stage: &Stage| {
            let blocks = (0..stage.depth).map(|index| self.block(stage, index));
            blocks.map(block).collect()
        };
        ResNetEncoder {
            stem: self.stem().init(device),
            pool: stem_pool().init(),
            stages: self.stages().iter().map(stage).collect(),
            config: self.clone(),
        }
    }
}

/// The numbers of one stage.
struct Stage {
    /// The input channels.
    input: usize,
    /// The channels within the blocks.
    inner: usize,
    /// The output channels.
    output: usize,
    /// The stride of the first block.
    stride: usize,
    /// The dilation of the 3x3 convolutions.
    dilation: usize,
    /// How many blocks there are.
    depth: usize,
    /// How many blocks all stages before it have.
    blocks_before: usize,
}

/// A residual block: its layers, and the connection over them.
struct ResidualConfig {
    layers: Vec<ResNetLayerConfig>,
    connection: SkipAddConfig,
}

impl<const R: usize> EncoderSpec<R> for ResNetEncoderConfig {
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
