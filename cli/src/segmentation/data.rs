//! Images with their masks, read from a folder and split into what is trained on and what is not.

use std::path::{Path, PathBuf};

use crate::Result;
use crate::raster::{Intensities, Raster};

/// The folder that comes with this program.
pub const BUNDLED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/nuclei");

/// An image and its mask, of one size.
#[derive(Clone, Debug)]
pub struct Sample {
    pub image: Raster,
    /// The class of every pixel.
    pub mask: Raster,
    /// So many columns at the left are there to be seen by the network, and not to be judged.
    pub context: usize,
    /// Picks what is random in the network when it sees this sample.
    pub seed: u64,
}

/// What a network sees and says.
#[derive(Clone, Copy, Debug)]
pub struct Task {
    /// 1: grey; 3: red, green and blue.
    pub channels: usize,
    /// 1: foreground or not; more: one class a pixel, of which 0 is the background.
    pub classes: usize,
    pub intensities: Intensities,
}

/// So many columns are seen beside those that are judged: as far as a U-Net of three levels sees.
const CONTEXT: usize = 64;

/// The two parts of every image: the first three quarters of its columns, and the last.
pub struct Data {
    pub train: Vec<Sample>,
    pub valid: Vec<Sample>,
}

impl Data {
    /// Reads a folder in one of the two layouts of [`pairs`].
    ///
    /// # Errors
    /// When the folder or a file cannot be read, sizes differ, or an image is too small to train on.
    pub fn load(folder: &Path, task: Task, crop: usize) -> Result<Self> {
        let mut data = Self {
            train: Vec::new(),
            valid: Vec::new(),
        };
        for (image, mask) in pairs(folder)? {
            let sample = Sample::read(&image, &mask, task)?;
            let (train, valid) = Self::split(&sample, &image)?;
            if train.image.width < crop || train.image.height < crop {
                return Err(too_small(&image, &sample.image, train.image.width, crop).into());
            }
            data.train.push(train);
            data.valid.push(valid);
        }
        Ok(data)
    }

    /// What of a sample is trained on, and what is not: that is judged as it will be used, with what lies
    /// beside it.
    ///
    /// # Errors
    /// When one of them would be empty.
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
    /// Reads an image and its mask.
    ///
    /// # Errors
    /// When one of them cannot be read, their sizes differ, or the mask has a class too many.
    pub fn read(image: &Path, mask: &Path, task: Task) -> Result<Self> {
        let sample = Self {
            image: Raster::read_image(image, task.channels, task.intensities)?,
            mask: Raster::read_mask(mask, task.classes)?,
            context: 0,
            seed: 0,
        };
        if sample.image.size() != sample.mask.size() {
            return Err(format!(
                "an image and its mask differ in size: {} is {}, {} is {} (width x height). \
                 A mask has one pixel for each of its image.",
                image.display(),
                sample.image.size(),
                mask.display(),
                sample.mask.size()
            )
            .into());
        }
        Ok(sample)
    }

    /// What is judged of a raster of its size.
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

/// The image and mask files of a folder: `image.png` with `labels.png`, or every `images/NAME.png`
/// with its `masks/NAME.png`.
pub fn pairs(folder: &Path) -> Result<Vec<(PathBuf, PathBuf)>> {
    let at = folder.display();
    if !folder.is_dir() {
        return Err(format!("--data: there is no folder {at}").into());
    }
    let (images, masks) = (folder.join("images"), folder.join("masks"));
    if !images.is_dir() {
        let single = (folder.join("image.png"), folder.join("labels.png"));
        for file in [&single.0, &single.1] {
            if !file.is_file() {
                return Err(format!(
                    "--data: {at} has no images: {} is missing. A data folder holds image.png and \
                     labels.png, or images/NAME.png and masks/NAME.png for any number of names.",
                    file.display()
                )
                .into());
            }
        }
        return Ok(vec![single]);
    }
    let files = png_files(&images)?;
    if files.is_empty() {
        return Err(format!(
            "--data: {} holds no PNG files. Put NAME.png there, and its mask in {}.",
            images.display(),
            masks.display()
        )
        .into());
    }
    files
        .into_iter()
        .map(|image| with_mask(image, &masks))
        .collect()
}

fn with_mask(image: PathBuf, masks: &Path) -> Result<(PathBuf, PathBuf)> {
    let mask = masks.join(image.file_name().unwrap_or_default());
    if !mask.is_file() {
        return Err(format!(
            "{} has no mask: {} is missing",
            image.display(),
            mask.display()
        )
        .into());
    }
    Ok((image, mask))
}

/// In the order of their names, so that every machine trains on the same sequence.
fn png_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder)
        .map_err(|e| format!("--data: cannot list {}: {e}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|e| e.eq_ignore_ascii_case("png"))
        })
        .collect();
    files.sort();
    Ok(files)
}
