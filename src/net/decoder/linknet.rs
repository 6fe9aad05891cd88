//! [`LinknetDecoder`]: bottlenecks with a transposed convolution, to which the skips are added.

use alloc::{format, vec, vec::Vec};

use burn::config::Config;
use burn::module::Module;
use burn::nn::norm::Normalization;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::check_levels;
use super::frame::{Built, BuiltDecoder, DecoderSpec, check_decoder, pop_deepest};
use crate::graph::{Elementwise, Map, Planner};
use crate::layers::activation::Activation;
use crate::layers::block::{ConvNormAct, ConvNormActConfig, ConvStyle, LayerOrder};
use crate::layers::conv::{ConvTranspose, ConvTransposeConfig, LazyConcat};
use crate::layers::layer::Layer;
use crate::plan::Trace;
use crate::setters::setters;
use crate::shape::{ShapeError, axis_name, expect, spatial};

const NAME: &str = "LinknetDecoder";

/// Configuration of [`LinknetDecoder`]. The channels of the maps come from the encoder.
///
/// # Example
/// ```
/// use burn_skip::net::{DecoderConfig, LinknetDecoderConfig};
///
/// let maps = [[1, 16, 33, 24], [1, 32, 17, 12]];
/// let decoder = DecoderConfig::from(LinknetDecoderConfig::new());
/// assert_eq!(decoder.output_shape(&maps, &[65, 48]).unwrap(), [1, 32, 65, 48]);
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct LinknetDecoderConfig {
    /// The channels of the output. Default: 32.
    pub width: usize,
    /// Norm and activation of all convolutions, the transposed ones included. These have a bias unless it says that they
    /// have none.
    pub style: ConvStyle,
}

setters!(
    LinknetDecoderConfig:
    with_width(width: usize),
    with_style(style: ConvStyle),
);

impl Config for LinknetDecoderConfig {}

impl Default for LinknetDecoderConfig {
    fn default() -> Self {
        Self::new()
    }
}

impl LinknetDecoderConfig {
    /// segmentation_models.pytorch's decoder with its defaults.
    pub fn new() -> Self {
        Self {
            width: 32,
            style: ConvStyle::new(),
        }
    }

    /// The step from the map `index` to the next finer one, or from the finest to the image.
    fn step(&self, channels: &[usize], index: usize) -> StepConfig {
        let [input, inner] = [channels[index], channels[index] / 4];
        let output = match index.checked_sub(1) {
            Some(finer) => channels[finer],
            None => self.width,
        };
        let conv = |channels| ConvNormActConfig::new(channels, 1).with_style(self.style.clone());
        StepConfig {
            squeeze: conv([input, inner]),
            up: ConvTransposeConfig::new([inner, inner], 4, 2)
                .with_bias(self.style.bias.unwrap_or(true))
                .with_initializer(self.style.initializer.clone()),
            style: self.style.clone(),
            expand: conv([inner, output]),
        }
    }

    /// Builds the decoder for the feature maps of an encoder, with `channels` channels.
    ///
    /// # Panics
    /// When an option is invalid, or a map has fewer than four channels.
    pub fn init<const R: usize>(&self, channels: &[usize], device: &Device) -> LinknetDecoder<R> {
        expect(check_decoder::<R>(self, channels));
        let steps = 0..channels.len();
        LinknetDecoder {
            steps: steps
                .map(|index| self.step(channels, index).init(device))
                .collect(),
            config: self.clone(),
            channels: channels.to_vec(),
        }
    }
}

impl<const R: usize> DecoderSpec<R> for LinknetDecoderConfig {
    fn name(&self) -> &'static str {
        NAME
    }

    fn out_channels(&self, _channels: &[usize]) -> usize {
        self.width
    }

    fn trace_parts(
        &self,
        planner: &mut Planner,
        maps: &[Map<R>],
        image: &[usize],
    ) -> Result<Vec<Map<R>>, ShapeError> {
        check_levels(NAME, 1, maps.len())?;
        if self.style.order != LayerOrder::ConvNormAct {
            let problem = format!("the order of the style is {:?}", self.style.order);
            return Err(ShapeError::new(
                NAME,
                problem,
                "Choose LayerOrder::ConvNormAct",
            ));
        }
        let channels: Vec<usize> = maps.iter().map(|map| map.shape[1]).collect();
        let mut y = maps[maps.len() - 1].clone();
        for index in (0..maps.len()).rev() {
            let skip = index.checked_sub(1).map(|finer| &maps[finer]);
            let size = skip.map_or(image, |skip| spatial(&skip.shape));
            check_step(planner, index, &y, size)?;
            let step = self.step(&channels, index);
            y = step.trace(planner.at(format!("steps.{index}")), &y, size)?;
            if let Some(skip) = skip {
                let (names, maps) = (["deep", "skip"], [&y, skip]);
                let sum = planner.at("");
                y = sum.elementwise(Elementwise::Sum, &names, &maps, Ok(skip.shape))?;
            }
        }
        Ok(vec![y])
    }
}

/// Refuses a map that a step does not bring to `size`: with fewer than four channels, or of another size than the half.
fn check_step<const R: usize>(
    planner: &Planner,
    index: usize,
    map: &Map<R>,
    size: &[usize],
) -> Result<(), ShapeError> {
    let channels = map.shape[1];
    if channels < 4 {
        return Err(ShapeError::new(
            NAME,
            format!("map {index} has {channels} channels, of which a step takes a quarter"),
            "Choose an encoder with 4 channels or more",
        ));
    }
    if planner.is_any_size() {
        return Ok(());
    }
    let is_half = |from: usize, to: usize| from == to.div_ceil(2) || from == to / 2;
    let both = spatial(&map.shape).iter().zip(size);
    let Some((axis, (from, to))) = both
        .enumerate()
        .find(|(_, (from, to))| !is_half(**from, **to))
    else {
        return Ok(());
    };
    Err(ShapeError::new(
        NAME,
        format!(
            "{} {from} of map {index} is no half of {to}",
            axis_name(2 + axis, R)
        ),
        "Choose an encoder whose maps have half, a quarter, ... of the size of the image, such as a ResNet",
    ))
}

/// The parts of a [`LinknetStep`].
struct StepConfig {
    squeeze: ConvNormActConfig,
    up: ConvTransposeConfig,
    /// Norm and activation of the transposed convolution.
    style: ConvStyle,
    expand: ConvNormActConfig,
}

impl StepConfig {
    fn trace<const R: usize>(
        &self,
        planner: &mut Planner,
        x: &Map<R>,
        size: &[usize],
    ) -> Result<Map<R>, ShapeError> {
        planner.node("LinknetStep", &[x], |planner| {
            let y = self.squeeze.trace(planner.at("squeeze"), x)?;
            let y = self.up.trace_to(planner.at("up"), &y, Some(size))?;
            let y = self.style.norm.trace(planner.at("norm"), &y)?;
            let y = self.style.activation.trace(planner.at("activation"), &y)?;
            self.expand.trace(planner.at("expand"), &y)
        })
    }

    fn init<const R: usize>(&self, device: &Device) -> LinknetStep<R> {
        let norm = self.style.norm.as_ref();
        let activation = self.style.activation.as_ref();
        LinknetStep {
            squeeze: self.squeeze.init(device),
            up: self.up.init(device),
            norm: norm.map(|norm| norm.init(self.up.channels[1], device)),
            activation: activation.map(|activation| activation.init(device)),
            expand: self.expand.init(device),
        }
    }
}

/// A step of a [`LinknetDecoder`]: to a quarter of the channels, to twice the size, and to the channels of the skip.
#[derive(Module, Debug)]
pub struct LinknetStep<const R: usize = 4> {
    /// The 1x1 convolution to a quarter of the channels.
    pub squeeze: ConvNormAct<R>,
    /// The transposed convolution with kernel 4 and stride 2.
    pub up: ConvTranspose<R>,
    /// The norm after it.
    pub norm: Option<Normalization>,
    /// The activation after that.
    pub activation: Option<Activation>,
    /// The 1x1 convolution to the channels of the skip.
    pub expand: ConvNormAct<R>,
}

impl<const R: usize> LinknetStep<R> {
    fn forward_to(&self, x: Tensor<R>, size: &[usize]) -> Tensor<R> {
        let y = self.up.forward_to(self.squeeze.forward(x), size);
        let y = Layer::forward(&self.activation, Layer::forward(&self.norm, y));
        self.expand.forward(y)
    }
}

/// The decoder of LinkNet (arXiv:1707.03718): from the coarsest map up, `y = step(y) + skip`, and a last step to the size
/// of the image; as segmentation_models.pytorch's `Linknet`.
///
/// # Shapes
/// - input: the maps of an encoder, the finest first, each of half the size of the one before it, rounded up
/// - output: `[batch, width, spatial...]`, of the size of the image
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::net::{Decoder, LinknetDecoder, LinknetDecoderConfig};
///
/// let device = Device::flex();
/// let decoder: LinknetDecoder = LinknetDecoderConfig::new().init(&[8, 16], &device);
/// let maps = vec![Tensor::zeros([2, 8, 33, 24], &device), Tensor::zeros([2, 16, 17, 12], &device)];
/// assert_eq!(decoder.forward(maps, &[65, 48]).dims(), [2, 32, 65, 48]);
/// ```
#[derive(Module, Debug)]
pub struct LinknetDecoder<const R: usize = 4> {
    /// The step from each map, the finest first.
    pub steps: Vec<LinknetStep<R>>,
    /// The options that the decoder was built with.
    #[module(skip)]
    pub config: LinknetDecoderConfig,
    /// The channels of the maps that it was built for, the finest first.
    #[module(skip)]
    pub channels: Vec<usize>,
}

impl<const R: usize> BuiltDecoder<R> for LinknetDecoder<R> {
    fn built(&self) -> Built<'_, R> {
        Built::new(&self.config, &self.channels)
    }

    fn run(&self, mut maps: Vec<Tensor<R>>, image: &[usize]) -> LazyConcat<R> {
        let deepest = pop_deepest(&mut maps);
        let steps = self.steps.iter().rev();
        let y = steps.fold(deepest, |y, step| match maps.pop() {
            Some(skip) => step.forward_to(y, spatial(&skip.dims())) + skip,
            None => step.forward_to(y, image),
        });
        y.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::decoder::frame::testing::dims;
    use alloc::string::ToString;

    #[test]
    fn every_rank_at_odd_sizes() {
        let config = LinknetDecoderConfig::new().with_width(3);
        for n in 33..=40_usize {
            let sizes = [n.div_ceil(2), n.div_ceil(4), n.div_ceil(8)];
            let maps = [[1, 4, sizes[0]], [1, 8, sizes[1]], [1, 12, sizes[2]]];
            assert_eq!(dims(config.clone(), &maps, &[n]), [1, 3, n]);
        }
    }

    #[test]
    fn maps_that_are_no_halves_are_refused() {
        let text = |maps: &[[usize; 4]], image| {
            let decoder = crate::net::DecoderConfig::from(LinknetDecoderConfig::new());
            decoder.output_shape(maps, image).unwrap_err().to_string()
        };
        assert_eq!(
            text(&[[1, 8, 32, 32], [1, 8, 16, 16]], &[32, 32]),
            "LinknetDecoder: height 32 of map 0 is no half of 32. Choose an encoder whose maps have half, a quarter, ... \
             of the size of the image, such as a ResNet."
        );
        assert_eq!(
            text(&[[1, 3, 16, 16]], &[32, 32]),
            "LinknetDecoder: map 0 has 3 channels, of which a step takes a quarter. Choose an encoder with 4 channels or \
             more."
        );
    }
}
