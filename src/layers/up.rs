//! [`Up`]: enlarge a map with a layer, to a scale or to the size of another map.

use alloc::{format, vec, vec::Vec};

use burn::config::Config;
use burn::module::{Content, Module, ModuleDisplay};
use burn::tensor::{Device, Tensor, ops::PadMode};
use serde::{Deserialize, Serialize};

use crate::graph::{AxisPadding, Map, Op, Planner, Record, WindowOp};
use crate::layers::conv::{
    Conv, ConvConfig, ConvTranspose, ConvTransposeConfig, LazyConcat, TransposedPadding,
};
use crate::layers::layer::Layer;
use crate::layers::param::Rows;
use crate::layers::pixel_shuffle::{BlockOrder, pixel_shuffle};
use crate::layers::pool::{PoolConfig, PoolKind};
use crate::layers::resize::{ResizeMode, resize, resize_shape, trace_resize, whole_factors};
use crate::plan::Trace;
use crate::shape::{
    PerAxis, ShapeError, axis_name, check_channels, check_not_huge, check_positive, expect, scaled,
    spatial, with_channels, with_spatial,
};

const NAME: &str = "Up";

/// How a map is enlarged. The channels come from the layer that the enlargement belongs to.
///
/// # Example
/// ```
/// use burn_skip::up::UpConfig;
///
/// let shape = |up: UpConfig| up.output_shape_to([8, 4], [1, 8, 6, 6], &[15, 15]);
/// assert_eq!(shape(UpConfig::linear()).unwrap(), [1, 8, 15, 15]);
/// assert!(shape(UpConfig::pixel_shuffle()).is_err()); // it gives 12 and nothing else
/// let solved = UpConfig::conv_transpose_between(&[6, 6], &[15, 15]).unwrap();
/// assert_eq!(shape(solved).unwrap(), [1, 4, 15, 15]);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub enum UpConfig {
    /// By interpolation. Reaches every size.
    Resize {
        /// The interpolation.
        mode: ResizeMode,
        /// The scale when no size is asked for.
        #[serde(default = "crate::defaults::two")]
        scale: PerAxis,
        /// Whether a 1x1 convolution changes the channels first. Every mode is a weighted mean of
        /// pixels, so that it commutes with the 1x1 convolution, which is cheaper on the small map.
        #[serde(default)]
        project: bool,
    },
    /// By a transposed convolution whose paddings are solved for the size that is asked for.
    ConvTranspose {
        /// The size of the kernel: a multiple of the stride overlaps evenly.
        #[serde(default = "crate::defaults::two")]
        kernel_size: PerAxis,
        /// The scale.
        #[serde(default = "crate::defaults::two")]
        stride: PerAxis,
        /// What is cut of the full output.
        #[serde(default)]
        padding: TransposedPadding,
    },
    /// By a 1x1 convolution to `prod(scale)` times the channels and a pixel shuffle
    /// (arXiv:1609.05158), initialised as a nearest upsampling (ICNR, arXiv:1707.02937).
    PixelShuffle {
        /// The scale.
        #[serde(default = "crate::defaults::two")]
        scale: PerAxis,
        /// Whether a 2x2 mean follows, which removes what checkerboard is left (arXiv:1806.02658).
        #[serde(default)]
        blur: bool,
        /// Which channels become one cell.
        #[serde(default)]
        order: BlockOrder,
    },
}

impl Config for UpConfig {}

impl UpConfig {
    /// Nearest-neighbour interpolation by 2, no projection.
    pub fn nearest() -> Self {
        Self::resize(ResizeMode::Nearest)
    }

    /// Linear interpolation (half-pixel) by 2, no projection.
    pub fn linear() -> Self {
        Self::resize(ResizeMode::linear())
    }

    /// Interpolation by 2, no projection.
    pub fn resize(mode: ResizeMode) -> Self {
        Self::Resize {
            mode,
            scale: 2.into(),
            project: false,
        }
    }

    /// A transposed convolution with kernel 2 and stride 2, as in the U-Net paper.
    pub fn conv_transpose() -> Self {
        Self::ConvTranspose {
            kernel_size: 2.into(),
            stride: 2.into(),
            padding: TransposedPadding::Solved,
        }
    }

    /// The transposed convolution that takes maps of size `from` to exactly `to`.
    ///
    /// # Errors
    /// As [`ConvTransposeConfig::between`].
    pub fn conv_transpose_between(from: &[usize], to: &[usize]) -> Result<Self, ShapeError> {
        let solved = ConvTransposeConfig::between([1, 1], from, to)?;
        Ok(Self::ConvTranspose {
            kernel_size: solved.kernel_size,
            stride: solved.stride,
            padding: solved.padding,
        })
    }

    /// A pixel shuffle by 2, in PyTorch's order and without blur.
    pub fn pixel_shuffle() -> Self {
        Self::PixelShuffle {
            scale: 2.into(),
            blur: false,
            order: BlockOrder::ChannelMajor,
        }
    }

    /// The channels after the enlargement of a map with `input` channels, when `wanted` are asked
    /// for: all but a resize without projection give what is wanted.
    pub const fn out_channels(&self, input: usize, wanted: usize) -> usize {
        match self {
            Self::Resize { project: false, .. } => input,
            _ => wanted,
        }
    }

    /// The scale when no size is asked for.
    fn scale<const R: usize>(&self) -> Result<Vec<usize>, ShapeError> {
        let (what, scale) = match self {
            Self::Resize { scale, .. } | Self::PixelShuffle { scale, .. } => ("scale", scale),
            Self::ConvTranspose { stride, .. } => ("stride", stride),
        };
        scale.resolve_positive(R, NAME, what)
    }

    /// The transposed convolution, if it is one.
    fn transposed(&self, channels: [usize; 2]) -> Option<ConvTransposeConfig> {
        let Self::ConvTranspose {
            kernel_size,
            stride,
            padding,
        } = self
        else {
            return None;
        };
        let config = ConvTransposeConfig::new(channels, kernel_size.clone(), stride.clone());
        Some(config.with_padding(*padding))
    }

    /// The size of the output when no other is wanted.
    fn natural_size<const R: usize>(&self, input: [usize; R]) -> Result<Vec<usize>, ShapeError> {
        match self.transposed([1, 1]) {
            Some(config) => config.natural_size(input),
            None => Ok(scaled(input, &self.scale::<R>()?)),
        }
    }

    /// Checks the options for maps of rank `R`.
    ///
    /// # Errors
    /// When a number is zero, or a list is of another length than the map has spatial axes.
    pub fn validate<const R: usize>(&self) -> Result<(), ShapeError> {
        self.scale::<R>()?;
        match self {
            Self::ConvTranspose { kernel_size, .. } => kernel_size
                .resolve_positive(R, NAME, "kernel_size")
                .map(|_| ()),
            Self::Resize { .. } | Self::PixelShuffle { .. } => Ok(()),
        }
    }

    /// As [`validate`](Self::validate), and that the layer can be built for maps with `channels[0]`
    /// channels, of which `channels[1]` are wanted.
    pub(crate) fn validate_channels<const R: usize>(
        &self,
        [input, wanted]: [usize; 2],
    ) -> Result<(), ShapeError> {
        self.validate::<R>()?;
        check_positive(NAME, "in_channels", input)?;
        check_positive(NAME, "out_channels", wanted)?;
        if let Self::PixelShuffle { .. } = self {
            let cell = self
                .scale::<R>()?
                .into_iter()
                .fold(1, usize::saturating_mul);
            let channels = wanted.saturating_mul(cell);
            check_not_huge(NAME, "the channels before the pixel shuffle", channels)?;
        }
        Ok(())
    }

    /// Refuses channels that are asked for by name and that this enlargement does not give.
    pub(crate) fn check_asked(&self, input: usize, asked: Option<usize>) -> Result<(), ShapeError> {
        match asked {
            Some(asked) if self.out_channels(input, asked) != asked => Err(ShapeError::new(
                NAME,
                format!("up_channels are {asked}, and a resize without projection keeps {input}"),
                "Set project of UpConfig::Resize, or leave up_channels out",
            )),
            _ => Ok(()),
        }
    }

    /// The size nearest to `target` that this enlargement can give, axis by axis: the target
    /// itself, or else what it gives when no size is wanted.
    pub(crate) fn reach<const R: usize>(
        &self,
        channels: [usize; 2],
        input: [usize; R],
        target: &[usize],
    ) -> Result<Vec<usize>, ShapeError> {
        let natural = self.natural_size(input)?;
        let reach_axis = |n: usize| {
            let mut wanted = natural.clone();
            wanted[n] = target[n];
            match self.output_shape_to(channels, input, &wanted) {
                Ok(_) => target[n],
                Err(_) => natural[n],
            }
        };
        Ok((0..R - 2).map(reach_axis).collect())
    }

    /// The shape of a map with `channels[0]` channels after it was enlarged by its scale to
    /// `channels[1]` channels, as far as that [changes them](Self::out_channels).
    ///
    /// # Errors
    /// As [`output_shape_to`](Self::output_shape_to).
    pub fn output_shape<const R: usize>(
        &self,
        channels: [usize; 2],
        input: [usize; R],
    ) -> Result<[usize; R], ShapeError> {
        Planner::output_shape(input, |planner, x| {
            self.trace_to(planner, channels, x, None)
        })
    }

    /// As [`output_shape`](Self::output_shape), to the spatial size `target`.
    ///
    /// # Errors
    /// When the channels differ, an axis is empty, the target cannot be hit, or the configuration
    /// is invalid.
    pub fn output_shape_to<const R: usize>(
        &self,
        channels: [usize; 2],
        input: [usize; R],
        target: &[usize],
    ) -> Result<[usize; R], ShapeError> {
        Planner::output_shape(input, |planner, x| {
            self.trace_to(planner, channels, x, Some(target))
        })
    }

    /// Records an enlargement to the spatial size `target`, or by its scale.
    pub(crate) fn trace_to<const R: usize>(
        &self,
        planner: &mut Planner,
        channels: [usize; 2],
        x: &Map<R>,
        target: Option<&[usize]>,
    ) -> Result<Map<R>, ShapeError> {
        planner.node(NAME, &[x], |planner| {
            self.validate_channels::<R>(channels)?;
            check_channels(NAME, x.shape, channels[0])?;
            let target = match (target, planner.is_any_size()) {
                (Some(target), false) => target.to_vec(),
                (_, true) => spatial(&x.shape).to_vec(),
                (None, false) => self.natural_size(x.shape)?,
            };
            if !planner.is_any_size() {
                resize_shape(x.shape, &target).map_err(|e| e.with_layer(NAME))?;
            }
            let output = self.out_channels(channels[0], channels[1]);
            match self {
                Self::ConvTranspose {
                    kernel_size,
                    stride,
                    padding,
                } => ConvTransposeConfig::new(
                    [channels[0], output],
                    kernel_size.clone(),
                    stride.clone(),
                )
                .with_padding(*padding)
                .trace_to(planner.at("layer"), x, Some(&target)),
                Self::Resize { mode, project, .. } => {
                    let conv = project.then(|| ConvConfig::new(channels, 1));
                    let x = conv.trace(planner.at("layer"), x)?;
                    trace_resize(planner.at(""), &x, &target, *mode)
                }
                Self::PixelShuffle { blur, .. } => {
                    let scale = self.scale::<R>()?;
                    let cell = scale.iter().copied().fold(output, usize::saturating_mul);
                    let x =
                        ConvConfig::new([channels[0], cell], 1).trace(planner.at("layer"), x)?;
                    let y = trace_shuffle(planner.at(""), &x, output, &target, scale)?;
                    match blur {
                        true => trace_blur(planner.at(""), &y),
                        false => Ok(y),
                    }
                }
            }
        })
    }

    /// Builds the layer for maps with `channels[0]` channels; `channels[1]` are wanted, and given
    /// as far as the layer [changes them](Self::out_channels).
    ///
    /// # Panics
    /// When [`validate`](Self::validate) returns an error, with its message, or a number of channels is
    /// zero, or too large for a pixel shuffle.
    pub fn init<const R: usize>(&self, channels: [usize; 2], device: &Device) -> Up<R> {
        expect(self.validate_channels::<R>(channels));
        let [input, wanted] = channels;
        let layer = match (self, self.transposed(channels)) {
            (_, Some(transposed)) => UpLayer::Transpose(transposed.init(device)),
            (Self::PixelShuffle { order, .. }, _) => {
                let cell = expect(self.scale::<R>()).iter().product();
                UpLayer::Project(Some(icnr(channels, cell, *order, device)))
            }
            (Self::Resize { project, .. }, _) => {
                UpLayer::Project(project.then(|| ConvConfig::new([input, wanted], 1).init(device)))
            }
            (Self::ConvTranspose { .. }, None) => unreachable!("it has a transposed convolution"),
        };
        Up {
            layer,
            config: self.clone(),
            channels,
        }
    }
}

/// A 1x1 convolution in which the `cell` channels that become one cell of the output start with the
/// same weights, so that the shuffle starts as a nearest upsampling and draws no checkerboard.
fn icnr<const R: usize>(
    [input, output]: [usize; 2],
    cell: usize,
    order: BlockOrder,
    device: &Device,
) -> Conv<R> {
    let config = ConvConfig::new([input, output * cell], 1);
    expect(config.validate::<R>());
    let mut shape = [1; R];
    shape[0] = output * cell;
    shape[1] = input;
    let rows = Rows {
        copies: cell,
        side_by_side: order == BlockOrder::ChannelMajor,
        fans: [input, output * cell],
    };
    let weight = rows.param(&config.initializer, shape, device);
    let bias = rows.param(&config.initializer, [shape[0]], device);
    config.with_parameters(weight, Some(bias))
}

/// Records a pixel shuffle to `channels` channels, which can reach no other size than its scale gives.
fn trace_shuffle<const R: usize>(
    planner: &mut Planner,
    x: &Map<R>,
    channels: usize,
    target: &[usize],
    scale: Vec<usize>,
) -> Result<Map<R>, ShapeError> {
    let is_any_size = planner.is_any_size();
    planner.leaf("PixelShuffle", &[x], || {
        let natural = scaled(x.shape, &scale);
        let missed = (0..R - 2).find(|&n| target[n] != natural[n] && !is_any_size);
        if let Some(n) = missed {
            return Err(ShapeError::new(
                NAME,
                format!(
                    "a pixel shuffle takes {} {} to {}, and {} is wanted",
                    axis_name(2 + n, R),
                    x.shape[2 + n],
                    natural[n],
                    target[n]
                ),
                "Choose a fit for the rest (Fit::PadOrCrop, Fit::Resize), or UpConfig::Resize",
            ));
        }
        let grid = x.regrid(|n, grid| grid.resized(x.shape[2 + n], target[n], 1));
        let output = with_channels(with_spatial(x.shape, target), channels);
        Ok(Record::new(Op::PixelShuffle { scale }, output).on_grid(grid))
    })
}

/// Records [`blur`].
fn trace_blur<const R: usize>(planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
    planner.leaf("Blur", &[x], || {
        let window = WindowOp {
            kernel_size: vec![2; R - 2],
            stride: vec![1; R - 2],
            dilation: vec![1; R - 2],
            padding: vec![AxisPadding { start: 1, end: 0 }; R - 2],
            ceil_mode: false,
        };
        let grid = x.regrid(|_, grid| grid.window([2, 1, 1, 1]));
        Ok(Record::new(Op::Blur(window), x.shape).on_grid(grid))
    })
}

/// The mean of each position and the ones before it, the edge repeated: it keeps the size.
fn blur<const R: usize>(x: Tensor<R>) -> Tensor<R> {
    let mut pads = [(1, 0); R];
    pads[..2].fill((0, 0));
    PoolConfig::new(PoolKind::Avg, 2)
        .with_stride(1)
        .init()
        .forward(x.pad(pads, PadMode::Edge))
}

/// What an enlargement has to learn.
///
/// # Example
/// ```
/// use burn::tensor::Device;
/// use burn_skip::up::{UpConfig, UpLayer};
///
/// let up = UpConfig::linear().init::<4>([8, 4], &Device::flex());
/// assert!(matches!(up.layer, UpLayer::Project(None))); // nothing to learn
/// let up = UpConfig::conv_transpose().init::<4>([8, 4], &Device::flex());
/// let UpLayer::Transpose(layer) = up.layer else { unreachable!() };
/// assert_eq!(layer.weight.val().dims(), [8, 4, 2, 2]);
/// ```
#[derive(Module, Debug)]
pub enum UpLayer<const R: usize = 4> {
    /// A 1x1 convolution before the resize or the shuffle, or nothing.
    Project(Option<Conv<R>>),
    /// The transposed convolution.
    Transpose(ConvTranspose<R>),
}

/// Enlarges a map: [by interpolation](UpConfig::Resize), [by a transposed
/// convolution](UpConfig::ConvTranspose) or [by a pixel shuffle](UpConfig::PixelShuffle).
///
/// # Shapes
/// - input: `[batch, in_channels, spatial...]`
/// - output: `[batch, out_channels, target...]`; the target of [`forward`](Layer::forward) is
///   `size * scale`, that of [`forward_to`](Self::forward_to) is given
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::up::{Up, UpConfig};
///
/// let device = Device::flex();
/// let up: Up = UpConfig::linear().init([128, 128], &device);
/// assert_eq!(up.forward_to(Tensor::zeros([1, 128, 6, 6], &device), &[15, 15]).dims(), [1, 128, 15, 15]);
/// ```
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct Up<const R: usize = 4> {
    /// The weights.
    pub layer: UpLayer<R>,
    /// The options that the layer was built with.
    #[module(skip)]
    pub config: UpConfig,
    /// The channels of the input, and those that are wanted.
    #[module(skip)]
    pub channels: [usize; 2],
}

impl<const R: usize> Up<R> {
    /// The shape of the output for an input of shape `input`, at the spatial size `target`.
    ///
    /// # Errors
    /// As [`UpConfig::output_shape_to`].
    pub fn output_shape_to(
        &self,
        input: [usize; R],
        target: &[usize],
    ) -> Result<[usize; R], ShapeError> {
        self.config.output_shape_to(self.channels, input, target)
    }

    /// As [`forward_to`](Self::forward_to), and a map that is enlarged by repeating its positions is not
    /// written.
    pub(crate) fn forward_parts_to(&self, parts: LazyConcat<R>, target: &[usize]) -> LazyConcat<R> {
        if let (UpLayer::Project(conv), UpConfig::Resize { mode, .. }) = (&self.layer, &self.config)
            && let input = parts.dims()
            && let Some(factors) = whole_factors(&input[2..], target, *mode, parts.dtype())
        {
            expect(self.output_shape_to(input, target));
            return conv.forward_parts(parts).enlarged(&factors);
        }
        self.forward_to(parts.into_tensor(), target).into()
    }

    /// Enlarges `x` to the spatial size `target`.
    ///
    /// # Panics
    /// When [`output_shape_to`](Self::output_shape_to) returns an error, with its message.
    pub fn forward_to(&self, x: Tensor<R>, target: &[usize]) -> Tensor<R> {
        expect(self.output_shape_to(x.dims(), target));
        let conv = match &self.layer {
            UpLayer::Transpose(transpose) => return transpose.forward_to(x, target),
            UpLayer::Project(conv) => conv,
        };
        let x = conv.forward(x);
        match &self.config {
            UpConfig::Resize { mode, .. } => resize(x, target, *mode),
            UpConfig::PixelShuffle {
                blur: smooth,
                order,
                ..
            } => {
                let x = pixel_shuffle(x, &expect(self.config.scale::<R>()), *order);
                if *smooth { blur(x) } else { x }
            }
            UpConfig::ConvTranspose { .. } => unreachable!("it is built with UpLayer::Transpose"),
        }
    }
}

impl<const R: usize> Trace<R> for Up<R> {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        self.config.trace_to(planner, self.channels, x, None)
    }
}

impl<const R: usize> Layer<R> for Up<R> {
    fn forward(&self, x: Tensor<R>) -> Tensor<R> {
        let output = expect(self.output_shape(x.dims()));
        self.forward_to(x, spatial(&output))
    }
}

impl<const R: usize> ModuleDisplay for Up<R> {
    fn custom_content(&self, content: Content) -> Option<Content> {
        let content = content.add_debug_attribute("config", &self.config);
        match &self.layer {
            UpLayer::Project(conv) => content.add("projection", conv).optional(),
            UpLayer::Transpose(transpose) => content.add("transpose", transpose).optional(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn a_projection_is_optional_and_the_others_have_one() {
        let params = |config: UpConfig| config.init::<4>([6, 2], &Device::flex()).num_params();
        assert_eq!(params(UpConfig::nearest()), 0);
        assert_eq!(params(UpConfig::conv_transpose()), 6 * 2 * 4 + 2);
        assert_eq!(params(UpConfig::pixel_shuffle()), 6 * 8 + 8);
    }

    #[test]
    fn the_solved_transposed_convolution_hits_15_from_6() {
        let config = UpConfig::conv_transpose_between(&[6, 6], &[15, 15]).unwrap();
        let shape = config.output_shape_to([8, 4], [1, 8, 6, 6], &[15, 15]);
        assert_eq!(shape, Ok([1, 4, 15, 15]));
    }

    #[test]
    fn a_shuffle_is_blurred_towards_the_start() {
        let x = Tensor::<3>::from_floats([[[1.0, 3.0, 7.0]]], &Device::flex());
        let y = blur(x).to_data().try_to_vec::<f32>().unwrap();
        assert_eq!(y, [1.0, 2.0, 5.0]);
    }

    #[test]
    fn a_shuffle_that_misses_its_target_says_so() {
        let error = UpConfig::pixel_shuffle()
            .output_shape_to([8, 4], [1, 8, 6, 6], &[12, 15])
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "Up: a pixel shuffle takes width 6 to 12, and 15 is wanted. \
             Choose a fit for the rest (Fit::PadOrCrop, Fit::Resize), or UpConfig::Resize."
        );
    }

    #[test]
    fn display() {
        let up: Up = UpConfig::conv_transpose().init([4, 2], &Device::flex());
        let expected = "\
Up {
  config: ConvTranspose { kernel_size: All(2), stride: All(2), padding: Solved }
  transpose: ConvTranspose {channels: [4, 2], kernel_size: 2, stride: 2, params: 34}
  params: 34
}";
        assert_eq!(up.to_string(), expected);
    }
}
