//! [`Down`]: shrink a map by a whole factor.

use alloc::{format, vec, vec::Vec};

use burn::config::Config;
use burn::module::{Content, Module, ModuleDisplay};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::cpu::{AxisMap, map_axes};
use crate::graph::{AxisPadding, Map, Op, PadMode, Planner, Record, WindowOp};
use crate::layers::conv::{Conv, ConvConfig};
use crate::layers::layer::Layer;
use crate::layers::pixel_shuffle::{BlockOrder, pixel_unshuffle};
use crate::layers::pool::{Pool, PoolConfig, PoolKind};
use crate::plan::Trace;
use crate::shape::{
    PerAxis, ShapeError, axis_name, check_channels, check_not_empty, check_not_huge,
    check_positive, expect, with_channels, with_spatial,
};

const NAME: &str = "Down";

/// How a map is made smaller. The channels come from the layer that this belongs to.
///
/// # Example
/// ```
/// use burn_skip::{Trace, down::DownConfig};
///
/// // Of an odd size a pool leaves out the last row; a strided convolution rounds up.
/// assert_eq!(DownConfig::max().output_shape([1, 4, 33, 32]).unwrap(), [1, 4, 16, 16]);
/// assert_eq!(DownConfig::conv().output_shape([1, 4, 33, 32]).unwrap(), [1, 4, 17, 16]);
/// // A pixel unshuffle loses nothing, and takes no odd size.
/// let unshuffle = DownConfig::pixel_unshuffle();
/// assert_eq!(unshuffle.output_shape([1, 4, 32, 32]).unwrap(), [1, 16, 16, 16]);
/// assert_eq!(unshuffle.output_shape([1, 4, 33, 32]).unwrap_err().remedy, "Fit the map to 34 first");
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub enum DownConfig {
    /// A max or average pool.
    Pool(PoolConfig),
    /// A convolution that keeps the channels.
    Conv {
        /// The size of the kernel; the padding is `same`.
        #[serde(default = "crate::defaults::three")]
        kernel_size: PerAxis,
        /// The factor.
        #[serde(default = "crate::defaults::two")]
        stride: PerAxis,
    },
    /// A binomial blur, then every `stride`-th position (arXiv:1904.11486), so that a shift of the
    /// input by one shifts the output smoothly. The map is reflected at its edges.
    Blur {
        /// The length of the filter: 3 for `[1, 2, 1] / 4`.
        #[serde(default = "crate::defaults::taps")]
        taps: usize,
        /// The factor.
        #[serde(default = "crate::defaults::two")]
        stride: PerAxis,
    },
    /// Each cell of `prod(scale)` positions becomes as many channels (`torch.nn.PixelUnshuffle`).
    PixelUnshuffle {
        /// The factor; it must divide the size.
        #[serde(default = "crate::defaults::two")]
        scale: PerAxis,
        /// Which channels a cell becomes.
        #[serde(default)]
        order: BlockOrder,
    },
}

impl Config for DownConfig {}

impl DownConfig {
    /// A 2x2 max pool.
    pub fn max() -> Self {
        Self::Pool(PoolConfig::new(PoolKind::Max, 2))
    }

    /// A 2x2 average pool.
    pub fn avg() -> Self {
        Self::Pool(PoolConfig::new(PoolKind::Avg, 2))
    }

    /// A 3x3 convolution with stride 2.
    pub fn conv() -> Self {
        Self::Conv {
            kernel_size: 3.into(),
            stride: 2.into(),
        }
    }

    /// A blur with `[1, 2, 1] / 4` and stride 2.
    pub fn blur() -> Self {
        Self::Blur {
            taps: 3,
            stride: 2.into(),
        }
    }

    /// Cells of 2x2 become four times the channels, in PyTorch's order.
    pub fn pixel_unshuffle() -> Self {
        Self::PixelUnshuffle {
            scale: 2.into(),
            order: BlockOrder::ChannelMajor,
        }
    }

    /// The channels after a map of rank `rank` with `channels` channels was made smaller.
    ///
    /// # Errors
    /// When the factor has another number of axes than the map, or there would be more than 2^20 channels.
    pub fn out_channels(&self, channels: usize, rank: usize) -> Result<usize, ShapeError> {
        match self {
            Self::PixelUnshuffle { scale, .. } => {
                let scale = scale.resolve_positive(rank, NAME, "scale")?;
                let channels = scale.into_iter().fold(channels, usize::saturating_mul);
                check_not_huge(NAME, "the channels after the pixel unshuffle", channels)?;
                Ok(channels)
            }
            _ => Ok(channels),
        }
    }

    /// Checks the options for maps of rank `R`.
    ///
    /// # Errors
    /// When a number is zero or a list is of another length than the map has spatial axes.
    pub fn validate<const R: usize>(&self) -> Result<(), ShapeError> {
        let (what, factor) = match self {
            Self::Pool(pool) => return pool.validate::<R>(),
            Self::Conv {
                kernel_size,
                stride,
            } => {
                kernel_size.resolve_positive(R, NAME, "kernel_size")?;
                ("stride", stride)
            }
            Self::Blur { taps, stride } => {
                if !(1..=MAX_TAPS).contains(taps) {
                    return Err(ShapeError::new(
                        NAME,
                        format!("taps are {taps}"),
                        format!("Choose 1 to {MAX_TAPS}"),
                    ));
                }
                ("stride", stride)
            }
            Self::PixelUnshuffle { scale, .. } => ("scale", scale),
        };
        factor.resolve_positive(R, NAME, what).map(|_| ())
    }

    /// Builds the layer for maps with `channels` channels.
    ///
    /// # Panics
    /// When [`validate`](Self::validate) returns an error, with its message, or there are no channels.
    pub fn init<const R: usize>(&self, channels: usize, device: &Device) -> Down<R> {
        expect(self.validate::<R>());
        expect(check_positive(NAME, "channels", channels));
        let conv = match self {
            Self::Conv {
                kernel_size,
                stride,
            } => Some(strided(channels, kernel_size, stride).init(device)),
            _ => None,
        };
        Down {
            conv,
            config: self.clone(),
            channels,
        }
    }
}

impl<const R: usize> Trace<R> for DownConfig {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        planner.node(NAME, &[x], |planner| {
            check_not_empty(NAME, x.shape)?;
            self.validate::<R>()?;
            match self {
                Self::Pool(pool) => pool.trace(planner.at("pool"), x),
                Self::Conv {
                    kernel_size,
                    stride,
                } => strided(x.shape[1], kernel_size, stride).trace(planner.at("conv"), x),
                Self::Blur { taps, stride } => {
                    let stride = stride.resolve_positive(R, NAME, "stride")?;
                    trace_blur(planner, x, *taps, stride)
                }
                Self::PixelUnshuffle { scale, order } => {
                    let channels = self.out_channels(x.shape[1], R)?;
                    let scale = scale.resolve_positive(R, NAME, "scale")?;
                    trace_unshuffle(planner, x, channels, (scale, *order))
                }
            }
        })
    }
}

/// Records a blur of `taps` taps and a step of `stride`.
fn trace_blur<const R: usize>(
    planner: &mut Planner,
    x: &Map<R>,
    taps: usize,
    stride: Vec<usize>,
) -> Result<Map<R>, ShapeError> {
    planner.leaf("Blur", &[x], || {
        let size: Vec<usize> = (0..R - 2)
            .map(|n| blurred_size(x.shape[2 + n], taps, stride[n], axis_name(2 + n, R)))
            .collect::<Result<_, _>>()?;
        let padding = |n: usize| AxisPadding {
            start: blur_padding(taps, stride[n]),
            end: blur_padding(taps, stride[n]),
        };
        let window = WindowOp {
            kernel_size: vec![taps; R - 2],
            dilation: vec![1; R - 2],
            padding: (0..R - 2).map(padding).collect(),
            ceil_mode: false,
            stride,
        };
        let grid =
            x.regrid(|n, grid| grid.window([taps, window.stride[n], 1, window.padding[n].start]));
        let padding = PadMode::Reflect;
        Ok(Record::new(Op::Blur { window, padding }, with_spatial(x.shape, &size)).on_grid(grid))
    })
}

/// Records a pixel unshuffle to `channels` channels.
fn trace_unshuffle<const R: usize>(
    planner: &mut Planner,
    x: &Map<R>,
    channels: usize,
    (scale, order): (Vec<usize>, BlockOrder),
) -> Result<Map<R>, ShapeError> {
    let is_any_size = planner.is_any_size();
    planner.leaf("PixelUnshuffle", &[x], || {
        let mut output = with_channels(x.shape, channels);
        for (n, &scale) in scale.iter().enumerate() {
            let size = x.shape[2 + n];
            if !size.is_multiple_of(scale) && !is_any_size {
                return Err(ShapeError::new(
                    NAME,
                    format!(
                        "{} {size} is no multiple of the scale {scale}",
                        axis_name(2 + n, R),
                    ),
                    match size.checked_next_multiple_of(scale) {
                        Some(fitted) => format!("Fit the map to {fitted} first"),
                        None => "Choose a smaller map".into(),
                    },
                ));
            }
            output[2 + n] = size / scale;
        }
        let grid = x.regrid(|n, grid| grid.window([scale[n], scale[n], 1, 0]));
        Ok(Record::new(Op::PixelUnshuffle { scale, order }, output).on_grid(grid))
    })
}

/// Beyond so many, the binomial coefficients leave the range in which they are exact.
const MAX_TAPS: usize = 50;

/// The convolution of [`DownConfig::Conv`].
fn strided(channels: usize, kernel_size: &PerAxis, stride: &PerAxis) -> ConvConfig {
    ConvConfig::new([channels, channels], kernel_size.clone()).with_stride(stride.clone())
}

/// The size that the blur and the step leave of an axis.
fn blurred_size(size: usize, taps: usize, stride: usize, axis: &str) -> Result<usize, ShapeError> {
    let pad = blur_padding(taps, stride);
    if pad >= size || size + 2 * pad < taps {
        return Err(ShapeError::new(
            NAME,
            format!("{axis} {size}, reflected by {pad}, is too short for a blur of {taps} taps"),
            "Use fewer taps, or a larger map",
        ));
    }
    Ok((size + 2 * pad - taps) / stride + 1)
}

/// How many positions are reflected at each end, as in timm's `BlurPool2d`.
fn blur_padding(taps: usize, stride: usize) -> usize {
    (stride - 1 + taps - 1) / 2
}

/// The row of Pascal's triangle with `taps` numbers, scaled to the sum 1.
fn binomial(taps: usize) -> Vec<f64> {
    let mut row = vec![0.0; taps];
    row[0] = 1.0;
    for _ in 1..taps {
        for i in (1..taps).rev() {
            row[i] += row[i - 1];
        }
    }
    let total: f64 = row.iter().sum();
    row.iter().map(|value| value / total).collect()
}

/// The blur and the step along one axis, as one map.
fn blur_map([size, output]: [usize; 2], taps: usize, stride: usize) -> AxisMap {
    let pad = blur_padding(taps, stride) as isize;
    let last = size as isize - 1;
    let filter = binomial(taps);
    let mut map = AxisMap::zero(output, size, taps);
    for i in 0..output {
        for (tap, &weight) in filter.iter().enumerate() {
            let position = ((i * stride + tap) as isize - pad).abs();
            let reflected = last - (last - position).abs();
            map.add(i, reflected as usize, weight);
        }
    }
    map
}

/// Shrinks a map: [by a pool](DownConfig::Pool), [by a convolution](DownConfig::Conv),
/// [by a blur](DownConfig::Blur) or [by pixel unshuffle](DownConfig::PixelUnshuffle).
///
/// # Shapes
/// - input: `[batch, channels, spatial...]`
/// - output: `[batch, out_channels, spatial / factor...]`
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::{Layer, down::{Down, DownConfig}};
///
/// let device = Device::flex();
/// let down: Down = DownConfig::blur().init(8, &device);
/// assert_eq!(down.forward(Tensor::zeros([1, 8, 33, 32], &device)).dims(), [1, 8, 17, 16]);
/// ```
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct Down<const R: usize = 4> {
    /// The convolution of [`DownConfig::Conv`]; the others have nothing to learn.
    pub conv: Option<Conv<R>>,
    /// The options that the layer was built with.
    #[module(skip)]
    pub config: DownConfig,
    /// The channels of the input.
    #[module(skip)]
    pub channels: usize,
}

impl<const R: usize> Trace<R> for Down<R> {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        match check_channels(NAME, x.shape, self.channels) {
            Ok(()) => self.config.trace(planner, x),
            Err(error) => planner.opaque(NAME, x, 0, Err(error)),
        }
    }
}

impl<const R: usize> Layer<R> for Down<R> {
    fn forward(&self, x: Tensor<R>) -> Tensor<R> {
        let output = expect(self.output_shape(x.dims()));
        match &self.config {
            DownConfig::Pool(pool) => Layer::forward(&Pool::new(pool.clone()), x),
            DownConfig::Conv { .. } => self.conv.forward(x),
            DownConfig::Blur { taps, stride } => {
                let stride = expect(stride.resolve_positive(R, NAME, "stride"));
                let dims = x.dims();
                let axes = 2..R;
                let map = |axis: usize| {
                    let size = [dims[axis], output[axis]];
                    (axis, blur_map(size, *taps, stride[axis - 2]))
                };
                map_axes(x, axes.map(map).collect())
            }
            DownConfig::PixelUnshuffle { scale, order } => {
                let scale = expect(scale.resolve_positive(R, NAME, "scale"));
                pixel_unshuffle(x, &scale, *order)
            }
        }
    }
}

impl<const R: usize> ModuleDisplay for Down<R> {
    fn custom_content(&self, content: Content) -> Option<Content> {
        let content = content.add_debug_attribute("config", &self.config);
        match &self.conv {
            Some(conv) => content.add("conv", conv).optional(),
            None => content.optional(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn shrunk(config: DownConfig, values: &[f32]) -> Vec<f32> {
        let device = Device::flex();
        let x = Tensor::<1>::from_floats(values, &device).reshape([1, 1, values.len()]);
        let down: Down<3> = config.init(1, &device);
        down.forward(x).to_data().try_to_vec().unwrap()
    }

    #[test]
    fn binomial_rows() {
        assert_eq!(binomial(1), [1.0]);
        assert_eq!(binomial(3), [0.25, 0.5, 0.25]);
        assert_eq!(binomial(4), [0.125, 0.375, 0.375, 0.125]);
    }

    #[test]
    fn a_blur_reflects_at_the_edges() {
        // (3 + 2 1 + 3) / 4 and (3 + 2 5 + 3) / 4
        assert_eq!(shrunk(DownConfig::blur(), &[1.0, 3.0, 5.0]), [2.0, 4.0]);
    }

    #[test]
    fn pixel_unshuffle_moves_positions_to_channels() {
        let y = shrunk(DownConfig::pixel_unshuffle(), &[1.0, 2.0, 3.0, 4.0]);
        assert_eq!(y, [1.0, 3.0, 2.0, 4.0]);
        let error = DownConfig::pixel_unshuffle()
            .output_shape([1, 1, 5])
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "Down: length 5 is no multiple of the scale 2. Fit the map to 6 first."
        );
    }

    #[test]
    fn a_strided_convolution_rounds_up() {
        assert_eq!(
            DownConfig::conv().output_shape([1, 4, 33, 32]),
            Ok([1, 4, 17, 16])
        );
    }
}
