//! Images and masks as numbers, and how a PNG becomes one.

use std::io::Cursor;
use std::path::Path;

use clap::ValueEnum;
use image::codecs::png::PngEncoder;
use image::{ColorType, DynamicImage, ExtendedColorType, ImageEncoder};
use serde::{Deserialize, Serialize};

use crate::Result;

/// Numbers on a grid: channel by channel, row by row.
#[derive(Clone, Debug)]
pub struct Raster {
    pub channels: usize,
    pub width: usize,
    pub height: usize,
    pub values: Vec<f32>,
}

/// What an image's numbers mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
pub enum Intensities {
    /// A few spots are much brighter than the rest, as in a fluorescence microscope
    Log,
    /// A photograph
    Linear,
}

impl Raster {
    /// Reads an image as the network sees it: grey for one channel, red, green and blue for three, each
    /// stretched so that 0 and 1 are dark and bright, which makes two images comparable. The logarithm brings
    /// very bright spots within sight of the rest.
    ///
    /// # Errors
    /// When the file is no image that can be read.
    pub fn read_image(path: &Path, channels: usize, intensities: Intensities) -> Result<Self> {
        let image = decode(path)?;
        let mut raster = match channels {
            3 => Self::colours(&image),
            _ => Self::grey(&image),
        };
        if intensities == Intensities::Log {
            for value in &mut raster.values {
                *value = value.ln_1p();
            }
        }
        for plane in raster.values.chunks_exact_mut(image_pixels(&image)) {
            stretch(plane, 0.01, 0.998);
        }
        Ok(raster)
    }

    /// Reads a mask, one number a pixel: for a single class 0 or 1, where everything but 0 in the file is 1;
    /// for more, the number of the class.
    ///
    /// # Errors
    /// When the file is no image that can be read, or has a class beyond `classes`: says where.
    pub fn read_mask(path: &Path, classes: usize) -> Result<Self> {
        let image = decode(path)?;
        let mut mask = Self::grey(&image);
        if classes == 1 {
            for value in &mut mask.values {
                *value = if *value > 0.0 { 1.0 } else { 0.0 };
            }
            return Ok(mask);
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
        match mask.values.iter().position(|&class| class >= classes as f32) {
            None => Ok(mask),
            Some(at) => Err(format!(
                "{shown}: the pixel at column {}, row {} is of class {}, and the network has {classes} classes \
                 (0 to {}). Correct the mask, or give the network more out_channels.",
                at % mask.width,
                at / mask.width,
                mask.values[at],
                classes - 1
            )
            .into()),
        }
    }

    /// The grey values as stored: 0 to 255, or 0 to 65535.
    fn grey(image: &DynamicImage) -> Self {
        let values = if is_of_bytes(image) {
            image.to_luma8().iter().map(|&v| f32::from(v)).collect()
        } else {
            image.to_luma16().iter().map(|&v| f32::from(v)).collect()
        };
        Self {
            channels: 1,
            width: image.width() as usize,
            height: image.height() as usize,
            values,
        }
    }

    fn colours(image: &DynamicImage) -> Self {
        let pixels: Vec<f32> = if is_of_bytes(image) {
            image.to_rgb8().iter().map(|&v| f32::from(v)).collect()
        } else {
            image.to_rgb16().iter().map(|&v| f32::from(v)).collect()
        };
        let channel = |channel| pixels.iter().skip(channel).step_by(3).copied();
        Self {
            channels: 3,
            width: image.width() as usize,
            height: image.height() as usize,
            values: (0..3).flat_map(channel).collect(),
        }
    }

    /// Every `step`-th pixel of every `step`-th row.
    pub fn every(&self, step: usize) -> Self {
        let (width, height) = (self.width.div_ceil(step), self.height.div_ceil(step));
        self.picked(width, height, |y, x| [y * step, x * step])
    }

    /// The rectangle of `width` x `height` at column `left` and row `top`.
    pub fn cut(&self, left: usize, top: usize, width: usize, height: usize) -> Self {
        self.picked(width, height, |y, x| [top + y, left + x])
    }

    /// The raster of `width` x `height` whose pixel at `[y, x]` is the one of `self` at `from(y, x)`.
    pub fn picked(
        &self,
        width: usize,
        height: usize,
        from: impl Fn(usize, usize) -> [usize; 2],
    ) -> Self {
        let mut values = Vec::with_capacity(self.channels * width * height);
        for plane in self.values.chunks_exact(self.width * self.height) {
            for y in 0..height {
                values.extend((0..width).map(|x| {
                    let [y, x] = from(y, x);
                    plane[y * self.width + x]
                }));
            }
        }
        Self {
            channels: self.channels,
            width,
            height,
            values,
        }
    }

    /// A mask as the bytes of a grey PNG file: a single class is white, of several each pixel has the number of
    /// its class.
    ///
    /// # Errors
    /// When the encoder fails, or there are more classes than a PNG has numbers for.
    pub fn mask_png(&self, classes: usize) -> Result<Vec<u8>> {
        let mut bytes = Cursor::new(Vec::new());
        let (width, height) = (u32::try_from(self.width)?, u32::try_from(self.height)?);
        let (grey, colour): (Vec<u8>, _) = match classes {
            1 => {
                let white = self.values.iter().map(|&class| (class * 255.0) as u8);
                (white.collect(), ExtendedColorType::L8)
            }
            2..=256 => {
                let numbers = self.values.iter().map(|&class| class as u8);
                (numbers.collect(), ExtendedColorType::L8)
            }
            257..=65536 => {
                let numbers = self.values.iter();
                let numbers = numbers.flat_map(|&class| (class as u16).to_ne_bytes());
                (numbers.collect(), ExtendedColorType::L16)
            }
            more => {
                return Err(
                    format!("a mask holds 65536 classes at most, and these are {more}").into(),
                );
            }
        };
        PngEncoder::new(&mut bytes).write_image(&grey, width, height, colour)?;
        Ok(bytes.into_inner())
    }

    /// How bright a pixel is, from 0 to 1.
    pub fn brightness(&self, pixel: usize) -> f32 {
        let planes = self.values.chunks_exact(self.width * self.height);
        let sum: f32 = planes.map(|plane| plane[pixel]).sum();
        (sum / self.channels as f32).clamp(0.0, 1.0)
    }

    /// "512 x 384", width first.
    pub fn size(&self) -> String {
        format!("{} x {}", self.width, self.height)
    }
}

/// Moves the two quantiles to 0 and 1. A plane of one value becomes 0.
fn stretch(plane: &mut [f32], low: f64, high: f64) {
    let mut sorted = plane.to_vec();
    sorted.sort_unstable_by(f32::total_cmp);
    let quantile = |q: f64| sorted[(q * (sorted.len() - 1) as f64).round() as usize];
    let (low, high) = (quantile(low), quantile(high));
    let range = (high - low).max(f32::MIN_POSITIVE);
    for value in plane {
        *value = (*value - low) / range;
    }
}

fn is_of_bytes(image: &DynamicImage) -> bool {
    matches!(
        image.color(),
        ColorType::L8 | ColorType::La8 | ColorType::Rgb8 | ColorType::Rgba8
    )
}

fn image_pixels(image: &DynamicImage) -> usize {
    image.width() as usize * image.height() as usize
}

fn decode(path: &Path) -> Result<DynamicImage> {
    let bytes = std::fs::read(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    image::load_from_memory(&bytes).map_err(|e| {
        format!(
            "{} is not an image that can be read (PNG, JPEG) ({} bytes): {e}",
            path.display(),
            bytes.len()
        )
        .into()
    })
}
