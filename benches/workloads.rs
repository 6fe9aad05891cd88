//! The workloads that are compared with other frameworks, on flex and ndarray.
//!
//! ```text
//! cargo bench -p burn-skip-benches --bench workloads                       # Criterion's report
//! cargo bench -p burn-skip-benches --bench workloads -- --json OUT         # the same, as `compare.py` takes it
//! cargo bench -p burn-skip-benches --bench workloads -- --json OUT --memory # peak memory of the training steps too
//! ```

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use burn_skip_benches::{NAMES, devices, workload};
use criterion::{BenchmarkId, Criterion, SamplingMode};
use serde_json::{Value, json};

/// What large maps are allocated with matters: an allocator that gives pages back to the system after every
/// step spends a tenth of the time on faults.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Training steps after which the peak is read.
const STEPS: usize = 3;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value_of = |flag: &str| {
        let at = arguments.iter().position(|argument| argument == flag)?;
        arguments.get(at + 1)
    };
    if let Some(job) = value_of("--peak") {
        println!("{}", peak_of(job));
        return;
    }
    let Some(out) = value_of("--json") else {
        return run(Criterion::default().configure_from_args()).final_summary();
    };
    let reports = std::env::temp_dir().join(format!("burn-skip-bench-{}", std::process::id()));
    run(Criterion::default().output_directory(&reports));
    let mut rows = times(&reports);
    if arguments.iter().any(|argument| argument == "--memory") {
        rows.extend(peaks());
    }
    std::fs::remove_dir_all(&reports).expect("the reports were written here");
    std::fs::write(out, format!("{:#}\n", Value::from(rows))).expect("OUT can be written");
}

fn run(mut criterion: Criterion) -> Criterion {
    for name in NAMES {
        let mut group = criterion.benchmark_group(name.replace('/', "_"));
        group.sample_size(15).sampling_mode(SamplingMode::Flat);
        group.warm_up_time(Duration::from_secs(1));
        group.measurement_time(Duration::from_secs(4));
        for (device_name, device) in devices() {
            let mut step = workload(name, &device);
            let id = BenchmarkId::from_parameter(device_name);
            group.bench_function(id, |bencher| bencher.iter(&mut step));
        }
    }
    criterion
}

/// Median and spread of Criterion's samples.
fn times(reports: &Path) -> Vec<Value> {
    let mut rows = Vec::new();
    for name in NAMES {
        for (device, _) in devices() {
            let group = reports.join(name.replace('/', "_"));
            let sample: PathBuf = group.join(device).join("new/sample.json");
            let text = std::fs::read_to_string(&sample).expect("Criterion keeps its samples");
            let sample: Value = serde_json::from_str(&text).expect("they are JSON");
            let numbers = |key: &str| -> Vec<f64> {
                let list = sample[key].as_array().expect("a list of numbers");
                list.iter().filter_map(Value::as_f64).collect()
            };
            let (nanoseconds, iterations) = (numbers("times"), numbers("iters"));
            let each = nanoseconds.iter().zip(&iterations);
            let mut each: Vec<f64> = each.map(|(time, count)| time / count / 1e6).collect();
            each.sort_by(f64::total_cmp);
            rows.push(json!({
                "workload": name,
                "peer": format!("burn-skip {device}"),
                "version": env!("CARGO_PKG_VERSION"),
                "median_ms": each[each.len() / 2],
                "min_ms": each[0],
                "max_ms": each[each.len() - 1],
                "runs": each.len(),
                "threads": std::thread::available_parallelism().map_or(1, usize::from),
            }));
        }
    }
    rows
}

/// Peaks of the training steps, each in a process of its own.
fn peaks() -> Vec<Value> {
    let program = std::env::current_exe().expect("this program has a path");
    let mut rows = Vec::new();
    for name in ["dense/train", "unet_r18/train"] {
        for (device, _) in devices() {
            let job = format!("{name} {device}");
            let output = Command::new(&program).args(["--peak", &job]).output();
            let output = output.expect("this program can be run again");
            let peak = String::from_utf8_lossy(&output.stdout);
            let peak: f64 = peak.trim().parse().expect("it prints a number");
            let peer = format!("burn-skip {device}");
            rows.push(json!({"workload": name, "peer": peer, "peak_mib": peak}));
        }
    }
    rows
}

/// MiB of the process after some steps at most, less what it had before anything was built.
fn peak_of(job: &str) -> f64 {
    let (name, wanted) = job.split_once(' ').expect("NAME DEVICE");
    let idle = status("VmRSS");
    let device = devices().into_iter().find(|(device, _)| *device == wanted);
    let (_, device) = device.expect("one of the devices");
    let mut step = workload(name, &device);
    (0..STEPS).for_each(|_| step());
    status("VmHWM") - idle
}

/// A number of `/proc/self/status`, in MiB.
fn status(key: &str) -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("Linux says how much is used");
    let line = text.lines().find(|line| line.starts_with(key));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.and_then(|kib| kib.parse::<f64>().ok())
        .expect("a number of KiB")
        / 1024.0
}
