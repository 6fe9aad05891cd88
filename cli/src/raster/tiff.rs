//! TIFF files: of one page an image, of several a volume; with any number of bands, in whole numbers or floats.
//!
//! The crate `tiff` reads the directories. It decodes up to four bands of one page, so that the strips and tiles are
//! decoded here: a band more or less makes no difference.

mod chunk;
mod compression;
mod predictor;
#[cfg(test)]
mod tests;
mod write;

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use tiff::decoder::ifd::Value;
use tiff::decoder::{Decoder, Limits};
use tiff::tags::Tag;
use tiff::{TiffError, TiffResult};

use super::format::FileKind;
use super::{Bands, Grid, Raster, RasterFile, Spacing};
use crate::Result;
use crate::files::limits::ImageLimits;
use chunk::{Layout, Maps};
pub use write::write;

/// What ImageJ writes into a description, and this program too: lines of `name=value`.
const IMAGEJ: &str = "ImageJ=";

/// The code of the unit of a resolution, which is that of files that name none.
const INCH: u32 = 2;

/// Reads an image or a volume, or the mask of one.
///
/// # Errors
/// When it is missing, damaged, too large, or of pages that differ.
pub fn read(path: &Path, kind: FileKind, limit: &ImageLimits) -> Result<RasterFile> {
    let file = File::open(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    let mut bytes = BufReader::new(file);
    let mut file = Pages::of(&mut bytes).map_err(|e| match e {
        Problem::Sentence(problem) => invalid(path, &problem),
        Problem::Tiff(TiffError::IoError(e)) => invalid(
            path,
            &format!("{e}. It may be cut off: copy or save it again."),
        ),
        Problem::Tiff(e) => invalid(path, &e.to_string()),
    })?;
    if kind == FileKind::Mask {
        file.pages.iter_mut().for_each(Layout::keep_numbers);
    }
    let (channels, size) = file.shape().map_err(|problem| invalid(path, &problem))?;
    limit.size.check(path, &size, channels)?;
    let mut values = limit
        .memory
        .zeros(size.iter().product::<usize>() * channels)?;
    file.read(&mut bytes, channels, &mut values)
        .map_err(|problem| invalid(path, &problem))?;
    Ok(RasterFile {
        grid: Grid {
            spacing: file.spacing(size.len()),
            is_print_resolution: file.has_print_resolution(),
            nifti: None,
        },
        bands: file.bands(channels),
        raster: Raster {
            channels,
            size,
            values,
        },
    })
}

fn invalid(path: &Path, problem: &str) -> String {
    format!(
        "{} is not a TIFF file that can be read: {problem}",
        path.display()
    )
}

/// Why a file cannot be read.
enum Problem {
    Tiff(TiffError),
    Sentence(String),
}

impl From<TiffError> for Problem {
    fn from(error: TiffError) -> Self {
        Self::Tiff(error)
    }
}

/// The pages of a file.
struct Pages {
    pages: Vec<Layout>,
    description: String,
    /// Pixels per unit, of columns and of rows, and the code of the unit.
    resolution: Option<([f64; 2], u32)>,
}

impl Pages {
    fn of(file: &mut (impl Read + Seek)) -> Result<Self, Problem> {
        /// Bytes of the longest tag: a list of the places of strips or tiles.
        const MAX_TAG: u64 = 1 << 28;
        let unreadable = |e| Problem::Tiff(TiffError::IoError(e));
        let length = file.seek(SeekFrom::End(0)).map_err(unreadable)?;
        file.rewind().map_err(unreadable)?;
        let mut order = [0; 2];
        file.read_exact(&mut order).map_err(unreadable)?;
        file.rewind().map_err(unreadable)?;
        let mut limits = Limits::default();
        limits.ifd_value_size = length.min(MAX_TAG) as usize;
        let mut decoder = Decoder::new(file)?.with_limits(limits);
        let description = decoder.get_tag_ascii_string(Tag::ImageDescription);
        let resolution = resolution(&mut decoder)?;
        let mut pages = Vec::new();
        loop {
            pages.push(Layout::of(&mut decoder, order == *b"MM")?);
            if !decoder.more_images() {
                break;
            }
            decoder.next_image()?;
        }
        let differs = pages.iter().position(|page| !page.is_like(&pages[0]));
        if let Some(page) = differs {
            return Err(Problem::Sentence(format!(
                "page {} is {}, and page 0 is {}. Pages are the slices of a volume, so that all must be alike; save \
                 other pages, such as previews, as files of their own.",
                page,
                pages[page].shown(),
                pages[0].shown()
            )));
        }
        Ok(Self {
            pages,
            description: description.unwrap_or_default(),
            resolution,
        })
    }

    /// A value of an ImageJ description.
    fn noted(&self, name: &str) -> Option<&str> {
        let lines = self.description.lines();
        let mut values = lines.filter_map(|line| line.split_once('='));
        let is_imagej = self.description.starts_with(IMAGEJ);
        let value = values.find(|(found, _)| *found == name && is_imagej);
        value.map(|(_, value)| value.trim())
    }

    fn noted_count(&self, name: &str) -> usize {
        let count = self.noted(name).and_then(|count| count.parse().ok());
        count.filter(|&count| count > 0).unwrap_or(1)
    }

    /// How many pages each slice has: ImageJ writes a channel a page.
    fn pages_a_slice(&self) -> Result<usize, String> {
        if self.noted_count("frames") > 1 {
            return Err("it is a series over time. Save each frame as a file of its own.".into());
        }
        let ome = |name: &str| {
            let count = self.description.split_once(&format!("{name}=\""));
            let count = count.and_then(|(_, after)| after.split('"').next()?.parse::<usize>().ok());
            count.is_some_and(|count| count > 1 && self.description.contains("<OME"))
        };
        if self.pages.len() > 1 && (ome("SizeC") || ome("SizeT")) {
            return Err(
                "it is an OME-TIFF of several channels or frames, whose pages are in an order of its own. Save it as \
                 an ImageJ TIFF, .npy or .nii."
                    .into(),
            );
        }
        let (channels, pages) = (self.noted_count("channels"), self.pages.len());
        match pages % channels {
            0 => Ok(channels),
            _ => Err(format!(
                "its description has {channels} channels, and its {pages} pages are no multiple of them. It may be cut \
                 off: copy or save it again."
            )),
        }
    }

    /// The channels and the size.
    fn shape(&self) -> Result<(usize, Vec<usize>), String> {
        let of_pages = self.pages_a_slice()?;
        let page = &self.pages[0];
        let [height, width] = page.size;
        let size = match self.pages.len() / of_pages {
            1 => vec![height, width],
            depth => vec![depth, height, width],
        };
        Ok((page.bands.saturating_mul(of_pages), size))
    }

    /// Reads the values, channel by channel.
    fn read(
        &self,
        file: &mut (impl Read + Seek),
        channels: usize,
        values: &mut [f32],
    ) -> Result<(), String> {
        let page = &self.pages[0];
        let plane: usize = page.size.iter().product();
        let of_pages = channels / page.bands;
        let depth = self.pages.len() / of_pages;
        for (index, page) in self.pages.iter().enumerate() {
            let (slice, channel) = (index / of_pages, index % of_pages * page.bands);
            let mut maps = Maps {
                values,
                first: (channel * depth + slice) * plane,
                step: depth * plane,
            };
            page.decode(file, &mut maps)?;
        }
        Ok(())
    }

    fn bands(&self, channels: usize) -> Bands {
        const RGB: u32 = 2;
        let page = &self.pages[0];
        match (channels, page.photometric) {
            (1, _) => Bands::Grey,
            (3, RGB) if page.bands == 3 => Bands::Rgb,
            (4, RGB) if page.bands == 4 => Bands::RgbAlpha,
            (2, _) if page.bands == 2 && page.has_alpha => Bands::GreyAlpha,
            _ => Bands::Other,
        }
    }

    /// Whether the resolution is one in inches, and no unit of ImageJ's.
    fn has_print_resolution(&self) -> bool {
        let is_in_inches = self.resolution.is_some_and(|(_, code)| code == INCH);
        is_in_inches && self.noted("unit").is_none()
    }

    fn spacing(&self, axes: usize) -> Option<Spacing> {
        let (per_unit, code) = self.resolution?;
        let (step, unit) = match (self.noted("unit"), code) {
            (Some(unit), _) => (1.0, unit),
            (None, INCH) => (25.4, "mm"),
            (None, 3) => (10.0, "mm"),
            _ => (1.0, ""),
        };
        let [x, y] = per_unit.map(|per_unit| step / per_unit);
        let z = self.noted("spacing").and_then(|z| z.parse::<f64>().ok());
        let z = z.filter(|z| z.is_finite() && *z > 0.0);
        let per_axis = match axes {
            3 => vec![z.unwrap_or(1.0), y, x],
            _ => vec![y, x],
        };
        let is_told = !unit.is_empty() || per_axis.iter().any(|&step| step != 1.0);
        is_told.then(|| Spacing {
            per_axis,
            unit: unit.into(),
            // (Where ImageJ says a unit and not how far apart slices are, it means 1. Others mean nothing.)
            of_all_axes: axes < 3 || z.is_some() || self.noted("unit").is_some(),
        })
    }
}

fn resolution<R: Read + Seek>(decoder: &mut Decoder<R>) -> TiffResult<Option<([f64; 2], u32)>> {
    let mut per_unit = |tag| -> TiffResult<Option<f64>> {
        Ok(match decoder.find_tag(tag)? {
            Some(Value::Rational(n, d)) => {
                Some(f64::from(n) / f64::from(d)).filter(|x| x.is_finite() && *x > 0.0)
            }
            _ => None,
        })
    };
    let [x, y] = [per_unit(Tag::XResolution)?, per_unit(Tag::YResolution)?];
    let unit = decoder
        .find_tag_unsigned(Tag::ResolutionUnit)?
        .unwrap_or(INCH);
    Ok(x.zip(y).map(|(x, y)| ([x, y], unit)))
}
