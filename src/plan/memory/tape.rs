//! [`Tape`]: the steps of a network on buffers, in the order in which they run.

use alloc::{vec, vec::Vec};

use super::total;

/// The number of a buffer.
pub(super) type BufferId = usize;

/// Where a buffer comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// It is an input of the network, which the caller holds.
    Input,
    /// It is a parameter.
    Parameter,
    /// The step with this number writes it.
    Step(usize),
}

/// The memory of a tensor.
#[derive(Debug)]
pub(super) struct Buffer {
    pub(super) bytes: u64,
    pub(super) origin: Origin,
    /// Whether it has a gradient.
    pub(super) is_tracked: bool,
    /// Its order in Burn's autodiff graph: one more than the largest of the operands.
    pub(super) order: usize,
}

/// What a step is, for the steps that may be fused with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum StepKind {
    /// A convolution by this crate's kernels.
    Convolution,
    /// A norm that is written.
    Norm,
    /// A deferred norm and the sum with a residual, in one pass.
    NormAndSum,
    /// Nothing is fused with it.
    #[default]
    Other,
}

/// Where a gradient is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GradientStorage {
    /// In memory of its own.
    New,
    /// In memory of its own that flex fills with zeros first: for a moment there are two copies of it.
    Zeroed,
    /// It is the incoming gradient itself, or a view of it.
    Shared,
    /// In the memory of the incoming gradient, or of a saved operand, if nobody else holds that.
    InPlace {
        /// The saved operand.
        operand: Option<BufferId>,
    },
}

/// The gradient of an operand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gradient {
    pub(super) target: BufferId,
    pub(super) storage: GradientStorage,
}

/// One operation. The defaults are those of an operation that writes its output to memory of its own and saves
/// nothing.
#[derive(Debug, Default)]
pub(super) struct Step {
    pub(super) kind: StepKind,
    /// The leaf of the plan that it belongs to.
    pub(super) leaf: usize,
    pub(super) reads: Vec<BufferId>,
    pub(super) output: BufferId,
    /// Whether the output is written to the memory of an operand that nobody else holds.
    pub(super) is_in_place: bool,
    /// The buffers that the backward pass reads.
    pub(super) saved: Vec<BufferId>,
    /// What else is saved, such as the indices of a max pool.
    pub(super) saved_bytes: u64,
    /// What the forward pass holds besides, while it runs.
    pub(super) workspace: u64,
    /// What is made of the weight, and kept from one inference to the next.
    pub(super) prepared: u64,
    /// The gradients of the operands, in the order in which they are computed.
    pub(super) gradients: Vec<Gradient>,
    /// The bytes of the gradients of the step's own parameters.
    pub(super) parameters: u64,
    /// What the backward pass holds besides, while it runs.
    pub(super) backward_workspace: u64,
}

impl Step {
    /// A step that reads these buffers.
    pub(super) fn reading(reads: &[BufferId]) -> Self {
        Self {
            reads: reads.to_vec(),
            ..Self::default()
        }
    }

    pub(super) fn in_place(mut self) -> Self {
        self.is_in_place = true;
        self
    }

    pub(super) fn saving(mut self, saved: &[BufferId]) -> Self {
        self.saved.extend_from_slice(saved);
        self
    }

    pub(super) fn with_gradient(mut self, target: BufferId, storage: GradientStorage) -> Self {
        self.gradients.push(Gradient { target, storage });
        self
    }

    /// All operands have gradients in memory of their own.
    pub(super) fn with_new_gradients(mut self) -> Self {
        let gradients = self.reads.iter().map(|&target| Gradient {
            target,
            storage: GradientStorage::New,
        });
        self.gradients = gradients.collect();
        self
    }
}

/// The steps of a network, forward or as a training step.
#[derive(Debug)]
pub(super) struct Tape {
    pub(super) is_training: bool,
    pub(super) buffers: Vec<Buffer>,
    pub(super) steps: Vec<Step>,
    /// The leaf of the plan that is being recorded.
    pub(super) leaf: usize,
}

impl Tape {
    pub(super) fn new(is_training: bool) -> Self {
        Self {
            is_training,
            buffers: Vec::new(),
            steps: Vec::new(),
            leaf: 0,
        }
    }

    /// A buffer that no step writes.
    pub(super) fn source(&mut self, bytes: u64, origin: Origin) -> BufferId {
        self.buffers.push(Buffer {
            bytes,
            origin,
            is_tracked: self.is_training && origin == Origin::Parameter,
            order: 0,
        });
        self.buffers.len() - 1
    }

    /// Adds a step with an output of so many bytes. What is not recorded by autodiff saves nothing.
    pub(super) fn push(&mut self, bytes: u64, mut step: Step) -> BufferId {
        let output = self.buffers.len();
        let tracked = |&buffer: &BufferId| self.buffers[buffer].is_tracked;
        let is_tracked =
            self.is_training && (step.parameters > 0 || step.reads.iter().any(tracked));
        let orders = step.reads.iter().map(|&buffer| self.buffers[buffer].order);
        let order = 1 + orders.max().unwrap_or(0);
        if is_tracked {
            step.gradients
                .retain(|gradient| self.buffers[gradient.target].is_tracked);
        } else {
            step.saved.clear();
            step.gradients.clear();
            step.parameters = 0;
            step.workspace = step.workspace.saturating_add(step.saved_bytes);
            step.saved_bytes = 0;
        }
        step.leaf = self.leaf;
        step.output = output;
        self.buffers.push(Buffer {
            bytes,
            origin: Origin::Step(self.steps.len()),
            is_tracked,
            order,
        });
        self.steps.push(step);
        output
    }

    pub(super) fn bytes(&self, buffer: BufferId) -> u64 {
        self.buffers[buffer].bytes
    }

    /// The step that writes a buffer.
    pub(super) fn producer(&mut self, buffer: BufferId) -> Option<&mut Step> {
        match self.buffers[buffer].origin {
            Origin::Step(step) => Some(&mut self.steps[step]),
            Origin::Input | Origin::Parameter => None,
        }
    }

    /// What each leaf saves for the backward pass: the buffers that it wrote and that some step saves.
    pub(super) fn saved_by_leaf(&self) -> Vec<u64> {
        let mut is_saved = vec![false; self.buffers.len()];
        let mut by_leaf = vec![0u64; self.leaf];
        for step in &self.steps {
            for &buffer in &step.saved {
                is_saved[buffer] = true;
            }
        }
        for step in &self.steps {
            let output = match is_saved[step.output] {
                true => self.bytes(step.output),
                false => 0,
            };
            if let Some(bytes) = by_leaf.get_mut(step.leaf) {
                *bytes = total([*bytes, output, step.saved_bytes].into_iter());
            }
        }
        by_leaf
    }
}
