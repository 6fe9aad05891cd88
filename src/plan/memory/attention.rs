//! Attention: in inference one operation of Burn, in training composed of several.

use alloc::vec::Vec;

use super::burn_conv::threads;
use super::burn_ops::Binary;
use super::tape::{BufferId, Step, Tape};
use super::{bytes_of, bytes_of_shape, total};
use crate::graph::{MapPlan, queries_at_once};

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

/// `softmax(Q K^T / sqrt(d)) V`, operation by operation, with `scores` scores in `rows` rows. The scores less the
/// largest of their row, the exponentials of those, and the weights are saved.
fn composed(
    tape: &mut Tape,
    [query, key_value]: [BufferId; 2],
    scores: usize,
    rows: usize,
    y: &MapPlan,
) -> BufferId {
    let raw = tape.product([query, key_value], bytes_of(scores));
    let scaled = tape.scaled(raw);
    let largest = tape.max_of_rows(scaled, bytes_of(rows));
    let largest = tape.filled(largest);
    let less = tape.binary(Binary::Sub, scaled, largest);
    let exponential = tape.unary(less);
    let sum = tape.moved(exponential, bytes_of(rows));
    let sum = tape.filled(sum);
    let weights = tape.binary(Binary::Div, exponential, sum);
    tape.product([weights, key_value], y.bytes())
}

/// The scores of all pairs and their exponentials, which the product with the values saves; in inference, so many at once.
pub(super) fn position_attention(
    tape: &mut Tape,
    inputs: &[BufferId],
    x: &[usize],
    y: &MapPlan,
) -> BufferId {
    let &[query, key, value] = inputs else {
        return tape.push(y.bytes(), Step::reading(inputs));
    };
    let positions = x[2..].iter().copied().fold(1, usize::saturating_mul);
    let at_once = queries_at_once(x[0], positions).min(positions);
    let part = |bytes: u64, rows: usize| bytes / positions.max(1) as u64 * rows as u64;
    let mut outputs = Vec::new();
    let mut sum = None;
    for start in (0..positions).step_by(at_once.max(1)) {
        let rows = at_once.min(positions - start);
        let pairs = bytes_of_shape(&[x[0], rows, positions]);
        let queries = tape.moved(query, part(tape.bytes(query), rows));
        let scores = tape.product([queries, key], pairs);
        // (Less the largest, which is a constant.)
        let scores = tape.scaled(scores);
        let weights = tape.unary(scores);
        let of_piece = tape.moved(weights, bytes_of_shape(&[x[0], 1, 1]));
        outputs.push(tape.product([weights, value], part(y.bytes(), rows)));
        sum = Some(match sum {
            Some(sum) => tape.binary(Binary::Add, sum, of_piece),
            None => of_piece,
        });
    }
    let attended = match outputs[..] {
        [one] => one,
        _ => tape.concatenation(&outputs, y.bytes()),
    };
    match sum {
        Some(sum) => tape.binary(Binary::Div, attended, sum),
        None => attended,
    }
}
