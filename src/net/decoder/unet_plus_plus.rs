//! [`UnetPlusPlusDecoder`]: a U-Net whose skips are dense chains of blocks.

use alloc::{format, string::String, vec::Vec};
use core::mem;

use burn::config::Config;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::check_widths_for;
use super::frame::{Built, BuiltDecoder, DecoderSpec, check_decoder};
use crate::fuse::merge::Merge;
use crate::graph::{Map, Planner};
use crate::layers::block::{ConvStyle, DoubleConv, DoubleConvConfig};
use crate::layers::conv::LazyConcat;
use crate::layers::layer::Layer;
use crate::layers::up::{Up, UpConfig};
use crate::plan::Trace;
use crate::setters::setters;
use crate::shape::{ShapeError, expect, spatial};

const NAME: &str = "UnetPlusPlusDecoder";

/// Configuration of [`UnetPlusPlusDecoder`]. The channels of the maps come from the encoder.
///
/// # Example
/// ```
/// use burn_skip::net::{DecoderConfig, UnetPlusPlusDecoderConfig};
///
/// let maps = [[1, 8, 17, 11], [1, 16, 9, 6], [1, 32, 5, 3]];
/// let decoder = DecoderConfig::from(UnetPlusPlusDecoderConfig::new(vec![2, 4, 8]));
/// assert_eq!(decoder.output_shape(&maps, &[33, 22]).unwrap(), [1, 2, 33, 22]);
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct UnetPlusPlusDecoderConfig {
    /// The channels of the blocks that read the coarsest map, directly or not: one for each map, the finest (of the size
    /// of the image) first. The other blocks have the channels of the map of their size.
    pub widths: Vec<usize>,
    /// The convolutions of all blocks.
    #[serde(default = "ConvStyle::new")]
    pub style: ConvStyle,
    /// How each block upsamples, without changing the channels. Default: nearest.
    #[serde(default = "UpConfig::nearest")]
    pub up: UpConfig,
}

setters!(
    UnetPlusPlusDecoderConfig:
    with_style(style: ConvStyle),
    with_up(up: UpConfig),
);

impl Config for UnetPlusPlusDecoderConfig {}

/// A block: where it is, and the channels that it reads and writes.
struct Place {
    /// The map that the chain of the block starts from, the finest 0.
    from: usize,
    /// The map whose size it has; `None` for the size of the image.
    to: Option<usize>,
    /// The channels of the coarser map.
    deep: usize,
    /// The channels of all maps of its size together.
    skips: usize,
    width: usize,
}

impl UnetPlusPlusDecoderConfig {
    /// Blocks of `widths` channels, the finest first; segmentation_models.pytorch's are 16, 32, 64, 128 and 256.
    pub fn new(widths: Vec<usize>) -> Self {
        Self {
            widths,
            style: ConvStyle::new(),
            up: UpConfig::nearest(),
        }
    }

    /// The blocks in the order in which they run: from the coarsest size to the finest, and for each size from the map
    /// itself (the block that reads the next coarser map) to the block that reads the coarsest.
    fn places(&self, channels: &[usize]) -> Vec<Place> {
        let coarsest = channels.len() - 1;
        let width = |to: usize, from: usize| match from == coarsest {
            true => self.widths[to + 1],
            false => channels[to],
        };
        let mut places = Vec::new();
        for to in (0..coarsest).rev() {
            for from in to + 1..=coarsest {
                places.push(Place {
                    from,
                    to: Some(to),
                    deep: match from == to + 1 {
                        true => channels[from],
                        false => width(to + 1, from),
                    },
                    skips: channels[to].saturating_mul(from - to),
                    width: width(to, from),
                });
            }
        }
        places.push(Place {
            from: coarsest,
            to: None,
            deep: match coarsest {
                0 => channels[0],
                _ => self.widths[1],
            },
            skips: 0,
            width: self.widths[0],
        });
        places
    }

    fn block(&self, place: &Place) -> DoubleConvConfig {
        let input = place.deep.saturating_add(place.skips);
        DoubleConvConfig::new([input, place.width]).with_style(self.style.clone())
    }

    /// Builds the decoder for the feature maps of an encoder, with `channels` channels.
    ///
    /// # Panics
    /// When an option is invalid, or there are not as many widths as maps.
    pub fn init<const R: usize>(
        &self,
        channels: &[usize],
        device: &Device,
    ) -> UnetPlusPlusDecoder<R> {
        expect(check_decoder::<R>(self, channels));
        let block = |place: &Place| {
            let up = self.up.init([place.deep; 2], device);
            (up, self.block(place).init(device))
        };
        UnetPlusPlusDecoder {
            blocks: self.places(channels).iter().map(block).collect(),
            config: self.clone(),
            channels: channels.to_vec(),
        }
    }
}

impl<const R: usize> DecoderSpec<R> for UnetPlusPlusDecoderConfig {
    fn name(&self) -> &'static str {
        NAME
    }

    fn out_channels(&self, _channels: &[usize]) -> usize {
        self.widths.first().copied().unwrap_or(0)
    }

    fn trace_parts(
        &self,
        planner: &mut Planner,
        maps: &[Map<R>],
        image: &[usize],
    ) -> Result<Vec<Map<R>>, ShapeError> {
        check_widths_for(NAME, &self.widths, maps.len())?;
        let channels: Vec<usize> = maps.iter().map(|map| map.shape[1]).collect();
        // What there is at each size: the map, and the outputs of the blocks so far.
        let mut found: Vec<Vec<Map<R>>> = maps.iter().map(|map| Vec::from([map.clone()])).collect();
        let mut last = maps[maps.len() - 1].clone();
        for (index, place) in self.places(&channels).iter().enumerate() {
            let name = |part: &str| -> String { format!("blocks.{index}.{part}") };
            let (coarser, skips, size) = match place.to {
                Some(to) => (
                    &found[to + 1][place.from - to - 1],
                    // (The latest output first, and the map at the end.)
                    found[to].iter().rev().collect::<Vec<_>>(),
                    spatial(&maps[to].shape),
                ),
                None => (&last, Vec::new(), image),
            };
            let deep = [place.deep; 2];
            let up = self
                .up
                .trace_parts_to(planner.at(name("0")), deep, coarser, size)?;
            let concat = match skips.is_empty() {
                true => up,
                false => planner.dispatched(|planner| {
                    let maps: Vec<Map<R>> = [&up].into_iter().chain(skips).cloned().collect();
                    let name = |n| format!("map {n}");
                    Merge::concat().trace_named(planner.at(""), NAME, &maps, name)
                })?,
            };
            last = self.block(place).trace(planner.at(name("1")), &concat)?;
            if let Some(to) = place.to {
                found[to].push(last.clone());
            }
        }
        let chain = found[0].drain(1..).rev();
        Ok([last].into_iter().chain(chain).collect())
    }
}

/// The decoder of U-Net++ (arXiv:1807.10165): at each size a chain of blocks, each of which reads the coarser map of its
/// column, upsampled, and all maps of its size before it; and a last block at the size of the image. As
/// segmentation_models.pytorch's `UnetPlusPlus`.
///
/// `x_{i,j} = block(concat([up(x_{i+1,j-1}), x_{i,j-1}, ..., x_{i,0}]))`, with `x_{i,0}` the maps of the encoder. The
/// concatenations are not materialised.
///
/// # Shapes
/// - input: the maps of an encoder, the finest first
/// - output: `[batch, widths[0], spatial...]`, of the size of the image
/// - [steps](super::Decoder::forward_steps): the output, and the blocks of the finest map's size, the last first: the paper's
///   deep supervision (section 3.2), whose maps are all of one size
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::net::{Decoder, UnetPlusPlusDecoder, UnetPlusPlusDecoderConfig};
///
/// let device = Device::flex();
/// let config = UnetPlusPlusDecoderConfig::new(vec![4, 8]);
/// let decoder: UnetPlusPlusDecoder = config.init(&[8, 16], &device);
/// let maps = vec![Tensor::zeros([1, 8, 17, 11], &device), Tensor::zeros([1, 16, 9, 6], &device)];
/// assert_eq!(decoder.forward(maps, &[33, 22]).dims(), [1, 4, 33, 22]);
/// ```
#[derive(Module, Debug)]
pub struct UnetPlusPlusDecoder<const R: usize = 4> {
    /// The up layer and the convolutions of each block, in the order in which they run.
    pub blocks: Vec<(Up<R>, DoubleConv<R>)>,
    /// The options that the decoder was built with.
    #[module(skip)]
    pub config: UnetPlusPlusDecoderConfig,
    /// The channels of the maps that it was built for, the finest first.
    #[module(skip)]
    pub channels: Vec<usize>,
}

impl<const R: usize> UnetPlusPlusDecoder<R> {
    /// The output; and, where `has_steps`, the blocks of the finest size, the last first, as tensors.
    fn blocks_of(
        &self,
        maps: Vec<Tensor<R>>,
        image: &[usize],
        has_steps: bool,
    ) -> Vec<LazyConcat<R>> {
        let shapes: Vec<_> = maps.iter().map(Tensor::dims).collect();
        let coarsest = maps.len() - 1;
        let found = maps.into_iter().map(|map| Vec::from([map.into()]));
        let mut found: Vec<Vec<LazyConcat<R>>> = found.collect();
        let mut outputs = Vec::new();
        let places = self.config.places(&self.channels);
        for (place, (up, block)) in places.iter().zip(&self.blocks) {
            let (coarser, skips, size) = match place.to {
                Some(to) => {
                    // (What is read for the last time is given away, so that it is freed as soon as it was read.)
                    let coarser = found[to + 1].remove(0);
                    let skips = match to == 0 && place.from == coarsest && !has_steps {
                        true => mem::take(&mut found[to]),
                        false => found[to].clone(),
                    };
                    (coarser, skips, spatial(&shapes[to]))
                }
                None => {
                    let mut finest = mem::take(&mut found[0]);
                    let last = finest[finest.len() - 1].clone();
                    if has_steps {
                        outputs.extend(finest.drain(1..).rev());
                    }
                    (last, Vec::new(), image)
                }
            };
            let up = up.forward_parts_to(coarser, size);
            let parts = skips.into_iter().rev().fold(up, LazyConcat::then);
            let y = block.forward_parts(parts);
            match place.to {
                Some(0) if has_steps => found[0].push(y.into_tensor().into()),
                Some(to) => found[to].push(y),
                None => outputs.insert(0, y),
            }
        }
        outputs
    }
}

impl<const R: usize> BuiltDecoder<R> for UnetPlusPlusDecoder<R> {
    fn built(&self) -> Built<'_, R> {
        Built::new(&self.config, &self.channels)
    }

    fn run(&self, maps: Vec<Tensor<R>>, image: &[usize]) -> LazyConcat<R> {
        self.blocks_of(maps, image, false).swap_remove(0)
    }

    fn run_steps(&self, maps: Vec<Tensor<R>>, image: &[usize]) -> Vec<Tensor<R>> {
        let outputs = self.blocks_of(maps, image, true).into_iter();
        outputs.map(LazyConcat::into_tensor).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Decoder;
    use crate::net::decoder::frame::testing::refused;
    use alloc::vec;

    #[test]
    fn every_rank_at_odd_sizes() {
        let device = Device::flex();
        let config = UnetPlusPlusDecoderConfig::new(vec![2, 3, 4, 5]);
        let decoder: UnetPlusPlusDecoder<3> = config.init(&[3, 4, 6, 7], &device);
        assert_eq!(decoder.blocks.len(), 7); // six, and the one at the size of the image
        let maps = [[2, 3, 17], [2, 4, 9], [2, 6, 5], [2, 7, 3]];
        let maps = maps.map(|shape| Tensor::zeros(shape, &device));
        assert_eq!(decoder.forward(maps.into(), &[33]).dims(), [2, 2, 33]);
    }

    #[test]
    fn widths_must_match_the_maps() {
        let config = UnetPlusPlusDecoderConfig::new(vec![4, 8]);
        assert_eq!(
            refused(config, &[8, 16, 32]),
            "UnetPlusPlusDecoder: 2 widths [4, 8] for 3 maps. Give 3, the first for the size of the image."
        );
    }
}
