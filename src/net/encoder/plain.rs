//! [`PlainEncoder`]: the encoder of the U-Net paper, one [`DoubleConv`] per level.

use alloc::{format, vec, vec::Vec};

use burn::config::Config;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::any::{EncoderSpec, check_encoder};
use super::{Encoder, check_widths};
use crate::graph::{Map, Planner};
use crate::layers::block::{ConvStyle, DoubleConv, DoubleConvConfig};
use crate::layers::down::{Down, DownConfig};
use crate::layers::layer::Layer;
use crate::plan::Trace;
use crate::setters::setters;
use crate::shape::{ShapeError, check_positive, expect};

const NAME: &str = "PlainEncoder";

/// Configuration of [`PlainEncoder`].
///
/// # Example
/// ```
/// use burn_skip::{down::DownConfig, net::PlainEncoderConfig};
///
/// let config = PlainEncoderConfig::new(3, vec![8, 16]);
/// assert_eq!(config.feature_shapes([1, 3, 33, 20]).unwrap()[1], [1, 16, 16, 10]);
/// // A strided convolution rounds up.
/// let config = config.with_down(DownConfig::conv());
/// assert_eq!(config.feature_shapes([1, 3, 33, 20]).unwrap()[1], [1, 16, 17, 10]);
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PlainEncoderConfig {
    /// The channels of the image.
    pub in_channels: usize,
    /// The channels of each level, the finest first. Each level but the first halves the size.
    pub widths: Vec<usize>,
    /// The convolutions of all blocks. Default: `same` padding, batch norm, ReLU.
    #[serde(default = "ConvStyle::new")]
    pub style: ConvStyle,
    /// How each level downsamples the one above it. Default: a 2x2 max pool.
    #[serde(default = "DownConfig::max")]
    pub down: DownConfig,
}

setters!(
    PlainEncoderConfig:
    with_style(style: ConvStyle),
    with_down(down: DownConfig),
);

impl Config for PlainEncoderConfig {}

impl PlainEncoderConfig {
    /// An encoder for images of `in_channels` channels, with `widths.len()` levels.
    pub fn new(in_channels: usize, widths: Vec<usize>) -> Self {
        Self {
            in_channels,
            widths,
            style: ConvStyle::new(),
            down: DownConfig::max(),
        }
    }

    fn block(&self, channels: [usize; 2]) -> DoubleConvConfig {
        DoubleConvConfig::new(channels).with_style(self.style.clone())
    }

    /// The block at full size, and the levels below it.
    fn stages<const R: usize>(&self) -> Result<Stages, ShapeError> {
        check_positive(NAME, "in_channels", self.in_channels)?;
        check_widths(NAME, &self.widths)?;
        // (Checked here too, since an encoder of one level has no downsampling.)
        self.down.validate::<R>().map_err(|e| e.within("down"))?;
        let level = |widths: &[usize]| {
            let input = self.down.out_channels(widths[0], R)?;
            Ok(Level {
                channels: widths[0],
                block: self.block([input, widths[1]]),
            })
        };
        Ok(Stages {
            stem: self.block([self.in_channels, self.widths[0]]),
            levels: self
                .widths
                .windows(2)
                .map(level)
                .collect::<Result<_, _>>()?,
        })
    }

    /// The channels of the feature maps, the finest first.
    pub fn feature_channels(&self) -> Vec<usize> {
        self.widths.clone()
    }

    /// Checks the options for maps of rank `R`.
    ///
    /// # Errors
    /// When there is no level, a number is zero, or a part is invalid.
    pub fn validate<const R: usize>(&self) -> Result<(), ShapeError> {
        check_encoder(self.in_channels, |planner, x: &Map<R>| {
            self.trace(planner, x)
        })
    }

    /// The shapes of the feature maps for an image of shape `input`, the finest first.
    ///
    /// # Errors
    /// When the channels differ, the image is too small for the levels, or the configuration is
    /// invalid.
    pub fn feature_shapes<const R: usize>(
        &self,
        input: [usize; R],
    ) -> Result<Vec<[usize; R]>, ShapeError> {
        Planner::output_shapes(input, |planner, x| self.trace(planner, x))
    }

    /// Records every part, and returns the feature maps.
    ///
    /// # Errors
    /// As [`feature_shapes`](Self::feature_shapes).
    pub fn trace<const R: usize>(
        &self,
        planner: &mut Planner,
        x: &Map<R>,
    ) -> Result<Vec<Map<R>>, ShapeError> {
        planner.nodes(NAME, &[x], |planner| {
            let stages = self.stages::<R>()?;
            let mut maps = vec![stages.stem.trace(planner.at("stem"), x)?];
            for (index, level) in stages.levels.iter().enumerate() {
                let path = |part: &str| format!("levels.{index}.{part}");
                let down = self.down.trace(planner.at(path("down")), &maps[index])?;
                maps.push(level.block.trace(planner.at(path("block")), &down)?);
            }
            Ok(maps)
        })
    }

    /// Builds the encoder.
    ///
    /// # Panics
    /// When [`validate`](Self::validate) returns an error, with its message.
    pub fn init<const R: usize>(&self, device: &Device) -> PlainEncoder<R> {
        expect(self.validate::<R>());
        let stages = expect(self.stages::<R>());
        let level = |level: &Level| PlainLevel {
            down: self.down.init(level.channels, device),
            block: level.block.init(device),
        };
        PlainEncoder {
            stem: stages.stem.init(device),
            levels: stages.levels.iter().map(level).collect(),
            config: self.clone(),
        }
    }
}

/// The parts of a plain encoder.
struct Stages {
    stem: DoubleConvConfig,
    levels: Vec<Level>,
}

/// One level below the stem.
struct Level {
    /// The channels of the map of the level above.
    channels: usize,
    /// The block after the downsampling.
    block: DoubleConvConfig,
}

impl<const R: usize> EncoderSpec<R> for PlainEncoderConfig {
    fn in_channels(&self) -> usize {
        self.in_channels
    }

    fn feature_channels(&self) -> Vec<usize> {
        self.feature_channels()
    }

    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Vec<Map<R>>, ShapeError> {
        self.trace(planner, x)
    }
}

/// One level of a [`PlainEncoder`].
///
/// # Example
/// ```
/// use burn::tensor::Device;
/// use burn_skip::{Trace, net::{PlainEncoder, PlainEncoderConfig}};
///
/// let encoder: PlainEncoder = PlainEncoderConfig::new(3, vec![8, 16]).init(&Device::flex());
/// let level = &encoder.levels[0];
/// assert_eq!(level.down.output_shape([1, 8, 33, 20]).unwrap(), [1, 8, 16, 10]);
/// assert_eq!(level.block.output_shape([1, 8, 16, 10]).unwrap(), [1, 16, 16, 10]);
/// ```
#[derive(Module, Debug)]
pub struct PlainLevel<const R: usize = 4> {
    /// Downsamples the map of the level above.
    pub down: Down<R>,
    /// Refines the downsampled map.
    pub block: DoubleConv<R>,
}

/// The encoder of the U-Net (arXiv:1505.04597): a [`DoubleConv`], and a [`Down`] and a [`DoubleConv`]
/// for each level below.
///
/// # Shapes
/// - input: `[batch, in_channels, spatial...]`
/// - features: `[batch, widths[i], spatial / 2^i...]`, the finest first
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::net::{Encoder, PlainEncoder, PlainEncoderConfig};
///
/// let device = Device::flex();
/// let encoder: PlainEncoder = PlainEncoderConfig::new(3, vec![8, 16]).init(&device);
/// let maps = encoder.features(Tensor::zeros([1, 3, 33, 20], &device));
/// assert_eq!([maps[0].dims(), maps[1].dims()], [[1, 8, 33, 20], [1, 16, 16, 10]]);
/// ```
#[derive(Module, Debug)]
pub struct PlainEncoder<const R: usize = 4> {
    /// The block at full size.
    pub stem: DoubleConv<R>,
    /// The levels below, the finest first.
    pub levels: Vec<PlainLevel<R>>,
    /// The options that the encoder was built with.
    #[module(skip)]
    pub config: PlainEncoderConfig,
}

impl<const R: usize> Encoder<R> for PlainEncoder<R> {
    fn features(&self, x: Tensor<R>) -> Vec<Tensor<R>> {
        expect(self.feature_shapes(x.dims()));
        let mut maps = vec![self.stem.forward(x)];
        for (index, level) in self.levels.iter().enumerate() {
            let down = level.down.forward(maps[index].clone());
            maps.push(level.block.forward(down));
        }
        maps
    }

    fn feature_channels(&self) -> Vec<usize> {
        self.config.feature_channels()
    }

    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Vec<Map<R>>, ShapeError> {
        self.config.trace(planner, x)
    }
}
