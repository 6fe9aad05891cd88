//! Burn's operations on flex: what they allocate, what its autodiff saves for them, and which of them write over an
//! operand that nobody else holds. Read from the sources of Burn 0.22.1.

use super::bytes_of;
use super::tape::{BufferId, GradientStorage, Origin, Step, Tape};

/// The bytes of a mask, of one byte a value.
const MASK_SHARE: u64 = 4;

/// A binary operation. One operand may be smaller: it is broadcast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    /// The larger or the smaller of two values.
    Choose,
}

impl Tape {
    /// A parameter of so many numbers.
    pub(super) fn parameter(&mut self, len: usize) -> BufferId {
        self.source(bytes_of(len), Origin::Parameter)
    }

    /// An elementwise operation whose gradient needs nothing: a scale by a constant.
    pub(super) fn scaled(&mut self, x: BufferId) -> BufferId {
        let storage = GradientStorage::InPlace { operand: None };
        let step = Step::reading(&[x]).in_place().with_gradient(x, storage);
        self.push(self.bytes(x), step)
    }

    /// An elementwise operation whose gradient needs its input.
    pub(super) fn unary(&mut self, x: BufferId) -> BufferId {
        let storage = GradientStorage::InPlace { operand: Some(x) };
        let step = Step::reading(&[x]).in_place().saving(&[x]);
        self.push(self.bytes(x), step.with_gradient(x, storage))
    }

    /// An elementwise operation of two operands.
    pub(super) fn binary(&mut self, op: Binary, a: BufferId, b: BufferId) -> BufferId {
        let bytes = self.bytes(a).max(self.bytes(b));
        let [is_a, is_b] = [a, b].map(|operand| self.buffers[operand].is_tracked);
        let in_place = |operand| GradientStorage::InPlace { operand };
        let mut step = Step::reading(&[a, b]).in_place();
        step = match op {
            Binary::Add => step
                .with_gradient(a, self.passed_to(a, bytes))
                .with_gradient(b, self.passed_to(b, bytes)),
            // (The second gradient is negated before it is summed.)
            Binary::Sub => step
                .with_gradient(a, self.passed_to(a, bytes))
                .with_gradient(b, in_place(None)),
            Binary::Mul => {
                if is_b {
                    step = step.saving(&[a]);
                }
                if is_a {
                    step = step.saving(&[b]);
                }
                step.with_gradient(a, in_place(Some(b)))
                    .with_gradient(b, in_place(Some(a)))
            }
            Binary::Div => {
                if is_b {
                    step = step.saving(&[a]);
                }
                step.saving(&[b])
                    .with_gradient(a, in_place(None))
                    .with_gradient(b, in_place(Some(a)))
            }
            Binary::Choose => {
                step.saved_bytes = bytes / MASK_SHARE;
                step.with_new_gradients()
            }
        };
        // Parameters are held anyway.
        step.saved
            .retain(|&buffer| self.buffers[buffer].origin != Origin::Parameter);
        self.push(bytes, step)
    }

    /// The gradient of a sum is passed on, or summed over the axes along which the operand was broadcast.
    fn passed_to(&self, operand: BufferId, bytes: u64) -> GradientStorage {
        match self.bytes(operand) == bytes {
            true => GradientStorage::Shared,
            false => GradientStorage::New,
        }
    }

    /// `condition ? a : b`, by a mask that is saved.
    pub(super) fn choose(&mut self, a: BufferId, b: BufferId) -> BufferId {
        let bytes = self.bytes(a);
        let mut step = Step::reading(&[a, b]).in_place().with_new_gradients();
        step.saved_bytes = bytes / MASK_SHARE;
        // The zeros that take the place of the values of the other operand.
        step.backward_workspace = bytes;
        self.push(bytes, step)
    }

    /// Some values are replaced by a constant, by a mask that is saved.
    pub(super) fn filled(&mut self, x: BufferId) -> BufferId {
        let bytes = self.bytes(x);
        let storage = GradientStorage::InPlace { operand: None };
        let mut step = Step::reading(&[x]).in_place().with_gradient(x, storage);
        step.saved_bytes = bytes / MASK_SHARE;
        self.push(bytes, step)
    }

    /// The values in another place, or fewer or more of them: what it needs of its input is the shape.
    pub(super) fn moved(&mut self, x: BufferId, bytes: u64) -> BufferId {
        self.push(bytes, Step::reading(&[x]).with_new_gradients())
    }

    /// A product of matrices. Flex zeroes its memory as bytes, and copies them to where numbers may lie.
    pub(super) fn product(&mut self, operands: [BufferId; 2], bytes: u64) -> BufferId {
        let mut step = Step::reading(&operands).saving(&operands);
        for operand in operands {
            step = step.with_gradient(operand, GradientStorage::Zeroed);
        }
        step.workspace = bytes;
        self.push(bytes, step)
    }

    /// The largest value of each row, of `bytes` in all. Its index is saved in 8 bytes.
    pub(super) fn max_of_rows(&mut self, x: BufferId, bytes: u64) -> BufferId {
        let mut step = Step::reading(&[x]).with_gradient(x, GradientStorage::Zeroed);
        step.saved_bytes = bytes.saturating_mul(2);
        self.push(bytes, step)
    }

    /// A concatenation: the gradients of the operands are views of that of the output.
    pub(super) fn concatenation(&mut self, operands: &[BufferId], bytes: u64) -> BufferId {
        let mut step = Step::reading(operands);
        for &operand in operands {
            step = step.with_gradient(operand, GradientStorage::Shared);
        }
        self.push(bytes, step)
    }

    /// A max pool saves its input, and an index of 4 bytes of each value; they are computed in 8 bytes.
    pub(super) fn max_pool(&mut self, x: BufferId, bytes: u64) -> BufferId {
        let mut step = Step::reading(&[x]).saving(&[x]).with_new_gradients();
        step.workspace = bytes.saturating_mul(2);
        if self.buffers[x].is_tracked {
            step.saved_bytes = bytes;
        }
        self.push(bytes, step)
    }

    /// An operation of which the backward pass needs the input.
    pub(super) fn saving_input(&mut self, x: BufferId, bytes: u64) -> BufferId {
        let step = Step::reading(&[x]).saving(&[x]).with_new_gradients();
        self.push(bytes, step)
    }

    /// Batch norm by Burn: one operation for its autodiff, composed of several on flex.
    pub(super) fn batch_norm(&mut self, x: BufferId, batch: usize, channels: usize) -> BufferId {
        let bytes = self.bytes(x);
        let storage = GradientStorage::InPlace { operand: None };
        let mut step = Step::reading(&[x]).saving(&[x]).with_gradient(x, storage);
        step.is_in_place = !self.is_training;
        if self.is_training {
            step.parameters = bytes_of(channels).saturating_mul(2);
            // The centred map, beside its square.
            step.workspace = bytes;
            // The product of the gradient and the normalised map, which takes the memory of the input; and, where the
            // channels have to be brought to the front, a copy of both.
            let copies = if batch > 1 { 3 } else { 1 };
            step.backward_workspace = bytes.saturating_mul(copies);
        }
        self.push(bytes, step)
    }

    /// Group norm of `values` groups in the batch, composed of Burn's operations; with a scale and a shift of each of
    /// `affine` channels.
    pub(super) fn group_norm(&mut self, x: BufferId, groups: usize, affine: usize) -> BufferId {
        let statistics = bytes_of(groups);
        let mean = self.moved(x, statistics);
        let centred = self.binary(Binary::Sub, x, mean);
        let square = self.binary(Binary::Mul, centred, centred);
        let variance = self.moved(square, statistics);
        let deviation = self.unary(variance);
        let mut y = self.binary(Binary::Div, centred, deviation);
        if affine > 0 {
            let [gamma, beta] = [0, 1].map(|_| self.parameter(affine));
            y = self.binary(Binary::Mul, y, gamma);
            y = self.binary(Binary::Add, y, beta);
        }
        y
    }
}
