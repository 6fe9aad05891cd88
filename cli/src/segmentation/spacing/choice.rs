//! `--spacing` of `train` and `plan-data`: whether the images of a training are brought to one spacing, and to which.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::target::{TargetSpacing, axis_names, check_numbers};
use crate::raster::{Format, Grid, Spacing, shown_spacing};

/// To which spacing the images of a training are resampled.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum SpacingChoice {
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

/// What decides about the spacing of a training: of each image its size, and what its file tells.
pub struct ImageInfo {
    pub file: PathBuf,
    pub grid: Grid,
    pub size: Vec<usize>,
    /// Whether it is trained on, and not for validation only.
    pub is_trained_on: bool,
}

impl SpacingChoice {
    /// A spacing on the command line.
    ///
    /// # Errors
    /// When it is none, or a number is not above 0.
    pub fn parse(text: &str) -> Result<Self, String> {
        let choice = match text {
            "auto" => Self::Auto,
            "keep" => Self::Keep,
            "median" => Self::Median,
            _ => Self::To(numbers(text).ok_or_else(|| format!("`{text}` is not one of {KINDS}"))?),
        };
        choice.check()?;
        Ok(choice)
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
    pub fn target(&self, images: &[ImageInfo]) -> Result<Option<TargetSpacing>, String> {
        let axes = images.first().map_or(0, |image| image.size.len());
        // (The first by its name, however the images are split: its unit is that of the numbers.)
        let telling = images.iter().filter(|image| image.tells_spacing());
        let first = telling.min_by(|a, b| a.file.cmp(&b.file));
        let silent = images.iter().find(|image| !image.tells_spacing());
        match (self, first, silent) {
            (Self::Keep, ..) | (Self::Auto, None, _) => return Ok(None),
            (Self::Auto, ..) if axes < 3 => return Ok(None),
            (Self::Auto, Some(first), Some(silent)) => {
                return Err(format!(
                    "{} tells its spacing, and {}. {}, or pass --spacing keep to train on voxels as they are.",
                    first.file.display(),
                    silent.what_it_tells("none"),
                    how_to_tell_spacing(&silent.file)
                ));
            }
            (Self::Median | Self::To(_), _, Some(silent)) => {
                return Err(format!(
                    "--spacing: {}. {}, or pass --spacing keep to train on images as they are.",
                    silent.what_it_tells("no spacing"),
                    how_to_tell_spacing(&silent.file)
                ));
            }
            (_, _, None) => {}
        }
        let Some(Spacing { unit, .. }) = first.and_then(|image| image.grid.full_spacing()) else {
            return Ok(None);
        };
        if let Self::To(numbers) = self {
            return Ok(Some(TargetSpacing {
                per_axis: per_axis(numbers, axes)?,
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

/// Where the image of a file cannot have the spacing that was chosen: its own, and if the choice was made from those of all
/// files, the file whose spacing is the farthest from it, since one of both is most likely wrong. As a sentence behind the error.
pub fn farthest_spacing<'a>(
    choice: &SpacingChoice,
    file: &Path,
    images: impl Iterator<Item = (&'a Path, &'a Grid)> + Clone,
) -> String {
    let spacing = |grid: &'a Grid| grid.full_spacing();
    let own = images.clone().find(|(other, _)| *other == file);
    let Some(own) = own.and_then(|(_, grid)| spacing(grid)) else {
        return String::new();
    };
    let ratio = |other: &Spacing| {
        let axes = own.per_axis.iter().zip(other.in_unit(&own.unit));
        axes.map(|(a, b)| (a / b).ln().abs()).fold(0.0, f64::max)
    };
    let others = images.filter_map(|(file, grid)| Some((file, spacing(grid)?)));
    let farthest = others.max_by(|a, b| ratio(a.1).total_cmp(&ratio(b.1)));
    let is_of_all = matches!(choice, SpacingChoice::Auto | SpacingChoice::Median);
    let farthest = farthest.filter(|(_, far)| is_of_all && ratio(far) > 0.0);
    let shown = |spacing: &Spacing| {
        let numbers = shown_spacing(&spacing.per_axis, &spacing.unit);
        match spacing.unit.is_empty() {
            true => format!("{numbers} of no unit"),
            false => numbers,
        }
    };
    let own = format!(" It tells the spacing {}", shown(own));
    match farthest {
        None => format!("{own}."),
        Some((other, far)) => format!(
            "{own}, and {} tells {}: correct the header of the one that is wrong, or pass --spacing keep.",
            other.display(),
            shown(far)
        ),
    }
}

impl ImageInfo {
    fn tells_spacing(&self) -> bool {
        self.grid.full_spacing().is_some()
    }

    /// "a.nii tells none", and what its header has in its place.
    fn what_it_tells(&self, none: &str) -> String {
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

/// What to do with a file that tells no spacing, as the beginning of a sentence.
pub fn how_to_tell_spacing(file: &Path) -> &'static str {
    match Format::of(file) {
        Some((Format::Nifti { .. }, _)) => "Write it into its header",
        Some((Format::Tiff, _)) => "Write it into the file, as ImageJ does, or save it as NIfTI",
        // (NPY has none, and that of a photograph is one for printing.)
        _ => "Save it in a format that tells it (NIfTI, or TIFF as ImageJ writes it)",
    }
}

/// Numbers with commas between them.
pub fn numbers(text: &str) -> Option<Vec<f64>> {
    let numbers = text.split(',').map(|number| number.trim().parse().ok());
    numbers.collect()
}

/// One number for each axis.
///
/// # Errors
/// When there are others than one, or one for each.
pub fn per_axis(numbers: &[f64], axes: usize) -> Result<Vec<f64>, String> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn info(file: &str, spacing: Option<[f64; 3]>) -> ImageInfo {
        ImageInfo {
            file: file.into(),
            grid: Grid {
                spacing: spacing.map(|per_axis| Spacing {
                    per_axis: per_axis.to_vec(),
                    unit: "mm".into(),
                    of_all_axes: true,
                }),
                ..Grid::default()
            },
            size: vec![20; 3],
            is_trained_on: true,
        }
    }

    fn target(text: &str, images: &[ImageInfo]) -> Result<Option<Vec<f64>>, String> {
        let target = SpacingChoice::parse(text)?.target(images)?;
        Ok(target.map(|target| target.per_axis))
    }

    #[test]
    fn volumes_that_tell_their_spacing_are_resampled_unless_it_is_kept() {
        let mut volumes = [
            info("a", Some([2.0, 1.0, 1.0])),
            info("b", Some([4.0, 1.0, 3.0])),
        ];
        assert_eq!(target("auto", &volumes), Ok(Some(vec![3.0, 1.0, 2.0])));
        assert_eq!(target("median", &volumes), Ok(Some(vec![3.0, 1.0, 2.0])));
        assert_eq!(target("keep", &volumes), Ok(None));
        assert_eq!(target("2.5", &volumes), Ok(Some(vec![2.5; 3])));
        assert_eq!(target("3, 1,1", &volumes), Ok(Some(vec![3.0, 1.0, 1.0])));
        // What is not trained on does not count.
        volumes[1].is_trained_on = false;
        assert_eq!(target("auto", &volumes), Ok(Some(vec![2.0, 1.0, 1.0])));
        assert_eq!(
            target("3,1", &volumes).unwrap_err(),
            "--spacing 3,1 has 2 numbers, and the images have 3 axes. Give one, or 3 in the order depth,height,width."
        );
        // Nor are images resampled unasked.
        for image in &mut volumes {
            image.size.truncate(2);
        }
        assert_eq!(target("auto", &volumes), Ok(None));
    }

    #[test]
    fn where_no_file_tells_a_spacing_images_are_kept_and_where_some_do_it_is_an_error() {
        let silent = [info("a.npy", None), info("b.npy", None)];
        assert_eq!(target("auto", &silent), Ok(None));
        assert_eq!(
            target("median", &silent).unwrap_err(),
            "--spacing: a.npy tells no spacing. Save it in a format that tells it (NIfTI, or TIFF as ImageJ writes it), or pass \
             --spacing keep to train on images as they are."
        );
        let some = [info("a.nii", Some([1.0; 3])), info("b.npy", None)];
        assert_eq!(
            target("auto", &some).unwrap_err(),
            "a.nii tells its spacing, and b.npy tells none. Save it in a format that tells it (NIfTI, or TIFF as ImageJ \
             writes it), or pass --spacing keep to train on voxels as they are."
        );
        assert_eq!(target("keep", &some), Ok(None));
    }

    #[test]
    fn the_file_whose_spacing_is_the_farthest_is_named_with_both_units() {
        let mut images = [
            info("a.nii", Some([1.0; 3])),
            info("b.nii", Some([2.0, 1.0, 1.0])),
            info("c.nii", Some([1e9, 1.0, 1.0])),
        ];
        let of = |choice: &str, images: &[ImageInfo]| {
            let choice = SpacingChoice::parse(choice).unwrap();
            let images = images
                .iter()
                .map(|image| (image.file.as_path(), &image.grid));
            farthest_spacing(&choice, Path::new("a.nii"), images)
        };
        assert_eq!(
            of("auto", &images),
            " It tells the spacing 1,1,1 mm, and c.nii tells 1000000000,1,1 mm: correct the header of the one that is \
             wrong, or pass --spacing keep."
        );
        assert_eq!(of("3,1,1", &images), " It tells the spacing 1,1,1 mm.");
        // Units that are not known are said.
        if let Some(spacing) = &mut images[2].grid.spacing {
            (spacing.unit, spacing.per_axis) = (String::new(), vec![500.0; 3]);
        }
        assert!(of("median", &images).contains("c.nii tells 500,500,500 of no unit: correct"));
        assert_eq!(of("auto", &images[..1]), " It tells the spacing 1,1,1 mm.");
    }

    #[test]
    fn what_is_no_spacing_is_refused() {
        for wrong in ["", "mean", "1,x", "1;2"] {
            assert!(
                SpacingChoice::parse(wrong)
                    .unwrap_err()
                    .contains("is not one of auto, keep"),
                "{wrong}"
            );
        }
        for wrong in ["0", "1,-2,1", "NaN", "inf", "1,1,1,1"] {
            assert!(SpacingChoice::parse(wrong).is_err(), "{wrong}");
        }
        let json = r#"{"To": [3.0, 1.0, 1.0]}"#;
        let parsed: SpacingChoice = serde_json::from_str(json).unwrap();
        assert_eq!(parsed, SpacingChoice::parse("3,1,1").unwrap());
    }
}
