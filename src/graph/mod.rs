//! The typed graph: what a layer records of itself ([`Planner`], [`Record`]), what a plan is made of ([`Node`],
//! [`Op`]), and the arithmetic of windows and grids.

pub(crate) mod activation;
mod alignment;
mod block_order;
mod grid;
mod map;
mod node;
mod op;
mod pad_mode;
mod planner;
mod pool_kind;
mod record;
mod resize_mode;
mod transposed_window;
mod weighting;
pub(crate) mod window;

pub use alignment::Misalignment;
pub use block_order::BlockOrder;
pub use grid::Grid;
pub use map::{Map, MapPlan};
pub use node::Node;
pub use op::{AxisPadding, ConvOp, Elementwise, Executor, NormKind, Op, Parameter, WindowOp};
pub use pad_mode::PadMode;
pub use planner::{Name, Planner};
pub use pool_kind::{AdaptiveKind, PoolKind};
pub use record::Record;
pub use resize_mode::{ResizeMode, Sampling};
pub use transposed_window::TransposedPadding;
pub use weighting::Weighting;

pub(crate) use map::check_maps;
pub(crate) use op::queries_at_once;
pub(crate) use transposed_window::{
    TransposedWindow, full_size, solve_kernel, solve_paddings, transposed_size,
};
