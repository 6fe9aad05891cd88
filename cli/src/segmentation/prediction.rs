//! How an image is predicted, and what comes out.

use burn::tensor::{Device, Tensor};
use indicatif::ProgressBar;

use crate::Result;
use crate::raster::Raster;
use crate::segmentation::tiled_inference::Tiles;

/// How an image is predicted.
pub struct Inference<'a> {
    pub tiles: &'a Tiles,
    pub device: &'a Device,
    /// The probability from which on a pixel is foreground, where there is one class.
    pub threshold: f32,
    /// Whether the probabilities are kept.
    pub with_probabilities: bool,
    /// Whether a progress bar of the tiles is shown.
    pub bar: bool,
}

/// What networks say of an image.
pub struct Prediction {
    /// The class of every pixel.
    pub mask: Raster,
    /// The probability of each class, a channel each, if they were asked for.
    pub probabilities: Option<Raster>,
}

impl Inference<'_> {
    /// A progress bar of the tiles of images of these sizes.
    ///
    /// # Errors
    /// When there are too many tiles.
    pub fn progress<'a, const R: usize>(
        &self,
        sizes: impl IntoIterator<Item = &'a [usize]>,
    ) -> Result<ProgressBar> {
        if !self.bar {
            return Ok(ProgressBar::hidden());
        }
        let tiles = self.tiles.config(R - 2);
        let counts = sizes.into_iter().map(|size| tiles.count(size));
        let count: usize = counts.sum::<Result<_, _>>()?;
        Ok(ProgressBar::new(count as u64))
    }
}

/// What is found so far, row by row.
pub struct Found {
    mask: Raster,
    probabilities: Option<Raster>,
    /// So many pixels are there.
    done: usize,
}

impl Found {
    /// Nothing of an image of this size yet, with the probabilities of so many classes, if they are kept. It lies where
    /// the image has room for it.
    ///
    /// # Errors
    /// When there is no room.
    pub fn new(size: &[usize], classes: Option<usize>, image: &Raster) -> Result<Self, String> {
        let pixels: usize = size.iter().product();
        let empty = |channels: usize| {
            Ok::<_, String>(Raster {
                channels,
                size: size.to_vec(),
                values: image.values.zeros_like(channels * pixels)?,
            })
        };
        Ok(Self {
            mask: empty(1)?,
            probabilities: classes.map(empty).transpose()?,
            done: 0,
        })
    }

    /// Adds rows of the mask, and of the probabilities, if they are kept.
    ///
    /// # Errors
    /// When the device fails.
    pub fn add<const R: usize>(
        &mut self,
        mask: Tensor<R>,
        probabilities: Option<Tensor<R>>,
    ) -> Result<()> {
        let mask = mask.try_into_vec_as::<f32>()?;
        let rows = self.done..self.done + mask.len();
        self.mask.values[rows.clone()].copy_from_slice(&mask);
        if let (Some(kept), Some(found)) = (&mut self.probabilities, probabilities) {
            let pixels = kept.pixels();
            let channels = found.split(1, 1).into_iter();
            for (map, channel) in kept.values.chunks_exact_mut(pixels).zip(channels) {
                map[rows.clone()].copy_from_slice(&channel.try_into_vec_as::<f32>()?);
            }
        }
        self.done = rows.end;
        Ok(())
    }

    /// All rows.
    pub fn prediction(self) -> Prediction {
        Prediction {
            mask: self.mask,
            probabilities: self.probabilities,
        }
    }
}
