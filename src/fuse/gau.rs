//! [`Gau`]: global attention upsample.

use alloc::vec::Vec;

use burn::config::Config;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::fuse::deep_and_skip::deep_and_skip_methods;
use crate::fuse::fit::Fit;
use crate::fuse::merge::Merge;
use crate::graph::{Elementwise, Map, Planner};
use crate::layers::activation::ActivationConfig;
use crate::layers::block::{ConvNormAct, ConvNormActConfig, ConvStyle};
use crate::layers::layer::Layer;
use crate::layers::pool::{global_mean, trace_global_mean};
use crate::layers::resize::ResizeMode;
use crate::plan::{Plan, Trace};
use crate::setters::setters;
use crate::shape::{ShapeError, check_not_empty, check_positive, expect, spatial};

const NAME: &str = "Gau";

/// Configuration of [`Gau`].
///
/// # Example
/// ```
/// use burn_skip::fuse::GauConfig;
///
/// let config = GauConfig::new(64, 32);
/// assert_eq!(config.output_shape([1, 32, 4, 4], [1, 64, 9, 9]).unwrap(), [1, 32, 9, 9]);
/// let error = config.output_shape([1, 16, 4, 4], [1, 64, 9, 9]).unwrap_err();
/// assert!(error.problem.contains("expected 32, got 16"));
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct GauConfig {
    /// The channels of the skip.
    pub skip_channels: usize,
    /// The channels of the deep map, and of the output.
    pub channels: usize,
    /// How the deep map is enlarged. Default: linear, corners aligned.
    #[serde(default = "ResizeMode::aligned_linear")]
    pub resize: ResizeMode,
    /// Norm and activation of the convolutions; that of the weight has a sigmoid in place of the activation. Default: batch
    /// norm, ReLU, and a bias beside the norm, as in segmentation_models.pytorch.
    #[serde(default = "crate::defaults::biased_style")]
    pub style: ConvStyle,
}

setters!(
    GauConfig:
    with_resize(resize: ResizeMode),
    with_style(style: ConvStyle),
);

impl Config for GauConfig {}

deep_and_skip_methods!(GauConfig: [channels, skip_channels]);

impl GauConfig {
    /// A skip with `skip_channels` channels is merged into a deep map with `channels`.
    pub fn new(skip_channels: usize, channels: usize) -> Self {
        Self {
            skip_channels,
            channels,
            resize: ResizeMode::aligned_linear(),
            style: crate::defaults::biased_style(),
        }
    }

    /// The convolution of the skip.
    fn conv(&self) -> ConvNormActConfig {
        ConvNormActConfig::new([self.skip_channels, self.channels], 3)
            .with_style(self.style.clone())
    }

    /// The convolution of the deep map's mean.
    fn weight(&self) -> ConvNormActConfig {
        ConvNormActConfig::new([self.channels; 2], 1)
            .with_style(self.style.clone())
            .with_activation(ActivationConfig::Sigmoid)
    }

    /// Records the step from `deep` to the size of `skip`.
    ///
    /// # Errors
    /// As [`output_shape`](Self::output_shape).
    pub fn trace<const R: usize>(
        &self,
        planner: &mut Planner,
        deep: &Map<R>,
        skip: &Map<R>,
    ) -> Result<Map<R>, ShapeError> {
        planner.node(NAME, &[deep, skip], |planner| {
            check_positive(NAME, "skip_channels", self.skip_channels)?;
            check_positive(NAME, "channels", self.channels)?;
            check_not_empty(NAME, deep.shape).map_err(|e| e.within("deep"))?;
            let mean = trace_global_mean(planner.at(""), deep)?;
            let weight = self.weight().trace(planner.at("weight"), &mean)?;
            let fine = self.conv().trace(planner.at("conv"), skip)?;
            let (names, maps) = (["map", "weight"], [&fine, &weight]);
            let product = planner.at("");
            let fine = product.elementwise(Elementwise::Product, &names, &maps, Ok(fine.shape))?;
            let fit = Fit::Resize(self.resize);
            let coarse = fit.trace(planner.at(""), deep, spatial(&skip.shape))?;
            let (names, maps) = (["deep", "skip"], [&coarse, &fine]);
            Merge::Add.trace(planner.at(""), NAME, &maps, &names)
        })
    }

    /// Builds the layer.
    ///
    /// # Panics
    /// When [`validate`](Self::validate) returns an error, with its message.
    pub fn init<const R: usize>(&self, device: &Device) -> Gau<R> {
        expect(self.validate::<R>());
        Gau {
            weight: self.weight().init(device),
            conv: self.conv().init(device),
            config: self.clone(),
        }
    }
}

/// Global attention upsample (arXiv:1805.10180, section 3.2), as segmentation_models.pytorch's `GAUBlock`: the deep map is
/// enlarged to the size of the skip, whose channels are weighed by the deep map's means, and both are added.
///
/// `y = resize(deep) + conv(skip) * sigmoid(norm(W mean(deep)))`, with a 3x3 convolution with norm and activation.
///
/// It weighs the skip as a [gate](crate::gate::Gate) does, but gives a map of the channels of the deep one: hence a fusion of
/// its own.
///
/// # Batches of one
/// A batch norm after the mean sees one value a channel and sample. Train with batches of two or more, or with another
/// norm: of a single value it makes its shift (PyTorch refuses it).
///
/// # Shapes
/// - `deep`: `[batch, channels, spatial...]`
/// - `skip`: `[batch, skip_channels, SPATIAL...]`, of any size
/// - output: `[batch, channels, SPATIAL...]`
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::fuse::{Gau, GauConfig};
///
/// let device = Device::flex();
/// let gau: Gau = GauConfig::new(16, 8).init(&device);
/// let (deep, skip) = (Tensor::zeros([1, 8, 5, 3], &device), Tensor::zeros([1, 16, 9, 7], &device));
/// assert_eq!(gau.forward(deep, skip).dims(), [1, 8, 9, 7]);
/// ```
#[derive(Module, Debug)]
pub struct Gau<const R: usize = 4> {
    /// The convolution of the deep map's mean, which becomes a weight for each channel.
    pub weight: ConvNormAct<R>,
    /// The convolution of the skip.
    pub conv: ConvNormAct<R>,
    /// The options that the layer was built with.
    #[module(skip)]
    pub config: GauConfig,
}

impl<const R: usize> Gau<R> {
    /// Merges `skip` into `deep`.
    ///
    /// # Panics
    /// When [`GauConfig::output_shape`] returns an error, with its message.
    pub fn forward(&self, deep: Tensor<R>, skip: Tensor<R>) -> Tensor<R> {
        expect(self.config.output_shape(deep.dims(), skip.dims()));
        let size = skip.dims();
        let weight = self.weight.forward(global_mean(deep.clone()));
        let fine = self.conv.forward(skip) * weight;
        Fit::Resize(self.config.resize).forward(deep, spatial(&size)) + fine
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn every_rank() {
        let device = Device::flex();
        let config = GauConfig::new(3, 2);
        let signal: Gau<3> = config.init(&device);
        let [deep, skip] = [[2, 2, 4], [2, 3, 9]].map(|shape| Tensor::zeros(shape, &device));
        assert_eq!(signal.forward(deep, skip).dims(), [2, 2, 9]);
        let volume: Gau<5> = config.init(&device);
        let maps = [[1, 2, 2, 3, 1], [1, 3, 4, 5, 3]];
        let [deep, skip] = maps.map(|shape| Tensor::zeros(shape, &device));
        assert_eq!(volume.forward(deep, skip).dims(), [1, 2, 4, 5, 3]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let text = |deep, skip| {
            let error = GauConfig::new(3, 2).output_shape::<4>(deep, skip);
            error.unwrap_err().to_string()
        };
        assert_eq!(
            text([2, 2, 4, 4], [1, 3, 8, 8]),
            "Gau: batch differs: deep 2, skip 1. Give all maps the same batch."
        );
        assert_eq!(
            text([1, 2, 4, 0], [1, 3, 8, 8]),
            "deep.Gau: width of the input is 0 in [1, 2, 4, 0]. Every axis of a feature map needs at least one element."
        );
        assert_eq!(
            GauConfig::new(0, 2)
                .validate::<4>()
                .unwrap_err()
                .to_string(),
            "Gau: skip_channels is 0. Set skip_channels to 1 or more."
        );
    }
}
