//! [`Fpa`]: feature pyramid attention.

use alloc::{format, vec, vec::Vec};

use burn::config::Config;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::fuse::fit::Fit;
use crate::graph::{Elementwise, Map, Planner};
use crate::layers::block::{ConvNormAct, ConvNormActConfig, ConvStyle};
use crate::layers::layer::Layer;
use crate::layers::pool::{PoolConfig, PoolKind, global_mean, trace_global_mean};
use crate::layers::resize::ResizeMode;
use crate::plan::Trace;
use crate::setters::setters;
use crate::shape::{ShapeError, check_not_empty, check_positive, expect, spatial};

const NAME: &str = "Fpa";

/// The kernels of the pyramid, the finest level first.
const KERNELS: [usize; 3] = [7, 5, 3];

/// Configuration of [`Fpa`].
///
/// # Example
/// ```
/// use burn_skip::{Trace, fuse::FpaConfig};
///
/// let config = FpaConfig::new([512, 32]);
/// assert_eq!(config.output_shape([1, 512, 16, 15]).unwrap(), [1, 32, 16, 15]);
/// // A map of one position has no coarser levels, and is weighed all the same.
/// assert_eq!(config.output_shape([1, 512, 1, 1]).unwrap(), [1, 32, 1, 1]);
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct FpaConfig {
    /// Input and output channels.
    pub channels: [usize; 2],
    /// How a level is enlarged to the next finer one. Default: linear, corners aligned.
    #[serde(default = "ResizeMode::aligned_linear")]
    pub resize: ResizeMode,
    /// Norm and activation of all convolutions. Default: batch norm, ReLU, and a bias beside the norm, as in
    /// segmentation_models.pytorch.
    #[serde(default = "crate::defaults::biased_style")]
    pub style: ConvStyle,
}

setters!(
    FpaConfig:
    with_resize(resize: ResizeMode),
    with_style(style: ConvStyle),
);

impl Config for FpaConfig {}

/// The convolutions of an [`Fpa`].
struct Parts {
    mean: ConvNormActConfig,
    project: ConvNormActConfig,
    down: Vec<Vec<ConvNormActConfig>>,
    up: Vec<ConvNormActConfig>,
}

impl FpaConfig {
    /// From `channels[0]` to `channels[1]` channels.
    pub fn new(channels: [usize; 2]) -> Self {
        Self {
            channels,
            resize: ResizeMode::aligned_linear(),
            style: crate::defaults::biased_style(),
        }
    }

    fn parts(&self) -> Parts {
        let conv = |channels, kernel: usize| {
            ConvNormActConfig::new(channels, kernel).with_style(self.style.clone())
        };
        let [seven, five, three] = KERNELS;
        Parts {
            mean: conv(self.channels, 1),
            project: conv(self.channels, 1),
            down: vec![
                vec![conv([self.channels[0], 1], seven)],
                vec![conv([1, 1], five)],
                vec![conv([1, 1], three), conv([1, 1], three)],
            ],
            up: vec![conv([1, 1], seven), conv([1, 1], five)],
        }
    }

    /// Checks the options for maps of rank `R`.
    ///
    /// # Errors
    /// When a number is zero, or the style is invalid.
    pub fn validate<const R: usize>(&self) -> Result<(), ShapeError> {
        Planner::check_options(&[self.channels[0]], |planner, x: &[Map<R>]| {
            self.trace(planner, &x[0])
        })
    }

    /// Builds the layer.
    ///
    /// # Panics
    /// When [`validate`](Self::validate) returns an error, with its message.
    pub fn init<const R: usize>(&self, device: &Device) -> Fpa<R> {
        expect(self.validate::<R>());
        let parts = self.parts();
        let all = |convs: &Vec<ConvNormActConfig>| -> Vec<ConvNormAct<R>> {
            convs.iter().map(|conv| conv.init(device)).collect()
        };
        Fpa {
            mean: parts.mean.init(device),
            project: parts.project.init(device),
            down: parts.down.iter().map(all).collect(),
            up: all(&parts.up),
            config: self.clone(),
        }
    }
}

/// The max pool by two that leaves an axis of one position as it is.
fn halving<const R: usize>(shape: [usize; R]) -> PoolConfig {
    let kernel: Vec<usize> = spatial(&shape).iter().map(|&size| size.min(2)).collect();
    PoolConfig::new(PoolKind::Max, kernel)
}

impl<const R: usize> Trace<R> for FpaConfig {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        planner.node(NAME, &[x], |planner| {
            check_positive(NAME, "in_channels", self.channels[0])?;
            check_positive(NAME, "out_channels", self.channels[1])?;
            check_not_empty(NAME, x.shape)?;
            let parts = self.parts();
            let mean = trace_global_mean(planner.at(""), x)?;
            let mean = parts.mean.trace(planner.at("mean"), &mean)?;
            let projected = parts.project.trace(planner.at("project"), x)?;
            let mut levels: Vec<Map<R>> = Vec::new();
            for (index, convs) in parts.down.iter().enumerate() {
                let halved = {
                    let finer = levels.last().unwrap_or(x);
                    halving(finer.shape).trace(planner.at(""), finer)?
                };
                let level = planner.at(format!("down.{index}"));
                levels.push(level.sequence(convs, &halved, ConvNormActConfig::trace)?);
            }
            let fit = Fit::Resize(self.resize);
            let mut attention = levels.pop().unwrap_or_else(|| x.clone());
            while let Some(level) = levels.pop() {
                let index = levels.len();
                let coarse = fit.trace(planner.at(""), &attention, spatial(&level.shape))?;
                let fine = parts.up[index].trace(planner.at(format!("up.{index}")), &level)?;
                let (names, maps) = (["coarse", "fine"], [&coarse, &fine]);
                let sum = planner.at("");
                attention = sum.elementwise(Elementwise::Sum, &names, &maps, Ok(fine.shape))?;
            }
            let attention = fit.trace(planner.at(""), &attention, spatial(&x.shape))?;
            let (names, maps) = (["map", "attention"], [&projected, &attention]);
            let product = planner.at("");
            let weighed =
                product.elementwise(Elementwise::Product, &names, &maps, Ok(projected.shape))?;
            let (names, maps) = (["map", "mean"], [&weighed, &mean]);
            let sum = planner.at("");
            sum.elementwise(Elementwise::Sum, &names, &maps, Ok(weighed.shape))
        })
    }
}

/// Feature pyramid attention (arXiv:1805.10180, section 3.1), as segmentation_models.pytorch's `FPABlock`: a map is weighed
/// at each position by what a pyramid of three halvings sees there, and its mean is added.
///
/// `y = project(x) * a + mean(x)`, with `d_1 = conv_7(halve(x))`, `d_2 = conv_5(halve(d_1))`,
/// `d_3 = conv_3(conv_3(halve(d_2)))`, all of one channel, and
/// `a = resize(conv_7(d_1) + resize(conv_5(d_2) + resize(d_3)))`. `project` and `mean` are 1x1 convolutions, the latter of
/// the mean over all positions; `halve` is a max pool. Every convolution has a norm and an activation.
///
/// An axis of `n` positions has `n / 2`, `n / 4` and `n / 8` in the pyramid, rounded down, but one at least: so that every
/// size works. (segmentation_models.pytorch takes 8 positions or more.)
///
/// # Batches of one
/// A batch norm after the mean sees one value a channel and sample. Train with batches of two or more, or with another
/// norm: of a single value it makes its shift (PyTorch refuses it).
///
/// # Shapes
/// - input: `[batch, in_channels, spatial...]`
/// - output: `[batch, out_channels, spatial...]`
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::{Layer, fuse::{Fpa, FpaConfig}};
///
/// let device = Device::flex();
/// let fpa: Fpa = FpaConfig::new([16, 8]).init(&device);
/// assert_eq!(fpa.forward(Tensor::zeros([1, 16, 9, 7], &device)).dims(), [1, 8, 9, 7]);
/// ```
#[derive(Module, Debug)]
pub struct Fpa<const R: usize = 4> {
    /// The convolution of the mean.
    pub mean: ConvNormAct<R>,
    /// The convolution of the map.
    pub project: ConvNormAct<R>,
    /// The convolutions after each halving, the finest first.
    pub down: Vec<Vec<ConvNormAct<R>>>,
    /// The convolutions of the levels before a coarser one is added, the finest first.
    pub up: Vec<ConvNormAct<R>>,
    /// The options that the layer was built with.
    #[module(skip)]
    pub config: FpaConfig,
}

impl<const R: usize> Trace<R> for Fpa<R> {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        self.config.trace(planner, x)
    }
}

impl<const R: usize> Layer<R> for Fpa<R> {
    fn forward(&self, x: Tensor<R>) -> Tensor<R> {
        let shape = x.dims();
        expect(self.output_shape(shape));
        let mean = self.mean.forward(global_mean(x.clone()));
        let projected = self.project.forward(x.clone());
        let mut levels: Vec<Tensor<R>> = Vec::new();
        let mut attention = x;
        for convs in &self.down {
            let halved = halving(attention.dims()).init().forward(attention);
            attention = convs.forward(halved);
            levels.push(attention.clone());
        }
        levels.pop(); // (It is what the way up begins with.)
        let fit = Fit::Resize(self.config.resize);
        for (conv, level) in self.up.iter().zip(levels).rev() {
            let coarse = fit.forward(attention, spatial(&level.dims()));
            attention = coarse + conv.forward(level);
        }
        projected * fit.forward(attention, spatial(&shape)) + mean
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn every_rank_and_size() {
        let device = Device::flex();
        let config = FpaConfig::new([4, 3]);
        let signal: Fpa<3> = config.init(&device);
        for n in 1..=17 {
            let y = signal.forward(Tensor::zeros([2, 4, n], &device));
            assert_eq!(y.dims(), [2, 3, n]);
        }
        let volume: Fpa<5> = config.init(&device);
        let x = Tensor::zeros([1, 4, 5, 9, 2], &device);
        assert_eq!(volume.forward(x).dims(), [1, 3, 5, 9, 2]);
    }

    #[test]
    fn what_cannot_be_built_is_refused() {
        let text = |config: FpaConfig| config.validate::<4>().unwrap_err().to_string();
        assert_eq!(
            text(FpaConfig::new([4, 0])),
            "Fpa: out_channels is 0. Set out_channels to 1 or more."
        );
        let style = ConvStyle::new().with_norm(crate::norm::NormConfig::group(2));
        assert_eq!(
            text(FpaConfig::new([4, 2]).with_style(style)),
            "down.0.0.norm.GroupNorm: groups (=2) do not divide the channels (=1). Choose groups that do."
        );
    }
}
