//! `burn-skip train`: data, model and optimizer are handed to Burn's trainer.

mod ahead;
mod args;
pub mod augmentation;
mod checkpoints;
mod checks;
mod crop_dataset;
mod crops;
mod foreground;
pub mod history;
mod html;
mod initial_weights;
mod kept_epochs;
pub mod kept_weights;
pub mod loss_memory;
mod network_names;
pub mod optimizer;
pub mod options;
mod patience;
mod progress;
mod recipe;
pub mod report;
pub mod run_folder;
mod schedule;
mod shared_devices;
pub mod step_memory;
mod stop;
mod training;
mod unchanged;

use std::fs::File;
use std::sync::{Arc, Mutex};

use burn::module::Module;
use burn::tensor::Device;
use burn_skip::net::TraceSupervised;
use burn_skip::plan::Plan;

pub use args::TrainArgs;

use crate::segmentation::class_names;
use crate::segmentation::data::Data;
use crate::segmentation::lengths::shape;
use crate::segmentation::model::Segmenter;
use crate::segmentation::pairs::pairs;
use crate::{Result, allocator};
use args::Start;
use foreground::Foreground;
use history::History;
use initial_weights::InitialWeights;
use loss_memory::LossMemory;
use options::check_axes;
use recipe::Part;
use run_folder::{RunFolder, save};
use step_memory::{StepMemory, StepOptions};
use training::Training;

/// Trains, and writes the model, its history and two pictures.
///
/// # Errors
/// When an option, the data or a file is at fault.
pub fn run(args: &TrainArgs) -> Result<()> {
    let folder = RunFolder::new(&args.out);
    let resumes = args.resume && folder.options().is_file();
    // A training is read under its lock: else another process could extend it in the meantime.
    let trains = !args.dry_run && args.show_augmentation.is_none();
    let lock = match resumes && trains {
        true => Some(folder.lock()?),
        false => None,
    };
    let start = match resumes {
        true => args.resumed(&folder)?,
        false => args.fresh()?,
    };
    let (start, data) = read(args, &folder, start)?;
    if let Some(picture) = &args.show_augmentation {
        return augmentation::show(args, picture, &start, &data);
    }
    // From here the rank of the tensors is known.
    match start.options.axes {
        3 => run_on::<5>(args, &folder, lock, start, data),
        _ => run_on::<4>(args, &folder, lock, start, data),
    }
}

/// Reads the data, which tell what the command line does not.
fn read(args: &TrainArgs, folder: &RunFolder, mut start: Start) -> Result<(Start, Data)> {
    let options = &mut start.options;
    let ignored = options.ignored(start.model.out_channels)?;
    let pairs = pairs("--data", options.data.as_deref())?;
    let split = options.validation.split(pairs)?;
    args.limit.memory.default_to(folder.path());
    checks::files(args, folder, &split)?;
    let fit = start.history.is_none().then_some(&options.spacing);
    let data = Data::load(&split, &options.task(&start.model), fit, &args.limit)?;
    if start.history.is_none() {
        options.axes = data.axes();
        options.scales.clone_from(&data.scales);
        options.target_spacing.clone_from(&data.target_spacing);
        options.class_names = class_names::read(options.data.as_deref(), start.model.out_channels)?;
    } else if options.axes != data.axes() {
        return Err(format!(
            "--resume: the images have {} axes, and had {} when the training began. Start anew with --overwrite.",
            data.axes(),
            options.axes
        )
        .into());
    }
    check_axes(&start.model, start.options.axes, &folder.net())?;
    data.check_masks(ignored)?;
    data.check_crop(&start.options.crop()?)?;
    Ok((start, data))
}

fn run_on<const R: usize>(
    args: &TrainArgs,
    folder: &RunFolder,
    lock: Option<File>,
    start: Start,
    data: Data,
) -> Result<()> {
    let mut job = Job::<R>::prepare(args, start, data)?;
    report::start(args, &job)?;
    if args.dry_run {
        return Ok(());
    }
    let _lock = match lock {
        Some(lock) => lock,
        None => lock_fresh(args, folder, &job.start)?,
    };
    checkpoints::sweep(folder)?;
    let history = match &job.start.history {
        Some(history) => rewound(args, folder, history.clone(), &job)?,
        None => begin(folder, &job.start)?,
    };
    save(&folder.options(), &job.start.options)?;
    if history.epochs.is_empty() && job.start.history.is_some() {
        // It was killed in its first epoch, or rewound to its beginning.
        job.load_weights(args)?;
    }
    job.train(args, folder, history)?;
    report::write(args, folder, &job)
}

/// Locks the folder of a training that starts.
fn lock_fresh(args: &TrainArgs, folder: &RunFolder, start: &Start) -> Result<File> {
    let net = start.net.clone();
    // Before the lock, so that a folder that is refused stays as it is; and again under it.
    if !args.overwrite && !args.resume {
        folder.check_unused(&net)?;
    }
    let lock = folder.lock()?;
    if args.resume && folder.options().is_file() {
        return Err(format!(
            "--resume: another training has begun in {} in the meantime. Run the command again to continue it.",
            folder.path().display()
        )
        .into());
    }
    if !args.overwrite {
        folder.check_unused(&net)?;
    }
    Ok(lock)
}

/// The history up to the last checkpoint that can be read.
fn rewound<const R: usize>(
    args: &TrainArgs,
    folder: &RunFolder,
    mut history: History,
    job: &Job<R>,
) -> Result<History> {
    let ema = job.start.options.ema;
    let fresh = || {
        let fresh = Segmenter::<R>::new(&job.start.model, &job.devices[0])?;
        Ok(fresh.with_average(ema, 0))
    };
    if let Some(damage) = checkpoints::rewind(folder, &mut history, fresh)? {
        let epoch = history.epochs.len();
        args.reporter
            .line(&format!("{damage}: going back to epoch {epoch}"))?;
    }
    save(&folder.history(), &history)?;
    Ok(history)
}

/// Writes the first files of a training, in place of those of an earlier one.
fn begin(folder: &RunFolder, start: &Start) -> Result<History> {
    checkpoints::clear(folder)?;
    save(&folder.net(), &start.net)?;
    save(&folder.history(), &History::default())?;
    Ok(History::default())
}

/// All that a training needs, checked before anything is written.
struct Job<const R: usize> {
    start: Start,
    data: Data,
    plan: Plan,
    /// What the loss holds.
    loss: LossMemory,
    devices: Vec<Device>,
    model: Segmenter<R>,
    /// The bytes that were in use before there was a model.
    in_use: usize,
    /// What the model was loaded from, if it was.
    initial: Option<InitialWeights>,
}

impl<const R: usize> Job<R> {
    fn prepare(args: &TrainArgs, start: Start, data: Data) -> Result<Self> {
        let in_use = allocator::in_use();
        let Start {
            options,
            model: net,
            ..
        } = &start;
        let crop = options.crop()?;
        let loss = options.loss::<R>(net)?;
        let steps = options.total_steps(args.devices.count());
        options
            .schedule
            .check(steps)
            .map_err(|e| format!("--{e}"))?;
        let ignored = options.ignored(net.out_channels)?;
        Foreground::new(&data.train, options.foreground, ignored)?;
        let input = shape::<R>(options.batch, net.encoder.in_channels(), &crop);
        let plan = net.plan_supervised(input);
        let loss_memory = LossMemory::measured::<R>(&loss, net.out_channels);
        checks::memory(&plan, options, loss_memory, &crop)?;
        args.devices.check()?;
        let devices = match args.dry_run {
            true => vec![Device::flex()],
            false => args.devices.open()?,
        };
        // What Burn trains must live on a device that records gradients.
        let main = devices[0].clone().autodiff();
        main.seed(options.seed);
        let model = Segmenter::new(net, &main)?.with_loss(loss);
        let model = model.with_clip_norm(options.clip_norm);
        checks::sizes(&model, &data, &crop)?;
        let mut job = Self {
            start,
            data,
            plan,
            loss: loss_memory,
            devices,
            model,
            in_use,
            initial: None,
        };
        if job.start.history.is_none() {
            job.initial = job.initial_weights()?;
        }
        Ok(job)
    }

    /// Loads the weights that the training starts from, if they are of a file.
    fn initial_weights(&mut self) -> Result<Option<InitialWeights>> {
        let path = self.start.options.weights.as_deref();
        let loaded = path.map(|path| InitialWeights::load(&mut self.model.net, path));
        loaded.transpose()
    }

    /// The same, in a training that was begun before.
    fn load_weights(&mut self, args: &TrainArgs) -> Result<()> {
        self.initial = self.initial_weights()?;
        report::initial_weights(args, self)
    }

    /// The model as the training of the epochs that are left takes it.
    fn model_after(&self, args: &TrainArgs, history: &History) -> Segmenter<R> {
        let options = &self.start.options;
        let mut model = self.model.clone();
        if let Some(Part::Encoder) = options.freeze {
            model.net.encoder = model.net.encoder.freeze();
        }
        model.with_average(options.ema, history.updates(args.devices.count()))
    }

    /// Trains the epochs that are left.
    fn train(&self, args: &TrainArgs, folder: &RunFolder, history: History) -> Result<()> {
        let options = &self.start.options;
        let epochs = history.epochs.len();
        let is_stuck = options
            .patience
            .is_some_and(|patience| history.is_stuck(patience));
        if epochs >= options.epochs || is_stuck {
            args.reporter.line(&match is_stuck {
                true => format!("stopped after epoch {epochs}: the IoU no longer grew"),
                false => format!("all {epochs} epochs are done; ask for more with --epochs N"),
            })?;
            return Ok(());
        }
        if epochs > 0 {
            args.reporter
                .line(&format!("continuing after epoch {epochs}"))?;
        }
        let model = self.model_after(args, &history);
        let planned = step_memory::planned(
            &self.plan,
            StepOptions {
                crops_ahead: args.workers > 0,
                devices: args.devices.count(),
                keeps_initial: epochs == 0 || self.initial.is_some(),
                ..options.step(self.loss)
            },
        );
        let memory = StepMemory::new(planned, self.in_use);
        let training = Training {
            args,
            folder,
            options,
            memory: args.devices.share_memory().then_some(memory),
            data: &self.data,
            history: Arc::new(Mutex::new(history)),
        };
        training.launch(model, &self.devices)
    }
}
