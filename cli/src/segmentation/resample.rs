//! An image on a grid of another spacing.
//!
//! Of `n` pixels that are `s` apart, `m = round(n s / t)` are made that are `t` apart, one at least. Pixels are areas: the
//! new pixel `i` lies at `(i + 1/2) n / m - 1/2` of the old ones ([`ResizeMode::linear`]).
//!
//! - Images and logits are interpolated linearly, without averaging where pixels become fewer, as in nnU-Net (which takes
//!   order 3 for images and 1 for logits) and in MONAI.
//! - Masks take the nearest pixel, so that a mask never gets a value that it did not have. (nnU-Net interpolates each class
//!   linearly and takes the largest.)
//! - As in nnU-Net, a volume whose slices are more than three times as far apart as its pixels, before or after, keeps its
//!   slices as they are: on that axis images, too, take the nearest, and no slice is a mixture of two.
//!
//! It runs on the CPU, so that every device gets the same numbers.

use burn::tensor::{Device, Tensor};
use burn_skip::resize::{ResizeMode, resize};

use crate::Result;
use crate::raster::{Raster, shown_spacing};
use crate::segmentation::batch::tensor;

/// Beyond this ratio to the finest axis, an axis is resampled by itself; nnU-Net's `ANISO_THRESHOLD`.
pub const ANISOTROPY: f64 = 3.0;

/// From one spacing to another, in one unit.
#[derive(Clone, Debug, PartialEq)]
pub struct Resample {
    pub from: Vec<f64>,
    pub to: Vec<f64>,
}

impl Resample {
    /// The size that an image of this size gets.
    pub fn size(&self, size: &[usize]) -> Vec<usize> {
        let spacings = self.from.iter().zip(&self.to);
        let length = |(&length, (from, to)): (&usize, (&f64, &f64))| {
            let length = (length as f64 * from / to).round();
            (length as usize).max(1)
        };
        size.iter().zip(spacings).map(length).collect()
    }

    /// The image in the other spacing.
    ///
    /// # Errors
    /// When memory cannot be read.
    pub fn image(&self, image: &Raster) -> Result<Raster> {
        self.resampled(image, ResizeMode::linear())
    }

    /// The mask in the other spacing: with no other values than it had.
    ///
    /// # Errors
    /// As [`image`](Self::image).
    pub fn mask(&self, mask: &Raster) -> Result<Raster> {
        self.resampled(mask, ResizeMode::NearestExact)
    }

    /// What was made of the resampled image, `[1, channels, spatial...]`, in the size that the image had.
    pub fn back<const R: usize>(&self, maps: Tensor<R>, size: &[usize]) -> Tensor<R> {
        self.resized(maps, size, ResizeMode::linear())
    }

    fn resampled(&self, raster: &Raster, mode: ResizeMode) -> Result<Raster> {
        let (size, device) = (self.size(&raster.size), Device::flex());
        // (As a whole: a tensor is in memory.)
        let whole = raster.rows(0..raster.size[0]);
        let resampled: Vec<f32> = match raster.size.len() {
            3 => self
                .resized::<5>(tensor(whole, &device), &size, mode)
                .try_into_vec_as()?,
            _ => self
                .resized::<4>(tensor(whole, &device), &size, mode)
                .try_into_vec_as()?,
        };
        let mut values = raster.values.zeros_like(resampled.len())?;
        values.copy_from_slice(&resampled);
        Ok(Raster {
            channels: raster.channels,
            size,
            values,
        })
    }

    fn resized<const R: usize>(
        &self,
        maps: Tensor<R>,
        size: &[usize],
        mode: ResizeMode,
    ) -> Tensor<R> {
        let Some(axis) = self.coarse_axis() else {
            return resize(maps, size, mode);
        };
        let mut slices = size.to_vec();
        slices[axis] = maps.dims()[2 + axis];
        resize(resize(maps, &slices, mode), size, ResizeMode::NearestExact)
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

impl std::fmt::Display for Resample {
    /// "resampled from the spacing 3,1,1 to 1,1,1"
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let [from, to] = [&self.from, &self.to].map(|spacing| shown_spacing(spacing, ""));
        write!(f, "resampled from the spacing {from} to {to}")
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

    fn by(from: &[f64], to: &[f64]) -> Resample {
        Resample {
            from: from.to_vec(),
            to: to.to_vec(),
        }
    }

    #[test]
    fn lengths_are_rounded_and_one_at_least() {
        let by = by(&[5.0, 0.7, 0.7], &[2.0, 1.0, 100.0]);
        assert_eq!(by.size(&[11, 100, 100]), [28, 70, 1]);
        let huge = Resample {
            from: vec![1.0],
            to: vec![1e-300],
        };
        assert_eq!(huge.size(&[9]), [usize::MAX]);
    }

    #[test]
    fn a_ramp_stays_a_ramp() {
        let ramp = raster(&[1, 4], |[_, _, x]| 10.0 * x as f32);
        let finer = by(&[1.0, 1.0], &[1.0, 0.5]).image(&ramp).unwrap();
        assert_eq!(finer.size, [1, 8]);
        assert_eq!(finer.values, [0.0, 2.5, 7.5, 12.5, 17.5, 22.5, 27.5, 30.0]);
        let coarser = by(&[1.0, 1.0], &[1.0, 2.0]).image(&ramp).unwrap();
        assert_eq!(coarser.values, [5.0, 25.0]);
    }

    #[test]
    fn a_mask_keeps_its_set_of_values() {
        let mask = raster(&[6, 7, 5], |[z, y, x]| [0.0, 3.0, 7.0][(z * 2 + y + x) % 3]);
        let by = by(&[1.0, 1.0, 1.0], &[0.8, 1.3, 0.41]);
        let resampled = by.mask(&mask).unwrap();
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
        let by = by(&[2.5, 0.7, 0.9], &[1.1, 1.1, 1.1]);
        let there = by.image(&volume).unwrap();
        assert_eq!(there.size, [16, 8, 7]);
        let back = by.back(tensor::<5>(there, &Device::flex()), &size);
        assert_eq!(back.dims(), [1, 1, 7, 13, 9]);
        let values: Vec<f32> = back.try_into_vec_as().unwrap();
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
        let mixed = by(&[2.0, 1.0, 1.0], &[1.0, 1.0, 1.0])
            .image(&slices)
            .unwrap();
        assert_eq!(mixed.values[2..4], [2.5, 3.5]);
        let whole = by(&[4.0, 1.0, 1.0], &[2.0, 1.0, 0.5])
            .image(&slices)
            .unwrap();
        assert_eq!(whole.size, [4, 1, 4]);
        assert_eq!(
            whole.values[..8],
            [0.0, 0.25, 0.75, 1.0, 0.0, 0.25, 0.75, 1.0]
        );
        assert_eq!(whole.values[8..12], [10.0, 10.25, 10.75, 11.0]);
        // Two coarse axes are none; and an image has none.
        assert_eq!(by(&[4.0, 4.0, 1.0], &[1.0; 3]).coarse_axis(), None);
        assert_eq!(by(&[9.0, 1.0], &[1.0; 2]).coarse_axis(), None);
        assert_eq!(by(&[1.0; 3], &[1.0, 1.0, 4.0]).coarse_axis(), Some(2));
    }
}
