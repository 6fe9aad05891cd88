//! [`Planner`]: what layers tell of themselves, and [`Trace`], by which they do.

use alloc::{
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};
use core::fmt::{Debug, Display};

use super::{Grid, MapPlan, Misalignment, Node};
use crate::shape::{ShapeError, axis_name};

/// A map that need not exist: its shape, and where it lies on the input.
///
/// # Example
/// ```
/// use burn_skip::{conv::ConvConfig, plan::{Plan, Trace}};
///
/// let plan = Plan::new([1, 3, 32, 32], |planner, x| {
///     let y = ConvConfig::new([3, 8], 3).with_stride(2).trace(planner, x)?;
///     assert_eq!(y.shape, [1, 8, 16, 16]);
///     assert_eq!(y.grid.as_ref().unwrap()[0].stride, 2.0);
///     Ok(vec![y])
/// });
/// assert!(plan.error().is_none());
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Map<const R: usize> {
    /// `[batch, channels, spatial...]`
    pub shape: [usize; R],
    /// Where its positions lie, an axis each; none where a layer has not said.
    pub grid: Option<Vec<Grid>>,
    /// The number of the map in the plan.
    id: usize,
}

impl<const R: usize> Map<R> {
    fn plan(&self) -> MapPlan {
        MapPlan {
            id: self.id,
            shape: self.shape.to_vec(),
            grid: self.grid.clone(),
        }
    }

    /// The grid after each axis `n` has become `grid(n, before)`.
    pub fn regrid(&self, grid: impl Fn(usize, Grid) -> Grid) -> Option<Vec<Grid>> {
        let before = self.grid.iter().flatten().copied().enumerate();
        self.grid.as_ref()?;
        Some(before.map(|(n, before)| grid(n, before)).collect())
    }
}

/// What a layer has of its own.
///
/// # Example
/// ```
/// use burn_skip::plan::{Cost, Plan};
///
/// // A scale of each of 8 channels, once a sample.
/// let plan = Plan::new([2, 8, 4, 4], |planner, x| {
///     let cost = Cost { parameters: 8, mult_adds: 16 };
///     Ok(vec![planner.pointwise("Scale", x, cost, Ok(x.shape))?])
/// });
/// assert_eq!(plan.root.total_parameters(), 8);
/// assert_eq!(plan.root.total_mult_adds(), 16);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// The parameters that are learned.
    pub parameters: usize,
    /// Multiplications that are added up, as torchinfo counts them.
    pub mult_adds: u64,
}

/// Takes down what layers tell of themselves.
///
/// # Example
/// ```
/// use burn_skip::{conv::ConvConfig, plan::{Plan, Trace}};
///
/// let conv = ConvConfig::new([8, 8], 3);
/// let plan = Plan::new([1, 8, 32, 32], |planner, x| {
///     let residual = planner.node("Residual", &[x], |planner| {
///         let y = conv.trace(planner.at("conv"), x)?;
///         planner.at("").merge("Add", &["conv", "skip"], &[&y, x], Ok(x.shape))
///     });
///     residual.map(|map| vec![map])
/// });
/// assert_eq!(plan.nodes()[1].0, "conv");
/// ```
#[derive(Debug)]
pub struct Planner {
    /// The nodes that are not finished, the outermost first.
    open: Vec<Node>,
    name: String,
    maps: usize,
}

impl Planner {
    /// With a root that holds the rest.
    pub(crate) fn new() -> Self {
        Self {
            open: vec![Node::new("", "", Vec::new())],
            name: String::new(),
            maps: 0,
        }
    }

    /// What was told: one part, or several in a sequence.
    pub(crate) fn finish(mut self) -> Option<Node> {
        let mut root = self.open.pop()?;
        if root.children.len() > 1 {
            root.kind = "Sequence".into();
            root.inputs = root.children[0].inputs.clone();
            root.outputs = root.children[root.children.len() - 1].outputs.clone();
            return Some(root);
        }
        root.children.pop()
    }

    /// Names the part that is told of next, as its field is called.
    pub fn at(&mut self, name: impl Display) -> &mut Self {
        self.name = name.to_string();
        self
    }

    /// A map that is made.
    pub fn map<const R: usize>(&mut self, shape: [usize; R], grid: Option<Vec<Grid>>) -> Map<R> {
        self.maps += 1;
        Map {
            shape,
            grid,
            id: self.maps - 1,
        }
    }

    /// A layer with parts, which `body` tells of, and one output.
    pub fn node<const I: usize, const O: usize>(
        &mut self,
        kind: &str,
        inputs: &[&Map<I>],
        body: impl FnOnce(&mut Self) -> Result<Map<O>, ShapeError>,
    ) -> Result<Map<O>, ShapeError> {
        let mut maps = self.nodes(kind, inputs, |planner| body(planner).map(|map| vec![map]))?;
        Ok(maps.remove(0))
    }

    /// As [`node`](Self::node), with several outputs.
    pub fn nodes<const I: usize, const O: usize>(
        &mut self,
        kind: &str,
        inputs: &[&Map<I>],
        body: impl FnOnce(&mut Self) -> Result<Vec<Map<O>>, ShapeError>,
    ) -> Result<Vec<Map<O>>, ShapeError> {
        let name = core::mem::take(&mut self.name);
        let inputs = inputs.iter().map(|map| map.plan()).collect();
        self.open.push(Node::new(&name, kind, inputs));
        let result = body(self);
        let Some(mut node) = self.open.pop() else {
            unreachable!("it was opened above")
        };
        match &result {
            Ok(maps) => node.outputs = maps.iter().map(Map::plan).collect(),
            Err(error)
                if node
                    .children
                    .iter()
                    .all(|child| child.find_error().is_none()) =>
            {
                node.error = Some(error.to_string());
            }
            Err(_) => {}
        }
        if let Some(parent) = self.open.last_mut() {
            parent.children.push(node);
        }
        let within = |error: ShapeError| match name.is_empty() {
            true => error,
            false => error.within(&name),
        };
        result.map_err(within)
    }

    /// A layer without parts.
    pub fn leaf<const I: usize, const O: usize>(
        &mut self,
        kind: &str,
        inputs: &[&Map<I>],
        cost: Cost,
        output: Result<[usize; O], ShapeError>,
        grid: Option<Vec<Grid>>,
    ) -> Result<Map<O>, ShapeError> {
        self.node(kind, inputs, |planner| {
            planner.pay(cost);
            let shape = output?;
            Ok(planner.map(shape, grid))
        })
    }

    /// A layer without parts that leaves every position where it is.
    pub fn pointwise<const R: usize>(
        &mut self,
        kind: &str,
        x: &Map<R>,
        cost: Cost,
        output: Result<[usize; R], ShapeError>,
    ) -> Result<Map<R>, ShapeError> {
        self.leaf(kind, &[x], cost, output, x.grid.clone())
    }

    /// A layer of which nothing is known but its shapes.
    pub fn opaque<const R: usize>(
        &mut self,
        kind: &str,
        x: &Map<R>,
        parameters: usize,
        output: Result<[usize; R], ShapeError>,
    ) -> Result<Map<R>, ShapeError> {
        let stays = matches!(&output, Ok(shape) if shape[2..] == x.shape[2..]);
        let grid = x.grid.clone().filter(|_| stays);
        let cost = Cost {
            parameters,
            mult_adds: 0,
        };
        self.leaf(kind, &[x], cost, output, grid)
    }

    /// Adds to the node that is open.
    pub fn pay(&mut self, cost: Cost) {
        if let Some(node) = self.open.last_mut() {
            node.parameters = node.parameters.saturating_add(cost.parameters);
            node.mult_adds = node.mult_adds.saturating_add(cost.mult_adds);
        }
    }

    /// Parts that a map goes through one after the other, named by their numbers.
    pub fn sequence<const R: usize, T>(
        &mut self,
        parts: impl IntoIterator<Item = T>,
        x: &Map<R>,
        trace: impl Fn(T, &mut Self, &Map<R>) -> Result<Map<R>, ShapeError>,
    ) -> Result<Map<R>, ShapeError> {
        self.node("Sequence", &[x], |planner| {
            let mut parts = parts.into_iter().enumerate();
            parts.try_fold(x.clone(), |x, (index, part)| {
                trace(part, planner.at(index), &x)
            })
        })
    }

    /// Maps of one size that become one, of shape `output`. Where their positions do not lie on each other,
    /// that is noted.
    pub fn merge<const R: usize>(
        &mut self,
        kind: &str,
        names: &[&str],
        maps: &[&Map<R>],
        output: Result<[usize; R], ShapeError>,
    ) -> Result<Map<R>, ShapeError> {
        self.node(kind, maps, |planner| {
            let shape = output?;
            let first = maps[0];
            let mut found = Vec::new();
            for (index, other) in maps.iter().enumerate().skip(1) {
                found.extend(misalignments([names[0], names[index]], first, other));
            }
            // What is merged lies as the last map does: the skip.
            let last = maps.iter().rev().find(|map| map.grid.is_some());
            let grid = last.unwrap_or(&first).regrid(|n, grid| {
                let others = maps
                    .iter()
                    .filter_map(|map| Some(map.grid.as_ref()?[n].field));
                Grid {
                    field: others.fold(grid.field, f64::max),
                    ..grid
                }
            });
            if let Some(node) = planner.open.last_mut() {
                node.misalignments = found;
            }
            Ok(planner.map(shape, grid))
        })
    }
}

/// Positions that are nearer to each other than this lie on each other.
const NEAR: f64 = 1e-3;

/// On which axes the positions of two maps of one size lie apart.
fn misalignments<const R: usize>(
    [a, b]: [&str; 2],
    first: &Map<R>,
    second: &Map<R>,
) -> Vec<Misalignment> {
    let (Some(left), Some(right)) = (&first.grid, &second.grid) else {
        return Vec::new();
    };
    let axis = |n: usize| {
        let (left, right) = (left[n], right[n]);
        let last = first.shape[2 + n]
            .min(second.shape[2 + n])
            .saturating_sub(1) as f64;
        // (Where all positions are one, the other map's step is the measure.)
        let step = match right.stride.abs().max(left.stride.abs()) {
            0.0 => 1.0,
            _ if right.stride != 0.0 => right.stride,
            step => step,
        };
        let apart =
            |at: f64| (left.offset + left.stride * at - right.offset - right.stride * at) / step;
        let ends = [apart(0.0), apart(last)];
        ends.iter()
            .any(|apart| apart.abs() > NEAR)
            .then(|| Misalignment {
                maps: [a.into(), b.into()],
                axes: vec![axis_name(2 + n, R).into()],
                first: ends[0],
                last: ends[1],
            })
    };
    let mut found: Vec<Misalignment> = Vec::new();
    for mut more in (0..R - 2).filter_map(axis) {
        let same = |other: &&mut Misalignment| [other.first, other.last] == [more.first, more.last];
        match found.iter_mut().find(same) {
            Some(other) => other.axes.append(&mut more.axes),
            None => found.push(more),
        }
    }
    found
}

/// The name of a variant or a type: the first word that its debug text has.
pub(crate) fn word_of(value: &impl Debug) -> String {
    let text = format!("{value:?}");
    text.chars().take_while(|c| c.is_alphanumeric()).collect()
}

/// The multiply-adds of a window over `positions` outputs: its weight and its bias at each.
pub(crate) fn weight_cost(weight: usize, bias: usize, positions: usize) -> Cost {
    let parameters = weight.saturating_add(bias);
    Cost {
        parameters,
        mult_adds: (parameters as u64).saturating_mul(positions as u64),
    }
}

/// The positions of a map in all samples of a batch.
pub(crate) fn positions<const R: usize>(shape: [usize; R]) -> usize {
    let size = shape[2..].iter().copied();
    size.fold(shape[0], usize::saturating_mul)
}
