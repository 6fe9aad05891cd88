//! [`Probes`]: plans of one network for inputs of several sizes, from which follows how each size depends on the input's.

use crate::graph::{Map, MapPlan, Node, Op, Planner};
use crate::shape::ShapeError;

use super::{OnnxError, Sizes};

/// How many larger sizes of the input are planned, besides those that are multiples of it. An axis of a map is taken for
/// that of another if the two are equal for all.
const PROBES: usize = 16;

/// What is added to the axes of the input, times a power of two: consecutive axes take numbers five places apart.
const MORE: [usize; PROBES] = [0, 1, 2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 45, 64];

/// The largest step between sizes that are tried: networks that take multiples of 32 take some of them.
const LARGEST_STEP: usize = 64;

/// One plan.
struct Probe {
    root: Node,
    input: MapPlan,
    outputs: Vec<MapPlan>,
}

/// Plans of one network for inputs of several sizes.
pub(super) struct Probes(Vec<Probe>);

/// A layer without parts, in all plans.
#[derive(Clone)]
pub(super) struct Leaf<'a> {
    /// Its path in the network.
    pub path: String,
    nodes: Vec<&'a Node>,
}

impl Probes {
    /// Plans the network that `trace` records for an input of shape `input` and, if sizes are dynamic, for larger ones
    /// that it takes.
    pub fn new<const R: usize, const O: usize>(
        input: [usize; R],
        sizes: Sizes,
        trace: impl Fn(&mut Planner, &Map<R>) -> Result<Vec<Map<O>>, ShapeError>,
    ) -> Result<Self, OnnxError> {
        let probe = |shape: [usize; R]| {
            let mut planner = Planner::recording_every_fit();
            let map = planner.map(shape, None);
            let outputs = trace(&mut planner, &map)?;
            let (input, outputs) = (map.plan(), outputs.iter().map(Map::plan).collect());
            let root = planner.finish();
            Ok(Probe {
                root: root.unwrap_or_else(|| Node::new(String::new(), "", Op::Composite)),
                input,
                outputs,
            })
        };
        let mut probes = vec![probe(input).map_err(OnnxError::Shape)?];
        if sizes == Sizes::Dynamic {
            let steps = (0..)
                .map(|n| 1 << n)
                .take_while(|&step| step <= LARGEST_STEP);
            let shapes = steps.flat_map(|step: usize| {
                (1..PROBES).map(move |n| {
                    let mut shape = input;
                    for (axis, size) in shape[2..].iter_mut().enumerate() {
                        *size += step * MORE[(n + 5 * axis) % PROBES];
                    }
                    shape
                })
            });
            let more = shapes.filter_map(|shape| probe(shape).ok());
            probes.extend(more.take(PROBES));
            // Far larger ones, in which a map of few positions has others.
            let wide = [[2, 3, 2], [3, 2, 3], [9, 8, 10], [16, 18, 17]];
            let wide = wide.into_iter().flat_map(|factors| {
                [0, 5].map(|more| {
                    let mut shape = input;
                    for (size, factor) in shape[2..].iter_mut().zip(factors) {
                        *size = *size * factor + more;
                    }
                    shape
                })
            });
            probes.extend(wide.filter_map(|shape| probe(shape).ok()));
        }
        let probes = Self(probes);
        probes.check_structure()?;
        Ok(probes)
    }

    /// Refuses plans whose layers differ.
    fn check_structure(&self) -> Result<(), OnnxError> {
        let first = leaves(&self.0[0].root);
        for other in &self.0[1..] {
            let leaves = leaves(&other.root);
            let differs = first
                .iter()
                .zip(&leaves)
                .find(|((path, a), (other_path, b))| path != other_path || !is_same(a, b));
            let path = match differs {
                Some(((path, _), _)) => path.clone(),
                None if leaves.len() == first.len() => continue,
                None => String::from("the network"),
            };
            let inputs = [&self.0[0], other].map(|probe| probe.input.shape.clone());
            return Err(OnnxError::Structure { path, inputs });
        }
        Ok(())
    }

    /// The layers without parts, in the order in which they run.
    pub fn leaves(&self) -> Vec<Leaf<'_>> {
        let mut all = self.0.iter().map(|probe| leaves(&probe.root));
        let first = all.next().into_iter().flatten();
        let mut merged: Vec<Leaf> = first
            .map(|(path, node)| Leaf {
                path,
                nodes: vec![node],
            })
            .collect();
        for leaves in all {
            for (leaf, (_, node)) in merged.iter_mut().zip(leaves) {
                leaf.nodes.push(node);
            }
        }
        merged
    }

    /// The shapes of the input, and its number.
    pub fn input(&self) -> (usize, Vec<&[usize]>) {
        let shapes = self.0.iter().map(|probe| &probe.input.shape[..]);
        (self.0[0].input.id, shapes.collect())
    }

    /// The numbers of the outputs, and their shapes.
    pub fn outputs(&self) -> Vec<(usize, Vec<&[usize]>)> {
        let first = self.0[0].outputs.iter().enumerate();
        let output = |(n, output): (usize, &MapPlan)| {
            let shapes = self.0.iter().map(|probe| &probe.outputs[n].shape[..]);
            (output.id, shapes.collect())
        };
        first.map(output).collect()
    }
}

impl<'a> Leaf<'a> {
    /// The layer at the first of the sizes.
    pub fn node(&self) -> &'a Node {
        self.nodes[0]
    }

    /// The layer at each of the sizes.
    pub fn nodes(&self) -> &[&'a Node] {
        &self.nodes
    }

    /// The number of its input `n`.
    pub fn input(&self, n: usize) -> usize {
        self.node().inputs[n].id
    }

    /// The shape of its input `n` at each of the sizes.
    pub fn input_shapes(&self, n: usize) -> Vec<&'a [usize]> {
        let shapes = self.nodes.iter().map(|node| &node.inputs[n].shape[..]);
        shapes.collect()
    }

    /// The shape of its output at each of the sizes.
    pub fn output_shapes(&self) -> Vec<&'a [usize]> {
        let shapes = self.nodes.iter().map(|node| &node.outputs[0].shape[..]);
        shapes.collect()
    }

    /// The rank of its first input.
    pub fn rank(&self) -> usize {
        self.node().inputs[0].shape.len()
    }

    /// The channels of its first input.
    pub fn channels(&self) -> usize {
        self.node().inputs[0].shape[1]
    }

    /// Whether its output has the shape of its input at each of the sizes.
    pub fn keeps_shape(&self) -> bool {
        self.input_shapes(0) == self.output_shapes()
    }

    /// The error that this operation cannot be written, and why.
    pub fn unsupported(&self, reason: impl Into<String>) -> OnnxError {
        OnnxError::Unsupported {
            path: self.path.clone(),
            label: self.node().label.clone(),
            reason: reason.into(),
        }
    }
}

/// The layers without parts, with their paths.
fn leaves(root: &Node) -> Vec<(String, &Node)> {
    let mut leaves = Vec::new();
    // (A network of one layer may hold that in a field.)
    root.walk(&root.name, &mut |path, node| {
        if node.children.is_empty() && node.op != Op::Composite {
            leaves.push((path.to_string(), node));
        }
    });
    leaves
}

/// Whether two layers are one at two sizes: they compute the same of the same maps.
fn is_same(a: &Node, b: &Node) -> bool {
    let ids = |maps: &[MapPlan]| maps.iter().map(|map| map.id).collect::<Vec<_>>();
    is_same_op(&a.op, &b.op)
        && ids(&a.inputs) == ids(&b.inputs)
        && ids(&a.outputs) == ids(&b.outputs)
}

/// Whether two operations differ at most in what follows from the size: a padding, the window of a pool on a small map. (A
/// fit pads at one size and cuts at another.)
fn is_same_op(a: &Op, b: &Op) -> bool {
    let is_fit = |op: &Op| {
        matches!(
            op,
            Op::Pad { .. } | Op::Slice { .. } | Op::PadOrSlice { .. }
        )
    };
    let without_padding = |op: &Op| {
        let mut op = op.clone();
        match &mut op {
            Op::Conv(conv) | Op::ConvTranspose(conv) => conv.padding.clear(),
            Op::Blur { window, .. } => window.padding.clear(),
            Op::Pool { window, .. } => {
                window.padding.clear();
                window.kernel_size.clear();
                window.stride.clear();
            }
            _ => {}
        }
        op
    };
    is_fit(a) && is_fit(b) || without_padding(a) == without_padding(b)
}
