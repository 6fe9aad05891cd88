//! NIfTI-1 files, `.nii` and `.nii.gz` (<https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h>).
//!
//! The first axis of a file, x, is the fastest: an array in the order of its bytes is `[z, y, x]`, here depth, height
//! and width. Axes after the third are channels.
//!
//! (Not by the crate `nifti`, which enables other features of what Burn is built of, and writes with ndarray only.)

mod affine;

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Write};
use std::path::Path;

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

use super::format::{Content, Stored};
use super::number::{Kind, Number};
use super::{Bands, Grid, Raster, RasterFile, Spacing};
use crate::Result;
use crate::files::limits::ImageLimits;
pub use affine::Affine;

/// The header, and four bytes that say that no extension follows.
const BYTES: usize = 352;

// Where the fields lie.
const SIZEOF_HDR: usize = 0;
const DIM: usize = 40;
const DATATYPE: usize = 70;
const BITPIX: usize = 72;
const PIXDIM: usize = 76;
const VOX_OFFSET: usize = 108;
const SCL_SLOPE: usize = 112;
const SCL_INTER: usize = 116;
const XYZT_UNITS: usize = 123;
const CAL_MAX: usize = 124;
const MAGIC: usize = 344;

/// Codes of the types of numbers.
const TYPES: [(i16, Kind, usize); 10] = [
    (2, Kind::Unsigned, 1),
    (4, Kind::Signed, 2),
    (8, Kind::Signed, 4),
    (16, Kind::Float, 4),
    (64, Kind::Float, 8),
    (256, Kind::Signed, 1),
    (512, Kind::Unsigned, 2),
    (768, Kind::Unsigned, 4),
    (1024, Kind::Signed, 8),
    (1280, Kind::Unsigned, 8),
];

/// Codes of the units of length.
const UNITS: [(u8, &str); 3] = [(1, "m"), (2, "mm"), (3, "um")];

/// The bytes of a header. They are kept as they are, so that the orientation and the position are, too.
#[derive(Clone, Debug)]
pub struct Header {
    bytes: Box<[u8; BYTES]>,
    big_endian: bool,
}

impl Header {
    /// A header of a volume that lies nowhere.
    fn empty() -> Self {
        let mut header = Self {
            bytes: Box::new([0; BYTES]),
            big_endian: false,
        };
        header.set(SIZEOF_HDR, 348_i32.to_le_bytes());
        header.bytes[MAGIC..MAGIC + 4].copy_from_slice(b"n+1\0");
        for axis in 0..8 {
            header.set_f32(PIXDIM + 4 * axis, 1.0);
        }
        header
    }

    fn parse(bytes: Box<[u8; BYTES]>) -> Result<Self, String> {
        let size = [bytes[0], bytes[1], bytes[2], bytes[3]];
        let big_endian = match (i32::from_le_bytes(size), i32::from_be_bytes(size)) {
            (348, _) => false,
            (_, 348) => true,
            (540, _) | (_, 540) => return Err("it is NIfTI-2. Save it as NIfTI-1.".into()),
            _ => return Err("it has no header of NIfTI".into()),
        };
        if &bytes[MAGIC..MAGIC + 4] != b"n+1\0" {
            return Err(
                "its values are in another file (.hdr and .img). Save it as one .nii.".into(),
            );
        }
        Ok(Self { bytes, big_endian })
    }

    /// The bytes of a number, the lowest first.
    fn get<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut number = [0; N];
        number.copy_from_slice(&self.bytes[at..at + N]);
        if self.big_endian {
            number.reverse();
        }
        number
    }

    fn set<const N: usize>(&mut self, at: usize, mut number: [u8; N]) {
        if self.big_endian {
            number.reverse();
        }
        self.bytes[at..at + N].copy_from_slice(&number);
    }

    fn i16(&self, at: usize) -> i16 {
        i16::from_le_bytes(self.get(at))
    }

    fn f32(&self, at: usize) -> f32 {
        f32::from_le_bytes(self.get(at))
    }

    fn set_i16(&mut self, at: usize, number: i16) {
        self.set(at, number.to_le_bytes());
    }

    fn set_f32(&mut self, at: usize, number: f32) {
        self.set(at, number.to_le_bytes());
    }

    /// The channels, and `[depth, height, width]`, or `[height, width]` of one slice.
    fn shape(&self) -> Result<(usize, Vec<usize>), String> {
        let count = self.i16(DIM);
        let dim = |axis: usize| match axis <= usize::try_from(count).unwrap_or(0) {
            true => usize::try_from(self.i16(DIM + 2 * axis)).unwrap_or(0),
            false => 1,
        };
        let dims: Vec<usize> = (1..8).map(dim).collect();
        if !(1..=7).contains(&count) || dims.contains(&0) {
            return Err(format!("its header has {count} axes of the sizes {dims:?}"));
        }
        // (As many values as a computer counts: seven numbers of 15 bits could be more.)
        let channels = dims[3..].iter().product();
        match dims[2] {
            1 => Ok((channels, vec![dims[1], dims[0]])),
            depth => Ok((channels, vec![depth, dims[1], dims[0]])),
        }
    }

    fn number(&self) -> Result<Number, String> {
        let code = self.i16(DATATYPE);
        let known = TYPES.iter().find(|(known, ..)| *known == code);
        let number = known.and_then(|&(_, kind, bytes)| Number::new(kind, bytes));
        number.ok_or_else(|| {
            format!("its numbers are of the type {code}. Save real numbers of 8 to 64 bits, such as float32.")
        })
    }

    /// The distances of pixels that the header has, sound or not, in the order of the axes of an array.
    pub fn steps(&self, axes: usize) -> Vec<f32> {
        let axes = (1..=axes).rev();
        axes.map(|axis| self.f32(PIXDIM + 4 * axis)).collect()
    }

    fn spacing(&self, axes: usize) -> Option<Spacing> {
        let steps = self.steps(axes).into_iter();
        let per_axis: Vec<f64> = steps.map(|step| f64::from(step.abs())).collect();
        let code = self.bytes[XYZT_UNITS] & 7;
        let unit = UNITS.iter().find(|(known, _)| *known == code);
        let is_given = per_axis.iter().all(|step| step.is_finite() && *step > 0.0);
        is_given.then(|| Spacing {
            per_axis,
            unit: unit.map_or("", |(_, unit)| unit).into(),
            of_all_axes: true,
        })
    }

    fn into_grid(self, axes: usize) -> Grid {
        Grid {
            spacing: self.spacing(axes),
            is_print_resolution: false,
            nifti: Some(self),
        }
    }

    fn set_spacing(&mut self, spacing: &Spacing) {
        for (axis, &step) in spacing.per_axis.iter().rev().enumerate() {
            self.set_f32(PIXDIM + 4 * (axis + 1), step as f32);
        }
        let unit = UNITS.iter().find(|(_, unit)| *unit == spacing.unit);
        self.bytes[XYZT_UNITS] = unit.map_or(0, |(code, _)| *code);
    }
}

/// Reads what a file says of its size and of where it lies, and no values.
///
/// # Errors
/// When it is missing or damaged.
pub fn read_grid(path: &Path) -> Result<(Vec<usize>, Grid)> {
    let (header, _) = open(path)?;
    let (_, size) = header.shape()?;
    let grid = header.into_grid(size.len());
    Ok((size, grid))
}

/// The header of a file, and what follows it.
fn open(path: &Path) -> Result<(Header, Box<dyn Read>)> {
    let shown = path.display();
    let invalid =
        |problem: String| format!("{shown} is not a NIfTI file that can be read: {problem}");
    let cut_off = |e: io::Error| invalid(format!("{e}. It may be cut off: copy or save it again."));
    let file = File::open(path).map_err(|e| format!("cannot read {shown}: {e}"))?;
    let mut file = decompressed(BufReader::new(file)).map_err(cut_off)?;
    let mut bytes = Box::new([0; BYTES]);
    file.read_exact(&mut bytes[..]).map_err(cut_off)?;
    Ok((Header::parse(bytes).map_err(invalid)?, file))
}

/// Reads an image or a volume.
///
/// # Errors
/// When it is missing, damaged, too large, or of other numbers.
pub fn read(path: &Path, limit: &ImageLimits) -> Result<RasterFile> {
    let shown = path.display();
    let invalid =
        |problem: String| format!("{shown} is not a NIfTI file that can be read: {problem}");
    let cut_off = |e: io::Error| invalid(format!("{e}. It may be cut off: copy or save it again."));
    let (header, mut file) = open(path)?;
    let (channels, size) = header.shape().map_err(invalid)?;
    limit.size.check(path, &size, channels)?;
    let number = header.number().map_err(invalid)?;

    // Extensions may lie between the header and the values.
    let offset = header.f32(VOX_OFFSET);
    let between = (offset as u64).saturating_sub(BYTES as u64);
    let skipped = io::copy(&mut (&mut file).take(between), &mut io::sink()).map_err(cut_off)?;
    if skipped < between {
        return Err(invalid(format!(
            "its values begin at byte {offset} by its header (vox_offset), and it has {} bytes. Correct the header, or save it \
             again.",
            BYTES as u64 + skipped
        ))
        .into());
    }
    let mut values = limit
        .memory
        .zeros(size.iter().product::<usize>() * channels)?;
    let read = number.read(&mut file, header.big_endian, &mut values);
    read.map_err(cut_off)?.map_err(|read| {
        let expected = values.len() * number.bytes;
        invalid(format!(
            "it is cut off: {read} bytes of {expected} are there. Copy or save it again."
        ))
    })?;
    let (slope, intercept) = (header.f32(SCL_SLOPE), header.f32(SCL_INTER));
    if slope != 0.0
        && (slope, intercept) != (1.0, 0.0)
        && slope.is_finite()
        && intercept.is_finite()
    {
        for value in values.iter_mut() {
            *value = *value * slope + intercept;
        }
    }
    Ok(RasterFile {
        grid: header.into_grid(size.len()),
        bands: match channels {
            1 => Bands::Grey,
            _ => Bands::Other,
        },
        raster: Raster {
            channels,
            size,
            values,
        },
    })
}

/// Whether a file is compressed, its first bytes say.
fn decompressed(file: BufReader<File>) -> io::Result<Box<dyn Read>> {
    let mut file = file;
    let mut first = Vec::new();
    (&mut file).take(2).read_to_end(&mut first)?;
    let is_compressed = first == [0x1f, 0x8b];
    let whole = Cursor::new(first).chain(file);
    Ok(match is_compressed {
        true => Box::new(MultiGzDecoder::new(whole)),
        false => Box::new(whole),
    })
}

/// Writes a file, with the header of the image where that was of this format, too.
///
/// # Errors
/// When an axis is too long for the format, or the file cannot be written.
pub fn write(
    file: &mut impl Write,
    raster: &Raster,
    content: Content,
    grid: &Grid,
    compressed: bool,
) -> Result<()> {
    let mut header = grid.nifti.clone().unwrap_or_else(|| {
        let mut header = Header::empty();
        if let Some(spacing) = &grid.spacing {
            header.set_spacing(spacing);
        }
        header
    });
    let mut dims = [1; 8];
    for (axis, &length) in raster.size.iter().rev().enumerate() {
        dims[axis + 1] = length;
    }
    dims[0] = raster.size.len();
    if raster.channels > 1 {
        (dims[0], dims[4]) = (4, raster.channels);
    }
    for (axis, length) in dims.into_iter().enumerate() {
        let length = i16::try_from(length).map_err(|_| {
            format!("an axis of {length} is too long for NIfTI, which has 32767 at most")
        })?;
        header.set_i16(DIM + 2 * axis, length);
    }
    let stored = Stored::of(content);
    let (code, bits) = match stored {
        Stored::U8 => (2, 8),
        Stored::U16 => (512, 16),
        Stored::U32 => (768, 32),
        Stored::F32 => (16, 32),
    };
    header.set_i16(DATATYPE, code);
    header.set_i16(BITPIX, bits);
    header.set_f32(VOX_OFFSET, BYTES as f32);
    header.set_f32(SCL_SLOPE, 1.0);
    header.set_f32(SCL_INTER, 0.0);
    // The range for display was that of the image, and the next four bytes said which extensions followed.
    header.bytes[CAL_MAX..CAL_MAX + 8].fill(0);
    header.bytes[MAGIC + 4..].fill(0);
    if !compressed {
        file.write_all(&header.bytes[..])?;
        return Ok(stored.write(file, &raster.values, header.big_endian)?);
    }
    let mut encoder = GzEncoder::new(file, Compression::default());
    encoder.write_all(&header.bytes[..])?;
    stored.write(&mut encoder, &raster.values, header.big_endian)?;
    encoder.finish()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_in_both_orders_and_keeps_what_is_not_set() {
        for big_endian in [false, true] {
            let mut header = Header::empty();
            if big_endian {
                header.bytes.fill(0);
                header.big_endian = true;
                header.set(SIZEOF_HDR, 348_i32.to_le_bytes());
                header.bytes[MAGIC..MAGIC + 4].copy_from_slice(b"n+1\0");
            }
            for (axis, length) in [4, 5, 6, 7, 2].into_iter().enumerate() {
                header.set_i16(DIM + 2 * axis, length);
            }
            let spacing = Spacing {
                per_axis: vec![3.0, 2.0, 0.5],
                unit: "mm".into(),
                of_all_axes: true,
            };
            header.set_spacing(&spacing);
            header.set_i16(254, 2);
            let read = Header::parse(header.bytes.clone()).unwrap();
            assert_eq!(read.big_endian, big_endian);
            assert_eq!(read.shape().unwrap(), (2, vec![7, 6, 5]));
            assert_eq!(read.spacing(3), Some(spacing));

            let grid = Grid {
                spacing: None,
                is_print_resolution: false,
                nifti: Some(read),
            };
            let mask = Raster {
                channels: 1,
                size: vec![7, 6, 5],
                values: vec![1.0; 210].into(),
            };
            let mut bytes = Vec::new();
            let content = Content::Mask { classes: 300 };
            write(&mut bytes, &mask, content, &grid, false).unwrap();
            assert_eq!(bytes.len(), BYTES + 420);
            let mut written = Box::new([0; BYTES]);
            written.copy_from_slice(&bytes[..BYTES]);
            let written = Header::parse(written).unwrap();
            assert_eq!(written.i16(254), 2);
            assert_eq!(written.shape().unwrap(), (1, vec![7, 6, 5]));
            let number = written.number().unwrap();
            let mut values = [0.0; 210];
            number.decode(&bytes[BYTES..], big_endian, &mut values);
            assert_eq!(mask.values, values);
        }
    }
}
