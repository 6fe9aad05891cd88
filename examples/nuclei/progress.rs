//! The training as it goes: a bar on a terminal, one line an epoch everywhere, and the history file.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Instant;

use burn::train::logger::{EvaluationProgressLogger, TrainingProgressLogger};
use burn::train::metric::{MetricDefinition, MetricId, MetricName, NumericEntry};
use burn::train::renderer::{
    EvaluationName, MetricState, MetricsRenderer, MetricsRendererEvaluation,
    MetricsRendererTraining,
};
use burn::train::{Interrupter, LearnerSummary};
use indicatif::{ProgressBar, ProgressStyle};

use crate::files;
use crate::history::{Epoch, History};
use crate::report::say;

/// What Burn's trainer reports to.
pub struct Progress {
    batch: usize,
    total_epochs: usize,
    names: HashMap<MetricId, MetricName>,
    /// The epoch that is being trained, as far as it is known.
    epoch: Epoch,
    started: Instant,
    training: bool,
    history: History,
    path: PathBuf,
    interrupter: Interrupter,
    bar: ProgressBar,
}

impl Progress {
    /// Goes on with a history and keeps it at `path`; stops the training where it cannot go on.
    pub fn new(batch: usize, history: History, path: PathBuf, interrupter: Interrupter) -> Self {
        let style = "{prefix} [{bar:32}] {pos}/{len}  {msg}";
        // The template is a constant; should it be wrong, indicatif's own bar does.
        let style = ProgressStyle::with_template(style)
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("=> ");
        Self {
            batch,
            total_epochs: 0,
            names: HashMap::new(),
            epoch: Epoch::default(),
            started: Instant::now(),
            training: false,
            history,
            path,
            interrupter,
            // Draws on stderr, and nothing at all where that is no terminal.
            bar: ProgressBar::new(0).with_style(style),
        }
    }

    /// A metric's name with its number, for those metrics that have one.
    fn number(&self, state: MetricState) -> Option<(&str, NumericEntry)> {
        let MetricState::Numeric(entry, Some(number)) = state else {
            return None;
        };
        let name = self.names.get(&entry.metric_id)?;
        Some((name.as_str(), number))
    }

    fn train_loss(&mut self, loss: NumericEntry) {
        if let NumericEntry::Final(mean) = loss {
            self.epoch.train_loss = mean as f32;
            return;
        }
        let loss = loss.current() as f32;
        self.epoch.step_losses.push(loss);
        self.bar.set_message(format!(
            "loss {loss:.3}  {:.1} s",
            self.started.elapsed().as_secs_f64()
        ));
        if !loss.is_finite() {
            let step = self.epoch.step_losses.len();
            self.interrupter.stop(Some(&format!(
                "the loss is {loss} at step {step} of epoch {}",
                self.current()
            )));
        }
    }

    /// The epoch that is being trained, counted from 1.
    fn current(&self) -> usize {
        self.history.epochs.len() + 1
    }

    fn finish_epoch(&mut self, epoch: usize) {
        let mut done = std::mem::take(&mut self.epoch);
        done.epoch = epoch;
        done.seconds = self.started.elapsed().as_secs_f64();
        let line = format!(
            "epoch {epoch}/{}  train loss {:.3}  valid loss {:.3}  IoU {:.3}  Dice {:.3}  {:.1} s",
            self.total_epochs, done.train_loss, done.valid_loss, done.iou, done.dice, done.seconds
        );
        self.history.epochs.push(done);
        let saved = files::save(&self.path, &self.history);
        let said = self.bar.suspend(|| say(&line));
        // A panic on Burn's worker thread would leave the main thread waiting for ever.
        if let Err(error) = saved.and(said) {
            self.interrupter.stop(Some(&error.to_string()));
        }
    }
}

impl MetricsRendererTraining for Progress {
    fn update_train(&mut self, state: MetricState) {
        if let Some(("Loss", loss)) = self.number(state) {
            self.train_loss(loss);
        }
    }

    fn update_valid(&mut self, state: MetricState) {
        let Some((name, NumericEntry::Final(value))) = self.number(state) else {
            return; // Of one image, not of all.
        };
        match name {
            "Loss" => self.epoch.valid_loss = value as f32,
            "IoU" => self.epoch.iou = value as f32,
            "Dice" => self.epoch.dice = value as f32,
            _ => {}
        }
    }

    fn on_train_end(
        &mut self,
        _summary: Option<LearnerSummary>,
    ) -> Result<(), Box<dyn std::error::Error>> {
        Ok(())
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
        self.total_epochs = total_epochs;
    }

    fn start_split(&mut self, split: &str, total_items: usize) {
        self.training = split == "train";
        if !self.training {
            self.bar.set_message("validating");
            return;
        }
        self.started = Instant::now();
        let prefix = format!("epoch {}/{}", self.current(), self.total_epochs);
        self.bar.set_prefix(prefix);
        self.bar.set_message("");
        self.bar.set_length(total_items.div_ceil(self.batch) as u64);
        self.bar.set_position(0);
    }

    fn update_split(&mut self, items_processed: usize) {
        if self.training {
            let steps = items_processed.div_ceil(self.batch);
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
        self.names.insert(definition.metric_id, definition.name);
    }
}

// Burn's trait asks for the evaluation of a test set, too; this program has none.
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
