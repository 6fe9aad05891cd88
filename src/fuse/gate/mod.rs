//! [`Gate`]: weigh one branch of a fusion, by what another branch says or by itself.

mod attention;
mod scse;

pub use attention::AttentionGate;
pub use scse::Scse;

use alloc::{format, vec};

use burn::config::Config;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::fuse::merge::disagreement;
use crate::graph::{Map, Planner};
use crate::plan::Plan;
use crate::shape::{
    ShapeError, axis_name, check_channels, check_not_empty, check_positive, expect,
};

const NAME: &str = "Gate";

/// Which gate, and how wide it is. The channels come from the layer that it belongs to.
///
/// # Example
/// ```
/// use burn_skip::gate::GateConfig;
///
/// let (skip, deep) = ([1, 16, 9, 9], [1, 32, 5, 5]);
/// let error = GateConfig::Attention { hidden_channels: 8 }.output_shape(skip, deep).unwrap_err();
/// assert_eq!(error.problem, "height differs: map 9, guide 5");
/// // This one does not look at the guide.
/// assert_eq!(GateConfig::Scse { reduction: 4 }.output_shape(skip, deep).unwrap(), skip);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub enum GateConfig {
    /// The additive attention gate of Attention U-Net (arXiv:1804.03999).
    Attention {
        /// The channels in which the gated map and its guide are compared.
        hidden_channels: usize,
    },
    /// Concurrent spatial and channel squeeze-and-excitation (arXiv:1803.02579). It looks at the
    /// gated map alone.
    Scse {
        /// By how much the channels are squeezed. segmentation_models.pytorch: 16.
        reduction: usize,
    },
}

impl Config for GateConfig {}

impl GateConfig {
    /// Builds the gate for a map with `channels` channels, guided by one with `guide_channels`.
    ///
    /// # Panics
    /// When a number is zero, or the reduction leaves no channel.
    pub fn init<const R: usize>(
        &self,
        channels: usize,
        guide_channels: usize,
        device: &Device,
    ) -> Gate<R> {
        expect(self.validate(channels));
        match *self {
            Self::Attention { hidden_channels } => Gate::Attention(AttentionGate::new(
                channels,
                guide_channels,
                hidden_channels,
                device,
            )),
            Self::Scse { reduction } => Gate::Scse(Scse::new(channels, reduction, device)),
        }
    }

    /// Checks the options for a map with `channels` channels.
    ///
    /// # Errors
    /// When a number is zero, or the reduction leaves no channel.
    pub fn validate(&self, channels: usize) -> Result<(), ShapeError> {
        match *self {
            Self::Attention { hidden_channels } => {
                check_positive(NAME, "hidden_channels", hidden_channels)
            }
            Self::Scse { reduction } => {
                check_positive(NAME, "reduction", reduction)?;
                if reduction <= channels {
                    return Ok(());
                }
                Err(ShapeError::new(
                    NAME,
                    format!("reduction {reduction} leaves none of {channels} channels"),
                    format!("Choose a reduction of {channels} or less"),
                ))
            }
        }
    }

    /// The [plan](crate::plan) for a map of shape `x`, guided by one of shape `guide`.
    pub fn plan<const R: usize>(&self, x: [usize; R], guide: [usize; R]) -> Plan {
        Plan::of_maps(&[x, guide], |planner, maps| {
            let map = self.trace(planner, &maps[0], &maps[1])?;
            Ok(vec![map])
        })
    }

    /// Tells the planner of the gate of `x`, guided by `guide`.
    ///
    /// # Errors
    /// As [`output_shape`](Self::output_shape).
    pub fn trace<const R: usize>(
        &self,
        planner: &mut Planner,
        x: &Map<R>,
        guide: &Map<R>,
    ) -> Result<Map<R>, ShapeError> {
        let (kind, inputs) = match self {
            Self::Attention { .. } => ("AttentionGate", &[x, guide][..]),
            Self::Scse { .. } => ("Scse", &[x][..]),
        };
        planner.node(kind, inputs, |planner| {
            self.output_shape(x.shape, guide.shape)?;
            match *self {
                Self::Attention { hidden_channels } => {
                    attention::trace(planner, [x, guide], hidden_channels)
                }
                Self::Scse { reduction } => scse::trace(planner, x, reduction),
            }
        })
    }

    /// The shape of the output for a map of shape `x`, guided by one of shape `guide`.
    ///
    /// # Errors
    /// When an axis is empty, the maps differ in batch or size, or the configuration is invalid.
    pub fn output_shape<const R: usize>(
        &self,
        x: [usize; R],
        guide: [usize; R],
    ) -> Result<[usize; R], ShapeError> {
        check_not_empty(NAME, x)?;
        self.validate(x[1])?;
        match self {
            Self::Attention { .. } => check_same_size(x, guide).map(|()| x),
            Self::Scse { .. } => Ok(x),
        }
    }
}

/// Refuses a guide that lies on other positions than the map.
fn check_same_size<const R: usize>(x: [usize; R], guide: [usize; R]) -> Result<(), ShapeError> {
    let Some(axis) = (0..R).find(|&axis| axis != 1 && x[axis] != guide[axis]) else {
        return Ok(());
    };
    let sizes = [("map", x[axis]), ("guide", guide[axis])];
    Err(ShapeError::new(
        NAME,
        disagreement(axis_name(axis, R), sizes[0], sizes[1]),
        "Fit both to one size before the gate",
    ))
}

/// Weighs a map: `y = x * weight(x, guide)`.
///
/// # Shapes
/// - `x`: `[batch, channels, spatial...]`
/// - `guide`: `[batch, guide_channels, spatial...]`, of the same spatial size
/// - output: as `x`
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::gate::{Gate, GateConfig};
///
/// let device = Device::flex();
/// let gate: Gate = GateConfig::Attention { hidden_channels: 8 }.init(16, 32, &device);
/// let (skip, deep) = (Tensor::ones([1, 16, 9, 9], &device), Tensor::ones([1, 32, 9, 9], &device));
/// assert_eq!(gate.forward(skip, deep).dims(), [1, 16, 9, 9]);
/// ```
#[derive(Module, Debug)]
pub enum Gate<const R: usize = 4> {
    /// By the guide.
    Attention(AttentionGate<R>),
    /// By the map itself.
    Scse(Scse<R>),
}

impl<const R: usize> Gate<R> {
    /// The shape of the output.
    ///
    /// # Errors
    /// When the maps have other channels than the gate was built for, or differ in batch or size.
    pub fn output_shape(&self, x: [usize; R], guide: [usize; R]) -> Result<[usize; R], ShapeError> {
        match self {
            Self::Attention(gate) => {
                check_channels(NAME, x, gate.of_map.conv.config.channels[0])?;
                check_channels(NAME, guide, gate.of_guide.conv.config.channels[0])
                    .map_err(|e| e.within("guide"))?;
                check_same_size(x, guide)?;
            }
            Self::Scse(gate) => check_channels(NAME, x, gate.spatial.conv.config.channels[0])?,
        }
        Ok(x)
    }

    /// Weighs `x`.
    ///
    /// # Panics
    /// When [`output_shape`](Self::output_shape) returns an error, with its message.
    pub fn forward(&self, x: Tensor<R>, guide: Tensor<R>) -> Tensor<R> {
        expect(self.output_shape(x.dims(), guide.dims()));
        match self {
            Self::Attention(gate) => gate.forward(x, guide),
            Self::Scse(gate) => gate.forward(x),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn a_reduction_that_leaves_nothing_is_refused() {
        let error = GateConfig::Scse { reduction: 16 }.validate(8).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Gate: reduction 16 leaves none of 8 channels. Choose a reduction of 8 or less."
        );
    }

    #[test]
    fn a_guide_with_other_channels_is_refused() {
        let device = Device::flex();
        let gate: Gate = GateConfig::Attention { hidden_channels: 2 }.init(4, 8, &device);
        let error = gate.output_shape([1, 4, 5, 5], [1, 4, 5, 5]).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("guide.Gate: channels differ: expected 8, got 4."),
            "{error}"
        );
    }

    #[test]
    fn display() {
        let gate: Gate = GateConfig::Scse { reduction: 2 }.init(4, 4, &Device::flex());
        let text = gate.to_string();
        assert!(text.contains("squeeze: ConvNormAct"), "{text}");
        assert!(text.contains("params: 27"), "{text}");
    }
}
