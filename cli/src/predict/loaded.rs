//! One image to segment, with the true mask that it is compared with.

use std::path::Path;

use super::PredictArgs;
use crate::Result;
use crate::eval::TRAINED_ON;
use crate::raster::{Format, Grid, Raster};
use crate::segmentation::data::{Sample, check_axes};
use crate::segmentation::ensemble::Trainings;

/// What is read for one image.
pub struct Loaded {
    pub image: Raster,
    pub grid: Grid,
    /// The true classes.
    pub truth: Option<Raster>,
    /// The numbers of the true objects, where they are drawn.
    pub objects: Option<Raster>,
    /// What is done to the image that nobody asked for, or not done that was asked for.
    pub remarks: Vec<String>,
}

impl PredictArgs {
    /// Reads an image, and its true mask, if there is one.
    ///
    /// # Errors
    /// When a file cannot be read, or does not fit the networks or the other file.
    pub fn read(&self, file: &Path, trainings: &Trainings) -> Result<Loaded> {
        let trained = trainings.first()?;
        let task = &trained.task;
        let image = Format::read(file, task.channels, &self.limit)?;
        let labels = self.labels.as_ref().map(|labels| {
            let mask = Format::read_mask(labels, &self.limit)?;
            image.check_mask(file, &mask, labels)?;
            Ok::<_, Box<dyn std::error::Error>>((mask, labels))
        });
        let labels = labels.transpose()?;
        let conversion = image.conversion(task.channels).map(String::from);
        let (image, mut grid) = image.image(file, task.channels)?;
        check_axes(&image, file, trained.options.axes, TRAINED_ON)?;
        let spacing = self.spacing.fill(&mut grid, trained.options.axes)?;
        let remarks = conversion.into_iter().chain(spacing).collect();
        let Some((mask, labels)) = labels else {
            return Ok(Loaded {
                image,
                grid,
                truth: None,
                objects: None,
                remarks,
            });
        };
        let read = || Format::read_mask(labels, &self.limit)?.objects(labels);
        let objects = self.colours.then(read);
        let mask = mask.mask(labels, task.classes, task.ignored)?;
        let sample = Sample::new((image, file), (mask, labels))?;
        let mut objects = objects.transpose()?;
        if let Some(objects) = &mut objects {
            sample.clear_ignored(objects, task.ignored);
        }
        Ok(Loaded {
            image: sample.image,
            grid,
            truth: Some(sample.mask),
            objects,
            remarks,
        })
    }
}
