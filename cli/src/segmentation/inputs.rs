//! An image as several trained networks take it: normalised, and resampled, as in the training of each.

use std::path::Path;

use super::ensemble::Trainings;
use super::resample::Resample;
use crate::Result;
use crate::files::limits::ImageLimits;
use crate::raster::{Grid, Raster};

/// An image as each network takes it.
pub struct Inputs {
    /// The size of the image in its file.
    pub size: Vec<usize>,
    /// One for each network.
    pub each: Vec<Input>,
}

/// An image as a network takes it.
pub struct Input {
    pub image: Raster,
    /// How it was resampled, if its size has changed.
    pub by: Option<Resample>,
}

impl Inputs {
    /// Whether a network takes the image in another size.
    pub fn are_resampled(&self) -> bool {
        self.each.iter().any(|input| input.by.is_some())
    }
}

impl Trainings {
    /// The image with the intensities of each network.
    ///
    /// # Errors
    /// When a training has no range of intensities, or there is no room for a copy.
    pub fn normalized(&self, image: Raster) -> Result<Vec<Raster>> {
        let copies = (1..self.all().len()).map(|_| image.try_clone());
        let mut images = copies.collect::<Result<Vec<_>, _>>()?;
        images.push(image);
        for (image, trained) in images.iter_mut().zip(self.all()) {
            trained.task.normalize(image)?;
        }
        Ok(images)
    }

    /// The images of [`normalized`](Self::normalized), or parts of them, in the spacing of each network. `grid` and
    /// `file` are those of the image.
    ///
    /// # Errors
    /// When the file tells no spacing that a network needs, or the image would become too large.
    pub fn resampled(
        &self,
        images: Vec<Raster>,
        (grid, file): (&Grid, &Path),
        limit: &ImageLimits,
    ) -> Result<Inputs> {
        let size = images.first().map(|image| image.size.clone());
        let each = images.into_iter().zip(self.all()).map(|(image, trained)| {
            let Some(target) = &trained.task.target_spacing else {
                return Ok(Input { image, by: None });
            };
            let by = target.resample(grid, file)?;
            let size = by.size(&image.size);
            limit.size.check_resampled(file, &size, image.channels)?;
            Ok(match size == image.size {
                true => Input { image, by: None },
                false => Input {
                    image: by.image(&image)?,
                    by: Some(by),
                },
            })
        });
        Ok(Inputs {
            each: each.collect::<Result<_>>()?,
            size: size.unwrap_or_default(),
        })
    }
}
