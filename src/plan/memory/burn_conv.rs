//! What Burn's convolutions hold on flex while they run: copies with the channels last, and columns. Read from the
//! sources of Burn 0.22.1.

use super::{bytes_of, bytes_of_shape, total};
use crate::graph::ConvOp;

/// Positions whose columns are laid out at once.
const TILE: usize = 512;

/// The most that the columns of a transposed convolution take.
const MAX_COLUMNS: u64 = 8 * 1024 * 1024;

/// Values of an output from which on the maps of a batch are shared among the threads.
const PARALLEL: u64 = 256 * 1024;

/// What a convolution holds besides its operands and what it computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Workspace {
    pub(super) forward: u64,
    pub(super) backward: u64,
}

/// A convolution from a map of shape `x` to one of shape `y`.
pub(super) fn convolution(op: &ConvOp, x: &[usize], y: &[usize]) -> Workspace {
    let taps = op
        .kernel_size
        .iter()
        .copied()
        .fold(1, usize::saturating_mul);
    let inputs = x[1] / op.groups.max(1);
    let columns = transposed_columns(inputs.saturating_mul(taps), y, x);
    Workspace {
        forward: forward(op, x, y, taps),
        // The gradient of the input is a transposed convolution, that of the weight one of the batch's maps.
        backward: columns.max(weight_gradient(x, y, taps, op.groups)),
    }
}

/// A transposed convolution from a map of shape `x` to one of shape `y`.
pub(super) fn transposed(op: &ConvOp, x: &[usize], y: &[usize]) -> Workspace {
    let taps = op
        .kernel_size
        .iter()
        .copied()
        .fold(1, usize::saturating_mul);
    let outputs = y[1] / op.groups.max(1);
    let ones = |numbers: &[usize]| numbers.iter().all(|&number| number == 1);
    let is_padded = op.padding.iter().any(|pad| pad.start > 0 || pad.end > 0);
    if op.kernel_size == op.stride && ones(&op.dilation) && op.groups == 1 && !is_padded {
        // A product of matrices, before it is put in place; the weight is transposed.
        let weight = bytes_of(op.channels[0].saturating_mul(y[1]).saturating_mul(taps));
        let product = bytes_of_shape(y).saturating_add(weight);
        return Workspace {
            forward: product,
            backward: product,
        };
    }
    let mirrored = ConvOp {
        channels: [op.channels[1], op.channels[0]],
        ..op.clone()
    };
    Workspace {
        forward: transposed_columns(outputs.saturating_mul(taps), x, y),
        backward: forward(&mirrored, y, x, taps).max(weight_gradient(y, x, taps, op.groups)),
    }
}

/// A layer that is assumed to be one convolution, with as many taps as its parameters allow.
pub(super) fn assumed(parameters: usize, x: &[usize], y: &[usize]) -> Workspace {
    let kernels = x[1].saturating_mul(y[1]).max(1);
    let taps = (parameters / kernels).max(1);
    let columns = transposed_columns(x[1].saturating_mul(taps), y, x);
    Workspace {
        forward: match taps {
            1 => 0,
            _ => total([bytes_of_shape(x), tiles(x[1], y, taps)].into_iter()),
        },
        backward: columns.max(weight_gradient(x, y, taps, 1)),
    }
}

fn forward(op: &ConvOp, x: &[usize], y: &[usize], taps: usize) -> u64 {
    let ones = |numbers: &[usize]| numbers.iter().all(|&number| number == 1);
    let is_padded = op.padding.iter().any(|pad| pad.start > 0 || pad.end > 0);
    let is_pointwise = ones(&op.kernel_size) && ones(&op.stride) && !is_padded;
    let is_depthwise = x.len() < 5 && op.groups == x[1] && op.groups == y[1];
    let is_small = x.len() < 5 && op.groups == 1 && x[1] <= 4 && y[1] <= 16;
    let is_direct = x.len() == 3
        && op.groups == 1
        && !is_padded
        && ones(&op.dilation)
        && x[1] >= 32
        && taps <= 8
        && y[2] <= 800;
    if is_pointwise || is_depthwise || is_small || is_direct {
        return 0;
    }
    let inputs = x[1] / op.groups.max(1);
    let weight = bytes_of(inputs.saturating_mul(y[1]).saturating_mul(taps));
    total([weight, bytes_of_shape(x), tiles(inputs, y, taps)].into_iter())
}

/// The columns of a tile, of each thread.
fn tiles(inputs: usize, y: &[usize], taps: usize) -> u64 {
    let positions = y[2..].iter().copied().fold(1, usize::saturating_mul);
    let tiles = y[0].saturating_mul(positions.div_ceil(TILE));
    let column = inputs.saturating_mul(taps).saturating_add(y[1]);
    let tile = bytes_of(column.saturating_mul(positions.min(TILE)));
    tile.saturating_mul(threads().min(tiles as u64))
}

/// The columns of a transposed convolution from a map of shape `x` to one of shape `y`, of `rows` values a position.
fn transposed_columns(rows: usize, x: &[usize], y: &[usize]) -> u64 {
    let positions = x[2..].iter().copied().fold(1, usize::saturating_mul);
    let columns = bytes_of(rows.saturating_mul(positions)).min(MAX_COLUMNS);
    let values = bytes_of_shape(y) / 4;
    match x[0] > 1 && values >= PARALLEL {
        true => columns.saturating_mul(threads().min(x[0] as u64)),
        false => columns,
    }
}

/// The gradient of the weight is a convolution in which the batch takes the place of the channels, and the gradient of
/// the output that of the kernel.
fn weight_gradient(x: &[usize], y: &[usize], taps: usize, groups: usize) -> u64 {
    let maps = total([bytes_of_shape(x), bytes_of_shape(y)].into_iter()) / groups.max(1) as u64;
    // Of more than one map the batch has to be brought behind the channels.
    let swapped = if x[0] > 1 { maps } else { 0 };
    if groups == 1 && x.len() < 5 && x[0] <= 4 && y[1] <= 16 {
        return swapped;
    }
    let positions = y[2..].iter().copied().fold(y[0], usize::saturating_mul);
    let column = bytes_of(positions.saturating_mul(taps.min(TILE)));
    let columns = column.saturating_mul(threads().min(x[1] as u64));
    total([swapped, maps, columns].into_iter())
}

/// The threads that share the work.
pub(super) fn threads() -> u64 {
    #[cfg(feature = "kernels")]
    return rayon::current_num_threads() as u64;
    #[cfg(not(feature = "kernels"))]
    1
}
