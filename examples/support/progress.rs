//! Prints a line an epoch, where Burn's own renderer prints one a step.

use std::collections::HashMap;

use burn::train::logger::{EvaluationProgressLogger, TrainingProgressLogger};
use burn::train::metric::{MetricDefinition, MetricId, NumericEntry};
use burn::train::renderer::{
    EvaluationName, MetricState, MetricsRenderer, MetricsRendererEvaluation,
    MetricsRendererTraining,
};

/// The means of the metrics over an epoch, by name.
#[derive(Default)]
pub struct EpochLines {
    names: HashMap<MetricId, String>,
    means: Vec<String>,
}

impl EpochLines {
    fn note(&mut self, split: &str, state: MetricState) {
        if let MetricState::Numeric(entry, Some(NumericEntry::Final(mean))) = state
            && let Some(name) = self.names.get(&entry.metric_id)
        {
            self.means.push(format!("{split} {name} {mean:.3}"));
        }
    }
}

impl MetricsRendererTraining for EpochLines {
    fn update_train(&mut self, state: MetricState) {
        self.note("training", state);
    }

    fn update_valid(&mut self, state: MetricState) {
        self.note("validation", state);
    }
}

impl TrainingProgressLogger for EpochLines {
    fn start(&mut self, _: usize, _: usize, _: Option<usize>, _: Option<&str>) {}
    fn start_split(&mut self, _split: &str, _items: usize) {}
    fn update_split(&mut self, _items: usize) {}
    fn end_split(&mut self) {}

    fn update_epoch(&mut self, epoch: usize) {
        println!("epoch {epoch}: {}", self.means.join(", "));
        self.means.clear();
    }

    fn end(&mut self) {}
    fn log_event_training(&mut self, _event: String) {}
}

impl MetricsRenderer for EpochLines {
    fn manual_close(&mut self) {}

    fn register_metric(&mut self, metric: MetricDefinition) {
        let name = metric.name.to_lowercase();
        self.names.insert(metric.metric_id, name);
    }
}

// Burn's trait requires the evaluation of a test set, too.
impl MetricsRendererEvaluation for EpochLines {
    fn update_test(&mut self, _name: EvaluationName, _state: MetricState) {}
}

impl EvaluationProgressLogger for EpochLines {
    fn start_global_progress(&mut self, _tests: usize) {}
    fn start_test(&mut self, _name: &str, _items: usize) {}
    fn update_test_progress(&mut self, _items: usize) {}
    fn end_test(&mut self) {}
    fn end_global_progress(&mut self) {}
    fn log_event_evaluation(&mut self, _event: String) {}
}
