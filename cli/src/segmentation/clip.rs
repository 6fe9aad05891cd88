//! Gradients whose norm is limited.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

/// Scales the gradients of a module, so that the norm of all of them together is `max_norm` at most: PyTorch's
/// `clip_grad_norm_`. (Burn's own clipping is of each parameter by itself.)
pub fn clip<M: Module>(module: &M, gradients: GradientsParams, max_norm: f64) -> GradientsParams {
    let mut squares = Squares {
        gradients: &gradients,
        sum: None,
    };
    module.visit(&mut squares);
    let Some(sum) = squares.sum else {
        return gradients;
    };
    let factor = max_norm / sum.sqrt().add_scalar(1e-6);
    let mut scaling = Scaling {
        gradients,
        factor: factor.clamp_max(1.0),
    };
    module.visit(&mut scaling);
    scaling.gradients
}

/// The sum of the squares of all gradients.
struct Squares<'g> {
    gradients: &'g GradientsParams,
    sum: Option<Tensor<1>>,
}

impl ModuleVisitor for Squares<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(gradient) = self.gradients.get::<D>(param.id) else {
            return;
        };
        let square = gradient.square().sum();
        self.sum = Some(match self.sum.take() {
            Some(sum) => sum + square,
            None => square,
        });
    }
}

struct Scaling {
    gradients: GradientsParams,
    factor: Tensor<1>,
}

impl ModuleVisitor for Scaling {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.remove::<D>(param.id) {
            let factor = self.factor.clone().reshape([1; D]);
            self.gradients.register(param.id, gradient * factor);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::nn::{Linear, LinearConfig};
    use burn::tensor::Device;

    /// The gradients of the weight and the bias, whose norm is 13.
    fn clipped(max_norm: f64) -> [Vec<f32>; 2] {
        let device = Device::flex();
        let layer: Linear = LinearConfig::new(1, 2).init(&device);
        let bias = layer.bias.as_ref().expect("a bias").id;
        let mut gradients = GradientsParams::new();
        gradients.register(
            layer.weight.id,
            Tensor::<2>::from_data([[3.0, 4.0]], &device),
        );
        gradients.register(bias, Tensor::<1>::from_data([0.0, 12.0], &device));
        let clipped = clip(&layer, gradients, max_norm);
        let weight = clipped.get::<2>(layer.weight.id).expect("a gradient");
        let bias = clipped.get::<1>(bias).expect("a gradient");
        [
            weight.try_into_vec_as::<f32>().expect("numbers"),
            bias.try_into_vec_as::<f32>().expect("numbers"),
        ]
    }

    #[test]
    fn the_norm_of_all_together_is_limited() {
        let [weight, bias] = clipped(6.5);
        let expected = [1.5, 2.0, 0.0, 6.0];
        let found = weight.iter().chain(&bias).zip(expected);
        assert!(
            found.clone().all(|(a, b)| (a - b).abs() < 1e-5),
            "{weight:?} {bias:?}"
        );
        assert_eq!(clipped(20.0), [vec![3.0, 4.0], vec![0.0, 12.0]]);
    }
}
