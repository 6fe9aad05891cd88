//! The memory of a training step: planned before it runs, measured when it has run.

use burn_skip::fused;
use burn_skip::plan::Plan;

use super::optimizer::Optimizer;
use crate::allocator;
use crate::files::bytes;

/// The bytes that a step of a training holds at its peak on one device: the maps, the gradients and the weights of the plan;
/// of each weight also the initial one, what the optimizer keeps, and the moving average where there is one.
pub fn planned(plan: &Plan, optimizer: Optimizer, with_average: bool) -> u64 {
    let copies = 1 + optimizer.moments() + u64::from(with_average);
    let learned = plan.root.total_parameters().saturating_mul(4);
    (plan.memory.training).saturating_add(learned.saturating_mul(copies))
}

/// Measures the peak of the first steps of a training whose devices allocate in this program's memory.
pub struct StepMemory {
    planned: u64,
    /// What was in use before.
    before: usize,
    events: usize,
}

/// What the kernels keep to begin with.
const KEPT: usize = 64 << 20;

/// The peak of the first step begins after the step that made the optimizer's memory.
const FIRST: usize = 1;
/// (A step is reported while the next one may run already.)
const LAST: usize = 3;

impl StepMemory {
    /// `before` bytes were in use before there was a network.
    pub fn new(planned: u64, before: usize) -> Self {
        Self {
            planned,
            before,
            events: 0,
        }
    }

    /// A step was made. Returns the measured peak, once.
    pub fn step(&mut self) -> Option<Measured> {
        self.events += 1;
        match self.events {
            FIRST => {
                // (What the kernels keep for the next step is no memory of this one.)
                fused::keep_at_most(0);
                allocator::reset_peak();
            }
            LAST => {
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

    #[test]
    fn the_optimizer_and_the_average_keep_copies_of_the_weights() {
        let net: NetConfig = serde_json::from_str(include_str!("../../net.json")).unwrap();
        let net = net.segmentation().unwrap();
        let plan = net.plan_supervised(shape::<4>(2, 1, &[32, 32]));
        let weights = 4 * plan.root.total_parameters();
        assert!(weights > 400_000);
        let sgd = |momentum| Optimizer::Sgd {
            momentum,
            weight_decay: 0.0,
        };
        let copies = |optimizer, with_average| {
            (planned(&plan, optimizer, with_average) - plan.memory.training) / weights
        };
        assert_eq!(copies(sgd(0.0), false), 1);
        assert_eq!(copies(sgd(0.9), false), 2);
        assert_eq!(copies(Optimizer::default(), false), 3);
        assert_eq!(copies(Optimizer::default(), true), 4);
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
