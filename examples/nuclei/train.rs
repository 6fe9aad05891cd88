//! `nuclei train`: data, model and optimizer are handed to Burn's trainer.

use std::path::Path;
use std::sync::Arc;

use burn::data::dataloader::{DataLoader, DataLoaderBuilder};
use burn::data::dataset::InMemDataset;
use burn::module::Module;
use burn::optim::AdamConfig;
use burn::optim::lr_scheduler::cosine::CosineAnnealingLrSchedulerConfig;
use burn::tensor::Device;
use burn::train::checkpoint::KeepLastNCheckpoints;
use burn::train::logger::InMemoryMetricLogger;
use burn::train::metric::LossMetric;
use burn::train::{Learner, LearningResult, SupervisedTraining};
use burn_skip::net::UnetConfig;

use crate::batch::{Batch, Stack};
use crate::crops::RandomCrops;
use crate::data::Data;
use crate::history::History;
use crate::metrics::OverlapMetric;
use crate::model::{Segmenter, check_size};
use crate::options::{Options, TrainArgs};
use crate::progress::Progress;
use crate::{Result, checkpoints, files, report};

const LEARNING_RATE: f64 = 4e-3;

/// Trains, and writes the model, its history and two pictures.
///
/// # Errors
/// When an option, the data or a file is at fault.
pub fn run(args: TrainArgs) -> Result<()> {
    let (options, network) = args.resolve()?;
    let data = Data::load(&options.data, options.crop)?;
    check_sizes(&network, &data, options.crop)?;
    options.check_size(&network)?;
    let device = args.device.open()?;
    // What Burn trains must live on a device that records gradients.
    let training_device = device.clone().autodiff();
    training_device.seed(options.seed);
    let model = Segmenter::new(&network, &training_device)?;

    files::make_folder(&args.out)?;
    let history = if args.resume {
        resumable(&args.out, &options, &network, &device)?
    } else {
        checkpoints::clear(&args.out)?;
        History::new(Vec::new())
    };
    files::save(&args.out.join("config.json"), &network)?;
    files::save(&args.out.join("training.json"), &options)?;
    files::save(&args.out.join("history.json"), &history)?;

    report::say(&format!(
        "training a U-Net of widths {:?} ({} parameters): {} epochs of {} steps of {} crops of {} x {}",
        network.encoder.feature_channels(),
        model.num_params(),
        options.epochs,
        options.steps,
        options.batch,
        options.crop,
        options.crop
    ))?;
    let trained = launch(&args.out, &options, model, &data, history, &device)?;
    report::write(&args.out, trained, &data.valid[0], &device)?;
    if options.is_reference() && network.encoder.feature_channels() == [16, 32, 64] {
        report::say(
            "reference (PyTorch, 2 threads, max pool, nearest upsampling, learning rate 3e-3): \
             IoU 0.907 after 300 steps in 46 s",
        )?;
    }
    Ok(())
}

/// Lets the network say now, and not in the middle of the training, if a size does not suit it.
fn check_sizes(network: &UnetConfig, data: &Data, crop: usize) -> Result<()> {
    check_size(network, crop, crop)?;
    for sample in &data.valid {
        check_size(network, sample.image.height, sample.image.width)?;
    }
    Ok(())
}

/// The history up to the checkpoint from which to go on.
fn resumable(
    out: &Path,
    options: &Options,
    network: &UnetConfig,
    device: &Device,
) -> Result<History> {
    let mut history: History = files::load(&out.join("history.json"))?;
    let mut epoch = checkpoints::rewind(out, &mut history)?;
    let newest = checkpoints::verify(out, epoch, Segmenter::new(network, device)?);
    if let Err(damage) = newest {
        // The one before it may be whole; what is wrong with the newest is what to be told of else.
        history.epochs.pop();
        let Ok(earlier) = checkpoints::rewind(out, &mut history) else {
            return Err(damage);
        };
        if checkpoints::verify(out, earlier, Segmenter::new(network, device)?).is_err() {
            return Err(damage);
        }
        report::say(&format!("{damage}: going back to epoch {earlier}"))?;
        epoch = earlier;
    }
    if epoch >= options.epochs {
        return Err(format!(
            "--resume: the training in {} already has {epoch} epochs; ask for more with --epochs N",
            out.display()
        )
        .into());
    }
    report::say(&format!("going on after epoch {epoch}"))?;
    Ok(history)
}

fn launch(
    out: &Path,
    options: &Options,
    model: Segmenter,
    data: &Data,
    history: History,
    device: &Device,
) -> Result<Segmenter> {
    let epochs_done = history.epochs.len();
    let (train, valid) = loaders(options, data, epochs_done, device);
    let mut training = SupervisedTraining::new(out, train, valid)
        .num_epochs(options.epochs)
        .metric_train_numeric(LossMetric::new())
        .metric_valid_numeric(LossMetric::new())
        .metric_valid_numeric(OverlapMetric::iou())
        .metric_valid_numeric(OverlapMetric::dice())
        // The renderer writes the history; Burn's own log files would say it twice.
        .with_metric_logger(InMemoryMetricLogger::new())
        .with_application_logger(None)
        .with_default_checkpointers()
        .with_checkpointing_strategy(KeepLastNCheckpoints::new(2));
    if epochs_done > 0 {
        training = training.checkpoint(epochs_done);
    }
    let progress = Progress::new(
        options.batch,
        history,
        out.join("history.json"),
        training.interrupter(),
    );

    let schedule =
        CosineAnnealingLrSchedulerConfig::new(LEARNING_RATE, options.epochs * options.steps);
    let learner = Learner::new(model, AdamConfig::new().init(), schedule.init()?);
    finished(training.renderer(Box::new(progress)).launch(learner))
}

/// Random crops for training, whole validation columns for validation.
fn loaders(
    options: &Options,
    data: &Data,
    epochs_done: usize,
    device: &Device,
) -> (Arc<dyn DataLoader<Batch>>, Arc<dyn DataLoader<Batch>>) {
    let crops = RandomCrops::new(
        data.train.clone(),
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
        .build(InMemDataset::new(data.valid.clone()));
    (train, valid)
}

fn finished(result: LearningResult<Segmenter>) -> Result<Segmenter> {
    if let Some(error) = result.error {
        return Err(format!("the training stopped: {error}").into());
    }
    if let Some(stop) = result.interrupted {
        let reason = stop.reason.unwrap_or_else(|| "it was interrupted".into());
        return Err(format!("the training stopped: {reason}").into());
    }
    Ok(result.model)
}
