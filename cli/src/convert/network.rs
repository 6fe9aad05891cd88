//! The network of a file of weights, and its prediction for an image.

use std::path::Path;

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::{Device, Tensor};
use burn_skip::net::{AnyEncoder, AnySegmentationModel, Classifier, Encoder, SegmentationConfig};
use burn_skip::resize::{ResizeMode, resize};
use burn_skip::weights::{Architecture, Names, Report, WeightsError, WeightsFile, save};
use burn_skip::{Layer, ShapeError, Trace};

use crate::Result;

/// Checks that no tensor of a file is empty: the sizes of a network follow from them.
fn check_not_empty(file: &WeightsFile) -> Result<()> {
    match file.tensors().find(|(_, shape)| shape.contains(&0)) {
        None => Ok(()),
        Some((name, shape)) => Err(format!(
            "{}: its tensor {name} of shape {shape:?} is empty. The file is damaged, or of another network.",
            file.path().display()
        )
        .into()),
    }
}

/// One of the networks.
pub enum Network {
    Classifier(Box<Classifier<AnyEncoder>>),
    Segmentation(Box<AnySegmentationModel>),
}

/// The output of a network.
pub struct Logits {
    /// `[1, classes]` or `[1, classes, height, width]`.
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

/// The prediction of a network.
pub struct Prediction {
    pub logits: Logits,
    /// For a classifier: how much each pixel contributes to the best class, `[height, width]`.
    pub activation: Option<Vec<f32>>,
}

/// Why a network that is not one for images is not loaded.
fn of_other_axes(axes: usize, module: &str) -> String {
    format!(
        "the network is one for maps of {axes} axes, and images have 2. Load it in a program of your own with \
         {module}<{}>.",
        axes + 2
    )
}

impl Network {
    /// The network with initial weights, which are not in memory yet.
    ///
    /// # Errors
    /// When it is not one for images, or the file cannot hold as many weights as it has.
    pub fn new(architecture: &Architecture, file: &WeightsFile, device: &Device) -> Result<Self> {
        check_not_empty(file)?;
        let segmentation = |config: &SegmentationConfig| -> Result<Self> {
            config.validate::<4>()?;
            Ok(Self::Segmentation(Box::new(config.init(device))))
        };
        let network = match architecture {
            Architecture::Torchvision(config) | Architecture::Timm(config) => {
                config.validate::<4>()?;
                Self::Classifier(Box::new(config.init(device)))
            }
            Architecture::Smp { config, .. }
            | Architecture::Monai {
                config, axes: 2, ..
            } => segmentation(config)?,
            Architecture::MonaiBasicUnet { config, axes: 2 } => {
                segmentation(&config.clone().into())?
            }
            Architecture::MonaiBasicUnet { axes, .. } => {
                return Err(of_other_axes(*axes, "Unet").into());
            }
            Architecture::Monai { axes, .. } => {
                return Err(of_other_axes(*axes, "AnySegmentationModel").into());
            }
        };
        network.check_count(file)?;
        Ok(network)
    }

    /// Checks that the network is not much larger than the file: it would not match, nor perhaps fit into memory.
    fn check_count(&self, file: &WeightsFile) -> Result<()> {
        let parameters = match self {
            Self::Classifier(net) => net.num_params(),
            Self::Segmentation(net) => net.num_params(),
        };
        let numbers = |(_, shape): (&str, &[usize])| {
            let product = shape.iter().copied().reduce(usize::saturating_mul);
            product.unwrap_or(1)
        };
        let numbers = file.tensors().map(numbers).fold(0, usize::saturating_add);
        if parameters / 100 <= numbers {
            return Ok(());
        }
        Err(format!(
            "{}: it holds {numbers} numbers, and the network that it is taken for has {parameters}. It is \
             damaged, or of another network.",
            file.path().display()
        )
        .into())
    }

    pub fn load(
        &mut self,
        file: &WeightsFile,
        names: &Names,
    ) -> std::result::Result<Report, WeightsError> {
        match self {
            Self::Classifier(net) => file.load_into(net.as_mut(), names),
            Self::Segmentation(net) => file.load_into(net.as_mut(), names),
        }
    }

    pub fn save(&self, path: &Path, names: &Names) -> std::result::Result<(), WeightsError> {
        match self {
            Self::Classifier(net) => save(net.as_ref(), path, names),
            Self::Segmentation(net) => save(net.as_ref(), path, names),
        }
    }

    pub fn in_channels(&self) -> usize {
        match self {
            Self::Classifier(net) => net.encoder.config().in_channels(),
            Self::Segmentation(net) => net.config().encoder.in_channels(),
        }
    }

    /// Whether an image of this shape fits.
    pub fn check(&self, shape: [usize; 4]) -> std::result::Result<(), ShapeError> {
        match self {
            Self::Classifier(net) => net.output_shape(shape).map(|_| ()),
            Self::Segmentation(net) => net.output_shape(shape).map(|_| ()),
        }
    }

    /// The logits of an image, `[1, classes]` or `[1, classes, height, width]`, when they are there.
    ///
    /// # Errors
    /// When the device fails.
    pub fn logits(&self, x: Tensor<4>) -> Result<Logits> {
        match self {
            Self::Classifier(net) => read(net.forward(x)),
            Self::Segmentation(net) => read(net.forward(x)),
        }
    }

    /// The prediction of these logits of the image `x`.
    ///
    /// # Errors
    /// When the device fails.
    pub fn prediction(&self, logits: Logits, x: Tensor<4>) -> Result<Prediction> {
        let best = best(logits.values.iter().copied());
        let activation = match self {
            Self::Classifier(net) => Some(activation(x, &net.encoder, &net.head, best)?),
            Self::Segmentation(_) => None,
        };
        Ok(Prediction { logits, activation })
    }
}

/// The class activation map (arXiv:1512.04150): the deepest feature map, weighted by the class's weights, and
/// resized to the image.
fn activation(
    x: Tensor<4>,
    encoder: &impl Encoder<4>,
    head: &Linear,
    class: usize,
) -> Result<Vec<f32>> {
    let [_, _, height, width] = x.dims();
    let map = encoder.features(x).pop();
    let map = map.ok_or("the encoder has no feature maps")?;
    let [_, channels, ..] = map.dims();
    let weight = head.weight.val().narrow(1, class, 1);
    let evidence = (map * weight.reshape([1, channels, 1, 1])).sum_dim(1);
    Ok(read(resize(evidence, &[height, width], ResizeMode::linear()))?.values)
}

/// The shape and the numbers of a tensor.
fn read<const D: usize>(x: Tensor<D>) -> Result<Logits> {
    Ok(Logits {
        shape: x.dims().to_vec(),
        values: x.try_into_vec_as::<f32>()?,
    })
}

impl Prediction {
    /// The class of each pixel. One channel alone is the logit of "this pixel is foreground".
    pub fn pixel_classes(&self) -> Vec<usize> {
        let pixels: usize = self.logits.shape[2..].iter().product();
        let channels = self.logits.shape[1];
        let value = |channel: usize, pixel: usize| self.logits.values[channel * pixels + pixel];
        let class = |pixel: usize| match channels {
            1 => usize::from(value(0, pixel) > 0.0),
            _ => best((0..channels).map(|channel| value(channel, pixel))),
        };
        (0..pixels).map(class).collect()
    }

    /// The prediction in words.
    pub fn summary(&self, names: Option<&[String]>) -> String {
        let name = |class: usize| match names.and_then(|names| names.get(class)) {
            Some(name) => name.clone(),
            None => format!("class {class}"),
        };
        if self.activation.is_none() {
            let classes = self.pixel_classes();
            let count = self.logits.shape[1].max(2);
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
        let logits = &self.logits.values;
        let largest = logits.iter().fold(f32::NEG_INFINITY, |m, v| m.max(*v));
        let sum: f32 = logits.iter().map(|v| (v - largest).exp()).sum();
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
        let line = |&class: &usize| {
            let probability = (logits[class] - largest).exp() / sum;
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
