//! [`Pool`]: max and average pooling over a sliding window, for any rank; and adaptive pooling.
//!
//! Burn has no pools over three axes. Both pools are separable, so that three axes are two and one. Mean pools are
//! maps along the axes where there are kernels.

use alloc::{string::ToString, vec::Vec};

use burn::config::Config;
use burn::module::{Content, DisplaySettings, Module, ModuleDisplay};
use burn::tensor::{
    Tensor,
    module::{avg_pool2d, max_pool2d},
    ops::{AvgPoolOptions, MaxPoolOptions},
};
use serde::{Deserialize, Serialize};

pub use crate::graph::{AdaptiveKind, PoolKind};

use crate::cpu::{AxisMap, MaxPool, Outcome, around, max_pool, resample, select};
use crate::graph::window::{Padding, Window};
use crate::graph::{Map, Op, Planner, Record, WindowOp};
use crate::layers::conv::ops::reinterpret;
use crate::layers::layer::Layer;
use crate::layers::resize::{ResizeMode, bins, resize};
use crate::plan::Trace;
use crate::setters::setters;
use crate::shape::{PerAxis, ShapeError, expect, with_channels};

const NAME: &str = "Pool";

/// Configuration of [`Pool`].
///
/// # Example
/// ```
/// use burn_skip::{Trace, pool::{PoolConfig, PoolKind}};
///
/// let config = PoolConfig::new(PoolKind::Max, 2);
/// assert_eq!(config.output_shape([1, 8, 13, 13]).unwrap(), [1, 8, 6, 6]);
/// // The last position gets a window of its own.
/// let config = config.with_ceil_mode(true);
/// assert_eq!(config.output_shape([1, 8, 13, 13]).unwrap(), [1, 8, 7, 7]);
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PoolConfig {
    /// What becomes of the values in the window.
    pub kind: PoolKind,
    /// The size of the window.
    pub kernel_size: PerAxis,
    /// The step of the window. Default: its size.
    #[serde(default)]
    pub stride: Option<PerAxis>,
    /// The padding. Default: [`Padding::Valid`].
    #[serde(default = "Padding::valid")]
    pub padding: Padding,
    /// Whether a last window may hang over the end. Default: false.
    #[serde(default)]
    pub ceil_mode: bool,
}

setters!(
    PoolConfig:
    with_padding(padding: Padding),
    with_ceil_mode(ceil_mode: bool),
);

impl Config for PoolConfig {}

impl PoolConfig {
    /// A pool whose windows lie side by side.
    pub fn new(kind: PoolKind, kernel_size: impl Into<PerAxis>) -> Self {
        let kernel_size = kernel_size.into();
        Self {
            kind,
            stride: None,
            kernel_size,
            padding: Padding::Valid,
            ceil_mode: false,
        }
    }

    /// Sets [`stride`](Self::stride).
    pub fn with_stride(mut self, stride: impl Into<PerAxis>) -> Self {
        self.stride = Some(stride.into());
        self
    }

    /// Checks the options for maps of rank `R`.
    ///
    /// # Errors
    /// When a number is zero, or a list is of another length than the map has spatial axes.
    pub fn validate<const R: usize>(&self) -> Result<(), ShapeError> {
        self.padding.validate(R, NAME)?;
        self.window::<R>().map(|_| ())
    }

    /// The step of the window: its size where none is given.
    fn step(&self) -> &PerAxis {
        self.stride.as_ref().unwrap_or(&self.kernel_size)
    }

    fn window<const R: usize>(&self) -> Result<Window, ShapeError> {
        Ok(Window {
            kernel_size: self.kernel_size.resolve_positive(R, NAME, "kernel_size")?,
            stride: self.step().resolve_positive(R, NAME, "stride")?,
            dilation: alloc::vec![1; R - 2],
            ceil_mode: self.ceil_mode,
        })
    }

    /// The window and its padding, over a map of shape `input`.
    fn padded_window<const R: usize>(&self, input: [usize; R]) -> Result<WindowOp, ShapeError> {
        let window = self.window::<R>()?;
        let padding = window.pads(NAME, input, &self.padding)?;
        window.check_sees_the_map(NAME, &padding)?;
        Ok(window.op(padding))
    }

    /// Builds the layer.
    pub fn init(&self) -> Pool {
        Pool::new(self.clone())
    }
}

impl<const R: usize> Trace<R> for PoolConfig {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        let label = match self.kind {
            PoolKind::Max => "MaxPool",
            PoolKind::Avg | PoolKind::AvgWithPadding => "AvgPool",
        };
        planner.leaf(label, &[x], || {
            let (window, padded) = (self.window::<R>()?, self.padded_window(x.shape)?);
            let output = window.output_shape(NAME, x.shape, &padded.padding)?;
            let grid = window.regrid(x, &padded.padding);
            let op = Op::Pool {
                kind: self.kind,
                window: padded,
            };
            Ok(Record::new(op, output).on_grid(grid).dispatched())
        })
    }
}

/// Max or average pooling over one, two or three spatial axes.
///
/// # Shapes
/// - input: `[batch, channels, spatial...]`
/// - output: the same channels; an axis of `n` positions becomes
///   `floor((n + padding - kernel) / stride) + 1`, or `ceil` with `ceil_mode`
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::{Layer, pool::{PoolConfig, PoolKind}};
///
/// let pool = PoolConfig::new(PoolKind::Max, 2).init();
/// let x = Tensor::<5>::zeros([1, 8, 9, 16, 16], &Device::flex());
/// assert_eq!(pool.forward(x).dims(), [1, 8, 4, 8, 8]);
/// ```
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct Pool {
    /// The options that the layer was built with.
    #[module(skip)]
    pub config: PoolConfig,
}

impl Pool {
    /// The pool with these options.
    pub fn new(config: PoolConfig) -> Self {
        Self { config }
    }
}

impl<const R: usize> Trace<R> for Pool {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        self.config.trace(planner, x)
    }
}

impl<const R: usize> Layer<R> for Pool {
    fn forward(&self, x: Tensor<R>) -> Tensor<R> {
        let output = expect(self.output_shape(x.dims()));
        let window = expect(self.config.padded_window(x.dims()));
        let shape = x.dims();
        let on = |n: usize| AxisWindow {
            // With `ceil_mode` a window may be larger than the map: what hangs over sees nothing.
            kernel: window.kernel_size[n]
                .min(shape[2 + n] + window.padding[n].start + window.padding[n].end),
            stride: window.stride[n],
            pads: (window.padding[n].start, window.padding[n].end),
            output: output[2 + n],
        };
        let x = if self.config.kind == PoolKind::Max {
            x
        } else {
            let with_padding = self.config.kind == PoolKind::AvgWithPadding;
            let map = |n: usize| (2 + n, on(n).mean(shape[2 + n], with_padding));
            match resample(x, (0..R - 2).map(map).collect()) {
                Outcome::Fused(y) => return y,
                Outcome::Declined((x, _)) => x,
            }
        };
        let pool = |x, axes| self.config.pool2d(x, axes);
        let [batch, channels] = [shape[0], shape[1]];
        match R {
            3 => pool(
                x.reshape([batch, channels, 1, shape[2]]),
                [AxisWindow::none(1), on(0)],
            )
            .reshape(output),
            4 => reinterpret(pool(reinterpret(x), [on(0), on(1)])),
            _ => {
                let [depth, height, width] = [shape[2], shape[3], shape[4]];
                let planes = x.reshape([batch, channels * depth, height, width]);
                let planes = pool(planes, [on(1), on(2)]);
                let columns = planes.reshape([batch, channels, depth, output[3] * output[4]]);
                pool(columns, [on(0), AxisWindow::none(output[3] * output[4])]).reshape(output)
            }
        }
    }
}

/// The window along one axis.
struct AxisWindow {
    kernel: usize,
    stride: usize,
    pads: (usize, usize),
    /// The positions after it.
    output: usize,
}

impl AxisWindow {
    /// The window that leaves an axis of so many positions as it is.
    fn none(output: usize) -> Self {
        Self {
            kernel: 1,
            stride: 1,
            pads: (0, 0),
            output,
        }
    }

    /// The mean of the positions in each window; those of the padding count as zeros, or not at all.
    fn mean(&self, input: usize, with_padding: bool) -> AxisMap {
        let mut map = AxisMap::zero(self.output, input, self.kernel.min(input));
        let (before, after) = self.pads;
        for output in 0..self.output {
            let start = output * self.stride;
            let end = (start + self.kernel).min(before + input + after);
            let on_map = |at: usize| at.saturating_sub(before).min(input);
            let seen = on_map(start)..on_map(end);
            let count = match with_padding {
                true => end - start,
                false => seen.len(),
            };
            for column in seen {
                map.add(output, column, 1.0 / count as f64);
            }
        }
        map
    }
}

impl PoolConfig {
    fn pool2d(&self, x: Tensor<4>, axes: [AxisWindow; 2]) -> Tensor<4> {
        let kernel = [axes[0].kernel, axes[1].kernel];
        let stride = [axes[0].stride, axes[1].stride];
        let pads = [axes[0].pads, axes[1].pads];
        match self.kind {
            PoolKind::Max => {
                let pool = MaxPool {
                    kernel,
                    stride,
                    pad_start: pads.map(|pad| pad.0),
                    size: [axes[0].output, axes[1].output],
                };
                match max_pool(x, &pool) {
                    Outcome::Fused(y) => y,
                    Outcome::Declined(x) => max_pool2d(
                        x,
                        MaxPoolOptions::new(kernel)
                            .with_stride(stride)
                            .with_padding_pairs(pads)
                            .with_ceil_mode(self.ceil_mode),
                    ),
                }
            }
            PoolKind::Avg | PoolKind::AvgWithPadding => avg_pool2d(
                x,
                AvgPoolOptions::new(kernel)
                    .with_stride(stride)
                    .with_padding_pairs(pads)
                    .with_count_include_pad(self.kind == PoolKind::AvgWithPadding)
                    .with_ceil_mode(self.ceil_mode),
            ),
        }
    }
}

/// Pools each axis to `size` positions, as PyTorch's adaptive pools do.
pub(crate) fn adaptive_pool<const R: usize>(
    x: Tensor<R>,
    size: &[usize],
    kind: AdaptiveKind,
) -> Tensor<R> {
    match kind {
        AdaptiveKind::Avg => resize(x, size, ResizeMode::Area),
        AdaptiveKind::Max => size
            .iter()
            .enumerate()
            .fold(x, |x, (n, &size)| adaptive_max_axis(x, 2 + n, size)),
    }
}

/// The largest value of each bin. Bins may be of different lengths and overlap, so the positions
/// of all bins are gathered first, short bins filled up with their last position.
fn adaptive_max_axis<const R: usize>(x: Tensor<R>, axis: usize, output: usize) -> Tensor<R> {
    let mut shape = x.dims();
    let input = shape[axis];
    if input == output {
        return x;
    }
    let longest = bins(input, output)
        .map(|(start, end)| end - start)
        .max()
        .unwrap_or(1);
    let indices: Vec<usize> = bins(input, output)
        .flat_map(|(start, end)| (0..longest).map(move |i| (start + i).min(end - 1)))
        .collect();
    let gathered = if input.is_multiple_of(output) {
        x // the bins lie side by side: nothing to gather
    } else {
        select(x, axis, &indices)
    };
    shape[axis] = output;
    let [outer, _, inner] = around(&shape, axis);
    gathered
        .reshape([outer, output, longest, inner])
        .max_dim(2)
        .reshape(shape)
}

impl ModuleDisplay for Pool {
    fn custom_settings(&self) -> Option<DisplaySettings> {
        DisplaySettings::new()
            .with_new_line_after_attribute(false)
            .optional()
    }

    fn custom_content(&self, content: Content) -> Option<Content> {
        content
            .add_debug_attribute("kind", &self.config.kind)
            .add("kernel_size", &self.config.kernel_size.to_string())
            .add("stride", &self.config.step().to_string())
            .add_debug_attribute("padding", &self.config.padding)
            .add("ceil_mode", &self.config.ceil_mode)
            .optional()
    }
}

/// The mean over all positions: a map of one position.
pub(crate) fn global_mean<const R: usize>(x: Tensor<R>) -> Tensor<R> {
    (2..R).fold(x, |mean, axis| mean.mean_dim(axis))
}

/// Records [`global_mean`].
pub(crate) fn trace_global_mean<const R: usize>(
    planner: &mut Planner,
    x: &Map<R>,
) -> Result<Map<R>, ShapeError> {
    planner.leaf("Mean", &[x], || {
        let mut shape = [1; R];
        shape[..2].copy_from_slice(&x.shape[..2]);
        Ok(Record::new(Op::GlobalMean, shape))
    })
}

/// The mean or the largest of all channels at each position: a map of one channel.
pub(crate) fn channel_pool<const R: usize>(x: Tensor<R>, kind: AdaptiveKind) -> Tensor<R> {
    match kind {
        AdaptiveKind::Avg => x.mean_dim(1),
        AdaptiveKind::Max => x.max_dim(1),
    }
}

/// Records [`channel_pool`].
pub(crate) fn trace_channel_pool<const R: usize>(
    planner: &mut Planner,
    x: &Map<R>,
    kind: AdaptiveKind,
) -> Result<Map<R>, ShapeError> {
    let label = match kind {
        AdaptiveKind::Avg => "ChannelMean",
        AdaptiveKind::Max => "ChannelMax",
    };
    planner.leaf(label, &[x], || {
        let output = with_channels(x.shape, 1);
        Ok(Record::new(Op::ChannelPool(kind), output).on_grid_of(x))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData};

    fn pooled(config: PoolConfig, x: [[[f32; 5]; 1]; 1]) -> Vec<f32> {
        let x = Tensor::<3>::from_floats(x, &Device::flex());
        config.init().forward(x).to_data().try_to_vec().unwrap()
    }

    const X: [[[f32; 5]; 1]; 1] = [[[1.0, -2.0, 3.0, 8.0, -5.0]]];

    #[test]
    fn max_and_average() {
        assert_eq!(pooled(PoolConfig::new(PoolKind::Max, 2), X), [1.0, 8.0]);
        assert_eq!(pooled(PoolConfig::new(PoolKind::Avg, 2), X), [-0.5, 5.5]);
    }

    #[test]
    fn the_padding_counts_or_not() {
        let padded = |kind| {
            let config = PoolConfig::new(kind, 3).with_padding(Padding::explicit(1));
            pooled(config, X)
        };
        assert_eq!(padded(PoolKind::Avg), [-0.5, 2.0]);
        assert_eq!(padded(PoolKind::AvgWithPadding), [-1.0 / 3.0, 2.0]);
    }

    #[test]
    fn same_as_keras_counts_the_map_alone() {
        let config = PoolConfig::new(PoolKind::Avg, 2).with_padding(Padding::Same);
        assert_eq!(pooled(config, X), [-0.5, 5.5, -5.0]);
    }

    #[test]
    fn three_axes_are_two_and_one() {
        let device = Device::flex();
        let x = Tensor::<1, burn::tensor::Int>::arange(0..27, &device)
            .float()
            .reshape([1, 1, 3, 3, 3]);
        let y = PoolConfig::new(PoolKind::Max, 2)
            .with_stride(1)
            .init()
            .forward(x);
        y.to_data().assert_eq(
            &TensorData::from([[[
                [[13.0f32, 14.0], [16.0, 17.0]],
                [[22.0, 23.0], [25.0, 26.0]],
            ]]]),
            true,
        );
    }

    #[test]
    fn adaptive_max_of_uneven_bins() {
        let x = Tensor::<3>::from_floats(X, &Device::flex());
        // Bins 0..2, 1..4, 3..5.
        let y = adaptive_pool(x, &[3], AdaptiveKind::Max);
        assert_eq!(y.to_data().try_to_vec::<f32>().unwrap(), [1.0, 8.0, 8.0]);
    }

    #[test]
    fn a_padding_that_misses_the_map_is_refused() {
        let config = PoolConfig::new(PoolKind::Max, 2).with_padding(Padding::explicit(2));
        let error = config.output_shape([1, 1, 8, 8]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Pool: padding 2 + 2 of the height lets a window of 2 miss the map. Use a padding smaller than the kernel."
        );
    }

    #[test]
    fn display() {
        assert_eq!(
            PoolConfig::new(PoolKind::Max, 2).init().to_string(),
            "Pool {kind: Max, kernel_size: 2, stride: 2, padding: Valid, ceil_mode: false}"
        );
    }
}
