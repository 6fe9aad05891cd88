//! Regions that are too small are removed, and of all only the largest is kept, where that is asked for.

use burn_skip::metric::{Connectivity, LabelMap};

use crate::Result;
use crate::raster::Raster;

/// Which regions of a prediction stay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cleaning {
    /// Regions of fewer pixels are removed.
    pub min_size: usize,
    /// Of the regions of a class, only the largest stays: of several that are as large, the first.
    pub keep_largest: bool,
}

impl Cleaning {
    /// The classes of a mask, the regions of each class by themselves: what is removed is background.
    ///
    /// # Errors
    /// When the mask has no pixel.
    pub fn mask(self, mask: &mut Raster) -> Result<()> {
        if self == Self::default() {
            return Ok(());
        }
        let classes: Vec<i64> = mask.values.iter().map(|&class| class as i64).collect();
        let map = LabelMap::new(mask.size.clone(), classes)?;
        let regions = map.connected_components(Connectivity::Faces);
        let mut class_of = vec![0; regions.count + 1];
        for (&region, &class) in regions.map.labels().iter().zip(map.labels()) {
            class_of[region as usize] = class;
        }
        let stays = self.stays(regions.map.labels(), &class_of);
        for (class, &region) in mask.values.iter_mut().zip(regions.map.labels()) {
            if !stays[region as usize] {
                *class = 0.0;
            }
        }
        Ok(())
    }

    /// Objects by their numbers, all of one class. Those that stay are numbered anew, in the order of their first
    /// pixels; how many they are.
    pub fn objects(self, numbers: &mut [i64]) -> usize {
        let largest = numbers.iter().copied().max().unwrap_or(0);
        let stays = self.stays(numbers, &vec![1; largest as usize + 1]);
        let mut renumbered = vec![0; stays.len()];
        let mut count = 0;
        for number in numbers {
            let old = *number as usize;
            if old != 0 && stays[old] && renumbered[old] == 0 {
                count += 1;
                renumbered[old] = count;
            }
            *number = renumbered[old];
        }
        count as usize
    }

    /// Of each region, by its number, whether it stays; `class_of` has the class of each.
    fn stays(self, regions: &[i64], class_of: &[i64]) -> Vec<bool> {
        let mut sizes = vec![0; class_of.len()];
        for &region in regions {
            sizes[region as usize] += 1;
        }
        let mut stays: Vec<bool> = sizes.iter().map(|&size| size >= self.min_size).collect();
        if self.keep_largest {
            let classes = class_of.iter().max().map_or(0, |&class| class as usize);
            let mut largest = vec![0; classes + 1];
            for region in 1..sizes.len() {
                let best = &mut largest[class_of[region] as usize];
                if *best == 0 || sizes[region] > sizes[*best] {
                    *best = region;
                }
            }
            for region in 1..sizes.len() {
                stays[region] &= largest[class_of[region] as usize] == region;
            }
        }
        stays
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Cleaning = Cleaning {
        min_size: 0,
        keep_largest: false,
    };

    fn cleaned(cleaning: Cleaning, values: [u8; 12]) -> Vec<u8> {
        let mut mask = Raster {
            channels: 1,
            size: vec![2, 6],
            values: values.map(f32::from).to_vec().into(),
        };
        cleaning.mask(&mut mask).unwrap();
        mask.values.iter().map(|&class| class as u8).collect()
    }

    #[test]
    fn small_regions_of_each_class_are_removed() {
        let mask = [1, 1, 2, 0, 0, 1, 0, 1, 2, 2, 0, 1];
        assert_eq!(cleaned(NONE, mask), mask);
        let of_three = Cleaning {
            min_size: 3,
            ..NONE
        };
        assert_eq!(
            cleaned(of_three, mask),
            [1, 1, 2, 0, 0, 0, 0, 1, 2, 2, 0, 0]
        );
        let largest = Cleaning {
            keep_largest: true,
            ..NONE
        };
        assert_eq!(cleaned(largest, mask), [1, 1, 2, 0, 0, 0, 0, 1, 2, 2, 0, 0]);
        let both = Cleaning {
            min_size: 4,
            keep_largest: true,
        };
        assert_eq!(cleaned(both, mask), [0; 12]);
    }

    #[test]
    fn objects_are_numbered_anew() {
        let numbers = [0, 7, 7, 2, 2, 2, 0, 9];
        let cleaned = |cleaning: Cleaning| {
            let mut numbers = numbers;
            let count = cleaning.objects(&mut numbers);
            (count, numbers)
        };
        assert_eq!(cleaned(NONE), (3, [0, 1, 1, 2, 2, 2, 0, 3]));
        let of_two = Cleaning {
            min_size: 2,
            ..NONE
        };
        assert_eq!(cleaned(of_two), (2, [0, 1, 1, 2, 2, 2, 0, 0]));
        let largest = Cleaning {
            keep_largest: true,
            ..NONE
        };
        assert_eq!(cleaned(largest), (1, [0, 0, 0, 1, 1, 1, 0, 0]));
        assert_eq!(NONE.objects(&mut []), 0);
    }
}
