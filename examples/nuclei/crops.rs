//! The training set: an endless, repeatable sequence of random crops.

use std::sync::atomic::{AtomicU64, Ordering};

use burn::data::dataset::{Dataset, DatasetError};

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
        let mut random = Random::new(self.seed, n);
        let sample = &self.samples[random.below(self.samples.len())];
        let left = random.below(sample.image.width - self.size + 1);
        let top = random.below(sample.image.height - self.size + 1);
        // The eight ways to lay down a square.
        let (mirror, flip, transpose) = (random.coin(), random.coin(), random.coin());

        let cut = |plane: &Plane| {
            let square = plane.cut(left, top, self.size, self.size);
            laid_down(&square, mirror, flip, transpose)
        };
        Sample {
            image: cut(&sample.image),
            mask: cut(&sample.mask),
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

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014):
/// good enough to place crops, and it can start at any n.
struct Random(u64);

impl Random {
    fn new(seed: u64, n: u64) -> Self {
        let mut of_seed = Self(seed);
        Self(of_seed.next() ^ n.wrapping_mul(0xD1B5_4A32_D192_ED03))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number from 0 to `end - 1`.
    fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.next()) * end as u128) >> 64) as usize
    }

    fn coin(&mut self) -> bool {
        self.next() >> 63 == 1
    }
}
