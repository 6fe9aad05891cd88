//! The messages of an ONNX model, as far as they are written here: the fields of `onnx.proto3` with their numbers (ONNX
//! 1.15, IR version 8).

use std::collections::BTreeMap;

use prost::{Enumeration, Message, Oneof};

#[derive(Clone, PartialEq, Message)]
pub(super) struct ModelProto {
    #[prost(int64, tag = "1")]
    pub ir_version: i64,
    #[prost(message, repeated, tag = "8")]
    pub opset_import: Vec<OperatorSetIdProto>,
    #[prost(string, tag = "2")]
    pub producer_name: String,
    #[prost(string, tag = "3")]
    pub producer_version: String,
    #[prost(message, optional, tag = "7")]
    pub graph: Option<GraphProto>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct OperatorSetIdProto {
    #[prost(string, tag = "1")]
    pub domain: String,
    #[prost(int64, tag = "2")]
    pub version: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct GraphProto {
    #[prost(message, repeated, tag = "1")]
    pub node: Vec<NodeProto>,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(message, repeated, tag = "5")]
    pub initializer: Vec<TensorProto>,
    #[prost(message, repeated, tag = "11")]
    pub input: Vec<ValueInfoProto>,
    #[prost(message, repeated, tag = "12")]
    pub output: Vec<ValueInfoProto>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct NodeProto {
    #[prost(string, repeated, tag = "1")]
    pub input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub output: Vec<String>,
    #[prost(string, tag = "3")]
    pub name: String,
    #[prost(string, tag = "4")]
    pub op_type: String,
    #[prost(message, repeated, tag = "5")]
    pub attribute: Vec<AttributeProto>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct AttributeProto {
    #[prost(string, tag = "1")]
    pub name: String,
    // (A field that is set is written, also where it is zero: the type says which one is read.)
    #[prost(float, tag = "2")]
    pub f: f32,
    #[prost(int64, tag = "3")]
    pub i: i64,
    #[prost(bytes = "vec", tag = "4")]
    pub s: Vec<u8>,
    #[prost(int64, repeated, tag = "8")]
    pub ints: Vec<i64>,
    #[prost(enumeration = "AttributeType", tag = "20")]
    pub r#type: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub(super) enum AttributeType {
    Undefined = 0,
    Float = 1,
    Int = 2,
    String = 3,
    Ints = 7,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TensorProto {
    #[prost(int64, repeated, tag = "1")]
    pub dims: Vec<i64>,
    #[prost(enumeration = "DataType", tag = "2")]
    pub data_type: i32,
    #[prost(string, tag = "8")]
    pub name: String,
    /// The numbers, little-endian.
    #[prost(bytes = "vec", tag = "9")]
    pub raw_data: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub(super) enum DataType {
    Undefined = 0,
    Float = 1,
    Int64 = 7,
    Bool = 9,
    Double = 11,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ValueInfoProto {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, optional, tag = "2")]
    pub r#type: Option<TypeProto>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TypeProto {
    #[prost(message, optional, tag = "1")]
    pub tensor_type: Option<TensorTypeProto>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TensorTypeProto {
    #[prost(enumeration = "DataType", tag = "1")]
    pub elem_type: i32,
    #[prost(message, optional, tag = "2")]
    pub shape: Option<TensorShapeProto>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TensorShapeProto {
    #[prost(message, repeated, tag = "1")]
    pub dim: Vec<DimensionProto>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct DimensionProto {
    #[prost(oneof = "Dimension", tags = "1, 2")]
    pub value: Option<Dimension>,
}

/// A size: a number, or the name of one that is known when the model runs.
#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Dimension {
    #[prost(int64, tag = "1")]
    Value(i64),
    #[prost(string, tag = "2")]
    Name(String),
}

impl TensorProto {
    pub fn floats(name: String, dims: &[usize], values: &[f32]) -> Self {
        Self {
            name,
            dims: dims.iter().map(|&size| size as i64).collect(),
            data_type: DataType::Float as i32,
            raw_data: values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect(),
        }
    }

    pub fn ints(name: String, dims: &[usize], values: &[i64]) -> Self {
        Self {
            name,
            dims: dims.iter().map(|&size| size as i64).collect(),
            data_type: DataType::Int64 as i32,
            raw_data: values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect(),
        }
    }
}

impl ValueInfoProto {
    /// A map of f32.
    pub fn map(name: &str, dimensions: Vec<Dimension>) -> Self {
        let dim = dimensions
            .into_iter()
            .map(|value| DimensionProto { value: Some(value) });
        let tensor_type = TensorTypeProto {
            elem_type: DataType::Float as i32,
            shape: Some(TensorShapeProto { dim: dim.collect() }),
        };
        Self {
            name: name.into(),
            r#type: Some(TypeProto {
                tensor_type: Some(tensor_type),
            }),
        }
    }
}

impl ValueInfoProto {
    /// The sizes of its axes, for readers.
    pub fn sizes(&self) -> Vec<String> {
        let tensor = self.r#type.as_ref().and_then(|of| of.tensor_type.as_ref());
        let shape = tensor.and_then(|tensor| tensor.shape.as_ref());
        let dims = shape.map_or(&[][..], |shape| &shape.dim);
        let size = |dim: &DimensionProto| match &dim.value {
            Some(Dimension::Value(size)) => size.to_string(),
            Some(Dimension::Name(name)) => name.clone(),
            None => String::from("?"),
        };
        dims.iter().map(size).collect()
    }
}

impl AttributeProto {
    fn of(name: &str, kind: AttributeType) -> Self {
        Self {
            name: name.into(),
            r#type: kind as i32,
            ..Self::default()
        }
    }

    pub fn int(name: &str, value: usize) -> Self {
        Self::signed(name, value as i64)
    }

    pub fn signed(name: &str, value: i64) -> Self {
        Self {
            i: value,
            ..Self::of(name, AttributeType::Int)
        }
    }

    pub fn ints(name: &str, values: impl IntoIterator<Item = usize>) -> Self {
        Self {
            ints: values.into_iter().map(|value| value as i64).collect(),
            ..Self::of(name, AttributeType::Ints)
        }
    }

    pub fn float(name: &str, value: f64) -> Self {
        Self {
            f: value as f32,
            ..Self::of(name, AttributeType::Float)
        }
    }

    pub fn string(name: &str, value: &str) -> Self {
        Self {
            s: value.as_bytes().to_vec(),
            ..Self::of(name, AttributeType::String)
        }
    }
}

impl GraphProto {
    /// The number of nodes of each operation.
    pub fn counts(&self) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        for node in &self.node {
            *counts.entry(&node.op_type[..]).or_default() += 1;
        }
        counts
    }
}
