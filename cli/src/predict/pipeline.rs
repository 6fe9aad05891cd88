//! Images one after the other: while a network computes, the next image is read and the last one is written.

use std::collections::HashSet;
use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use indicatif::ProgressBar;
use serde_json::json;

use super::PredictArgs;
use super::folder::{Input, Work};
use super::output::Products;
use crate::Result;
use crate::instances::InstanceOptions;
use crate::raster::Grid;
use crate::segmentation::ensemble::{Ensemble, Trainings};
use crate::segmentation::prediction::{Inference, Prediction};
use crate::train::report::images;

/// What comes out of the network for an image, or what is wrong with the image.
type Predicted<'w> = (&'w Work, Result<Done, String>);

/// The prediction for an image, where it lies, and remarks about it.
struct Done {
    prediction: Prediction,
    grid: Grid,
    remarks: Vec<String>,
}

/// Segments all images of a folder. One that cannot be is reported, and the others are segmented all the same.
///
/// # Errors
/// At once where the folders do not fit, or a file cannot be written; at the end where an image was not segmented.
pub fn run<const R: usize>(
    args: &PredictArgs,
    trainings: &Trainings,
    ensemble: &Ensemble<R>,
    options: &InstanceOptions,
    inference: &Inference,
) -> Result<()> {
    let work = args.folder.work(R - 2)?;
    let bar = match args.reporter.shows_progress() {
        true => ProgressBar::new(work.len() as u64),
        false => ProgressBar::hidden(),
    };
    let writing = Writing {
        args,
        options,
        classes: trainings.first()?.task.classes,
        bar: &bar,
    };
    let failed = thread::scope(|scope| {
        // One image waits before the network, and one after it.
        let (read, inputs) = sync_channel(1);
        let (predicted, products) = sync_channel(1);
        let work = &work;
        scope.spawn(move || {
            for one in work {
                let input = one.read(args, trainings);
                let input = input.map_err(|error| one.problem(&error));
                if read.send((one, input)).is_err() {
                    break;
                }
            }
        });
        let writer = scope.spawn(move || writing.all(products));
        for (one, input) in inputs {
            let input: Result<Input, String> = input;
            let prediction = input.and_then(|input| {
                let prediction = ensemble.predict(&input.inputs, inference);
                Ok(Done {
                    prediction: prediction.map_err(|error| one.problem(&error))?,
                    grid: input.grid,
                    remarks: input.remarks,
                })
            });
            if predicted.send((one, prediction)).is_err() {
                break;
            }
        }
        drop(predicted);
        writer.join()
    });
    bar.finish_and_clear();
    let failed = failed.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    report(args, work.len(), &failed)
}

/// Where the results go.
struct Writing<'a> {
    args: &'a PredictArgs,
    options: &'a InstanceOptions,
    classes: usize,
    bar: &'a ProgressBar,
}

impl Writing<'_> {
    /// Writes all that come, and returns the problems with those that could not be predicted.
    fn all(&self, predictions: Receiver<Predicted>) -> Result<Vec<String>, String> {
        let mut failed = Vec::new();
        let mut remarked = HashSet::new();
        for (count, (work, prediction)) in predictions.into_iter().enumerate() {
            let done = prediction.and_then(|done| {
                let Done {
                    prediction,
                    grid,
                    remarks,
                } = done;
                // (Each once, and not with each image.)
                let new = remarks
                    .into_iter()
                    .filter(|remark| remarked.insert(remark.clone()));
                for remark in new {
                    let told = self.remark(work, &remark);
                    told.map_err(|error| error.to_string())?;
                }
                let with = (self.args.with_instances(), &grid);
                let products = Products::of(prediction, self.classes, self.options, with);
                Ok((products.map_err(|error| work.problem(&error))?, grid))
            });
            let told = match done {
                Ok((products, grid)) => {
                    let written = count - failed.len();
                    for output in &work.outputs {
                        output.write(&products, &grid).map_err(|error| {
                            let error = work.problem(&error);
                            format!("{error} Stopped after {}.", images(written))
                        })?;
                    }
                    self.tell(work, &products)
                }
                Err(problem) => {
                    let told = self.tell_problem(work, &problem);
                    failed.push(problem);
                    told
                }
            };
            told.map_err(|error| error.to_string())?;
            self.bar.inc(1);
        }
        Ok(failed)
    }

    fn tell(&self, work: &Work, products: &Products) -> Result<()> {
        let foreground = products.foreground();
        let count = products.instances.as_ref().map(|found| found.count);
        let instances = count.map_or(String::new(), |count| format!(", {count} instances"));
        let wrote: Vec<_> = work.outputs.iter().map(|output| &output.path).collect();
        self.bar.suspend(|| {
            self.args.reporter.line(&format!(
                "{}: foreground {:.1} % of the pixels{instances}",
                work.image.display(),
                100.0 * foreground
            ))?;
            self.args.reporter.object(&json!({
                "image": work.image,
                "foreground": foreground,
                "instances": count,
                "wrote": wrote,
            }))
        })
    }

    fn remark(&self, work: &Work, remark: &str) -> Result<()> {
        let line = format!("{}: {remark}", work.image.display());
        self.bar.suspend(|| self.args.reporter.line(&line))
    }

    fn tell_problem(&self, work: &Work, problem: &str) -> Result<()> {
        self.bar.suspend(|| {
            self.args.reporter.line(&format!("failed: {problem}"))?;
            let object = json!({ "image": work.image, "error": problem });
            self.args.reporter.object(&object)
        })
    }
}

/// Prints how many images were segmented.
fn report(args: &PredictArgs, count: usize, failed: &[String]) -> Result<()> {
    let written = count - failed.len();
    let out = args.folder.out_dir.as_deref().unwrap_or(Path::new(""));
    args.reporter.line(&format!(
        "segmented {} into {}",
        images(written),
        out.display()
    ))?;
    args.reporter
        .object(&json!({ "images": written, "failed": failed.len() }))?;
    match failed {
        [] => Ok(()),
        [first, ..] if written == 0 => Err(format!(
            "nothing is written, since {} failed. The first: {first}",
            match count {
                1 => "the image".into(),
                all => format!("all {all} images"),
            }
        )
        .into()),
        [first, ..] => Err(format!(
            "{} of {} failed, and the others are written. The first: {first}",
            failed.len(),
            images(count)
        )
        .into()),
    }
}
