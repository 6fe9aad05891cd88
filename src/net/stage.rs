//! [`Stage`]: the convolutions of one level of a network, one after another or in residual blocks.
//!
//! Residual: `y = x_n`, `x_k = act(block_k(x_{k-1}) + shortcut(x_{k-1}))`, with the activation where
//! [`ResidualActivation`] says. nnU-Net (arXiv:1809.10486), V-Net (arXiv:1606.04797), SegResNet (arXiv:1810.11654) and the
//! residual U-Net of Kerfoot et al. 2018 have such levels.

use alloc::{format, vec, vec::Vec};

use burn::config::Config;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::fuse::{Shortcut, SkipAdd, SkipAddConfig};
use crate::graph::window::Padding;
use crate::graph::{Map, Planner};
use crate::layers::block::{ConvNormAct, ConvNormActConfig, ConvStyle};
use crate::layers::conv::LazyConcat;
use crate::layers::layer::Layer;
use crate::layers::norm::NormConfig;
use crate::plan::Trace;
use crate::setters::setters;
use crate::shape::{PerAxis, ShapeError, check_positive, expect};

const NAME: &str = "Stage";

/// Of how many blocks and convolutions a stage is made at most.
const MAX_PARTS: usize = 256;

/// Configuration of [`Stage`]. The channels of the input come from the level before it.
///
/// # Example
/// ```
/// use burn_skip::Trace;
/// use burn_skip::net::{ResidualStage, StageBlock, StageConfig};
///
/// let stage = StageConfig::new(16).with_stride(2);
/// assert_eq!(stage.output_shape([1, 8, 33, 20]).unwrap(), [1, 16, 17, 10]);
/// let residual = stage.with_block(StageBlock::Residual(ResidualStage::new(2)));
/// assert_eq!(residual.output_shape([1, 8, 33, 20]).unwrap(), [1, 16, 17, 10]);
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct StageConfig {
    /// The channels of the output.
    pub width: usize,
    /// The size of the kernels. Default: 3.
    #[serde(default = "crate::defaults::three")]
    pub kernel_size: PerAxis,
    /// By how much the stage makes the map smaller: the stride of its first convolution. Default: 1.
    #[serde(default = "crate::defaults::one")]
    pub stride: PerAxis,
    /// Padding, norm, activation, their order, and the bias of the convolutions.
    #[serde(default = "ConvStyle::new")]
    pub style: ConvStyle,
    /// The padding of the first convolution, where it is not that of the style. Default: that of the style.
    #[serde(default)]
    pub strided_padding: Option<Padding>,
    /// How the convolutions are put together. Default: two, one after the other.
    #[serde(default)]
    pub block: StageBlock,
}

setters!(
    StageConfig:
    with_kernel_size(kernel_size: impl Into<PerAxis>),
    with_stride(stride: impl Into<PerAxis>),
    with_style(style: ConvStyle),
    with_strided_padding(strided_padding: impl Into<Option<Padding>>),
    with_block(block: StageBlock),
);

impl Config for StageConfig {}

/// How the convolutions of a [`Stage`] are put together.
///
/// # Example
/// ```
/// use burn_skip::Trace;
/// use burn_skip::net::{ResidualStage, StageBlock, StageConfig};
///
/// let parameters = |block| StageConfig::new(8).with_block(block).plan([1, 8, 9, 9]).root.total_parameters();
/// assert_eq!(parameters(StageBlock::Convs { count: 1 }), 8 * 8 * 9 + 16);
/// // Two blocks of two convolutions each.
/// assert_eq!(parameters(StageBlock::Residual(ResidualStage::new(2))), 4 * (8 * 8 * 9 + 16));
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[allow(clippy::large_enum_variant)] // a program holds few
pub enum StageBlock {
    /// One after another. The first has the stride.
    Convs {
        /// How many.
        count: usize,
    },
    /// In residual blocks.
    Residual(ResidualStage),
}

impl Default for StageBlock {
    fn default() -> Self {
        Self::Convs { count: 2 }
    }
}

/// The residual blocks of a [`Stage`].
///
/// # Example
/// ```
/// use burn_skip::net::{ResidualActivation, ResidualStage};
///
/// let short: ResidualStage = serde_json::from_str(r#"{"blocks": 2}"#).unwrap();
/// assert_eq!(short.convs, ResidualStage::new(2).convs);
/// assert_eq!(short.activation, ResidualActivation::AfterSum);
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ResidualStage {
    /// How many blocks.
    pub blocks: usize,
    /// The convolutions of a block. Default: 2.
    #[serde(default = "two_convs")]
    pub convs: usize,
    /// A convolution before the blocks, which has the stride, or none: then the first block has the stride. Default:
    /// none.
    #[serde(default)]
    pub entry: Option<StageEntry>,
    /// The projection of the input of the first block, where its channels or the stride require one. Default:
    /// [`Shortcut::Conv`].
    #[serde(default)]
    pub shortcut: Shortcut,
    /// The norm of the projection, or none. Default: [`NormConfig::batch`].
    #[serde(default = "NormConfig::default_norm")]
    pub shortcut_norm: Option<NormConfig>,
    /// Where the last activation of a block stands. Default: after the sum.
    #[serde(default)]
    pub activation: ResidualActivation,
}

const fn two_convs() -> usize {
    2
}

setters!(
    ResidualStage:
    with_convs(convs: usize),
    with_entry(entry: impl Into<Option<StageEntry>>),
    with_shortcut(shortcut: Shortcut),
    with_shortcut_norm(shortcut_norm: impl Into<Option<NormConfig>>),
    with_activation(activation: ResidualActivation),
);

impl ResidualStage {
    /// So many blocks of two convolutions.
    pub fn new(blocks: usize) -> Self {
        Self {
            blocks,
            convs: two_convs(),
            entry: None,
            shortcut: Shortcut::Conv,
            shortcut_norm: NormConfig::default_norm(),
            activation: ResidualActivation::AfterSum,
        }
    }
}

/// The convolution before the residual blocks of a [`Stage`].
///
/// # Example
/// ```
/// use burn_skip::Trace;
/// use burn_skip::block::ConvStyle;
/// use burn_skip::net::{ResidualStage, StageBlock, StageConfig, StageEntry};
///
/// let entry = StageEntry { kernel_size: 2.into(), style: ConvStyle::bare() };
/// let blocks = StageBlock::Residual(ResidualStage::new(1).with_entry(entry));
/// let stage = StageConfig::new(8).with_stride(2).with_block(blocks);
/// let parameters = stage.plan([1, 4, 8, 8]).root.total_parameters();
/// assert_eq!(parameters, (4 * 8 * 4 + 8) + 2 * (8 * 8 * 9 + 16));
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct StageEntry {
    /// The size of its kernel.
    pub kernel_size: PerAxis,
    /// Its padding, norm, activation and bias.
    #[serde(default = "ConvStyle::new")]
    pub style: ConvStyle,
}

/// Where the last activation of a residual block stands.
///
/// # Example
/// ```
/// use burn::{nn::Initializer, tensor::{Device, Tensor}};
/// use burn_skip::Layer;
/// use burn_skip::block::ConvStyle;
/// use burn_skip::net::{ResidualActivation, ResidualStage, StageBlock, StageConfig};
///
/// let run = |activation| { // relu(x + 1) - 3 would be `AfterSum` with other numbers
///     let style = ConvStyle::new().with_norm(None).with_initializer(Initializer::Ones);
///     let block = ResidualStage::new(1).with_convs(1).with_activation(activation);
///     let stage = StageConfig::new(1).with_kernel_size(1).with_style(style);
///     let stage = stage.with_block(StageBlock::Residual(block)).init::<3>(1, &Device::flex());
///     stage.forward(Tensor::from_floats([[[-3.0, 1.0]]], &Device::flex())).to_data().try_to_vec::<f32>().unwrap()
/// };
/// assert_eq!(run(ResidualActivation::AfterSum), [0.0, 3.0]); // relu((x + 1) + x)
/// assert_eq!(run(ResidualActivation::BeforeSum), [-3.0, 3.0]); // relu(x + 1) + x
/// assert_eq!(run(ResidualActivation::Both), [0.0, 3.0]);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum ResidualActivation {
    /// After the sum, as in ResNet (arXiv:1512.03385): the last convolution of the block has none.
    #[default]
    AfterSum,
    /// In the block alone: after its last convolution, or before it with
    /// [`LayerOrder::NormActConv`](crate::block::LayerOrder::NormActConv) (arXiv:1603.05027).
    BeforeSum,
    /// At both places, as in MONAI's `VNet`.
    Both,
}

/// The parts of a stage.
struct Parts {
    convs: Vec<ConvNormActConfig>,
    blocks: Vec<BlockParts>,
}

/// A residual connection, and the convolutions that it jumps over.
struct BlockParts {
    sum: SkipAddConfig,
    convs: Vec<ConvNormActConfig>,
}

impl<const R: usize> Trace<R> for BlockParts {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        self.sum
            .trace_over(planner, x, |planner, x| self.convs.trace(planner, x))
    }
}

impl StageConfig {
    /// A stage of two 3x3 convolutions to `width` channels.
    pub fn new(width: usize) -> Self {
        Self {
            width,
            kernel_size: 3.into(),
            stride: 1.into(),
            style: ConvStyle::new(),
            strided_padding: None,
            block: StageBlock::default(),
        }
    }

    /// The first convolution, from `input` channels.
    fn first(&self, input: usize, kernel_size: &PerAxis, style: &ConvStyle) -> ConvNormActConfig {
        let conv = ConvNormActConfig::new([input, self.width], kernel_size.clone())
            .with_stride(self.stride.clone())
            .with_style(style.clone());
        match &self.strided_padding {
            Some(padding) => conv.with_padding(padding.clone()),
            None => conv,
        }
    }

    /// The parts, for a map with `input` channels.
    fn parts(&self, input: usize) -> Result<Parts, ShapeError> {
        check_positive(NAME, "width", self.width)?;
        let next = ConvNormActConfig::new([self.width; 2], self.kernel_size.clone())
            .with_style(self.style.clone());
        let first = self.first(input, &self.kernel_size, &self.style);
        Ok(match &self.block {
            StageBlock::Convs { count } => {
                check_count("count", *count)?;
                let mut convs = vec![next; *count];
                convs[0] = first;
                let blocks = Vec::new();
                Parts { convs, blocks }
            }
            StageBlock::Residual(residual) => {
                check_count("blocks", residual.blocks)?;
                check_count("convs", residual.convs)?;
                let entry = residual.entry.as_ref();
                let entry = entry.map(|entry| self.first(input, &entry.kernel_size, &entry.style));
                let has_entry = entry.is_some();
                let block = |index| match index == 0 && !has_entry {
                    true => self.block(residual, [input, self.width], &first, &next),
                    false => self.block(residual, [self.width; 2], &next, &next),
                };
                Parts {
                    convs: entry.into_iter().collect(),
                    blocks: (0..residual.blocks).map(block).collect(),
                }
            }
        })
    }

    /// A block that begins with the convolution `first`.
    fn block(
        &self,
        residual: &ResidualStage,
        channels: [usize; 2],
        first: &ConvNormActConfig,
        next: &ConvNormActConfig,
    ) -> BlockParts {
        let mut convs = vec![next.clone(); residual.convs];
        convs[0] = first.clone();
        let of_sum = match residual.activation {
            ResidualActivation::BeforeSum => None,
            ResidualActivation::AfterSum | ResidualActivation::Both => self.style.activation,
        };
        if let (ResidualActivation::AfterSum, Some(last)) = (residual.activation, convs.last_mut())
        {
            last.style.activation = None;
        }
        let sum = SkipAddConfig::new(channels)
            .with_stride(first.stride.clone())
            .with_shortcut(residual.shortcut)
            .with_norm(residual.shortcut_norm.clone())
            .with_activation(of_sum);
        BlockParts { sum, convs }
    }

    /// Checks the options for maps of rank `R` with `input` channels.
    ///
    /// # Errors
    /// When a number is zero or too large, or a part is invalid.
    pub fn validate<const R: usize>(&self, input: usize) -> Result<(), ShapeError> {
        Planner::check_options(&[input], |planner, maps: &[Map<R>]| {
            self.trace(planner, &maps[0])
        })
    }

    /// Builds the stage for maps with `input` channels.
    ///
    /// # Panics
    /// When [`validate`](Self::validate) returns an error, with its message.
    pub fn init<const R: usize>(&self, input: usize, device: &Device) -> Stage<R> {
        expect(self.validate::<R>(input));
        let parts = expect(self.parts(input));
        let block = |block: BlockParts| {
            let convs: Vec<_> = block.convs.iter().map(|conv| conv.init(device)).collect();
            block.sum.init(convs, device)
        };
        Stage {
            convs: parts.convs.iter().map(|conv| conv.init(device)).collect(),
            blocks: parts.blocks.into_iter().map(block).collect(),
        }
    }
}

/// Refuses a number of parts that is zero or too large.
fn check_count(what: &str, count: usize) -> Result<(), ShapeError> {
    if (1..=MAX_PARTS).contains(&count) {
        return Ok(());
    }
    Err(ShapeError::new(
        NAME,
        format!("{what} is {count}"),
        format!("Set {what} to 1 to {MAX_PARTS}"),
    ))
}

impl<const R: usize> Trace<R> for StageConfig {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        planner.node(NAME, &[x], |planner| {
            let parts = self.parts(x.shape[1])?;
            trace_parts(planner, x, &parts.convs, &parts.blocks)
        })
    }
}

/// Records the convolutions and the residual blocks.
fn trace_parts<const R: usize>(
    planner: &mut Planner,
    x: &Map<R>,
    convs: &[impl Trace<R>],
    blocks: &[impl Trace<R>],
) -> Result<Map<R>, ShapeError> {
    let mut y = x.clone();
    for (index, conv) in convs.iter().enumerate() {
        y = conv.trace(planner.at(format!("convs.{index}")), &y)?;
    }
    for (index, block) in blocks.iter().enumerate() {
        y = block.trace(planner.at(format!("blocks.{index}")), &y)?;
    }
    Ok(y)
}

/// The convolutions of one level: [`ConvNormAct`]s, and residual blocks of such ([`SkipAdd`]) after them.
///
/// # Shapes
/// - input: `[batch, in_channels, spatial...]`
/// - output: `[batch, width, spatial / stride...]`
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::Layer;
/// use burn_skip::net::{ResidualStage, Stage, StageBlock, StageConfig};
///
/// let device = Device::flex();
/// let blocks = StageBlock::Residual(ResidualStage::new(2));
/// let stage: Stage = StageConfig::new(16).with_stride(2).with_block(blocks).init(8, &device);
/// assert_eq!(stage.forward(Tensor::zeros([1, 8, 33, 20], &device)).dims(), [1, 16, 17, 10]);
/// ```
#[derive(Module, Debug)]
pub struct Stage<const R: usize = 4> {
    /// The convolutions before the residual blocks.
    pub convs: Vec<ConvNormAct<R>>,
    /// The residual blocks.
    pub blocks: Vec<SkipAdd<Vec<ConvNormAct<R>>, R>>,
}

impl<const R: usize> Trace<R> for Stage<R> {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        planner.node(NAME, &[x], |planner| {
            trace_parts(planner, x, &self.convs, &self.blocks)
        })
    }
}

impl<const R: usize> Layer<R> for Stage<R> {
    fn forward(&self, x: Tensor<R>) -> Tensor<R> {
        self.forward_parts(x.into()).into_tensor()
    }

    fn forward_parts(&self, parts: LazyConcat<R>) -> LazyConcat<R> {
        expect(self.output_shape(parts.dims()));
        let convs = self.convs.iter();
        let parts = convs.fold(parts, |parts, conv| conv.forward_parts(parts));
        let blocks = self.blocks.iter();
        blocks.fold(parts, |parts, block| block.forward_parts(parts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::block::LayerOrder;
    use alloc::string::ToString;

    fn residual(block: ResidualStage) -> StageConfig {
        StageConfig::new(8).with_block(StageBlock::Residual(block))
    }

    #[test]
    fn the_stage_and_its_configuration_record_the_same() {
        let entry = StageEntry {
            kernel_size: 2.into(),
            style: ConvStyle::bare(),
        };
        for config in [
            StageConfig::new(8),
            residual(ResidualStage::new(2)),
            residual(ResidualStage::new(2).with_entry(entry)),
            residual(ResidualStage::new(1).with_activation(ResidualActivation::Both)),
        ] {
            let config = config.with_stride(2);
            let planned = config.plan([2, 6, 9, 8]);
            assert!(planned.error().is_none(), "{:?}", planned.error());
            let stage: Stage = config.init(6, &Device::flex());
            assert_eq!(stage.plan([2, 6, 9, 8]).root, planned.root);
        }
    }

    #[test]
    fn the_first_block_has_the_stride_and_the_projection() {
        let stage: Stage = residual(ResidualStage::new(2).with_convs(3))
            .with_stride(2)
            .init(4, &Device::flex());
        assert!(stage.blocks[0].shortcut.is_some() && stage.blocks[1].shortcut.is_none());
        assert_eq!(stage.blocks[0].block.len(), 3);
        // The last convolution of a block has no activation: the sum has it.
        let has_activation = |conv: &ConvNormAct| conv.activation.is_some();
        let of_block: Vec<_> = stage.blocks[0].block.iter().map(has_activation).collect();
        assert_eq!(of_block, [true, true, false]);
        assert!(stage.blocks[0].activation.is_some());
    }

    #[test]
    fn pre_activation_adds_last() {
        let style = ConvStyle::new().with_order(LayerOrder::NormActConv);
        let block = ResidualStage::new(1).with_activation(ResidualActivation::BeforeSum);
        let stage: Stage = residual(block).with_style(style).init(8, &Device::flex());
        let block = &stage.blocks[0];
        assert!(block.activation.is_none());
        assert!(block.block.iter().all(|conv| conv.activation.is_some()));
    }

    #[test]
    fn the_padding_of_the_stride_is_an_option() {
        let style = ConvStyle::new().with_padding(Padding::explicit(1));
        let config = StageConfig::new(8).with_stride(3).with_style(style);
        assert_eq!(config.output_shape([1, 4, 28, 9]), Ok([1, 8, 10, 3]));
        let config = config.with_strided_padding(Padding::Valid);
        assert_eq!(config.output_shape([1, 4, 28, 9]), Ok([1, 8, 9, 3]));
    }

    #[test]
    fn errors() {
        let text = |config: StageConfig| config.validate::<4>(4).unwrap_err().to_string();
        assert_eq!(
            text(StageConfig::new(0)),
            "Stage: width is 0. Set width to 1 or more."
        );
        assert_eq!(
            text(StageConfig::new(4).with_block(StageBlock::Convs { count: 0 })),
            "Stage: count is 0. Set count to 1 to 256."
        );
        assert_eq!(
            text(residual(ResidualStage::new(1000))),
            "Stage: blocks is 1000. Set blocks to 1 to 256."
        );
        let style = ConvStyle::new().with_norm(NormConfig::group(3));
        assert_eq!(
            text(StageConfig::new(8).with_style(style)),
            "convs.0.norm.GroupNorm: groups (=3) do not divide the channels (=8). Choose groups that do."
        );
    }
}
