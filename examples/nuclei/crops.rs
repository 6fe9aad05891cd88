//! The training set: an endless, repeatable sequence of random crops.

use std::sync::atomic::{AtomicU64, Ordering};

use burn::data::dataset::{Dataset, DatasetError};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::data::Sample;
use crate::plane::Plane;

/// Squares cut out of the samples at random places, flipped and turned at random.
///
/// Crop number n is a function of the seed and n alone. A training that is resumed at epoch 4
/// starts counting where epoch 3 ended, and so sees the crops that it would have seen unbroken.
pub struct RandomCrops {
    samples: Vec<Sample>,
    size: usize,
    seed: u64,
    per_epoch: usize,
    next: AtomicU64,
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
        Self {
            samples,
            size,
            seed,
            per_epoch,
            next: AtomicU64::new((per_epoch * epochs_done) as u64),
        }
    }

    fn nth(&self, n: u64) -> Sample {
        let mut random = random(self.seed, n);
        let sample = &self.samples[random.random_range(0..self.samples.len())];
        let left = random.random_range(0..=sample.image.width - self.size);
        let top = random.random_range(0..=sample.image.height - self.size);
        // The eight ways to lay down a square.
        let [mirror, flip, transpose] = random.random::<[bool; 3]>();

        let cut = |plane: &Plane| {
            let square = plane.cut(left, top, self.size, self.size);
            laid_down(&square, mirror, flip, transpose)
        };
        Sample {
            image: cut(&sample.image),
            mask: cut(&sample.mask),
            context: 0,
        }
    }
}

impl Dataset<Sample> for RandomCrops {
    /// The next crop. The index only says how many an epoch has; the count goes on over epochs.
    fn get(&self, _index: usize) -> Result<Sample, DatasetError> {
        Ok(self.nth(self.next.fetch_add(1, Ordering::Relaxed)))
    }

    fn len(&self) -> usize {
        self.per_epoch
    }
}

fn laid_down(square: &Plane, mirror: bool, flip: bool, transpose: bool) -> Plane {
    let size = square.width;
    let source = |index: usize| {
        let (mut y, mut x) = (index / size, index % size);
        if transpose {
            (y, x) = (x, y);
        }
        if flip {
            y = size - 1 - y;
        }
        if mirror {
            x = size - 1 - x;
        }
        square.values[y * size + x]
    };
    Plane {
        width: size,
        height: size,
        values: (0..size * size).map(source).collect(),
    }
}

/// The random numbers of the crop number n.
fn random(seed: u64, n: u64) -> StdRng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&n.to_le_bytes());
    StdRng::from_seed(key)
}
