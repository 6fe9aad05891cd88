//! How large the tiles of an output are: as the caches take them, and so many that all threads are at work.

use super::packing::{Packing, ReadWindow};
use super::threads;

/// Floats that the packed rows of a tile may take: half of a usual second cache.
const MAX_PACKED: usize = 128 * 1024;

/// Positions from which on a tile is wide enough for whole panels.
const MIN_POSITIONS: usize = 192;

/// Positions below which a tile may take more than [`MAX_PACKED`].
const MIN_VECTORS: usize = 48;

/// Rows of outputs (in steps) of a tile, of so many channels that are read.
pub(super) fn rows_of_tile(
    window: ReadWindow,
    channels: usize,
    [height, width]: [usize; 2],
    batch: usize,
) -> usize {
    let wanted = (batch * height).div_ceil(threads::parts()).max(1);
    let mut rows = 1;
    while rows < height && (rows * width < MIN_POSITIONS || rows < wanted) {
        let more = Packing::new(window, rows + 1, width).channel_len() * channels;
        if more > MAX_PACKED && rows * width >= MIN_VECTORS {
            break;
        }
        rows += 1;
    }
    // Blocks of one size.
    height.div_ceil(height.div_ceil(rows))
}

/// Output channels of a tile: all, unless there are too few tiles to keep all threads at work.
pub(super) fn channels_of_tile(tiles: usize, channels: usize, groups: usize) -> usize {
    let of_a_group = channels / groups;
    let pieces = threads::pieces(tiles * groups, 1)
        .min(of_a_group.div_ceil(8))
        .max(1);
    whole_shares(of_a_group.div_ceil(pieces), of_a_group, groups)
}

/// About `wanted` channels, a multiple of eight, that are of one group.
pub(super) fn whole_shares(wanted: usize, of_a_group: usize, groups: usize) -> usize {
    let mut some = wanted.next_multiple_of(8).min(of_a_group);
    while groups > 1 && !of_a_group.is_multiple_of(some) {
        some += 1;
    }
    some
}
