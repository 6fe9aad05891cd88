//! [`Trace`]: the one walk over a layer, from which its shapes, its checks and its plan come.

use alloc::{vec, vec::Vec};

use crate::graph::{Map, Planner};
use crate::plan::Plan;
use crate::shape::ShapeError;

/// Records a layer: its parts in the order in which they run, each with its operation, its shapes and its
/// parameters. Implemented by layers and by their configurations, so that a network can be planned before it is
/// built.
///
/// [`trace`](Self::trace) is written once; the shape of the output and the [plan](crate::plan) follow from it.
///
/// # Example
/// ```
/// use burn_skip::{Trace, block::DoubleConvConfig};
///
/// let block = DoubleConvConfig::new([3, 16]);
/// assert_eq!(block.output_shape([1, 3, 32, 32]).unwrap(), [1, 16, 32, 32]);
/// let plan = block.plan([1, 3, 32, 32]);
/// let paths: Vec<String> = plan.nodes().into_iter().map(|(path, _)| path).collect();
/// assert_eq!(paths[..3], ["", "first", "first.conv"]);
/// ```
pub trait Trace<const R: usize> {
    /// Records the layer for the map `x` and returns the map that it outputs.
    ///
    /// # Errors
    /// When the map does not fit the layer, or the layer's options are invalid.
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError>;

    /// The shape of the output for an input of shape `input`.
    ///
    /// # Errors
    /// As [`trace`](Self::trace).
    fn output_shape(&self, input: [usize; R]) -> Result<[usize; R], ShapeError> {
        Planner::output_shape(input, |planner, x| self.trace(planner, x))
    }

    /// The [plan](crate::plan) for an input of shape `input`.
    fn plan(&self, input: [usize; R]) -> Plan {
        Plan::new(input, |planner, x| {
            self.trace(planner, x).map(|map| vec![map])
        })
    }
}

impl<const R: usize, T: Trace<R>> Trace<R> for Option<T> {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        match self {
            Some(layer) => layer.trace(planner, x),
            None => {
                planner.at(""); // (The name was that of this part.)
                Ok(x.clone())
            }
        }
    }
}

impl<const R: usize, T: Trace<R>> Trace<R> for [T] {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        planner.sequence(self, x, T::trace)
    }
}

impl<const R: usize, T: Trace<R>> Trace<R> for Vec<T> {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        self[..].trace(planner, x)
    }
}

impl<const R: usize, const N: usize, T: Trace<R>> Trace<R> for [T; N] {
    fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
        self[..].trace(planner, x)
    }
}

/// Implements [`Trace`] for tuples, whose members run from left to right.
macro_rules! trace_of_tuple {
    ($($layer:ident $index:tt),+) => {
        impl<const R: usize, $($layer: Trace<R>),+> Trace<R> for ($($layer,)+) {
            fn trace(&self, planner: &mut Planner, x: &Map<R>) -> Result<Map<R>, ShapeError> {
                planner.node("Sequence", &[x], |planner| {
                    let x = x.clone();
                    $(let x = self.$index.trace(planner.at($index), &x)?;)+
                    Ok(x)
                })
            }
        }
    };
}

trace_of_tuple!(L0 0, L1 1);
trace_of_tuple!(L0 0, L1 1, L2 2);
trace_of_tuple!(L0 0, L1 1, L2 2, L3 3);
trace_of_tuple!(L0 0, L1 1, L2 2, L3 3, L4 4);
trace_of_tuple!(L0 0, L1 1, L2 2, L3 3, L4 4, L5 5);
trace_of_tuple!(L0 0, L1 1, L2 2, L3 3, L4 4, L5 5, L6 6);
trace_of_tuple!(L0 0, L1 1, L2 2, L3 3, L4 4, L5 5, L6 6, L7 7);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Elementwise;
    use crate::layers::conv::ConvConfig;

    #[test]
    fn a_part_that_is_absent_gives_its_name_to_no_other() {
        let plan = Plan::new([1, 2, 4, 4], |planner, x| {
            let sum = planner.node("Outer", &[x], |planner| {
                let y = None::<ConvConfig>.trace(planner.at("conv"), x)?;
                planner.elementwise(Elementwise::Sum, &["y", "x"], &[&y, x], Ok(x.shape))
            })?;
            Ok(vec![sum])
        });
        assert_eq!(plan.nodes()[1].1.name, "");
    }
}
