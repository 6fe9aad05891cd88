//! A mask as an image file.

use std::io::Cursor;

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};

use super::Raster;
use crate::Result;

impl Raster {
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
}
