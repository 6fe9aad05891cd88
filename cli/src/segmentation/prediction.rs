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

/// A raster that gets its rows one after the other.
pub struct RowByRow {
    raster: Raster,
    /// So many rows are there.
    done: usize,
}

impl RowByRow {
    /// With no row yet of so many channels and this size. It lies where the budget of `image` has room for it.
    ///
    /// # Errors
    /// When there is no room.
    pub fn new(channels: usize, size: &[usize], image: &Raster) -> Result<Self, String> {
        let count = channels * size.iter().product::<usize>();
        let raster = Raster {
            channels,
            size: size.to_vec(),
            values: image.values.zeros_like(count)?,
        };
        Ok(Self { raster, done: 0 })
    }

    /// Adds rows.
    ///
    /// # Errors
    /// When the device fails.
    pub fn add<const R: usize>(&mut self, rows: Tensor<R>) -> Result<()> {
        let size = rows.dims()[2..].to_vec();
        let rows = Raster {
            channels: self.raster.channels,
            size,
            values: rows.try_into_vec_as::<f32>()?.into(),
        };
        self.raster.put_rows(self.done, &rows);
        self.done += rows.size[0];
        Ok(())
    }

    /// All rows.
    pub fn raster(self) -> Raster {
        self.raster
    }
}

/// What is found so far, row by row.
pub struct Found {
    mask: RowByRow,
    probabilities: Option<RowByRow>,
}

impl Found {
    /// Nothing of an image of this size yet, with the probabilities of so many classes, if they are kept. It lies where
    /// the budget of the image has room for it.
    ///
    /// # Errors
    /// When there is no room.
    pub fn new(size: &[usize], classes: Option<usize>, image: &Raster) -> Result<Self, String> {
        let probabilities = classes.map(|classes| RowByRow::new(classes, size, image));
        Ok(Self {
            mask: RowByRow::new(1, size, image)?,
            probabilities: probabilities.transpose()?,
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
        self.mask.add(mask)?;
        match (&mut self.probabilities, probabilities) {
            (Some(kept), Some(found)) => kept.add(found),
            _ => Ok(()),
        }
    }

    /// All rows.
    pub fn prediction(self) -> Prediction {
        Prediction {
            mask: self.mask.raster(),
            probabilities: self.probabilities.map(RowByRow::raster),
        }
    }
}
