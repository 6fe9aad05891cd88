//! Whether a mask lies where its image does. If it does not, it is most likely the mask of another image.
//!
//! ITK refuses two images whose spacing or position differs by a millionth, nnU-Net one whose spacing differs by a
//! thousandth (`verify_dataset_integrity`). Headers that several programs have written differ by more than a millionth.

use std::path::Path;

use super::{Format, Grid, RasterFile, Spacing, nifti, shown_spacing};
use crate::segmentation::spacing::axis_names;

/// Spacings are the same up to this part of them.
const SPACING_TOLERANCE: f64 = 1e-3;

/// Positions are the same up to this part of the least distance of two pixels, in every corner.
const POSITION_TOLERANCE: f64 = 0.1;

impl RasterFile {
    /// Checks that the mask of this image has its spacing and its position, where both files tell them. (That of a size of
    /// its own is refused by its size.)
    ///
    /// # Errors
    /// When they differ.
    pub fn check_mask(&self, file: &Path, mask: &Self, mask_file: &Path) -> Result<(), String> {
        let own = (&self.raster.size[..], &self.grid);
        let other = (&mask.raster.size[..], &mask.grid);
        check((own, file), (other, mask_file))
    }
}

/// Checks an image and its mask, each by its size, where it lies, and its file.
fn check(
    ((size, grid), file): ((&[usize], &Grid), &Path),
    ((mask_size, mask), mask_file): ((&[usize], &Grid), &Path),
) -> Result<(), String> {
    if size != mask_size {
        return Ok(());
    }
    let differs = grid
        .spacing_differs(mask)
        .or_else(|| grid.position_differs(mask, size));
    match differs {
        None => Ok(()),
        Some(differs) => Err(format!(
            "{} does not lie where {} does: {differs} of this image into it.",
            mask_file.display(),
            file.display()
        )),
    }
}

/// What copies the header of an image to its mask, in Python. (Without mapping the file that is written to.)
const COPY_IN_PYTHON: &str = "nib.save(nib.Nifti1Image(nib.load(mask, mmap=False).dataobj[...], nib.load(image).affine), mask)";

/// Checks the headers of all images and masks, `[image, mask]`, where both are NIfTI files. What cannot be read is left to
/// whoever reads it.
///
/// # Errors
/// When some differ: with the first of them, and how many there are.
pub fn check_headers<'f>(files: impl Iterator<Item = [&'f Path; 2]>) -> Result<(), String> {
    let (mut first, mut elsewhere, mut all) = (None, 0, 0);
    for [image, mask] in files {
        let is_nifti = |file| matches!(Format::of(file), Some((Format::Nifti { .. }, _)));
        all += 1;
        if !is_nifti(image) || !is_nifti(mask) {
            continue;
        }
        let (Ok(own), Ok(other)) = (nifti::read_grid(image), nifti::read_grid(mask)) else {
            continue;
        };
        let checked = check(((&own.0, &own.1), image), ((&other.0, &other.1), mask));
        if let Err(differs) = checked {
            elsewhere += 1;
            first.get_or_insert(differs);
        }
    }
    match first {
        None => Ok(()),
        Some(first) => Err(format!(
            "{first} So it is with {elsewhere} of {all} masks. With nibabel, this line copies where an image lies to its mask: \
             {COPY_IN_PYTHON}"
        )),
    }
}

impl Grid {
    /// The spacing, if the file tells one that is no default and no resolution for printing.
    fn told_spacing(&self) -> Option<&Spacing> {
        let spacing = self.full_spacing().filter(|_| !self.is_print_resolution)?;
        let is_default =
            spacing.unit.is_empty() && spacing.per_axis.iter().all(|&step| step == 1.0);
        let is_placed = self
            .nifti
            .as_ref()
            .is_some_and(|header| !header.affines().is_empty());
        (!is_default || is_placed).then_some(spacing)
    }

    /// "the spacing of the image is 2,1,1 mm (depth,height,width), that of the mask 1,1,1 mm", and what to copy.
    fn spacing_differs(&self, mask: &Self) -> Option<String> {
        let (own, other) = (self.told_spacing()?, mask.told_spacing()?);
        let in_unit = other.in_unit(&own.unit);
        let mut axes = own.per_axis.iter().zip(&in_unit);
        let differs = axes.any(|(a, b)| (a - b).abs() > SPACING_TOLERANCE * a.max(*b));
        differs.then(|| {
            format!(
                "the spacing of the image is {} ({}), that of the mask {}. Take the mask of this image. \
                 If it is, write the spacing",
                shown_spacing(&own.per_axis, &own.unit),
                axis_names(own.per_axis.len()),
                shown_spacing(&other.per_axis, &other.unit)
            )
        })
    }

    /// "the pixel at column 0, row 0, slice 0 is at x, y, z = 0, 0, 0 by the header of the image, and ...", and what to copy.
    fn position_differs(&self, mask: &Self, size: &[usize]) -> Option<String> {
        let (own, other) = (self.nifti.as_ref()?, mask.nifti.as_ref()?);
        let steps = self.full_spacing().map(|spacing| &spacing.per_axis[..]);
        let least = steps
            .unwrap_or(&[1.0])
            .iter()
            .copied()
            .fold(f64::INFINITY, f64::min);
        let factor = match (self.full_spacing(), mask.full_spacing()) {
            (Some(own), Some(other)) => Spacing {
                per_axis: vec![1.0],
                ..other.clone()
            }
            .in_unit(&own.unit)[0],
            _ => 1.0,
        };
        // The corners of the volume, in the order x, y, z.
        let ends = |axis: usize| size.iter().rev().nth(axis).map_or(0, |length| length - 1);
        let corners = (0..8).map(|corner| [0, 1, 2].map(|axis| (corner >> axis & 1) * ends(axis)));
        let corners: Vec<[usize; 3]> = corners.collect();
        let farthest = |(own, other): (super::nifti::Affine, super::nifti::Affine)| {
            let places = corners.iter().rev().map(|&corner| {
                let (a, b) = (own.place(corner), other.place(corner).map(|x| x * factor));
                let off = [0, 1, 2].map(|axis| (a[axis] - b[axis]).powi(2));
                (off.iter().sum::<f64>().sqrt(), corner, a, b)
            });
            places.max_by(|a, b| a.0.total_cmp(&b.0))
        };
        // (A file may tell its position twice; one of each must be the same.)
        let others = other.affines();
        let pairs = own.affines().into_iter().flat_map(|own| {
            let others = others.iter().copied();
            others.map(move |other| (own, other))
        });
        let nearest = pairs
            .filter_map(farthest)
            .min_by(|a, b| a.0.total_cmp(&b.0))?;
        let (distance, [x, y, z], a, b) = nearest;
        let shown = |place: [f64; 3]| place.map(|x| format!("{x:.2}")).join(", ");
        (distance > POSITION_TOLERANCE * least).then(|| {
            format!(
                "by the header of the image, the pixel at column {x}, row {y}, slice {z} is at x, y, z = {}, by that of the \
                 mask at {}. Take the mask of this image. If it is, copy the sform and the qform",
                shown(a),
                shown(b)
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::limits::ImageLimits;
    use crate::raster::{Content, Format, Raster};

    /// A file of this format, written and read again.
    fn written(ending: &str, size: &[usize], spacing: Option<(&[f64], &str)>) -> RasterFile {
        let grid = Grid {
            spacing: spacing.map(|(per_axis, unit)| Spacing {
                per_axis: per_axis.to_vec(),
                unit: unit.into(),
                of_all_axes: true,
            }),
            ..Grid::default()
        };
        let raster = Raster {
            channels: 1,
            size: size.to_vec(),
            values: vec![1.0; size.iter().product()].into(),
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(format!("a.{ending}"));
        let (format, _) = Format::of(&path).unwrap();
        let mut file = std::fs::File::create(&path).unwrap();
        let content = Content::Mask { classes: 1 };
        format.write(&mut file, &raster, content, &grid).unwrap();
        Format::read(&path, 1, &ImageLimits::of_bytes(1 << 20)).unwrap()
    }

    fn check(image: &RasterFile, mask: &RasterFile) -> Result<(), String> {
        image.check_mask(Path::new("a.tif"), mask, Path::new("m.tif"))
    }

    #[test]
    fn spacings_of_tiff_files_are_compared_in_one_unit() {
        let size = [3, 4, 5];
        let of = |ending, per_axis: [f64; 3], unit| written(ending, &size, Some((&per_axis, unit)));
        let image = of("tif", [2.0, 0.5, 0.25], "um");
        assert_eq!(check(&image, &image), Ok(()));
        assert_eq!(
            check(&image, &of("nii", [2e-3, 5e-4, 2.5e-4], "mm")),
            Ok(())
        );
        for silent in ["npy", "tif", "nii"] {
            assert_eq!(
                check(&image, &written(silent, &size, None)),
                Ok(()),
                "{silent}"
            );
        }
        let error = check(&image, &of("tif", [2.0, 0.5, 0.5], "um")).unwrap_err();
        assert_eq!(
            error,
            "m.tif does not lie where a.tif does: the spacing of the image is 2,0.5,0.25 um (depth,height,width), that of \
             the mask 2,0.5,0.5 um. Take the mask of this image. If it is, write the spacing of this image into it."
        );
        assert!(check(&image, &of("nii", [2.0, 0.5, 0.25], "mm")).is_err());
    }

    #[test]
    fn a_resolution_for_printing_is_no_spacing() {
        let size = [4, 5];
        let image = written("tif", &size, Some((&[0.5, 0.5], "um")));
        let mut mask = written("tif", &size, Some((&[0.25, 0.25], "mm")));
        assert!(check(&image, &mask).is_err());
        mask.grid.is_print_resolution = true;
        assert_eq!(check(&image, &mask), Ok(()));
    }
}
