//! [`Op`]: what a node of a plan computes, with its numbers.

use alloc::vec::Vec;

use serde::Serialize;

use super::activation::ActivationConfig;
use super::block_order::BlockOrder;
use super::pad_mode::PadMode;
use super::pool_kind::{AdaptiveKind, PoolKind};
use super::resize_mode::ResizeMode;
use super::weighting::Weighting;
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
    /// Attention: the positions of the second map are read by those of the first, whose channels are the queries. The
    /// channels of the second are the keys, and the values after them.
    Attention {
        /// Into how many parts the channels are split, each of which attends by itself.
        heads: usize,
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
    /// The mean or the largest of all channels at each position.
    ChannelPool(AdaptiveKind),
    /// A fixed low-pass filter, a depthwise convolution without parameters: its taps are binomial coefficients.
    Blur {
        /// The window.
        window: WindowOp,
        /// What the padding of the window holds.
        padding: PadMode,
    },
    /// The values of all positions (the third input), weighed for each by the softmax over the products of all queries (the
    /// first) and keys (the second); see [`Pab`](crate::fuse::Pab).
    PositionAttention,
    /// Channels become positions.
    PixelShuffle {
        /// By how much each spatial axis grows.
        scale: Vec<usize>,
        /// Which channels become one cell.
        order: BlockOrder,
    },
    /// Positions become channels.
    PixelUnshuffle {
        /// By how much each spatial axis shrinks.
        scale: Vec<usize>,
        /// Which channels a cell becomes.
        order: BlockOrder,
    },
    /// Each position becomes weighted sums of its neighbourhood: the second map holds a weight for each neighbour and
    /// sum, and the sums of a channel are channels.
    Reassemble {
        /// The size of the neighbourhood on each spatial axis.
        kernel_size: Vec<usize>,
    },
    /// Channels become positive numbers that sum to one at each position.
    Softmax {
        /// How many channels sum to one; there may be several sums, side by side.
        channels: usize,
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
    /// Maps of one shape become their sum, each times learned weights: one, or one for each channel.
    WeightedSum(Weighting),
    /// A factor for each channel, or one for all.
    Scale,
    /// Values are dropped in training.
    Dropout,
    /// Whole channels are dropped in training.
    ChannelDropout,
    /// Whole samples are dropped in training.
    DropPath,
    /// Positions are added around the map, or channels behind its channels.
    Pad {
        /// What they hold.
        mode: PadMode,
        /// How many of them on each axis after the batch: the channels and the spatial axes.
        added: Vec<AxisPadding>,
    },
    /// Channels or positions are cut off.
    Slice {
        /// How many of them on each axis after the batch: the channels and the spatial axes.
        cut: Vec<AxisPadding>,
    },
    /// Positions are added on some axes and cut off on others.
    PadOrSlice {
        /// What the new positions hold.
        mode: PadMode,
        /// How many are added on each axis after the batch: the channels and the spatial axes.
        added: Vec<AxisPadding>,
        /// How many are cut off.
        cut: Vec<AxisPadding>,
    },
    /// The same values in another shape. Of several maps: the positions of one after those of the other, and zeros where
    /// the output has more.
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

/// The most weights of pairs that [`Op::PositionAttention`] computes at once: 16 MiB in f32.
const MAX_PAIRS: usize = 1 << 22;

/// How many queries [`Op::PositionAttention`] computes at once.
pub(crate) fn queries_at_once(batch: usize, positions: usize) -> usize {
    (MAX_PAIRS / batch.saturating_mul(positions).max(1)).max(1)
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
