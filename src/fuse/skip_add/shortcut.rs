//! [`Shortcut`]: how the input of a residual block gets the shape of its output.

use alloc::format;

use burn::tensor::{Tensor, ops::PadMode as Padding};
use serde::{Deserialize, Serialize};

use super::NAME;
use crate::graph::{Map, Op, PadMode, Planner, Record};
use crate::layers::block::ConvNormActConfig;
use crate::layers::layer::Layer;
use crate::layers::pool::{PoolConfig, PoolKind};
use crate::plan::Trace;
use crate::shape::{PerAxis, ShapeError, with_channels};

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
}

/// What a shortcut is for the channels and the stride of its block.
pub(super) enum Path {
    /// The input as it is.
    Identity,
    /// A pool or none, and a 1x1 convolution.
    Project(Option<PoolConfig>, ConvNormActConfig),
    /// Positions left out, and channels of zeros.
    Pad(ZeroChannels),
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
            Ok(Record::new(Op::Pad(PadMode::Zero), output).on_grid_of(&x))
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
        x.pad(pads, Padding::Constant(0.0))
    }
}
