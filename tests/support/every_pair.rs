//! Every encoder with every decoder, with few channels.

use burn_skip::gate::GateConfig;
use burn_skip::net::{
    ConvNextEncoderConfig, DecoderConfig, DeepLabDecoderConfig, DenseNetEncoderConfig,
    EfficientNetEncoderConfig, EncoderConfig, FpnDecoderConfig, InvertedStage,
    LinknetDecoderConfig, ManetDecoderConfig, MitEncoderConfig, MitStage, MobileNetV2EncoderConfig,
    MobileNetV3EncoderConfig, PanDecoderConfig, PlainEncoderConfig, PspDecoderConfig, ResNetBlock,
    ResNetEncoderConfig, ResidualStage, SegformerDecoderConfig, SegmentationConfig, StageBlock,
    StageConfig, StagedDecoderConfig, StagedEncoderConfig, StagedStepConfig, UnetDecoderConfig,
    UnetPlusPlusDecoderConfig, UperNetDecoderConfig, VggEncoderConfig,
};
use burn_skip::norm::NormConfig;
use burn_skip::up::UpConfig;

/// Encoders of four maps, with few channels.
pub fn encoders() -> Vec<(&'static str, EncoderConfig)> {
    let resnet = |block| ResNetEncoderConfig::new(block, vec![1; 3]).with_width(8);
    let bottlenecks = resnet(ResNetBlock::Bottleneck).with_output_stride(8);
    vec![
        (
            "plain",
            EncoderConfig::Plain(PlainEncoderConfig::new(3, vec![4, 8, 8, 12])),
        ),
        ("resnet", EncoderConfig::ResNet(resnet(ResNetBlock::Basic))),
        (
            "gated resnet",
            EncoderConfig::ResNet(resnet(ResNetBlock::Basic).with_gate(GateConfig::se(4))),
        ),
        ("dilated resnet", EncoderConfig::ResNet(bottlenecks)),
        (
            "res2net",
            EncoderConfig::ResNet(resnet(ResNetBlock::Res2 { scale: 3 })),
        ),
        (
            "densenet",
            EncoderConfig::DenseNet(
                DenseNetEncoderConfig::new(vec![1; 3])
                    .with_width(8)
                    .with_growth(4),
            ),
        ),
        (
            "vgg",
            EncoderConfig::Vgg(VggEncoderConfig::new(vec![4, 8, 8, 12], vec![1; 4])),
        ),
        (
            "mobilenet",
            EncoderConfig::MobileNetV2(
                MobileNetV2EncoderConfig::new()
                    .with_stages(stages())
                    .with_last_channels(None),
            ),
        ),
        (
            "mobilenet v3",
            EncoderConfig::MobileNetV3(
                MobileNetV3EncoderConfig::large()
                    .with_stages(gated_stages())
                    .with_last_channels(None),
            ),
        ),
        (
            "efficientnet",
            EncoderConfig::EfficientNet(
                EfficientNetEncoderConfig::new(1.0, 1.0)
                    .with_stages(stages())
                    .with_last_channels(None),
            ),
        ),
        (
            "convnext",
            EncoderConfig::ConvNext(ConvNextEncoderConfig::new(vec![4, 8, 8, 12], vec![1; 4])),
        ),
        (
            "mit",
            EncoderConfig::Mit(MitEncoderConfig::new(vec![
                MitStage::new(4, 1, 1, 4),
                MitStage::new(8, 1, 2, 2),
                MitStage::new(8, 1, 2, 1),
                MitStage::new(12, 1, 3, 1),
            ])),
        ),
        ("staged", EncoderConfig::Staged(staged())),
    ]
}

/// Residual blocks whose first convolutions have the strides.
fn staged() -> StagedEncoderConfig {
    let stage = |(level, width)| {
        let stride = if level > 0 { 2 } else { 1 };
        StageConfig::new(width)
            .with_stride(stride)
            .with_block(StageBlock::Residual(ResidualStage::new(1)))
    };
    let stages = [4, 8, 8, 12].into_iter().enumerate().map(stage);
    StagedEncoderConfig::new(3, stages.collect())
}

/// Few inverted bottlenecks, down to 1/16.
fn stages() -> Vec<InvertedStage> {
    vec![
        InvertedStage::new(1, 8, 1, 1),
        InvertedStage::new(2, 8, 1, 2),
        InvertedStage::new(2, 8, 2, 2),
        InvertedStage::new(2, 12, 1, 2),
    ]
}

/// The same, with the gates of MobileNetV3.
fn gated_stages() -> Vec<InvertedStage> {
    let paper = MobileNetV3EncoderConfig::large().stages;
    let gate = paper.into_iter().find_map(|stage| stage.gate);
    let gated = |stage: InvertedStage| stage.with_gate(gate.clone());
    stages().into_iter().map(gated).collect()
}

/// Decoders for so many maps.
fn decoders(maps: usize) -> Vec<(&'static str, DecoderConfig)> {
    let widths = || vec![4; maps];
    let mut fpn = FpnDecoderConfig::new().with_levels(3).with_width(8);
    fpn.pyramid.channels = 8;
    fpn.style.norm = Some(NormConfig::group(2));
    vec![
        ("unet", UnetDecoderConfig::new(widths()).into()),
        ("unet++", UnetPlusPlusDecoderConfig::new(widths()).into()),
        ("linknet", LinknetDecoderConfig::new().with_width(4).into()),
        ("fpn", fpn.into()),
        ("psp", PspDecoderConfig::new().with_width(8).into()),
        (
            "pan",
            PanDecoderConfig::new().with_levels(3).with_width(4).into(),
        ),
        (
            "manet",
            ManetDecoderConfig::new(widths())
                .with_attention_channels(4)
                .into(),
        ),
        (
            "upernet",
            UperNetDecoderConfig::new()
                .with_levels(3)
                .with_width(4)
                .into(),
        ),
        (
            "segformer",
            SegformerDecoderConfig::new().with_width(8).into(),
        ),
        (
            "deeplab v3",
            DeepLabDecoderConfig::v3()
                .with_channels(8)
                .with_rates(vec![1.into(), 2.into()])
                .into(),
        ),
        (
            "deeplab v3+",
            DeepLabDecoderConfig::v3_plus()
                .with_channels(8)
                .with_rates(vec![2.into()])
                .into(),
        ),
        ("staged", {
            let step = StagedStepConfig::new(4)
                .with_up(UpConfig::linear())
                .with_project(true)
                .with_stage(StageConfig::new(4));
            StagedDecoderConfig::new(vec![step; maps - 1]).into()
        }),
    ]
}

/// Whether the steps of the decoder reach each map: those of LinkNet double the size. The maps of the plain encoder and of
/// VGG begin at the size of the image, those of ConvNeXt and MiT at a quarter, and the dilated ones do not halve.
fn makes_sense(encoder: &str, decoder: &str) -> bool {
    decoder != "linknet"
        || [
            "resnet",
            "gated resnet",
            "mobilenet",
            "mobilenet v3",
            "efficientnet",
        ]
        .contains(&encoder)
}

/// Calls `check` with the name and the configuration of each pair that makes sense.
pub fn every_pair(mut check: impl FnMut(&str, SegmentationConfig)) {
    for (encoder_name, encoder) in encoders() {
        let maps = encoder.feature_channels().len();
        for (decoder_name, decoder) in decoders(maps) {
            if makes_sense(encoder_name, decoder_name) {
                let config = SegmentationConfig::new(encoder.clone(), decoder, 2);
                check(&format!("{decoder_name} on {encoder_name}"), config);
            }
        }
    }
}
