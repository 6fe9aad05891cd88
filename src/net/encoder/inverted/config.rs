//! [`InvertedEncoderConfig`] and [`InvertedFamily`]: the options of the encoders of inverted bottlenecks, and what differs
//! between their families.

use alloc::vec::Vec;
use core::fmt::Debug;
use core::marker::PhantomData;

use burn::config::Config;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::InvertedEncoder;
use super::net::{InvertedNet, InvertedParts};
use super::stage::{InvertedStage, check_multiplier, scaled_channels};
use crate::graph::{Map, Planner};
use crate::layers::activation::ActivationConfig;
use crate::layers::norm::NormConfig;
use crate::net::encoder::any::{EncoderSpec, check_encoder};
use crate::setters::setters;
use crate::shape::{ShapeError, expect};

/// What the encoders of a family of networks have where their configuration names nothing else:
/// [`MobileNetV2`](super::super::MobileNetV2), [`MobileNetV3`](super::super::MobileNetV3) and
/// [`EfficientNet`](super::super::EfficientNet), or a family of your own.
///
/// # Example
/// ```
/// use burn::tensor::Device;
/// use burn_skip::activation::ActivationConfig;
/// use burn_skip::net::{Encoder, InvertedEncoder, InvertedEncoderConfig, InvertedFamily, InvertedStage};
///
/// #[derive(Clone, Debug, Default)]
/// struct Tiny;
///
/// impl InvertedFamily for Tiny {
///     const NAME: &'static str = "TinyEncoder";
///
///     fn width() -> usize {
///         8
///     }
///
///     fn stages() -> Vec<InvertedStage> {
///         vec![InvertedStage::new(4, 8, 1, 2), InvertedStage::new(4, 16, 2, 2)]
///     }
///
///     fn last_channels() -> Option<usize> {
///         None
///     }
///
///     fn activation() -> ActivationConfig {
///         ActivationConfig::Silu
///     }
/// }
///
/// let config = InvertedEncoderConfig::<Tiny>::default().with_in_channels(1);
/// let encoder: InvertedEncoder<Tiny> = config.init(&Device::flex());
/// let shapes = encoder.feature_shapes([1, 1, 33, 20]).unwrap();
/// assert_eq!(shapes, [[1, 8, 17, 10], [1, 8, 9, 5], [1, 16, 5, 3]]);
/// ```
pub trait InvertedFamily: Clone + Debug + Default + Send + Sync + 'static {
    /// The name of the encoder in plans and errors.
    const NAME: &'static str;

    /// Whether the finest feature map is the output of the first convolution, and not the last map of its size.
    /// Default: false.
    const STEM_IS_MAP: bool = false;

    /// The channels of the first convolution.
    fn width() -> usize;

    /// The stages.
    fn stages() -> Vec<InvertedStage>;

    /// The channels of the convolution after the last stage, or none.
    fn last_channels() -> Option<usize>;

    /// The activation.
    fn activation() -> ActivationConfig;

    /// The norm after every convolution, or none. Default: [`NormConfig::batch`].
    fn norm() -> Option<NormConfig> {
        Some(NormConfig::batch())
    }

    /// By how much the input channels of a block are divided in its squeeze-and-excitation, or none. Default: none.
    fn squeeze() -> Option<usize> {
        None
    }

    /// The factor of the channels of the last convolution, where the others have the factor `width_multiplier`. Default:
    /// the same.
    fn last_multiplier(width_multiplier: f64) -> f64 {
        width_multiplier
    }
}

/// Configuration of [`InvertedEncoder`], with the defaults of the family `F`.
///
/// # Example
/// ```
/// use burn_skip::net::{InvertedEncoderConfig, MobileNetV2, MobileNetV2EncoderConfig};
///
/// let config: MobileNetV2EncoderConfig = InvertedEncoderConfig::<MobileNetV2>::default();
/// assert_eq!(config.feature_channels(), [16, 24, 32, 96, 1280]);
/// // 1.4 times as wide, rounded to multiples of 8.
/// let wide = config.clone().with_width_multiplier(1.4);
/// assert_eq!(wide.feature_channels(), [24, 32, 48, 136, 1792]);
/// // Dilations take the place of the last stride.
/// let dilated = config.with_output_stride(16);
/// assert_eq!(dilated.feature_shapes([1, 3, 64, 64]).unwrap()[4], [1, 1280, 4, 4]);
/// // In a file:
/// let read: MobileNetV2EncoderConfig = serde_json::from_str(r#"{"width_multiplier": 1.4}"#).unwrap();
/// assert_eq!(read.feature_channels(), wide.feature_channels());
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema),
    schemars(
        rename = "{F}EncoderConfig",
        bound = "F: InvertedFamily + schemars::JsonSchema"
    )
)]
#[serde(deny_unknown_fields, bound = "F: InvertedFamily")]
pub struct InvertedEncoderConfig<F> {
    /// The channels of the image. Default: 3.
    #[serde(default = "crate::defaults::image_channels")]
    pub in_channels: usize,
    /// The channels of the first convolution, before they are multiplied. Default: the family's.
    #[serde(default = "F::width")]
    pub width: usize,
    /// The stages, before their numbers are multiplied. Default: the family's.
    #[serde(default = "F::stages")]
    pub stages: Vec<InvertedStage>,
    /// The factor of all channels, which are rounded to multiples of 8. Default: 1, and no rounding.
    #[serde(default = "crate::defaults::activations::one")]
    pub width_multiplier: f64,
    /// The factor of the number of blocks of each stage, rounded up. Default: 1.
    #[serde(default = "crate::defaults::activations::one")]
    pub depth_multiplier: f64,
    /// The channels of a 1x1 convolution after the last stage, before they are multiplied; or none. Default: the
    /// family's.
    #[serde(default = "F::last_channels")]
    pub last_channels: Option<usize>,
    /// By how much the input channels of a block are divided in its squeeze-and-excitation, or none; not where the
    /// stages have gates of their own. Default: the family's.
    #[serde(default = "F::squeeze")]
    pub squeeze: Option<usize>,
    /// The norm after every convolution, or none. Default: the family's.
    #[serde(default = "F::norm")]
    pub norm: Option<NormConfig>,
    /// The activation of all convolutions but the last of each block. Default: the family's.
    #[serde(default = "F::activation")]
    pub activation: ActivationConfig,
    /// The block `i` of `n`, from 0, is left out in training with the probability `drop_path i / n`, where it has a
    /// residual connection (arXiv:1603.09382). Default: 0. torchvision's EfficientNet: 0.2.
    #[serde(default)]
    pub drop_path: f64,
    /// By how much the coarsest map is smaller than the image, at most: as
    /// [`ResNetEncoderConfig::output_stride`](crate::net::ResNetEncoderConfig::output_stride). Default: none.
    #[serde(default)]
    pub output_stride: Option<usize>,
    #[serde(skip)]
    family: PhantomData<F>,
}

setters!(
    <F: InvertedFamily> InvertedEncoderConfig<F>:
    with_in_channels(in_channels: usize),
    with_width(width: usize),
    with_stages(stages: Vec<InvertedStage>),
    with_width_multiplier(width_multiplier: f64),
    with_depth_multiplier(depth_multiplier: f64),
    with_last_channels(last_channels: impl Into<Option<usize>>),
    with_squeeze(squeeze: impl Into<Option<usize>>),
    with_norm(norm: impl Into<Option<NormConfig>>),
    with_activation(activation: ActivationConfig),
    with_drop_path(drop_path: f64),
    with_output_stride(output_stride: impl Into<Option<usize>>),
);

impl<F: InvertedFamily> Config for InvertedEncoderConfig<F> {}

impl<F: InvertedFamily> Default for InvertedEncoderConfig<F> {
    /// The network of the family, for images of three channels.
    fn default() -> Self {
        Self {
            in_channels: 3,
            width: F::width(),
            stages: F::stages(),
            width_multiplier: 1.0,
            depth_multiplier: 1.0,
            last_channels: F::last_channels(),
            squeeze: F::squeeze(),
            norm: F::norm(),
            activation: F::activation(),
            drop_path: 0.0,
            output_stride: None,
            family: PhantomData,
        }
    }
}

impl<F: InvertedFamily> InvertedEncoderConfig<F> {
    /// The stages, their channels and blocks multiplied.
    pub fn scaled_stages(&self) -> Vec<InvertedStage> {
        let scaled = |stage: &InvertedStage| InvertedStage {
            channels: scaled_channels(stage.channels, self.width_multiplier),
            depth: rounded_up(stage.depth as f64 * self.depth_multiplier),
            ..stage.clone()
        };
        self.stages.iter().map(scaled).collect()
    }

    /// Leaves the stages of the first `depth` feature maps, and no convolution after them.
    pub(in crate::net::encoder) fn truncate(&mut self, depth: usize) {
        let is_end = |index: &usize| {
            let next = self.stages.get(index + 1);
            next.is_none_or(|next| next.stride > 1)
        };
        // (Every stage that ends a size gives a map, beside a first convolution before a stride.)
        let maps = depth.saturating_sub(usize::from(self.begins_with_stem()));
        let ends = (0..self.stages.len()).filter(is_end);
        let kept = ends.take(maps).last().map_or(0, |end| end + 1);
        self.stages.truncate(kept);
        self.last_channels = None;
    }

    /// Whether the finest map is that of the first convolution, without a stage.
    pub(in crate::net::encoder) fn begins_with_stem(&self) -> bool {
        self.stages.first().is_some_and(|stage| stage.stride > 1)
    }

    pub(super) fn net(&self) -> InvertedNet {
        let last_multiplier = F::last_multiplier(self.width_multiplier);
        let last = |channels| scaled_channels(channels, last_multiplier);
        InvertedNet {
            in_channels: self.in_channels,
            width: scaled_channels(self.width, self.width_multiplier),
            stages: self.scaled_stages(),
            last_channels: self.last_channels.map(last),
            squeeze: self.squeeze,
            norm: self.norm.clone(),
            activation: self.activation,
            drop_path: self.drop_path,
            output_stride: self.output_stride,
            stem_is_map: F::STEM_IS_MAP,
        }
    }

    /// The channels of the feature maps: the last map of each size, but for the finest perhaps the first convolution.
    pub fn feature_channels(&self) -> Vec<usize> {
        self.net().feature_channels()
    }

    /// Checks the options for maps of rank `R`.
    ///
    /// # Errors
    /// When there is no stage or one without blocks, a number is zero, or a part is invalid.
    pub fn validate<const R: usize>(&self) -> Result<(), ShapeError> {
        check_encoder(self.in_channels, |planner, x: &Map<R>| {
            self.trace(planner, x)
        })
    }

    /// The shapes of the feature maps, the finest, half the size of the image, first.
    ///
    /// # Errors
    /// When the channels differ, or the configuration is invalid.
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
        check_multiplier(F::NAME, "width_multiplier", self.width_multiplier)?;
        check_multiplier(F::NAME, "depth_multiplier", self.depth_multiplier)?;
        self.net().trace(F::NAME, planner, x)
    }

    /// Builds the encoder.
    ///
    /// # Panics
    /// When [`validate`](Self::validate) returns an error, with its message.
    pub fn init<const R: usize>(&self, device: &Device) -> InvertedEncoder<F, R> {
        expect(self.validate::<R>());
        let InvertedParts { stem, stages, last } = self.net().init(device);
        InvertedEncoder {
            stem,
            stages,
            last,
            config: self.clone(),
        }
    }
}

/// The least whole number that is not less than `value`. (`f64::ceil` is in `std` only.)
fn rounded_up(value: f64) -> usize {
    let whole = value as usize;
    whole.saturating_add(usize::from((whole as f64) < value))
}

impl<F: InvertedFamily, const R: usize> EncoderSpec<R> for InvertedEncoderConfig<F> {
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
