//! Augmentation, each transform beside a formula of its own.

mod intensity;
mod laws;
mod spatial;

use burn_skip::augment::{AugmentConfig, AugmentStep, Augmented, Crop, ImageView, Transform};
use rand::SeedableRng;
use rand::rngs::StdRng;

/// An image of some channels and its mask.
struct Pair {
    channels: usize,
    size: Vec<usize>,
    image: Vec<f32>,
    /// As many channels as the image. Each value differs from all others.
    mask: Vec<u32>,
}

impl Pair {
    fn new(channels: usize, size: &[usize]) -> Self {
        let count = channels * size.iter().product::<usize>();
        let value = |n: usize| ((n * 7919 + 13) % 1009) as f32 / 1009.0;
        Self {
            channels,
            size: size.to_vec(),
            image: (0..count).map(value).collect(),
            mask: (0..count as u32).collect(),
        }
    }

    /// The pixel at a position of a channel, which an image has in its only slice.
    fn at(&self, channel: usize, [z, y, x]: [usize; 3]) -> usize {
        let [height, width] = self.plane();
        let depth = if self.size.len() == 3 {
            self.size[0]
        } else {
            1
        };
        ((channel * depth + z) * height + y) * width + x
    }

    fn plane(&self) -> [usize; 2] {
        let axes = self.size.len();
        [self.size[axes - 2], self.size[axes - 1]]
    }

    fn augment(&self, config: &AugmentConfig, crop: &Crop, seed: u64) -> Augmented<u32> {
        let Self { channels, size, .. } = self;
        let image = ImageView {
            channels: *channels,
            size,
            values: &self.image,
        };
        let mask = ImageView {
            channels: *channels,
            size,
            values: &self.mask,
        };
        let mut random = StdRng::seed_from_u64(seed);
        let augmented = config.augment(image, mask, crop, &mut random);
        augmented.unwrap_or_else(|e| panic!("{e}"))
    }

    /// The whole image under one transform that always happens.
    fn whole(&self, transform: Transform, seed: u64) -> Augmented<u32> {
        self.augment(&always(transform), &Crop::whole(&self.size), seed)
    }
}

fn always(transform: Transform) -> AugmentConfig {
    AugmentConfig(vec![AugmentStep::new(1.0, transform)])
}

#[track_caller]
fn assert_close(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!(
            (found - expected).abs() < 1e-5,
            "{i}: {found} is not {expected}"
        );
    }
}
