//! Ours of `suite.py`: what is measured, the description of a row for a peer, and the times.
//!
//! ```text
//! suite list                                the measurements, a line of JSON each
//! suite write ROW FOLDER                    graph, weights and values of a row
//! suite time MEASUREMENT DEVICE SECONDS     median, least and most milliseconds, and the memory
//! ```
//!
//! `VECTOR_BITS=256` in the environment limits the vectors of `time`, as on a machine without AVX-512.

mod counted;
mod part;
mod table;
mod work;

use std::path::Path;
use std::time::Instant;

use burn::tensor::Device;
use burn_skip_benches::devices;
use serde_json::{Value, json};

use counted::Counted;
use table::{Row, rows};
use work::Result;

/// What large maps are allocated with matters: an allocator that gives pages back to the system after every
/// step spends a tenth of the time on faults.
#[cfg(not(feature = "system-allocator"))]
#[global_allocator]
static ALLOCATOR: Counted<mimalloc::MiMalloc> = Counted::new(mimalloc::MiMalloc);
#[cfg(feature = "system-allocator")]
#[global_allocator]
static ALLOCATOR: Counted<std::alloc::System> = Counted::new(std::alloc::System);

const USAGE: &str = "suite list | write ROW FOLDER | time MEASUREMENT DEVICE SECONDS";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["list"] => {
            for row in rows() {
                for (name, batch, train) in measurements(&row) {
                    println!(
                        "{}",
                        json!({"row": row.name, "name": name, "batch": batch, "train": train})
                    );
                }
            }
        }
        ["write", name, folder] => {
            let row = rows().into_iter().find(|row| row.name == name);
            let row = row.ok_or_else(|| format!("no row is called {name}"))?;
            row.work.write(Path::new(folder), &device("flex")?)?;
        }
        ["time", name, on, seconds] => println!("{}", time(name, &device(on)?, seconds.parse()?)?),
        _ => return Err(USAGE.into()),
    }
    Ok(())
}

fn device(name: &str) -> Result<Device> {
    let found = devices().into_iter().find(|(device, _)| *device == name);
    let (_, device) = found.ok_or_else(|| format!("no device is called {name}"))?;
    Ok(device)
}

/// The names of the measurements of a row, their batches, and whether they train.
fn measurements(row: &Row) -> Vec<(String, usize, bool)> {
    let infer = row.infer.iter();
    let infer = infer.map(|&batch| (format!("{}/infer x{batch}", row.name), batch, false));
    let train = (
        format!("{}/train x{}", row.name, row.train),
        row.train,
        true,
    );
    infer.chain([train]).collect()
}

/// Runs a measurement for so many seconds, three times at least.
fn time(name: &str, device: &Device, seconds: f64) -> Result<Value> {
    let rows = rows();
    let all = rows
        .iter()
        .flat_map(|row| measurements(row).into_iter().map(move |found| (row, found)));
    let found = all.into_iter().find(|(_, (found, ..))| found == name);
    let (row, (_, batch, train)) =
        found.ok_or_else(|| format!("no measurement is called {name}"))?;
    if let Ok(bits) = std::env::var("VECTOR_BITS") {
        burn_skip::fused::limit_vectors(bits.parse()?);
    }
    let idle = status("VmRSS")?;
    let held_before = ALLOCATOR.held();
    let mut run = match train {
        true => row.work.train(batch, device),
        false => row.work.infer(batch, device),
    };
    run();
    let allocated = ALLOCATOR.count(&mut run);
    // (The peak counts from here on: to build a network may take more than to run it.)
    std::fs::write("/proc/self/clear_refs", "5")?;
    let mut times = Vec::new();
    let start = Instant::now();
    while times.len() < 3 || start.elapsed().as_secs_f64() < seconds {
        let start = Instant::now();
        run();
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok(json!({
        "median_ms": times[times.len() / 2],
        "min_ms": times[0],
        "max_ms": times[times.len() - 1],
        "runs": times.len(),
        "peak_mib": status("VmHWM")? - idle,
        "held_mib": mib(allocated.peak - held_before),
        "allocated_mib": mib(allocated.bytes),
        "allocations": allocated.count,
        "version": env!("CARGO_PKG_VERSION"),
    }))
}

fn mib(bytes: usize) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// A number of `/proc/self/status`, in MiB.
fn status(key: &str) -> Result<f64> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find(|line| line.starts_with(key));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    let kib: f64 = kib.ok_or("a number of KiB")?.parse()?;
    Ok(kib / 1024.0)
}
