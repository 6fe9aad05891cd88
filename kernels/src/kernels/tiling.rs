//! The size of the tiles of an output: small enough for the caches, and enough tiles to keep all threads busy.

use super::packing::{Packing, ReadWindow};
use super::threads;

/// Floats that the packed rows of a tile may take: half of a typical second-level cache.
const MAX_PACKED: usize = 128 * 1024;

/// The fewest positions of a tile that fill whole panels.
const MIN_POSITIONS: usize = 192;

/// Tiles of fewer positions may exceed [`MAX_PACKED`].
const MIN_VECTORS: usize = 48;

/// The rows of outputs (in steps) of a tile that reads `channels` channels.
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
    // All blocks get the same size.
    height.div_ceil(height.div_ceil(rows))
}

/// The output channels of a tile: all, unless there are too few tiles to keep all threads busy.
pub(super) fn channels_of_tile(tiles: usize, channels: usize, groups: usize) -> usize {
    let of_a_group = channels / groups;
    let pieces = threads::pieces(tiles * groups, 1)
        .min(of_a_group.div_ceil(8))
        .max(1);
    whole_shares(of_a_group.div_ceil(pieces), of_a_group, groups)
}

/// About `wanted` channels, rounded up to a multiple of eight, within one group.
pub(super) fn whole_shares(wanted: usize, of_a_group: usize, groups: usize) -> usize {
    let mut some = wanted.next_multiple_of(8).min(of_a_group);
    while groups > 1 && !of_a_group.is_multiple_of(some) {
        some += 1;
    }
    some
}
