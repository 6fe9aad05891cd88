//! [`Architecture`]: the network that a file of weights belongs to, found by the names and shapes of its tensors.

use std::fmt;

use super::{Names, WeightsFile};
use crate::ShapeError;
use crate::net::{
    ClassifierConfig, DenseNetEncoderConfig, EncoderConfig, NetConfig, ResNetBlock,
    ResNetEncoderConfig, UnetConfig,
};

/// A network of another library, with its sizes.
///
/// # Example
/// ```
/// use burn_skip::weights::{Architecture, WeightsFile};
///
/// let file = WeightsFile::open("examples/data/nuclei/monai_basic_unet.pth").unwrap();
/// let architecture = Architecture::detect(&file).unwrap();
/// let text = "MONAI BasicUNet over 2 axes, levels [8, 8, 16, 32, 64], 1 channels, 2 classes";
/// assert_eq!(architecture.to_string(), text);
/// ```
#[derive(Clone, Debug)]
pub enum Architecture {
    /// torchvision's ResNet: a classifier.
    ResNet {
        /// Everything except the head.
        encoder: ResNetEncoderConfig,
        /// The number of classes.
        classes: usize,
    },
    /// torchvision's DenseNet: a classifier.
    DenseNet {
        /// Everything except the head.
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
    /// The network whose tensors the file holds, if it is one of these and can be built.
    ///
    /// Names and shapes of some of the tensors decide; [`WeightsFile::load_into`] checks all of them. Options
    /// that no tensor depends on cannot be read from a file, and are those of the source's default: see
    /// [`assumed`](Self::assumed).
    pub fn detect(file: &WeightsFile) -> Option<Self> {
        let detected = [
            torchvision_resnet,
            torchvision_densenet,
            smp_unet,
            monai_basic_unet,
        ];
        let found = detected.iter().find_map(|detect| detect(file))?;
        found.fits(file).then_some(found)
    }

    /// The network, and how many spatial axes its images have.
    fn net(&self) -> (NetConfig, usize) {
        let classifier = |encoder, &classes: &usize| {
            let config = ClassifierConfig::new(encoder, classes);
            (NetConfig::Classifier(config), 2)
        };
        match self {
            Self::ResNet { encoder, classes } => {
                classifier(EncoderConfig::ResNet(encoder.clone()), classes)
            }
            Self::DenseNet { encoder, classes } => {
                classifier(EncoderConfig::DenseNet(encoder.clone()), classes)
            }
            Self::SmpUnet(config) => (NetConfig::Unet(config.clone()), 2),
            Self::MonaiBasicUnet { config, axes } => (NetConfig::Unet(config.clone()), *axes),
        }
    }

    /// Whether the network can be built, and has no more numbers than the file has bytes: a damaged file may
    /// claim any sizes.
    fn fits(&self, file: &WeightsFile) -> bool {
        self.parameters()
            .is_ok_and(|parameters| parameters <= file.bytes())
    }

    /// How many parameters the network has.
    fn parameters(&self) -> Result<u64, ShapeError> {
        let (net, axes) = self.net();
        let channels = match &net {
            NetConfig::Unet(config) => config.encoder.in_channels(),
            NetConfig::Classifier(config) => config.encoder.in_channels(),
        };
        let input = [&[1, channels], &[PLANNED_SIZE; 3][..axes]].concat();
        let plan = net.plan(&input)?;
        match plan.error() {
            Some(error) => Err(error.clone()),
            None => Ok(plan.root.total_parameters()),
        }
    }

    /// The options that no tensor depends on, as the network is built with them. A network that was built with
    /// other options loads without an error, and gives other numbers.
    pub fn assumed(&self) -> &'static str {
        match self {
            Self::ResNet { .. } => {
                "ReLU, batch norm with epsilon 1e-5, strides instead of dilations, max pool in the stem"
            }
            Self::DenseNet { .. } => {
                "ReLU, batch norm with epsilon 1e-5, mean pools between the blocks"
            }
            Self::SmpUnet(_) => {
                "ReLU, batch norm with epsilon 1e-5, nearest upsampling, strides instead of dilations, \
                 no activation at the end"
            }
            Self::MonaiBasicUnet { .. } => {
                "leaky ReLU with slope 0.1, instance norm with epsilon 1e-5, transposed convolutions"
            }
        }
    }

    /// The names of the tensors in the file.
    pub fn names(&self) -> Names {
        match self {
            Self::ResNet { .. } => Names::torchvision_resnet(),
            Self::DenseNet { .. } => Names::torchvision_densenet(),
            Self::SmpUnet(_) => Names::smp_unet_resnet(),
            Self::MonaiBasicUnet { .. } => Names::monai_basic_unet(),
        }
    }
}

/// The size of the images for which a network is planned, large enough for all of them.
const PLANNED_SIZE: usize = 1 << 8;

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

/// How many tensors have the names of `first`, `first + 1`, ... without a gap.
fn count(file: &WeightsFile, first: usize, name: &dyn Fn(usize) -> String) -> usize {
    (first..)
        .find(|&n| file.shape(&name(n)).is_none())
        .map_or(0, |end| end - first)
}

/// The sizes of a ResNet whose names begin with `prefix`.
fn resnet(file: &WeightsFile, prefix: &str) -> Option<ResNetEncoderConfig> {
    let block_name = |stage, block, conv| format!("{prefix}layer{stage}.{block}.conv{conv}.weight");
    let &[width, in_channels, _, _] = file.shape(&format!("{prefix}conv1.weight"))? else {
        return None;
    };
    let block = match file.shape(&block_name(1, 0, 3)) {
        Some(_) => ResNetBlock::Bottleneck,
        None => ResNetBlock::Basic,
    };
    let stages = count(file, 1, &|stage| block_name(stage, 0, 1));
    let depths: Vec<usize> = (1..=stages)
        .map(|stage| count(file, 0, &|index| block_name(stage, index, 1)))
        .collect();
    let encoder = ResNetEncoderConfig::new(block, depths)
        .with_in_channels(in_channels)
        .with_width(width);
    (stages <= MAX_STAGES).then_some(encoder)
}

/// The stages of a network: each halves the map and doubles the channels.
const MAX_STAGES: usize = 6;

fn torchvision_resnet(file: &WeightsFile) -> Option<Architecture> {
    let &[classes, _] = file.shape("fc.weight")? else {
        return None;
    };
    let encoder = resnet(file, "")?;
    Some(Architecture::ResNet { encoder, classes })
}

fn torchvision_densenet(file: &WeightsFile) -> Option<Architecture> {
    let conv = |block, layer, conv| {
        format!("features.denseblock{block}.denselayer{layer}.conv{conv}.weight")
    };
    let &[width, in_channels, _, _] = file.shape("features.conv0.weight")? else {
        return None;
    };
    let &[growth, inner, _, _] = file.shape(&conv(1, 1, 2))? else {
        return None;
    };
    let &[classes, _] = file.shape("classifier.weight")? else {
        return None;
    };
    let blocks = count(file, 1, &|block| conv(block, 1, 1));
    let depths = (1..=blocks).map(|block| count(file, 1, &|layer| conv(block, layer, 1)));
    let encoder = DenseNetEncoderConfig::new(depths.collect())
        .with_in_channels(in_channels)
        .with_width(width)
        .with_growth(growth)
        .with_bottleneck(inner.checked_div(growth)?);
    (blocks <= MAX_STAGES).then_some(Architecture::DenseNet { encoder, classes })
}

fn smp_unet(file: &WeightsFile) -> Option<Architecture> {
    let &[classes, _, kernel, _] = file.shape("segmentation_head.0.weight")? else {
        return None;
    };
    let conv = |block: usize| format!("decoder.blocks.{block}.conv2.0.weight");
    if count(file, 0, &conv) != 5 {
        return None; // another decoder, or another depth
    }
    let encoder = EncoderConfig::ResNet(resnet(file, "encoder.")?);
    let mut config = UnetConfig::smp(encoder, classes).with_head_kernel_size(kernel);
    config.decoder.widths = (0..5)
        .rev()
        .map(|block| first_number(file, &conv(block)))
        .collect::<Option<_>>()?;
    Some(Architecture::SmpUnet(config))
}

fn monai_basic_unet(file: &WeightsFile) -> Option<Architecture> {
    let &[stem, in_channels, ref kernel @ ..] = file.shape("conv_0.conv_0.conv.weight")? else {
        return None;
    };
    let width = |name: &str| first_number(file, name);
    let features = [
        stem,
        width("down_1.convs.conv_1.conv.weight")?,
        width("down_2.convs.conv_1.conv.weight")?,
        width("down_3.convs.conv_1.conv.weight")?,
        width("down_4.convs.conv_1.conv.weight")?,
        width("upcat_1.convs.conv_1.conv.weight")?,
    ];
    let out_channels = width("final_conv.weight")?;
    let axes = kernel.len();
    let config = UnetConfig::monai_basic(in_channels, out_channels, features);
    (1..=3)
        .contains(&axes)
        .then_some(Architecture::MonaiBasicUnet { config, axes })
}

/// The first number of a tensor's shape: the output channels of a convolution.
fn first_number(file: &WeightsFile, name: &str) -> Option<usize> {
    file.shape(name)?.first().copied()
}
