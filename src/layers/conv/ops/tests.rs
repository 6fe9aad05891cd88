//! What is composed otherwise, beside Burn's operations.

use super::*;
use burn::tensor::{Device, Distribution, Tolerance};

fn random<const R: usize>(shape: [usize; R]) -> Tensor<R> {
    Tensor::random(shape, Distribution::Default, &Device::flex().autodiff())
}

/// The output, and the gradients of map, weight and bias for the sum of its squares.
fn with_gradients<const R: usize>(
    inputs: (&Tensor<R>, &Tensor<R>, &Tensor<1>),
    f: impl Fn(Tensor<R>, Tensor<R>, Tensor<1>) -> Tensor<R>,
) -> [Vec<f32>; 4] {
    let (x, weight, bias) = inputs;
    let (x, weight) = (x.clone().require_grad(), weight.clone().require_grad());
    let bias = bias.clone().require_grad();
    let y = f(x.clone(), weight.clone(), bias.clone());
    let gradients = (y.clone() * y.clone()).sum().backward();
    let values = |data: burn::tensor::TensorData| data.try_to_vec::<f32>().unwrap();
    [
        values(y.into_data()),
        values(x.grad(&gradients).unwrap().into_data()),
        values(weight.grad(&gradients).unwrap().into_data()),
        values(bias.grad(&gradients).unwrap().into_data()),
    ]
}

fn assert_equal(found: [Vec<f32>; 4], wanted: [Vec<f32>; 4]) {
    for (found, wanted) in found.into_iter().zip(wanted) {
        let (found, wanted) = (found.as_slice(), wanted.as_slice());
        burn::tensor::TensorData::from(found).assert_approx_eq::<f32>(
            &burn::tensor::TensorData::from(wanted),
            Tolerance::rel_abs(1e-4, 1e-4),
        );
    }
}

#[test]
fn a_transposed_convolution_by_blocks_is_burns() {
    let (x, w, bias) = (random([2, 3, 4, 5]), random([3, 4, 2, 3]), random([4]));
    let wanted = with_gradients((&x, &w, &bias), |x, w, bias| {
        let options = ConvTransposeOptions::new([2, 3], [0, 0], [0, 0], [1, 1], 1);
        conv_transpose2d(x, w, Some(bias), options)
    });
    let found = with_gradients((&x, &w, &bias), |x, w, bias| {
        by_blocks(x, w, Some(bias), &[2, 3])
    });
    assert_equal(found, wanted);
    let (x, w, bias) = (
        random([2, 3, 2, 3, 4]),
        random([3, 2, 2, 1, 3]),
        random([2]),
    );
    let wanted = with_gradients((&x, &w, &bias), |x, w, bias| {
        let options = ConvTransposeOptions::new([2, 1, 3], [0; 3], [0; 3], [1; 3], 1);
        conv_transpose3d(x, w, Some(bias), options)
    });
    let found = with_gradients((&x, &w, &bias), |x, w, bias| {
        by_blocks(x, w, Some(bias), &[2, 1, 3])
    });
    assert_equal(found, wanted);
    let (x, w, bias) = (random([2, 3, 5]), random([3, 4, 2]), random([4]));
    let wanted = with_gradients((&x, &w, &bias), |x, w, bias| {
        let options = ConvTransposeOptions::new([2], [0], [0], [1], 1);
        conv_transpose1d(x, w, Some(bias), options)
    });
    let found = with_gradients((&x, &w, &bias), |x, w, bias| {
        by_blocks(x, w, Some(bias), &[2])
    });
    assert_equal(found, wanted);
}

#[test]
fn a_pointwise_convolution_is_burns() {
    let (x, w, bias) = (random([2, 3, 4, 5]), random([6, 3, 1, 1]), random([6]));
    let wanted = with_gradients((&x, &w, &bias), |x, w, bias| {
        let options = ConvOptions::new([1, 1], [0, 0], [1, 1], 1);
        conv2d(x, w, Some(bias), options)
    });
    let found = with_gradients((&x, &w, &bias), |x, w, bias| {
        pointwise(x, w, Some(bias)).reshape([2, 6, 4, 5])
    });
    assert_equal(found, wanted);
}

#[test]
fn a_norm_is_folded_into_the_convolution() {
    use burn::module::{Param, RunningState};
    use burn::nn::BatchNormConfig;
    use burn::tensor::DType;

    let device = Device::flex();
    let options = (&device, DType::F64); // (There are kernels for f32.)
    let vector = |low, high| Tensor::<1>::random([4], Distribution::Uniform(low, high), options);
    let mut norm = BatchNormConfig::new(4).init(&device);
    norm.gamma = Param::from_tensor(vector(-2.0, 2.0));
    norm.beta = Param::from_tensor(vector(-2.0, 2.0));
    norm.running_mean = RunningState::new(vector(-2.0, 2.0));
    norm.running_var = RunningState::new(vector(0.1, 2.0));
    let x = Tensor::<4>::random([2, 3, 6, 7], Distribution::Default, options);
    let weight = Tensor::<4>::random([4, 3, 3, 3], Distribution::Default, options);
    let conv = |weight, bias| {
        let options = ConvOptions::new([1, 1], [1, 1], [1, 1], 1);
        conv2d(x.clone(), weight, bias, options)
    };
    for bias in [None, Some(vector(-2.0, 2.0))] {
        let wanted = norm.forward(conv(weight.clone(), bias.clone()));
        let epilogue = crate::cpu::Epilogue {
            norm: Some(&norm),
            ..crate::cpu::Epilogue::<4>::NOTHING
        };
        let (epilogue, weight, bias) = epilogue.fold(&x, weight.clone(), bias);
        assert!(epilogue.norm.is_none());
        let found = epilogue.apply(conv(weight, bias)).into_tensor();
        let tolerance = Tolerance::<f64>::rel_abs(1e-10, 1e-10);
        found
            .into_data()
            .assert_approx_eq(&wanted.into_data(), tolerance);
    }
}
