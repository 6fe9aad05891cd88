//! `--device`, `--devices` and `--strategy`: where a training runs, and how several devices share it.

use burn::tensor::Device;
use burn::tensor::distributed::{DistributedConfig, ReduceOperation};
use burn::train::{ExecutionStrategy, MultiDeviceOptim};
use clap::{Args, ValueEnum};

use crate::Result;
use crate::device::DeviceName;

/// The devices of a training.
#[derive(Args, Clone, Copy, Debug)]
pub struct Devices {
    /// Where to compute
    #[arg(long, value_enum, default_value = "flex", value_name = "NAME")]
    device: DeviceName,

    /// Devices of that kind that share the work: a step has --batch crops on each, and an epoch correspondingly
    /// fewer steps. (flex and ndarray are one device each: this only tries it out, and is no faster)
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    devices: u16,

    /// How several devices share the work
    #[arg(long, value_enum, default_value = "multi", value_name = "HOW")]
    strategy: Strategy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Strategy {
    /// One device collects the gradients of all, and makes the step
    Multi,
    /// All devices exchange their gradients, and each makes the step: cuda only
    Ddp,
}

impl Devices {
    /// Checks that Burn can share the work in this way. (It panics where it cannot.)
    ///
    /// # Errors
    /// When the devices cannot exchange gradients.
    pub fn check(self) -> Result<()> {
        if self.devices > 1 && self.strategy == Strategy::Ddp && self.device != DeviceName::Cuda {
            return Err(format!(
                "--strategy ddp: {} devices cannot exchange their gradients in Burn 0.22, only cuda devices can. \
                 Use --strategy multi.",
                self.device.name()
            )
            .into());
        }
        Ok(())
    }

    /// Opens all of them.
    ///
    /// # Errors
    /// When one of them does not exist.
    pub fn open(self) -> Result<Vec<Device>> {
        let numbers = 0..usize::from(self.devices);
        let devices = numbers.map(|number| self.device.open_nth(number));
        Ok(devices.collect::<Result<_, _>>()?)
    }

    /// How Burn's trainer uses the devices, which must record gradients.
    pub fn strategy(self, devices: Vec<Device>) -> ExecutionStrategy {
        match (self.strategy, &devices[..]) {
            (_, [device]) => ExecutionStrategy::single(device.clone()),
            (Strategy::Multi, _) => {
                ExecutionStrategy::multi(devices, MultiDeviceOptim::OptimMainDevice)
            }
            (Strategy::Ddp, _) => {
                let all_reduce_op = ReduceOperation::Mean;
                ExecutionStrategy::ddp(devices, DistributedConfig { all_reduce_op })
            }
        }
    }

    /// "flex", or "4 x cuda (ddp)".
    pub fn description(self) -> String {
        match self.devices {
            1 => self.device.name().into(),
            several => {
                let how = match self.strategy {
                    Strategy::Multi => "multi",
                    Strategy::Ddp => "ddp",
                };
                format!("{several} x {} ({how})", self.device.name())
            }
        }
    }

    /// Whether they allocate in this program's memory, and not in their own.
    pub fn share_memory(self) -> bool {
        self.device.is_host()
    }

    /// How many there are.
    pub fn count(self) -> usize {
        self.devices.into()
    }
}
