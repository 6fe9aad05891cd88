//! Norms, activations and sums: what is applied by the operation before them or by the one that reads them.

use alloc::{vec, vec::Vec};

use super::super::composed;
use super::super::tape::{BufferId, Origin, Step, StepKind};
use super::{DeferredNorm, Part, Recorder};
use crate::cpu::policy::{self, FusedActivation};
use crate::graph::{MapPlan, Node};

impl Recorder {
    /// A batch norm is a part of the convolution before it, where nothing is recorded; else it waits for who reads it.
    pub(super) fn norm(&mut self, x: &MapPlan) -> Vec<Part> {
        let mut parts = self.read(x);
        let is_fused = policy::fuses_epilogue(self.tape.is_training);
        if is_fused && self.is_output_of(&parts, StepKind::Convolution) {
            return parts;
        }
        if parts.iter().any(|part| part.norm.is_some()) {
            let buffer = self.tensor(x);
            parts = vec![Part::new(buffer, x)];
        }
        for part in &mut parts {
            part.norm = Some(DeferredNorm {
                has_activation: false,
                is_closed: false,
            });
        }
        parts
    }

    /// A norm that is written. Its backward pass computes the norm of the input anew.
    pub(super) fn written_norm(&mut self, node: &Node, x: &MapPlan, y: &MapPlan) -> Vec<Part> {
        let input = self.tensor(x);
        let mut step = Step::reading(&[input])
            .saving(&[input])
            .with_new_gradients();
        step.kind = StepKind::Norm;
        step.parameters = composed::parameter_bytes(node);
        vec![Part::new(self.tape.push(y.bytes(), step), y)]
    }

    /// An activation is applied by what writes its map, or by what reads it, where one of them can.
    pub(super) fn fused_activation(
        &mut self,
        activation: FusedActivation,
        x: &MapPlan,
        y: &MapPlan,
    ) -> Vec<Part> {
        let mut parts = self.parts(x);
        let is_open = |part: &Part| {
            let norm = part.norm;
            norm.is_some_and(|norm| !norm.is_closed && !norm.has_activation)
        };
        if parts.iter().all(is_open) {
            if activation.is_deferred() {
                for norm in parts.iter_mut().filter_map(|part| part.norm.as_mut()) {
                    norm.has_activation = true;
                }
                return parts;
            }
            // What the norm reads is written, then both in one pass.
            for part in &mut parts {
                part.norm = None;
            }
            let input = self.materialise(&parts, x);
            let output = self.tape.saving_input(input, y.bytes());
            return vec![Part::new(output, y)];
        }
        let is_fused = policy::fuses_epilogue(self.tape.is_training);
        if self.is_output_of(&parts, StepKind::Norm)
            || (is_fused && self.is_output_of(&parts, StepKind::Convolution))
        {
            return parts;
        }
        if self.is_output_of(&parts, StepKind::NormAndSum) && activation.is_fused_with_norm(true) {
            if policy::norm_saves_output(true, activation) {
                self.save_output(parts[0].buffer);
            }
            return parts;
        }
        self.activation(activation, x, y)
    }

    /// An activation in a pass of its own, which saves its input or its output.
    pub(super) fn activation(
        &mut self,
        activation: FusedActivation,
        x: &MapPlan,
        y: &MapPlan,
    ) -> Vec<Part> {
        if activation == FusedActivation::IDENTITY {
            return self.parts(x);
        }
        let input = self.tensor(x);
        let step = Step::reading(&[input]).with_new_gradients();
        if !activation.is_told_by_output() {
            let step = step.saving(&[input]);
            return vec![Part::new(self.tape.push(y.bytes(), step), y)];
        }
        let output = self.tape.push(y.bytes(), step);
        self.save_output(output);
        vec![Part::new(output, y)]
    }

    /// The step that wrote the buffer saves it, if gradients are recorded for it.
    fn save_output(&mut self, output: BufferId) {
        let is_tracked = self.tape.buffers[output].is_tracked;
        if let Some(step) = self.tape.producer(output).filter(|_| is_tracked) {
            step.saved.push(output);
        }
    }

    /// A residual is added in the pass that writes a deferred norm.
    pub(super) fn sum(
        &mut self,
        block: &MapPlan,
        residual: &MapPlan,
        y: &MapPlan,
    ) -> Option<Vec<Part>> {
        let parts = self.parts(block);
        let [part] = &parts[..] else {
            return None;
        };
        let output = part.buffer;
        let is_fused = policy::fuses_epilogue(self.tape.is_training);
        if is_fused
            && self.is_output_of(&parts, StepKind::Convolution)
            && let [residual] = &self.parts(residual)[..]
            && residual.is_plain()
            && self.is_older(residual.buffer, output)
            && let Some(step) = self.tape.producer(output)
        {
            step.reads.push(residual.buffer);
            return Some(parts);
        }
        if part.is_enlarged() || part.norm.is_none_or(|norm| norm.has_activation) {
            return None;
        }
        let normed = part.buffer;
        let residual = self.tensor(residual);
        let mut step = Step::reading(&[normed, residual])
            .saving(&[normed])
            .with_new_gradients();
        step.kind = StepKind::NormAndSum;
        Some(vec![Part::new(self.tape.push(y.bytes(), step), y)])
    }

    /// Whether a buffer is there before another is written.
    fn is_older(&self, buffer: BufferId, other: BufferId) -> bool {
        let origins = [buffer, other].map(|id| self.tape.buffers[id].origin);
        match origins {
            [Origin::Step(first), Origin::Step(second)] => first < second,
            [origin, _] => !matches!(origin, Origin::Step(_)),
        }
    }
}
