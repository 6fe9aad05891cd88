//! [`Conv`]: a convolution whose rank is that of its tensors.

use alloc::{format, string::ToString, vec::Vec};

use burn::config::Config;
use burn::module::{Content, DisplaySettings, Module, ModuleDisplay, Param};
use burn::nn::Initializer;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::{LazyConcat, Part, check_initializer, default_initializer, init_weights, ops};
use crate::cpu::{self, ConvInputs, Convolution, Epilogue, Outcome, PreparedWeight};
use crate::graph::window::{Padding, Window};
use crate::graph::{ConvOp, Map, Op, Planner, Record};
use crate::layers::layer::Layer;
use crate::plan::Trace;
use crate::setters::setters;
use crate::shape::{PerAxis, ShapeError, check_channels, check_positive, expect, with_channels};

const NAME: &str = "Conv";

/// Configuration of [`Conv`].
///
/// # Example
/// ```
/// use burn_skip::{conv::ConvConfig, Trace};
///
/// let parameters = |config: ConvConfig| config.plan([1, 64, 32, 32]).root.total_parameters();
/// assert_eq!(parameters(ConvConfig::new([64, 64], 3)), 36_928);
/// assert_eq!(parameters(ConvConfig::new([64, 64], 3).with_groups(64)), 640); // depthwise
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ConvConfig {
    /// Input and output channels.
    pub channels: [usize; 2],
    /// The size of the kernel.
    pub kernel_size: PerAxis,
    /// The step of the window. Default: 1.
    #[serde(default = "crate::defaults::one")]
    pub stride: PerAxis,
    /// The distance between the taps of the kernel. Default: 1.
    #[serde(default = "crate::defaults::one")]
    pub dilation: PerAxis,
    /// The number of groups that the channels are split into. Default: 1.
    #[serde(default = "crate::defaults::groups")]
    pub groups: usize,
    /// The padding with zeros. Default: [`Padding::Same`].
    #[serde(default)]
    pub padding: Padding,
    /// Whether a bias is added. Default: true.
    #[serde(default = "crate::defaults::yes")]
    pub bias: bool,
    /// How weight and bias start. Default: uniform within `±1 / sqrt(fan_in)`, as in PyTorch.
    #[cfg_attr(
        feature = "schema",
        schemars(with = "crate::layers::schema::Initializer")
    )]
    #[serde(default = "crate::layers::conv::default_initializer")]
    pub initializer: Initializer,
}

setters!(
    ConvConfig:
    with_stride(stride: impl Into<PerAxis>),
    with_dilation(dilation: impl Into<PerAxis>),
    with_groups(groups: usize),
    with_padding(padding: Padding),
    with_bias(bias: bool),
    with_initializer(initializer: Initializer),
);

impl Config for ConvConfig {}

impl ConvConfig {
    /// A convolution from `channels[0]` to `channels[1]` channels.
    pub fn new(channels: [usize; 2], kernel_size: impl Into<PerAxis>) -> Self {
        Self {
            channels,
            kernel_size: kernel_size.into(),
            stride: 1.into(),
            dilation: 1.into(),
            groups: 1,
            padding: Padding::Same,
            bias: true,
            initializer: default_initializer(),
        }
    }

    /// Checks the options for maps of rank `R`.
    ///
    /// # Errors
    /// When a number is zero, a list is of another length than the map has spatial axes, or the
    /// groups do not divide the channels.
    pub fn validate<const R: usize>(&self) -> Result<(), ShapeError> {
        self.window::<R>().map(|_| ())
    }

    /// The kernel, after all options have been checked.
    fn window<const R: usize>(&self) -> Result<Window, ShapeError> {
        check_positive(NAME, "in_channels", self.channels[0])?;
        check_positive(NAME, "out_channels", self.channels[1])?;
        check_positive(NAME, "groups", self.groups)?;
        for (what, channels) in [("in", self.channels[0]), ("out", self.channels[1])] {
            if channels % self.groups != 0 {
                return Err(ShapeError::new(
                    NAME,
                    format!(
                        "groups (={}) do not divide {what}_channels (={channels})",
                        self.groups
                    ),
                    "Choose groups that divide both channel counts",
                ));
            }
        }
        check_initializer(NAME, &self.initializer)?;
        self.padding.validate(R, NAME)?;
        Ok(Window {
            kernel_size: self.kernel_size.resolve_positive(R, NAME, "kernel_size")?,
            stride: self.stride.resolve_positive(R, NAME, "stride")?,
            dilation: self.dilation.resolve_positive(R, NAME, "dilation")?,
            ceil_mode: false,
        })
    }

    /// Builds the layer.
    ///
    /// # Panics
    /// When [`validate`](Self::validate) returns an error, with its message.
    pub fn init<const R: usize>(&self, device: &Device) -> Conv<R> {
        let window = expect(self.window::<R>());
        let [input, output] = self.channels;
        let (weight, bias) = init_weights(
            &self.initializer,
            [output, input / self.groups],
            &window.kernel_size,
            self.bias.then_some(output),
            device,
        );
        self.clone().with_parameters(weight, bias)
    }

    /// The layer with these parameters.
    pub(crate) fn with_parameters<const R: usize>(
        self,
        weight: Param<Tensor<R>>,
        bias: Option<Param<Tensor<1>>>,
    ) -> Conv<R> {
        Conv {
            weight,
            bias,
            config: self,
            prepared: PreparedWeight::default(),
        }
    }
}

impl<const R: usize> Trace<R> for ConvConfig {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        planner.leaf(NAME, &[x], || {
            let window = self.window::<R>()?;
            let [input, outputs] = self.channels;
            check_channels(NAME, x.shape, input)?;
            let padding = window.pads(NAME, x.shape, &self.padding)?;
            let output = with_channels(window.output_shape(NAME, x.shape, &padding)?, outputs);
            let grid = window.regrid(x, &padding);
            let weight = [input / self.groups, window.taps()];
            let weight = weight.into_iter().fold(outputs, usize::saturating_mul);
            let op = Op::Conv(ConvOp {
                channels: self.channels,
                kernel_size: window.kernel_size,
                stride: window.stride,
                dilation: window.dilation,
                padding,
                groups: self.groups,
                bias: self.bias,
            });
            Ok(Record::new(op, output)
                .on_grid(grid)
                .with_parameter("weight", weight)
                .with_parameter("bias", if self.bias { outputs } else { 0 })
                .dispatched())
        })
    }
}

/// A convolution of one, two or three spatial axes (`R` = 3, 4, 5):
/// `y[o, p] = bias[o] + sum_i sum_k weight[o, i, k] x[i, stride p + dilation k - padding]`.
///
/// `torch.nn.Conv1d` to `Conv3d`, Keras's `Conv1D` to `Conv3D`.
///
/// # Shapes
/// - input: `[batch, in_channels, spatial...]`
/// - output: `[batch, out_channels, spatial...]`, where an axis of `n` positions becomes
///   `floor((n + padding - dilation (kernel - 1) - 1) / stride) + 1`
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::{Layer, conv::{Conv, ConvConfig}};
///
/// let device = Device::flex();
/// let conv: Conv<3> = ConvConfig::new([2, 8], 3).with_stride(2).init(&device);
/// assert_eq!(conv.forward(Tensor::zeros([1, 2, 33], &device)).dims(), [1, 8, 17]);
/// ```
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct Conv<const R: usize = 4> {
    /// `[out_channels, in_channels / groups, kernel...]`
    pub weight: Param<Tensor<R>>,
    /// `[out_channels]`
    pub bias: Option<Param<Tensor<1>>>,
    /// The options that the layer was built with.
    #[module(skip)]
    pub config: ConvConfig,
    #[module(skip)]
    pub(crate) prepared: PreparedWeight,
}

impl<const R: usize> Conv<R> {
    /// Applies the layer, and what follows it.
    pub(crate) fn forward_with(&self, parts: LazyConcat<R>, epilogue: Epilogue<R>) -> Part<R> {
        let input = parts.dims();
        expect(self.output_shape(input));
        let window = expect(self.config.window::<R>());
        let padding = expect(window.pads(NAME, input, &self.config.padding));
        let pads: Vec<_> = padding.iter().map(|pad| (pad.start, pad.end)).collect();
        let convolution = Convolution {
            weight: self.weight.val(),
            prepared: &self.prepared,
            bias: self.bias.as_ref().map(|bias| bias.val()),
            window: &window,
            pads: &pads,
            groups: self.config.groups,
        };
        match cpu::conv(&convolution, ConvInputs { parts, epilogue }) {
            Outcome::Fused(y) => y,
            Outcome::Declined(ConvInputs { parts, epilogue }) => {
                let Convolution { weight, bias, .. } = convolution;
                let x = parts.into_tensor();
                let groups = self.config.groups;
                let (epilogue, weight, bias) = epilogue.fold(&x, weight, bias);
                epilogue.apply(ops::conv(x, weight, bias, &window, &pads, groups))
            }
        }
    }
}

impl<const R: usize> Trace<R> for Conv<R> {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        self.config.trace(planner, x)
    }
}

impl<const R: usize> Layer<R> for Conv<R> {
    fn forward(&self, x: Tensor<R>) -> Tensor<R> {
        self.forward_parts(x.into()).into_tensor()
    }

    fn forward_parts(&self, parts: LazyConcat<R>) -> LazyConcat<R> {
        self.forward_with(parts, Epilogue::NOTHING).into()
    }
}

impl<const R: usize> ModuleDisplay for Conv<R> {
    fn custom_settings(&self) -> Option<DisplaySettings> {
        DisplaySettings::new()
            .with_new_line_after_attribute(false)
            .optional()
    }

    fn custom_content(&self, content: Content) -> Option<Content> {
        let config = &self.config;
        content
            .add_debug_attribute("channels", &config.channels)
            .add("kernel_size", &config.kernel_size.to_string())
            .add("stride", &config.stride.to_string())
            .add("dilation", &config.dilation.to_string())
            .add("groups", &config.groups)
            .add_debug_attribute("padding", &config.padding)
            .optional()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::TensorData;

    #[test]
    fn values_of_a_dilated_convolution() {
        let device = Device::flex();
        let conv: Conv<3> = ConvConfig::new([1, 1], 2)
            .with_dilation(2)
            .with_padding(Padding::Valid)
            .with_initializer(Initializer::Ones)
            .init(&device);
        let y = conv.forward(Tensor::from_floats([[[1.0, 2.0, 3.0, 4.0]]], &device));
        // x[i] + x[i + 2] + the bias 1
        y.to_data()
            .assert_eq(&TensorData::from([[[5.0f32, 7.0]]]), true);
    }

    #[test]
    fn an_asymmetric_3d_convolution_pads_at_the_end() {
        let device = Device::flex();
        let conv: Conv<5> = ConvConfig::new([1, 1], [2, 1, 1])
            .with_bias(false)
            .with_initializer(Initializer::Ones)
            .init(&device);
        let y = conv.forward(Tensor::from_floats(
            [[[[[1.0]], [[2.0]], [[4.0]]]]],
            &device,
        ));
        y.to_data()
            .assert_eq(&TensorData::from([[[[[3.0f32]], [[6.0]], [[4.0]]]]]), true);
    }

    #[test]
    fn groups_that_do_not_divide_are_refused() {
        let error = ConvConfig::new([6, 4], 3).with_groups(3).validate::<4>();
        assert_eq!(
            error.unwrap_err().to_string(),
            "Conv: groups (=3) do not divide out_channels (=4). Choose groups that divide both channel counts."
        );
    }

    #[test]
    fn display() {
        let conv: Conv = ConvConfig::new([2, 4], [3, 1]).init(&Device::flex());
        assert_eq!(
            conv.to_string(),
            "Conv {channels: [2, 4], kernel_size: [3, 1], stride: 1, dilation: 1, groups: 1, padding: Same, params: 28}"
        );
    }
}
