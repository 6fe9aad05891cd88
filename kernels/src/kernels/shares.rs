//! How an output whose channels are the lanes of vectors is divided into tasks.

use alloc::vec::Vec;

use super::output_tiles::OutputTask;
use super::threads;
use crate::policy::LANES;

/// The most positions of a task of several maps.
const POSITIONS: usize = 512;

/// The most positions of a task of one map: more would leave the second-level cache.
const POSITIONS_OF_A_MAP: usize = 2048;

/// The positions of a tile that is packed, at least: fewer would not pay for the weight, which each task turns.
const PACKED_POSITIONS: usize = 256;

/// The sums of a task: a part of a second-level cache.
const SUMS: usize = 64 * 1024;

/// The shares of the tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shares {
    /// The tiles of a map, about.
    pub(super) pieces: usize,
    /// The maps of a task.
    maps: usize,
    /// The outputs of a task.
    pub(super) outputs: usize,
}

impl Shares {
    /// Those of `batch` maps with so many positions in so many rows, which are not divided, and so many outputs, of inputs
    /// that are packed or read where they are.
    pub(super) fn new(
        batch: usize,
        [positions, rows]: [usize; 2],
        outputs: usize,
        is_packed: bool,
    ) -> Self {
        // (All outputs share what is packed.)
        let most = match is_packed {
            true => (SUMS / outputs.max(1)).clamp(PACKED_POSITIONS, POSITIONS_OF_A_MAP),
            false => POSITIONS_OF_A_MAP,
        };
        let together = POSITIONS.min(most);
        // (Outputs of less than two vectors for each thread are not divided.)
        let has_few_outputs = outputs < 2 * LANES * threads::count();
        let is_divided = positions > together || (has_few_outputs && positions > LANES);
        let (pieces, maps) = match is_divided {
            true => {
                let pieces = threads::pieces(batch, positions.div_ceil(most));
                // (Pieces are whole vectors.)
                let piece = positions.div_ceil(pieces).next_multiple_of(LANES);
                (positions.div_ceil(piece).min(rows), 1)
            }
            false => {
                let most = match has_few_outputs {
                    true => batch.div_ceil(threads::count()),
                    false => batch,
                };
                (1, (together / positions.max(1)).clamp(1, most.max(1)))
            }
        };
        let groups = batch.div_ceil(maps).max(1);
        let maps = batch.div_ceil(groups).max(1);
        let sums_of_an_output = positions.div_ceil(pieces) * maps;
        let most = (SUMS / sums_of_an_output.max(1)).max(1);
        let parts = threads::pieces(groups * pieces, outputs.div_ceil(most).max(1));
        let outputs_of_a_part = outputs.div_ceil(parts).next_multiple_of(LANES);
        Self {
            pieces,
            maps,
            outputs: outputs_of_a_part.min(outputs),
        }
    }

    /// The tasks, of the tiles of all maps, map by map, of which each has so many. The tiles of a task are at one place of
    /// their maps.
    pub(super) fn tasks<'a>(
        self,
        tiles: Vec<OutputTask<'a>>,
        of_a_map: usize,
    ) -> Vec<Vec<OutputTask<'a>>> {
        let of_a_map = of_a_map.max(1);
        let groups = (tiles.len() / of_a_map).div_ceil(self.maps);
        let mut tasks: Vec<Vec<OutputTask>> = Vec::new();
        tasks.resize_with(groups * of_a_map, Vec::new);
        for (index, tile) in tiles.into_iter().enumerate() {
            let (map, place) = (index / of_a_map, index % of_a_map);
            // (Tasks that read one part of the weight follow each other.)
            tasks[place * groups + map / self.maps].push(tile);
        }
        tasks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_output_and_no_map_is_without_a_share() {
        for batch in [1, 2, 3, 8, 33] {
            for positions in [1, 2, 49, 196, 513, 4095, 100_000].map(|all| [all, all / 7 + 1]) {
                for outputs in [16, 17, 31, 32, 100, 1000, 5000] {
                    for is_packed in [true, false] {
                        let shares = Shares::new(batch, positions, outputs, is_packed);
                        assert!((1..=outputs).contains(&shares.outputs), "{shares:?}");
                        assert!((1..=batch).contains(&shares.maps) && shares.pieces > 0);
                        let is_whole = shares.outputs == outputs;
                        assert!(is_whole || shares.outputs.is_multiple_of(LANES));
                    }
                }
            }
        }
    }

    #[test]
    fn small_maps_share_a_task_and_large_ones_are_divided() {
        let of = |batch, positions, outputs, is_packed| {
            Shares::new(batch, [positions, usize::MAX], outputs, is_packed)
        };
        let few = 2 * LANES * threads::count();
        assert_eq!(of(4, 49, few.max(2048), false).maps, 4);
        assert_eq!(of(33, 49, few, false).maps, 9);
        // Fewer outputs are not divided, but the maps are.
        assert_eq!(of(33, 49, few - 1, false).maps, 1);
        let threads = threads::count();
        assert_eq!(of(4 * threads, 1, 16, false).maps, 4);
        let large = of(1, 12_544, 96, false);
        assert!(large.pieces >= 7 && large.maps == 1);
        // All outputs share what is packed, and there are no more pieces than rows.
        assert_eq!(of(1, 12_544, 128, true).outputs, 128);
        assert_eq!(Shares::new(1, [8000, 2], 64, true).pieces, 2);
    }
}
