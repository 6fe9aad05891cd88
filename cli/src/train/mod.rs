//! `segment train`: data, model and optimizer are handed to Burn's trainer.

use std::sync::{Arc, Mutex, PoisonError};

use burn::data::dataloader::{DataLoader, DataLoaderBuilder};
use burn::data::dataset::InMemDataset;
use burn::optim::AdamConfig;
use burn::optim::lr_scheduler::cosine::CosineAnnealingLrSchedulerConfig;
use burn::tensor::Device;
use burn::train::checkpoint::KeepLastNCheckpoints;
use burn::train::logger::InMemoryMetricLogger;
use burn::train::metric::LossMetric;
use burn::train::{Learner, SupervisedTraining};
use burn_skip::net::NetConfig;
use burn_skip::plan::{Plan, Trace};

use crate::batch::{Batch, Stack};
use crate::checkpoints;
use crate::crops::RandomCrops;
use crate::data::Data;
use crate::find::{Tiles, keeps_size};
use crate::history::History;
use crate::metrics::OverlapMetric;
use crate::model::Segmenter;
use crate::options::{Options, Start, TrainArgs};
use crate::patience::Patience;
use crate::progress::{Progress, Shown, State};
use crate::run_folder::{RunFolder, save};
use crate::{Result, report, weights};

/// Trains, and writes the model, its history and two pictures.
///
/// # Errors
/// When an option, the data or a file is at fault.
pub fn run(args: TrainArgs) -> Result<()> {
    let Start {
        options,
        net,
        history,
    } = args.resolve()?;
    let data = Data::load(&options.data, options.task(&net), options.crop)?;
    let plan = net.plan([
        options.batch,
        net.encoder.in_channels(),
        options.crop,
        options.crop,
    ]);
    fits_memory(&plan, &options)?;
    args.devices.check()?;
    let devices = match args.dry_run {
        true => vec![Device::flex()],
        false => args.devices.open()?,
    };
    // What Burn trains must live on a device that records gradients.
    let main = devices[0].clone().autodiff();
    main.seed(options.seed);
    let model = Segmenter::new(&net, &main)?;
    suits_data(&model, &data, options.crop)?;
    report::start(&args, &options, &plan, &data)?;
    if args.dry_run {
        return Ok(());
    }

    let folder = RunFolder::new(&args.out);
    let _lock = folder.occupy()?;
    checkpoints::sweep(&folder)?;
    let history = match history {
        Some(mut history) => {
            let fresh = || Segmenter::new(&net, &devices[0]);
            if let Some(damage) = checkpoints::rewind(&folder, &mut history, fresh)? {
                let epoch = history.epochs.len();
                args.talk
                    .say(&format!("{damage}: going back to epoch {epoch}"))?;
            }
            save(&folder.history(), &history)?;
            history
        }
        None => {
            let net = NetConfig::Unet(net.clone());
            if !args.overwrite {
                folder.check_unused(&net)?;
            }
            checkpoints::clear(&folder)?;
            save(&folder.net(), &net)?;
            save(&folder.history(), &History::default())?;
            History::default()
        }
    };
    save(&folder.options(), &options)?;

    let epochs = history.epochs.len();
    let is_stuck = options
        .patience
        .is_some_and(|patience| history.is_stuck(patience));
    let trained = if epochs >= options.epochs || is_stuck {
        args.talk.say(&match is_stuck {
            true => format!("stopped after epoch {epochs}, for the IoU no longer grew"),
            false => format!("all {epochs} epochs are done; ask for more with --epochs N"),
        })?;
        let newest = checkpoints::weights_file(&folder, epochs);
        weights::load(Segmenter::new(&net, &devices[0])?, &newest)?
    } else {
        if epochs > 0 {
            args.talk.say(&format!("going on after epoch {epochs}"))?;
        }
        let training = Training {
            args: &args,
            folder: &folder,
            options: &options,
            data: &data,
            history: Arc::new(Mutex::new(history)),
        };
        training.launch(model, &devices)?
    };
    report::write(
        &args,
        &folder,
        trained,
        &options,
        &data.valid[0],
        &devices[0],
    )
}

/// Sees that a step fits into memory.
fn fits_memory(plan: &Plan, options: &Options) -> Result<()> {
    const MOST: u64 = 64 << 30;
    if let Some(error) = plan.error() {
        return Err(format!(
            "the network does not suit crops of {0} x {0}: {error}",
            options.crop
        )
        .into());
    }
    let bytes = plan.memory.training;
    if bytes > MOST {
        return Err(format!(
            "a step of {} crops of {1} x {1} needs {2:.0} GiB, and {3} are the most that this program takes. Use a \
             smaller --batch, --crop or network.",
            options.batch,
            options.crop,
            bytes as f64 / f64::from(1 << 30),
            MOST >> 30
        )
        .into());
    }
    Ok(())
}

/// Lets the network say now, and not in the middle of the training, if a size does not suit it.
fn suits_data(model: &Segmenter, data: &Data, crop: usize) -> Result<()> {
    keeps_size(&model.unet, data.train[0].image.channels, [crop, crop])?;
    for sample in &data.valid {
        let size = [sample.image.height, sample.image.width];
        keeps_size(&model.unet, sample.image.channels, size)?;
        // As a picture is made of the first of them at the end.
        Tiles::default().check(&model.unet, &sample.image)?;
    }
    Ok(())
}

/// A training that is about to run.
struct Training<'a> {
    args: &'a TrainArgs,
    folder: &'a RunFolder,
    options: &'a Options,
    data: &'a Data,
    history: Arc<Mutex<History>>,
}

impl Training<'_> {
    fn launch(self, model: Segmenter, devices: &[Device]) -> Result<Segmenter> {
        let Self { args, options, .. } = self;
        let epochs_done = self.epochs_done();
        let (train, valid) = self.loaders(epochs_done, &devices[0]);
        let recording = devices.iter().map(|device| device.clone().autodiff());
        let mut training = SupervisedTraining::new(self.folder.path(), train, valid)
            .num_epochs(options.epochs)
            .with_training_strategy(args.devices.strategy(recording.collect()).into())
            .metric_train_numeric(LossMetric::new())
            .metric_valid_numeric(LossMetric::new())
            .metric_valid_numeric(OverlapMetric::iou())
            .metric_valid_numeric(OverlapMetric::dice())
            // The history holds them all; Burn's own log files would say it twice.
            .with_metric_logger(InMemoryMetricLogger::new())
            .with_application_logger(None)
            .with_default_checkpointers()
            .with_checkpointing_strategy(KeepLastNCheckpoints::new(2))
            .early_stopping(Patience {
                epochs: options.patience,
                history: self.history.clone(),
            });
        if epochs_done > 0 {
            training = training.checkpoint(epochs_done);
        }
        let stopped = Arc::new(Mutex::new(None));
        let progress = Progress {
            batch: options.batch * args.devices.count(),
            talk: args.talk,
            shown: match args.talk.is_watched() && !args.plain {
                true => Shown::dashboard(training.interrupter(), epochs_done),
                false => Shown::bar(),
            },
            history: self.history.clone(),
            file: self.folder.history(),
            interrupter: training.interrupter(),
            stopped: stopped.clone(),
            state: State::default(),
        };

        // Each step is the work of all devices.
        let steps = options.epochs * options.steps / args.devices.count();
        let schedule = CosineAnnealingLrSchedulerConfig::new(options.learning_rate, steps.max(1));
        let learner = Learner::new(model, AdamConfig::new().init(), schedule.init()?);
        let result = training.renderer(Box::new(progress)).launch(learner);
        // Gives the terminal back.
        drop(result.renderer);
        let stopped = stopped
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match (stopped, result.error) {
            (Some(reason), _) => Err(self.unfinished(&reason)),
            (None, Some(error)) => Err(self.unfinished(&error.to_string())),
            (None, None) => Ok(result.model),
        }
    }

    fn unfinished(&self, reason: &str) -> Box<dyn std::error::Error> {
        // Each of Burn's layers of errors says the same in front.
        let reason = reason.rsplit("I/O error: ").next().unwrap_or(reason);
        let kept = match self.epochs_done() {
            0 => "",
            _ => ". --resume goes on after the last whole checkpoint",
        };
        let reason = reason.trim_end_matches(['`', '.']);
        format!("the training stopped: {reason}{kept}.").into()
    }

    fn epochs_done(&self) -> usize {
        let history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        history.epochs.len()
    }

    /// Random crops for training, whole validation columns for validation.
    fn loaders(
        &self,
        epochs_done: usize,
        device: &Device,
    ) -> (Arc<dyn DataLoader<Batch>>, Arc<dyn DataLoader<Batch>>) {
        let options = self.options;
        let crops = RandomCrops::new(
            self.data.train.clone(),
            options.crop,
            options.seed,
            options.steps * options.batch,
            epochs_done,
        );
        let train = DataLoaderBuilder::new(Stack)
            .batch_size(options.batch)
            .set_device(device.clone())
            .build(crops);
        // One at a time, for they may differ in size.
        let valid = DataLoaderBuilder::new(Stack)
            .batch_size(1)
            .set_device(device.clone())
            .build(InMemDataset::new(self.data.valid.clone()));
        (train, valid)
    }
}
