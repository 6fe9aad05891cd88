//! Decides what the CPU kernels do: whether they accept a convolution, a transposed convolution, a norm or a pool, which
//! algorithm they use, and how much memory they need for it.
//!
//! These are pure functions of numbers, without tensors. The dispatch, the kernels and the memory estimate of a plan
//! all call them. Every threshold of such a decision is defined here, once. (Block sizes, which affect neither the
//! algorithm nor the memory, are defined next to the loops that use them.)
//!
//! The kernels work on two spatial axes: a 1-D map is treated as a map of one row. A volume is treated as one map for each
//! slice of its output, whose channels are the channels of the volume once for each tap of the depth.

mod activation;
mod dilation;
mod reach;
mod shapes;
mod workspace;

pub use activation::{Curved, FusedActivation, Piecewise};
pub use dilation::{PhaseLayout, Undilated};
pub use reach::Reached;
pub use shapes::{
    Axes, AxisNumbers, ConvShape, Depth, Geometry, SourceShape, StoredSlices, TransposedShape,
};
pub use workspace::SourceGradient;

use alloc::vec;
use core::ops::Range;

/// The largest stride, and the largest number of rows or columns of outputs that are computed side by side.
pub const MAX_STEP: usize = 4;

/// Tensors that a recorded convolution may have as inputs: Burn's autodiff takes an array of nodes.
pub const MAX_TENSORS: usize = 192;

/// Tensors of a source: the map and, where it is read through a norm, the four vectors of the norm.
const TENSORS_OF_A_SOURCE: usize = 5;

/// Tensors besides the sources: weight, bias, the four vectors of the norm that follows, residual.
const OTHER_TENSORS: usize = 7;

/// The most maps of a lazy concatenation that a convolution reads without materialising it.
pub const MAX_SOURCES: usize = (MAX_TENSORS - OTHER_TENSORS) / TENSORS_OF_A_SOURCE;

/// The most values that one row of windows may read: a thread packs them all.
const MAX_ROW_VALUES: usize = 1 << 22;

/// The most inputs and outputs of a group whose outputs are computed one after the other: more share the values that they
/// read.
const MAX_SMALL_GROUP: usize = 2;

/// Positions of a plane of which all multiples are at the same place in the caches, or nearly (measured).
const SHARED_SETS: usize = 4096;

/// The most outputs in the lanes of vectors for a pointwise convolution with a stride (measured).
const MAX_STRIDED_OUTPUTS: usize = 128;

/// The positions of a piece of a map that has one row: enough that little is packed twice where the pieces overlap.
const LINE_PIECE: usize = 256;

/// The fewest input and output channels for which Winograd pays (measured): enough products to pay for the transforms
/// of both maps.
const MIN_WINOGRAD_CHANNELS: usize = 32;

/// The fewest positions of one map: enough for vectors of tiles.
const MIN_WINOGRAD_POSITIONS: usize = 32;

/// The fewest positions in the whole batch that pay for transforming a weight that is used once.
const MIN_WINOGRAD_BATCH_POSITIONS: usize = 512;

/// The same limits for the gradient of the weight. It needs fewer outputs, since only one transform depends on them.
const MIN_WINOGRAD_GRADIENT_OUTPUTS: usize = 16;
const MIN_WINOGRAD_GRADIENT_POSITIONS: usize = 64;
const MIN_WINOGRAD_GRADIENT_BATCH_POSITIONS: usize = 256;

/// The most floats for the components of one row of tiles in the gradient of the weight.
const MAX_TILE_ROW_COMPONENTS: usize = 1 << 20;

/// The fewest positions in the whole batch that pay for summing or interleaving the taps of a weight that is used once.
const MIN_TAP_SUM_POSITIONS: usize = 1024;

/// A convolution is too small for Winograd's components (measured) with fewer positions of a map and fewer outputs than
/// these,
const FEW_POSITIONS: usize = 512;
const FEW_OUTPUTS: usize = 64;

/// or with fewer positions than this and as many products, of a position and a tap, at most.
const VERY_FEW_POSITIONS: usize = 64;
const FEW_PRODUCTS: usize = 64 * 1024;

/// Positions of a row that are enough to be lanes of vectors themselves, and vectors of outputs that are enough beside fewer.
const LONG_ROW: usize = 32;
const FEWEST_VECTORS: usize = 2;

/// Components of a tile of Winograd's F(2x2, 3x3).
pub const COMPONENTS: usize = 16;

/// Rows of a weight's components that are interleaved.
pub const BLOCK: usize = 8;

/// The lanes of the widest vectors. Where vectors run over channels, the channels are padded to a multiple of it.
pub const LANES: usize = 16;

/// How often packed weights are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightUse {
    /// In one call: in training, where the weight changes with every step.
    Once,
    /// In many calls: in inference, where the layer caches them.
    Kept,
}

/// How a convolution is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// Tap by tap, with the positions as the lanes of vectors.
    Direct,
    /// Tap by tap, with the outputs as the lanes of vectors.
    OutputsInLanes,
    /// Winograd's F(2x2, 3x3), by the components of the weight.
    Winograd,
    /// Taps that read the same value of an enlarged map are summed first, separately for the outputs at each position
    /// modulo `step`.
    TapSums {
        /// Rows and columns of outputs that are computed side by side.
        step: [usize; 2],
    },
}

impl ConvShape {
    /// The input channels.
    pub fn inputs(&self) -> usize {
        let channels = self.sources.iter().map(|source| source.channels);
        channels.fold(0, usize::saturating_add)
    }

    /// The channels that an output slice reads: those of the input, once for each tap of the depth.
    pub fn seen_channels(&self) -> usize {
        self.inputs().saturating_mul(self.geometry.depth.kernel)
    }

    /// Whether the kernels accept it, given f32 tensors on a backend that has kernels.
    pub fn is_taken(&self) -> bool {
        if let Some(reached) = self.reached() {
            return reached.shape.is_taken();
        }
        let Geometry { stride, groups, .. } = self.geometry;
        let is_enlarged = self.sources.iter().any(SourceShape::is_enlarged);
        let Some(first) = self.sources.first() else {
            return false;
        };
        self.sources.len() <= MAX_SOURCES
            && (groups == 1 || self.sources.len() == 1)
            && (!is_enlarged || (self.geometry.is_dense() && groups == 1))
            && stride.iter().all(|&stride| stride <= MAX_STEP)
            && self.geometry.depth.stride <= MAX_STEP
            && has_short_rows(
                &self.geometry,
                [first.read_size(), self.geometry.size],
                self.geometry
                    .packed_channels(self.seen_channels().max(self.outputs)),
            )
    }

    /// Whether it goes along one row, which is divided into [pieces](pieces_of_line).
    pub fn is_line(&self) -> bool {
        let is_row = |source: &SourceShape| source.read_size()[0] == 1;
        self.geometry.is_line() && self.sources.iter().all(is_row)
    }

    /// How the output is computed.
    pub fn algorithm(&self, weight: WeightUse) -> Algorithm {
        if self.is_winograd(weight) {
            return Algorithm::Winograd;
        }
        if self.has_outputs_in_lanes() {
            return Algorithm::OutputsInLanes;
        }
        // With an enlarged map, the outputs at each position modulo its factors need fewer products.
        let mut sources = self.sources.iter();
        match sources.find(|source| source.has_enlarged_planes()) {
            Some(source)
                if source.factors.iter().all(|&factor| factor <= MAX_STEP)
                    && (weight == WeightUse::Kept || self.has_tap_sum_positions()) =>
            {
                Algorithm::TapSums {
                    step: source.factors,
                }
            }
            _ => Algorithm::Direct,
        }
    }

    fn is_winograd(&self, weight: WeightUse) -> bool {
        self.could_be_winograd(weight)
            && !(self.is_small_for_winograd() && self.has_outputs_in_lanes())
    }

    /// The same if outputs cannot be the lanes instead.
    fn could_be_winograd(&self, weight: WeightUse) -> bool {
        let Geometry {
            kernel,
            pad,
            groups,
            size,
            ..
        } = self.geometry;
        // A doubled map can be read if each tile starts at the second copy of a value.
        let is_odd = pad.iter().all(|pad| pad.rem_euclid(2) == 1);
        let is_readable = |source: &SourceShape| {
            !source.has_enlarged_planes() || (source.factors == [2, 2] && is_odd)
        };
        let is_enough = |batch_positions: usize| match weight {
            WeightUse::Kept => true,
            WeightUse::Once => batch_positions >= MIN_WINOGRAD_BATCH_POSITIONS,
        };
        kernel == [3, 3]
            && self.geometry.is_dense()
            && groups == 1
            && size[0] > 1
            && self.sources.iter().all(is_readable)
            && self.seen_channels() >= MIN_WINOGRAD_CHANNELS
            && self.outputs >= MIN_WINOGRAD_CHANNELS
            && self.geometry.plane_positions() >= MIN_WINOGRAD_POSITIONS
            && is_enough(self.batch.saturating_mul(self.geometry.positions()))
    }

    /// Whether its transforms take longer than the products that they save, beside a direct convolution with the outputs in
    /// the lanes: those of few outputs or few positions.
    fn is_small_for_winograd(&self) -> bool {
        let positions = self.geometry.plane_positions();
        (positions < FEW_POSITIONS && self.outputs < FEW_OUTPUTS)
            || (positions < VERY_FEW_POSITIONS && self.has_few_products())
    }

    fn has_few_products(&self) -> bool {
        self.seen_channels().saturating_mul(self.outputs) <= FEW_PRODUCTS
    }

    /// Whether the outputs of a convolution that is not Winograd's are the lanes of vectors.
    fn has_outputs_in_lanes(&self) -> bool {
        let is_enlarged = self.sources.iter().any(SourceShape::is_enlarged);
        let [inputs, outputs] = [self.inputs(), self.outputs];
        !is_enlarged && self.geometry.has_outputs_in_lanes([inputs, outputs])
    }

    /// Whether the weight of a direct convolution is copied so that what a tile of outputs reads follows each other in
    /// memory. (What a pointwise convolution reads follows each other already, and that is enough.)
    pub fn interleaves_weight(&self, weight: WeightUse) -> bool {
        self.geometry.groups == 1
            && self.geometry.plane_taps() > 1
            && self.outputs >= BLOCK
            && (weight == WeightUse::Kept || self.has_tap_sum_positions())
    }

    fn has_tap_sum_positions(&self) -> bool {
        self.batch.saturating_mul(self.geometry.positions()) >= MIN_TAP_SUM_POSITIONS
    }

    /// Whether the weight gradient of an enlarged source is computed through sums of taps. (If not, the source is packed
    /// enlarged.)
    pub fn has_weight_gradient_by_tap_sums(&self) -> bool {
        self.sources.iter().any(SourceShape::is_enlarged) && self.has_tap_sum_positions()
    }

    /// How the gradient of the weight is computed, for sources that are read without sums of taps.
    pub fn weight_gradient_algorithm(&self) -> Algorithm {
        let Geometry {
            kernel,
            groups,
            size,
            ..
        } = self.geometry;
        let channels = self.seen_channels().next_multiple_of(LANES);
        let tile_row = size[1].div_ceil(2).saturating_mul(channels);
        let pays = kernel == [3, 3]
            && self.geometry.is_dense()
            && groups == 1
            && size[0] > 1
            && !self.sources.iter().any(SourceShape::is_enlarged)
            && self.seen_channels() >= MIN_WINOGRAD_CHANNELS
            && self.outputs >= MIN_WINOGRAD_GRADIENT_OUTPUTS
            && self.geometry.plane_positions() >= MIN_WINOGRAD_GRADIENT_POSITIONS
            && self.batch.saturating_mul(self.geometry.positions())
                >= MIN_WINOGRAD_GRADIENT_BATCH_POSITIONS
            && tile_row.saturating_mul(COMPONENTS) <= MAX_TILE_ROW_COMPONENTS;
        match pays {
            true => Algorithm::Winograd,
            false => Algorithm::Direct,
        }
    }

    /// The transposed convolution from the gradient of the output to the gradient of `channels` channels of spatial size
    /// `size`.
    pub fn input_gradient(&self, channels: usize, size: Axes) -> TransposedShape {
        TransposedShape {
            geometry: self.geometry.clone(),
            batch: self.batch,
            inputs: self.outputs,
            outputs: channels,
            size,
        }
    }
}

impl TransposedShape {
    /// Whether the kernels accept it, given f32 tensors on a backend that has kernels.
    pub fn is_taken(&self) -> bool {
        let is_near = |&stride: &usize| stride <= MAX_STEP;
        self.geometry.stride.iter().all(is_near)
            && is_near(&self.geometry.depth.stride)
            && has_short_rows(
                &self.geometry,
                [self.geometry.size, self.size.plane],
                self.geometry
                    .packed_channels(self.seen_channels().max(self.outputs)),
            )
    }

    /// Whether it goes along one row, which is divided into [pieces](pieces_of_line).
    pub fn is_line(&self) -> bool {
        self.geometry.is_line() && self.size.plane[0] == 1
    }

    /// The most channels that an output slice reads: the inputs, once for each tap of the depth that reaches it.
    fn seen_channels(&self) -> usize {
        self.inputs.saturating_mul(self.depth_taps())
    }

    /// The most taps of the depth that reach one output slice.
    pub fn depth_taps(&self) -> usize {
        let Depth {
            kernel,
            stride,
            dilation,
            ..
        } = self.geometry.depth;
        kernel.div_ceil(stride / greatest_common_divisor(stride, dilation))
    }

    /// How an output of maps with these channels is computed. Its packed weight is not cached, even in inference.
    pub fn algorithm(&self, maps: &[Range<usize>]) -> Algorithm {
        let rotated = self.rotated();
        let is_in_lanes = self.reads_weight_as_stored(maps) && {
            let outputs = maps.iter().map(Range::len).fold(0, usize::saturating_add);
            let of_all_maps = ConvShape {
                outputs,
                ..rotated.clone()
            };
            of_all_maps.has_outputs_in_lanes()
        };
        if is_in_lanes && rotated.is_small_for_winograd() {
            return Algorithm::OutputsInLanes;
        }
        if rotated.could_be_winograd(WeightUse::Once) {
            return Algorithm::Winograd;
        }
        match is_in_lanes {
            true => Algorithm::OutputsInLanes,
            false => Algorithm::Direct,
        }
    }

    /// Whether the channels of these maps follow each other in the weight, and each slice and position is reached by the
    /// same taps.
    fn reads_weight_as_stored(&self, maps: &[Range<usize>]) -> bool {
        let follow = |pair: &[Range<usize>]| pair[0].end == pair[1].start;
        maps.windows(2).all(follow)
            && self.geometry.depth.is_pointwise()
            && self.geometry.stride == [1, 1]
    }

    /// Whether the transposed weight is written so that what a tile of channels reads follows each other in memory, for
    /// an output of so many maps.
    pub fn interleaves_weight(&self, maps: usize) -> bool {
        self.geometry.groups == 1 && maps == 1 && self.outputs >= BLOCK
    }

    /// The equivalent convolution of each slice by the kernel turned by 180 degrees, for a geometry without stride.
    pub fn rotated(&self) -> ConvShape {
        let reach = self.geometry.reach();
        ConvShape {
            geometry: Geometry {
                pad: core::array::from_fn(|axis| reach[axis] as isize - self.geometry.pad[axis]),
                size: self.size.plane,
                // (Each slice reads through its own taps; only their number counts.)
                depth: Depth {
                    kernel: self.depth_taps(),
                    size: self.size.depth,
                    ..Depth::FLAT
                },
                ..self.geometry.clone()
            },
            batch: self.batch,
            sources: vec![SourceShape::plain(self.inputs, self.geometry.size)],
            outputs: self.outputs,
        }
    }

    /// The convolution that computes its input gradient.
    pub fn convolution(&self) -> ConvShape {
        ConvShape {
            geometry: self.geometry.clone(),
            batch: self.batch,
            sources: vec![SourceShape {
                slices: StoredSlices::plain(self.size.depth),
                ..SourceShape::plain(self.outputs, self.size.plane)
            }],
            outputs: self.inputs,
        }
    }
}

fn greatest_common_divisor(a: usize, b: usize) -> usize {
    if b == 0 {
        a
    } else {
        greatest_common_divisor(b, a % b)
    }
}

/// How a row of `len` positions is divided into equal pieces: their number and their length. A kernel that reaches over
/// `reach` positions reads so many positions of a piece's neighbours.
pub fn pieces_of_line(len: usize, reach: usize) -> [usize; 2] {
    let most = LINE_PIECE.max(reach.saturating_mul(4));
    let pieces = len.div_ceil(most).max(1);
    // (Whole vectors, for all pieces but the last.)
    let piece = len.div_ceil(pieces).next_multiple_of(LANES).min(len);
    [len.div_ceil(piece.max(1)), piece]
}

/// Whether a row of windows reads few enough values for a thread to pack them, forward and backward.
fn has_short_rows(geometry: &Geometry, sizes: [[usize; 2]; 2], channels: usize) -> bool {
    let [rows, columns] = geometry.reach();
    let longest = sizes[0][1].max(sizes[1][1]);
    let is_line = geometry.is_line() && sizes.iter().all(|size| size[0] == 1);
    let longest = match is_line {
        true => pieces_of_line(longest, columns)[1],
        false => longest,
    };
    let columns = longest.saturating_add(columns);
    let values = channels.saturating_mul(columns);
    values.saturating_mul(rows.saturating_add(1)) <= MAX_ROW_VALUES
}

/// Whether a convolution applies its epilogue (norm, residual, activation) in the pass that writes its output. If gradients
/// are recorded, they are separate operations.
pub const fn fuses_epilogue(is_recorded: bool) -> bool {
    !is_recorded
}

/// Whether a norm after a convolution that does not fuse it is deferred to the next reader of the output, instead of
/// being written: if an activation that costs little follows it directly. The next convolution applies both while it
/// reads.
pub fn defers_norm(has_residual: bool, activation: FusedActivation) -> bool {
    activation.is_deferred() && !has_residual
}

/// Whether the backward pass of a norm needs its output: after a residual, only the output tells the derivative of the
/// activation. (Without a residual, the input tells it.)
pub fn norm_saves_output(has_residual: bool, activation: FusedActivation) -> bool {
    has_residual && activation != FusedActivation::IDENTITY
}

/// Whether the kernels accept a max pool from maps of size `input` to maps of size `output`.
pub fn takes_max_pool(input: [usize; 2], output: [usize; 2]) -> bool {
    !input.contains(&0) && !output.contains(&0)
}

#[cfg(test)]
mod tests;
