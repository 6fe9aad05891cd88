//! Files that hold only what differs from the defaults.

use burn_skip::activation::ActivationConfig;
use burn_skip::attention::SelfAttentionConfig;
use burn_skip::block::{ConvNormActConfig, ConvStyle, DoubleConvConfig};
use burn_skip::conv::{ConvConfig, ConvTransposeConfig};
use burn_skip::down::DownConfig;
use burn_skip::fuse::{
    AsffConfig, AsppConfig, FpaConfig, GauConfig, MfabConfig, PabConfig, PreActivationConfig,
    PyramidPoolingConfig, Res2ConvConfig, WeightedSumConfig,
};
use burn_skip::gate::GateConfig;
use burn_skip::neck::{BiFpnConfig, FpnConfig, HrFuseConfig, PaFpnConfig};
use burn_skip::net::{
    ClassifierConfig, ConvNextEncoderConfig, DeepLabDecoderConfig, DeepLabSkip,
    DenseNetEncoderConfig, EncoderConfig, FpnDecoderConfig, HiddenConfig, LinknetDecoderConfig,
    ManetDecoderConfig, MitEncoderConfig, MitStage, MobileNetV3EncoderConfig, NetConfig,
    PanDecoderConfig, PlainEncoderConfig, PspDecoderConfig, ResNetEncoderConfig, ResidualStage,
    SegformerDecoderConfig, SegmentationConfig, StageConfig, StagedDecoderConfig,
    StagedEncoderConfig, StagedStepConfig, UnetConfig, UnetDecoderConfig,
    UnetPlusPlusDecoderConfig, UperNetDecoderConfig,
};
use burn_skip::norm::{LayerNormConfig, NormConfig};
use burn_skip::pool::{PoolConfig, PoolKind};
use burn_skip::up::UpConfig;
use burn_skip::{BranchConfig, FuseConfig, SkipAddConfig, SkipConcatConfig, UpsampleConcatConfig};
use serde::{Serialize, de::DeserializeOwned};

/// A file with the required fields is the configuration that `new` gives.
fn assert_short<C: Serialize + DeserializeOwned>(new: &C, short: &str) {
    let read: C = serde_json::from_str(short).unwrap_or_else(|e| panic!("{short}: {e}"));
    let [read, new] = [&read, new].map(|config| serde_json::to_value(config).unwrap());
    assert_eq!(read, new, "{short}");
}

#[test]
fn what_a_file_leaves_out_is_what_new_sets() {
    assert_short(
        &ConvConfig::new([3, 8], 3),
        r#"{"channels": [3, 8], "kernel_size": 3}"#,
    );
    assert_short(
        &ConvTransposeConfig::new([3, 8], 2, 2),
        r#"{"channels": [3, 8], "kernel_size": 2, "stride": 2}"#,
    );
    assert_short(
        &ConvNormActConfig::new([3, 8], 3),
        r#"{"channels": [3, 8], "kernel_size": 3}"#,
    );
    assert_short(&DoubleConvConfig::new([3, 8]), r#"{"channels": [3, 8]}"#);
    assert_short(
        &PoolConfig::new(PoolKind::Max, 2),
        r#"{"kind": "Max", "kernel_size": 2}"#,
    );
    assert_short(&ConvStyle::new(), "{}");
    assert_short(&NormConfig::batch(), r#"{"Batch": {}}"#);
    assert_short(&NormConfig::group(4), r#"{"Group": {"groups": 4}}"#);
    assert_short(&NormConfig::instance(), r#"{"Instance": {}}"#);
    assert_short(&UpConfig::conv_transpose(), r#"{"ConvTranspose": {}}"#);
    assert_short(&UpConfig::pixel_shuffle(), r#"{"PixelShuffle": {}}"#);
    assert_short(&UpConfig::carafe(), r#"{"Carafe": {}}"#);
    assert_short(&UpConfig::nearest(), r#"{"Resize": {"mode": "Nearest"}}"#);
    assert_short(&DownConfig::blur(), r#"{"Blur": {}}"#);
    assert_short(&SkipConcatConfig::new(), "{}");
    assert_short(&SkipAddConfig::new([3, 8]), r#"{"channels": [3, 8]}"#);
    assert_short(
        &UpsampleConcatConfig::new(8, 4, 4),
        r#"{"deep_channels": 8, "skip_channels": 4, "out_channels": 4}"#,
    );
    assert_short(
        &PlainEncoderConfig::new(3, vec![8, 16]),
        r#"{"in_channels": 3, "widths": [8, 16]}"#,
    );
    assert_short(
        &ResNetEncoderConfig::resnet18(),
        r#"{"block": "Basic", "depths": [2, 2, 2, 2]}"#,
    );
    assert_short(
        &DenseNetEncoderConfig::densenet121(),
        r#"{"depths": [6, 12, 24, 16]}"#,
    );
    assert_short(
        &ConvNextEncoderConfig::new(vec![8], vec![2]),
        r#"{"widths": [8], "depths": [2]}"#,
    );
    assert_short(
        &SelfAttentionConfig::new(8, 2),
        r#"{"channels": 8, "heads": 2}"#,
    );
    assert_short(
        &MitEncoderConfig::new(vec![MitStage::new(8, 1, 2, 4)]),
        r#"{"stages": [{"channels": 8, "depth": 1, "heads": 2, "reduction": 4}]}"#,
    );
    assert_short(&MobileNetV3EncoderConfig::large(), "{}");
    let mobilenet = EncoderConfig::MobileNetV3(MobileNetV3EncoderConfig::large());
    assert_short(
        &ClassifierConfig::new(mobilenet, 2)
            .with_hidden(HiddenConfig::new(8, ActivationConfig::Relu)),
        r#"{"encoder": {"MobileNetV3": {}}, "classes": 2, "hidden": {"channels": 8}}"#,
    );
    assert_short(&GateConfig::se(4), r#"{"Se": {"reduction": 4}}"#);
    assert_short(&UnetDecoderConfig::new(vec![8]), r#"{"widths": [8]}"#);
    assert_short(&StageConfig::new(8), r#"{"width": 8}"#);
    assert_short(&ResidualStage::new(2), r#"{"blocks": 2}"#);
    assert_short(&StagedStepConfig::new(8), r#"{"width": 8}"#);
    assert_short(
        &StagedEncoderConfig::new(3, vec![StageConfig::new(8)]),
        r#"{"in_channels": 3, "stages": [{"width": 8}]}"#,
    );
    assert_short(
        &StagedDecoderConfig::new(vec![StagedStepConfig::new(8)]),
        r#"{"steps": [{"width": 8}]}"#,
    );
    assert_short(
        &UnetPlusPlusDecoderConfig::new(vec![8]),
        r#"{"widths": [8]}"#,
    );
    assert_short(&LinknetDecoderConfig::new(), "{}");
    assert_short(&FpnDecoderConfig::new(), "{}");
    assert_short(&PspDecoderConfig::new(), "{}");
    assert_short(&DeepLabDecoderConfig::v3(), "{}");
    assert_short(&DeepLabSkip::default(), "{}");
    assert_short(&UperNetDecoderConfig::new(), "{}");
    assert_short(&SegformerDecoderConfig::new(), "{}");
    assert_short(&PanDecoderConfig::new(), "{}");
    assert_short(&ManetDecoderConfig::new(vec![8]), r#"{"widths": [8]}"#);
    assert_short(&FpnConfig::new(256), "{}");
    assert_short(&PaFpnConfig::new(256), "{}");
    assert_short(&BiFpnConfig::new(64), r#"{"channels": 64}"#);
    assert_short(&HrFuseConfig::new(), "{}");
    assert_short(&AsppConfig::new([4, 2]), r#"{"channels": [4, 2]}"#);
    assert_short(&Res2ConvConfig::new(8), r#"{"channels": 8}"#);
    assert_short(
        &PyramidPoolingConfig::new(4, 1),
        r#"{"channels": 4, "branch_channels": 1}"#,
    );
    assert_short(&FpaConfig::new([4, 2]), r#"{"channels": [4, 2]}"#);
    assert_short(
        &GauConfig::new(4, 2),
        r#"{"skip_channels": 4, "channels": 2}"#,
    );
    assert_short(&PabConfig::new(4), r#"{"channels": 4}"#);
    assert_short(
        &MfabConfig::new(4, 3, 2),
        r#"{"deep_channels": 4, "skip_channels": 3, "out_channels": 2}"#,
    );
    assert_short(&AsffConfig::new(2, 4), r#"{"maps": 2, "channels": 4}"#);
    assert_short(&PreActivationConfig::new(), "{}");
    assert_short(&WeightedSumConfig::new(2), r#"{"maps": 2}"#);
    assert_short(&LayerNormConfig::new(4), r#"{"channels": 4}"#);
    let resnet = EncoderConfig::ResNet(ResNetEncoderConfig::resnet18());
    assert_short(
        &SegmentationConfig::smp_fpn(resnet, 2),
        r#"{"encoder": {"ResNet": {"block": "Basic", "depths": [2, 2, 2, 2]}}, "decoder": {"Fpn": {}}, "out_channels": 2}"#,
    );
    let branches = vec![BranchConfig::new(4); 2];
    assert_short(
        &FuseConfig::new(branches, burn_skip::merge::Merge::Add),
        r#"{"branches": [{"channels": 4}, {"channels": 4}], "merge": "Add"}"#,
    );
}

#[test]
fn an_unknown_field_stays_an_error() {
    let error = serde_json::from_str::<ConvStyle>(r#"{"nrom": null}"#).unwrap_err();
    assert!(
        format!("{error}").contains("unknown field `nrom`"),
        "{error}"
    );
}

#[test]
fn a_unet_of_three_numbers_is_a_network() {
    let short = r#"{"Unet": {"in_channels": 1, "widths": [16, 32, 64], "out_channels": 1}}"#;
    assert_short(
        &NetConfig::Unet(UnetConfig::new(1, 1, vec![16, 32, 64])),
        short,
    );
    // The full form is read back as it was written.
    let full = serde_json::to_string(&UnetConfig::new(1, 1, vec![16, 32, 64])).unwrap();
    assert_short(&UnetConfig::new(1, 1, vec![16, 32, 64]), &full);
}

#[test]
fn what_a_unet_lacks_or_has_twice_is_named() {
    let text = |file| {
        serde_json::from_str::<UnetConfig>(file)
            .unwrap_err()
            .to_string()
    };
    let error = text(r#"{"in_channels": 1, "out_channels": 1}"#);
    assert!(error.contains("missing field `widths`"), "{error}");
    let error = text(r#"{"out_channels": 1}"#);
    assert!(
        error.contains("give an encoder, or `in_channels` and `widths`"),
        "{error}"
    );
    let error = text(
        r#"{"in_channels": 1, "out_channels": 1, "encoder": {"Plain": {"in_channels": 1, "widths": [8]}}}"#,
    );
    assert!(error.contains("Leave one of them out"), "{error}");
    let error = text(r#"{"in_channels": 1, "width": [8], "out_channels": 1}"#);
    assert!(error.contains("unknown field `width`"), "{error}");
}
