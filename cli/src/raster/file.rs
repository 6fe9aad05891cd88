//! An image of a file, and as the network sees it.

use std::path::Path;

use super::{Pixels, Raster, Spacing, nifti};
use crate::Result;

/// What the channels of a file mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bands {
    Grey,
    GreyAlpha,
    Rgb,
    RgbAlpha,
    /// Measurements of any kind.
    Other,
}

impl Bands {
    /// How many of the channels are no opacity.
    pub(super) fn opaque(self, channels: usize) -> usize {
        match self {
            Self::GreyAlpha | Self::RgbAlpha => channels - 1,
            Self::Grey | Self::Rgb | Self::Other => channels,
        }
    }
}

/// Where the pixels of a file lie in the world: kept, so that a prediction lies there too.
#[derive(Clone, Debug, Default)]
pub struct Grid {
    pub spacing: Option<Spacing>,
    /// Whether the spacing is a resolution in dots per inch, which is mostly one for printing.
    pub is_print_resolution: bool,
    /// Of a NIfTI file, whose header has the position and the orientation as well.
    pub nifti: Option<nifti::Header>,
}

impl Grid {
    /// The spacing, if the file says it of all axes.
    pub fn full_spacing(&self) -> Option<&Spacing> {
        self.spacing.as_ref().filter(|spacing| spacing.of_all_axes)
    }
}

/// An image with what else its file says.
#[derive(Debug)]
pub struct RasterFile {
    pub raster: Raster,
    pub bands: Bands,
    pub grid: Grid,
}

impl RasterFile {
    /// How many channels are no opacity.
    pub fn channels(&self) -> usize {
        self.bands.opaque(self.raster.channels)
    }

    /// What [`image`](Self::image) does to have so many channels, if it changes grey or colours.
    pub fn conversion(&self, channels: usize) -> Option<&'static str> {
        match (self.channels(), channels) {
            _ if self.raster.channels == channels => None,
            (3, 1) => Some("colours are read as grey, since the network takes 1 channel"),
            (1, 3) => {
                Some("grey is read as red, green and blue, since the network takes 3 channels")
            }
            _ => None,
        }
    }

    /// The image with so many channels: as it is; without its opacity; grey of colours, and colours of grey.
    ///
    /// # Errors
    /// When the file has other channels, or a value that is no number.
    pub fn image(self, path: &Path, channels: usize) -> Result<(Raster, Grid)> {
        let Self {
            mut raster,
            bands,
            grid,
        } = self;
        check_finite(&raster, path)?;
        let (pixels, opaque) = (raster.pixels(), bands.opaque(raster.channels));
        let is_rgb = matches!(bands, Bands::Rgb | Bands::RgbAlpha);
        match (opaque, channels) {
            _ if raster.channels == channels => {}
            (opaque, channels) if opaque == channels => raster.values.truncate(channels * pixels),
            (3, 1) if is_rgb => luma(&mut raster.values, pixels),
            (1, 3) => {
                let mut rgb = raster.values.zeros_like(3 * pixels)?;
                for map in rgb.chunks_exact_mut(pixels) {
                    map.copy_from_slice(&raster.values[..pixels]);
                }
                raster.values = rgb;
            }
            _ => {
                return Err(format!(
                    "{} has {}, and the network's in_channels are {channels}. Use images of as many channels, or set \
                     in_channels to {}.",
                    path.display(),
                    count_of_channels(raster.channels),
                    raster.channels
                )
                .into());
            }
        }
        raster.channels = channels;
        Ok((raster, grid))
    }
}

/// "1 channel", "4 channels"
pub fn count_of_channels(count: usize) -> String {
    match count {
        1 => "1 channel".into(),
        several => format!("{several} channels"),
    }
}

/// Makes one map of red, green and blue: how bright they are together (ITU-R BT.709).
fn luma(rgb: &mut Pixels, pixels: usize) {
    let values = &mut rgb[..];
    for pixel in 0..pixels {
        let weights = [0.2126, 0.7152, 0.0722];
        let maps = weights.iter().enumerate();
        values[pixel] = maps
            .map(|(map, weight)| weight * values[map * pixels + pixel])
            .sum();
    }
    rgb.truncate(pixels);
}

pub(super) fn check_finite(raster: &Raster, path: &Path) -> Result<()> {
    let Some(at) = raster.values.iter().position(|value| !value.is_finite()) else {
        return Ok(());
    };
    let pixels = raster.pixels();
    let channel = match raster.channels {
        1 => String::new(),
        _ => format!(" of channel {}", at / pixels),
    };
    Err(format!(
        "{}: the value at {}{channel} is {}, and a network needs finite numbers. Replace it with one, such as 0.",
        path.display(),
        raster.place(at % pixels),
        raster.values[at]
    )
    .into())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn file(channels: usize, bands: Bands, values: &[f32]) -> RasterFile {
        RasterFile {
            raster: Raster {
                channels,
                size: vec![1, values.len() / channels],
                values: values.to_vec().into(),
            },
            bands,
            grid: Grid::default(),
        }
    }

    #[test]
    fn an_image_has_the_channels_of_the_network() {
        let values = |file: RasterFile, channels| {
            let image = file.image(Path::new("a.tif"), channels);
            image
                .map(|(raster, _)| raster.values)
                .map_err(|e| e.to_string())
        };
        let rgba = || file(4, Bands::RgbAlpha, &[10.0, 20.0, 30.0, 255.0]);
        assert_eq!(values(rgba(), 4).unwrap(), [10.0, 20.0, 30.0, 255.0]);
        assert_eq!(values(rgba(), 3).unwrap(), [10.0, 20.0, 30.0]);
        let grey = values(rgba(), 1).unwrap();
        assert!((grey[0] - 18.596).abs() < 1e-4, "{grey:?}");
        let grey = || file(2, Bands::GreyAlpha, &[7.0, 0.5]);
        assert_eq!(values(grey(), 3).unwrap(), [7.0; 3]);
        let bands = file(3, Bands::Other, &[1.0, 2.0, 3.0]);
        assert_eq!(
            values(bands, 1).unwrap_err(),
            "a.tif has 3 channels, and the network's in_channels are 1. Use images of as many channels, or set \
             in_channels to 3."
        );
        assert_eq!(
            values(file(1, Bands::Other, &[0.0, f32::NAN]), 1).unwrap_err(),
            "a.tif: the value at column 1, row 0 is NaN, and a network needs finite numbers. Replace it with one, such \
             as 0."
        );
    }
}
