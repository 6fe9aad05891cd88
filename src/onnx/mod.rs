//! ONNX models of networks, for programs in other languages: ONNX Runtime, TensorRT, OpenVINO, a browser.
//!
//! [`export`] writes a network as it computes in inference: from its [plan](crate::plan), which has each operation with its
//! numbers, and the tensors of the module. Batch norms are folded into the convolution before them. The operators are those
//! of opset 18, the numbers f32.
//!
//! The sizes of the batch and of the spatial axes stay open: the network is planned for inputs of several sizes, and a size
//! of a map that differs between them becomes that of another map when the model runs. So one file takes odd sizes,
//! too, where the network does. With [`Sizes::Fixed`] all sizes are numbers, which some programs ask for.
//!
//! # Example
//! ```
//! use burn::tensor::Device;
//! use burn_skip::net::{Unet, UnetConfig};
//! use burn_skip::onnx::{OnnxOptions, export};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let net: Unet = UnetConfig::new(3, 2, vec![4, 8]).init(&Device::flex());
//! let model = export(&net, [1, 3, 45, 61], &OnnxOptions::new())?;
//! assert_eq!(model.to_string(), "input [batch, 3, height, width], output [batch, 2, height, width]");
//! let path = std::env::temp_dir().join("unet_of_the_docs.onnx");
//! std::fs::write(&path, model.into_bytes())?;
//! # Ok(())
//! # }
//! ```

mod builder;
mod dims;
mod error;
mod fold;
mod ops;
mod probes;
mod proto;
#[cfg(test)]
mod tests;
mod weights;

pub use error::OnnxError;

use std::collections::BTreeMap;
use std::fmt;

use burn::module::Module;
use prost::Message;

use crate::graph::{Map, Planner};
use crate::plan::Trace;
use crate::shape::{ShapeError, axis_name};

use builder::Builder;
use dims::{Dims, MapAxis, Size};
use fold::{FoldedNorm, folded};
use ops::Lowering;
use probes::Probes;
use proto::{Dimension, GraphProto, ModelProto, OperatorSetIdProto, ValueInfoProto};
use weights::Weights;

/// The version of ONNX's operators.
const OPSET: i64 = 18;

/// The version of the format that came with them.
const IR_VERSION: i64 = 8;

/// Which sizes of the input an ONNX model takes.
///
/// # Example
/// ```
/// use burn::tensor::Device;
/// use burn_skip::conv::{Conv, ConvConfig};
/// use burn_skip::onnx::{OnnxOptions, Sizes, export};
///
/// let conv: Conv<3> = ConvConfig::new([3, 8], 3).with_stride(2).init(&Device::flex());
/// let shapes = |sizes| {
///     let options = OnnxOptions::new().with_sizes(sizes);
///     export(&conv, [1, 3, 33], &options).unwrap().to_string()
/// };
/// assert_eq!(shapes(Sizes::Dynamic), "input [batch, 3, length], output [batch, 8, output_length]");
/// assert_eq!(shapes(Sizes::Fixed), "input [1, 3, 33], output [1, 8, 17]");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sizes {
    /// All that the network takes. They are found by planning it for the given input and larger ones: an axis of which
    /// no other size fits stays as it is.
    #[default]
    Dynamic,
    /// That of the given input, with its batch.
    Fixed,
}

/// Options of [`export`].
///
/// # Example
/// ```
/// use burn_skip::onnx::{OnnxOptions, Sizes};
///
/// assert_eq!(OnnxOptions::new().sizes, Sizes::Dynamic);
/// assert_eq!(OnnxOptions::new().with_sizes(Sizes::Fixed).sizes, Sizes::Fixed);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OnnxOptions {
    /// Which sizes of the input the model takes. Default: [`Sizes::Dynamic`].
    pub sizes: Sizes,
}

impl OnnxOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the field `sizes`.
    pub fn with_sizes(mut self, sizes: Sizes) -> Self {
        self.sizes = sizes;
        self
    }
}

/// A network as an ONNX model. It shows as the shapes of its inputs and outputs.
///
/// See [`export`].
#[derive(Clone, PartialEq)]
pub struct OnnxModel {
    proto: ModelProto,
    /// The length of the file, which was checked.
    bytes: usize,
}

impl OnnxModel {
    /// The bytes of the file: `model.onnx`.
    pub fn into_bytes(self) -> Vec<u8> {
        self.proto.encode_to_vec()
    }

    /// How many nodes there are of each operator.
    pub fn operators(&self) -> BTreeMap<&str, usize> {
        self.graph().counts()
    }

    fn graph(&self) -> &GraphProto {
        match &self.proto.graph {
            Some(graph) => graph,
            None => unreachable!("a model is built with its graph"),
        }
    }
}

impl fmt::Debug for OnnxModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnnxModel")
            .field("shapes", &self.to_string())
            .field("nodes", &self.graph().node.len())
            .field("bytes", &self.bytes)
            .finish()
    }
}

impl fmt::Display for OnnxModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let graph = self.graph();
        for (index, value) in graph.input.iter().chain(&graph.output).enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}{} [{}]", value.name, value.sizes().join(", "))?;
        }
        Ok(())
    }
}

/// Writes a network as an ONNX model: for the input `input`, or, with [`Sizes::Dynamic`], for all sizes that it takes.
///
/// The values are those of `forward` in inference, up to rounding.
///
/// # Errors
/// When the network refuses `input`, has a layer of which only the shapes are known, or sizes that follow from that of the
/// input in no known way.
///
/// # Example
/// ```
/// use burn::tensor::Device;
/// use burn_skip::block::{DoubleConv, DoubleConvConfig};
/// use burn_skip::onnx::{OnnxOptions, export};
///
/// let block: DoubleConv<5> = DoubleConvConfig::new([3, 16]).init(&Device::flex());
/// let model = export(&block, [1, 3, 8, 8, 8], &OnnxOptions::new()).unwrap();
/// // The batch norms are folded into the convolutions.
/// assert_eq!(model.operators().into_iter().collect::<Vec<_>>(), [("Conv", 2), ("Relu", 2)]);
/// ```
pub fn export<const R: usize, N: Module + Trace<R>>(
    net: &N,
    input: [usize; R],
    options: &OnnxOptions,
) -> Result<OnnxModel, OnnxError> {
    export_traced(net, input, options, |planner, x| {
        Ok(vec![net.trace(planner, x)?])
    })
}

/// As [`export`], of what `trace` records, whose parameters `module` holds: for networks with several outputs, or with an
/// output of another rank than the input, such as classifiers.
///
/// # Errors
/// As [`export`].
///
/// # Example
/// ```
/// use burn::tensor::Device;
/// use burn_skip::net::{Classifier, PlainEncoderConfig};
/// use burn_skip::onnx::{OnnxOptions, export_traced};
///
/// let device = Device::flex();
/// let net = Classifier::new(PlainEncoderConfig::new(3, vec![4, 8]).init::<4>(&device), 10, &device);
/// let trace = |planner: &mut _, x: &_| Ok(vec![net.trace(planner, x)?]);
/// let model = export_traced(&net, [1, 3, 32, 32], &OnnxOptions::new(), trace).unwrap();
/// assert_eq!(model.to_string(), "input [batch, 3, height, width], output [batch, 10]");
/// ```
pub fn export_traced<const R: usize, const O: usize>(
    module: &impl Module,
    input: [usize; R],
    options: &OnnxOptions,
    trace: impl Fn(&mut Planner, &Map<R>) -> Result<Vec<Map<O>>, ShapeError>,
) -> Result<OnnxModel, OnnxError> {
    let probes = Probes::new(input, options.sizes, trace)?;
    let graph = lower(&probes, &Weights::of(module), options.sizes)?;
    let proto = ModelProto {
        ir_version: IR_VERSION,
        opset_import: vec![OperatorSetIdProto {
            domain: String::new(),
            version: OPSET,
        }],
        producer_name: env!("CARGO_PKG_NAME").into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        graph: Some(graph),
    };
    match proto.encoded_len() {
        bytes if bytes <= i32::MAX as usize => Ok(OnnxModel { proto, bytes }),
        bytes => Err(OnnxError::TooLarge { bytes }),
    }
}

/// The graph of the planned network.
fn lower(probes: &Probes, weights: &Weights, sizes: Sizes) -> Result<GraphProto, OnnxError> {
    let (input, input_shapes) = probes.input();
    let outputs = probes.outputs();
    let leaves = probes.leaves();
    let mut lowering = Lowering {
        builder: Builder::default(),
        weights,
        dims: Dims::default(),
        values: BTreeMap::new(),
        folded: None,
    };
    let name = lowering.builder.unique("input");
    lowering.values.insert(input, name);
    lowering.dims.insert(input, &input_shapes);
    let output_ids: Vec<usize> = outputs.iter().map(|(id, _)| *id).collect();
    let folded = folded(&leaves, &output_ids);
    for (index, leaf) in leaves.iter().enumerate() {
        let norm = folded.get(&index).map(|&norm| &leaves[norm]);
        lowering.folded = norm.and_then(FoldedNorm::new);
        let is_folded = folded.values().any(|&norm| norm == index);
        let value = match is_folded {
            true => lowering
                .values
                .get(&leaf.input(0))
                .cloned()
                .unwrap_or_default(),
            false => lowering.lower(leaf)?,
        };
        let output = leaf.node().outputs[0].id;
        lowering.values.insert(output, value);
        lowering.dims.insert(output, &leaf.output_shapes());
    }
    let batch = |size: usize| match sizes {
        Sizes::Dynamic => Dimension::Name("batch".into()),
        Sizes::Fixed => Dimension::Value(size as i64),
    };
    // The sizes of the input are named, where there are several.
    let input_name = |axis: usize| axis_name(axis, input_shapes[0].len()).to_string();
    let dimension = |size: Size, axis: usize, rank: usize| match size {
        Size::Known(size) => Dimension::Value(size as i64),
        Size::Of {
            axis: MapAxis { map, axis },
            times: 1,
        } if map == input => Dimension::Name(input_name(axis)),
        _ => Dimension::Name(format!("output_{}", axis_name(axis, rank))),
    };
    let shape_of = |dims: &Dims, shapes: &[&[usize]]| -> Vec<Dimension> {
        let axes = (1..shapes[0].len()).map(|axis| {
            let wanted: Vec<usize> = shapes.iter().map(|shape| shape[axis]).collect();
            let size = dims.size(&wanted, MapAxis { map: input, axis });
            let unknown = Dimension::Name(format!("output_{}", axis_name(axis, shapes[0].len())));
            size.map_or(unknown, |size| dimension(size, axis, shapes[0].len()))
        });
        core::iter::once(batch(shapes[0][0])).chain(axes).collect()
    };
    let input_value = ValueInfoProto::map("input", shape_of(&lowering.dims, &input_shapes));
    let mut output_values = Vec::new();
    for (index, (id, shapes)) in outputs.iter().enumerate() {
        let name = match outputs.len() {
            1 => "output".to_string(),
            _ => format!("output_{index}"),
        };
        let Some(value) = lowering.values.get(id).cloned() else {
            let reason = "no layer computes this output".into();
            return Err(OnnxError::Weight { path: name, reason });
        };
        // (Two outputs may be one value, and an output the input.)
        lowering.builder.enter("");
        let is_taken = value == "input"
            || output_values
                .iter()
                .any(|other: &ValueInfoProto| other.name == value);
        let value = match is_taken {
            true => lowering.builder.unary("Identity", &value),
            false => value,
        };
        lowering.builder.rename(&value, &name);
        lowering.values.insert(*id, name.clone());
        output_values.push(ValueInfoProto::map(&name, shape_of(&lowering.dims, shapes)));
    }
    Ok(GraphProto {
        name: "burn-skip".into(),
        input: vec![input_value],
        output: output_values,
        ..lowering.builder.finish()
    })
}
