//! Resizing by the kernel, which maps all axes in one pass.

use super::tape::{BufferId, Step, Tape};
use super::total;
use crate::graph::{MapPlan, ResizeMode};

/// The kernel keeps the taps of each position of an axis for the backward pass, which turns them round: of a long signal they
/// are as large as its maps.
pub(super) fn resized(
    tape: &mut Tape,
    mode: ResizeMode,
    input: BufferId,
    x: &[usize],
    y: &MapPlan,
) -> BufferId {
    let axes = || x.iter().zip(&y.shape).skip(2).filter(|(x, y)| x != y);
    let bytes = |of_axis: &dyn Fn(usize, usize) -> usize| {
        total(axes().map(|(&x, &y)| of_axis(x, y) as u64))
    };
    let taps = |x: usize, y: usize| y.saturating_mul(mode.taps(x, y));
    let mut step = Step::reading(&[input]).with_new_gradients();
    // (The index and the weight of a tap, and where those of a position end: in 32 bits, and before in 64.)
    step.saved_bytes = bytes(&|x, y| taps(x, y).saturating_mul(8).saturating_add(4 * y));
    step.workspace = bytes(&|x, y| taps(x, y).saturating_mul(16).saturating_add(8 * y));
    step.backward_workspace = bytes(&|x, y| taps(x, y).saturating_mul(8).saturating_add(4 * x));
    tape.push(y.bytes(), step)
}
