//! Burn's own features enable the backends; the layers are composed of its operations, and give what is written
//! out here with the same weights.

use burn::module::Module;
use burn::tensor::module::{conv_transpose2d, conv2d};
use burn::tensor::ops::{ConvOptions, ConvTransposeOptions};
use burn::tensor::{Device, Distribution, Tensor, Tolerance, activation::relu};
use burn_skip::block::{ConvNormAct, ConvNormActConfig};
use burn_skip::conv::{Conv, ConvConfig, ConvTranspose, ConvTransposeConfig, LazyConcat, Part};
use burn_skip::{Layer, SkipAdd, SkipAddConfig, SkipConcat, UpsampleConcat, UpsampleConcatConfig};

#[allow(deprecated)] // ndarray is deprecated upstream, and supported here
fn devices() -> impl Iterator<Item = Device> {
    [
        Device::flex(),
        #[cfg(feature = "ndarray")]
        Device::ndarray(),
    ]
    .into_iter()
}

fn random(shape: [usize; 4], device: &Device) -> Tensor<4> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)
}

fn assert_near(a: Tensor<4>, b: Tensor<4>) {
    let near = Tolerance::<f32>::absolute(1e-4);
    a.into_data().assert_approx_eq(&b.into_data(), near);
}

fn same_conv(x: Tensor<4>, conv: &Conv) -> Tensor<4> {
    let bias = conv.bias.as_ref().map(|bias| bias.val());
    conv2d(
        x,
        conv.weight.val(),
        bias,
        ConvOptions::new([1, 1], [1, 1], [1, 1], 1),
    )
}

/// Convolution, batch norm by the statistics of the batch, ReLU.
fn same_block(x: Tensor<4>, block: &ConvNormAct) -> Tensor<4> {
    let y = same_conv(x, &block.conv);
    let off = y.clone() - y.mean_dims(&[0, 2, 3]);
    let variance = (off.clone() * off.clone()).mean_dims(&[0, 2, 3]);
    relu(off / (variance + 1e-5).sqrt())
}

#[test]
fn a_concatenation_and_its_gradient() {
    for device in devices() {
        let device = device.autodiff();
        let conv: Conv = ConvConfig::new([5, 4], 3).init(&device);
        let maps = [2, 3].map(|channels| random([2, channels, 6, 7], &device).require_grad());
        let parts = maps.clone().map(Part::new).to_vec();
        let y = conv.forward_parts(LazyConcat::new(parts)).into_tensor();
        let wanted = same_conv(Tensor::cat(maps.to_vec(), 1), &conv);
        assert_near(y.clone(), wanted.clone());
        let weigh = random(y.dims(), &device);
        let found = (y * weigh.clone()).sum().backward();
        let wanted = (wanted * weigh).sum().backward();
        for map in &maps {
            assert_near(map.grad(&found).unwrap(), map.grad(&wanted).unwrap());
        }
        let weight = &conv.weight;
        assert_near(weight.grad(&found).unwrap(), weight.grad(&wanted).unwrap());
    }
}

#[test]
fn a_decoder_step_in_training() {
    for device in devices() {
        let device = device.autodiff();
        let layer: UpsampleConcat = UpsampleConcatConfig::new(4, 3, 5).init(&device);
        let (deep, skip) = (random([2, 4, 3, 4], &device), random([2, 3, 6, 8], &device));
        let doubled = burn_skip::resize::resize(
            deep.clone(),
            &[6, 8],
            burn_skip::resize::ResizeMode::Nearest,
        );
        let x = Tensor::cat(vec![doubled, skip.clone()], 1);
        let wanted = same_block(same_block(x, &layer.block.first), &layer.block.second);
        assert_near(layer.forward(deep, skip), wanted);
    }
}

#[test]
fn residual_and_dense_connections() {
    for device in devices() {
        let conv = |channels| ConvNormActConfig::new(channels, 3).with_activation(None);
        let block = conv([4, 4]).with_norm(None).init::<4>(&device);
        let residual: SkipAdd<ConvNormAct> = SkipAddConfig::new([4, 4]).init(block, &device);
        let x = random([1, 4, 5, 6], &device);
        let wanted = relu(same_conv(x.clone(), &residual.block.conv) + x.clone());
        assert_near(residual.forward(x.clone()), wanted);

        let dense = SkipConcat::new(conv([4, 2]).with_norm(None).init::<4>(&device));
        let wanted = Tensor::cat(vec![same_conv(x.clone(), &dense.block.conv), x.clone()], 1);
        assert_near(dense.forward(x), wanted);
    }
}

#[test]
fn a_transposed_convolution() {
    for device in devices() {
        let up: ConvTranspose = ConvTransposeConfig::new([3, 2], 2, 2).init(&device);
        let x = random([1, 3, 4, 5], &device);
        let bias = up.bias.as_ref().map(|bias| bias.val());
        let options = ConvTransposeOptions::new([2, 2], [0, 0], [0, 0], [1, 1], 1);
        assert_near(
            up.forward(x.clone()),
            conv_transpose2d(x, up.weight.val(), bias, options),
        );
        assert!(up.num_params() > 0);
    }
}
