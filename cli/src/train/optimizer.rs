//! `--optimizer`, `--clip-norm`, `--schedule` and `--warmup`: how the weights follow the gradients.

use burn::grad_clipping::GradientClippingConfig;
use burn::optim::lr_scheduler::composed::ComposedLrSchedulerConfig;
use burn::optim::lr_scheduler::constant::ConstantLr;
use burn::optim::lr_scheduler::cosine::CosineAnnealingLrSchedulerConfig;
use burn::optim::lr_scheduler::linear::LinearLrSchedulerConfig;
use burn::optim::lr_scheduler::module_lr_scheduler::ModuleLrScheduler;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdamConfig, AdamWConfig, ModuleOptimizer, SgdConfig};
use serde::{Deserialize, Serialize};

/// What is done with a gradient.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Optimizer {
    /// Adam (arXiv:1412.6980).
    #[default]
    Adam,
    /// Adam with decoupled weight decay (arXiv:1711.05101).
    AdamW { weight_decay: f64 },
    /// Stochastic gradient descent with momentum.
    Sgd { momentum: f64 },
}

/// What the command line takes.
const OPTIMIZERS: &str = "adam, adamw, adamw=DECAY, sgd, sgd=MOMENTUM";

impl Optimizer {
    /// An optimizer on the command line.
    ///
    /// # Errors
    /// When it is none, or its number is out of range.
    pub fn parse(text: &str) -> Result<Self, String> {
        let unknown = || format!("`{text}` is not one of {OPTIMIZERS}");
        let (kind, number) = match text.split_once('=') {
            Some((kind, number)) => (kind, Some(number.trim().parse().map_err(|_| unknown())?)),
            None => (text, None),
        };
        let optimizer = match (kind, number) {
            ("adam", None) => Self::Adam,
            ("adamw", number) => Self::AdamW {
                weight_decay: number.unwrap_or(1e-2),
            },
            ("sgd", number) => Self::Sgd {
                momentum: number.unwrap_or(0.9),
            },
            _ => return Err(unknown()),
        };
        optimizer.check()?;
        Ok(optimizer)
    }

    /// Checks the number.
    ///
    /// # Errors
    /// When it is out of its range.
    pub fn check(self) -> Result<(), String> {
        let (name, number) = match self {
            Self::Adam => return Ok(()),
            Self::AdamW { weight_decay } => ("weight decay", weight_decay),
            Self::Sgd { momentum } => ("momentum", momentum),
        };
        match (0.0..1.0).contains(&number) {
            true => Ok(()),
            false => Err(format!(
                "a {name} of {number} must be 0 or more and below 1"
            )),
        }
    }

    /// Burn's optimizer. A gradient whose norm is above `clip_norm` is scaled down to it, that of each parameter by itself.
    pub fn init(self, clip_norm: Option<f32>) -> ModuleOptimizer {
        let clipping = clip_norm.map(GradientClippingConfig::Norm);
        match self {
            Self::Adam => AdamConfig::new().with_grad_clipping(clipping).init(),
            Self::AdamW { weight_decay } => AdamWConfig::new()
                .with_weight_decay(weight_decay as f32)
                .with_grad_clipping(clipping)
                .init(),
            Self::Sgd { momentum } => {
                let momentum = MomentumConfig::new()
                    .with_momentum(momentum)
                    .with_dampening(0.0);
                SgdConfig::new()
                    .with_momentum(Some(momentum))
                    .with_gradient_clipping(clipping)
                    .init()
            }
        }
    }
}

/// How the learning rate changes from step to step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
pub enum Schedule {
    /// It falls to 0 along a cosine
    #[default]
    Cosine,
    /// It falls to 0 along a line
    Linear,
    /// It stays
    Constant,
}

impl Schedule {
    /// Burn's schedule for so many steps, of which the rate grows along a line in the first `warmup`.
    ///
    /// # Errors
    /// When the rate is none.
    pub fn init(self, rate: f64, steps: usize, warmup: usize) -> Result<ModuleLrScheduler, String> {
        let steps = steps.max(1);
        let cosine = || CosineAnnealingLrSchedulerConfig::new(rate, steps);
        let line = || LinearLrSchedulerConfig::new(rate, 0.0, steps);
        if warmup == 0 {
            return match self {
                Self::Cosine => cosine().init(),
                Self::Linear => line().init(),
                Self::Constant => Ok(ConstantLr::new(rate).into()),
            };
        }
        let share = LinearLrSchedulerConfig::new(1.0 / warmup as f64, 1.0, warmup);
        let product = ComposedLrSchedulerConfig::new().linear(share);
        match self {
            Self::Cosine => product.cosine(cosine()),
            Self::Linear => product.linear(line()),
            Self::Constant => product.constant(rate),
        }
        .init()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn optimizers_are_named_with_a_number() {
        assert_eq!(Optimizer::parse("adam"), Ok(Optimizer::Adam));
        assert_eq!(
            Optimizer::parse("adamw=0.05"),
            Ok(Optimizer::AdamW { weight_decay: 0.05 })
        );
        assert_eq!(
            Optimizer::parse("sgd"),
            Ok(Optimizer::Sgd { momentum: 0.9 })
        );
        assert_eq!(
            Optimizer::parse("lion").unwrap_err(),
            "`lion` is not one of adam, adamw, adamw=DECAY, sgd, sgd=MOMENTUM"
        );
        assert_eq!(
            Optimizer::parse("sgd=1").unwrap_err(),
            "a momentum of 1 must be 0 or more and below 1"
        );
        assert!(Optimizer::parse("adam=0.1").is_err());
        assert!(Optimizer::parse("adamw=many").is_err());
    }

    #[test]
    fn a_rate_warms_up_and_falls() {
        let rates = |schedule: Schedule, warmup| {
            let mut schedule = schedule.init(0.1, 4, warmup).expect("a schedule");
            let mut rate = || schedule.step().base();
            [rate(), rate(), rate(), rate()]
        };
        let near = |found: [f64; 4], wanted: [f64; 4]| {
            let differs = found.iter().zip(wanted).any(|(a, b)| (a - b).abs() > 1e-9);
            assert!(!differs, "{found:?} for {wanted:?}");
        };
        near(rates(Schedule::Constant, 0), [0.1; 4]);
        near(rates(Schedule::Constant, 2), [0.05, 0.075, 0.1, 0.1]);
        near(rates(Schedule::Linear, 0), [0.1, 0.075, 0.05, 0.025]);
        near(rates(Schedule::Linear, 2), [0.05, 0.056_25, 0.05, 0.025]);
        let cosine = |step: f64| 0.05 * (1.0 + (step * std::f64::consts::PI / 4.0).cos());
        near(rates(Schedule::Cosine, 0), [0.0, 1.0, 2.0, 3.0].map(cosine));
    }
}
