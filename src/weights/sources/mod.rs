//! The names of the libraries that this crate knows: one table each.

use super::Names;

/// Rows of (path in the module, name in the file).
type Table = &'static [(&'static str, &'static str)];

const RESNET_ENCODER: Table = &[
    ("stem.conv", "conv1"),
    ("stem.norm", "bn1"),
    ("stages.{s}.{b}.block.{c}.conv", "layer{s+1}.{b}.conv{c+1}"),
    ("stages.{s}.{b}.block.{c}.norm", "layer{s+1}.{b}.bn{c+1}"),
    (
        "stages.{s}.{b}.shortcut.1.conv",
        "layer{s+1}.{b}.downsample.0",
    ),
    (
        "stages.{s}.{b}.shortcut.1.norm",
        "layer{s+1}.{b}.downsample.1",
    ),
];

const DENSENET: Table = &[
    ("encoder.stem.conv", "features.conv0"),
    ("encoder.stem.norm", "features.norm0"),
    (
        "encoder.blocks.{b}.{l}.block.{c}.norm",
        "features.denseblock{b+1}.denselayer{l+1}.norm{c+1}",
    ),
    (
        "encoder.blocks.{b}.{l}.block.{c}.conv",
        "features.denseblock{b+1}.denselayer{l+1}.conv{c+1}",
    ),
    ("encoder.transitions.{t}.0", "features.transition{t+1}"),
    ("encoder.norm", "features.norm5"),
    ("head", "classifier"),
];

const SMP_UNET_DECODER: Table = &[
    (
        "decoder.steps.{i}.block.first.conv",
        "decoder.blocks.{3-i}.conv1.0",
    ),
    (
        "decoder.steps.{i}.block.first.norm",
        "decoder.blocks.{3-i}.conv1.1",
    ),
    (
        "decoder.steps.{i}.block.second.conv",
        "decoder.blocks.{3-i}.conv2.0",
    ),
    (
        "decoder.steps.{i}.block.second.norm",
        "decoder.blocks.{3-i}.conv2.1",
    ),
    ("decoder.last.1.first.conv", "decoder.blocks.4.conv1.0"),
    ("decoder.last.1.first.norm", "decoder.blocks.4.conv1.1"),
    ("decoder.last.1.second.conv", "decoder.blocks.4.conv2.0"),
    ("decoder.last.1.second.norm", "decoder.blocks.4.conv2.1"),
    ("head", "segmentation_head.0"),
];

const MONAI_BASIC_UNET: Table = &[
    ("encoder.stem.first.conv", "conv_0.conv_0.conv"),
    ("encoder.stem.first.norm", "conv_0.conv_0.adn.N"),
    ("encoder.stem.second.conv", "conv_0.conv_1.conv"),
    ("encoder.stem.second.norm", "conv_0.conv_1.adn.N"),
    (
        "encoder.levels.{i}.block.first.conv",
        "down_{i+1}.convs.conv_0.conv",
    ),
    (
        "encoder.levels.{i}.block.first.norm",
        "down_{i+1}.convs.conv_0.adn.N",
    ),
    (
        "encoder.levels.{i}.block.second.conv",
        "down_{i+1}.convs.conv_1.conv",
    ),
    (
        "encoder.levels.{i}.block.second.norm",
        "down_{i+1}.convs.conv_1.adn.N",
    ),
    ("decoder.steps.{i}.up.layer", "upcat_{i+1}.upsample.deconv"),
    (
        "decoder.steps.{i}.block.first.conv",
        "upcat_{i+1}.convs.conv_0.conv",
    ),
    (
        "decoder.steps.{i}.block.first.norm",
        "upcat_{i+1}.convs.conv_0.adn.N",
    ),
    (
        "decoder.steps.{i}.block.second.conv",
        "upcat_{i+1}.convs.conv_1.conv",
    ),
    (
        "decoder.steps.{i}.block.second.norm",
        "upcat_{i+1}.convs.conv_1.adn.N",
    ),
    ("head", "final_conv"),
];

/// A ResNet as the encoder of a network, whose names in the file begin with `prefix`; and the other rows.
fn on_resnet(prefix: &str, others: Table) -> Names {
    let encoder = RESNET_ENCODER
        .iter()
        .map(|(a, b)| (format!("encoder.{a}"), format!("{prefix}{b}")));
    let others = others.iter().map(|(a, b)| (a.to_string(), b.to_string()));
    Names::new(encoder.chain(others))
}

impl Names {
    /// torchvision's `resnet18`, `resnet34`, `resnet50`, `resnet101`, for [`ResNet`](crate::net::ResNet).
    pub fn torchvision_resnet() -> Self {
        on_resnet("", &[("head", "fc")])
    }

    /// torchvision's `densenet121`, for [`DenseNet`](crate::net::DenseNet).
    pub fn torchvision_densenet() -> Self {
        Self::new(DENSENET.iter().copied())
    }

    /// segmentation_models.pytorch's `Unet` on a ResNet with its default depth of 5, for
    /// [`UnetConfig::smp`](crate::net::UnetConfig::smp).
    pub fn smp_unet_resnet() -> Self {
        on_resnet("encoder.", SMP_UNET_DECODER)
    }

    /// MONAI's `BasicUNet` of any number of axes, for
    /// [`UnetConfig::monai_basic`](crate::net::UnetConfig::monai_basic).
    pub fn monai_basic_unet() -> Self {
        Self::new(MONAI_BASIC_UNET.iter().copied())
    }
}
