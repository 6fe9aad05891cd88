//! [`Memory`]: what inference and a training step hold at most.
//!
//! The layers of a plan become a tape of operations on buffers, as this crate runs them on the CPU: what is
//! [fused](crate::fused) has no buffer. Inference frees a buffer after its last reader; a training step keeps
//! what the gradients need, and goes the tape back.

use alloc::{vec, vec::Vec};

use serde::Serialize;

use super::Node;
use super::tape::{Op, Tape};

/// What a network holds at most on the CPU, in bytes of f32: as measured on flex, for maps of one and two axes.
///
/// The threads' own memory, some 6 MiB each, and an optimizer's numbers are not among them: Adam's are twice the
/// weights.
///
/// # Example
/// ```
/// use burn_skip::{net::UnetConfig, plan::Trace};
///
/// let memory = |batch| UnetConfig::new(1, 1, vec![4, 8]).plan([batch, 1, 64, 64]).memory;
/// assert_eq!(memory(1).weights, 7_012);
/// // A larger batch has as many weights, and more maps.
/// assert_eq!(memory(8).weights, 7_012);
/// assert_eq!(memory(8).kept, 8 * memory(1).kept);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// The learned parameters, and the running statistics of batch norms.
    pub weights: u64,
    /// At most at once in inference: the weights and what is prepared of them, the input, the maps.
    pub inference: u64,
    /// The maps that wait for the gradients when the forward pass of a training step ends.
    pub kept: u64,
    /// At most at once in a training step, with the gradients to all weights.
    pub training: u64,
}

/// Fills in what each node keeps, and returns the whole.
pub(super) fn account(root: &mut Node) -> Memory {
    let weights = root.sum(&|node| {
        let running = if node.kind == "BatchNorm" { 2 } else { 1 };
        bytes_of(node.parameters).saturating_mul(running)
    });
    let inference = Tape::of(root, false);
    let training = Tape::of(root, true);
    let kept = training.kept();
    let mut next = 0;
    write_kept(root, &mut next, &training, &kept);
    Memory {
        weights,
        inference: weights.saturating_add(inference.inference_peak()),
        kept: training.sum(&kept),
        training: weights.saturating_add(training.training_peak(&kept)),
    }
}

/// The buffers that a node made, if it has no parts, and that are kept.
fn write_kept(node: &mut Node, next: &mut usize, tape: &Tape, kept: &[bool]) {
    if !node.children.is_empty() {
        for child in &mut node.children {
            write_kept(child, next, tape, kept);
        }
        return;
    }
    let made = tape.buffers.iter().zip(kept);
    let made = made.filter(|(buffer, kept)| **kept && buffer.maker == Some(*next));
    node.kept = total(made.map(|(buffer, _)| buffer.bytes));
    *next += 1;
}

/// The bytes of so many numbers.
pub(super) fn bytes_of(numbers: usize) -> u64 {
    (numbers as u64).saturating_mul(4)
}

fn total(bytes: impl Iterator<Item = u64>) -> u64 {
    bytes.fold(0, u64::saturating_add)
}

/// The walks along the tape.
impl Tape {
    /// Which buffers wait for the gradients.
    fn kept(&self) -> Vec<bool> {
        let mut kept = vec![false; self.buffers.len()];
        for &buffer in self.ops.iter().flat_map(|op| &op.keeps) {
            kept[buffer] = self.buffers[buffer].maker.is_some();
        }
        kept
    }

    fn sum(&self, which: &[bool]) -> u64 {
        let buffers = self.buffers.iter().zip(which);
        total(buffers.filter_map(|(buffer, which)| which.then_some(buffer.bytes)))
    }

    /// The operation after which nobody reads a buffer; for what comes in and what comes out, none.
    fn last_reads(&self) -> Vec<usize> {
        let mut last = vec![usize::MAX; self.buffers.len()];
        for (index, op) in self.ops.iter().enumerate() {
            for &buffer in &op.reads {
                if self.buffers[buffer].maker.is_some() {
                    last[buffer] = index;
                }
            }
        }
        last
    }

    /// The most that the maps and what is prepared of the weights take at once.
    fn inference_peak(&self) -> u64 {
        let prepared = total(self.ops.iter().map(|op| op.prepared));
        let none = vec![false; self.buffers.len()];
        prepared.saturating_add(self.forward(&none, |op| op.passing).peak)
    }

    /// The most that a forward and a backward pass take at once.
    fn training_peak(&self, kept: &[bool]) -> u64 {
        let mut level = self.forward(kept, |op| op.prepared.saturating_add(op.passing));
        // How many operations of the way back still need a buffer.
        let mut needs = vec![0; self.buffers.len()];
        for &buffer in self.ops.iter().flat_map(|op| &op.keeps) {
            needs[buffer] += 1;
        }
        let mut has_gradient = vec![false; self.buffers.len()];
        if let Some(last) = self.ops.last() {
            level.take(self.buffers[last.makes].bytes);
            has_gradient[last.makes] = true;
        }
        for op in self.ops.iter().rev() {
            let passing = total([op.prepared, op.passing, op.scratch].into_iter());
            level.take(passing);
            for &buffer in &op.to {
                let bytes = self.buffers[buffer].bytes;
                if self.buffers[buffer].maker.is_none() {
                    continue; // Nobody asks for the gradient of the input.
                }
                level.take(bytes);
                // What more than one reader gives is added up.
                if has_gradient[buffer] {
                    level.give(bytes);
                }
                has_gradient[buffer] = true;
            }
            level.take(op.weight);
            level.give(passing);
            if has_gradient[op.makes] {
                level.give(self.buffers[op.makes].bytes);
                has_gradient[op.makes] = false;
            }
            for &buffer in &op.keeps {
                needs[buffer] -= 1;
                if needs[buffer] == 0 && kept[buffer] {
                    level.give(self.buffers[buffer].bytes);
                }
            }
        }
        level.peak
    }

    /// How much is held after all operations, and was at most. What is kept is not freed.
    fn forward(&self, kept: &[bool], passing: impl Fn(&Op) -> u64) -> Level {
        let mut level = Level::default();
        for buffer in self.buffers.iter().filter(|buffer| buffer.maker.is_none()) {
            level.take(buffer.bytes);
        }
        let last = self.last_reads();
        for (index, op) in self.ops.iter().enumerate() {
            level.take(self.buffers[op.makes].bytes.saturating_add(passing(op)));
            level.give(passing(op));
            let mut read = op.reads.clone();
            read.sort_unstable();
            read.dedup();
            for buffer in read {
                if last[buffer] == index && !kept[buffer] {
                    level.give(self.buffers[buffer].bytes);
                }
            }
        }
        level
    }
}

/// What is held, and was at most.
#[derive(Default)]
struct Level {
    now: u64,
    peak: u64,
}

impl Level {
    fn take(&mut self, bytes: u64) {
        self.now = self.now.saturating_add(bytes);
        self.peak = self.peak.max(self.now);
    }

    fn give(&mut self, bytes: u64) {
        self.now = self.now.saturating_sub(bytes);
    }
}
