//! [`OnnxModel`]: a network as an ONNX model.

use std::collections::BTreeMap;
use std::fmt;

use prost::Message;

use super::OnnxError;
use super::proto::{GraphProto, ModelProto, OperatorSetIdProto};

/// The version of ONNX's operators.
const OPSET: i64 = 18;

/// The version of the format that came with them.
const IR_VERSION: i64 = 8;

/// A network as an ONNX model. It shows as the shapes of its inputs and outputs.
///
/// See [`export`](super::export).
#[derive(Clone, PartialEq)]
pub struct OnnxModel {
    proto: ModelProto,
    /// The length of the file, which was checked.
    bytes: usize,
}

impl OnnxModel {
    /// The model with this graph.
    ///
    /// # Errors
    /// When it is too large for a file.
    pub(super) fn new(graph: GraphProto) -> Result<Self, OnnxError> {
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
            bytes if bytes <= i32::MAX as usize => Ok(Self { proto, bytes }),
            bytes => Err(OnnxError::TooLarge { bytes }),
        }
    }

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
