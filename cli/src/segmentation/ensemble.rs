//! Several trained networks that predict together: the mean of their probabilities.

use std::path::PathBuf;

use burn::tensor::{Device, Tensor};
use burn_skip::Layer;
use burn_skip::net::AnySegmentationModel;
use serde_json::{Value, json};

use crate::Result;
use crate::reporter::Reporter;
use crate::segmentation::batch::tensor;
use crate::segmentation::data::Task;
use crate::segmentation::inputs::{Input, Inputs};
use crate::segmentation::model::{predicted, probabilities};
use crate::segmentation::prediction::{Found, Inference, Prediction};
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

    /// All of them.
    pub(super) fn all(&self) -> &[Trained] {
        &self.0
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

impl<const R: usize> Ensemble<R> {
    /// Predicts an image, of which each network has its own input.
    ///
    /// # Errors
    /// When the tiles do not suit a network, or the device fails.
    pub fn predict(&self, inputs: &Inputs, with: &Inference) -> Result<Prediction> {
        for (net, input) in self.nets.iter().zip(&inputs.each) {
            let fits = with.tiles.check(net, &input.image);
            fits.map_err(|error| match &input.by {
                Some(by) => format!("{by}, {error}").into(),
                None => error,
            })?;
        }
        let Some(first) = inputs.each.first() else {
            return Err("there is no image".into());
        };
        let classes = with.with_probabilities.then_some(self.classes);
        let mut found = Found::new(&inputs.size, classes, &first.image)?;
        match inputs.are_resampled() {
            true => self.predict_each(inputs, with, &mut found)?,
            false => self.predict_together(inputs, with, &mut found)?,
        }
        Ok(found.prediction())
    }

    /// All networks in one pass over the tiles: their inputs have one size.
    fn predict_together(&self, inputs: &Inputs, with: &Inference, found: &mut Found) -> Result<()> {
        let (device, size) = (with.device, &inputs.size);
        let channels = inputs.each.first().map_or(1, |input| input.image.channels);
        let bar = with.progress::<R>([size.as_slice()])?;
        // The inputs lie beside each other on the channel axis, and so do the logits.
        with.tiles.run(
            size,
            &bar,
            |rows| {
                let inputs = inputs.each.iter();
                let inputs = inputs.map(|input| tensor(input.image.rows(rows.clone()), device));
                Tensor::<R>::cat(inputs.collect(), 1)
            },
            |tile| {
                let nets = self.nets.iter().zip(tile.split(channels, 1));
                let logits = nets.map(|(net, tile)| Layer::forward(net, tile));
                Tensor::cat(logits.collect(), 1)
            },
            |logits| {
                let mask = self.mask(logits.clone(), with.threshold);
                let probabilities = with.with_probabilities.then(|| self.mean(logits));
                found.add(mask, probabilities)
            },
        )?;
        bar.finish_and_clear();
        Ok(())
    }

    /// One network after the other, each on its own grid. The logits of each go back to the grid of the file.
    fn predict_each(&self, inputs: &Inputs, with: &Inference, found: &mut Found) -> Result<()> {
        let sizes = inputs.each.iter().map(|input| input.image.size.as_slice());
        let bar = with.progress::<R>(sizes)?;
        let mut sum: Option<Tensor<R>> = None;
        for (net, Input { image, by }) in self.nets.iter().zip(&inputs.each) {
            let mut rows_of_logits = Vec::new();
            with.tiles.run(
                &image.size,
                &bar,
                |rows| tensor(image.rows(rows), with.device),
                |tile: Tensor<R>| Layer::forward(net, tile),
                |logits| {
                    let data = logits.into_data().convert::<f32>();
                    rows_of_logits.push(Tensor::<R>::from_data(data, &Device::flex()));
                    Ok(())
                },
            )?;
            let logits = Tensor::cat(rows_of_logits, 2);
            let logits = match by {
                Some(by) => by.back(logits, &inputs.size),
                None => logits,
            };
            let probabilities = probabilities(logits);
            sum = Some(match sum {
                Some(sum) => sum + probabilities,
                None => probabilities,
            });
        }
        bar.finish_and_clear();
        let Some(sum) = sum else {
            return Err("there is no image".into());
        };
        let mean = sum / self.nets.len() as f64;
        found.add(
            self.classes_of(mean.clone(), with.threshold),
            with.with_probabilities.then_some(mean),
        )
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
            (1, classes) if classes > 1 => predicted(logits),
            _ => self.classes_of(self.mean(logits), threshold),
        }
    }

    /// The class of every pixel by the mean probabilities.
    fn classes_of(&self, mean: Tensor<R>, threshold: f32) -> Tensor<R> {
        match self.classes {
            1 => mean.greater_equal_elem(threshold).float(),
            _ => mean.argmax(1).float(),
        }
    }
}
