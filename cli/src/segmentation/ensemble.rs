//! Several trained networks that predict together: the mean of their probabilities.

use std::path::PathBuf;

use burn::tensor::{Device, Tensor};
use burn_skip::Layer;
use burn_skip::net::AnySegmentationModel;
use indicatif::ProgressBar;
use serde_json::{Value, json};

use crate::Result;
use crate::raster::Raster;
use crate::reporter::Reporter;
use crate::segmentation::batch::tensor;
use crate::segmentation::data::Task;
use crate::segmentation::model::{predicted, probabilities};
use crate::segmentation::tiled_inference::Tiles;
use crate::segmentation::trained::{EpochArg, Trained};

/// What trainings left, one or several of one task.
pub struct Trainings(Vec<Trained>);

impl Trainings {
    /// Finds each, as [`Trained::find`].
    ///
    /// # Errors
    /// When there is none, a file is missing, or their images or classes differ.
    pub fn find(paths: &[PathBuf], epoch: EpochArg) -> Result<Self> {
        let all = paths.iter().map(|path| Trained::find(path, epoch));
        let all = Self(all.collect::<Result<_>>()?);
        let first = all.first()?;
        for (other, path) in all.0.iter().zip(paths) {
            let of = |trained: &Trained| {
                [
                    ("axes", trained.options.axes),
                    ("channels", trained.task.channels),
                    ("classes", trained.task.classes),
                ]
            };
            let mut both = of(first).into_iter().zip(of(other));
            if let Some(((what, expected), (_, found))) = both.find(|(a, b)| a != b) {
                return Err(format!(
                    "--model: {} is of {found} {what}, and {} of {expected}. Networks whose probabilities are averaged \
                     must be of the same images and classes.",
                    path.display(),
                    paths[0].display()
                )
                .into());
            }
        }
        Ok(all)
    }

    /// The first of them.
    ///
    /// # Errors
    /// When there is none.
    pub fn first(&self) -> Result<&Trained> {
        Ok(self.0.first().ok_or("--model: there is none")?)
    }

    /// Prints which weights are used.
    ///
    /// # Errors
    /// When stdout cannot be written to.
    pub fn tell(&self, reporter: Reporter) -> Result<()> {
        let mut all = self.0.iter();
        all.try_for_each(|trained| reporter.line(&trained.described()))
    }

    /// The same for programs: the file of each, and its epoch, if it is known.
    pub fn used(&self) -> Value {
        let used = |trained: &Trained| json!({ "file": trained.file, "epoch": trained.epoch });
        self.0.iter().map(used).collect()
    }

    /// An image as each network takes it: its intensities are normalised as in the training of each.
    ///
    /// # Errors
    /// When a training has no range of intensities, or there is no room for a copy.
    pub fn inputs(&self, image: Raster) -> Result<Vec<Raster>> {
        let copies = (1..self.0.len()).map(|_| image.try_clone());
        let mut inputs = copies.collect::<Result<Vec<_>, _>>()?;
        inputs.push(image);
        for (input, Trained { task, .. }) in inputs.iter_mut().zip(&self.0) {
            task.normalize(input)?;
        }
        Ok(inputs)
    }

    /// Checks that all were validated on the same: a network has seen the images that another was validated on.
    ///
    /// # Errors
    /// When they were not.
    pub fn check_validation(&self) -> Result<()> {
        let mut all = self.0.iter().map(|trained| &trained.options);
        let first = &self.first()?.options;
        match all.all(|one| one.validation == first.validation && one.data == first.data) {
            true => Ok(()),
            false => Err(
                "--valid: the networks were validated on different images, so that some were trained on those of others. \
                 Name images that none has seen, with --data."
                    .into(),
            ),
        }
    }

    /// The networks with their weights. The rank is that of their axes.
    ///
    /// # Errors
    /// As [`Trained::load`].
    pub fn load<const R: usize>(&self, device: &Device) -> Result<Ensemble<R>> {
        let nets = self.0.iter().map(|trained| trained.load(device));
        let Task { classes, .. } = self.first()?.task;
        Ok(Ensemble {
            nets: nets.collect::<Result<_>>()?,
            classes,
        })
    }
}

/// Networks of one task.
pub struct Ensemble<const R: usize> {
    nets: Vec<AnySegmentationModel<R>>,
    classes: usize,
}

/// How an image is predicted.
pub struct Inference<'a> {
    pub tiles: &'a Tiles,
    pub device: &'a Device,
    /// The probability from which on a pixel is foreground, where there is one class.
    pub threshold: f32,
    /// Whether the probabilities are kept.
    pub with_probabilities: bool,
    /// Whether a progress bar of the tiles is shown.
    pub bar: bool,
}

/// What networks say of an image.
pub struct Prediction {
    /// The class of every pixel.
    pub mask: Raster,
    /// The probability of each class, a channel each, if they were asked for.
    pub probabilities: Option<Raster>,
}

impl<const R: usize> Ensemble<R> {
    /// Predicts an image, of which each network has its own input.
    ///
    /// # Errors
    /// When the tiles do not suit a network, or the device fails.
    pub fn predict(&self, inputs: &[Raster], with: &Inference) -> Result<Prediction> {
        let Some(first) = inputs.first() else {
            return Err("there is no image".into());
        };
        for (net, input) in self.nets.iter().zip(inputs) {
            with.tiles.check(net, input)?;
        }
        let (device, size, channels) = (with.device, &first.size, first.channels);
        let bar = match with.bar {
            true => ProgressBar::new(with.tiles.config(R - 2).count(size)? as u64),
            false => ProgressBar::hidden(),
        };
        let pixels = first.pixels();
        let mut mask = first.values.zeros_like(pixels)?;
        let mut maps = match with.with_probabilities {
            true => Some(first.values.zeros_like(self.classes * pixels)?),
            false => None,
        };
        let mut done = 0;
        // The inputs lie beside each other on the channel axis, and so do the logits.
        with.tiles.run(
            size,
            &bar,
            |rows| {
                let inputs = inputs
                    .iter()
                    .map(|input| tensor(input.rows(rows.clone()), device));
                Tensor::<R>::cat(inputs.collect(), 1)
            },
            |tile| {
                let nets = self.nets.iter().zip(tile.split(channels, 1));
                let logits = nets.map(|(net, tile)| Layer::forward(net, tile));
                Tensor::cat(logits.collect(), 1)
            },
            |logits| {
                let classes = self.mask(logits.clone(), with.threshold);
                let classes = classes.try_into_vec_as::<f32>()?;
                let rows = done..done + classes.len();
                mask[rows.clone()].copy_from_slice(&classes);
                if let Some(maps) = &mut maps {
                    let channels = self.mean(logits).split(1, 1);
                    for (map, channel) in maps.chunks_exact_mut(pixels).zip(channels) {
                        map[rows.clone()].copy_from_slice(&channel.try_into_vec_as::<f32>()?);
                    }
                }
                done = rows.end;
                Ok(())
            },
        )?;
        bar.finish_and_clear();
        let raster = |channels, values| Raster {
            channels,
            size: size.clone(),
            values,
        };
        Ok(Prediction {
            mask: raster(1, mask),
            probabilities: maps.map(|maps| raster(self.classes, maps)),
        })
    }

    /// The mean probability of each class.
    fn mean(&self, logits: Tensor<R>) -> Tensor<R> {
        let mut members = logits.split(self.classes, 1);
        let first = probabilities(members.remove(0));
        let add = |sum, member| sum + probabilities(member);
        members.into_iter().fold(first, add) / self.nets.len() as f64
    }

    /// The class of every pixel.
    fn mask(&self, logits: Tensor<R>, threshold: f32) -> Tensor<R> {
        match (self.nets.len(), self.classes) {
            // (A logit is exact where a probability is rounded.)
            (1, 1) if threshold == 0.5 => predicted(logits),
            (_, 1) => self.mean(logits).greater_equal_elem(threshold).float(),
            (1, _) => predicted(logits),
            _ => self.mean(logits).argmax(1).float(),
        }
    }
}
