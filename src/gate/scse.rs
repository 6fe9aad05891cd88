//! [`Scse`]: weigh a map by itself.

use burn::module::Module;
use burn::nn::activation::ActivationConfig;
use burn::tensor::{Device, Tensor};

use crate::block::{ConvNormAct, ConvNormActConfig};
use crate::layer::Layer;

/// Concurrent spatial and channel squeeze-and-excitation (arXiv:1803.02579), as
/// segmentation_models.pytorch's `SCSEModule`: `y = x * sigmoid(W_2 relu(W_1 mean(x))) +
/// x * sigmoid(W_s x)`, one weight a channel, from the mean over the positions, and one weight a
/// position. Built by [`GateConfig::Scse`](super::GateConfig::Scse).
#[derive(Module, Debug)]
pub struct Scse<const R: usize = 4> {
    /// `relu(W_1)`
    pub squeeze: ConvNormAct<R>,
    /// `sigmoid(W_2)`
    pub excite: ConvNormAct<R>,
    /// `sigmoid(W_s)`
    pub spatial: ConvNormAct<R>,
}

impl<const R: usize> Scse<R> {
    pub(super) fn new(channels: usize, reduction: usize, device: &Device) -> Self {
        let squeezed = channels / reduction;
        let pointwise = |channels, activation: ActivationConfig| {
            ConvNormActConfig::new(channels, 1)
                .with_norm(None)
                .with_activation(activation)
                .init(device)
        };
        Self {
            squeeze: pointwise([channels, squeezed], ActivationConfig::Relu),
            excite: pointwise([squeezed, channels], ActivationConfig::Sigmoid),
            spatial: pointwise([channels, 1], ActivationConfig::Sigmoid),
        }
    }

    pub(super) fn forward(&self, x: Tensor<R>) -> Tensor<R> {
        let mean = (2..R).fold(x.clone(), |mean, axis| mean.mean_dim(axis));
        let of_channel = self.excite.forward(self.squeeze.forward(mean));
        let of_position = self.spatial.forward(x.clone());
        x.clone() * of_channel + x * of_position
    }
}
