//! Which images and masks a data folder holds.

use std::path::{Path, PathBuf};

use crate::Result;
use crate::files::limits::ImageLimits;
use crate::raster::{Format, Grid, Raster, RasterFile, of_bytes, same_grid};
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

/// What was read of a pair for a network.
pub struct PairRead {
    pub sample: Sample,
    /// Where the image lies.
    pub grid: Grid,
    /// How many channels of its file are no opacity.
    pub channels: usize,
    /// How they became those of the network, if grey or colours were changed.
    pub conversion: Option<&'static str>,
}

impl Pair {
    /// The pair of two files.
    pub fn of_files(image: PathBuf, mask: PathBuf) -> Self {
        Self {
            image,
            mask,
            built_in: None,
        }
    }

    /// The name of the image, without its ending.
    pub fn name(&self) -> String {
        let name = Format::of(&self.image).map(|(_, name)| name);
        name.unwrap_or_else(|| self.image.display().to_string())
    }

    /// The files, if it is one of files.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let is_file = self.built_in.is_none();
        let files = [&self.image, &self.mask].into_iter();
        files.filter(move |_| is_file).map(PathBuf::as_path)
    }

    /// Reads both as they are stored. `channels` is as for [`Format::read`].
    ///
    /// # Errors
    /// When one of them cannot be read, or the mask lies elsewhere.
    pub fn read_files(&self, channels: usize, limit: &ImageLimits) -> Result<[RasterFile; 2]> {
        let image = match self.built_in {
            Some([image, _]) => of_bytes(image, &self.image, limit)?,
            None => Format::read(&self.image, channels, limit)?,
        };
        let mask = self.read_mask(limit)?;
        image.check_mask(&self.image, &mask, &self.mask)?;
        Ok([image, mask])
    }

    fn read_mask(&self, limit: &ImageLimits) -> Result<RasterFile> {
        match self.built_in {
            Some([_, mask]) => of_bytes(mask, &self.mask, limit),
            None => Format::read_mask(&self.mask, limit),
        }
    }

    /// Reads both, the image with the channels of a network.
    ///
    /// # Errors
    /// When one of them cannot be read, their sizes differ, or the mask has a class too many.
    pub fn read(&self, task: &Task, limit: &ImageLimits) -> Result<PairRead> {
        let [image, mask] = self.read_files(task.channels, limit)?;
        let (channels, conversion) = (image.channels(), image.conversion(task.channels));
        let (image, grid) = image.image(&self.image, task.channels)?;
        let mask = mask.mask(&self.mask, task.classes, task.ignored)?;
        let sample = Sample::new((image, &self.image), (mask, &self.mask))?;
        Ok(PairRead {
            sample,
            grid,
            channels,
            conversion,
        })
    }

    /// Reads the number of the object of every pixel, for a network of so many classes, and the file that has them: the
    /// one beside the mask in `instances/`, or called `instances`, and where there is none, the mask of a single class.
    ///
    /// # Errors
    /// When there is none, or it has other values than numbers of objects.
    pub fn objects(&self, classes: usize, limit: &ImageLimits) -> Result<(Raster, PathBuf)> {
        let beside = match self.built_in {
            Some(_) => None,
            None => self.file_of_objects()?,
        };
        match beside {
            Some(path) => Ok((Format::read_mask(&path, limit)?.objects(&path)?, path)),
            None if classes == 1 => {
                let objects = self.read_mask(limit)?.objects(&self.mask)?;
                Ok((objects, self.mask.clone()))
            }
            None => Err(format!(
                "--instances: {} has the numbers of {classes} classes, and none of objects. Put a mask in which each object \
                 has a number of its own into the folder instances/ beside masks/, or beside the mask as instances.png.",
                self.mask.display()
            )
            .into()),
        }
    }

    fn file_of_objects(&self) -> Result<Option<PathBuf>> {
        let folder = self.mask.parent().unwrap_or(Path::new(""));
        let (folder, name) = match folder.file_name().is_some_and(|name| name == "masks") {
            true => (folder.with_file_name("instances"), self.name()),
            false => (folder.to_path_buf(), "instances".into()),
        };
        match folder.is_dir() {
            true => Named::one(&Named::files("--instances", &folder)?, &name, &folder),
            false => Ok(None),
        }
    }
}

/// The pairs of a folder: an image called `image` with a mask called `labels`, or every image in `images/` with its
/// mask in `masks/`, which has the same name. Without a folder, the pair that is built in. `option` is for the errors.
///
/// # Errors
/// When the folder has none, or an image has no mask, or several.
pub fn pairs(option: &str, folder: Option<&Path>) -> Result<Vec<Pair>> {
    let Some(folder) = folder else {
        return Ok(vec![Pair {
            image: "nuclei/image.png".into(),
            mask: "nuclei/labels.png".into(),
            built_in: Some(BUILT_IN),
        }]);
    };
    let at = folder.display();
    if !folder.is_dir() {
        return Err(format!("{option}: there is no folder {at}").into());
    }
    let (images, masks) = (folder.join("images"), folder.join("masks"));
    if !images.is_dir() {
        let files = Named::files(option, folder)?;
        let [image, mask] = ["image", "labels"].map(|name| Named::one(&files, name, folder));
        let (Some(image), Some(mask)) = (image?, mask?) else {
            return Err(format!(
                "{option}: {at} has no images. A data folder holds an image and its mask, such as image.png and \
                 labels.png, or images/NAME.png and masks/NAME.png for any number of names; as {}.",
                Format::READ
            )
            .into());
        };
        return Ok(vec![Pair::of_files(image, mask)]);
    }
    let files = Named::files(option, &images)?;
    if files.is_empty() {
        return Err(format!(
            "{option}: {} holds no files of images ({}). Put NAME.png there, and its mask in {}.",
            images.display(),
            Format::READ,
            masks.display()
        )
        .into());
    }
    let named = Named::files(option, &masks)?;
    let with_mask = |image: Named| match Named::one(&named, &image.name, &masks)? {
        Some(mask) => Ok(Pair::of_files(image.path, mask)),
        None => Err(format!(
            "{} has no mask: there is no {} in {}",
            image.path.display(),
            image.name,
            masks.display()
        )
        .into()),
    };
    files.into_iter().map(with_mask).collect()
}

/// Checks that the masks lie where their images do, where the headers of both tell it: before any of them is read.
///
/// # Errors
/// As [`same_grid::check_headers`].
pub fn check_headers<'p>(pairs: impl IntoIterator<Item = &'p Pair>) -> Result<(), String> {
    let files = pairs.into_iter().filter(|pair| pair.built_in.is_none());
    same_grid::check_headers(files.map(|pair| [&*pair.image, &*pair.mask]))
}

/// A file of an image, and its name without the ending.
pub struct Named {
    pub name: String,
    pub path: PathBuf,
}

impl Named {
    /// The files of images in a folder whose names do not begin with a dot, in the order of their names, so that every machine
    /// trains on the same sequence. `option` is for the error.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn files(option: &str, folder: &Path) -> Result<Vec<Self>> {
        let entries = std::fs::read_dir(folder)
            .map_err(|e| format!("{option}: cannot list {}: {e}", folder.display()))?;
        let paths = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
        let named = |path: PathBuf| Format::of(&path).map(|(_, name)| Self { name, path });
        // (macOS writes `._a.png` beside `a.png` on disks of other systems.)
        let is_hidden = |file: &Self| {
            let name = file.path.file_name().unwrap_or_default();
            name.to_string_lossy().starts_with('.')
        };
        let files = paths.filter_map(named);
        let mut files: Vec<Self> = files.filter(|file| !is_hidden(file)).collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(files)
    }

    /// The file of a name, if there is one.
    fn one(files: &[Self], name: &str, folder: &Path) -> Result<Option<PathBuf>> {
        let mut named = files.iter().filter(|file| file.name == name);
        match (named.next(), named.next()) {
            (Some(one), Some(other)) => Err(format!(
                "{} has two files of one name: {} and {}. Remove one of them.",
                folder.display(),
                one.path.display(),
                other.path.display()
            )
            .into()),
            (file, _) => Ok(file.map(|file| file.path.clone())),
        }
    }
}
