//! Layers that learn, on every device, through Burn's own optimizer.

#[path = "support/devices.rs"]
mod devices;

use burn::module::Module;
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::{Device, Tensor, TensorData};
use burn_skip::block::{ConvNormAct, ConvNormActConfig};
use burn_skip::gate::GateConfig;
use burn_skip::net::{Unet, UnetConfig};
use burn_skip::up::UpConfig;
use burn_skip::{Layer, SkipAdd, SkipAddConfig, SkipConcat, UpsampleConcat, UpsampleConcatConfig};

use devices::devices;

/// A smooth pattern of reproducible values.
fn map<const R: usize>(seed: f64, shape: [usize; R], device: &Device) -> Tensor<R> {
    let count: usize = shape.iter().product();
    let data: Vec<f64> = (0..count).map(|i| (0.37 * i as f64 + seed).sin()).collect();
    Tensor::from_data(TensorData::new(data, shape), device)
}

/// The losses of a few steps towards `target`.
fn losses<M: Module, const R: usize>(
    mut model: M,
    steps: usize,
    target: Tensor<R>,
    forward: impl Fn(&M) -> Tensor<R>,
) -> Vec<f32> {
    let mut optimizer = AdamConfig::new().init();
    let mut losses = vec![];
    for _ in 0..steps {
        let error = forward(&model) - target.clone();
        let loss = error.square().mean();
        losses.push(loss.clone().into_scalar::<f32>());
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        model = optimizer.step(0.02, model, gradients);
    }
    // Nobody reads the last step; a driver at work when the process ends may crash it.
    target.device().sync().expect("a device that works");
    losses
}

fn assert_learns(name: &str, losses: &[f32]) {
    let (first, last) = (losses[0], losses[losses.len() - 1]);
    assert!(
        last < 0.7 * first,
        "{name}: the loss went from {first} to {last}"
    );
}

#[test]
fn bilinear_upsample_concat_learns_where_burns_interpolate_has_no_gradient() {
    for (name, device) in devices() {
        let device = device.autodiff();
        let layer: UpsampleConcat = UpsampleConcatConfig::new(4, 3, 2)
            .with_up(UpConfig::linear())
            .with_gate(GateConfig::attention(2))
            .init(&device);
        let deep = map(0.0, [2, 4, 6, 6], &device);
        let skip = map(1.0, [2, 3, 15, 15], &device);
        let target = map(2.0, [2, 2, 15, 15], &device).clamp_min(0.0);
        let forward = |layer: &UpsampleConcat| layer.forward(deep.clone(), skip.clone());
        assert_learns(name, &losses(layer, 25, target, forward));
    }
}

#[test]
fn dense_and_residual_blocks_learn_on_one_axis() {
    type Net = (SkipConcat<ConvNormAct<3>>, SkipAdd<ConvNormAct<3>, 3>);
    for (name, device) in devices() {
        let device = device.autodiff();
        let block = |channels, stride| {
            ConvNormActConfig::new(channels, 3)
                .with_stride(stride)
                .init(&device)
        };
        let dense = SkipConcat::new(block([2, 3], 1));
        let residual = SkipAddConfig::new([5, 4])
            .with_stride(2)
            .init(block([5, 4], 2), &device);
        let x = map(0.0, [2, 2, 17], &device);
        let target = map(1.0, [2, 4, 9], &device).clamp_min(0.0);
        let forward = |net: &Net| net.forward(x.clone());
        assert_learns(name, &losses((dense, residual), 25, target, forward));
    }
}

#[test]
fn a_unet_learns_on_three_axes() {
    let device = Device::flex().autodiff();
    let net: Unet<5> = UnetConfig::new(1, 1, vec![2, 4]).init(&device);
    let x = map(0.0, [1, 1, 5, 6, 7], &device);
    let target = x.clone().square();
    let forward = |net: &Unet<5>| net.forward(x.clone());
    assert_learns("flex", &losses(net, 40, target, forward));
}

#[test]
fn a_zero_initialised_norm_starts_as_the_shortcut_and_is_still_trained() {
    let device = Device::flex().autodiff();
    let residual: SkipAdd<ConvNormAct> = SkipAddConfig::new([3, 3])
        .with_zero_init_last_norm(true)
        .with_activation(None)
        .init(
            ConvNormActConfig::new([3, 3], 3)
                .with_activation(None)
                .init(&device),
            &device,
        );
    let x = map(0.0, [1, 3, 5, 5], &device);
    let start = residual.forward(x.clone()).into_data();
    start.assert_eq(&x.to_data(), true);
    let target = map(4.0, [1, 3, 5, 5], &device);
    let forward = |layer: &SkipAdd<ConvNormAct>| layer.forward(x.clone());
    assert_learns("flex", &losses(residual, 60, target, forward));
}

#[test]
fn icnr_starts_as_a_nearest_upsampling_and_is_still_trained() {
    let device = Device::flex().autodiff();
    let up: burn_skip::up::Up = UpConfig::pixel_shuffle().init([3, 2], &device);
    let x = map(0.0, [1, 3, 4, 4], &device);
    let y = up.forward(x.clone());
    let pooled = burn_skip::pool::PoolConfig::new(burn_skip::pool::PoolKind::Avg, 2).init();
    let coarse = pooled.forward(y.clone());
    let nearest =
        burn_skip::resize::resize(coarse, &[8, 8], burn_skip::resize::ResizeMode::Nearest);
    let off = (y - nearest).abs().max().into_scalar::<f32>();
    assert!(off < 1e-6, "cells are not constant: {off}");
    let target = map(3.0, [1, 2, 8, 8], &device) * 0.1;
    let forward = |layer: &burn_skip::up::Up| layer.forward(x.clone());
    let losses = losses(up, 60, target, forward);
    assert!(losses[59] < losses[0], "{losses:?}");
}
