//! When to stop early.

use std::sync::{Arc, Mutex, PoisonError};

use burn::train::EarlyStoppingStrategy;
use burn::train::metric::store::EventStoreClient;

use super::history::History;

/// Stops when the IoU has not grown for some epochs.
///
/// Burn's own strategy starts anew with the process; this one reads the history, so that a training that was
/// interrupted and resumed stops where it would have stopped.
#[derive(Clone)]
pub struct Patience {
    pub epochs: Option<usize>,
    pub history: Arc<Mutex<History>>,
}

impl EarlyStoppingStrategy for Patience {
    fn should_stop(&mut self, _epoch: usize, _store: &EventStoreClient) -> bool {
        let history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        self.epochs
            .is_some_and(|patience| history.is_stuck(patience))
    }
}
