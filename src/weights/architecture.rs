//! [`Architecture`]: which network a file of weights belongs to, read from its tensors.

use std::fmt;

use super::{Names, WeightsFile};
use crate::net::{
    DenseNetEncoderConfig, EncoderConfig, ResNetEncoderConfig, ResidualBlock, UnetConfig,
};

/// A network of another library, with its sizes.
#[derive(Clone, Debug)]
pub enum Architecture {
    /// torchvision's ResNet: a classifier.
    ResNet {
        /// All but the head.
        encoder: ResNetEncoderConfig,
        /// The number of classes.
        classes: usize,
    },
    /// torchvision's DenseNet: a classifier.
    DenseNet {
        /// All but the head.
        encoder: DenseNetEncoderConfig,
        /// The number of classes.
        classes: usize,
    },
    /// segmentation_models.pytorch's `Unet` on a ResNet.
    SmpUnet(UnetConfig),
    /// MONAI's `BasicUNet`.
    MonaiBasicUnet {
        /// The network.
        config: UnetConfig,
        /// The number of spatial axes: 1, 2 or 3.
        axes: usize,
    },
}

impl Architecture {
    /// The network whose tensors the file holds, if it is one of these. What it says is a guess by
    /// some of the names; [`WeightsFile::load_into`] checks all of them.
    pub fn detect(file: &WeightsFile) -> Option<Self> {
        let detected = [
            torchvision_resnet,
            torchvision_densenet,
            smp_unet,
            monai_basic_unet,
        ];
        detected.iter().find_map(|detect| detect(file))
    }

    /// How the tensors are called in the file.
    pub fn names(&self) -> Names {
        match self {
            Self::ResNet { .. } => Names::torchvision_resnet(),
            Self::DenseNet { .. } => Names::torchvision_densenet(),
            Self::SmpUnet(_) => Names::smp_unet_resnet(),
            Self::MonaiBasicUnet { .. } => Names::monai_basic_unet(),
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let resnet = |encoder: &ResNetEncoderConfig| {
            format!("ResNet of {:?} blocks {:?}", encoder.block, encoder.depths)
        };
        match self {
            Self::ResNet { encoder, classes } => write!(
                f,
                "torchvision {}, {} channels, {classes} classes",
                resnet(encoder),
                encoder.in_channels
            ),
            Self::DenseNet { encoder, classes } => write!(
                f,
                "torchvision DenseNet of blocks {:?}, growth {}, {} channels, {classes} classes",
                encoder.depths, encoder.growth, encoder.in_channels
            ),
            Self::SmpUnet(config) => {
                let encoder = match &config.encoder {
                    EncoderConfig::ResNet(encoder) => resnet(encoder),
                    other => format!("{other:?}"),
                };
                write!(
                    f,
                    "segmentation_models.pytorch Unet on a {encoder}, {} channels, {} classes",
                    config.encoder.in_channels(),
                    config.out_channels
                )
            }
            Self::MonaiBasicUnet { config, axes } => write!(
                f,
                "MONAI BasicUNet over {axes} axes, levels {:?}, {} channels, {} classes",
                config.encoder.feature_channels(),
                config.encoder.in_channels(),
                config.out_channels
            ),
        }
    }
}

/// The first number in the place of `{}` for which no tensor has the name, from `first` on.
fn count(file: &WeightsFile, first: usize, name: &dyn Fn(usize) -> String) -> usize {
    (first..)
        .find(|&n| file.shape(&name(n)).is_none())
        .map_or(0, |end| end - first)
}

/// The sizes of a ResNet whose names begin with `prefix`.
fn resnet(file: &WeightsFile, prefix: &str) -> Option<ResNetEncoderConfig> {
    let stem = file.shape(&format!("{prefix}conv1.weight"))?;
    let block_name = |stage, block, conv| format!("{prefix}layer{stage}.{block}.conv{conv}.weight");
    let first = file.shape(&block_name(1, 0, 1))?;
    let block = match file.shape(&block_name(1, 0, 3)) {
        Some(_) => ResidualBlock::Bottleneck,
        None => ResidualBlock::Basic,
    };
    let stages = count(file, 1, &|stage| block_name(stage, 0, 1));
    let depths: Vec<usize> = (1..=stages)
        .map(|stage| count(file, 0, &|index| block_name(stage, index, 1)))
        .collect();
    (stem[0] == first[0]).then(|| {
        ResNetEncoderConfig::new(block, depths)
            .with_in_channels(stem[1])
            .with_width(stem[0])
    })
}

fn torchvision_resnet(file: &WeightsFile) -> Option<Architecture> {
    Some(Architecture::ResNet {
        classes: file.shape("fc.weight")?[0],
        encoder: resnet(file, "")?,
    })
}

fn torchvision_densenet(file: &WeightsFile) -> Option<Architecture> {
    let stem = file.shape("features.conv0.weight")?;
    let conv = |block, layer, conv| {
        format!("features.denseblock{block}.denselayer{layer}.conv{conv}.weight")
    };
    let growth = file.shape(&conv(1, 1, 2))?[0];
    let blocks = count(file, 1, &|block| conv(block, 1, 1));
    let depths = (1..=blocks).map(|block| count(file, 1, &|layer| conv(block, layer, 1)));
    Some(Architecture::DenseNet {
        classes: file.shape("classifier.weight")?[0],
        encoder: DenseNetEncoderConfig::new(depths.collect())
            .with_in_channels(stem[1])
            .with_width(stem[0])
            .with_growth(growth)
            .with_bottleneck(file.shape(&conv(1, 1, 1))?[0] / growth.max(1)),
    })
}

fn smp_unet(file: &WeightsFile) -> Option<Architecture> {
    let head = file.shape("segmentation_head.0.weight")?;
    let blocks = count(file, 0, &|block| {
        format!("decoder.blocks.{block}.conv1.0.weight")
    });
    let width = |block| file.shape(&format!("decoder.blocks.{block}.conv2.0.weight"));
    let mut config = UnetConfig::smp(EncoderConfig::ResNet(resnet(file, "encoder.")?), head[0])
        .with_head_kernel_size(*head.get(2)?);
    config.decoder.widths = (0..blocks)
        .rev()
        .map(|block| width(block).map(|shape| shape[0]))
        .collect::<Option<_>>()?;
    Some(Architecture::SmpUnet(config))
}

fn monai_basic_unet(file: &WeightsFile) -> Option<Architecture> {
    let stem = file.shape("conv_0.conv_0.conv.weight")?;
    let width = |name: String| file.shape(&name).map(|shape| shape[0]);
    let mut features = vec![stem[0]];
    for level in 1..=4 {
        features.push(width(format!("down_{level}.convs.conv_1.conv.weight"))?);
    }
    features.push(width("upcat_1.convs.conv_1.conv.weight".into())?);
    let out_channels = width("final_conv.weight".into())?;
    Some(Architecture::MonaiBasicUnet {
        config: UnetConfig::monai_basic(stem[1], out_channels, features.try_into().ok()?),
        axes: stem.len().checked_sub(2)?,
    })
}
