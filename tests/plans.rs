//! Plans: the costs that torchinfo gives for whole networks, and what holds for every plan.

use burn::module::Module;
use burn::tensor::Device;
use burn_skip::block::{ConvNormAct, ConvNormActConfig};
use burn_skip::down::DownConfig;
use burn_skip::fit::Fit;
use burn_skip::gate::GateConfig;
use burn_skip::merge::Order;
use burn_skip::net::{
    ClassifierConfig, DenseNetEncoderConfig, EncoderConfig, NetConfig, PlainEncoderConfig,
    ResNetEncoderConfig, UnetConfig,
};
use burn_skip::plan::{Executor, Node, NormKind, Op, Plan};
use burn_skip::pool::{PoolConfig, PoolKind};
use burn_skip::up::UpConfig;
use burn_skip::{Axis, DirectSum, FlattenPadReshape, SkipConcat, SkipConcatConfig, Trace};
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

/// The layers that torchinfo lists, by the names that it gives them.
fn layers_of(plan: &Plan) -> Vec<(&'static str, &Node)> {
    let known = |node: &Node| {
        Some(match &node.op {
            Op::Conv(_) => "Conv2d",
            Op::Norm(NormKind::Batch { .. }) => "BatchNorm2d",
            Op::Pool {
                kind: PoolKind::Max,
                ..
            } => "MaxPool2d",
            Op::Pool { .. } => "AvgPool2d",
            Op::Linear { .. } => "Linear",
            _ => return None,
        })
    };
    let nodes = plan.nodes().into_iter();
    nodes
        .filter_map(|(_, node)| Some((known(node)?, node)))
        .collect()
}

/// Shapes, parameters and multiply-adds of every layer, and the totals.
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
            plan.root.total_parameters(),
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
        // A projection runs before the block here, and before or after it there: compared by kind, cost and shape.
        let mut found: Vec<_> = found
            .iter()
            .map(|(kind, node)| {
                let shape = node.outputs[0].shape.clone();
                (
                    kind.to_string(),
                    shape,
                    node.own_parameters(),
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
    let of_layer = Trace::plan(&net, [1, 3, 45, 61]);
    assert_eq!(of_layer.root, config.plan([1, 3, 45, 61]).root);
    // A part of the module, traced by itself, has the paths and the parameters of the plan.
    let level = net.encoder.clone();
    let burn_skip::net::AnyEncoder::Plain(level) = level else {
        panic!("it has a plain encoder")
    };
    let stem = Trace::plan(&level.stem, [1, 3, 45, 61]);
    let nodes = of_layer.nodes();
    let (_, planned) = nodes
        .iter()
        .find(|(path, _)| path == "encoder.stem")
        .unwrap();
    // (The numbers of the maps begin anew.)
    let parts = |node: &Node| -> Vec<_> {
        let part = |node: &Node| {
            let shape = node.outputs[0].shape.clone();
            let grid = node.outputs[0].grid.clone();
            (
                node.name.clone(),
                node.op.clone(),
                shape,
                grid,
                node.parameters.clone(),
                node.mult_adds,
            )
        };
        let below = node.children.iter().flat_map(|child| &child.children);
        node.children.iter().chain(below).map(part).collect()
    };
    assert_eq!(parts(&stem.root), parts(planned));
    assert_eq!(parts(planned).len(), 2 + 6);
}

/// A plan ends with the result of `output_shape`: the same shape, or the same error.
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
        UnetConfig::unpadded(3, 2, vec![4, 8, 16]),
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
fn misaligned_maps_are_noted() {
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
    let valid = UnetConfig::unpadded(1, 2, vec![4, 8]).plan([1, 1, 64, 64]);
    assert_eq!(valid.misalignments(), [], "the middle is cropped");
    let start = UnetConfig::unpadded(1, 2, vec![4, 8])
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
}

#[test]
fn a_plan_tells_in_which_order_maps_are_joined() {
    let of = |config: SkipConcatConfig| {
        let block: ConvNormAct = ConvNormActConfig::new([4, 2], 3).init(&Device::flex());
        let plan = config.init(block).plan([1, 4, 9, 9]);
        let (_, join) = plan.nodes().pop().unwrap();
        let channels: Vec<_> = join.inputs.iter().map(|map| map.shape[1]).collect();
        (join.op.clone(), channels)
    };
    let axis = Axis::Channels;
    let reversed = false;
    let deep_first = of(SkipConcatConfig::new());
    assert_eq!(deep_first, (Op::Concat { axis, reversed }, vec![2, 4]));
    let reversed = true;
    let skip_first = of(SkipConcatConfig::new().with_order(Order::SkipFirst));
    assert_eq!(skip_first, (Op::Concat { axis, reversed }, vec![2, 4]));
}

#[test]
fn an_even_kernel_and_a_pool_that_rounds_up_move_what_is_merged() {
    let block: ConvNormAct = ConvNormActConfig::new([4, 4], 2).init(&Device::flex());
    let plan = SkipConcat::new(block).plan([1, 4, 9, 9]);
    let found = plan.misalignments();
    assert_eq!(
        [found[0].1.first, found[0].1.last].map(f64::abs),
        [0.5, 0.5]
    );

    // 33 positions become 17, of which the last reaches beyond the map; 33 of them again lie too far apart.
    let pool = PoolConfig::new(PoolKind::Max, 2).with_ceil_mode(true);
    let encoder = PlainEncoderConfig::new(3, vec![4, 8]).with_down(DownConfig::Pool(pool));
    let plan = UnetConfig::new(3, 2, vec![4, 8])
        .with_encoder(EncoderConfig::Plain(encoder))
        .with_up(UpConfig::linear())
        .plan([1, 3, 33, 32]);
    let found = plan.misalignments();
    assert_eq!(
        (found.len(), &found[0].1.axes[..]),
        (1, &["height".to_string()][..])
    );
    // The middle of the first of 33 pixels, on 17 cells of 2: (0.5 * 17 / 33 - 0.5) * 2 + 0.5, and of the last.
    let at = |pixel: f64| ((pixel + 0.5) * 17.0 / 33.0 - 0.5) * 2.0 + 0.5 - pixel;
    assert!((found[0].1.first - at(0.0)).abs() < 1e-9, "{:?}", found[0]);
    assert!((found[0].1.last - at(32.0)).abs() < 1e-9, "{:?}", found[0]);
}

/// Two layers recorded at the top become a sequence.
#[test]
fn layers_recorded_at_the_top_become_a_sequence() {
    use burn_skip::conv::ConvConfig;
    let plan = Plan::new([1, 2, 9, 9], |planner, x| {
        let mid = ConvConfig::new([2, 3], 3).trace(planner.at("a"), x)?;
        let end = ConvConfig::new([3, 4], 1).trace(planner.at("b"), &mid)?;
        Ok(vec![end])
    });
    assert_eq!(plan.root.total_parameters(), 3 * (2 * 9 + 1) + 4 * (3 + 1));
    assert_eq!(plan.root.inputs[0].shape, [1, 2, 9, 9]);
    assert_eq!(plan.root.outputs[0].shape, [1, 4, 9, 9]);
}

#[test]
fn enormous_inputs_are_refused() {
    let net = NetConfig::Unet(UnetConfig::new(3, 2, vec![4, 8]));
    for input in [
        [1, 3, usize::MAX, 64],
        [1, 3, 1 << 32, 1 << 32],
        [usize::MAX, 3, 1, 1],
    ] {
        let plan = net.plan(&input).unwrap();
        let error = plan.error().unwrap().to_string();
        assert!(error.contains("has more than 2^48 values"), "{error}");
        assert!(net.advice(&input).is_empty());
        assert!(plan.to_string().contains("error: Plan:"));
    }
    assert!(
        net.plan(&[1, 3, 1 << 20, 1 << 20])
            .unwrap()
            .root
            .total_mult_adds()
            > 1 << 48
    );
    let wide = UnetConfig::new(1, 2, vec![1 << 18; 4]).with_head_kernel_size((1 << 20) - 1);
    let plan = NetConfig::Unet(wide).plan(&[1, 1, 1 << 24, 1 << 24]);
    assert!(plan.unwrap().memory.inference > 1 << 48);
    assert_eq!(
        net.plan(&[1, 3]).unwrap_err().to_string(),
        "NetConfig: the input [1, 3] has 2 axes. Give batch, channels and one to three spatial axes."
    );
}

/// Of a map of one position, all corners are one: there is no step, and an amount nevertheless.
#[test]
fn a_step_of_zero_is_no_infinite_distance() {
    use burn_skip::resize::{ResizeMode, Sampling};
    let encoder = EncoderConfig::ResNet(ResNetEncoderConfig::resnet18().with_width(4));
    let corners = Fit::Resize(ResizeMode::Linear(Sampling::AlignCorners));
    let net = UnetConfig::smp(encoder, 2)
        .with_up(UpConfig::resize(ResizeMode::Linear(Sampling::AlignCorners)));
    let plan = net.with_fit(corners).plan([1, 3, 1, 64]);
    assert!(plan.error().is_none());
    assert!(!plan.misalignments().is_empty());
    for (_, found) in plan.misalignments() {
        assert!(found.first.is_finite() && found.last.is_finite(), "{found}");
    }
}

#[test]
fn a_diagram_has_every_skip_and_marks_what_does_not_fit() {
    let net = UnetConfig::new(3, 2, vec![4, 8, 16]);
    let plan = net.plan([1, 3, 64, 64]);
    let mermaid = plan.diagram().mermaid();
    assert!(
        mermaid.contains("n0[\"encoder.stem<br/>DoubleConv\"]"),
        "{mermaid}"
    );
    // The skips of both levels, beside the way through the deepest.
    assert!(mermaid.contains("n0 -->|1x4x64x64| n6"), "{mermaid}");
    assert!(mermaid.contains("n2 -->|1x8x32x32| n5"), "{mermaid}");
    assert!(mermaid.contains("n4 -->|1x16x16x16| n5"), "{mermaid}");
    assert!(mermaid.contains("n7 -->|1x2x64x64| output"), "{mermaid}");
    let dot = plan.diagram().dot();
    assert!(dot.contains("{ rank=same; n0; n6; n7 }"), "{dot}");
    assert!(dot.contains("n0 -> n6 [label=\"1x4x64x64\"]"), "{dot}");
    let refused = net.with_up(UpConfig::pixel_shuffle()).plan([1, 3, 45, 60]);
    let mermaid = refused.diagram().mermaid();
    assert!(
        mermaid.contains("decoder.steps.0<br/>UpsampleConcat: does not fit"),
        "{mermaid}"
    );
}

#[test]
fn a_summary_is_a_table_with_totals() {
    let plan = UnetConfig::new(3, 2, vec![4, 8]).plan([1, 3, 33, 20]);
    let text = plan.summary().with_depth(1).with_width(40).to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[0],
        "layer         output             parameters  mult-adds"
    );
    assert!(lines[3].starts_with("  encoder: …"), "{text}");
    // 3x3 kernels and norms: 3-4-4, 4-8-8, 12-4-4; a 1x1 kernel and its bias: 4-2.
    let weights = 9 * (12 + 16 + 32 + 64 + 48 + 16) + 8;
    assert_eq!(weights + 2 * (4 + 4 + 8 + 8 + 4 + 4) + 2, 1766);
    assert!(lines.contains(&"parameters: 1,766 (6.90 KiB)"), "{text}");
    let markdown = plan.summary().with_depth(1).markdown();
    assert!(
        markdown.starts_with(
            "| layer | output | parameters | mult-adds |\n| --- | --- | ---: | ---: |\n"
        )
    );
    let json: Value = serde_json::to_value(&plan).unwrap();
    assert_eq!(
        json["root"]["outputs"][0]["shape"],
        serde_json::json!([1, 2, 33, 20])
    );
    assert_eq!(
        "width".parse::<burn_skip::plan::Column>().unwrap_err(),
        "there is no column width; choose from input, output, parameters, mult-adds, bytes, saved, stride, field"
    );
}

#[test]
fn layers_of_several_maps_have_plans() {
    let plan = DirectSum::new().plan(&[[1, 8, 15, 15], [1, 8, 6, 6]]);
    assert_eq!(plan.root.outputs[0].shape, [1, 8, 21, 21]);
    let plan = FlattenPadReshape::new([21, 21]).plan([1, 8, 15, 15], [1, 8, 6, 6]);
    assert_eq!(plan.root.outputs[0].shape, [1, 8, 21, 21]);
    let plan = FlattenPadReshape::new([9, 9]).plan([1, 8, 15, 15], [1, 8, 6, 6]);
    let error = plan.error().unwrap().to_string();
    assert!(error.contains("225 + 36 positions do not fit"), "{error}");

    let gate = GateConfig::attention(4);
    let plan = gate.plan([1, 8, 15, 15], [1, 16, 15, 15]);
    let built = gate.init::<4>(8, 16, &Device::flex());
    assert_eq!(plan.root.outputs[0].shape, [1, 8, 15, 15]);
    // (Those of batch norm that are not learned are counted there, and not here.)
    assert!(plan.root.total_parameters() <= built.num_params() as u64);
    assert!(plan.root.total_parameters() > 4 * (8 + 16));
}

/// The places of the texts of an SVG: left, right and base line.
fn texts(svg: &str) -> Vec<[f64; 3]> {
    let number = |text: &str, key: &str| -> f64 {
        let rest = &text[text.find(key).unwrap() + key.len()..];
        rest[..rest.find('"').unwrap()].parse().unwrap()
    };
    let texts = svg.split("<text ").skip(1);
    texts
        .map(|text| {
            let word = &text[text.find('>').unwrap() + 1..text.find('<').unwrap()];
            let half = 3.0 * word.len() as f64;
            let x = number(text, "x=\"");
            [x - half, x + half, number(text, "y=\"")]
        })
        .collect()
}

#[test]
fn a_picture_has_every_box_and_no_word_on_another() {
    let unet = NetConfig::Unet(UnetConfig::new(3, 2, vec![32, 64, 128, 256]));
    for net in [unet, network("smp_unet_resnet18")] {
        for depth in [1, 2] {
            let plan = net.plan(&[1, 3, 64, 64]).unwrap();
            let svg = plan.diagram().with_depth(depth).svg();
            assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
            assert_eq!(svg.matches('<').count(), svg.matches('>').count());
            let boxes = plan
                .diagram()
                .with_depth(depth)
                .mermaid()
                .matches("[\"")
                .count();
            // (One is the paper.)
            assert_eq!(svg.matches("<rect ").count(), boxes + 1, "{svg}");
            let texts = texts(&svg);
            for (index, a) in texts.iter().enumerate() {
                for b in &texts[..index] {
                    let apart = a[1] <= b[0] || b[1] <= a[0] || (a[2] - b[2]).abs() >= 11.0;
                    assert!(apart, "{a:?} and {b:?} at depth {depth}: {svg}");
                }
            }
        }
    }
}

/// What is recorded grows as the network does: the nodes of two chains, one of which is twice as long.
#[test]
fn a_plan_of_16_000_layers_is_linear() {
    use burn_skip::block::ConvNormActConfig;
    let chain = |layers: usize| vec![ConvNormActConfig::new([2, 2], 3); layers];
    let plan = |layers| chain(layers).plan([1, 2, 9, 9]);
    let (half, whole) = (plan(8_000), plan(16_000));
    assert_eq!(whole.nodes().len(), 1 + 4 * 16_000);
    assert_eq!(whole.nodes().len() - 1, 2 * (half.nodes().len() - 1));
    assert_eq!(
        whole.root.total_mult_adds(),
        2 * half.root.total_mult_adds()
    );
    assert_eq!(whole.memory.weights, 2 * half.memory.weights);
    // A map of each layer waits for its gradient; inference holds two at a time.
    let saved = |plan: &Plan| plan.memory.saved_for_backward;
    let map = whole.root.outputs[0].bytes();
    assert_eq!(saved(&whole) - saved(&half), 8_000 * map);
    let maps = |plan: &Plan| plan.memory.inference - plan.memory.weights;
    assert_eq!(maps(&whole), maps(&half));
}

/// A plan computes with sizes, and never walks over the positions of a map: this takes no time.
#[test]
fn a_resize_by_area_to_2_to_the_32_is_planned_at_once() {
    use burn_skip::UpsampleConcatConfig;
    use burn_skip::resize::ResizeMode;
    use burn_skip::up::UpConfig;
    const MAX: usize = u32::MAX as usize;
    for mode in [ResizeMode::Area, ResizeMode::Nearest, ResizeMode::linear()] {
        for (from, to) in [(MAX - 2, MAX), (MAX, 7), (3, MAX)] {
            let step = UpsampleConcatConfig::new(1, 1, 1).with_up(UpConfig::resize(mode));
            let plan = step.plan([1, 1, from], [1, 1, to]);
            assert!(plan.error().is_none(), "{:?}", plan.error());
            assert_eq!(plan.root.outputs[0].shape, [1, 1, to]);
        }
    }
}

/// The label of a layer decides nothing: a user's `Conv` is one opaque node, and what it saves follows from that.
#[test]
fn a_label_decides_nothing() {
    let plan = |label: &str| {
        Plan::new([1, 8, 16, 16], |planner, x| {
            let y = planner.opaque(label, x, 8 * 8 * 9, Ok(x.shape))?;
            planner
                .opaque("BatchNorm", &y, 16, Ok(x.shape))
                .map(|y| vec![y])
        })
    };
    let [conv, other] = ["Conv", "Whatever"].map(plan);
    assert_eq!(conv.memory, other.memory);
    assert!(conv.root.children.iter().all(|node| node.op == Op::Opaque));
}

/// Burn's own layers run Burn's operations: nothing is fused with them.
#[test]
fn burns_own_layers_save_what_burn_saves() {
    use burn::nn::{BatchNormConfig, PaddingConfig2d, Relu, conv::Conv2dConfig};
    let device = Device::flex();
    let conv = Conv2dConfig::new([8, 8], [3, 3]).with_padding(PaddingConfig2d::Same);
    let own = (
        conv.init(&device),
        BatchNormConfig::new(8).init(&device),
        Relu::new(),
    );
    let input = [1, 8, 16, 16];
    let of_burn = Trace::<4>::plan(&own, input);
    let fused = ConvNormActConfig::new([8, 8], 3).plan(input);
    let executors = |plan: &Plan| -> Vec<_> {
        plan.root
            .children
            .iter()
            .map(|node| node.executor)
            .collect()
    };
    assert_eq!(executors(&of_burn), [Executor::Burn; 3]);
    assert_eq!(executors(&fused), [Executor::Dispatch; 3]);
    let map = of_burn.root.outputs[0].bytes();
    // The outputs of the convolution and of the norm, where the kernels save the first alone.
    assert_eq!(of_burn.memory.saved_for_backward, 2 * map);
    assert_eq!(fused.memory.saved_for_backward, map);
}

/// In inference, a residual is added by the convolution of the block, and not by that of the projection.
#[test]
fn a_projected_residual_holds_no_map_for_its_sum() {
    use burn_skip::SkipAddConfig;
    let device = Device::flex();
    let block = ConvNormActConfig::new([8, 16], 3).with_activation(None);
    let residual = SkipAddConfig::new([8, 16]).init(block.init::<4>(&device), &device);
    let plan = Trace::<4>::plan(&residual, [1, 8, 16, 16]);
    let [input, map] = [&plan.root.inputs[0], &plan.root.outputs[0]].map(|map| map.bytes());
    // The weight of the 3x3 convolution in the order in which it is read.
    let interleaved = 4 * 16 * 8 * 9;
    // The input, the projection and the output of the block, to which the projection is added.
    assert_eq!(
        plan.memory.inference - plan.memory.weights,
        input + 2 * map + interleaved
    );
}
