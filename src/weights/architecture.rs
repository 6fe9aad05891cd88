//! [`Architecture`]: the network that a file of weights belongs to, found by the names and shapes of its tensors.

use std::fmt;

use super::sources::monai::{self, MonaiNetwork};
use super::sources::{
    CLASSIFICATION_HEAD, Library, SUPERVISION_HEADS, count, decoders, encoders, outputs,
};
use super::{Names, WeightsFile};
use crate::ShapeError;
use crate::activation::ActivationConfig;
use crate::block::ConvStyle;
use crate::net::{
    ClassificationHeadConfig, ClassifierConfig, DecoderConfig, EncoderConfig, HiddenConfig,
    NetConfig, SegmentationConfig, TraceSupervised, UnetConfig,
};
use crate::plan::{Plan, Trace};
use crate::resize::ResizeMode;

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
#[allow(clippy::large_enum_variant)] // a program holds few
pub enum Architecture {
    /// torchvision's classifier on an encoder.
    Torchvision(ClassifierConfig),
    /// timm's classifier on an encoder, where its names are not torchvision's: a ResNet with squeeze-and-excitation,
    /// MobileNetV2 and V3, EfficientNet and ConvNeXt.
    ///
    /// Those that timm calls `tf_...` have the same names, and other options: they pad as TensorFlow does, by
    /// [`Padding::Same`](crate::Padding::Same), and their norms have the epsilon 1e-3.
    Timm(ClassifierConfig),
    /// segmentation_models.pytorch's network of an encoder and a decoder.
    Smp {
        /// The network.
        config: SegmentationConfig,
        /// The beginnings of the names of stages that the decoder does not read, and the network does not have.
        unread: Vec<String>,
    },
    /// MONAI's `BasicUNet`.
    MonaiBasicUnet {
        /// The network.
        config: UnetConfig,
        /// The number of spatial axes: 1, 2 or 3.
        axes: usize,
    },
    /// Another network of MONAI.
    Monai {
        /// Which one.
        network: MonaiNetwork,
        /// The network.
        config: SegmentationConfig,
        /// The number of spatial axes: 1, 2 or 3.
        axes: usize,
    },
}

impl Architecture {
    /// The network whose tensors the file holds, if it is one of these and can be built.
    ///
    /// Names and shapes of some of the tensors decide; [`WeightsFile::load_into`] checks all of them. Options
    /// that no tensor depends on cannot be read from a file, and are those of the source's default: see
    /// [`assumed`](Self::assumed). segmentation_models.pytorch's networks with dilations (DeepLab, PAN) on timm's encoders
    /// (`tu-NAME`) are not among them: timm's dilations are others.
    pub fn detect(file: &WeightsFile) -> Option<Self> {
        let detected = [torchvision, timm, smp, monai_basic_unet, other_monai];
        let found = detected.iter().find_map(|detect| detect(file))?;
        found.fits(file).then_some(found)
    }

    /// The network, and how many spatial axes its images have.
    pub fn net(&self) -> (NetConfig, usize) {
        match self {
            Self::Torchvision(config) | Self::Timm(config) => {
                (NetConfig::Classifier(config.clone()), 2)
            }
            Self::Smp { config, .. } => (NetConfig::Segmentation(config.clone()), 2),
            Self::MonaiBasicUnet { config, axes } => (NetConfig::Unet(config.clone()), *axes),
            Self::Monai { config, axes, .. } => (NetConfig::Segmentation(config.clone()), *axes),
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
        let plan = match self.net().1 {
            1 => self.plan::<3>(),
            2 => self.plan::<4>(),
            _ => self.plan::<5>(),
        };
        match plan.error() {
            Some(error) => Err(error.clone()),
            None => Ok(plan.root.total_parameters()),
        }
    }

    /// The plan of the network with all its heads.
    fn plan<const R: usize>(&self) -> Plan {
        let mut input = [PLANNED_SIZE; R];
        (input[0], input[1]) = (1, self.net().0.in_channels());
        match self {
            Self::Torchvision(config) | Self::Timm(config) => config.plan(input),
            Self::Smp { config, .. } | Self::Monai { config, .. } => config.plan_supervised(input),
            Self::MonaiBasicUnet { config, .. } => config.plan(input),
        }
    }

    /// The options that no tensor depends on, as the network is built with them. A network that was built with
    /// other options loads without an error, and gives other numbers.
    pub fn assumed(&self) -> String {
        match self {
            Self::Torchvision(config) | Self::Timm(config) => {
                let source = encoders::source(&config.encoder);
                source.map_or("", |source| source.assumed()).to_string()
            }
            Self::Smp { config, .. } => {
                let decoder = decoders::assumed(&config.decoder);
                let source = encoders::source(&config.encoder);
                let network = match source.and_then(|source| source.assumed_in_smp()) {
                    Some(encoder) => format!("in the encoder {encoder}; {decoder}"),
                    None => decoder.to_string(),
                };
                match config.classification_head.is_some() {
                    true => format!("{network}; a mean pool in the classification head"),
                    false => network,
                }
            }
            Self::MonaiBasicUnet { .. } => {
                "leaky ReLU with slope 0.1, instance norm with epsilon 1e-5, transposed convolutions".into()
            }
            Self::Monai { network, .. } => network.assumed().into(),
        }
    }

    /// The names of the tensors in the file.
    pub fn names(&self) -> Names {
        let names = match self {
            Self::Torchvision(config) => Names::torchvision(config),
            Self::Timm(config) => Names::timm(config),
            Self::Smp { config, unread } => {
                let ignoring = |names: Names, stage: &String| names.ignoring(stage);
                Names::smp(config).map(|names| unread.iter().fold(names, ignoring))
            }
            Self::MonaiBasicUnet { .. } => Some(Names::monai_basic_unet()),
            Self::Monai {
                network, config, ..
            } => Names::monai(*network, config),
        };
        names.unwrap_or_else(Names::own)
    }
}

/// The size of the images for which a network is planned, large enough for all of them.
const PLANNED_SIZE: usize = 1 << 8;

/// An encoder, in words.
fn encoder_name(encoder: &EncoderConfig) -> String {
    match encoders::source(encoder) {
        Some(source) => source.description(),
        None => format!("encoder of widths {:?}", encoder.feature_channels()),
    }
}

/// A classifier, in words.
fn classifier_name(config: &ClassifierConfig) -> String {
    let (encoder, classes) = (&config.encoder, config.classes);
    format!(
        "{}, {} channels, {classes} classes",
        encoder_name(encoder),
        encoder.in_channels()
    )
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Torchvision(config) => write!(f, "torchvision {}", classifier_name(config)),
            Self::Timm(config) => write!(f, "timm {}", classifier_name(config)),
            Self::Smp { config, .. } => {
                let encoder = encoder_name(&config.encoder);
                let article = if encoder.starts_with('E') { "an" } else { "a" };
                write!(
                    f,
                    "segmentation_models.pytorch {} on {article} {encoder}, {} channels, {} classes",
                    decoders::class(&config.decoder),
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
            Self::Monai {
                network,
                config,
                axes,
            } => write!(
                f,
                "MONAI {network} over {axes} axes, levels {:?}, {} channels, {} classes",
                config.encoder.feature_channels(),
                config.encoder.in_channels(),
                config.out_channels
            ),
        }
    }
}

fn torchvision(file: &WeightsFile) -> Option<Architecture> {
    classifier(file, Library::Torchvision).map(Architecture::Torchvision)
}

fn timm(file: &WeightsFile) -> Option<Architecture> {
    classifier(file, Library::Timm).map(Architecture::Timm)
}

/// The library's classifier in a file.
fn classifier(file: &WeightsFile, library: Library) -> Option<ClassifierConfig> {
    let encoder = encoders::detect(file, library)?;
    let source = encoders::source(&encoder)?;
    let &[classes, _] = file.shape(&format!("{}.weight", source.head(library)?))? else {
        return None;
    };
    // (The norm of ConvNeXt, the only one.)
    let norm = source.head_norm(library).map(|_| 1e-6);
    // (That of MobileNetV3, the only one.)
    let hidden = match source.hidden(library) {
        Some(name) => {
            let channels = outputs(file, &format!("{name}.weight"))?;
            Some(HiddenConfig::new(channels, ActivationConfig::HardSwish))
        }
        None => None,
    };
    let config = ClassifierConfig::new(encoder, classes);
    Some(config.with_norm(norm).with_hidden(hidden))
}

fn smp(file: &WeightsFile) -> Option<Architecture> {
    let &[classes, _, kernel, _] = file.shape("segmentation_head.0.weight")? else {
        return None;
    };
    let encoder = encoders::detect(file, Library::Smp)?;
    let mut decoder = decoders::detect(file)?;
    if let (EncoderConfig::Vgg(_), DecoderConfig::Psp(_)) = (&encoder, &decoder.config) {
        // (The last maps of a VGG have the same channels. This is the third, by PSPNet's default.)
        decoder.coarsest = decoders::Coarsest::OfMaps(3);
    }
    let (mut encoder, unread) = encoders::shortened(encoder, &decoder.coarsest)?;
    // (A file that this crate has saved has none of them.)
    let is_in_file = |stage: &String| {
        let within = format!("{stage}.");
        file.tensors().any(|(name, _)| name.starts_with(&within))
    };
    let unread = unread.iter().map(|stage| format!("encoder.{stage}"));
    let mut unread: Vec<String> = unread.filter(is_in_file).collect();
    if file
        .shape(&format!("{}.0.0.weight", encoders::CENTER))
        .is_some()
    {
        match (&mut encoder, &decoder.config) {
            (EncoderConfig::Vgg(vgg), DecoderConfig::Unet(_)) => {
                vgg.center = Some(ConvStyle::new());
            }
            // (U-Net++ has the convolutions, and does not use them.)
            _ => unread.push(encoders::CENTER.into()),
        }
    }
    if let Some(stride) = decoder.output_stride {
        // (timm dilates the first block of a stage as the stage before it.)
        if encoders::source(&encoder)?.prefix(Library::Smp) == Library::Smp.prefix_of_timm() {
            return None;
        }
        encoder = encoder.with_output_stride(stride).ok()?;
    }
    let ends_at_image = matches!(
        decoder.config,
        DecoderConfig::Unet(_)
            | DecoderConfig::UnetPlusPlus(_)
            | DecoderConfig::Linknet(_)
            | DecoderConfig::Manet(_)
    );
    let resize = (!ends_at_image).then_some(ResizeMode::aligned_linear());
    let extra = count(file, 0, &|n| format!("{SUPERVISION_HEADS}.{n}.weight"));
    let classification = outputs(file, &format!("{CLASSIFICATION_HEAD}.3.weight"));
    let config = SegmentationConfig::new(encoder, decoder.config, classes)
        .with_head_kernel_size(kernel)
        .with_resize(resize)
        .with_supervised_steps(extra)
        .with_classification_head(classification.map(ClassificationHeadConfig::new));
    Some(Architecture::Smp { config, unread })
}

fn monai_basic_unet(file: &WeightsFile) -> Option<Architecture> {
    let &[stem, in_channels, ref kernel @ ..] = file.shape("conv_0.conv_0.conv.weight")? else {
        return None;
    };
    let width = |name: &str| outputs(file, name);
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

fn other_monai(file: &WeightsFile) -> Option<Architecture> {
    let (network, config, axes) = monai::detect(file)?;
    Some(Architecture::Monai {
        network,
        config,
        axes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{
        EfficientNetEncoderConfig, MitEncoderConfig, MitStage, MobileNetV2EncoderConfig,
        MobileNetV3EncoderConfig, ResNetBlock, ResNetEncoderConfig, VggEncoderConfig,
    };
    use crate::norm::NormConfig;
    use crate::weights::save;
    use burn::module::Module;
    use burn::tensor::Device;

    const IMAGE: [usize; 4] = [1, 3, 64, 96];

    /// The file of a network.
    fn file(name: &str, net: &impl Module, names: &Names) -> WeightsFile {
        let file = format!("burn-skip-{name}-{}.safetensors", std::process::id());
        let path = std::env::temp_dir().join(file);
        save(net, &path, names).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        WeightsFile::from_safetensors(bytes).unwrap()
    }

    fn mobilenet() -> EncoderConfig {
        let config = MobileNetV2EncoderConfig::new().with_width_multiplier(0.25);
        EncoderConfig::MobileNetV2(config)
    }

    fn mit() -> EncoderConfig {
        EncoderConfig::Mit(MitEncoderConfig::new(vec![
            MitStage::new(8, 1, 1, 4),
            MitStage::new(16, 2, 2, 2).with_expansion(2),
            MitStage::new(24, 1, 3, 1),
            MitStage::new(32, 1, 4, 1),
        ]))
    }

    fn res2net() -> ResNetEncoderConfig {
        ResNetEncoderConfig::new(ResNetBlock::Res2 { scale: 3 }, vec![1, 2, 1, 1])
            .with_width(8)
            .with_groups(2)
            .with_group_width(26)
    }

    fn vgg(norm: Option<NormConfig>) -> VggEncoderConfig {
        VggEncoderConfig::new(vec![4, 8, 12, 16, 16], vec![1, 2, 1, 1, 2])
            .with_norm(norm)
            .with_full_size_map(false)
    }

    #[test]
    fn what_is_saved_is_detected() {
        let with_center = |norm| EncoderConfig::Vgg(vgg(norm).with_center(ConvStyle::new()));
        let dilated = mobilenet().with_output_stride(16).unwrap();
        let without = EncoderConfig::Vgg(vgg(None));
        for (name, config) in [
            ("unet", SegmentationConfig::smp_unet(mobilenet(), 2)),
            ("fpn", SegmentationConfig::smp_fpn(mobilenet(), 2)),
            ("linknet", SegmentationConfig::smp_linknet(mobilenet(), 3)),
            ("manet", SegmentationConfig::smp_manet(mobilenet(), 2)),
            (
                "v3+",
                SegmentationConfig::smp_deeplab_v3_plus(dilated.clone(), 2),
            ),
            ("pan", SegmentationConfig::smp_pan(dilated, 2)),
            ("upernet", SegmentationConfig::smp_upernet(mobilenet(), 2)),
            (
                "segformer",
                SegmentationConfig::smp_segformer(mobilenet(), 3),
            ),
            ("mit", SegmentationConfig::smp_segformer(mit(), 2)),
            ("mit-fpn", SegmentationConfig::smp_fpn(mit(), 2)),
            ("vgg", SegmentationConfig::smp_unet(with_center(None), 2)),
            (
                "bn",
                SegmentationConfig::smp_unet(with_center(Some(NormConfig::batch())), 2),
            ),
            ("vgg-fpn", SegmentationConfig::smp_fpn(without.clone(), 2)),
            (
                "res2net",
                SegmentationConfig::smp_unet(EncoderConfig::ResNet(res2net()), 2),
            ),
            ("vgg-linknet", SegmentationConfig::smp_linknet(without, 2)),
            (
                "heads",
                SegmentationConfig::smp_unet(mobilenet(), 2)
                    .with_supervised_steps(2)
                    .with_classification_head(ClassificationHeadConfig::new(5)),
            ),
        ] {
            let names = Names::smp(&config).unwrap();
            let file = file(name, &config.init::<4>(&Device::flex()), &names);
            let found = Architecture::detect(&file).unwrap();
            let Architecture::Smp {
                config: detected,
                unread,
            } = &found
            else {
                panic!("{name}: {found}");
            };
            assert_eq!(
                detected.plan_supervised(IMAGE).root,
                config.plan_supervised(IMAGE).root,
                "{name}"
            );
            assert!(unread.is_empty(), "{name}: {unread:?}");
            let mut net = detected.init::<4>(&Device::flex());
            file.load_into(&mut net, &found.names()).unwrap();
        }
    }

    #[test]
    fn classifiers_are_of_their_library() {
        let gated = ResNetEncoderConfig::new(ResNetBlock::Bottleneck, vec![1, 2]).with_width(16);
        let gated = gated.with_gate(ResNetEncoderConfig::squeeze_excitation());
        let hidden = |channels| HiddenConfig::new(channels, ActivationConfig::HardSwish);
        let small = || MobileNetV3EncoderConfig::small().with_in_channels(1);
        let of_timm = small().with_norm(NormConfig::batch());
        let classifier = |encoder| ClassifierConfig::new(encoder, 3);
        for (name, architecture) in [
            (
                "timm-se",
                Architecture::Timm(classifier(EncoderConfig::ResNet(gated))),
            ),
            (
                "timm-res2net",
                Architecture::Timm(classifier(EncoderConfig::ResNet(res2net()))),
            ),
            (
                "timm-v3",
                Architecture::Timm(
                    classifier(EncoderConfig::MobileNetV3(of_timm)).with_hidden(hidden(8)),
                ),
            ),
            (
                "torchvision-v3",
                Architecture::Torchvision(
                    classifier(EncoderConfig::MobileNetV3(small())).with_hidden(hidden(8)),
                ),
            ),
        ] {
            let (Architecture::Timm(config) | Architecture::Torchvision(config)) = &architecture
            else {
                unreachable!()
            };
            let net = config.init::<4>(&Device::flex());
            let file = file(name, &net, &architecture.names());
            let found = Architecture::detect(&file).unwrap();
            assert_eq!(found.to_string(), architecture.to_string());
            assert_eq!(found.assumed(), architecture.assumed());
            let (NetConfig::Classifier(detected), _) = found.net() else {
                panic!("{name}: {found}");
            };
            let image = [1, config.encoder.in_channels(), 64, 96];
            assert_eq!(detected.plan(image).root, config.plan(image).root, "{name}");
            let mut net = detected.init::<4>(&Device::flex());
            file.load_into(&mut net, &found.names()).unwrap();
            if name == "timm-v3" {
                assert_eq!(file.shape("conv_head.weight").unwrap(), [8, 576, 1, 1]);
            }
        }
        // torchvision has neither.
        for of_timm in [ResNetEncoderConfig::seresnet18(), res2net()] {
            let config = classifier(EncoderConfig::ResNet(of_timm));
            assert!(Names::torchvision(&config).is_none());
        }
    }

    /// timm dilates the first block of a stage as the stage before it, which no encoder here does.
    #[test]
    fn dilated_encoders_of_timm_are_not_detected() {
        let encoder = ResNetEncoderConfig::new(ResNetBlock::Basic, vec![1; 4]).with_width(8);
        let gated = encoder.with_gate(ResNetEncoderConfig::squeeze_excitation());
        let dilated = EncoderConfig::ResNet(gated.with_output_stride(16));
        let config = SegmentationConfig::smp_deeplab_v3_plus(dilated, 2);
        let names = Names::smp(&config).unwrap();
        let file = file("dilated", &config.init::<4>(&Device::flex()), &names);
        assert!(Architecture::detect(&file).is_none());
    }

    #[test]
    fn names_and_what_is_assumed() {
        let b2 = EncoderConfig::EfficientNet(EfficientNetEncoderConfig::b2());
        let found = Architecture::Torchvision(ClassifierConfig::new(b2.clone(), 10));
        assert_eq!(
            found.to_string(),
            "torchvision EfficientNet of widths [16, 24, 48, 88, 120, 208, 352], blocks [2, 3, 3, 4, 4, 5, 2], \
             3 channels, 10 classes"
        );
        assert!(
            found
                .assumed()
                .contains("neither stochastic depth nor dropout")
        );
        let unread = Vec::new();
        let config = SegmentationConfig::smp_fpn(b2, 2);
        let found = Architecture::Smp { config, unread };
        assert!(
            found
                .to_string()
                .starts_with("segmentation_models.pytorch FPN on an EfficientNet of")
        );
        assert!(
            found.assumed().starts_with("in the encoder SiLU"),
            "{}",
            found.assumed()
        );
        // VGG's classifier is not one here.
        let vgg = ClassifierConfig::new(EncoderConfig::Vgg(vgg(None)), 2);
        assert!(Names::torchvision(&vgg).is_none());
    }
}
