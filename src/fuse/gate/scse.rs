//! [`Scse`]: weighs the channels and the positions of a map by the map itself.
//!
//! `y = x * sigmoid(W_2 relu(W_1 mean(x))) + x * sigmoid(W_s x)`, arXiv:1803.02579; segmentation_models.pytorch's
//! `SCSEModule`.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::any::{AnyGate, BuildGate, GateConfig};
use super::se::{channel_convs, channel_weight, pointwise, trace_channel_weight, trace_product};
use super::{Gate, NAME, TraceGate};
use crate::graph::{Elementwise, Map, Planner};
use crate::layers::activation::ActivationConfig;
use crate::layers::block::{ConvNormAct, ConvNormActConfig};
use crate::layers::layer::Layer;
use crate::plan::Trace;
use crate::shape::{ShapeError, check_channels, check_not_empty, expect};

const LABEL: &str = "Scse";

/// Configuration of [`Scse`].
///
/// # Example
/// ```
/// use burn_skip::{UpsampleConcatConfig, gate::{GateConfig, ScseConfig}};
///
/// let gate = GateConfig::Scse(ScseConfig { reduction: 4 });
/// assert_eq!(gate, GateConfig::scse(4));
/// let step = UpsampleConcatConfig::new(32, 16, 8).with_gate(gate);
/// assert_eq!(step.output_shape([1, 32, 4, 4], [1, 16, 9, 9]).unwrap(), [1, 8, 9, 9]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ScseConfig {
    /// The factor by which the channels are reduced between the two convolutions.
    /// segmentation_models.pytorch: 16.
    pub reduction: usize,
}

impl GateConfig {
    /// [Concurrent spatial and channel squeeze-and-excitation](Scse), with the channels divided by `reduction`
    /// inside.
    pub const fn scse(reduction: usize) -> Self {
        Self::Scse(ScseConfig { reduction })
    }
}

impl ScseConfig {
    /// The convolutions of the channels, down and up, and of the positions.
    fn convs(&self, channels: usize) -> Result<[ConvNormActConfig; 3], ShapeError> {
        let relu = ActivationConfig::Relu;
        let [squeeze, excite] = channel_convs(channels, self.reduction, relu)?;
        let spatial = pointwise([channels, 1], ActivationConfig::Sigmoid);
        Ok([squeeze, excite, spatial])
    }
}

impl<const R: usize> TraceGate<R> for ScseConfig {
    fn trace_gate(
        &self,
        planner: &mut Planner,
        x: &Map<R>,
        _guide: &Map<R>,
    ) -> Result<Map<R>, ShapeError> {
        planner.node(LABEL, &[x], |planner| {
            check_not_empty(NAME, x.shape)?;
            trace_parts(planner, self.convs(x.shape[1])?.each_ref(), x)
        })
    }
}

impl<const R: usize> BuildGate<R> for ScseConfig {
    fn build(&self, channels: usize, _guide_channels: usize, device: &Device) -> AnyGate<R> {
        let [squeeze, excite, spatial] = expect(self.convs(channels)).map(|conv| conv.init(device));
        AnyGate::Scse(Scse {
            squeeze,
            excite,
            spatial,
        })
    }
}

/// Records the parts of the gate: the convolutions of the channels, down and up, and of the positions.
fn trace_parts<const R: usize>(
    planner: &mut Planner,
    [squeeze, excite, spatial]: [&impl Trace<R>; 3],
    x: &Map<R>,
) -> Result<Map<R>, ShapeError> {
    let of_channel = trace_channel_weight(planner, squeeze, excite, x)?;
    let of_position = spatial.trace(planner.at("spatial"), x)?;
    let by_channel = trace_product(planner, x, &of_channel)?;
    let by_position = trace_product(planner, x, &of_position)?;
    let names = ["map by channel", "map by position"];
    let maps = [&by_channel, &by_position];
    planner
        .at("")
        .elementwise(Elementwise::Sum, &names, &maps, Ok(x.shape))
}

/// Concurrent spatial and channel squeeze-and-excitation (arXiv:1803.02579), as
/// segmentation_models.pytorch's `SCSEModule`: `y = x * sigmoid(W_2 relu(W_1 mean(x))) +
/// x * sigmoid(W_s x)`. The first factor is one weight for each channel, computed from the mean over the positions;
/// the second is one weight for each position. The guide is ignored. Built by [`GateConfig::scse`].
///
/// # Shapes
/// - `x`: `[batch, channels, spatial...]`
/// - output: as `x`
///
/// # Example
/// ```
/// use burn::tensor::Device;
/// use burn_skip::gate::{AnyGate, GateConfig};
///
/// // 16 channels are reduced to 4, which become a weight for each channel; and there is one for each position.
/// let gate: AnyGate = GateConfig::scse(4).init(16, 32, &Device::flex());
/// let AnyGate::Scse(gate) = gate else { unreachable!() };
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

impl<const R: usize> Gate<R> for Scse<R> {
    fn forward(&self, x: Tensor<R>, guide: Tensor<R>) -> Tensor<R> {
        expect(self.output_shape(x.dims(), guide.dims()));
        // (Ignored. It may be `x` itself, whose memory the product takes over where nobody else holds it.)
        drop(guide);
        let of_channel = channel_weight(&self.squeeze, &self.excite, &x);
        let of_position = self.spatial.forward(x.clone());
        x.clone() * of_channel + x * of_position
    }

    fn trace(
        &self,
        planner: &mut Planner,
        x: &Map<R>,
        _guide: &Map<R>,
    ) -> Result<Map<R>, ShapeError> {
        planner.node(LABEL, &[x], |planner| {
            check_channels(NAME, x.shape, self.squeeze.conv.config.channels[0])?;
            trace_parts(planner, [&self.squeeze, &self.excite, &self.spatial], x)
        })
    }
}
