//! `--foreground`: a share of the crops is centred on a pixel of the foreground.

use std::sync::Arc;

use rand::RngExt;
use rand::rngs::StdRng;

use crate::raster::{Raster, is_ignored};
use crate::segmentation::data::Sample;

/// Counts of the foreground are kept for blocks of so many pixels.
const BLOCK: usize = 4096;

/// Where the foreground is.
pub struct Foreground {
    share: f64,
    /// The label in masks that is no foreground, since it does not count.
    ignored: Option<i64>,
    /// The samples that have some.
    samples: Vec<Counted>,
}

/// A sample with foreground.
struct Counted {
    sample: usize,
    /// How many pixels of it are before the end of each block.
    ends: Vec<usize>,
}

impl Foreground {
    /// Counts the foreground of samples, of which a share of the crops is to have some; none for a share of 0.
    ///
    /// # Errors
    /// When there is no foreground.
    pub fn new(
        samples: &[Arc<Sample>],
        share: f64,
        ignored: Option<i64>,
    ) -> Result<Option<Self>, String> {
        if share == 0.0 {
            return Ok(None);
        }
        let is_foreground = |&class: &f32| is_foreground(class, ignored);
        let samples = samples.iter().enumerate().filter_map(|(sample, of)| {
            let mut count = 0;
            let blocks = of.mask.values.chunks(BLOCK);
            let ends: Vec<usize> = blocks
                .map(|block| {
                    count += block.iter().filter(|class| is_foreground(class)).count();
                    count
                })
                .collect();
            (count > 0).then_some(Counted { sample, ends })
        });
        let samples: Vec<_> = samples.collect();
        match samples.is_empty() {
            true => Err(
                "--foreground: the masks that are trained on have no foreground. Leave it out."
                    .into(),
            ),
            false => Ok(Some(Self {
                share,
                ignored,
                samples,
            })),
        }
    }

    /// A sample and where a crop of the size `size` begins in it, if this crop is one of the share. Of the samples with
    /// foreground each is as likely, and of their pixels.
    pub fn place(
        &self,
        samples: &[Arc<Sample>],
        size: &[usize],
        random: &mut StdRng,
    ) -> Option<(usize, Vec<usize>)> {
        if random.random::<f64>() >= self.share {
            return None;
        }
        let counted = &self.samples[random.random_range(0..self.samples.len())];
        let total = counted.ends.last().copied().unwrap_or(1);
        let mask = &samples[counted.sample].mask;
        let mut pixel = counted.pixel(mask, self.ignored, random.random_range(0..total));
        // (The last axis is the fastest.)
        let mut start = vec![0; size.len()];
        for axis in (0..size.len()).rev() {
            let length = mask.size[axis];
            let centre = pixel % length;
            pixel /= length;
            start[axis] = centre
                .saturating_sub(size[axis] / 2)
                .min(length - size[axis]);
        }
        Some((counted.sample, start))
    }
}

fn is_foreground(class: f32, ignored: Option<i64>) -> bool {
    class > 0.0 && !is_ignored(class, ignored)
}

impl Counted {
    /// The index of the pixel of the foreground that has so many before it.
    fn pixel(&self, mask: &Raster, ignored: Option<i64>, number: usize) -> usize {
        let block = self.ends.partition_point(|&end| end <= number);
        let before = match block {
            0 => 0,
            block => self.ends[block - 1],
        };
        let pixels = mask.values.iter().enumerate().skip(block * BLOCK);
        let mut foreground = pixels.filter(|&(_, &class)| is_foreground(class, ignored));
        foreground
            .nth(number - before)
            .map_or(0, |(index, _)| index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    fn sample(size: [usize; 2], foreground: &[usize]) -> Arc<Sample> {
        let mut values = vec![0.0; size[0] * size[1]];
        for &pixel in foreground {
            values[pixel] = 2.0;
        }
        let raster = |values: Vec<f32>| Raster {
            channels: 1,
            size: size.to_vec(),
            values: values.into(),
        };
        Arc::new(Sample {
            image: raster(vec![0.0; size[0] * size[1]]),
            mask: raster(values),
            context: 0,
            seed: 0,
        })
    }

    #[test]
    fn every_pixel_is_found_by_its_number() {
        let pixels = [0, 5, 4095, 4096, 9000, 9999];
        let mut of = sample([100, 100], &pixels);
        // (Pixels that do not count are none of them.)
        let mask = &mut Arc::get_mut(&mut of).unwrap().mask;
        for pixel in [1, 4094, 5000] {
            mask.values[pixel] = 255.0;
        }
        let samples = [of];
        let found = Foreground::new(&samples, 0.5, Some(255)).unwrap().unwrap();
        let counted = &found.samples[0];
        let pixel = |n| counted.pixel(&samples[0].mask, found.ignored, n);
        let all: Vec<_> = (0..6).map(pixel).collect();
        assert_eq!(all, pixels);
        assert_eq!(counted.ends.last(), Some(&6));
    }

    #[test]
    fn the_share_of_the_crops_is_centred_on_the_foreground() {
        // The second has no foreground.
        let samples = [
            sample([50, 40], &[20 * 40 + 30]),
            sample([50, 40], &[]),
            sample([50, 40], &[0]),
        ];
        let foreground = Foreground::new(&samples, 0.25, None).unwrap().unwrap();
        let mut random = StdRng::seed_from_u64(7);
        let mut count = [0; 3];
        for _ in 0..4000 {
            let Some((sample, start)) = foreground.place(&samples, &[16, 10], &mut random) else {
                continue;
            };
            count[sample] += 1;
            // In the middle, or as near to it as the border lets it.
            let expected = [[12, 25], [99, 99], [0, 0]][sample];
            assert_eq!(start, expected);
        }
        assert_eq!(count[1], 0);
        assert!(
            (400..600).contains(&count[0]) && (400..600).contains(&count[2]),
            "{count:?}"
        );
    }

    #[test]
    fn without_foreground_it_is_refused() {
        let samples = [sample([8, 8], &[])];
        assert!(Foreground::new(&samples, 0.0, None).unwrap().is_none());
        let error = Foreground::new(&samples, 0.5, None).err().unwrap();
        assert!(error.contains("have no foreground"), "{error}");
    }
}
