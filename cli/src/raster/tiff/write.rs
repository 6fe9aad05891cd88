//! Masks, instances and probabilities as TIFF files: a page for each channel of each slice, in ImageJ's order, which other
//! programs read as well.

use std::borrow::Cow;
use std::io::{Seek, Write};

use tiff::encoder::colortype::{ColorType, Gray8, Gray16, Gray32, Gray32Float};
use tiff::encoder::compression::Deflate;
use tiff::encoder::{Rational, TiffEncoder, TiffKind, TiffValue};
use tiff::tags::{ResolutionUnit, Tag};
use tiff::{TiffError, TiffResult};

use super::IMAGEJ;
use crate::Result;
use crate::raster::format::{Content, Stored};
use crate::raster::{Grid, Raster};

/// Offsets of a TIFF have 32 bits; from so many bytes of numbers on it is written as BigTIFF, whose offsets have 64.
const BIG: u64 = 4_000_000_000;

/// Writes a file, a page at a time.
///
/// # Errors
/// When a page has too many rows or columns, or the file cannot be written.
pub fn write(
    file: &mut (impl Write + Seek),
    raster: &Raster,
    content: Content,
    grid: &Grid,
) -> Result<()> {
    let bytes = raster.values.len() as u64 * Stored::of(content).bytes() as u64;
    write_as(file, raster, content, grid, bytes >= BIG)
}

fn write_as<W: Write + Seek>(
    file: &mut W,
    raster: &Raster,
    content: Content,
    grid: &Grid,
    is_big: bool,
) -> Result<()> {
    let written = match is_big {
        true => numbers(TiffEncoder::new_big(file)?, raster, content, grid),
        false => numbers(TiffEncoder::new(file)?, raster, content, grid),
    };
    written.map_err(|error| match error {
        // (The system's own, which says that the disk is full.)
        TiffError::IoError(error) => error.into(),
        error => error.into(),
    })
}

fn numbers<W: Write + Seek, K: TiffKind>(
    file: TiffEncoder<W, K>,
    raster: &Raster,
    content: Content,
    grid: &Grid,
) -> TiffResult<()> {
    match Stored::of(content) {
        Stored::U8 => pages::<Gray8, _, _>(file, raster, grid, |page| {
            page.iter().map(|&number| number as u8).collect()
        }),
        Stored::U16 => pages::<Gray16, _, _>(file, raster, grid, |page| {
            page.iter().map(|&number| number as u16).collect()
        }),
        Stored::U32 => pages::<Gray32, _, _>(file, raster, grid, |page| {
            page.iter().map(|&number| number as u32).collect()
        }),
        Stored::F32 => pages::<Gray32Float, _, _>(file, raster, grid, |page| Cow::Borrowed(page)),
    }
}

fn pages<C: ColorType, W: Write + Seek, K: TiffKind>(
    mut file: TiffEncoder<W, K>,
    raster: &Raster,
    grid: &Grid,
    stored: impl Fn(&[f32]) -> Cow<'_, [C::Inner]>,
) -> TiffResult<()>
where
    [C::Inner]: TiffValue + ToOwned,
{
    let [height, width] = raster.plane();
    let (columns, rows) = (u32::try_from(width)?, u32::try_from(height)?);
    let (plane, channels) = (height * width, raster.channels);
    let depth = raster.pixels() / plane;
    for (slice, channel) in (0..depth).flat_map(|z| (0..channels).map(move |c| (z, c))) {
        let deflate = Deflate::default();
        let mut page = file.new_image_with_compression::<C, _>(columns, rows, deflate)?;
        let tags = page.encoder();
        if (slice, channel) == (0, 0) {
            let described = description(channels, depth, grid);
            tags.write_tag(Tag::ImageDescription, described.as_str())?;
        }
        if let Some(spacing) = &grid.spacing
            && let [.., y, x] = spacing.per_axis[..]
        {
            tags.write_tag(Tag::XResolution, rational(1.0 / x))?;
            tags.write_tag(Tag::YResolution, rational(1.0 / y))?;
            tags.write_tag(Tag::ResolutionUnit, ResolutionUnit::None.to_u16())?;
        }
        let at = (channel * depth + slice) * plane;
        page.write_data(&stored(&raster.values[at..at + plane]))?;
    }
    Ok(())
}

fn description(channels: usize, depth: usize, grid: &Grid) -> String {
    let mut text = format!("{IMAGEJ}1.53t\nimages={}\n", channels * depth);
    if channels > 1 {
        text += &format!("channels={channels}\n");
    }
    if depth > 1 {
        text += &format!("slices={depth}\n");
    }
    if channels > 1 && depth > 1 {
        text += "hyperstack=true\n";
    }
    if let Some(spacing) = grid.full_spacing() {
        if !spacing.unit.is_empty() {
            text += &format!("unit={}\n", spacing.unit);
        }
        if let [z, _, _] = spacing.per_axis[..] {
            text += &format!("spacing={z}\n");
        }
    }
    text
}

/// The fraction of two 32-bit numbers that is nearest, or nearly so.
fn rational(number: f64) -> Rational {
    let scale = (f64::from(u32::MAX) / number.max(1.0)).floor();
    let d = scale.clamp(1.0, 1e6).floor();
    Rational {
        n: (number * d).round().clamp(0.0, f64::from(u32::MAX)) as u32,
        d: d as u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::limits::ImageLimits;
    use crate::raster::Spacing;

    #[test]
    fn a_large_file_is_a_big_tiff_with_the_same_pages() {
        let raster = Raster {
            channels: 2,
            size: vec![3, 4, 5],
            values: (0..120)
                .map(|n| n as f32 / 120.0)
                .collect::<Vec<_>>()
                .into(),
        };
        let grid = Grid {
            spacing: Some(Spacing {
                per_axis: vec![2.0, 1.0, 0.5],
                unit: "um".into(),
                of_all_axes: true,
            }),
            ..Grid::default()
        };
        for is_big in [false, true] {
            let name = format!("burn-skip-big-{is_big}-{}.tif", std::process::id());
            let path = std::env::temp_dir().join(name);
            let mut file = std::fs::File::create(&path).unwrap();
            write_as(&mut file, &raster, Content::Probabilities, &grid, is_big).unwrap();
            let version = std::fs::read(&path).unwrap()[2];
            let read = super::super::read(
                &path,
                crate::raster::format::FileKind::Image,
                &ImageLimits::of_bytes(1 << 20),
            );
            std::fs::remove_file(&path).unwrap();
            let read = read.unwrap();
            assert_eq!(version, if is_big { 43 } else { 42 });
            assert_eq!((&read.raster.size, read.raster.channels), (&raster.size, 2));
            assert_eq!(read.raster.values, raster.values);
            assert_eq!(read.grid.spacing, grid.spacing);
        }
    }
}
