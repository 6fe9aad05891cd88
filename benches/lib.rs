//! The workloads: three networks, each in inference and as a training step.

use burn::tensor::{Device, Distribution, Tensor};
use burn_skip::block::{ConvNormAct, ConvNormActConfig, LayerOrder};
use burn_skip::merge::Order;
use burn_skip::net::{EncoderConfig, ResNetEncoderConfig, Unet, UnetConfig};
use burn_skip::{Layer, SkipConcat, SkipConcatConfig, UpsampleConcat, UpsampleConcatConfig};

/// The names of the workloads.
pub const NAMES: [&str; 6] = [
    "up_block/infer",
    "up_block/train",
    "dense/infer",
    "dense/train",
    "unet_r18/infer",
    "unet_r18/train",
];

/// The CPU backends; ndarray is deprecated upstream, and measured for those who run it.
#[allow(deprecated)]
pub fn devices() -> [(&'static str, Device); 2] {
    [("flex", Device::flex()), ("ndarray", Device::ndarray())]
}

/// One run of a workload, to be repeated.
pub fn workload(name: &str, device: &Device) -> Box<dyn FnMut()> {
    match name {
        "up_block/infer" => infer(UpBlock::new(device), UpBlock::inputs(1, device)),
        "up_block/train" => {
            let device = device.clone().autodiff();
            train(UpBlock::new(&device), UpBlock::inputs(4, &device))
        }
        "dense/infer" => infer(
            dense_block(12, device),
            vec![random([1, 64, 64, 64], device)],
        ),
        "dense/train" => {
            let device = device.clone().autodiff();
            train(
                dense_block(12, &device),
                vec![random([2, 64, 64, 64], &device)],
            )
        }
        "unet_r18/infer" => infer(unet(device), vec![random([1, 3, 256, 256], device)]),
        "unet_r18/train" => {
            let device = device.clone().autodiff();
            let net = unet(&device);
            let x = random([2, 3, 256, 256], &device);
            Box::new(move || {
                let gradients = Layer::forward(&net, x.clone()).mean().backward();
                std::hint::black_box(net.head.weight.grad(&gradients));
            })
        }
        _ => panic!("{name} is none of {NAMES:?}"),
    }
}

fn random(shape: [usize; 4], device: &Device) -> Tensor<4> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)
}

/// A network of one or two maps.
trait Network: 'static {
    fn forward(&self, maps: Vec<Tensor<4>>) -> Tensor<4>;
}

fn infer(net: impl Network, maps: Vec<Tensor<4>>) -> Box<dyn FnMut()> {
    Box::new(move || {
        std::hint::black_box(net.forward(maps.clone()).into_data());
    })
}

/// Forward and backward of the mean, with the gradients of the inputs.
fn train(net: impl Network, maps: Vec<Tensor<4>>) -> Box<dyn FnMut()> {
    let maps: Vec<_> = maps.into_iter().map(Tensor::require_grad).collect();
    Box::new(move || {
        let gradients = net.forward(maps.clone()).mean().backward();
        for map in &maps {
            std::hint::black_box(map.grad(&gradients));
        }
    })
}

/// 64 channels at 64x64 up to 32 at 128x128, and two 3x3 convolutions to 32.
struct UpBlock(UpsampleConcat);

impl UpBlock {
    fn new(device: &Device) -> Self {
        Self(UpsampleConcatConfig::new(64, 32, 32).init(device))
    }

    fn inputs(batch: usize, device: &Device) -> Vec<Tensor<4>> {
        vec![
            random([batch, 64, 64, 64], device),
            random([batch, 32, 128, 128], device),
        ]
    }
}

impl Network for UpBlock {
    fn forward(&self, mut maps: Vec<Tensor<4>>) -> Tensor<4> {
        let skip = maps.remove(1);
        self.0.forward(maps.remove(0), skip)
    }
}

/// What DenseNet repeats.
pub type DenseLayer = SkipConcat<(ConvNormAct, ConvNormAct)>;

/// A block of DenseNet-121: 64 channels, and layers that add 32 each.
pub fn dense_block(depth: usize, device: &Device) -> Vec<DenseLayer> {
    let conv = |channels, kernel| {
        ConvNormActConfig::new(channels, kernel)
            .with_order(LayerOrder::NormActConv)
            .with_bias(false)
            .init(device)
    };
    let layer = |index: usize| {
        let first = conv([64 + 32 * index, 128], 1);
        let connection = SkipConcatConfig::new().with_order(Order::SkipFirst);
        connection.init((first, conv([128, 32], 3)))
    };
    (0..depth).map(layer).collect()
}

impl Network for Vec<DenseLayer> {
    fn forward(&self, mut maps: Vec<Tensor<4>>) -> Tensor<4> {
        Layer::forward(self, maps.remove(0))
    }
}

/// segmentation_models.pytorch's U-Net on ResNet-18.
fn unet(device: &Device) -> Unet {
    let encoder = EncoderConfig::ResNet(ResNetEncoderConfig::resnet18());
    UnetConfig::smp(encoder, 1).init(device)
}

impl Network for Unet {
    fn forward(&self, mut maps: Vec<Tensor<4>>) -> Tensor<4> {
        Layer::forward(self, maps.remove(0))
    }
}
