//! [`InvertedBottleneck`] and [`InvertedResidual`]: the blocks of an [`InvertedEncoder`](super::InvertedEncoder).

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use crate::fuse::gate::{AnyGate, Gate, GateConfig, TraceGate, trace_part};
use crate::fuse::{SkipAdd, SkipAddConfig};
use crate::graph::{Map, Planner};
use crate::layers::activation::Activation;
use crate::layers::block::{ConvNormAct, ConvNormActConfig};
use crate::layers::conv::LazyConcat;
use crate::layers::layer::Layer;
use crate::plan::Trace;
use crate::shape::{ShapeError, expect};

/// Configuration of an [`InvertedResidual`].
pub(super) struct InvertedConfig {
    /// The channels inside.
    pub(super) channels: usize,
    pub(super) expand: Option<ConvNormActConfig>,
    pub(super) depthwise: ConvNormActConfig,
    pub(super) gate: Option<GateConfig>,
    pub(super) project: ConvNormActConfig,
    /// The residual connection, where there is one.
    pub(super) connection: Option<SkipAddConfig>,
}

impl InvertedConfig {
    pub(super) fn init<const R: usize>(&self, device: &Device) -> InvertedResidual<R> {
        let gate = self.gate.as_ref();
        let block = InvertedBottleneck {
            expand: self.expand.as_ref().map(|conv| conv.init(device)),
            depthwise: self.depthwise.init(device),
            gate: gate.map(|gate| gate.init(self.channels, self.channels, device)),
            project: self.project.init(device),
        };
        match &self.connection {
            Some(connection) => InvertedResidual::Add(connection.init(block, device)),
            None => InvertedResidual::Plain(block),
        }
    }
}

impl<const R: usize> Trace<R> for InvertedConfig {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        let block = |planner: &mut Planner, x: &Map<R>| {
            trace_block(
                [&self.depthwise, &self.project],
                &self.expand,
                self.gate.as_ref(),
                planner,
                x,
            )
        };
        match &self.connection {
            Some(connection) => connection.trace_over(planner, x, block),
            None => block(planner, x),
        }
    }
}

/// Records the parts of a block.
fn trace_block<const R: usize, C: Trace<R>>(
    [depthwise, project]: [&C; 2],
    expand: &Option<C>,
    gate: Option<&impl TraceGate<R>>,
    planner: &mut Planner,
    x: &Map<R>,
) -> Result<Map<R>, ShapeError> {
    planner.node("InvertedBottleneck", &[x], |planner| {
        let x = expand.trace(planner.at("expand"), x)?;
        let mut x = depthwise.trace(planner.at("depthwise"), &x)?;
        if let Some(gate) = gate {
            x = trace_part(planner, "gate".into(), gate, &x, &x)?;
        }
        project.trace(planner.at("project"), &x)
    })
}

/// An inverted bottleneck (arXiv:1801.04381, section 3.3): `y = project(gate(depthwise(expand(x))))`, a 1x1 convolution
/// to more channels, one with a group for each channel, and a 1x1 convolution without an activation to few. EfficientNet
/// (arXiv:1905.11946) and MobileNetV3 (arXiv:1905.02244) have a gate, squeeze-and-excitation, before the last.
///
/// # Shapes
/// - input: `[batch, in_channels, spatial...]`
/// - output: `[batch, out_channels, ceil(spatial / stride)...]`
///
/// # Example
/// ```
/// use burn::tensor::Device;
/// use burn_skip::Trace;
/// use burn_skip::net::{InvertedResidual, MobileNetV2Encoder, MobileNetV2EncoderConfig};
///
/// let encoder: MobileNetV2Encoder = MobileNetV2EncoderConfig::new().init(&Device::flex());
/// // The first block of 24 channels has a stride, and so no residual connection.
/// let InvertedResidual::Plain(block) = &encoder.stages[1][0] else { unreachable!() };
/// assert_eq!(block.depthwise.conv.config.channels, [96, 96]); // 6 times the 16 of its input
/// assert_eq!(block.output_shape([1, 16, 33, 20]).unwrap(), [1, 24, 17, 10]);
/// ```
#[derive(Module, Debug)]
pub struct InvertedBottleneck<const R: usize = 4> {
    /// To the channels inside, where they are more than those of the input.
    pub expand: Option<ConvNormAct<R>>,
    /// A convolution of each channel by itself.
    pub depthwise: ConvNormAct<R>,
    /// Weighs the channels.
    pub gate: Option<AnyGate<R>>,
    /// To the output channels.
    pub project: ConvNormAct<R>,
}

impl<const R: usize> InvertedBottleneck<R> {
    /// All but the last convolution.
    fn inside(&self, parts: LazyConcat<R>) -> LazyConcat<R> {
        let parts = self.expand.forward_parts(parts);
        let parts = self.depthwise.forward_parts(parts);
        let Some(gate) = &self.gate else {
            return parts;
        };
        let x = parts.into_tensor();
        gate.forward(x.clone(), x).into()
    }
}

impl<const R: usize> Trace<R> for InvertedBottleneck<R> {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        trace_block(
            [&self.depthwise, &self.project],
            &self.expand,
            self.gate.as_ref(),
            planner,
            x,
        )
    }
}

impl<const R: usize> Layer<R> for InvertedBottleneck<R> {
    fn forward(&self, x: Tensor<R>) -> Tensor<R> {
        self.forward_parts(x.into()).into_tensor()
    }

    fn forward_parts(&self, parts: LazyConcat<R>) -> LazyConcat<R> {
        expect(self.output_shape(parts.dims()));
        self.project.forward_parts(self.inside(parts))
    }

    fn forward_add(
        &self,
        parts: LazyConcat<R>,
        residual: Tensor<R>,
        activation: &Option<Activation>,
    ) -> Tensor<R> {
        expect(self.output_shape(parts.dims()));
        self.project
            .forward_add(self.inside(parts), residual, activation)
    }
}

/// An inverted bottleneck, and its residual connection where its output has the shape of its input:
/// `y = block(x)` or `y = x + block(x)`.
///
/// # Shapes
/// - input: `[batch, in_channels, spatial...]`
/// - output: `[batch, out_channels, ceil(spatial / stride)...]`
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::Layer;
/// use burn_skip::net::{InvertedResidual, MobileNetV2Encoder, MobileNetV2EncoderConfig};
///
/// let device = Device::flex();
/// let encoder: MobileNetV2Encoder = MobileNetV2EncoderConfig::new().init(&device);
/// let second = &encoder.stages[1][1]; // 24 channels to 24
/// assert!(matches!(second, InvertedResidual::Add(_)));
/// assert_eq!(second.forward(Tensor::zeros([1, 24, 9, 7], &device)).dims(), [1, 24, 9, 7]);
/// ```
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)] // a network holds few
pub enum InvertedResidual<const R: usize = 4> {
    /// The block alone.
    Plain(InvertedBottleneck<R>),
    /// The block and its input.
    Add(SkipAdd<InvertedBottleneck<R>, R>),
}

impl<const R: usize> Trace<R> for InvertedResidual<R> {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        match self {
            Self::Plain(block) => block.trace(planner, x),
            Self::Add(block) => block.trace(planner, x),
        }
    }
}

impl<const R: usize> Layer<R> for InvertedResidual<R> {
    fn forward(&self, x: Tensor<R>) -> Tensor<R> {
        self.forward_parts(x.into()).into_tensor()
    }

    fn forward_parts(&self, parts: LazyConcat<R>) -> LazyConcat<R> {
        match self {
            Self::Plain(block) => block.forward_parts(parts),
            Self::Add(block) => block.forward_parts(parts),
        }
    }
}
