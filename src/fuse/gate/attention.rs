//! [`AttentionGate`]: weigh a skip by what the deep map says.

use burn::module::Module;
use burn::nn::activation::ActivationConfig;
use burn::tensor::{Device, Tensor, activation::relu};

use crate::graph::{Cost, Map, Planner};
use crate::layers::block::{ConvNormAct, ConvNormActConfig};
use crate::layers::layer::Layer;
use crate::plan::Trace;
use crate::shape::ShapeError;

/// The additive gate of Attention U-Net (arXiv:1804.03999), at one size as MONAI's `AttentionBlock`:
/// `y = x * sigmoid(psi(relu(W_x x + W_g g)))`, each a 1x1 convolution with batch norm, `psi` to one
/// channel. Built by [`GateConfig::Attention`](super::GateConfig::Attention).
///
/// # Example
/// ```
/// use burn::tensor::Device;
/// use burn_skip::gate::{Gate, GateConfig};
///
/// // A map of 16 channels and a guide of 32 are compared in 8, and give one weight a position.
/// let gate: Gate = GateConfig::Attention { hidden_channels: 8 }.init(16, 32, &Device::flex());
/// let Gate::Attention(gate) = gate else { unreachable!() };
/// assert_eq!(gate.of_map.conv.config.channels, [16, 8]);
/// assert_eq!(gate.of_guide.conv.config.channels, [32, 8]);
/// assert_eq!(gate.weight.conv.config.channels, [8, 1]);
/// ```
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
        let [of_map, of_guide, weight] =
            convs(channels, guide, hidden).map(|conv| conv.init(device));
        Self {
            of_map,
            of_guide,
            weight,
        }
    }

    pub(super) fn forward(&self, x: Tensor<R>, guide: Tensor<R>) -> Tensor<R> {
        let hidden = relu(self.of_map.forward(x.clone()) + self.of_guide.forward(guide));
        x * self.weight.forward(hidden)
    }
}

/// The convolutions of the map, of its guide, and of the weight.
fn convs(channels: usize, guide: usize, hidden: usize) -> [ConvNormActConfig; 3] {
    let pointwise = |channels, activation: Option<ActivationConfig>| {
        ConvNormActConfig::new(channels, 1).with_activation(activation)
    };
    [
        pointwise([channels, hidden], None),
        pointwise([guide, hidden], None),
        pointwise([hidden, 1], Some(ActivationConfig::Sigmoid)),
    ]
}

/// Tells the planner of the gate's parts.
pub(super) fn trace<const R: usize>(
    planner: &mut Planner,
    [x, guide]: [&Map<R>; 2],
    hidden: usize,
) -> Result<Map<R>, ShapeError> {
    let [of_map, of_guide, weight] = convs(x.shape[1], guide.shape[1], hidden);
    let of_map = of_map.trace(planner.at("of_map"), x)?;
    let of_guide = of_guide.trace(planner.at("of_guide"), guide)?;
    let (names, shape, none) = (["map", "guide"], of_map.shape, Cost::default());
    let sum = planner
        .at("")
        .merge("Add", &names, &[&of_map, &of_guide], Ok(shape))?;
    let hidden = planner.at("").pointwise("Relu", &sum, none, Ok(shape))?;
    let weight = weight.trace(planner.at("weight"), &hidden)?;
    planner
        .at("")
        .merge("Mul", &["map", "weight"], &[x, &weight], Ok(x.shape))
}
