#![doc = include_str!("../../docs/plan.md")]

mod column;
mod diagram;
mod memory;
mod summary;
mod svg;
mod trace;

pub use crate::graph::{
    AxisPadding, ConvOp, Elementwise, Executor, Grid, Map, MapPlan, Misalignment, Name, Node,
    NormKind, Op, Parameter, Planner, Record, WindowOp,
};
pub use column::Column;
pub use diagram::Diagram;
pub use memory::Memory;
pub use summary::Summary;
pub use trace::Trace;

use alloc::{
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};
use core::fmt;

use serde::{Serialize, Serializer};

use crate::shape::ShapeError;

/// The static description of a network, or of a part of one, at an input shape: a tree of its layers.
///
/// It is made by [`Trace::plan`] of a configuration or of a layer, without a tensor and without a device. Planning
/// stops at the first layer that fails and reports its [error](Self::error).
///
/// # Example
/// ```
/// use burn_skip::{Trace, net::UnetConfig};
///
/// let config = UnetConfig::new(3, 2, vec![8, 16]);
/// let plan = config.plan([1, 3, 45, 61]);
/// assert_eq!(plan.root.outputs[0].shape, [1, 2, 45, 61]);
/// let failed = config.plan([1, 4, 45, 61]);
/// assert_eq!(failed.error().unwrap().layer, "encoder.stem.first.conv.Conv");
/// ```
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// The whole network.
    pub root: Node,
    /// What it holds at most. Where planning stopped early: up to there.
    pub memory: Memory,
    #[serde(serialize_with = "as_text")]
    error: Option<ShapeError>,
}

/// An error as its message.
fn as_text<S: Serializer>(error: &Option<ShapeError>, serializer: S) -> Result<S::Ok, S::Error> {
    error
        .as_ref()
        .map(ToString::to_string)
        .serialize(serializer)
}

impl Plan {
    /// The plan of what `trace` records for a map of shape `input`.
    pub fn new<const R: usize, const O: usize>(
        input: [usize; R],
        trace: impl FnOnce(&mut Planner, &Map<R>) -> Result<Vec<Map<O>>, ShapeError>,
    ) -> Self {
        Self::with(|planner| {
            check_countable(&input)?;
            let map = planner.map(input, Some(vec![Grid::INPUT; R.saturating_sub(2)]));
            trace(planner, &map)
        })
    }

    /// The plan of what `trace` records for several maps. How their positions are aligned is not known.
    pub fn of_maps<const R: usize, const O: usize>(
        inputs: &[[usize; R]],
        trace: impl FnOnce(&mut Planner, &[Map<R>]) -> Result<Vec<Map<O>>, ShapeError>,
    ) -> Self {
        Self::with(|planner| {
            inputs.iter().try_for_each(|input| check_countable(input))?;
            let maps = inputs.iter().map(|&input| planner.map(input, None));
            let maps: Vec<_> = maps.collect();
            trace(planner, &maps)
        })
    }

    fn with<const O: usize>(
        trace: impl FnOnce(&mut Planner) -> Result<Vec<Map<O>>, ShapeError>,
    ) -> Self {
        let mut planner = Planner::recording();
        let error = trace(&mut planner).err();
        // (Where nothing was recorded, the input is the output, or it was refused before.)
        let mut root = planner.finish().unwrap_or_else(|| Node {
            error: error.as_ref().map(|error| error.to_string()),
            ..Node::new(String::new(), "Identity", Op::Composite)
        });
        let memory = memory::account(&mut root);
        Self {
            root,
            memory,
            error,
        }
    }

    /// Why the input does not fit, if it does not.
    pub fn error(&self) -> Option<&ShapeError> {
        self.error.as_ref()
    }

    /// All nodes with their paths in the module, such as `encoder.stem.conv`. A node comes before its children.
    pub fn nodes(&self) -> Vec<(String, &Node)> {
        let mut nodes = Vec::new();
        self.root
            .walk("", &mut |path, node| nodes.push((path.to_string(), node)));
        nodes
    }

    /// The misaligned feature maps that are merged, with the paths of the merges.
    pub fn misalignments(&self) -> Vec<(String, &Misalignment)> {
        let mut all = Vec::new();
        self.root.walk("", &mut |path, node| {
            all.extend(
                node.misalignments
                    .iter()
                    .map(|found| (path.to_string(), found)),
            );
        });
        all
    }

    /// The plan as a graph.
    pub fn diagram(&self) -> Diagram<'_> {
        Diagram::new(self)
    }

    /// The plan as a table.
    pub fn summary(&self) -> Summary<'_> {
        Summary::new(self)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.summary().fmt(f)
    }
}

/// Whether a node or one of its children refuses its input.
fn fails(node: &Node) -> bool {
    node.error.is_some() || node.children.iter().any(fails)
}

/// Refuses a map that no memory holds, and whose numbers would overflow.
fn check_countable(shape: &[usize]) -> Result<(), ShapeError> {
    let values = shape.iter().copied().fold(1, usize::saturating_mul);
    if values <= 1 << 48 {
        return Ok(());
    }
    Err(ShapeError::new(
        "Plan",
        format!("a map of the shape {shape:?} has more than 2^48 values"),
        "Give a shape that a memory can hold",
    ))
}
