//! Which images and masks a data folder holds.

use std::path::{Path, PathBuf};

use crate::Result;
use crate::files::limits::ImageLimit;
use crate::raster::{Raster, decode_bytes, open};
use crate::segmentation::data::{Sample, Task};

/// The image that is built into this program, and its mask.
const BUILT_IN: [&[u8]; 2] = [
    include_bytes!("../../../examples/data/nuclei/image.png"),
    include_bytes!("../../../examples/data/nuclei/labels.png"),
];

/// An image with its mask.
pub struct Pair {
    pub image: PathBuf,
    pub mask: PathBuf,
    /// What is in both, where they are no files.
    built_in: Option<[&'static [u8]; 2]>,
}

impl Pair {
    fn of_files(image: PathBuf, mask: PathBuf) -> Self {
        Self {
            image,
            mask,
            built_in: None,
        }
    }

    /// The files, if it is one of files.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let is_file = self.built_in.is_none();
        let files = [&self.image, &self.mask].into_iter();
        files.filter(move |_| is_file).map(PathBuf::as_path)
    }

    /// Reads both.
    ///
    /// # Errors
    /// When one of them cannot be read, their sizes differ, or the mask has a class too many.
    pub fn read(&self, task: Task, limit: ImageLimit) -> Result<Sample> {
        let [image, mask] = match self.built_in {
            Some([image, mask]) => [
                decode_bytes(image, &self.image, limit)?,
                decode_bytes(mask, &self.mask, limit)?,
            ],
            None => [open(&self.image, limit)?, open(&self.mask, limit)?],
        };
        let image = Raster::of_image(&image, task.channels, task.intensities);
        let mask = Raster::of_mask(&mask, &self.mask, task.classes)?;
        Sample::new((image, &self.image), (mask, &self.mask))
    }
}

/// The pairs of a folder: `image.png` with `labels.png`, or every `images/NAME.png` with its
/// `masks/NAME.png`. Without a folder, the one that is built in.
///
/// # Errors
/// When the folder has none, or an image has no mask.
pub fn pairs(folder: Option<&Path>) -> Result<Vec<Pair>> {
    let Some(folder) = folder else {
        return Ok(vec![Pair {
            image: "nuclei/image.png".into(),
            mask: "nuclei/labels.png".into(),
            built_in: Some(BUILT_IN),
        }]);
    };
    let at = folder.display();
    if !folder.is_dir() {
        return Err(format!("--data: there is no folder {at}").into());
    }
    let (images, masks) = (folder.join("images"), folder.join("masks"));
    if !images.is_dir() {
        let single = Pair::of_files(folder.join("image.png"), folder.join("labels.png"));
        if let Some(missing) = single.files().find(|file| !file.is_file()) {
            return Err(format!(
                "--data: {at} has no images: {} is missing. A data folder holds image.png and \
                 labels.png, or images/NAME.png and masks/NAME.png for any number of names.",
                missing.display()
            )
            .into());
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
    let pairs = files.into_iter().map(|image| with_mask(image, &masks));
    pairs.collect()
}

fn with_mask(image: PathBuf, masks: &Path) -> Result<Pair> {
    let mask = masks.join(image.file_name().unwrap_or_default());
    if !mask.is_file() {
        return Err(format!(
            "{} has no mask: {} is missing",
            image.display(),
            mask.display()
        )
        .into());
    }
    Ok(Pair::of_files(image, mask))
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
