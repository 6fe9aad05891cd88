//! [`Grid`]: where the tiles of an image lie.

use alloc::vec::Vec;

use crate::shape::ShapeError;

use super::NAME;

/// The tiles of an image, axis by axis. Nothing is stored per tile, so that a grid is cheap for every image.
pub(super) struct Grid(Vec<Axis>);

/// The tiles along one axis.
struct Axis {
    /// The size of a tile.
    tile: usize,
    /// The size of the image.
    image: usize,
    /// From the start of a tile to that of the next.
    step: usize,
}

impl Axis {
    fn count(&self) -> usize {
        (self.image - self.tile).div_ceil(self.step) + 1
    }

    /// Where a tile starts. (The last one ends where the image does.)
    fn start(&self, index: usize) -> usize {
        index.saturating_mul(self.step).min(self.image - self.tile)
    }
}

impl Grid {
    /// Tiles of the size `tile`, which is not larger than the image, that overlap by the fraction `overlap`.
    pub(super) fn new(tile: &[usize], image: &[usize], overlap: f64) -> Self {
        let axes = tile.iter().zip(image).map(|(&tile, &image)| Axis {
            tile,
            image,
            step: ((tile as f64 * (1.0 - overlap)) as usize).max(1),
        });
        Self(axes.collect())
    }

    /// The size of a tile.
    pub(super) fn tile(&self) -> Vec<usize> {
        self.0.iter().map(|axis| axis.tile).collect()
    }

    /// How many tiles there are.
    ///
    /// # Errors
    /// When the number is too large for a `usize`.
    pub(super) fn count(&self) -> Result<usize, ShapeError> {
        let mut counts = self.0.iter().map(Axis::count);
        let count = counts.try_fold(1_usize, usize::checked_mul);
        count.ok_or_else(|| {
            ShapeError::new(
                NAME,
                "the image has more tiles than a usize counts",
                "Use larger tiles, or a smaller image",
            )
        })
    }

    /// Where the rows of tiles start on the first axis.
    pub(super) fn rows(&self) -> impl Iterator<Item = usize> {
        let first = &self.0[0];
        (0..first.count()).map(|index| first.start(index))
    }

    /// How many tiles a row has.
    pub(super) fn count_in_row(&self) -> usize {
        self.0[1..].iter().map(Axis::count).product()
    }

    /// Where the tile `index` of a row starts on all axes but the first.
    pub(super) fn starts_in_row(&self, index: usize) -> Vec<usize> {
        let mut rest = index;
        let axes = self.0[1..].iter().rev();
        let mut starts: Vec<usize> = axes
            .map(|axis| {
                let start = axis.start(rest % axis.count());
                rest /= axis.count();
                start
            })
            .collect();
        starts.reverse();
        starts
    }
}
