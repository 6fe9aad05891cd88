//! The training set: the crops of one epoch after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use burn::data::dataset::{Dataset, DatasetError};
use burn_skip::ShapeError;

use super::ahead::Ahead;
use super::crops::Crops;
use crate::segmentation::data::Sample;

/// As many crops an epoch as it has indices: number `epoch * len + index` of the sequence.
///
/// A training that is resumed at epoch 4 sees the crops that it would have seen without the interruption, and so does one
/// whose epochs are split over several devices, or whose crops are cut by several threads.
pub struct CropDataset {
    crops: Ahead<Result<Sample, ShapeError>>,
    /// For each index, in how many epochs it was asked for.
    epochs: Vec<AtomicU64>,
    /// How many epochs there are.
    last: u64,
    /// So many crops are cut before they are asked for.
    lead: u64,
}

/// How many crops are cut, and by whom.
pub struct CropCounts {
    pub per_epoch: usize,
    /// The epochs whose crops were cut in an earlier run.
    pub epochs_done: usize,
    /// All epochs, with those.
    pub epochs: usize,
    /// Threads that cut crops ahead.
    pub workers: usize,
    /// So many crops are cut ahead.
    pub lead: usize,
}

impl CropDataset {
    /// The crops of the epochs that are left.
    pub fn new(crops: Crops, counts: &CropCounts) -> Self {
        let crops = Arc::new(crops);
        let done = || AtomicU64::new(counts.epochs_done as u64);
        Self {
            crops: Ahead::new(counts.workers, move |n| crops.nth(n)),
            epochs: std::iter::repeat_with(done)
                .take(counts.per_epoch)
                .collect(),
            last: counts.epochs as u64,
            lead: counts.lead as u64,
        }
    }

    /// Whether a crop will be asked for. (Where devices share an epoch, another may have had it.)
    fn is_wanted(&self, n: u64) -> bool {
        let len = self.epochs.len() as u64;
        let (epoch, index) = (n / len, (n % len) as usize);
        epoch < self.last && self.epochs[index].load(Ordering::Relaxed) <= epoch
    }
}

impl Dataset<Arc<Sample>> for CropDataset {
    /// The crop of this index: the next epoch's each time that it is asked for.
    fn get(&self, index: usize) -> Result<Arc<Sample>, DatasetError> {
        let epoch = self.epochs[index].fetch_add(1, Ordering::Relaxed);
        let n = epoch * self.len() as u64 + index as u64;
        let next = (n + 1..=n + self.lead).filter(|&n| self.is_wanted(n));
        let crop = self.crops.take(n, next);
        crop.map(Arc::new).map_err(DatasetError::new)
    }

    fn len(&self) -> usize {
        self.epochs.len()
    }
}
