//! The names of the libraries that this crate knows, and what their files hold.

pub(super) mod decoders;
pub(super) mod encoders;
pub(super) mod monai;
mod rows;

use super::{Names, WeightsFile};
use crate::net::{
    ClassifierConfig, DecoderConfig, DenseNetEncoderConfig, EncoderConfig, ResNetEncoderConfig,
    SegmentationConfig, UnetDecoderConfig,
};
use monai::MonaiNetwork;
use rows::Rows;

const MONAI_BASIC_UNET: &[(&str, &str)] = &[
    ("encoder.stem.first.conv", "conv_0.conv_0.conv"),
    ("encoder.stem.first.norm", "conv_0.conv_0.adn.N"),
    ("encoder.stem.second.conv", "conv_0.conv_1.conv"),
    ("encoder.stem.second.norm", "conv_0.conv_1.adn.N"),
    (
        "encoder.levels.{i}.block.first.conv",
        "down_{i+1}.convs.conv_0.conv",
    ),
    (
        "encoder.levels.{i}.block.first.norm",
        "down_{i+1}.convs.conv_0.adn.N",
    ),
    (
        "encoder.levels.{i}.block.second.conv",
        "down_{i+1}.convs.conv_1.conv",
    ),
    (
        "encoder.levels.{i}.block.second.norm",
        "down_{i+1}.convs.conv_1.adn.N",
    ),
    ("decoder.steps.{i}.up.layer", "upcat_{i+1}.upsample.deconv"),
    (
        "decoder.steps.{i}.block.first.conv",
        "upcat_{i+1}.convs.conv_0.conv",
    ),
    (
        "decoder.steps.{i}.block.first.norm",
        "upcat_{i+1}.convs.conv_0.adn.N",
    ),
    (
        "decoder.steps.{i}.block.second.conv",
        "upcat_{i+1}.convs.conv_1.conv",
    ),
    (
        "decoder.steps.{i}.block.second.norm",
        "upcat_{i+1}.convs.conv_1.adn.N",
    ),
    ("head", "final_conv"),
];

/// The head on the encoder's coarsest map, here and in SMP.
pub(super) const CLASSIFICATION_HEAD: &str = "classification_head";

/// The heads on the coarser steps of the decoder.
pub(super) const SUPERVISION_HEADS: &str = "supervision_heads";

/// How many tensors have the names of `first`, `first + 1`, ... without a gap.
pub(super) fn count(file: &WeightsFile, first: usize, name: &dyn Fn(usize) -> String) -> usize {
    (first..)
        .find(|&n| file.shape(&name(n)).is_none())
        .map_or(0, |end| end - first)
}

/// The output channels of the convolution `name`.
pub(super) fn outputs(file: &WeightsFile, name: &str) -> Option<usize> {
    file.shape(name)?.first().copied()
}

/// The input channels of the convolution `name`.
fn inputs(file: &WeightsFile, name: &str) -> Option<usize> {
    file.shape(name)?.get(1).copied()
}

/// A library whose names of encoders this crate knows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Library {
    Torchvision,
    Timm,
    /// segmentation_models.pytorch.
    Smp,
}

impl Library {
    /// With what the names of an encoder begin.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Torchvision | Self::Timm => "",
            Self::Smp => "encoder.",
        }
    }

    /// With what the names of an encoder of timm begin, which SMP has in a wrapper.
    pub const fn prefix_of_timm(self) -> &'static str {
        match self {
            Self::Torchvision | Self::Timm => "",
            Self::Smp => "encoder.model.",
        }
    }
}

/// The rows of an encoder within a network.
fn encoder_rows(encoder: &EncoderConfig, library: Library) -> Option<Rows> {
    let mut rows = Rows::new();
    let source = encoders::source(encoder)?;
    rows.extend("encoder.", source.prefix(library), source.rows(library)?);
    Some(rows)
}

/// The names of an encoder by itself in the files that may have it: torchvision's or timm's classifier,
/// segmentation_models.pytorch's network, or the encoder of one. None for an encoder without names.
pub(super) fn encoder_names(encoder: &EncoderConfig) -> Vec<Names> {
    let Some(source) = encoders::source(encoder) else {
        return Vec::new();
    };
    let names = |library, prefix: &str| {
        let mut rows = Rows::new();
        rows.extend("", prefix, source.rows(library)?);
        rows.extend("", "", source.center_rows());
        Some(rows.into_names())
    };
    let tables = [
        names(Library::Torchvision, ""),
        names(Library::Timm, ""),
        names(Library::Smp, source.prefix(Library::Smp)),
        names(Library::Smp, ""),
    ];
    tables.into_iter().flatten().collect()
}

/// The names of a library's classifier.
fn classifier(config: &ClassifierConfig, library: Library) -> Option<Names> {
    let source = encoders::source(&config.encoder)?;
    let mut rows = encoder_rows(&config.encoder, library)?;
    rows.push("head", source.head(library)?);
    if let Some(norm) = source.head_norm(library) {
        rows.push("norm", norm);
    }
    if config.hidden.is_some() {
        rows.extend("hidden.", "", source.hidden_rows(library));
    }
    Some(rows.into_names())
}

impl Names {
    /// torchvision's classifier on this encoder, for [`Classifier`](crate::net::Classifier); `None` if it has none.
    ///
    /// # Example
    /// ```
    /// use burn_skip::net::{ClassifierConfig, EncoderConfig, ResNetEncoderConfig};
    /// use burn_skip::weights::Names;
    ///
    /// let encoder = EncoderConfig::ResNet(ResNetEncoderConfig::resnet18());
    /// let names = Names::torchvision(&ClassifierConfig::new(encoder, 10)).unwrap();
    /// assert_eq!(names.external_name("head.weight").unwrap(), "fc.weight");
    /// ```
    pub fn torchvision(config: &ClassifierConfig) -> Option<Self> {
        classifier(config, Library::Torchvision)
    }

    /// timm's classifier on this encoder, for [`Classifier`](crate::net::Classifier); `None` if it has none. Its ResNet
    /// without gates and its DenseNet have torchvision's names.
    ///
    /// # Example
    /// ```
    /// use burn_skip::net::{ClassifierConfig, EfficientNetEncoderConfig, EncoderConfig};
    /// use burn_skip::weights::Names;
    ///
    /// let encoder = EncoderConfig::EfficientNet(EfficientNetEncoderConfig::b0());
    /// let names = Names::timm(&ClassifierConfig::new(encoder, 10)).unwrap();
    /// assert_eq!(names.external_name("encoder.stem.conv.weight").unwrap(), "conv_stem.weight");
    /// ```
    pub fn timm(config: &ClassifierConfig) -> Option<Self> {
        classifier(config, Library::Timm)
    }

    /// segmentation_models.pytorch's network of this encoder and this decoder, for
    /// [`SegmentationConfig`](crate::net::SegmentationConfig); `None` if it has none.
    ///
    /// # Example
    /// ```
    /// use burn_skip::net::{EncoderConfig, ResNetEncoderConfig, SegmentationConfig};
    /// use burn_skip::weights::Names;
    ///
    /// let encoder = EncoderConfig::ResNet(ResNetEncoderConfig::resnet18());
    /// let names = Names::smp(&SegmentationConfig::smp_fpn(encoder, 2)).unwrap();
    /// let name = names.external_name("decoder.pyramid.laterals.3.conv.bias").unwrap();
    /// assert_eq!(name, "decoder.p5.bias");
    /// ```
    pub fn smp(config: &SegmentationConfig) -> Option<Self> {
        let mut rows = encoder_rows(&config.encoder, Library::Smp)?;
        let center = encoders::source(&config.encoder)?.center_rows();
        rows.extend("encoder.", "", center);
        let maps = config.encoder.feature_channels().len();
        let decoder = decoders::rows(&config.decoder, maps);
        rows.extend("decoder.", "decoder.", decoder);
        rows.push("head", "segmentation_head.0");
        if config.classification_head.is_some() {
            let name = format!("{CLASSIFICATION_HEAD}.3");
            rows.push(format!("{CLASSIFICATION_HEAD}.linear"), name);
        }
        // (Its networks have no such heads. `ignoring` them loads its files.)
        if config.supervised_steps > 0 {
            rows.push(SUPERVISION_HEADS, SUPERVISION_HEADS);
        }
        Some(rows.into_names())
    }

    /// torchvision's `resnet18` to `resnet152`, and ResNeXt, for [`ResNet`](crate::net::ResNet).
    pub fn torchvision_resnet() -> Self {
        let encoder = EncoderConfig::ResNet(ResNetEncoderConfig::resnet18());
        known(Self::torchvision(&ClassifierConfig::new(encoder, 1)))
    }

    /// torchvision's `densenet121`, for [`DenseNet`](crate::net::DenseNet).
    pub fn torchvision_densenet() -> Self {
        let encoder = EncoderConfig::DenseNet(DenseNetEncoderConfig::densenet121());
        known(Self::torchvision(&ClassifierConfig::new(encoder, 1)))
    }

    /// segmentation_models.pytorch's `Unet` on a ResNet with its default depth of 5, for
    /// [`UnetConfig::smp`](crate::net::UnetConfig::smp).
    pub fn smp_unet_resnet() -> Self {
        let encoder = EncoderConfig::ResNet(ResNetEncoderConfig::resnet18());
        let decoder = DecoderConfig::from(UnetDecoderConfig::new(vec![1; 5]));
        known(Self::smp(&SegmentationConfig::new(encoder, decoder, 1)))
    }

    /// One of MONAI's networks, for the configuration of its constructor, such as
    /// [`SegmentationConfig::monai_segresnet`]; `None` for a configuration of another encoder or decoder.
    ///
    /// # Example
    /// ```
    /// use burn_skip::{net::SegmentationConfig, up::UpConfig};
    /// use burn_skip::weights::{MonaiNetwork, Names};
    ///
    /// let net = SegmentationConfig::monai_segresnet([1, 2], 8, &[1, 2], &[1], UpConfig::linear());
    /// let names = Names::monai(MonaiNetwork::SegResNet, &net).unwrap();
    /// let name = names.external_name("encoder.stages.1.blocks.0.block.1.conv.weight").unwrap();
    /// assert_eq!(name, "down_layers.1.1.conv2.conv.weight");
    /// ```
    pub fn monai(network: MonaiNetwork, config: &SegmentationConfig) -> Option<Self> {
        network.names(config)
    }

    /// MONAI's `BasicUNet` of any number of axes, for
    /// [`UnetConfig::monai_basic`](crate::net::UnetConfig::monai_basic).
    pub fn monai_basic_unet() -> Self {
        Self::new(MONAI_BASIC_UNET.iter().copied())
    }
}

/// The names of an encoder that has some.
fn known(names: Option<Names>) -> Names {
    names.unwrap_or_else(|| unreachable!("ResNet and DenseNet have names"))
}
