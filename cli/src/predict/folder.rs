//! A folder of images, and the files that are written of them.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;

use super::PredictArgs;
use super::output::{Output, Product};
use crate::Result;
use crate::eval::TRAINED_ON;
use crate::raster::{Format, Grid};
use crate::segmentation::data::check_axes;
use crate::segmentation::ensemble::Trainings;
use crate::segmentation::inputs::Inputs;
use crate::segmentation::pairs::Named;

/// The folders that are read and written.
#[derive(Args)]
pub struct FolderArgs {
    /// Folder of images to segment, in place of --image
    #[arg(long, value_name = "DIR", requires = "out_dir",
        conflicts_with_all = ["image", "labels", "out", "mask", "probabilities", "instances"])]
    pub images: Option<PathBuf>,

    /// Folder to write into, for --images: masks/NAME, probabilities/NAME and instances/NAME, in the format of the
    /// image; where that cannot hold them, as .png or .tif
    #[arg(long, value_name = "DIR", requires = "images")]
    pub out_dir: Option<PathBuf>,

    /// What is written of each image of --images, one or several: mask, probabilities, instances [default: mask]
    #[arg(
        long,
        value_enum,
        value_name = "WHAT,...",
        value_delimiter = ',',
        requires = "images",
        hide_possible_values = true
    )]
    write: Vec<Product>,
}

impl FolderArgs {
    /// What is written of each image.
    pub fn products(&self) -> Vec<Product> {
        match &self.write[..] {
            [] => vec![Product::Mask],
            asked => {
                let all = [Product::Mask, Product::Probabilities, Product::Instances];
                all.into_iter().filter(|one| asked.contains(one)).collect()
            }
        }
    }

    /// The images of the folder, each with its files.
    ///
    /// # Errors
    /// When there are none, they lie where files are written, or two would be written to one file.
    pub fn work(&self, axes: usize) -> Result<Vec<Work>> {
        let (Some(images), Some(out)) = (&self.images, &self.out_dir) else {
            return Err("--images and --out-dir belong together".into());
        };
        // (A data folder is named as for training.)
        let inner = images.join("images");
        let images = match inner.is_dir() {
            true => &inner,
            false => images,
        };
        if !images.is_dir() {
            return Err(format!(
                "--images: {} is no folder. Name a folder of images, or pass one image with --image.",
                images.display()
            )
            .into());
        }
        let mut files = Named::files("--images", images)?;
        // (In a folder of one pair these are the labels of the image.)
        if files.iter().any(|file| file.name == "image") {
            files.retain(|file| file.name != "labels");
        }
        if files.is_empty() {
            return Err(format!(
                "--images: {} holds no files of images ({}).",
                images.display(),
                Format::READ
            )
            .into());
        }
        self.check_folders(images, out)?;
        let mut written: HashMap<PathBuf, PathBuf> = HashMap::new();
        let mut work = Vec::new();
        for Named { name, path } in files {
            let mut outputs = Vec::new();
            for product in self.products() {
                let output = out
                    .join(product.folder())
                    .join(file_name(product, &path, &name, axes));
                if let Some(other) = written.insert(output.clone(), path.clone()) {
                    return Err(format!(
                        "--images: {} and {} would both be written to {}. Rename one of them.",
                        other.display(),
                        path.display(),
                        output.display()
                    )
                    .into());
                }
                outputs.push(Output::new(product, output, axes)?);
            }
            work.push(Work {
                image: path,
                outputs,
            });
        }
        for product in self.products() {
            let folder = out.join(product.folder());
            fs::create_dir_all(&folder)
                .map_err(|e| format!("--out-dir: cannot create {}: {e}", folder.display()))?;
        }
        Ok(work)
    }

    /// Refuses to write into the folder of the images, or beside it, where its masks may lie.
    fn check_folders(&self, images: &Path, out: &Path) -> Result<(), String> {
        let Ok(read) = images.canonicalize() else {
            return Ok(());
        };
        // (A folder that does not exist holds nothing.)
        let is_read = |folder: PathBuf| folder.canonicalize().is_ok_and(|folder| folder == read);
        let subfolders = self
            .products()
            .into_iter()
            .map(|product| out.join(product.folder()));
        if out.canonicalize().is_ok_and(|out| read.starts_with(out))
            || subfolders.into_iter().any(is_read)
        {
            return Err(format!(
                "--out-dir: the images of --images lie in {}, and files there could be overwritten. Choose another folder.",
                out.display()
            ));
        }
        if out.join("images").is_dir() {
            return Err(format!(
                "--out-dir: {} has a folder images, so it holds data, whose masks could be overwritten. Choose another \
                 folder.",
                out.display()
            ));
        }
        Ok(())
    }
}

/// The name of the image, if its format can hold the product; else another ending.
fn file_name(product: Product, image: &Path, stem: &str, axes: usize) -> String {
    let same = image.file_name().unwrap_or_default().to_string_lossy();
    match (product.format(image, axes), product) {
        (Ok(_), _) => same.into_owned(),
        (Err(_), Product::Mask | Product::Instances) if axes == 2 => format!("{stem}.png"),
        (Err(_), _) => format!("{stem}.tif"),
    }
}

/// An image, and what is written of it.
pub struct Work {
    pub image: PathBuf,
    pub outputs: Vec<Output>,
}

impl Work {
    /// A problem with this image, with its name.
    pub fn problem(&self, error: &dyn std::fmt::Display) -> String {
        let (error, name) = (error.to_string(), self.image.display().to_string());
        match error.contains(&name) {
            true => error,
            false => format!("{name}: {error}"),
        }
    }

    /// The image as each network takes it.
    ///
    /// # Errors
    /// When it cannot be read, or has other channels or axes than those of the training.
    pub fn read(&self, args: &PredictArgs, trainings: &Trainings) -> Result<Input> {
        let task = &trainings.first()?.task;
        let image = Format::read(&self.image, task.channels, &args.limit)?;
        let conversion = image.conversion(task.channels).map(String::from);
        let (image, mut grid) = image.image(&self.image, task.channels)?;
        let axes = trainings.first()?.options.axes;
        check_axes(&image, &self.image, axes, TRAINED_ON)?;
        let spacing = args.spacing.fill(&mut grid, axes)?;
        let images = trainings.normalized(image)?;
        let inputs = trainings.resampled(images, (&grid, &self.image), &args.limit)?;
        Ok(Input {
            inputs,
            grid,
            remarks: conversion.into_iter().chain(spacing).collect(),
        })
    }
}

/// An image as each network takes it, and where it lies.
pub struct Input {
    pub inputs: Inputs,
    pub grid: Grid,
    /// What is done to it that nobody asked for, or not done that was asked for.
    pub remarks: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_the_name_of_its_image_where_the_format_can_hold_it() {
        let name = |product, image: &str, axes| {
            let (_, stem) = Format::of(Path::new(image)).unwrap();
            file_name(product, Path::new(image), &stem, axes)
        };
        assert_eq!(name(Product::Mask, "d/a.PNG", 2), "a.PNG");
        assert_eq!(name(Product::Instances, "a.jpg", 2), "a.png");
        assert_eq!(name(Product::Probabilities, "a.png", 2), "a.tif");
        assert_eq!(name(Product::Probabilities, "a.nii.gz", 3), "a.nii.gz");
        assert_eq!(name(Product::Mask, "a.png", 3), "a.tif");
    }
}
