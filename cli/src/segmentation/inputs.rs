//! An image as several trained networks take it: normalised, and resampled, as in the training of each.

use std::path::Path;

use super::ensemble::Trainings;
use super::spacing::Resampler;
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
    /// What resampled it, if its size has changed.
    pub resampler: Option<Resampler>,
}

impl Inputs {
    /// Whether a network takes the image in another size.
    pub fn are_resampled(&self) -> bool {
        self.each.iter().any(|input| input.resampler.is_some())
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
            let as_it_is = |image| Input {
                image,
                resampler: None,
            };
            let Some(target) = &trained.task.target_spacing else {
                return Ok(as_it_is(image));
            };
            let resampler = target.resampler(grid, file, ", or pass it with --spacing")?;
            let size = resampler.size_of(file, &image.size, image.channels, limit.size)?;
            Ok(match size == image.size {
                true => as_it_is(image),
                false => Input {
                    image: resampler.image(&image)?,
                    resampler: Some(resampler),
                },
            })
        });
        Ok(Inputs {
            each: each.collect::<Result<_>>()?,
            size: size.unwrap_or_default(),
        })
    }
}
