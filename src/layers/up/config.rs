//! [`UpConfig`]: how a map is enlarged, and its trace.

use alloc::{format, vec::Vec};

use burn::config::Config;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::carafe::Reassembly;
use super::shuffle::{icnr, trace_blur, trace_shuffle};
use super::{NAME, Up, UpLayer};
use crate::graph::{Map, Planner};
use crate::layers::conv::{ConvConfig, ConvTransposeConfig, TransposedPadding};
use crate::layers::pixel_shuffle::BlockOrder;
use crate::layers::resize::{ResizeMode, resize_shape, trace_resize};
use crate::plan::Trace;
use crate::shape::{
    PerAxis, ShapeError, check_channels, check_not_huge, check_positive, expect, scaled, spatial,
};

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
        /// Whether a bias is added. Default: true.
        #[serde(default = "crate::defaults::yes")]
        bias: bool,
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
    /// By content-aware reassembly (CARAFE, arXiv:1905.02188): each new position is a weighted sum of the neighbourhood
    /// of the old one, with [weights](super::Carafe) computed of the map. It keeps the channels.
    Carafe {
        /// The scale.
        #[serde(default = "crate::defaults::two")]
        scale: PerAxis,
        /// The size of the neighbourhood, an odd number. Default: 5.
        #[serde(default = "crate::defaults::carafe::kernel_size")]
        kernel_size: PerAxis,
        /// The size of the kernel that computes the weights. Default: 3.
        #[serde(default = "crate::defaults::three")]
        encoder_kernel_size: PerAxis,
        /// The channels that the weights are computed from. Default: 64.
        #[serde(default = "crate::defaults::carafe::compressed_channels")]
        compressed_channels: usize,
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
            bias: true,
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
            bias: solved.bias,
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

    /// Content-aware reassembly by 2, of 5x5 neighbours, as mmcv's `CARAFEPack`.
    pub fn carafe() -> Self {
        Self::Carafe {
            scale: 2.into(),
            kernel_size: crate::defaults::carafe::kernel_size(),
            encoder_kernel_size: 3.into(),
            compressed_channels: crate::defaults::carafe::compressed_channels(),
        }
    }

    /// The channels after the enlargement of a map with `input` channels, when `wanted` are asked
    /// for: all but a resize without projection and CARAFE give what is wanted.
    pub const fn out_channels(&self, input: usize, wanted: usize) -> usize {
        match self {
            Self::Resize { project: false, .. } | Self::Carafe { .. } => input,
            _ => wanted,
        }
    }

    /// The scale when no size is asked for.
    pub(super) fn scale<const R: usize>(&self) -> Result<Vec<usize>, ShapeError> {
        let (what, scale) = match self {
            Self::Resize { scale, .. }
            | Self::PixelShuffle { scale, .. }
            | Self::Carafe { scale, .. } => ("scale", scale),
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
            bias,
        } = self
        else {
            return None;
        };
        let config = ConvTransposeConfig::new(channels, kernel_size.clone(), stride.clone());
        Some(config.with_padding(*padding).with_bias(*bias))
    }

    /// The numbers of the reassembly of maps with `channels` channels, if it is one.
    pub(super) fn reassembly<const R: usize>(
        &self,
        channels: usize,
    ) -> Result<Option<Reassembly>, ShapeError> {
        let Self::Carafe {
            kernel_size,
            encoder_kernel_size,
            compressed_channels,
            ..
        } = self
        else {
            return Ok(None);
        };
        let encoder = encoder_kernel_size.resolve_positive(R, NAME, "encoder_kernel_size")?;
        let reassembly = Reassembly {
            channels,
            compressed: *compressed_channels,
            kernel_size: kernel_size.resolve_positive(R, NAME, "kernel_size")?,
            encoder_kernel_size: encoder,
            scale: self.scale::<R>()?,
        };
        reassembly.check().map(|()| Some(reassembly))
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
            Self::Carafe { .. } => self.reassembly::<R>(1).map(|_| ()),
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
        self.reassembly::<R>(input).map(|_| ())
    }

    /// Refuses channels that are asked for by name and that this enlargement does not give.
    pub(crate) fn check_asked(&self, input: usize, asked: Option<usize>) -> Result<(), ShapeError> {
        match asked {
            Some(asked) if self.out_channels(input, asked) != asked => {
                let (what, remedy) = match self {
                    Self::Carafe { .. } => ("CARAFE", "Leave up_channels out"),
                    _ => (
                        "a resize without projection",
                        "Set project of UpConfig::Resize, or leave up_channels out",
                    ),
                };
                let problem = format!("up_channels are {asked}, and {what} keeps {input}");
                Err(ShapeError::new(NAME, problem, remedy))
            }
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

    /// Records an enlargement to the spatial size `target` that a convolution reads as it is: a map that is enlarged by
    /// repeating its positions is not written.
    pub(crate) fn trace_parts_to<const R: usize>(
        &self,
        planner: &mut Planner,
        channels: [usize; 2],
        x: &Map<R>,
        target: &[usize],
    ) -> Result<Map<R>, ShapeError> {
        planner.dispatched(|planner| self.trace_to(planner, channels, x, Some(target)))
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
                    bias,
                } => ConvTransposeConfig::new(
                    [channels[0], output],
                    kernel_size.clone(),
                    stride.clone(),
                )
                .with_padding(*padding)
                .with_bias(*bias)
                .trace_to(planner.at("layer"), x, Some(&target)),
                Self::Resize { mode, project, .. } => {
                    let conv = project.then(|| ConvConfig::new(channels, 1));
                    let x = conv.trace(planner.at("layer"), x)?;
                    trace_resize(planner.at(""), &x, &target, *mode)
                }
                Self::PixelShuffle { blur, order, .. } => {
                    let scale = self.scale::<R>()?;
                    let cell = scale.iter().copied().fold(output, usize::saturating_mul);
                    let x =
                        ConvConfig::new([channels[0], cell], 1).trace(planner.at("layer"), x)?;
                    let what = "a pixel shuffle";
                    let cells = (scale, *order);
                    let y = trace_shuffle(planner.at(""), what, &x, output, &target, cells)?;
                    match blur {
                        true => trace_blur(planner.at(""), &y),
                        false => Ok(y),
                    }
                }
                Self::Carafe { .. } => match self.reassembly::<R>(channels[0])? {
                    Some(reassembly) => reassembly.trace(planner, x, &target),
                    None => unreachable!("it is one"),
                },
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
            (Self::Carafe { .. }, _) => match expect(self.reassembly::<R>(input)) {
                Some(reassembly) => UpLayer::Carafe(reassembly.init(device)),
                None => unreachable!("it is one"),
            },
            (Self::ConvTranspose { .. }, None) => unreachable!("it has a transposed convolution"),
        };
        Up {
            layer,
            config: self.clone(),
            channels,
        }
    }
}
