//! The picture: the image, and beside it the prediction.

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{Rgb, RgbImage};

use super::network::Prediction;
use super::photo::Photo;
use crate::Result;

/// Between the two, and around them.
const MARGIN: usize = 8;
const PAPER: Rgb<u8> = Rgb([18, 20, 26]);

/// Colours for classes that colour-blind readers tell apart (Okabe and Ito); the first class, the
/// background, has none.
const CLASSES: [[u8; 3]; 7] = [
    [230, 159, 0],
    [86, 180, 233],
    [0, 158, 115],
    [240, 228, 66],
    [0, 114, 178],
    [213, 94, 0],
    [204, 121, 167],
];

/// Draws it, as the bytes of a PNG file.
///
/// # Errors
/// When the picture cannot be encoded.
pub fn png(photo: &Photo, prediction: &Prediction) -> Result<Vec<u8>> {
    let (width, height) = (photo.width, photo.height);
    let zoom = (320 / width.max(height)).max(1);
    let (wide, high) = (width * zoom, height * zoom);
    let overlay = match &prediction.activation {
        Some(activation) => heat(photo, activation),
        None => regions(photo, &prediction.pixel_classes()),
    };
    let size = [2 * wide + 3 * MARGIN, high + 2 * MARGIN].map(|n| n as u32);
    let mut picture = RgbImage::from_pixel(size[0], size[1], PAPER);
    let left = [MARGIN, 2 * MARGIN + wide];
    for (panel, left) in [&photo.rgb, &overlay].into_iter().zip(left) {
        for (y, x) in (0..high).flat_map(|y| (0..wide).map(move |x| (y, x))) {
            let pixel = 3 * ((y / zoom) * width + x / zoom);
            let colour = Rgb([panel[pixel], panel[pixel + 1], panel[pixel + 2]]);
            picture.put_pixel((left + x) as u32, (MARGIN + y) as u32, colour);
        }
    }
    let mut bytes = Vec::new();
    let encoder =
        PngEncoder::new_with_quality(&mut bytes, CompressionType::Best, FilterType::Adaptive);
    picture.write_with_encoder(encoder)?;
    Ok(bytes)
}

/// The image in grey, tinted from blue to yellow by how much a pixel contributes to the class.
fn heat(photo: &Photo, activation: &[f32]) -> Vec<u8> {
    let low = activation.iter().fold(f32::INFINITY, |m, v| m.min(*v));
    let high = activation.iter().fold(f32::NEG_INFINITY, |m, v| m.max(*v));
    let tint = |value: f32| {
        let t = (value - low) / (high - low).max(f32::MIN_POSITIVE);
        [255.0 * t, 40.0 + 180.0 * t, 160.0 * (1.0 - t)]
    };
    let pixels = photo.rgb.chunks_exact(3).zip(activation);
    pixels
        .flat_map(|(rgb, &value)| {
            let grey = rgb.iter().map(|&v| f32::from(v)).sum::<f32>() / 3.0;
            tint(value).map(|colour| (0.5 * grey + 0.5 * colour) as u8)
        })
        .collect()
}

/// The image, tinted where a pixel has a class other than the first.
fn regions(photo: &Photo, classes: &[usize]) -> Vec<u8> {
    let pixels = photo.rgb.chunks_exact(3).zip(classes);
    pixels
        .flat_map(|(rgb, &class)| {
            let rgb = [rgb[0], rgb[1], rgb[2]];
            let Some(index) = class.checked_sub(1) else {
                return rgb;
            };
            let colour = CLASSES[index % CLASSES.len()];
            std::array::from_fn(|n| ((u16::from(rgb[n]) + u16::from(colour[n])) / 2) as u8)
        })
        .collect()
}
