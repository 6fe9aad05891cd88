//! [`Unet`]: the U-Net of any depth.

use alloc::{format, vec::Vec};

use burn::config::Config;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::block::{ConvStyle, DoubleConv, DoubleConvConfig};
use crate::conv::{Conv, ConvConfig};
use crate::down::{Down, DownConfig};
use crate::fit::{Fit, Target};
use crate::gate::GateConfig;
use crate::layer::Layer;
use crate::merge::Order;
use crate::setters::setters;
use crate::shape::{ShapeError, check_positive, expect};
use crate::skip::{UpsampleConcat, UpsampleConcatConfig};
use crate::up::UpConfig;

const NAME: &str = "Unet";

/// Configuration of [`Unet`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnetConfig {
    /// The channels of the image.
    pub in_channels: usize,
    /// The channels of the output: one a class.
    pub out_channels: usize,
    /// The channels of each level, the finest first. One more level halves the map once more.
    pub widths: Vec<usize>,
    /// The convolutions of all blocks. Default: `same` padding, batch norm, ReLU.
    pub style: ConvStyle,
    /// What leads a level deeper. Default: a 2x2 max pool.
    pub down: DownConfig,
    /// What leads back up. Default: nearest, to the size of the skip, so that every size works.
    pub up: UpConfig,
    /// How maps that still differ in size are brought together. Default: [`Fit::Exact`].
    pub fit: Fit,
    /// The size that the maps of a level meet at. Default: [`Target::Skip`].
    pub target: Target,
    /// Which map comes first in the concatenations. Default: the deep one.
    pub order: Order,
    /// What weighs the skips, or nothing. Default: nothing.
    pub gate: Option<GateConfig>,
}

setters!(
    UnetConfig:
    with_style(style: ConvStyle),
    with_down(down: DownConfig),
    with_up(up: UpConfig),
    with_fit(fit: Fit),
    with_target(target: Target),
    with_order(order: Order),
    with_gate(gate: impl Into<Option<GateConfig>>),
);

impl Config for UnetConfig {}

impl UnetConfig {
    /// A U-Net from `in_channels` to `out_channels` channels, with `widths.len()` levels.
    pub fn new(in_channels: usize, out_channels: usize, widths: Vec<usize>) -> Self {
        Self {
            in_channels,
            out_channels,
            widths,
            style: ConvStyle::new(),
            down: DownConfig::max(),
            up: UpConfig::nearest(),
            fit: Fit::Exact,
            target: Target::Skip,
            order: Order::DeepFirst,
            gate: None,
        }
    }

    /// The U-Net of the paper: unpadded convolutions without norm, transposed convolutions, and
    /// skips that are cropped to what comes up.
    pub fn valid(in_channels: usize, out_channels: usize, widths: Vec<usize>) -> Self {
        let style = ConvStyle::new()
            .with_padding(crate::Padding::Valid)
            .with_norm(None);
        Self::new(in_channels, out_channels, widths)
            .with_style(style)
            .with_up(UpConfig::conv_transpose())
            .with_fit(Fit::crop())
            .with_target(Target::Deep)
            .with_order(Order::SkipFirst)
    }

    fn block(&self, channels: [usize; 2]) -> DoubleConvConfig {
        DoubleConvConfig::new(channels).with_style(self.style.clone())
    }

    fn stem(&self) -> DoubleConvConfig {
        self.block([self.in_channels, self.widths[0]])
    }

    fn head(&self) -> ConvConfig {
        ConvConfig::new([self.widths[0], self.out_channels], 1)
    }

    /// The block of the level `index + 1`, after its `down`.
    fn level_block<const R: usize>(&self, index: usize) -> Result<DoubleConvConfig, ShapeError> {
        let input = self.down.out_channels(self.widths[index], R)?;
        Ok(self.block([input, self.widths[index + 1]]))
    }

    /// What merges the level `index + 1` into the level `index`.
    fn decoder(&self, index: usize) -> UpsampleConcatConfig {
        let [skip, deep] = [self.widths[index], self.widths[index + 1]];
        UpsampleConcatConfig::new(deep, skip, skip)
            .with_up(self.up.clone())
            .with_fit(self.fit.clone())
            .with_target(self.target.clone())
            .with_order(self.order)
            .with_gate(self.gate.clone())
            .with_style(self.style.clone())
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
        check_positive(NAME, "out_channels", self.out_channels)?;
        if self.widths.is_empty() || self.widths.contains(&0) {
            return Err(ShapeError::new(
                NAME,
                format!("widths are {:?}", self.widths),
                "Give one number of channels, 1 or more, for each level",
            ));
        }
        self.stem().validate::<R>().map_err(|e| e.within("stem"))?;
        self.down.validate::<R>().map_err(|e| e.within("down"))?;
        for index in 0..self.depth() {
            self.level_block::<R>(index)?
                .validate::<R>()
                .map_err(|e| e.within(format!("levels.{index}.block")))?;
            self.decoder(index)
                .validate::<R>()
                .map_err(|e| e.within(format!("decoder.{index}")))?;
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

    /// The shape of the output for an image of shape `input`.
    ///
    /// # Errors
    /// When the channels differ, the image is too small for the levels, the maps of a level cannot
    /// be brought to one size, or the configuration is invalid.
    pub fn output_shape<const R: usize>(
        &self,
        input: [usize; R],
    ) -> Result<[usize; R], ShapeError> {
        let maps = self.feature_shapes(input)?;
        let mut deep = maps[self.depth()];
        for index in (0..self.depth()).rev() {
            let merged = self.decoder(index).output_shape(deep, maps[index]);
            deep = merged.map_err(|e| e.within(format!("decoder.{index}")))?;
        }
        self.head().output_shape(deep).map_err(|e| e.within("head"))
    }

    /// Builds the network.
    ///
    /// # Panics
    /// When [`validate`](Self::validate) returns an error, with its message.
    pub fn init<const R: usize>(&self, device: &Device) -> Unet<R> {
        expect(self.validate::<R>());
        let level = |index| UnetLevel {
            down: self.down.init(self.widths[index], device),
            block: expect(self.level_block::<R>(index)).init(device),
        };
        Unet {
            stem: self.stem().init(device),
            levels: (0..self.depth()).map(level).collect(),
            decoder: (0..self.depth())
                .map(|index| self.decoder(index).init(device))
                .collect(),
            head: self.head().init(device),
            config: self.clone(),
        }
    }
}

/// One level of the encoder.
#[derive(Module, Debug)]
pub struct UnetLevel<const R: usize = 4> {
    /// What leads to the level.
    pub down: Down<R>,
    /// What refines its map.
    pub block: DoubleConv<R>,
}

/// The U-Net (arXiv:1505.04597): an encoder, and a decoder that meets every map of the encoder again.
///
/// A stem and, a level deeper each, a [`Down`] and a [`DoubleConv`]; back up by an
/// [`UpsampleConcat`] a level; a 1x1 convolution as the head. For one, two or three spatial axes.
///
/// # Shapes
/// - input: `[batch, in_channels, spatial...]`, of any size that the levels leave something of
/// - output: `[batch, out_channels, spatial...]`; smaller when the convolutions are not padded
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::{Layer, net::{Unet, UnetConfig}};
///
/// let device = Device::flex();
/// let config = UnetConfig::new(3, 2, vec![8, 16, 32]);
/// assert_eq!(config.output_shape([1, 3, 45, 61]).unwrap(), [1, 2, 45, 61]);
/// let net: Unet = config.init(&device);
/// assert_eq!(net.forward(Tensor::zeros([1, 3, 45, 61], &device)).dims(), [1, 2, 45, 61]);
///
/// // The network of the paper, on its 572x572 images.
/// let paper = UnetConfig::valid(1, 2, vec![64, 128, 256, 512, 1024]);
/// assert_eq!(paper.output_shape([1, 1, 572, 572]).unwrap(), [1, 2, 388, 388]);
/// ```
#[derive(Module, Debug)]
pub struct Unet<const R: usize = 4> {
    /// The block at full size.
    pub stem: DoubleConv<R>,
    /// The levels below, the finest first.
    pub levels: Vec<UnetLevel<R>>,
    /// What merges each level into the one above it, the finest first.
    pub decoder: Vec<UpsampleConcat<R>>,
    /// From the channels of the finest level to those of the output.
    pub head: Conv<R>,
    /// The options that the network was built with.
    #[module(skip)]
    pub config: UnetConfig,
}

impl<const R: usize> Unet<R> {
    /// The maps of all levels, the finest first.
    ///
    /// # Panics
    /// When [`UnetConfig::feature_shapes`] returns an error, with its message.
    pub fn features(&self, x: Tensor<R>) -> Vec<Tensor<R>> {
        expect(self.config.feature_shapes(x.dims()));
        let mut maps = alloc::vec![self.stem.forward(x)];
        for (index, level) in self.levels.iter().enumerate() {
            let down = level.down.forward(maps[index].clone());
            maps.push(level.block.forward(down));
        }
        maps
    }
}

impl<const R: usize> Layer<R> for Unet<R> {
    fn forward(&self, x: Tensor<R>) -> Tensor<R> {
        expect(self.output_shape(x.dims()));
        let mut skips = self.features(x);
        let deepest = skips.pop();
        let decoded = self
            .decoder
            .iter()
            .zip(skips)
            .rev()
            .fold(deepest, |deep, (decoder, skip)| {
                deep.map(|deep| decoder.forward(deep, skip))
            });
        match decoded {
            Some(map) => self.head.forward(map),
            None => unreachable!("the stem gives one map at least"),
        }
    }

    fn output_shape(&self, input: [usize; R]) -> Result<[usize; R], ShapeError> {
        self.config.output_shape(input)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{string::ToString, vec};

    #[test]
    fn the_network_of_the_paper() {
        let paper = UnetConfig::valid(1, 2, vec![64, 128, 256, 512, 1024]);
        assert_eq!(paper.output_shape([1, 1, 572, 572]), Ok([1, 2, 388, 388]));
        let error = paper.output_shape([1, 1, 100, 572]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "levels.3.block.first.conv.Conv: height 2 with padding 0 + 0 is smaller than the window of 3 \
             (kernel 3, dilation 1). Use a smaller kernel, more padding, or a map of height 3 or more."
        );
    }

    #[test]
    fn parameters_of_a_small_network() {
        // As the PyTorch network with nearest upsampling and concatenation:
        // sum(p.numel()) over 3x3 convolutions without bias, batch norms and the head, counted by hand.
        let net: Unet = UnetConfig::new(1, 1, vec![4, 8]).init(&Device::flex());
        let convs = 9 * (4 + 4 * 4 + 4 * 8 + 8 * 8 + 12 * 4 + 4 * 4);
        let norms = 4 * (4 + 4 + 8 + 8 + 4 + 4); // scale, shift and two statistics
        assert_eq!(net.num_params(), convs + norms + 4 + 1);
    }

    #[test]
    fn every_way_up_and_down_takes_odd_sizes() {
        for up in [
            UpConfig::nearest(),
            UpConfig::linear(),
            UpConfig::conv_transpose(),
            UpConfig::pixel_shuffle(),
        ] {
            for down in [
                DownConfig::max(),
                DownConfig::avg(),
                DownConfig::conv(),
                DownConfig::blur(),
            ] {
                let config = UnetConfig::new(1, 2, vec![2, 3, 4])
                    .with_fit(Fit::pad_or_crop())
                    .with_up(up.clone())
                    .with_down(down);
                assert_eq!(config.output_shape([1, 1, 37, 46]), Ok([1, 2, 37, 46]));
            }
        }
    }

    #[test]
    fn invalid_configurations_are_refused() {
        let text = |config: UnetConfig| config.validate::<4>().unwrap_err().to_string();
        assert_eq!(
            text(UnetConfig::new(1, 1, vec![])),
            "Unet: widths are []. Give one number of channels, 1 or more, for each level."
        );
        assert_eq!(
            text(UnetConfig::new(1, 0, vec![4])),
            "Unet: out_channels is 0. Set out_channels to 1 or more."
        );
        assert_eq!(
            text(UnetConfig::new(1, 1, vec![4, 8]).with_gate(GateConfig::Scse { reduction: 8 })),
            "decoder.0.gate.Gate: reduction 8 leaves none of 4 channels. Choose a reduction of 4 or less."
        );
    }

    #[test]
    fn the_maps_of_all_levels() {
        let device = Device::flex();
        let net: Unet<3> = UnetConfig::new(1, 1, vec![2, 3, 4]).init(&device);
        let maps = net.features(Tensor::zeros([1, 1, 9], &device));
        let shapes: Vec<_> = maps.iter().map(Tensor::dims).collect();
        assert_eq!(shapes, [[1, 2, 9], [1, 3, 4], [1, 4, 2]]);
    }

    #[test]
    fn a_norm_that_a_file_leaves_out_is_missed() {
        let text = burn::config::config_to_json(&UnetConfig::new(1, 2, vec![4]));
        let start = text.find("\"norm\"").unwrap();
        let end = text.find("\"activation\"").unwrap();
        let without = [&text[..start], &text[end..]].concat();
        let error = UnetConfig::load_binary(without.as_bytes()).unwrap_err();
        assert!(
            error.to_string().contains("missing field `norm`"),
            "{error}"
        );
    }

    #[test]
    fn a_config_survives_its_file() {
        let config = UnetConfig::valid(1, 2, vec![4, 8])
            .with_gate(GateConfig::Attention { hidden_channels: 3 });
        let text = burn::config::config_to_json(&config);
        let back = UnetConfig::load_binary(text.as_bytes()).unwrap();
        assert_eq!(burn::config::config_to_json(&back), text);
    }
}
