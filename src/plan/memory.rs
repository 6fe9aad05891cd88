//! [`Memory`]: what inference and a training step hold at most.
//!
//! The layers of a plan become a tape of operations on buffers, as this crate runs them on the CPU: what is
//! [fused](crate::fused) has no buffer. Inference frees a buffer after its last reader; a training step keeps
//! what the gradients need, and goes the tape back.

use alloc::{vec, vec::Vec};

use serde::Serialize;

use super::{MapPlan, Node};

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
fn bytes_of(numbers: usize) -> u64 {
    (numbers as u64).saturating_mul(4)
}

fn total(bytes: impl Iterator<Item = u64>) -> u64 {
    bytes.fold(0, u64::saturating_add)
}

/// Maps that the kernels take as one concatenation.
const MOST_SOURCES: usize = 37;

struct Buffer {
    bytes: u64,
    /// The number of the node without parts that made it; none for the input.
    maker: Option<usize>,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Kind {
    Convolution,
    /// A residual that is added to what is read through a norm.
    NormAndSum,
    #[default]
    Other,
}

/// One step of the tape: a kernel, or an operation of Burn's.
#[derive(Default)]
struct Op {
    kind: Kind,
    reads: Vec<usize>,
    makes: usize,
    /// What its gradient needs.
    keeps: Vec<usize>,
    /// The buffers that it gives gradients to.
    to: Vec<usize>,
    /// The bytes of its weight.
    weight: u64,
    /// What is made of the weight: kept in inference, for the time of the operation in training.
    prepared: u64,
    /// What it holds besides, for its time.
    passing: u64,
    /// What its gradient holds besides, for its time.
    scratch: u64,
}

/// A map: the buffers that are its channels.
type Parts = Vec<Part>;

#[derive(Clone, Copy)]
struct Part {
    buffer: usize,
    /// It is still to be read through a norm.
    is_pending: bool,
    /// It is read enlarged.
    is_enlarged: bool,
}

struct Tape {
    is_training: bool,
    buffers: Vec<Buffer>,
    ops: Vec<Op>,
    /// By the number of a map.
    maps: Vec<Parts>,
    /// The node without parts that is being told of.
    node: usize,
}

impl Tape {
    fn of(root: &Node, is_training: bool) -> Self {
        let mut tape = Self {
            is_training,
            buffers: Vec::new(),
            ops: Vec::new(),
            maps: Vec::new(),
            node: 0,
        };
        tape.add(root);
        for map in &root.outputs {
            tape.written(map);
        }
        tape
    }

    fn add(&mut self, node: &Node) {
        if node.children.is_empty() {
            if let [output] = &node.outputs[..] {
                self.add_leaf(node, output);
            }
            self.node += 1;
            return;
        }
        // The maps of an encoder are tensors as soon as they are made, and handed on at its end.
        let is_encoder = node.outputs.len() > 1;
        for child in &node.children {
            self.add(child);
            for map in child.outputs.iter().filter(|_| is_encoder) {
                if node.outputs.iter().any(|output| output.id == map.id) {
                    self.written(map);
                }
            }
        }
        if is_encoder {
            let held: Vec<usize> = node.outputs.iter().map(|map| self.written(map)).collect();
            if let Some(last) = self.ops.last_mut() {
                last.reads.extend(held);
            }
        }
    }

    fn add_leaf(&mut self, node: &Node, output: &MapPlan) {
        if node.inputs.iter().any(|input| input.id == output.id) {
            return;
        }
        let parts = match (&node.kind[..], &node.inputs[..]) {
            ("Conv", [x]) => self.convolution(node, x, output),
            ("BatchNorm", [x]) => self.norm(x),
            ("Relu", [x]) => self.relu(x, output),
            ("Add", [a, b]) => self.sum_of(a, b, output),
            ("Concat", maps) => maps.iter().flat_map(|map| self.parts(map)).collect(),
            ("NearestResize", [x]) if is_enlarged(x, output) => {
                let enlarged = |part| Part {
                    is_enlarged: true,
                    ..part
                };
                self.parts(x).into_iter().map(enlarged).collect()
            }
            // What they need of their input is its shape.
            ("Mean" | "Fit", maps) => self.operation(maps, output, |_, _| Vec::new(), 0),
            (kind, [x]) if kind.ends_with("Resize") => {
                let parts = self.operation(&node.inputs, output, |_, _| Vec::new(), 0);
                if let (Some(op), false) = (self.ops.last_mut(), kind.starts_with("Nearest")) {
                    op.passing = between_axes(x, output);
                }
                parts
            }
            ("MaxPool" | "AvgPool" | "ConvTranspose" | "Linear", maps) => {
                let weight = bytes_of(node.parameters);
                self.operation(maps, output, |reads, _| reads.to_vec(), weight)
            }
            (_, maps) => {
                let both = |reads: &[usize], makes| [reads, &[makes]].concat();
                self.operation(maps, output, both, bytes_of(node.parameters))
            }
        };
        *self.slot(output.id) = parts;
    }

    /// The sources of a convolution are read where they are.
    fn convolution(&mut self, node: &Node, x: &MapPlan, output: &MapPlan) -> Parts {
        let mut sources = self.parts(x);
        // What the kernels do not take is written first.
        if x.shape.len() > 4 || sources.len() > MOST_SOURCES {
            self.written(x);
            sources = self.parts(x);
        }
        let weight = bytes_of(node.parameters);
        let reads: Vec<usize> = sources.iter().map(|part| part.buffer).collect();
        let pending = sources.iter().filter(|part| part.is_pending);
        let largest = pending.map(|part| self.buffers[part.buffer].bytes).max();
        let prepared = prepared(weight, &sources, [x, output], self.is_training);
        // The way back turns the weight round.
        let turned = if prepared == 0 { weight } else { 0 };
        self.made(
            output,
            Op {
                kind: Kind::Convolution,
                keeps: reads.clone(),
                to: reads.clone(),
                reads,
                weight,
                prepared,
                scratch: turned.saturating_add(largest.unwrap_or(0)),
                ..Op::default()
            },
        )
    }

    /// Behind a convolution in inference it is a part of it; else it waits for who reads it.
    fn norm(&mut self, x: &MapPlan) -> Parts {
        let mut parts = self.parts(x);
        if self.is_training || !self.is_fresh(&parts) {
            parts.iter_mut().for_each(|part| part.is_pending = true);
        }
        parts
    }

    fn relu(&mut self, x: &MapPlan, output: &MapPlan) -> Parts {
        let parts = self.parts(x);
        let behind_norm = parts.iter().all(|part| part.is_pending);
        let fused = match self.is_training {
            false => behind_norm || self.is_fresh(&parts),
            true => behind_norm || self.is_sum_of_norm(&parts),
        };
        if !fused {
            return self.operation(core::slice::from_ref(x), output, |_, y| vec![y], 0);
        }
        if let ([part], false) = (&parts[..], behind_norm) {
            // Behind a residual, only the output says what was cut.
            if let Some(op) = self.ops.iter_mut().rfind(|op| op.makes == part.buffer) {
                op.keeps.push(part.buffer);
            }
        }
        parts
    }

    /// A residual: in inference a part of the convolution before it, in training of the norm.
    fn sum_of(&mut self, a: &MapPlan, b: &MapPlan, output: &MapPlan) -> Parts {
        let block = self.parts(a);
        let [part] = block[..] else {
            return self.operation(&[a.clone(), b.clone()], output, |_, _| Vec::new(), 0);
        };
        let residual = self.written(b);
        if !self.is_training && self.is_made_by_convolution(part.buffer) {
            if let Some(op) = self.ops.last_mut() {
                op.reads.push(residual);
            }
            return block;
        }
        if !part.is_pending {
            return self.operation(&[a.clone(), b.clone()], output, |_, _| Vec::new(), 0);
        }
        self.made(
            output,
            Op {
                kind: Kind::NormAndSum,
                reads: vec![part.buffer, residual],
                keeps: vec![part.buffer],
                to: vec![part.buffer, residual],
                ..Op::default()
            },
        )
    }

    /// An operation that reads maps as tensors.
    fn operation(
        &mut self,
        maps: &[MapPlan],
        output: &MapPlan,
        keeps: impl Fn(&[usize], usize) -> Vec<usize>,
        weight: u64,
    ) -> Parts {
        let reads: Vec<usize> = maps.iter().map(|map| self.written(map)).collect();
        let makes = self.buffers.len();
        self.made(
            output,
            Op {
                keeps: keeps(&reads, makes),
                to: reads.clone(),
                reads,
                weight,
                ..Op::default()
            },
        )
    }

    /// A buffer for the output of an operation.
    fn made(&mut self, output: &MapPlan, op: Op) -> Parts {
        let makes = self.buffers.len();
        self.buffers.push(Buffer {
            bytes: output.bytes() as u64,
            maker: Some(self.node),
        });
        self.ops.push(Op { makes, ..op });
        vec![Part {
            buffer: makes,
            is_pending: false,
            is_enlarged: false,
        }]
    }

    fn slot(&mut self, id: usize) -> &mut Parts {
        if self.maps.len() <= id {
            self.maps.resize(id + 1, Vec::new());
        }
        &mut self.maps[id]
    }

    /// The parts of a map: of one that nobody made, the buffer that came in.
    fn parts(&mut self, map: &MapPlan) -> Parts {
        let next = self.buffers.len();
        let parts = self.slot(map.id);
        if parts.is_empty() {
            parts.push(Part {
                buffer: next,
                is_pending: false,
                is_enlarged: false,
            });
            self.buffers.push(Buffer {
                bytes: map.bytes() as u64,
                maker: None,
            });
        }
        self.maps[map.id].clone()
    }

    /// The buffer of a map that is read as a tensor; it is written, if it is not.
    fn written(&mut self, map: &MapPlan) -> usize {
        let parts = self.parts(map);
        if let [
            Part {
                buffer,
                is_pending: false,
                is_enlarged: false,
            },
        ] = parts[..]
        {
            return buffer;
        }
        let reads: Vec<usize> = parts.iter().map(|part| part.buffer).collect();
        let pending = parts.iter().filter(|part| part.is_pending);
        let op = Op {
            keeps: pending.map(|part| part.buffer).collect(),
            to: reads.clone(),
            reads,
            ..Op::default()
        };
        *self.slot(map.id) = self.made(map, op);
        self.maps[map.id][0].buffer
    }

    /// Whether it is what the last operation made, a convolution.
    fn is_fresh(&self, parts: &[Part]) -> bool {
        let last = self.ops.last().map(|op| op.makes);
        match parts {
            [part] => last == Some(part.buffer) && self.is_made_by_convolution(part.buffer),
            _ => false,
        }
    }

    fn op_of(&self, buffer: usize) -> Option<&Op> {
        self.ops.iter().rfind(|op| op.makes == buffer)
    }

    fn is_made_by_convolution(&self, buffer: usize) -> bool {
        self.op_of(buffer)
            .is_some_and(|op| op.kind == Kind::Convolution)
    }

    fn is_sum_of_norm(&self, parts: &[Part]) -> bool {
        let [part] = parts else {
            return false;
        };
        let op = self.op_of(part.buffer);
        op.is_some_and(|op| op.kind == Kind::NormAndSum)
    }

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

/// Whether each axis grows by a whole factor.
fn is_enlarged(x: &MapPlan, y: &MapPlan) -> bool {
    let mut axes = x.shape[2..].iter().zip(&y.shape[2..]);
    axes.all(|(&from, &to)| from > 0 && to % from == 0)
}

/// The bytes of what is made of a convolution's weight where that pays: the components of 3x3 kernels, or the
/// sums for each position of what is read enlarged.
fn prepared(weight: u64, sources: &[Part], [x, y]: [&MapPlan; 2], is_training: bool) -> u64 {
    let (inputs, outputs) = (x.shape[1] as u64, y.shape[1] as u64);
    let positions = y.bytes() / 4 / y.shape[1].max(1);
    // (A bias does not make nine taps ten.)
    let is_3x3 = x.shape.len() == 4 && weight / 4 / inputs.saturating_mul(outputs).max(1) == 9;
    let is_even = x.shape[2..] == y.shape[2..];
    let is_enlarged = sources.iter().any(|part| part.is_enlarged);
    let [least, least_enlarged] = if is_training { [512, 1024] } else { [256, 0] };
    let pays = is_even && inputs >= 32 && outputs >= 32 && positions >= least
        || is_enlarged && positions >= least_enlarged;
    if is_3x3 && pays {
        (weight / 9).saturating_mul(16)
    } else {
        0
    }
}

/// What a resize holds for its time: the map between two axes, and a second output.
fn between_axes(x: &MapPlan, y: &MapPlan) -> u64 {
    let last = x.shape.len() - 1;
    let [from, to] = [x, y].map(|map| map.shape[last].max(1) as u64);
    let between = (x.bytes() as u64 / from).saturating_mul(to);
    between.saturating_add(y.bytes() as u64)
}
