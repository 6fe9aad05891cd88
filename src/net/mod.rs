//! Whole networks: encoders, decoders and what is built on them.
//!
//! A [`SegmentationModel`] is an [`Encoder`], a [`Decoder`] and a head, yours or those of this crate;
//! [`Unet`] is the one that a [`UnetConfig`] builds. A [`Classifier`] is an encoder and a linear layer.
//! [`NetConfig`] is a network as data.

mod advice;
mod classifier;
mod config;
mod decoder;
mod encoder;
mod segmentation;
mod unet;
mod unet_file;

pub use advice::{Advice, Change};
pub use classifier::{Classifier, ClassifierConfig};
pub use config::NetConfig;
pub use decoder::{Decoder, UnetDecoder, UnetDecoderConfig};
pub use encoder::{
    AnyEncoder, DenseLayer, DenseNet, DenseNetEncoder, DenseNetEncoderConfig, Encoder,
    EncoderConfig, PlainEncoder, PlainEncoderConfig, PlainLevel, ResNet, ResNetBlock,
    ResNetEncoder, ResNetEncoderConfig, Residual,
};
pub use segmentation::SegmentationModel;
pub use unet::{Unet, UnetConfig};
