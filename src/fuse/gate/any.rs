//! [`GateConfig`] and [`AnyGate`]: the list of this crate's gates, as data and as a module.
//!
//! A new gate is a file of its own that implements [`BuildGate`] and [`Gate`], and a variant in each enum here.

use alloc::vec;

use burn::config::Config;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::{
    AttentionGate, AttentionGateConfig, Cbam, CbamConfig, Eca, EcaConfig, Gate, Scse, ScseConfig,
    Se, SeConfig, TraceGate,
};
use crate::graph::{Map, Planner};
use crate::plan::Plan;
use crate::shape::{ShapeError, expect};

/// Which gate, with its options. The channels come from the layer that it belongs to.
///
/// # Example
/// ```
/// use burn_skip::gate::GateConfig;
///
/// let (skip, deep) = ([1, 16, 9, 9], [1, 32, 5, 5]);
/// let error = GateConfig::attention(8).output_shape(skip, deep).unwrap_err();
/// assert_eq!(error.problem, "height differs: map 9, guide 5");
/// // These two ignore the guide.
/// assert_eq!(GateConfig::scse(4).output_shape(skip, deep).unwrap(), skip);
/// assert_eq!(GateConfig::se(4).output_shape(skip, deep).unwrap(), skip);
/// // In a file:
/// let read: GateConfig = serde_json::from_str(r#"{"Attention": {"hidden_channels": 8}}"#).unwrap();
/// assert_eq!(read, GateConfig::attention(8));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub enum GateConfig {
    /// The additive attention gate of Attention U-Net (arXiv:1804.03999).
    Attention(AttentionGateConfig),
    /// Concurrent spatial and channel squeeze-and-excitation (arXiv:1803.02579). It ignores the guide.
    Scse(ScseConfig),
    /// Squeeze-and-excitation (arXiv:1709.01507). It ignores the guide.
    Se(SeConfig),
    /// Efficient channel attention (arXiv:1910.03151). It ignores the guide.
    Eca(EcaConfig),
    /// The convolutional block attention module (arXiv:1807.06521). It ignores the guide.
    Cbam(CbamConfig),
}

/// Any of this crate's gates. Built by [`GateConfig::init`].
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::gate::{AnyGate, Gate, GateConfig};
///
/// let device = Device::flex();
/// let gate: AnyGate = GateConfig::attention(8).init(16, 32, &device);
/// let (skip, deep) = (Tensor::ones([1, 16, 9, 9], &device), Tensor::ones([1, 32, 9, 9], &device));
/// assert_eq!(gate.forward(skip, deep).dims(), [1, 16, 9, 9]);
/// ```
#[derive(Module, Debug)]
pub enum AnyGate<const R: usize = 4> {
    /// By the guide.
    Attention(AttentionGate<R>),
    /// By the map itself, its channels and its positions.
    Scse(Scse<R>),
    /// By the map itself, its channels.
    Se(Se<R>),
    /// By the map itself, its neighbouring channels.
    Eca(Eca),
    /// By the map itself, its channels and then its positions.
    Cbam(Cbam<R>),
}

impl GateConfig {
    /// The configuration of the gate that it is.
    fn config<const R: usize>(&self) -> &dyn BuildGate<R> {
        match self {
            Self::Attention(config) => config,
            Self::Scse(config) => config,
            Self::Se(config) => config,
            Self::Eca(config) => config,
            Self::Cbam(config) => config,
        }
    }
}

impl<const R: usize> AnyGate<R> {
    /// The gate that it is.
    fn gate(&self) -> &dyn RunGate<R> {
        match self {
            Self::Attention(gate) => gate,
            Self::Scse(gate) => gate,
            Self::Se(gate) => gate,
            Self::Eca(gate) => gate,
            Self::Cbam(gate) => gate,
        }
    }
}

/// The configuration of one of this crate's gates.
pub(super) trait BuildGate<const R: usize>: TraceGate<R> {
    /// Builds the gate for a map with `channels` channels, guided by one with `guide_channels`. The options are
    /// valid.
    fn build(&self, channels: usize, guide_channels: usize, device: &Device) -> AnyGate<R>;
}

/// A gate behind a reference. ([`Gate`] requires [`Module`], which has no trait objects.)
trait RunGate<const R: usize>: TraceGate<R> {
    fn run(&self, x: Tensor<R>, guide: Tensor<R>) -> Tensor<R>;
}

impl<const R: usize, G: Gate<R>> RunGate<R> for G {
    fn run(&self, x: Tensor<R>, guide: Tensor<R>) -> Tensor<R> {
        self.forward(x, guide)
    }
}

impl Config for GateConfig {}

impl GateConfig {
    /// Builds the gate for a map with `channels` channels, guided by one with `guide_channels`.
    ///
    /// # Panics
    /// When [`validate`](Self::validate) returns an error, with its message.
    pub fn init<const R: usize>(
        &self,
        channels: usize,
        guide_channels: usize,
        device: &Device,
    ) -> AnyGate<R> {
        expect(self.validate::<R>(channels, guide_channels));
        self.config().build(channels, guide_channels, device)
    }

    /// Checks the options for a map with `channels` channels, guided by one with `guide_channels`.
    ///
    /// # Errors
    /// When a number is zero, or the reduction leaves no channel.
    pub fn validate<const R: usize>(
        &self,
        channels: usize,
        guide_channels: usize,
    ) -> Result<(), ShapeError> {
        Planner::check_options(&[channels, guide_channels], |planner, maps: &[Map<R>]| {
            self.trace(planner, &maps[0], &maps[1])
        })
    }

    /// Records the gate of `x`, guided by `guide`.
    ///
    /// # Errors
    /// When an axis is empty, the maps differ in batch or size, or the options are invalid.
    pub fn trace<const R: usize>(
        &self,
        planner: &mut Planner,
        x: &Map<R>,
        guide: &Map<R>,
    ) -> Result<Map<R>, ShapeError> {
        self.config().trace_gate(planner, x, guide)
    }

    /// The shape of the output for a map of shape `x`, guided by one of shape `guide`.
    ///
    /// # Errors
    /// As [`trace`](Self::trace).
    pub fn output_shape<const R: usize>(
        &self,
        x: [usize; R],
        guide: [usize; R],
    ) -> Result<[usize; R], ShapeError> {
        Planner::output_shape_of_maps(&[x, guide], |planner, maps| {
            self.trace(planner, &maps[0], &maps[1])
        })
    }

    /// The [plan](crate::plan) for a map of shape `x`, guided by one of shape `guide`.
    pub fn plan<const R: usize>(&self, x: [usize; R], guide: [usize; R]) -> Plan {
        Plan::of_maps(&[x, guide], |planner, maps| {
            let map = self.trace(planner, &maps[0], &maps[1])?;
            Ok(vec![map])
        })
    }
}

impl<const R: usize> TraceGate<R> for GateConfig {
    fn trace_gate(
        &self,
        planner: &mut Planner,
        x: &Map<R>,
        guide: &Map<R>,
    ) -> Result<Map<R>, ShapeError> {
        self.trace(planner, x, guide)
    }
}

impl<const R: usize> Gate<R> for AnyGate<R> {
    fn forward(&self, x: Tensor<R>, guide: Tensor<R>) -> Tensor<R> {
        self.gate().run(x, guide)
    }

    fn trace(
        &self,
        planner: &mut Planner,
        x: &Map<R>,
        guide: &Map<R>,
    ) -> Result<Map<R>, ShapeError> {
        self.gate().trace_gate(planner, x, guide)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn a_file_names_the_gate_and_its_options() {
        for (gate, text) in [
            (
                GateConfig::attention(8),
                r#"{"Attention":{"hidden_channels":8,"bias":false,"size":"Equal"}}"#,
            ),
            (GateConfig::scse(16), r#"{"Scse":{"reduction":16}}"#),
            (
                GateConfig::se(16),
                r#"{"Se":{"reduction":16,"activation":"Relu","divisor":1,"scale_activation":"Sigmoid"}}"#,
            ),
        ] {
            assert_eq!(serde_json::to_string(&gate).unwrap(), text);
            assert_eq!(serde_json::from_str::<GateConfig>(text).unwrap(), gate);
        }
        let short = serde_json::from_str::<GateConfig>(r#"{"Se":{"reduction":4}}"#);
        assert_eq!(short.unwrap(), GateConfig::se(4));
        let error = serde_json::from_str::<GateConfig>(r#"{"Se":{"reduction":4,"ratio":1}}"#);
        assert!(error.unwrap_err().to_string().contains("unknown field"));
    }

    #[test]
    fn the_gate_and_its_configuration_record_the_same() {
        for config in [
            GateConfig::attention(3),
            GateConfig::scse(2),
            GateConfig::se(2),
            GateConfig::eca(),
            GateConfig::cbam(2),
        ] {
            let gate = config.init::<4>(4, 6, &Device::flex());
            let planned = config.plan([2, 4, 5, 5], [2, 6, 5, 5]);
            assert_eq!(planned.root, gate.plan([2, 4, 5, 5], [2, 6, 5, 5]).root);
            assert!(planned.error().is_none());
        }
    }

    #[test]
    fn display() {
        let gate: AnyGate = GateConfig::scse(2).init(4, 4, &Device::flex());
        let text = gate.to_string();
        assert!(text.contains("squeeze: ConvNormAct"), "{text}");
        assert!(text.contains("params: 27"), "{text}");
    }
}
