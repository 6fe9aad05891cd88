//! A plan's layers without parts as a tape of operations on buffers, for [`Memory`](super::Memory).

use alloc::{vec, vec::Vec};

use super::memory::bytes_of;
use super::{MapPlan, Node};

/// Maps that the kernels take as one concatenation.
const MOST_SOURCES: usize = 37;

pub(super) struct Buffer {
    pub(super) bytes: u64,
    /// The number of the node without parts that made it; none for the input.
    pub(super) maker: Option<usize>,
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
pub(super) struct Op {
    kind: Kind,
    pub(super) reads: Vec<usize>,
    pub(super) makes: usize,
    /// What its gradient needs.
    pub(super) keeps: Vec<usize>,
    /// The buffers that it gives gradients to.
    pub(super) to: Vec<usize>,
    /// The bytes of its weight.
    pub(super) weight: u64,
    /// What is made of the weight: kept in inference, for the time of the operation in training.
    pub(super) prepared: u64,
    /// What it holds besides, for its time.
    pub(super) passing: u64,
    /// What its gradient holds besides, for its time.
    pub(super) scratch: u64,
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

pub(super) struct Tape {
    is_training: bool,
    pub(super) buffers: Vec<Buffer>,
    pub(super) ops: Vec<Op>,
    /// By the number of a map.
    maps: Vec<Parts>,
    /// The node without parts that is being told of.
    node: usize,
}

impl Tape {
    pub(super) fn of(root: &Node, is_training: bool) -> Self {
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
    let of_a_map: usize = y.shape[2..].iter().product();
    let positions = y.bytes() / 4 / y.shape[1].max(1);
    // (A bias does not make nine taps ten.)
    let is_3x3 = x.shape.len() == 4 && weight / 4 / inputs.saturating_mul(outputs).max(1) == 9;
    let is_even = x.shape[2..] == y.shape[2..];
    let is_enlarged = sources.iter().any(|part| part.is_enlarged);
    let [least, least_enlarged] = if is_training { [512, 1024] } else { [0, 0] };
    let has_components = is_even && inputs >= 32 && outputs >= 32 && of_a_map >= 32;
    if is_3x3 && has_components && positions >= least {
        // (By blocks of eight outputs.)
        let rows = outputs.next_multiple_of(8);
        inputs.saturating_mul(rows).saturating_mul(16 * 4)
    } else if is_3x3 && is_enlarged && positions >= least_enlarged {
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
