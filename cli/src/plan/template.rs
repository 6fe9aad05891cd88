//! Known networks, to start a file from.

use burn_skip::net::{
    ClassifierConfig, DenseNetEncoderConfig, EncoderConfig, NetConfig, ResNetEncoderConfig,
    UnetConfig,
};
use clap::ValueEnum;

#[derive(Clone, Copy, ValueEnum)]
pub enum Template {
    /// A U-Net of four levels
    Unet,
    /// The U-Net of the paper
    UnetUnpadded,
    /// segmentation_models.pytorch's U-Net on ResNet-18
    SmpUnetResnet18,
    /// MONAI's BasicUNet
    MonaiBasicUnet,
    /// torchvision's ResNet-18
    Resnet18,
    /// torchvision's ResNet-50
    Resnet50,
    /// torchvision's DenseNet-121
    Densenet121,
}

impl Template {
    pub fn config(self) -> NetConfig {
        let resnet18 = EncoderConfig::ResNet(ResNetEncoderConfig::resnet18());
        let classifier = |encoder| NetConfig::Classifier(ClassifierConfig::new(encoder, 1000));
        match self {
            Self::Unet => NetConfig::Unet(UnetConfig::new(3, 2, vec![32, 64, 128, 256])),
            Self::UnetUnpadded => {
                NetConfig::Unet(UnetConfig::unpadded(1, 2, vec![64, 128, 256, 512, 1024]))
            }
            Self::SmpUnetResnet18 => NetConfig::Unet(UnetConfig::smp(resnet18, 1)),
            Self::MonaiBasicUnet => {
                NetConfig::Unet(UnetConfig::monai_basic(1, 2, [32, 32, 64, 128, 256, 32]))
            }
            Self::Resnet18 => classifier(resnet18),
            Self::Resnet50 => classifier(EncoderConfig::ResNet(ResNetEncoderConfig::resnet50())),
            Self::Densenet121 => {
                classifier(EncoderConfig::DenseNet(DenseNetEncoderConfig::densenet121()))
            }
        }
    }
}

/// The names of all.
pub fn names() -> Vec<String> {
    let values = Template::value_variants().iter();
    let names = values.filter_map(|template| template.to_possible_value());
    names.map(|value| value.get_name().to_string()).collect()
}
