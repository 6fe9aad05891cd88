//! What is made of a prediction, and the files that it is written to.

use std::path::{Path, PathBuf};

use clap::ValueEnum;

use crate::Result;
use crate::files::atomic;
use crate::instances::{InstanceOptions, Instances};
use crate::raster::{Content, Format, Grid, Raster};
use crate::segmentation::prediction::Prediction;

/// What can be written of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub enum Product {
    /// The class of every pixel
    Mask,
    /// The probability of each class, a channel each
    Probabilities,
    /// The number of the object of every pixel
    Instances,
}

impl Product {
    /// Its option on the command line.
    pub fn option(self) -> &'static str {
        match self {
            Self::Mask => "--mask",
            Self::Probabilities => "--probabilities",
            Self::Instances => "--instances",
        }
    }

    /// The folder that its files lie in, where there are several.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Mask => "masks",
            Self::Probabilities => "probabilities",
            Self::Instances => "instances",
        }
    }

    /// The format for a file of this name, for images of so many axes.
    ///
    /// # Errors
    /// When the format cannot hold it.
    pub fn format(self, path: &Path, axes: usize) -> Result<Format, String> {
        // (The numbers of classes and objects do not matter yet.)
        let content = match self {
            Self::Mask => Content::Mask { classes: 1 },
            Self::Probabilities => Content::Probabilities,
            Self::Instances => Content::Instances { count: 0 },
        };
        Format::for_writing(self.option(), path, content, axes)
    }
}

/// What was made of an image.
pub struct Products {
    classes: usize,
    pub mask: Raster,
    pub probabilities: Option<Raster>,
    pub instances: Option<Instances>,
}

impl Products {
    /// Cleans the mask of so many classes, and finds the instances, if they are asked for.
    ///
    /// # Errors
    /// When there are too many objects.
    pub fn of(
        prediction: Prediction,
        classes: usize,
        options: &InstanceOptions,
        (with_instances, grid): (bool, &Grid),
    ) -> Result<Self> {
        let Prediction {
            mut mask,
            probabilities,
        } = prediction;
        options.cleaning.mask(&mut mask)?;
        let found = probabilities.as_ref().filter(|_| with_instances);
        let found = found.map(|probabilities| options.find(probabilities, grid.full_spacing()));
        Ok(Self {
            classes,
            mask,
            instances: found.transpose()?,
            probabilities,
        })
    }

    /// The part of the pixels that is foreground.
    pub fn foreground(&self) -> f64 {
        let marked = self.mask.values.iter().filter(|&&class| class > 0.0);
        marked.count() as f64 / self.mask.values.len() as f64
    }

    fn get(&self, product: Product) -> Option<(&Raster, Content)> {
        match product {
            Product::Mask => {
                let classes = self.classes;
                Some((&self.mask, Content::Mask { classes }))
            }
            Product::Probabilities => {
                let map = self.probabilities.as_ref()?;
                Some((map, Content::Probabilities))
            }
            Product::Instances => {
                let Instances { labels, count } = self.instances.as_ref()?;
                Some((labels, Content::Instances { count: *count }))
            }
        }
    }
}

/// A file that is written, in the format of its name.
pub struct Output {
    pub path: PathBuf,
    product: Product,
    format: Format,
}

impl Output {
    /// A file for images of so many axes.
    ///
    /// # Errors
    /// When its format cannot hold what is written.
    pub fn new(product: Product, path: PathBuf, axes: usize) -> Result<Self, String> {
        Ok(Self {
            format: product.format(&path, axes)?,
            product,
            path,
        })
    }

    /// Writes the file; `grid` is that of the image.
    ///
    /// # Errors
    /// When the format cannot hold it, or the file cannot be written.
    pub fn write(&self, products: &Products, grid: &Grid) -> Result<()> {
        let Some((raster, content)) = products.get(self.product) else {
            return Err(format!("{}: it was not predicted", self.product.option()).into());
        };
        atomic::write_with(&self.path, |file| {
            self.format.write(file, raster, content, grid)
        })
    }
}
