//! What the CPU kernels do with a convolution, a transposed convolution, a norm or a pool: whether they take it, by
//! which algorithm, and what they hold in memory meanwhile.
//!
//! Pure functions of plain numbers, without tensors. The dispatch and the kernels decide by them, and the memory of
//! a plan asks them. Every threshold of such a decision stands here, once. (Sizes of blocks, which change neither
//! the algorithm nor what is held for long, stand beside the loops that use them.)
//!
//! Kernels compute over two axes: a map of one spatial axis has one row.

mod shapes;
mod workspace;

pub(crate) use shapes::{
    AxisNumbers, ConvShape, Geometry, SourceShape, TransposedShape, on_two_axes,
};
pub(crate) use workspace::SourceGradient;

use alloc::vec;

/// The largest stride, and the largest number of rows or columns of outputs that are computed side by side.
pub(crate) const MAX_STEP: usize = 4;

/// Tensors that a recorded convolution may have as inputs: Burn's autodiff takes an array of nodes.
pub(crate) const MAX_TENSORS: usize = 192;

/// Tensors of a source: the map and, where it is read through a norm, the four vectors of the norm.
const TENSORS_OF_A_SOURCE: usize = 5;

/// Tensors besides the sources: weight, bias, the four vectors of the norm that follows, residual.
const OTHER_TENSORS: usize = 7;

/// Maps that a convolution reads as one concatenation without writing it.
pub(crate) const MAX_SOURCES: usize = (MAX_TENSORS - OTHER_TENSORS) / TENSORS_OF_A_SOURCE;

/// Values that one row of windows reads, up to which a thread lays them out.
const MAX_ROW_VALUES: usize = 1 << 22;

/// The same for a map of one row, which threads do not share.
const MAX_SINGLE_ROW_VALUES: usize = MAX_ROW_VALUES / 16;

/// Winograd pays (measured) from so many input and output channels on: there are products enough for the transforms
/// of both maps.
const MIN_WINOGRAD_CHANNELS: usize = 32;

/// Positions of one map, so that there are vectors of tiles.
const MIN_WINOGRAD_POSITIONS: usize = 32;

/// Positions of all maps of the batch, for the transform of a weight that is used once.
const MIN_WINOGRAD_BATCH_POSITIONS: usize = 512;

/// The same for the gradient to the weight: fewer outputs are enough, since only one transform depends on them.
const MIN_WINOGRAD_GRADIENT_OUTPUTS: usize = 16;
const MIN_WINOGRAD_GRADIENT_POSITIONS: usize = 64;
const MIN_WINOGRAD_GRADIENT_BATCH_POSITIONS: usize = 256;

/// Floats that the components of one row of tiles may take in the gradient to the weight.
const MAX_TILE_ROW_COMPONENTS: usize = 1 << 20;

/// Positions of all maps of the batch from which on summing the taps of a weight that is used once pays.
const MIN_TAP_SUM_POSITIONS: usize = 1024;

/// Components of a tile of Winograd's F(2x2, 3x3).
pub(crate) const COMPONENTS: usize = 16;

/// Rows of a weight's components that lie side by side.
pub(crate) const BLOCK: usize = 8;

/// Channels are filled up to a multiple of this where vectors run over them: the lanes of the widest vectors.
pub(crate) const LANES: usize = 16;

/// How long what is made of a weight is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WeightUse {
    /// For one call: in training, where the weight changes with every step.
    Once,
    /// For many calls: in inference, where the layer keeps it.
    Kept,
}

/// How a convolution is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// Tap by tap.
    Direct,
    /// Winograd's F(2x2, 3x3), by the components of the weight.
    Winograd,
    /// Taps that read the same value of an enlarged map are summed, for the outputs at each position modulo `step`.
    TapSums {
        /// Rows and columns of outputs that are computed side by side.
        step: [usize; 2],
    },
}

impl ConvShape {
    /// The input channels.
    pub(crate) fn inputs(&self) -> usize {
        let channels = self.sources.iter().map(|source| source.channels);
        channels.fold(0, usize::saturating_add)
    }

    /// Whether the kernels take it. (Maps and weight are to be of f32, on a backend that has kernels.)
    pub(crate) fn is_taken(&self) -> bool {
        let Geometry { stride, groups, .. } = self.geometry;
        let is_enlarged = self.sources.iter().any(SourceShape::is_enlarged);
        let Some(first) = self.sources.first() else {
            return false;
        };
        self.sources.len() <= MAX_SOURCES
            && (groups == 1 || self.sources.len() == 1)
            && (!is_enlarged || (self.geometry.is_dense() && groups == 1))
            && stride.iter().all(|&stride| stride <= MAX_STEP)
            && has_short_rows(
                &self.geometry,
                [first.read_size(), self.geometry.size],
                self.inputs().max(self.outputs),
            )
    }

    /// How the output is computed.
    pub(crate) fn algorithm(&self, weight: WeightUse) -> Algorithm {
        if self.is_winograd(weight) {
            return Algorithm::Winograd;
        }
        // Where a map is enlarged, the outputs at each position modulo its factors need fewer products.
        let enlarged = self.sources.iter().find(|source| source.is_enlarged());
        match enlarged {
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
        let Geometry {
            kernel,
            pad,
            groups,
            size,
            ..
        } = self.geometry;
        let positions = self.geometry.positions();
        // A doubled map is read as it lies where a tile begins with the second half of a value.
        let is_odd = pad.iter().all(|pad| pad.rem_euclid(2) == 1);
        let is_readable =
            |source: &SourceShape| !source.is_enlarged() || (source.factors == [2, 2] && is_odd);
        let is_enough = |batch_positions: usize| match weight {
            WeightUse::Kept => true,
            WeightUse::Once => batch_positions >= MIN_WINOGRAD_BATCH_POSITIONS,
        };
        kernel == [3, 3]
            && self.geometry.is_dense()
            && groups == 1
            && size[0] > 1
            && self.sources.iter().all(is_readable)
            && self.inputs() >= MIN_WINOGRAD_CHANNELS
            && self.outputs >= MIN_WINOGRAD_CHANNELS
            && positions >= MIN_WINOGRAD_POSITIONS
            && is_enough(self.batch.saturating_mul(positions))
    }

    fn has_tap_sum_positions(&self) -> bool {
        self.batch.saturating_mul(self.geometry.positions()) >= MIN_TAP_SUM_POSITIONS
    }

    /// Whether the gradient to the weight of an enlarged source is taken through the sums of its taps. (Else the
    /// source is read enlarged.)
    pub(crate) fn has_weight_gradient_by_tap_sums(&self) -> bool {
        self.sources.iter().any(SourceShape::is_enlarged) && self.has_tap_sum_positions()
    }

    /// How the gradient to the weight is computed, of sources that are read without sums of taps.
    pub(crate) fn weight_gradient_algorithm(&self) -> Algorithm {
        let Geometry {
            kernel,
            groups,
            size,
            ..
        } = self.geometry;
        let positions = self.geometry.positions();
        let channels = self.inputs().next_multiple_of(LANES);
        let tile_row = size[1].div_ceil(2).saturating_mul(channels);
        let pays = kernel == [3, 3]
            && self.geometry.is_dense()
            && groups == 1
            && size[0] > 1
            && !self.sources.iter().any(SourceShape::is_enlarged)
            && self.inputs() >= MIN_WINOGRAD_CHANNELS
            && self.outputs >= MIN_WINOGRAD_GRADIENT_OUTPUTS
            && positions >= MIN_WINOGRAD_GRADIENT_POSITIONS
            && self.batch.saturating_mul(positions) >= MIN_WINOGRAD_GRADIENT_BATCH_POSITIONS
            && tile_row.saturating_mul(COMPONENTS) <= MAX_TILE_ROW_COMPONENTS;
        match pays {
            true => Algorithm::Winograd,
            false => Algorithm::Direct,
        }
    }

    /// The transposed convolution that takes the gradient of the output to `channels` of a map of `size`.
    pub(crate) fn input_gradient(&self, channels: usize, size: [usize; 2]) -> TransposedShape {
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
    /// Whether the kernels take it. (Maps and weight are to be of f32, on a backend that has kernels.)
    pub(crate) fn is_taken(&self) -> bool {
        let is_near = |&stride: &usize| stride <= MAX_STEP;
        self.geometry.stride.iter().all(is_near)
            && has_short_rows(
                &self.geometry,
                [self.geometry.size, self.size],
                self.inputs.max(self.outputs),
            )
    }

    /// How it is computed. The weight is used once, in inference too.
    pub(crate) fn algorithm(&self) -> Algorithm {
        match self.rotated().is_winograd(WeightUse::Once) {
            true => Algorithm::Winograd,
            false => Algorithm::Direct,
        }
    }

    /// The convolution by the kernel turned by 180 degrees that it is, if its kernel is a dense one of 3x3.
    pub(crate) fn rotated(&self) -> ConvShape {
        ConvShape {
            geometry: Geometry {
                pad: self.geometry.pad.map(|pad| 2 - pad),
                size: self.size,
                ..self.geometry.clone()
            },
            batch: self.batch,
            sources: vec![SourceShape::plain(self.inputs, self.geometry.size)],
            outputs: self.outputs,
        }
    }

    /// The convolution that its gradient is.
    pub(crate) fn convolution(&self) -> ConvShape {
        ConvShape {
            geometry: self.geometry.clone(),
            batch: self.batch,
            sources: vec![SourceShape::plain(self.outputs, self.size)],
            outputs: self.inputs,
        }
    }
}

/// Whether what a row of windows reads is so little that a thread can lay it out, forward and backward.
fn has_short_rows(geometry: &Geometry, sizes: [[usize; 2]; 2], channels: usize) -> bool {
    let [rows, columns] = geometry.reach();
    let is_single = rows == 0 && sizes.iter().all(|size| size[0] == 1);
    let most = match is_single {
        true => MAX_SINGLE_ROW_VALUES,
        false => MAX_ROW_VALUES,
    };
    let columns = sizes[0][1].max(sizes[1][1]).saturating_add(columns);
    let values = channels.saturating_mul(columns);
    values.saturating_mul(rows.saturating_add(1)) <= most
}

/// Whether a convolution applies what follows it (scale and shift of each channel, residual, ReLU) in the pass that
/// writes its output. Where gradients are recorded they are operations of their own.
pub(crate) const fn fuses_epilogue(is_recorded: bool) -> bool {
    !is_recorded
}

/// Whether a norm behind a convolution that could not fuse it is deferred to the layer that reads its output next,
/// instead of being written: where ReLU follows it, and no residual in between. A convolution applies it as it reads.
pub(crate) const fn defers_norm(has_residual: bool, relu: bool) -> bool {
    relu && !has_residual
}

/// Whether the gradient of a norm needs its output: behind a residual, only the output tells what ReLU has zeroed.
/// (Without one, the input tells it.)
pub(crate) const fn norm_saves_output(has_residual: bool, relu: bool) -> bool {
    has_residual && relu
}

/// Whether the kernel takes a max pool from maps of size `input` to maps of size `output`.
pub(crate) const fn takes_max_pool(input: [usize; 2], output: [usize; 2]) -> bool {
    input[0] > 0 && input[1] > 0 && output[0] > 0 && output[1] > 0
}

#[cfg(test)]
mod tests;
