//! Whole networks, composed of the layers of this crate: encoders, a decoder, and what stands on them.

mod advice;
mod classifier;
mod config;
mod decoder;
mod densenet;
mod encoder;
mod plain;
mod resnet;
#[cfg(feature = "schema")]
pub(crate) mod schema;
mod unet;

pub use advice::Advice;
pub use classifier::{Classifier, ClassifierConfig};
pub use config::NetConfig;
pub use decoder::{UnetDecoder, UnetDecoderConfig};
pub use densenet::{DenseLayer, DenseNet, DenseNetEncoder, DenseNetEncoderConfig};
pub use encoder::{AnyEncoder, Encoder, EncoderConfig};
pub use plain::{PlainEncoder, PlainEncoderConfig, PlainLevel};
pub use resnet::{ResNet, ResNetBlock, ResNetEncoder, ResNetEncoderConfig, Residual};
pub use unet::{Unet, UnetConfig};
