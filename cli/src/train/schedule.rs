//! `--schedule` and `--warmup`: the learning rate of every step.

use burn::module::ParamGroup;
use burn::optim::LearningRate;
use burn::optim::lr_scheduler::cosine::CosineAnnealingLrSchedulerConfig;
use burn::optim::lr_scheduler::linear::LinearLrSchedulerConfig;
use burn::optim::lr_scheduler::module_lr_scheduler::{ModuleLrScheduler, ModuleLrSchedulerConfig};
use burn::optim::lr_scheduler::sequential::SequentialLrSchedulerConfig;
use burn::optim::lr_scheduler::{LrScheduler, LrSchedulerConfig, LrSchedulerRecord};
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

/// A schedule: the rate grows along a line for `warmup` steps, and then follows `decay`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Schedule {
    pub decay: Decay,
    pub warmup: usize,
}

/// The course of the learning rate after the warmup, over the `n` steps that are left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Decay {
    /// It stays.
    Constant,
    /// `rate (1 + cos(pi step / n)) / 2`
    #[default]
    Cosine,
    /// `rate (1 - step / n)^power`
    Poly { power: f64 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Name {
    /// The rate stays
    Constant,
    /// It falls to 0 along a cosine
    Cosine,
    /// It falls to 0 along a line
    Linear,
    /// It falls to 0 as (1 - step / steps)^0.9
    Poly,
}

/// The schedule on the command line.
#[derive(Args, Clone, Copy, Debug)]
pub struct ScheduleArgs {
    /// How the learning rate changes [default: cosine]
    #[arg(long, value_enum, value_name = "NAME")]
    schedule: Option<Name>,

    /// Steps in which the learning rate first grows along a line [default: 0]
    #[arg(long, value_name = "STEPS")]
    warmup: Option<usize>,
}

impl ScheduleArgs {
    /// The schedule that was asked for, where `before` is the one without these options.
    pub fn asked(self, before: Schedule) -> Schedule {
        let decay = self.schedule.map(|name| match name {
            Name::Constant => Decay::Constant,
            Name::Cosine => Decay::Cosine,
            Name::Linear => Decay::Poly { power: 1.0 },
            Name::Poly => Decay::Poly { power: 0.9 },
        });
        Schedule {
            decay: decay.unwrap_or(before.decay),
            warmup: self.warmup.unwrap_or(before.warmup),
        }
    }
}

impl Schedule {
    /// Checks the numbers for a training of so many steps.
    ///
    /// # Errors
    /// When one is out of its range.
    pub fn check(self, steps: usize) -> Result<(), String> {
        match self.decay {
            Decay::Poly { power } if !(power > 0.0 && power <= 10.0) => Err(format!(
                "schedule: a power of {power} must be above 0 and up to 10"
            )),
            _ if self.warmup >= steps => Err(format!(
                "warmup: {} steps leave none of the {steps} of the training. Use fewer, or more epochs or steps.",
                self.warmup
            )),
            _ => Ok(()),
        }
    }

    /// The rates of a training of so many steps. The encoder may have a rate of its own.
    ///
    /// # Errors
    /// When Burn refuses a number.
    pub fn init(
        self,
        rate: LearningRate,
        steps: usize,
        encoder_rate: Option<LearningRate>,
    ) -> Result<ModuleLrScheduler, String> {
        let encoder = || ParamGroup::from_predicate("net.encoder");
        if let Decay::Poly { power } = self.decay {
            let poly = |rate| Poly {
                rate,
                power,
                warmup: self.warmup,
                steps,
                done: 0,
            };
            let all = ModuleLrScheduler::new(poly(rate));
            return Ok(match encoder_rate {
                Some(rate) => all.with_group(encoder(), poly(rate)),
                None => all,
            });
        }
        let all = ModuleLrSchedulerConfig::new(self.of_burn(rate, steps));
        match encoder_rate {
            Some(rate) => all.with_group(encoder(), self.of_burn(rate, steps)).init(),
            None => all.init(),
        }
    }

    fn of_burn(self, rate: LearningRate, steps: usize) -> LrSchedulerConfig {
        let left = steps.saturating_sub(self.warmup).max(1);
        let decay: LrSchedulerConfig = match self.decay {
            Decay::Constant | Decay::Poly { .. } => rate.into(),
            Decay::Cosine => CosineAnnealingLrSchedulerConfig::new(rate, left).into(),
        };
        if self.warmup == 0 {
            return decay;
        }
        let first = rate / (self.warmup + 1) as f64;
        let line = LinearLrSchedulerConfig::new(first, rate, self.warmup);
        SequentialLrSchedulerConfig::new(vec![line.into(), decay], vec![self.warmup]).into()
    }
}

/// The polynomial decay, which Burn has not, with its warmup.
#[derive(Clone, Copy, Debug)]
struct Poly {
    rate: LearningRate,
    power: f64,
    warmup: usize,
    steps: usize,
    /// How many steps were made.
    done: usize,
}

impl LrScheduler for Poly {
    fn step(&mut self) -> LearningRate {
        let step = self.done;
        self.done += 1;
        if step < self.warmup {
            return self.rate * (step + 1) as f64 / (self.warmup + 1) as f64;
        }
        let left = self.steps.saturating_sub(self.warmup).max(1);
        let part = (step - self.warmup) as f64 / left as f64;
        self.rate * (1.0 - part).max(0.0).powf(self.power)
    }

    fn to_record(&self) -> LrSchedulerRecord {
        LrSchedulerRecord::new().with_scalar("done", self.done)
    }

    fn load_record(&mut self, record: LrSchedulerRecord) {
        self.done = record.scalar("done").unwrap_or(self.done);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(decay: Decay, warmup: usize) -> Vec<f64> {
        let schedule = Schedule { decay, warmup };
        let mut scheduler = schedule.init(0.6, 6, None).unwrap();
        (0..6).map(|_| scheduler.step().base()).collect()
    }

    fn close(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        let differ = found
            .iter()
            .zip(expected)
            .any(|(a, b)| (a - b).abs() > 1e-12);
        assert!(!differ, "{found:?} for {expected:?}");
    }

    #[test]
    fn the_rate_of_each_step() {
        close(&rates(Decay::Constant, 0), &[0.6; 6]);
        close(&rates(Decay::Constant, 2), &[0.2, 0.4, 0.6, 0.6, 0.6, 0.6]);
        let line = Decay::Poly { power: 1.0 };
        close(&rates(line, 0), &[0.6, 0.5, 0.4, 0.3, 0.2, 0.1]);
        close(&rates(line, 2), &[0.2, 0.4, 0.6, 0.45, 0.3, 0.15]);
        close(
            &rates(Decay::Poly { power: 2.0 }, 0)[..4],
            &[0.6, 0.6 * 25.0 / 36.0, 0.6 * 16.0 / 36.0, 0.15],
        );
        let cosine = |part: f64| 0.3 * (1.0 + (part * std::f64::consts::PI).cos());
        let expected = [
            0.2,
            0.4,
            cosine(0.0),
            cosine(0.25),
            cosine(0.5),
            cosine(0.75),
        ];
        close(&rates(Decay::Cosine, 2), &expected);
    }

    #[test]
    fn a_record_continues_where_it_was_also_with_more_steps() {
        let decays = [Decay::Constant, Decay::Cosine, Decay::Poly { power: 0.9 }];
        for (decay, done) in decays
            .into_iter()
            .flat_map(|d| [1, 3].map(|done| (d, done)))
        {
            let schedule = Schedule { decay, warmup: 2 };
            let at = |steps: usize| schedule.init(0.6, steps, Some(0.06)).unwrap();
            let mut short = at(6);
            let mut long = at(9);
            for _ in 0..done {
                short.step();
                long.step();
            }
            let mut resumed = at(9).load_record(short.to_record());
            assert_eq!(resumed.step().base(), long.step().base(), "{decay:?}");
        }
    }

    #[test]
    fn the_encoder_has_a_rate_of_its_own() {
        for decay in [Decay::Cosine, Decay::Poly { power: 0.9 }] {
            let schedule = Schedule { decay, warmup: 0 };
            let mut scheduler = schedule.init(0.5, 4, Some(0.05)).unwrap();
            let rates = scheduler.step();
            let id = burn::module::ParamId::new();
            let of = |path: &str| rates.lr_from_param(id, Some(path));
            assert_eq!(of("net.encoder.stem.first.conv.weight"), 0.05);
            assert_eq!(of("net.decoder.steps.0.conv.weight"), 0.5);
        }
    }

    #[test]
    fn a_warmup_leaves_steps() {
        let schedule = Schedule {
            warmup: 6,
            ..Schedule::default()
        };
        assert_eq!(
            schedule.check(6).unwrap_err(),
            "warmup: 6 steps leave none of the 6 of the training. Use fewer, or more epochs or steps."
        );
        assert_eq!(schedule.check(7), Ok(()));
        let schedule = Schedule {
            decay: Decay::Poly { power: 0.0 },
            warmup: 0,
        };
        assert!(schedule.check(6).unwrap_err().contains("a power of 0"));
    }
}
