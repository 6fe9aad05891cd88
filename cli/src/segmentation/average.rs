//! The exponential moving average of the weights of a network.

use std::any::Any;
use std::collections::VecDeque;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::Tensor;
use burn_skip::net::AnySegmentationModel;

/// The mean of the weights `w` after each of `n` steps, of which the newest count most:
///
/// `sum_i decay^(n - i) w_i / sum_i decay^(n - i)`
///
/// So the initial weights have no share in it, and a short training has a mean, too. The running statistics of norms are
/// averaged in the same way.
#[derive(Module, Debug)]
pub struct Average<const R: usize> {
    pub net: AnySegmentationModel<R>,
    #[module(skip)]
    decay: f64,
    /// How many steps were made.
    #[module(skip)]
    steps: usize,
}

impl<const R: usize> Average<R> {
    /// The average of a network after so many steps, whose values are still to be loaded if there were any.
    pub fn new(net: &AnySegmentationModel<R>, decay: f64, steps: usize) -> Self {
        Self {
            // (A clone would share the running statistics.)
            net: net.valid(),
            decay,
            steps,
        }
    }

    /// The average with the weights after one more step.
    pub fn updated(self, net: &AnySegmentationModel<R>) -> Self {
        let steps = self.steps + 1;
        let mut newest = Newest::default();
        net.valid().visit(&mut newest);
        let mut blend = Blend {
            newest: newest.0,
            kept: share_of_old(self.decay, steps),
        };
        Self {
            net: self.net.map(&mut blend),
            decay: self.decay,
            steps,
        }
    }
}

/// The share of the average before in that of `steps` steps.
fn share_of_old(decay: f64, steps: usize) -> f64 {
    let power = decay.powf(steps as f64);
    (decay - power) / (1.0 - power)
}

/// The values of all parameters, in the order in which they are visited.
#[derive(Default)]
struct Newest(VecDeque<Box<dyn Any>>);

impl ModuleVisitor for Newest {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.push_back(Box::new(param.val()));
    }
}

struct Blend {
    newest: VecDeque<Box<dyn Any>>,
    kept: f64,
}

impl ModuleMapper for Blend {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let newest = self.newest.pop_front();
        let newest = newest.and_then(|value| value.downcast::<Tensor<D>>().ok());
        let newest = *newest.expect("the average has the parameters of its network");
        let kept = self.kept;
        param.map(|old| match kept == 0.0 {
            true => newest,
            false => old.without_autodiff() * kept + newest * (1.0 - kept),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;
    use burn_skip::net::NetConfig;

    fn network(device: &Device) -> AnySegmentationModel<4> {
        let config: NetConfig = serde_json::from_str(include_str!("../../net.json")).unwrap();
        config.segmentation().unwrap().init(device)
    }

    fn values(net: &AnySegmentationModel<4>) -> Vec<f32> {
        struct Numbers(Vec<f32>);
        impl ModuleVisitor for Numbers {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                self.0.extend(param.val().try_into_vec_as::<f32>().unwrap());
            }
        }
        let mut numbers = Numbers(Vec::new());
        net.visit(&mut numbers);
        numbers.0
    }

    #[test]
    fn it_is_the_weighted_mean_of_the_weights_after_each_step() {
        let device = Device::flex().autodiff();
        let steps: Vec<_> = (0..3).map(|_| network(&device)).collect();
        let mut average = Average::new(&network(&device), 0.5, 0);
        for net in &steps {
            average = average.updated(net);
        }
        let [a, b, c] = [0, 1, 2].map(|step| values(&steps[step]));
        let found = values(&average.net);
        assert!(found.len() > 100_000);
        for (index, found) in found.into_iter().enumerate() {
            let expected = (a[index] + 2.0 * b[index] + 4.0 * c[index]) / 7.0;
            assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");
        }
        // The networks stay as they are.
        assert_eq!(values(&steps[2]), c);
    }

    #[test]
    fn after_one_step_it_is_the_weights_and_later_it_decays() {
        assert_eq!(share_of_old(0.9, 1), 0.0);
        assert!((share_of_old(0.9, 2) - 0.9 * 0.1 / 0.19).abs() < 1e-12);
        assert!((share_of_old(0.9, 1000) - 0.9).abs() < 1e-12);
    }
}
