//! The training set: an endless, repeatable sequence of random crops.

use std::sync::atomic::{AtomicU64, Ordering};

use burn::data::dataset::{Dataset, DatasetError};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::raster::Raster;
use crate::segmentation::data::Sample;

/// Boxes cut out of the samples at random places, flipped and turned at random.
///
/// A crop is a function of the seed, the epoch and its index in it alone. A training that is resumed at
/// epoch 4 sees the crops that it would have seen without the interruption, and so does one whose epochs are
/// split over several devices.
pub struct RandomCrops {
    samples: Vec<Sample>,
    size: Vec<usize>,
    seed: u64,
    /// For each index, in how many epochs it was asked for.
    epochs: Vec<AtomicU64>,
}

impl RandomCrops {
    /// Crops of the size `size`, `per_epoch` of them an epoch, after `epochs_done` epochs.
    pub fn new(
        samples: Vec<Sample>,
        size: Vec<usize>,
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
        // (The last axis first, since that is the sequence of images of two axes.)
        let mut start = vec![0; self.size.len()];
        for axis in (0..start.len()).rev() {
            start[axis] = random.random_range(0..=sample.image.size[axis] - self.size[axis]);
        }
        let symmetry = Symmetry::random(&mut random, &self.size);
        let cut = |raster: &Raster| {
            let cut = raster.cut(&start, &self.size);
            cut.picked(&self.size, |at| symmetry.source(at))
        };
        Sample {
            image: cut(&sample.image),
            mask: cut(&sample.mask),
            context: 0,
            seed: random.random(),
        }
    }
}

/// One of the ways to put a box onto itself: each axis may be mirrored, and rows and columns swapped where there are
/// as many. (Slices stay slices: their distance is another in most volumes.)
struct Symmetry {
    /// The last position of each axis that is mirrored.
    mirrored: [Option<usize>; 3],
    transposed: bool,
}

impl Symmetry {
    fn random(random: &mut StdRng, size: &[usize]) -> Self {
        let [mirror, flip, transpose] = random.random::<[bool; 3]>();
        let last = |is_mirrored: bool, length: usize| is_mirrored.then(|| length - 1);
        let (depth, height, width) = match *size {
            [depth, height, width] => (last(random.random(), depth), height, width),
            [height, width] => (None, height, width),
            _ => (None, 1, 1),
        };
        Self {
            mirrored: [depth, last(flip, height), last(mirror, width)],
            transposed: transpose && height == width,
        }
    }

    /// Where the pixel at `at` comes from.
    fn source(&self, [z, y, x]: [usize; 3]) -> [usize; 3] {
        let at = match self.transposed {
            true => [z, x, y],
            false => [z, y, x],
        };
        let axes = [0, 1, 2].map(|axis| (at[axis], self.mirrored[axis]));
        axes.map(|(at, last)| last.map_or(at, |last| last - at))
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
