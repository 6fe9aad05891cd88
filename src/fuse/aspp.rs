//! [`Aspp`]: atrous spatial pyramid pooling.

use alloc::{format, vec, vec::Vec};

use burn::config::Config;
use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::fuse::fit::Fit;
use crate::fuse::merge::Merge;
use crate::graph::window::Padding;
use crate::graph::{Map, Planner};
use crate::layers::block::{ConvNormAct, ConvNormActConfig, ConvStyle};
use crate::layers::check_probability;
use crate::layers::conv::{LazyConcat, Part};
use crate::layers::layer::Layer;
use crate::layers::pool::{global_mean, trace_global_mean};
use crate::layers::resize::ResizeMode;
use crate::plan::Trace;
use crate::setters::setters;
use crate::shape::{PerAxis, ShapeError, check_positive, expect, spatial};

const NAME: &str = "Aspp";

/// Configuration of [`Aspp`].
///
/// # Example
/// ```
/// use burn_skip::{Trace, fuse::AsppConfig};
///
/// let config = AsppConfig::new([512, 256]).with_rates(vec![6.into(), 12.into()]);
/// assert_eq!(config.output_shape([1, 512, 32, 30]).unwrap(), [1, 256, 32, 30]);
/// let plan = config.with_separable(true).plan([1, 512, 32, 30]);
/// assert_eq!(plan.root.total_parameters(), 2 * (512 * 256 + 512) + 2 * (512 * 9 + 512 * 256 + 512) + 4 * 256 * 256 + 512);
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct AsppConfig {
    /// Input and output channels.
    pub channels: [usize; 2],
    /// The dilation of each of the 3x3 convolutions. Default: 12, 24 and 36.
    #[serde(default = "crate::defaults::atrous_rates")]
    pub rates: Vec<PerAxis>,
    /// Whether the 3x3 convolutions are [separable](ConvNormActConfig::separable). Default: false.
    #[serde(default)]
    pub separable: bool,
    /// The probability that a value of the output is dropped in training. Default: 0.5.
    #[serde(default = "crate::defaults::aspp_dropout")]
    pub dropout: f64,
    /// Norm and activation of all convolutions. The padding is that which keeps the size.
    #[serde(default = "ConvStyle::new")]
    pub style: ConvStyle,
}

setters!(
    AsppConfig:
    with_rates(rates: Vec<PerAxis>),
    with_separable(separable: bool),
    with_dropout(dropout: f64),
    with_style(style: ConvStyle),
);

impl Config for AsppConfig {}

impl AsppConfig {
    /// From `channels[0]` to `channels[1]` channels, with dilations of 12, 24 and 36.
    pub fn new(channels: [usize; 2]) -> Self {
        Self {
            channels,
            rates: crate::defaults::atrous_rates(),
            separable: false,
            dropout: crate::defaults::aspp_dropout(),
            style: ConvStyle::new(),
        }
    }

    fn pointwise(&self, input: usize) -> ConvNormActConfig {
        let style = self.style.clone().with_padding(Padding::Same);
        ConvNormActConfig::new([input, self.channels[1]], 1).with_style(style)
    }

    /// The branches at the positions of the map: the 1x1 convolution, and those with the dilations.
    fn branches(&self) -> Vec<Vec<ConvNormActConfig>> {
        let dilated = self.rates.iter().map(|rate| {
            let conv = ConvNormActConfig::new(self.channels, 3)
                .with_style(self.style.clone().with_padding(Padding::Same))
                .with_dilation(rate.clone());
            match self.separable {
                true => conv.separable().into(),
                false => vec![conv],
            }
        });
        let first = vec![self.pointwise(self.channels[0])];
        core::iter::once(first).chain(dilated).collect()
    }

    fn project(&self) -> ConvNormActConfig {
        let maps = self.rates.len().saturating_add(2);
        self.pointwise(self.channels[1].saturating_mul(maps))
    }

    /// Checks the options for maps of rank `R`.
    ///
    /// # Errors
    /// When a number is zero, or the probability is not in `[0, 1)`.
    pub fn validate<const R: usize>(&self) -> Result<(), ShapeError> {
        Planner::check_options(&[self.channels[0]], |planner, x: &[Map<R>]| {
            self.trace(planner, &x[0])
        })
    }

    /// Builds the layer.
    ///
    /// # Panics
    /// When [`validate`](Self::validate) returns an error, with its message.
    pub fn init<const R: usize>(&self, device: &Device) -> Aspp<R> {
        expect(self.validate::<R>());
        let branch =
            |convs: &Vec<ConvNormActConfig>| convs.iter().map(|conv| conv.init(device)).collect();
        Aspp {
            branches: self.branches().iter().map(branch).collect(),
            pool: self.pointwise(self.channels[0]).init(device),
            project: self.project().init(device),
            dropout: DropoutConfig::new(self.dropout).init(),
            config: self.clone(),
        }
    }
}

impl<const R: usize> Trace<R> for AsppConfig {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        planner.node(NAME, &[x], |planner| {
            check_positive(NAME, "in_channels", self.channels[0])?;
            check_positive(NAME, "out_channels", self.channels[1])?;
            check_probability(NAME, self.dropout)?;
            let mut maps = Vec::new();
            for (index, convs) in self.branches().iter().enumerate() {
                let branch = planner.at(format!("branches.{index}"));
                maps.push(branch.sequence(convs, x, ConvNormActConfig::trace)?);
            }
            let mean = trace_global_mean(planner.at(""), x)?;
            let pooled = self
                .pointwise(self.channels[0])
                .trace(planner.at("pool"), &mean)?;
            let fit = Fit::Resize(ResizeMode::Nearest);
            maps.push(fit.trace(planner.at(""), &pooled, spatial(&x.shape))?);
            let concat = planner.dispatched(|planner| {
                let name = |n| format!("branch {n}");
                Merge::concat().trace_named(planner.at(""), NAME, &maps, name)
            })?;
            let y = self.project().trace(planner.at("project"), &concat)?;
            let dropout = DropoutConfig::new(self.dropout).init();
            dropout.trace(planner.at("dropout"), &y)
        })
    }
}

/// Atrous spatial pyramid pooling (arXiv:1706.05587, section 3.3): a map seen through several dilations and as its mean,
/// and projected.
///
/// `y = dropout(project(concat([conv_1x1(x), conv_r(x) for each rate r, resize(pool(mean(x)))])))`, each a convolution
/// with norm and activation; as in torchvision's and segmentation_models.pytorch's DeepLab. The concatenation is not
/// materialised: `project` reads its parts.
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
/// use burn_skip::{Layer, fuse::{Aspp, AsppConfig}};
///
/// let device = Device::flex();
/// let aspp: Aspp = AsppConfig::new([16, 8]).init(&device);
/// assert_eq!(aspp.forward(Tensor::zeros([1, 16, 9, 7], &device)).dims(), [1, 8, 9, 7]);
/// ```
#[derive(Module, Debug)]
pub struct Aspp<const R: usize = 4> {
    /// The 1x1 convolution, and the convolutions of each rate.
    pub branches: Vec<Vec<ConvNormAct<R>>>,
    /// The convolution of the mean.
    pub pool: ConvNormAct<R>,
    /// The convolution of all branches.
    pub project: ConvNormAct<R>,
    /// The dropout after it.
    pub dropout: Dropout,
    /// The options that the layer was built with.
    #[module(skip)]
    pub config: AsppConfig,
}

impl<const R: usize> Trace<R> for Aspp<R> {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        self.config.trace(planner, x)
    }
}

impl<const R: usize> Layer<R> for Aspp<R> {
    fn forward(&self, x: Tensor<R>) -> Tensor<R> {
        let shape = x.dims();
        expect(self.output_shape(shape));
        let branches = self.branches.iter();
        let mut maps: Vec<Tensor<R>> = branches.map(|convs| convs.forward(x.clone())).collect();
        let pooled = self.pool.forward(global_mean(x));
        maps.push(Fit::Resize(ResizeMode::Nearest).forward(pooled, spatial(&shape)));
        let concat = LazyConcat::new(maps.into_iter().map(Part::new).collect());
        let y = self.project.forward_parts(concat).into_tensor();
        self.dropout.forward(y)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn every_rank() {
        let device = Device::flex();
        let config = AsppConfig::new([4, 3]).with_rates(vec![1.into(), 2.into()]);
        let signal: Aspp<3> = config.init(&device);
        assert_eq!(
            signal.forward(Tensor::zeros([2, 4, 9], &device)).dims(),
            [2, 3, 9]
        );
        let volume: Aspp<5> = config.with_separable(true).init(&device);
        let x = Tensor::zeros([1, 4, 5, 6, 7], &device);
        assert_eq!(volume.forward(x).dims(), [1, 3, 5, 6, 7]);
    }

    #[test]
    fn what_cannot_be_built_is_refused() {
        let text = |config: AsppConfig| config.validate::<4>().unwrap_err().to_string();
        assert_eq!(
            text(AsppConfig::new([4, 0])),
            "Aspp: out_channels is 0. Set out_channels to 1 or more."
        );
        assert_eq!(
            text(AsppConfig::new([4, 2]).with_dropout(1.0)),
            "Aspp: the probability is 1. Choose one in [0, 1)."
        );
        let rates = vec![PerAxis::from(0)];
        assert_eq!(
            text(AsppConfig::new([4, 2]).with_rates(rates)),
            "branches.1.0.conv.Conv: dilation is 0. Set dilation to 1 or more."
        );
    }
}
