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
    size: Vec<usize>,
    mask: Vec<f32>,
    /// The probabilities of each class.
    maps: Vec<Vec<f32>>,
}

impl Found {
    /// Nothing of an image of this size yet.
    pub fn new(size: &[usize], classes: usize) -> Self {
        Self {
            size: size.to_vec(),
            mask: Vec::with_capacity(size.iter().product()),
            maps: vec![Vec::new(); classes],
        }
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
        self.mask.extend(mask.try_into_vec_as::<f32>()?);
        let channels = probabilities.map(|all| all.split(1, 1)).unwrap_or_default();
        for (map, channel) in self.maps.iter_mut().zip(channels) {
            map.extend(channel.try_into_vec_as::<f32>()?);
        }
        Ok(())
    }

    /// All rows.
    pub fn prediction(self, with_probabilities: bool) -> Prediction {
        let Self { size, mask, maps } = self;
        let raster = |channels, values| Raster {
            channels,
            size: size.clone(),
            values,
        };
        Prediction {
            probabilities: with_probabilities.then(|| raster(maps.len(), maps.concat())),
            mask: raster(1, mask),
        }
    }
}
