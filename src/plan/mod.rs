#![doc = include_str!("../../docs/plan.md")]

mod diagram;
mod memory;
mod summary;
mod svg;
mod tape;
mod trace;

pub use crate::graph::{
    AxisPadding, ConvOp, Elementwise, Executor, Grid, Map, MapPlan, Misalignment, Name, Node,
    NormKind, Op, Parameter, Planner, Record, WindowOp,
};
pub use diagram::Diagram;
pub use memory::Memory;
pub use summary::{Column, Summary};
pub use trace::Trace;

use alloc::{
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};
use core::fmt;

use serde::Serialize;

use crate::shape::ShapeError;

/// A network, or a part of one, at one shape of input: a tree of its parts.
///
/// It is made by [`Trace::plan`] of a configuration or by [`Layer::plan`](crate::Layer::plan), without a
/// tensor and without a device. Where the input does not fit, the plan reaches to the part that refuses it.
///
/// # Example
/// ```
/// use burn_skip::{net::UnetConfig, Trace};
///
/// let config = UnetConfig::new(3, 2, vec![8, 16]);
/// let plan = config.plan([1, 3, 45, 61]);
/// assert_eq!(plan.root.outputs[0].shape, [1, 2, 45, 61]);
/// let refused = config.plan([1, 4, 45, 61]);
/// assert_eq!(refused.error().unwrap().layer, "encoder.stem.first.conv.Conv");
/// ```
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// The whole.
    pub root: Node,
    /// What it holds at most. (Of one that does not fit, up to there.)
    pub memory: Memory,
    #[serde(skip)]
    error: Option<ShapeError>,
}

impl Plan {
    /// The plan of what `trace` tells of a map of shape `input`.
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

    /// The plan of what `trace` tells of several maps. Where they lie on each other is not known.
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
        // (Nothing was told: what comes in goes out, or was refused before.)
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

    /// All parts with their paths, as their fields are called: `encoder.stem.conv`. A part comes before
    /// its own parts.
    pub fn nodes(&self) -> Vec<(String, &Node)> {
        let mut nodes = Vec::new();
        self.root
            .walk("", &mut |path, node| nodes.push((path.to_string(), node)));
        nodes
    }

    /// The merges of maps whose positions do not lie on each other, with their paths.
    pub fn misalignments(&self) -> Vec<(String, &Misalignment)> {
        let mut all = Vec::new();
        for (path, node) in self.nodes() {
            all.extend(node.misalignments.iter().map(|found| (path.clone(), found)));
        }
        all
    }

    /// A graph of the parts.
    pub fn diagram(&self) -> Diagram<'_> {
        Diagram::new(self)
    }

    /// A table of the parts.
    pub fn summary(&self) -> Summary<'_> {
        Summary::new(self)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.summary().fmt(f)
    }
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
