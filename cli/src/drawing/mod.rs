//! Pictures: what a network predicts, and the course of a training.

pub mod augmentation;
pub mod curves;
mod font;
pub mod prediction;

/// RGB bytes as the bytes of a PNG file.
///
/// # Errors
/// When the encoder fails.
pub fn encode(rgb: &[u8], width: usize, height: usize) -> crate::Result<Vec<u8>> {
    let mut png = std::io::Cursor::new(Vec::new());
    image::write_buffer_with_format(
        &mut png,
        rgb,
        u32::try_from(width)?,
        u32::try_from(height)?,
        image::ColorType::Rgb8,
        image::ImageFormat::Png,
    )?;
    Ok(png.into_inner())
}
