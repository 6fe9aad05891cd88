//! The formats of images: which file is of which, and who reads and writes it.

use std::path::Path;

use super::{Grid, Raster, RasterFile, nifti, npy, photo, tiff};
use crate::Result;
use crate::files::limits::ImageLimit;

/// A format of images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Png,
    Jpeg,
    Tiff,
    Nifti { compressed: bool },
    Npy,
}

/// How the files of each format end.
const ENDINGS: [(&str, Format); 8] = [
    (".png", Format::Png),
    (".jpg", Format::Jpeg),
    (".jpeg", Format::Jpeg),
    (".tif", Format::Tiff),
    (".tiff", Format::Tiff),
    (".nii", Format::Nifti { compressed: false }),
    (".nii.gz", Format::Nifti { compressed: true }),
    (".npy", Format::Npy),
];

/// What is written.
#[derive(Clone, Copy, Debug)]
pub enum Content {
    /// The class of every pixel, of so many.
    Mask { classes: usize },
    /// The probability of each class, a channel each.
    Probabilities,
    /// The number of the object of every pixel; there are so many.
    Instances { count: usize },
}

impl Format {
    /// What messages call the formats that are read.
    pub const READ: &str = "PNG, JPEG, TIFF, NIfTI or NPY";

    /// The format that the name of a file says, and the name without it.
    pub fn of(path: &Path) -> Option<(Self, String)> {
        let name = path.file_name()?.to_string_lossy();
        ENDINGS.iter().find_map(|&(ending, format)| {
            let stem = name.len().checked_sub(ending.len())?;
            let (stem, found) = name.split_at_checked(stem)?;
            found
                .eq_ignore_ascii_case(ending)
                .then(|| (format, stem.to_string()))
        })
    }

    /// Reads a file. `channels` is how many the network takes: it decides what an axis means where the file does
    /// not say.
    ///
    /// # Errors
    /// When the file is missing, damaged, too large or of another format.
    pub fn read(path: &Path, channels: usize, limit: ImageLimit) -> Result<RasterFile> {
        match Self::of(path).map(|(format, _)| format) {
            Some(Self::Tiff) => tiff::read(path, limit),
            Some(Self::Nifti { .. }) => nifti::read(path, limit),
            Some(Self::Npy) => npy::read(path, channels, limit),
            // What these are is decided by their content.
            Some(Self::Png | Self::Jpeg) | None => photo::read(path, limit),
        }
    }

    /// Checks that `option` may write such content to a file of this name, for images of so many axes.
    ///
    /// # Errors
    /// When its format cannot hold that.
    pub fn for_writing(
        option: &str,
        path: &Path,
        content: Content,
        axes: usize,
    ) -> Result<Self, String> {
        let shown = path.display();
        let formats = match (content, axes) {
            (Content::Mask { .. } | Content::Instances { .. }, 2) => {
                ".png, .tif, .nii, .nii.gz or .npy"
            }
            _ => ".tif, .nii, .nii.gz or .npy",
        };
        let problem = match (Self::of(path), content, axes) {
            (Some((Self::Png, _)), Content::Mask { .. } | Content::Instances { .. }, 2) => {
                return Ok(Self::Png);
            }
            (Some((format @ (Self::Tiff | Self::Nifti { .. } | Self::Npy), _)), ..) => {
                return Ok(format);
            }
            (Some((Self::Png, _)), Content::Probabilities, _) => {
                "a PNG holds no probabilities, which are floating-point numbers"
            }
            (Some((Self::Png, _)), ..) => "a PNG holds no volume",
            (Some((Self::Jpeg, _)), ..) => "a JPEG changes the numbers",
            (None, ..) => "its ending is of no format that is written",
        };
        Err(format!(
            "{option}: {shown}: {problem}. Choose a name that ends in {formats}."
        ))
    }

    /// The bytes of a file of this format: `grid` is that of the image from which the content was made.
    ///
    /// # Errors
    /// When the format cannot hold it.
    pub fn encode(self, raster: &Raster, content: Content, grid: &Grid) -> Result<Vec<u8>> {
        if let Content::Mask { classes } = content
            && classes > 1 << 16
        {
            return Err(
                format!("a mask holds 65536 classes at most, and these are {classes}").into(),
            );
        }
        if let (Self::Png, Content::Instances { count: 65_536.. }) = (self, content) {
            return Err("a PNG holds the numbers of 65535 objects, and there are more. Choose a name that ends in .tif, \
                        .nii, .nii.gz or .npy."
                .into());
        }
        match self {
            Self::Png | Self::Jpeg => photo::mask_png(raster, content),
            Self::Tiff => tiff::encode(raster, content, grid),
            Self::Nifti { compressed } => nifti::encode(raster, content, grid, compressed),
            Self::Npy => Ok(npy::encode(raster, content)),
        }
    }
}

/// The content as the numbers that are stored.
pub enum Stored {
    U8(Vec<u8>),
    U16(Vec<u16>),
    U32(Vec<u32>),
    F32(Vec<f32>),
}

impl Stored {
    /// A class is its number, in 8 bits where that is enough; an object is its number in 16 bits, or in 32; a
    /// probability is a float.
    pub fn of(values: &[f32], content: Content) -> Self {
        match content {
            Content::Mask { classes: 0..=256 } => {
                Self::U8(values.iter().map(|&class| class as u8).collect())
            }
            Content::Mask { .. } | Content::Instances { count: 0..=65_535 } => {
                Self::U16(values.iter().map(|&number| number as u16).collect())
            }
            Content::Instances { .. } => {
                Self::U32(values.iter().map(|&number| number as u32).collect())
            }
            Content::Probabilities => Self::F32(values.to_vec()),
        }
    }

    /// The numbers as bytes.
    pub fn bytes(&self, big_endian: bool) -> Vec<u8> {
        match (self, big_endian) {
            (Self::U8(values), _) => values.clone(),
            (Self::U16(values), false) => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            (Self::U16(values), true) => values.iter().flat_map(|v| v.to_be_bytes()).collect(),
            (Self::U32(values), false) => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            (Self::U32(values), true) => values.iter().flat_map(|v| v.to_be_bytes()).collect(),
            (Self::F32(values), false) => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            (Self::F32(values), true) => values.iter().flat_map(|v| v.to_be_bytes()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Limited {
        #[command(flatten)]
        limit: ImageLimit,
    }

    #[test]
    fn a_name_says_the_format() {
        let of = |name: &str| Format::of(Path::new(name));
        assert_eq!(of("d/a.TIF"), Some((Format::Tiff, "a".into())));
        let nifti = Format::Nifti { compressed: true };
        assert_eq!(of("a.b.nii.gz"), Some((nifti, "a.b".into())));
        assert_eq!([of("a.gz"), of("npy"), of("")], [None, None, None]);
    }

    #[test]
    fn what_a_format_cannot_hold_is_refused() {
        let check =
            |name, content, axes| Format::for_writing("--mask", Path::new(name), content, axes);
        let mask = Content::Mask { classes: 1 };
        assert_eq!(check("a.png", mask, 2), Ok(Format::Png));
        assert_eq!(
            check("a.png", mask, 3).unwrap_err(),
            "--mask: a.png: a PNG holds no volume. Choose a name that ends in .tif, .nii, .nii.gz or .npy."
        );
        let instances = Content::Instances { count: 0 };
        assert_eq!(check("a.png", instances, 2), Ok(Format::Png));
        assert!(check("a.png", instances, 3).is_err());
        assert!(check("a.png", Content::Probabilities, 2).is_err());
        assert!(check("a.jpg", mask, 2).is_err());
        assert!(check("a", mask, 2).is_err());
    }
    #[test]
    fn objects_are_stored_in_16_or_in_32_bits() {
        let bits = |count| match Stored::of(&[70_000.0], Content::Instances { count }) {
            Stored::U16(_) => 16,
            Stored::U32(values) => {
                assert_eq!(values, [70_000]);
                32
            }
            _ => 0,
        };
        assert_eq!([bits(0), bits(65_535), bits(65_536)], [16, 16, 32]);
        let raster = Raster {
            channels: 1,
            size: vec![1, 1],
            values: vec![70_000.0],
        };
        let content = Content::Instances { count: 70_000 };
        let error = Format::Png.encode(&raster, content, &Grid::default());
        let error = error.unwrap_err().to_string();
        assert!(
            error.starts_with("a PNG holds the numbers of 65535"),
            "{error}"
        );
        let limit = Limited::parse_from(["test"]).limit;
        for ending in ["tif", "npy", "nii", "nii.gz"] {
            let name = format!("burn-skip-objects-{}.{ending}", std::process::id());
            let path = std::env::temp_dir().join(name);
            let (format, _) = Format::of(&path).unwrap();
            let bytes = format.encode(&raster, content, &Grid::default()).unwrap();
            std::fs::write(&path, bytes).unwrap();
            let read = Format::read(&path, 1, limit).and_then(|file| file.objects(&path));
            std::fs::remove_file(&path).unwrap();
            assert_eq!(read.unwrap().values, raster.values, "{ending}");
        }
    }
}
