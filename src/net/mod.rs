//! Whole networks: encoders, decoders and what is built on them.
//!
//! A [`SegmentationModel`] is an [`Encoder`], a [`Decoder`] and a head, yours or those of this crate;
//! [`Unet`] is the one that a [`UnetConfig`] builds. A [`Classifier`] is an encoder and a linear layer.
//! [`NetConfig`] is a network as data.

mod advice;
mod classification_head;
mod classifier;
mod config;
mod decoder;
mod encoder;
mod monai;
mod segmentation;
mod segmentation_config;
mod stage;
mod supervision;
mod unet;
mod unet_file;

pub use advice::{Advice, Change};
pub use classification_head::{ClassificationHead, ClassificationHeadConfig};
pub use classifier::{Classifier, ClassifierConfig, HiddenConfig, HiddenLayer};
pub use config::NetConfig;
pub use decoder::{
    AnyDecoder, Decoder, DecoderConfig, DeepLabDecoder, DeepLabDecoderConfig, DeepLabSkip,
    FpnDecoder, FpnDecoderConfig, LinknetDecoder, LinknetDecoderConfig, LinknetStep, ManetDecoder,
    ManetDecoderConfig, PanDecoder, PanDecoderConfig, PspDecoder, PspDecoderConfig,
    SegformerDecoder, SegformerDecoderConfig, StagedDecoder, StagedDecoderConfig, StagedStep,
    StagedStepConfig, StepOrder, UnetDecoder, UnetDecoderConfig, UnetPlusPlusDecoder,
    UnetPlusPlusDecoderConfig, UperNetDecoder, UperNetDecoderConfig,
};
pub use encoder::{
    AnyEncoder, ConvNextBlock, ConvNextEncoder, ConvNextEncoderConfig, DenseLayer, DenseNet,
    DenseNetEncoder, DenseNetEncoderConfig, DenseNetMaps, EfficientNet, EfficientNetEncoder,
    EfficientNetEncoderConfig, Encoder, EncoderConfig, InvertedBottleneck, InvertedEncoder,
    InvertedEncoderConfig, InvertedFamily, InvertedResidual, InvertedStage, MitBlock, MitEncoder,
    MitEncoderConfig, MitStage, MixFeedForward, MobileNetV2, MobileNetV2Encoder,
    MobileNetV2EncoderConfig, MobileNetV3, MobileNetV3Encoder, MobileNetV3EncoderConfig,
    PlainEncoder, PlainEncoderConfig, PlainLevel, ResNet, ResNetBlock, ResNetEncoder,
    ResNetEncoderConfig, ResNetLayer, Residual, StagedEncoder, StagedEncoderConfig, VggEncoder,
    VggEncoderConfig,
};
pub use segmentation::SegmentationModel;
pub use segmentation_config::{AnySegmentationModel, SegmentationConfig};
pub use stage::{ResidualActivation, ResidualStage, Stage, StageBlock, StageConfig, StageEntry};
pub use supervision::{Supervised, TraceSupervised};
pub use unet::{Unet, UnetConfig};
