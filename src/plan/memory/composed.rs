//! [`compose`]: the operations of Burn that a leaf is composed of.

use alloc::vec::Vec;

use super::attention::{attention, position_attention};
use super::burn_conv::{self, Workspace};
use super::burn_ops::Binary;
use super::bytes_of_shape;
use super::resized::resized;
use super::tape::{BufferId, GradientStorage, Step, Tape};
use crate::graph::{AdaptiveKind, ConvOp, Elementwise, MapPlan, Node, NormKind, Op, PoolKind};

/// The bytes of a node's learned parameters.
pub(super) fn parameter_bytes(node: &Node) -> u64 {
    node.own_parameters().saturating_mul(4)
}

/// Records what a leaf makes of its inputs by Burn's operations, and returns its output.
pub(super) fn compose(tape: &mut Tape, node: &Node, inputs: &[BufferId], y: &MapPlan) -> BufferId {
    let (Some(x), Some(&input)) = (node.inputs.first(), inputs.first()) else {
        return tape.push(y.bytes(), Step::reading(inputs));
    };
    match &node.op {
        Op::Conv(op) => convolution(tape, node, op, input, y),
        Op::ConvTranspose(op) => {
            let workspace = burn_conv::transposed(op, &x.shape, &y.shape);
            weighted(tape, node, input, y, workspace)
        }
        Op::Linear { .. } => weighted(tape, node, input, y, Workspace::default()),
        Op::Attention { heads } => attention(tape, *heads, &node.inputs, inputs, y),
        Op::Norm(kind) => norm(tape, node, *kind, input),
        Op::Activation(activation) => tape.activation(activation, input),
        Op::Elementwise(op) => elementwise(tape, *op, inputs),
        Op::WeightedSum(_) => weighted_sum(tape, node, inputs),
        Op::Scale => {
            let gamma = tape.parameter(node.own_parameters() as usize);
            tape.binary(Binary::Mul, input, gamma)
        }
        // (The kernel maps all axes in one pass; nothing is to do for an axis that keeps its size, but for a blur.)
        Op::Resize(_) | Op::AdaptivePool(AdaptiveKind::Avg) if x.shape == y.shape => input,
        Op::Resize(mode) => resized(tape, *mode, input, &x.shape, y),
        Op::AdaptivePool(AdaptiveKind::Avg) | Op::Blur { .. } => tape.moved(input, y.bytes()),
        Op::PixelShuffle { scale, .. } | Op::PixelUnshuffle { scale, .. } => scale
            .iter()
            .fold(input, |input, _| tape.moved(input, y.bytes())),
        Op::Softmax { .. } => tape.unary(input),
        Op::Reassemble { kernel_size } => reassemble(tape, kernel_size, inputs, y),
        Op::Pool { kind, .. } => pool(tape, *kind, input, &x.shape, &y.shape),
        Op::AdaptivePool(AdaptiveKind::Max) | Op::ChannelPool(AdaptiveKind::Max) => {
            tape.max_pool(input, y.bytes())
        }
        Op::GlobalMean
        | Op::ChannelPool(AdaptiveKind::Avg)
        | Op::Pad { .. }
        | Op::PadOrSlice { .. } => tape.moved(input, y.bytes()),
        Op::PositionAttention => position_attention(tape, inputs, &x.shape, y),
        Op::Concat { .. } | Op::DirectSum => tape.concatenation(inputs, y.bytes()),
        // (A view.)
        Op::Slice { .. } => input,
        Op::Reshape => match inputs.len() == 1 && x.bytes() == y.bytes() {
            true => input,
            false => tape.concatenation(inputs, y.bytes()),
        },
        Op::Dropout | Op::ChannelDropout | Op::DropPath if !tape.is_training => input,
        Op::Dropout => dropout(tape, input),
        Op::ChannelDropout | Op::DropPath => tape.scaled(input),
        Op::Opaque | Op::Composite => opaque(tape, node, inputs, y),
    }
}

/// An operation with parameters that saves its input.
fn weighted(
    tape: &mut Tape,
    node: &Node,
    x: BufferId,
    y: &MapPlan,
    workspace: Workspace,
) -> BufferId {
    let mut step = Step::reading(&[x]).saving(&[x]).with_new_gradients();
    step.parameters = parameter_bytes(node);
    step.workspace = workspace.forward;
    step.backward_workspace = workspace.backward;
    tape.push(y.bytes(), step)
}

/// A padding that differs at the two ends of an axis is a step of its own.
fn convolution(
    tape: &mut Tape,
    node: &Node,
    op: &ConvOp,
    mut input: BufferId,
    y: &MapPlan,
) -> BufferId {
    let mut shape = node.inputs[0].shape.clone();
    if op.padding.iter().any(|pad| pad.start != pad.end) {
        for (size, pad) in shape[2..].iter_mut().zip(&op.padding) {
            *size = size.saturating_add(pad.start).saturating_add(pad.end);
        }
        input = tape.moved(input, bytes_of_shape(&shape));
    }
    let workspace = burn_conv::convolution(op, &shape, &y.shape);
    weighted(tape, node, input, y, workspace)
}

fn norm(tape: &mut Tape, node: &Node, kind: NormKind, x: BufferId) -> BufferId {
    let shape = &node.inputs[0].shape;
    let (batch, channels) = (shape[0], shape[1]);
    let groups = match kind {
        NormKind::Batch { .. } => return tape.batch_norm(x, batch, channels),
        NormKind::Group { groups, .. } => groups,
        NormKind::Instance { .. } => channels,
        NormKind::Layer { .. } => shape[2..].iter().copied().fold(1, usize::saturating_mul),
    };
    let affine = if node.own_parameters() > 0 {
        channels
    } else {
        0
    };
    tape.group_norm(x, batch.saturating_mul(groups), affine)
}

fn elementwise(tape: &mut Tape, op: Elementwise, inputs: &[BufferId]) -> BufferId {
    let binary = match op {
        Elementwise::Sum | Elementwise::Mean => Binary::Add,
        Elementwise::Difference => Binary::Sub,
        Elementwise::Product => Binary::Mul,
        Elementwise::Max | Elementwise::Min => Binary::Choose,
    };
    let mut y = inputs[0];
    for &other in &inputs[1..] {
        y = tape.binary(binary, y, other);
    }
    match op {
        Elementwise::Mean => tape.scaled(y),
        _ => y,
    }
}

/// A product for each map, and their sum.
fn weighted_sum(tape: &mut Tape, node: &Node, inputs: &[BufferId]) -> BufferId {
    let weights = node.own_parameters() as usize / inputs.len().max(1);
    let weighted = inputs.iter().map(|&x| {
        let weight = tape.parameter(weights);
        tape.binary(Binary::Mul, x, weight)
    });
    let weighted: Vec<_> = weighted.collect();
    elementwise(tape, Elementwise::Sum, &weighted)
}

/// For each neighbour a shifted map, its weights, their product, and the sum.
fn reassemble(
    tape: &mut Tape,
    kernel_size: &[usize],
    inputs: &[BufferId],
    y: &MapPlan,
) -> BufferId {
    let &[x, weights] = inputs else {
        return tape.push(y.bytes(), Step::reading(inputs));
    };
    let neighbours = kernel_size.iter().copied().fold(1, usize::saturating_mul);
    let each = tape.bytes(weights) / neighbours.max(1) as u64;
    let mut sum = None;
    for _ in 0..neighbours {
        let shifted = tape.moved(x, tape.bytes(x));
        let weight = tape.moved(weights, each);
        let step = Step::reading(&[shifted, weight]).saving(&[shifted, weight]);
        let product = tape.push(y.bytes(), step.with_new_gradients());
        sum = Some(match sum {
            None => product,
            Some(sum) => tape.binary(Binary::Add, sum, product),
        });
    }
    sum.unwrap_or(x)
}

/// A pool over three axes is one over two, and one over the other.
fn pool(tape: &mut Tape, kind: PoolKind, x: BufferId, from: &[usize], to: &[usize]) -> BufferId {
    let mut one = |x: BufferId, shape: &[usize]| match kind {
        PoolKind::Max => tape.max_pool(x, bytes_of_shape(shape)),
        PoolKind::Avg | PoolKind::AvgWithPadding => tape.saving_input(x, bytes_of_shape(shape)),
    };
    if from.len() < 5 {
        return one(x, to);
    }
    let planes = [&from[..3], &to[3..]].concat();
    let planes = one(x, &planes);
    one(planes, to)
}

/// A mask of the map's size is saved.
fn dropout(tape: &mut Tape, x: BufferId) -> BufferId {
    let bytes = tape.bytes(x);
    let storage = GradientStorage::InPlace { operand: None };
    let mut step = Step::reading(&[x]).in_place().with_gradient(x, storage);
    step.saved_bytes = bytes;
    tape.push(bytes, step)
}

/// A layer of which only the shapes and the parameters are known. One with parameters is taken for a convolution, any
/// other for an operation that saves both its input and its output.
fn opaque(tape: &mut Tape, node: &Node, inputs: &[BufferId], y: &MapPlan) -> BufferId {
    let mut step = Step::reading(inputs).saving(inputs).with_new_gradients();
    step.parameters = parameter_bytes(node);
    let is_feature_map = |map: &MapPlan| map.shape.len() > 2;
    if step.parameters == 0 {
        let output = tape.push(y.bytes(), step);
        if tape.buffers[output].is_tracked
            && let Some(step) = tape.producer(output)
        {
            step.saved.push(output);
        }
        return output;
    }
    if is_feature_map(&node.inputs[0]) && is_feature_map(y) {
        let parameters = node.own_parameters() as usize;
        let workspace = burn_conv::assumed(parameters, &node.inputs[0].shape, &y.shape);
        step.workspace = workspace.forward;
        step.backward_workspace = workspace.backward;
    }
    tape.push(y.bytes(), step)
}
