//! The network of a file, and what it sees in an image.

use std::path::Path;

use burn::tensor::{Device, Tensor};
use burn_skip::net::{
    DenseNet, DenseNetEncoderConfig, Encoder, EncoderConfig, ResNet, ResNetEncoderConfig, Unet,
    UnetConfig,
};
use burn_skip::resize::{ResizeMode, resize};
use burn_skip::weights::{Architecture, Names, Report, WeightsError, WeightsFile, save};
use burn_skip::{Layer, ShapeError};
use clap::ValueEnum;

use crate::Result;

/// An architecture, by the name that `--architecture` takes.
#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "kebab-case")]
pub enum Kind {
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
    /// With MONAI's default features
    MonaiBasicUnet,
}

impl Kind {
    /// The architecture, with the classes that were found in the file, or those of ImageNet.
    pub fn architecture(self, found: Option<&Architecture>) -> Architecture {
        let resnet = |encoder| Architecture::ResNet {
            encoder,
            classes: found.map_or(1000, classes),
        };
        let smp = |encoder| {
            let classes = found.map_or(1, classes);
            Architecture::SmpUnet(UnetConfig::smp(EncoderConfig::ResNet(encoder), classes))
        };
        match self {
            Self::ResNet18 => resnet(ResNetEncoderConfig::resnet18()),
            Self::ResNet34 => resnet(ResNetEncoderConfig::resnet34()),
            Self::ResNet50 => resnet(ResNetEncoderConfig::resnet50()),
            Self::ResNet101 => resnet(ResNetEncoderConfig::resnet101()),
            Self::DenseNet121 => Architecture::DenseNet {
                encoder: DenseNetEncoderConfig::densenet121(),
                classes: found.map_or(1000, classes),
            },
            Self::SmpUnetResNet18 => smp(ResNetEncoderConfig::resnet18()),
            Self::SmpUnetResNet34 => smp(ResNetEncoderConfig::resnet34()),
            Self::SmpUnetResNet50 => smp(ResNetEncoderConfig::resnet50()),
            Self::MonaiBasicUnet => {
                let features = [32, 32, 64, 128, 256, 32];
                let classes = found.map_or(2, classes);
                Architecture::MonaiBasicUnet {
                    config: UnetConfig::monai_basic(1, classes, features),
                    axes: 2,
                }
            }
        }
    }
}

fn classes(architecture: &Architecture) -> usize {
    match architecture {
        Architecture::ResNet { classes, .. } | Architecture::DenseNet { classes, .. } => *classes,
        Architecture::SmpUnet(config) | Architecture::MonaiBasicUnet { config, .. } => {
            config.out_channels
        }
    }
}

/// One of the networks.
pub enum Network {
    ResNet(Box<ResNet>),
    DenseNet(Box<DenseNet>),
    Unet(Box<Unet>),
}

/// What a network sees.
pub struct Seen {
    /// `[1, classes]` or `[1, classes, height, width]`.
    pub shape: Vec<usize>,
    pub logits: Vec<f32>,
    /// For a classifier: how much each pixel speaks for the best class, `[height, width]`.
    pub activation: Option<Vec<f32>>,
}

impl Network {
    /// The network with fresh weights.
    ///
    /// # Errors
    /// When it is not one for images.
    pub fn new(architecture: &Architecture, device: &Device) -> Result<Self> {
        Ok(match architecture {
            Architecture::ResNet { encoder, classes } => {
                encoder.validate::<4>()?;
                Self::ResNet(Box::new(ResNet::new(
                    encoder.init::<4>(device),
                    *classes,
                    device,
                )))
            }
            Architecture::DenseNet { encoder, classes } => {
                encoder.validate::<4>()?;
                Self::DenseNet(Box::new(DenseNet::new(
                    encoder.init::<4>(device),
                    *classes,
                    device,
                )))
            }
            Architecture::SmpUnet(config) | Architecture::MonaiBasicUnet { config, axes: 2 } => {
                config.validate::<4>()?;
                Self::Unet(Box::new(config.init(device)))
            }
            Architecture::MonaiBasicUnet { axes, .. } => {
                return Err(format!(
                    "the network is one for maps of {axes} axes, and images have 2. Load it in a \
                     program of your own with Unet<{}>.",
                    axes + 2
                )
                .into());
            }
        })
    }

    pub fn load(
        &mut self,
        file: &WeightsFile,
        names: &Names,
    ) -> std::result::Result<Report, WeightsError> {
        match self {
            Self::ResNet(net) => file.load_into(net.as_mut(), names),
            Self::DenseNet(net) => file.load_into(net.as_mut(), names),
            Self::Unet(net) => file.load_into(net.as_mut(), names),
        }
    }

    pub fn save(&self, path: &Path, names: &Names) -> std::result::Result<(), WeightsError> {
        match self {
            Self::ResNet(net) => save(net.as_ref(), path, names),
            Self::DenseNet(net) => save(net.as_ref(), path, names),
            Self::Unet(net) => save(net.as_ref(), path, names),
        }
    }

    pub fn in_channels(&self) -> usize {
        match self {
            Self::ResNet(net) => net.encoder.config.in_channels,
            Self::DenseNet(net) => net.encoder.config.in_channels,
            Self::Unet(net) => net.config.encoder.in_channels(),
        }
    }

    /// Whether an image of this shape fits.
    pub fn check(&self, shape: [usize; 4]) -> std::result::Result<(), ShapeError> {
        match self {
            Self::ResNet(net) => net.output_shape(shape).map(|_| ()),
            Self::DenseNet(net) => net.output_shape(shape).map(|_| ()),
            Self::Unet(net) => net.output_shape(shape).map(|_| ()),
        }
    }

    /// Looks at an image.
    pub fn see(&self, x: Tensor<4>) -> Seen {
        match self {
            Self::ResNet(net) => classified(
                net.forward(x.clone()),
                x,
                &net.encoder,
                &net.head.weight.val(),
            ),
            Self::DenseNet(net) => classified(
                net.forward(x.clone()),
                x,
                &net.encoder,
                &net.head.weight.val(),
            ),
            Self::Unet(net) => {
                let logits = net.forward(x);
                Seen {
                    shape: logits.dims().to_vec(),
                    logits: floats(logits),
                    activation: None,
                }
            }
        }
    }
}

/// The logits, and the class activation map of the best class (arXiv:1512.04150): what the deepest map
/// has at each position, weighed by what the class makes of it, and enlarged to the image.
fn classified(
    logits: Tensor<2>,
    x: Tensor<4>,
    encoder: &impl Encoder<4>,
    weight: &Tensor<2>,
) -> Seen {
    let [_, _, height, width] = x.dims();
    let best = logits.clone().argmax(1).into_scalar::<i64>() as usize;
    let map = encoder
        .features(x)
        .pop()
        .expect("an encoder gives one map at least");
    let [_, channels, ..] = map.dims();
    let weight = weight
        .clone()
        .narrow(1, best, 1)
        .reshape([1, channels, 1, 1]);
    let evidence = (map * weight).sum_dim(1);
    Seen {
        shape: logits.dims().to_vec(),
        logits: floats(logits),
        activation: Some(floats(resize(
            evidence,
            &[height, width],
            ResizeMode::linear(),
        ))),
    }
}

fn floats<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    let data = x.into_data().convert::<f32>();
    data.try_to_vec().expect("floats were asked for")
}

impl Seen {
    /// The class of each pixel. One channel alone is the logit of "this pixel is foreground".
    pub fn pixel_classes(&self) -> Vec<usize> {
        let pixels: usize = self.shape[2..].iter().product();
        let channels = self.shape[1];
        let value = |channel: usize, pixel: usize| self.logits[channel * pixels + pixel];
        let class = |pixel: usize| match channels {
            1 => usize::from(value(0, pixel) > 0.0),
            _ => best((0..channels).map(|channel| value(channel, pixel))),
        };
        (0..pixels).map(class).collect()
    }

    /// What it sees, in words.
    pub fn summary(&self, names: Option<&[String]>) -> String {
        let name = |class: usize| match names.and_then(|names| names.get(class)) {
            Some(name) => name.clone(),
            None => format!("class {class}"),
        };
        if self.activation.is_none() {
            let classes = self.pixel_classes();
            let count = self.shape[1].max(2);
            let share = |class: usize| {
                let pixels = classes.iter().filter(|&&c| c == class).count();
                format!(
                    "{} {:.1} %",
                    name(class),
                    100.0 * pixels as f64 / classes.len() as f64
                )
            };
            return (0..count).map(share).collect::<Vec<_>>().join(", ");
        }
        let largest = self.logits.iter().fold(f32::NEG_INFINITY, |m, v| m.max(*v));
        let sum: f32 = self.logits.iter().map(|v| (v - largest).exp()).sum();
        let mut order: Vec<usize> = (0..self.logits.len()).collect();
        order.sort_by(|&a, &b| self.logits[b].total_cmp(&self.logits[a]));
        let line = |&class: &usize| {
            let probability = (self.logits[class] - largest).exp() / sum;
            format!("  {:5.1} %  {}", 100.0 * probability, name(class))
        };
        order
            .iter()
            .take(5)
            .map(line)
            .collect::<Vec<_>>()
            .join("\n")
    }
}

/// The index of the largest value.
fn best(values: impl Iterator<Item = f32>) -> usize {
    let numbered = values.enumerate();
    numbered
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .map_or(0, |(index, _)| index)
}
