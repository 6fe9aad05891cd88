//! [`Mfab`]: multi-scale fusion attention.

use alloc::{vec, vec::Vec};

use burn::config::Config;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::fuse::deep_and_skip::deep_and_skip_methods;
use crate::fuse::fit::Fit;
use crate::fuse::gate::{Se, SeConfig, channel_weight, trace_channel_weight};
use crate::fuse::merge::Merge;
use crate::graph::{Elementwise, Map, Planner};
use crate::layers::block::{
    ConvNormAct, ConvNormActConfig, ConvStyle, DoubleConv, DoubleConvConfig,
};
use crate::layers::conv::{LazyConcat, Part};
use crate::layers::layer::Layer;
use crate::layers::resize::ResizeMode;
use crate::plan::{Plan, Trace};
use crate::setters::setters;
use crate::shape::{ShapeError, check_not_empty, check_positive, expect, spatial};

const NAME: &str = "Mfab";

/// Configuration of [`Mfab`].
///
/// # Example
/// ```
/// use burn_skip::fuse::MfabConfig;
///
/// let config = MfabConfig::new(128, 64, 32);
/// assert_eq!(config.output_shape([1, 128, 4, 4], [1, 64, 9, 9]).unwrap(), [1, 32, 9, 9]);
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct MfabConfig {
    /// The channels of the deep map.
    pub deep_channels: usize,
    /// The channels of the skip, to which the deep map is projected.
    pub skip_channels: usize,
    /// The channels of the output.
    pub out_channels: usize,
    /// The factor by which the channels are reduced between the two convolutions of each weight; one is left at least.
    /// Default: 16.
    #[serde(default = "reduction")]
    pub reduction: usize,
    /// How the deep map is enlarged. Default: nearest.
    #[serde(default = "nearest")]
    pub resize: ResizeMode,
    /// The convolutions of the deep map and of the block.
    #[serde(default = "ConvStyle::new")]
    pub style: ConvStyle,
}

pub(crate) const fn reduction() -> usize {
    16
}

pub(crate) const fn nearest() -> ResizeMode {
    ResizeMode::Nearest
}

setters!(
    MfabConfig:
    with_reduction(reduction: usize),
    with_resize(resize: ResizeMode),
    with_style(style: ConvStyle),
);

impl Config for MfabConfig {}

deep_and_skip_methods!(MfabConfig: [deep_channels, skip_channels]);

impl MfabConfig {
    /// From maps with these channels, and nearest upsampling.
    pub fn new(deep_channels: usize, skip_channels: usize, out_channels: usize) -> Self {
        Self {
            deep_channels,
            skip_channels,
            out_channels,
            reduction: reduction(),
            resize: nearest(),
            style: ConvStyle::new(),
        }
    }

    /// The 3x3 convolution of the deep map, and its projection to the channels of the skip.
    fn project(&self) -> Vec<ConvNormActConfig> {
        let [deep, skip] = [self.deep_channels, self.skip_channels];
        [([deep, deep], 3), ([deep, skip], 1)]
            .map(|(channels, kernel)| {
                ConvNormActConfig::new(channels, kernel).with_style(self.style.clone())
            })
            .into()
    }

    /// The convolutions of a weight of the channels.
    fn weight(&self) -> Result<[ConvNormActConfig; 2], ShapeError> {
        SeConfig::new(self.reduction.min(self.skip_channels)).convs(self.skip_channels)
    }

    fn block(&self) -> DoubleConvConfig {
        let both = self.skip_channels.saturating_mul(2);
        DoubleConvConfig::new([both, self.out_channels]).with_style(self.style.clone())
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
            check_positive(NAME, "deep_channels", self.deep_channels)?;
            check_positive(NAME, "skip_channels", self.skip_channels)?;
            check_not_empty(NAME, skip.shape).map_err(|e| e.within("skip"))?;
            let project = planner.at("project");
            let projected = project.sequence(&self.project(), deep, ConvNormActConfig::trace)?;
            let fit = Fit::Resize(self.resize);
            let coarse = fit.trace(planner.at(""), &projected, spatial(&skip.shape))?;
            let [squeeze, excite] = self.weight()?;
            let weight = |planner: &mut Planner, map: &Map<R>| {
                planner.node("ChannelWeight", &[map], |planner| {
                    trace_channel_weight(planner, &squeeze, &excite, map)
                })
            };
            let of_deep = weight(planner.at("of_deep"), &coarse)?;
            let of_skip = weight(planner.at("of_skip"), skip)?;
            let names = ["deep", "skip"];
            let sum = Merge::Add.trace(planner.at(""), NAME, &[&of_deep, &of_skip], &names)?;
            let (product, maps) = (planner.at(""), [&coarse, &sum]);
            let names = ["map", "weight"];
            let weighed =
                product.elementwise(Elementwise::Product, &names, &maps, Ok(coarse.shape))?;
            let concat = planner.dispatched(|planner| {
                let (maps, names) = ([&weighed, skip], ["deep", "skip"]);
                Merge::concat().trace(planner.at(""), NAME, &maps, &names)
            })?;
            self.block().trace(planner.at("block"), &concat)
        })
    }

    /// Builds the layer.
    ///
    /// # Panics
    /// When [`validate`](Self::validate) returns an error, with its message.
    pub fn init<const R: usize>(&self, device: &Device) -> Mfab<R> {
        expect(self.validate::<R>());
        let weight = || {
            let [squeeze, excite] = expect(self.weight()).map(|conv| conv.init(device));
            Se { squeeze, excite }
        };
        Mfab {
            project: self
                .project()
                .iter()
                .map(|conv| conv.init(device))
                .collect(),
            of_deep: weight(),
            of_skip: weight(),
            block: self.block().init(device),
            config: self.clone(),
        }
    }
}

/// The multi-scale fusion attention block of MA-Net (doi:10.1109/ACCESS.2020.3025372), as
/// segmentation_models.pytorch's `MFABBlock`: the deep map is projected and enlarged, its channels are weighed by the means
/// of both maps, and both are concatenated and refined.
///
/// `y = block(concat([u * (se(u) + se'(skip)), skip]))`, with `u = resize(project(deep))` and the weights
/// `se(x) = sigmoid(W_2 relu(W_1 mean(x)))` of [`Se`]. The concatenation is not materialised: the block reads its parts.
///
/// # Shapes
/// - `deep`: `[batch, deep_channels, spatial...]`
/// - `skip`: `[batch, skip_channels, SPATIAL...]`, of any size
/// - output: `[batch, out_channels, SPATIAL...]`
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::fuse::{Mfab, MfabConfig};
///
/// let device = Device::flex();
/// let mfab: Mfab = MfabConfig::new(16, 8, 4).init(&device);
/// let (deep, skip) = (Tensor::zeros([1, 16, 5, 3], &device), Tensor::zeros([1, 8, 9, 7], &device));
/// assert_eq!(mfab.forward(deep, skip).dims(), [1, 4, 9, 7]);
/// ```
#[derive(Module, Debug)]
pub struct Mfab<const R: usize = 4> {
    /// The 3x3 convolution of the deep map, and its projection to the channels of the skip.
    pub project: Vec<ConvNormAct<R>>,
    /// The weight of the channels by the deep map.
    pub of_deep: Se<R>,
    /// The weight of the channels by the skip.
    pub of_skip: Se<R>,
    /// The block after the concatenation.
    pub block: DoubleConv<R>,
    /// The options that the layer was built with.
    #[module(skip)]
    pub config: MfabConfig,
}

impl<const R: usize> Mfab<R> {
    /// Merges `deep` into `skip`.
    ///
    /// # Panics
    /// When [`MfabConfig::output_shape`] returns an error, with its message.
    pub fn forward(&self, deep: Tensor<R>, skip: Tensor<R>) -> Tensor<R> {
        expect(self.config.output_shape(deep.dims(), skip.dims()));
        let weight = |se: &Se<R>, map: &Tensor<R>| channel_weight(&se.squeeze, &se.excite, map);
        let coarse = self.project.forward(deep);
        let coarse = Fit::Resize(self.config.resize).forward(coarse, spatial(&skip.dims()));
        let sum = weight(&self.of_deep, &coarse) + weight(&self.of_skip, &skip);
        let parts = vec![Part::new(coarse * sum), Part::new(skip)];
        self.block
            .forward_parts(LazyConcat::new(parts))
            .into_tensor()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn every_rank() {
        let device = Device::flex();
        let config = MfabConfig::new(4, 3, 2);
        let signal: Mfab<3> = config.init(&device);
        let [deep, skip] = [[2, 4, 4], [2, 3, 9]].map(|shape| Tensor::zeros(shape, &device));
        assert_eq!(signal.forward(deep, skip).dims(), [2, 2, 9]);
        let volume: Mfab<5> = config.init(&device);
        let maps = [[1, 4, 2, 3, 1], [1, 3, 4, 5, 3]];
        let [deep, skip] = maps.map(|shape| Tensor::zeros(shape, &device));
        assert_eq!(volume.forward(deep, skip).dims(), [1, 2, 4, 5, 3]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let text = |deep, skip| {
            let error = MfabConfig::new(4, 3, 2).output_shape::<4>(deep, skip);
            error.unwrap_err().to_string()
        };
        assert_eq!(
            text([2, 4, 4, 4], [1, 3, 8, 8]),
            "Mfab: batch differs: deep 2, skip 1. Give all maps the same batch."
        );
        assert_eq!(
            text([1, 4, 4, 4], [1, 3, 0, 8]),
            "skip.Mfab: height of the input is 0 in [1, 3, 0, 8]. Every axis of a feature map needs at least one element."
        );
        let without = MfabConfig::new(4, 3, 2).with_reduction(0);
        assert_eq!(
            without.validate::<4>().unwrap_err().to_string(),
            "Gate: reduction is 0. Set reduction to 1 or more."
        );
    }
}
