//! Every encoder with every decoder, on one, two and three axes: the shape of the output, the plan, the gradient of every
//! parameter, the file of the configuration and that of the weights.

use crate::devices;
use burn::config::{Config, config_to_json};
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Distribution, Gradients, Tensor};
use burn_skip::gate::GateConfig;
use burn_skip::net::{
    AnySegmentationModel, ConvNextEncoderConfig, DecoderConfig, DeepLabDecoderConfig,
    DenseNetEncoderConfig, EfficientNetEncoderConfig, EncoderConfig, FpnDecoderConfig,
    InvertedStage, LinknetDecoderConfig, ManetDecoderConfig, MitEncoderConfig, MitStage,
    MobileNetV2EncoderConfig, MobileNetV3EncoderConfig, PanDecoderConfig, PlainEncoderConfig,
    PspDecoderConfig, ResNetBlock, ResNetEncoderConfig, ResidualStage, SegformerDecoderConfig,
    SegmentationConfig, StageBlock, StageConfig, StagedDecoderConfig, StagedEncoderConfig,
    StagedStepConfig, UnetDecoderConfig, UnetPlusPlusDecoderConfig, UperNetDecoderConfig,
    VggEncoderConfig,
};
use burn_skip::norm::NormConfig;
use burn_skip::up::UpConfig;
use burn_skip::weights::{Names, WeightsFile, save};
use burn_skip::{Layer, Trace};

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

pub fn every_pair(check: impl Fn(&str, SegmentationConfig)) {
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

/// The number of parameters that have no gradient.
struct Missing<'a> {
    gradients: &'a Gradients,
    count: usize,
}

impl ModuleVisitor for Missing<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = param.val();
        if tensor.is_require_grad() && tensor.grad(self.gradients).is_none() {
            self.count += 1;
        }
    }
}

fn check_rank<const R: usize>(
    name: &str,
    config: &SegmentationConfig,
    shape: [usize; R],
    device: &Device,
) {
    let mut output = shape;
    output[1] = 2;
    assert_eq!(
        config.output_shape(shape),
        Ok(output),
        "{name} at {shape:?}"
    );
    let recording = device.clone().autodiff();
    let net: AnySegmentationModel<R> = config.init(&recording);
    let plan = Trace::plan(&net, shape);
    assert!(plan.error().is_none(), "{name}: {:?}", plan.error());
    assert_eq!(plan.root, config.plan(shape).root, "{name}");
    assert_eq!(
        plan.root.total_parameters() as usize + buffers(&plan.root),
        net.num_params(),
        "{name}"
    );
    let x = Tensor::random(shape, Distribution::Normal(0.0, 1.0), &recording);
    let y = net.forward(x);
    assert_eq!(y.dims(), output, "{name} at {shape:?}");
    let gradients = y.powi_scalar(2).mean().backward();
    let mut missing = Missing {
        gradients: &gradients,
        count: 0,
    };
    net.visit(&mut missing);
    assert_eq!(missing.count, 0, "{name}: parameters without a gradient");
}

/// The numbers that are not learned.
fn buffers(node: &burn_skip::plan::Node) -> usize {
    let own = node
        .parameters
        .iter()
        .filter(|parameter| !parameter.is_learned);
    let own: usize = own.map(|parameter| parameter.len).sum();
    own + node.children.iter().map(buffers).sum::<usize>()
}

#[test]
fn images_of_odd_sizes() {
    // (What a GPU computes is compared layer by layer, in tests/contract.rs.)
    for (_, device) in devices::devices()
        .into_iter()
        .filter(|(name, _)| *name != "wgpu")
    {
        every_pair(|name, config| check_rank(name, &config, [2, 3, 45, 62], &device));
    }
}

#[test]
fn signals() {
    every_pair(|name, config| check_rank(name, &config, [2, 3, 61], &Device::flex()));
}

#[test]
fn volumes() {
    every_pair(|name, config| check_rank(name, &config, [2, 3, 35, 33, 34], &Device::flex()));
}

#[test]
fn every_size_from_33_to_63() {
    every_pair(|name, config| {
        for n in 33..=63 {
            for shape in [[1, 3, n, 40], [1, 3, 40, n], [1, 3, n, n]] {
                let expected = Ok([1, 2, shape[2], shape[3]]);
                assert_eq!(config.output_shape(shape), expected, "{name} at {shape:?}");
            }
        }
    });
}

#[test]
fn files() {
    let device = Device::flex();
    let folder = std::env::temp_dir().join(format!("burn-skip-pairs-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    every_pair(|name, config| {
        let text = config_to_json(&config);
        let read = SegmentationConfig::load_binary(text.as_bytes()).unwrap();
        assert_eq!(config_to_json(&read), text, "{name}");
        let [net, mut other]: [AnySegmentationModel; 2] =
            [config.init(&device), read.init(&device)];
        let path = folder.join("weights.safetensors");
        save(&net, &path, &Names::own()).unwrap();
        let file = WeightsFile::open(&path).unwrap();
        file.load_into(&mut other, &Names::own()).unwrap();
        let x = Tensor::random([1, 3, 37, 40], Distribution::Normal(0.0, 1.0), &device);
        let (y, again) = (net.forward(x.clone()), other.forward(x));
        y.into_data().assert_eq(&again.into_data(), true);
    });
    std::fs::remove_dir_all(&folder).unwrap();
}
