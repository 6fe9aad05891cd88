//! [`VggEncoder`]: stages of 3x3 convolutions with max pools between them.

use alloc::{format, vec, vec::Vec};

use burn::config::Config;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::any::{EncoderSpec, check_encoder};
use super::{Encoder, check_depths, check_widths};
use crate::graph::window::Padding;
use crate::graph::{Map, Planner};
use crate::layers::activation::ActivationConfig;
use crate::layers::block::{
    ConvNormAct, ConvNormActConfig, ConvStyle, DoubleConv, DoubleConvConfig,
};
use crate::layers::layer::Layer;
use crate::layers::norm::NormConfig;
use crate::layers::pool::{Pool, PoolConfig, PoolKind};
use crate::plan::Trace;
use crate::setters::setters;
use crate::shape::{ShapeError, expect};

const NAME: &str = "VggEncoder";

/// Configuration of [`VggEncoder`].
///
/// # Example
/// ```
/// use burn_skip::block::ConvStyle;
/// use burn_skip::net::{EncoderConfig, SegmentationConfig, VggEncoderConfig};
/// use burn_skip::norm::NormConfig;
/// use burn_skip::Trace;
///
/// let vgg = VggEncoderConfig::vgg16().with_norm(NormConfig::batch()); // "VGG-16 BN"
/// assert_eq!(vgg.feature_channels(), [64, 128, 256, 512, 512, 512]);
/// let shapes = vgg.feature_shapes([1, 3, 64, 96]).unwrap();
/// assert_eq!([shapes[0], shapes[5]], [[1, 64, 64, 96], [1, 512, 2, 3]]);
///
/// // segmentation_models.pytorch's `Unet` does not read the finest map, and has two more convolutions on VGG.
/// let encoder = vgg.with_full_size_map(false).with_center(ConvStyle::new());
/// let net = SegmentationConfig::smp_unet(EncoderConfig::Vgg(encoder), 2);
/// assert_eq!(net.output_shape([1, 3, 64, 96]).unwrap(), [1, 2, 64, 96]);
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct VggEncoderConfig {
    /// The channels of the image. Default: 3.
    #[serde(default = "crate::defaults::image_channels")]
    pub in_channels: usize,
    /// The channels of each stage.
    pub widths: Vec<usize>,
    /// The number of convolutions of each stage.
    pub depths: Vec<usize>,
    /// The norm after every convolution, or none; the convolutions have a bias all the same. Default: none.
    #[serde(default)]
    pub norm: Option<NormConfig>,
    /// The activation. Default: ReLU.
    #[serde(default = "ActivationConfig::default_activation")]
    pub activation: ActivationConfig,
    /// Whether the first stage, which has the size of the image, is a feature map. Default: true.
    #[serde(default = "crate::defaults::yes")]
    pub full_size_map: bool,
    /// Whether the last stage is pooled too, which gives one more feature map. Default: true.
    #[serde(default = "crate::defaults::yes")]
    pub last_pool: bool,
    /// Two 3x3 convolutions of the deepest map, as the U-Nets of segmentation_models.pytorch have on VGG (their
    /// `center`); or none. Default: none.
    #[serde(default)]
    pub center: Option<ConvStyle>,
}

setters!(
    VggEncoderConfig:
    with_in_channels(in_channels: usize),
    with_norm(norm: impl Into<Option<NormConfig>>),
    with_activation(activation: ActivationConfig),
    with_full_size_map(full_size_map: bool),
    with_last_pool(last_pool: bool),
    with_center(center: impl Into<Option<ConvStyle>>),
);

impl Config for VggEncoderConfig {}

impl VggEncoderConfig {
    /// Stages of `widths` channels and `depths` convolutions, for images of three channels.
    pub fn new(widths: Vec<usize>, depths: Vec<usize>) -> Self {
        Self {
            in_channels: 3,
            widths,
            depths,
            norm: None,
            activation: ActivationConfig::Relu,
            full_size_map: true,
            last_pool: true,
            center: None,
        }
    }

    /// The stages of the paper, with `depths` convolutions.
    fn of_paper(depths: [usize; 5]) -> Self {
        Self::new(vec![64, 128, 256, 512, 512], depths.into())
    }

    /// VGG-11.
    pub fn vgg11() -> Self {
        Self::of_paper([1, 1, 2, 2, 2])
    }

    /// VGG-13.
    pub fn vgg13() -> Self {
        Self::of_paper([2, 2, 2, 2, 2])
    }

    /// VGG-16.
    pub fn vgg16() -> Self {
        Self::of_paper([2, 2, 3, 3, 3])
    }

    /// VGG-19.
    pub fn vgg19() -> Self {
        Self::of_paper([2, 2, 4, 4, 4])
    }

    /// The convolutions of the stage `index`.
    fn stage(&self, index: usize) -> impl Iterator<Item = ConvNormActConfig> {
        let output = self.widths[index];
        let before = match index {
            0 => self.in_channels,
            _ => self.widths[index - 1],
        };
        (0..self.depths[index]).map(move |position| {
            let input = if position == 0 { before } else { output };
            ConvNormActConfig::new([input, output], 3)
                .with_padding(Padding::explicit(1))
                .with_norm(self.norm.clone())
                .with_activation(self.activation)
                .with_bias(true)
        })
    }

    /// How many pools there are: one after each stage, but perhaps the last.
    fn pools(&self) -> usize {
        let stages = self.depths.len();
        stages.saturating_sub(usize::from(!self.last_pool))
    }

    fn center(&self) -> Option<DoubleConvConfig> {
        let deepest = self.widths.last().copied().unwrap_or(0);
        let style = self.center.clone()?;
        Some(DoubleConvConfig::new([deepest; 2]).with_style(style))
    }

    /// The channels of the feature maps: the stages before their pools, and the last pool.
    pub fn feature_channels(&self) -> Vec<usize> {
        let pooled = self.widths.last().filter(|_| self.last_pool);
        let channels = self.widths.iter().chain(pooled).copied();
        channels.skip(usize::from(!self.full_size_map)).collect()
    }

    /// Checks the options for maps of rank `R`.
    ///
    /// # Errors
    /// When there is no stage or one without convolutions, a number is zero, or a part is invalid.
    pub fn validate<const R: usize>(&self) -> Result<(), ShapeError> {
        check_encoder(self.in_channels, |planner, x: &Map<R>| {
            self.trace(planner, x)
        })
    }

    /// Checks what no part checks.
    fn check_numbers(&self) -> Result<(), ShapeError> {
        check_widths(NAME, &self.widths)?;
        check_depths(NAME, &self.depths)?;
        let (widths, depths) = (self.widths.len(), self.depths.len());
        if widths != depths {
            return Err(ShapeError::new(
                NAME,
                format!("there are {widths} widths and {depths} depths"),
                "Give one of each for each stage",
            ));
        }
        match self.feature_channels().is_empty() {
            true => Err(ShapeError::new(
                NAME,
                "there is no feature map",
                "Set full_size_map or last_pool, or give more stages",
            )),
            false => Ok(()),
        }
    }

    /// The shapes of the feature maps: each stage before its pool, and the last pool, the finest first.
    ///
    /// # Errors
    /// When the channels differ, the image is too small for the pools, or the configuration is invalid.
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
            self.check_numbers()?;
            let mut x = x.clone();
            let mut maps = Vec::new();
            for index in 0..self.depths.len() {
                let name = format!("stages.{index}");
                x = planner
                    .at(name)
                    .sequence(self.stage(index), &x, |conv, planner, x| {
                        conv.trace(planner, x)
                    })?;
                if index > 0 || self.full_size_map {
                    maps.push(x.clone());
                }
                if index < self.pools() {
                    x = pool().trace(planner.at(format!("pools.{index}")), &x)?;
                }
            }
            if self.last_pool {
                maps.push(x);
            }
            if let (Some(center), Some(deepest)) = (self.center(), maps.last_mut()) {
                *deepest = center.trace(planner.at("center"), deepest)?;
            }
            Ok(maps)
        })
    }

    /// Builds the encoder.
    ///
    /// # Panics
    /// When [`validate`](Self::validate) returns an error, with its message.
    pub fn init<const R: usize>(&self, device: &Device) -> VggEncoder<R> {
        expect(self.validate::<R>());
        let stage = |index| self.stage(index).map(|conv| conv.init(device)).collect();
        VggEncoder {
            stages: (0..self.depths.len()).map(stage).collect(),
            pools: (0..self.pools()).map(|_| pool().init()).collect(),
            center: self.center().map(|center| center.init(device)),
            config: self.clone(),
        }
    }
}

/// The pool after a stage: 2x2.
fn pool() -> PoolConfig {
    PoolConfig::new(PoolKind::Max, 2)
}

impl<const R: usize> EncoderSpec<R> for VggEncoderConfig {
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

/// The convolutions of VGG (arXiv:1409.1556), as torchvision's `vgg11` to `vgg19_bn` without their classifiers, and
/// segmentation_models.pytorch's encoders of these names: stages of 3x3 convolutions, and a max pool after each.
///
/// # Shapes
/// - input: `[batch, in_channels, spatial...]`
/// - features: the stages at 1, 1/2, 1/4, 1/8 and 1/16 of the size, and the last pool at 1/32, sizes rounded down
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::net::{Encoder, VggEncoder, VggEncoderConfig};
///
/// let device = Device::flex();
/// let encoder: VggEncoder = VggEncoderConfig::new(vec![4, 8], vec![1, 2]).init(&device);
/// let maps = encoder.features(Tensor::zeros([1, 3, 17, 20], &device));
/// let shapes: Vec<_> = maps.iter().map(Tensor::dims).collect();
/// assert_eq!(shapes, [[1, 4, 17, 20], [1, 8, 8, 10], [1, 8, 4, 5]]);
/// ```
#[derive(Module, Debug)]
pub struct VggEncoder<const R: usize = 4> {
    /// The convolutions of each stage, the finest first.
    pub stages: Vec<Vec<ConvNormAct<R>>>,
    /// The pools after the stages.
    pub pools: Vec<Pool>,
    /// The convolutions of the deepest map.
    pub center: Option<DoubleConv<R>>,
    /// The options that the encoder was built with.
    #[module(skip)]
    pub config: VggEncoderConfig,
}

impl<const R: usize> Encoder<R> for VggEncoder<R> {
    fn features(&self, mut x: Tensor<R>) -> Vec<Tensor<R>> {
        expect(self.feature_shapes(x.dims()));
        let mut maps = Vec::new();
        for (index, stage) in self.stages.iter().enumerate() {
            x = stage.forward(x);
            if index > 0 || self.config.full_size_map {
                maps.push(x.clone());
            }
            if let Some(pool) = self.pools.get(index) {
                x = pool.forward(x);
            }
        }
        if self.config.last_pool {
            maps.push(x);
        }
        if let Some(center) = &self.center {
            let deepest = maps.pop().map(|map| center.forward(map));
            maps.extend(deepest);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::EncoderConfig;
    use alloc::string::ToString;

    #[test]
    fn as_many_parameters_as_torchvision() {
        let count = |config: VggEncoderConfig| {
            let plan = EncoderConfig::Vgg(config).plan([1, 3, 64, 64]);
            plan.root.total_parameters()
        };
        // Its numbers, without the 123,642,856 of the classifier.
        for (config, parameters) in [
            (VggEncoderConfig::vgg11(), 9_220_480),
            (VggEncoderConfig::vgg13(), 9_404_992),
            (VggEncoderConfig::vgg16(), 14_714_688),
            (VggEncoderConfig::vgg19(), 20_024_384),
        ] {
            assert_eq!(count(config), parameters);
        }
        let with_norm = VggEncoderConfig::vgg16().with_norm(NormConfig::batch());
        assert_eq!(count(with_norm), 14_723_136);
    }

    #[test]
    fn options_choose_the_maps() {
        let shapes = |config: VggEncoderConfig| {
            let shapes = config.feature_shapes([2, 3, 21]).unwrap();
            let maps: Vec<_> = config
                .init::<3>(&Device::flex())
                .features(Tensor::zeros([2, 3, 21], &Device::flex()));
            let computed: Vec<_> = maps.iter().map(Tensor::dims).collect();
            assert_eq!(computed, shapes);
            let channels: Vec<_> = shapes.iter().map(|shape| shape[1]).collect();
            assert_eq!(channels, config.feature_channels());
            shapes.iter().map(|shape| shape[2]).collect::<Vec<_>>()
        };
        let new = || VggEncoderConfig::new(vec![2, 4, 3], vec![1, 2, 1]);
        assert_eq!(shapes(new()), [21, 10, 5, 2]);
        assert_eq!(shapes(new().with_full_size_map(false)), [10, 5, 2]);
        assert_eq!(shapes(new().with_last_pool(false)), [21, 10, 5]);
        let with_center = new().with_center(ConvStyle::new());
        assert_eq!(shapes(with_center.clone()), [21, 10, 5, 2]);
        let count = |config: VggEncoderConfig| config.init::<3>(&Device::flex()).num_params();
        // Two convolutions of 3 channels, their norms and the running statistics.
        assert_eq!(count(with_center) - count(new()), 2 * (27 + 4 * 3));
    }

    #[test]
    fn a_short_file_is_what_new_sets() {
        let short = r#"{"widths": [8, 16], "depths": [1, 2]}"#;
        let read: VggEncoderConfig = serde_json::from_str(short).unwrap();
        let [read, new] = [read, VggEncoderConfig::new(vec![8, 16], vec![1, 2])]
            .map(|config| serde_json::to_value(config).unwrap());
        assert_eq!(read, new);
    }

    #[test]
    fn what_cannot_be_built_is_refused() {
        let new = VggEncoderConfig::new;
        let text = |config: VggEncoderConfig| config.validate::<4>().unwrap_err().to_string();
        assert_eq!(
            text(new(vec![8, 16], vec![1])),
            "VggEncoder: there are 2 widths and 1 depths. Give one of each for each stage."
        );
        assert_eq!(
            text(
                new(vec![8], vec![1])
                    .with_full_size_map(false)
                    .with_last_pool(false)
            ),
            "VggEncoder: there is no feature map. Set full_size_map or last_pool, or give more stages."
        );
        assert_eq!(
            text(new(vec![8, 0], vec![1, 1])),
            "VggEncoder: widths are [8, 0]. Give one number of channels, 1 or more, for each level."
        );
        assert_eq!(
            text(new(vec![8], vec![0])),
            "VggEncoder: depths are [0]. Give one number of blocks, 1 or more, for each of 1 to 16 stages."
        );
        let small = VggEncoderConfig::vgg11()
            .feature_shapes([1, 3, 16, 64])
            .unwrap_err();
        assert!(small.to_string().starts_with("pools.4.Pool: "), "{small}");
    }
}
