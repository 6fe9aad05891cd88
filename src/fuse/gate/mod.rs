//! Gates: weigh one branch of a fusion by another branch, or by itself.
//!
//! [`Gate`] is the trait, which other crates can implement. [`GateConfig`] and [`AnyGate`] list this crate's gates.

mod any;
mod attention;
mod cbam;
mod eca;
mod scse;
mod se;

pub use any::{AnyGate, GateConfig};
pub use attention::{AttentionGate, AttentionGateConfig, AttentionSize};
pub use cbam::{Cbam, CbamConfig};
pub use eca::{Eca, EcaConfig};
pub use scse::{Scse, ScseConfig};
pub use se::{Se, SeConfig};

pub(crate) use se::{channel_weight, trace_channel_weight};

use alloc::{format, vec};

use burn::module::{Module, ModuleDisplay};
use burn::tensor::Tensor;

use crate::fuse::merge::{Side, disagreement};
use crate::graph::{Map, Name, Planner};
use crate::plan::Plan;
use crate::shape::{ShapeError, axis_name};

/// The layer type in the errors of all gates.
const NAME: &str = "Gate";

/// Weighs a map by a guide: `y = x * weight(x, guide)`. In a decoder step `x` is the skip, and the guide is the
/// upsampled deep map.
///
/// A gate of your own fits into [`UpsampleConcat`](crate::UpsampleConcat::with_gate) and
/// [`Fuse`](crate::Fuse::with_gates).
///
/// # Shapes
/// - `x`: `[batch, channels, spatial...]`
/// - `guide`: `[batch, guide_channels, spatial...]`
/// - output: as `x`
///
/// # Example
/// ```
/// use burn::module::Module;
/// use burn::tensor::{Device, Tensor, activation::sigmoid};
/// use burn_skip::gate::Gate;
/// use burn_skip::plan::{Map, Op, Planner, Record};
/// use burn_skip::{ShapeError, UpsampleConcatConfig};
///
/// /// `y = x * sigmoid(mean of the guide's channels)`
/// #[derive(Module, Debug)]
/// struct MeanGate {}
///
/// impl<const R: usize> Gate<R> for MeanGate {
///     fn forward(&self, x: Tensor<R>, guide: Tensor<R>) -> Tensor<R> {
///         x * sigmoid(guide.mean_dim(1))
///     }
///
///     fn trace(&self, planner: &mut Planner, x: &Map<R>, guide: &Map<R>) -> Result<Map<R>, ShapeError> {
///         planner.leaf("MeanGate", &[x, guide], || Ok(Record::new(Op::Opaque, x.shape).on_grid_of(x)))
///     }
/// }
///
/// let device = Device::flex();
/// let step = UpsampleConcatConfig::new(16, 8, 4).init::<4>(&device).with_gate(MeanGate {});
/// let (deep, skip) = (Tensor::ones([1, 16, 3, 3], &device), Tensor::ones([1, 8, 6, 6], &device));
/// assert_eq!(step.forward(deep, skip).dims(), [1, 4, 6, 6]);
/// let plan = step.plan([1, 16, 3, 3], [1, 8, 6, 6]);
/// assert!(plan.nodes().iter().any(|(path, node)| path == "gate" && node.label == "MeanGate"));
/// ```
pub trait Gate<const R: usize = 4>: Module + ModuleDisplay {
    /// Weighs `x`.
    ///
    /// # Panics
    /// When [`output_shape`](Self::output_shape) returns an error, with its message.
    fn forward(&self, x: Tensor<R>, guide: Tensor<R>) -> Tensor<R>;

    /// Records the gate and returns the weighed map, which has the shape of `x`.
    ///
    /// # Errors
    /// When the maps do not fit the gate.
    fn trace(
        &self,
        planner: &mut Planner,
        x: &Map<R>,
        guide: &Map<R>,
    ) -> Result<Map<R>, ShapeError>;

    /// The shape of the output for a map of shape `x`, guided by one of shape `guide`.
    ///
    /// # Errors
    /// As [`trace`](Self::trace).
    fn output_shape(&self, x: [usize; R], guide: [usize; R]) -> Result<[usize; R], ShapeError> {
        Planner::output_shape_of_maps(&[x, guide], |planner, maps| {
            self.trace(planner, &maps[0], &maps[1])
        })
    }

    /// The [plan](crate::plan) for a map of shape `x`, guided by one of shape `guide`.
    fn plan(&self, x: [usize; R], guide: [usize; R]) -> Plan {
        Plan::of_maps(&[x, guide], |planner, maps| {
            let map = self.trace(planner, &maps[0], &maps[1])?;
            Ok(vec![map])
        })
    }
}

/// What can be recorded as a gate: a gate, or the configuration of one.
pub(crate) trait TraceGate<const R: usize> {
    fn trace_gate(
        &self,
        planner: &mut Planner,
        x: &Map<R>,
        guide: &Map<R>,
    ) -> Result<Map<R>, ShapeError>;
}

impl<const R: usize, G: Gate<R>> TraceGate<R> for G {
    fn trace_gate(
        &self,
        planner: &mut Planner,
        x: &Map<R>,
        guide: &Map<R>,
    ) -> Result<Map<R>, ShapeError> {
        self.trace(planner, x, guide)
    }
}

/// Records a gate as the part `name` of a fusion.
///
/// # Errors
/// That of the gate, and when its output has another shape than the map.
pub(crate) fn trace_part<const R: usize>(
    planner: &mut Planner,
    name: Name,
    gate: &impl TraceGate<R>,
    x: &Map<R>,
    guide: &Map<R>,
) -> Result<Map<R>, ShapeError> {
    let gated = gate.trace_gate(planner.at(name.clone()), x, guide)?;
    if gated.shape == x.shape {
        return Ok(gated);
    }
    let problem = format!(
        "the output has the shape {:?}, and the map {:?}",
        gated.shape, x.shape
    );
    let error = ShapeError::new(NAME, problem, "Let the gate keep the shape of its map");
    Err(error.within(name))
}

/// Refuses a guide that has another batch than the map.
fn check_same_batch<const R: usize>(x: [usize; R], guide: [usize; R]) -> Result<(), ShapeError> {
    if x[0] == guide[0] {
        return Ok(());
    }
    let [map, guide] = [("map", x[0]), ("guide", guide[0])].map(|(name, size)| Side { name, size });
    Err(ShapeError::new(
        NAME,
        disagreement(axis_name(0, R), map, guide),
        "Give all maps the same batch",
    ))
}

/// Refuses a guide that has another batch or spatial size than the map.
fn check_same_size<const R: usize>(x: [usize; R], guide: [usize; R]) -> Result<(), ShapeError> {
    let Some(axis) = (0..R).find(|&axis| axis != 1 && x[axis] != guide[axis]) else {
        return Ok(());
    };
    let [map, guide] = [("map", x), ("guide", guide)].map(|(name, shape)| Side {
        name,
        size: shape[axis],
    });
    Err(ShapeError::new(
        NAME,
        disagreement(axis_name(axis, R), map, guide),
        "Fit both to one size before the gate",
    ))
}
