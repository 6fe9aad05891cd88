//! PNG and JPEG files. They are decoded as a whole: a pixel has one to eight bytes then.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Seek};
use std::path::Path;

use image::codecs::png::PngEncoder;
use image::{ColorType, DynamicImage, ExtendedColorType, ImageEncoder, ImageReader, Limits};

use super::format::{Content, Format, Stored};
use super::{Bands, Grid, Raster, RasterFile};
use crate::Result;
use crate::files::limits::{ImageLimit, ImageLimits};

/// Reads an image.
///
/// # Errors
/// As [`open`].
pub fn read(path: &Path, limit: &ImageLimits) -> Result<RasterFile> {
    of_image(&open(path, limit.size)?, limit)
}

/// Reads a mask: where the file has a palette whose colour 0 is black, as those of PASCAL VOC, the places of the pixels in
/// the palette are their numbers.
///
/// # Errors
/// As [`open`].
pub fn read_mask(path: &Path, limit: &ImageLimits) -> Result<RasterFile> {
    match indices(path, limit)? {
        Some(mask) => Ok(mask),
        None => read(path, limit),
    }
}

/// The places in the palette of a PNG, if it has one whose colour 0 is black. (Where it is not, the order of the colours is
/// that of a program that has chosen them, and tells no classes.)
fn indices(path: &Path, limit: &ImageLimits) -> Result<Option<RasterFile>> {
    let damaged =
        |e: png::DecodingError| format!("{} is not a PNG that can be read: {e}", path.display());
    let file = File::open(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    let bytes = usize::try_from(limit.size.decoder_bytes()).unwrap_or(usize::MAX);
    let limits = png::Limits { bytes };
    let mut decoder = png::Decoder::new_with_limits(BufReader::new(file), limits);
    decoder.set_transformations(png::Transformations::IDENTITY);
    // (What is no PNG, or damaged before its pixels, is reported by whoever reads it as an image.)
    let Ok(mut reader) = decoder.read_info() else {
        return Ok(None);
    };
    let info = reader.info();
    let is_from_black = info
        .palette
        .as_ref()
        .is_some_and(|all| all.starts_with(&[0; 3]));
    if info.color_type != png::ColorType::Indexed || !is_from_black {
        return Ok(None);
    }
    let size = vec![info.height as usize, info.width as usize];
    limit.size.check(path, &size, 1)?;
    let bits = info.bit_depth as usize;
    let bytes = reader.output_buffer_size().ok_or("its size is too large")?;
    let mut stored = vec![0; bytes];
    let frame = reader.next_frame(&mut stored).map_err(damaged)?;
    let mut values = limit.memory.zeros(size.iter().product())?;
    let lines = stored.chunks_exact(frame.line_size.max(1));
    for (numbers, line) in values.chunks_exact_mut(size[1].max(1)).zip(lines) {
        for (x, number) in numbers.iter_mut().enumerate() {
            // (The highest bits first.)
            let shift = 8 - bits - x * bits % 8;
            *number = f32::from(line[x * bits / 8] >> shift & (0xff >> (8 - bits)));
        }
    }
    Ok(Some(RasterFile {
        raster: Raster {
            channels: 1,
            size,
            values,
        },
        bands: Bands::Grey,
        grid: Grid::default(),
    }))
}

/// Decodes the bytes of an image; the path is for the errors.
///
/// # Errors
/// As [`open`].
pub fn of_bytes(bytes: &[u8], path: &Path, limit: &ImageLimits) -> Result<RasterFile> {
    let image = decode(Cursor::new(bytes), Cursor::new(bytes), path, limit.size)?;
    of_image(&image, limit)
}

/// The values as stored: 0 to 255, or 0 to 65535.
fn of_image(image: &DynamicImage, limit: &ImageLimits) -> Result<RasterFile> {
    let color = image.color();
    let channels = usize::from(color.channel_count());
    let is_of_bytes = matches!(
        color,
        ColorType::L8 | ColorType::La8 | ColorType::Rgb8 | ColorType::Rgba8
    );
    // (PNG and JPEG files have no other types.)
    let number = |number: &[u8]| match *number {
        [low, high] => f32::from(u16::from_ne_bytes([low, high])),
        [byte] => f32::from(byte),
        _ => 0.0,
    };
    let bytes_of_number = if is_of_bytes { 1 } else { 2 };
    let size = vec![image.height() as usize, image.width() as usize];
    let pixels: usize = size.iter().product();
    let mut values = limit.memory.zeros(channels * pixels)?;
    for (channel, map) in values.chunks_exact_mut(pixels.max(1)).enumerate() {
        let numbers = image.as_bytes().chunks_exact(bytes_of_number);
        let of_channel = numbers.skip(channel).step_by(channels);
        for (value, bytes) in map.iter_mut().zip(of_channel) {
            *value = number(bytes);
        }
    }
    Ok(RasterFile {
        raster: Raster {
            channels,
            size,
            values,
        },
        bands: match channels {
            1 => Bands::Grey,
            2 => Bands::GreyAlpha,
            3 => Bands::Rgb,
            _ => Bands::RgbAlpha,
        },
        grid: Grid::default(),
    })
}

/// Reads an image file: its size is checked before its pixels are read.
///
/// # Errors
/// When it is missing, no image, damaged or too large.
pub fn open(path: &Path, limit: ImageLimit) -> Result<DynamicImage> {
    let file = || -> Result<_> {
        let file = File::open(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
        Ok(BufReader::new(file))
    };
    decode(file()?, file()?, path, limit)
}

/// Decodes an image from two readers of it: one for the size, and one for the pixels.
fn decode<R: BufRead + Seek>(
    header: R,
    pixels: R,
    path: &Path,
    limit: ImageLimit,
) -> Result<DynamicImage> {
    let no_image = |e: &dyn fmt::Display| {
        let formats = match Format::of(path) {
            Some(_) => "PNG, JPEG",
            None => "PNG, JPEG; other formats by their ending: .tif, .nii, .nii.gz, .npy",
        };
        let shown = path.display();
        format!("{shown} is not an image that can be read ({formats}): {e}")
    };
    let reader = |reader| ImageReader::new(reader).with_guessed_format();
    let header = reader(header).map_err(|e| no_image(&e))?;
    let (width, height) = header.into_dimensions().map_err(|e| no_image(&e))?;
    limit.check(path, &[height as usize, width as usize], 1)?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(limit.decoder_bytes());
    let mut pixels = reader(pixels).map_err(|e| no_image(&e))?;
    pixels.limits(limits);
    Ok(pixels.decode().map_err(|e| no_image(&e))?)
}

/// A mask or instances as the bytes of a grey PNG file: a single class is white; of several each pixel has the number
/// of its class, and of instances that of its object.
///
/// # Errors
/// When the encoder fails.
pub fn mask_png(raster: &Raster, content: Content) -> Result<Vec<u8>> {
    let [height, width] = raster.plane();
    let [width, height] = [u32::try_from(width)?, u32::try_from(height)?];
    let values = raster.values.iter();
    let (grey, colour): (Vec<u8>, _) = match (content, Stored::of(content)) {
        (Content::Mask { classes: 1 }, _) => {
            let white = values.map(|&class| class as u8 * 255);
            (white.collect(), ExtendedColorType::L8)
        }
        (_, Stored::U8) => {
            let classes = values.map(|&class| class as u8);
            (classes.collect(), ExtendedColorType::L8)
        }
        (_, Stored::U16) => {
            let bytes = values.flat_map(|&number| (number as u16).to_ne_bytes());
            (bytes.collect(), ExtendedColorType::L16)
        }
        (_, Stored::U32 | Stored::F32) => {
            return Err("a PNG holds numbers of 8 or 16 bits".into());
        }
    };
    let mut bytes = Cursor::new(Vec::new());
    PngEncoder::new(&mut bytes).write_image(&grey, width, height, colour)?;
    Ok(bytes.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A PNG of 3 x 2 pixels with a palette.
    fn with_palette(bits: png::BitDepth, palette: &[u8], lines: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, 3, 2);
        encoder.set_color(png::ColorType::Indexed);
        encoder.set_depth(bits);
        encoder.set_palette(palette);
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(lines).unwrap();
        drop(writer);
        bytes
    }

    #[test]
    fn the_numbers_of_a_mask_are_its_places_in_a_palette_from_black_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.png");
        let limit = ImageLimits::of_bytes(1 << 20);
        let read = |file: Vec<u8>| {
            std::fs::write(&path, file).unwrap();
            let mask = read_mask(&path, &limit).unwrap();
            (
                mask.bands,
                mask.raster.size.clone(),
                mask.raster.values.to_vec(),
            )
        };
        let voc = [0, 0, 0, 128, 0, 0, 0, 128, 0];
        let numbers = (Bands::Grey, vec![2, 3], vec![0.0, 1.0, 2.0, 2.0, 1.0, 0.0]);
        let bytes = with_palette(png::BitDepth::Eight, &voc, &[0, 1, 2, 2, 1, 0]);
        assert_eq!(read(bytes.clone()), numbers);
        let bits = [0b0001_1000, 0b1001_0000];
        assert_eq!(read(with_palette(png::BitDepth::Two, &voc, &bits)), numbers);
        // As an image it has colours.
        assert_eq!(read_as_image(&bytes), Bands::Rgb);
        // What begins with white has no numbers.
        let white = [255, 255, 255, 0, 0, 0, 128, 0, 0];
        let (bands, ..) = read(with_palette(
            png::BitDepth::Eight,
            &white,
            &[0, 1, 2, 2, 1, 0],
        ));
        assert_eq!(bands, Bands::Rgb);
        // And what is damaged is an error.
        std::fs::write(&path, &bytes[..bytes.len() - 20]).unwrap();
        let error = read_mask(&path, &limit).unwrap_err().to_string();
        assert!(error.contains("m.png is not a"), "{error}");
    }

    fn read_as_image(bytes: &[u8]) -> Bands {
        let limit = ImageLimits::of_bytes(1 << 20);
        of_bytes(bytes, Path::new("m.png"), &limit).unwrap().bands
    }
}
