//! [`Band`]: the rows of the output that tiles are still added to.

use alloc::{format, vec, vec::Vec};

use burn::tensor::TensorData;

use super::NAME;
use crate::shape::ShapeError;

/// Where a tile lies in a band.
pub(super) struct Place<'a> {
    /// The size of the tile.
    pub tile: &'a [usize],
    /// Its first position on every axis but the first.
    pub starts: Vec<usize>,
}

/// A run of positions along the last axis: where it begins in the tile and in the band.
struct Line {
    in_tile: usize,
    in_band: usize,
}

/// Unfinished rows of the output: the weighted sums, and the sums of the weights.
pub(super) struct Band {
    /// Batch, channels, rows, and the axes after them.
    shape: Vec<usize>,
    sums: Vec<f32>,
    weights: Vec<f32>,
}

impl Band {
    pub(super) fn new(shape: Vec<usize>) -> Self {
        let plane: usize = shape[2..].iter().product();
        Self {
            sums: vec![0.0; shape.iter().product()],
            weights: vec![0.0; plane],
            shape,
        }
    }

    pub(super) fn check(&self, shape: &[usize]) -> Result<(), ShapeError> {
        if self.shape == shape {
            return Ok(());
        }
        Err(ShapeError::new(
            NAME,
            format!(
                "the network gives {} channels for one tile and {} for another",
                shape[1], self.shape[1]
            ),
            "Use a network that gives as many for every tile",
        ))
    }

    /// Adds the output of a tile, whose rows begin with the band's, at the start `place` of the other axes.
    pub(super) fn add(&mut self, output: TensorData, place: &Place, weights: &[f32]) {
        let output = output.convert::<f32>();
        let output = output
            .as_slice::<f32>()
            .unwrap_or_else(|_| unreachable!("it was converted"));
        let run = place.tile[place.tile.len() - 1];
        let lines = self.lines(place);
        for &Line { in_tile, in_band } in &lines {
            let weights = &weights[in_tile..in_tile + run];
            let sums = &mut self.weights[in_band..in_band + run];
            for (sum, weight) in sums.iter_mut().zip(weights) {
                *sum += weight;
            }
        }
        let plane: usize = self.shape[2..].iter().product();
        let planes = output
            .chunks_exact(weights.len())
            .zip(self.sums.chunks_exact_mut(plane));
        for (output, sums) in planes {
            for &Line { in_tile, in_band } in &lines {
                let terms = output[in_tile..in_tile + run]
                    .iter()
                    .zip(&weights[in_tile..in_tile + run]);
                let sums = &mut sums[in_band..in_band + run];
                for (sum, (value, weight)) in sums.iter_mut().zip(terms) {
                    *sum += value * weight;
                }
            }
        }
    }

    /// The runs of a tile along the last axis.
    fn lines(&self, place: &Place) -> Vec<Line> {
        let tile = place.tile;
        let (&run, outer) = match tile.split_last() {
            Some(split) => split,
            None => unreachable!("a map has a spatial axis"),
        };
        let count: usize = outer.iter().product();
        let line = |index: usize| {
            let (mut rest, mut in_band, mut step) = (index, 0, 1);
            if !outer.is_empty() {
                in_band = place.starts[place.starts.len() - 1];
                step = self.shape[self.shape.len() - 1];
            }
            for axis in (0..outer.len()).rev() {
                let start = if axis == 0 { 0 } else { place.starts[axis - 1] };
                in_band += (rest % tile[axis] + start) * step;
                rest /= tile[axis];
                step *= self.shape[2 + axis];
            }
            Line {
                in_tile: index * run,
                in_band,
            }
        };
        (0..count).map(line).collect()
    }

    /// The first `rows` rows, which no later tile overlaps; the others become the first.
    pub(super) fn finish(&mut self, rows: usize) -> TensorData {
        let plane = self.weights.len();
        let len = plane / self.shape[2] * rows;
        let mut finished = Vec::with_capacity(self.sums.len() / plane * len);
        for sums in self.sums.chunks_exact_mut(plane) {
            finished.extend(
                sums[..len]
                    .iter()
                    .zip(&self.weights)
                    .map(|(sum, weight)| sum / weight),
            );
            sums.copy_within(len.., 0);
            sums[plane - len..].fill(0.0);
        }
        self.weights.copy_within(len.., 0);
        self.weights[plane - len..].fill(0.0);
        let mut shape = self.shape.clone();
        shape[2] = rows;
        TensorData::new(finished, shape)
    }
}
