//! `--spacing`: whether the images of a training are brought to one spacing, and to which.

use std::path::PathBuf;

use clap::Args;
use serde::{Deserialize, Serialize};

use super::target_spacing::{TargetSpacing, axis_names, check_numbers};
use crate::raster::{Grid, Spacing, shown_spacing};

/// To which spacing the images of a training are resampled.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Resampling {
    /// Volumes whose files tell their spacing as [`Median`](Self::Median), everything else as [`Keep`](Self::Keep).
    #[default]
    Auto,
    /// Images stay as they are.
    Keep,
    /// The median of the images that are trained on, by nnU-Net's rule ([`TargetSpacing::of`]).
    Median,
    /// One number for all axes, or one for each, in the unit of the first file.
    To(Vec<f64>),
}

/// What the command line takes.
const KINDS: &str = "auto, keep, median, or distances in the order of the axes, such as 3,1,1 (depth,height,width) or 1";

/// An image of a training, and what its file tells.
pub struct Told {
    pub file: PathBuf,
    pub grid: Grid,
    pub size: Vec<usize>,
    /// Whether it is trained on, and not for validation only.
    pub is_trained_on: bool,
}

impl Resampling {
    /// A spacing on the command line.
    ///
    /// # Errors
    /// When it is none, or a number is not above 0.
    pub fn parse(text: &str) -> Result<Self, String> {
        let resampling = match text {
            "auto" => Self::Auto,
            "keep" => Self::Keep,
            "median" => Self::Median,
            _ => Self::To(numbers(text).ok_or_else(|| format!("`{text}` is not one of {KINDS}"))?),
        };
        resampling.check()?;
        Ok(resampling)
    }

    /// Checks the numbers.
    ///
    /// # Errors
    /// When there is none, or one is not above 0.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Self::To(numbers) if !(1..=3).contains(&numbers.len()) => Err(format!(
                "there are {} numbers; give one, or one for each axis",
                numbers.len()
            )),
            Self::To(numbers) => check_numbers(numbers),
            Self::Auto | Self::Keep | Self::Median => Ok(()),
        }
    }

    /// The spacing that images of one number of axes are resampled to, if they are.
    ///
    /// # Errors
    /// When a file does not tell its spacing, or there are other numbers than axes.
    pub fn fitted(&self, images: &[Told]) -> Result<Option<TargetSpacing>, String> {
        let axes = images.first().map_or(0, |image| image.size.len());
        // (The first by its name, however the images are split: its unit is that of the numbers.)
        let telling = images
            .iter()
            .filter(|image| image.grid.full_spacing().is_some());
        let told = telling.min_by(|a, b| a.file.cmp(&b.file));
        let silent = images
            .iter()
            .find(|image| image.grid.full_spacing().is_none());
        match (self, told, silent) {
            (Self::Keep, ..) | (Self::Auto, None, _) => return Ok(None),
            (Self::Auto, ..) if axes < 3 => return Ok(None),
            (Self::Auto, Some(told), Some(silent)) => {
                return Err(format!(
                    "{} tells its spacing, and {}. Write it into every file, or pass --spacing keep to train on voxels as \
                     they are.",
                    told.file.display(),
                    silent.tells("none")
                ));
            }
            (Self::Median | Self::To(_), _, Some(silent)) => {
                return Err(format!(
                    "--spacing: {}. Write one into every file, or pass --spacing keep to train on images as they are.",
                    silent.tells("no spacing")
                ));
            }
            (_, _, None) => {}
        }
        let Some(Spacing { unit, .. }) = told.and_then(|image| image.grid.full_spacing()) else {
            return Ok(None);
        };
        if let Self::To(numbers) = self {
            return Ok(Some(TargetSpacing {
                per_axis: each(numbers, axes)?,
                unit: unit.clone(),
            }));
        }
        let trained = || images.iter().filter(|image| image.is_trained_on);
        let spacings = trained().filter_map(|image| image.grid.full_spacing());
        let spacings: Vec<_> = spacings.map(|spacing| spacing.in_unit(unit)).collect();
        let sizes: Vec<_> = trained().map(|image| image.size.clone()).collect();
        Ok(Some(TargetSpacing::of(&spacings, &sizes, unit)))
    }
}

impl Told {
    /// "a.nii tells none", and what its header has in its place.
    fn tells(&self, none: &str) -> String {
        let file = self.file.display();
        let axes = self.size.len();
        match &self.grid.nifti {
            Some(header) => {
                let steps = header
                    .steps(axes)
                    .iter()
                    .map(f32::to_string)
                    .collect::<Vec<_>>();
                let (steps, names) = (steps.join(","), axis_names(axes));
                format!("{file} tells {none}: its header has {steps} ({names})")
            }
            None => format!("{file} tells {none}"),
        }
    }
}

/// Numbers with commas between them.
fn numbers(text: &str) -> Option<Vec<f64>> {
    let numbers = text.split(',').map(|number| number.trim().parse().ok());
    numbers.collect()
}

/// One number for each axis.
fn each(numbers: &[f64], axes: usize) -> Result<Vec<f64>, String> {
    match numbers {
        [number] => Ok(vec![*number; axes]),
        numbers if numbers.len() == axes => Ok(numbers.to_vec()),
        numbers => Err(format!(
            "--spacing {} has {} numbers, and the images have {axes} axes. Give one, or {axes} in the order {}.",
            shown_spacing(numbers, ""),
            numbers.len(),
            axis_names(axes)
        )),
    }
}

/// The spacing of images whose files do not tell it.
#[derive(Args, Clone, Debug)]
pub struct SpacingArg {
    /// Spacing of images whose files do not tell it, in the order of the axes, such as 3,1,1 (depth,height,width), and in
    /// the unit of the training; a file that tells its spacing keeps it
    #[arg(long, value_name = "Z,Y,X", value_parser = Distances::parse)]
    spacing: Option<Distances>,
}

/// One distance for all axes, or one for each.
#[derive(Clone, Debug)]
struct Distances(Vec<f64>);

impl Distances {
    fn parse(text: &str) -> Result<Self, String> {
        let distances = numbers(text)
            .ok_or("it must be numbers in the order of the axes, such as 3,1,1 or 1")?;
        Resampling::To(distances.clone()).check()?;
        Ok(Self(distances))
    }
}

impl SpacingArg {
    /// Writes it where a file of so many axes told none.
    ///
    /// # Errors
    /// When it has other numbers than axes.
    pub fn fill(&self, grid: &mut Grid, axes: usize) -> Result<(), String> {
        if let (Some(Distances(numbers)), None) = (&self.spacing, grid.full_spacing()) {
            grid.spacing = Some(Spacing {
                per_axis: each(numbers, axes)?,
                unit: String::new(),
                of_all_axes: true,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(file: &str, spacing: Option<[f64; 3]>) -> Told {
        Told {
            file: file.into(),
            grid: Grid {
                spacing: spacing.map(|per_axis| Spacing {
                    per_axis: per_axis.to_vec(),
                    unit: "mm".into(),
                    of_all_axes: true,
                }),
                nifti: None,
            },
            size: vec![20; 3],
            is_trained_on: true,
        }
    }

    fn fitted(text: &str, images: &[Told]) -> Result<Option<Vec<f64>>, String> {
        let target = Resampling::parse(text)?.fitted(images)?;
        Ok(target.map(|target| target.per_axis))
    }

    #[test]
    fn volumes_that_tell_their_spacing_are_resampled_unless_it_is_kept() {
        let mut volumes = [
            told("a", Some([2.0, 1.0, 1.0])),
            told("b", Some([4.0, 1.0, 3.0])),
        ];
        assert_eq!(fitted("auto", &volumes), Ok(Some(vec![3.0, 1.0, 2.0])));
        assert_eq!(fitted("median", &volumes), Ok(Some(vec![3.0, 1.0, 2.0])));
        assert_eq!(fitted("keep", &volumes), Ok(None));
        assert_eq!(fitted("2.5", &volumes), Ok(Some(vec![2.5; 3])));
        assert_eq!(fitted("3, 1,1", &volumes), Ok(Some(vec![3.0, 1.0, 1.0])));
        // What is not trained on does not count.
        volumes[1].is_trained_on = false;
        assert_eq!(fitted("auto", &volumes), Ok(Some(vec![2.0, 1.0, 1.0])));
        assert_eq!(
            fitted("3,1", &volumes).unwrap_err(),
            "--spacing 3,1 has 2 numbers, and the images have 3 axes. Give one, or 3 in the order depth,height,width."
        );
        // Nor are images resampled unasked.
        for image in &mut volumes {
            image.size.truncate(2);
        }
        assert_eq!(fitted("auto", &volumes), Ok(None));
    }

    #[test]
    fn where_no_file_tells_a_spacing_images_are_kept_and_where_some_do_it_is_an_error() {
        let silent = [told("a.npy", None), told("b.npy", None)];
        assert_eq!(fitted("auto", &silent), Ok(None));
        assert_eq!(
            fitted("median", &silent).unwrap_err(),
            "--spacing: a.npy tells no spacing. Write one into every file, or pass --spacing keep to train on images as they are."
        );
        let some = [told("a.nii", Some([1.0; 3])), told("b.npy", None)];
        assert_eq!(
            fitted("auto", &some).unwrap_err(),
            "a.nii tells its spacing, and b.npy tells none. Write it into every file, or pass --spacing keep to train on \
             voxels as they are."
        );
        assert_eq!(fitted("keep", &some), Ok(None));
    }

    #[test]
    fn what_is_no_spacing_is_refused() {
        for wrong in ["", "mean", "1,x", "1;2"] {
            assert!(
                Resampling::parse(wrong)
                    .unwrap_err()
                    .contains("is not one of auto, keep"),
                "{wrong}"
            );
        }
        for wrong in ["0", "1,-2,1", "NaN", "inf", "1,1,1,1"] {
            assert!(Resampling::parse(wrong).is_err(), "{wrong}");
        }
        let json = r#"{"To": [3.0, 1.0, 1.0]}"#;
        let parsed: Resampling = serde_json::from_str(json).unwrap();
        assert_eq!(parsed, Resampling::parse("3,1,1").unwrap());
    }

    #[test]
    fn a_given_spacing_is_that_of_files_that_tell_none() {
        let arg = SpacingArg {
            spacing: Some(Distances(vec![2.0])),
        };
        let mut grid = Grid::default();
        arg.fill(&mut grid, 3).unwrap();
        assert_eq!(grid.full_spacing().unwrap().per_axis, [2.0; 3]);
        let mut known = told("a", Some([1.0; 3])).grid;
        arg.fill(&mut known, 3).unwrap();
        assert_eq!(known.full_spacing().unwrap().per_axis, [1.0; 3]);
    }
}
