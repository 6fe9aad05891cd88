//! Several trained networks that predict together: the mean of their probabilities.

use std::ops::Range;
use std::path::PathBuf;

use burn::tensor::{Device, Tensor};
use burn_skip::Layer;
use burn_skip::net::AnySegmentationModel;
use serde_json::{Value, json};

use crate::Result;
use crate::raster::Raster;
use crate::reporter::Reporter;
use crate::segmentation::batch::tensor;
use crate::segmentation::data::Task;
use crate::segmentation::inputs::Inputs;
use crate::segmentation::model::{predicted, probabilities};
use crate::segmentation::prediction::{Found, Inference, Prediction, RowByRow};
use crate::segmentation::spacing::ResizeByRows;
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
            fits.map_err(|error| match &input.resampler {
                Some(resampler) => format!("{resampler}, {error}").into(),
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
                let logits = logits.split(self.classes, 1);
                self.judge(logits, with, found)
            },
        )?;
        bar.finish_and_clear();
        Ok(())
    }

    /// One network after the other, each on its own grid. The logits of each go back to the grid of the file. They lie
    /// where the budget of the image has room for them.
    fn predict_each(&self, inputs: &Inputs, with: &Inference, found: &mut Found) -> Result<()> {
        let sizes = inputs.each.iter().map(|input| input.image.size.as_slice());
        let bar = with.progress::<R>(sizes)?;
        let mut all_logits = Vec::new();
        for (net, input) in self.nets.iter().zip(&inputs.each) {
            let image = &input.image;
            let mut logits = RowByRow::new(self.classes, &image.size, image)?;
            with.tiles.run(
                &image.size,
                &bar,
                |rows| tensor(image.rows(rows), with.device),
                |tile: Tensor<R>| Layer::forward(net, tile),
                |rows| logits.add(rows),
            )?;
            all_logits.push(logits.raster());
        }
        bar.finish_and_clear();
        let each = all_logits.iter().zip(&inputs.each);
        let each: Vec<_> = each
            .map(|(logits, input)| match &input.resampler {
                Some(resampler) => NetworkLogits::Resampled(resampler.back(logits, &inputs.size)),
                None => NetworkLogits::AsItIs(logits),
            })
            .collect();
        let resampled = each.iter().find_map(|logits| match logits {
            NetworkLogits::Resampled(logits) => Some(logits.parts()),
            NetworkLogits::AsItIs(_) => None,
        });
        for rows in resampled.into_iter().flatten() {
            let logits = each.iter().map(|logits| {
                let rows = logits.rows(rows.clone())?;
                Ok(tensor::<R>(rows, &Device::flex()))
            });
            self.judge(logits.collect::<Result<_>>()?, with, found)?;
        }
        Ok(())
    }

    /// Adds rows of which each network says its logits: the one rule of what is predicted.
    fn judge(&self, logits: Vec<Tensor<R>>, with: &Inference, found: &mut Found) -> Result<()> {
        let mean = |logits: Vec<Tensor<R>>| {
            let sum = logits.into_iter().map(probabilities);
            let sum = sum.reduce(|sum, one| sum + one);
            sum.map(|sum| sum / self.nets.len() as f64)
        };
        // (A logit is exact where a probability is rounded.)
        let by_logit = match (&logits[..], self.classes) {
            ([logits], 1) if with.threshold == 0.5 => Some(predicted(logits.clone())),
            ([logits], classes) if classes > 1 => Some(predicted(logits.clone())),
            _ => None,
        };
        let mean = match (&by_logit, with.with_probabilities) {
            (Some(_), false) => None,
            _ => mean(logits),
        };
        match (by_logit, mean) {
            (Some(mask), mean) => found.add(mask, mean),
            (None, Some(mean)) => {
                let mask = self.classes_of(mean.clone(), with.threshold);
                found.add(mask, Some(mean))
            }
            (None, None) => Err("there is no network".into()),
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

/// The logits of a network.
enum NetworkLogits<'r> {
    /// On the grid of the file.
    AsItIs(&'r Raster),
    /// On one of their own.
    Resampled(ResizeByRows<'r>),
}

impl NetworkLogits<'_> {
    /// Rows on the grid of the file.
    fn rows(&self, rows: Range<usize>) -> Result<Raster> {
        match self {
            Self::AsItIs(logits) => Ok(logits.rows(rows)),
            Self::Resampled(logits) => logits.rows(rows),
        }
    }
}
