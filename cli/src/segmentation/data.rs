//! Images with their masks, split into what is trained on and what is not.

mod checks;
mod common_spacing;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::Result;
use crate::files::limits::ImageLimits;
use crate::raster::{Intensities, Raster, Scale, is_ignored};
use crate::segmentation::pairs::{Pair, PairRead, check_headers};
use crate::segmentation::spacing::{ImageInfo, SpacingChoice, TargetSpacing};
use crate::segmentation::validation::Split;
use checks::{check_all_axes, check_crop};
pub use checks::{check_axes, check_channels, single_slice};

/// An image and its mask, of one size.
#[derive(Debug)]
pub struct Sample {
    pub image: Raster,
    /// The class of every pixel, or the label of those that do not count.
    pub mask: Raster,
    /// So many columns at the left are context for the network, and count neither in the loss nor in a metric.
    pub context: usize,
    /// The seed of what is random in the network on this sample.
    pub seed: u64,
}

/// The input and the output of a network.
#[derive(Clone, Debug)]
pub struct Task {
    pub channels: usize,
    /// 1: foreground or not; more: one class a pixel, of which 0 is the background.
    pub classes: usize,
    /// The label in masks whose pixels count neither in the loss nor in a metric.
    pub ignored: Option<i64>,
    pub intensities: Intensities,
    /// What was fitted on the images that are trained on, if that is of them.
    pub scales: Vec<Scale>,
    /// The spacing that images are resampled to, after their intensities are normalised.
    pub target_spacing: Option<TargetSpacing>,
}

impl Task {
    /// Brings an image to the range that the network is trained on.
    ///
    /// # Errors
    /// When the training has no such range.
    pub fn normalize(&self, image: &mut Raster) -> Result<(), String> {
        self.intensities.apply(image, &self.scales)
    }
}

/// Columns of context beside those that are judged: as far as a U-Net of three levels sees.
const CONTEXT: usize = 64;

/// What is trained on, and what is validated on. The samples are shared, so that a training holds each once.
pub struct Data {
    pub train: Vec<Arc<Sample>>,
    pub valid: Vec<Arc<Sample>>,
    /// The name of each image that is validated on.
    pub valid_names: Vec<String>,
    /// What the intensities of all images were fitted to, if they were.
    pub scales: Vec<Scale>,
    /// The spacing that all images were resampled to, if they were.
    pub target_spacing: Option<TargetSpacing>,
    /// How many images have another size since then.
    pub resampled: usize,
    /// How the images became those of the network, if grey or colours were changed.
    pub conversion: Option<&'static str>,
    /// Of each image that is trained on, what an error calls it.
    described: Vec<String>,
}

impl Data {
    /// Reads images and their masks, splits them, normalises their intensities, and then resamples them: to what `fit`
    /// says of a training that starts, and else to the task's spacing. Columns are split before that, and are resampled as
    /// images of their own, so that no validation pixel has a share in one that is trained on.
    ///
    /// # Errors
    /// When a file cannot be read, sizes or axes differ, or a spacing is missing.
    pub fn load(
        split: &Split,
        task: &Task,
        fit: Option<&SpacingChoice>,
        limit: &ImageLimits,
    ) -> Result<Self> {
        check_headers(split.pairs())?;
        let (mut trained_on, mut validated_on) = (Vec::new(), Vec::new());
        let mut data = Self {
            train: Vec::new(),
            valid: Vec::new(),
            valid_names: Vec::new(),
            scales: Vec::new(),
            target_spacing: None,
            resampled: 0,
            conversion: None,
            described: Vec::new(),
        };
        let is_fitted = task.intensities.is_fitted();
        let mut infos = Vec::new();
        let mut first_channels: Option<(PathBuf, usize)> = None;
        let mut conversion_of_all = None;
        let mut read = |pair: &Pair, is_trained_on| -> Result<Sample> {
            let PairRead {
                mut sample,
                grid,
                channels,
                conversion,
            } = pair.read(task, limit)?;
            let first = first_channels.get_or_insert_with(|| (pair.image.clone(), channels));
            check_channels((&pair.image, channels), (&first.0, first.1))?;
            conversion_of_all = conversion;
            if !is_fitted {
                task.normalize(&mut sample.image)?;
            }
            infos.push(ImageInfo {
                file: pair.image.clone(),
                grid,
                size: sample.image.size.clone(),
                is_trained_on,
            });
            Ok(sample)
        };
        let (train, valid) = match split {
            Split::Columns(pairs) => (pairs, &Vec::new()),
            Split::Images { train, valid } => (train, valid),
        };
        for pair in train {
            let whole = read(pair, true)?;
            let file = pair.image.display();
            let (sample, of) = match split {
                Split::Images { .. } => (whole, format!("{file} is too small to train on: it is")),
                Split::Columns(_) => {
                    let (sample, valid) = Self::split(&whole, &pair.image)?;
                    validated_on.push(valid);
                    data.valid_names.push(pair.name());
                    let size = whole.image.shown_size();
                    let of = format!(
                        "{file} is too small to train on: it is {size}, of which there are for training"
                    );
                    (sample, of)
                }
            };
            data.described.push(of);
            trained_on.push(sample);
        }
        for pair in valid {
            validated_on.push(read(pair, false)?);
            data.valid_names.push(pair.name());
        }
        data.conversion = conversion_of_all;
        check_all_axes(split, trained_on.iter().chain(&validated_on))?;
        if is_fitted {
            let images: Vec<_> = trained_on.iter().map(|sample| &sample.image).collect();
            data.scales = task.intensities.fitted(&images);
            for sample in trained_on.iter_mut().chain(&mut validated_on) {
                task.intensities.apply(&mut sample.image, &data.scales)?;
            }
        }
        data.target_spacing = match fit {
            Some(choice) => choice.target(&infos)?,
            None => task.target_spacing.clone(),
        };
        let both = [&mut trained_on, &mut validated_on];
        data.resample(split, (&infos, fit), both, limit)?;
        data.train = trained_on.into_iter().map(Arc::new).collect();
        data.valid = validated_on.into_iter().map(Arc::new).collect();
        Ok(data)
    }

    /// How many axes the images have.
    pub fn axes(&self) -> usize {
        self.train
            .first()
            .map_or(2, |sample| sample.image.size.len())
    }

    /// Checks that there is something to learn.
    ///
    /// # Errors
    /// When the masks that are trained on have no pixel of foreground that counts.
    pub fn check_masks(&self, ignored: Option<i64>) -> Result<(), String> {
        let is_foreground = |&class: &f32| class != 0.0 && !is_ignored(class, ignored);
        let has_foreground = |sample: &Arc<Sample>| sample.mask.values.iter().any(is_foreground);
        let or_ignored = match ignored {
            Some(label) => format!(", or {label}, which the loss ignores"),
            None => String::new(),
        };
        match self.train.iter().any(has_foreground) {
            true => Ok(()),
            false => Err(format!(
                "--data: every pixel of the masks that are trained on is 0, the background{or_ignored} ({} in all): there is nothing to \
                 learn. Mark what is to be found.",
                self.train.len()
            )),
        }
    }

    /// Checks that crops of a size can be cut out of each image that is trained on.
    ///
    /// # Errors
    /// When one is too small.
    pub fn check_crop(&self, crop: &[usize]) -> Result<(), String> {
        let mut images = self.train.iter().zip(&self.described);
        images.try_for_each(|(sample, described)| {
            check_crop(&sample.image, crop).map_err(|problem| format!("{described} {problem}"))
        })
    }

    /// The columns of a sample that are trained on, and the others: those are judged with the columns beside
    /// them as context.
    ///
    /// # Errors
    /// When one of the two would be empty, or there is no room for them.
    pub fn split(sample: &Sample, file: &Path) -> Result<(Sample, Sample)> {
        let columns = sample.columns();
        let train = columns - columns / 4;
        if train == columns {
            return Err(format!(
                "{} is {}: that leaves no column for validation. Use images of 4 columns or more.",
                file.display(),
                sample.image.shown_size()
            )
            .into());
        }
        let context = train.min(CONTEXT);
        let valid = sample.columns_of(train - context, columns)?;
        Ok((sample.columns_of(0, train)?, Sample { context, ..valid }))
    }
}

impl Sample {
    /// An image and its mask, each with its file.
    ///
    /// # Errors
    /// When their sizes differ.
    pub fn new(image: (Raster, &Path), mask: (Raster, &Path)) -> Result<Self> {
        if image.0.size != mask.0.size {
            return Err(format!(
                "an image and its mask differ in size: {} is {}, {} is {}. A mask has one pixel for each of its image.",
                image.1.display(),
                image.0.shown_size(),
                mask.1.display(),
                mask.0.shown_size()
            )
            .into());
        }
        Ok(Self {
            image: image.0,
            mask: mask.0,
            context: 0,
            seed: 0,
        })
    }

    /// Writes 0 in a raster of this sample's size wherever the mask has the label that does not count.
    pub fn clear_ignored(&self, raster: &mut Raster, ignored: Option<i64>) {
        if ignored.is_none() {
            return;
        }
        for (value, &label) in raster.values.iter_mut().zip(self.mask.values.iter()) {
            if is_ignored(label, ignored) {
                *value = 0.0;
            }
        }
    }

    /// A raster of this sample's size without the context.
    ///
    /// # Errors
    /// When there is no room for it.
    pub fn judged(&self, raster: &Raster) -> Result<Raster, String> {
        raster.columns(self.context, self.columns())
    }

    /// The slice in the middle of a raster of this sample's size, without the context, and of its rows and columns every
    /// `step`-th.
    pub fn slice(&self, raster: &Raster, step: usize) -> Raster {
        let [height, width] = raster.plane();
        let size = [height, width - self.context].map(|length| length.div_ceil(step));
        let slice = raster.middle();
        raster.picked(&size, |[_, y, x]| {
            [slice, y * step, self.context + x * step]
        })
    }

    /// The length of the last axis.
    fn columns(&self) -> usize {
        self.image.columns_count()
    }

    fn columns_of(&self, start: usize, end: usize) -> Result<Self, String> {
        Ok(Self {
            image: self.image.columns(start, end)?,
            mask: self.mask.columns(start, end)?,
            context: 0,
            seed: 0,
        })
    }
}
