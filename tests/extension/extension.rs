//! A user's gate, encoder and decoder in burn-skip's models: planned, run, trained, saved and loaded.

use burn::module::Module;
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::{Device, Distribution, Tensor};
use burn_skip::conv::ConvConfig;
use burn_skip::fuse::BranchGate;
use burn_skip::merge::Merge;
use burn_skip::net::{
    Classifier, Encoder, PlainEncoderConfig, SegmentationModel, UnetDecoder, UnetDecoderConfig,
};
use burn_skip::plan::Op;
use burn_skip::weights::{Names, WeightsFile, save};
use burn_skip::{BranchConfig, Fuse, FuseConfig, Layer, Trace};
use extension::{EcaGate, LadderDecoder, MobileEncoder};

type Model<const R: usize> = SegmentationModel<MobileEncoder<R>, LadderDecoder<R>, R>;

fn model<const R: usize>(device: &Device) -> Model<R> {
    let encoder = MobileEncoder::new(3, &[4, 6, 8], device);
    let decoder = LadderDecoder::new(&encoder.feature_channels(), device);
    SegmentationModel::new(encoder, decoder, ConvConfig::new([4, 2], 1).init(device))
}

fn random<const R: usize>(shape: [usize; R], device: &Device) -> Tensor<R> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)
}

#[test]
fn it_is_planned_with_its_operations() {
    let net = model::<4>(&Device::flex());
    let plan = net.plan([2, 3, 33, 20]);
    assert!(plan.error().is_none());
    assert_eq!(plan.root.outputs[0].shape, [2, 2, 33, 20]);
    // All tensors but the running statistics, two numbers for each channel of a batch norm.
    let norms = 4 + (24 + 24 + 6) + (36 + 36 + 8) + 2 * (6 + 4);
    assert_eq!(
        plan.root.total_parameters() as usize,
        net.num_params() - 2 * norms
    );
    let nodes = plan.nodes();
    let op = |path: &str| {
        let found = nodes.iter().find(|(at, _)| at == path);
        &found.unwrap_or_else(|| panic!("no {path}")).1.op
    };
    assert!(matches!(op("encoder.blocks.0.1.conv"), Op::Conv(conv) if conv.groups == 24));
    assert!(matches!(op("decoder.steps.1.gate.conv"), Op::Conv(conv) if conv.channels == [1, 1]));
    assert!(
        nodes
            .iter()
            .any(|(_, node)| matches!(node.op, Op::GlobalMean))
    );
    assert!(nodes.iter().all(|(_, node)| node.op != Op::Opaque));
}

#[test]
fn it_runs_over_one_two_and_three_axes() {
    let device = Device::flex();
    let y = model::<3>(&device).forward(random([1, 3, 33], &device));
    assert_eq!(y.dims(), [1, 2, 33]);
    let y = model::<4>(&device).forward(random([2, 3, 33, 20], &device));
    assert_eq!(y.dims(), [2, 2, 33, 20]);
    let y = model::<5>(&device).forward(random([1, 3, 9, 8, 7], &device));
    assert_eq!(y.dims(), [1, 2, 9, 8, 7]);
}

#[test]
fn it_learns() {
    let device = Device::flex().autodiff();
    let mut net = model::<4>(&device);
    let x = random([2, 3, 16, 16], &device);
    let target = x.clone().narrow(1, 0, 2);
    let mut optimizer = AdamConfig::new().init();
    let mut losses = Vec::new();
    for _ in 0..30 {
        let loss = (net.forward(x.clone()) - target.clone())
            .powi_scalar(2)
            .mean();
        losses.push(loss.clone().into_scalar::<f32>());
        let gradients = GradientsParams::from_grads(loss.backward(), &net);
        net = optimizer.step(0.01, net, gradients);
    }
    assert!(losses[29] < 0.7 * losses[0], "{losses:?}");
}

#[test]
fn every_parameter_has_a_gradient() {
    let device = Device::flex().autodiff();
    let net = model::<4>(&device);
    let x = random([2, 3, 16, 16], &device).require_grad();
    let y = net.forward(x.clone());
    let weights = random(y.dims(), &device);
    let gradients = (y * weights).sum().backward();
    assert_eq!(x.grad(&gradients).unwrap().dims(), [2, 3, 16, 16]);
    // A convolution's weight, a gate's weight, the scale and the shift of a norm.
    let plan = net.plan([2, 3, 16, 16]);
    let learned = plan
        .nodes()
        .iter()
        .map(|(_, node)| {
            node.parameters
                .iter()
                .filter(|parameter| parameter.is_learned)
                .count()
        })
        .sum::<usize>();
    let found = GradientsParams::from_grads(gradients, &net);
    assert_eq!(found.len(), learned);
}

#[test]
fn it_is_saved_and_loaded() {
    let device = Device::flex();
    let (saved, mut loaded) = (model::<4>(&device), model::<4>(&device));
    let path = std::env::temp_dir().join(format!("extension-{}.safetensors", std::process::id()));
    save(&saved, &path, &Names::own()).unwrap();
    let file = WeightsFile::open(&path).unwrap();
    file.load_into(&mut loaded, &Names::own()).unwrap();
    std::fs::remove_file(&path).unwrap();
    let x = random([1, 3, 16, 16], &device);
    let [saved, loaded] = [saved, loaded].map(|net| net.forward(x.clone()).into_data());
    saved.assert_eq(&loaded, true);
}

#[test]
fn what_does_not_fit_is_reported() {
    let device = Device::flex();
    let error = model::<4>(&device)
        .output_shape([1, 1, 33, 20])
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "encoder.stem.conv.Conv: channels differ: expected 3, got 1. Build the layer for 1 input channels, or \
         project the map to 3 with a 1x1 convolution."
    );
    let net: Model<4> = SegmentationModel::new(
        MobileEncoder::new(3, &[4, 6, 8], &device),
        LadderDecoder::new(&[4, 6], &device),
        ConvConfig::new([4, 2], 1).init(&device),
    );
    let error = net.output_shape([1, 3, 33, 20]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "decoder.LadderDecoder: 3 maps for 1 steps. Build the decoder for the channels of its encoder."
    );
}

#[test]
fn its_parts_work_with_those_of_burn_skip() {
    let device = Device::flex();
    let encoder = MobileEncoder::<4>::new(3, &[4, 6, 8], &device);
    let decoder: UnetDecoder = UnetDecoderConfig::new(vec![4, 6]).init(&[4, 6, 8], &device);
    let head = ConvConfig::new([4, 2], 1).init(&device);
    let net = SegmentationModel::new(encoder.clone(), decoder, head.clone());
    assert_eq!(
        net.forward(random([1, 3, 33, 20], &device)).dims(),
        [1, 2, 33, 20]
    );

    let plain = PlainEncoderConfig::new(3, vec![4, 6, 8]).init(&device);
    let net = SegmentationModel::new(plain, LadderDecoder::new(&[4, 6, 8], &device), head);
    assert_eq!(
        net.forward(random([1, 3, 33, 20], &device)).dims(),
        [1, 2, 33, 20]
    );

    let net = Classifier::new(encoder, 5, &device);
    assert_eq!(net.forward(random([2, 3, 33, 20], &device)).dims(), [2, 5]);
}

#[test]
fn its_gate_works_in_a_fusion() {
    let device = Device::flex();
    let config = FuseConfig::new(vec![BranchConfig::new(8); 2], Merge::Add);
    let fuse = config.init::<4>(&device);
    let gate = EcaGate::new(3, &device);
    let fuse: Fuse<4, _, EcaGate> = fuse.with_gates([None, Some(BranchGate { gate, guide: 0 })]);
    let [a, b] = [0, 1].map(|_| random([1, 8, 5, 5], &device));
    let plain = config
        .init::<4>(&device)
        .forward(vec![a.clone(), b.clone()]);
    let gated = fuse.forward(vec![a, b]);
    assert_eq!(gated.dims(), [1, 8, 5, 5]);
    assert!((gated - plain).abs().max().into_scalar::<f32>() > 0.0);
    let plan = fuse.plan(&[[1, 8, 5, 5]; 2]);
    assert!(
        plan.nodes()
            .iter()
            .any(|(path, _)| path == "branches.1.gate.conv")
    );
}
