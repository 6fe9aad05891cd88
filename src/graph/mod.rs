//! The typed graph: what a layer records of itself, and the arithmetic of windows and grids.

mod grid;
mod node;
mod planner;
mod transposed_window;
pub(crate) mod window;

pub use grid::Grid;
pub use node::{MapPlan, Misalignment, Node};
pub use planner::{Cost, Map, Planner};
pub use transposed_window::TransposedPadding;

pub(crate) use planner::{positions, weight_cost, word_of};
pub(crate) use transposed_window::{
    TransposedWindow, full_size, solve_kernel, solve_paddings, transposed_size,
};
