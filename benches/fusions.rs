//! What the layers cost, beside Burn's own operations in the same run.
//!
//! ```text
//! cargo bench -p burn-skip-benches --bench fusions
//! ```
//!
//! Prints a table in Markdown: the median of several runs, and their spread.

use std::time::Instant;

use burn::tensor::module::interpolate;
use burn::tensor::ops::{InterpolateMode, InterpolateOptions};
use burn::tensor::{Device, Distribution, Tensor};
use burn_skip::resize::{ResizeMode, resize};
use burn_skip::up::UpConfig;
use burn_skip::{UpsampleConcat, UpsampleConcatConfig};
use burn_skip_benches::devices;

const RUNS: usize = 7;

fn main() {
    println!("| work | device | median ms | least to most |");
    println!("| --- | --- | --- | --- |");
    for (name, device) in devices() {
        resizing(name, &device);
        long_axis(name, &device);
        up_block(name, &device);
    }
}

fn report(work: &str, device: &str, mut run: impl FnMut()) {
    run(); // the first run allocates
    let mut times: Vec<f64> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let (least, median, most) = (times[0], times[RUNS / 2], times[RUNS - 1]);
    println!("| {work} | {device} | {median:.2} | {least:.2} to {most:.2} |");
}

/// Waits until the values are there.
fn finish<const R: usize>(x: Tensor<R>) {
    std::hint::black_box(x.into_data());
}

fn resizing(name: &str, device: &Device) {
    let x = Tensor::<4>::random([1, 64, 64, 64], Distribution::Default, device);
    let burn = |mode| {
        InterpolateOptions::new(mode)
            .with_align_corners(false)
            .with_output_size([128, 128])
    };
    let modes = [
        ("nearest", ResizeMode::Nearest, InterpolateMode::Nearest),
        ("linear", ResizeMode::linear(), InterpolateMode::Bilinear),
        ("cubic", ResizeMode::cubic(), InterpolateMode::Bicubic),
    ];
    for (mode_name, ours, theirs) in modes {
        report(&format!("{mode_name} x2, 64 channels 64x64"), name, || {
            finish(resize(x.clone(), &[128, 128], ours));
        });
        report(
            &format!("the same by Burn's interpolate ({mode_name})"),
            name,
            || {
                finish(interpolate(x.clone(), burn(theirs.clone())));
            },
        );
    }
}

/// A signal, along which the map is a sum of selections.
fn long_axis(name: &str, device: &Device) {
    let x = Tensor::<3>::random([1, 16, 16384], Distribution::Default, device);
    report("linear x2, 16 channels of 16384 positions", name, || {
        finish(resize(x.clone(), &[32768], ResizeMode::linear()));
    });
}

/// Up, concat, two 3x3 convolutions with batch norm and ReLU: 64 + 32 channels to 32 at 128x128.
fn up_block(name: &str, device: &Device) {
    let config = UpsampleConcatConfig::new(64, 32, 32);
    let maps = |batch, device: &Device| {
        let random = |shape| Tensor::<4>::random(shape, Distribution::Default, device);
        (random([batch, 64, 64, 64]), random([batch, 32, 128, 128]))
    };
    for (way, up) in [
        ("nearest", UpConfig::nearest()),
        ("linear", UpConfig::linear()),
    ] {
        let layer: UpsampleConcat = config.clone().with_up(up.clone()).init(device);
        let (deep, skip) = maps(1, device);
        report(
            &format!("up-block, {way}, inference, batch 1"),
            name,
            || {
                finish(layer.forward(deep.clone(), skip.clone()));
            },
        );
        let device = device.clone().autodiff();
        let layer: UpsampleConcat = config.clone().with_up(up).init(&device);
        let (deep, skip) = maps(1, &device);
        report(
            &format!("up-block, {way}, training step, batch 1"),
            name,
            || {
                let (deep, skip) = (deep.clone().require_grad(), skip.clone().require_grad());
                let loss = layer.forward(deep.clone(), skip).mean();
                let gradients = loss.backward();
                if let Some(gradient) = deep.grad(&gradients) {
                    finish(gradient);
                }
            },
        );
    }
}
