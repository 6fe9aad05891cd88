//! Every operation, on maps of one to three axes.

use burn::tensor::Device;
use burn_skip::activation::ActivationConfig;
use burn_skip::attention::SelfAttentionConfig;
use burn_skip::block::{ConvNormAct, ConvNormActConfig};
use burn_skip::conv::{Conv, ConvConfig, ConvTransposeConfig, TransposedPadding};
use burn_skip::down::DownConfig;
use burn_skip::fit::{Anchor, Fit, PadMode, Target};
use burn_skip::fuse::{PabConfig, Res2ConvConfig, Res2Links};
use burn_skip::gate::GateConfig;
use burn_skip::norm::{LayerNormConfig, NormConfig};
use burn_skip::pool::{AdaptiveKind, PoolConfig, PoolKind};
use burn_skip::resize::{ResizeMode, Sampling};
use burn_skip::up::UpConfig;
use burn_skip::{
    BlockOrder, Layer, Padding, SkipConcatConfig, Trace, UpsampleConcat, UpsampleConcatConfig,
};

use super::{check, check_layer};

#[test]
fn signals() {
    layers_of("1d", [[1, 4, 24], [2, 4, 33]]);
}

#[test]
fn images() {
    layers_of("2d", [[1, 4, 24, 20], [2, 4, 33, 27]]);
}

#[test]
fn volumes() {
    layers_of("3d", [[1, 4, 12, 10, 16], [2, 4, 15, 9, 17]]);
}

fn layers_of<const R: usize>(axes: &str, shapes: [[usize; R]; 2]) {
    let device = Device::flex();
    let name = |what: &str, option: &dyn std::fmt::Debug| {
        let option: String = format!("{option:?}");
        let kept = option
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || *c == '.');
        format!("layer {axes} {what} {}", kept.collect::<String>())
    };
    for activation in activations() {
        check_layer::<R>(
            &name("activation", &activation),
            activation.init(&device),
            &shapes,
        );
    }
    let convs = [
        ConvConfig::new([4, 6], 3),
        ConvConfig::new([4, 6], 3).with_stride(2),
        ConvConfig::new([4, 6], 4).with_stride(3),
        ConvConfig::new([4, 6], 3).with_groups(2).with_dilation(2),
        ConvConfig::new([4, 4], 3)
            .with_groups(4)
            .with_stride(2)
            .with_dilation(2),
        ConvConfig::new([4, 6], 3)
            .with_padding(Padding::Valid)
            .with_bias(false),
        ConvConfig::new([4, 6], 3)
            .with_stride(2)
            .with_padding(Padding::Explicit {
                start: 0.into(),
                end: 1.into(),
            }),
    ];
    for (n, config) in convs.into_iter().enumerate() {
        check_layer::<R>(&name("conv", &n), config.init(&device), &shapes);
    }
    let paddings = [
        TransposedPadding::Solved,
        TransposedPadding::Same,
        TransposedPadding::Valid,
    ];
    for padding in paddings {
        for (kernel, stride) in [(2, 2), (3, 2), (4, 2), (5, 3), (2, 3), (4, 1)] {
            let config = ConvTransposeConfig::new([4, 3], kernel, stride).with_padding(padding);
            let name = name("transposed", &(padding, kernel, stride));
            check_layer::<R>(&name, config.init(&device), &shapes);
        }
    }
    let norms = [
        NormConfig::batch(),
        NormConfig::group(2),
        NormConfig::instance(),
        NormConfig::Instance {
            epsilon: 1e-3,
            affine: true,
        },
    ];
    for norm in norms {
        check_layer::<R>(&name("norm", &norm), norm.init(4, &device), &shapes);
        let block: ConvNormAct<R> = ConvNormActConfig::new([4, 6], 3)
            .with_norm(norm.clone())
            .init(&device);
        check_layer(&name("block", &norm), block, &shapes);
    }
    check_layer::<R>(
        &name("norm", &"Layer"),
        LayerNormConfig::new(4).init(&device),
        &shapes,
    );
    for kind in [PoolKind::Max, PoolKind::Avg, PoolKind::AvgWithPadding] {
        let pools = [
            PoolConfig::new(kind, 2),
            PoolConfig::new(kind, 2).with_ceil_mode(true),
            PoolConfig::new(kind, 3)
                .with_stride(2)
                .with_padding(Padding::explicit(1)),
            PoolConfig::new(kind, 3)
                .with_stride(2)
                .with_padding(Padding::explicit(1))
                .with_ceil_mode(true),
            PoolConfig::new(kind, 3)
                .with_stride(2)
                .with_padding(Padding::Same),
            PoolConfig::new(kind, 1).with_stride(3).with_ceil_mode(true),
        ];
        for (n, config) in pools.into_iter().enumerate() {
            check_layer::<R>(&name("pool", &(kind, n)), config.init(), &shapes);
        }
    }
    let blur = |taps, stride: usize| DownConfig::Blur {
        taps,
        stride: stride.into(),
    };
    for config in [DownConfig::conv(), blur(3, 2), blur(4, 2), blur(2, 3)] {
        check_layer::<R>(&name("down", &config), config.init(4, &device), &shapes);
    }
    for order in [BlockOrder::ChannelMajor, BlockOrder::BlockMajor] {
        let config = DownConfig::PixelUnshuffle {
            scale: 2.into(),
            order,
        };
        let even = shapes.map(|shape| {
            let mut even = shape;
            even[2..].iter_mut().for_each(|size| *size += *size % 2);
            even
        });
        check_layer::<R>(&name("down", &config), config.init(4, &device), &even);
        for blur in [false, true] {
            let config = UpConfig::PixelShuffle {
                scale: 2.into(),
                blur,
                order,
            };
            check_layer::<R>(&name("up", &config), config.init([4, 3], &device), &shapes);
        }
    }
    for mode in modes() {
        let config = UpConfig::Resize {
            mode,
            scale: 2.into(),
            project: true,
        };
        check_layer::<R>(&name("up", &config), config.init([4, 3], &device), &shapes);
    }
    let carafe = UpConfig::Carafe {
        scale: 2.into(),
        kernel_size: 3.into(),
        encoder_kernel_size: 3.into(),
        compressed_channels: 5,
    };
    check_layer::<R>(
        &name("up", &"carafe"),
        carafe.init([4, 4], &device),
        &shapes,
    );
    check_layer::<R>(
        &name("attention", &1),
        SelfAttentionConfig::new(4, 2).init(&device),
        &shapes,
    );
    let reduced = SelfAttentionConfig::new(4, 1).with_reduction(2);
    check_layer::<R>(&name("attention", &2), reduced.init(&device), &shapes);
    check_layer::<R>(
        &name("pab", &1),
        PabConfig::new(4).with_attention_channels(3).init(&device),
        &shapes,
    );
    for links in [Res2Links::Chain, Res2Links::Pooled { stride: 2.into() }] {
        let config = Res2ConvConfig::new(4).with_links(links.clone());
        check_layer::<R>(&name("res2", &links), config.init(&device), &shapes);
    }
    for (fit, target) in fits() {
        // Half the size, rounded up, beside the map itself.
        let half: Conv<R> = ConvConfig::new([4, 3], 3).with_stride(2).init(&device);
        let config = SkipConcatConfig::new()
            .with_fit(fit.clone())
            .with_target(target.clone());
        check_layer(&name("fit", &(fit, target)), config.init(half), &shapes);
    }
    let ups = [
        UpConfig::conv_transpose(),
        UpConfig::nearest(),
        UpConfig::linear(),
        UpConfig::pixel_shuffle(),
        UpConfig::carafe(),
        UpConfig::ConvTranspose {
            kernel_size: 4.into(),
            stride: 2.into(),
            padding: TransposedPadding::Solved,
            bias: true,
        },
        UpConfig::ConvTranspose {
            kernel_size: 3.into(),
            stride: 2.into(),
            padding: TransposedPadding::Same,
            bias: false,
        },
    ];
    for (n, up) in ups.into_iter().enumerate() {
        let gates = [
            GateConfig::attention(2),
            GateConfig::scse(2),
            GateConfig::se(2),
            GateConfig::cbam(2),
            GateConfig::eca(),
        ];
        let config = UpsampleConcatConfig::new(5, 4, 3)
            .with_up(up)
            .with_fit(Fit::pad_or_crop())
            .with_gate(gates[n % gates.len()].clone());
        let half: Conv<R> = ConvConfig::new([4, 5], 3).with_stride(2).init(&device);
        let step: UpsampleConcat<R> = config.init(&device);
        check(
            &name("step", &n),
            (half, step),
            &shapes,
            |(half, step), planner, x| {
                let deep = half.trace(planner.at(0), x)?;
                Ok(vec![step.trace(planner.at(1), &deep, x)?])
            },
            |(half, step), x| vec![step.forward(half.forward(x.clone()), x)],
        );
    }
}

fn activations() -> Vec<ActivationConfig> {
    vec![
        ActivationConfig::Identity,
        ActivationConfig::Relu,
        ActivationConfig::Relu6,
        ActivationConfig::LeakyRelu {
            negative_slope: 0.1,
        },
        ActivationConfig::PRelu {
            num_parameters: 1,
            alpha: 0.25,
        },
        ActivationConfig::PRelu {
            num_parameters: 4,
            alpha: 0.25,
        },
        ActivationConfig::Gelu,
        ActivationConfig::GeluApproximate,
        ActivationConfig::Silu,
        ActivationConfig::Mish,
        ActivationConfig::HardSwish,
        ActivationConfig::HardSigmoid {
            alpha: 0.2,
            beta: 0.4,
        },
        ActivationConfig::Sigmoid,
        ActivationConfig::LogSigmoid,
        ActivationConfig::Tanh,
        ActivationConfig::Elu { alpha: 0.7 },
        ActivationConfig::Celu { alpha: 0.7 },
        ActivationConfig::Selu,
        ActivationConfig::Softplus { beta: 1.5 },
        ActivationConfig::Softsign,
        ActivationConfig::ThresholdedRelu { alpha: 0.3 },
        ActivationConfig::HardShrink { lambda: 0.4 },
        ActivationConfig::SoftShrink { lambda: 0.4 },
        ActivationConfig::Shrink {
            lambda: 0.4,
            bias: 0.2,
        },
    ]
}

fn modes() -> Vec<ResizeMode> {
    let samplings = [
        Sampling::HalfPixel,
        Sampling::AlignCorners,
        Sampling::Antialias,
    ];
    let smooth = samplings
        .into_iter()
        .flat_map(|s| [ResizeMode::Linear(s), ResizeMode::Cubic(s)]);
    let others = [
        ResizeMode::Nearest,
        ResizeMode::NearestExact,
        ResizeMode::Area,
    ];
    others.into_iter().chain(smooth).collect()
}

/// Fits, with the target that each of them reaches.
fn fits() -> Vec<(Fit, Target)> {
    let mut fits = vec![
        (Fit::Pool(AdaptiveKind::Avg), Target::Deep),
        (Fit::Pool(AdaptiveKind::Max), Target::Deep),
        (Fit::pad_or_crop(), Target::Largest),
        (Fit::Resize(ResizeMode::linear()), Target::Smallest),
    ];
    for target in [Target::Deep, Target::Skip] {
        fits.extend(
            modes()
                .into_iter()
                .map(|mode| (Fit::Resize(mode), target.clone())),
        );
    }
    for anchor in [Anchor::Start, Anchor::Center, Anchor::End] {
        fits.push((Fit::Crop { anchor }, Target::Deep));
        for mode in [PadMode::Zero, PadMode::Edge] {
            fits.push((Fit::Pad { mode, anchor }, Target::Skip));
            fits.push((Fit::PadOrCrop { mode, anchor }, Target::Deep));
            fits.push((Fit::PadOrCrop { mode, anchor }, Target::Skip));
        }
    }
    let (mode, anchor) = (PadMode::Reflect, Anchor::Center);
    fits.push((Fit::Pad { mode, anchor }, Target::Skip));
    fits
}
