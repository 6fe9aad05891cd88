//! [`TilesConfig`]: tiled (sliding window) inference on an image of any size.

mod band;
mod blend;
mod grid;

pub use blend::Blend;

use alloc::{format, vec::Vec};
use core::ops::Range;

use burn::config::Config;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use self::band::{Band, Place};
use self::grid::Grid;
use crate::setters::setters;
use crate::shape::{PerAxis, ShapeError, check_not_empty, check_positive, expect, spatial};

const NAME: &str = "Tiles";

/// Runs a network over an image of any size, by tiles of one size that overlap:
/// `y(p) = sum_t w(p - t) net(x_t)(p - t) / sum_t w(p - t)`, over the tiles `t` that contain the position `p`.
///
/// MONAI's `sliding_window_inference`, with the same tiles and weights. Where tiles begin at multiples of the
/// network's stride, the result equals that for the whole image, half a receptive field away from the edges of
/// tiles and for norms whose statistics are fixed (batch norm). An axis that is shorter than a tile is one tile
/// of its own size.
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::{Layer, net::{Unet, UnetConfig}, tiles::TilesConfig};
///
/// let device = Device::flex();
/// let net: Unet = UnetConfig::new(3, 2, vec![4, 8]).init(&device);
/// let image = Tensor::zeros([1, 3, 100, 70], &device);
/// let tiles = TilesConfig::new(32);
/// assert_eq!(tiles.count(&[100, 70]).unwrap(), 12);
/// assert_eq!(tiles.predict(image, |tile| Layer::forward(&net, tile)).dims(), [1, 2, 100, 70]);
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TilesConfig {
    /// The size of a tile.
    pub size: PerAxis,
    /// The fraction by which a tile overlaps the next, at least. Default: 0.25.
    pub overlap: f64,
    /// How overlapping tiles are weighted. Default: [`Blend::gaussian`].
    pub blend: Blend,
    /// How many tiles are run as one batch. Default: 1.
    pub batch: usize,
}

setters!(
    TilesConfig:
    with_overlap(overlap: f64),
    with_blend(blend: Blend),
    with_batch(batch: usize),
);

impl Config for TilesConfig {}

impl TilesConfig {
    /// Tiles of this size.
    pub fn new(size: impl Into<PerAxis>) -> Self {
        Self {
            size: size.into(),
            overlap: 0.25,
            blend: Blend::gaussian(),
            batch: 1,
        }
    }

    /// How many tiles an image of the spatial size `image` has.
    ///
    /// # Errors
    /// When a number is zero, the overlap is not in `[0, 1)`, sigma is not positive, the size has another
    /// number of axes than the image, or there are too many tiles to count.
    pub fn count(&self, image: &[usize]) -> Result<usize, ShapeError> {
        self.grid(image)?.count()
    }

    fn grid(&self, image: &[usize]) -> Result<Grid, ShapeError> {
        let invalid = |problem, remedy| Err(ShapeError::new(NAME, problem, remedy));
        let rank = image.len().saturating_add(2);
        let size = self.size.resolve_positive(rank, NAME, "size")?;
        check_positive(NAME, "batch", self.batch)?;
        if !(0.0..1.0).contains(&self.overlap) {
            return invalid(
                format!("overlap is {}", self.overlap),
                "Choose a fraction of the tile in [0, 1)",
            );
        }
        if let Blend::Gaussian { sigma } = self.blend
            && !(sigma.is_finite() && sigma > 0.0)
        {
            return invalid(
                format!("sigma is {sigma}"),
                "Choose a positive fraction of the tile, such as 0.125",
            );
        }
        if image.is_empty() || image.contains(&0) {
            return invalid(
                format!("the image has the size {image:?}"),
                "Every axis needs a position",
            );
        }
        let tile: Vec<usize> = size
            .iter()
            .zip(image)
            .map(|(&size, &image)| size.min(image))
            .collect();
        Ok(Grid::new(&tile, image, self.overlap))
    }

    /// Runs `net` on the tiles of the image `x` and merges its outputs.
    ///
    /// # Panics
    /// When [`count`](Self::count) returns an error, with its message; when `net` gives a map of another size
    /// or batch than its tile, or of other channels than before.
    pub fn predict<const R: usize>(
        &self,
        x: Tensor<R>,
        net: impl FnMut(Tensor<R>) -> Tensor<R>,
    ) -> Tensor<R> {
        expect(check_not_empty(NAME, x.dims()));
        let image = spatial(&x.dims()).to_vec();
        let mut rows = Vec::new();
        let device = x.device();
        let read = |rows: Range<usize>| x.clone().narrow(2, rows.start, rows.len());
        self.predict_rows(&image, read, net, |_, part| {
            rows.push(part.to_device(&device))
        });
        Tensor::cat(rows, 2)
    }

    /// As [`predict`](Self::predict), for an image that need not be in memory: `read` returns some of its rows
    /// (along the first spatial axis), and `write` takes finished rows, in order. `image` is the spatial size.
    ///
    /// # Panics
    /// As [`predict`](Self::predict).
    pub fn predict_rows<const R: usize>(
        &self,
        image: &[usize],
        mut read: impl FnMut(Range<usize>) -> Tensor<R>,
        mut net: impl FnMut(Tensor<R>) -> Tensor<R>,
        mut write: impl FnMut(Range<usize>, Tensor<R>),
    ) {
        expect(check_rank::<R>(image));
        let grid = expect(self.grid(image));
        expect(grid.count());
        let tile = grid.tile();
        let weights = self.blend.weights(&tile);
        let mut band: Option<Band> = None;
        let mut starts = grid.rows().peekable();
        while let Some(top) = starts.next() {
            let rows = read(top..top + tile[0]);
            expect(check_rows(rows.dims(), &tile, image));
            for first in (0..grid.count_in_row()).step_by(self.batch) {
                let end = grid.count_in_row().min(first + self.batch);
                let places = (first..end).map(|index| Place {
                    tile: &tile,
                    starts: grid.starts_in_row(index),
                });
                let places: Vec<Place> = places.collect();
                let outputs = run_tiles(&rows, &places, &mut net);
                let [batch, channels] = [outputs[0].dims()[0], outputs[0].dims()[1]];
                let shape = [&[batch, channels, tile[0]], &image[1..]].concat();
                let band = band.get_or_insert_with(|| Band::new(shape.clone()));
                expect(band.check(&shape));
                for (output, place) in outputs.into_iter().zip(&places) {
                    band.add(output.into_data(), place, &weights);
                }
            }
            let next = starts.peek().copied().unwrap_or(image[0]);
            if let Some(band) = &mut band {
                let finished = Tensor::from_data(band.finish(next - top), &rows.device());
                write(top..next, finished);
            }
        }
    }
}

/// Runs the network on the tiles of some rows, as one batch, and returns the output of each tile.
fn run_tiles<const R: usize>(
    rows: &Tensor<R>,
    places: &[Place],
    net: &mut impl FnMut(Tensor<R>) -> Tensor<R>,
) -> Vec<Tensor<R>> {
    let cut = |place: &Place| {
        let axes = place.starts.iter().enumerate();
        axes.fold(rows.clone(), |rows, (n, &start)| {
            rows.narrow(3 + n, start, place.tile[1 + n])
        })
    };
    let tiles = Tensor::cat(places.iter().map(cut).collect(), 0);
    let input = tiles.dims();
    let output = net(tiles);
    expect(check_output(input, output.dims()));
    output.chunk(places.len(), 0)
}

/// Refuses a size of other axes than the maps have.
fn check_rank<const R: usize>(image: &[usize]) -> Result<(), ShapeError> {
    PerAxis::Each(image.to_vec())
        .resolve_positive(R, NAME, "the size of the image")
        .map(|_| ())
}

/// Refuses rows other than those that were asked for.
fn check_rows<const R: usize>(
    rows: [usize; R],
    tile: &[usize],
    image: &[usize],
) -> Result<(), ShapeError> {
    check_not_empty(NAME, rows)?;
    let wanted = [&tile[..1], &image[1..]].concat();
    if rows[2..] == wanted[..] {
        return Ok(());
    }
    Err(ShapeError::new(
        NAME,
        format!(
            "`read` returned rows of the size {:?}, expected {wanted:?}",
            &rows[2..]
        ),
        "Return the rows of the range, over the whole width of the image",
    ))
}

/// Refuses a network that changes the size.
fn check_output<const R: usize>(tile: [usize; R], output: [usize; R]) -> Result<(), ShapeError> {
    if tile[0] == output[0] && tile[2..] == output[2..] {
        return Ok(());
    }
    Err(ShapeError::new(
        NAME,
        format!("the network gives {output:?} for tiles of the shape {tile:?}"),
        "Use a network that keeps the size",
    ))
}

/// The mean of the outputs of `net` for `x` and for its mirror images along every combination of spatial axes,
/// each mirrored back: `2^(R - 2)` runs. Known as flip test-time augmentation.
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::tiles::mirrored_mean;
///
/// let device = Device::flex();
/// let x = Tensor::<3>::from_floats([[[1.0, 2.0, 3.0, 4.0]]], &device);
/// // A network that keeps one half of the image.
/// let half = Tensor::<3>::from_floats([[[1.0, 1.0, 0.0, 0.0]]], &device);
/// let y = mirrored_mean(x, |x| x * half.clone());
/// assert_eq!(y.to_data().try_to_vec::<f32>().unwrap(), [0.5, 1.0, 1.5, 2.0]);
/// ```
pub fn mirrored_mean<const R: usize>(
    x: Tensor<R>,
    mut net: impl FnMut(Tensor<R>) -> Tensor<R>,
) -> Tensor<R> {
    let runs = 1usize << (R - 2);
    let mirror = |x: Tensor<R>, run: usize| {
        let axes = (0..R - 2).filter(|n| run >> n & 1 == 1);
        axes.fold(x, |x, n| x.flip([2 + n]))
    };
    let first = net(x.clone());
    let sum = (1..runs).fold(first, |sum, run| {
        sum + mirror(net(mirror(x.clone(), run)), run)
    });
    sum / runs as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_near_the_largest_number_are_counted_or_refused() {
        let tiles = TilesConfig::new(64).with_overlap(0.0);
        assert_eq!(tiles.count(&[usize::MAX]), Ok(usize::MAX.div_ceil(64)));
        let error = tiles.count(&[usize::MAX, usize::MAX]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Tiles: the image has more tiles than a usize counts. Use larger tiles, or a smaller image."
        );
    }
}
