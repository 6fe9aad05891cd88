//! [`Scse`]: weigh a map by itself.

use burn::module::Module;
use burn::nn::activation::ActivationConfig;
use burn::tensor::{Device, Tensor};

use crate::graph::{Cost, Map, Planner};
use crate::layers::block::{ConvNormAct, ConvNormActConfig};
use crate::layers::layer::Layer;
use crate::plan::Trace;
use crate::shape::ShapeError;

/// Concurrent spatial and channel squeeze-and-excitation (arXiv:1803.02579), as
/// segmentation_models.pytorch's `SCSEModule`: `y = x * sigmoid(W_2 relu(W_1 mean(x))) +
/// x * sigmoid(W_s x)`, one weight a channel, from the mean over the positions, and one weight a
/// position. Built by [`GateConfig::Scse`](super::GateConfig::Scse).
///
/// # Example
/// ```
/// use burn::tensor::Device;
/// use burn_skip::gate::{Gate, GateConfig};
///
/// // Of 16 channels, squeezed to 4, there is one weight a channel, and one a position.
/// let gate: Gate = GateConfig::Scse { reduction: 4 }.init(16, 32, &Device::flex());
/// let Gate::Scse(gate) = gate else { unreachable!() };
/// assert_eq!(gate.squeeze.conv.config.channels, [16, 4]);
/// assert_eq!(gate.excite.conv.config.channels, [4, 16]);
/// assert_eq!(gate.spatial.conv.config.channels, [16, 1]);
/// ```
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
        let [squeeze, excite, spatial] = convs(channels, reduction).map(|conv| conv.init(device));
        Self {
            squeeze,
            excite,
            spatial,
        }
    }

    pub(super) fn forward(&self, x: Tensor<R>) -> Tensor<R> {
        let mean = (2..R).fold(x.clone(), |mean, axis| mean.mean_dim(axis));
        let of_channel = self.excite.forward(self.squeeze.forward(mean));
        let of_position = self.spatial.forward(x.clone());
        x.clone() * of_channel + x * of_position
    }
}

/// The convolutions of the channels, down and up, and of the positions.
fn convs(channels: usize, reduction: usize) -> [ConvNormActConfig; 3] {
    let pointwise = |channels, activation: ActivationConfig| {
        ConvNormActConfig::new(channels, 1)
            .with_norm(None)
            .with_activation(activation)
    };
    let squeezed = channels / reduction;
    [
        pointwise([channels, squeezed], ActivationConfig::Relu),
        pointwise([squeezed, channels], ActivationConfig::Sigmoid),
        pointwise([channels, 1], ActivationConfig::Sigmoid),
    ]
}

/// Tells the planner of the gate's parts.
pub(super) fn trace<const R: usize>(
    planner: &mut Planner,
    x: &Map<R>,
    reduction: usize,
) -> Result<Map<R>, ShapeError> {
    let [squeeze, excite, spatial] = convs(x.shape[1], reduction);
    let mut one = [1; R];
    one[..2].copy_from_slice(&x.shape[..2]);
    let none = Cost::default();
    // A mean over all positions lies nowhere.
    let mean = planner.at("").leaf("Mean", &[x], none, Ok(one), None)?;
    let squeezed = squeeze.trace(planner.at("squeeze"), &mean)?;
    let of_channel = excite.trace(planner.at("excite"), &squeezed)?;
    let of_position = spatial.trace(planner.at("spatial"), x)?;
    let weights = [x, &of_channel, &of_position];
    planner
        .at("")
        .leaf("Weigh", &weights, none, Ok(x.shape), x.grid.clone())
}
