//! [`AttentionGate`]: weighs the positions of a skip by the deep map.
//!
//! `y = x * sigmoid(psi(relu(W_x x + W_g g)))`, Attention U-Net (arXiv:1804.03999); MONAI's `AttentionBlock`.

use burn::module::Module;
use burn::tensor::{Device, Tensor, activation::relu};
use serde::{Deserialize, Serialize};

use super::any::{AnyGate, BuildGate, GateConfig};
use super::{Gate, NAME, TraceGate, check_same_batch, check_same_size};
use crate::fuse::fit::Fit;
use crate::graph::{Elementwise, Map, Planner};
use crate::layers::activation::ActivationConfig;
use crate::layers::block::{ConvNormAct, ConvNormActConfig};
use crate::layers::layer::Layer;
use crate::layers::resize::ResizeMode;
use crate::plan::Trace;
use crate::setters::setters;
use crate::shape::{
    PerAxis, ShapeError, check_channels, check_not_empty, check_positive, expect, spatial,
};

const LABEL: &str = "AttentionGate";

/// The size at which the map and its guide are added.
///
/// # Example
/// ```
/// use burn_skip::gate::{AttentionGateConfig, AttentionSize, GateConfig};
///
/// let (skip, deep) = ([1, 16, 9, 9], [1, 32, 5, 5]);
/// let shape = |size| GateConfig::Attention(AttentionGateConfig::new(8).with_size(size)).output_shape(skip, deep);
/// assert!(shape(AttentionSize::Equal).is_err());
/// assert_eq!(shape(AttentionSize::of_map()).unwrap(), skip);
/// assert_eq!(shape(AttentionSize::of_guide(2)).unwrap(), skip);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub enum AttentionSize {
    /// Both have one size, as in MONAI, where the guide has been upsampled before.
    #[default]
    Equal,
    /// The projected guide is resized to the size of the map.
    OfMap {
        /// How it is resized. Default: linear.
        #[serde(default = "ResizeMode::linear")]
        resize: ResizeMode,
    },
    /// The map comes down to the size of the guide by the stride of its convolution, and the weight is resized to the map:
    /// the gate of the paper, and most in Keras.
    OfGuide {
        /// The step of the map's convolution.
        stride: PerAxis,
        /// The kernel of the map's convolution. Default: its stride.
        #[serde(default)]
        kernel_size: Option<PerAxis>,
        /// How the weight is resized, and the projected guide where the map comes to another size. Default: linear.
        #[serde(default = "ResizeMode::linear")]
        resize: ResizeMode,
    },
}

impl AttentionSize {
    /// The guide is resized to the size of the map, linearly.
    pub const fn of_map() -> Self {
        Self::OfMap {
            resize: ResizeMode::linear(),
        }
    }

    /// The map comes down by `stride`, with a kernel of that size, and the weight is resized linearly.
    pub fn of_guide(stride: impl Into<PerAxis>) -> Self {
        Self::OfGuide {
            stride: stride.into(),
            kernel_size: None,
            resize: ResizeMode::linear(),
        }
    }

    /// How the guide and the weight are resized; `None` where there is one size.
    const fn resize(&self) -> Option<ResizeMode> {
        match self {
            Self::Equal => None,
            Self::OfMap { resize } | Self::OfGuide { resize, .. } => Some(*resize),
        }
    }
}

/// Configuration of [`AttentionGate`].
///
/// # Example
/// ```
/// use burn_skip::{UpsampleConcatConfig, gate::{AttentionGateConfig, GateConfig}};
///
/// let gate = GateConfig::Attention(AttentionGateConfig::new(8));
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
    /// Whether the convolutions have a bias beside their batch norm, as MONAI's have. Default: false.
    #[serde(default)]
    pub bias: bool,
    /// The size at which both are added. Default: [`AttentionSize::Equal`].
    #[serde(default)]
    pub size: AttentionSize,
}

setters!(
    AttentionGateConfig:
    with_bias(bias: bool),
    with_size(size: AttentionSize),
);

impl GateConfig {
    /// The [attention gate](AttentionGate), with `hidden_channels` channels inside.
    pub const fn attention(hidden_channels: usize) -> Self {
        Self::Attention(AttentionGateConfig::new(hidden_channels))
    }
}

impl AttentionGateConfig {
    /// `hidden_channels` channels inside, no bias, and maps of one size.
    pub const fn new(hidden_channels: usize) -> Self {
        Self {
            hidden_channels,
            bias: false,
            size: AttentionSize::Equal,
        }
    }

    /// The convolutions of the map, of the guide, and of the weight.
    fn convs(
        &self,
        channels: usize,
        guide_channels: usize,
    ) -> Result<[ConvNormActConfig; 3], ShapeError> {
        let hidden = self.hidden_channels;
        check_positive(NAME, "hidden_channels", hidden)?;
        let pointwise = |channels, activation: Option<ActivationConfig>| {
            ConvNormActConfig::new(channels, 1)
                .with_bias(self.bias)
                .with_activation(activation)
        };
        let mut of_map = pointwise([channels, hidden], None);
        if let AttentionSize::OfGuide {
            stride,
            kernel_size,
            ..
        } = &self.size
        {
            of_map.kernel_size = kernel_size.as_ref().unwrap_or(stride).clone();
            of_map.stride = stride.clone();
        }
        Ok([
            of_map,
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
            trace_parts(planner, convs.each_ref(), self.size.resize(), x, guide)
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
            resize: self.size.resize(),
        })
    }
}

/// Records the parts of the gate: the convolutions of the map, of the guide, and of the weight.
fn trace_parts<const R: usize>(
    planner: &mut Planner,
    [of_map, of_guide, weight]: [&impl Trace<R>; 3],
    resize: Option<ResizeMode>,
    x: &Map<R>,
    guide: &Map<R>,
) -> Result<Map<R>, ShapeError> {
    check_not_empty(NAME, x.shape)?;
    match resize {
        Some(_) => check_same_batch(x.shape, guide.shape)?,
        None => check_same_size(x.shape, guide.shape)?,
    }
    let fit = |planner: &mut Planner, map: Map<R>, to: &Map<R>| match resize {
        Some(mode) => Fit::Resize(mode).trace(planner.at(""), &map, spatial(&to.shape)),
        None => Ok(map),
    };
    let of_map = of_map.trace(planner.at("of_map"), x)?;
    let of_guide = of_guide.trace(planner.at("of_guide"), guide)?;
    let of_guide = fit(planner, of_guide, &of_map)?;
    let (names, maps) = (["map", "guide"], [&of_map, &of_guide]);
    let sum = planner
        .at("")
        .elementwise(Elementwise::Sum, &names, &maps, Ok(of_map.shape))?;
    let hidden = ActivationConfig::Relu.trace(planner.at(""), &sum)?;
    let weight = weight.trace(planner.at("weight"), &hidden)?;
    let weight = fit(planner, weight, x)?;
    let (names, maps) = (["map", "weight"], [x, &weight]);
    planner
        .at("")
        .elementwise(Elementwise::Product, &names, &maps, Ok(x.shape))
}

/// The additive gate of Attention U-Net (arXiv:1804.03999), as MONAI's `AttentionBlock` with both maps of one size:
/// `y = x * sigmoid(psi(relu(W_x x + W_g g)))`. Each of `W_x`, `W_g` and `psi` is a 1x1 convolution with batch norm;
/// `psi` has one output channel. Where the sizes differ, [`AttentionSize`] says at which the sum is taken. Built by
/// [`GateConfig::attention`].
///
/// # Shapes
/// - `x`: `[batch, channels, spatial...]`
/// - `guide`: `[batch, guide_channels, spatial...]`, of the same spatial size unless it is an option to differ
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
    /// How the guide and the weight are resized; `None` where the map and its guide have one size.
    #[module(skip)]
    pub resize: Option<ResizeMode>,
}

impl<const R: usize> Gate<R> for AttentionGate<R> {
    fn forward(&self, x: Tensor<R>, guide: Tensor<R>) -> Tensor<R> {
        expect(self.output_shape(x.dims(), guide.dims()));
        let fit = |map: Tensor<R>, size: [usize; R]| match self.resize {
            Some(mode) => Fit::Resize(mode).forward(map, spatial(&size)),
            None => map,
        };
        let of_map = self.of_map.forward(x.clone());
        let of_guide = fit(self.of_guide.forward(guide), of_map.dims());
        let weight = self.weight.forward(relu(of_map + of_guide));
        let weight = fit(weight, x.dims());
        x * weight
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
            trace_parts(planner, parts, self.resize, x, guide)
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
    fn files_without_the_options_load() {
        let gate: GateConfig =
            serde_json::from_str(r#"{"Attention":{"hidden_channels":8}}"#).unwrap();
        assert_eq!(gate, GateConfig::attention(8));
        let text =
            r#"{"Attention":{"hidden_channels":8,"bias":true,"size":{"OfGuide":{"stride":2}}}}"#;
        let size = AttentionSize::of_guide(2);
        let options = AttentionGateConfig::new(8).with_bias(true).with_size(size);
        let gate: GateConfig = serde_json::from_str(text).unwrap();
        assert_eq!(gate, GateConfig::Attention(options));
    }

    #[test]
    fn the_sum_is_taken_at_the_size_that_is_asked_for() {
        let sum_at = |size, x: [usize; 4], guide: [usize; 4]| {
            let gate = GateConfig::Attention(AttentionGateConfig::new(3).with_size(size));
            let plan = gate.plan(x, guide);
            let nodes = plan.nodes();
            let sum = nodes
                .iter()
                .find(|(_, node)| node.op == crate::graph::Op::Elementwise(Elementwise::Sum));
            sum.map(|(_, node)| node.outputs[0].shape.clone())
        };
        let (x, guide) = ([1, 2, 9, 12], [1, 4, 5, 6]);
        let of_guide = AttentionSize::of_guide(2);
        assert_eq!(
            sum_at(of_guide.clone(), x, guide),
            Some([1, 3, 5, 6].to_vec())
        );
        assert_eq!(
            sum_at(AttentionSize::of_map(), x, guide),
            Some([1, 3, 9, 12].to_vec())
        );
        // The map comes to another size than the guide's.
        assert_eq!(sum_at(of_guide, x, x), Some([1, 3, 5, 6].to_vec()));
    }

    #[test]
    fn a_guide_of_another_batch_is_refused() {
        let size = AttentionSize::of_map();
        let gate = GateConfig::Attention(AttentionGateConfig::new(2).with_size(size));
        assert_eq!(
            gate.output_shape([1, 4, 5], [2, 4, 3])
                .unwrap_err()
                .to_string(),
            "Gate: batch differs: map 1, guide 2. Give all maps the same batch."
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
