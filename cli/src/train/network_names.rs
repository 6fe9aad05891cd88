//! `--encoder NAME --decoder NAME`: a network by the names of its halves, in place of a file.

use burn_skip::net::{
    ConvNextEncoderConfig, DenseNetEncoderConfig, EfficientNetEncoderConfig, EncoderConfig,
    MitEncoderConfig, MobileNetV2EncoderConfig, MobileNetV3EncoderConfig, NetConfig,
    PlainEncoderConfig, ResNetEncoderConfig, SegmentationConfig, VggEncoderConfig,
};
use burn_skip::norm::NormConfig;
use clap::{Args, ValueEnum};

use crate::Result;

/// A network by the names of its encoder and its decoder.
#[derive(Args)]
pub struct NetworkNames {
    /// Encoder of the network, in place of NET.json; with --decoder
    #[arg(
        long,
        value_enum,
        value_name = "NAME",
        conflicts_with = "net",
        requires = "decoder"
    )]
    encoder: Option<Encoder>,

    /// Decoder of the network; with --encoder
    #[arg(long, value_enum, value_name = "NAME", requires = "encoder")]
    decoder: Option<Decoder>,

    /// Channels of the images, for --encoder: 1 (grey), 3 (colours), or as many as they have
    #[arg(long, default_value_t = 1, value_name = "N", requires = "encoder")]
    channels: usize,

    /// Classes, for --decoder: 1 (foreground or not), or how many there are
    #[arg(long, default_value_t = 1, value_name = "N", requires = "decoder")]
    classes: usize,

    /// Coarser steps of the decoder that have a head of their own, whose losses are trained on, too: deep supervision of
    /// unet and unet-plus-plus
    #[arg(long, default_value_t = 0, value_name = "N", requires = "decoder")]
    supervised_steps: usize,
}

#[derive(Clone, Copy, ValueEnum)]
enum Encoder {
    /// A U-Net's: four levels of two convolutions, the finest of the image's size
    Plain,
    #[value(name = "resnet18")]
    ResNet18,
    #[value(name = "resnet34")]
    ResNet34,
    #[value(name = "resnet50")]
    ResNet50,
    #[value(name = "seresnet50")]
    SeResNet50,
    #[value(name = "res2net50")]
    Res2Net50,
    #[value(name = "resnext50")]
    ResNext50,
    #[value(name = "densenet121")]
    DenseNet121,
    #[value(name = "convnext-tiny")]
    ConvNextTiny,
    #[value(name = "vgg16")]
    Vgg16,
    #[value(name = "mobilenet-v2")]
    MobileNetV2,
    #[value(name = "mobilenet-v3-large")]
    MobileNetV3Large,
    #[value(name = "efficientnet-b0")]
    EfficientNetB0,
    #[value(name = "efficientnet-b4")]
    EfficientNetB4,
    #[value(name = "mit-b0")]
    MitB0,
    #[value(name = "mit-b2")]
    MitB2,
}

/// Decoders with the options of segmentation_models.pytorch.
#[derive(Clone, Copy, ValueEnum)]
enum Decoder {
    Unet,
    UnetPlusPlus,
    Linknet,
    Fpn,
    Psp,
    #[value(name = "deeplab-v3")]
    DeepLabV3,
    #[value(name = "deeplab-v3-plus")]
    DeepLabV3Plus,
    Pan,
    Manet,
    #[value(name = "upernet")]
    UperNet,
    Segformer,
}

impl Encoder {
    fn config(self, channels: usize) -> EncoderConfig {
        let resnet =
            |config: ResNetEncoderConfig| EncoderConfig::ResNet(config.with_in_channels(channels));
        match self {
            Self::Plain => {
                EncoderConfig::Plain(PlainEncoderConfig::new(channels, vec![16, 32, 64, 128]))
            }
            Self::ResNet18 => resnet(ResNetEncoderConfig::resnet18()),
            Self::ResNet34 => resnet(ResNetEncoderConfig::resnet34()),
            Self::ResNet50 => resnet(ResNetEncoderConfig::resnet50()),
            Self::SeResNet50 => resnet(ResNetEncoderConfig::seresnet50()),
            Self::Res2Net50 => resnet(ResNetEncoderConfig::res2net50()),
            Self::ResNext50 => resnet(ResNetEncoderConfig::resnext50()),
            Self::DenseNet121 => EncoderConfig::DenseNet(
                DenseNetEncoderConfig::densenet121().with_in_channels(channels),
            ),
            Self::Vgg16 => EncoderConfig::Vgg(
                VggEncoderConfig::vgg16()
                    .with_full_size_map(false)
                    .with_norm(NormConfig::batch())
                    .with_in_channels(channels),
            ),
            Self::MobileNetV2 => EncoderConfig::MobileNetV2(
                MobileNetV2EncoderConfig::new().with_in_channels(channels),
            ),
            Self::MobileNetV3Large => EncoderConfig::MobileNetV3(
                MobileNetV3EncoderConfig::large().with_in_channels(channels),
            ),
            Self::EfficientNetB0 => EncoderConfig::EfficientNet(
                EfficientNetEncoderConfig::b0().with_in_channels(channels),
            ),
            Self::EfficientNetB4 => EncoderConfig::EfficientNet(
                EfficientNetEncoderConfig::b4().with_in_channels(channels),
            ),
            Self::MitB0 => EncoderConfig::Mit(MitEncoderConfig::b0().with_in_channels(channels)),
            Self::MitB2 => EncoderConfig::Mit(MitEncoderConfig::b2().with_in_channels(channels)),
            Self::ConvNextTiny => {
                EncoderConfig::ConvNext(ConvNextEncoderConfig::tiny().with_in_channels(channels))
            }
        }
    }
}

impl NetworkNames {
    /// The network, if it was asked for.
    ///
    /// # Errors
    /// When the encoder has no dilations, which the decoder needs.
    pub fn network(&self) -> Result<Option<NetConfig>> {
        let (Some(encoder), Some(decoder)) = (self.encoder, self.decoder) else {
            return Ok(None);
        };
        let (encoder, classes) = (encoder.config(self.channels), self.classes);
        let config = match decoder {
            Decoder::Unet => SegmentationConfig::smp_unet(encoder, classes),
            Decoder::UnetPlusPlus => SegmentationConfig::smp_unet_plus_plus(encoder, classes),
            Decoder::Linknet => SegmentationConfig::smp_linknet(encoder, classes),
            Decoder::Manet => SegmentationConfig::smp_manet(encoder, classes),
            Decoder::Fpn => SegmentationConfig::smp_fpn(encoder, classes),
            // (At 1/8 of the size of the image, where the encoder has dilations.)
            Decoder::Psp => {
                let dilated = encoder.clone().with_output_stride(8);
                SegmentationConfig::smp_psp(dilated.unwrap_or(encoder), classes)
            }
            Decoder::DeepLabV3 => {
                SegmentationConfig::smp_deeplab_v3(encoder.with_output_stride(8)?, classes)
            }
            Decoder::DeepLabV3Plus => {
                SegmentationConfig::smp_deeplab_v3_plus(encoder.with_output_stride(16)?, classes)
            }
            // (At 1/16 of the size of the image, where the encoder has dilations.)
            Decoder::Pan => {
                let dilated = encoder.clone().with_output_stride(16);
                SegmentationConfig::smp_pan(dilated.unwrap_or(encoder), classes)
            }
            Decoder::UperNet => SegmentationConfig::smp_upernet(encoder, classes),
            Decoder::Segformer => SegmentationConfig::smp_segformer(encoder, classes),
        };
        let config = config.with_supervised_steps(self.supervised_steps);
        Ok(Some(NetConfig::Segmentation(config)))
    }
}
