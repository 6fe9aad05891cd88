//! Layers that learn, on every device, through Burn's own optimizer.

use crate::devices;
use burn::module::Module;
use burn::module::ParamGroup;
use burn::optim::lr_scheduler::module_lr_scheduler::ModuleLrScheduler;
use burn::optim::{AdamConfig, GradientsParams, SgdConfig};
use burn::tensor::{Device, Tensor, TensorData};
use burn_skip::block::{ConvNormAct, ConvNormActConfig};
use burn_skip::gate::GateConfig;
use burn_skip::net::{
    AnySegmentationModel, EncoderConfig, InvertedStage, MobileNetV2EncoderConfig, ResNetBlock,
    ResNetEncoderConfig, SegmentationConfig, Unet, UnetConfig,
};
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

/// U-Nets on two encoders with batch norms, fused by the kernels in different ways.
fn unets(device: &Device) -> Vec<AnySegmentationModel> {
    let resnet = ResNetEncoderConfig::new(ResNetBlock::Basic, vec![1, 1]).with_width(8);
    let stages = vec![
        InvertedStage::new(1, 8, 1, 1),
        InvertedStage::new(2, 8, 2, 2),
    ];
    let mobilenet = MobileNetV2EncoderConfig::new().with_stages(stages);
    [
        EncoderConfig::ResNet(resnet),
        EncoderConfig::MobileNetV2(mobilenet),
    ]
    .map(|encoder| SegmentationConfig::smp_unet(encoder, 1).init(device))
    .into()
}

/// Three steps of plain gradient descent, with a rate of 0.1, or 0.01 for the encoder.
fn three_steps(mut net: AnySegmentationModel, device: &Device) -> AnySegmentationModel {
    let x = map(0.0, [2, 3, 32, 24], device);
    let mut optimizer = SgdConfig::new().init();
    let mut rates =
        ModuleLrScheduler::new(0.1).with_group(ParamGroup::from_predicate("encoder"), 0.01);
    for _ in 0..3 {
        let loss = net.forward(x.clone()).square().mean();
        let gradients = GradientsParams::from_grads(loss.backward(), &net);
        net = optimizer.step(rates.step(), net, gradients);
    }
    net
}

/// All numbers of a module, statistics of norms too.
fn numbers<M: Module>(module: &M) -> Vec<f32> {
    struct Numbers(Vec<f32>);
    impl burn::module::ModuleVisitor for Numbers {
        fn visit_float<const D: usize>(&mut self, param: &burn::module::Param<Tensor<D>>) {
            self.0.extend(
                param
                    .val()
                    .to_data()
                    .convert::<f32>()
                    .try_to_vec::<f32>()
                    .unwrap(),
            );
        }
    }
    let mut numbers = Numbers(Vec::new());
    module.valid().visit(&mut numbers);
    numbers.0
}

#[test]
fn a_frozen_encoder_stays_as_it_is_and_the_decoder_learns() {
    for (name, device) in devices().into_iter().filter(|(name, _)| *name != "wgpu") {
        let device = device.autodiff();
        for mut net in unets(&device) {
            net.encoder = net.encoder.freeze();
            let before = [
                numbers(&net.encoder),
                numbers(&net.decoder),
                numbers(&net.head),
            ];
            let net = three_steps(net, &device);
            let after = [
                numbers(&net.encoder),
                numbers(&net.decoder),
                numbers(&net.head),
            ];
            assert_eq!(before[0], after[0], "{name}: the encoder has changed");
            assert_ne!(before[1], after[1], "{name}");
            assert_ne!(before[2], after[2], "{name}");
        }
    }
}

#[test]
fn a_frozen_encoder_has_no_gradients_and_uses_its_running_statistics() {
    let device = Device::flex().autodiff();
    for mut net in unets(&device) {
        let x = map(0.0, [2, 3, 32, 24], &device);
        let maps = |net: &AnySegmentationModel| net.features(x.clone()).remove(1).into_data();
        let trained = maps(&net);
        net.encoder = net.encoder.freeze();
        assert_ne!(maps(&net), trained);
        let valid = net
            .valid()
            .features(x.clone().inner())
            .remove(1)
            .into_data();
        maps(&net).assert_approx_eq::<f32>(&valid, burn::tensor::Tolerance::default());
        let loss = net.forward(x.clone()).square().mean();
        let gradients = GradientsParams::from_grads(loss.backward(), &net.encoder);
        assert!(gradients.is_empty());
    }
}

#[test]
fn without_gradients_alone_the_statistics_of_the_encoder_are_updated() {
    let device = Device::flex().autodiff();
    for mut net in unets(&device) {
        let stem = |net: &AnySegmentationModel| match &net.encoder {
            burn_skip::net::AnyEncoder::ResNet(encoder) => encoder.stem.clone(),
            burn_skip::net::AnyEncoder::MobileNetV2(encoder) => encoder.stem.clone(),
            _ => unreachable!(),
        };
        net.encoder = net.encoder.no_grad();
        let before = stem(&net);
        let conv = numbers(&before.conv);
        let all = numbers(&before);
        let after = stem(&three_steps(net, &device));
        assert_eq!(numbers(&after.conv), conv);
        assert_ne!(numbers(&after), all);
    }
}

#[test]
fn every_group_has_its_rate() {
    // One step of gradient descent moves each parameter by its rate times the gradient.
    let device = Device::flex().autodiff();
    let net = unets(&device).remove(0);
    let x = map(0.0, [2, 3, 32, 24], &device);
    let step = |rate_of_encoder: f64| {
        let mut rates = ModuleLrScheduler::new(0.1)
            .with_group(ParamGroup::from_predicate("encoder"), rate_of_encoder);
        let loss = net.forward(x.clone()).square().mean();
        let gradients = GradientsParams::from_grads(loss.backward(), &net);
        SgdConfig::new()
            .init()
            .step(rates.step(), net.clone(), gradients)
    };
    let stem = |net: &AnySegmentationModel| match &net.encoder {
        burn_skip::net::AnyEncoder::ResNet(encoder) => numbers(&encoder.stem.conv),
        _ => unreachable!(),
    };
    let [none, one, two] = [0.0, 0.1, 0.2].map(step);
    assert_eq!(stem(&none), stem(&net));
    let [start, one_stem, two_stem] = [stem(&net), stem(&one), stem(&two)];
    for ((start, one), two) in start.iter().zip(&one_stem).zip(&two_stem) {
        assert!((2.0 * (one - start) - (two - start)).abs() < 1e-5);
    }
    assert!(start != one_stem);
    assert_eq!(numbers(&one.head), numbers(&two.head));
}
