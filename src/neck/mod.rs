//! Necks: pyramids of feature maps, n maps in and as many or more out.

mod bifpn;
mod extra;
mod fpn;
mod frame;
mod hr_fuse;
mod pafpn;

pub use bifpn::{BiFpn, BiFpnConfig, BiFpnNode, PyramidNode};
pub use extra::ExtraLevels;
pub use fpn::{Fpn, FpnConfig};
pub use hr_fuse::{HrFuse, HrFuseConfig};
pub use pafpn::{PaFpn, PaFpnConfig};

use alloc::vec::Vec;

use burn::module::{Module, ModuleDisplay};
use burn::tensor::Tensor;

use crate::graph::{Map, Planner};
use crate::plan::Plan;
use crate::shape::ShapeError;

/// A module that mixes feature maps of several sizes, and gives one for each of them: [`Fpn`], [`PaFpn`], [`BiFpn`],
/// [`HrFuse`], or one of your own.
///
/// A neck of your own implements two methods; shapes and plans follow from [`trace`](Self::trace).
///
/// # Contract
/// `output_shapes(dims of maps)` are the dims of `forward(maps)`, or `forward` panics with the text of the error.
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_skip::neck::{Fpn, FpnConfig, Neck};
///
/// let device = Device::flex();
/// let neck: Fpn = FpnConfig::new(16).init(&[8, 32], &device);
/// let maps = vec![Tensor::zeros([1, 8, 17, 11], &device), Tensor::zeros([1, 32, 9, 6], &device)];
/// let dims: Vec<_> = neck.forward(maps).iter().map(Tensor::dims).collect();
/// assert_eq!(dims, [[1, 16, 17, 11], [1, 16, 9, 6]]);
/// ```
pub trait Neck<const R: usize = 4>: Module + ModuleDisplay {
    /// Mixes the maps, the finest first.
    ///
    /// # Panics
    /// When [`output_shapes`](Self::output_shapes) returns an error, with its message.
    fn forward(&self, maps: Vec<Tensor<R>>) -> Vec<Tensor<R>>;

    /// Records the parts in the order in which they run, and returns the maps, the finest first.
    ///
    /// # Errors
    /// When the maps do not fit the neck.
    fn trace(&self, planner: &mut Planner, maps: &[Map<R>]) -> Result<Vec<Map<R>>, ShapeError>;

    /// The shapes of the outputs for maps of shapes `maps`, the finest first.
    ///
    /// # Errors
    /// As [`trace`](Self::trace).
    fn output_shapes(&self, maps: &[[usize; R]]) -> Result<Vec<[usize; R]>, ShapeError> {
        Planner::output_shapes_of_maps(maps, |planner, maps| self.trace(planner, maps))
    }

    /// The [plan](crate::plan) for maps of shapes `maps`, the finest first.
    fn plan(&self, maps: &[[usize; R]]) -> Plan {
        Plan::of_maps(maps, |planner, maps| self.trace(planner, maps))
    }
}
