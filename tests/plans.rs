//! Plans: what torchinfo says of whole networks, and the laws that hold for every plan.

use burn::tensor::Device;
use burn_skip::fit::Fit;
use burn_skip::net::{
    ClassifierConfig, DenseNetEncoderConfig, EncoderConfig, NetConfig, ResNetEncoderConfig,
    UnetConfig,
};
use burn_skip::plan::{Node, Plan, Trace};
use burn_skip::up::UpConfig;
use burn_skip::{Layer, Padding};
use serde_json::Value;

fn network(name: &str) -> NetConfig {
    let resnet18 = EncoderConfig::ResNet(ResNetEncoderConfig::resnet18());
    let classifier = |encoder| NetConfig::Classifier(ClassifierConfig::new(encoder, 1000));
    match name {
        "resnet18" => classifier(resnet18),
        "resnet50" => classifier(EncoderConfig::ResNet(ResNetEncoderConfig::resnet50())),
        "densenet121" => classifier(EncoderConfig::DenseNet(DenseNetEncoderConfig::densenet121())),
        "smp_unet_resnet18" => NetConfig::Unet(UnetConfig::smp(resnet18, 1)),
        _ => panic!("there is no {name} here"),
    }
}

/// The layers with these names, as torchinfo calls them.
fn layers_of(plan: &Plan) -> Vec<(&'static str, &Node)> {
    let known = |node: &Node| {
        Some(match &node.kind[..] {
            "Conv" => "Conv2d",
            "BatchNorm" => "BatchNorm2d",
            "MaxPool" => "MaxPool2d",
            "AvgPool" => "AvgPool2d",
            "Linear" => "Linear",
            _ => return None,
        })
    };
    let nodes = plan.nodes().into_iter();
    nodes
        .filter_map(|(_, node)| Some((known(node)?, node)))
        .collect()
}

/// Shapes, parameters and multiply-adds of every layer, in the order of the calls, and the totals.
#[test]
fn networks_cost_what_torchinfo_says() {
    let golden = include_str!("golden/plans.json");
    let golden: Vec<Value> = serde_json::from_str(golden).unwrap();
    assert_eq!(golden.len(), 4);
    for wanted in golden {
        let name = wanted["network"].as_str().unwrap();
        let input: Vec<usize> = serde_json::from_value(wanted["input"].clone()).unwrap();
        let plan = network(name).plan(&input).unwrap();
        assert!(plan.error().is_none(), "{name}: {:?}", plan.error());
        let number = |value: &Value| value.as_u64().unwrap();
        assert_eq!(
            plan.root.total_parameters() as u64,
            number(&wanted["parameters"]),
            "{name}"
        );
        assert_eq!(
            plan.root.total_mult_adds(),
            number(&wanted["mult_adds"]),
            "{name}"
        );
        let found = layers_of(&plan);
        let layers = wanted["layers"].as_array().unwrap();
        assert_eq!(found.len(), layers.len(), "{name}");
        // A projection is called after the block here, and before or after it there: by kind, cost and shape.
        let mut found: Vec<_> = found
            .iter()
            .map(|(kind, node)| {
                let shape = node.outputs[0].shape.clone();
                (
                    kind.to_string(),
                    shape,
                    node.parameters as u64,
                    node.mult_adds,
                )
            })
            .collect();
        let mut wanted: Vec<_> = layers
            .iter()
            .map(|layer| {
                let shape: Vec<usize> = serde_json::from_value(layer["output"].clone()).unwrap();
                let kind = layer["kind"].as_str().unwrap().to_string();
                (
                    kind,
                    shape,
                    number(&layer["parameters"]),
                    number(&layer["mult_adds"]),
                )
            })
            .collect();
        found.sort();
        wanted.sort();
        assert_eq!(found, wanted, "{name}");
    }
}

#[test]
fn a_layer_is_planned_as_its_configuration() {
    let device = Device::flex();
    let config = UnetConfig::new(3, 2, vec![4, 8, 16]).with_up(UpConfig::conv_transpose());
    let net = config.init::<4>(&device);
    let of_layer = Layer::plan(&net, [1, 3, 45, 61]);
    assert_eq!(of_layer.root, config.plan([1, 3, 45, 61]).root);
    // The parts of the module, each by what it holds, have the paths and the parameters of the plan.
    let level = net.encoder.clone();
    let burn_skip::net::AnyEncoder::Plain(level) = level else {
        panic!("it has a plain encoder")
    };
    let stem = Layer::plan(&level.stem, [1, 3, 45, 61]);
    let nodes = of_layer.nodes();
    let (_, planned) = nodes
        .iter()
        .find(|(path, _)| path == "encoder.stem")
        .unwrap();
    assert_eq!(stem.root.children.len(), planned.children.len());
    assert_eq!(stem.root.total_parameters(), planned.total_parameters());
    assert_eq!(stem.root.total_mult_adds(), planned.total_mult_adds());
}

/// The plan ends as `output_shape` does: with its shape, or with its error.
#[test]
fn a_plan_ends_as_output_shape_does() {
    let small = |width| {
        let encoder = ResNetEncoderConfig::resnet18().with_width(width);
        UnetConfig::smp(EncoderConfig::ResNet(encoder), 2)
    };
    let nets = [
        UnetConfig::new(3, 2, vec![4, 8, 16]),
        UnetConfig::new(3, 2, vec![4, 8, 16]).with_up(UpConfig::pixel_shuffle()),
        UnetConfig::new(3, 2, vec![4, 8, 16])
            .with_up(UpConfig::conv_transpose())
            .with_fit(Fit::pad()),
        UnetConfig::valid(3, 2, vec![4, 8, 16]),
        UnetConfig::monai_basic(3, 2, [4, 4, 8, 8, 16, 4]),
        small(4),
        small(0),
        UnetConfig::new(1, 2, vec![4, 8]),
    ];
    let mut refused = 0;
    for (index, net) in nets.iter().enumerate() {
        for size in [1, 2, 3, 7, 16, 21, 44, 61, 64, 92, 96, 128] {
            let input = [2, 3, size, size + 4];
            let plan = net.plan(input);
            match net.output_shape(input) {
                Ok(shape) => {
                    assert!(
                        plan.error().is_none(),
                        "{index}, {size}: {:?}",
                        plan.error()
                    );
                    assert_eq!(plan.root.outputs[0].shape, shape, "{index}, {size}");
                }
                Err(error) => {
                    refused += 1;
                    let found = plan
                        .error()
                        .unwrap_or_else(|| panic!("{index}, {size}: {error}"));
                    assert_eq!(found, &error, "{index}, {size}");
                    let nodes = plan.nodes();
                    let blamed: Vec<_> = nodes
                        .iter()
                        .filter(|(_, node)| node.error.is_some())
                        .collect();
                    assert_eq!(blamed.len(), 1, "{index}, {size}");
                    assert!(blamed[0].1.outputs.is_empty());
                }
            }
        }
    }
    assert!(refused > 20, "{refused}");
}

#[test]
fn maps_that_lie_apart_are_noted() {
    // A 2x2 pool and its enlargement meet where they were; a strided 3x3 convolution sees the even positions.
    let aligned = UnetConfig::new(3, 2, vec![4, 8, 16]).plan([1, 3, 64, 64]);
    assert_eq!(aligned.misalignments(), []);
    let encoder = EncoderConfig::ResNet(ResNetEncoderConfig::resnet18().with_width(4));
    let apart = UnetConfig::smp(encoder.clone(), 2).plan([1, 3, 64, 64]);
    let found = apart.misalignments();
    let texts: Vec<String> = found
        .iter()
        .map(|(path, found)| format!("{path}: {found}"))
        .collect();
    assert_eq!(
        texts[0],
        "decoder.steps.3: deep lies 0.50 positions before skip along the height and the width"
    );
    // Corners on corners: 65, 33, 17, ... positions.
    let corners = UpConfig::resize(burn_skip::resize::ResizeMode::Linear(
        burn_skip::resize::Sampling::AlignCorners,
    ));
    let corners = UnetConfig::smp(encoder, 2)
        .with_up(corners)
        .plan([1, 3, 65, 65]);
    assert_eq!(corners.misalignments(), []);
    let valid = UnetConfig::valid(1, 2, vec![4, 8]).plan([1, 1, 64, 64]);
    assert_eq!(valid.misalignments(), [], "the middle is cropped");
    let start = UnetConfig::valid(1, 2, vec![4, 8])
        .with_fit(Fit::Crop {
            anchor: burn_skip::fit::Anchor::Start,
        })
        .plan([1, 1, 64, 64]);
    let texts: Vec<String> = start
        .misalignments()
        .iter()
        .map(|(_, found)| found.to_string())
        .collect();
    assert_eq!(
        texts[0],
        "deep lies 4.00 positions behind skip along the height and the width"
    );
    let _ = Padding::Same;
}
