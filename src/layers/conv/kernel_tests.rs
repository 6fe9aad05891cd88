//! The layers whose convolution the CPU kernels take, beside Burn's operations.

use alloc::vec::Vec;

use burn::module::Module;
use burn::nn::norm::Normalization;
use burn::tensor::{Device, Distribution, Tensor, Tolerance};

use super::*;
use crate::Layer;
use crate::cpu::{Outcome, batch_norm, read_through_norm};
use crate::graph::activation::ActivationConfig;
use crate::graph::window::Window;
use crate::layers::block::ConvNormActConfig;

fn random<const R: usize>(shape: [usize; R], device: &Device) -> Tensor<R> {
    Tensor::random(shape, Distribution::Default, device)
}

/// What Burn's operations make of it.
fn composed(conv: &Conv<3>, x: Tensor<3>) -> Tensor<3> {
    let window = Window {
        kernel_size: alloc::vec![3],
        stride: alloc::vec![1],
        dilation: alloc::vec![1],
        ceil_mode: false,
    };
    let bias = conv.bias.as_ref().map(|bias| bias.val());
    ops::conv(x, conv.weight.val(), bias, &window, &[(1, 1)], 1)
}

fn assert_near<const R: usize>(a: Tensor<R>, b: Tensor<R>) {
    let near = Tolerance::<f32>::absolute(1e-5);
    a.into_data().assert_approx_eq(&b.into_data(), near);
}

#[test]
fn long_signals_are_left_to_burn_and_short_ones_are_not() {
    let device = Device::flex();
    let conv: Conv<3> = ConvConfig::new([8, 4], 3).init(&device);
    for length in [100, 40_000] {
        let x = random([1, 8, length], &device);
        assert_near(conv.forward(x.clone()), composed(&conv, x));
    }
}

#[test]
fn a_constant_map_meets_weights_that_are_recorded() {
    let device = Device::flex();
    let recorded = device.clone().autodiff();
    let conv: Conv<3> = ConvConfig::new([2, 3], 3).init(&recorded);
    let x = random([1, 2, 9], &device);
    let gradients = conv.forward(x.clone()).sum().backward();
    let found = conv.weight.grad(&gradients).unwrap();
    let gradients = composed(&conv, x).sum().backward();
    assert_near(found, conv.weight.grad(&gradients).unwrap());
}

#[test]
fn a_constant_map_meets_a_norm_that_is_recorded() {
    let device = Device::flex();
    let config = ConvNormActConfig::new([2, 3], 3);
    let block = config.init::<4>(&device.clone().autodiff());
    let x = random([2, 2, 5, 6], &device);
    let y = block.forward(x.clone()).inner();
    let Some(Normalization::Batch(norm)) = &block.norm else {
        unreachable!("it has a batch norm")
    };
    let conv = block.conv.forward(x).inner();
    let mean = conv.clone().mean_dims(&[0, 2, 3]);
    let running = norm.running_mean.value_sync().to_device(&device);
    assert_near(running, mean.clone().reshape([3]) * 0.1);
    let off = conv - mean;
    let variance = (off.clone() * off.clone()).mean_dims(&[0, 2, 3]);
    assert_near(
        y,
        burn::tensor::activation::relu(off / (variance + 1e-5).sqrt()),
    );
}

#[test]
fn a_residual_that_is_recorded_gets_its_gradient() {
    let device = Device::flex();
    let config = ConvNormActConfig::new([2, 3], 3).with_activation(None);
    let block = config.init::<4>(&device);
    let x = random([1, 2, 5, 6], &device);
    let residual = random([1, 3, 5, 6], &device.clone().autodiff()).require_grad();
    let relu = Some(crate::activation::ActivationConfig::Relu.init(&device));
    let y = block.forward_add(x.into(), residual.clone(), &relu);
    let passed = y.clone().inner().greater_elem(0.0).float();
    let gradients = y.sum().backward();
    assert_near(residual.grad(&gradients).unwrap(), passed);
}

#[test]
#[should_panic]
fn a_weight_of_another_shape_is_refused() {
    let device = Device::flex();
    let mut conv: Conv<3> = ConvConfig::new([2, 3], 3).init(&device);
    conv.weight = burn::module::Param::from_tensor(random([3, 4, 3], &device));
    conv.forward(random([1, 2, 9], &device));
}

#[test]
#[allow(deprecated, clippy::single_element_loop)] // (one device without ndarray)
fn a_weight_that_changes_is_used_as_it_is() {
    for device in [
        Device::flex(),
        #[cfg(feature = "ndarray")]
        Device::ndarray(),
    ] {
        let mut conv: Conv = ConvConfig::new([32, 64], 3).with_bias(false).init(&device);
        let x = random([1, 32, 24, 24], &device);
        let first = conv.forward(x.clone());
        assert!(!conv.prepared.is_empty());
        conv.weight = conv.weight.map(|weight| weight * 2.0);
        assert_near(conv.forward(x.clone()), first.clone() * 2.0);
        // A part of the weight lies at its address, and is another weight.
        let whole = conv.weight.val();
        conv.weight = burn::module::Param::from_tensor(whole.clone().narrow(0, 0, 32));
        conv.config.channels[1] = 32;
        let part = first.clone().narrow(1, 0, 32) * 2.0;
        assert_near(conv.forward(x.clone()), part);
        conv.weight = burn::module::Param::from_tensor(whole);
        conv.config.channels[1] = 64;
        assert_near(conv.forward(x.clone()), first.clone() * 2.0);
        // By another algorithm, which prepares the same weight in another way.
        conv.weight = conv.weight.map(|weight| weight * 2.0);
        let row = x.clone().narrow(2, 0, 1);
        let found = conv.forward(row.clone());
        let recorded = Tensor::from_data(row.into_data(), &device.clone().autodiff());
        assert_near(found, conv.forward(recorded).inner());
        conv.weight = conv.weight.map(|weight| weight * 0.5);
        conv.forward(x.clone());
        // In training, nothing is prepared.
        let x = Tensor::from_data(x.into_data(), &device.autodiff());
        let y = conv.forward(x).inner();
        assert_near(y, first * 2.0);
        assert!(conv.prepared.is_empty());
    }
}

#[test]
fn maps_that_do_not_lie_in_order_are_read_in_order() {
    let device = Device::flex();
    let conv: Conv<3> = ConvConfig::new([2, 3], 3).init(&device);
    let x = random([1, 9, 2], &device).swap_dims(1, 2);
    assert_near(conv.forward(x.clone()), composed(&conv, x));
}

#[test]
fn a_norm_of_parts_takes_the_statistics_of_all_of_them_once() {
    let device = Device::flex().autodiff();
    let config =
        ConvNormActConfig::new([5, 3], 3).with_order(crate::layers::block::LayerOrder::NormActConv);
    let conv = config.init::<4>(&device);
    let [a, b] = [2, 3].map(|channels| random([2, channels, 6, 7], &device));
    let parts = LazyConcat::new(alloc::vec![Part::new(a.clone()), Part::new(b.clone())]);
    let other = conv.clone().fork(&device);
    let found = conv.forward_parts(parts).into_tensor();
    let wanted = other.forward(Tensor::cat(alloc::vec![a, b], 1));
    assert_near(found, wanted);
    let running = |block: &crate::layers::block::ConvNormAct| match &block.norm {
        Some(Normalization::Batch(norm)) => norm.running_mean.value_sync(),
        _ => unreachable!("it has a batch norm"),
    };
    assert_near(running(&conv), running(&other));
}

/// A layer whose options and weight are changed between two inferences, as `change` says.
fn assert_reshaped(
    conv: &mut Conv,
    parts: &LazyConcat,
    change: impl Fn(&mut Conv),
    x: &LazyConcat,
) {
    conv.forward_parts(parts.clone());
    assert!(!conv.prepared.is_empty());
    change(conv);
    let found = conv.forward_parts(x.clone()).into_tensor();
    let other = conv.clone(); // a clone begins without what was prepared
    assert_near(found, other.forward_parts(x.clone()).into_tensor());
    // Nor is it what is composed of Burn's operations.
    let window = Window {
        kernel_size: other.config.kernel_size.resolve(4, "", "").unwrap(),
        stride: alloc::vec![1, 1],
        dilation: alloc::vec![1, 1],
        ceil_mode: false,
    };
    let shape = x.dims();
    let pads = window.pads("", shape, &other.config.padding).unwrap();
    let pads: Vec<_> = pads.iter().map(|pad| (pad.start, pad.end)).collect();
    let wanted = ops::conv(
        x.clone().into_tensor(),
        other.weight.val(),
        None,
        &window,
        &pads,
        1,
    );
    let found = conv.forward_parts(x.clone()).into_tensor();
    let near = Tolerance::<f32>::absolute(1e-4);
    found
        .into_data()
        .assert_approx_eq(&wanted.into_data(), near);
}

#[test]
fn a_weight_that_is_reshaped_is_another_weight() {
    let device = Device::flex();
    let reshape = |conv: &mut Conv, shape: [usize; 4]| {
        conv.weight = burn::module::Param::from_tensor(conv.weight.val().reshape(shape));
        conv.config.channels = [shape[1], shape[0]];
        conv.config.kernel_size = [shape[2], shape[3]].into();
    };
    // Components.
    let config = |channels| ConvConfig::new(channels, 3).with_bias(false);
    let mut conv = config([32, 64]).init(&device);
    let [x, y] = [32, 64].map(|channels| random([1, channels, 12, 12], &device).into());
    assert_reshaped(&mut conv, &x, |conv| reshape(conv, [32, 64, 3, 3]), &y);
    // Sums of taps: of another kernel, and for other outputs.
    let enlarged =
        |channels: usize| LazyConcat::from(random([1, channels, 6, 6], &device)).enlarged(&[2, 2]);
    let x = enlarged(4);
    let mut conv = config([4, 6]).init(&device);
    assert_reshaped(&mut conv, &x, |conv| reshape(conv, [6, 4, 9, 1]), &x);
    let mut conv = config([4, 9]).init(&device);
    assert_reshaped(&mut conv, &x, |conv| reshape(conv, [81, 4, 1, 1]), &x);
}

#[test]
fn a_large_constant_channel_is_normalised_to_its_shift() {
    let device = Device::flex();
    for constant in [1e4, 3e6, 3_000_001.25] {
        let recorded = device.clone().autodiff();
        let norm = burn::nn::BatchNormConfig::new(1).init(&recorded);
        let x = Tensor::<4>::full([2, 1, 30, 31], constant, &recorded);
        let shift = norm
            .beta
            .val()
            .inner()
            .reshape([1, 1, 1, 1])
            .expand([2, 1, 30, 31]);
        assert_near(
            batch_norm(&norm, x.clone(), None, &ActivationConfig::Identity).inner(),
            shift.clone(),
        );
        // Read through the norm, by a convolution.
        let Outcome::Fused(parts) = read_through_norm(&norm, x.into(), &ActivationConfig::Identity)
        else {
            unreachable!("there are kernels on flex")
        };
        let config = ConvConfig::new([1, 1], 1).with_bias(false);
        let conv = config
            .with_initializer(burn::nn::Initializer::Ones)
            .init::<4>(&recorded);
        assert_near(conv.forward_parts(parts).into_tensor().inner(), shift);
    }
}

#[test]
fn a_large_running_mean_is_subtracted_before_it_is_scaled() {
    let device = Device::flex();
    let config = ConvNormActConfig::new([1, 1], 1)
        .with_activation(None)
        .with_bias(true);
    let mut block = config.init::<4>(&device);
    block.conv.weight = burn::module::Param::from_tensor(Tensor::ones([1, 1, 1, 1], &device));
    let bias = Tensor::<1>::from_floats([1.0], &device);
    block.conv.bias = Some(burn::module::Param::from_tensor(bias));
    let Some(Normalization::Batch(norm)) = &block.norm else {
        unreachable!("it has a batch norm")
    };
    norm.running_mean
        .update(Tensor::from_floats([3_000_002.25], &device));
    norm.running_var.update(Tensor::from_floats([0.0], &device));
    norm.running_mean.value_sync();
    norm.running_var.value_sync();
    let x = Tensor::full([1, 1, 4, 4], 3_000_001.5, &device);
    // 0.25 / sqrt(1e-5)
    assert_near(
        block.forward(x),
        Tensor::full([1, 1, 4, 4], 79.056_94, &device),
    );
}
