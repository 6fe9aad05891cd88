//! The progress of a training: a bar on a terminal, a line an epoch, and the history file.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use burn::train::Interrupter;
use burn::train::logger::{EvaluationProgressLogger, TrainingProgressLogger};
use burn::train::metric::{MetricDefinition, MetricId, MetricName, NumericEntry};
use burn::train::renderer::{
    EvaluationName, MetricState, MetricsRenderer, MetricsRendererEvaluation,
    MetricsRendererTraining,
};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::history::{Epoch, History};
use super::run_folder;
use super::step_memory::StepMemory;
use super::stop::StopReason;
use crate::reporter::Reporter;
use crate::segmentation::metrics::{LastScores, Scores, by_class};

/// What the progress is told by and what it tells.
pub struct ProgressParts {
    /// Crops a step, on all devices.
    pub batch: usize,
    pub reporter: Reporter,
    /// How well the classes of the epoch's validation are covered.
    pub scores: LastScores,
    /// Measures a step, where this can be measured.
    pub memory: Option<StepMemory>,
    pub history: Arc<Mutex<History>>,
    /// Where the history is kept.
    pub history_file: PathBuf,
    /// Stops the training where it cannot go on.
    pub interrupter: Interrupter,
    /// Why it was stopped from here, if it was.
    pub stopped: Arc<Mutex<Option<StopReason>>>,
}

/// What Burn's trainer reports to.
pub struct Progress {
    parts: ProgressParts,
    bar: ProgressBar,
    state: State,
}

/// What is known of the epoch that is being trained.
struct State {
    total_epochs: usize,
    names: HashMap<MetricId, MetricName>,
    epoch: Epoch,
    started: Instant,
    training: bool,
}

/// A bar, which draws on stderr, and nothing where that is no terminal.
fn bar() -> ProgressBar {
    let style = "{prefix} [{bar:32}] {pos}/{len}  {msg}";
    // The template is a constant; should it be wrong, indicatif's own bar does.
    let style = ProgressStyle::with_template(style)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ");
    ProgressBar::new(0).with_style(style)
}

impl Progress {
    /// The progress of a training that begins.
    pub fn new(parts: ProgressParts) -> Self {
        let bar = match parts.reporter.shows_progress() {
            true => bar(),
            false => ProgressBar::hidden(),
        };
        Self {
            parts,
            bar,
            state: State {
                total_epochs: 0,
                names: HashMap::new(),
                epoch: Epoch::default(),
                started: Instant::now(),
                training: false,
            },
        }
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.parts
            .history
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A metric's name with its number, for those metrics that have one.
    fn number<'s>(&'s self, state: &MetricState) -> Option<(&'s str, NumericEntry)> {
        let MetricState::Numeric(entry, Some(number)) = state else {
            return None;
        };
        let name = self.state.names.get(&entry.metric_id)?;
        Some((name.as_str(), number.clone()))
    }

    fn train_loss(&mut self, loss: NumericEntry) {
        let epoch = &mut self.state.epoch;
        if let NumericEntry::Final(mean) = loss {
            epoch.train_loss = mean as f32;
            return;
        }
        let loss = loss.current() as f32;
        epoch.step_losses.push(loss);
        if let Some(measured) = self.parts.memory.as_mut().and_then(StepMemory::step) {
            let line = measured.to_string();
            let object = self.parts.reporter.object(&json!({ "memory": measured }));
            let printed = self.bar.suspend(|| self.parts.reporter.line(&line));
            if let Err(error) = object.and(printed) {
                self.stop(StopReason::Report(error.to_string()));
            }
        }
        let epoch = &mut self.state.epoch;
        let step = epoch.step_losses.len();
        let seconds = self.state.started.elapsed().as_secs_f64();
        self.bar
            .set_message(format!("loss {loss:.3}  {seconds:.1} s"));
        if !loss.is_finite() {
            let epoch = self.current();
            self.stop(StopReason::Diverged { loss, step, epoch });
        }
    }

    /// Stops the training. The first reason counts: the others follow from it.
    fn stop(&self, reason: StopReason) {
        let mut stopped = self
            .parts
            .stopped
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        stopped.get_or_insert(reason);
        self.parts.interrupter.stop(None);
    }

    /// The epoch that is being trained, counted from 1.
    fn current(&self) -> usize {
        self.history().epochs.len() + 1
    }

    fn finish_epoch(&mut self, epoch: usize) {
        let mut done = std::mem::take(&mut self.state.epoch);
        done.epoch = epoch;
        done.seconds = self.state.started.elapsed().as_secs_f64();
        let Scores {
            iou,
            dice,
            class_iou,
            class_dice,
        } = self.parts.scores.get();
        let part = |score: f64| score as f32;
        (done.iou, done.dice) = (part(iou), part(dice));
        let parts = |scores: Vec<Option<f64>>| scores.into_iter().map(|score| score.map(part));
        done.class_iou = parts(class_iou).collect();
        done.class_dice = parts(class_dice).collect();
        let (train, valid) = (done.train_loss, done.valid_loss);
        if !train.is_finite() || !valid.is_finite() {
            // JSON has no such number, and nothing can be learned from there.
            return self.stop(StopReason::DivergedEpoch {
                train,
                valid,
                epoch,
            });
        }
        let line = format!(
            "epoch {epoch}/{}  train loss {train:.3}  valid loss {valid:.3}  IoU {:.3}  Dice {:.3}  {:.1} s{}",
            self.state.total_epochs,
            done.iou,
            done.dice,
            done.seconds,
            by_class(&done.class_iou)
        );
        let reported = self.parts.reporter.object(&done);
        let mut history = self.history();
        history.epochs.push(done);
        let saved = run_folder::save(&self.parts.history_file, &*history);
        drop(history);
        let printed = self.bar.suspend(|| self.parts.reporter.line(&line));
        // A panic on Burn's worker thread would leave the main thread waiting for ever.
        if let Err(error) = saved.and(reported).and(printed) {
            self.stop(StopReason::Report(error.to_string()));
        }
    }
}

impl MetricsRendererTraining for Progress {
    fn update_train(&mut self, state: MetricState) {
        if let Some(("Loss", loss)) = self.number(&state) {
            self.train_loss(loss);
        }
    }

    fn update_valid(&mut self, state: MetricState) {
        // (What is not final is of one image, not of all.)
        if let Some(("Loss", NumericEntry::Final(mean))) = self.number(&state) {
            self.state.epoch.valid_loss = mean as f32;
        }
    }
}

impl TrainingProgressLogger for Progress {
    fn start(
        &mut self,
        total_epochs: usize,
        _starting_epoch: usize,
        _total_items: Option<usize>,
        _label: Option<&str>,
    ) {
        self.state.total_epochs = total_epochs;
    }

    fn start_split(&mut self, split: &str, total_items: usize) {
        self.state.training = split == "train";
        if !self.state.training {
            return self.bar.set_message("validating");
        }
        self.state.started = Instant::now();
        let prefix = format!("epoch {}/{}", self.current(), self.state.total_epochs);
        self.bar.set_prefix(prefix);
        self.bar.set_message("");
        self.bar
            .set_length(total_items.div_ceil(self.parts.batch) as u64);
        self.bar.set_position(0);
    }

    fn update_split(&mut self, items_processed: usize) {
        if self.state.training {
            let steps = items_processed.div_ceil(self.parts.batch);
            self.bar.set_position(steps as u64);
        }
    }

    fn end_split(&mut self) {}

    fn update_epoch(&mut self, epoch: usize) {
        self.finish_epoch(epoch);
    }

    fn end(&mut self) {
        self.bar.finish_and_clear();
    }

    fn log_event_training(&mut self, _event: String) {}
}

impl MetricsRenderer for Progress {
    fn manual_close(&mut self) {}

    fn register_metric(&mut self, definition: MetricDefinition) {
        let (id, name) = (definition.metric_id.clone(), definition.name.clone());
        self.state.names.insert(id, name);
    }
}

// Burn's trait requires the evaluation of a test set, too; a training has none.
impl MetricsRendererEvaluation for Progress {
    fn update_test(&mut self, _name: EvaluationName, _state: MetricState) {}
}

impl EvaluationProgressLogger for Progress {
    fn start_global_progress(&mut self, _total_tests: usize) {}
    fn start_test(&mut self, _name: &str, _total_items: usize) {}
    fn update_test_progress(&mut self, _items_processed: usize) {}
    fn end_test(&mut self) {}
    fn end_global_progress(&mut self) {}
    fn log_event_evaluation(&mut self, _event: String) {}
}
