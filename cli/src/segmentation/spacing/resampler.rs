//! An image on a grid of another spacing.
//!
//! Of `n` pixels that are `s` apart, `m = round(n s / t)` are made that are `t` apart, one at least. Pixels are areas: the
//! new pixel `i` lies at `(i + 1/2) n / m - 1/2` of the old ones ([`ResizeMode::linear`](burn_skip::resize::ResizeMode::linear)).
//!
//! - Images and logits are interpolated linearly, without averaging where pixels become fewer, as in nnU-Net (which takes
//!   order 3 for images and 1 for logits) and in MONAI.
//! - Masks take the nearest pixel, so that a mask never gets a value that it did not have. (nnU-Net interpolates each class
//!   linearly and takes the largest.)
//! - As in nnU-Net, a volume whose slices are more than three times as far apart as its pixels, before or after, keeps its
//!   slices as they are: on that axis images, too, take the nearest, and no slice is a mixture of two.

use std::path::Path;

use super::resize_by_rows::{Interpolation, ResizeByRows};
use super::target::axis_names;
use crate::Result;
use crate::files::limits::ImageLimit;
use crate::raster::{Raster, shown_size, shown_spacing};

/// Beyond this ratio to the finest axis, an axis is resampled by itself; nnU-Net's `ANISO_THRESHOLD`.
pub const ANISOTROPY: f64 = 3.0;

/// Resamples images from one spacing to another, both in one unit.
#[derive(Clone, Debug, PartialEq)]
pub struct Resampler {
    pub from: Vec<f64>,
    pub to: Vec<f64>,
}

impl Resampler {
    /// The size that an image of this size gets.
    pub fn size(&self, size: &[usize]) -> Vec<usize> {
        let lengths = self.lengths(size);
        lengths
            .map(|length| (length.round() as usize).max(1))
            .collect()
    }

    /// The same of the image of a file.
    ///
    /// # Errors
    /// When next to nothing of an axis would be left, or the image would become too large.
    pub fn size_of(
        &self,
        file: &Path,
        size: &[usize],
        channels: usize,
        limit: ImageLimit,
    ) -> Result<Vec<usize>> {
        if let Some(axis) = self.lengths(size).position(|length| length < 0.5) {
            let name = axis_names(size.len()).split(',').nth(axis);
            return Err(format!(
                "{} is {}, and {self} it would be less than half a pixel in {}. Check --spacing and its unit.",
                file.display(),
                shown_size(size),
                name.unwrap_or_default()
            )
            .into());
        }
        let size = self.size(size);
        limit.check_resampled(file, &size, channels)?;
        Ok(size)
    }

    /// The lengths in new pixels, before they are rounded. (Of one slice one is left, however thin it is.)
    fn lengths(&self, size: &[usize]) -> impl Iterator<Item = f64> {
        let spacings = self.from.iter().zip(&self.to);
        size.iter()
            .zip(spacings)
            .map(|(&length, (from, to))| match length {
                1 => (from / to).max(1.0),
                _ => length as f64 * from / to,
            })
    }

    /// The image in the other spacing. It lies where the budget of the image has room for it.
    ///
    /// # Errors
    /// When there is no room.
    pub fn image(&self, image: &Raster) -> Result<Raster> {
        self.resized(image, self.size(&image.size), Interpolation::Linear)
            .all()
    }

    /// The mask in the other spacing: with no other values than it had.
    ///
    /// # Errors
    /// As [`image`](Self::image).
    pub fn mask(&self, mask: &Raster) -> Result<Raster> {
        self.resized(mask, self.size(&mask.size), Interpolation::Nearest)
            .all()
    }

    /// What was made of the resampled image, such as the logits of each class, in the size that the image had: row by row.
    pub fn back<'r>(&self, maps: &'r Raster, size: &[usize]) -> ResizeByRows<'r> {
        self.resized(maps, size.to_vec(), Interpolation::Linear)
    }

    fn resized<'r>(
        &self,
        source: &'r Raster,
        size: Vec<usize>,
        of_others: Interpolation,
    ) -> ResizeByRows<'r> {
        let mut per_axis = vec![of_others; size.len()];
        if let Some(axis) = self.coarse_axis() {
            per_axis[axis] = Interpolation::Nearest;
        }
        ResizeByRows {
            source,
            size,
            per_axis,
        }
    }

    /// The one axis of a volume that is coarse in one of the spacings, and if it is in both, that of the first.
    fn coarse_axis(&self) -> Option<usize> {
        let most = |spacing: &[f64]| spacing.iter().copied().fold(0.0, f64::max);
        let least = |spacing: &[f64]| spacing.iter().copied().fold(f64::INFINITY, f64::min);
        let volumes = [&self.from, &self.to].into_iter();
        let mut volumes = volumes.filter(|spacing| spacing.len() == 3);
        let coarse = volumes.find(|spacing| most(spacing) > ANISOTROPY * least(spacing))?;
        let mut axes = (0..coarse.len()).filter(|&axis| coarse[axis] == most(coarse));
        let axis = axes.next();
        axis.filter(|_| axes.next().is_none())
    }
}

impl std::fmt::Display for Resampler {
    /// "resampled from the spacing 3,1,1 to 1,1,1 (depth,height,width)"
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let [from, to] = [&self.from, &self.to].map(|spacing| shown_spacing(spacing, ""));
        let axes = axis_names(self.from.len());
        write!(f, "resampled from the spacing {from} to {to} ({axes})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raster(size: &[usize], value: impl Fn([usize; 3]) -> f32) -> Raster {
        let empty = Raster {
            channels: 1,
            size: size.to_vec(),
            values: Vec::new().into(),
        };
        let [depth, height, width] = empty.as_volume();
        let places = (0..depth * height * width)
            .map(|n| [n / width / height, n / width % height, n % width]);
        Raster {
            values: places.map(value).collect::<Vec<_>>().into(),
            ..empty
        }
    }

    fn resampler(from: &[f64], to: &[f64]) -> Resampler {
        Resampler {
            from: from.to_vec(),
            to: to.to_vec(),
        }
    }

    #[test]
    fn lengths_are_rounded_and_one_at_least() {
        let resampler = resampler(&[5.0, 0.7, 0.7], &[2.0, 1.0, 100.0]);
        assert_eq!(resampler.size(&[11, 100, 100]), [28, 70, 1]);
        let huge = Resampler {
            from: vec![1.0],
            to: vec![1e-300],
        };
        assert_eq!(huge.size(&[9]), [usize::MAX]);
    }

    #[test]
    fn a_ramp_stays_a_ramp() {
        let ramp = raster(&[1, 4], |[_, _, x]| 10.0 * x as f32);
        let finer = resampler(&[1.0, 1.0], &[1.0, 0.5]).image(&ramp).unwrap();
        assert_eq!(finer.size, [1, 8]);
        assert_eq!(finer.values, [0.0, 2.5, 7.5, 12.5, 17.5, 22.5, 27.5, 30.0]);
        let coarser = resampler(&[1.0, 1.0], &[1.0, 2.0]).image(&ramp).unwrap();
        assert_eq!(coarser.values, [5.0, 25.0]);
    }

    #[test]
    fn a_mask_keeps_its_set_of_values() {
        let mask = raster(&[6, 7, 5], |[z, y, x]| [0.0, 3.0, 7.0][(z * 2 + y + x) % 3]);
        let resampler = resampler(&[1.0, 1.0, 1.0], &[0.8, 1.3, 0.41]);
        let resampled = resampler.mask(&mask).unwrap();
        assert_eq!(resampled.size, [8, 5, 12]);
        let mut values = resampled.values.to_vec();
        values.sort_by(f32::total_cmp);
        values.dedup();
        assert_eq!(values, [0.0, 3.0, 7.0]);
    }

    #[test]
    fn there_and_back_is_the_same_size() {
        let size = [7, 13, 9];
        let volume = raster(&size, |[z, y, x]| (z + 2 * y + 3 * x) as f32);
        let resampler = resampler(&[2.5, 0.7, 0.9], &[1.1, 1.1, 1.1]);
        let there = resampler.image(&volume).unwrap();
        assert_eq!(there.size, [16, 8, 7]);
        let back = resampler.back(&there, &size).all().unwrap();
        assert_eq!(back.size, size);
        let values = back.values;
        // In the middle a linear image is what it was.
        let middle = (3 * 13 + 6) * 9 + 4;
        assert!(
            (values[middle] - volume.values[middle]).abs() < 1e-3,
            "{} of {}",
            values[middle],
            volume.values[middle]
        );
    }

    #[test]
    fn slices_that_are_far_apart_are_not_mixed() {
        let slices = raster(&[2, 1, 2], |[z, _, x]| 10.0 * z as f32 + x as f32);
        let mixed = resampler(&[2.0, 1.0, 1.0], &[1.0, 1.0, 1.0])
            .image(&slices)
            .unwrap();
        assert_eq!(mixed.values[2..4], [2.5, 3.5]);
        let whole = resampler(&[4.0, 1.0, 1.0], &[2.0, 1.0, 0.5])
            .image(&slices)
            .unwrap();
        assert_eq!(whole.size, [4, 1, 4]);
        assert_eq!(
            whole.values[..8],
            [0.0, 0.25, 0.75, 1.0, 0.0, 0.25, 0.75, 1.0]
        );
        assert_eq!(whole.values[8..12], [10.0, 10.25, 10.75, 11.0]);
        // Two coarse axes are none; and an image has none.
        assert_eq!(resampler(&[4.0, 4.0, 1.0], &[1.0; 3]).coarse_axis(), None);
        assert_eq!(resampler(&[9.0, 1.0], &[1.0; 2]).coarse_axis(), None);
        assert_eq!(
            resampler(&[1.0; 3], &[1.0, 1.0, 4.0]).coarse_axis(),
            Some(2)
        );
    }

    #[test]
    fn what_is_resampled_lies_where_the_budget_has_room() {
        use crate::raster::ImageMemory;
        let resampled = |budget: u64| {
            let mut image = raster(&[6, 7, 5], |[z, y, x]| (z * 2 + y + x) as f32);
            let mut values = ImageMemory::of_bytes(budget).zeros(210).unwrap();
            values.copy_from_slice(&image.values);
            image.values = values;
            let resampler = resampler(&[1.0; 3], &[0.6, 1.3, 0.8]);
            [resampler.image(&image), resampler.mask(&image)].map(Result::unwrap)
        };
        for (in_memory, in_a_file) in resampled(1 << 20).iter().zip(&resampled(0)) {
            assert!(in_memory.values.is_in_memory() && !in_a_file.values.is_in_memory());
            assert!(in_memory.values == in_a_file.values);
        }
    }

    #[test]
    fn an_image_that_would_vanish_or_burst_is_refused() {
        let limit = crate::files::limits::ImageLimits::of_bytes(0).size;
        let size = |from: &[f64], to: &[f64], size: &[usize]| {
            let size = resampler(from, to).size_of(Path::new("a.nii"), size, 1, limit);
            size.map_err(|error| error.to_string())
        };
        assert_eq!(size(&[1.0; 3], &[5.0; 3], &[3, 9, 1]), Ok(vec![1, 2, 1]));
        assert_eq!(
            size(&[1.0, 1e-5, 1.0], &[1.0; 3], &[8, 9, 7]).unwrap_err(),
            "a.nii is 8 x 9 x 7 (depth x height x width), and resampled from the spacing 1,0.00001,1 to 1,1,1 \
             (depth,height,width) it would be less than half a pixel in height. Check --spacing and its unit."
        );
        let huge = size(&[1e5; 2], &[1.0; 2], &[90, 70]).unwrap_err();
        assert!(
            huge.contains("9000000 x 7000000 (height x width)"),
            "{huge}"
        );
    }
}
