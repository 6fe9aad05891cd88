//! The memory of a plan, against what the allocator is asked for on flex.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, PaddingConfig2d, Relu};
use burn::tensor::{Device, Tensor};
use burn_skip::activation::ActivationConfig;
use burn_skip::attention::SelfAttentionConfig;
use burn_skip::block::{ConvNormAct, ConvNormActConfig, ConvStyle, LayerOrder};
use burn_skip::conv::ConvConfig;
use burn_skip::gate::GateConfig;
use burn_skip::net::{
    ClassifierConfig, ConvNextEncoderConfig, DecoderConfig, DeepLabDecoderConfig,
    DenseNetEncoderConfig, EfficientNetEncoderConfig, EncoderConfig, FpnDecoderConfig,
    InvertedStage, LinknetDecoderConfig, MobileNetV2EncoderConfig, PlainEncoderConfig,
    PspDecoderConfig, ResNetBlock, ResNetEncoderConfig, SegmentationConfig, TraceSupervised,
    UnetConfig, UnetDecoderConfig, UnetPlusPlusDecoderConfig, VggEncoderConfig,
};
use burn_skip::norm::NormConfig;
use burn_skip::plan::{Map, Plan, Planner};
use burn_skip::shape::ShapeError;
use burn_skip::up::UpConfig;
use burn_skip::{Layer, Padding, SkipAddConfig, SkipConcat, Trace};

#[path = "support/every_pair.rs"]
mod every_pair;

/// The system's allocator, which counts the bytes in use.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn grow(bytes: usize) {
    let now = NOW.fetch_add(bytes, Relaxed) + bytes;
    PEAK.fetch_max(now, Relaxed);
}

// SAFETY: every call is handed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most bytes that are in use while `step` runs, beyond those in use before `build`. (It runs once before: the
/// weights are made then, and what is prepared of them.)
fn peak_of(build: impl FnOnce() -> Box<dyn Fn()>) -> u64 {
    let before = NOW.load(Relaxed);
    let step = build();
    step();
    PEAK.store(NOW.load(Relaxed), Relaxed);
    step();
    (PEAK.load(Relaxed) - before) as u64
}

/// Runs a network on an input that it holds.
type Forward = Box<dyn Fn() -> Tensor<1>>;

/// A network with its plan.
struct Case {
    name: String,
    plan: Plan,
    build: Box<dyn Fn(&Device) -> Forward>,
    /// By how much the plan may be off.
    tolerance: f64,
}

impl Case {
    fn new<const R: usize, L: Layer<R> + 'static>(
        name: &str,
        input: [usize; R],
        init: impl Fn(&Device) -> L + 'static,
    ) -> Self {
        Self {
            name: format!("{name} {input:?}"),
            plan: Trace::plan(&init(&Device::flex()), input),
            build: Box::new(move |device| {
                let (net, x) = (init(device), Tensor::<R>::zeros(input, device));
                Box::new(move || net.forward(x.clone()).mean())
            }),
            tolerance: 0.1,
        }
    }

    fn classifier(name: &str, input: [usize; 4], encoder: EncoderConfig) -> Self {
        let config = ClassifierConfig::new(encoder, 1000);
        Self {
            name: format!("{name} {input:?}"),
            plan: config.plan(input),
            build: Box::new(move |device| {
                let (net, x) = (config.init::<4>(device), Tensor::<4>::zeros(input, device));
                Box::new(move || net.forward(x.clone()).mean())
            }),
            tolerance: 0.1,
        }
    }

    /// An encoder with a decoder.
    fn pair<const R: usize>(name: &str, input: [usize; R], config: SegmentationConfig) -> Self
    where
        burn_skip::net::AnySegmentationModel<R>: Layer<R>,
    {
        Self::new(&format!("pair: {name}"), input, move |device| {
            config.init::<R>(device)
        })
    }

    /// The same with 4 to 12 channels: the records of the operations weigh more.
    fn small_pair<const R: usize>(name: &str, input: [usize; R], config: SegmentationConfig) -> Self
    where
        burn_skip::net::AnySegmentationModel<R>: Layer<R>,
    {
        Self {
            tolerance: 0.2,
            ..Self::pair(name, input, config)
        }
    }

    /// A model with extra heads. The loss is the sum of those of all outputs.
    fn supervised(name: &str, input: [usize; 4], config: SegmentationConfig) -> Self {
        Self {
            name: format!("{name} {input:?}"),
            plan: config.plan_supervised(input),
            build: Box::new(move |device| {
                let (net, x) = (config.init::<4>(device), Tensor::<4>::zeros(input, device));
                Box::new(move || {
                    let logits = net.forward_supervised(x.clone()).logits;
                    let losses = logits.into_iter().map(Tensor::mean);
                    losses.reduce(|sum, loss| sum + loss).expect("an output")
                })
            }),
            tolerance: 0.1,
        }
    }

    fn unet<const R: usize>(name: &str, input: [usize; R], config: UnetConfig) -> Self
    where
        burn_skip::net::Unet<R>: Layer<R>,
    {
        Self::new(name, input, move |device| config.init::<R>(device))
    }

    fn warm_up(&self) {
        let forward = (self.build)(&Device::flex().autodiff());
        drop(forward().backward());
    }

    fn inference(&self) -> u64 {
        peak_of(|| {
            let forward = (self.build)(&Device::flex());
            Box::new(move || drop(forward()))
        })
    }

    fn training(&self) -> u64 {
        peak_of(|| {
            let forward = (self.build)(&Device::flex().autodiff());
            Box::new(move || drop(forward().backward()))
        })
    }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Cases whose names contain the argument, if there is one.
fn main() {
    // What is kept for the next step is no memory of this one.
    burn_skip::fused::keep_at_most(0);
    let wanted = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    let is_wanted = |case: &Case| wanted.as_ref().is_none_or(|word| case.name.contains(word));
    let mut failed = 0;
    let mut passed = 0;
    for case in cases().into_iter().filter(is_wanted) {
        assert!(case.plan.error().is_none(), "{:?}", case.plan.error());
        // The threads take their own memory now.
        case.warm_up();
        let memory = case.plan.memory;
        for (what, planned, measured) in [
            ("inference", memory.inference, case.inference()),
            ("training", memory.training, case.training()),
        ] {
            let off = planned as f64 / measured as f64 - 1.0;
            println!(
                "{:44} {what:10} planned {:7.2} MiB, measured {:7.2} MiB: {:+.1} % (weights {:.2}, saved {:.2})",
                case.name,
                mib(planned),
                mib(measured),
                100.0 * off,
                mib(memory.weights),
                mib(memory.saved_for_backward)
            );
            // (Less than a megabyte is of the size of the threads' own memory, which is not planned.)
            match off.abs() > case.tolerance && planned.abs_diff(measured) > 1 << 20 {
                true => failed += 1,
                false => passed += 1,
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    assert!(failed == 0, "a plan is off by more than it may be");
}

fn cases() -> Vec<Case> {
    let mut cases = networks(1, 256);
    cases.extend(networks(2, 128));
    cases.extend(pairs([2, 3, 128, 96]));
    every_pair::every_pair(|name, config| {
        // (Large enough for maps of more than the threads' own memory.)
        cases.push(Case::small_pair(name, [2, 3, 16_400], config.clone()));
        cases.push(Case::small_pair(name, [2, 3, 232, 200], config.clone()));
        cases.push(Case::small_pair(name, [1, 3, 48, 44, 37], config));
    });
    for batch in [1, 2] {
        cases.extend(blocks(batch));
        cases.extend(styles(batch));
        cases.extend(layers_of_burn(batch));
    }
    cases
}

/// Whole networks, for images of so many rows and columns.
fn networks(batch: usize, size: usize) -> Vec<Case> {
    let resnet18 = EncoderConfig::ResNet(ResNetEncoderConfig::resnet18());
    let resnet50 = EncoderConfig::ResNet(ResNetEncoderConfig::resnet50());
    let densenet = EncoderConfig::DenseNet(DenseNetEncoderConfig::densenet121());
    let linear = UnetConfig::new(1, 1, vec![16, 32, 64]).with_up(UpConfig::linear());
    let smp = UnetConfig::smp(resnet18.clone(), 1);
    let image = [2 * batch, 3, size - size / 8, size - size / 8];
    let square = [batch, 3, size, size];
    let plain = UnetConfig::new(3, 2, vec![32, 64, 128, 256]);
    vec![
        Case::unet("U-Net", square, plain),
        Case::unet(
            "U-Net, bilinear",
            [4 * batch, 1, size - 64, size - 96],
            linear,
        ),
        Case::unet("U-Net on ResNet-18", square, smp),
        Case::classifier("ResNet-18", image, resnet18),
        Case::classifier("ResNet-50", image, resnet50),
        Case::classifier("DenseNet-121", image, densenet),
    ]
}

/// Encoders with decoders, with few channels.
fn pairs(input: [usize; 4]) -> Vec<Case> {
    let resnet = |block| ResNetEncoderConfig::new(block, vec![1; 3]).with_width(24);
    let basic = EncoderConfig::ResNet(resnet(ResNetBlock::Basic));
    let dilated = resnet(ResNetBlock::Bottleneck).with_output_stride(8);
    let dilated = EncoderConfig::ResNet(dilated);
    let res2net = ResNetEncoderConfig::new(ResNetBlock::Res2 { scale: 4 }, vec![2; 3]);
    let res2net = EncoderConfig::ResNet(res2net.with_width(24).with_group_width(32));
    let vgg = VggEncoderConfig::new(vec![16, 32, 48, 64], vec![2; 4]);
    let vgg = EncoderConfig::Vgg(vgg.with_norm(NormConfig::batch()));
    let efficientnet = EfficientNetEncoderConfig::new(1.0, 1.0).with_stages(stages());
    let efficientnet = EncoderConfig::EfficientNet(efficientnet.with_last_channels(None));
    let convnext = ConvNextEncoderConfig::new(vec![24, 32, 48, 64], vec![1; 4]);
    let convnext = EncoderConfig::ConvNext(convnext);
    let plain = EncoderConfig::Plain(PlainEncoderConfig::new(3, vec![16, 32, 64]));
    let mobilenet = MobileNetV2EncoderConfig::new().with_stages(stages());
    let mobilenet = EncoderConfig::MobileNetV2(mobilenet.with_last_channels(None));
    let densenet = EncoderConfig::DenseNet(DenseNetEncoderConfig::new(vec![4; 3]));

    let linknet = DecoderConfig::from(LinknetDecoderConfig::new());
    let mut fpn = FpnDecoderConfig::new().with_levels(3).with_width(64);
    fpn.pyramid.channels = 64;
    let psp = PspDecoderConfig::new().with_width(64).into();
    let v3 = DeepLabDecoderConfig::v3().with_channels(32).into();
    let v3_plus = DeepLabDecoderConfig::v3_plus().with_channels(32).into();
    // (With a step to the size of the image, which has no skip.)
    let unet = UnetDecoderConfig::new(vec![16, 24, 32, 64]);
    let supervised = SegmentationConfig::new(basic.clone(), unet.clone(), 2);
    let supervised = supervised.with_supervised_steps(2);
    let nested = UnetPlusPlusDecoderConfig::new(vec![16, 32, 64]);

    let pair = |name: &str, encoder: EncoderConfig, decoder: DecoderConfig| {
        Case::pair(name, input, SegmentationConfig::new(encoder, decoder, 2))
    };
    vec![
        pair("LinkNet on ResNet", basic, linknet.clone()),
        pair("LinkNet on Res2Net", res2net, linknet),
        pair("DeepLabV3+ on dilated ResNet", dilated, v3_plus),
        pair("DeepLabV3 on VGG", vgg, v3),
        pair("PSP on EfficientNet", efficientnet, psp),
        pair("FPN on ConvNeXt", convnext, fpn.clone().into()),
        pair("FPN on DenseNet", densenet, fpn.into()),
        pair("U-Net on MobileNetV2", mobilenet, unet.into()),
        pair("U-Net++ on plain blocks", plain, nested.into()),
        Case::supervised("pair: U-Net with extra heads", input, supervised),
    ]
}

/// Few inverted bottlenecks, down to 1/16.
fn stages() -> Vec<InvertedStage> {
    vec![
        InvertedStage::new(1, 16, 1, 1),
        InvertedStage::new(4, 24, 1, 2),
        InvertedStage::new(4, 32, 2, 2),
        InvertedStage::new(4, 48, 1, 2),
    ]
}

/// A convolution, batch norm and ReLU of 3x3.
fn conv(channels: [usize; 2]) -> ConvNormActConfig {
    ConvNormActConfig::new(channels, 3)
}

fn blocks(batch: usize) -> Vec<Case> {
    vec![
        Case::new("residual, projected", [batch, 32, 64, 64], |device| {
            let block = (
                conv([32, 64]).with_stride(2).init::<4>(device),
                conv([64, 64]).with_activation(None).init::<4>(device),
            );
            SkipAddConfig::new([32, 64])
                .with_stride(2)
                .init(block, device)
        }),
        Case::new("residuals after a block", [batch, 3, 64, 64], |device| {
            let residual = |channels: [usize; 2]| {
                let block = (
                    conv(channels).init::<4>(device),
                    conv([channels[1]; 2])
                        .with_activation(None)
                        .init::<4>(device),
                );
                SkipAddConfig::new(channels).init(block, device)
            };
            (
                conv([3, 32]).init::<4>(device),
                residual([32, 48]),
                residual([48, 48]),
            )
        }),
        Case::new("dense chain", [batch, 16, 64, 64], |device| {
            let grow = |channels| SkipConcat::new(conv([channels, 16]).init::<4>(device));
            let chain = (grow(16), grow(32), grow(48));
            (chain, conv([64, 16]).init::<4>(device))
        }),
        Case::new("dilated", [batch, 32, 64, 64], |device| {
            let dilated = |channels| conv(channels).with_dilation(2).init::<4>(device);
            (dilated([32, 64]), dilated([64, 64]), dilated([64, 32]))
        }),
        Case::new("attention", [batch, 32, 32, 32], |device| {
            let attention = |reduction| {
                let config = SelfAttentionConfig::new(32, 2).with_reduction(reduction);
                config.init::<4>(device)
            };
            (attention(1), attention(2))
        }),
        Case::new("9x1 and unpadded", [batch, 32, 64, 64], |device| {
            let long = ConvNormActConfig::new([32, 64], [9, 1]).init::<4>(device);
            let valid = conv([64, 64])
                .with_padding(Padding::Valid)
                .init::<4>(device);
            (long, valid, conv([64, 32]).init::<4>(device))
        }),
        Case::new("grouped", [batch, 32, 64, 64], |device| {
            let grouped = |groups| conv([32, 32]).with_groups(groups).init::<4>(device);
            (grouped(4), grouped(32), grouped(1))
        }),
        Case::new("SiLU and Mish", [batch, 16, 64, 64], |device| {
            let with = |activation| {
                let conv = conv([16, 16]).with_activation(activation);
                conv.init::<4>(device)
            };
            (with(ActivationConfig::Silu), with(ActivationConfig::Mish))
        }),
        Case::new("leaky ReLU and ReLU6", [batch, 16, 64, 64], |device| {
            let with = |activation| {
                let conv = conv([16, 16]).with_activation(activation);
                conv.init::<4>(device)
            };
            let leaky = ActivationConfig::LeakyRelu {
                negative_slope: 0.1,
            };
            (with(leaky), with(ActivationConfig::Relu6), with(leaky))
        }),
        Case::new("activations without norms", [batch, 16, 64, 64], |device| {
            let with = |activation| {
                let conv = conv([16, 16]).with_norm(None).with_activation(activation);
                conv.init::<4>(device)
            };
            let (gelu, relu) = (ActivationConfig::Gelu, ActivationConfig::Relu);
            (with(gelu), with(relu), gelu.init(device), with(relu))
        }),
        Case::new("activations before", [batch, 16, 64, 64], |device| {
            let with = |order, activation| {
                let conv = conv([16, 16]).with_order(order).with_activation(activation);
                conv.init::<4>(device)
            };
            (
                with(LayerOrder::NormActConv, ActivationConfig::Silu),
                with(LayerOrder::ConvActNorm, ActivationConfig::Relu),
                with(LayerOrder::NormActConv, ActivationConfig::Relu6),
            )
        }),
        Case::new("activations across blocks", [batch, 16, 64, 64], |device| {
            let before = |norm: Option<NormConfig>, activation| {
                let conv = conv([64, 16]).with_order(LayerOrder::NormActConv);
                let conv = conv.with_norm(norm).with_activation(activation);
                conv.init::<4>(device)
            };
            let grouped = conv([16, 64]).with_norm(NormConfig::group(4));
            (
                ConvConfig::new([16, 64], 3).init::<4>(device),
                before(Some(NormConfig::batch()), ActivationConfig::Silu),
                grouped.with_activation(None).init::<4>(device),
                before(None, ActivationConfig::Relu),
            )
        }),
        Case::new("an activation over parts", [batch, 16, 64, 64], |device| {
            let silu = conv([32, 16]).with_order(LayerOrder::NormActConv);
            let silu = silu.with_activation(ActivationConfig::Silu);
            let parts = SkipConcat::new(conv([16, 16]).init::<4>(device));
            (parts, silu.init::<4>(device))
        }),
        Case::new("residuals with GELU", [batch, 16, 64, 64], |device| {
            let residual = |norm: Option<NormConfig>| {
                let block = conv([16, 16]).with_norm(norm).with_activation(None);
                let residual = SkipAddConfig::new([16, 16]);
                let residual = residual.with_activation(ActivationConfig::Gelu);
                residual.init(block.init::<4>(device), device)
            };
            (
                residual(Some(NormConfig::batch())),
                residual(None),
                residual(Some(NormConfig::group(4))),
            )
        }),
    ]
}

fn styles(batch: usize) -> Vec<Case> {
    let unet = || UnetConfig::new(1, 2, vec![16, 32, 64]);
    let image = [batch, 1, 96, 96];
    let styled = |norm, activation| {
        let style = ConvStyle::new().with_norm(norm).with_activation(activation);
        unet().with_style(style)
    };
    let leaky = ActivationConfig::LeakyRelu {
        negative_slope: 0.1,
    };
    let attention = GateConfig::attention(8);
    vec![
        Case::unet("attention gates", image, unet().with_gate(attention)),
        Case::unet("SE", image, unet().with_gate(GateConfig::se(4))),
        Case::unet("scSE", image, unet().with_gate(GateConfig::scse(4))),
        Case::unet(
            "group norm, GELU",
            image,
            styled(NormConfig::group(4), ActivationConfig::Gelu),
        ),
        Case::unet(
            "instance norm, leaky ReLU",
            image,
            styled(NormConfig::instance(), leaky),
        ),
        Case::unet(
            "MONAI's BasicUNet",
            image,
            UnetConfig::monai_basic(1, 2, [16, 16, 32, 64, 128, 16]),
        ),
        Case::unet(
            "transposed",
            image,
            unet().with_up(UpConfig::conv_transpose()),
        ),
        Case::unet(
            "pixel shuffle",
            image,
            unet().with_up(UpConfig::pixel_shuffle()),
        ),
        Case::unet(
            "unpadded",
            [batch, 1, 108, 108],
            UnetConfig::unpadded(1, 2, vec![16, 32, 64]),
        ),
        Case::unet("one axis", [batch, 1, 8192], unet()),
        Case::unet("three axes", [batch, 1, 16, 32, 32], unet()),
    ]
}

/// A convolution of another crate, which happens to be called as this crate's.
#[derive(Module, Debug)]
struct Conv {
    layer: Conv2d,
}

impl Conv {
    fn new(channels: [usize; 2], device: &Device) -> Self {
        let config = Conv2dConfig::new(channels, [3, 3]).with_padding(PaddingConfig2d::Same);
        Self {
            layer: config.init(device),
        }
    }
}

impl Trace<4> for Conv {
    fn trace(&self, planner: &mut Planner, x: &Map<4>) -> Result<Map<4>, ShapeError> {
        let [batch, _, height, width] = x.shape;
        let output = [batch, self.layer.weight.shape()[0], height, width];
        planner.opaque("Conv", x, self.num_params(), Ok(output))
    }
}

impl Layer<4> for Conv {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.layer.forward(x)
    }
}

/// Burn's own layers, as a user lists them.
type BurnBlock = (Conv2d, BatchNorm, Relu);

fn burn_block(channels: [usize; 2], device: &Device) -> BurnBlock {
    let conv = Conv2dConfig::new(channels, [3, 3]).with_padding(PaddingConfig2d::Same);
    let norm = BatchNormConfig::new(channels[1]);
    (conv.init(device), norm.init(device), Relu::new())
}

/// (Large maps of few channels: Burn's convolutions hold more for each thread that takes a part at the same time.)
fn layers_of_burn(batch: usize) -> Vec<Case> {
    vec![
        Case::new("Burn's own layers", [batch, 3, 128, 128], |device| {
            let pool: MaxPool2d = MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init();
            (
                burn_block([3, 12], device),
                pool,
                burn_block([12, 24], device),
            )
        }),
        Case::new("a user's Conv", [batch, 8, 128, 128], |device| {
            let first: ConvNormAct = conv([8, 16]).init(device);
            let own = (Conv::new([16, 16], device), Conv::new([16, 16], device));
            (first, own, conv([16, 16]).init::<4>(device))
        }),
        Case::new(
            "a user's Conv, Burn's norm",
            [batch, 16, 128, 128],
            |device| {
                let own = |channels: [usize; 2]| {
                    let norm = BatchNormConfig::new(channels[1]).init(device);
                    (Conv::new(channels, device), norm, Relu::new())
                };
                (own([16, 16]), own([16, 8]))
            },
        ),
    ]
}
