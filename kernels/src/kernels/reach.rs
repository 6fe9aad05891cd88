//! Weights of which only the taps are taken that read more than padding.

use alloc::{vec, vec::Vec};
use core::ops::Range;

use crate::policy::{Geometry, Reached};

/// The taps that are taken of each kernel.
pub(super) struct TakenTaps {
    /// Where runs of them are in a kernel.
    runs: Vec<Range<usize>>,
    /// The taps of a kernel.
    all: usize,
}

impl TakenTaps {
    pub(super) fn new(geometry: &Geometry, reached: &Reached) -> Self {
        let [_, columns] = geometry.kernel;
        let taken = &reached.shape.geometry;
        let first = reached.first;
        let mut runs = Vec::new();
        for slice in first.depth..first.depth + taken.depth.kernel {
            for row in first.plane[0]..first.plane[0] + taken.kernel[0] {
                let at = (slice * geometry.kernel[0] + row) * columns + first.plane[1];
                runs.push(at..at + taken.kernel[1]);
            }
        }
        Self {
            runs,
            all: geometry.taps(),
        }
    }

    /// The weight with these taps alone.
    pub(super) fn of(&self, weight: &[f32]) -> Vec<f32> {
        let kernels = weight.chunks_exact(self.all);
        let runs = kernels.flat_map(|kernel| self.runs.iter().map(|run| &kernel[run.clone()]));
        runs.flatten().copied().collect()
    }

    /// The weight with zeros for the other taps.
    pub(super) fn put_back(&self, taken: &[f32]) -> Vec<f32> {
        let count: usize = self.runs.iter().map(Range::len).sum();
        let mut weight = vec![0.0; taken.len() / count * self.all];
        for (kernel, taken) in weight
            .chunks_exact_mut(self.all)
            .zip(taken.chunks_exact(count))
        {
            let mut rest = taken;
            for run in &self.runs {
                let (now, more) = rest.split_at(run.len());
                kernel[run.clone()].copy_from_slice(now);
                rest = more;
            }
        }
        weight
    }
}
