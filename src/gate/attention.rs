//! [`AttentionGate`]: weigh a skip by what the deep map says.

use burn::module::Module;
use burn::nn::activation::ActivationConfig;
use burn::tensor::{Device, Tensor, activation::relu};

use crate::block::{ConvNormAct, ConvNormActConfig};
use crate::layer::Layer;

/// The additive gate of Attention U-Net (arXiv:1804.03999), at one size as MONAI's `AttentionBlock`:
/// `y = x * sigmoid(psi(relu(W_x x + W_g g)))`, each a 1x1 convolution with batch norm, `psi` to one
/// channel. Built by [`GateConfig::Attention`](super::GateConfig::Attention).
#[derive(Module, Debug)]
pub struct AttentionGate<const R: usize = 4> {
    /// `W_x`
    pub of_map: ConvNormAct<R>,
    /// `W_g`
    pub of_guide: ConvNormAct<R>,
    /// `sigmoid(psi)`
    pub weight: ConvNormAct<R>,
}

impl<const R: usize> AttentionGate<R> {
    pub(super) fn new(channels: usize, guide: usize, hidden: usize, device: &Device) -> Self {
        let pointwise = |channels, activation: Option<ActivationConfig>| {
            ConvNormActConfig::new(channels, 1)
                .with_activation(activation)
                .init(device)
        };
        Self {
            of_map: pointwise([channels, hidden], None),
            of_guide: pointwise([guide, hidden], None),
            weight: pointwise([hidden, 1], Some(ActivationConfig::Sigmoid)),
        }
    }

    pub(super) fn forward(&self, x: Tensor<R>, guide: Tensor<R>) -> Tensor<R> {
        let hidden = relu(self.of_map.forward(x.clone()) + self.of_guide.forward(guide));
        x * self.weight.forward(hidden)
    }
}
