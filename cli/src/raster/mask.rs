//! The file of a mask: as numbers of classes or of objects, or as foreground.

use std::path::Path;

use super::file::{check_finite, count_of_channels};
use super::{Bands, Raster, RasterFile};
use crate::Result;
use crate::instances::MAX_OBJECTS;

impl RasterFile {
    /// The numbers of a mask, of any number of classes or objects; where these are none, 1 wherever a channel is not 0, and
    /// why.
    ///
    /// # Errors
    /// When a value is no number.
    pub fn numbers(self, path: &Path) -> Result<(Raster, Option<String>)> {
        let pixels = self.raster.pixels();
        let mut values = self.raster.values[..pixels].iter();
        let shown = path.display();
        let at = values.position(|x| !(*x >= 0.0 && x.fract() == 0.0));
        let why = match (self.channels(), at) {
            (1, None) => None,
            (1, Some(at)) => Some(format!(
                "{shown}: the pixel at {} is {}, which is the number of no class",
                self.raster.place(at),
                self.raster.values[at]
            )),
            (several, _) => Some(format!("{shown} is {}", mask_of(self.bands, several))),
        };
        if why.is_some() {
            return Ok((self.mask(path, 1, None)?, why));
        }
        let mut raster = self.raster;
        raster.values.truncate(pixels);
        raster.channels = 1;
        Ok((raster, None))
    }

    /// The mask, one number a pixel: for a single class 1 wherever a channel of the file is not 0, else 0; for
    /// more, the number of the class. Pixels that are ignored keep that label.
    ///
    /// # Errors
    /// When a value is none that a class has, with the place, or the file has several channels.
    pub fn mask(self, path: &Path, classes: usize, ignored: Option<i64>) -> Result<Raster> {
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
                let of = |map: usize| values[map * pixels + pixel];
                if (0..opaque).all(|map| is_ignored(of(map), ignored)) {
                    continue;
                }
                let is_marked = (0..opaque).any(|map| of(map) != 0.0);
                values[pixel] = f32::from(u8::from(is_marked));
            }
            raster.values.truncate(pixels);
            return Ok(raster);
        }
        let shown = path.display();
        if opaque > 1 {
            let what = mask_of(bands, opaque);
            return Err(format!(
                "{shown} is {what}, and in the masks of {classes} classes a pixel is the number of its class. {SAVE_NUMBERS}."
            )
            .into());
        }
        let is_class = |value: f32| value >= 0.0 && value < classes as f32 && value.fract() == 0.0;
        let is_label = |&value: &f32| is_class(value) || is_ignored(value, ignored);
        match raster.values.iter().position(|value| !is_label(value)) {
            None => Ok(raster),
            Some(at) => Err(format!(
                "{shown}: the pixel at {} is of class {}, and the network has {classes} classes (0 to {}). {}Correct the \
                 mask, give the network more out_channels, or, where any pixel that is not black is foreground, a network of \
                 out_channels 1.",
                raster.place(at),
                raster.values[at],
                classes - 1,
                match raster.values[at] {
                    255.0 => HOW_TO_IGNORE,
                    _ => "",
                }
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

/// What to do with a mask in colours.
pub const SAVE_NUMBERS: &str =
    "Save the numbers as a grey image, or as a PNG with a palette whose colour 0 is black";

/// "a mask in colours", "a mask of 4 channels"
fn mask_of(bands: Bands, channels: usize) -> String {
    match bands {
        Bands::Rgb | Bands::RgbAlpha => "a mask in colours".into(),
        _ => format!("a mask of {}", count_of_channels(channels)),
    }
}

/// What to do with 255 in masks of several classes: a sentence, and the space after it.
const HOW_TO_IGNORE: &str = "Where 255 marks pixels that do not count, let the loss ignore it, and of a sum all its losses: \
                             --loss '{\"CrossEntropy\": {\"ignore_label\": 255}}'. ";

/// Whether a pixel of a mask has the label of those that do not count.
pub fn is_ignored(value: f32, ignored: Option<i64>) -> bool {
    ignored.is_some_and(|label| f64::from(value) == label as f64)
}

#[cfg(test)]
mod tests {
    use super::super::file::tests::file;
    use super::*;

    #[test]
    fn what_is_no_number_of_a_class_makes_a_foreground_and_is_said() {
        let numbers = |file: RasterFile| {
            let (raster, why) = file.numbers(Path::new("m.tif")).unwrap();
            (raster.values.to_vec(), why.unwrap_or_default())
        };
        let grey = |values: &[f32]| numbers(file(1, Bands::Grey, values));
        assert_eq!(grey(&[0.0, 2.0, 7.0]), (vec![0.0, 2.0, 7.0], String::new()));
        let (values, why) = grey(&[0.0, 2.0, -1.0]);
        assert_eq!(values, [0.0, 1.0, 1.0]);
        assert_eq!(
            why,
            "m.tif: the pixel at column 2, row 0 is -1, which is the number of no class"
        );
        assert!(grey(&[1.0001]).1.contains("is 1.0001, which"));
        let (values, why) = numbers(file(3, Bands::Rgb, &[0.0, 0.0, 9.0]));
        assert_eq!(
            (values, &why[..]),
            (vec![1.0], "m.tif is a mask in colours")
        );
    }

    #[test]
    fn a_mask_has_whole_numbers_of_classes() {
        let mask = |values: &[f32], classes| {
            let mask = file(1, Bands::Other, values).mask(Path::new("m.npy"), classes, None);
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
        let rgb = file(3, Bands::Rgb, &[0.0; 3]).mask(Path::new("m.png"), 2, None);
        assert!(rgb.unwrap_err().to_string().contains("a mask in colours"));
        let error = mask(&[0.0, 255.0], 3).unwrap_err();
        let remedy = "let the loss ignore it, and of a sum all its losses: --loss '{\"CrossEntropy\": {\"ignore_label\": \
                      255}}'. Correct";
        assert!(error.contains(remedy), "{error}");
    }

    #[test]
    fn the_ignored_label_stays_beside_the_classes() {
        let mask = |values: &[f32], bands: Bands, classes, ignored| {
            let channels = if bands == Bands::Rgb { 3 } else { 1 };
            let mask = file(channels, bands, values).mask(Path::new("m.npy"), classes, ignored);
            mask.map(|raster| raster.values.to_vec())
                .map_err(|e| e.to_string())
        };
        let grey = |values, classes, ignored| mask(values, Bands::Grey, classes, Some(ignored));
        assert_eq!(grey(&[0.0, 2.0, 255.0], 3, 255).unwrap(), [0.0, 2.0, 255.0]);
        assert_eq!(grey(&[0.0, 2.0, -1.0], 3, -1).unwrap(), [0.0, 2.0, -1.0]);
        let error = grey(&[0.0, 255.0, 3.0], 3, 255).unwrap_err();
        assert!(
            error.contains("column 2, row 0 is of class 3, and"),
            "{error}"
        );
        assert!(grey(&[254.0], 3, 255).is_err());
        // Of one class, the other numbers are foreground.
        assert_eq!(grey(&[0.0, 7.0, 255.0], 1, 255).unwrap(), [0.0, 1.0, 255.0]);
        let pixel = |values| mask(values, Bands::Rgb, 1, Some(255)).unwrap();
        assert_eq!(pixel(&[255.0, 0.0, 255.0]), [1.0]);
        assert_eq!(pixel(&[255.0; 3]), [255.0]);
    }
}
