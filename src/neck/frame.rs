//! What all necks of this crate share. A configuration says what it records ([`NeckSpec`]), a module what it runs
//! ([`BuiltNeck`]); checks, shapes, plans and [`Neck`] follow from these.

use alloc::vec::Vec;

use burn::module::{Module, ModuleDisplay};
use burn::tensor::Tensor;

use super::Neck;
use crate::graph::{Map, Planner, check_maps};
use crate::shape::{ShapeError, expect};

/// The configuration of a neck.
pub(super) trait NeckSpec {
    /// The name in plans and errors.
    const NAME: &'static str;

    /// Checks the options and records the parts, for maps from the finest on.
    fn trace_parts<const R: usize>(
        &self,
        planner: &mut Planner,
        maps: &[Map<R>],
    ) -> Result<Vec<Map<R>>, ShapeError>;
}

/// Writes the methods of a configuration that follow from [`NeckSpec`].
macro_rules! neck_methods {
    ($config:ident) => {
        impl $config {
            /// Checks the options for maps of rank `R` with `channels` channels, the finest first.
            ///
            /// # Errors
            /// When there are no maps or too few, a number is zero, or an option is none of this neck's.
            pub fn validate<const R: usize>(&self, channels: &[usize]) -> Result<(), ShapeError> {
                Planner::check_options(channels, |planner, maps: &[Map<R>]| {
                    self.trace(planner, maps)
                })
            }

            /// The shapes of the outputs for maps of shapes `maps`, the finest first.
            ///
            /// # Errors
            /// As [`validate`](Self::validate), and when the maps have different batches.
            pub fn output_shapes<const R: usize>(
                &self,
                maps: &[[usize; R]],
            ) -> Result<Vec<[usize; R]>, ShapeError> {
                Planner::output_shapes_of_maps(maps, |planner, maps| self.trace(planner, maps))
            }

            /// Records the neck.
            ///
            /// # Errors
            /// As [`output_shapes`](Self::output_shapes).
            pub fn trace<const R: usize>(
                &self,
                planner: &mut Planner,
                maps: &[Map<R>],
            ) -> Result<Vec<Map<R>>, ShapeError> {
                let inputs: Vec<&Map<R>> = maps.iter().collect();
                planner.nodes(Self::NAME, &inputs, |planner| {
                    self.trace_parts(planner, maps)
                })
            }
        }
    };
}

pub(super) use neck_methods;

/// A neck of this crate. [`Neck`] follows.
pub(super) trait BuiltNeck<const R: usize> {
    type Config: NeckSpec;

    /// The options that it was built with, and the channels of the maps that it was built for.
    fn built(&self) -> (&Self::Config, &[usize]);

    /// Mixes maps that fit.
    fn run(&self, maps: Vec<Tensor<R>>) -> Vec<Tensor<R>>;
}

impl<const R: usize, N: BuiltNeck<R> + Module + ModuleDisplay> Neck<R> for N {
    fn forward(&self, maps: Vec<Tensor<R>>) -> Vec<Tensor<R>> {
        let shapes: Vec<_> = maps.iter().map(Tensor::dims).collect();
        expect(self.output_shapes(&shapes));
        self.run(maps)
    }

    fn trace(&self, planner: &mut Planner, maps: &[Map<R>]) -> Result<Vec<Map<R>>, ShapeError> {
        let (config, channels) = self.built();
        let inputs: Vec<&Map<R>> = maps.iter().collect();
        planner.nodes(N::Config::NAME, &inputs, |planner| {
            check_maps(N::Config::NAME, maps, channels)?;
            config.trace_parts(planner, maps)
        })
    }
}

/// Refuses to build a neck for no map.
pub(super) fn check_any_map(layer: &str, maps: usize) -> Result<(), ShapeError> {
    if maps > 0 {
        return Ok(());
    }
    let remedy = "Give the maps of an encoder, the finest first";
    Err(ShapeError::new(layer, "there are no maps", remedy))
}
