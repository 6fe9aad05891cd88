//! [`Map`]: a feature map of a plan, without values.

use alloc::{format, vec::Vec};

use serde::Serialize;

use super::Grid;
use crate::shape::ShapeError;

/// A feature map without values: its shape, and where its positions lie on the input of the network.
///
/// # Example
/// ```
/// use burn_skip::{Trace, conv::ConvConfig, plan::Plan};
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
    /// Where its positions lie, an axis each; `None` where it is not known.
    pub grid: Option<Vec<Grid>>,
    /// The number of the map in the plan.
    pub(super) id: usize,
}

impl<const R: usize> Map<R> {
    pub(crate) fn plan(&self) -> MapPlan {
        MapPlan {
            id: self.id,
            shape: self.shape.to_vec(),
            grid: self.grid.clone(),
        }
    }

    /// The grid after each axis `n` has become `grid(n, before)`.
    pub fn regrid(&self, grid: impl Fn(usize, Grid) -> Grid) -> Option<Vec<Grid>> {
        let before = self.grid.as_ref()?.iter().copied().enumerate();
        Some(before.map(|(n, before)| grid(n, before)).collect())
    }
}

/// Refuses maps with other channels than those that a decoder or a neck was built for.
pub(crate) fn check_maps<const R: usize>(
    layer: &str,
    maps: &[Map<R>],
    expected: &[usize],
) -> Result<(), ShapeError> {
    let channels: Vec<usize> = maps.iter().map(|map| map.shape[1]).collect();
    if channels == expected {
        return Ok(());
    }
    Err(ShapeError::new(
        layer,
        format!("the maps have {channels:?} channels, expected {expected:?}"),
        "Give the maps of the encoder that it was built for, the finest first",
    ))
}

/// A map in a plan.
///
/// # Example
/// ```
/// use burn_skip::{Trace, net::UnetConfig};
///
/// let plan = UnetConfig::new(3, 2, vec![8, 16]).plan([1, 3, 32, 32]);
/// let [encoder, decoder] = [&plan.root.children[0], &plan.root.children[1]];
/// let skip = &encoder.outputs[0];
/// assert_eq!(skip.shape, [1, 8, 32, 32]);
/// assert_eq!(skip.bytes(), 4 * 8 * 32 * 32);
/// assert_eq!(decoder.inputs[0].id, skip.id); // the same map
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MapPlan {
    /// Its number. Maps of one number are one map.
    pub id: usize,
    /// `[batch, channels, spatial...]`
    pub shape: Vec<usize>,
    /// Where its positions lie on the input, an axis each; `None` where it is not known.
    pub grid: Option<Vec<Grid>>,
}

impl MapPlan {
    /// The bytes of its values, in f32; the largest number where there are more.
    pub fn bytes(&self) -> u64 {
        let sizes = self.shape.iter().map(|&size| size as u64);
        sizes.fold(4, u64::saturating_mul)
    }
}
