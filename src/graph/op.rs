//! [`Op`]: what a node of a plan computes, with its numbers.

use alloc::vec::Vec;

use serde::Serialize;

use super::activation::ActivationConfig;
use super::pad_mode::PadMode;
use super::pool_kind::{AdaptiveKind, PoolKind};
use super::resize_mode::ResizeMode;
use crate::shape::Axis;

/// What a node of a plan computes. Everything that reads a plan (the summary, the memory, the diagram, the
/// advice) decides by the operation, never by a label.
///
/// Layers of other crates are [`Opaque`](Self::Opaque), unless they record one of these.
///
/// # Example
/// ```
/// use burn_skip::{Trace, conv::ConvConfig, plan::Op};
///
/// let plan = ConvConfig::new([3, 8], 3).with_stride(2).plan([1, 3, 32, 32]);
/// let Op::Conv(conv) = &plan.root.op else { unreachable!() };
/// assert_eq!((&conv.kernel_size[..], &conv.stride[..]), (&[3, 3][..], &[2, 2][..]));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub enum Op {
    /// Made of its children.
    Composite,
    /// A layer of which only the shapes and the parameters are known.
    Opaque,
    /// A convolution.
    Conv(ConvOp),
    /// A transposed convolution.
    ConvTranspose(ConvOp),
    /// A norm over the channels.
    Norm(NormKind),
    /// An elementwise activation.
    Activation(ActivationConfig),
    /// A fully connected layer.
    Linear {
        /// Input and output features.
        features: [usize; 2],
        /// Whether there is a bias.
        bias: bool,
    },
    /// A resize to the size of the output.
    Resize(ResizeMode),
    /// A pool over a sliding window.
    Pool {
        /// What is taken of each window.
        kind: PoolKind,
        /// The window.
        window: WindowOp,
    },
    /// A pool to a given size.
    AdaptivePool(AdaptiveKind),
    /// The mean over all positions.
    GlobalMean,
    /// A fixed low-pass filter, a depthwise convolution without parameters.
    Blur(WindowOp),
    /// Channels become positions.
    PixelShuffle {
        /// By how much each spatial axis grows.
        scale: Vec<usize>,
    },
    /// Positions become channels.
    PixelUnshuffle {
        /// By how much each spatial axis shrinks.
        scale: Vec<usize>,
    },
    /// A concatenation.
    Concat {
        /// The axis along which the maps are joined.
        axis: Axis,
        /// Whether they are joined from the last input to the first.
        reversed: bool,
    },
    /// Maps of one shape become one, value by value.
    Elementwise(Elementwise),
    /// A factor for each channel.
    Scale,
    /// Values are dropped in training.
    Dropout,
    /// Whole channels are dropped in training.
    ChannelDropout,
    /// Whole samples are dropped in training.
    DropPath,
    /// Positions are added around the map.
    Pad(PadMode),
    /// Positions are cut off.
    Slice,
    /// Positions are added on some axes and cut off on others.
    PadOrSlice,
    /// The same values in another shape.
    Reshape,
    /// Each map in its own block of a map of zeros.
    DirectSum,
}

/// The numbers of a convolution.
///
/// See [`Op`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConvOp {
    /// Input and output channels.
    pub channels: [usize; 2],
    /// The size of the kernel on each spatial axis.
    pub kernel_size: Vec<usize>,
    /// The step on each spatial axis.
    pub stride: Vec<usize>,
    /// The distance between the taps on each spatial axis.
    pub dilation: Vec<usize>,
    /// The padding of each spatial axis; of a transposed convolution, how much of its output is cut.
    pub padding: Vec<AxisPadding>,
    /// The number of groups of channels.
    pub groups: usize,
    /// Whether there is a bias.
    pub bias: bool,
}

/// The numbers of a sliding window.
///
/// See [`Op`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WindowOp {
    /// The size on each spatial axis.
    pub kernel_size: Vec<usize>,
    /// The step on each spatial axis.
    pub stride: Vec<usize>,
    /// The distance between the taps on each spatial axis.
    pub dilation: Vec<usize>,
    /// The padding of each spatial axis.
    pub padding: Vec<AxisPadding>,
    /// Whether the last window may hang over the end of the map.
    pub ceil_mode: bool,
}

/// How many positions are added before the first and after the last of an axis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AxisPadding {
    /// Before the first.
    pub start: usize,
    /// After the last.
    pub end: usize,
}

/// Which numbers a norm is taken over, and what is added to their variance.
///
/// See [`Op`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub enum NormKind {
    /// Each channel of the whole batch.
    Batch {
        /// Added to the variance.
        epsilon: f64,
    },
    /// Each group of channels of a sample.
    Group {
        /// The number of groups.
        groups: usize,
        /// Added to the variance.
        epsilon: f64,
    },
    /// Each channel of a sample.
    Instance {
        /// Added to the variance.
        epsilon: f64,
    },
    /// The channels of each position.
    Layer {
        /// Added to the variance.
        epsilon: f64,
    },
}

/// How maps of one shape become one.
///
/// See [`Op`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Elementwise {
    /// The sum.
    Sum,
    /// The mean.
    Mean,
    /// The product.
    Product,
    /// The largest value.
    Max,
    /// The smallest value.
    Min,
    /// The first less the others.
    Difference,
}

impl Elementwise {
    /// The name of the operation, for readers.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Sum => "Add",
            Self::Mean => "Mean",
            Self::Product => "Mul",
            Self::Max => "Max",
            Self::Min => "Min",
            Self::Difference => "Sub",
        }
    }
}

/// Who runs an operation.
///
/// See [`Node::executor`](super::Node::executor).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum Executor {
    /// Burn's operations, as they are.
    #[default]
    Burn,
    /// This crate's dispatch: its kernels where there are any for the operation.
    Standalone,
    /// The same, and it may be fused with what is before or after it.
    Dispatch,
}

/// A tensor that a layer holds.
///
/// # Example
/// ```
/// use burn_skip::{Trace, norm::NormConfig};
///
/// let norm = NormConfig::batch().plan([1, 16, 8, 8]).root;
/// let learned: Vec<&str> = norm.parameters.iter().filter(|p| p.is_learned).map(|p| &p.name[..]).collect();
/// assert_eq!(learned, ["gamma", "beta"]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Parameter {
    /// The name of its field, below the node's path.
    pub name: &'static str,
    /// How many numbers it has.
    pub len: usize,
    /// Whether it is learned. (The running statistics of a batch norm are not.)
    pub is_learned: bool,
}

impl Op {
    /// The multiply-adds of the whole batch, as torchinfo counts them, for an input and an output of these
    /// shapes and so many learned weights and biases.
    pub(crate) fn mult_adds(
        &self,
        input: &[usize],
        output: &[usize],
        parameters: &[Parameter],
    ) -> u64 {
        let learned = parameters.iter().filter(|parameter| parameter.is_learned);
        let count = |times: &dyn Fn(&Parameter) -> u64| {
            let costs = learned
                .clone()
                .map(|parameter| (parameter.len as u64).saturating_mul(times(parameter)));
            costs.fold(0, u64::saturating_add)
        };
        let batch = input.first().copied().unwrap_or(0) as u64;
        match self {
            Self::Conv(_) => count(&|_| positions(output)),
            // The weights are used once for each position of the input, the biases for each of the output.
            Self::ConvTranspose(_) => count(&|parameter| match parameter.name {
                BIAS => positions(output),
                _ => positions(input),
            }),
            Self::Norm(_) | Self::Linear { .. } | Self::Activation(_) | Self::Scale => {
                count(&|_| batch)
            }
            _ => 0,
        }
    }
}

/// The name of the parameter that is added.
pub(crate) const BIAS: &str = "bias";

/// The positions of a map in all samples of a batch.
fn positions(shape: &[usize]) -> u64 {
    let size = shape.iter().skip(2).map(|&size| size as u64);
    size.fold(
        shape.first().copied().unwrap_or(0) as u64,
        u64::saturating_mul,
    )
}
