//! `--architecture NAME`: a network that the user names, instead of the one that the file's tensors suggest.

use burn_skip::net::{DenseNetEncoderConfig, EncoderConfig, ResNetEncoderConfig, UnetConfig};
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
        let resnet = |named: ResNetEncoderConfig| match detected {
            Some(Architecture::ResNet { encoder, classes }) => Architecture::ResNet {
                encoder: with_blocks(encoder, named),
                classes: *classes,
            },
            _ => Architecture::ResNet {
                encoder: named,
                classes: 1000,
            },
        };
        let smp = |named: ResNetEncoderConfig| match detected {
            Some(Architecture::SmpUnet(config)) => {
                let encoder = match &config.encoder {
                    EncoderConfig::ResNet(encoder) => with_blocks(encoder, named),
                    _ => named,
                };
                let encoder = EncoderConfig::ResNet(encoder);
                Architecture::SmpUnet(config.clone().with_encoder(encoder))
            }
            _ => Architecture::SmpUnet(UnetConfig::smp(EncoderConfig::ResNet(named), 1)),
        };
        match self {
            Self::ResNet18 => resnet(ResNetEncoderConfig::resnet18()),
            Self::ResNet34 => resnet(ResNetEncoderConfig::resnet34()),
            Self::ResNet50 => resnet(ResNetEncoderConfig::resnet50()),
            Self::ResNet101 => resnet(ResNetEncoderConfig::resnet101()),
            Self::DenseNet121 => match detected {
                Some(Architecture::DenseNet { encoder, classes }) => {
                    let mut encoder = encoder.clone();
                    encoder.depths = DenseNetEncoderConfig::densenet121().depths;
                    Architecture::DenseNet {
                        encoder,
                        classes: *classes,
                    }
                }
                _ => Architecture::DenseNet {
                    encoder: DenseNetEncoderConfig::densenet121(),
                    classes: 1000,
                },
            },
            Self::SmpUnetResNet18 => smp(ResNetEncoderConfig::resnet18()),
            Self::SmpUnetResNet34 => smp(ResNetEncoderConfig::resnet34()),
            Self::SmpUnetResNet50 => smp(ResNetEncoderConfig::resnet50()),
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

/// The detected encoder, with the blocks of the named one.
fn with_blocks(detected: &ResNetEncoderConfig, named: ResNetEncoderConfig) -> ResNetEncoderConfig {
    let mut encoder = detected.clone();
    (encoder.block, encoder.depths) = (named.block, named.depths);
    encoder
}
