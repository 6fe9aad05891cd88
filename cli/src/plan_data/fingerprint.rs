//! What a folder of images and masks holds.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use super::numbers::NoNumbers;
use crate::Result;
use crate::files::limits::ImageLimits;
use crate::raster::{Grid, Raster, SAVE_NUMBERS, shown_size};
use crate::segmentation::data::{Sample, check_channels, single_slice};
use crate::segmentation::pairs::{Pair, check_headers};
use crate::segmentation::percentile::median;

/// An image and its mask.
#[derive(Clone, Debug, Serialize)]
pub struct Facts {
    /// The file of the image.
    pub file: PathBuf,
    /// In the order of the axes: `[height, width]` or `[depth, height, width]`.
    pub size: Vec<usize>,
    /// The distance of its pixels on each axis, if its file says it; in the unit of the first image that says one.
    pub spacing: Option<Vec<f64>>,
    /// As the file of that image calls it.
    pub unit: String,
    /// What the file says of where its pixels lie.
    #[serde(skip)]
    pub grid: Grid,
    pub channels: usize,
    /// The least and the largest value.
    pub range: [f32; 2],
}

/// What all images of a folder have in common, and what differs.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Fingerprint {
    pub images: Vec<Facts>,
    /// How many pixels have each number, in all masks together.
    pub labels: BTreeMap<u64, u64>,
    /// In how many masks each number occurs.
    #[serde(skip)]
    pub masks_with: BTreeMap<u64, u64>,
    /// Where a mask has no numbers of classes, all of them are taken for foreground or not.
    pub no_numbers: Option<NoNumbers>,
}

impl Fingerprint {
    /// Reads the images, one after the other. `classes` are those that were asked for.
    ///
    /// # Errors
    /// When a file cannot be read, an image and its mask differ in size, images differ in their axes or channels, or a mask
    /// has no numbers where several classes were asked for.
    pub fn read(pairs: &[Pair], classes: Option<usize>, limit: &ImageLimits) -> Result<Self> {
        check_headers(pairs)?;
        let mut found = Self::default();
        for pair in pairs {
            let mut telling = found.images.iter().filter(|image| image.spacing.is_some());
            let unit = telling.next().map(|first| first.unit.as_str());
            let (facts, mask, no_numbers) = read(pair, unit, limit)?;
            found.check(&facts, pair)?;
            found.images.push(facts);
            let mut labels = BTreeMap::<u64, u64>::new();
            for &value in mask.values.iter() {
                *labels.entry(value as u64).or_default() += 1;
            }
            for (label, pixels) in labels {
                *found.labels.entry(label).or_default() += pixels;
                *found.masks_with.entry(label).or_default() += 1;
            }
            match (no_numbers, classes) {
                (Some(why), Some(2..)) => {
                    return Err(format!(
                        "--classes: {why}. {SAVE_NUMBERS}, or pass --classes 1 where every pixel that is not 0 is foreground."
                    )
                    .into());
                }
                (Some(why), _) => {
                    let of_all = found.no_numbers.get_or_insert(NoNumbers { why, masks: 0 });
                    of_all.masks += 1;
                }
                (None, _) => {}
            }
        }
        Ok(found)
    }

    fn check(&self, facts: &Facts, pair: &Pair) -> Result<()> {
        let Some(first) = self.images.first() else {
            return Ok(());
        };
        let file = pair.image.display();
        if facts.size.len() != first.size.len() {
            return Err(format!(
                "{file} is {}, and {} is {}.{} Use images of as many axes.",
                shown_size(&facts.size),
                first.file.display(),
                shown_size(&first.size),
                single_slice(facts.size.len().min(first.size.len()), 3)
            )
            .into());
        }
        let first = (first.file.as_path(), first.channels);
        Ok(check_channels((&facts.file, facts.channels), first)?)
    }

    /// How many axes the images have.
    pub fn axes(&self) -> usize {
        self.images.first().map_or(2, |image| image.size.len())
    }

    /// The least length of each axis.
    pub fn smallest(&self) -> Vec<usize> {
        self.of_axes(|lengths| lengths[0])
    }

    /// The length in the middle, of each axis.
    pub fn median_size(&self) -> Vec<usize> {
        self.of_axes(|lengths| {
            let middle = median(lengths.iter().map(|&length| length as f64));
            middle.round() as usize
        })
    }

    /// The median spacing of each axis; 1 where a file says none.
    pub fn spacing(&self) -> Vec<f64> {
        let all: Option<Vec<_>> = self
            .images
            .iter()
            .map(|image| image.spacing.as_ref())
            .collect();
        let median = |axis: usize| match &all {
            Some(all) => median(all.iter().map(|spacing| spacing[axis])),
            None => 1.0,
        };
        (0..self.axes()).map(median).collect()
    }

    /// The least and the largest value of all images.
    pub fn range(&self) -> [f32; 2] {
        let each = self.images.iter().map(|image| image.range);
        each.fold([f32::INFINITY, f32::NEG_INFINITY], |[low, high], range| {
            [low.min(range[0]), high.max(range[1])]
        })
    }

    /// The least and the largest spacing of each axis, if the files say it.
    pub fn spacings(&self) -> Option<Vec<[f64; 2]>> {
        let all: Option<Vec<_>> = self
            .images
            .iter()
            .map(|image| image.spacing.as_ref())
            .collect();
        let range = |axis: usize, all: &[&Vec<f64>]| {
            let each = all.iter().map(|spacing| spacing[axis]);
            each.fold([f64::INFINITY, 0.0], |[least, most], x| {
                [least.min(x), most.max(x)]
            })
        };
        all.map(|all| (0..self.axes()).map(|axis| range(axis, &all)).collect())
    }

    /// The image that is the shortest on an axis.
    pub fn shortest(&self, axis: usize) -> Option<&Facts> {
        self.images.iter().min_by_key(|image| image.size[axis])
    }

    /// All pixels of all images.
    pub fn pixels(&self) -> u64 {
        let pixels = |image: &Facts| {
            image
                .size
                .iter()
                .map(|&length| length as u64)
                .product::<u64>()
        };
        self.images.iter().map(pixels).sum()
    }

    fn of_axes(&self, of: impl Fn(&[usize]) -> usize) -> Vec<usize> {
        let axis = |axis: usize| {
            let mut lengths: Vec<usize> =
                self.images.iter().map(|image| image.size[axis]).collect();
            lengths.sort_unstable();
            of(&lengths)
        };
        (0..self.axes()).map(axis).collect()
    }
}

/// What a pair holds: the image, the numbers of the mask, and where it has none, why.
fn read(
    pair: &Pair,
    unit: Option<&str>,
    limit: &ImageLimits,
) -> Result<(Facts, Raster, Option<String>)> {
    let [mut image, mask] = pair.read_files(1, limit)?;
    // (An array of an axis more than its mask has channels.)
    if image.raster.size.len() > mask.raster.size.len() {
        [image, _] = pair.read_files(2, limit)?;
    }
    let channels = image.channels();
    let (raster, grid) = image.image(&pair.image, channels)?;
    let (mask, no_numbers) = mask.numbers(&pair.mask)?;
    let spacing = grid.full_spacing();
    let unit = unit.or(spacing.map(|spacing| spacing.unit.as_str()));
    let unit = unit.unwrap_or("").to_string();
    let spacing = spacing.map(|spacing| spacing.in_unit(&unit));
    let range = raster
        .values
        .iter()
        .fold([f32::INFINITY, f32::NEG_INFINITY], |[low, high], &x| {
            [low.min(x), high.max(x)]
        });
    let size = raster.size.clone();
    let sample = Sample::new((raster, &pair.image), (mask, &pair.mask))?;
    let facts = Facts {
        file: pair.image.clone(),
        size,
        spacing,
        unit,
        grid,
        channels,
        range,
    };
    Ok((facts, sample.mask, no_numbers))
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::raster::Spacing;

    pub fn found(sizes: &[[usize; 3]], depths: &[f64], labels: &[u64]) -> Fingerprint {
        let image = |(size, depth): (&[usize; 3], &f64)| Facts {
            file: "a".into(),
            size: size.to_vec(),
            spacing: Some(vec![*depth, 1.0, 1.0]),
            unit: "mm".into(),
            grid: Grid {
                spacing: Some(Spacing {
                    per_axis: vec![*depth, 1.0, 1.0],
                    unit: "mm".into(),
                    of_all_axes: true,
                }),
                ..Grid::default()
            },
            channels: 1,
            range: [0.0, 1.0],
        };
        Fingerprint {
            images: sizes.iter().zip(depths).map(image).collect(),
            labels: labels.iter().map(|&label| (label, 1)).collect(),
            masks_with: labels.iter().map(|&label| (label, 1)).collect(),
            no_numbers: None,
        }
    }

    #[test]
    fn middle_and_least_of_each_axis() {
        let found = found(
            &[[9, 50, 7], [3, 40, 8], [5, 60, 9]],
            &[4.0, 2.0, 3.0],
            &[0, 1],
        );
        assert_eq!(found.median_size(), [5, 50, 8]);
        assert_eq!(found.smallest(), [3, 40, 7]);
        assert_eq!(found.spacing(), [3.0, 1.0, 1.0]);
        assert_eq!(found.pixels(), 9 * 350 + 3 * 320 + 5 * 540);
    }
}
