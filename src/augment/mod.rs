//! Random transforms of an image together with its mask, for training: of images and volumes with any number of
//! channels, on the CPU.
//!
//! | transform | formula | source |
//! | --- | --- | --- |
//! | [`Flip`] | `y(i) = x(n - 1 - i)` on some axes | nnU-Net `MirrorTransform` |
//! | [`Transform::Transpose`] | `y(i, j) = x(j, i)` | albumentations `Transpose` |
//! | [`Transform::QuarterTurn`] | `y(i, j) = x(j, n - 1 - i)`, repeated | albumentations `RandomRotate90` |
//! | [`Rotate`] | `y(p) = x(R p)`, about the centre | nnU-Net `SpatialTransform` |
//! | [`Scale`] | `y(p) = x(p / f)`, about the centre | nnU-Net `SpatialTransform` |
//! | [`Elastic`] | `y(p) = x(p + d(p))`, `d` a smooth random field | arXiv:1505.04597, section 3.1 |
//! | [`Gamma`] | `y = min + range ((x - min) / range)^g` | nnU-Net `GammaTransform` |
//! | [`Contrast`] | `y = mean + f (x - mean)`, between the least and the greatest value | nnU-Net `ContrastTransform` |
//! | [`Brightness`] | `y = f x + s` | nnU-Net `MultiplicativeBrightnessTransform` |
//! | [`Noise`] | `y = x + s n` | nnU-Net `GaussianNoiseTransform` |
//! | [`Blur`] | a Gaussian filter | nnU-Net `GaussianBlurTransform` |
//! | [`LowResolution`] | shrunk by the nearest pixels, enlarged linearly | nnU-Net `SimulateLowResolutionTransform` |
//! | [`CutOut`] | boxes of one value | arXiv:1708.04552 |
//!
//! nnU-Net's transforms are those of its packages batchgenerators and batchgeneratorsv2 (arXiv:1904.08128).
//! [`AugmentConfig`] is a list of transforms with their probabilities. [`AugmentConfig::flips`] and
//! [`AugmentConfig::standard`] are ready ones; none is applied unless it is asked for.
//!
//! The first six move pixels, of the image and of the mask. However many of them happen, they are composed into one
//! resampling: of the image by linear interpolation, of the mask by the nearest pixel, so that **a mask never gets a
//! value that it did not have**. The others change the intensities of the image.
//!
//! Images are plain slices of numbers, and what is random comes from a generator that the caller seeds: a crop is a
//! function of the image, the options and the seed. So it can be made on any thread, and again.
//!
//! # Volumes
//!
//! In a volume, [`Rotate`], [`Scale`], [`Elastic`], [`Blur`] and [`LowResolution`] act on the plane of each slice unless
//! their options name `Depth`, since slices are further apart than pixels in most volumes. [`Flip`] and [`CutOut`] act on
//! all axes.
//!
//! # Example
//! ```
//! use burn_skip::augment::{AugmentConfig, AugmentStep, Crop, ImageView, Transform};
//! use rand::{SeedableRng, rngs::StdRng};
//!
//! let image = ImageView { channels: 1, size: &[2, 3], values: &[0.0, 0.1, 0.2, 0.3, 0.4, 0.5] };
//! let mask = ImageView { channels: 1, size: &[2, 3], values: &[0, 1, 2, 3, 4, 5] };
//! let crop = Crop::new([0, 1], [2, 2]);
//! let mut random = StdRng::seed_from_u64(1);
//!
//! let transpose = AugmentConfig(vec![AugmentStep::new(1.0, Transform::Transpose)]);
//! let augmented = transpose.augment(image, mask, &crop, &mut random).unwrap();
//! assert_eq!(augmented.image, [0.1, 0.4, 0.2, 0.5]);
//! assert_eq!(augmented.mask, [1, 4, 2, 5]);
//! ```

mod blur;
mod brightness;
mod config;
mod contrast;
mod cut_out;
mod draws;
mod elastic;
mod flip;
mod gamma;
mod image;
mod image_axis;
mod low_resolution;
mod maps;
mod noise;
mod options;
mod resample;
mod rotate;
mod scale;
mod transform;
mod turns;
mod warp;

pub use rand_core::Rng;

pub use blur::Blur;
pub use brightness::Brightness;
pub use config::{AugmentConfig, AugmentStep, Augmented};
pub use contrast::Contrast;
pub use cut_out::{CutOut, CutOutFill};
pub use elastic::Elastic;
pub use flip::Flip;
pub use gamma::Gamma;
pub use image::{Crop, ImageView};
pub use image_axis::ImageAxis;
pub use low_resolution::LowResolution;
pub use noise::Noise;
pub use rotate::Rotate;
pub use scale::Scale;
pub use transform::Transform;
