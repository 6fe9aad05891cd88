//! A plane of numbers, and how a PNG becomes one.

use std::io::Cursor;
use std::path::Path;

use image::codecs::png::PngEncoder;
use image::{ColorType, DynamicImage, ExtendedColorType, ImageEncoder};

use crate::Result;

/// One number a pixel, row by row.
#[derive(Clone, Debug)]
pub struct Plane {
    pub width: usize,
    pub height: usize,
    pub values: Vec<f32>,
}

impl Plane {
    /// Reads an image's intensities: their logarithm, stretched so that 0 and 1 are dark and bright.
    ///
    /// Most of a fluorescence image is dark and a few spots are very bright; the logarithm brings
    /// them within sight of each other, and the stretch makes two images comparable.
    ///
    /// # Errors
    /// When the file is no PNG that can be read.
    pub fn read_image(path: &Path) -> Result<Self> {
        let mut plane = Self::read(path)?;
        for value in &mut plane.values {
            *value = value.ln_1p();
        }
        plane.stretch(0.01, 0.998);
        Ok(plane)
    }

    /// Reads a mask: 0 where the file has 0, 1 everywhere else.
    ///
    /// # Errors
    /// When the file is no PNG that can be read.
    pub fn read_mask(path: &Path) -> Result<Self> {
        let mut plane = Self::read(path)?;
        for value in &mut plane.values {
            *value = if *value > 0.0 { 1.0 } else { 0.0 };
        }
        Ok(plane)
    }

    /// The grey values as stored: 0 to 255, or 0 to 65535.
    fn read(path: &Path) -> Result<Self> {
        let image = decode(path)?;
        let (width, height) = (image.width() as usize, image.height() as usize);
        let values = match image.color() {
            ColorType::L8 | ColorType::La8 | ColorType::Rgb8 | ColorType::Rgba8 => {
                image.to_luma8().iter().map(|&v| f32::from(v)).collect()
            }
            _ => image.to_luma16().iter().map(|&v| f32::from(v)).collect(),
        };
        Ok(Self {
            width,
            height,
            values,
        })
    }

    /// Moves the two quantiles to 0 and 1. A plane of one value becomes 0.
    fn stretch(&mut self, low: f64, high: f64) {
        let mut sorted = self.values.clone();
        sorted.sort_unstable_by(f32::total_cmp);
        let quantile = |q: f64| sorted[(q * (sorted.len() - 1) as f64).round() as usize];
        let (low, high) = (quantile(low), quantile(high));
        let range = (high - low).max(f32::MIN_POSITIVE);
        for value in &mut self.values {
            *value = (*value - low) / range;
        }
    }

    /// Every `step`-th pixel of every `step`-th row.
    pub fn every(&self, step: usize) -> Self {
        let rows = self.values.chunks_exact(self.width).step_by(step);
        Self {
            width: self.width.div_ceil(step),
            height: self.height.div_ceil(step),
            values: rows
                .flat_map(|row| row.iter().copied().step_by(step))
                .collect(),
        }
    }

    /// The pixels as the bytes of a grey PNG file, 0 as black and 1 as white.
    ///
    /// # Errors
    /// When the encoder fails.
    pub fn png(&self) -> Result<Vec<u8>> {
        let grey = self
            .values
            .iter()
            .map(|v| (v.clamp(0.0, 1.0) * 255.0) as u8);
        let grey: Vec<u8> = grey.collect();
        let mut bytes = Cursor::new(Vec::new());
        let (width, height) = (u32::try_from(self.width)?, u32::try_from(self.height)?);
        PngEncoder::new(&mut bytes).write_image(&grey, width, height, ExtendedColorType::L8)?;
        Ok(bytes.into_inner())
    }

    /// The rectangle of `width` x `height` at column `left` and row `top`.
    pub fn cut(&self, left: usize, top: usize, width: usize, height: usize) -> Self {
        let row = |y: usize| {
            let start = y * self.width + left;
            &self.values[start..start + width]
        };
        Self {
            width,
            height,
            values: (top..top + height).flat_map(row).copied().collect(),
        }
    }

    /// "512 x 384", width first.
    pub fn size(&self) -> String {
        format!("{} x {}", self.width, self.height)
    }
}

fn decode(path: &Path) -> Result<DynamicImage> {
    let bytes = std::fs::read(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    image::load_from_memory(&bytes).map_err(|e| {
        format!(
            "{} is not a PNG image that can be read ({} bytes): {e}",
            path.display(),
            bytes.len()
        )
        .into()
    })
}
