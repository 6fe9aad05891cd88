//! [`Weights`]: the tensors of a module, by the paths that a plan has for them.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;

use super::OnnxError;
use super::probes::Leaf;

/// A tensor as it is in a module.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Weight {
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

/// The tensors of a module, by their paths, which leave out the variants of enums as those of a plan do.
pub(super) struct Weights(BTreeMap<String, Weight>);

impl Weights {
    /// The tensors of `module`.
    pub fn of<M: Module>(module: &M) -> Self {
        // (Running statistics of training steps are kept apart until the module leaves training.)
        let _ = module.valid();
        let mut visitor = Visitor::default();
        module.visit(&mut visitor);
        Self(visitor.weights)
    }

    /// The parameter `name` of a leaf, if it has one.
    pub fn find(&self, leaf: &Leaf, name: &str) -> Result<Option<&Weight>, OnnxError> {
        let Some(parameter) = leaf.node().parameters.iter().find(|p| p.name == name) else {
            return Ok(None);
        };
        let path = path_of(leaf, name);
        let Some(weight) = self.0.get(&path) else {
            let reason = "the module holds no such tensor".into();
            return Err(OnnxError::Weight { path, reason });
        };
        match weight.values.len() == parameter.len {
            true => Ok(Some(weight)),
            false => Err(OnnxError::Weight {
                path,
                reason: format!(
                    "it has {} numbers in the module, and {} in the plan",
                    weight.values.len(),
                    parameter.len
                ),
            }),
        }
    }

    /// The parameter `name` of a leaf.
    pub fn get(&self, leaf: &Leaf, name: &str) -> Result<&Weight, OnnxError> {
        self.find(leaf, name)?.ok_or_else(|| OnnxError::Weight {
            path: path_of(leaf, name),
            reason: "the layer records no such parameter".into(),
        })
    }
}

/// The path of a parameter.
pub(super) fn path_of(leaf: &Leaf, name: &str) -> String {
    match &leaf.path[..] {
        "" => name.into(),
        path => format!("{path}.{name}"),
    }
}

#[derive(Default)]
struct Visitor {
    path: Vec<String>,
    weights: BTreeMap<String, Weight>,
}

/// Whether a container is an enum, the name of whose variant is no part of a path.
fn is_enum(container_type: &str) -> bool {
    container_type.starts_with("Enum:")
}

impl ModuleVisitor for Visitor {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        if !is_enum(container_type) {
            self.path.push(name.to_string());
        }
    }

    fn exit_module(&mut self, _name: &str, container_type: &str) {
        if !is_enum(container_type) {
            self.path.pop();
        }
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let data = param.val().into_data();
        let shape = data.shape().to_vec();
        if let Ok(values) = data.convert::<f32>().try_to_vec::<f32>() {
            let weight = Weight { shape, values };
            self.weights.insert(self.path.join("."), weight);
        }
    }
}
