//! [`Cbam`]: weighs the channels of a map, then its positions, each by means and largest values.
//!
//! `z = x * sigmoid(W_2 relu(W_1 mean(x)) + W_2 relu(W_1 max(x)))` over the positions, and
//! `y = z * sigmoid(norm(conv([mean(z), max(z)])))` over the channels; convolutional block attention module
//! (arXiv:1807.06521, section 3), timm's `CbamModule`.

use alloc::vec;

use burn::module::Module;
use burn::tensor::{Device, Tensor, activation::sigmoid};
use serde::{Deserialize, Serialize};

use super::any::{AnyGate, BuildGate, GateConfig};
use super::se::{channel_convs, trace_product};
use super::{Gate, NAME, TraceGate};
use crate::fuse::fit::Fit;
use crate::fuse::merge::{Merge, Order};
use crate::graph::{AdaptiveKind, AxisPadding, Elementwise, Map, Op, Planner, Record};
use crate::layers::activation::ActivationConfig;
use crate::layers::block::{ConvNormAct, ConvNormActConfig};
use crate::layers::conv::{LazyConcat, Part};
use crate::layers::layer::Layer;
use crate::layers::norm::NormConfig;
use crate::layers::pool::{channel_pool, global_mean, trace_channel_pool, trace_global_mean};
use crate::plan::Trace;
use crate::setters::setters;
use crate::shape::{Axis, PerAxis, ShapeError, check_channels, check_not_empty, expect};

const LABEL: &str = "Cbam";

/// Configuration of [`Cbam`].
///
/// # Example
/// ```
/// use burn_skip::{UpsampleConcatConfig, gate::{CbamConfig, GateConfig}};
///
/// let gate = GateConfig::Cbam(CbamConfig::new(4).with_kernel_size(3));
/// let step = UpsampleConcatConfig::new(32, 16, 8).with_gate(gate);
/// assert_eq!(step.output_shape([1, 32, 4, 4], [1, 16, 9, 9]).unwrap(), [1, 8, 9, 9]);
/// // In a file:
/// let read: GateConfig = serde_json::from_str(r#"{"Cbam": {"reduction": 4}}"#).unwrap();
/// assert_eq!(read, GateConfig::cbam(4));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct CbamConfig {
    /// The factor by which the channels are reduced between the two convolutions of the channels' weight. The paper: 16.
    pub reduction: usize,
    /// Whether these two convolutions have a bias. Default: false.
    #[serde(default)]
    pub bias: bool,
    /// The kernel of the convolution of the positions' weight. Default: 7.
    #[serde(default = "kernel_size")]
    pub kernel_size: PerAxis,
    /// The norm after that convolution, or none. Default: [`NormConfig::batch`], as in timm.
    #[serde(default = "NormConfig::default_norm")]
    pub norm: Option<NormConfig>,
}

const fn kernel_size() -> PerAxis {
    PerAxis::All(7)
}

setters!(
    CbamConfig:
    with_bias(bias: bool),
    with_kernel_size(kernel_size: impl Into<PerAxis>),
    with_norm(norm: impl Into<Option<NormConfig>>),
);

/// The convolutions of a [`Cbam`], or their configurations.
struct Parts<C> {
    squeeze: C,
    excite: C,
    spatial: C,
}

impl CbamConfig {
    /// The channels divided by `reduction` inside, a 7x7 convolution of the positions, and batch norm after it.
    pub const fn new(reduction: usize) -> Self {
        Self {
            reduction,
            bias: false,
            kernel_size: kernel_size(),
            norm: Some(NormConfig::batch()),
        }
    }

    fn parts(&self, channels: usize) -> Result<Parts<ConvNormActConfig>, ShapeError> {
        let [squeeze, excite] = channel_convs(channels, self.reduction, ActivationConfig::Relu)?
            .map(|conv| conv.with_bias(self.bias));
        let spatial = ConvNormActConfig::new([2, 1], self.kernel_size.clone())
            .with_norm(self.norm.clone())
            .with_bias(false)
            .with_activation(ActivationConfig::Sigmoid);
        Ok(Parts {
            squeeze,
            excite: excite.with_activation(None),
            spatial,
        })
    }
}

impl GateConfig {
    /// The [convolutional block attention module](Cbam), with the channels divided by `reduction` inside.
    pub const fn cbam(reduction: usize) -> Self {
        Self::Cbam(CbamConfig::new(reduction))
    }
}

impl<const R: usize> TraceGate<R> for CbamConfig {
    fn trace_gate(
        &self,
        planner: &mut Planner,
        x: &Map<R>,
        _guide: &Map<R>,
    ) -> Result<Map<R>, ShapeError> {
        planner.node(LABEL, &[x], |planner| {
            let parts = self.parts(x.shape[1])?;
            trace_parts(planner, &parts.squeeze, &parts.excite, &parts.spatial, x)
        })
    }
}

impl<const R: usize> BuildGate<R> for CbamConfig {
    fn build(&self, channels: usize, _guide_channels: usize, device: &Device) -> AnyGate<R> {
        let parts = expect(self.parts(channels));
        AnyGate::Cbam(Cbam {
            squeeze: parts.squeeze.init(device),
            excite: parts.excite.init(device),
            spatial: parts.spatial.init(device),
        })
    }
}

/// One position on each of the spatial axes.
fn one_position<const R: usize>() -> [usize; R] {
    [1; R]
}

/// The means and the largest values as two positions of one map, so that the convolutions run once.
const BOTH: Merge = Merge::Concat {
    axis: Axis::Spatial(0),
    order: Order::DeepFirst,
};

/// Records the parts of the gate.
fn trace_parts<const R: usize>(
    planner: &mut Planner,
    squeeze: &impl Trace<R>,
    excite: &impl Trace<R>,
    spatial: &impl Trace<R>,
    x: &Map<R>,
) -> Result<Map<R>, ShapeError> {
    check_not_empty(NAME, x.shape)?;
    let names = ["mean", "maximum"];
    let mean = trace_global_mean(planner.at(""), x)?;
    let one = &one_position::<R>()[2..];
    let max = Fit::Pool(AdaptiveKind::Max).trace(planner.at(""), x, one)?;
    let both = BOTH.trace(planner.at(""), NAME, &[&mean, &max], &names)?;
    let squeezed = squeeze.trace(planner.at("squeeze"), &both)?;
    let excited = excite.trace(planner.at("excite"), &squeezed)?;
    let slice = |planner: &mut Planner, index: usize| {
        planner.at("").leaf("Slice", &[&excited], || {
            let mut cut = vec![AxisPadding::default(); R - 1];
            cut[1] = AxisPadding {
                start: index,
                end: 1 - index,
            };
            Ok(Record::new(Op::Slice { cut }, mean.shape))
        })
    };
    let halves = [slice(planner, 0)?, slice(planner, 1)?];
    let sum =
        planner
            .at("")
            .elementwise(Elementwise::Sum, &names, &halves.each_ref(), Ok(mean.shape))?;
    let weight = ActivationConfig::Sigmoid.trace(planner.at(""), &sum)?;
    let z = trace_product(planner, x, &weight)?;
    let mean = trace_channel_pool(planner.at(""), &z, AdaptiveKind::Avg)?;
    let max = trace_channel_pool(planner.at(""), &z, AdaptiveKind::Max)?;
    let both = planner.dispatched(|planner| {
        Merge::concat().trace(planner.at(""), NAME, &[&mean, &max], &names)
    })?;
    let weight = spatial.trace(planner.at("spatial"), &both)?;
    trace_product(planner, &z, &weight)
}

/// The convolutional block attention module (arXiv:1807.06521, section 3), as timm's `CbamModule`. First one weight for
/// each channel of a sample, from the mean and the largest value over its positions, both through the same two 1x1
/// convolutions: `z = x * sigmoid(W_2 relu(W_1 mean(x)) + W_2 relu(W_1 max(x)))`. Then one weight for each position, from
/// the mean and the largest value over its channels: `y = z * sigmoid(norm(conv([mean(z), max(z)])))`. The guide is
/// ignored. Built by [`GateConfig::cbam`].
///
/// The inner channels are `channels / reduction`, rounded down; timm rounds to the nearest number.
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
/// // 16 channels are reduced to 4, which become a weight for each of the 16; two maps become a weight for each position.
/// let gate: AnyGate = GateConfig::cbam(4).init(16, 32, &Device::flex());
/// let AnyGate::Cbam(gate) = gate else { unreachable!() };
/// assert_eq!(gate.squeeze.conv.config.channels, [16, 4]);
/// assert_eq!(gate.excite.conv.config.channels, [4, 16]);
/// assert_eq!(gate.spatial.conv.config.channels, [2, 1]);
/// ```
#[derive(Module, Debug)]
pub struct Cbam<const R: usize = 4> {
    /// `relu(W_1)`
    pub squeeze: ConvNormAct<R>,
    /// `W_2`
    pub excite: ConvNormAct<R>,
    /// `sigmoid(norm(conv))`
    pub spatial: ConvNormAct<R>,
}

impl<const R: usize> Gate<R> for Cbam<R> {
    fn forward(&self, x: Tensor<R>, guide: Tensor<R>) -> Tensor<R> {
        expect(self.output_shape(x.dims(), guide.dims()));
        // (Ignored. It may be `x` itself, whose memory the product takes over where nobody else holds it.)
        drop(guide);
        let max = Fit::Pool(AdaptiveKind::Max).forward(x.clone(), &one_position::<R>()[2..]);
        let both = BOTH.forward(vec![global_mean(x.clone()), max]);
        let excited = self.excite.forward(self.squeeze.forward(both));
        let half = |index| excited.clone().narrow(2, index, 1);
        let z = x * sigmoid(half(0) + half(1));
        let kinds = [AdaptiveKind::Avg, AdaptiveKind::Max];
        let pooled = kinds.map(|kind| Part::new(channel_pool(z.clone(), kind)));
        let weight = self.spatial.forward_parts(LazyConcat::new(pooled.into()));
        z * weight.into_tensor()
    }

    fn trace(
        &self,
        planner: &mut Planner,
        x: &Map<R>,
        _guide: &Map<R>,
    ) -> Result<Map<R>, ShapeError> {
        planner.node(LABEL, &[x], |planner| {
            check_channels(NAME, x.shape, self.squeeze.conv.config.channels[0])?;
            trace_parts(planner, &self.squeeze, &self.excite, &self.spatial, x)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{string::ToString, vec::Vec};
    use burn::module::Param;

    #[test]
    fn values() {
        let device = Device::flex();
        let config = CbamConfig::new(2).with_norm(None).with_kernel_size(1);
        let AnyGate::Cbam(mut gate) = GateConfig::Cbam(config).init::<3>(2, 1, &device) else {
            unreachable!()
        };
        let set = |conv: &mut ConvNormAct<3>, weight: Tensor<3>| {
            conv.conv.weight = Param::from_tensor(weight);
        };
        set(
            &mut gate.squeeze,
            Tensor::from_floats([[[1.0], [-1.0]]], &device),
        );
        set(
            &mut gate.excite,
            Tensor::from_floats([[[1.0]], [[0.0]]], &device),
        );
        set(
            &mut gate.spatial,
            Tensor::from_floats([[[2.0], [-1.0]]], &device),
        );
        // relu(mean) is relu(2 - 1) = 1, relu(max) is relu(4 - 2) = 2: the weights are sigmoid(3) and sigmoid(0).
        let x = Tensor::<3>::from_floats([[[0.0, 4.0], [2.0, 0.0]]], &device);
        let y: Vec<f32> = gate.forward(x.clone(), x).to_data().try_to_vec().unwrap();
        // z is 0 and 1 at the first position, 4 sigmoid(3) and 0 at the second: twice the mean less the largest is 0.
        let second = 4.0 * 0.952_574_1 / 2.0;
        for (y, expected) in y.iter().zip([0.0, second, 0.5, 0.0]) {
            assert!((y - expected).abs() < 1e-6, "{y} is not {expected}");
        }
    }

    #[test]
    fn what_cannot_be_built_is_refused() {
        let text = |config: CbamConfig| {
            let error = GateConfig::Cbam(config).validate::<4>(8, 8).unwrap_err();
            error.to_string()
        };
        assert_eq!(
            text(CbamConfig::new(16)),
            "Gate: reduction 16 leaves none of 8 channels. Choose a reduction of 8 or less."
        );
        assert_eq!(
            text(CbamConfig::new(2).with_kernel_size(0)),
            "spatial.conv.Conv: kernel_size is 0. Set kernel_size to 1 or more."
        );
    }

    #[test]
    fn the_convolutions_of_the_channels_count_once() {
        let plan = GateConfig::cbam(2).plan([1, 4, 5, 5], [1, 4, 5, 5]);
        assert_eq!(plan.root.total_parameters(), 4 * 2 + 2 * 4 + 2 * 49 + 2);
    }
}
