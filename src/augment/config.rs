//! [`AugmentConfig`]: transforms with their probabilities, as data.

use alloc::{format, vec::Vec};

use burn::config::Config;
use rand_core::Rng;
use serde::{Deserialize, Serialize};

use super::draws::Draws;
use super::image::as_volume;
use super::maps::Maps;
use super::options::check_number;
use super::resample::resample;
use super::warp::Warp;
use super::{
    Blur, Brightness, Contrast, Crop, Flip, Gamma, ImageAxis, ImageView, LowResolution, Noise,
    Rotate, Scale, Transform,
};
use crate::shape::ShapeError;

/// Transforms of an image and its mask, each with its probability. In a file it is a list.
///
/// The spatial ones come first, composed in the order of the list: the image is read once, by linear interpolation, and
/// the mask by the nearest pixel. Then those of intensities follow, in the order of the list, on the image alone.
///
/// # Example
/// ```
/// use burn_skip::augment::{AugmentConfig, Crop, ImageView};
/// use rand::{SeedableRng, rngs::StdRng};
///
/// let file = r#"[
///     {"probability": 0.5, "transform": {"Flip": {"axes": ["Width"]}}},
///     {"probability": 1, "transform": {"Rotate": {"degrees": [-15, 15]}}},
///     {"probability": 0.3, "transform": {"Noise": {"deviation": [0, 0.05]}}}
/// ]"#;
/// let config: AugmentConfig = serde_json::from_str(file).unwrap();
///
/// let size = [40, 50];
/// let image: Vec<f32> = (0..2000).map(|n| (n % 50) as f32 / 50.0).collect();
/// let mask: Vec<u8> = image.iter().map(|value| u8::from(*value > 0.5)).collect();
/// let image = ImageView { channels: 1, size: &size, values: &image };
/// let mask = ImageView { channels: 1, size: &size, values: &mask };
///
/// // A crop of 16x16 pixels. What is turned into it comes from the image around.
/// let crop = Crop::new([12, 17], [16, 16]);
/// let mut random = StdRng::seed_from_u64(7);
/// let augmented = config.augment(image, mask, &crop, &mut random).unwrap();
/// assert_eq!([augmented.image.len(), augmented.mask.len()], [256, 256]);
/// assert!(augmented.mask.iter().all(|class| *class < 2));
///
/// let wrong = r#"[{"probability": 1, "transform": {"Rotate": {"degrees": [15, -15]}}}]"#;
/// let wrong: AugmentConfig = serde_json::from_str(wrong).unwrap();
/// assert_eq!(
///     wrong.check().unwrap_err().to_string(),
///     "Augment.0.Rotate: degrees is [15.0, -15.0]. Give the lowest number first."
/// );
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AugmentConfig(pub Vec<AugmentStep>);

/// A transform with its probability.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct AugmentStep {
    /// How probable it is that a crop is transformed, from 0 to 1. Of `Flip`: how probable it is for each axis.
    pub probability: f64,
    /// What is done.
    pub transform: Transform,
}

impl AugmentStep {
    /// A transform with its probability.
    pub const fn new(probability: f64, transform: Transform) -> Self {
        Self {
            probability,
            transform,
        }
    }
}

/// A transformed crop: the values of the image and of the mask, channel by channel, the last axis fastest.
#[derive(Clone, Debug, PartialEq)]
pub struct Augmented<T = f32> {
    /// The values of the image.
    pub image: Vec<f32>,
    /// The values of the mask: each is one that the mask had.
    pub mask: Vec<T>,
}

impl Config for AugmentConfig {}

impl AugmentConfig {
    /// No transform: the crop as it is.
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// Flips of all axes and quarter turns of square planes: every way to put a crop onto itself is as probable. Values
    /// are copied, and never interpolated. For images without an up and a down, such as those of microscopes; not for
    /// letters or digits.
    pub fn flips() -> Self {
        let flip = |axes: &[ImageAxis]| Transform::Flip(Flip { axes: axes.into() });
        let steps = [
            flip(&[ImageAxis::Width, ImageAxis::Height]),
            Transform::Transpose,
            flip(&[ImageAxis::Depth]),
        ];
        Self(steps.map(|step| AugmentStep::new(0.5, step)).into())
    }

    /// A moderate set: [`flips`](Self::flips), and nnU-Net's transforms with nnU-Net's probabilities and strengths
    /// (`nnUNetTrainer`, version 2).
    ///
    /// What differs: rotations by up to 30 degrees and in the plane only (nnU-Net: 180 in images, 30 about all axes of
    /// volumes), scaling in the plane only, quarter turns; blur and low resolution are of all channels or none, and all
    /// channels are changed alike. The noise is for images that are normalised to a deviation of about 1 or to numbers
    /// between 0 and 1.
    pub fn standard() -> Self {
        let gamma = |invert| Transform::Gamma(Gamma::default().with_invert(invert));
        let Self(mut steps) = Self::flips();
        steps.extend([
            AugmentStep::new(0.2, Transform::Rotate(Rotate::default())),
            AugmentStep::new(0.2, Transform::Scale(Scale::default())),
            AugmentStep::new(0.1, Transform::Noise(Noise::default())),
            AugmentStep::new(0.2, Transform::Blur(Blur::default())),
            AugmentStep::new(0.15, Transform::Brightness(Brightness::default())),
            AugmentStep::new(0.15, Transform::Contrast(Contrast::default())),
            AugmentStep::new(0.25, Transform::LowResolution(LowResolution::default())),
            AugmentStep::new(0.1, gamma(true)),
            AugmentStep::new(0.3, gamma(false)),
        ]);
        Self(steps)
    }

    /// Checks the options.
    ///
    /// # Errors
    /// When a number is out of its range, or a list of axes is empty or has one twice. The error names the step by its
    /// place in the list, from 0 on.
    pub fn check(&self) -> Result<(), ShapeError> {
        for (i, step) in self.0.iter().enumerate() {
            let place = format!("Augment.{i}");
            check_number(&place, "probability", step.probability, [0.0, 1.0])?;
            step.transform.check().map_err(|e| e.within(place))?;
        }
        Ok(())
    }

    /// A crop of an image and of its mask, transformed by what `random` draws. Equal generators give equal numbers, on
    /// every machine.
    ///
    /// The mask has values of any type, and any number of channels. Rotated, shrunk and deformed crops show what lies
    /// around the crop in the image; outside of the image lies its reflection.
    ///
    /// # Errors
    /// When an option is out of its range (as [`check`](Self::check)), image and mask differ in size, or the crop does not
    /// lie in them.
    pub fn augment<T: Copy>(
        &self,
        image: ImageView<'_>,
        mask: ImageView<'_, T>,
        crop: &Crop,
        random: &mut dyn Rng,
    ) -> Result<Augmented<T>, ShapeError> {
        self.check()?;
        crop.check(image, mask)?;
        let (size, has_depth) = (as_volume(&crop.size, 1), crop.size.len() == 3);
        let mut draws = Draws::new(random);
        let mut warp = Warp::new(size);
        for AugmentStep {
            probability,
            transform,
        } in &self.0
        {
            let step = transform.pull_back(*probability, size, has_depth, &mut draws);
            step.into_iter().for_each(|step| warp.push(step));
        }
        let (mut image, mask) = resample(image, mask, crop, &warp);
        let mut maps = Maps {
            values: &mut image,
            size,
            has_depth,
        };
        for AugmentStep {
            probability,
            transform,
        } in &self.0
        {
            transform.apply(*probability, &mut maps, &mut draws);
        }
        Ok(Augmented { image, mask })
    }
}
