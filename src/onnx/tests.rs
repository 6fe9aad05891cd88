//! Models of small networks, decoded from their bytes, against literals.

use burn::module::{Module, Param};
use burn::nn::Linear;
use burn::tensor::{Device, Tensor};
use prost::Message;

use super::proto::{AttributeProto, Dimension, GraphProto, ModelProto, NodeProto};
use super::*;
use crate::activation::ActivationConfig;
use crate::block::{ConvNormAct, ConvNormActConfig};
use crate::conv::{Conv, ConvConfig};
use crate::fit::Fit;
use crate::fuse::{SkipConcatConfig, UpsampleConcatConfig};
use crate::graph::{Op, Record};
use crate::net::{Unet, UnetConfig};
use crate::norm::NormConfig;
use crate::plan::Trace;
use crate::up::UpConfig;

/// The graph in the bytes of a file.
fn decoded(model: OnnxModel) -> GraphProto {
    let model = ModelProto::decode(&model.into_bytes()[..]).unwrap();
    assert_eq!(
        (model.ir_version, &model.producer_name[..]),
        (8, "burn-skip")
    );
    let opset = &model.opset_import[0];
    assert_eq!((&opset.domain[..], opset.version), ("", 18));
    model.graph.unwrap()
}

fn exported<const R: usize>(net: &(impl Module + Trace<R>), input: [usize; R]) -> GraphProto {
    decoded(export(net, input, &OnnxOptions::new()).unwrap())
}

fn operators(graph: &GraphProto) -> Vec<&str> {
    graph.node.iter().map(|node| &node.op_type[..]).collect()
}

fn ints<'a>(node: &'a NodeProto, name: &str) -> &'a [i64] {
    let attribute = node.attribute.iter().find(|a| a.name == name).unwrap();
    &attribute.ints
}

/// The numbers of an initializer.
fn numbers(graph: &GraphProto, name: &str) -> Vec<f32> {
    let tensor = graph.initializer.iter().find(|t| t.name == name).unwrap();
    let numbers = tensor.raw_data.chunks_exact(4);
    numbers
        .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()))
        .collect()
}

#[test]
fn a_convolution_is_one_node_with_its_numbers() {
    let config = ConvConfig::new([4, 6], [3, 2])
        .with_stride([2, 1])
        .with_groups(2)
        .with_padding(crate::Padding::explicit([1, 0]));
    let conv: Conv = config.init(&Device::flex());
    let graph = exported(&conv, [1, 4, 9, 9]);
    let [node] = &graph.node[..] else {
        panic!("{:?}", operators(&graph))
    };
    assert_eq!((&node.op_type[..], &node.name[..]), ("Conv", "Conv"));
    assert_eq!(node.input, ["input", "weight", "bias"]);
    assert_eq!(node.output, ["output"]);
    assert_eq!(ints(node, "kernel_shape"), [3, 2]);
    assert_eq!(ints(node, "strides"), [2, 1]);
    assert_eq!(ints(node, "dilations"), [1, 1]);
    assert_eq!(ints(node, "pads"), [1, 0, 1, 0]);
    assert!(node.attribute.contains(&AttributeProto::int("group", 2)));
    let weight = &graph.initializer[0];
    assert_eq!(
        (&weight.name[..], &weight.dims[..]),
        ("weight", &[6, 2, 3, 2][..])
    );
    assert_eq!(weight.raw_data.len(), 4 * 6 * 2 * 3 * 2);
}

#[test]
fn sizes_of_the_batch_and_the_axes_are_open_or_fixed() {
    let conv: Conv<3> = ConvConfig::new([1, 1], 2)
        .with_stride(2)
        .init(&Device::flex());
    let dims = |sizes| {
        let options = OnnxOptions::new().with_sizes(sizes);
        let graph = decoded(export(&conv, [3, 1, 8], &options).unwrap());
        let tensor = graph.output[0].r#type.clone().unwrap().tensor_type.unwrap();
        let dims = tensor.shape.unwrap().dim.into_iter();
        dims.map(|dim| dim.value.unwrap()).collect::<Vec<_>>()
    };
    let name = |name: &str| Dimension::Name(name.into());
    let (batch, length) = (name("batch"), name("output_length"));
    assert_eq!(dims(Sizes::Dynamic), [batch, Dimension::Value(1), length]);
    assert_eq!(dims(Sizes::Fixed), [3, 1, 4].map(Dimension::Value));
}

#[test]
fn a_norm_is_folded_into_the_convolution_before_it() {
    let device = Device::flex();
    let config = ConvNormActConfig::new([1, 2], 1).with_norm(NormConfig::Batch {
        epsilon: 1e-12,
        momentum: 0.1,
    });
    let mut block: ConvNormAct<3> = config.init(&device);
    let two = |values: [f32; 2]| Tensor::<1>::from_floats(values, &device);
    block.conv.weight = Param::from_tensor(two([3.0, 5.0]).reshape([2, 1, 1]));
    let Some(burn::nn::norm::Normalization::Batch(norm)) = &mut block.norm else {
        panic!("it has a batch norm")
    };
    norm.gamma = Param::from_tensor(two([2.0, 1.0]));
    norm.beta = Param::from_tensor(two([0.5, -1.0]));
    norm.running_mean.update(two([1.0, 3.0]));
    norm.running_var.update(two([4.0, 0.25]));
    let graph = exported(&block, [1, 1, 5]);
    assert_eq!(operators(&graph), ["Conv", "Relu"]);
    assert_eq!(graph.node[0].name, "conv/Conv");
    // (3 x - 1) 2 / 2 + 0.5, and (5 x - 3) / 0.5 - 1
    assert_eq!(numbers(&graph, "conv.weight"), [3.0, 10.0]);
    assert_eq!(numbers(&graph, "conv.bias"), [-0.5, -7.0]);
}

#[test]
fn a_norm_whose_input_is_read_elsewhere_stays() {
    let device = Device::flex();
    let net = SkipConcatConfig::new().init(NormConfig::batch().init(2, &device));
    let net = (ConvConfig::new([1, 2], 1).init::<3>(&device), net);
    let graph = exported(&net, [1, 1, 5]);
    assert_eq!(operators(&graph), ["Conv", "BatchNormalization", "Concat"]);
    let norm = &graph.node[1];
    assert_eq!(
        norm.input[1..],
        [
            "1.block.gamma",
            "1.block.beta",
            "1.block.running_mean",
            "1.block.running_var"
        ]
    );
}

#[test]
fn a_resize_reads_its_size_from_the_skip() {
    let device = Device::flex();
    let config = SkipConcatConfig::new()
        .with_fit(Fit::Resize(crate::resize::ResizeMode::linear()))
        .with_target(crate::fit::Target::Skip);
    let half: Conv = ConvConfig::new([1, 1], 3).with_stride(2).init(&device);
    let graph = exported(&config.init(half), [1, 1, 9, 9]);
    let wanted = ["Conv", "Shape", "Shape", "Concat", "Resize", "Concat"];
    assert_eq!(operators(&graph), wanted);
    // The spatial sizes of the input, behind the batch and the channels of the map.
    assert_eq!(graph.node[1].input, ["input"]);
    assert!(
        graph.node[1]
            .attribute
            .contains(&AttributeProto::int("start", 2))
    );
    let mode = AttributeProto::string("coordinate_transformation_mode", "half_pixel");
    assert!(graph.node[4].attribute.contains(&mode));
    // Odd sizes need no padding attribute of their own: TensorFlow's rule is one of ONNX.
    let pad = AttributeProto::string("auto_pad", "SAME_UPPER");
    assert!(graph.node[0].attribute.contains(&pad));
}

#[test]
fn a_network_has_one_node_for_each_layer_when_it_is_of_one_size() {
    let net: Unet = UnetConfig::new(3, 2, vec![4, 8]).init(&Device::flex());
    let options = OnnxOptions::new().with_sizes(Sizes::Fixed);
    let model = export(&net, [1, 3, 16, 16], &options).unwrap();
    let counts: Vec<_> = model.operators().into_iter().collect();
    let wanted = [
        ("Concat", 1),
        ("Conv", 7),
        ("MaxPool", 1),
        ("Relu", 6),
        ("Resize", 1),
    ];
    assert_eq!(counts, wanted);
    assert_eq!(
        model.to_string(),
        "input [1, 3, 16, 16], output [1, 2, 16, 16]"
    );
}

/// A layer of which only the shapes are known.
#[derive(Module, Debug)]
struct Unknown {
    linear: Linear,
}

impl Trace<4> for Unknown {
    fn trace(&self, planner: &mut Planner, x: &Map<4>) -> Result<Map<4>, ShapeError> {
        planner.opaque("Unknown", x, 6, Ok(x.shape))
    }
}

#[test]
fn a_layer_of_which_only_the_shapes_are_known_is_refused_by_name() {
    let device = Device::flex();
    let linear = burn::nn::LinearConfig::new(2, 3).init(&device);
    let net = (
        ConvConfig::new([1, 1], 1).init::<4>(&device),
        Unknown { linear },
    );
    let error = export(&net, [1, 1, 4, 4], &OnnxOptions::new()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "1.Unknown: only the shapes of this layer are known, so that it cannot be written as ONNX. Record an operation \
         in its trace (plan::Op), or build it of layers that do."
    );
}

#[test]
fn what_follows_from_no_other_size_is_refused_unless_it_is_fixed() {
    let net = ActivationConfig::Relu.init(&Device::flex());
    // A third more than the input, rounded up.
    let trace = |planner: &mut Planner, x: &Map<3>| {
        let [batch, channels, length] = x.shape;
        let output = [batch, channels, (length * 4).div_ceil(3)];
        let op = Op::Resize(crate::resize::ResizeMode::linear());
        Ok(vec![
            planner
                .at("up")
                .leaf("Up", &[x], || Ok(Record::new(op, output)))?,
        ])
    };
    let export = |sizes| {
        let options = OnnxOptions::new().with_sizes(sizes);
        export_traced(&net, [1, 1, 8], &options, trace)
    };
    let text = export(Sizes::Dynamic).unwrap_err().to_string();
    assert!(
        text.starts_with("up.Up: an axis has [11, 12, 14, 15, "),
        "{text}"
    );
    assert!(
        text.ends_with("Export for one size (Sizes::Fixed, --fixed)."),
        "{text}"
    );
    let model = export(Sizes::Fixed).unwrap();
    assert_eq!(model.to_string(), "input [1, 1, 8], output [1, 1, 11]");
}

#[test]
fn layers_that_differ_with_the_size_are_refused() {
    let net = ActivationConfig::Relu.init(&Device::flex());
    let trace = |planner: &mut Planner, x: &Map<3>| match x.shape[2] % 2 {
        0 => Ok(vec![ActivationConfig::Relu.trace(planner.at("even"), x)?]),
        _ => Ok(vec![ActivationConfig::Tanh.trace(planner.at("odd"), x)?]),
    };
    let error = export_traced(&net, [1, 1, 8], &OnnxOptions::new(), trace).unwrap_err();
    assert_eq!(
        error.to_string(),
        "even: the network has other layers for inputs of the shape [1, 1, 8] than for [1, 1, 9]. Export for one size \
         (Sizes::Fixed, --fixed)."
    );
}

#[test]
fn parameters_of_another_module_are_missed() {
    let device = Device::flex();
    let [one, other]: [Conv; 2] = [1, 3].map(|size| ConvConfig::new([1, 1], size).init(&device));
    let trace = |planner: &mut Planner, x: &Map<4>| Ok(vec![other.trace(planner.at("conv"), x)?]);
    let text = |error: OnnxError| error.to_string();
    let error = export_traced(&one, [1, 1, 4, 4], &OnnxOptions::new(), trace).unwrap_err();
    assert_eq!(
        text(error),
        "conv.weight: the module holds no such tensor. Give the network whose layers were traced."
    );
    let trace = |planner: &mut Planner, x: &Map<4>| Ok(vec![other.trace(planner, x)?]);
    let error = export_traced(&one, [1, 1, 4, 4], &OnnxOptions::new(), trace).unwrap_err();
    assert_eq!(
        text(error),
        "weight: it has 1 numbers in the module, and 9 in the plan. Give the network whose layers were traced."
    );
}

#[test]
fn a_step_of_a_decoder_pads_by_what_the_skip_has_more() {
    let device = Device::flex();
    let step = UpsampleConcatConfig::new(2, 1, 1)
        .with_up(UpConfig::conv_transpose())
        .init::<4>(&device);
    let half: Conv = ConvConfig::new([1, 2], 2)
        .with_stride(2)
        .with_padding(crate::Padding::Valid)
        .init(&device);
    let net = (half, step);
    let trace = |planner: &mut Planner, x: &Map<4>| {
        let deep = net.0.trace(planner.at(0), x)?;
        Ok(vec![net.1.trace(planner.at(1), &deep, x)?])
    };
    let graph = decoded(export_traced(&net, [1, 1, 8, 8], &OnnxOptions::new(), trace).unwrap());
    let transposed = graph
        .node
        .iter()
        .find(|node| node.op_type == "ConvTranspose");
    // As long as the layer can make it; a slice leaves what the skip has.
    assert_eq!(ints(transposed.unwrap(), "output_padding"), [1, 1]);
    assert!(graph.node.iter().any(|node| node.op_type == "Slice"));
}

#[test]
fn outputs_may_be_one_value_and_the_input() {
    let net = ActivationConfig::Relu.init(&Device::flex());
    let trace = |planner: &mut Planner, x: &Map<3>| {
        let y = ActivationConfig::Relu.trace(planner.at("relu"), x)?;
        Ok(vec![y.clone(), y, x.clone()])
    };
    let model = export_traced(&net, [1, 2, 8], &OnnxOptions::new(), trace).unwrap();
    let shape = "[batch, 2, length]";
    let wanted =
        ["input", "output_0", "output_1", "output_2"].map(|name| format!("{name} {shape}"));
    assert_eq!(model.to_string(), wanted.join(", "));
    let graph = decoded(model);
    let values: Vec<_> = graph
        .node
        .iter()
        .map(|n| (&n.input[0][..], &n.output[0][..]))
        .collect();
    let wanted = [
        ("input", "output_0"),
        ("output_0", "output_1"),
        ("input", "output_2"),
    ];
    assert_eq!(values, wanted);
}
