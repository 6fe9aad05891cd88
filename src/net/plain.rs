//! [`PlainEncoder`]: the encoder of the U-Net paper, a [`DoubleConv`] a level.

use alloc::{format, vec::Vec};

use burn::config::Config;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::Encoder;
use super::encoder::check_widths;
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
    /// The channels of each level, the finest first. One more level halves the map once more.
    pub widths: Vec<usize>,
    /// The convolutions of all blocks. Default: `same` padding, batch norm, ReLU.
    pub style: ConvStyle,
    /// What leads a level deeper. Default: a 2x2 max pool.
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

    fn stem(&self) -> DoubleConvConfig {
        self.block([self.in_channels, self.widths[0]])
    }

    /// The block of the level `index + 1`, after its `down`.
    fn level_block<const R: usize>(&self, index: usize) -> Result<DoubleConvConfig, ShapeError> {
        let input = self.down.out_channels(self.widths[index], R)?;
        Ok(self.block([input, self.widths[index + 1]]))
    }

    /// How many times the map is made smaller.
    fn depth(&self) -> usize {
        self.widths.len() - 1
    }

    /// Checks the options for maps of rank `R`.
    ///
    /// # Errors
    /// When there is no level, a number is zero, or a part is invalid.
    pub fn validate<const R: usize>(&self) -> Result<(), ShapeError> {
        check_positive(NAME, "in_channels", self.in_channels)?;
        check_widths(NAME, &self.widths)?;
        self.stem().validate::<R>().map_err(|e| e.within("stem"))?;
        self.down.validate::<R>().map_err(|e| e.within("down"))?;
        for index in 0..self.depth() {
            self.level_block::<R>(index)?
                .validate::<R>()
                .map_err(|e| e.within(format!("levels.{index}.block")))?;
        }
        Ok(())
    }

    /// The shapes of the maps of all levels, the finest first, for an image of shape `input`.
    ///
    /// # Errors
    /// When the channels differ, the image is too small for the levels, or the configuration is
    /// invalid.
    pub fn feature_shapes<const R: usize>(
        &self,
        input: [usize; R],
    ) -> Result<Vec<[usize; R]>, ShapeError> {
        self.validate::<R>()?;
        let stem = self.stem().output_shape(input);
        let mut maps = alloc::vec![stem.map_err(|e| e.within("stem"))?];
        for index in 0..self.depth() {
            let down = self.down.output_shape(maps[index]);
            let down = down.map_err(|e| e.within(format!("levels.{index}.down")))?;
            let block = self.level_block::<R>(index)?.output_shape(down);
            maps.push(block.map_err(|e| e.within(format!("levels.{index}.block")))?);
        }
        Ok(maps)
    }

    /// Tells the planner of every part, and gives the maps.
    ///
    /// # Errors
    /// As [`feature_shapes`](Self::feature_shapes).
    pub fn trace<const R: usize>(
        &self,
        planner: &mut Planner,
        x: &Map<R>,
    ) -> Result<Vec<Map<R>>, ShapeError> {
        planner.nodes(NAME, &[x], |planner| {
            self.validate::<R>()?;
            let mut maps = alloc::vec![self.stem().trace(planner.at("stem"), x)?];
            for index in 0..self.depth() {
                let path = |part: &str| format!("levels.{index}.{part}");
                let down = self.down.trace(planner.at(path("down")), &maps[index])?;
                let block = self.level_block::<R>(index)?;
                maps.push(block.trace(planner.at(path("block")), &down)?);
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
        let level = |index| PlainLevel {
            down: self.down.init(self.widths[index], device),
            block: expect(self.level_block::<R>(index)).init(device),
        };
        PlainEncoder {
            stem: self.stem().init(device),
            levels: (0..self.depth()).map(level).collect(),
            config: self.clone(),
        }
    }
}

/// One level of a [`PlainEncoder`].
///
/// # Example
/// ```
/// use burn::tensor::Device;
/// use burn_skip::{Layer, net::{PlainEncoder, PlainEncoderConfig}};
///
/// let encoder: PlainEncoder = PlainEncoderConfig::new(3, vec![8, 16]).init(&Device::flex());
/// let level = &encoder.levels[0];
/// assert_eq!(level.down.output_shape([1, 8, 33, 20]).unwrap(), [1, 8, 16, 10]);
/// assert_eq!(level.block.output_shape([1, 8, 16, 10]).unwrap(), [1, 16, 16, 10]);
/// ```
#[derive(Module, Debug)]
pub struct PlainLevel<const R: usize = 4> {
    /// What leads to the level.
    pub down: Down<R>,
    /// What refines its map.
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
        let mut maps = alloc::vec![self.stem.forward(x)];
        for (index, level) in self.levels.iter().enumerate() {
            let down = level.down.forward(maps[index].clone());
            maps.push(level.block.forward(down));
        }
        maps
    }
    fn feature_shapes(&self, input: [usize; R]) -> Result<Vec<[usize; R]>, ShapeError> {
        self.config.feature_shapes(input)
    }

    fn feature_channels(&self) -> Vec<usize> {
        self.config.widths.clone()
    }

    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Vec<Map<R>>, ShapeError> {
        self.config.trace(planner, x)
    }
}
