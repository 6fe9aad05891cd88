//! The table: what is measured.

use burn_skip::activation::ActivationConfig;
use burn_skip::block::{ConvNormActConfig, ConvStyle, LayerOrder};
use burn_skip::gate::GateConfig;
use burn_skip::merge::Order;
use burn_skip::net::{
    ClassifierConfig, ConvNextEncoderConfig, DeepLabDecoderConfig, DenseNetEncoderConfig,
    EfficientNetEncoderConfig, EncoderConfig, FpnDecoderConfig, HiddenConfig, MitEncoderConfig,
    MobileNetV2EncoderConfig, MobileNetV3EncoderConfig, PspDecoderConfig, ResNetBlock,
    ResNetEncoderConfig, SegmentationConfig, UnetConfig,
};
use burn_skip::norm::NormConfig;
use burn_skip::up::UpConfig;
use burn_skip::{Padding, PerAxis, SkipConcatConfig, UpsampleConcatConfig};

use crate::part::PartConfig;
use crate::work::{At, Network, Work};

/// A network at a size, and the batches that it is timed with.
pub struct Row {
    pub name: &'static str,
    pub infer: &'static [usize],
    pub train: usize,
    pub work: Box<dyn Work>,
}

/// All rows.
pub fn rows() -> Vec<Row> {
    let mut rows = vec![up_block(), dense_block(), unet_r18()];
    rows.extend(volumes_and_signals());
    rows.extend(unets());
    rows.extend(segmentation());
    rows.extend(classifiers());
    rows.extend(layers());
    rows
}

fn row<N: Network<R> + 'static, const R: usize>(
    name: &'static str,
    network: N,
    map: [usize; R],
    infer: &'static [usize],
    train: usize,
) -> Row {
    let work = At {
        network,
        maps: vec![map],
        input_gradients: false,
    };
    Row {
        name,
        infer,
        train,
        work: Box::new(work),
    }
}

/// A part of a network: its inputs have gradients.
fn part_row<N: Network<4> + 'static>(
    name: &'static str,
    network: N,
    maps: Vec<[usize; 4]>,
    train: usize,
) -> Row {
    let work = At {
        network,
        maps,
        input_gradients: true,
    };
    Row {
        name,
        infer: &[1],
        train,
        work: Box::new(work),
    }
}

fn up_block() -> Row {
    let maps = vec![[1, 64, 64, 64], [1, 32, 128, 128]];
    part_row("up_block", UpsampleConcatConfig::new(64, 32, 32), maps, 4)
}

/// A block of DenseNet-121.
fn dense_block() -> Row {
    let conv = |channels, kernel| {
        let conv = ConvNormActConfig::new(channels, kernel).with_order(LayerOrder::NormActConv);
        PartConfig::Conv(conv.with_bias(false))
    };
    let layer = |index: usize| {
        let block = vec![conv([64 + 32 * index, 128], 1), conv([128, 32], 3)];
        PartConfig::Concat(SkipConcatConfig::new().with_order(Order::SkipFirst), block)
    };
    let layers: Vec<_> = (0..12).map(layer).collect();
    part_row("dense", layers, vec![[1, 64, 64, 64]], 2)
}

/// segmentation_models.pytorch's U-Net on ResNet-18.
fn unet_r18() -> Row {
    let encoder = EncoderConfig::ResNet(ResNetEncoderConfig::resnet18());
    let network = UnetConfig::smp(encoder, 1);
    row("unet_r18", network, [1, 3, 256, 256], &[1], 2)
}

fn volumes_and_signals() -> Vec<Row> {
    let volume = [1, 1, 64, 64, 64];
    let monai = UnetConfig::monai_basic(1, 2, [32, 32, 64, 128, 256, 32]);
    let signal = UnetConfig::new(1, 2, vec![32, 64, 128, 256]);
    let (kernels, strides) = ([3; 4].map(PerAxis::from), [1, 2, 2, 2].map(PerAxis::from));
    let widths = [16, 32, 64, 128];
    let dynunet = SegmentationConfig::monai_dynunet([1, 2], &kernels, &strides, &widths, false);
    let up = UpConfig::linear();
    let segresnet = SegmentationConfig::monai_segresnet([1, 2], 8, &[1, 2, 2, 4], &[1, 1, 1], up);
    vec![
        row("monai_3d", monai, volume, &[1], 1),
        row(
            "unet_3d",
            UnetConfig::new(1, 2, vec![16, 32, 64]),
            volume,
            &[1],
            1,
        ),
        row("dynunet_3d", dynunet, volume, &[1], 1),
        row("segresnet_3d", segresnet, volume, &[1], 1),
        row("unet_1d", signal, [1, 1, 8192], &[4], 8),
    ]
}

fn unets() -> Vec<Row> {
    let unet = || UnetConfig::new(3, 2, vec![32, 64, 128, 256]);
    let monai = UnetConfig::monai_basic(1, 2, [32, 32, 64, 128, 256, 32]);
    let group_norm = ConvStyle::new()
        .with_norm(NormConfig::group(8))
        .with_activation(ActivationConfig::Gelu);
    let map = [1, 3, 256, 256];
    let transposed = unet().with_up(UpConfig::conv_transpose());
    let gated = unet().with_gate(GateConfig::attention(32));
    let small = UnetConfig::new(3, 2, vec![16, 32, 64]);
    let residual = SegmentationConfig::monai_unet([1, 2], &[16, 32, 64, 128, 256], &[2; 4], 2);
    vec![
        row("monai_2d", monai, [1, 1, 256, 256], &[1], 4),
        row("monai_unet_2d", residual, [1, 1, 256, 256], &[1], 4),
        row(
            "unet_group_gelu",
            unet().with_style(group_norm),
            map,
            &[1],
            2,
        ),
        row("unet_transposed", transposed, map, &[1], 2),
        row(
            "unet_bilinear",
            unet().with_up(UpConfig::linear()),
            map,
            &[1],
            2,
        ),
        row("unet_attention", gated, map, &[1], 2),
        row("unet_odd", unet(), [1, 3, 251, 263], &[1], 2),
        row("unet_small", small, [1, 3, 96, 96], &[8], 8),
    ]
}

/// segmentation_models.pytorch's other decoders, without dropout, so that a step of training can be compared.
fn segmentation() -> Vec<Row> {
    let map = [1, 3, 256, 256];
    let resnet18 = || EncoderConfig::ResNet(ResNetEncoderConfig::resnet18());
    let resnet50 = ResNetEncoderConfig::resnet50;
    let dilated = EncoderConfig::ResNet(resnet50().with_output_stride(16));
    let fpn = SegmentationConfig {
        decoder: FpnDecoderConfig::new().with_dropout(0.0).into(),
        ..SegmentationConfig::smp_fpn(EncoderConfig::ResNet(resnet50()), 1)
    };
    let deeplab = SegmentationConfig {
        decoder: DeepLabDecoderConfig::v3_plus().with_dropout(0.0).into(),
        ..SegmentationConfig::smp_deeplab_v3_plus(dilated, 1)
    };
    let shallow = ResNetEncoderConfig::new(ResNetBlock::Basic, vec![2, 2]);
    let psp = SegmentationConfig {
        decoder: PspDecoderConfig::new().with_dropout(0.0).into(),
        ..SegmentationConfig::smp_psp(EncoderConfig::ResNet(shallow), 1)
    };
    let nested = SegmentationConfig::smp_unet_plus_plus(resnet18(), 1);
    let linknet = SegmentationConfig::smp_linknet(resnet18(), 1);
    let dilated = ResNetEncoderConfig::resnet18().with_output_stride(16);
    let pan = SegmentationConfig::smp_pan(EncoderConfig::ResNet(dilated), 1);
    let manet = SegmentationConfig::smp_manet(resnet18(), 1);
    let upernet = SegmentationConfig::smp_upernet(resnet18(), 1);
    let segformer = SegmentationConfig::smp_segformer(resnet18(), 1);
    let mit = EncoderConfig::Mit(MitEncoderConfig::b0());
    let on_mit = SegmentationConfig::smp_segformer(mit, 1);
    vec![
        row("fpn_r50", fpn, map, &[1], 2),
        row("deeplab_v3_plus_r50", deeplab, map, &[1], 2),
        row("psp_r18", psp, map, &[1], 2),
        row("unet_plus_plus_r18", nested, map, &[1], 2),
        row("linknet_r18", linknet, map, &[1], 2),
        row("pan_r18", pan, map, &[1], 2),
        row("manet_r18", manet, map, &[1], 2),
        row("upernet_r18", upernet, map, &[1], 2),
        row("segformer_r18", segformer, map, &[1], 2),
        row("segformer_mit_b0", on_mit, map, &[1], 2),
    ]
}

fn classifiers() -> Vec<Row> {
    const BATCHES: &[usize] = &[1, 8];
    let map = [1, 3, 224, 224];
    let on = |encoder| ClassifierConfig::new(encoder, 1000);
    let resnet18 = on(EncoderConfig::ResNet(ResNetEncoderConfig::resnet18()));
    let resnet50 = on(EncoderConfig::ResNet(ResNetEncoderConfig::resnet50()));
    let densenet = on(EncoderConfig::DenseNet(DenseNetEncoderConfig::densenet121()));
    let convnext = on(EncoderConfig::ConvNext(ConvNextEncoderConfig::tiny()));
    let mobilenet = on(EncoderConfig::MobileNetV2(MobileNetV2EncoderConfig::new()));
    let hidden = HiddenConfig::new(1280, ActivationConfig::HardSwish);
    let mobilenet_v3 = on(EncoderConfig::MobileNetV3(
        MobileNetV3EncoderConfig::large().with_norm(NormConfig::batch()),
    ))
    .with_hidden(hidden);
    let efficientnet = on(EncoderConfig::EfficientNet(EfficientNetEncoderConfig::b0()));
    vec![
        row("resnet18", resnet18, map, BATCHES, 4),
        row("resnet50", resnet50, map, BATCHES, 4),
        row("densenet121", densenet, map, BATCHES, 4),
        row("convnext_tiny", convnext, map, &[1], 2),
        row("mobilenet_v2", mobilenet, map, BATCHES, 4),
        row("mobilenet_v3_large", mobilenet_v3, map, BATCHES, 4),
        row("efficientnet_b0", efficientnet, map, BATCHES, 4),
    ]
}

/// A convolution padded by half of its kernel on both sides, as PyTorch's networks pad.
fn conv(channels: [usize; 2], kernel: usize, stride: usize) -> ConvNormActConfig {
    ConvNormActConfig::new(channels, kernel)
        .with_stride(stride)
        .with_padding(Padding::explicit(kernel / 2))
}

/// Single convolutions with batch norm and ReLU.
fn layers() -> Vec<Row> {
    let layer = |name, config: ConvNormActConfig, side| {
        let map = [1, config.channels[0], side, side];
        part_row(name, vec![PartConfig::Conv(config)], vec![map], 4)
    };
    let depthwise = |kernel, stride| conv([96, 96], kernel, stride).with_groups(96);
    let dilated = |channels, dilation| {
        let conv = ConvNormActConfig::new(channels, 3).with_dilation(dilation);
        conv.with_padding(Padding::explicit(dilation))
    };
    vec![
        layer("1x1, 64 to 256", conv([64, 256], 1, 1), 56),
        layer("1x1, 256 to 64", conv([256, 64], 1, 1), 56),
        layer("1x1, 1024 to 256", conv([1024, 256], 1, 1), 14),
        layer("1x1, 512 to 2048", conv([512, 2048], 1, 1), 7),
        layer("1x1, stride 2, 256 to 512", conv([256, 512], 1, 2), 56),
        layer("3x3, stride 2, 128", conv([128, 128], 3, 2), 56),
        layer("5x5, 64", conv([64, 64], 5, 1), 56),
        layer("7x7, stride 2, 3 to 64", conv([3, 64], 7, 2), 224),
        layer("dilation 2, 128", dilated([128, 128], 2), 64),
        layer("dilation 6, 512 to 256", dilated([512, 256], 6), 32),
        layer("32 groups, 128", conv([128, 128], 3, 1).with_groups(32), 56),
        layer("depthwise 3x3, 96", depthwise(3, 1), 112),
        layer("depthwise 5x5, stride 2, 96", depthwise(5, 2), 56),
        layer("depthwise 7x7, 96", depthwise(7, 1), 56),
    ]
}
