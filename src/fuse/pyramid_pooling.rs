//! [`PyramidPooling`]: a map with its means over grids of several sizes.

use alloc::{format, vec, vec::Vec};

use burn::config::Config;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::fuse::fit::Fit;
use crate::fuse::merge::Merge;
use crate::graph::window::Padding;
use crate::graph::{Map, Planner};
use crate::layers::block::{ConvNormAct, ConvNormActConfig, ConvStyle};
use crate::layers::conv::{LazyConcat, Part};
use crate::layers::layer::Layer;
use crate::layers::norm::NormConfig;
use crate::layers::resize::ResizeMode;
use crate::plan::Trace;
use crate::setters::setters;
use crate::shape::{ShapeError, check_channels, check_positive, expect, spatial};

const NAME: &str = "PyramidPooling";

/// Configuration of [`PyramidPooling`].
///
/// # Example
/// ```
/// use burn_skip::{Trace, fuse::PyramidPoolingConfig};
///
/// let config = PyramidPoolingConfig::new(64, 16);
/// assert_eq!(config.output_shape([1, 64, 30, 40]).unwrap(), [1, 4 * 16 + 64, 30, 40]);
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PyramidPoolingConfig {
    /// The channels of the map.
    pub channels: usize,
    /// The channels of each mean, after a 1x1 convolution.
    pub branch_channels: usize,
    /// The number of bins of each mean along every axis. Default: 1, 2, 3 and 6.
    #[serde(default = "bins")]
    pub bins: Vec<usize>,
    /// Norm and activation of the convolutions. Default: batch norm, ReLU.
    #[serde(default = "ConvStyle::new")]
    pub style: ConvStyle,
    /// Whether the convolution of a single bin has batch norm too, which a batch of one sample does not define in
    /// training. Default: false; it then has a bias where the others have batch norm.
    #[serde(default)]
    pub single_bin_norm: bool,
    /// Whether the map comes before its means in the concatenation. Default: false, after them.
    #[serde(default)]
    pub map_first: bool,
    /// How the means are resized to the size of the map. Default: linear, corners aligned.
    #[serde(default = "ResizeMode::aligned_linear")]
    pub resize: ResizeMode,
}

fn bins() -> Vec<usize> {
    vec![1, 2, 3, 6]
}

setters!(
    PyramidPoolingConfig:
    with_bins(bins: Vec<usize>),
    with_style(style: ConvStyle),
    with_single_bin_norm(single_bin_norm: bool),
    with_map_first(map_first: bool),
    with_resize(resize: ResizeMode),
);

impl Config for PyramidPoolingConfig {}

impl PyramidPoolingConfig {
    /// Means over 1, 2, 3 and 6 bins of a map with `channels` channels, each projected to `branch_channels`.
    pub fn new(channels: usize, branch_channels: usize) -> Self {
        Self {
            channels,
            branch_channels,
            bins: bins(),
            style: ConvStyle::new(),
            single_bin_norm: false,
            map_first: false,
            resize: ResizeMode::aligned_linear(),
        }
    }

    /// The channels of the output.
    pub fn out_channels(&self) -> usize {
        let branches = self.branch_channels.saturating_mul(self.bins.len());
        branches.saturating_add(self.channels)
    }

    /// The place of the map in the concatenation.
    fn place_of_map(&self) -> usize {
        match self.map_first {
            true => 0,
            false => self.bins.len(),
        }
    }

    fn conv(&self, bins: usize) -> ConvNormActConfig {
        let mut style = self.style.clone().with_padding(Padding::Same);
        let without_batch_norm = bins == 1 && !self.single_bin_norm;
        if without_batch_norm && matches!(style.norm, Some(NormConfig::Batch { .. })) {
            style.norm = None;
        }
        ConvNormActConfig::new([self.channels, self.branch_channels], 1).with_style(style)
    }

    /// Checks the options for maps of rank `R`.
    ///
    /// # Errors
    /// When a number is zero, or there are no bins.
    pub fn validate<const R: usize>(&self) -> Result<(), ShapeError> {
        Planner::check_options(&[self.channels], |planner, x: &[Map<R>]| {
            self.trace(planner, &x[0])
        })
    }

    fn check(&self) -> Result<(), ShapeError> {
        check_positive(NAME, "channels", self.channels)?;
        check_positive(NAME, "branch_channels", self.branch_channels)?;
        if self.bins.is_empty() || self.bins.contains(&0) {
            let problem = format!("bins are {:?}", self.bins);
            return Err(ShapeError::new(
                NAME,
                problem,
                "Give one number or more, each 1 or more",
            ));
        }
        Ok(())
    }

    /// Builds the layer.
    ///
    /// # Panics
    /// When [`validate`](Self::validate) returns an error, with its message.
    pub fn init<const R: usize>(&self, device: &Device) -> PyramidPooling<R> {
        expect(self.validate::<R>());
        PyramidPooling {
            branches: self
                .bins
                .iter()
                .map(|&bins| self.conv(bins).init(device))
                .collect(),
            config: self.clone(),
        }
    }
}

impl<const R: usize> Trace<R> for PyramidPoolingConfig {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        planner.node(NAME, &[x], |planner| {
            self.check()?;
            check_channels(NAME, x.shape, self.channels)?;
            let mut maps = Vec::new();
            for (index, &bins) in self.bins.iter().enumerate() {
                let to_bins = Fit::Resize(ResizeMode::Area);
                let mean = to_bins.trace(planner.at(""), x, &[bins; R][2..])?;
                let conv = self.conv(bins);
                let y = conv.trace(planner.at(format!("branches.{index}")), &mean)?;
                let fit = Fit::Resize(self.resize);
                maps.push(fit.trace(planner.at(""), &y, spatial(&x.shape))?);
            }
            maps.insert(self.place_of_map(), x.clone());
            planner.dispatched(|planner| {
                let name = |n| format!("branch {n}");
                Merge::concat().trace_named(planner.at(""), NAME, &maps, name)
            })
        })
    }
}

/// A map with its means over grids of several sizes (PSPNet, arXiv:1612.01105, section 3.2):
/// `y = concat([resize(conv_n(mean over n bins(x))) for each n, x])`, as segmentation_models.pytorch's `PSPModule`; or
/// `x` first, as in its `UPerNet`.
///
/// The bins are those of PyTorch's adaptive mean pool, and may be more than positions. The concatenation is not
/// materialised where a convolution follows.
///
/// # Shapes
/// - input: `[batch, channels, spatial...]`
/// - output: `[batch, bins * branch_channels + channels, spatial...]`
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::{Layer, fuse::{PyramidPooling, PyramidPoolingConfig}};
///
/// let device = Device::flex();
/// let pooling: PyramidPooling = PyramidPoolingConfig::new(8, 2).init(&device);
/// assert_eq!(pooling.forward(Tensor::zeros([2, 8, 9, 7], &device)).dims(), [2, 16, 9, 7]);
/// ```
#[derive(Module, Debug)]
pub struct PyramidPooling<const R: usize = 4> {
    /// The convolution of the mean over each number of bins.
    pub branches: Vec<ConvNormAct<R>>,
    /// The options that the layer was built with.
    #[module(skip)]
    pub config: PyramidPoolingConfig,
}

impl<const R: usize> Trace<R> for PyramidPooling<R> {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        self.config.trace(planner, x)
    }
}

impl<const R: usize> Layer<R> for PyramidPooling<R> {
    fn forward(&self, x: Tensor<R>) -> Tensor<R> {
        self.forward_parts(x.into()).into_tensor()
    }

    fn forward_parts(&self, parts: LazyConcat<R>) -> LazyConcat<R> {
        let shape = parts.dims();
        expect(self.output_shape(shape));
        let x = parts.into_tensor();
        let branch = |(conv, &bins): (&ConvNormAct<R>, &usize)| {
            let mean = Fit::Resize(ResizeMode::Area).forward(x.clone(), &[bins; R][2..]);
            let fit = Fit::Resize(self.config.resize);
            Part::new(fit.forward(conv.forward(mean), spatial(&shape)))
        };
        let mut parts: Vec<Part<R>> = self
            .branches
            .iter()
            .zip(&self.config.bins)
            .map(branch)
            .collect();
        parts.insert(self.config.place_of_map(), Part::new(x));
        LazyConcat::new(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn more_bins_than_positions() {
        let device = Device::flex();
        let pooling: PyramidPooling<5> = PyramidPoolingConfig::new(4, 1).init(&device);
        let y = pooling.forward(Tensor::zeros([2, 4, 2, 3, 5], &device));
        assert_eq!(y.dims(), [2, 8, 2, 3, 5]);
    }

    #[test]
    fn what_cannot_be_built_is_refused() {
        let text = |config: PyramidPoolingConfig| config.validate::<4>().unwrap_err().to_string();
        let config = || PyramidPoolingConfig::new(4, 1);
        assert_eq!(
            text(config().with_bins(vec![1, 0])),
            "PyramidPooling: bins are [1, 0]. Give one number or more, each 1 or more."
        );
        assert_eq!(
            text(PyramidPoolingConfig::new(4, 0)),
            "PyramidPooling: branch_channels is 0. Set branch_channels to 1 or more."
        );
    }
}
