//! `--optimizer`, `--weight-decay` and `--momentum`: which of Burn's optimizers makes the steps.

use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdamConfig, AdamWConfig, ModuleOptimizer, SgdConfig};
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

/// An optimizer with its options.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Optimizer {
    /// Adam (arXiv:1412.6980); the decay is a part of the gradient.
    Adam {
        #[serde(default)]
        weight_decay: f64,
    },
    /// Adam whose decay is apart from the gradient (arXiv:1711.05101).
    AdamW {
        #[serde(default = "adamw_decay")]
        weight_decay: f64,
    },
    /// Stochastic gradient descent with PyTorch's momentum.
    Sgd {
        #[serde(default = "sgd_momentum")]
        momentum: f64,
        #[serde(default)]
        weight_decay: f64,
    },
}

fn adamw_decay() -> f64 {
    1e-2
}

fn sgd_momentum() -> f64 {
    0.9
}

impl Default for Optimizer {
    fn default() -> Self {
        Name::Adam.optimizer()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Name {
    Adam,
    #[value(name = "adamw")]
    AdamW,
    Sgd,
}

impl Name {
    /// The optimizer with its default options.
    fn optimizer(self) -> Optimizer {
        match self {
            Self::Adam => Optimizer::Adam { weight_decay: 0.0 },
            Self::AdamW => Optimizer::AdamW {
                weight_decay: adamw_decay(),
            },
            Self::Sgd => Optimizer::Sgd {
                momentum: sgd_momentum(),
                weight_decay: 0.0,
            },
        }
    }
}

/// The optimizer on the command line.
#[derive(Args, Clone, Copy, Debug)]
pub struct OptimizerArgs {
    /// What makes the steps [default: adam]
    #[arg(long, value_enum, value_name = "NAME")]
    optimizer: Option<Name>,

    /// Weight decay: of adam and sgd a part of the gradient, of adamw apart from it [default: 0; of adamw 0.01]
    #[arg(long, value_name = "FACTOR", value_parser = factor)]
    weight_decay: Option<f64>,

    /// Momentum of sgd [default: 0.9]
    #[arg(long, value_name = "FACTOR", value_parser = factor)]
    momentum: Option<f64>,
}

impl OptimizerArgs {
    /// The optimizer that was asked for, where `before` is the one without these options.
    ///
    /// # Errors
    /// When it has no such option.
    pub fn asked(self, before: Optimizer) -> Result<Optimizer, String> {
        let mut asked = match self.optimizer {
            Some(name) if name != before.name() => name.optimizer(),
            _ => before,
        };
        let decay = match &mut asked {
            Optimizer::Adam { weight_decay }
            | Optimizer::AdamW { weight_decay }
            | Optimizer::Sgd { weight_decay, .. } => weight_decay,
        };
        *decay = self.weight_decay.unwrap_or(*decay);
        match (&mut asked, self.momentum) {
            (Optimizer::Sgd { momentum, .. }, Some(asked)) => *momentum = asked,
            (_, Some(_)) => return Err("--momentum is an option of --optimizer sgd".into()),
            (_, None) => {}
        }
        Ok(asked)
    }
}

impl Optimizer {
    fn name(self) -> Name {
        match self {
            Self::Adam { .. } => Name::Adam,
            Self::AdamW { .. } => Name::AdamW,
            Self::Sgd { .. } => Name::Sgd,
        }
    }

    /// How many numbers it keeps of each weight.
    pub fn moments(self) -> u64 {
        match self {
            Self::Adam { .. } | Self::AdamW { .. } => 2,
            Self::Sgd { momentum, .. } => u64::from(momentum > 0.0),
        }
    }

    /// Checks the numbers.
    ///
    /// # Errors
    /// When one is out of its range.
    pub fn check(self) -> Result<(), String> {
        let (decay, momentum) = match self {
            Self::Adam { weight_decay } | Self::AdamW { weight_decay } => (weight_decay, 0.0),
            Self::Sgd {
                momentum,
                weight_decay,
            } => (weight_decay, momentum),
        };
        for (name, number) in [("weight_decay", decay), ("momentum", momentum)] {
            check_factor(number).map_err(|e| format!("{name}: {e}"))?;
        }
        Ok(())
    }

    /// Burn's optimizer.
    pub fn init(self) -> ModuleOptimizer {
        let penalty = |decay: f64| (decay > 0.0).then(|| WeightDecayConfig::new(decay as f32));
        match self {
            Self::Adam { weight_decay } => AdamConfig::new()
                .with_weight_decay(penalty(weight_decay))
                .init(),
            Self::AdamW { weight_decay } => AdamWConfig::new()
                .with_weight_decay(weight_decay as f32)
                .init(),
            Self::Sgd {
                momentum,
                weight_decay,
            } => {
                // (Burn's default dampens the gradient; PyTorch's does not.)
                let config = MomentumConfig::new()
                    .with_momentum(momentum)
                    .with_dampening(0.0);
                SgdConfig::new()
                    .with_momentum((momentum > 0.0).then_some(config))
                    .with_weight_decay(penalty(weight_decay))
                    .init()
            }
        }
    }
}

fn check_factor(factor: f64) -> Result<f64, String> {
    match (0.0..1.0).contains(&factor) {
        true => Ok(factor),
        false => Err(format!("{factor} is no number from 0 to below 1")),
    }
}

/// A factor on the command line.
pub fn factor(text: &str) -> Result<f64, String> {
    let factor = text.trim().parse::<f64>();
    let factor = factor.map_err(|_| "it must be a number from 0 to below 1".to_string());
    factor.and_then(check_factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(
        optimizer: Option<Name>,
        weight_decay: Option<f64>,
        momentum: Option<f64>,
    ) -> OptimizerArgs {
        OptimizerArgs {
            optimizer,
            weight_decay,
            momentum,
        }
    }

    #[test]
    fn what_is_not_asked_for_stays() {
        let adamw = Optimizer::AdamW { weight_decay: 0.05 };
        assert_eq!(args(None, None, None).asked(adamw), Ok(adamw));
        let asked = args(Some(Name::AdamW), None, None);
        assert_eq!(asked.asked(adamw), Ok(adamw));
        assert_eq!(
            asked.asked(Optimizer::default()),
            Ok(Optimizer::AdamW { weight_decay: 0.01 })
        );
        assert_eq!(
            args(Some(Name::Sgd), Some(1e-4), Some(0.0)).asked(adamw),
            Ok(Optimizer::Sgd {
                momentum: 0.0,
                weight_decay: 1e-4
            })
        );
        assert_eq!(
            args(None, None, Some(0.5)).asked(adamw).unwrap_err(),
            "--momentum is an option of --optimizer sgd"
        );
    }

    #[test]
    fn a_file_has_what_differs_from_the_defaults() {
        let read = |text: &str| serde_json::from_str::<Optimizer>(text);
        assert_eq!(read(r#"{"Sgd": {}}"#).unwrap(), Name::Sgd.optimizer());
        assert!(read(r#"{"Adam": {"momentum": 0.9}}"#).is_err());
        let wrong = read(r#"{"Sgd": {"momentum": 1}}"#).unwrap();
        assert_eq!(
            wrong.check().unwrap_err(),
            "momentum: 1 is no number from 0 to below 1"
        );
    }
}
