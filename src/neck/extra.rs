//! [`ExtraLevels`]: levels of a pyramid below the coarsest map.

use alloc::{vec, vec::Vec};

use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use serde::{Deserialize, Serialize};

use crate::graph::window::Padding;
use crate::graph::{Map, Planner};
use crate::layers::activation::ActivationConfig;
use crate::layers::block::{ConvNormAct, ConvNormActConfig, ConvStyle};
use crate::layers::layer::Layer;
use crate::layers::pool::{PoolConfig, PoolKind};
use crate::plan::Trace;
use crate::shape::ShapeError;

/// Maps below the coarsest, each of half the size of the one before it.
///
/// # Example
/// ```
/// use burn_skip::neck::{ExtraLevels, FpnConfig};
///
/// let maps = [[1, 8, 17, 11], [1, 32, 9, 6]];
/// let config = FpnConfig::new(16).with_extra(ExtraLevels::OfInput);
/// let shapes = config.output_shapes(&maps).unwrap();
/// assert_eq!(shapes[2..], [[1, 16, 5, 3], [1, 16, 3, 2]]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum ExtraLevels {
    /// Every second position of the coarsest output, for the anchors of Faster R-CNN; torchvision's
    /// `LastLevelMaxPool`.
    MaxPool,
    /// Two: a 3x3 convolution with stride 2 of the coarsest input, and one of that after ReLU (RetinaNet,
    /// arXiv:1708.02002); torchvision's `LastLevelP6P7` where it reads the input.
    OfInput,
    /// The same of the coarsest output (FCOS, arXiv:1904.01355).
    OfOutput,
}

/// A max pool that takes every second position.
fn every_second() -> PoolConfig {
    PoolConfig::new(PoolKind::Max, 1).with_stride(2)
}

/// A 3x3 convolution to half the size, with a padding of 1 at both ends as PyTorch's.
pub(super) fn halving(channels: [usize; 2], style: ConvStyle) -> ConvNormActConfig {
    ConvNormActConfig::new(channels, 3)
        .with_style(style.with_padding(Padding::explicit(1)))
        .with_stride(2)
}

impl ExtraLevels {
    /// The convolutions, below a coarsest input of `input` channels and outputs of `channels`.
    pub(super) fn convs(self, input: usize, channels: usize) -> Vec<ConvNormActConfig> {
        let first = match self {
            Self::MaxPool => return Vec::new(),
            Self::OfInput => input,
            Self::OfOutput => channels,
        };
        let conv = |from| halving([from, channels], ConvStyle::bare());
        vec![conv(first), conv(channels)]
    }

    /// Records the levels below the coarsest input and output, of `channels` channels.
    pub(super) fn trace<const R: usize>(
        self,
        planner: &mut Planner,
        channels: usize,
        [input, output]: [Map<R>; 2],
    ) -> Result<Vec<Map<R>>, ShapeError> {
        let from = match self {
            Self::MaxPool => {
                return Ok(vec![every_second().trace(planner.at(""), &output)?]);
            }
            Self::OfInput => &input,
            Self::OfOutput => &output,
        };
        let convs = self.convs(input.shape[1], channels);
        let first = convs[0].trace(planner.at("extra.0"), from)?;
        let active = ActivationConfig::Relu.trace(planner.at(""), &first)?;
        let second = convs[1].trace(planner.at("extra.1"), &active)?;
        Ok(vec![first, second])
    }

    /// The coarsest input, if that is what the levels are made of.
    pub(super) fn input_of<const R: usize>(self, maps: &[Tensor<R>]) -> Option<Tensor<R>> {
        maps.last().filter(|_| self == Self::OfInput).cloned()
    }

    /// The levels, by the convolutions `convs`, of the coarsest input if there is one, or of the coarsest output.
    pub(super) fn forward<const R: usize>(
        self,
        convs: &[ConvNormAct<R>],
        input: Option<Tensor<R>>,
        output: &Tensor<R>,
    ) -> Vec<Tensor<R>> {
        if self == Self::MaxPool {
            return vec![every_second().init().forward(output.clone())];
        }
        let first = convs[0].forward(input.unwrap_or_else(|| output.clone()));
        let second = convs[1].forward(relu(first.clone()));
        vec![first, second]
    }
}
