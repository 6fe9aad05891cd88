//! The training as it goes: Burn's dashboard or a bar on a terminal, one line an epoch elsewhere, and the
//! history file.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use burn::train::logger::{EvaluationProgressLogger, TrainingProgressLogger};
use burn::train::metric::{MetricDefinition, MetricId, MetricName, NumericEntry};
use burn::train::renderer::tui::TuiMetricsRendererWrapper;
use burn::train::renderer::{
    EvaluationName, MetricState, MetricsRenderer, MetricsRendererEvaluation,
    MetricsRendererTraining,
};
use burn::train::{Interrupter, LearnerSummary};
use indicatif::{ProgressBar, ProgressStyle};

use crate::history::{Epoch, History};
use crate::run_folder;
use crate::talk::Talk;

/// What is looked at while the training runs.
pub enum Shown {
    /// Burn's dashboard, which has the whole terminal.
    Dashboard(Box<TuiMetricsRendererWrapper>),
    /// A bar, on a terminal.
    Bar(ProgressBar),
}

impl Shown {
    /// A bar, which draws on stderr, and nothing at all where that is no terminal.
    pub fn bar() -> Self {
        let style = "{prefix} [{bar:32}] {pos}/{len}  {msg}";
        // The template is a constant; should it be wrong, indicatif's own bar does.
        let style = ProgressStyle::with_template(style)
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("=> ");
        Self::Bar(ProgressBar::new(0).with_style(style))
    }

    /// Burn's dashboard, from which the training can be stopped by `interrupter`.
    pub fn dashboard(interrupter: Interrupter, epochs_done: usize) -> Self {
        let resumed = Some(epochs_done).filter(|&epochs| epochs > 0);
        Self::Dashboard(Box::new(TuiMetricsRendererWrapper::new(
            interrupter,
            resumed,
        )))
    }
}

/// What Burn's trainer reports to.
pub struct Progress {
    /// Crops a step, on all devices.
    pub batch: usize,
    pub talk: Talk,
    pub shown: Shown,
    pub history: Arc<Mutex<History>>,
    /// Where the history is kept.
    pub file: PathBuf,
    /// Stops the training where it cannot go on.
    pub interrupter: Interrupter,
    /// Why it was stopped, if it was. (The dashboard makes the interrupter forget.)
    pub stopped: Arc<Mutex<Option<String>>>,
    pub state: State,
}

/// What is known of the epoch that is being trained.
pub struct State {
    total_epochs: usize,
    names: HashMap<MetricId, MetricName>,
    epoch: Epoch,
    started: Instant,
    training: bool,
}

impl Default for State {
    fn default() -> Self {
        Self {
            total_epochs: 0,
            names: HashMap::new(),
            epoch: Epoch::default(),
            started: Instant::now(),
            training: false,
        }
    }
}

impl Progress {
    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
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
        let step = epoch.step_losses.len();
        if let Shown::Bar(bar) = &self.shown {
            let seconds = self.state.started.elapsed().as_secs_f64();
            bar.set_message(format!("loss {loss:.3}  {seconds:.1} s"));
        }
        if !loss.is_finite() {
            let epoch = self.current();
            self.stop(&format!(
                "the loss is {loss} at step {step} of epoch {epoch}"
            ));
        }
    }

    fn stop(&self, reason: &str) {
        let advice = "Start anew with a smaller --learning-rate";
        self.interrupter.stop(Some(&format!("{reason}. {advice}")));
    }

    /// The epoch that is being trained, counted from 1.
    fn current(&self) -> usize {
        self.history().epochs.len() + 1
    }

    fn finish_epoch(&mut self, epoch: usize) {
        let mut done = std::mem::take(&mut self.state.epoch);
        done.epoch = epoch;
        done.seconds = self.state.started.elapsed().as_secs_f64();
        if ![done.train_loss, done.valid_loss]
            .iter()
            .all(|loss| loss.is_finite())
        {
            // JSON has no such number, and nothing can be learned from there.
            return self.stop(&format!(
                "the loss is {} in training and {} in validation after epoch {epoch}",
                done.train_loss, done.valid_loss
            ));
        }
        let line = format!(
            "epoch {epoch}/{}  train loss {:.3}  valid loss {:.3}  IoU {:.3}  Dice {:.3}  {:.1} s",
            self.state.total_epochs,
            done.train_loss,
            done.valid_loss,
            done.iou,
            done.dice,
            done.seconds
        );
        let told = self.talk.tell(&done);
        let mut history = self.history();
        history.epochs.push(done);
        let saved = run_folder::save(&self.file, &*history);
        drop(history);
        let said = match &self.shown {
            Shown::Bar(bar) => bar.suspend(|| self.talk.say(&line)),
            Shown::Dashboard(_) => Ok(()),
        };
        // A panic on Burn's worker thread would leave the main thread waiting for ever.
        if let Err(error) = saved.and(told).and(said) {
            self.interrupter.stop(Some(&error.to_string()));
        }
    }

    fn dashboard(&mut self) -> Option<&mut TuiMetricsRendererWrapper> {
        match &mut self.shown {
            Shown::Dashboard(dashboard) => Some(dashboard),
            Shown::Bar(_) => None,
        }
    }
}

impl MetricsRendererTraining for Progress {
    fn update_train(&mut self, state: MetricState) {
        if let Some(("Loss", loss)) = self.number(&state) {
            self.train_loss(loss);
        }
        if let Some(dashboard) = self.dashboard() {
            dashboard.update_train(state);
        }
    }

    fn update_valid(&mut self, state: MetricState) {
        // (What is not final is of one image, not of all.)
        if let Some((name, NumericEntry::Final(value))) = self.number(&state) {
            let name = name.to_string();
            let epoch = &mut self.state.epoch;
            match &name[..] {
                "Loss" => epoch.valid_loss = value as f32,
                "IoU" => epoch.iou = value as f32,
                "Dice" => epoch.dice = value as f32,
                _ => {}
            }
        }
        if let Some(dashboard) = self.dashboard() {
            dashboard.update_valid(state);
        }
    }

    fn on_train_end(
        &mut self,
        summary: Option<LearnerSummary>,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let reason = match (self.interrupter.error(), self.interrupter.interruption()) {
            (Some(error), _) => Some(error.to_string()),
            (None, Some(stop)) => Some(stop.reason.unwrap_or_else(|| "it was interrupted".into())),
            (None, None) => None,
        };
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner) = reason;
        match self.dashboard() {
            Some(dashboard) => dashboard.on_train_end(summary),
            None => Ok(()),
        }
    }
}

impl TrainingProgressLogger for Progress {
    fn start(
        &mut self,
        total_epochs: usize,
        starting_epoch: usize,
        total_items: Option<usize>,
        label: Option<&str>,
    ) {
        self.state.total_epochs = total_epochs;
        if let Some(dashboard) = self.dashboard() {
            dashboard.start(total_epochs, starting_epoch, total_items, label);
        }
    }

    fn start_split(&mut self, split: &str, total_items: usize) {
        self.state.training = split == "train";
        if self.state.training {
            self.state.started = Instant::now();
        }
        let prefix = format!("epoch {}/{}", self.current(), self.state.total_epochs);
        match &mut self.shown {
            Shown::Dashboard(dashboard) => dashboard.start_split(split, total_items),
            Shown::Bar(bar) if self.state.training => {
                bar.set_prefix(prefix);
                bar.set_message("");
                bar.set_length(total_items.div_ceil(self.batch) as u64);
                bar.set_position(0);
            }
            Shown::Bar(bar) => bar.set_message("validating"),
        }
    }

    fn update_split(&mut self, items_processed: usize) {
        match &mut self.shown {
            Shown::Dashboard(dashboard) => dashboard.update_split(items_processed),
            Shown::Bar(bar) if self.state.training => {
                bar.set_position(items_processed.div_ceil(self.batch) as u64);
            }
            Shown::Bar(_) => {}
        }
    }

    fn end_split(&mut self) {
        if let Some(dashboard) = self.dashboard() {
            dashboard.end_split();
        }
    }

    fn update_epoch(&mut self, epoch: usize) {
        self.finish_epoch(epoch);
        if let Some(dashboard) = self.dashboard() {
            dashboard.update_epoch(epoch);
        }
    }

    fn end(&mut self) {
        match &mut self.shown {
            Shown::Dashboard(dashboard) => TrainingProgressLogger::end(dashboard.as_mut()),
            Shown::Bar(bar) => bar.finish_and_clear(),
        }
    }

    fn log_event_training(&mut self, event: String) {
        if let Some(dashboard) = self.dashboard() {
            dashboard.log_event_training(event);
        }
    }
}

impl MetricsRenderer for Progress {
    fn manual_close(&mut self) {}

    fn register_metric(&mut self, definition: MetricDefinition) {
        let (id, name) = (definition.metric_id.clone(), definition.name.clone());
        self.state.names.insert(id, name);
        if let Some(dashboard) = self.dashboard() {
            dashboard.register_metric(definition);
        }
    }
}

// Burn's trait asks for the evaluation of a test set, too; a training has none.
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
