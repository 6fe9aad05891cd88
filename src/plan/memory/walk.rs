//! The walks along a tape: what a forward and a backward pass hold at once.

use alloc::{vec, vec::Vec};

use super::tape::{BufferId, Gradient, GradientStorage, Origin, Step, Tape};
use super::total;

/// What is held, and the most that was.
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

impl Tape {
    /// The most that the maps and what is prepared of the weights take at once.
    pub(super) fn inference_peak(&self) -> u64 {
        let prepared = total(self.steps.iter().map(|step| step.prepared));
        let mut level = Level::default();
        self.forward(&mut level, &vec![0; self.buffers.len()]);
        prepared.saturating_add(level.peak)
    }

    /// The most that a forward and a backward pass take at once.
    pub(super) fn training_peak(&self) -> u64 {
        let mut saves = vec![0; self.buffers.len()];
        for &buffer in self.steps.iter().flat_map(|step| &step.saved) {
            saves[buffer] += 1;
        }
        let mut level = Level::default();
        self.forward(&mut level, &saves);
        Backward::new(self, level, saves).run()
    }

    /// The step that reads a buffer last; none for those that nobody reads and those that are no step's.
    fn last_reads(&self) -> Vec<Option<usize>> {
        let mut last = vec![None; self.buffers.len()];
        for (index, step) in self.steps.iter().enumerate() {
            for &buffer in &step.reads {
                last[buffer] = Some(index);
            }
        }
        last
    }

    /// Runs all steps. What is saved stays.
    fn forward(&self, level: &mut Level, saves: &[u32]) {
        for buffer in &self.buffers {
            if buffer.origin == Origin::Input {
                level.take(buffer.bytes);
            }
        }
        let last = self.last_reads();
        for (index, step) in self.steps.iter().enumerate() {
            let mut freed: Vec<BufferId> = step.reads.clone();
            freed.sort_unstable();
            freed.dedup();
            freed.retain(|&buffer| {
                let is_written = matches!(self.buffers[buffer].origin, Origin::Step(_));
                is_written && last[buffer] == Some(index) && saves[buffer] == 0
            });
            let output = self.bytes(step.output);
            let replaced = freed
                .iter()
                .position(|&buffer| self.bytes(buffer) == output);
            match replaced.filter(|_| step.is_in_place) {
                Some(place) => drop(freed.swap_remove(place)),
                None => level.take(output),
            }
            level.take(step.saved_bytes);
            level.take(step.workspace);
            level.give(step.workspace);
            for buffer in freed {
                level.give(self.bytes(buffer));
            }
        }
    }
}

/// A gradient that is held, by one or more buffers whose gradient it is.
struct Held {
    bytes: u64,
    holders: u32,
}

/// The backward pass of a tape.
struct Backward<'a> {
    tape: &'a Tape,
    level: Level,
    /// How many steps still need a saved buffer.
    saves: Vec<u32>,
    held: Vec<Held>,
    /// The gradient of each buffer, by its number in `held`.
    gradients: Vec<Option<usize>>,
    /// The saved buffers of the current step whose memory a gradient has taken.
    replaced: Vec<BufferId>,
}

impl<'a> Backward<'a> {
    fn new(tape: &'a Tape, level: Level, saves: Vec<u32>) -> Self {
        Self {
            tape,
            level,
            saves,
            held: Vec::new(),
            gradients: vec![None; tape.buffers.len()],
            replaced: Vec::new(),
        }
    }

    /// The peak after all steps.
    fn run(mut self) -> u64 {
        if let Some(loss) = self.tape.steps.last() {
            self.gradients[loss.output] = Some(self.take(self.tape.bytes(loss.output)));
        }
        for index in self.order() {
            self.step(&self.tape.steps[index]);
        }
        self.level.peak
    }

    /// The steps in the order of Burn's backward pass: by their order in the graph, the largest first.
    fn order(&self) -> Vec<usize> {
        let order = |step: &Step| self.tape.buffers[step.output].order;
        let most = self.tape.steps.iter().map(order).max().unwrap_or(0);
        let mut by_order = vec![Vec::new(); most + 1];
        for (index, step) in self.tape.steps.iter().enumerate().rev() {
            by_order[most - order(step)].push(index);
        }
        by_order.concat()
    }

    fn step(&mut self, step: &Step) {
        if let Some(incoming) = self.gradients[step.output].take() {
            self.level.take(step.backward_workspace);
            for (index, gradient) in step.gradients.iter().enumerate() {
                let is_last = index + 1 == step.gradients.len();
                let new = self.compute(gradient, incoming, is_last && step.parameters == 0);
                self.register(gradient.target, new);
            }
            self.level.take(step.parameters);
            self.level.give(step.backward_workspace);
            self.release(incoming);
        }
        for &buffer in &step.saved {
            self.saves[buffer] = self.saves[buffer].saturating_sub(1);
            let is_freed = self.saves[buffer] == 0 && self.is_written(buffer);
            if is_freed && !self.replaced.contains(&buffer) {
                self.level.give(self.tape.bytes(buffer));
            }
        }
        self.replaced.clear();
        self.level.give(step.saved_bytes);
    }

    /// A gradient of an operand, from the incoming one; `is_last` if nothing else is computed from that.
    fn compute(&mut self, gradient: &Gradient, incoming: usize, is_last: bool) -> usize {
        let bytes = self.tape.bytes(gradient.target);
        let operand = match gradient.storage {
            GradientStorage::New => return self.take(bytes),
            GradientStorage::Zeroed => {
                self.level.take(bytes);
                let gradient = self.take(bytes);
                self.level.give(bytes);
                return gradient;
            }
            GradientStorage::Shared => return self.share(incoming),
            GradientStorage::InPlace { operand } => operand,
        };
        let is_free = is_last && self.held[incoming].holders == 1;
        if is_free && self.held[incoming].bytes == bytes {
            return self.share(incoming);
        }
        if let Some(operand) = operand
            && self.saves[operand] == 1
            && self.tape.bytes(operand) == bytes
            && self.is_written(operand)
            && !self.replaced.contains(&operand)
        {
            self.replaced.push(operand);
            self.held.push(Held { bytes, holders: 1 });
            return self.held.len() - 1;
        }
        // A gradient that is summed over the axes along which the operand was broadcast.
        let whole = self.held[incoming].bytes;
        if whole > bytes && !is_free {
            self.level.take(whole);
            self.level.give(whole);
        }
        self.take(bytes)
    }

    /// Adds a gradient to those of a buffer.
    fn register(&mut self, target: BufferId, new: usize) {
        let Some(old) = self.gradients[target] else {
            self.gradients[target] = Some(new);
            return;
        };
        // The sum takes the memory of the one that nobody else holds.
        let sum = match (self.held[new].holders, self.held[old].holders) {
            (1, _) => {
                self.release(old);
                new
            }
            (_, 1) => {
                self.release(new);
                old
            }
            _ => {
                let sum = self.take(self.tape.bytes(target));
                self.release(new);
                self.release(old);
                sum
            }
        };
        self.gradients[target] = Some(sum);
    }

    /// Whether a step wrote the buffer, so that nobody but the tape holds it.
    fn is_written(&self, buffer: BufferId) -> bool {
        matches!(self.tape.buffers[buffer].origin, Origin::Step(_))
    }

    fn take(&mut self, bytes: u64) -> usize {
        self.level.take(bytes);
        self.held.push(Held { bytes, holders: 1 });
        self.held.len() - 1
    }

    fn share(&mut self, gradient: usize) -> usize {
        self.held[gradient].holders += 1;
        gradient
    }

    fn release(&mut self, gradient: usize) {
        let held = &mut self.held[gradient];
        held.holders -= 1;
        if held.holders == 0 {
            let bytes = held.bytes;
            self.level.give(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::memory::burn_ops::Binary;

    /// Two elementwise operations on a map of 400 bytes, the first with a parameter.
    fn chain(is_training: bool) -> Tape {
        let mut tape = Tape::new(is_training);
        let x = tape.source(400, Origin::Input);
        let mut first = Step::reading(&[x]).saving(&[x]).with_new_gradients();
        first.parameters = 40;
        let y = tape.push(400, first);
        let z = tape.unary(y);
        if is_training {
            tape.push(4, Step::reading(&[z]).with_new_gradients());
        }
        tape
    }

    #[test]
    fn an_elementwise_operation_writes_over_its_input_unless_that_is_saved() {
        // The input, and one map.
        assert_eq!(chain(false).inference_peak(), 2 * 400);
        // The input, the saved map, and the output; the loss and its gradient, as the way back begins.
        let training = chain(true);
        assert_eq!(training.training_peak(), 3 * 400 + 2 * 4);
        assert_eq!(training.steps[1].saved.len(), 1);
    }

    #[test]
    fn what_is_not_recorded_saves_nothing() {
        let mut tape = Tape::new(true);
        let x = tape.source(400, Origin::Input);
        let y = tape.unary(x);
        assert!(!tape.buffers[y].is_tracked);
        assert!(tape.steps[0].saved.is_empty());
    }

    #[test]
    fn a_sum_shares_its_gradient_and_the_gradients_of_a_buffer_are_added() {
        let mut tape = Tape::new(true);
        let x = tape.parameter(100);
        let [a, b] = [0, 1].map(|_| tape.scaled(x));
        let y = tape.binary(Binary::Add, a, b);
        tape.push(4, Step::reading(&[y]).with_new_gradients());
        // Forward: two maps, of which the sum takes one. Backward: one gradient, shared by both maps until the first of
        // them is scaled.
        assert_eq!(tape.training_peak(), 2 * 400 + 4);
    }

    #[test]
    fn a_buffer_that_is_read_later_is_not_written_over() {
        let mut tape = Tape::new(false);
        let x = tape.source(400, Origin::Input);
        let y = tape.moved(x, 400);
        let z = tape.unary(y);
        tape.binary(Binary::Mul, y, z);
        assert_eq!(tape.inference_peak(), 3 * 400);
    }
}
