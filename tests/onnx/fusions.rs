//! Fusions of several maps, necks and residual blocks.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use burn_skip::conv::{Conv, ConvConfig};
use burn_skip::down::DownConfig;
use burn_skip::fit::{Fit, Target};
use burn_skip::fuse::{AsffConfig, Shortcut, Weighting};
use burn_skip::gate::GateConfig;
use burn_skip::merge::{Merge, Order};
use burn_skip::neck::{BiFpn, BiFpnConfig, Neck, PaFpn, PaFpnConfig};
use burn_skip::net::{Encoder, PlainEncoder, PlainEncoderConfig};
use burn_skip::norm::NormConfig;
use burn_skip::plan::{Map, Planner};
use burn_skip::{
    Axis, BranchConfig, DirectSum, FlattenPadReshape, Fuse, FuseConfig, Layer, ShapeError,
    SkipAddConfig,
};

use super::{check, check_layer};

const SHAPES: [[usize; 4]; 2] = [[1, 3, 32, 40], [2, 3, 45, 51]];

fn encoder(widths: Vec<usize>) -> PlainEncoder {
    PlainEncoderConfig::new(3, widths).init(&Device::flex())
}

/// A neck on the maps of an encoder; its outputs are the model's.
fn check_neck<N: Neck>(name: &str, widths: Vec<usize>, neck: N) {
    check(
        name,
        (encoder(widths), neck),
        &SHAPES,
        |(encoder, neck), planner, x| {
            let maps = encoder.trace(planner.at(0), x)?;
            neck.trace(planner.at(1), &maps)
        },
        |(encoder, neck), x| neck.forward(encoder.features(x)),
    );
}

#[test]
fn necks() {
    let device = Device::flex();
    let weightings = [Weighting::Unbounded, Weighting::Softmax, Weighting::fast()];
    for (n, weighting) in weightings.into_iter().enumerate() {
        let config = BiFpnConfig::new(4).with_weighting(weighting);
        let neck: BiFpn = config.init(&[4, 6, 8], &device);
        check_neck(&format!("neck bifpn {n}"), vec![4, 6, 8], neck);
    }
    let neck: PaFpn = PaFpnConfig::new(4).init(&[4, 6, 8], &device);
    check_neck("neck pafpn", vec![4, 6, 8], neck);
}

/// A fusion of the maps of an encoder, of which all have as many channels, the deepest first.
fn check_fusion<M: Module>(
    name: &str,
    fusion: M,
    trace: impl Fn(&M, &mut Planner, &[Map<4>]) -> Result<Map<4>, ShapeError>,
    forward: impl Fn(&M, Vec<Tensor<4>>) -> Tensor<4>,
) {
    check(
        name,
        (encoder(vec![4, 4, 4]), fusion),
        &SHAPES,
        |(encoder, fusion), planner, x| {
            let mut maps = encoder.trace(planner.at(0), x)?;
            maps.reverse();
            Ok(vec![trace(fusion, planner.at(1), &maps)?])
        },
        |(encoder, fusion), x| {
            let mut maps = encoder.features(x);
            maps.reverse();
            vec![forward(fusion, maps)]
        },
    );
}

#[test]
fn fusions() {
    let device = Device::flex();
    for target in [Target::Deep, Target::Skip] {
        let config = AsffConfig::new(3, 4).with_target(target.clone());
        check_fusion(
            &format!("fusion asff {target:?}"),
            config.init::<4>(&device),
            |fusion, planner, maps| fusion.trace(planner, maps),
            |fusion, maps| fusion.forward(maps),
        );
    }
    let merges = [
        Merge::Add,
        Merge::Mean,
        Merge::Mul,
        Merge::Max,
        Merge::Min,
        Merge::Sub,
        Merge::concat(),
        Merge::Concat {
            axis: Axis::Spatial(1),
            order: Order::SkipFirst,
        },
    ];
    for (n, merge) in merges.into_iter().enumerate() {
        let branches = vec![BranchConfig::new(4).with_fit(Fit::pad_or_crop()); 3];
        let target = [Target::Skip, Target::Deep, Target::Size(vec![9, 11])][n % 3].clone();
        let config = FuseConfig::new(branches, merge).with_target(target);
        let fuse: Fuse = config.init(&device);
        check_fusion(
            &format!("fusion merge {n}"),
            fuse,
            |fusion, planner, maps| fusion.trace(planner, maps),
            |fusion, maps| fusion.forward(maps),
        );
    }
    check_fusion(
        "fusion direct sum",
        DirectSum::new(),
        |fusion, planner, maps| fusion.trace(planner, &maps.iter().collect::<Vec<_>>()),
        |fusion, maps| fusion.forward(maps),
    );
    check_fusion(
        "fusion flatten",
        FlattenPadReshape::new([20, 41]),
        |fusion, planner, maps| fusion.trace(planner, &maps[0], &maps[1]),
        |fusion, maps| fusion.forward(maps[0].clone(), maps[1].clone()),
    );
}

#[test]
fn residual_blocks() {
    let device = Device::flex();
    let conv = |channels, stride: usize| -> Conv {
        ConvConfig::new(channels, 3)
            .with_stride(stride)
            .init(&device)
    };
    let block = |name: &str, config: SkipAddConfig, block: Conv| {
        check_layer(
            &format!("residual {name}"),
            config.init(block, &device),
            &SHAPES,
        );
    };
    let shortcuts = [
        ("conv", Shortcut::Conv, 2),
        ("pooled", Shortcut::PooledConv, 2),
        ("pad", Shortcut::Pad, 2),
        ("wide", Shortcut::WideConv { kernel_size: 3 }, 2),
        ("repeat", Shortcut::Repeat, 1),
    ];
    for (name, shortcut, stride) in shortcuts {
        let config = SkipAddConfig::new([3, 6])
            .with_stride(stride)
            .with_shortcut(shortcut);
        block(name, config, conv([3, 6], stride));
    }
    let same = || SkipAddConfig::new([3, 3]);
    block(
        "pre-activated",
        SkipAddConfig::pre_activated([3, 6]),
        conv([3, 6], 1),
    );
    block("scaled", same().with_layer_scale(0.5), conv([3, 3], 1));
    block("skip-init", same().with_skip_init(), conv([3, 3], 1));
    block(
        "gated",
        same().with_gate(GateConfig::se(1)).with_drop_path(0.1),
        conv([3, 3], 1),
    );
    block(
        "group norm",
        same().with_norm(NormConfig::group(3)),
        conv([3, 3], 1),
    );
}

/// A stack of what makes maps smaller, whose sizes are rounded down.
#[test]
fn downs() {
    let device = Device::flex();
    let down = |config: DownConfig| config.init::<4>(3, &device);
    let stack = (
        down(DownConfig::max()),
        down(DownConfig::avg()),
        down(DownConfig::blur()),
    );
    fn of(layer: impl Layer<4>) {
        check_layer("downs", layer, &SHAPES);
    }
    of(stack);
}
