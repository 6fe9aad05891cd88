//! [`ConvTranspose`]: a transposed convolution of any rank, solved for the size that it must hit.

use alloc::{format, string::ToString, vec, vec::Vec};

use burn::config::Config;
use burn::module::{Content, DisplaySettings, Module, ModuleDisplay, Param};
use burn::nn::Initializer;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::{check_initializer, default_initializer, init_weights, ops};
use crate::cpu::{self, Outcome, TransposedConvolution};
use crate::graph::{
    Map, Op, Planner, Record, TransposedPadding, TransposedWindow, full_size, solve_kernel,
    solve_paddings,
};
use crate::layers::layer::Layer;
use crate::layers::resize::{check_size, resize_shape};
use crate::plan::Trace;
use crate::setters::setters;
use crate::shape::{
    PerAxis, ShapeError, axis_name, check_channels, check_not_empty, check_positive, expect,
    spatial, with_channels, with_spatial,
};

const NAME: &str = "ConvTranspose";

/// Configuration of [`ConvTranspose`].
///
/// # Example
/// ```
/// use burn_skip::{Trace, conv::ConvTransposeConfig};
///
/// let config = ConvTransposeConfig::new([8, 4], 2, 2);
/// assert_eq!(config.output_shape([1, 8, 7, 7]).unwrap(), [1, 4, 14, 14]);
/// // The paddings are solved for the size that is wanted, if it is in reach.
/// assert_eq!(config.output_shape_to([1, 8, 7, 7], &[15, 15]).unwrap(), [1, 4, 15, 15]);
/// assert!(config.output_shape_to([1, 8, 7, 7], &[16, 16]).is_err());
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ConvTransposeConfig {
    /// Input and output channels.
    pub channels: [usize; 2],
    /// The size of the kernel.
    pub kernel_size: PerAxis,
    /// The scale: how many output positions an input position is apart from the next.
    pub stride: PerAxis,
    /// What is cut of the full output. Default: [`TransposedPadding::Solved`].
    #[serde(default)]
    pub padding: TransposedPadding,
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
    ConvTransposeConfig:
    with_padding(padding: TransposedPadding),
    with_bias(bias: bool),
    with_initializer(initializer: Initializer),
);

impl Config for ConvTransposeConfig {}

impl<const R: usize> Trace<R> for ConvTransposeConfig {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        self.trace_to(planner, x, None)
    }
}

impl ConvTransposeConfig {
    /// A transposed convolution with the given kernel and stride.
    pub fn new(
        channels: [usize; 2],
        kernel_size: impl Into<PerAxis>,
        stride: impl Into<PerAxis>,
    ) -> Self {
        Self {
            channels,
            kernel_size: kernel_size.into(),
            stride: stride.into(),
            padding: TransposedPadding::Solved,
            bias: true,
            initializer: default_initializer(),
        }
    }

    /// A transposed convolution that takes maps of size `from` to exactly `to`, with a kernel that
    /// is a multiple of the stride on every axis.
    ///
    /// # Errors
    /// When the sizes have different numbers of axes, one is zero, or an axis would have to shrink.
    ///
    /// # Example
    /// ```
    /// use burn_skip::conv::ConvTransposeConfig;
    ///
    /// let config = ConvTransposeConfig::between([128, 128], &[6, 6], &[15, 15]).unwrap();
    /// assert_eq!((config.kernel_size, config.stride), ([6, 6].into(), [3, 3].into()));
    /// ```
    pub fn between(channels: [usize; 2], from: &[usize], to: &[usize]) -> Result<Self, ShapeError> {
        if from.len() != to.len() {
            return Err(ShapeError::new(
                NAME,
                format!("{from:?} and {to:?} have different numbers of axes"),
                "Give both sizes for the same axes",
            ));
        }
        let axes = from.len();
        for (n, (&from, &to)) in from.iter().zip(to).enumerate() {
            check_size(to).map_err(|e| e.with_layer(NAME))?;
            if from == 0 || to < from {
                return Err(ShapeError::new(
                    NAME,
                    format!(
                        "{} cannot go from {from} to {to}",
                        axis_name(2 + n, 2 + axes)
                    ),
                    "A transposed convolution enlarges: use a down layer or Fit::Crop to shrink",
                ));
            }
        }
        let solved = from
            .iter()
            .zip(to)
            .map(|(&from, &to)| solve_kernel(from, to));
        let (kernel_size, stride): (Vec<_>, Vec<_>) = solved.unzip();
        Ok(Self::new(channels, kernel_size, stride))
    }

    /// Checks the options for maps of rank `R`.
    ///
    /// # Errors
    /// When a number is zero or a list is of another length than the map has spatial axes.
    pub fn validate<const R: usize>(&self) -> Result<(), ShapeError> {
        check_positive(NAME, "in_channels", self.channels[0])?;
        check_positive(NAME, "out_channels", self.channels[1])?;
        self.kernel_size.resolve_positive(R, NAME, "kernel_size")?;
        self.stride.resolve_positive(R, NAME, "stride")?;
        check_initializer(NAME, &self.initializer)
    }

    /// The window that takes a map of shape `input` to the spatial size `target`.
    fn window<const R: usize>(
        &self,
        input: [usize; R],
        target: &[usize],
    ) -> Result<TransposedWindow, ShapeError> {
        self.validate::<R>()?;
        check_channels(NAME, input, self.channels[0])?;
        resize_shape(input, target).map_err(|e| e.with_layer(NAME))?;
        let mut window = TransposedWindow {
            kernel_size: self.kernel_size.resolve(R, NAME, "kernel_size")?,
            stride: self.stride.resolve(R, NAME, "stride")?,
            dilation: vec![1; R - 2],
            padding: vec![0; R - 2],
            output_padding: vec![0; R - 2],
        };
        for n in 0..R - 2 {
            let (from, to) = (input[2 + n], target[n]);
            let (kernel, stride) = (window.kernel_size[n], window.stride[n]);
            let Some((padding, output_padding)) =
                solve_paddings([from, to], kernel, stride, self.padding)
            else {
                let reach = full_size(from, kernel, stride).saturating_add(stride - 1);
                return Err(ShapeError::new(
                    NAME,
                    format!(
                        "{} cannot go from {from} to {to} with kernel {kernel} and stride {stride}, which reach 1 to {reach}",
                        axis_name(2 + n, R)
                    ),
                    format!(
                        "Use kernel and stride {:?} (ConvTransposeConfig::between), or fit the rest with Fit::Resize or Fit::Pad",
                        solve_kernel(from, to.max(1))
                    ),
                ));
            };
            window.padding[n] = padding;
            window.output_padding[n] = output_padding;
        }
        Ok(window)
    }

    /// How many positions more the window cuts at the start of each axis. Where no output padding takes back one of two
    /// positions that a padding cuts, one is left over.
    fn spare<const R: usize>(
        &self,
        window: &TransposedWindow,
        input: [usize; R],
        target: &[usize],
    ) -> Vec<usize> {
        let spare = |n: usize| match self.padding {
            TransposedPadding::Solved => window.size(input[2 + n], n) - target[n],
            TransposedPadding::Same | TransposedPadding::Valid => 0,
        };
        (0..R - 2).map(spare).collect()
    }

    /// The size that the output has when no other is wanted.
    pub(crate) fn natural_size<const R: usize>(
        &self,
        input: [usize; R],
    ) -> Result<Vec<usize>, ShapeError> {
        check_not_empty(NAME, input)?;
        let kernel_size = self.kernel_size.resolve_positive(R, NAME, "kernel_size")?;
        let stride = self.stride.resolve_positive(R, NAME, "stride")?;
        let size_of = |n| {
            self.padding
                .natural_size(input[2 + n], kernel_size[n], stride[n])
        };
        Ok((0..R - 2).map(size_of).collect())
    }

    /// The shape of the output for the spatial size `target`.
    ///
    /// # Errors
    /// When the channels differ, an axis is empty, or kernel and stride cannot hit the target.
    pub fn output_shape_to<const R: usize>(
        &self,
        input: [usize; R],
        target: &[usize],
    ) -> Result<[usize; R], ShapeError> {
        self.window(input, target)?;
        Ok(with_channels(with_spatial(input, target), self.channels[1]))
    }

    /// Records the layer, to the spatial size `target`: without one, `size * stride`, or all that the kernel
    /// reaches with [`TransposedPadding::Valid`].
    pub(crate) fn trace_to<const R: usize>(
        &self,
        planner: &mut Planner,
        x: &Map<R>,
        target: Option<&[usize]>,
    ) -> Result<Map<R>, ShapeError> {
        let is_any_size = planner.is_any_size();
        planner.leaf(NAME, &[x], || {
            self.validate::<R>()?;
            let target = match (target, is_any_size) {
                (Some(target), false) => target.to_vec(),
                // (The natural size can always be hit.)
                _ => self.natural_size(x.shape)?,
            };
            if is_any_size {
                check_channels(NAME, x.shape, self.channels[0])?;
                return Ok(Record::new(
                    Op::Opaque,
                    with_channels(x.shape, self.channels[1]),
                ));
            }
            let window = self.window(x.shape, &target)?;
            let output = with_channels(with_spatial(x.shape, &target), self.channels[1]);
            let grid = window.regrid(x, &window.padding);
            let taps = window.kernel_size.iter().copied();
            let weight = self.channels.into_iter().chain(taps);
            let weight = weight.fold(1, usize::saturating_mul);
            let bias = if self.bias { self.channels[1] } else { 0 };
            let spare = self.spare(&window, x.shape, &target);
            let mut op = window.op(self.channels, 1, self.bias);
            for (pad, spare) in op.padding.iter_mut().zip(spare) {
                pad.start += spare;
            }
            let op = Op::ConvTranspose(op);
            Ok(Record::new(op, output)
                .on_grid(grid)
                .with_parameter("weight", weight)
                .with_parameter("bias", bias)
                .dispatched())
        })
    }

    /// Builds the layer.
    ///
    /// # Panics
    /// When [`validate`](Self::validate) returns an error, with its message.
    pub fn init<const R: usize>(&self, device: &Device) -> ConvTranspose<R> {
        expect(self.validate::<R>());
        let kernel_size = expect(self.kernel_size.resolve(R, NAME, "kernel_size"));
        let (weight, bias) = init_weights(
            &self.initializer,
            self.channels,
            &kernel_size,
            self.bias.then_some(self.channels[1]),
            device,
        );
        ConvTranspose {
            weight,
            bias,
            config: self.clone(),
        }
    }
}

/// A transposed convolution of one, two or three spatial axes (`R` = 3, 4, 5).
///
/// As `torch.nn.ConvTranspose2d`, where an axis of `n` positions becomes `(n - 1) stride - 2 padding +
/// (kernel - 1) + output_padding + 1`. Kernel and stride are options; the two paddings are **solved**
/// for the wanted size when the layer runs, and [`ConvTransposeConfig::between`] solves for kernel
/// and stride as well. [`TransposedPadding`] says where an odd position is cut, and has the rules of
/// Keras's `Conv2DTranspose`.
///
/// # Shapes
/// - input: `[batch, in_channels, spatial...]`
/// - output: `[batch, out_channels, target...]`; the target of [`forward`](Layer::forward) is
///   `size * stride` (with [`TransposedPadding::Valid`] all that the kernel reaches), that of [`forward_to`](Self::forward_to) is given
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::conv::{ConvTranspose, ConvTransposeConfig};
///
/// let device = Device::flex();
/// let config = ConvTransposeConfig::between([128, 128], &[6, 6], &[15, 15]).unwrap();
/// let up: ConvTranspose = config.init(&device);
/// let y = up.forward_to(Tensor::zeros([1, 128, 6, 6], &device), &[15, 15]);
/// assert_eq!(y.dims(), [1, 128, 15, 15]);
/// ```
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct ConvTranspose<const R: usize = 4> {
    /// `[in_channels, out_channels, kernel...]`
    pub weight: Param<Tensor<R>>,
    /// `[out_channels]`
    pub bias: Option<Param<Tensor<1>>>,
    /// The options that the layer was built with.
    #[module(skip)]
    pub config: ConvTransposeConfig,
}

impl<const R: usize> ConvTranspose<R> {
    /// Applies the layer so that the output has the spatial size `target`.
    ///
    /// # Panics
    /// When [`ConvTransposeConfig::output_shape_to`] returns an error, with its message.
    pub fn forward_to(&self, x: Tensor<R>, target: &[usize]) -> Tensor<R> {
        let window = expect(self.config.window(x.dims(), target));
        let starts = self.config.spare(&window, x.dims(), target);
        let convolution = TransposedConvolution {
            weight: self.weight.val(),
            bias: self.bias.as_ref().map(|bias| bias.val()),
            window: &window,
            target,
            starts: &starts,
        };
        match cpu::conv_transpose(&convolution, x) {
            Outcome::Fused(y) => y,
            Outcome::Declined(x) => {
                let TransposedConvolution { weight, bias, .. } = convolution;
                let y = ops::conv_transpose(x, weight, bias, &window);
                let axes = starts.iter().zip(target).enumerate();
                axes.fold(y, |y, (n, (&start, &size))| y.narrow(2 + n, start, size))
            }
        }
    }
}

impl<const R: usize> Trace<R> for ConvTranspose<R> {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        self.config.trace(planner, x)
    }
}

impl<const R: usize> Layer<R> for ConvTranspose<R> {
    fn forward(&self, x: Tensor<R>) -> Tensor<R> {
        let output = expect(self.output_shape(x.dims()));
        self.forward_to(x, spatial(&output))
    }
}

impl<const R: usize> ModuleDisplay for ConvTranspose<R> {
    fn custom_settings(&self) -> Option<DisplaySettings> {
        DisplaySettings::new()
            .with_new_line_after_attribute(false)
            .optional()
    }

    fn custom_content(&self, content: Content) -> Option<Content> {
        content
            .add_debug_attribute("channels", &self.config.channels)
            .add("kernel_size", &self.config.kernel_size.to_string())
            .add("stride", &self.config.stride.to_string())
            .optional()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::TensorData;

    #[test]
    fn values_are_a_scatter_of_the_kernel() {
        let device = Device::flex();
        let up: ConvTranspose<3> = ConvTransposeConfig::new([1, 1], 2, 2)
            .with_initializer(Initializer::Ones)
            .with_bias(false)
            .init(&device);
        let y = up.forward(Tensor::from_floats([[[1.0, 5.0]]], &device));
        y.to_data()
            .assert_eq(&TensorData::from([[[1.0f32, 1.0, 5.0, 5.0]]]), true);
    }

    #[test]
    fn the_odd_position_is_cut_at_the_start() {
        let device = Device::flex();
        let run = |stride, target: usize| {
            let mut up: ConvTranspose<3> = ConvTransposeConfig::new([1, 1], 3 - stride % 2, stride)
                .with_bias(false)
                .init(&device);
            let taps: &[f32] = if stride == 2 {
                &[1.0, 2.0, 4.0]
            } else {
                &[1.0, 2.0]
            };
            let weight = Tensor::<1>::from_floats(taps, &device).reshape([1, 1, taps.len()]);
            up.weight = Param::from_tensor(weight);
            let x = Tensor::from_floats([[[1.0, 10.0]]], &device);
            let y = up.forward_to(x, &[target]);
            y.to_data().try_to_vec::<f32>().unwrap()
        };
        // torch.nn.functional.conv_transpose1d(x, w, stride=2, padding=1, output_padding=1)
        assert_eq!(run(2, 4), [2.0, 14.0, 20.0, 40.0]);
        // All of [1, 12, 20], and all but the first.
        assert_eq!(run(1, 3), [1.0, 12.0, 20.0]);
        assert_eq!(run(1, 2), [12.0, 20.0]);
    }

    #[test]
    fn sizes_that_would_overflow_are_refused() {
        let config = ConvTransposeConfig::new([1, 1], 2, 1 << 20);
        for input in [[1, 1, 3, usize::MAX], [1, 1, 3, usize::MAX / 2]] {
            let error = config.output_shape(input).unwrap_err();
            assert!(error.to_string().contains("4294967295 or less"), "{error}");
        }
    }

    #[test]
    fn keras_cuts_the_odd_position_at_the_end() {
        let device = Device::flex();
        let run = |padding| {
            let mut up: ConvTranspose<3> = ConvTransposeConfig::new([1, 1], 3, 2)
                .with_padding(padding)
                .with_bias(false)
                .init(&device);
            up.weight = Param::from_data([[[1.0, 2.0, 4.0]]], &device);
            let x = Tensor::from_floats([[[1.0, 10.0]]], &device);
            up.forward(x).to_data().try_to_vec::<f32>().unwrap()
        };
        // keras.layers.Conv1DTranspose(1, 3, strides=2, padding=...)
        assert_eq!(run(TransposedPadding::Same), [1.0, 2.0, 14.0, 20.0]);
        assert_eq!(run(TransposedPadding::Valid), [1.0, 2.0, 14.0, 20.0, 40.0]);
    }

    #[test]
    fn a_target_of_another_rank_is_an_error() {
        let config = ConvTransposeConfig::new([4, 4], 2, 2);
        let error = config.output_shape_to([1, 4, 6, 6], &[12]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "ConvTranspose: size [12] has 1 numbers, the map has 2 spatial axes [6, 6]. Give one number for each spatial axis."
        );
    }

    #[test]
    fn a_target_out_of_reach_is_an_error() {
        let config = ConvTransposeConfig::new([4, 4], 2, 2);
        let error = config.output_shape_to([1, 4, 6, 6], &[12, 31]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "ConvTranspose: width cannot go from 6 to 31 with kernel 2 and stride 2, which reach 1 to 13. \
             Use kernel and stride (10, 5) (ConvTransposeConfig::between), or fit the rest with Fit::Resize or Fit::Pad."
        );
    }

    #[test]
    fn between_refuses_to_shrink() {
        let error = ConvTransposeConfig::between([4, 4], &[15, 9], &[15, 6]).unwrap_err();
        assert!(
            error.problem.contains("width cannot go from 9 to 6"),
            "{error}"
        );
    }

    #[test]
    fn display() {
        let up: ConvTranspose = ConvTransposeConfig::new([4, 2], 2, 2).init(&Device::flex());
        assert_eq!(
            up.to_string(),
            "ConvTranspose {channels: [4, 2], kernel_size: 2, stride: 2, params: 34}"
        );
    }
}
