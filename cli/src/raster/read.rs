//! An image file as a [`Raster`].

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Seek};
use std::path::Path;

use image::{ColorType, DynamicImage, ImageReader, Limits};

use super::{Intensities, Raster};
use crate::Result;
use crate::files::limits::ImageLimit;

impl Raster {
    /// Reads an image as the network sees it: grey for one channel, red, green and blue for three, each
    /// normalised for itself, which makes two images comparable.
    ///
    /// # Errors
    /// When the file is no image that can be read, or too large.
    pub fn read_image(
        path: &Path,
        channels: usize,
        intensities: Intensities,
        limit: ImageLimit,
    ) -> Result<Self> {
        Ok(Self::of_image(&open(path, limit)?, channels, intensities))
    }

    /// The image as [`read_image`](Self::read_image) gives it.
    pub fn of_image(image: &DynamicImage, channels: usize, intensities: Intensities) -> Self {
        let mut raster = match channels {
            3 => Self::colours(image),
            _ => Self::grey(image),
        };
        let pixels = raster.width * raster.height;
        for plane in raster.values.chunks_exact_mut(pixels.max(1)) {
            intensities.normalize(plane);
        }
        raster
    }

    /// Reads a mask, one number a pixel: for a single class 1 wherever the file is not black, else 0;
    /// for more, the number of the class.
    ///
    /// # Errors
    /// When the file is no image that can be read or too large, or has a class beyond `classes`: with the place.
    pub fn read_mask(path: &Path, classes: usize, limit: ImageLimit) -> Result<Self> {
        Self::of_mask(&open(path, limit)?, path, classes)
    }

    /// The mask as [`read_mask`](Self::read_mask) gives it; the path is for the error.
    ///
    /// # Errors
    /// When a pixel has a class beyond `classes`.
    pub fn of_mask(image: &DynamicImage, path: &Path, classes: usize) -> Result<Self> {
        if classes == 1 {
            return Ok(Self::foreground(image));
        }
        let shown = path.display();
        if image.color().has_color() {
            return Err(format!(
                "{shown} is a mask in colours ({:?}); the masks of {classes} classes are grey, and a pixel is \
                 the number of its class",
                image.color()
            )
            .into());
        }
        let mask = Self::grey(image);
        match mask.values.iter().position(|&class| class >= classes as f32) {
            None => Ok(mask),
            Some(at) => Err(format!(
                "{shown}: the pixel at column {}, row {} is of class {}, and the network has {classes} classes \
                 (0 to {}). Correct the mask, give the network more out_channels, or, where any pixel that is not black is \
                 foreground, a network of out_channels 1.",
                at % mask.width,
                at / mask.width,
                mask.values[at],
                classes - 1
            )
            .into()),
        }
    }

    /// 1 where a pixel is not black, however dark. (Its luma may round to 0.)
    fn foreground(image: &DynamicImage) -> Self {
        let mut mask = Self::colours(image);
        let pixels = mask.width * mask.height;
        let is_black =
            |pixel: &usize| (0..3).all(|channel| mask.values[channel * pixels + pixel] == 0.0);
        let foreground = (0..pixels).map(|pixel| f32::from(u8::from(!is_black(&pixel))));
        mask.values = foreground.collect();
        mask.channels = 1;
        mask
    }

    /// The grey values as stored: 0 to 255, or 0 to 65535.
    fn grey(image: &DynamicImage) -> Self {
        let values = if is_of_bytes(image) {
            image.to_luma8().iter().map(|&v| f32::from(v)).collect()
        } else {
            image.to_luma16().iter().map(|&v| f32::from(v)).collect()
        };
        Self::of(image, 1, values)
    }

    fn colours(image: &DynamicImage) -> Self {
        let pixels: Vec<f32> = if is_of_bytes(image) {
            image.to_rgb8().iter().map(|&v| f32::from(v)).collect()
        } else {
            image.to_rgb16().iter().map(|&v| f32::from(v)).collect()
        };
        let channel = |channel| pixels.iter().skip(channel).step_by(3).copied();
        Self::of(image, 3, (0..3).flat_map(channel).collect())
    }

    fn of(image: &DynamicImage, channels: usize, values: Vec<f32>) -> Self {
        Self {
            channels,
            width: image.width() as usize,
            height: image.height() as usize,
            values,
        }
    }
}

fn is_of_bytes(image: &DynamicImage) -> bool {
    matches!(
        image.color(),
        ColorType::L8 | ColorType::La8 | ColorType::Rgb8 | ColorType::Rgba8
    )
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

/// Decodes the bytes of an image; the path is for the errors.
///
/// # Errors
/// As [`open`].
pub fn decode_bytes(bytes: &[u8], path: &Path, limit: ImageLimit) -> Result<DynamicImage> {
    decode(Cursor::new(bytes), Cursor::new(bytes), path, limit)
}

/// Decodes an image from two readers of it: one for the size, and one for the pixels.
fn decode<R: BufRead + Seek>(
    header: R,
    pixels: R,
    path: &Path,
    limit: ImageLimit,
) -> Result<DynamicImage> {
    let no_image = |e: &dyn fmt::Display| {
        let shown = path.display();
        format!("{shown} is not an image that can be read (PNG, JPEG): {e}")
    };
    let reader = |reader| ImageReader::new(reader).with_guessed_format();
    let header = reader(header).map_err(|e| no_image(&e))?;
    let (width, height) = header.into_dimensions().map_err(|e| no_image(&e))?;
    limit.check(path, [width, height])?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(limit.decoder_bytes());
    let mut pixels = reader(pixels).map_err(|e| no_image(&e))?;
    pixels.limits(limits);
    Ok(pixels.decode().map_err(|e| no_image(&e))?)
}
