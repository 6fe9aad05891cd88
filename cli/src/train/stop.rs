//! Why a training ended before its last epoch.

use std::fmt;
use std::sync::Arc;

use burn::store::RecordError;
use burn::train::TrainingError;
use burn::train::checkpoint::CheckpointerError;

/// What to do where a checkpoint cannot be written.
const SPACE: &str =
    "Look for space on the disk of --out, and for a limit of the size of files (ulimit -f)";

/// Why a training ended before its last epoch.
#[derive(Clone, Debug)]
pub enum StopReason {
    /// The loss of a step is not a finite number.
    Diverged {
        loss: f32,
        step: usize,
        epoch: usize,
    },
    /// The mean losses of an epoch are not finite numbers.
    DivergedEpoch {
        train: f32,
        valid: f32,
        epoch: usize,
    },
    /// The history or a line of output could not be written.
    Report(String),
    /// Burn's trainer stopped.
    Trainer(Arc<TrainingError>),
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let advice = "Start anew with a smaller --learning-rate";
        match self {
            Self::Diverged { loss, step, epoch } => {
                write!(
                    f,
                    "the loss is {loss} at step {step} of epoch {epoch}. {advice}"
                )
            }
            Self::DivergedEpoch {
                train,
                valid,
                epoch,
            } => write!(
                f,
                "the loss is {train} in training and {valid} in validation after epoch {epoch}. {advice}"
            ),
            Self::Report(error) => f.write_str(error.trim_end_matches('.')),
            Self::Trainer(error) => match error.as_ref() {
                TrainingError::Checkpoint(error) => match error {
                    CheckpointerError::IOError(error) => {
                        write!(
                            f,
                            "a checkpoint cannot be written or removed: {error}. {SPACE}"
                        )
                    }
                    CheckpointerError::Record(RecordError::Io(reason)) => {
                        write!(f, "a checkpoint cannot be written: {reason}. {SPACE}")
                    }
                    error => write!(f, "{error}"),
                },
                error => write!(f, "{error}"),
            },
        }
    }
}
