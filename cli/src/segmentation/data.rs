//! Images with their masks, split into what is trained on and what is not.

use std::path::Path;

use crate::Result;
use crate::files::limits::ImageLimit;
use crate::raster::{Intensities, Raster};
use crate::segmentation::pairs::Pair;

/// An image and its mask, of one size.
#[derive(Clone, Debug)]
pub struct Sample {
    pub image: Raster,
    /// The class of every pixel.
    pub mask: Raster,
    /// So many columns at the left are context for the network, and count neither in the loss nor in a metric.
    pub context: usize,
    /// The seed of what is random in the network on this sample.
    pub seed: u64,
}

/// The input and the output of a network.
#[derive(Clone, Copy, Debug)]
pub struct Task {
    /// 1: grey; 3: red, green and blue.
    pub channels: usize,
    /// 1: foreground or not; more: one class a pixel, of which 0 is the background.
    pub classes: usize,
    pub intensities: Intensities,
}

/// Columns of context beside those that are judged: as far as a U-Net of three levels sees.
const CONTEXT: usize = 64;

/// The two parts of every image: the first three quarters of its columns, and the last.
pub struct Data {
    pub train: Vec<Sample>,
    pub valid: Vec<Sample>,
}

impl Data {
    /// Reads images and their masks, and splits each.
    ///
    /// # Errors
    /// When a file cannot be read, sizes differ, or an image is smaller than a crop.
    pub fn load(pairs: &[Pair], task: Task, crop: usize, limit: ImageLimit) -> Result<Self> {
        let mut data = Self {
            train: Vec::new(),
            valid: Vec::new(),
        };
        for pair in pairs {
            let sample = pair.read(task, limit)?;
            let (train, valid) = Self::split(&sample, &pair.image)?;
            if train.image.width < crop || train.image.height < crop {
                return Err(too_small(&pair.image, &sample.image, train.image.width, crop).into());
            }
            data.train.push(train);
            data.valid.push(valid);
        }
        Ok(data)
    }

    /// The columns of a sample that are trained on, and the others: those are judged with the columns beside
    /// them as context.
    ///
    /// # Errors
    /// When one of the two would be empty.
    pub fn split(sample: &Sample, file: &Path) -> Result<(Sample, Sample)> {
        let train = sample.training_columns();
        if train == sample.image.width {
            return Err(format!(
                "{} is {} (width x height): that leaves no column for validation. Use images of 4 columns or \
                 more.",
                file.display(),
                sample.image.size()
            )
            .into());
        }
        let context = train.min(CONTEXT);
        let valid = sample.columns(train - context, sample.image.width - train + context);
        Ok((sample.columns(0, train), Sample { context, ..valid }))
    }
}

impl Sample {
    /// An image and its mask, each with its file.
    ///
    /// # Errors
    /// When their sizes differ.
    pub fn new(image: (Raster, &Path), mask: (Raster, &Path)) -> Result<Self> {
        if image.0.size() != mask.0.size() {
            return Err(format!(
                "an image and its mask differ in size: {} is {}, {} is {} (width x height). \
                 A mask has one pixel for each of its image.",
                image.1.display(),
                image.0.size(),
                mask.1.display(),
                mask.0.size()
            )
            .into());
        }
        Ok(Self {
            image: image.0,
            mask: mask.0,
            context: 0,
            seed: 0,
        })
    }

    /// A raster of this sample's size without the context.
    pub fn judged(&self, raster: &Raster) -> Raster {
        raster.cut(self.context, 0, raster.width - self.context, raster.height)
    }

    /// How many columns are trained on; the columns after them are for validation.
    fn training_columns(&self) -> usize {
        self.image.width - self.image.width / 4
    }

    fn columns(&self, left: usize, width: usize) -> Self {
        let height = self.image.height;
        Self {
            image: self.image.cut(left, 0, width, height),
            mask: self.mask.cut(left, 0, width, height),
            context: 0,
            seed: 0,
        }
    }
}

fn too_small(path: &Path, image: &Raster, columns: usize, crop: usize) -> String {
    format!(
        "{} is too small to train on: it is {} (width x height), {columns} columns of it are for \
         training, and a crop is {crop} x {crop}. Use larger images, or pass --crop {}.",
        path.display(),
        image.size(),
        columns.min(image.height).max(1)
    )
}
