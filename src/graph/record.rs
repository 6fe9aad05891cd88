//! [`Record`]: what a layer without parts records of itself.

use alloc::vec::Vec;

use super::op::{Executor, Op, Parameter};
use super::{Grid, Map};

/// What a layer without parts records: its operation, its output, its parameters.
///
/// # Example
/// ```
/// use burn_skip::plan::{Op, Plan, Record};
///
/// // A factor for each of 8 channels.
/// let plan = Plan::new([2, 8, 4, 4], |planner, x| {
///     let scale = planner.leaf("Scale", &[x], || {
///         Ok(Record::new(Op::Scale, x.shape).on_grid_of(x).with_parameter("gamma", 8))
///     })?;
///     Ok(vec![scale])
/// });
/// assert_eq!(plan.root.total_parameters(), 8);
/// assert_eq!(plan.root.total_mult_adds(), 16);
/// ```
#[derive(Clone, Debug)]
pub struct Record<const O: usize> {
    pub(super) op: Op,
    pub(super) output: [usize; O],
    pub(super) grid: Option<Vec<Grid>>,
    pub(super) parameters: Vec<Parameter>,
    pub(super) executor: Executor,
}

impl<const O: usize> Record<O> {
    /// An operation and the shape of its output, whose positions lie nowhere in particular.
    pub fn new(op: Op, output: [usize; O]) -> Self {
        Self {
            op,
            output,
            grid: None,
            parameters: Vec::new(),
            executor: Executor::Burn,
        }
    }

    /// Sets where the positions of the output lie.
    pub fn on_grid(mut self, grid: Option<Vec<Grid>>) -> Self {
        self.grid = grid;
        self
    }

    /// The positions of the output lie where those of `x` do.
    pub fn on_grid_of(self, x: &Map<O>) -> Self {
        self.on_grid(x.grid.clone())
    }

    /// Adds a learned parameter of `len` numbers, if it has any.
    pub fn with_parameter(mut self, name: &'static str, len: usize) -> Self {
        if len > 0 {
            self.parameters.push(Parameter {
                name,
                len,
                is_learned: true,
            });
        }
        self
    }

    /// Adds a tensor of `len` numbers that is not learned.
    pub fn with_buffer(mut self, name: &'static str, len: usize) -> Self {
        self.parameters.push(Parameter {
            name,
            len,
            is_learned: false,
        });
        self
    }

    /// The operation goes through this crate's dispatch, which may run a kernel of its own.
    pub(crate) fn dispatched(mut self) -> Self {
        self.executor = Executor::Dispatch;
        self
    }
}
