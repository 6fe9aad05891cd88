//! The formats of images: which file is of which, and who reads and writes it.

use std::io::{self, Seek, Write};
use std::path::Path;

use super::{Grid, Raster, RasterFile, nifti, npy, photo, tiff};
use crate::Result;
use crate::files::limits::ImageLimits;

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

/// What the numbers of a file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// How bright or how much something is.
    Image,
    /// Which class or which object a pixel belongs to.
    Mask,
}

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
    pub fn read(path: &Path, channels: usize, limit: &ImageLimits) -> Result<RasterFile> {
        match Self::of(path).map(|(format, _)| format) {
            Some(Self::Tiff) => tiff::read(path, FileKind::Image, limit),
            Some(Self::Nifti { .. }) => nifti::read(path, limit),
            Some(Self::Npy) => npy::read(path, channels, limit),
            // What these are is decided by their content.
            Some(Self::Png | Self::Jpeg) | None => photo::read(path, limit),
        }
    }

    /// Reads the file of a mask, whose numbers are those of classes or objects: as they are stored, and not as the colours
    /// that a palette gives them.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_mask(path: &Path, limit: &ImageLimits) -> Result<RasterFile> {
        match Self::of(path).map(|(format, _)| format) {
            Some(Self::Tiff) => tiff::read(path, FileKind::Mask, limit),
            Some(Self::Nifti { .. } | Self::Npy) => Self::read(path, 1, limit),
            Some(Self::Png | Self::Jpeg) | None => photo::read_mask(path, limit),
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

    /// Writes a file of this format, some numbers at a time: `grid` is that of the image from which the content was made.
    ///
    /// # Errors
    /// When the format cannot hold it, or the file cannot be written.
    pub fn write(
        self,
        file: &mut (impl Write + Seek),
        raster: &Raster,
        content: Content,
        grid: &Grid,
    ) -> Result<()> {
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
            Self::Png | Self::Jpeg => Ok(file.write_all(&photo::mask_png(raster, content)?)?),
            Self::Tiff => tiff::write(file, raster, content, grid),
            Self::Nifti { compressed } => nifti::write(file, raster, content, grid, compressed),
            Self::Npy => Ok(npy::write(file, raster, content)?),
        }
    }
}

/// How the numbers of a content are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    U8,
    U16,
    U32,
    F32,
}

impl Stored {
    /// A class is its number, in 8 bits where that is enough; an object is its number in 16 bits, or in 32; a
    /// probability is a float.
    pub fn of(content: Content) -> Self {
        match content {
            Content::Mask { classes: 0..=256 } => Self::U8,
            Content::Mask { .. } | Content::Instances { count: 0..=65_535 } => Self::U16,
            Content::Instances { .. } => Self::U32,
            Content::Probabilities => Self::F32,
        }
    }

    /// How many bytes a number has.
    pub fn bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::U16 => 2,
            Self::U32 | Self::F32 => 4,
        }
    }

    /// Writes numbers, some at a time.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(self, file: &mut impl Write, values: &[f32], big_endian: bool) -> io::Result<()> {
        const AT_ONCE: usize = 1 << 16;
        let mut bytes = Vec::with_capacity(self.bytes() * AT_ONCE);
        for values in values.chunks(AT_ONCE) {
            let values = values.iter();
            bytes.clear();
            match (self, big_endian) {
                (Self::U8, _) => bytes.extend(values.map(|&v| v as u8)),
                (Self::U16, false) => bytes.extend(values.flat_map(|&v| (v as u16).to_le_bytes())),
                (Self::U16, true) => bytes.extend(values.flat_map(|&v| (v as u16).to_be_bytes())),
                (Self::U32, false) => bytes.extend(values.flat_map(|&v| (v as u32).to_le_bytes())),
                (Self::U32, true) => bytes.extend(values.flat_map(|&v| (v as u32).to_be_bytes())),
                (Self::F32, false) => bytes.extend(values.flat_map(|v| v.to_le_bytes())),
                (Self::F32, true) => bytes.extend(values.flat_map(|v| v.to_be_bytes())),
            }
            file.write_all(&bytes)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let bits = |count| 8 * Stored::of(Content::Instances { count }).bytes();
        assert_eq!([bits(0), bits(65_535), bits(65_536)], [16, 16, 32]);
        let raster = Raster {
            channels: 1,
            size: vec![1, 1],
            values: vec![70_000.0].into(),
        };
        let content = Content::Instances { count: 70_000 };
        let file = &mut io::Cursor::new(Vec::new());
        let error = Format::Png.write(file, &raster, content, &Grid::default());
        let error = error.unwrap_err().to_string();
        assert!(
            error.starts_with("a PNG holds the numbers of 65535"),
            "{error}"
        );
        let limit = ImageLimits::of_bytes(0);
        for ending in ["tif", "npy", "nii", "nii.gz"] {
            let name = format!("burn-skip-objects-{}.{ending}", std::process::id());
            let path = std::env::temp_dir().join(name);
            let (format, _) = Format::of(&path).unwrap();
            let mut file = std::fs::File::create(&path).unwrap();
            let written = format.write(&mut file, &raster, content, &Grid::default());
            written.unwrap();
            let read = Format::read(&path, 1, &limit).and_then(|file| file.objects(&path));
            std::fs::remove_file(&path).unwrap();
            assert_eq!(read.unwrap().values, raster.values, "{ending}");
        }
    }

    #[test]
    fn each_format_is_the_same_in_memory_and_in_a_file() {
        let folder = std::env::temp_dir();
        let name = |ending| folder.join(format!("burn-skip-same-{}.{ending}", std::process::id()));
        let values: Vec<f32> = (0..2 * 5 * 300 * 211).map(|n| n as f32 / 7.0).collect();
        let raster = Raster {
            channels: 2,
            size: vec![5, 300, 211],
            values: values.clone().into(),
        };
        let grey = image::GrayImage::from_fn(30, 20, |x, y| image::Luma([(x * y) as u8]));
        grey.save(name("png")).unwrap();
        for ending in ["tif", "npy", "nii", "nii.gz", "png"] {
            let path = name(ending);
            if ending != "png" {
                let mut file = std::fs::File::create(&path).unwrap();
                let (format, _) = Format::of(&path).unwrap();
                let grid = &Grid::default();
                let written = format.write(&mut file, &raster, Content::Probabilities, grid);
                written.unwrap();
            }
            let read = |budget| {
                let file = Format::read(&path, 2, &ImageLimits::of_bytes(budget)).unwrap();
                assert_eq!(file.raster.values.is_in_memory(), budget > 0, "{ending}");
                file.raster
            };
            let (memory, file) = (read(1 << 30), read(0));
            assert_eq!((memory.channels, &memory.size), (file.channels, &file.size));
            assert!(memory.values == file.values, "{ending}");
            assert!(ending == "png" || file.values == values, "{ending}");
            std::fs::remove_file(&path).unwrap();
        }
    }
}
