//! What is checked of the images of a training: that they have as many channels and axes, and are as large as a crop.

use std::path::Path;

use super::Sample;
use crate::raster::{Raster, count_of_channels};
use crate::segmentation::lengths;
use crate::segmentation::validation::Split;

/// Checks that all images have as many axes.
pub(super) fn check_all_axes<'s>(
    split: &Split,
    samples: impl Iterator<Item = &'s Sample>,
) -> Result<(), String> {
    let mut axes = None;
    for (sample, pair) in samples.zip(split.pairs()) {
        let axes = *axes.get_or_insert(sample.image.size.len());
        check_axes(&sample.image, &pair.image, axes, "the other images")?;
    }
    Ok(())
}

/// Checks that an image has as many channels as the first.
///
/// # Errors
/// When it has not: one of both would be changed from grey to colours, or the other way.
pub fn check_channels(image: (&Path, usize), first: (&Path, usize)) -> Result<(), String> {
    match image.1 == first.1 {
        true => Ok(()),
        false => Err(format!(
            "{} has {}, and {} has {}. Use images of as many channels.",
            image.0.display(),
            count_of_channels(image.1),
            first.0.display(),
            count_of_channels(first.1)
        )),
    }
}

/// Why an image of so many axes may be among those of others, after a sentence.
pub fn single_slice(axes: usize, others: usize) -> &'static str {
    match (axes, others) {
        (2, 3) => " (A file of a single slice is an image: its depth of 1 is dropped.)",
        _ => "",
    }
}

/// Checks that an image has as many axes as `others`.
///
/// # Errors
/// When it has not.
pub fn check_axes(image: &Raster, file: &Path, axes: usize, others: &str) -> Result<(), String> {
    if image.size.len() == axes {
        return Ok(());
    }
    Err(format!(
        "{} is {}, which are {} axes, and {others} have {axes}.{} Use images of as many axes.",
        file.display(),
        image.shown_size(),
        image.size.len(),
        single_slice(image.size.len(), axes)
    ))
}

pub(super) fn check_crop(image: &Raster, crop: &[usize]) -> Result<(), String> {
    let axes = || image.size.iter().zip(crop);
    if axes().all(|(length, crop)| length >= crop) {
        return Ok(());
    }
    let fits: Vec<usize> = axes()
        .map(|(&length, &crop)| length.min(crop).max(1))
        .collect();
    Err(format!(
        "{}, and a crop is {}. Use larger images, or pass --crop {}.",
        image.shown_size(),
        lengths::shown(crop),
        lengths::shown(&fits)
    ))
}
