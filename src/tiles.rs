//! [`TilesConfig`]: a network over an image of any size, by tiles that overlap.

use alloc::{format, vec, vec::Vec};
use core::ops::Range;

use burn::config::Config;
use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::setters::setters;
use crate::shape::{PerAxis, ShapeError, check_not_empty, check_positive, expect, spatial};

const NAME: &str = "Tiles";

/// How much a position of a tile counts where tiles overlap.
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::tiles::{Blend, TilesConfig};
///
/// // Two tiles of four positions, which overlap by two: the network gives 0 for the first, 1 for the second.
/// let blended = |blend| {
///     let (image, mut values) = (Tensor::<3>::zeros([1, 1, 6], &Device::flex()), 0..);
///     let tiles = TilesConfig::new(4).with_overlap(0.5).with_blend(blend);
///     let y = tiles.predict(image, |tile| tile.add_scalar(values.next().unwrap()));
///     y.to_data().try_to_vec::<f32>().unwrap()
/// };
/// assert_eq!(blended(Blend::Constant), [0.0, 0.0, 0.5, 0.5, 1.0, 1.0]);
/// assert!(blended(Blend::gaussian())[2] < 0.02); // what counts is the tile whose centre is nearer
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub enum Blend {
    /// As much as any other.
    Constant,
    /// `exp(-d^2 / (2 (sigma n)^2))` on each axis, for a tile of `n` positions and the distance `d` to its
    /// centre; 1e-3 at least. What a network says of the edge of a tile, where it sees less, counts less.
    Gaussian {
        /// The deviation, as a part of the tile.
        sigma: f64,
    },
}

impl Blend {
    /// [`Gaussian`](Self::Gaussian) with MONAI's deviation, an eighth of the tile.
    pub const fn gaussian() -> Self {
        Self::Gaussian { sigma: 0.125 }
    }

    /// The weights of the positions of a tile.
    fn weights(self, tile: &[usize]) -> Vec<f32> {
        let on_axis = |&n: &usize| -> Vec<f64> {
            let at = |i: usize| match self {
                Self::Constant => 1.0,
                Self::Gaussian { sigma } => {
                    let off = (i as f64 - (n as f64 - 1.0) / 2.0) / (sigma * n as f64);
                    (-off * off / 2.0).exp()
                }
            };
            (0..n).map(at).collect()
        };
        let product = tile.iter().map(on_axis).fold(vec![1.0], |outer, axis| {
            let rows = outer
                .iter()
                .map(|weight| axis.iter().map(move |more| weight * more));
            rows.flatten().collect()
        });
        product
            .into_iter()
            .map(|weight| weight.max(1e-3) as f32)
            .collect()
    }
}

/// Runs a network over an image of any size, by tiles of one size that overlap:
/// `y(p) = sum_t w(p - t) net(x_t)(p - t) / sum_t w(p - t)`, over the tiles `t` that hold the position `p`.
///
/// MONAI's `sliding_window_inference`, with its places of tiles and its weights. Where tiles begin at
/// multiples of the network's stride, the result is that of the whole image, half a receptive field away from
/// the edges of tiles and for norms that do not look at the map (batch norm). An axis
/// that is shorter than a tile is one tile of its own size.
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
    /// By what part of it a tile overlaps the next, at least. Default: 0.25.
    pub overlap: f64,
    /// What counts where tiles overlap. Default: [`Blend::gaussian`].
    pub blend: Blend,
    /// How many tiles the network is given at once. Default: 1.
    pub batch: usize,
}

setters!(
    TilesConfig:
    with_overlap(overlap: f64),
    with_blend(blend: Blend),
    with_batch(batch: usize),
);

impl Config for TilesConfig {}

/// Where tiles lie: their size, and their first positions on each axis.
struct Grid {
    tile: Vec<usize>,
    starts: Vec<Vec<usize>>,
}

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
    /// When a number is zero, the overlap is not in `[0, 1)`, sigma is not positive, or the size has another
    /// number of axes than the image.
    pub fn count(&self, image: &[usize]) -> Result<usize, ShapeError> {
        Ok(self.grid(image)?.starts.iter().map(Vec::len).product())
    }

    fn grid(&self, image: &[usize]) -> Result<Grid, ShapeError> {
        let invalid = |problem, remedy| Err(ShapeError::new(NAME, problem, remedy));
        let size = self.size.resolve_positive(2 + image.len(), NAME, "size")?;
        check_positive(NAME, "batch", self.batch)?;
        if !(0.0..1.0).contains(&self.overlap) {
            return invalid(
                format!("overlap is {}", self.overlap),
                "Choose a part of the tile in [0, 1)",
            );
        }
        if let Blend::Gaussian { sigma } = self.blend
            && !(sigma.is_finite() && sigma > 0.0)
        {
            return invalid(
                format!("sigma is {sigma}"),
                "Choose a positive part of the tile, such as 0.125",
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
        let starts = tile.iter().zip(image).map(|(&tile, &image)| {
            let step = ((tile as f64 * (1.0 - self.overlap)) as usize).max(1);
            let count = (image - tile).div_ceil(step) + 1;
            // The last tile ends where the image does.
            (0..count)
                .map(|index| (index * step).min(image - tile))
                .collect()
        });
        let starts = starts.collect();
        Ok(Grid { tile, starts })
    }

    /// What `net` makes of the image `x`.
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

    /// As [`predict`](Self::predict), for an image that need not be in memory: `read` gives some rows of it (along
    /// the first spatial axis), and `write` takes rows that are finished, in order. `image` is the spatial size.
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
        let Grid { tile, starts } = expect(self.grid(image));
        let weights = self.blend.weights(&tile);
        let places = places(&starts[1..]);
        let mut band: Option<Band> = None;
        for (index, &top) in starts[0].iter().enumerate() {
            let rows = read(top..top + tile[0]);
            expect(check_rows(rows.dims(), &tile, image));
            for places in places.chunks(self.batch) {
                let cut = |place: &Vec<usize>| {
                    let axes = place.iter().enumerate();
                    axes.fold(rows.clone(), |rows, (n, &start)| {
                        rows.narrow(3 + n, start, tile[1 + n])
                    })
                };
                let tiles = Tensor::cat(places.iter().map(cut).collect(), 0);
                let given = tiles.dims();
                let found = net(tiles);
                expect(check_found(given, found.dims()));
                let batch = given[0] / places.len();
                let shape = [&[batch, found.dims()[1]][..], &[tile[0]], &image[1..]].concat();
                let band = band.get_or_insert_with(|| Band::new(shape.clone()));
                expect(band.check(&shape));
                for (found, place) in found.chunk(places.len(), 0).into_iter().zip(places) {
                    band.add(found.into_data(), &tile, place, &weights);
                }
            }
            let next = starts[0].get(index + 1).copied().unwrap_or(image[0]);
            if let Some(band) = &mut band {
                let device = rows.device();
                let finished = Tensor::from_data(band.finish(next - top), &device);
                write(top..next, finished);
            }
        }
    }
}

/// Every combination of the starts of the axes.
fn places(starts: &[Vec<usize>]) -> Vec<Vec<usize>> {
    starts.iter().fold(vec![Vec::new()], |places, axis| {
        let with = |place: Vec<usize>| {
            axis.iter()
                .map(move |&start| [&place[..], &[start]].concat())
                .collect::<Vec<_>>()
        };
        places.into_iter().flat_map(with).collect()
    })
}

/// Refuses a size of other axes than the maps have.
fn check_rank<const R: usize>(image: &[usize]) -> Result<(), ShapeError> {
    PerAxis::Each(image.to_vec())
        .resolve_positive(R, NAME, "the size of the image")
        .map(|_| ())
}

/// Refuses rows that are not those that were asked for.
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
            "rows of the size {wanted:?} were asked for, and {:?} came",
            &rows[2..]
        ),
        "Give these rows of the image, whole",
    ))
}

fn check_found<const R: usize>(tile: [usize; R], found: [usize; R]) -> Result<(), ShapeError> {
    if tile[0] == found[0] && tile[2..] == found[2..] {
        return Ok(());
    }
    Err(ShapeError::new(
        NAME,
        format!("the network makes {found:?} of a tile {tile:?}"),
        "Use a network that keeps the size",
    ))
}

/// Rows of the result that are not finished: sums of what was found, and of how much it counted.
struct Band {
    /// Batch, channels, rows, and the axes after them.
    shape: Vec<usize>,
    sums: Vec<f32>,
    counts: Vec<f32>,
}

impl Band {
    fn new(shape: Vec<usize>) -> Self {
        let plane: usize = shape[2..].iter().product();
        Self {
            sums: vec![0.0; shape.iter().product()],
            counts: vec![0.0; plane],
            shape,
        }
    }

    fn check(&self, shape: &[usize]) -> Result<(), ShapeError> {
        if self.shape == shape {
            return Ok(());
        }
        Err(ShapeError::new(
            NAME,
            format!(
                "the network gives {} channels, and {} before",
                shape[1], self.shape[1]
            ),
            "Use a network that gives as many for every tile",
        ))
    }

    /// Adds what was found of the tile at `place`, which begins with the first row.
    fn add(&mut self, found: TensorData, tile: &[usize], place: &[usize], weights: &[f32]) {
        let found = found.convert::<f32>();
        let found = found
            .as_slice::<f32>()
            .unwrap_or_else(|_| unreachable!("it was converted"));
        let plane: usize = self.shape[2..].iter().product();
        // Runs of the last axis: where they begin in the tile and in the band.
        let run = tile[tile.len() - 1];
        let lines: Vec<(usize, usize)> = (0..weights.len() / run)
            .map(|line| {
                let (mut rest, mut at, mut step) = (line, 0, 1);
                if tile.len() > 1 {
                    at = place[place.len() - 1];
                    step = self.shape[self.shape.len() - 1];
                }
                for axis in (0..tile.len() - 1).rev() {
                    let start = if axis == 0 { 0 } else { place[axis - 1] };
                    at += (rest % tile[axis] + start) * step;
                    rest /= tile[axis];
                    step *= self.shape[2 + axis];
                }
                (line * run, at)
            })
            .collect();
        for &(from, at) in &lines {
            let weights = &weights[from..from + run];
            for (count, weight) in self.counts[at..at + run].iter_mut().zip(weights) {
                *count += weight;
            }
        }
        let planes = found
            .chunks_exact(weights.len())
            .zip(self.sums.chunks_exact_mut(plane));
        for (found, sums) in planes {
            for &(from, at) in &lines {
                let terms = found[from..from + run]
                    .iter()
                    .zip(&weights[from..from + run]);
                for (sum, (value, weight)) in sums[at..at + run].iter_mut().zip(terms) {
                    *sum += value * weight;
                }
            }
        }
    }

    /// The first `rows` rows, which no later tile reaches; the others move to their place.
    fn finish(&mut self, rows: usize) -> TensorData {
        let plane = self.counts.len();
        let len = plane / self.shape[2] * rows;
        let mut finished = Vec::with_capacity(self.sums.len() / plane * len);
        for sums in self.sums.chunks_exact_mut(plane) {
            finished.extend(
                sums[..len]
                    .iter()
                    .zip(&self.counts)
                    .map(|(sum, count)| sum / count),
            );
            sums.copy_within(len.., 0);
            sums[plane - len..].fill(0.0);
        }
        self.counts.copy_within(len.., 0);
        self.counts[plane - len..].fill(0.0);
        let mut shape = self.shape.clone();
        shape[2] = rows;
        TensorData::new(finished, shape)
    }
}

/// The mean of what `net` makes of `x` and of its mirror images along every combination of spatial axes, turned
/// back: `2^(R - 2)` runs.
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::tiles::mirrored_mean;
///
/// let device = Device::flex();
/// let x = Tensor::<3>::from_floats([[[1.0, 2.0, 3.0, 4.0]]], &device);
/// // What sees one half of the image sees the other of the mirror image.
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
