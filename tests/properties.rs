//! Laws that hold for all shapes and values.

use burn::tensor::{Device, Tensor, TensorData};
use burn_skip::block::ConvStyle;
use burn_skip::conv::{Conv, ConvConfig, ConvTranspose, ConvTransposeConfig, TransposedPadding};
use burn_skip::down::{Down, DownConfig};
use burn_skip::fit::{Anchor, Fit, PadMode, Target};
use burn_skip::merge::{Merge, Order};
use burn_skip::net::{EncoderConfig, Unet, UnetConfig};
use burn_skip::resize::{ResizeMode, Sampling, resize};
use burn_skip::up::{Up, UpConfig};
use burn_skip::{
    Axis, BlockOrder, DirectSum, Layer, Padding, UpsampleConcat, UpsampleConcatConfig,
};
use proptest::prelude::*;

fn map<const R: usize>(seed: u64, shape: [usize; R]) -> Tensor<R> {
    let count: usize = shape.iter().product();
    let value = |i: usize| ((i as f64 + 1.0) * 12.9898 + seed as f64 * 78.233).sin() * 43758.5453;
    let data: Vec<f64> = (0..count)
        .map(|i| 2.0 * value(i).rem_euclid(1.0) - 1.0)
        .collect();
    Tensor::from_data(TensorData::new(data, shape), &Device::flex())
}

fn values<const R: usize>(x: Tensor<R>) -> Vec<f32> {
    x.into_data().try_to_vec().expect("f32")
}

fn assert_close<const R: usize>(a: Tensor<R>, b: Tensor<R>, tolerance: f32) {
    assert_eq!(a.dims(), b.dims());
    let (a, b) = (values(a), values(b));
    let worst = a
        .iter()
        .zip(&b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max);
    assert!(worst <= tolerance, "off by {worst}");
}

fn modes() -> impl Strategy<Value = ResizeMode> {
    let sampling = || {
        prop_oneof![
            Just(Sampling::HalfPixel),
            Just(Sampling::AlignCorners),
            Just(Sampling::Antialias)
        ]
    };
    prop_oneof![
        Just(ResizeMode::Nearest),
        Just(ResizeMode::NearestExact),
        sampling().prop_map(ResizeMode::Linear),
        sampling().prop_map(ResizeMode::Cubic),
        Just(ResizeMode::Area),
    ]
}

fn anchors() -> impl Strategy<Value = Anchor> {
    prop_oneof![Just(Anchor::Start), Just(Anchor::Center), Just(Anchor::End)]
}

fn ups() -> impl Strategy<Value = UpConfig> {
    prop_oneof![
        (modes(), any::<bool>(), 1..4usize).prop_map(|(mode, project, scale)| UpConfig::Resize {
            mode,
            project,
            scale: scale.into(),
        }),
        (1..4usize, 1..3usize).prop_map(|(stride, multiple)| UpConfig::ConvTranspose {
            kernel_size: (stride * multiple).into(),
            stride: stride.into(),
            padding: TransposedPadding::Solved,
            bias: true,
        }),
        (1..4usize, any::<bool>()).prop_map(|(scale, blur)| UpConfig::PixelShuffle {
            scale: scale.into(),
            blur,
            order: BlockOrder::BlockMajor,
        }),
    ]
}

fn downs() -> impl Strategy<Value = DownConfig> {
    prop_oneof![
        Just(DownConfig::max()),
        Just(DownConfig::avg()),
        Just(DownConfig::conv()),
        Just(DownConfig::blur()),
        (1..6usize, 1..4usize).prop_map(|(taps, stride)| DownConfig::Blur {
            taps,
            stride: stride.into(),
        }),
    ]
}

fn fits() -> impl Strategy<Value = Fit> {
    let pads = || {
        prop_oneof![
            Just(PadMode::Zero),
            Just(PadMode::Edge),
            Just(PadMode::Reflect)
        ]
    };
    prop_oneof![
        Just(Fit::Exact),
        modes().prop_map(Fit::Resize),
        (pads(), anchors()).prop_map(|(mode, anchor)| Fit::Pad { mode, anchor }),
        anchors().prop_map(|anchor| Fit::Crop { anchor }),
        (pads(), anchors()).prop_map(|(mode, anchor)| Fit::PadOrCrop { mode, anchor }),
        Just(Fit::Pool(burn_skip::pool::AdaptiveKind::Max)),
        Just(Fit::Pool(burn_skip::pool::AdaptiveKind::Avg)),
    ]
}

fn targets() -> impl Strategy<Value = Target> {
    prop_oneof![
        Just(Target::Deep),
        Just(Target::Skip),
        Just(Target::Largest),
        Just(Target::Smallest),
        (1..9usize, 1..9usize).prop_map(|(h, w)| Target::Size(vec![h, w])),
    ]
}

/// `forward` gives the shape that `output_shape` says, or panics with its text.
fn assert_law<const R: usize>(layer: &impl Layer<R>, x: Tensor<R>) {
    match layer.output_shape(x.dims()) {
        Ok(shape) => assert_eq!(layer.forward(x).dims(), shape),
        Err(error) => {
            let run = std::panic::AssertUnwindSafe(|| layer.forward(x));
            let panic = std::panic::catch_unwind(run).expect_err("it must refuse the map");
            assert_eq!(panic.downcast_ref::<String>(), Some(&error.to_string()));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn slices_of_a_concat_are_the_inputs(sizes in prop::collection::vec(1..5usize, 1..4), axis in 0..3usize) {
        let axis = [Axis::Channels, Axis::Spatial(0), Axis::Spatial(1)][axis];
        let maps: Vec<_> = sizes.iter().enumerate().map(|(i, &size)| {
            let mut shape = [2, 3, 4, 5];
            shape[axis.index()] = size;
            map(i as u64, shape)
        }).collect();
        let merged = Merge::Concat { axis, order: Order::DeepFirst }.forward(maps.clone());
        let mut start = 0;
        for (map, size) in maps.into_iter().zip(sizes) {
            prop_assert_eq!(values(merged.clone().narrow(axis.index(), start, size)), values(map));
            start += size;
        }
    }

    #[test]
    fn merges_that_commute(merge in prop_oneof![Just(Merge::Add), Just(Merge::Mean), Just(Merge::Mul), Just(Merge::Max), Just(Merge::Min)], seed in 0..99u64) {
        let (a, b) = (map(seed, [1, 2, 3, 4]), map(seed + 1, [1, 2, 3, 4]));
        assert_close(merge.forward(vec![a.clone(), b.clone()]), merge.forward(vec![b, a]), 0.0);
    }

    #[test]
    fn pad_then_crop_is_the_identity(h in 1..8usize, w in 1..8usize, more in 0..5usize, anchor in anchors()) {
        let x = map(1, [1, 2, h, w]);
        let padded = Fit::Pad { mode: PadMode::Zero, anchor }.forward(x.clone(), &[h + more, w + 2 * more]);
        let back = Fit::Crop { anchor }.forward(padded, &[h, w]);
        prop_assert_eq!(values(back), values(x));
    }

    #[test]
    fn a_projection_commutes_with_every_resize(mode in modes(), h in 1..9usize, to in 1..12usize) {
        let conv: Conv = ConvConfig::new([3, 2], 1).init(&Device::flex());
        let x = map(5, [1, 3, h, 4]);
        let first = resize(conv.forward(x.clone()), &[to, 7], mode);
        let last = conv.forward(resize(x, &[to, 7], mode));
        assert_close(first, last, 1e-5);
    }

    #[test]
    fn a_constant_map_stays_constant(mode in modes(), from in 1..20usize, to in 1..20usize) {
        let x = Tensor::<3>::full([1, 1, from], 3.0, &Device::flex());
        for value in values(resize(x, &[to], mode)) {
            prop_assert!((value - 3.0).abs() < 1e-5);
        }
    }

    #[test]
    fn every_size_is_hit_by_a_transposed_convolution(from in 1..12usize, more in 0..40usize) {
        let config = ConvTransposeConfig::between([1, 2], &[from], &[from + more]).expect("solvable");
        let up: ConvTranspose<3> = config.init(&Device::flex());
        prop_assert_eq!(up.forward_to(map(2, [1, 1, from]), &[from + more]).dims(), [1, 2, from + more]);
    }

    #[test]
    fn up_layers_obey_the_law(up in ups(), channels in 1..4usize, h in 1..6usize, w in 1..6usize) {
        let layer: Up = up.init([channels, 2], &Device::flex());
        assert_law(&layer, map(3, [1, channels, h, w]));
        assert_law(&layer, map(3, [1, channels + 1, h, w]));
    }

    #[test]
    fn down_layers_obey_the_law(down in downs(), h in 1..9usize, w in 1..9usize) {
        let layer: Down = down.init(2, &Device::flex());
        assert_law(&layer, map(4, [1, 2, h, w]));
    }

    #[test]
    fn fits_obey_the_law(fit in fits(), h in 1..7usize, w in 1..7usize, th in 1..7usize, tw in 1..7usize) {
        let x = map(6, [1, 2, h, w]);
        if let Ok(shape) = fit.output_shape(x.dims(), &[th, tw]) {
            let y = fit.forward(x, &[th, tw]);
            prop_assert_eq!(y.dims(), shape);
            prop_assert!(values(y).iter().all(|v| v.is_finite()));
        }
    }

    #[test]
    fn convolutions_obey_the_law(
        kernel in 1..5usize, stride in 1..4usize, dilation in 1..3usize, length in 1..12usize,
        padding in prop_oneof![Just(Padding::Same), Just(Padding::Valid), (0..3usize).prop_map(Padding::explicit)],
    ) {
        let conv: Conv<3> = ConvConfig::new([2, 3], kernel)
            .with_stride(stride)
            .with_dilation(dilation)
            .with_padding(padding)
            .init(&Device::flex());
        assert_law(&conv, map(7, [1, 2, length]));
    }

    #[test]
    fn upsample_concat_obeys_the_law(
        up in ups(), fit in fits(), target in targets(),
        deep in (1..5usize, 1..5usize), skip in (1..9usize, 1..9usize),
    ) {
        let config = UpsampleConcatConfig::new(3, 2, 2).with_up(up).with_fit(fit).with_target(target);
        let layer: UpsampleConcat = config.init(&Device::flex());
        let (deep, skip) = (map(8, [1, 3, deep.0, deep.1]), map(9, [1, 2, skip.0, skip.1]));
        match layer.output_shape(deep.dims(), skip.dims()) {
            Ok(shape) => prop_assert_eq!(layer.forward(deep, skip).dims(), shape),
            Err(error) => {
                let run = std::panic::AssertUnwindSafe(|| layer.forward(deep, skip));
                let panic = std::panic::catch_unwind(run).expect_err("it must refuse the maps");
                prop_assert_eq!(panic.downcast_ref::<String>(), Some(&error.to_string()));
            }
        }
        prop_assert_eq!(config.output_shape([1, 3, 2, 2], [1, 2, 4, 4]).ok(), layer.output_shape([1, 3, 2, 2], [1, 2, 4, 4]).ok());
    }

    #[test]
    fn unets_obey_the_law(depth in 1..4usize, h in 1..20usize, w in 1..20usize, valid in any::<bool>(), down in downs()) {
        let widths = vec![2; depth];
        let config = if valid {
            UnetConfig::unpadded(1, 2, widths)
        } else {
            UnetConfig::new(1, 2, widths).with_style(ConvStyle::new())
        };
        let EncoderConfig::Plain(encoder) = config.encoder.clone() else {
            unreachable!("both are plain");
        };
        let config = config.with_encoder(EncoderConfig::Plain(encoder.with_down(down)));
        let net: Unet = config.init(&Device::flex());
        assert_law(&net, map(10, [1, 1, h, w]));
    }

    #[test]
    fn a_direct_sum_keeps_every_value(a in (1..6usize, 1..6usize), b in (1..6usize, 1..6usize)) {
        let maps = vec![map(11, [1, 2, a.0, a.1]), map(12, [1, 2, b.0, b.1])];
        let sum: f32 = maps.iter().map(|m| values(m.clone().abs().sum())[0]).sum();
        let placed = DirectSum::new().forward(maps);
        prop_assert_eq!(placed.dims(), [1, 2, a.0 + b.0, a.1 + b.1]);
        prop_assert!((values(placed.abs().sum())[0] - sum).abs() < 1e-3);
    }
}
