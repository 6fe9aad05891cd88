//! Bringing maps to one size before they are merged: what all fusions have in common.

use alloc::{string::String, vec, vec::Vec};

use burn::tensor::Tensor;

use crate::fuse::fit::{Fit, Target};
use crate::fuse::merge::{Merge, Order};
use crate::graph::{Map, Planner, word_of};
use crate::shape::{Axis, ShapeError};

/// The fits of the maps, the size that they meet at, and the merge that follows.
pub(super) struct Alignment<'a> {
    pub fits: Vec<&'a Fit>,
    pub target: &'a Target,
    pub merge: Merge,
}

impl<'a> Alignment<'a> {
    /// Two maps that are concatenated on the channels.
    pub fn of_deep_and_skip(fit: &'a Fit, target: &'a Target, order: Order) -> Self {
        Self {
            fits: vec![fit, fit],
            target,
            merge: Merge::Concat {
                axis: Axis::Channels,
                order,
            },
        }
    }

    /// The spatial size that each map is fitted to. A concat along a spatial axis leaves that axis
    /// to the maps.
    fn sizes<const R: usize>(&self, shapes: &[[usize; R]]) -> Vec<Vec<usize>> {
        let target = self.target.resolve(shapes);
        let free = self.merge.free_axis().and_then(|axis| axis.checked_sub(2));
        let size_of = |shape: &[usize; R]| {
            let mut size = target.clone();
            if let Some(n) = free {
                size[n] = shape[2 + n];
            }
            size
        };
        shapes.iter().map(size_of).collect()
    }

    /// Whether a map may keep its size, for the merge to check: with `Fit::Exact`, unless a size of
    /// its own is asked for. The merge can say which map differs from which.
    fn keeps_size(&self, fit: &Fit) -> bool {
        *fit == Fit::Exact && !matches!(self.target, Target::Size(_))
    }

    /// The shapes of the fitted maps. `name` is what a map is called in errors.
    pub fn fitted<const R: usize>(
        &self,
        shapes: &[[usize; R]],
        name: impl Fn(usize) -> String,
    ) -> Result<Vec<[usize; R]>, ShapeError> {
        self.target.validate(R)?;
        self.merge.validate(R)?;
        let sizes = self.sizes(shapes);
        let fit = |(index, fit): (usize, &&Fit)| {
            if self.keeps_size(fit) {
                return Ok(shapes[index]);
            }
            let fitted = fit.output_shape(shapes[index], &sizes[index]);
            fitted.map_err(|e| e.within(name(index)))
        };
        self.fits.iter().enumerate().map(fit).collect()
    }

    /// Tells the planner of the fits, and of the maps that they give.
    pub fn trace_fits<const R: usize>(
        &self,
        planner: &mut Planner,
        maps: &[&Map<R>],
        name: impl Fn(usize) -> String,
    ) -> Result<Vec<Map<R>>, ShapeError> {
        self.target.validate(R)?;
        self.merge.validate(R)?;
        let shapes: Vec<_> = maps.iter().map(|map| map.shape).collect();
        let sizes = self.sizes(&shapes);
        let fit = |((index, fit), &map): ((usize, &&Fit), &&Map<R>)| {
            if self.keeps_size(fit) {
                return Ok(map.clone());
            }
            fit.trace(planner.at(name(index)), map, &sizes[index])
        };
        self.fits.iter().enumerate().zip(maps).map(fit).collect()
    }

    /// Tells the planner of the merge of maps that have been fitted.
    pub fn trace_merge<const R: usize>(
        &self,
        planner: &mut Planner,
        maps: &[&Map<R>],
        names: &[&str],
    ) -> Result<Map<R>, ShapeError> {
        let shapes: Vec<_> = maps.iter().map(|map| map.shape).collect();
        let output = self.merge.output_shape(&shapes);
        planner
            .at("")
            .merge(&word_of(&self.merge), names, maps, output)
    }

    /// The fitted maps.
    pub fn fit<const R: usize>(&self, maps: Vec<Tensor<R>>) -> Vec<Tensor<R>> {
        let shapes: Vec<_> = maps.iter().map(Tensor::dims).collect();
        let sizes = self.sizes(&shapes);
        let fit = |((map, fit), size): ((Tensor<R>, &&Fit), Vec<usize>)| {
            if self.keeps_size(fit) {
                map
            } else {
                fit.forward(map, &size)
            }
        };
        maps.into_iter()
            .zip(&self.fits)
            .zip(sizes)
            .map(fit)
            .collect()
    }
}

/// What the two maps of a fusion are called.
pub(super) fn deep_and_skip(index: usize) -> String {
    ["deep", "skip"][index].into()
}
