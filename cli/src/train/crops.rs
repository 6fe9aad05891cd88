//! The training set: an endless, repeatable sequence of random crops.

use std::sync::atomic::{AtomicU64, Ordering};

use burn::data::dataset::{Dataset, DatasetError};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::raster::Raster;
use crate::segmentation::data::Sample;

/// Squares cut out of the samples at random places, flipped and turned at random.
///
/// A crop is a function of the seed, the epoch and its index in it alone. A training that is resumed at
/// epoch 4 sees the crops that it would have seen without the interruption, and so does one whose epochs are
/// split over several devices.
pub struct RandomCrops {
    samples: Vec<Sample>,
    size: usize,
    seed: u64,
    /// For each index, in how many epochs it was asked for.
    epochs: Vec<AtomicU64>,
}

impl RandomCrops {
    /// Crops of `size` x `size`, `per_epoch` of them an epoch, after `epochs_done` epochs.
    pub fn new(
        samples: Vec<Sample>,
        size: usize,
        seed: u64,
        per_epoch: usize,
        epochs_done: usize,
    ) -> Self {
        let done = || AtomicU64::new(epochs_done as u64);
        Self {
            samples,
            size,
            seed,
            epochs: std::iter::repeat_with(done).take(per_epoch).collect(),
        }
    }

    /// The crop number n of the whole training.
    fn nth(&self, n: u64) -> Sample {
        let mut random = random(self.seed, n);
        let sample = &self.samples[random.random_range(0..self.samples.len())];
        let left = random.random_range(0..=sample.image.width - self.size);
        let top = random.random_range(0..=sample.image.height - self.size);
        // The eight symmetries of a square.
        let [mirror, flip, transpose] = random.random::<[bool; 3]>();

        let last = self.size - 1;
        let cut = |raster: &Raster| {
            raster.picked(self.size, self.size, |mut y, mut x| {
                if transpose {
                    (y, x) = (x, y);
                }
                if flip {
                    y = last - y;
                }
                if mirror {
                    x = last - x;
                }
                [top + y, left + x]
            })
        };
        Sample {
            image: cut(&sample.image),
            mask: cut(&sample.mask),
            context: 0,
            seed: random.random(),
        }
    }
}

impl Dataset<Sample> for RandomCrops {
    /// The crop of this index: the next epoch's each time that it is asked for.
    fn get(&self, index: usize) -> Result<Sample, DatasetError> {
        let epoch = self.epochs[index].fetch_add(1, Ordering::Relaxed);
        Ok(self.nth(epoch * self.len() as u64 + index as u64))
    }

    fn len(&self) -> usize {
        self.epochs.len()
    }
}

/// The random numbers of the crop number n.
fn random(seed: u64, n: u64) -> StdRng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&n.to_le_bytes());
    StdRng::from_seed(key)
}
