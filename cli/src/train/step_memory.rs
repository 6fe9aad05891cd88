//! The memory of a training step: planned before it runs, measured when it has run.

use burn_skip::fused;
use burn_skip::plan::{MapPlan, Node, Plan};

use super::loss_memory::LossMemory;
use super::optimizer::Optimizer;
use crate::allocator;
use crate::files::bytes;

/// What a step holds beside its network.
#[derive(Clone, Copy, Debug)]
pub struct StepOptions {
    pub optimizer: Optimizer,
    /// Whether there is a moving average of the weights.
    pub with_average: bool,
    /// Whether threads cut the crops of the next step meanwhile.
    pub crops_ahead: bool,
    /// Devices of this program's memory, each with a network and a batch.
    pub devices: usize,
    pub loss: LossMemory,
    /// Whether the encoder keeps its weights: they have no gradients, no moments and no second copy.
    pub frozen_encoder: bool,
    /// Whether the weights are kept as they were at the beginning. (A resumed training has none.)
    pub keeps_initial: bool,
}

/// The bytes that a step of a training holds at its peak on the CPU.
///
/// - The peak is in the backward pass, where the plan has the maps, the gradients and the weights; or before it, where the
///   loss has its maps beside those that are saved; or after it, where the optimizer has all gradients and what it computes
///   of the largest weight.
/// - Of each weight that is trained there are also the initial one and what the optimizer keeps, and of each the moving
///   average where there is one.
/// - The crops of the next step wait.
/// - Each thread of the kernels has its [`workspace`].
pub fn planned(plan: &Plan, options: StepOptions) -> u64 {
    let all_weights = plan.root.total_parameters();
    let encoder = plan
        .root
        .children
        .iter()
        .find(|part| part.name == "encoder");
    let frozen = encoder.filter(|_| options.frozen_encoder);
    let learned = all_weights - frozen.map_or(0, Node::total_parameters);
    let [all_weights, learned] = [all_weights, learned].map(bytes_of);
    let copies = u64::from(options.keeps_initial) + options.optimizer.moments();
    let average = if options.with_average { all_weights } else { 0 };
    let with_all_gradients = (plan.memory.weights)
        .saturating_add(learned)
        .saturating_add(bytes_of(largest_weight(&plan.root)).saturating_mul(OPTIMIZER_RESULTS));
    let with_loss = (plan.memory.weights)
        .saturating_add(plan.memory.saved_for_backward)
        .saturating_add(options.loss.of(&plan.root.outputs));
    let peak = plan.memory.training.max(with_loss).max(with_all_gradients);
    let each_device = peak
        .saturating_add(learned.saturating_mul(copies))
        .saturating_add(average)
        .saturating_add(if options.crops_ahead { crops(plan) } else { 0 });
    each_device
        .saturating_mul(options.devices as u64)
        .saturating_add(workspace(plan, rayon::current_num_threads()))
}

/// What an optimizer of Burn holds of a weight while it updates it: the new moment and the step, before the old are freed.
const OPTIMIZER_RESULTS: u64 = 2;

/// The crops of a batch, images and masks, as they wait for the step.
fn crops(plan: &Plan) -> u64 {
    let of_masks = |images: &MapPlan| images.bytes() / images.shape[1].max(1) as u64;
    let images = plan.root.inputs.iter();
    images.map(|images| images.bytes() + of_masks(images)).sum()
}

/// Buffers that each thread of the kernels keeps from task to task: for what it reads, for what it makes of that, and for
/// sums.
const BUFFERS: u64 = 3;

/// The kernels make tiles whose inputs take half of a usual second-level cache.
const BYTES_OF_A_TILE: u64 = 512 << 10;

/// What the threads of the kernels keep. Together they also hold the sums of one weight's gradient, of which each has a
/// share; by Winograd's algorithm these are 16 for the 9 taps of a kernel.
fn workspace(plan: &Plan, threads: usize) -> u64 {
    let sums = bytes_of(largest_weight(&plan.root)).saturating_mul(16) / 9;
    sums.saturating_add(threads as u64 * BUFFERS * BYTES_OF_A_TILE)
}

/// The numbers of the largest weight.
fn largest_weight(node: &Node) -> u64 {
    let own = node.parameters.iter().map(|weight| weight.len as u64);
    let of_parts = node.children.iter().map(largest_weight);
    own.chain(of_parts).max().unwrap_or(0)
}

fn bytes_of(numbers: u64) -> u64 {
    numbers.saturating_mul(4)
}

/// Measures the peak of the first steps of a training whose devices allocate in this program's memory.
pub struct StepMemory {
    planned: u64,
    /// What was in use before.
    before: usize,
    /// Steps that were made.
    steps: usize,
}

/// What the kernels keep to begin with.
const KEPT: usize = 64 << 20;

/// The peak is looked for after so many steps: the first one makes the optimizer's memory.
const STEPS_BEFORE: usize = 1;
/// And until so many are done. (A step is reported while the next one may run already.)
const STEPS_MEASURED: usize = 3;

impl StepMemory {
    /// `before` bytes were in use before there was a network.
    pub fn new(planned: u64, before: usize) -> Self {
        Self {
            planned,
            before,
            steps: 0,
        }
    }

    /// A step was made. Returns the measured peak, once.
    pub fn step(&mut self) -> Option<Measured> {
        self.steps += 1;
        match self.steps {
            STEPS_BEFORE => {
                // (What the kernels keep for the next step is no memory of this one.)
                fused::keep_at_most(0);
                allocator::reset_peak();
            }
            STEPS_MEASURED => {
                fused::keep_at_most(KEPT);
                return Some(Measured {
                    peak: allocator::peak().saturating_sub(self.before) as u64,
                    planned: self.planned,
                });
            }
            _ => {}
        }
        None
    }
}

/// The bytes of a step.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Measured {
    peak: u64,
    planned: u64,
}

impl std::fmt::Display for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { peak, planned } = *self;
        let off = 100.0 * (peak as f64 / planned.max(1) as f64 - 1.0);
        write!(
            f,
            "memory of a step: {} at its peak, {} planned ({off:+.1} %)",
            bytes::shown(peak),
            bytes::shown(planned)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segmentation::lengths::shape;
    use burn_skip::net::{NetConfig, TraceSupervised};

    fn plan() -> Plan {
        let net: NetConfig = serde_json::from_str(include_str!("../../net.json")).unwrap();
        let net = net.segmentation().unwrap();
        net.plan_supervised(shape::<4>(2, 1, &[32, 32]))
    }

    fn options(optimizer: Optimizer) -> StepOptions {
        StepOptions {
            optimizer,
            with_average: false,
            crops_ahead: false,
            devices: 1,
            loss: LossMemory {
                bytes_of_a_pixel: 0.0,
            },
            frozen_encoder: false,
            keeps_initial: true,
        }
    }

    #[test]
    fn the_optimizer_and_the_average_keep_copies_of_the_weights() {
        let plan = plan();
        let weights = 4 * plan.root.total_parameters();
        assert!(weights > 400_000);
        let sgd = |momentum| {
            options(Optimizer::Sgd {
                momentum,
                weight_decay: 0.0,
            })
        };
        let [plain, momentum] = [0.0, 0.9].map(sgd);
        let adam = options(Optimizer::default());
        let average = StepOptions {
            with_average: true,
            ..adam
        };
        let all = [plain, momentum, adam, average].map(|options| planned(&plan, options));
        assert!(all.windows(2).all(|pair| pair[1] - pair[0] == weights));
        let threads = workspace(&plan, rayon::current_num_threads());
        assert_eq!(all[0], plan.memory.training + weights + threads);
    }

    #[test]
    fn frozen_weights_and_those_of_a_resumed_training_have_fewer_copies() {
        let plan = plan();
        let adam = options(Optimizer::default());
        let resumed = StepOptions {
            keeps_initial: false,
            ..adam
        };
        let all = 4 * plan.root.total_parameters();
        assert_eq!(planned(&plan, adam) - planned(&plan, resumed), all);
        let frozen = StepOptions {
            frozen_encoder: true,
            ..adam
        };
        let encoder = plan
            .root
            .children
            .iter()
            .find(|part| part.name == "encoder");
        let encoder = 4 * encoder.unwrap().total_parameters();
        assert!(encoder > 0);
        assert_eq!(planned(&plan, adam) - planned(&plan, frozen), 3 * encoder);
    }

    #[test]
    fn crops_wait_and_threads_have_buffers() {
        let plan = plan();
        let adam = options(Optimizer::default());
        let ahead = StepOptions {
            crops_ahead: true,
            ..adam
        };
        let crops = planned(&plan, ahead) - planned(&plan, adam);
        assert_eq!(crops, 2 * 2 * 4 * 32 * 32);
        let of_a_thread = workspace(&plan, 5) - workspace(&plan, 4);
        assert_eq!(of_a_thread, 3 << 19);
        let largest = largest_weight(&plan.root);
        assert_eq!(workspace(&plan, 0), 4 * largest * 16 / 9);
        let two = StepOptions { devices: 2, ..adam };
        let shared = workspace(&plan, rayon::current_num_threads());
        assert_eq!(planned(&plan, two), 2 * planned(&plan, adam) - shared);
    }

    #[test]
    fn a_loss_of_many_classes_has_its_maps_beside_those_that_are_saved() {
        let plan = plan();
        let adam = options(Optimizer::default());
        let loss = LossMemory {
            bytes_of_a_pixel: 1e4,
        };
        let with_loss = planned(&plan, StepOptions { loss, ..adam });
        let expected = plan.memory.weights + plan.memory.saved_for_backward + 10_000 * 2 * 32 * 32;
        assert_eq!(
            with_loss - planned(&plan, adam),
            expected - plan.memory.training
        );
    }

    #[test]
    fn a_large_weight_is_updated_when_all_gradients_are_there() {
        let json = r#"{"Unet": {"in_channels": 1, "widths": [2, 256, 512], "out_channels": 1}}"#;
        let net: NetConfig = serde_json::from_str(json).unwrap();
        let net = net.segmentation().unwrap();
        let plan = net.plan_supervised(shape::<4>(1, 1, &[8, 8]));
        let (weights, largest) = (plan.memory.weights, 4 * largest_weight(&plan.root));
        assert_eq!(largest, 4 * 512 * 512 * 9);
        let adam = options(Optimizer::default());
        let least = weights + 4 * 4 * plan.root.total_parameters() + 2 * largest;
        assert!(planned(&plan, adam) >= least);
    }

    #[test]
    fn the_peak_of_the_first_steps_is_measured_once() {
        let mut memory = StepMemory::new(1 << 20, allocator::in_use());
        assert!(memory.step().is_none());
        drop(std::hint::black_box(vec![1_u8; 64 << 20]));
        assert!(memory.step().is_none());
        let measured = memory.step().unwrap();
        // (The other tests of this process allocate, too.)
        assert!(measured.peak >= 60 << 20, "{measured}");
        assert!(
            measured.to_string().contains("1.0 MiB planned (+"),
            "{measured}"
        );
        assert!(memory.step().is_none());
    }
}
