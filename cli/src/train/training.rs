//! A training by Burn's trainer.

use std::sync::{Arc, Mutex, PoisonError};

use burn::data::dataloader::{DataLoader, DataLoaderBuilder};
use burn::data::dataset::InMemDataset;
use burn::tensor::Device;
use burn::train::logger::InMemoryMetricLogger;
use burn::train::metric::LossMetric;
use burn::train::{Learner, SupervisedTraining};

use super::TrainArgs;
use super::crop_dataset::{CropCounts, CropDataset};
use super::crops::Crops;
use super::foreground::Foreground;
use super::history::History;
use super::kept_epochs::KeptEpochs;
use super::options::Options;
use super::patience::Patience;
use super::progress::{Progress, ProgressParts};
use super::run_folder::RunFolder;
use super::step_memory::StepMemory;
use super::stop::StopReason;
use crate::Result;
use crate::segmentation::batch::{Batch, Stack, Whole};
use crate::segmentation::data::Data;
use crate::segmentation::metrics::{EpochScores, LastScores};
use crate::segmentation::model::Segmenter;

/// What the trainer reads: both share the samples of the data.
struct Loaders<const R: usize> {
    train: Arc<dyn DataLoader<Batch<R>>>,
    valid: Arc<dyn DataLoader<Whole>>,
}

/// A training that is about to run.
pub struct Training<'a> {
    pub args: &'a TrainArgs,
    pub folder: &'a RunFolder,
    pub options: &'a Options,
    pub data: &'a Data,
    /// Measures the memory of a step, where this can be measured.
    pub memory: Option<StepMemory>,
    pub history: Arc<Mutex<History>>,
}

impl Training<'_> {
    /// Trains the epochs that are left.
    ///
    /// # Errors
    /// When the loss diverges, or a file cannot be written.
    pub fn launch<const R: usize>(mut self, model: Segmenter<R>, devices: &[Device]) -> Result<()> {
        let Self { args, options, .. } = self;
        let epochs_done = self.epochs_done();
        let classes = model.net.config().out_channels;
        let Loaders { train, valid } = self.loaders(epochs_done, classes, &devices[0])?;
        let scores = LastScores::default();
        let recording = devices.iter().map(|device| device.clone().autodiff());
        let mut training = SupervisedTraining::new(self.folder.path(), train, valid)
            .num_epochs(options.epochs)
            .with_training_strategy(args.devices.strategy(recording.collect()).into())
            .metric_train_numeric(LossMetric::new())
            .metric_valid_numeric(LossMetric::new())
            .metric_valid(EpochScores::new(classes, scores.clone()))
            // The history has all of them; Burn's own log files would repeat it.
            .with_metric_logger(InMemoryMetricLogger::new())
            .with_application_logger(None)
            .with_default_checkpointers()
            .with_checkpointing_strategy(KeptEpochs {
                history: self.history.clone(),
                folder: RunFolder::new(self.folder.path()),
            })
            .early_stopping(Patience {
                epochs: options.patience,
                history: self.history.clone(),
            });
        if epochs_done > 0 {
            training = training.checkpoint(epochs_done);
        }
        let stopped = Arc::new(Mutex::new(None));
        let progress = Progress::new(ProgressParts {
            batch: options.batch * args.devices.count(),
            reporter: args.reporter,
            scores,
            memory: self.memory.take(),
            history: self.history.clone(),
            history_file: self.folder.history(),
            interrupter: training.interrupter(),
            stopped: stopped.clone(),
        });
        let rate = options.learning_rate;
        let encoder_rate = options.encoder_rate.map(|factor| factor * rate);
        let steps = options.total_steps(args.devices.count());
        let rates = options.schedule.init(rate, steps, encoder_rate)?;
        let learner = Learner::new(model, options.optimizer.init(), rates);
        let result = training.renderer(Box::new(progress)).launch(learner);
        drop(result.renderer);
        let stopped = stopped
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match stopped.or(result.error.map(StopReason::Trainer)) {
            Some(reason) => Err(self.unfinished(&reason)),
            None => Ok(()),
        }
    }

    fn unfinished(&self, reason: &StopReason) -> Box<dyn std::error::Error> {
        let kept = match self.epochs_done() {
            0 => "",
            _ => ". --resume continues after the last complete checkpoint",
        };
        format!("the training stopped: {reason}{kept}.").into()
    }

    fn epochs_done(&self) -> usize {
        let history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        history.epochs.len()
    }

    /// Random crops for training, whole validation columns for validation.
    fn loaders<const R: usize>(
        &self,
        epochs_done: usize,
        classes: usize,
        device: &Device,
    ) -> Result<Loaders<R>> {
        let options = self.options;
        let ignored = options.ignored(classes)?;
        let foreground = Foreground::new(&self.data.train, options.foreground, ignored)?;
        let crops = Crops::new(
            self.data.train.clone(),
            options.crop()?,
            options.transforms(classes),
            options.seed,
        )
        .with_foreground(foreground);
        // (The crops of the next step are cut during this one.)
        let crops = CropDataset::new(
            crops,
            &CropCounts {
                per_epoch: options.steps * options.batch,
                epochs_done,
                epochs: options.epochs,
                workers: self.args.workers.into(),
                lead: options.batch,
            },
        );
        let train = DataLoaderBuilder::new(Stack)
            .batch_size(options.batch)
            .set_device(device.clone())
            .build(crops);
        // One at a time, since they may differ in size.
        let valid = DataLoaderBuilder::new(Stack)
            .batch_size(1)
            .set_device(device.clone())
            .build(InMemDataset::new(self.data.valid.clone()));
        Ok(Loaders { train, valid })
    }
}
