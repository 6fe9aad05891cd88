//! [`AttentionGate`]: weighs the positions of a skip by the deep map.
//!
//! `y = x * sigmoid(psi(relu(W_x x + W_g g)))`, Attention U-Net (arXiv:1804.03999); MONAI's `AttentionBlock`.

use burn::module::Module;
use burn::tensor::{Device, Tensor, activation::relu};
use serde::{Deserialize, Serialize};

use super::any::{AnyGate, BuildGate, GateConfig};
use super::{Gate, NAME, TraceGate, check_same_size};
use crate::graph::{Elementwise, Map, Planner};
use crate::layers::activation::ActivationConfig;
use crate::layers::block::{ConvNormAct, ConvNormActConfig};
use crate::layers::layer::Layer;
use crate::plan::Trace;
use crate::shape::{ShapeError, check_channels, check_not_empty, check_positive, expect};

const LABEL: &str = "AttentionGate";

/// Configuration of [`AttentionGate`].
///
/// # Example
/// ```
/// use burn_skip::{UpsampleConcatConfig, gate::{AttentionGateConfig, GateConfig}};
///
/// let gate = GateConfig::Attention(AttentionGateConfig { hidden_channels: 8 });
/// assert_eq!(gate, GateConfig::attention(8));
/// let step = UpsampleConcatConfig::new(32, 16, 8).with_gate(gate);
/// assert_eq!(step.output_shape([1, 32, 4, 4], [1, 16, 9, 9]).unwrap(), [1, 8, 9, 9]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct AttentionGateConfig {
    /// The channels to which the map and its guide are projected before they are added.
    pub hidden_channels: usize,
}

impl GateConfig {
    /// The [attention gate](AttentionGate), with `hidden_channels` channels inside.
    pub const fn attention(hidden_channels: usize) -> Self {
        Self::Attention(AttentionGateConfig { hidden_channels })
    }
}

impl AttentionGateConfig {
    /// The convolutions of the map, of the guide, and of the weight.
    fn convs(
        &self,
        channels: usize,
        guide_channels: usize,
    ) -> Result<[ConvNormActConfig; 3], ShapeError> {
        let hidden = self.hidden_channels;
        check_positive(NAME, "hidden_channels", hidden)?;
        let pointwise = |channels, activation: Option<ActivationConfig>| {
            ConvNormActConfig::new(channels, 1).with_activation(activation)
        };
        Ok([
            pointwise([channels, hidden], None),
            pointwise([guide_channels, hidden], None),
            pointwise([hidden, 1], Some(ActivationConfig::Sigmoid)),
        ])
    }
}

impl<const R: usize> TraceGate<R> for AttentionGateConfig {
    fn trace_gate(
        &self,
        planner: &mut Planner,
        x: &Map<R>,
        guide: &Map<R>,
    ) -> Result<Map<R>, ShapeError> {
        planner.node(LABEL, &[x, guide], |planner| {
            let convs = self.convs(x.shape[1], guide.shape[1])?;
            trace_parts(planner, convs.each_ref(), x, guide)
        })
    }
}

impl<const R: usize> BuildGate<R> for AttentionGateConfig {
    fn build(&self, channels: usize, guide_channels: usize, device: &Device) -> AnyGate<R> {
        let convs = expect(self.convs(channels, guide_channels));
        let [of_map, of_guide, weight] = convs.map(|conv| conv.init(device));
        AnyGate::Attention(AttentionGate {
            of_map,
            of_guide,
            weight,
        })
    }
}

/// Records the parts of the gate: the convolutions of the map, of the guide, and of the weight.
fn trace_parts<const R: usize>(
    planner: &mut Planner,
    [of_map, of_guide, weight]: [&impl Trace<R>; 3],
    x: &Map<R>,
    guide: &Map<R>,
) -> Result<Map<R>, ShapeError> {
    check_not_empty(NAME, x.shape)?;
    check_same_size(x.shape, guide.shape)?;
    let of_map = of_map.trace(planner.at("of_map"), x)?;
    let of_guide = of_guide.trace(planner.at("of_guide"), guide)?;
    let (names, maps) = (["map", "guide"], [&of_map, &of_guide]);
    let sum = planner
        .at("")
        .elementwise(Elementwise::Sum, &names, &maps, Ok(of_map.shape))?;
    let hidden = ActivationConfig::Relu.trace(planner.at(""), &sum)?;
    let weight = weight.trace(planner.at("weight"), &hidden)?;
    let (names, maps) = (["map", "weight"], [x, &weight]);
    planner
        .at("")
        .elementwise(Elementwise::Product, &names, &maps, Ok(x.shape))
}

/// The additive gate of Attention U-Net (arXiv:1804.03999), as MONAI's `AttentionBlock` with both maps of one size:
/// `y = x * sigmoid(psi(relu(W_x x + W_g g)))`. Each of `W_x`, `W_g` and `psi` is a 1x1 convolution with batch norm;
/// `psi` has one output channel. Built by [`GateConfig::attention`].
///
/// # Shapes
/// - `x`: `[batch, channels, spatial...]`
/// - `guide`: `[batch, guide_channels, spatial...]`, of the same spatial size
/// - output: as `x`
///
/// # Example
/// ```
/// use burn::tensor::Device;
/// use burn_skip::gate::{AnyGate, GateConfig};
///
/// // A map of 16 channels and a guide of 32 are both projected to 8, which become one weight a position.
/// let gate: AnyGate = GateConfig::attention(8).init(16, 32, &Device::flex());
/// let AnyGate::Attention(gate) = gate else { unreachable!() };
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

impl<const R: usize> Gate<R> for AttentionGate<R> {
    fn forward(&self, x: Tensor<R>, guide: Tensor<R>) -> Tensor<R> {
        expect(self.output_shape(x.dims(), guide.dims()));
        let hidden = relu(self.of_map.forward(x.clone()) + self.of_guide.forward(guide));
        x * self.weight.forward(hidden)
    }

    fn trace(
        &self,
        planner: &mut Planner,
        x: &Map<R>,
        guide: &Map<R>,
    ) -> Result<Map<R>, ShapeError> {
        planner.node(LABEL, &[x, guide], |planner| {
            check_channels(NAME, x.shape, self.of_map.conv.config.channels[0])?;
            check_channels(NAME, guide.shape, self.of_guide.conv.config.channels[0])
                .map_err(|e| e.within("guide"))?;
            let parts = [&self.of_map, &self.of_guide, &self.weight];
            trace_parts(planner, parts, x, guide)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn no_hidden_channels_are_refused() {
        let error = GateConfig::attention(0).validate::<4>(8, 8).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Gate: hidden_channels is 0. Set hidden_channels to 1 or more."
        );
    }

    #[test]
    fn a_guide_with_other_channels_is_refused() {
        let device = Device::flex();
        let gate: AnyGate = GateConfig::attention(2).init(4, 8, &device);
        let error = gate.output_shape([1, 4, 5, 5], [1, 4, 5, 5]).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("guide.Gate: channels differ: expected 8, got 4."),
            "{error}"
        );
    }
}
