//! The one spacing that the images of a training are brought to, as it is kept with the model.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::choice::how_to_tell_spacing;
use super::resampler::{ANISOTROPY, Resampler};
use crate::raster::{Grid, shown_spacing};
use crate::segmentation::percentile::{median, percentile};

/// Of the spacings of a coarse axis, this percentile is taken.
const FINE_PERCENTILE: f64 = 10.0;

/// The spacing that images are resampled to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetSpacing {
    /// In the order of the axes.
    pub per_axis: Vec<f64>,
    /// As the files call it; empty where they do not.
    pub unit: String,
}

impl TargetSpacing {
    /// nnU-Net's target (doi:10.1038/s41592-020-01008-z): the median spacing of each axis. But where the coarsest axis is
    /// more than three times as coarse as the others, and has less than a third of their pixels in the median, it is the
    /// tenth percentile of its spacings, no finer than the others.
    pub fn of(spacings: &[Vec<f64>], sizes: &[Vec<usize>], unit: &str) -> Self {
        let axes = spacings.first().map_or(0, Vec::len);
        let middle = |axis: usize| median(spacings.iter().map(|spacing| spacing[axis]));
        let mut per_axis: Vec<f64> = (0..axes).map(middle).collect();
        let coarsest = (0..axes).max_by(|&a, &b| per_axis[a].total_cmp(&per_axis[b]));
        if let Some(coarsest) = coarsest.filter(|_| axes > 1) {
            let size = |axis: usize| median(sizes.iter().map(|size| size[axis] as f64));
            let others = || (0..axes).filter(|&axis| axis != coarsest);
            let spacing = others().map(|axis| per_axis[axis]).fold(0.0, f64::max);
            let length = others().map(size).fold(f64::INFINITY, f64::min);
            if per_axis[coarsest] > ANISOTROPY * spacing && size(coarsest) * ANISOTROPY < length {
                let of_axis = spacings.iter().map(|spacing| spacing[coarsest]);
                per_axis[coarsest] = percentile(of_axis, FINE_PERCENTILE).max(spacing);
            }
        }
        Self {
            per_axis,
            unit: unit.into(),
        }
    }

    /// Checks what may have been edited, for images of so many axes.
    ///
    /// # Errors
    /// When a number is not above 0, or there are others than axes.
    pub fn check(&self, axes: usize) -> Result<(), String> {
        check_numbers(&self.per_axis)?;
        match self.per_axis.len() == axes {
            true => Ok(()),
            false => Err(format!(
                "there are {} numbers, and the images have {axes} axes",
                self.per_axis.len()
            )),
        }
    }

    /// What resamples the image of a file to it. `or` ends the remedy of the error: another way to tell the spacing.
    ///
    /// # Errors
    /// When the file does not tell its spacing.
    pub fn resampler(&self, grid: &Grid, file: &Path, or: &str) -> Result<Resampler, String> {
        let Some(spacing) = grid.full_spacing() else {
            return Err(format!(
                "{} tells no spacing, and the network was trained on images that were resampled to {self}. {}{or}.",
                file.display(),
                how_to_tell_spacing(file)
            ));
        };
        Ok(self.resampler_from(&spacing.in_unit(&self.unit)))
    }

    /// What resamples images of this spacing, in the unit of the target.
    pub fn resampler_from(&self, per_axis: &[f64]) -> Resampler {
        Resampler {
            from: per_axis.to_vec(),
            to: self.per_axis.clone(),
        }
    }
}

impl std::fmt::Display for TargetSpacing {
    /// "the spacing 3,1,1 mm (depth,height,width)"
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let numbers = shown_spacing(&self.per_axis, &self.unit);
        write!(
            f,
            "the spacing {numbers} ({})",
            axis_names(self.per_axis.len())
        )
    }
}

/// "depth,height,width"
pub fn axis_names(axes: usize) -> &'static str {
    match axes {
        3 => "depth,height,width",
        _ => "height,width",
    }
}

/// Checks distances.
///
/// # Errors
/// When one is not above 0.
pub fn check_numbers(numbers: &[f64]) -> Result<(), String> {
    match numbers.iter().find(|x| !(**x > 0.0 && x.is_finite())) {
        None => Ok(()),
        Some(number) => Err(format!("a spacing of {number} is no number above 0")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raster::Spacing;

    fn target(spacings: &[[f64; 3]], size: [usize; 3]) -> Vec<f64> {
        let spacings: Vec<_> = spacings.iter().map(|spacing| spacing.to_vec()).collect();
        let sizes = vec![size.to_vec(); spacings.len()];
        TargetSpacing::of(&spacings, &sizes, "mm").per_axis
    }

    #[test]
    fn it_is_the_median() {
        let all = [
            [1.0, 1.0, 3.0],
            [2.0, 1.0, 1.0],
            [9.0, 1.0, 2.0],
            [3.0, 1.0, 1.0],
        ];
        assert_eq!(target(&all[..3], [40; 3]), [2.0, 1.0, 2.0]);
        assert_eq!(target(&all, [40; 3]), [2.5, 1.0, 1.5]);
    }

    /// As `determine_fullres_target_spacing` of nnU-Net 2.
    #[test]
    fn few_slices_that_are_far_apart_take_the_tenth_percentile() {
        let all = [[2.0, 1.0, 1.0], [4.0, 1.0, 1.0], [5.0, 1.0, 1.0]];
        assert_eq!(target(&all, [20, 100, 100]), [2.4, 1.0, 1.0]);
        // With as many slices as pixels it is the median, and so it is where slices are not far apart.
        assert_eq!(target(&all, [40, 100, 100]), [4.0, 1.0, 1.0]);
        let nearer = [[2.0, 1.0, 1.0], [3.0, 1.0, 1.0], [5.0, 1.0, 1.0]];
        assert_eq!(target(&nearer, [20, 100, 100]), [3.0, 1.0, 1.0]);
        // No finer than the other axes.
        let thin = [[0.1, 1.0, 1.0], [4.0, 1.0, 1.0], [5.0, 1.0, 1.0]];
        assert_eq!(target(&thin, [20, 100, 100]), [1.0, 1.0, 1.0]);
    }

    #[test]
    fn a_file_of_another_unit_is_converted_and_one_without_is_refused() {
        let target = TargetSpacing {
            per_axis: vec![2.0, 1.0, 1.0],
            unit: "mm".into(),
        };
        assert_eq!(
            target.to_string(),
            "the spacing 2,1,1 mm (depth,height,width)"
        );
        let spacing = Spacing {
            per_axis: vec![500.0; 3],
            unit: "um".into(),
            of_all_axes: true,
        };
        let mut grid = Grid {
            spacing: Some(spacing),
            ..Grid::default()
        };
        let resampler = target.resampler(&grid, Path::new("a.tif"), "").unwrap();
        assert_eq!(resampler.size(&[8, 8, 8]), [2, 4, 4]);
        if let Some(spacing) = &mut grid.spacing {
            spacing.of_all_axes = false;
        }
        let error = target.resampler(&grid, Path::new("a.tif"), ", or pass it");
        assert_eq!(
            error.unwrap_err(),
            "a.tif tells no spacing, and the network was trained on images that were resampled to the spacing 2,1,1 mm \
             (depth,height,width). Write it into the file, as ImageJ does, or save it as NIfTI, or pass it."
        );
        assert!(target.check(3).is_ok());
        assert!(target.check(2).unwrap_err().contains("there are 3 numbers"));
    }
}
