//! [`record`]: from the nodes of a plan to the steps of a tape.
//!
//! Which operations are fused is decided here, by the [`Op`] and the [`Executor`] of each node, as the dispatch decides
//! it; what the kernels do with an operation is asked of the [policy].

mod norms;

use alloc::{vec, vec::Vec};

use super::tape::{BufferId, Origin, Step, StepKind, Tape};
use super::{bytes_of, bytes_of_shape, composed, total};
use crate::cpu::policy::{
    self, Axes, AxisNumbers, ConvShape, Geometry, SourceGradient, SourceShape, TransposedShape,
    WeightUse,
};
use crate::graph::{
    ConvOp, Elementwise, Executor, MapPlan, Node, NormKind, Op, PoolKind, ResizeMode,
};
use crate::shape::Axis;

/// The tape of a network, in inference or in training.
pub(super) fn record(root: &Node, is_training: bool) -> Tape {
    let mut recorder = Recorder {
        tape: Tape::new(is_training),
        maps: Vec::new(),
        readers: Vec::new(),
        block: 0,
    };
    recorder.count_readers(root);
    recorder.node(root);
    recorder.finish(root)
}

/// A batch norm that a buffer is still to be read through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct DeferredNorm {
    has_activation: bool,
    /// The block that the norm belongs to has ended: only a sum with a residual is fused with it.
    is_closed: bool,
}

/// A buffer that holds some channels of a map, and how it is read.
#[derive(Clone, Debug)]
struct Part {
    buffer: BufferId,
    channels: usize,
    /// The spatial size as it is stored.
    size: Vec<usize>,
    /// How many times each position is read along each axis.
    factors: Vec<usize>,
    norm: Option<DeferredNorm>,
}

impl Part {
    /// A buffer that holds a whole map.
    fn new(buffer: BufferId, map: &MapPlan) -> Self {
        let size = spatial_of(map).to_vec();
        Self {
            buffer,
            channels: channels_of(map),
            factors: vec![1; size.len()],
            size,
            norm: None,
        }
    }

    fn is_enlarged(&self) -> bool {
        self.factors.iter().any(|&factor| factor != 1)
    }

    fn is_plain(&self) -> bool {
        self.norm.is_none() && !self.is_enlarged()
    }

    /// The bytes of its channels, for a batch of so many maps.
    fn bytes(&self, batch: usize) -> u64 {
        bytes_of_shape(&[&[batch, self.channels], &self.size[..]].concat())
    }
}

fn channels_of(map: &MapPlan) -> usize {
    map.shape.get(1).copied().unwrap_or(1)
}

fn spatial_of(map: &MapPlan) -> &[usize] {
    map.shape.get(2..).unwrap_or_default()
}

struct Recorder {
    tape: Tape,
    /// By the number of a map: a lazy concatenation of buffers. Empty if it was not recorded.
    maps: Vec<Vec<Part>>,
    /// How many leaves read a map as a tensor.
    readers: Vec<u32>,
    /// The first leaf of the block that is recorded now: nothing is fused with what is before it.
    block: usize,
}

/// Whether a leaf hands on what it reads instead of writing it.
fn is_lazy(node: &Node) -> bool {
    node.executor == Executor::Dispatch
        && match (&node.op, &node.inputs[..], &node.outputs[..]) {
            (Op::Concat { axis, .. }, ..) => *axis == Axis::Channels,
            (Op::Resize(mode), [x], [y]) => enlargement(*mode, x, y).is_some(),
            _ => false,
        }
}

/// The factors by which a nearest resize repeats each position, if they are whole numbers.
fn enlargement(mode: ResizeMode, x: &MapPlan, y: &MapPlan) -> Option<Vec<usize>> {
    if !matches!(mode, ResizeMode::Nearest | ResizeMode::NearestExact) {
        return None;
    }
    let axes = spatial_of(x).iter().zip(spatial_of(y));
    let factor = |(&from, &to): (&usize, &usize)| {
        (from > 0 && to >= from && to.is_multiple_of(from)).then(|| to / from)
    };
    axes.map(factor).collect()
}

impl Recorder {
    fn count_readers(&mut self, node: &Node) {
        if node.children.is_empty() && !is_lazy(node) {
            for map in &node.inputs {
                if self.readers.len() <= map.id {
                    self.readers.resize(map.id + 1, 0);
                }
                self.readers[map.id] += 1;
            }
        }
        for child in &node.children {
            self.count_readers(child);
        }
    }

    fn node(&mut self, node: &Node) {
        if node.children.is_empty() {
            self.leaf(node);
            self.tape.leaf += 1;
            return;
        }
        // An encoder hands on several maps at its end: they are tensors as soon as they are made.
        let is_encoder = node.outputs.len() > 1;
        let outer = core::mem::replace(&mut self.block, self.tape.leaf);
        for child in &node.children {
            self.node(child);
            for map in child.outputs.iter().filter(|_| is_encoder) {
                if node.outputs.iter().any(|output| output.id == map.id) {
                    self.tensor(map);
                }
            }
        }
        if is_encoder {
            let held: Vec<_> = node.outputs.iter().map(|map| self.tensor(map)).collect();
            if let Some(last) = self.tape.steps.last_mut() {
                last.reads.extend(held);
            }
        }
        for map in &node.outputs {
            self.close(map);
        }
        self.block = outer;
    }

    /// A norm at the end of a block that no activation follows is written, unless a residual is added to it.
    fn close(&mut self, map: &MapPlan) {
        for part in self.maps.get_mut(map.id).into_iter().flatten() {
            if let Some(norm) = part.norm.as_mut().filter(|norm| !norm.has_activation) {
                norm.is_closed = true;
            }
        }
    }

    /// The network's outputs are written, and in training a loss reads them.
    fn finish(mut self, root: &Node) -> Tape {
        let outputs: Vec<_> = root.outputs.iter().map(|map| self.tensor(map)).collect();
        if self.tape.is_training && !outputs.is_empty() {
            let loss = Step::reading(&outputs).with_new_gradients();
            self.tape.push(bytes_of(1), loss);
        }
        self.tape
    }

    fn leaf(&mut self, node: &Node) {
        let [y] = &node.outputs[..] else {
            return self.opaque_with_outputs(node);
        };
        if node.inputs.iter().any(|x| x.id == y.id) {
            return;
        }
        let parts = match node.executor {
            Executor::Dispatch => self.dispatched(node, y),
            Executor::Standalone => self.standalone(node, y),
            Executor::Burn => None,
        };
        let parts = parts.unwrap_or_else(|| {
            let inputs: Vec<_> = node.inputs.iter().map(|x| self.tensor(x)).collect();
            let output = composed::compose(&mut self.tape, node, &inputs, y);
            vec![Part::new(output, y)]
        });
        *self.slot(y.id) = parts;
    }

    /// A layer of which nothing is known, with several outputs: an encoder of another crate.
    fn opaque_with_outputs(&mut self, node: &Node) {
        let inputs: Vec<_> = node.inputs.iter().map(|x| self.tensor(x)).collect();
        for (index, y) in node.outputs.iter().enumerate() {
            let mut step = Step::reading(&inputs).saving(&inputs).with_new_gradients();
            step.parameters = match index {
                0 => composed::parameter_bytes(node),
                _ => 0,
            };
            let output = self.tape.push(y.bytes(), step);
            *self.slot(y.id) = vec![Part::new(output, y)];
        }
    }

    /// What the dispatch makes of a leaf; none where it composes Burn's operations.
    fn dispatched(&mut self, node: &Node, y: &MapPlan) -> Option<Vec<Part>> {
        match (&node.op, &node.inputs[..]) {
            (Op::Conv(op), [x]) => Some(self.convolution(node, op, x, y)),
            (Op::ConvTranspose(op), [x]) => self.transposed(node, op, x, y),
            (Op::Norm(NormKind::Batch { .. }), [x]) => Some(self.norm(x)),
            (Op::Norm(NormKind::Group { .. } | NormKind::Instance { .. }), [x]) => {
                Some(self.written_norm(node, x, y))
            }
            (Op::Activation(activation), [x]) => {
                Some(self.fused_activation(activation.fused()?, x, y))
            }
            (Op::Elementwise(Elementwise::Sum), [block, residual]) => self.sum(block, residual, y),
            (Op::Pool { kind, .. }, [x]) => self.pool(*kind, x, y),
            (Op::Concat { axis, .. }, maps) if *axis == Axis::Channels => {
                let parts = maps.iter().map(|map| self.parts(map));
                Some(parts.collect::<Vec<_>>().concat())
            }
            (Op::Resize(mode), [x]) => {
                let factors = enlargement(*mode, x, y)?;
                let mut parts = self.parts(x);
                for part in &mut parts {
                    for (all, more) in part.factors.iter_mut().zip(&factors) {
                        *all = all.saturating_mul(*more);
                    }
                }
                Some(parts)
            }
            _ => None,
        }
    }

    /// What the dispatch makes of a leaf with which nothing is fused.
    fn standalone(&mut self, node: &Node, y: &MapPlan) -> Option<Vec<Part>> {
        match (&node.op, &node.inputs[..]) {
            (Op::Norm(_), [x]) => Some(self.written_norm(node, x, y)),
            (Op::Activation(activation), [x]) => Some(self.activation(activation.fused()?, x, y)),
            _ => None,
        }
    }

    /// A convolution reads the buffers where they are, if the kernels take it.
    fn convolution(&mut self, node: &Node, op: &ConvOp, x: &MapPlan, y: &MapPlan) -> Vec<Part> {
        let parts = self.read(x);
        let Some(shape) = conv_shape(op, &parts, x, y).filter(ConvShape::is_taken) else {
            // What is written for it is not handed on.
            let input = self.materialise(&parts, x);
            let output = composed::compose(&mut self.tape, node, &[input], y);
            return vec![Part::new(output, y)];
        };
        let reads: Vec<_> = parts.iter().map(|part| part.buffer).collect();
        let gradients = parts.iter().map(|part| SourceGradient {
            is_needed: self.tape.buffers[part.buffer].is_tracked,
            has_norm: part.norm.is_some(),
        });
        let gradients: Vec<_> = gradients.collect();
        let copies = self.copied_views(&parts, shape.batch);
        let mut step = Step::reading(&reads).saving(&reads).with_new_gradients();
        step.kind = StepKind::Convolution;
        step.parameters = composed::parameter_bytes(node);
        let weight = match self.tape.is_training {
            true => WeightUse::Once,
            false => WeightUse::Kept,
        };
        let forward = copies.saturating_add(shape.laid_out_bytes(weight));
        step.workspace = forward;
        if self.tape.is_training {
            let backward = shape.backward_bytes(&gradients);
            step.backward_workspace = copies.saturating_add(backward);
            step.workspace = forward.saturating_add(shape.prepared_bytes(weight));
        } else {
            step.prepared = shape.prepared_bytes(weight);
        }
        vec![Part::new(self.tape.push(y.bytes(), step), y)]
    }

    /// The kernels copy views of larger buffers, such as a map that was cropped.
    fn copied_views(&self, parts: &[Part], batch: usize) -> u64 {
        let bytes = parts.iter().map(|part| (part, part.bytes(batch)));
        let is_view = |(part, bytes): &(&Part, u64)| self.tape.bytes(part.buffer) > *bytes;
        total(bytes.filter(is_view).map(|(_, bytes)| bytes))
    }

    fn transposed(
        &mut self,
        node: &Node,
        op: &ConvOp,
        x: &MapPlan,
        y: &MapPlan,
    ) -> Option<Vec<Part>> {
        let shape = transposed_shape(op, x, y).filter(TransposedShape::is_taken)?;
        let input = self.tensor(x);
        let mut step = Step::reading(&[input])
            .saving(&[input])
            .with_new_gradients();
        step.parameters = composed::parameter_bytes(node);
        step.workspace = shape.forward_bytes();
        step.backward_workspace = shape.backward_bytes();
        Some(vec![Part::new(self.tape.push(y.bytes(), step), y)])
    }

    /// The max pool of the kernels finds the largest values anew in the backward pass. A mean needs nothing for it.
    fn pool(&mut self, kind: PoolKind, x: &MapPlan, y: &MapPlan) -> Option<Vec<Part>> {
        if kind != PoolKind::Max {
            let input = self.tensor(x);
            let output = self.tape.moved(input, y.bytes());
            return Some(vec![Part::new(output, y)]);
        }
        let plane = |map| match *spatial_of(map) {
            [columns] => Some([1, columns]),
            [rows, columns] => Some([rows, columns]),
            _ => None,
        };
        let [input, output] = [x, y].map(plane);
        if !policy::takes_max_pool(input?, output?) {
            return None;
        }
        let input = self.tensor(x);
        let output = self.tape.saving_input(input, y.bytes());
        Some(vec![Part::new(output, y)])
    }

    /// Whether the parts are one buffer that such a step of the block wrote.
    fn is_output_of(&mut self, parts: &[Part], kind: StepKind) -> bool {
        let block = self.block;
        match parts {
            [part] if part.is_plain() => {
                let producer = self.tape.producer(part.buffer);
                producer.is_some_and(|step| step.kind == kind && step.leaf >= block)
            }
            _ => false,
        }
    }

    fn slot(&mut self, id: usize) -> &mut Vec<Part> {
        if self.maps.len() <= id {
            self.maps.resize(id + 1, Vec::new());
        }
        &mut self.maps[id]
    }

    /// The parts of a map: of one that no leaf wrote, the buffer of an input.
    fn parts(&mut self, map: &MapPlan) -> Vec<Part> {
        if self.slot(map.id).is_empty() {
            let buffer = self.tape.source(map.bytes(), Origin::Input);
            *self.slot(map.id) = vec![Part::new(buffer, map)];
        }
        self.maps[map.id].clone()
    }

    /// The parts of a map that a layer reads as they are. What more than one layer reads is a tensor.
    fn read(&mut self, map: &MapPlan) -> Vec<Part> {
        let parts = self.parts(map);
        let is_closed = |part: &Part| part.norm.is_some_and(|norm| norm.is_closed);
        let is_shared = self.readers.get(map.id).is_some_and(|&readers| readers > 1);
        if is_shared || parts.iter().any(is_closed) {
            let buffer = self.tensor(map);
            return vec![Part::new(buffer, map)];
        }
        parts
    }

    /// The buffer of a map that is read as a tensor; it is written, if it is not.
    fn tensor(&mut self, map: &MapPlan) -> BufferId {
        let parts = self.parts(map);
        let buffer = self.materialise(&parts, map);
        *self.slot(map.id) = vec![Part::new(buffer, map)];
        buffer
    }

    /// Writes a lazy concatenation, unless it is one buffer already.
    fn materialise(&mut self, parts: &[Part], map: &MapPlan) -> BufferId {
        let batch = map.shape.first().copied().unwrap_or(1);
        let written: Vec<_> = parts
            .iter()
            .map(|part| self.materialise_part(part, batch))
            .collect();
        match written[..] {
            [only] => only,
            _ => self.tape.concatenation(&written, map.bytes()),
        }
    }

    fn materialise_part(&mut self, part: &Part, batch: usize) -> BufferId {
        let mut buffer = part.buffer;
        if part.norm.is_some() {
            let bytes = self.tape.bytes(buffer);
            buffer = self.tape.saving_input(buffer, bytes);
        }
        if part.is_enlarged() {
            let size = part.size.iter().zip(&part.factors);
            let size: Vec<_> = size
                .map(|(size, factor)| size.saturating_mul(*factor))
                .collect();
            let shape = [&[batch, part.channels], &size[..]].concat();
            buffer = self.tape.moved(buffer, bytes_of_shape(&shape));
        }
        buffer
    }
}

/// What the policy is asked about a convolution.
fn conv_shape(op: &ConvOp, parts: &[Part], x: &MapPlan, y: &MapPlan) -> Option<ConvShape> {
    let sources = parts
        .iter()
        .map(|part| SourceShape::new(part.channels, &part.size, &part.factors));
    Some(ConvShape {
        geometry: geometry(op, spatial_of(y))?,
        batch: x.shape[0],
        sources: sources.collect::<Option<_>>()?,
        outputs: op.channels[1],
    })
}

/// The same of a transposed convolution, whose geometry is that of the convolution from its output to its input.
fn transposed_shape(op: &ConvOp, x: &MapPlan, y: &MapPlan) -> Option<TransposedShape> {
    if op.groups != 1 {
        return None;
    }
    Some(TransposedShape {
        geometry: geometry(op, spatial_of(x))?,
        batch: x.shape[0],
        inputs: op.channels[0],
        outputs: op.channels[1],
        size: Axes::new(spatial_of(y), 1)?,
    })
}

fn geometry(op: &ConvOp, size: &[usize]) -> Option<Geometry> {
    let pad_start: Vec<_> = op.padding.iter().map(|pad| pad.start).collect();
    let numbers = AxisNumbers {
        kernel_size: &op.kernel_size,
        stride: &op.stride,
        dilation: &op.dilation,
        pad_start: &pad_start,
    };
    Geometry::new(numbers, op.groups, size)
}
