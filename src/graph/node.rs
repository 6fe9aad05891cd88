//! [`Node`]: a part of a plan.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

use serde::Serialize;

use super::op::{Executor, Op, Parameter};
use super::{MapPlan, Misalignment};

/// A part of a plan: a layer, or what is made of layers.
///
/// # Example
/// ```
/// use burn_skip::{Trace, net::UnetConfig};
///
/// let plan = UnetConfig::new(3, 2, vec![16, 32, 64]).plan([1, 3, 45, 61]);
/// let stem = &plan.root.children[0].children[0];
/// assert_eq!(stem.label, "DoubleConv");
/// assert_eq!(stem.total_parameters(), 2_800);
/// assert_eq!(stem.total_mult_adds(), 7_510_384);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Node {
    /// The name of the field that holds it; empty for the whole.
    pub name: String,
    /// What a reader calls it: the name of its type. Nothing is decided by it.
    pub label: String,
    /// What it computes.
    pub op: Op,
    /// Who runs it.
    pub executor: Executor,
    /// Its input maps.
    pub inputs: Vec<MapPlan>,
    /// Its output maps; none if it has an error.
    pub outputs: Vec<MapPlan>,
    /// Its own tensors, excluding children.
    pub parameters: Vec<Parameter>,
    /// Its own multiply-adds for the whole batch, excluding children. As torchinfo counts them: a convolution's
    /// weights and biases once for each position of its output, those of a norm and of a linear layer once a
    /// sample. The weights of a transposed convolution are counted once for each position of its *input*.
    pub mult_adds: u64,
    /// The bytes of its output that are saved for the backward pass of a training step, if it has no children.
    pub saved_for_backward: u64,
    /// Its parts, in the order in which they run.
    pub children: Vec<Node>,
    /// The misaligned feature maps among its inputs.
    pub misalignments: Vec<Misalignment>,
    /// Why the input does not fit, if this part refuses it.
    pub error: Option<String>,
}

impl Node {
    pub(crate) fn new(name: String, label: &str, op: Op) -> Self {
        Self {
            name,
            label: label.into(),
            op,
            executor: Executor::Burn,
            inputs: Vec::new(),
            outputs: Vec::new(),
            parameters: Vec::new(),
            mult_adds: 0,
            saved_for_backward: 0,
            children: Vec::new(),
            misalignments: Vec::new(),
            error: None,
        }
    }

    /// Its own learned parameters, excluding children.
    pub fn own_parameters(&self) -> u64 {
        let learned = self
            .parameters
            .iter()
            .filter(|parameter| parameter.is_learned);
        learned.fold(0, |sum, parameter| sum.saturating_add(parameter.len as u64))
    }

    /// The learned parameters, including children.
    pub fn total_parameters(&self) -> u64 {
        self.sum(&Self::own_parameters)
    }

    /// The multiply-adds of the whole batch, including children.
    pub fn total_mult_adds(&self) -> u64 {
        self.sum(&|node| node.mult_adds)
    }

    /// The bytes of all maps that its layers output, each counted once, in f32. (On the CPU not all of them
    /// are [materialised](crate::fused).)
    pub fn map_bytes(&self) -> u64 {
        self.sum(&|node| {
            if !node.children.is_empty() {
                return 0;
            }
            let is_new = |map: &&MapPlan| node.inputs.iter().all(|input| input.id != map.id);
            let new = node.outputs.iter().filter(is_new).map(MapPlan::bytes);
            new.fold(0, u64::saturating_add)
        })
    }

    /// The bytes that are saved for the backward pass of a training step, including children.
    pub fn total_saved_for_backward(&self) -> u64 {
        self.sum(&|node| node.saved_for_backward)
    }

    pub(crate) fn sum(&self, of: &impl Fn(&Self) -> u64) -> u64 {
        let parts = self.children.iter().map(|child| child.sum(of));
        parts.fold(of(self), u64::saturating_add)
    }

    pub(crate) fn walk<'a>(&'a self, path: &str, visit: &mut impl FnMut(&str, &'a Self)) {
        visit(path, self);
        for child in &self.children {
            let path = match (path, &child.name[..]) {
                (path, "") => path.to_string(),
                ("", name) => name.to_string(),
                (path, name) => format!("{path}.{name}"),
            };
            child.walk(&path, visit);
        }
    }
}
