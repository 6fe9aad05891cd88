//! [`Memory`]: what inference and a training step hold at most.
//!
//! The layers of a plan become a [tape] of steps on buffers, as they run on the CPU: through this crate's dispatch,
//! where what is [fused](crate::fused) has no buffer ([`recorder`]), or as Burn's operations ([`burn_ops`]). Two
//! [walks](walk) along the tape count what is held at once.

mod activations;
mod attention;
mod burn_conv;
mod burn_ops;
mod composed;
mod recorder;
mod resized;
mod tape;
mod walk;

use serde::Serialize;

use self::recorder::record;
use super::Node;

/// What a network holds at most on the CPU, in bytes of f32, as allocated on flex.
///
/// Not counted: the threads' own memory, some 6 MiB each; the records of autodiff, some 10 KiB a layer; what the loss
/// itself needs; and an optimizer's state (Adam's is twice the weights).
///
/// # Example
/// ```
/// use burn_skip::{Trace, net::UnetConfig};
///
/// let memory = |batch| UnetConfig::new(1, 1, vec![4, 8]).plan([batch, 1, 64, 64]).memory;
/// assert_eq!(memory(1).weights, 7_012);
/// // A larger batch has as many weights, and more maps.
/// assert_eq!(memory(8).weights, 7_012);
/// assert_eq!(memory(8).saved_for_backward, 8 * memory(1).saved_for_backward);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// The learned parameters, and the running statistics of batch norms.
    pub weights: u64,
    /// The most that inference holds at once: the weights and what is prepared of them, the input, the maps.
    pub inference: u64,
    /// The maps that are saved for the backward pass when the forward pass of a training step ends.
    pub saved_for_backward: u64,
    /// The most that a training step holds at once, with the gradients of all weights.
    pub training: u64,
}

/// Computes the memory of a plan, and writes to each node what it saves for the backward pass.
pub(super) fn account(root: &mut Node) -> Memory {
    let weights = root.sum(&|node| {
        let bytes = node.parameters.iter().map(|tensor| bytes_of(tensor.len));
        total(bytes)
    });
    let inference = record(root, false);
    let training = record(root, true);
    let saved = training.saved_by_leaf();
    write_saved(root, &mut saved.iter().copied());
    Memory {
        weights,
        inference: weights.saturating_add(inference.inference_peak()),
        saved_for_backward: total(saved.into_iter()),
        training: weights.saturating_add(training.training_peak()),
    }
}

/// Writes to the leaves, in order, what they save.
fn write_saved(node: &mut Node, saved: &mut impl Iterator<Item = u64>) {
    if node.children.is_empty() {
        node.saved_for_backward = saved.next().unwrap_or(0);
    }
    for child in &mut node.children {
        write_saved(child, saved);
    }
}

/// The bytes of so many numbers.
fn bytes_of(numbers: usize) -> u64 {
    (numbers as u64).saturating_mul(4)
}

/// The bytes of a map of this shape.
fn bytes_of_shape(shape: &[usize]) -> u64 {
    let sizes = shape.iter().map(|&size| size as u64);
    sizes.fold(4, u64::saturating_mul)
}

fn total(bytes: impl Iterator<Item = u64>) -> u64 {
    bytes.fold(0, u64::saturating_add)
}
