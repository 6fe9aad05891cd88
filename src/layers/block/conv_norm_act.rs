//! [`ConvNormAct`]: a convolution, a norm and an activation.

use burn::config::Config;
use burn::module::Module;
use burn::nn::norm::Normalization;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::cpu::{Epilogue, Outcome, activate, fuses_activation, read_through_norm};
use crate::graph::window::Padding;
use crate::graph::{Map, Planner};
use crate::layers::activation::{Activation, ActivationConfig};
use crate::layers::burn_layers::normalize;
use crate::layers::conv::{Conv, ConvConfig, LazyConcat, Part};
use crate::layers::layer::{Layer, check_residual};
use crate::layers::norm::NormConfig;
use crate::layers::style::{ConvStyle, LayerOrder};
use crate::plan::Trace;
use crate::setters::setters;
use crate::shape::{PerAxis, ShapeError, expect};

/// Configuration of [`ConvNormAct`].
///
/// # Example
/// ```
/// use burn_skip::{Padding, Trace, block::ConvNormActConfig};
///
/// let config = ConvNormActConfig::new([3, 16], 3).with_stride(2);
/// assert_eq!(config.output_shape([1, 3, 33, 20]).unwrap(), [1, 16, 17, 10]);
/// let config = config.with_padding(Padding::Valid);
/// assert_eq!(config.output_shape([1, 3, 33, 20]).unwrap(), [1, 16, 16, 9]);
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ConvNormActConfig {
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
    /// Padding, norm, activation, their order, and the bias.
    #[serde(default = "ConvStyle::new")]
    pub style: ConvStyle,
}

setters!(
    ConvNormActConfig:
    with_stride(stride: impl Into<PerAxis>),
    with_dilation(dilation: impl Into<PerAxis>),
    with_groups(groups: usize),
    with_style(style: ConvStyle),
);

impl Config for ConvNormActConfig {}

impl ConvNormActConfig {
    /// A convolution from `channels[0]` to `channels[1]` channels, batch norm and ReLU.
    pub fn new(channels: [usize; 2], kernel_size: impl Into<PerAxis>) -> Self {
        Self {
            channels,
            kernel_size: kernel_size.into(),
            stride: 1.into(),
            dilation: 1.into(),
            groups: 1,
            style: ConvStyle::new(),
        }
    }

    /// Sets the padding of the [style](Self::style).
    pub fn with_padding(mut self, padding: Padding) -> Self {
        self.style.padding = padding;
        self
    }

    /// Sets the norm of the [style](Self::style).
    pub fn with_norm(mut self, norm: impl Into<Option<NormConfig>>) -> Self {
        self.style.norm = norm.into();
        self
    }

    /// Sets the activation of the [style](Self::style).
    pub fn with_activation(mut self, activation: impl Into<Option<ActivationConfig>>) -> Self {
        self.style.activation = activation.into();
        self
    }

    /// Sets the order of the [style](Self::style).
    pub fn with_order(mut self, order: LayerOrder) -> Self {
        self.style.order = order;
        self
    }

    /// Sets whether there is a bias, in the [style](Self::style).
    pub fn with_bias(mut self, bias: impl Into<Option<bool>>) -> Self {
        self.style.bias = bias.into();
        self
    }

    /// The same as two convolutions (arXiv:1704.04861): one with a group for each channel, which has the kernel and
    /// nothing after it, and a 1x1 convolution to the output channels, which has the norm and the activation. It has
    /// `in kernel + in out` weights in place of `in out kernel`.
    ///
    /// # Example
    /// ```
    /// use burn::tensor::Device;
    /// use burn_skip::{Layer, Trace, block::{ConvNormAct, ConvNormActConfig}};
    ///
    /// let pair = ConvNormActConfig::new([32, 64], 3).with_stride(2).separable();
    /// let block: Vec<ConvNormAct> = pair.iter().map(|conv| conv.init(&Device::flex())).collect();
    /// let plan = block.plan([1, 32, 28, 28]);
    /// assert_eq!(plan.root.outputs[0].shape, [1, 64, 14, 14]);
    /// assert_eq!(plan.root.total_parameters(), 32 * 9 + 32 * 64 + 2 * 64);
    /// ```
    pub fn separable(self) -> [Self; 2] {
        let [input, output] = self.channels;
        let bare = ConvStyle::bare().with_bias(false);
        let depthwise = Self {
            channels: [input; 2],
            groups: input,
            style: bare.with_padding(self.style.padding.clone()),
            ..self.clone()
        };
        let pointwise = Self::new([input, output], 1).with_style(self.style);
        [depthwise, pointwise.with_padding(Padding::Same)]
    }

    fn conv(&self) -> ConvConfig {
        ConvConfig::new(self.channels, self.kernel_size.clone())
            .with_stride(self.stride.clone())
            .with_dilation(self.dilation.clone())
            .with_groups(self.groups)
            .with_padding(self.style.padding.clone())
            .with_bias(self.style.bias.unwrap_or(self.style.norm.is_none()))
            .with_initializer(self.style.initializer.clone())
    }

    /// How many channels norm and activation see.
    fn norm_channels(&self) -> usize {
        match self.style.order {
            LayerOrder::NormActConv => self.channels[0],
            LayerOrder::ConvNormAct | LayerOrder::ConvActNorm => self.channels[1],
        }
    }

    /// Checks the options for maps of rank `R`.
    ///
    /// # Errors
    /// As [`ConvConfig::validate`], and when the groups of a group norm do not divide the channels.
    pub fn validate<const R: usize>(&self) -> Result<(), ShapeError> {
        Planner::check_options(&[self.channels[0]], |planner, x: &[Map<R>]| {
            self.trace(planner, &x[0])
        })
    }

    /// Builds the layer.
    ///
    /// # Panics
    /// When [`validate`](Self::validate) returns an error, with its message.
    pub fn init<const R: usize>(&self, device: &Device) -> ConvNormAct<R> {
        expect(self.validate::<R>());
        let norm = self.style.norm.as_ref();
        let activation = self.style.activation.as_ref();
        ConvNormAct {
            conv: self.conv().init(device),
            norm: norm.map(|norm| norm.init(self.norm_channels(), device)),
            activation: activation.map(|activation| activation.init(device)),
            order: self.style.order,
        }
    }
}

impl<const R: usize> Trace<R> for ConvNormActConfig {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        let ConvStyle {
            norm, activation, ..
        } = &self.style;
        trace_in_order(self.style.order, &self.conv(), norm, activation, planner, x)
    }
}

/// Records the three parts in their order; the norm and the activation may be fused with the convolution.
fn trace_in_order<const R: usize>(
    order: LayerOrder,
    conv: &impl Trace<R>,
    norm: &impl Trace<R>,
    activation: &impl Trace<R>,
    planner: &mut Planner,
    x: &Map<R>,
) -> Result<Map<R>, ShapeError> {
    let conv = |planner: &mut Planner, x: &Map<R>| conv.trace(planner.at("conv"), x);
    let norm = |planner: &mut Planner, x: &Map<R>| norm.trace(planner.at("norm"), x);
    let act = |planner: &mut Planner, x: &Map<R>| activation.trace(planner.at("activation"), x);
    planner.node("ConvNormAct", &[x], |planner| match order {
        LayerOrder::ConvNormAct => planner.dispatched(|planner| {
            let y = conv(planner, x)?;
            let y = norm(planner, &y)?;
            act(planner, &y)
        }),
        LayerOrder::ConvActNorm => {
            let y = conv(planner, x)?;
            let y = act(planner, &y)?;
            norm(planner, &y)
        }
        LayerOrder::NormActConv => planner.dispatched(|planner| {
            let x = norm(planner, x)?;
            let x = act(planner, &x)?;
            conv(planner, &x)
        }),
    })
}

/// A convolution, a norm and an activation: `y = act(norm(conv(x)))`, or in another
/// [order](LayerOrder). Norm and activation may be absent.
///
/// # Shapes
/// - input: `[batch, in_channels, spatial...]`
/// - output: `[batch, out_channels, spatial...]`; with [`Padding::Same`] an axis of `n` positions
///   becomes `ceil(n / stride)`
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::{Layer, block::{ConvNormAct, ConvNormActConfig}};
///
/// let device = Device::flex();
/// let block: ConvNormAct = ConvNormActConfig::new([3, 16], 3).with_stride(2).init(&device);
/// assert_eq!(block.forward(Tensor::zeros([1, 3, 33, 20], &device)).dims(), [1, 16, 17, 10]);
/// ```
#[derive(Module, Debug)]
pub struct ConvNormAct<const R: usize = 4> {
    /// The convolution.
    pub conv: Conv<R>,
    /// The norm.
    pub norm: Option<Normalization>,
    /// The activation.
    pub activation: Option<Activation>,
    /// The order of the three.
    #[module(skip)]
    pub order: LayerOrder,
}

impl<const R: usize> ConvNormAct<R> {
    /// Convolution and norm, with a residual and an activation after them: where the kernels can, in the
    /// pass that writes the map, or in that which reads it next.
    fn conv_norm(
        &self,
        parts: LazyConcat<R>,
        residual: Option<Tensor<R>>,
        activation: &Option<Activation>,
    ) -> Part<R> {
        let (fused, after) = split(activation);
        let norm = match &self.norm {
            None => None,
            Some(Normalization::Batch(norm)) => Some(norm),
            Some(norm) => {
                let y = self.conv.forward_parts(parts).into_tensor();
                let y = match residual {
                    None => normalize(norm, y, &fused),
                    Some(residual) => activate(&fused, Layer::forward(norm, y) + residual),
                };
                return Part::new(apply(after, y));
            }
        };
        let epilogue = Epilogue {
            norm,
            residual,
            activation: fused,
        };
        let y = self.conv.forward_with(parts, epilogue);
        match after {
            None => y,
            Some(after) => Part::new(after.forward(y.into_tensor())),
        }
    }

    /// Norm, activation and convolution: where the kernels can, what is read is normalised as it is read.
    fn norm_conv(&self, parts: LazyConcat<R>) -> Tensor<R> {
        let (fused, after) = split(&self.activation);
        let parts = match (&self.norm, after) {
            (Some(Normalization::Batch(norm)), None) => {
                match read_through_norm(norm, parts, &fused) {
                    Outcome::Fused(parts) => return self.conv.forward_parts(parts).into_tensor(),
                    Outcome::Declined(parts) => parts,
                }
            }
            _ => parts,
        };
        let x = parts.into_tensor();
        let x = match &self.norm {
            Some(norm) => normalize(norm, x, &fused),
            None => activate(&fused, x),
        };
        self.conv.forward(apply(after, x))
    }
}

/// The activation, if there is one.
fn apply<const R: usize>(activation: Option<&Activation>, x: Tensor<R>) -> Tensor<R> {
    match activation {
        Some(activation) => activation.forward(x),
        None => x,
    }
}

/// What the dispatch may fuse of an activation, and what follows as a layer of its own.
fn split(activation: &Option<Activation>) -> (ActivationConfig, Option<&Activation>) {
    let function = activation.as_ref().map(Activation::as_function);
    match function {
        Some(Some(function)) if fuses_activation(&function) => (function, None),
        _ => (ActivationConfig::Identity, activation.as_ref()),
    }
}

impl<const R: usize> Trace<R> for ConvNormAct<R> {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        trace_in_order(
            self.order,
            &self.conv,
            &self.norm,
            &self.activation,
            planner,
            x,
        )
    }
}

impl<const R: usize> Layer<R> for ConvNormAct<R> {
    fn forward(&self, x: Tensor<R>) -> Tensor<R> {
        self.forward_parts(x.into()).into_tensor()
    }

    fn forward_parts(&self, parts: LazyConcat<R>) -> LazyConcat<R> {
        expect(self.output_shape(parts.dims()));
        match self.order {
            LayerOrder::ConvNormAct => self.conv_norm(parts, None, &self.activation).into(),
            LayerOrder::ConvActNorm => {
                let y = self.conv.forward_parts(parts).into_tensor();
                Layer::forward(&self.norm, Layer::forward(&self.activation, y)).into()
            }
            LayerOrder::NormActConv => self.norm_conv(parts).into(),
        }
    }

    fn forward_add(
        &self,
        parts: LazyConcat<R>,
        residual: Tensor<R>,
        activation: &Option<Activation>,
    ) -> Tensor<R> {
        check_residual(self, &parts, &residual);
        if self.order == LayerOrder::ConvNormAct && self.activation.is_none() {
            return self
                .conv_norm(parts, Some(residual), activation)
                .into_tensor();
        }
        let y = self.forward_parts(parts).into_tensor();
        Layer::forward(activation, y + residual)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use burn::nn::Initializer;
    use burn::tensor::TensorData;

    fn ones(order: LayerOrder) -> ConvNormAct<3> {
        let style = ConvStyle::new()
            .with_norm(None)
            .with_order(order)
            .with_initializer(Initializer::Ones);
        ConvNormActConfig::new([1, 1], 3)
            .with_style(style)
            .init(&Device::flex())
    }

    #[test]
    fn the_order_decides_where_the_activation_stands() {
        let x = || Tensor::from_floats([[[-3.0, 1.0, 1.0]]], &Device::flex());
        // relu(sum of three + bias 1), and sum of three of relu(x) + bias 1.
        let after = ones(LayerOrder::ConvNormAct).forward(x());
        let before = ones(LayerOrder::NormActConv).forward(x());
        after
            .to_data()
            .assert_eq(&TensorData::from([[[0.0f32, 0.0, 3.0]]]), true);
        before
            .to_data()
            .assert_eq(&TensorData::from([[[2.0f32, 3.0, 3.0]]]), true);
    }

    #[test]
    fn the_norm_decides_the_bias() {
        let device = Device::flex();
        let with = |style| {
            let config = ConvNormActConfig::new([2, 2], 1).with_style(style);
            config.init::<4>(&device).conv.bias.is_some()
        };
        assert!(!with(ConvStyle::new()));
        assert!(with(ConvStyle::bare()));
        assert!(with(ConvStyle::new().with_bias(true))); // as Keras
        assert!(!with(ConvStyle::bare().with_bias(false)));
    }

    #[test]
    fn norms_and_activations_that_cannot_work_are_refused() {
        let text = |config: ConvNormActConfig| config.validate::<4>().unwrap_err().to_string();
        let config = || ConvNormActConfig::new([2, 4], 3);
        let prelu = ActivationConfig::PRelu {
            num_parameters: 3,
            alpha: 0.25,
        };
        assert_eq!(
            text(config().with_activation(prelu)),
            "activation.Activation: PRelu has 3 parameters for 4 channels. Give it one parameter, or one for each channel."
        );
        let epsilon = NormConfig::Batch {
            epsilon: -1.0,
            momentum: 0.1,
        };
        assert_eq!(
            text(config().with_norm(epsilon)),
            "norm.BatchNorm: epsilon is -1. Choose a positive number, such as 1e-5."
        );
        let momentum = NormConfig::Batch {
            epsilon: 1e-5,
            momentum: f64::NAN,
        };
        assert_eq!(
            text(config().with_norm(momentum)),
            "norm.BatchNorm: momentum is NaN. Choose the weight of the new statistics, in [0, 1]."
        );
        let tiny = ConvNormActConfig::new([1, 1], 1).with_norm(NormConfig::group(1));
        assert_eq!(
            tiny.output_shape([1, 1, 2]).unwrap_err().to_string(),
            "norm.GroupNorm: [1, 1, 2] has 2 values, too few to normalise. Use a larger map, or batch norm."
        );
        let huge = ConvNormActConfig::new([1, 1], usize::MAX).validate::<4>();
        assert_eq!(
            huge.unwrap_err().to_string(),
            "conv.Conv: kernel_size is 18446744073709551615. Set kernel_size to 1048576 or less."
        );
        let long = ConvNormActConfig::new([1, 1], 3).with_padding(Padding::explicit([1, 1, 1]));
        assert!(text(long).contains("padding [1, 1, 1] has 3 numbers"));
    }

    #[test]
    fn an_unknown_field_is_refused() {
        let text = r#"{"channels": [3, 8], "kernal_size": 3}"#;
        let error = ConvNormActConfig::load_binary(text.as_bytes()).unwrap_err();
        assert!(
            error.to_string().contains("unknown field `kernal_size`"),
            "{error}"
        );
        let text = r#"{"channels": [3, 8]}"#;
        let error = ConvNormActConfig::load_binary(text.as_bytes()).unwrap_err();
        assert!(
            error.to_string().contains("missing field `kernel_size`"),
            "{error}"
        );
    }

    #[test]
    fn display() {
        let block: ConvNormAct = ConvNormActConfig::new([2, 4], 3).init(&Device::flex());
        let expected = "\
ConvNormAct {
  conv: Conv {channels: [2, 4], kernel_size: 3, stride: 1, dilation: 1, groups: 1, padding: Same, params: 72}
  norm: Batch {
      _0: BatchNorm {num_features: 4, momentum: 0.1, epsilon: 0.00001, params: 16}
      params: 16
    }
  activation: Activation {kind: Relu}
  order: ConvNormAct
  params: 88
}";
        assert_eq!(block.to_string(), expected);
    }
}
