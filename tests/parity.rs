//! Parity: golden cases from PyTorch and Keras, forward and backward, on every device.
//!
//! The cases lie in `tests/golden`, or in the folder `GOLDEN_DIR`; `scripts/generate_reference.py`
//! draws them. Relative to the largest value of each tensor, values agree to 1e-5 and gradients to
//! 1e-4 on flex and ndarray, both to 1e-4 on wgpu.

#[path = "support/devices.rs"]
mod devices;
#[path = "support/golden.rs"]
mod golden;
#[path = "support/parity.rs"]
mod parity;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Arc;

use burn::tensor::Device;
use libtest_mimic::{Arguments, Failed, Trial};

use golden::Group;
use parity::Tolerance;

/// Fewer cases than this are no golden set.
const FEWEST: usize = 300;

fn main() -> ExitCode {
    let groups: Vec<Arc<Group>> = golden::groups().into_iter().map(Arc::new).collect();
    let cases: usize = groups.iter().map(|group| group.cases.len()).sum();
    let devices = devices::devices();
    println!(
        "\n{cases} golden cases of {} groups from {}, on {}",
        groups.len(),
        golden::folder().display(),
        devices
            .iter()
            .map(|(name, _)| *name)
            .collect::<Vec<_>>()
            .join(", ")
    );
    let mut trials = vec![Trial::test("there are enough cases", move || match cases {
        FEWEST.. => Ok(()),
        _ => Err(format!("{cases} cases, at least {FEWEST} are expected").into()),
    })];
    for (device_name, device) in devices {
        for group in &groups {
            let name = format!(
                "{device_name}: {} ({} cases)",
                group.name,
                group.cases.len()
            );
            let (group, device) = (group.clone(), device.clone());
            trials.push(Trial::test(name, move || {
                check(&group, device_name, &device)
            }));
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn check(group: &Group, device_name: &str, device: &Device) -> Result<(), Failed> {
    let tolerance = Tolerance {
        forward: if device_name == "wgpu" { 1e-4 } else { 1e-5 },
        gradient: 1e-4,
    };
    let failures: Vec<String> = group
        .cases
        .iter()
        .filter_map(|(case, tensors)| {
            let run = || parity::run(case, tensors, device, tolerance);
            let outcome = catch_unwind(AssertUnwindSafe(run));
            let reason = outcome.unwrap_or_else(|panic| {
                let text = panic.downcast_ref::<String>().cloned();
                Err(text.unwrap_or_else(|| "it panicked".into()))
            });
            reason
                .err()
                .map(|reason| format!("{}: {reason}", case.name))
        })
        .collect();
    // A driver at work when the process ends may crash it.
    device.sync().map_err(|e| e.to_string())?;
    match failures.is_empty() {
        true => Ok(()),
        false => Err(format!(
            "{} of {} cases differ:\n{}",
            failures.len(),
            group.cases.len(),
            failures.join("\n")
        )
        .into()),
    }
}
