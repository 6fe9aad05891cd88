//! Efficient channel attention (arXiv:1910.03151).

use burn::module::Module;
use burn::tensor::{Device, Tensor, activation::sigmoid};
use burn_skip::conv::{Conv, ConvConfig};
use burn_skip::gate::Gate;
use burn_skip::plan::{Elementwise, Map, Op, Planner, Record};
use burn_skip::{Layer, ShapeError, Trace, activation::ActivationConfig};

/// `y = x * sigmoid(conv(mean(x)))`: the convolution of one axis runs over the channels. The guide is ignored.
#[derive(Module, Debug)]
pub struct EcaGate {
    conv: Conv<3>,
}

impl EcaGate {
    pub fn new(kernel_size: usize, device: &Device) -> Self {
        let conv = ConvConfig::new([1, 1], kernel_size).with_bias(false);
        Self {
            conv: conv.init(device),
        }
    }
}

/// `[batch, channels, 1...]`
fn one_position<const R: usize>(shape: [usize; R]) -> [usize; R] {
    core::array::from_fn(|axis| if axis < 2 { shape[axis] } else { 1 })
}

impl<const R: usize> Gate<R> for EcaGate {
    fn forward(&self, x: Tensor<R>, _guide: Tensor<R>) -> Tensor<R> {
        let shape = x.dims();
        let positions = shape[2..].iter().product();
        let means: Tensor<3> = x.clone().reshape([shape[0], shape[1], positions]);
        let weight = self.conv.forward(means.mean_dim(2).swap_dims(1, 2));
        x * sigmoid(weight).reshape(one_position(shape))
    }

    fn trace(
        &self,
        planner: &mut Planner,
        x: &Map<R>,
        _guide: &Map<R>,
    ) -> Result<Map<R>, ShapeError> {
        planner.node("EcaGate", &[x], |planner| {
            let [batch, channels] = [x.shape[0], x.shape[1]];
            let means = planner.leaf("Mean", &[x], || {
                Ok(Record::new(Op::GlobalMean, [batch, 1, channels]))
            })?;
            let weight = self.conv.trace(planner.at("conv"), &means)?;
            let weight = ActivationConfig::Sigmoid.trace(planner, &weight)?;
            let weight = planner.leaf("Reshape", &[&weight], || {
                Ok(Record::new(Op::Reshape, one_position(x.shape)))
            })?;
            let names = ["map", "weight"];
            planner.elementwise(Elementwise::Product, &names, &[x, &weight], Ok(x.shape))
        })
    }
}
