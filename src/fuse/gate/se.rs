//! [`Se`]: weighs the channels of a map by their means.
//!
//! `y = x * sigmoid(W_2 relu(W_1 mean(x)))`, squeeze-and-excitation (arXiv:1709.01507, section 3); torchvision's
//! `SqueezeExcitation`, timm's `SEModule`.

use alloc::format;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::any::{AnyGate, BuildGate, GateConfig};
use super::{Gate, NAME, TraceGate};
use crate::graph::{Elementwise, Map, Planner};
use crate::layers::activation::ActivationConfig;
use crate::layers::block::{ConvNormAct, ConvNormActConfig};
use crate::layers::layer::Layer;
use crate::layers::pool::{global_mean, trace_global_mean};
use crate::plan::Trace;
use crate::setters::setters;
use crate::shape::{
    ShapeError, check_channels, check_not_empty, check_positive, expect, nearest_multiple,
};

const LABEL: &str = "Se";

/// Configuration of [`Se`].
///
/// # Example
/// ```
/// use burn_skip::{UpsampleConcatConfig, gate::{GateConfig, SeConfig}};
///
/// let gate = GateConfig::Se(SeConfig::new(4));
/// assert_eq!(gate, GateConfig::se(4));
/// let step = UpsampleConcatConfig::new(32, 16, 8).with_gate(gate);
/// assert_eq!(step.output_shape([1, 32, 4, 4], [1, 16, 9, 9]).unwrap(), [1, 8, 9, 9]);
///
/// // MobileNetV3's: 72 channels become 18, rounded to 24.
/// let rounded = SeConfig::new(4).with_divisor(8).with_scale_activation(SeConfig::hard_sigmoid());
/// let plan = GateConfig::Se(rounded).plan([1, 72, 5, 5], [1, 72, 5, 5]);
/// assert_eq!(plan.root.total_parameters(), 72 * 24 + 24 + 24 * 72 + 72);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SeConfig {
    /// The factor by which the channels are reduced between the two convolutions. The paper: 16.
    pub reduction: usize,
    /// The activation between the two convolutions. Default: ReLU. EfficientNet: SiLU.
    #[serde(default = "ActivationConfig::default_activation")]
    pub activation: ActivationConfig,
    /// The channels between the two convolutions are rounded to a multiple of this, which is no less than 9/10 of them.
    /// Default: 1, rounded down. timm's ResNets, MobileNetV3: 8.
    #[serde(default = "crate::defaults::groups")]
    pub divisor: usize,
    /// The activation after the second convolution, whose output is the weight. Default: sigmoid. MobileNetV3:
    /// [hard sigmoid](Self::hard_sigmoid).
    #[serde(default = "sigmoid")]
    pub scale_activation: ActivationConfig,
}

const fn sigmoid() -> ActivationConfig {
    ActivationConfig::Sigmoid
}

setters!(
    SeConfig:
    with_activation(activation: ActivationConfig),
    with_divisor(divisor: usize),
    with_scale_activation(scale_activation: ActivationConfig),
);

impl SeConfig {
    /// The channels divided by `reduction` inside, ReLU and sigmoid.
    pub const fn new(reduction: usize) -> Self {
        Self {
            reduction,
            activation: ActivationConfig::Relu,
            divisor: 1,
            scale_activation: ActivationConfig::Sigmoid,
        }
    }

    /// `min(max(x / 6 + 1/2, 0), 1)`, PyTorch's `Hardsigmoid`.
    pub const fn hard_sigmoid() -> ActivationConfig {
        ActivationConfig::HardSigmoid {
            alpha: 1.0 / 6.0,
            beta: 0.5,
        }
    }

    /// The convolutions, down and up.
    pub(crate) fn convs(&self, channels: usize) -> Result<[ConvNormActConfig; 2], ShapeError> {
        check_positive(NAME, "reduction", self.reduction)?;
        check_positive(NAME, "divisor", self.divisor)?;
        let squeezed = match self.divisor {
            1 => squeezed_channels(channels, self.reduction)?,
            divisor => nearest_multiple((channels / self.reduction) as f64, divisor),
        };
        Ok(channel_pair(
            [channels, squeezed],
            [self.activation, self.scale_activation],
        ))
    }
}

impl GateConfig {
    /// [Squeeze-and-excitation](Se), with the channels divided by `reduction` inside.
    pub const fn se(reduction: usize) -> Self {
        Self::Se(SeConfig::new(reduction))
    }
}

impl<const R: usize> TraceGate<R> for SeConfig {
    fn trace_gate(
        &self,
        planner: &mut Planner,
        x: &Map<R>,
        _guide: &Map<R>,
    ) -> Result<Map<R>, ShapeError> {
        planner.node(LABEL, &[x], |planner| {
            check_not_empty(NAME, x.shape)?;
            let [squeeze, excite] = self.convs(x.shape[1])?;
            let weight = trace_channel_weight(planner, &squeeze, &excite, x)?;
            trace_product(planner, x, &weight)
        })
    }
}

impl<const R: usize> BuildGate<R> for SeConfig {
    fn build(&self, channels: usize, _guide_channels: usize, device: &Device) -> AnyGate<R> {
        let [squeeze, excite] = expect(self.convs(channels)).map(|conv| conv.init(device));
        AnyGate::Se(Se { squeeze, excite })
    }
}

/// Squeeze-and-excitation (arXiv:1709.01507, section 3), as torchvision's `SqueezeExcitation`:
/// `y = x * sigmoid(W_2 relu(W_1 mean(x)))`, one weight for each channel of a sample, computed from the mean over its
/// positions. `W_1` and `W_2` are 1x1 convolutions with bias; other activations may stand for the ReLU and the sigmoid. The
/// guide is ignored. Built by [`GateConfig::se`].
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
/// // 16 channels are reduced to 4, which become a weight for each of the 16.
/// let gate: AnyGate = GateConfig::se(4).init(16, 32, &Device::flex());
/// let AnyGate::Se(gate) = gate else { unreachable!() };
/// assert_eq!(gate.squeeze.conv.config.channels, [16, 4]);
/// assert_eq!(gate.excite.conv.config.channels, [4, 16]);
/// ```
#[derive(Module, Debug)]
pub struct Se<const R: usize = 4> {
    /// `relu(W_1)`, or another activation
    pub squeeze: ConvNormAct<R>,
    /// `sigmoid(W_2)`
    pub excite: ConvNormAct<R>,
}

impl<const R: usize> Gate<R> for Se<R> {
    fn forward(&self, x: Tensor<R>, guide: Tensor<R>) -> Tensor<R> {
        expect(self.output_shape(x.dims(), guide.dims()));
        // (Ignored. It may be `x` itself, whose memory the product takes over where nobody else holds it.)
        drop(guide);
        let weight = channel_weight(&self.squeeze, &self.excite, &x);
        x * weight
    }

    fn trace(
        &self,
        planner: &mut Planner,
        x: &Map<R>,
        _guide: &Map<R>,
    ) -> Result<Map<R>, ShapeError> {
        planner.node(LABEL, &[x], |planner| {
            check_channels(NAME, x.shape, self.squeeze.conv.config.channels[0])?;
            let weight = trace_channel_weight(planner, &self.squeeze, &self.excite, x)?;
            trace_product(planner, x, &weight)
        })
    }
}

/// A 1x1 convolution with bias, and an activation.
pub(super) fn pointwise(channels: [usize; 2], activation: ActivationConfig) -> ConvNormActConfig {
    ConvNormActConfig::new(channels, 1)
        .with_norm(None)
        .with_activation(activation)
}

/// The convolutions of the channels, `activation(W_1)` and `sigmoid(W_2)`.
pub(super) fn channel_convs(
    channels: usize,
    reduction: usize,
    activation: ActivationConfig,
) -> Result<[ConvNormActConfig; 2], ShapeError> {
    let squeezed = squeezed_channels(channels, reduction)?;
    Ok(channel_pair(
        [channels, squeezed],
        [activation, ActivationConfig::Sigmoid],
    ))
}

/// `channels` divided by `reduction`.
fn squeezed_channels(channels: usize, reduction: usize) -> Result<usize, ShapeError> {
    check_positive(NAME, "reduction", reduction)?;
    match channels / reduction {
        0 => Err(ShapeError::new(
            NAME,
            format!("reduction {reduction} leaves none of {channels} channels"),
            format!("Choose a reduction of {channels} or less"),
        )),
        squeezed => Ok(squeezed),
    }
}

/// A convolution from the channels to those inside and one back, each with its activation.
fn channel_pair(
    [channels, squeezed]: [usize; 2],
    [activation, scale_activation]: [ActivationConfig; 2],
) -> [ConvNormActConfig; 2] {
    [
        pointwise([channels, squeezed], activation),
        pointwise([squeezed, channels], scale_activation),
    ]
}

/// `sigmoid(W_2 relu(W_1 mean(x)))`
pub(crate) fn channel_weight<const R: usize>(
    squeeze: &ConvNormAct<R>,
    excite: &ConvNormAct<R>,
    x: &Tensor<R>,
) -> Tensor<R> {
    excite.forward(squeeze.forward(global_mean(x.clone())))
}

/// Records [`channel_weight`].
pub(crate) fn trace_channel_weight<const R: usize>(
    planner: &mut Planner,
    squeeze: &impl Trace<R>,
    excite: &impl Trace<R>,
    x: &Map<R>,
) -> Result<Map<R>, ShapeError> {
    let mean = trace_global_mean(planner.at(""), x)?;
    let squeezed = squeeze.trace(planner.at("squeeze"), &mean)?;
    excite.trace(planner.at("excite"), &squeezed)
}

/// Records the product of a map and its weight.
pub(super) fn trace_product<const R: usize>(
    planner: &mut Planner,
    x: &Map<R>,
    weight: &Map<R>,
) -> Result<Map<R>, ShapeError> {
    let (names, maps) = (["map", "weight"], [x, weight]);
    planner
        .at("")
        .elementwise(Elementwise::Product, &names, &maps, Ok(x.shape))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Op;
    use alloc::{string::ToString, vec::Vec};
    use burn::module::Param;

    #[test]
    fn values() {
        let device = Device::flex();
        let AnyGate::Se(mut gate) = GateConfig::se(2).init::<3>(2, 1, &device) else {
            unreachable!()
        };
        let set = |conv: &mut ConvNormAct<3>, weight: Tensor<3>, bias: &[f32]| {
            conv.conv.weight = Param::from_tensor(weight);
            conv.conv.bias = Some(Param::from_tensor(Tensor::from_floats(bias, &device)));
        };
        let down = Tensor::from_floats([[[1.0], [0.5]]], &device);
        let up = Tensor::from_floats([[[1.0]], [[-1.0]]], &device);
        set(&mut gate.squeeze, down, &[-2.0]);
        set(&mut gate.excite, up, &[0.0, 1.0]);
        // The means are 2 and 4: relu(2 + 2 - 2) = 2, and the weights are sigmoid(2) and sigmoid(-2 + 1).
        let x = Tensor::<3>::from_floats([[[1.0, 3.0], [2.0, 6.0]]], &device);
        let guide = Tensor::<3>::zeros([1, 1, 2], &device);
        let y: Vec<f32> = gate.forward(x, guide).to_data().try_to_vec().unwrap();
        let (first, second) = (0.880_797_1, 0.268_941_43);
        let expected = [first, 3.0 * first, 2.0 * second, 6.0 * second];
        for (y, expected) in y.iter().zip(expected) {
            assert!((y - expected).abs() < 1e-6, "{y} is not {expected}");
        }
    }

    #[test]
    fn a_reduction_that_leaves_nothing_is_refused() {
        for gate in [GateConfig::se(16), GateConfig::scse(16)] {
            assert_eq!(
                gate.validate::<4>(8, 8).unwrap_err().to_string(),
                "Gate: reduction 16 leaves none of 8 channels. Choose a reduction of 8 or less."
            );
        }
    }

    #[test]
    fn channels_inside_are_rounded_as_torchvision_rounds_them() {
        let inside = |channels: usize, config: SeConfig| {
            let [squeeze, _] = config.convs(channels).unwrap();
            squeeze.channels[1]
        };
        // `_make_divisible(channels // 4, 8)`, and `make_divisible(channels / 16, 8)` of timm.
        for (channels, reduction, expected) in [
            (72, 4, 24), // 18; 16 would be less than 9/10
            (120, 4, 32),
            (480, 4, 120),
            (672, 4, 168),
            (64, 16, 8),
            (8, 16, 8),
            (2048, 16, 128),
        ] {
            let rounded = SeConfig::new(reduction).with_divisor(8);
            assert_eq!(inside(channels, rounded), expected, "{channels}");
        }
        assert_eq!(inside(72, SeConfig::new(4)), 18);
        let gate = GateConfig::Se(SeConfig::new(4).with_divisor(0));
        assert_eq!(
            gate.validate::<4>(8, 8).unwrap_err().to_string(),
            "Gate: divisor is 0. Set divisor to 1 or more."
        );
    }

    #[test]
    fn the_weight_may_be_a_hard_sigmoid() {
        let device = Device::flex();
        let config = SeConfig::new(1).with_scale_activation(SeConfig::hard_sigmoid());
        let AnyGate::Se(mut gate) = GateConfig::Se(config).init::<3>(1, 1, &device) else {
            unreachable!()
        };
        for (conv, weight) in [(&mut gate.squeeze, 1.0), (&mut gate.excite, 1.5)] {
            conv.conv.weight = Param::from_tensor(Tensor::full([1, 1, 1], weight, &device));
            conv.conv.bias = Some(Param::from_tensor(Tensor::zeros([1], &device)));
        }
        // The mean is 1: the weight is 1.5 / 6 + 1/2.
        let x = Tensor::<3>::from_floats([[[0.5, 1.5]]], &device);
        let y = gate.forward(x.clone(), x).to_data();
        y.assert_approx_eq::<f32>(
            &burn::tensor::TensorData::from([[[0.375, 1.125]]]),
            burn::tensor::Tolerance::absolute(1e-6),
        );
    }

    #[test]
    fn its_operations_are_recorded_in_order() {
        let plan = GateConfig::se(2).plan([2, 4, 5, 5], [2, 4, 5, 5]);
        let ops: Vec<_> = plan.nodes().into_iter().map(|(_, node)| &node.op).collect();
        assert!(matches!(
            ops[..],
            [
                Op::Composite,
                Op::GlobalMean,
                Op::Composite,
                Op::Conv(_),
                Op::Activation(ActivationConfig::Relu),
                Op::Composite,
                Op::Conv(_),
                Op::Activation(ActivationConfig::Sigmoid),
                Op::Elementwise(Elementwise::Product),
            ]
        ));
        assert_eq!(plan.root.total_parameters(), 4 * 2 + 2 + 2 * 4 + 4);
    }
}
