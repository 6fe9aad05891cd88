//! [`Eca`]: weighs the channels of a map by the means of their neighbours.
//!
//! `y = x * sigmoid(conv(mean(x)))`, efficient channel attention (arXiv:1910.03151, section 3.2); timm's `EcaModule`.

use alloc::format;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::any::{AnyGate, BuildGate, GateConfig};
use super::se::trace_product;
use super::{Gate, NAME, TraceGate};
use crate::graph::{Map, Op, Planner, Record};
use crate::layers::activation::ActivationConfig;
use crate::layers::block::{ConvNormAct, ConvNormActConfig};
use crate::layers::layer::Layer;
use crate::layers::pool::{global_mean, trace_global_mean};
use crate::plan::Trace;
use crate::setters::setters;
use crate::shape::{ShapeError, check_not_empty, check_positive, expect};

const LABEL: &str = "Eca";

/// Configuration of [`Eca`].
///
/// # Example
/// ```
/// use burn_skip::{UpsampleConcatConfig, gate::{EcaConfig, GateConfig}};
///
/// let gate = GateConfig::Eca(EcaConfig::new().with_kernel_size(5));
/// let step = UpsampleConcatConfig::new(32, 16, 8).with_gate(gate.clone());
/// assert_eq!(step.output_shape([1, 32, 4, 4], [1, 16, 9, 9]).unwrap(), [1, 8, 9, 9]);
/// // In a file:
/// let read: GateConfig = serde_json::from_str(r#"{"Eca": {"kernel_size": 5}}"#).unwrap();
/// assert_eq!(read, gate);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct EcaConfig {
    /// How many neighbouring channels a weight sees, an odd number. Default: by the paper's rule
    /// `(log2(channels) + 1) / 2`, rounded down, then up to an odd number, and 3 or more as in timm: 3 for 16 channels, 5
    /// for 256.
    #[serde(default)]
    pub kernel_size: Option<usize>,
}

setters!(
    EcaConfig:
    with_kernel_size(kernel_size: impl Into<Option<usize>>),
);

impl EcaConfig {
    /// The kernel size by the paper's rule.
    pub const fn new() -> Self {
        Self { kernel_size: None }
    }

    /// The convolution over the channels.
    fn conv(&self, channels: usize) -> Result<ConvNormActConfig, ShapeError> {
        let kernel_size = match self.kernel_size {
            Some(kernel_size) => kernel_size,
            None => by_rule(channels),
        };
        check_positive(NAME, "kernel_size", kernel_size)?;
        if kernel_size.is_multiple_of(2) {
            return Err(ShapeError::new(
                NAME,
                format!("kernel_size {kernel_size} is even"),
                "Choose an odd one, so that a channel has as many neighbours before as after it",
            ));
        }
        Ok(ConvNormActConfig::new([1, 1], kernel_size)
            .with_norm(None)
            .with_bias(false)
            .with_activation(ActivationConfig::Sigmoid))
    }
}

/// The kernel size for so many channels, with the paper's `gamma = 2` and `b = 1`.
fn by_rule(channels: usize) -> usize {
    let half = (channels.max(1).ilog2() as usize).div_ceil(2);
    (half | 1).max(3)
}

impl GateConfig {
    /// [Efficient channel attention](Eca), with the kernel size of the paper's rule.
    pub const fn eca() -> Self {
        Self::Eca(EcaConfig::new())
    }
}

impl<const R: usize> TraceGate<R> for EcaConfig {
    fn trace_gate(
        &self,
        planner: &mut Planner,
        x: &Map<R>,
        _guide: &Map<R>,
    ) -> Result<Map<R>, ShapeError> {
        planner.node(LABEL, &[x], |planner| {
            trace_parts(planner, &self.conv(x.shape[1])?, x)
        })
    }
}

impl<const R: usize> BuildGate<R> for EcaConfig {
    fn build(&self, channels: usize, _guide_channels: usize, device: &Device) -> AnyGate<R> {
        AnyGate::Eca(Eca {
            conv: expect(self.conv(channels)).init(device),
        })
    }
}

/// Records the parts of the gate: the means as a map of one axis, which is that of the channels, and back.
fn trace_parts<const R: usize>(
    planner: &mut Planner,
    conv: &impl Trace<3>,
    x: &Map<R>,
) -> Result<Map<R>, ShapeError> {
    check_not_empty(NAME, x.shape)?;
    let mean = trace_global_mean(planner.at(""), x)?;
    let row = planner.at("").leaf("Reshape", &[&mean], || {
        Ok(Record::new(Op::Reshape, [x.shape[0], 1, x.shape[1]]))
    })?;
    let weight = conv.trace(planner.at("conv"), &row)?;
    let weight = planner.at("").leaf("Reshape", &[&weight], || {
        Ok(Record::new(Op::Reshape, mean.shape))
    })?;
    trace_product(planner, x, &weight)
}

/// Efficient channel attention (arXiv:1910.03151, section 3.2), as timm's `EcaModule`: `y = x * sigmoid(conv(mean(x)))`,
/// one weight for each channel of a sample. The convolution has one axis, runs over the means of the channels in their
/// order, and has neither norm nor bias: its few weights are all that the gate learns. The guide is ignored. Built by
/// [`GateConfig::eca`].
///
/// # Shapes
/// - `x`: `[batch, channels, spatial...]`
/// - output: as `x`
///
/// # Example
/// ```
/// use burn::module::Module;
/// use burn::tensor::Device;
/// use burn_skip::gate::{AnyGate, GateConfig};
///
/// let gate: AnyGate = GateConfig::eca().init(256, 32, &Device::flex());
/// assert_eq!(gate.num_params(), 5);
/// ```
#[derive(Module, Debug)]
pub struct Eca {
    /// `sigmoid(conv)`, over the channels
    pub conv: ConvNormAct<3>,
}

impl<const R: usize> Gate<R> for Eca {
    fn forward(&self, x: Tensor<R>, guide: Tensor<R>) -> Tensor<R> {
        expect(self.output_shape(x.dims(), guide.dims()));
        // (Ignored. It may be `x` itself, whose memory the product takes over where nobody else holds it.)
        drop(guide);
        let mean = global_mean(x.clone());
        let shape = mean.dims();
        let row = mean.reshape([shape[0], 1, shape[1]]);
        x * self.conv.forward(row).reshape(shape)
    }

    fn trace(
        &self,
        planner: &mut Planner,
        x: &Map<R>,
        _guide: &Map<R>,
    ) -> Result<Map<R>, ShapeError> {
        planner.node(LABEL, &[x], |planner| trace_parts(planner, &self.conv, x))
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
        let AnyGate::Eca(mut gate) = GateConfig::eca().init::<3>(3, 1, &device) else {
            unreachable!()
        };
        gate.conv.conv.weight =
            Param::from_tensor(Tensor::from_floats([[[0.5, 1.0, -1.0]]], &device));
        // The means are 1, 2 and 4: 1 - 2, 0.5 + 2 - 4 and 1 + 4.
        let x = [[[0.0, 2.0], [2.0, 2.0], [3.0, 5.0]]];
        let x = Tensor::<3>::from_floats(x, &device);
        let y: Vec<f32> = gate.forward(x.clone(), x).to_data().try_to_vec().unwrap();
        let (first, second, third) = (0.268_941_43, 0.182_425_52, 0.993_307_1);
        let expected = [
            0.0,
            2.0 * first,
            2.0 * second,
            2.0 * second,
            3.0 * third,
            5.0 * third,
        ];
        for (y, expected) in y.iter().zip(expected) {
            assert!((y - expected).abs() < 1e-6, "{y} is not {expected}");
        }
    }

    #[test]
    fn the_kernel_grows_with_the_channels() {
        assert_eq!([1, 16, 127, 128].map(by_rule), [3, 3, 3, 5]);
        assert_eq!([512, 2047, 2048, 1 << 20].map(by_rule), [5, 5, 7, 11]);
    }

    #[test]
    fn a_kernel_without_a_centre_is_refused() {
        let text = |kernel_size: usize| {
            let gate = GateConfig::Eca(EcaConfig::new().with_kernel_size(kernel_size));
            gate.validate::<4>(8, 8).unwrap_err().to_string()
        };
        assert_eq!(
            text(4),
            "Gate: kernel_size 4 is even. Choose an odd one, so that a channel has as many neighbours before as after it."
        );
        assert_eq!(
            text(0),
            "Gate: kernel_size is 0. Set kernel_size to 1 or more."
        );
    }
}
