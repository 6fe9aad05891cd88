//! [`Shortcut`]: how the input of a residual block gets the shape of its output.

use alloc::{format, vec};

use burn::tensor::{Tensor, ops::PadMode as PadValue};
use serde::{Deserialize, Serialize};

use super::NAME;
use crate::graph::window::Padding;
use crate::graph::{AxisPadding, Map, Op, PadMode, Planner, Record};
use crate::layers::block::ConvNormActConfig;
use crate::layers::layer::Layer;
use crate::layers::pool::{PoolConfig, PoolKind};
use crate::plan::Trace;
use crate::shape::{Axis, PerAxis, ShapeError, with_channels};

/// How the input gets the shape of the output where the block changes its channels or its size.
///
/// # Example
/// ```
/// use burn::tensor::Device;
/// use burn_skip::{Shortcut, SkipAdd, SkipAddConfig, block::ConvNormActConfig};
///
/// let residual = |shortcut| -> SkipAdd<_> {
///     let block = ConvNormActConfig::new([8, 16], 3).with_stride(2).init::<4>(&Device::flex());
///     let config = SkipAddConfig::new([8, 16]).with_stride(2).with_shortcut(shortcut);
///     config.init(block, &Device::flex())
/// };
/// let has_pool = |shortcut| residual(shortcut).shortcut.unwrap().0.is_some();
/// assert!(!has_pool(Shortcut::Conv)); // its 1x1 convolution reads one position of four
/// assert!(has_pool(Shortcut::PooledConv)); // it reads the mean of the four
/// assert!(residual(Shortcut::Pad).shortcut.is_none()); // nothing to learn
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Shortcut {
    /// A 1x1 convolution with the block's stride (ResNet, option B).
    #[default]
    Conv,
    /// An average pool of the block's stride and a 1x1 convolution with stride 1, so that every
    /// position is read (ResNet-D, arXiv:1812.01187; `ceil_mode`, padding not counted, as timm).
    PooledConv,
    /// The positions that the stride meets, and channels of zeros after those of the input (ResNet, option A,
    /// arXiv:1512.03385, section 3.3). It has no parameters, and cannot make channels fewer.
    Pad,
    /// A convolution with the block's stride and a larger kernel, padded by half of that at both ends, so that every
    /// position is read; a 1x1 convolution where the block keeps the size. MONAI's `ResidualUnit`.
    WideConv {
        /// The size of the kernel on every axis.
        kernel_size: usize,
    },
    /// The input, repeated along the channels until it has those of the output: V-Net (arXiv:1606.04797). It takes no
    /// stride.
    Repeat,
}

/// What a shortcut is for the channels and the stride of its block.
#[allow(clippy::large_enum_variant)] // there is one at a time
pub(super) enum Path {
    /// The input as it is.
    Identity,
    /// A pool or none, and a convolution.
    Project(Option<PoolConfig>, ConvNormActConfig),
    /// Positions left out, and channels of zeros.
    Pad(ZeroChannels),
    /// The input, so many times.
    Repeat(usize),
}

impl Path {
    /// The path of a block of these channels and strides; `conv` is its 1x1 convolution, without the stride.
    pub(super) fn new(
        shortcut: Shortcut,
        [input, output]: [usize; 2],
        (stride, strides): (&PerAxis, &[usize]),
        conv: impl FnOnce() -> ConvNormActConfig,
    ) -> Result<Self, ShapeError> {
        let is_strided = strides.iter().any(|&stride| stride > 1);
        if input == output && !is_strided {
            return Ok(Self::Identity);
        }
        Ok(match shortcut {
            Shortcut::Conv => Self::Project(None, conv().with_stride(stride.clone())),
            Shortcut::PooledConv => {
                let pool = PoolConfig::new(PoolKind::Avg, stride.clone()).with_ceil_mode(true);
                Self::Project(is_strided.then_some(pool), conv())
            }
            Shortcut::WideConv { kernel_size } => {
                let mut conv = conv().with_stride(stride.clone());
                if is_strided && kernel_size != 1 {
                    conv.kernel_size = kernel_size.into();
                    conv = conv.with_padding(Padding::explicit(kernel_size / 2));
                }
                Self::Project(None, conv)
            }
            Shortcut::Repeat if is_strided => {
                return Err(ShapeError::new(
                    NAME,
                    format!("the stride is {stride}, and Shortcut::Repeat keeps the size"),
                    "Set the stride to 1, or choose another shortcut",
                ));
            }
            Shortcut::Repeat if input == 0 || !output.is_multiple_of(input) => {
                return Err(ShapeError::new(
                    NAME,
                    format!("{input} channels cannot be repeated to {output}"),
                    "Choose a multiple, or another shortcut",
                ));
            }
            Shortcut::Repeat => Self::Repeat(output / input),
            Shortcut::Pad if output < input => {
                return Err(ShapeError::new(
                    NAME,
                    format!("Shortcut::Pad cannot make {output} channels of {input}"),
                    "Choose Shortcut::Conv or Shortcut::PooledConv",
                ));
            }
            Shortcut::Pad => {
                let subsample = PoolConfig::new(PoolKind::Avg, 1).with_stride(stride.clone());
                Self::Pad(ZeroChannels {
                    subsample: is_strided.then_some(subsample),
                    channels: output - input,
                })
            }
        })
    }
}

/// Records `x`, `repeats` times along the channels.
pub(super) fn trace_repeat<const R: usize>(
    planner: &mut Planner,
    x: &Map<R>,
    repeats: usize,
) -> Result<Map<R>, ShapeError> {
    let op = Op::Concat {
        axis: Axis::Channels,
        reversed: false,
    };
    let output = with_channels(x.shape, x.shape[1].saturating_mul(repeats));
    let (names, maps) = (vec!["input"; repeats], vec![x; repeats]);
    planner.merge("Concat", op, &names, &maps, Ok(output))
}

/// Positions left out, and channels of zeros appended.
pub(super) struct ZeroChannels {
    /// A mean of one position for each stride.
    subsample: Option<PoolConfig>,
    /// How many channels are appended.
    channels: usize,
}

impl ZeroChannels {
    pub(super) fn trace<const R: usize>(
        &self,
        planner: &mut Planner,
        x: &Map<R>,
    ) -> Result<Map<R>, ShapeError> {
        let x = self.subsample.trace(planner.at(""), x)?;
        if self.channels == 0 {
            return Ok(x);
        }
        planner.leaf("ZeroChannels", &[&x], || {
            let output = with_channels(x.shape, x.shape[1].saturating_add(self.channels));
            let mut added = vec![AxisPadding::default(); R - 1];
            added[0].end = self.channels;
            let mode = PadMode::Zero;
            Ok(Record::new(Op::Pad { mode, added }, output).on_grid_of(&x))
        })
    }

    pub(super) fn forward<const R: usize>(&self, x: Tensor<R>) -> Tensor<R> {
        let x = match &self.subsample {
            Some(pool) => pool.init().forward(x),
            None => x,
        };
        if self.channels == 0 {
            return x;
        }
        let mut pads = [(0, 0); R];
        pads[1] = (0, self.channels);
        x.pad(pads, PadValue::Constant(0.0))
    }
}
