//! Attention: in inference one operation of Burn, in training composed of several.

use super::burn_conv::threads;
use super::burn_ops::Binary;
use super::tape::{BufferId, GradientStorage, Step, Tape};
use super::{bytes_of, total};
use crate::graph::MapPlan;

/// Scores are computed head by head up to this many, and in pieces of this many keys beyond.
const MAX_SCORES: usize = 256 * 1024;
const KEYS: usize = 64;

/// The attention of `heads` heads with queries `inputs[0]`, and keys and values `inputs[1]`, of the shapes of `maps`.
pub(super) fn attention(
    tape: &mut Tape,
    heads: usize,
    maps: &[MapPlan],
    inputs: &[BufferId],
    y: &MapPlan,
) -> BufferId {
    let (&[query, key_value], [x, read]) = (inputs, maps) else {
        return tape.push(y.bytes(), Step::reading(inputs));
    };
    let batch = x.shape.first().copied().unwrap_or(1);
    let [queries, keys] = [x, read].map(positions);
    let of_head = queries.saturating_mul(keys);
    let attended = if tape.is_training {
        let rows = batch.saturating_mul(heads);
        let scores = rows.saturating_mul(of_head);
        composed(
            tape,
            [query, key_value],
            scores,
            rows.saturating_mul(queries),
            y,
        )
    } else {
        let mut step = Step::reading(&[query, key_value]);
        // The operands are brought into the order of the heads.
        let operands = [query, key_value].map(|operand| tape.bytes(operand));
        let scores = match of_head <= MAX_SCORES {
            true => of_head,
            false => queries.saturating_mul(KEYS),
        };
        let at_once = threads().min(batch.saturating_mul(heads) as u64);
        let scores = bytes_of(scores).saturating_mul(at_once);
        step.workspace = total(operands.into_iter().chain([scores]));
        tape.push(y.bytes(), step)
    };
    // The channels are brought to the front.
    tape.moved(attended, y.bytes())
}

fn positions(map: &MapPlan) -> usize {
    let sizes = map.shape.iter().skip(2);
    sizes.copied().fold(1, usize::saturating_mul)
}

/// `softmax(Q K^T / sqrt(d)) V`, operation by operation, with `scores` scores in `rows` rows.
fn composed(
    tape: &mut Tape,
    [query, key_value]: [BufferId; 2],
    scores: usize,
    rows: usize,
    y: &MapPlan,
) -> BufferId {
    let product = |tape: &mut Tape, operands: [BufferId; 2], bytes: u64| {
        let step = Step::reading(&operands).saving(&operands);
        tape.push(bytes, step.with_new_gradients())
    };
    let raw = product(tape, [query, key_value], bytes_of(scores));
    let scaled = tape.scaled(raw);
    let largest = tape.moved(scaled, bytes_of(rows));
    let less = tape.binary(Binary::Add, scaled, largest);
    // The exponential, whose gradient needs its output.
    let storage = GradientStorage::InPlace { operand: None };
    let step = Step::reading(&[less])
        .in_place()
        .with_gradient(less, storage);
    let exponential = tape.push(bytes_of(scores), step);
    if tape.buffers[exponential].is_tracked
        && let Some(step) = tape.producer(exponential)
    {
        step.saved.push(exponential);
    }
    let sum = tape.moved(exponential, bytes_of(rows));
    let weights = tape.binary(Binary::Div, exponential, sum);
    product(tape, [weights, key_value], y.bytes())
}
