//! Masks, instances and probabilities as TIFF files: a page for each channel of each slice, in ImageJ's order, which other
//! programs read as well.

use std::io::Cursor;

use tiff::encoder::colortype::{ColorType, Gray8, Gray16, Gray32, Gray32Float};
use tiff::encoder::compression::Deflate;
use tiff::encoder::{Rational, TiffEncoder, TiffValue};
use tiff::tags::{ResolutionUnit, Tag};

use super::IMAGEJ;
use crate::Result;
use crate::raster::format::{Content, Stored};
use crate::raster::{Grid, Raster};

/// The bytes of a file.
///
/// # Errors
/// When it would have 4 GiB or more.
pub fn encode(raster: &Raster, content: Content, grid: &Grid) -> Result<Vec<u8>> {
    match Stored::of(&raster.values, content) {
        Stored::U8(values) => pages::<Gray8>(raster, &values, grid),
        Stored::U16(values) => pages::<Gray16>(raster, &values, grid),
        Stored::U32(values) => pages::<Gray32>(raster, &values, grid),
        Stored::F32(values) => pages::<Gray32Float>(raster, &values, grid),
    }
}

fn pages<C: ColorType>(raster: &Raster, values: &[C::Inner], grid: &Grid) -> Result<Vec<u8>>
where
    [C::Inner]: TiffValue,
{
    let [height, width] = raster.plane();
    let (plane, channels) = (height * width, raster.channels);
    let depth = raster.pixels() / plane;
    let mut bytes = Cursor::new(Vec::new());
    let mut encoder = TiffEncoder::new(&mut bytes)?;
    for (slice, channel) in (0..depth).flat_map(|z| (0..channels).map(move |c| (z, c))) {
        let (columns, rows) = (u32::try_from(width)?, u32::try_from(height)?);
        let deflate = Deflate::default();
        let mut page = encoder.new_image_with_compression::<C, _>(columns, rows, deflate)?;
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
        page.write_data(&values[at..at + plane])?;
    }
    Ok(bytes.into_inner())
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
