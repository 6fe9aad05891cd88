//! [`Builder`]: the graph that is being written.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::proto::{AttributeProto, DataType, GraphProto, NodeProto, TensorProto};

/// The end of an axis, whatever its size.
pub(super) const END: i64 = i64::MAX;

/// The graph that is being written: nodes and initializers with unique names.
#[derive(Default)]
pub(super) struct Builder {
    graph: GraphProto,
    /// The path of the layer that is being written.
    path: String,
    names: BTreeSet<String>,
    constants: BTreeMap<String, String>,
    shapes: BTreeMap<(String, usize, usize), String>,
}

impl Builder {
    /// The path of the layer whose nodes follow.
    pub fn enter(&mut self, path: &str) {
        self.path = path.into();
    }

    /// A name that no other value has.
    pub fn unique(&mut self, name: &str) -> String {
        let numbered = (1..).map(|n| match n {
            1 => name.to_string(),
            n => format!("{name}_{n}"),
        });
        let mut free = numbered.filter(|name| !self.names.contains(name));
        let Some(name) = free.next() else {
            unreachable!("there is always another number")
        };
        self.names.insert(name.clone());
        name
    }

    /// Adds a node with one output, and returns that.
    pub fn node(
        &mut self,
        op_type: &str,
        inputs: &[&str],
        attributes: Vec<AttributeProto>,
    ) -> String {
        let mut outputs = self.node_of(op_type, inputs, attributes, 1);
        outputs.remove(0)
    }

    /// Adds a node with so many outputs, and returns them.
    pub fn node_of(
        &mut self,
        op_type: &str,
        inputs: &[&str],
        attributes: Vec<AttributeProto>,
        outputs: usize,
    ) -> Vec<String> {
        let name = match &self.path[..] {
            "" => op_type.to_string(),
            path => format!("{path}/{op_type}"),
        };
        let name = self.unique(&name);
        let output: Vec<String> = match outputs {
            1 => vec![name.clone()],
            _ => (0..outputs)
                .map(|n| self.unique(&format!("{name}:{n}")))
                .collect(),
        };
        self.graph.node.push(NodeProto {
            input: inputs.iter().map(|input| input.to_string()).collect(),
            output: output.clone(),
            op_type: op_type.into(),
            attribute: attributes,
            name,
        });
        output
    }

    /// Adds the tensor of a layer under its path.
    pub fn weight(&mut self, path: &str, dims: &[usize], values: &[f32]) -> String {
        let name = self.unique(path);
        let tensor = TensorProto::floats(name.clone(), dims, values);
        self.graph.initializer.push(tensor);
        name
    }

    /// Whole numbers, each list once.
    pub fn ints(&mut self, values: &[i64]) -> String {
        let dims = [values.len()];
        self.constant(format!("ints {values:?}"), |name| {
            TensorProto::ints(name, &dims, values)
        })
    }

    /// One whole number, without an axis.
    pub fn int(&mut self, value: i64) -> String {
        self.constant(format!("int {value}"), |name| {
            TensorProto::ints(name, &[], &[value])
        })
    }

    /// Numbers of this shape, each list once.
    pub fn floats(&mut self, dims: &[usize], values: &[f32]) -> String {
        let name = format!("floats {dims:?} {values:?}");
        self.constant(name, |name| TensorProto::floats(name, dims, values))
    }

    /// One number, without an axis.
    pub fn float(&mut self, value: f64) -> String {
        self.floats(&[], &[value as f32])
    }

    fn constant(&mut self, key: String, tensor: impl FnOnce(String) -> TensorProto) -> String {
        if let Some(name) = self.constants.get(&key) {
            return name.clone();
        }
        let name = self.unique("constant");
        self.graph.initializer.push(tensor(name.clone()));
        self.constants.insert(key, name.clone());
        name
    }

    /// The sizes of some axes of a map, when the model runs.
    pub fn shape(&mut self, map: &str, axes: Range<usize>) -> String {
        let key = (map.to_string(), axes.start, axes.end);
        if let Some(name) = self.shapes.get(&key) {
            return name.clone();
        }
        let attributes = vec![
            AttributeProto::int("start", axes.start),
            AttributeProto::int("end", axes.end),
        ];
        let name = self.node("Shape", &[map], attributes);
        self.shapes.insert(key, name.clone());
        name
    }

    /// Lists of sizes, one after the other.
    pub fn join(&mut self, parts: &[&str]) -> String {
        match parts {
            [part] => part.to_string(),
            parts => self.node("Concat", parts, vec![AttributeProto::int("axis", 0)]),
        }
    }

    /// The same values in the shape that a list of numbers says; 0 stands for the size of the input there.
    pub fn reshape(&mut self, x: &str, shape: &[i64]) -> String {
        let shape = self.ints(shape);
        self.node("Reshape", &[x, &shape], vec![])
    }

    /// The values in another order of the axes.
    pub fn transpose(&mut self, x: &str, axes: &[usize]) -> String {
        let axes = AttributeProto::ints("perm", axes.iter().copied());
        self.node("Transpose", &[x], vec![axes])
    }

    /// An operation on two inputs.
    pub fn binary(&mut self, op_type: &str, a: &str, b: &str) -> String {
        self.node(op_type, &[a, b], vec![])
    }

    /// An operation on one input.
    pub fn unary(&mut self, op_type: &str, x: &str) -> String {
        self.node(op_type, &[x], vec![])
    }

    /// `x` from `starts` to `ends` along some axes.
    pub fn slice(&mut self, x: &str, starts: &str, ends: &str, axes: &[usize]) -> String {
        let axes: Vec<i64> = axes.iter().map(|&axis| axis as i64).collect();
        let axes = self.ints(&axes);
        self.node("Slice", &[x, starts, ends, &axes], vec![])
    }

    /// The values in another type.
    pub fn cast(&mut self, x: &str, to: DataType) -> String {
        let to = AttributeProto::signed("to", to as i64);
        self.node("Cast", &[x], vec![to])
    }

    /// Adds a node that gives a value a second name.
    pub fn identity(&mut self, value: &str, name: &str) {
        self.graph.node.push(NodeProto {
            input: vec![value.into()],
            output: vec![name.into()],
            name: name.into(),
            op_type: "Identity".into(),
            attribute: Vec::new(),
        });
    }

    /// Gives a value another name, where it is written and where it is read.
    pub fn rename(&mut self, from: &str, to: &str) {
        for node in &mut self.graph.node {
            for name in node.input.iter_mut().chain(&mut node.output) {
                if name == from {
                    *name = to.into();
                }
            }
        }
    }

    /// The graph.
    pub fn finish(self) -> GraphProto {
        self.graph
    }
}
