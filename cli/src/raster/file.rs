//! An image of a file: as the network sees it, or as a mask.

use std::path::Path;

use super::{Pixels, Raster, Spacing, nifti};
use crate::Result;
use crate::instances::MAX_OBJECTS;

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
    fn opaque(self, channels: usize) -> usize {
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

    /// The numbers of a mask, of any number of classes or objects; where these are none, 1 wherever a channel is not 0.
    ///
    /// # Errors
    /// When a value is no number.
    pub fn numbers(self, path: &Path) -> Result<Raster> {
        let pixels = self.raster.pixels();
        let are_whole = |values: &[f32]| values.iter().all(|x| *x >= 0.0 && x.fract() == 0.0);
        if self.channels() > 1 || !are_whole(&self.raster.values[..pixels]) {
            return self.mask(path, 1);
        }
        let mut raster = self.raster;
        raster.values.truncate(pixels);
        raster.channels = 1;
        Ok(raster)
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

    /// The mask, one number a pixel: for a single class 1 wherever a channel of the file is not 0, else 0; for
    /// more, the number of the class.
    ///
    /// # Errors
    /// When a value is none that a class has, with the place, or the file has several channels.
    pub fn mask(self, path: &Path, classes: usize) -> Result<Raster> {
        let Self {
            mut raster, bands, ..
        } = self;
        check_finite(&raster, path)?;
        let (pixels, opaque) = (raster.pixels(), bands.opaque(raster.channels));
        raster.values.truncate(opaque * pixels);
        raster.channels = 1;
        if classes == 1 {
            let values = &mut raster.values[..];
            for pixel in 0..pixels {
                let is_marked = (0..opaque).any(|map| values[map * pixels + pixel] != 0.0);
                values[pixel] = f32::from(u8::from(is_marked));
            }
            raster.values.truncate(pixels);
            return Ok(raster);
        }
        let shown = path.display();
        if opaque > 1 {
            let what = mask_of(bands, opaque);
            return Err(format!(
                "{shown} is {what}; the masks of {classes} classes are grey, and a pixel is the number of its class"
            )
            .into());
        }
        let is_class =
            |&value: &f32| value >= 0.0 && value < classes as f32 && value.fract() == 0.0;
        match raster.values.iter().position(|value| !is_class(value)) {
            None => Ok(raster),
            Some(at) => Err(format!(
                "{shown}: the pixel at {} is of class {}, and the network has {classes} classes (0 to {}). Correct the \
                 mask, give the network more out_channels, or, where any pixel that is not black is foreground, a network of \
                 out_channels 1.",
                raster.place(at),
                raster.values[at],
                classes - 1
            )
            .into()),
        }
    }

    /// The objects of a mask: each pixel is the number of its object, and 0 is the background.
    ///
    /// # Errors
    /// When a value is no such number, with the place, or the file has several channels.
    pub fn objects(self, path: &Path) -> Result<Raster> {
        let Self {
            mut raster, bands, ..
        } = self;
        check_finite(&raster, path)?;
        let (pixels, opaque) = (raster.pixels(), bands.opaque(raster.channels));
        let shown = path.display();
        if opaque > 1 {
            let what = mask_of(bands, opaque);
            return Err(
                format!("{shown} is {what}; where objects are numbered, a mask is grey").into(),
            );
        }
        raster.values.truncate(pixels);
        raster.channels = 1;
        let largest = MAX_OBJECTS as f32;
        let is_number = |&value: &f32| (0.0..=largest).contains(&value) && value.fract() == 0.0;
        match raster.values.iter().position(|value| !is_number(value)) {
            None => Ok(raster),
            Some(at) => Err(format!(
                "{shown}: the pixel at {} is {}, and the number of an object is a whole number from 0 (background) to \
                 {MAX_OBJECTS}. Number the objects anew.",
                raster.place(at),
                raster.values[at]
            )
            .into()),
        }
    }
}

/// "a mask in colours", "a mask of 4 channels"
fn mask_of(bands: Bands, channels: usize) -> String {
    match bands {
        Bands::Rgb | Bands::RgbAlpha => "a mask in colours".into(),
        _ => format!("a mask of {}", count_of_channels(channels)),
    }
}

/// "1 channel", "4 channels"
fn count_of_channels(count: usize) -> String {
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

fn check_finite(raster: &Raster, path: &Path) -> Result<()> {
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
mod tests {
    use super::*;

    fn file(channels: usize, bands: Bands, values: &[f32]) -> RasterFile {
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

    #[test]
    fn a_mask_has_whole_numbers_of_classes() {
        let mask = |values: &[f32], classes| {
            let mask = file(1, Bands::Other, values).mask(Path::new("m.npy"), classes);
            mask.map(|raster| raster.values).map_err(|e| e.to_string())
        };
        assert_eq!(mask(&[0.0, 2.0], 3).unwrap(), [0.0, 2.0]);
        assert_eq!(mask(&[0.0, 0.1], 1).unwrap(), [0.0, 1.0]);
        for wrong in [0.5, 3.0, -1.0] {
            let error = mask(&[0.0, wrong], 3).unwrap_err();
            let expected = format!("m.npy: the pixel at column 1, row 0 is of class {wrong}, and");
            assert!(error.starts_with(&expected), "{error}");
        }
        let objects = |values: &[f32]| {
            let file = file(1, Bands::Grey, values);
            let objects = file.objects(Path::new("m.npy"));
            objects
                .map(|raster| raster.values)
                .map_err(|e| e.to_string())
        };
        assert_eq!(objects(&[0.0, 70_000.0]).unwrap(), [0.0, 70_000.0]);
        for wrong in [0.5, -1.0, 16_777_218.0] {
            let error = objects(&[0.0, wrong]).unwrap_err();
            let expected =
                format!("m.npy: the pixel at column 1, row 0 is {wrong}, and the number");
            assert!(error.starts_with(&expected), "{error}");
        }
        let rgb = file(3, Bands::Rgb, &[0.0; 3]).objects(Path::new("m.png"));
        assert!(rgb.unwrap_err().to_string().contains("a mask in colours"));
        let rgb = file(3, Bands::Rgb, &[0.0; 3]).mask(Path::new("m.png"), 2);
        assert!(rgb.unwrap_err().to_string().contains("a mask in colours"));
    }
}
