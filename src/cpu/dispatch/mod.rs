//! Where the crate's own kernels run, and where Burn's operations do.
//!
//! The kernels take maps of one and two spatial axes in f32 on flex and ndarray, if the crate is built with
//! the feature of that backend. Everything else is composed of Burn's operations, with the same result.

use burn::nn::BatchNorm;
use burn::tensor::{Device, Tensor, module::max_pool2d, ops::MaxPoolOptions};

use super::weight_cache::PreparedWeight;
use crate::graph::TransposedWindow;
use crate::graph::window::Window;
use crate::layers::conv::{Parts, ops};

/// What follows a convolution: `relu(scale y + shift + residual)`, each of them if it is there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Follow<const R: usize> {
    pub(crate) affine: Option<[Tensor<1>; 2]>,
    pub(crate) residual: Option<Tensor<R>>,
    pub(crate) relu: bool,
}

impl<const R: usize> Follow<R> {
    #[cfg(feature = "kernels")]
    fn is_nothing(&self) -> bool {
        self.affine.is_none() && self.residual.is_none() && !self.relu
    }

    /// By Burn's operations.
    fn apply(self, mut y: Tensor<R>) -> Tensor<R> {
        if let Some(affine) = self.affine {
            let mut per_channel = [1; R];
            per_channel[1] = y.dims()[1];
            let [scale, shift] = affine.map(|numbers| numbers.reshape(per_channel));
            y = y * scale + shift;
        }
        if let Some(residual) = self.residual {
            y = y + residual;
        }
        match self.relu {
            true => burn::tensor::activation::relu(y),
            false => y,
        }
    }
}

/// A convolution over a concatenation, and what follows.
pub(crate) fn conv<const R: usize>(
    parts: Parts<R>,
    (weight, prepared): (Tensor<R>, &PreparedWeight),
    bias: Option<Tensor<1>>,
    (window, pads, groups): (&Window, &[(usize, usize)], usize),
    follow: Follow<R>,
) -> Tensor<R> {
    #[cfg(feature = "kernels")]
    let parts = match kernels::conv(
        parts,
        (&weight, prepared),
        &bias,
        (window, pads, groups),
        &follow,
    ) {
        Ok((y, true)) => return y,
        Ok((y, false)) => return follow.apply(y),
        Err(parts) => parts,
    };
    prepared.clear();
    follow.apply(ops::conv(
        parts.into_tensor(),
        weight,
        bias,
        window,
        pads,
        groups,
    ))
}

/// A transposed convolution whose output is cut to the spatial size `target`, `cut` positions before it.
pub(crate) fn conv_transpose<const R: usize>(
    x: Tensor<R>,
    weight: Tensor<R>,
    bias: Option<Tensor<1>>,
    window: &TransposedWindow,
    target: &[usize],
    cut: impl Fn(usize, usize) -> usize,
) -> Tensor<R> {
    #[cfg(feature = "kernels")]
    let x = {
        let shape = x.dims();
        let starts: alloc::vec::Vec<usize> = (0..R - 2)
            .map(|n| cut(window.size(shape[2 + n], n), target[n]))
            .collect();
        match kernels::conv_transpose(x, &weight, &bias, window, target, &starts) {
            Ok(y) => return y,
            Err(x) => x,
        }
    };
    let y = ops::conv_transpose(x, weight, bias, window);
    target.iter().enumerate().fold(y, |y, (n, &size)| {
        let start = cut(y.dims()[2 + n], size);
        y.narrow(2 + n, start, size)
    })
}

/// A batch norm, and perhaps ReLU, that a map is still to be read through.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "kernels"), allow(dead_code))] // then no norm is pending
pub(crate) struct PendingNorm {
    /// Scale, shift, mean and variance of each channel.
    pub(crate) numbers: [Tensor<1>; 4],
    pub(crate) epsilon: f64,
    pub(crate) relu: bool,
    /// Whether mean and variance are those of the map.
    pub(crate) of_batch: bool,
}

/// The norm that `norm` is for `x` now: by the statistics of the batch, which it takes into its running ones,
/// where gradients are recorded and the layer is in training. None where there are no kernels.
pub(crate) fn pending_norm<const R: usize>(
    norm: &BatchNorm,
    x: &Tensor<R>,
    relu: bool,
) -> Option<PendingNorm> {
    #[cfg(feature = "kernels")]
    if kernels::are_for(x) {
        let device = x.device();
        let of_batch = device.is_autodiff() && norm.training.is_enabled();
        let [mean, variance] = if of_batch {
            let found = kernels::moments(x);
            update(norm, &found);
            found
        } else {
            [&norm.running_mean, &norm.running_var]
                .map(|running| running.value().to_device(&device))
        };
        return Some(PendingNorm {
            numbers: [norm.gamma.val(), norm.beta.val(), mean, variance],
            epsilon: norm.epsilon,
            relu,
            of_batch,
        });
    }
    let _ = (norm, x, relu);
    None
}

/// Takes the statistics of a batch into the running ones, as Burn's layer does.
#[cfg(feature = "kernels")]
fn update(norm: &BatchNorm, [mean, variance]: &[Tensor<1>; 2]) {
    for (running, now) in [(&norm.running_mean, mean), (&norm.running_var, variance)] {
        let before = running.value_sync().to_device(&now.device());
        let now = now.clone() * norm.momentum;
        running.update((before * (1.0 - norm.momentum) + now).detach());
    }
}

/// `act(norm(x) + residual)`
pub(crate) fn normalize<const R: usize>(
    x: Tensor<R>,
    norm: &PendingNorm,
    residual: Option<Tensor<R>>,
) -> Tensor<R> {
    #[cfg(feature = "kernels")]
    return kernels::normalize(x, norm, residual);
    #[cfg(not(feature = "kernels"))]
    unreachable!("without kernels no norm is pending: {x:?}, {norm:?}, {residual:?}")
}

/// Batch norm, and what follows it, `relu(norm(x) + residual)`.
pub(crate) fn batch_norm<const R: usize>(
    norm: &BatchNorm,
    x: Tensor<R>,
    residual: Option<Tensor<R>>,
    relu: bool,
) -> Tensor<R> {
    if let Some(norm) = pending_norm(norm, &x, relu) {
        return normalize(x, &norm, residual);
    }
    let follow = Follow {
        affine: None,
        residual,
        relu,
    };
    follow.apply(norm.forward(x))
}

/// The parts, read through a batch norm of their concatenation: each through its share. The parts come back
/// where there are no kernels.
pub(crate) fn norm_of_parts<const R: usize>(
    norm: &BatchNorm,
    parts: Parts<R>,
    relu: bool,
) -> Result<Parts<R>, Parts<R>> {
    #[cfg(feature = "kernels")]
    if parts
        .as_slice()
        .iter()
        .all(|part| kernels::are_for(&part.map) && part.norm.is_none())
    {
        return Ok(kernels::norm_of_parts(norm, parts, relu));
    }
    let _ = (norm, relu);
    Err(parts)
}

/// Whether a convolution of the parts by `weight` takes an affine map of each channel along: there are
/// kernels for them, and nothing is recorded.
pub(crate) fn can_follow<const R: usize>(parts: &Parts<R>, weight: &Tensor<R>) -> bool {
    #[cfg(feature = "kernels")]
    return parts
        .as_slice()
        .iter()
        .map(|part| &part.map)
        .chain([weight])
        .all(|map| kernels::are_for(map) && !map.device().is_autodiff());
    #[cfg(not(feature = "kernels"))]
    {
        let _ = (parts, weight);
        false
    }
}

/// Scale and shift of a batch norm by its running statistics.
pub(crate) fn affine_of(norm: &BatchNorm, device: &Device) -> [Tensor<1>; 2] {
    let [mean, variance] =
        [&norm.running_mean, &norm.running_var].map(|running| running.value().to_device(device));
    let scale = norm.gamma.val() / (variance + norm.epsilon).sqrt();
    let shift = norm.beta.val() - mean * scale.clone();
    [scale, shift]
}

/// The largest value of each window of `kernel`, `stride` apart, with `pads` positions around the map.
pub(crate) fn max_pool(
    x: Tensor<4>,
    [kernel, stride, size]: [[usize; 2]; 3],
    pads: [(usize, usize); 2],
    ceil_mode: bool,
) -> Tensor<4> {
    #[cfg(feature = "kernels")]
    if let Some(y) = kernels::max_pool(&x, [kernel, stride, pads.map(|pad| pad.0), size]) {
        return y;
    }
    let _ = size;
    let options = MaxPoolOptions::new(kernel).with_stride(stride);
    max_pool2d(
        x,
        options.with_padding_pairs(pads).with_ceil_mode(ceil_mode),
    )
}

#[cfg(feature = "kernels")]
pub(crate) use kernels::moments;

#[cfg(feature = "kernels")]
mod kernels;

#[cfg(all(test, feature = "kernels"))]
mod tests {
    use super::*;
    use crate::Layer;
    use crate::layers::block::ConvNormActConfig;
    use crate::layers::conv::{Conv, ConvConfig, Part};
    use burn::module::Module;
    use burn::tensor::{Device, Distribution, Tolerance};

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
        let Some(burn::nn::norm::Normalization::Batch(norm)) = &block.norm else {
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
        let residual = random([1, 3, 5, 6], &device.autodiff()).require_grad();
        let relu = Some(burn::nn::activation::Activation::Relu(burn::nn::Relu::new()));
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
    #[allow(deprecated)]
    fn a_weight_that_changes_is_used_as_it_is() {
        let devices = [
            Device::flex(),
            #[cfg(feature = "ndarray")]
            Device::ndarray(),
        ];
        for device in devices {
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
            // Where nothing is made of a weight, nothing is kept of another.
            conv.weight = conv.weight.map(|weight| weight * 2.0);
            conv.forward(x.clone().narrow(2, 0, 1));
            assert!(conv.prepared.is_empty());
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
        let config = ConvNormActConfig::new([5, 3], 3)
            .with_order(crate::layers::block::LayerOrder::NormActConv);
        let conv = config.init::<4>(&device);
        let [a, b] = [2, 3].map(|channels| random([2, channels, 6, 7], &device));
        let parts = Parts::new(alloc::vec![Part::new(a.clone()), Part::new(b.clone())]);
        let other = conv.clone().fork(&device);
        let found = conv.forward_parts(parts).into_tensor();
        let wanted = other.forward(Tensor::cat(alloc::vec![a, b], 1));
        assert_near(found, wanted);
        let running = |block: &crate::layers::block::ConvNormAct| match &block.norm {
            Some(burn::nn::norm::Normalization::Batch(norm)) => norm.running_mean.value_sync(),
            _ => unreachable!("it has a batch norm"),
        };
        assert_near(running(&conv), running(&other));
    }
}
