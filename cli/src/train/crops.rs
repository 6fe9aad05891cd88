//! An endless, repeatable sequence of random crops.

use std::sync::Arc;

use burn_skip::ShapeError;
use burn_skip::augment::{AugmentConfig, Crop, ImageView};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::foreground::Foreground;
use crate::raster::Raster;
use crate::segmentation::data::Sample;

/// Boxes cut out of the samples at random places, transformed at random.
///
/// A crop is a function of the seed and its number alone, whoever asks for it and when.
pub struct Crops {
    samples: Vec<Arc<Sample>>,
    size: Vec<usize>,
    augment: AugmentConfig,
    /// Where some of them are centred.
    foreground: Option<Foreground>,
    seed: u64,
}

impl Crops {
    /// Crops of the size `size`.
    pub fn new(
        samples: Vec<Arc<Sample>>,
        size: Vec<usize>,
        augment: AugmentConfig,
        seed: u64,
    ) -> Self {
        Self {
            samples,
            size,
            augment,
            foreground: None,
            seed,
        }
    }

    /// With a share of crops that are centred on the foreground.
    pub fn with_foreground(self, foreground: Option<Foreground>) -> Self {
        Self { foreground, ..self }
    }

    /// The crop number n of the whole training.
    ///
    /// # Errors
    /// When an option of a transform is invalid.
    pub fn nth(&self, n: u64) -> Result<Sample, ShapeError> {
        let mut random = random(self.seed, n);
        let (sample, crop) = self.place(&mut random);
        cut(sample, &crop, &self.augment, &mut random)
    }

    /// The crop number n as it is, as it is trained on, and with other transforms of the same place.
    ///
    /// # Errors
    /// When an option of a transform is invalid.
    pub fn examples(&self, n: u64, transformed: usize) -> Result<Vec<Sample>, ShapeError> {
        let mut random = random(self.seed, n);
        let (sample, crop) = self.place(&mut random);
        let as_it_is = sample.image.cut(&crop.start, &crop.size);
        let mask = sample.mask.cut(&crop.start, &crop.size);
        let as_it_is = Sample {
            image: as_it_is,
            mask,
            context: 0,
            seed: 0,
        };
        let others = (0..transformed).map(|_| cut(sample, &crop, &self.augment, &mut random));
        std::iter::once(Ok(as_it_is)).chain(others).collect()
    }

    /// Where a crop lies.
    fn place(&self, random: &mut StdRng) -> (&Sample, Crop) {
        let foreground = self.foreground.as_ref();
        let place = foreground.and_then(|all| all.place(&self.samples, &self.size, random));
        if let Some((sample, start)) = place {
            return (
                &self.samples[sample],
                Crop::new(start, self.size.as_slice()),
            );
        }
        let sample = &self.samples[random.random_range(0..self.samples.len())];
        // (The last axis first, since that is the sequence of images of two axes.)
        let mut start = vec![0; self.size.len()];
        for axis in (0..start.len()).rev() {
            start[axis] = random.random_range(0..=sample.image.size[axis] - self.size[axis]);
        }
        (sample, Crop::new(start, self.size.as_slice()))
    }
}

/// A transformed crop of a sample. What is turned or shrunk into it comes from the sample around it.
fn cut(
    sample: &Sample,
    crop: &Crop,
    augment: &AugmentConfig,
    random: &mut StdRng,
) -> Result<Sample, ShapeError> {
    let (image, mask) = (&sample.image, &sample.mask);
    let augmented = augment.augment(view(image), view(mask), crop, random)?;
    let raster = |of: &Raster, values: Vec<f32>| Raster {
        channels: of.channels,
        size: crop.size.clone(),
        values: values.into(),
    };
    Ok(Sample {
        image: raster(image, augmented.image),
        mask: raster(mask, augmented.mask),
        context: 0,
        seed: random.random(),
    })
}

fn view(raster: &Raster) -> ImageView<'_> {
    ImageView {
        channels: raster.channels,
        size: &raster.size,
        values: &raster.values,
    }
}

/// The random numbers of the crop number n.
fn random(seed: u64, n: u64) -> StdRng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&n.to_le_bytes());
    StdRng::from_seed(key)
}
