//! quick timing
#[path = "support/mod.rs"]
mod support;
fn main() {
    let only = std::env::args().nth(1).filter(|a| !a.starts_with("--"));
    for (device_name, device) in support::devices() {
        for name in support::NAMES {
            if only
                .as_ref()
                .is_some_and(|o| !format!("{device_name} {name}").contains(o.as_str()))
            {
                continue;
            }
            let mut run = support::workload(name, &device);
            run();
            run();
            let mut times: Vec<f64> = (0..9)
                .map(|_| {
                    let t = std::time::Instant::now();
                    run();
                    t.elapsed().as_secs_f64() * 1e3
                })
                .collect();
            times.sort_by(f64::total_cmp);
            println!(
                "{name} {device_name}: {:.2} ms ({:.2} to {:.2})",
                times[4], times[0], times[8]
            );
        }
    }
}
