//! Linear layers of vectors.

use burn::nn::Linear;
use burn::tensor::Tensor;

use crate::cpu;

/// `x W + b`
pub(crate) fn linear(layer: &Linear, x: Tensor<2>) -> Tensor<2> {
    let bias = layer.bias.as_ref().map(|bias| bias.val());
    cpu::linear(x, layer.weight.val(), bias).or_else(|x| layer.forward(x))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::Outcome;
    use burn::nn::LinearConfig;
    use burn::tensor::{Device, Distribution, Tolerance};

    #[test]
    fn it_is_burns_layer() {
        let device = Device::flex();
        for [batch, inputs, outputs] in [[1, 70, 40], [5, 33, 16], [2, 7, 3], [3, 200, 101]] {
            for bias in [true, false] {
                let config = LinearConfig::new(inputs, outputs).with_bias(bias);
                let layer = config.init(&device);
                let x = Tensor::random([batch, inputs], Distribution::Default, &device);
                let wanted = layer.forward(x.clone()).into_data();
                let bias = layer.bias.as_ref().map(|bias| bias.val());
                let taken = cpu::linear(x.clone(), layer.weight.val(), bias);
                assert_eq!(matches!(taken, Outcome::Fused(_)), outputs >= 16);
                let found = linear(&layer, x).into_data();
                found.assert_approx_eq::<f32>(&wanted, Tolerance::rel_abs(1e-5, 1e-5));
            }
        }
    }
}
