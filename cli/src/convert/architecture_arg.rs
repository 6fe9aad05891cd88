//! `--architecture NAME`: a network that the user names, instead of the one that the file's tensors suggest.

use burn_skip::net::{
    ClassifierConfig, DenseNetEncoderConfig, EncoderConfig, ResNetEncoderConfig,
    SegmentationConfig, UnetConfig,
};
use burn_skip::weights::Architecture;
use clap::ValueEnum;

/// An architecture, by the name that `--architecture` takes.
#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "kebab-case")]
pub enum ArchitectureArg {
    #[value(name = "resnet18")]
    ResNet18,
    #[value(name = "resnet34")]
    ResNet34,
    #[value(name = "resnet50")]
    ResNet50,
    #[value(name = "resnet101")]
    ResNet101,
    #[value(name = "densenet121")]
    DenseNet121,
    #[value(name = "smp-unet-resnet18")]
    SmpUnetResNet18,
    #[value(name = "smp-unet-resnet34")]
    SmpUnetResNet34,
    #[value(name = "smp-unet-resnet50")]
    SmpUnetResNet50,
    MonaiBasicUnet,
}

impl ArchitectureArg {
    /// The architecture, with the channels and classes of the file if one of the kind was detected.
    pub fn architecture(self, detected: Option<&Architecture>) -> Architecture {
        match self {
            Self::ResNet18 => resnet(ResNetEncoderConfig::resnet18(), detected),
            Self::ResNet34 => resnet(ResNetEncoderConfig::resnet34(), detected),
            Self::ResNet50 => resnet(ResNetEncoderConfig::resnet50(), detected),
            Self::ResNet101 => resnet(ResNetEncoderConfig::resnet101(), detected),
            Self::DenseNet121 => densenet(DenseNetEncoderConfig::densenet121(), detected),
            Self::SmpUnetResNet18 => smp_unet(ResNetEncoderConfig::resnet18(), detected),
            Self::SmpUnetResNet34 => smp_unet(ResNetEncoderConfig::resnet34(), detected),
            Self::SmpUnetResNet50 => smp_unet(ResNetEncoderConfig::resnet50(), detected),
            Self::MonaiBasicUnet => match detected {
                Some(detected @ Architecture::MonaiBasicUnet { .. }) => detected.clone(),
                _ => Architecture::MonaiBasicUnet {
                    config: UnetConfig::monai_basic(1, 2, [32, 32, 64, 128, 256, 32]),
                    axes: 2,
                },
            },
        }
    }
}

fn classifier(encoder: EncoderConfig, detected: Option<&Architecture>) -> Architecture {
    let classes = match detected {
        Some(Architecture::Torchvision(config)) => config.classes,
        _ => 1000,
    };
    Architecture::Torchvision(ClassifierConfig::new(encoder, classes))
}

fn resnet(named: ResNetEncoderConfig, detected: Option<&Architecture>) -> Architecture {
    let encoder = match detected {
        Some(Architecture::Torchvision(config)) => with_blocks(&config.encoder, named),
        _ => EncoderConfig::ResNet(named),
    };
    classifier(encoder, detected)
}

fn densenet(named: DenseNetEncoderConfig, detected: Option<&Architecture>) -> Architecture {
    let encoder = match detected {
        Some(Architecture::Torchvision(ClassifierConfig {
            encoder: EncoderConfig::DenseNet(found),
            ..
        })) => {
            let mut encoder = found.clone();
            encoder.depths = named.depths;
            encoder
        }
        _ => named,
    };
    classifier(EncoderConfig::DenseNet(encoder), detected)
}

fn smp_unet(named: ResNetEncoderConfig, detected: Option<&Architecture>) -> Architecture {
    let config = match detected {
        Some(Architecture::Smp { config, .. }) => SegmentationConfig {
            encoder: with_blocks(&config.encoder, named),
            ..config.clone()
        },
        _ => SegmentationConfig::smp_unet(EncoderConfig::ResNet(named), 1),
    };
    let unread = Vec::new();
    Architecture::Smp { config, unread }
}

/// The detected encoder, if it is a ResNet, with the blocks of the named one.
fn with_blocks(detected: &EncoderConfig, named: ResNetEncoderConfig) -> EncoderConfig {
    EncoderConfig::ResNet(match detected {
        EncoderConfig::ResNet(detected) => ResNetEncoderConfig {
            block: named.block,
            depths: named.depths,
            ..detected.clone()
        },
        _ => named,
    })
}
